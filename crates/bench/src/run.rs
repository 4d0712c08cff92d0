//! One run: publish, let viewers join, watch what they get.
//!
//! Whatever ends a run early (a key press, a server that dies) leaves the report of what was seen
//! until then.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::baseline;
use crate::load::{JoinPlan, Load};
use crate::memory::Memory;
use crate::process::Usage;
use crate::progress::{Line, Phase};
use crate::report::{Ended, Played, Run, ServerCost};
use crate::seen::Progress;
use crate::series::{Recorder, Sample};
use crate::settings::Settings;

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) join: JoinPlan,
    /// How long to watch when all have joined.
    pub(crate) duration: Duration,
    /// The server's process.
    pub(crate) pid: Option<u32>,
}

/// Set from outside when the run is to end.
pub type Stop = Arc<AtomicBool>;

/// What looks at a run while it goes on.
struct Watch {
    line: Line,
    recorder: Recorder,
    latest: Option<Sample>,
    phase: Phase,
    /// End of the watching, once it has begun.
    until: Option<Instant>,
    stop: Stop,
}

/// Lets the publisher's first frames arrive before memory without viewers is measured.
const ALONE: Duration = Duration::from_millis(200);
/// Lets the last viewer's start come to rest.
const SETTLE: Duration = Duration::from_millis(500);

impl Plan {
    /// Plays the run. Progress goes to `line`.
    pub(crate) fn run(&self, line: Line, stop: &Stop, memory: &mut Memory) -> anyhow::Result<Run> {
        let baseline = baseline::measure()?;
        let planned = ALONE + self.time_to_join() + SETTLE + self.duration;
        let watch = Watch {
            line,
            recorder: Recorder::new(planned, self.pid),
            latest: None,
            phase: Phase::Connecting,
            until: None,
            stop: stop.clone(),
        };
        let watch = Rc::new(RefCell::new(watch));
        watch.borrow_mut().show();
        let ended = self.play(&watch, memory);
        watch.borrow_mut().line.clear();
        let played = ended?;
        let series = std::mem::replace(&mut watch.borrow_mut().recorder, Recorder::new(planned, None)).finish();
        Ok(Run { plan: self.clone(), baseline, series, played })
    }

    fn play(&self, watch: &Rc<RefCell<Watch>>, memory: &mut Memory) -> anyhow::Result<Played> {
        let usage = || self.pid.map(Usage::of).transpose().context("--pid");
        usage()?;
        let mut load = Load::start(&self.settings)?;
        let observer = watch.clone();
        load.observe(Box::new(move |progress| observer.borrow_mut().told(progress)));
        load.run_for(ALONE)?;
        if let Some(empty) = usage()? {
            memory.begins(&empty);
        }
        watch.borrow_mut().begin(Phase::Joining { viewers: self.join.viewers });
        let joined = load.join(self.join)?;
        let mut ended = Ended::AsPlanned;
        if let Err(error) = load.run_for(SETTLE) {
            ended = Ended::ByServer { why: format!("{error:#}") };
        }
        load.open_window(0..load.viewer_count())?;
        let begun = usage().ok().flatten();
        watch.borrow_mut().begin(Phase::Watching { left: self.duration });
        if ended == Ended::AsPlanned
            && let Err(error) = load.run_for(self.duration)
        {
            ended = Ended::ByServer { why: format!("{error:#}") };
        }
        if load.is_interrupted() {
            ended = Ended::ByUser;
        }
        // Of a server that has gone, the last that was known.
        let after = usage().ok().flatten().or_else(|| watch.borrow().recorder.server_usage().cloned());
        let seen = load.close_window()?;
        let server = begun.zip(after).map(|(begun, after)| ServerCost {
            spent: after.since(&begun),
            memory: memory.per_viewer(after.rss_kib, joined.joined),
            rss_kib: after.rss_kib,
        });
        load.close();
        Ok(Played { joined, seen, server, ended })
    }

    fn time_to_join(&self) -> Duration {
        // As fast as they can: a guess of 500 a second, what one core has been seen to do.
        let rate = if self.join.rate > 0.0 { self.join.rate } else { 500.0 };
        Duration::from_secs_f64(self.join.viewers as f64 / rate)
    }
}

impl Watch {
    fn told(&mut self, progress: &Progress<'_>) -> ControlFlow<()> {
        if let Some(sample) = self.recorder.told(progress) {
            self.latest = Some(sample.clone());
        }
        self.show();
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        if let Phase::Watching { left } = phase {
            self.until = Some(Instant::now() + left);
        }
    }

    fn show(&mut self) {
        let now = Instant::now();
        if let (Phase::Watching { left }, Some(until)) = (&mut self.phase, self.until) {
            *left = until.saturating_duration_since(now);
        }
        self.line.show(now, self.phase, self.latest.as_ref());
    }
}
