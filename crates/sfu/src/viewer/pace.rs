//! How much may a viewer be sent at once?
//!
//! A picture that is larger than others (a key frame) would reach a viewer's router as one burst, and the last of a
//! thousand viewers after everybody else's. So a viewer's share of each [`INTERVAL`] is bounded; what does not fit
//! comes in the next. The share grows with what waits, so that nothing waits for long: even the largest pictures are out
//! after about 30 ms, and those of up to 38 kB pass at once.

use std::time::{Duration, Instant};

/// Bounds what one viewer gets in a short time.
#[derive(Debug)]
pub struct Pace {
    share: u32,
    left: u32,
    renewed_at: Instant,
}

/// Long enough for a share to fill one system call's message, short enough to be no delay that anybody sees.
const INTERVAL: Duration = Duration::from_millis(5);
/// Packets that pass in one interval in any case: the key frames of most streams of 1.5 Mb/s, and no more than the queue of
/// any router on the way holds (64 kB and up).
const SHARE: u32 = 32;
/// All that waits goes out in about so many intervals.
const INTERVALS: u64 = 6;

impl Pace {
    /// A viewer that has been sent nothing yet.
    pub fn new(now: Instant) -> Pace {
        Pace { share: SHARE, left: SHARE, renewed_at: now }
    }

    /// How many of `waiting` packets may go now.
    pub fn share(&mut self, now: Instant, waiting: u64) -> u32 {
        if now >= self.next_at() {
            self.renewed_at = now;
            // While a picture is still going out, its pace is kept.
            let kept = if self.left == 0 { self.share } else { SHARE };
            self.share = u32::try_from(waiting.div_ceil(INTERVALS)).unwrap_or(u32::MAX).max(kept);
            self.left = self.share;
        }
        self.left
    }

    /// Packets went out.
    pub fn sent(&mut self, packets: u32) {
        self.left = self.left.saturating_sub(packets);
    }

    /// When more may go.
    pub fn next_at(&self) -> Instant {
        self.renewed_at + INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays pictures of `packets` every 33 ms; returns the largest share and the longest time until one was out.
    fn play(packets: u64) -> (u32, Duration) {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let (mut largest, mut longest) = (0, Duration::ZERO);
        for picture in 0..20 {
            let came_at = begin + Duration::from_millis(33) * picture;
            let (mut now, mut waiting) = (came_at, packets);
            while waiting > 0 {
                let share = pace.share(now, waiting).min(waiting as u32);
                pace.sent(share);
                waiting -= u64::from(share);
                largest = largest.max(share);
                longest = longest.max(now - came_at);
                now = pace.next_at();
            }
        }
        (largest, longest)
    }

    #[test]
    fn ordinary_pictures_pass_at_once() {
        assert_eq!(play(6), (6, Duration::ZERO));
        assert_eq!(play(32), (32, Duration::ZERO));
    }

    #[test]
    fn a_large_picture_is_spread_and_out_before_the_next() {
        let (largest, longest) = play(84); // 100 kB
        assert_eq!(largest, 32);
        assert_eq!(longest, Duration::from_millis(10));
        let (largest, longest) = play(840); // 1 MB
        assert_eq!(largest, 140);
        assert!(longest <= Duration::from_millis(30), "{longest:?}");
    }
}
