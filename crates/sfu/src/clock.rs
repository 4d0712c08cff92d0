//! When was a packet captured, by the server's clock, and is this plausible?
//!
//! A publisher sends capture times of its own wall clock (abs-capture-time), or its sender reports
//! map RTP timestamps to this clock. [`SenderClock`] measures the offset of that clock from the
//! server's. [`CaptureClock`] checks the result: a capture precedes its arrival.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::{NtpTime, WallClock};

/// The offset of a publisher's wall clock from the server's.
///
/// Every sender report has its sending time by the publisher's clock, and arrives later by its
/// delay. The least difference of recent reports is the offset plus the shortest delay: on a LAN
/// exact to a millisecond, over the internet wrong by the one-way delay.
#[derive(Debug, Default)]
pub(crate) struct SenderClock {
    offset_ms: Option<f64>,
    window: VecDeque<f64>,
}

/// Number of reports that are kept: at one a second and track, half a minute. A clock drifts 1 ms
/// in that time at most.
const CLOCK_WINDOW: usize = 64;

/// A report that is later than the quickest one by more than this shows that the clock was set
/// back. A guess: a report waits a second in no queue that media survives.
const CLOCK_STEP_MS: f64 = 1_000.0;

impl SenderClock {
    /// Records a report that arrived at `arrived` and was sent at `said` by the publisher's clock.
    pub(crate) fn on_sender_report(&mut self, arrived: NtpTime, said: NtpTime) {
        let difference_ms = arrived.difference_ms(said);
        if self.offset_ms.is_some_and(|offset| difference_ms > offset + CLOCK_STEP_MS) {
            self.window.clear();
        }
        if self.window.len() == CLOCK_WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(difference_ms);
        self.offset_ms = self.window.iter().copied().reduce(f64::min);
    }

    /// Converts a time of the publisher's clock to the server's; `None` before the first report.
    pub(crate) fn to_server(&self, theirs: NtpTime) -> Option<NtpTime> {
        Some(NtpTime::from_unix_ms_f64(theirs.to_unix_ms_f64() + self.offset_ms?))
    }
}

/// Checks the capture times of one encoding.
#[derive(Debug, Default)]
pub(crate) struct CaptureClock {
    /// The last moment at which a capture time was implausible.
    wrong_at: Option<Instant>,
}

/// Time after its arrival at which a capture is still plausible: the offset includes the shortest
/// delay of a report, and media may have a shorter one by the jitter of the first reports. A guess.
const UNCERTAIN_MS: f64 = 20.0;

/// Highest plausible age of a capture. An older one belongs to another clock. A guess: encoders
/// with a deliberate delay are set to some ten seconds.
const LONGEST_AGO_MS: f64 = 60_000.0;

/// Time for which a clock is distrusted after an implausible capture time. A guess: the age would
/// otherwise alternate with "unknown".
const DISTRUSTED: Duration = Duration::from_secs(10);

impl CaptureClock {
    /// Returns `true` if a packet that arrived at `arrived_at` can have been captured at
    /// `captured_at`.
    pub(crate) fn can_be(&mut self, clock: &WallClock, arrived_at: Instant, captured_at: NtpTime) -> bool {
        let ago_ms = clock.at(arrived_at).difference_ms(captured_at);
        if !(-UNCERTAIN_MS..=LONGEST_AGO_MS).contains(&ago_ms) {
            self.wrong_at = Some(arrived_at);
        }
        self.wrong_at.is_none_or(|at| arrived_at.saturating_duration_since(at) >= DISTRUSTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: f64) -> NtpTime {
        NtpTime::from_unix_ms_f64(1_700_000_000_000.0 + ms)
    }

    #[test]
    fn the_offset_of_a_clock_is_the_least_difference_seen() {
        let mut clock = SenderClock::default();
        assert_eq!(clock.to_server(at(0.0)), None);
        for (said, way) in [(0.0, 30.0), (1_000.0, 5.0), (2_000.0, 80.0)] {
            clock.on_sender_report(at(said + 500.0 + way), at(said));
        }
        let server = clock.to_server(at(0.0)).expect("reports came");
        assert!((server.difference_ms(at(0.0)) - 505.0).abs() < 0.01);
    }

    #[test]
    fn a_clock_that_is_set_is_followed_in_both_directions() {
        for step_ms in [-7_000.0, 7_000.0] {
            let mut clock = SenderClock::default();
            clock.on_sender_report(at(5.0), at(0.0));
            clock.on_sender_report(at(1_006.0), at(1_000.0 + step_ms));
            let server = clock.to_server(at(2_000.0 + step_ms)).expect("reports came");
            assert!((server.difference_ms(at(2_000.0)) - 6.0).abs() < 0.01, "{step_ms}");
        }
    }

    #[test]
    fn a_capture_after_its_arrival_or_of_another_age_cannot_be() {
        let now = Instant::now();
        let server = WallClock::new(now, at(0.0));
        for (ago_ms, can_be) in [
            (0.0, true),
            (90.0, true),
            (-15.0, true),
            (-69.0, false),
            (30_000.0, true),
            (90_000.0, false),
            (-4e9, false),
        ] {
            assert_eq!(CaptureClock::default().can_be(&server, now, at(-ago_ms)), can_be, "{ago_ms} ms ago");
        }
    }

    #[test]
    fn a_clock_that_was_wrong_is_believed_again_after_ten_good_seconds() {
        let now = Instant::now();
        let server = WallClock::new(now, at(0.0));
        let mut clock = CaptureClock::default();
        let mut can_be =
            |ms: u64, ago_ms: f64| clock.can_be(&server, now + Duration::from_millis(ms), at(ms as f64 - ago_ms));
        assert!(can_be(0, 50.0));
        assert!(!can_be(33, -69.0));
        assert!(!can_be(66, 50.0));
        assert!(!can_be(9_000, 50.0));
        assert!(can_be(10_033, 50.0));
    }
}
