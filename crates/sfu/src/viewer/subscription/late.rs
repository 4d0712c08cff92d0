//! When does a viewer leave packets out to get back to the live edge?
//!
//! A viewer on the live edge that the shard serves too late is started again from a newer key frame.
//! While there is none, one is requested and the viewer is sent nothing for a short time, which
//! relieves the core; a publisher that does not answer is waited for only as long as that.

use std::time::{Duration, Instant};

use crate::stream::log::PacketLog;

/// What a viewer that is too late does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Starts from the key frame at this position of the log.
    StartFrom(u64),
    /// Is sent nothing until then, or until a key frame arrives.
    Hold(Instant),
    /// Is sent what it has missed.
    GoOn,
}

/// Remembers for how long a viewer has been held for a key frame.
#[derive(Debug, Default)]
pub(super) struct Late {
    held_since: Option<Instant>,
}

/// A packet that has waited for its viewer for this long is too late. Viewers that joined within the
/// last 10 s may be served up to 1 s later than others (`shard::waiting`), which is not too late.
const TOO_LATE: Duration = Duration::from_millis(1_500);

/// A request, its answer and a round trip of 100 ms, with one of them lost, as in `subscription::HOLD`.
const HOLD: Duration = Duration::from_millis(700);

/// After a hold that brought no key frame, the viewer is sent everything for this long before the
/// next hold: otherwise a publisher without key frames would silence its viewers. A guess.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the packet at `cursor`, the next one for a viewer, has waited too long.
pub(super) fn is_too_late(now: Instant, log: &PacketLog, cursor: u64) -> bool {
    log.get(cursor).is_some_and(|next| now.saturating_duration_since(next.arrived_at) > TOO_LATE)
}

impl Late {
    /// Decides for a viewer whose next packet, at `cursor`, is too late. `is_unresponsive`: the publisher
    /// does not answer requests for key frames.
    pub(super) fn next(&mut self, now: Instant, log: &PacketLog, cursor: u64, is_unresponsive: bool) -> Step {
        let epoch = log.get(cursor).map(|next| next.epoch);
        if let Some(at) = log.key_at().filter(|at| *at > cursor)
            && log.get(at).map(|key| key.epoch) >= epoch
        {
            self.held_since = None;
            return Step::StartFrom(at);
        }
        if is_unresponsive {
            return Step::GoOn;
        }
        match self.held_since {
            Some(since) if now < since + HOLD => Step::Hold(since + HOLD),
            Some(since) if now < since + HOLD + PATIENCE => Step::GoOn,
            _ => {
                self.held_since = Some(now);
                Step::Hold(now + HOLD)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stream::log::LogLimits;
    use crate::testing::packet;

    fn log_of(start: Instant, key_at: &[u64], count: u64) -> PacketLog {
        let mut log = PacketLog::new(LogLimits::VIDEO);
        for n in 0..count {
            let one = if key_at.contains(&n) { packet(n).key() } else { packet(n) };
            let mut one = one.build();
            one.arrived_at = start + Duration::from_millis(10 * n);
            log.push(Arc::new(one));
        }
        log
    }

    #[test]
    fn a_packet_is_too_late_after_one_and_a_half_seconds() {
        let start = Instant::now();
        let log = log_of(start, &[0], 10);
        assert!(!is_too_late(start + Duration::from_millis(1_500), &log, 0));
        assert!(is_too_late(start + Duration::from_millis(1_501), &log, 0));
        assert!(!is_too_late(start + Duration::from_millis(1_501), &log, 5));
        assert!(!is_too_late(start + Duration::from_secs(9), &log, 10), "nothing waits");
    }

    #[test]
    fn a_late_viewer_starts_from_a_newer_key_frame_but_not_from_an_older_one() {
        let start = Instant::now();
        let now = start + Duration::from_secs(3);
        let log = log_of(start, &[0, 6], 10);
        assert_eq!(Late::default().next(now, &log, 2, false), Step::StartFrom(6));
        assert_eq!(Late::default().next(now, &log, 2, true), Step::StartFrom(6));
        assert_eq!(Late::default().next(now, &log, 6, true), Step::GoOn);
        assert_eq!(Late::default().next(now, &log, 8, false), Step::Hold(now + HOLD));
    }

    #[test]
    fn a_publisher_without_key_frames_silences_no_viewer_for_longer_than_a_hold() {
        let start = Instant::now();
        let log = log_of(start, &[0], 10);
        let mut late = Late::default();
        let at = |ms: u64| start + Duration::from_millis(3_000 + ms);
        assert_eq!(late.next(at(0), &log, 2, false), Step::Hold(at(700)));
        assert_eq!(late.next(at(300), &log, 2, false), Step::Hold(at(700)));
        assert_eq!(late.next(at(700), &log, 2, false), Step::GoOn);
        assert_eq!(late.next(at(5_699), &log, 3, false), Step::GoOn);
        assert_eq!(late.next(at(5_700), &log, 4, false), Step::Hold(at(6_400)));
    }
}
