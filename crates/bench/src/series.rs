//! How did a run go from second to second?
//!
//! The loop tells how things stand several times a second; this makes samples of it, evenly spaced,
//! each about the time since the one before. What the processes used up is looked up at the same
//! moments.

use std::time::Duration;

use crate::histogram::{Histogram, Percentiles};
use crate::process::Usage;
use crate::reception::Counted;
use crate::seen::Progress;

/// The samples of a run, as they are taken.
#[derive(Debug)]
pub(crate) struct Recorder {
    every: Duration,
    server: Option<u32>,
    before: Before,
    delay: Histogram,
    samples: Vec<Sample>,
}

/// How things stood, and what went on since the sample before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// End of the sample, seconds since the run began.
    pub(crate) at_s: f64,
    /// Its length.
    pub(crate) seconds: f64,
    /// Viewers that began to join, that see pictures, and that failed.
    pub(crate) started: usize,
    pub(crate) joined: usize,
    pub(crate) failed: usize,
    /// Published.
    pub(crate) sent: u64,
    /// Received the first way.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// That did not come the first way.
    pub(crate) missing: u64,
    /// That were given up.
    pub(crate) lost: u64,
    /// `None`: nothing was verified in this time.
    pub(crate) delay_ms: Option<Percentiles>,
    pub(crate) server: Option<Server>,
    pub(crate) generator_cores: f64,
    pub(crate) kernel_drops: u64,
}

/// What the server used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) cores: f64,
    pub(crate) rss_kib: u64,
}

#[derive(Debug, Default)]
struct Before {
    elapsed: Duration,
    total: Counted,
    sent: u64,
    kernel_drops: u64,
    generator: Option<Usage>,
    server: Option<Usage>,
}

/// As many as a plot has room for.
const SAMPLES: u32 = 120;
/// No sooner: the processor time of a shorter time is mostly chance.
const SOONEST: Duration = Duration::from_millis(200);
/// A run that takes this many times longer than planned is not recorded to its end.
const MOST_SAMPLES: usize = 20 * SAMPLES as usize;

impl Recorder {
    /// Creates a recorder for a run of about this duration. `server` is the process of the server,
    /// if it is known.
    pub(crate) fn new(planned: Duration, server: Option<u32>) -> Recorder {
        let before = Before { server: server.and_then(|pid| Usage::of(pid).ok()), ..Before::default() };
        let every = (planned / SAMPLES).max(SOONEST);
        Recorder { every, server, before, delay: Histogram::default(), samples: Vec::new() }
    }

    /// Takes what the loop tells. Returns the sample that is finished by it, if one is.
    pub(crate) fn told(&mut self, progress: &Progress<'_>) -> Option<&Sample> {
        self.delay.merge(progress.delay);
        let took = progress.elapsed.saturating_sub(self.before.elapsed);
        // A tick that comes a little early would double the length of every sample.
        if took + SOONEST / 4 < self.every || self.samples.len() >= MOST_SAMPLES {
            return None;
        }
        let generator = Usage::of(std::process::id()).ok();
        let server = self.server.and_then(|pid| Usage::of(pid).ok());
        let cores = |now: &Option<Usage>, before: &Option<Usage>| Some(now.as_ref()?.since(before.as_ref()?).cores());
        let counted = progress.total.since(&self.before.total);
        let delay = std::mem::take(&mut self.delay);
        let sample = Sample {
            at_s: progress.elapsed.as_secs_f64(),
            seconds: took.as_secs_f64(),
            started: progress.started,
            joined: progress.joined,
            failed: progress.failed,
            sent: progress.sent.packets.saturating_sub(self.before.sent),
            packets: counted.packets,
            bytes: counted.bytes,
            missing: counted.gaps.saturating_sub(counted.late),
            lost: counted.lost,
            delay_ms: Some(delay.percentiles()).filter(|_| !delay.is_empty()),
            server: server
                .as_ref()
                .map(|now| Server { cores: cores(&server, &self.before.server).unwrap_or(0.0), rss_kib: now.rss_kib }),
            generator_cores: cores(&generator, &self.before.generator).unwrap_or(0.0),
            kernel_drops: progress.kernel_drops.saturating_sub(self.before.kernel_drops),
        };
        self.before = Before {
            elapsed: progress.elapsed,
            total: progress.total,
            sent: progress.sent.packets,
            kernel_drops: progress.kernel_drops,
            generator,
            server: server.or(self.before.server.take()),
        };
        self.samples.push(sample);
        self.samples.last()
    }

    /// Returns the CPU time of the server at the last sample of the running process.
    pub(crate) fn server_usage(&self) -> Option<&Usage> {
        self.before.server.as_ref()
    }

    /// All samples.
    pub(crate) fn finish(self) -> Vec<Sample> {
        self.samples
    }
}

impl Sample {
    pub(crate) fn packets_per_second(&self) -> f64 {
        self.packets as f64 / self.seconds.max(1e-9)
    }

    pub(crate) fn bits_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds.max(1e-9)
    }

    /// Of what should have come in this time, the share that did not come the first way.
    pub(crate) fn loss_before_repair(&self) -> f64 {
        self.missing as f64 / (self.packets + self.missing).max(1) as f64
    }

    /// Returns the share of packets given up in this time, a second after they were missed.
    pub(crate) fn loss_after_repair(&self) -> f64 {
        self.lost as f64 / (self.packets + self.lost).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::Sent;

    fn told(recorder: &mut Recorder, ms: u64, packets: u64, delays_ms: &[u64]) -> Option<Sample> {
        let mut delay = Histogram::default();
        delays_ms.iter().for_each(|ms| delay.add(Duration::from_millis(*ms)));
        let progress = Progress {
            elapsed: Duration::from_millis(ms),
            started: 2,
            joined: 2,
            failed: 0,
            total: Counted { packets, bytes: packets * 1_200, ..Counted::default() },
            sent: Sent::default(),
            delay: &delay,
            kernel_drops: 0,
        };
        recorder.told(&progress).cloned()
    }

    #[test]
    fn a_sample_holds_what_came_since_the_one_before() {
        let mut recorder = Recorder::new(Duration::from_secs(60), None);
        assert!(told(&mut recorder, 200, 10, &[1]).is_none());
        let first = told(&mut recorder, 500, 100, &[3, 3]).unwrap();
        assert_eq!((first.packets, first.packets_per_second()), (100, 200.0));
        assert_eq!(first.delay_ms.unwrap().max, 3.0, "of both times it was told");
        let second = told(&mut recorder, 990, 300, &[]).unwrap();
        assert_eq!(second.packets, 200);
        assert!(second.delay_ms.is_none());
        assert_eq!(recorder.finish().len(), 2);
    }
}
