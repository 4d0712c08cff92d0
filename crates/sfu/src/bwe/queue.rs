//! How long do packets wait on the way, beyond the shortest way known?
//!
//! The trend of [`super::trend`] sees a queue grow, but not one that stands. libwebrtc leaves that to its pacer and to luck; we
//! promise at most some 50 ms, and look.

/// The waiting time by the difference of both clocks, whose offset does not matter.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The least difference of this half and the one before, and when this half began.
    least: Option<(i64, i64)>,
    half_began_us: u64,
    /// The least waiting time since `low_began_us`.
    low_us: Option<i64>,
    low_began_us: u64,
    /// The last complete one.
    standing_us: i64,
}

/// Ways change; a shortest way older than this is not believed.
const HALF_US: u64 = 15_000_000;
/// A queue stands if it was never shorter in this time.
const STANDING_US: u64 = 400_000;

impl Queue {
    /// A packet came: `difference_us` is its arrival by the viewer's clock less its departure by ours.
    pub(super) fn arrived(&mut self, now_us: u64, difference_us: i64) {
        let (this, before) = self.least.unwrap_or((difference_us, difference_us));
        self.least = Some(if now_us.saturating_sub(self.half_began_us) > HALF_US {
            self.half_began_us = now_us;
            (difference_us, this)
        } else {
            (this.min(difference_us), before)
        });
        let waited = difference_us - this.min(before).min(difference_us);
        let low = self.low_us.map_or(waited, |low| low.min(waited));
        self.low_us = Some(low);
        // A queue that shortens is known at once.
        self.standing_us = self.standing_us.min(waited);
        if now_us.saturating_sub(self.low_began_us) >= STANDING_US {
            self.standing_us = low;
            self.low_us = None;
            self.low_began_us = now_us;
        }
    }

    /// Milliseconds that every packet has waited lately.
    pub(super) fn standing_ms(&self) -> f32 {
        self.standing_us as f32 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_stands_is_seen_and_a_peak_is_not() {
        let mut queue = Queue::default();
        for n in 0..1_000_u64 {
            let peak = if n % 10 == 0 { 150_000 } else { 0 };
            let standing = if n >= 500 { 80_000 } else { 0 };
            queue.arrived(n * 10_000, -5_000_000 + peak + standing);
            if n < 500 {
                assert_eq!(queue.standing_ms(), 0.0);
            }
        }
        assert_eq!(queue.standing_ms(), 80.0);
        queue.arrived(10_000_000, -5_000_000);
        assert_eq!(queue.standing_ms(), 0.0);
    }
}
