//! `nowcast bench`: plays what the command line says, and tells what came of it.

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Context;

use crate::capacity::{Outcome, Search, Step};
use crate::listening;
use crate::memory::Memory;
use crate::options::{Options, Runs};
use crate::progress::Line;
use crate::report::{Ended, Kind, Report, Run};
use crate::run::{Plan, Stop};
use crate::server::Server;
use crate::settings::Settings;
use crate::units::count;
use crate::url::Url;

/// The result of a call, which decides the exit code. The help of [`Options`] lists the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    AsPlanned,
    Nonsense,
    ServerBrokeOff,
    NotEverybody,
    Interrupted,
}

/// Everything that the runs of one call have in common.
struct Session<'a> {
    options: &'a Options,
    settings: Settings,
    pid: Option<u32>,
    memory: RefCell<Memory>,
    stop: &'a Stop,
}

/// Plays, reports, and says how it went. Ends early when `stop` is set.
///
/// # Errors
///
/// Says why nothing could be measured or written.
pub fn run(options: &Options, stop: &Stop) -> anyhow::Result<ExitCode> {
    // Before anything is started.
    let runs = match options.settings(None).and_then(|_| options.runs()) {
        Ok(runs) => runs,
        Err(error) => {
            eprintln!("nowcast bench: {error:#}\n\nFor more information, try '--help'.");
            return Ok(Verdict::Nonsense.into());
        }
    };
    let server = match options.wants_a_server() {
        true => {
            let binary = std::env::current_exe().context("cannot find our own binary")?;
            Some(Server::start(&binary, None)?)
        }
        false => None,
    };
    let settings = options.settings(server.as_ref().map(Server::url).as_deref())?;
    // After the server was started, which would stay on the same cores otherwise.
    if let Some(cores) = options.cores() {
        shards::udp::affinity::pin_current_thread_to(cores).with_context(|| format!("--cores {cores:?}"))?;
    }
    let mut line = if options.quiet { Line::silent() } else { Line::new() };
    let pid = match &server {
        Some(server) => Some(server.pid()),
        None => options.pid().or_else(|| found(&settings, &mut line)),
    };
    let session = Session { options, settings, pid, memory: RefCell::default(), stop };
    let report = match runs {
        Runs::One { viewers } => Report::single(session.run(viewers)?),
        Runs::Sweep { viewers } => session.sweep(&viewers)?,
        Runs::FindCapacity { first, most } => session.find_capacity(Search::new(first, most))?,
    };
    report.print();
    report.write(options.json.as_deref(), options.html.as_deref())?;
    Ok(verdict(&report, options.is_smoke()).into())
}

/// Returns the process behind the URL, if it is on this machine.
fn found(settings: &Settings, line: &mut Line) -> Option<u32> {
    let url = Url::parse(&settings.whep_url(0)).ok()?;
    let listener = listening::find(&url.authority())?;
    line.say(&format!("the server's CPU and memory are those of {}, process {}", listener.name, listener.pid));
    Some(listener.pid)
}

impl Session<'_> {
    fn run(&self, viewers: usize) -> anyhow::Result<Run> {
        let plan = Plan {
            settings: self.settings.clone(),
            join: self.options.join(viewers),
            duration: self.options.duration(),
            pid: self.pid,
        };
        plan.run(self.line(), self.stop, &mut self.memory.borrow_mut())
    }

    fn line(&self) -> Line {
        if self.options.quiet { Line::silent() } else { Line::new() }
    }

    /// One run for each size, until one is cut short.
    fn sweep(&self, sizes: &[usize]) -> anyhow::Result<Report> {
        let mut report = Report::of(Kind::Sweep);
        for (n, viewers) in sizes.iter().enumerate() {
            self.line().say(&format!("run {} of {}: {} viewers", n + 1, sizes.len(), count(*viewers as u64)));
            if !self.add(&mut report, *viewers)? {
                break;
            }
        }
        Ok(report)
    }

    /// One run after another until it is known how many are carried.
    fn find_capacity(&self, mut search: Search) -> anyhow::Result<Report> {
        let mut report = Report::of(Kind::Capacity { found: None });
        loop {
            let viewers = match search.poll() {
                Step::Try { viewers } => viewers,
                Step::Found(capacity) => {
                    report.kind = Kind::Capacity { found: Some(capacity) };
                    return Ok(report);
                }
            };
            self.line().say(&format!("run {}: {} viewers", report.runs.len() + 1, count(viewers as u64)));
            if !self.add(&mut report, viewers)? {
                return Ok(report);
            }
            let Some(run) = report.runs.last() else { return Ok(report) };
            let outcome = outcome(run);
            match &outcome {
                Outcome::Carried => self.line().say("    carried"),
                Outcome::Missed { why } => self.line().say(&format!("    not carried: {why}")),
                Outcome::Unknown { why } => self.line().say(&format!("    not known: {why}")),
            }
            search.tried(viewers, outcome);
        }
    }

    /// Adds a run. Returns whether another one makes sense: no stop was requested, and the server
    /// can be reached.
    fn add(&self, report: &mut Report, viewers: usize) -> anyhow::Result<bool> {
        match self.run(viewers) {
            Ok(run) => {
                report.runs.push(run);
                Ok(!self.stop.load(Ordering::Relaxed))
            }
            Err(error) if report.runs.is_empty() => Err(error),
            // What was measured before is worth more than what comes now.
            Err(error) => {
                report.broken_off = Some(format!("the run with {} viewers failed: {error:#}", count(viewers as u64)));
                Ok(false)
            }
        }
    }
}

/// Returns what a run says about an audience of its size.
fn outcome(run: &Run) -> Outcome {
    match (run.missed(), run.played.seen.bottleneck()) {
        (None, _) => Outcome::Carried,
        (Some(_), Some(why)) => Outcome::Unknown { why: why.to_string() },
        (Some(why), None) => Outcome::Missed { why },
    }
}

fn verdict(report: &Report, is_smoke: bool) -> Verdict {
    let ended = |ended: fn(&Ended) -> bool| report.runs.iter().any(|run| ended(&run.played.ended));
    let is_search = matches!(report.kind, Kind::Capacity { .. });
    // A search goes beyond what a server carries; that sessions break off there is an answer.
    if ended(|ended| matches!(ended, Ended::ByServer { .. })) && !is_search || report.broken_off.is_some() {
        Verdict::ServerBrokeOff
    } else if ended(|ended| *ended == Ended::ByUser) {
        Verdict::Interrupted
    } else if matches!(report.kind, Kind::Single)
        && report.runs.iter().any(|run| run.incomplete().is_some() || (is_smoke && run.imperfect().is_some()))
    {
        // In a sweep or a search some runs are meant to fail.
        Verdict::NotEverybody
    } else {
        Verdict::AsPlanned
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> ExitCode {
        ExitCode::from(match verdict {
            Verdict::AsPlanned => 0,
            // As clap says it.
            Verdict::Nonsense => 2,
            Verdict::ServerBrokeOff => 3,
            Verdict::NotEverybody => 4,
            // 128 and the number of SIGINT, as shells say it.
            Verdict::Interrupted => 130,
        })
    }
}
