//! How does bench show the progress of a run?
//!
//! On a terminal one line that is written anew; elsewhere, in a log, a line every few seconds. On
//! standard error, so that the report alone is on standard output.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::series::Sample;
use crate::units::{bits, count, digits, percent, span};

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    kind: Kind,
    written_at: Option<Instant>,
    /// Something is on the terminal's current line.
    is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Terminal,
    Log,
    Silent,
}

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Phase {
    Connecting,
    Joining { viewers: usize },
    Watching { left: Duration },
}

/// In a log a line each so often: enough to see that it lives.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Narrower than most terminals. A line that wraps cannot be written anew.
const WIDTH: usize = 118;

impl Line {
    /// Finds out what standard error is.
    pub(crate) fn new() -> Line {
        let kind = if std::io::stderr().is_terminal() { Kind::Terminal } else { Kind::Log };
        Line { kind, written_at: None, is_open: false }
    }

    /// Says nothing.
    pub(crate) fn silent() -> Line {
        Line { kind: Kind::Silent, written_at: None, is_open: false }
    }

    /// Shows how things stand.
    pub(crate) fn show(&mut self, now: Instant, phase: Phase, sample: Option<&Sample>) {
        let text = text(phase, sample);
        match self.kind {
            Kind::Terminal => {
                let text: String = text.chars().take(WIDTH).collect();
                // CSI K: what the longer line before left behind.
                eprint!("\r{text}\x1b[K");
                let _ = std::io::stderr().flush();
                self.is_open = true;
            }
            Kind::Log if self.written_at.is_none_or(|at| now >= at + LOG_EVERY) => {
                eprintln!("{text}");
                self.written_at = Some(now);
            }
            Kind::Log | Kind::Silent => {}
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        if self.kind != Kind::Silent {
            eprintln!("{text}");
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_open) {
            eprint!("\r\x1b[K");
        }
        self.written_at = None;
    }
}

fn text(phase: Phase, sample: Option<&Sample>) -> String {
    let mut parts = Vec::new();
    let joined = sample.map_or(0, |sample| sample.joined);
    match phase {
        Phase::Connecting => parts.push("connecting".to_owned()),
        Phase::Joining { viewers } => {
            parts.push(format!("joining {} of {}", count(joined as u64), count(viewers as u64)))
        }
        Phase::Watching { left } => parts.push(format!("{} watching, {} left", count(joined as u64), span(left))),
    }
    if let Some(sample) = sample {
        if sample.failed > 0 {
            parts.push(format!("{} failed", count(sample.failed as u64)));
        }
        parts.push(format!("{} packets/s", count(sample.packets_per_second() as u64)));
        parts.push(bits(sample.bits_per_second()));
        parts.push(format!("loss {}", percent(sample.loss_before_repair().max(sample.loss_after_repair()))));
        parts.extend(sample.delay_ms.map(|delay| format!("p99 {} ms", digits(delay.p99))));
        parts.extend(sample.server.map(|server| format!("server {:.2} cores", server.cores)));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Percentiles;
    use crate::series::Server;

    #[test]
    fn the_line_says_what_goes_on() {
        let sample = Sample {
            seconds: 0.5,
            joined: 1_200,
            failed: 3,
            packets: 390_000,
            bytes: 468_000_000,
            delay_ms: Some(Percentiles { p99: 3.25, max: 4.0, ..Percentiles::default() }),
            server: Some(Server { cores: 0.834, rss_kib: 1 }),
            ..Sample::default()
        };
        assert_eq!(text(Phase::Joining { viewers: 5_000 }, None), "joining 0 of 5,000");
        assert_eq!(
            text(Phase::Watching { left: Duration::from_secs(18) }, Some(&sample)),
            "1,200 watching, 18 s left · 3 failed · 780,000 packets/s · 7.49 Gb/s · loss 0 % · p99 3.25 ms · server 0.83 cores"
        );
    }
}
