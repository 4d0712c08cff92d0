//! Which run of its encoding does a packet belong to?
//!
//! A *run* is a span of packets with one SSRC, one video format and one sequence: within it, sequence numbers tell the
//! order of packets, and a key frame can be followed by what came since. What ends it:
//!
//! - another SSRC (a publisher that restarts its encoder or its payloader);
//! - another video format on the same SSRC (the payload type changed): what came before is of another codec;
//! - a jump of the sequence number of more than [`MAX_DROPOUT`], proved by a second packet as in RFC 3550 appendix A.1.
//!
//! Viewers restart at the first key frame of a run. So the number of runs that a publisher can begin is bounded by an
//! [`Allowance`], and an SSRC that was replaced is not taken back while its successor sends: two SSRCs in turn are one
//! flow that is forwarded and one that is dropped.

use std::time::{Duration, Instant};

use crate::allowance::Allowance;
use crate::format::Format;

/// Assigns the packets of one encoding to runs.
#[derive(Debug)]
pub(crate) struct Runs {
    run: u32,
    flow: Option<Flow>,
    /// SSRCs that were replaced, in a ring.
    replaced: [Option<u32>; MAX_REPLACED],
    next_replaced: usize,
    allowance: Allowance,
}

/// The flow of the current run.
#[derive(Debug, Clone, Copy)]
struct Flow {
    ssrc: u32,
    /// `None` for audio, where formats may change from packet to packet (Opus, and Opus in RED).
    format: Option<Format>,
    highest: u64,
    heard_at: Instant,
    /// A packet far ahead of the others was held; the next of its sequence proves that it was no accident.
    jumped_to: Option<u64>,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it: it belongs to the current run.
    Goes,
    /// Forward it: a new run begins with it.
    Begins,
    /// Keep it, in place of one that was kept before.
    Held,
    /// A new run begins with the packet that was kept, and this one follows.
    HeldBegins,
    /// Drop it.
    Dropped,
}

/// RFC 3550 appendix A.1: a sequence number this far ahead is not taken for loss.
const MAX_DROPOUT: u64 = 3_000;

/// SSRCs that are remembered as replaced. A guess: a publisher that restarts has one or two.
const MAX_REPLACED: usize = 4;

/// Silence of the successor after which a replaced SSRC is taken back. Longer than reordering and
/// retransmissions last (about a round trip each), shorter than a person waits. A guess.
const TAKEN_BACK_AFTER: Duration = Duration::from_secs(1);

/// New runs at once, and how fast more are allowed. A guess: browsers begin one run per encoding and restart.
const MAX_NEW_RUNS: u32 = 8;
const NEW_RUN_EVERY: Duration = Duration::from_secs(1);

impl Default for Runs {
    fn default() -> Runs {
        Runs {
            run: 0,
            flow: None,
            replaced: [None; MAX_REPLACED],
            next_replaced: 0,
            allowance: Allowance::new(MAX_NEW_RUNS, NEW_RUN_EVERY),
        }
    }
}

impl Runs {
    /// The number of the current run.
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    /// The SSRC of the current run.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        self.flow.map(|flow| flow.ssrc)
    }

    /// A packet came. `format`: of video; `None` for audio. `seq` is extended (RFC 3711 §3.3.1).
    pub(crate) fn observe(&mut self, now: Instant, ssrc: u32, format: Option<Format>, seq: u64) -> Verdict {
        let fresh = Flow { ssrc, format, highest: seq, heard_at: now, jumped_to: None };
        let Some(flow) = &mut self.flow else {
            self.flow = Some(fresh);
            return Verdict::Goes;
        };
        if flow.ssrc == ssrc && flow.format == format {
            flow.heard_at = now;
            if seq.saturating_sub(flow.highest) <= MAX_DROPOUT {
                flow.highest = flow.highest.max(seq);
                flow.jumped_to = None;
                return Verdict::Goes;
            }
            if flow.jumped_to.is_none_or(|first| first.checked_add(1) != Some(seq)) {
                flow.jumped_to = Some(seq);
                return Verdict::Held;
            }
            return if self.begin(now, fresh) { Verdict::HeldBegins } else { Verdict::Dropped };
        }
        let is_late = flow.ssrc == ssrc && seq < flow.highest;
        let was_replaced = flow.ssrc != ssrc && self.replaced.contains(&Some(ssrc));
        let is_silent = now.saturating_duration_since(flow.heard_at) >= TAKEN_BACK_AFTER;
        if is_late || (was_replaced && !is_silent) || !self.begin(now, fresh) {
            return Verdict::Dropped;
        }
        Verdict::Begins
    }

    /// Begins the next run, if that is allowed. After the last number there is none: the encoding stays as it is.
    fn begin(&mut self, now: Instant, fresh: Flow) -> bool {
        let Some(next) = self.run.checked_add(1) else { return false };
        if !self.allowance.take(now) {
            return false;
        }
        self.run = next;
        if let Some(old) = self.flow.replace(fresh)
            && old.ssrc != fresh.ssrc
        {
            self.replaced.iter_mut().filter(|known| **known == Some(fresh.ssrc)).for_each(|known| *known = None);
            if let Some(oldest) = self.replaced.get_mut(self.next_replaced) {
                *oldest = Some(old.ssrc);
            }
            self.next_replaced = (self.next_replaced + 1) % MAX_REPLACED;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use media::Codec;

    use super::Verdict::{Begins, Dropped, Goes, Held, HeldBegins};
    use super::*;

    const VP8: Option<Format> = Some(Format { codec: Codec::Vp8, profile: 0 });
    const H264: Option<Format> = Some(Format { codec: Codec::H264, profile: 0x01_42e0 });

    /// Milliseconds, SSRC, format, sequence number; the expected verdict, and the run after.
    type Row = (u64, u32, Option<Format>, u64, Verdict, u32);

    fn check(story: &str, rows: &[Row]) {
        let start = Instant::now();
        let mut runs = Runs::default();
        for &(ms, ssrc, format, seq, verdict, run) in rows {
            let found = runs.observe(start + Duration::from_millis(ms), ssrc, format, seq);
            assert_eq!((found, runs.run()), (verdict, run), "{story}: {ms} ms, SSRC {ssrc}, seq {seq}");
        }
    }

    #[test]
    fn a_new_ssrc_begins_a_run_and_late_packets_of_the_old_one_are_dropped() {
        check(
            "another SSRC",
            &[
                (0, 1, VP8, 70_000, Goes, 0),
                (10, 1, VP8, 70_002, Goes, 0),
                (20, 2, VP8, 5, Begins, 1),
                (25, 1, VP8, 70_001, Dropped, 1),
                (30, 2, VP8, 6, Goes, 1),
            ],
        );
    }

    #[test]
    fn of_two_ssrcs_in_turn_one_is_forwarded() {
        check(
            "two in turn",
            &[
                (0, 1, VP8, 1, Goes, 0),
                (1, 2, VP8, 1, Begins, 1),
                (2, 1, VP8, 2, Dropped, 1),
                (3, 2, VP8, 2, Goes, 1),
                (4, 1, VP8, 3, Dropped, 1),
                // The second one ends; the first is taken back.
                (1_002, 1, VP8, 4, Dropped, 1),
                (1_003, 1, VP8, 5, Begins, 2),
                (1_004, 2, VP8, 3, Dropped, 2),
            ],
        );
    }

    #[test]
    fn another_format_begins_a_run_and_late_packets_of_the_old_one_are_dropped() {
        check(
            "another payload type",
            &[
                (0, 1, VP8, 100, Goes, 0),
                (10, 1, H264, 101, Begins, 1),
                (11, 1, VP8, 99, Dropped, 1),
                (20, 1, H264, 102, Goes, 1),
                (30, 1, VP8, 103, Begins, 2),
            ],
        );
        check("audio has no format", &[(0, 1, None, 1, Goes, 0), (1, 1, None, 2, Goes, 0)]);
    }

    #[test]
    fn a_jump_of_sequence_numbers_begins_a_run_when_a_second_packet_proves_it() {
        check(
            "a jump",
            &[
                (0, 1, VP8, 1, Goes, 0),
                (1, 1, VP8, 3_001, Goes, 0),
                (2, 1, VP8, 6_002, Held, 0),
                (3, 1, VP8, 3_002, Goes, 0),
                (4, 1, VP8, 6_003, Held, 0),
                (5, 1, VP8, 6_004, HeldBegins, 1),
                (6, 1, VP8, 6_005, Goes, 1),
                (7, 1, VP8, u64::MAX, Held, 1),
            ],
        );
    }

    #[test]
    fn runs_are_bounded_however_often_the_ssrc_changes() {
        let start = Instant::now();
        let mut runs = Runs::default();
        for n in 0..100_000_u32 {
            let at = start + Duration::from_micros(100 * u64::from(n));
            runs.observe(at, n, VP8, u64::from(n));
        }
        assert_eq!(runs.run(), MAX_NEW_RUNS + 9, "ten seconds");
    }

    #[test]
    fn more_runs_than_a_byte_counts_do_not_mix_and_the_last_one_does_not_wrap() {
        let start = Instant::now();
        let mut runs = Runs::default();
        for n in 0..=300 {
            runs.observe(start + Duration::from_secs(2 * u64::from(n)), n, VP8, 1);
            assert_eq!(runs.run(), n);
        }
        runs.run = u32::MAX - 1;
        let at = |s: u64| start + Duration::from_secs(10_000 + s);
        assert_eq!((runs.observe(at(0), 900, VP8, 1), runs.run()), (Begins, u32::MAX));
        assert_eq!((runs.observe(at(2), 901, VP8, 1), runs.run()), (Dropped, u32::MAX));
        assert_eq!(runs.observe(at(3), 900, VP8, 2), Goes, "what is there goes on");
    }
}
