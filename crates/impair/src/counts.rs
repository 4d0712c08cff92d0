//! How many datagrams did a link carry, lose and delay?

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::histogram::{Histogram, Percentiles};

/// Datagrams and their bytes, without headers of IP and UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Volume {
    /// Number of datagrams.
    pub datagrams: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
}

impl Volume {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

/// Why a datagram did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drop {
    /// Lost by the setting `loss`.
    Random,
    /// Lost by the setting `burst`.
    Burst,
    /// The queue was full.
    Queue,
    /// The relay's own limit of bytes was reached.
    Overflow,
}

/// The counters of one direction of a link since the last reset.
#[derive(Debug, Clone)]
pub struct Counts {
    since: Instant,
    offered: Volume,
    delivered: Volume,
    lost_random: u64,
    lost_burst: u64,
    dropped_queue: u64,
    dropped_overflow: u64,
    duplicated: u64,
    overtaken: u64,
    queue: Histogram,
    series: VecDeque<Sample>,
    /// Number of discarded samples before the first one in `series`.
    forgotten: usize,
}

/// The report of [`Counts`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Datagrams that entered the link.
    pub offered: Volume,
    /// Datagrams that left the link, duplicates included.
    pub delivered: Volume,
    /// Datagrams lost by `loss`.
    pub lost_random: u64,
    /// Datagrams lost by `burst`.
    pub lost_burst: u64,
    /// Datagrams dropped by a full queue.
    pub dropped_queue: u64,
    /// Datagrams dropped by the relay's own limit of bytes.
    pub dropped_overflow: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
    /// Datagrams held back until others had passed.
    pub overtaken: u64,
    /// Waits of datagrams in the queue, in milliseconds.
    pub queue_ms: Percentiles,
    /// The standing queue: the median over time of the least wait within 100 ms, milliseconds.
    /// Bursts that drain do not count.
    pub standing_queue_ms: f64,
    /// Every 100 ms since the reset, or the last hour of it.
    pub series: Vec<Sample>,
}

/// 100 ms of a link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Start of the sample, in milliseconds since the reset.
    pub at_ms: u64,
    /// Payload bytes that entered the link.
    pub offered_bytes: u64,
    /// Payload bytes that left the link.
    pub delivered_bytes: u64,
    /// Datagrams that were lost or dropped, whatever the cause.
    pub dropped: u64,
    /// Shortest wait of the datagrams that left the queue, in milliseconds; `None` without any.
    pub least_queue_ms: Option<f64>,
    /// Longest wait of the datagrams that left the queue, in milliseconds; `None` without any.
    pub most_queue_ms: Option<f64>,
}

/// The time that a sample covers.
pub const SAMPLE: Duration = Duration::from_millis(100);
/// The most samples, one hour; older ones are discarded.
const MOST_SAMPLES: usize = 36_000;

impl Counts {
    pub(crate) fn new(now: Instant) -> Counts {
        Counts {
            since: now,
            offered: Volume::default(),
            delivered: Volume::default(),
            lost_random: 0,
            lost_burst: 0,
            dropped_queue: 0,
            dropped_overflow: 0,
            duplicated: 0,
            overtaken: 0,
            queue: Histogram::default(),
            series: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Returns counters of zero whose samples begin at the same times.
    pub(crate) fn fork(&self) -> Counts {
        Counts::new(self.since)
    }

    pub(crate) fn offered(&mut self, at: Instant, bytes: usize) {
        self.offered.add(bytes);
        if let Some(sample) = self.sample(at) {
            sample.offered_bytes += bytes as u64;
        }
    }

    pub(crate) fn delivered(&mut self, at: Instant, bytes: usize) {
        self.delivered.add(bytes);
        if let Some(sample) = self.sample(at) {
            sample.delivered_bytes += bytes as u64;
        }
    }

    pub(crate) fn dropped(&mut self, at: Instant, why: Drop) {
        match why {
            Drop::Random => self.lost_random += 1,
            Drop::Burst => self.lost_burst += 1,
            Drop::Queue => self.dropped_queue += 1,
            Drop::Overflow => self.dropped_overflow += 1,
        }
        if let Some(sample) = self.sample(at) {
            sample.dropped += 1;
        }
    }

    pub(crate) fn left_queue(&mut self, at: Instant, waited: Duration) {
        self.queue.add(waited);
        let ms = waited.as_secs_f64() * 1e3;
        if let Some(sample) = self.sample(at) {
            sample.least_queue_ms = Some(sample.least_queue_ms.map_or(ms, |least| least.min(ms)));
            sample.most_queue_ms = Some(sample.most_queue_ms.map_or(ms, |most| most.max(ms)));
        }
    }

    pub(crate) fn duplicated(&mut self) {
        self.duplicated += 1;
    }

    pub(crate) fn overtaken(&mut self) {
        self.overtaken += 1;
    }

    /// Returns the counters.
    pub fn report(&self) -> Report {
        let mut standing: Vec<f64> = self.series.iter().filter_map(|sample| sample.least_queue_ms).collect();
        standing.sort_by(f64::total_cmp);
        Report {
            offered: self.offered,
            delivered: self.delivered,
            lost_random: self.lost_random,
            lost_burst: self.lost_burst,
            dropped_queue: self.dropped_queue,
            dropped_overflow: self.dropped_overflow,
            duplicated: self.duplicated,
            overtaken: self.overtaken,
            queue_ms: self.queue.percentiles(),
            standing_queue_ms: standing.get(standing.len() / 2).copied().unwrap_or(0.0),
            series: self.series.iter().copied().collect(),
        }
    }

    /// Returns the sample of a moment; `None` before the last reset, and for samples that were
    /// discarded.
    fn sample(&mut self, at: Instant) -> Option<&mut Sample> {
        let since = at.checked_duration_since(self.since)?;
        let index = usize::try_from(since.as_millis() / SAMPLE.as_millis()).ok()?;
        if index >= self.forgotten + self.series.len() + MOST_SAMPLES {
            // All kept samples are older than the series.
            self.series.clear();
            self.forgotten = index;
        }
        while self.forgotten + self.series.len() <= index {
            let at_ms = (self.forgotten + self.series.len()) as u64 * SAMPLE.as_millis() as u64;
            let (least_queue_ms, most_queue_ms) = (None, None);
            self.series.push_back(Sample {
                at_ms,
                offered_bytes: 0,
                delivered_bytes: 0,
                dropped: 0,
                least_queue_ms,
                most_queue_ms,
            });
            if self.series.len() > MOST_SAMPLES {
                self.series.pop_front();
                self.forgotten += 1;
            }
        }
        self.series.get_mut(index.checked_sub(self.forgotten)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_100_ms_has_a_sample() {
        let start = Instant::now();
        let mut counts = Counts::new(start);
        counts.offered(start, 100);
        counts.dropped(start + Duration::from_millis(250), Drop::Queue);
        for ms in [30, 10, 20] {
            counts.left_queue(start + Duration::from_millis(299), Duration::from_millis(ms));
        }
        let report = counts.report();
        assert_eq!(report.series.iter().map(|sample| sample.at_ms).collect::<Vec<_>>(), [0, 100, 200]);
        assert_eq!((report.series[0].offered_bytes, report.series[2].dropped), (100, 1));
        assert_eq!((report.series[2].least_queue_ms, report.series[2].most_queue_ms), (Some(10.0), Some(30.0)));
        assert_eq!((report.standing_queue_ms, report.dropped_queue), (10.0, 1));
    }

    #[test]
    fn an_hour_is_kept() {
        let start = Instant::now();
        let mut counts = Counts::new(start);
        for at in [0, 3_599, 3_700, 20_000] {
            counts.offered(start + Duration::from_secs(at), 1);
            assert!(counts.series.len() <= MOST_SAMPLES);
        }
        counts.offered(start, 1);
        let report = counts.report();
        assert_eq!(report.offered.datagrams, 5);
        assert_eq!(report.series.last().unwrap().at_ms, 20_000_000);
        assert_eq!(report.series.iter().map(|sample| sample.offered_bytes).sum::<u64>(), 1);
    }
}
