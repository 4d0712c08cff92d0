//! When is a publisher asked for a key frame?
//!
//! Many viewers may want one at once and a key frame is expensive, so wishes are merged and
//! requests are spaced by [`MIN_INTERVAL`]. Some publishers never answer (encoders behind a plain
//! WHIP client); after [`UNRESPONSIVE_AFTER`] requests without a key frame a publisher counts as unresponsive, and nobody
//! waits for it any more.

use std::time::{Duration, Instant};

/// Merges the wishes of all viewers of a track.
#[derive(Debug, Default)]
pub struct KeyFrameRequests {
    wanted: bool,
    asked_at: Option<Instant>,
    /// Requests since the last key frame that answered one.
    unanswered: u32,
    answers: bool,
}

/// At most one request per this span towards a publisher (threat T13; the figure).
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// How many requests may stay without a key frame before the publisher counts as unresponsive. A guess: one may
/// be lost, a second one within a second hardly.
pub const UNRESPONSIVE_AFTER: u32 = 2;

/// A key frame this soon after a request counts as its answer. Encoders answer within a few frames;
/// the longest round trip that we care for is 500 ms.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

impl KeyFrameRequests {
    /// A viewer needs a key frame.
    pub fn request(&mut self) {
        self.wanted = true;
    }

    /// A key frame arrived.
    pub fn on_key_frame(&mut self, now: Instant) {
        self.wanted = false;
        if self.asked_at.is_some_and(|at| now.saturating_duration_since(at) <= ANSWER_WITHIN) {
            self.answers = true;
            self.unanswered = 0;
        }
    }

    /// Returns whether to ask the publisher now; counts as asked.
    pub fn poll_request(&mut self, now: Instant) -> bool {
        if !self.wanted || self.asked_at.is_some_and(|at| now < at + MIN_INTERVAL) {
            return false;
        }
        self.wanted = false;
        self.asked_at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        true
    }

    /// When a pending wish may become a request; `None` if there is no wish or it need not wait.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asked_at.filter(|_| self.wanted).map(|at| at + MIN_INTERVAL)
    }

    /// Whether it ever answered.
    pub fn answers(&self) -> bool {
        self.answers
    }

    /// Whether waiting for this publisher's answer is in vain.
    pub fn is_unresponsive(&self) -> bool {
        !self.answers && self.unanswered >= UNRESPONSIVE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wishes_become_one_request_per_interval() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        let mut sent = Vec::new();
        for ms in 0..1_200 {
            requests.request();
            if requests.poll_request(start + Duration::from_millis(ms)) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 500, 1_000]);
    }

    #[test]
    fn a_wish_is_fulfilled_by_any_key_frame() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        requests.request();
        requests.on_key_frame(start);
        assert!(!requests.poll_request(start));
    }

    #[test]
    fn a_publisher_that_never_answers_is_unresponsive_and_one_that_answered_never_is() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyFrameRequests::default();
        for ms in [0, 500] {
            assert!(!requests.is_unresponsive());
            requests.request();
            assert!(requests.poll_request(at(ms)));
        }
        assert!(requests.is_unresponsive());
        // Its own periodic key frame, long after: still unresponsive to the next who ask.
        requests.on_key_frame(at(9_000));
        assert!(requests.is_unresponsive());

        let mut requests = KeyFrameRequests::default();
        requests.request();
        assert!(requests.poll_request(at(0)));
        requests.on_key_frame(at(80));
        for ms in [1_000, 2_000, 3_000] {
            requests.request();
            assert!(requests.poll_request(at(ms)));
        }
        assert!(!requests.is_unresponsive());
    }
}
