//! Does an encoder send pictures in another order than they are shown in?
//!
//! B-frames refer to later pictures, so those are sent first, and RTP timestamps (moments of
//! presentation, RFC 6184 §5.1, RFC 7798 §4.1) go back in sequence order. Receivers for
//! conversations show pictures in the order in which they come: libwebrtc drops those that are
//! behind the last one shown.
//!
//! Only packets in the order of their sequence numbers are compared, so that loss and reordering on
//! the way prove nothing. The type of slices proves nothing either: encoders for low delay write B
//! slices that refer to the past only.

/// Notices pictures whose timestamps go back.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReorderTracker {
    /// Sequence number and timestamp of the packet with the highest number.
    newest: Option<(u64, u32)>,
    /// Steps back, and pictures since the last one.
    steps: u8,
    pictures_since: u16,
}

/// Backward steps of the timestamp, each within [`FORGOTTEN_AFTER`] pictures of the one before,
/// that prove reordered pictures. A single step may be a clock that was set. A guess.
const PROVED_BY: u8 = 3;

/// Pictures in order after which earlier steps back are forgotten: 10 s at 30 a second, longer than
/// a group in which an encoder finds no use for a B-frame (a still scene). A guess.
const FORGOTTEN_AFTER: u16 = 300;

/// A step back of more ticks is not reordering: encoders look ahead by 16 pictures at most (H.264
/// §A.3.1, `max_dec_frame_buffering`), 2 s at 8 a second.
const MAX_STEP_TICKS: u32 = 2 * 90_000;

impl ReorderTracker {
    /// Takes note of a packet with a slice in it. Returns whether pictures are reordered.
    pub fn observe(&mut self, seq: u64, timestamp: u32) -> bool {
        let Some((newest_seq, newest_timestamp)) = self.newest else {
            self.newest = Some((seq, timestamp));
            return false;
        };
        if seq <= newest_seq {
            return self.is_reordered();
        }
        self.newest = Some((seq, timestamp));
        let back = newest_timestamp.wrapping_sub(timestamp);
        if (1..=MAX_STEP_TICKS).contains(&back) {
            self.steps = self.steps.saturating_add(1);
            self.pictures_since = 0;
        } else if back != 0 && self.steps > 0 {
            self.pictures_since = self.pictures_since.saturating_add(1);
            if self.pictures_since > FORGOTTEN_AFTER {
                self.steps = 0;
            }
        }
        self.is_reordered()
    }

    /// Returns whether pictures were reordered lately.
    pub fn is_reordered(&self) -> bool {
        self.steps >= PROVED_BY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of two packets each, by the moment at which they are shown.
    fn packets(shown: &[u32]) -> Vec<(u64, u32)> {
        let pictures = (0..).zip(shown);
        pictures.flat_map(|(n, at)| [(2 * n, at * 3_600), (2 * n + 1, at * 3_600)]).collect()
    }

    fn check(packets: &[(u64, u32)], first_timestamp: u32) -> bool {
        let mut tracker = ReorderTracker::default();
        let timestamp = |ticks: &u32| first_timestamp.wrapping_add(*ticks);
        packets.iter().map(|(seq, ticks)| tracker.observe(*seq, timestamp(ticks))).last().unwrap_or(false)
    }

    #[test]
    fn timestamps_that_go_back_in_sequence_order_are_noticed() {
        // I B B P: P is sent before both.
        let shown = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8];
        for first_timestamp in [0, u32::MAX - 10_000] {
            assert!(check(&packets(&shown), first_timestamp));
            assert!(!check(&packets(&shown[..6]), first_timestamp), "two steps are too few");
        }
        // Every second packet is lost.
        let lossy: Vec<_> = packets(&shown).into_iter().step_by(2).collect();
        assert!(check(&lossy, 0));
    }

    #[test]
    fn loss_and_reordering_on_the_way_are_not_noticed() {
        let shown: Vec<u32> = (0..1_000).collect();
        let mut swapped = packets(&shown);
        swapped.chunks_mut(7).for_each(<[_]>::reverse);
        assert!(!check(&swapped, u32::MAX - 90_000));
        let lossy: Vec<_> = packets(&shown).into_iter().filter(|(seq, _)| seq % 7 < 3).collect();
        assert!(!check(&lossy, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_is_not_noticed() {
        let shown: Vec<u32> = (500..600).chain(590..690).chain(0..100).collect();
        assert!(!check(&packets(&shown), 0));
    }

    #[test]
    fn an_encoder_that_stops_reordering_is_forgiven() {
        let mut tracker = ReorderTracker::default();
        for (seq, ticks) in packets(&[0, 3, 1, 2, 6, 4, 5, 9, 7, 8]) {
            tracker.observe(seq, ticks);
        }
        assert!(tracker.is_reordered());
        for n in 0..=u32::from(FORGOTTEN_AFTER) {
            tracker.observe(100 + u64::from(n), 100_000 + 3_600 * n);
        }
        assert!(!tracker.is_reordered());
    }
}
