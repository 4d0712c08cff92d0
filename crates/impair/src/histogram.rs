//! How are many durations spread, in little memory?

use std::time::Duration;

use serde::Serialize;

/// Counts microseconds in steps that grow with the value: 1 µs below 64 µs, then 32 steps for each
/// doubling, so that a percentile is off by 3 % at most.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    total: u64,
    largest: u64,
}

/// What a histogram says, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Percentiles {
    /// Values seen.
    pub count: u64,
    /// Half are no larger.
    pub p50: f64,
    /// Nine of ten are no larger.
    pub p90: f64,
    /// 99 of 100 are no larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Below it every microsecond has its own bucket.
const EXACT: u64 = 64;
/// Steps for each doubling above.
const STEPS: u64 = 32;
/// The longest duration in microseconds, more than an hour; longer ones count as this one.
const LONGEST: u64 = u32::MAX as u64;

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; bucket(LONGEST) + 1], total: 0, largest: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        if let Some(count) = self.buckets.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.largest = self.largest.max(micros);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.total = 0;
        self.largest = 0;
    }

    /// Returns the usual percentiles.
    pub fn percentiles(&self) -> Percentiles {
        let at = |share| self.quantile(share).as_secs_f64() * 1e3;
        Percentiles { count: self.total, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: self.largest as f64 / 1e3 }
    }

    /// Returns the smallest value that is not exceeded by this share of all values; zero without
    /// values.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(upper_edge(index).min(self.largest));
            }
        }
        Duration::ZERO
    }
}

fn bucket(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    // 64 is 2⁶: the first doubling has exponent 6.
    let exponent = u64::from(63 - micros.leading_zeros());
    let step = (micros - (1 << exponent)) >> (exponent - 5);
    (EXACT + (exponent - 6) * STEPS + step) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (exponent, step) = ((bucket - EXACT) / STEPS + 6, (bucket - EXACT) % STEPS);
    (1 << exponent) + ((step + 1) << (exponent - 5)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_one_to_a_thousand() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|ms| histogram.add(Duration::from_millis(ms)));
        let percentiles = histogram.percentiles();
        let close = |seen: f64, exact: f64| (seen / exact - 1.0).abs() < 0.035;
        assert!(close(percentiles.p50, 500.0) && close(percentiles.p90, 900.0) && close(percentiles.p99, 990.0));
        assert_eq!((percentiles.count, percentiles.max), (1_000, 1_000.0));
        histogram.clear();
        assert_eq!(histogram.percentiles(), Percentiles::default());
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(micros in 0..=LONGEST) {
            let index = bucket(micros);
            prop_assert!(micros <= upper_edge(index));
            prop_assert!(index == 0 || upper_edge(index - 1) < micros);
            prop_assert!(upper_edge(index) as f64 <= micros as f64 * 1.032);
        }
    }
}
