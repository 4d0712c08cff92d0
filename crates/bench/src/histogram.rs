//! How are many durations distributed?
//!
//! Buckets grow with the value: each power of two is cut into [`CUTS`], so that a percentile is
//! wrong by less than 2 % and memory does not grow with the run.

use std::time::Duration;

/// Durations, counted.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

/// The percentiles that are reported, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

const CUTS: u64 = 64;
const CUT_BITS: u32 = CUTS.trailing_zeros();

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; ((64 - CUT_BITS) as usize + 1) * CUTS as usize], count: 0, max_ns: 0 }
    }
}

impl Histogram {
    pub(crate) fn add_ns(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        self.add_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(bucket, more)| *bucket += more);
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the value in milliseconds below which the share `share` (0 to 1) of all values lies.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_ns(place).min(self.max_ns) as f64 / 1e6;
            }
        }
        self.max_ns as f64 / 1e6
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.ms(0.5),
            p90: self.ms(0.9),
            p99: self.ms(0.99),
            p999: self.ms(0.999),
            max: self.max_ns as f64 / 1e6,
        }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < CUTS {
        return ns as usize;
    }
    let power = ns.ilog2() - CUT_BITS;
    // The first bucket of a power holds values from CUTS << power.
    ((u64::from(power) + 1) * CUTS + (ns >> power) - CUTS) as usize
}

/// Returns the largest value of a bucket.
fn upper_ns(place: usize) -> u64 {
    let place = place as u64;
    if place < CUTS {
        return place;
    }
    let (power, cut) = (place / CUTS - 1, place % CUTS);
    ((u128::from(CUTS + cut + 1) << power) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_wrong_by_less_than_two_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|n| histogram.add_ns(n * 1_000));
        for (share, ms) in [(0.5, 50.0), (0.99, 99.0), (0.999, 99.9)] {
            let found = histogram.ms(share);
            assert!((found / ms - 1.0).abs() < 0.02, "{found} instead of {ms}");
        }
        assert_eq!(histogram.percentiles().max, 100.0);
    }

    #[test]
    fn every_value_lies_in_its_bucket() {
        for ns in (0..64).map(|n| 1_u64 << n).flat_map(|n| [n - 1, n, n + 1]).chain([u64::MAX]) {
            let place = bucket(ns);
            assert!(upper_ns(place) >= ns, "{ns} in bucket {place} up to {}", upper_ns(place));
            assert!(place == 0 || upper_ns(place - 1) < ns);
        }
    }
}
