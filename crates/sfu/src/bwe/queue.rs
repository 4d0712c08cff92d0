//! How long do packets wait on the path, beyond the shortest known delay?
//!
//! The trend of [`super::trend`] sees a growing queue, but not a standing one. libwebrtc leaves a
//! standing queue to its pacer and to chance; this server aims at a queue of about 50 ms at most,
//! and therefore measures it.

/// Waiting times, from the difference of both clocks. The offset of the clocks cancels out.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The least difference of this half window and of the one before, and the start of this half.
    least: Option<(i64, i64)>,
    half_began_us: u64,
    /// The least waiting time since `low_began_us`.
    low_us: Option<i64>,
    low_began_us: u64,
    /// The last complete minimum.
    standing_us: i64,
    /// The least waiting time of this tenth of a second and of the one before.
    recent_us: (Option<i64>, i64),
    recent_began_us: u64,
    /// Mean waiting time, and mean deviation of packets from it.
    mean_us: f32,
    jitter_us: f32,
}

/// Half of the window of the shortest delay. Paths change, so an older minimum does not count.
const HALF_US: u64 = 15_000_000;
/// Time after which a fast-growing queue counts.
const RECENT_US: u64 = 100_000;
/// Smoothing factor of the jitter: about 200 packets.
const LEARNING: f32 = 0.005;
/// Waiting time below which a queue counts as empty.
const LEAST_US: f32 = 5_000.0;
/// Time for which the queue must never be shorter to count as standing.
const STANDING_US: u64 = 400_000;

impl Queue {
    /// Measures an arrived packet. `difference_us`: arrival by the viewer's clock minus departure
    /// by the server's.
    pub(super) fn on_arrival(&mut self, now_us: u64, difference_us: i64) {
        let (this, before) = self.least.unwrap_or((difference_us, difference_us));
        self.least = Some(if now_us.saturating_sub(self.half_began_us) > HALF_US {
            self.half_began_us = now_us;
            (difference_us, this)
        } else {
            (this.min(difference_us), before)
        });
        let waited = difference_us - this.min(before).min(difference_us);
        self.mean_us += LEARNING * (waited as f32 - self.mean_us);
        self.jitter_us += LEARNING * ((waited as f32 - self.mean_us).abs() - self.jitter_us);
        if now_us.saturating_sub(self.recent_began_us) >= RECENT_US {
            self.recent_us = (Some(waited), self.recent_us.0.unwrap_or(waited));
            self.recent_began_us = now_us;
        } else {
            self.recent_us.0 = Some(self.recent_us.0.map_or(waited, |least| least.min(waited)));
        }
        let low = self.low_us.map_or(waited, |low| low.min(waited));
        self.low_us = Some(low);
        // A shorter queue counts at once.
        self.standing_us = self.standing_us.min(waited);
        if now_us.saturating_sub(self.low_began_us) >= STANDING_US {
            self.standing_us = low;
            self.low_us = None;
            self.low_began_us = now_us;
        }
    }

    /// Returns `true` if all packets of the last tenths of a second waited longer than jitter
    /// explains. With jitter, delays may rise ten times in a row by chance, so the shortest one
    /// decides.
    pub(super) fn is_there(&self) -> bool {
        let shortest = self.recent_us.0.map_or(self.recent_us.1, |this| this.min(self.recent_us.1));
        shortest as f32 > LEAST_US + self.mean_us + self.jitter_us
    }

    /// Returns the milliseconds that every packet has waited recently.
    pub(super) fn standing_ms(&self) -> f32 {
        self.standing_us as f32 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_queue_is_seen_and_a_peak_is_not() {
        let mut queue = Queue::default();
        for n in 0..1_000_u64 {
            let peak = if n % 10 == 0 { 150_000 } else { 0 };
            let standing = if n >= 500 { 80_000 } else { 0 };
            queue.on_arrival(n * 10_000, -5_000_000 + peak + standing);
            if n < 500 {
                assert_eq!(queue.standing_ms(), 0.0);
            }
        }
        assert_eq!(queue.standing_ms(), 80.0);
        queue.on_arrival(10_000_000, -5_000_000);
        assert_eq!(queue.standing_ms(), 0.0);
    }

    #[test]
    fn jitter_is_no_queue_and_a_queue_on_a_jittery_path_is_one() {
        let mut queue = Queue::default();
        for n in 0..2_000_u64 {
            queue.on_arrival(n * 10_000, (n * 7_919 % 100_000).cast_signed());
            assert!(!queue.is_there(), "{n}");
        }
        for n in 2_000..2_030_u64 {
            queue.on_arrival(n * 10_000, 150_000 + (n * 7_919 % 100_000).cast_signed());
        }
        assert!(queue.is_there());
    }
}
