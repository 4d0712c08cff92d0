//! Which sequence number and timestamp does a packet get towards this viewer?
//!
//! A viewer sees one RTP stream without seams, whoever publishes and wherever it was started. The
//! rewriter owns the outgoing 48-bit packet index (threat T3): every index is given out once, by adding
//! a constant to the publisher's extended sequence number within a *run*, less what was left out of it. A run starts at
//! a key frame (video) or anywhere (audio) and ends when the next one starts.
//!
//! Timestamps: within a run, `out = in + constant` at the live edge. What a late viewer is sent of the
//! past is squeezed in time, so that it is shown quickly and ends exactly at the live edge.

use std::time::{Duration, Instant};

use media::{Epoch, Packet};

use crate::layers::continuity::Gapless;

/// Rewrites one track for one viewer.
#[derive(Debug)]
pub struct Rewrite {
    clock_rate: u32,
    run: Option<Run>,
    /// Packet indexes of publishers' sequence numbers.
    indexes: Gapless,
    /// Timestamp of the newest picture or sound given out, and when.
    newest: Option<Newest>,
    first_timestamp: u32,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    timestamp: u32,
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    epoch: Epoch,
    first_seq: u64,
    /// `out = in + delta` from the live edge on.
    timestamp_delta: u32,
    squeeze: Option<Squeeze>,
}

/// Maps publisher time `from..=to` onto outgoing time `out_from..=out_to`.
#[derive(Debug, Clone, Copy)]
struct Squeeze {
    from: u32,
    span_in: u32,
    out_from: u32,
    span_out: u32,
}

/// What a packet becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// 48-bit SRTP index; the low 16 bits are the sequence number.
    pub index: u64,
    /// Outgoing RTP timestamp.
    pub timestamp: u32,
}

impl Rewrite {
    /// A rewriter for a track of `clock_rate`. `seed` decides the first sequence number and timestamp
    /// (RFC 3550 §5.1 wants them unpredictable; the SSRC's owner hands in random bits).
    pub fn new(clock_rate: u32, seed: u64) -> Rewrite {
        Rewrite {
            clock_rate,
            run: None,
            // Below 2^15, so that a receiver that misses the first packets still guesses ROC 0 (RFC 3711 §3.3.1).
            indexes: Gapless::new(1 + (seed & 0x7ffe)),
            newest: None,
            first_timestamp: (seed >> 32) as u32,
        }
    }

    /// Starts a run with `first`, seamlessly after what was given out before.
    pub fn start(&mut self, now: Instant, first: &Packet) {
        let out = self.timestamp_now(now);
        self.indexes.start(first.seq);
        self.run = Some(Run {
            epoch: first.epoch,
            first_seq: first.seq,
            timestamp_delta: out.wrapping_sub(first.timestamp),
            squeeze: None,
        });
    }

    /// Ends the run, and gives out `count` indexes for what is sent before the next one. Returns the first.
    pub fn reserve(&mut self, count: u64) -> u64 {
        self.run = None;
        self.indexes.reserve(count)
    }

    /// Squeezes what lies between `from` (a timestamp already placed, or the run's first) and the live edge
    /// `to` into the time that has passed for the viewer since `from` was shown, at least
    /// `ticks_per_frame` for each of `frames`.
    pub fn squeeze(&mut self, now: Instant, from: u32, to: u32, frames: u32, ticks_per_frame: u32) {
        let Some(run) = &mut self.run else { return };
        let out_from = from.wrapping_add(run.timestamp_delta);
        let span_in = to.wrapping_sub(from);
        if span_in == 0 || span_in > u32::MAX / 2 {
            return;
        }
        let elapsed = self.newest.map_or(0, |n| ticks(now.saturating_duration_since(n.at), self.clock_rate));
        let span_out = elapsed.max(frames.saturating_mul(ticks_per_frame)).min(span_in);
        run.squeeze = Some(Squeeze { from, span_in, out_from, span_out });
        run.timestamp_delta = out_from.wrapping_add(span_out).wrapping_sub(to);
    }

    /// Whether a packet belongs to the current run at all: an older publisher's, or one from before
    /// the run's first, does not.
    pub fn takes(&self, packet: &Packet) -> bool {
        self.run.is_some_and(|run| run.epoch == packet.epoch && packet.seq >= run.first_seq)
    }

    /// The current run's epoch.
    pub fn epoch(&self) -> Option<Epoch> {
        self.run.map(|run| run.epoch)
    }

    /// Leaves a packet out, so that later ones follow without a gap. Returns the numbers that had been kept for it, if later
    /// ones were given out already: something has to be sent under them.
    pub fn leave_out(&mut self, packet: &Packet) -> Option<Rewritten> {
        if !self.takes(packet) {
            return None;
        }
        let index = self.indexes.leave_out(packet.seq)?;
        Some(Rewritten { index, timestamp: self.timestamp(packet.timestamp)? })
    }

    /// Gives a packet its outgoing numbers. `None` if it does not belong to the run, or was left out.
    pub fn rewrite(&mut self, now: Instant, packet: &Packet) -> Option<Rewritten> {
        if !self.takes(packet) {
            return None;
        }
        let timestamp = self.timestamp(packet.timestamp)?;
        let index = self.indexes.forward(packet.seq)?;
        let newer = self.newest.is_none_or(|n| timestamp.wrapping_sub(n.timestamp) < u32::MAX / 2);
        if newer {
            self.newest = Some(Newest { timestamp, at: now });
        }
        Some(Rewritten { index, timestamp })
    }

    /// Where a publisher's timestamp of the current run lies for this viewer.
    pub fn timestamp(&self, timestamp: u32) -> Option<u32> {
        let run = self.run.as_ref()?;
        if let Some(squeeze) = &run.squeeze {
            let offset = timestamp.wrapping_sub(squeeze.from);
            if offset <= squeeze.span_in {
                let scaled = u64::from(offset) * u64::from(squeeze.span_out) / u64::from(squeeze.span_in);
                return Some(squeeze.out_from.wrapping_add(scaled as u32));
            }
        }
        Some(timestamp.wrapping_add(run.timestamp_delta))
    }

    /// The outgoing timestamp that stands for this moment if the last one stood for when it was sent.
    fn timestamp_now(&self, now: Instant) -> u32 {
        match self.newest {
            None => self.first_timestamp,
            Some(newest) => {
                // At least a millisecond: no renderer takes two pictures for one, and libwebrtc counts in milliseconds.
                let elapsed =
                    ticks(now.saturating_duration_since(newest.at), self.clock_rate).max(self.clock_rate / 1_000);
                newest.timestamp.wrapping_add(elapsed)
            }
        }
    }
}

fn ticks(span: Duration, clock_rate: u32) -> u32 {
    (span.as_micros() * u128::from(clock_rate) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::packet;

    const VIDEO: u32 = 90_000;

    #[test]
    fn numbers_go_on_without_a_gap_when_the_publisher_is_replaced() {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(VIDEO, 0);
        rewrite.start(now, &packet(70_000).epoch(1).at(1_000).build());
        let a = rewrite.rewrite(now, &packet(70_000).epoch(1).at(1_000).build()).expect("of the run");
        let b = rewrite.rewrite(now, &packet(70_001).epoch(1).at(4_000).build()).expect("of the run");
        assert_eq!((b.index, b.timestamp), (a.index + 1, a.timestamp + 3_000));

        let later = now + Duration::from_secs(2);
        rewrite.start(later, &packet(5).epoch(2).at(77).build());
        let c = rewrite.rewrite(later, &packet(5).epoch(2).at(77).build()).expect("of the new run");
        assert_eq!((c.index, c.timestamp), (b.index + 1, b.timestamp + 180_000));
        assert_eq!(rewrite.rewrite(later, &packet(70_002).epoch(1).at(7_000).build()), None, "the old publisher's");
    }

    #[test]
    fn a_packet_from_before_the_run_has_no_place_in_it() {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(VIDEO, 0);
        rewrite.start(now, &packet(100).at(0).build());
        assert_eq!(rewrite.rewrite(now, &packet(99).at(0).build()), None);
        assert!(rewrite.rewrite(now, &packet(102).at(0).build()).is_some());
        let late = rewrite.rewrite(now, &packet(101).at(0).build()).expect("late but of the run");
        assert_eq!(late.index, 3 - 1, "its own number, below the one sent before");
    }

    #[test]
    fn the_past_is_squeezed_and_ends_at_the_live_edge() {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(VIDEO, 0);
        // 10 s of 30 frames a second, squeezed to 1 ms a frame.
        rewrite.start(now, &packet(1).at(0).build());
        rewrite.squeeze(now, 0, 900_000, 300, 90);
        let mut last = None;
        for frame in 0..=300u32 {
            let out =
                rewrite.rewrite(now, &packet(1 + u64::from(frame)).at(frame * 3_000).build()).expect("of the run");
            if let Some(last) = last {
                assert!(out.timestamp > last, "strictly increasing");
            }
            last = Some(out.timestamp);
        }
        assert_eq!(last, Some(300 * 90));
        let live = rewrite.rewrite(now, &packet(302).at(903_000).build()).expect("of the run");
        assert_eq!(live.timestamp, 300 * 90 + 3_000, "from the live edge on time runs as it does");
    }

    #[test]
    fn a_picture_that_was_held_is_followed_by_the_time_that_has_passed() {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(VIDEO, 0);
        rewrite.start(now, &packet(1).at(0).build());
        rewrite.rewrite(now, &packet(1).at(0).build());
        let later = now + Duration::from_millis(600);
        rewrite.squeeze(later, 0, 450_000, 150, 90);
        let edge = rewrite.rewrite(later, &packet(151).at(450_000).build()).expect("of the run");
        assert_eq!(edge.timestamp, 54_000);
    }

    #[test]
    fn timestamps_and_sequence_numbers_wrap() {
        let now = Instant::now();
        let mut rewrite = Rewrite::new(VIDEO, u64::from(u32::MAX - 10) << 32 | 0x7ffe);
        rewrite.start(now, &packet(65_530).at(u32::MAX - 2).build());
        let mut indexes = Vec::new();
        for n in 0..70_000u64 {
            let at = (u32::MAX - 2).wrapping_add(n as u32 * 3_000);
            indexes.push(rewrite.rewrite(now, &packet(65_530 + n).at(at).build()).expect("of the run").index);
        }
        assert!(indexes.windows(2).all(|w| w[1] == w[0] + 1));
        assert!(indexes[69_999] > 1 << 16, "the rollover counter counts");
    }
}
