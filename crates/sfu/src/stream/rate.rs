//! How many bits per second are received?

use std::time::{Duration, Instant};

/// Measures the rate over spans of slightly more than [`SPAN`]; 0 before the first one ends.
#[derive(Debug, Default)]
pub struct Rate {
    began_at: Option<Instant>,
    bytes: usize,
    bits_per_second: u64,
}

/// Span of a measurement: longer than a group of temporal layers, and too short to be noticed.
const SPAN: Duration = Duration::from_millis(500);

impl Rate {
    /// Counts received bytes.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        let began_at = *self.began_at.get_or_insert(now);
        let span = now.saturating_duration_since(began_at);
        if span >= SPAN {
            self.bits_per_second = (self.bytes as f64 * 8.0 / span.as_secs_f64()) as u64;
            self.began_at = Some(now);
            self.bytes = 0;
        }
        self.bytes += bytes;
    }

    /// Returns the bits per second of the last complete span.
    pub fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_after_half_a_second_and_a_pause_lowers_it() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for ms in (0..2_000).step_by(10) {
            rate.add(start + Duration::from_millis(ms), 1_250);
            assert_eq!(rate.bits_per_second(), if ms < 500 { 0 } else { 1_000_000 });
        }
        rate.add(start + Duration::from_secs(10), 1_250);
        assert!(rate.bits_per_second() < 100_000);
    }
}
