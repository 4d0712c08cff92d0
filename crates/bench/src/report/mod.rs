//! How is a run reported, to people and to programs?
//!
//! - this module: the contents of a report
//! - `rows`: the figures in words, and which of them are bad; `text` prints them, `html` makes a
//!   page of them
//! - `json`: the same for programs
//! - `plots`: the pictures of the page
//!
//! A report never contains a token: [`Run::plan`] holds it, and `rows` and `json` print only named
//! parts of the plan.

mod html;
mod json;
mod plots;
mod rows;
mod text;

use std::path::Path;

use anyhow::Context;

use crate::capacity::Capacity;
use crate::histogram::{Histogram, Percentiles};
use crate::memory::PerViewer;
use crate::process::Spent;
use crate::run::Plan;
use crate::seen::{Joined, Seen};
use crate::series::Sample;
use crate::units::{count, digits};

pub(crate) use json::percentiles as json_of;
pub(crate) use text::{cpu, durations as ms};

pub(crate) use crate::units::percent;

/// One run: viewers join, then watch.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    /// One way through loopback without a server.
    pub(crate) baseline: Percentiles,
    pub(crate) series: Vec<Sample>,
    pub(crate) played: Played,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) joined: Joined,
    pub(crate) seen: Seen,
    pub(crate) server: Option<ServerCost>,
    pub(crate) ended: Ended,
}

/// What the server used up while viewers watched.
#[derive(Debug, Clone)]
pub(crate) struct ServerCost {
    pub(crate) spent: Spent,
    /// Growth of the server's memory per viewer; `None` if it reused memory from before.
    pub(crate) memory: Option<PerViewer>,
    /// In the end.
    pub(crate) rss_kib: u64,
}

/// What ended a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    AsPlanned,
    /// A key press or a signal.
    ByUser,
    /// It went away, or broke off.
    ByServer {
        why: String,
    },
}

/// Several runs, and what they were for.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) runs: Vec<Run>,
    pub(crate) kind: Kind,
    /// Why there are not more runs, though more were wanted.
    pub(crate) broken_off: Option<String>,
}

/// What runs are for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// One run, told in full.
    Single,
    /// How does cost grow?
    Sweep,
    /// Where does it end? `None`: the search was cut short.
    Capacity { found: Option<Capacity> },
}

/// Highest share of packets lost after repair at which a capacity counts: beyond it viewers see the
/// loss. A guess.
pub(crate) const MOST_LOSS: f64 = 0.001;
/// Less of what was published than this, and a server throws pictures away. Not closer to 1: a
/// server that cuts packets anew makes fewer of them (MediaMTX 0.4 %), and a run of 3 s begins and
/// ends within a picture.
pub(crate) const LEAST_PASSED_ON: f64 = 0.97;
/// Highest p99 delay in milliseconds at which a capacity counts: beyond it a stream is not live. A
/// guess.
pub(crate) const MOST_DELAY_MS: f64 = 50.0;

impl Run {
    /// Returns the planned number of viewers.
    pub(crate) fn viewers(&self) -> usize {
        self.plan.join.viewers
    }

    pub(crate) fn packets_per_second(&self) -> f64 {
        self.played.seen.packets_per_second()
    }

    pub(crate) fn bits_per_second(&self) -> f64 {
        self.played.seen.total.bytes as f64 * 8.0 / self.played.seen.seconds.max(1e-9)
    }

    pub(crate) fn joins_per_second(&self) -> f64 {
        self.played.joined.joined as f64 / self.played.joined.seconds.max(1e-9)
    }

    /// Returns the share of published packets that the server sent to its viewers, lost or not.
    /// Packets that a server drops before it numbers them leave no gap. `None` if the share is
    /// unknown, or if sessions ended during the measurement.
    pub(crate) fn passed_on(&self) -> Option<f64> {
        let Played { joined, seen, .. } = &self.played;
        let to_each = seen.sent.packets as f64 / self.plan.settings.streams.max(1) as f64;
        let published = to_each * joined.joined as f64;
        let all_stayed = seen.failed == 0 && self.played.ended == Ended::AsPlanned;
        (published > 0.0 && all_stayed).then(|| (seen.expected() / published).min(1.0))
    }

    /// `None`: nothing was verified.
    pub(crate) fn delay_ms(&self) -> Option<Percentiles> {
        Some(&self.played.seen.delay).filter(|delay| !delay.is_empty()).map(Histogram::percentiles)
    }

    pub(crate) fn us_per_packet(&self) -> Option<f64> {
        let Played { server, seen, .. } = &self.played;
        server.as_ref().filter(|_| seen.total.packets > 0).map(|server| server.spent.us_per(seen.total.packets))
    }

    pub(crate) fn packets_per_second_per_core(&self) -> Option<f64> {
        let cores = self.played.server.as_ref()?.spent.cores();
        (cores > 0.0).then(|| self.packets_per_second() / cores)
    }

    /// Returns whether the memory per viewer is unknown, because the server had allocated as much
    /// before.
    pub(crate) fn reused_memory(&self) -> bool {
        let Played { server, joined, .. } = &self.played;
        joined.joined > 0 && server.as_ref().is_some_and(|server| server.memory.is_none())
    }

    /// Returns whether the measured memory per viewer is a lower bound.
    pub(crate) fn memory_is_at_least(&self) -> bool {
        let memory = self.played.server.as_ref().and_then(|server| server.memory);
        memory.is_some_and(|memory| memory.is_at_least)
    }

    /// Returns why not every viewer joined and stayed to the end.
    pub(crate) fn incomplete(&self) -> Option<String> {
        let Played { joined, seen, .. } = &self.played;
        let missing = self.viewers() - joined.joined.min(self.viewers());
        if missing > 0 {
            Some(format!("{} of {} viewers did not join", count(missing as u64), count(self.viewers() as u64)))
        } else if seen.failed > 0 {
            Some(format!("{} sessions ended early", count(seen.failed as u64)))
        } else if seen.total.packets == 0 {
            Some("no packet came".to_owned())
        } else {
            None
        }
    }

    /// Why not everything came as it was sent.
    pub(crate) fn imperfect(&self) -> Option<String> {
        let seen = &self.played.seen;
        let broken = seen.damaged + seen.rejected + seen.wrong_timestamps;
        if seen.total.lost > 0 {
            Some(format!("{} packets were lost for good", count(seen.total.lost)))
        } else if broken > 0 {
            Some(format!("{} packets were not as they were sent", count(broken)))
        } else {
            None
        }
    }

    /// Why this audience was not carried within [`MOST_LOSS`] and [`MOST_DELAY_MS`].
    pub(crate) fn missed(&self) -> Option<String> {
        let loss = self.played.seen.loss_after_repair();
        let delay = self.delay_ms().map_or(0.0, |delay| delay.p99);
        if let Ended::ByServer { why } = &self.played.ended {
            Some(why.clone())
        } else if let Some(why) = self.incomplete() {
            Some(why)
        } else if loss > MOST_LOSS {
            Some(format!("loss after repair {}", percent(loss)))
        } else if let Some(share) = self.passed_on().filter(|share| *share < LEAST_PASSED_ON) {
            Some(format!("only {} of what was published was passed on", percent(share)))
        } else if delay > MOST_DELAY_MS {
            Some(format!("p99 delay {} ms", digits(delay)))
        } else {
            None
        }
    }
}

impl Report {
    /// One run alone.
    pub(crate) fn single(run: Run) -> Report {
        Report { runs: vec![run], ..Report::of(Kind::Single) }
    }

    /// No runs yet.
    pub(crate) fn of(kind: Kind) -> Report {
        Report { runs: Vec::new(), kind, broken_off: None }
    }

    /// Prints the tables.
    pub(crate) fn print(&self) {
        print!("{}", text::report(self, text::Style::of_stdout()));
    }

    /// Writes the files that were asked for.
    pub(crate) fn write(&self, json: Option<&Path>, html: Option<&Path>) -> anyhow::Result<()> {
        if let Some(file) = json {
            write(Some(file), &json::report(self))?;
        }
        if let Some(file) = html {
            write_text(file, &html::page(self))?;
        }
        Ok(())
    }
}

/// Writes JSON where it is wanted.
pub(crate) fn write(file: Option<&Path>, value: &serde_json::Value) -> anyhow::Result<()> {
    match file {
        Some(file) => write_text(file, &(serde_json::to_string_pretty(value)? + "\n")),
        None => Ok(()),
    }
}

fn write_text(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod testing {
    //! A run that never took place.

    use std::time::Duration;

    use super::*;
    use crate::load::JoinPlan;
    use crate::series::Server;
    use crate::settings::Settings;

    /// Returns a run with distinct figures, which a test can find in a report.
    pub(crate) fn run(viewers: usize) -> Run {
        let settings = Settings::new("http://host:7880", Some("s3cret".to_owned()));
        let mut seen = Seen { viewers, seconds: 30.0, verified_packets: 468_000, ..Seen::default() };
        seen.total.packets = viewers as u64 * 156 * 30;
        seen.total.bytes = seen.total.packets * 1_200;
        seen.total.gaps = 1_000;
        seen.total.repaired = 990;
        seen.total.lost = 10;
        seen.generator.cpu_s = 21.0;
        seen.generator.wall_s = 30.0;
        let mut joined = Joined { joined: viewers - 1, failed: 1, seconds: 10.0, ..Joined::default() };
        joined.failure = Some("POST /whep/bench was answered with 503: <b>full</b>".to_owned());
        for n in 1..2_000_u64 {
            // A bulk around 2 ms and a tail.
            seen.delay.add_ns(1_000_000 + n * n % 2_500_000 + 40_000_000 / n);
            joined.answer.add_ns(3_000_000 + n * 1_000);
            joined.first_packet.add_ns(9_000_000 + n * 12_000);
            joined.first_picture.add_ns(15_000_000 + n * 31_000);
        }
        let by_name = vec![("shard".to_owned(), 24.0), ("desk".to_owned(), 0.9)];
        let spent = Spent { cpu_s: 24.9, user_share: Some(0.18), wall_s: 30.0, by_name };
        let series = (1..=80_u64).map(|n| sample(n, viewers)).collect();
        Run {
            plan: Plan {
                settings,
                join: JoinPlan { viewers, rate: 500.0, verify: 0.02 },
                duration: Duration::from_secs(30),
                pid: Some(4_711),
            },
            baseline: Percentiles { p50: 0.02, p90: 0.03, p99: 0.05, p999: 0.1, max: 0.4 },
            series,
            played: Played {
                joined,
                seen,
                server: Some(ServerCost {
                    spent,
                    memory: Some(PerViewer { kib: 54.2, is_at_least: false }),
                    rss_kib: 300_000,
                }),
                ended: Ended::AsPlanned,
            },
        }
    }

    fn sample(n: u64, viewers: usize) -> Sample {
        let joined = (viewers as u64 * n / 20).min(viewers as u64);
        let wave = (n % 7) as f64 / 7.0;
        let delay = Percentiles { p50: 1.0 + wave, p90: 2.0, p99: 3.0 + 2.0 * wave, p999: 8.0, max: 9.0 };
        Sample {
            at_s: n as f64 * 0.5,
            seconds: 0.5,
            joined: joined as usize,
            started: joined as usize,
            failed: 0,
            sent: 78,
            packets: joined * 78,
            bytes: joined * 78 * 1_200,
            missing: if n.is_multiple_of(9) { 40 } else { 0 },
            lost: 0,
            delay_ms: (n > 20).then_some(delay),
            server: Some(Server { cores: 0.83 * joined as f64 / viewers as f64, rss_kib: 30_000 + joined * 54 }),
            generator_cores: 0.7 * joined as f64 / viewers as f64,
            kernel_drops: 0,
        }
    }

    #[test]
    fn what_misses_the_bounds_says_by_what() {
        let mut run = run(100);
        assert_eq!(run.missed().unwrap(), "1 of 100 viewers did not join");
        run.played.joined.joined = 100;
        assert_eq!(run.missed(), None);
        run.played.seen.total.lost = 100_000;
        assert!(run.missed().unwrap().starts_with("loss after repair"));
        (run.played.seen.total.lost, run.played.seen.total.repaired) = (0, 0);
        run.played.seen.sent.packets = 156 * 30 * 2;
        assert_eq!(run.missed().unwrap(), "only 50.0 % of what was published was passed on");
        run.played.ended = Ended::ByServer { why: "it went away".to_owned() };
        assert_eq!(run.missed().unwrap(), "it went away");
    }
}
