//! When is a publisher asked for a key frame?
//!
//! Many viewers may need a key frame at once, and key frames are expensive. Their requests are
//! therefore merged, and requests to the publisher are spaced by [`MIN_INTERVAL`]. Some publishers
//! never answer (encoders behind a plain WHIP client). After [`UNRESPONSIVE_AFTER`] requests
//! without a key frame a publisher counts as unresponsive, and viewers do not wait for it.

use std::time::{Duration, Instant};

/// Merges the requests of all viewers of a track.
#[derive(Debug, Default)]
pub struct KeyFrameRequests {
    wanted: bool,
    asked_at: Option<Instant>,
    /// Requests since the last key frame that answered one.
    unanswered: u32,
    answers: bool,
}

/// Shortest interval between requests to a publisher (threat T13). A guess: two key frames a second
/// are affordable.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Number of unanswered requests after which a publisher counts as unresponsive. A guess: one may
/// be lost, a second one within a second hardly.
pub const UNRESPONSIVE_AFTER: u32 = 2;

/// A key frame this soon after a request counts as its answer. Encoders answer within a few frames;
/// the longest supported round trip is 500 ms.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

impl KeyFrameRequests {
    /// Records that a viewer needs a key frame.
    pub fn request(&mut self) {
        self.wanted = true;
    }

    /// Records that a key frame arrived.
    pub fn on_key_frame(&mut self, now: Instant) {
        self.wanted = false;
        if self.asked_at.is_some_and(|at| now.saturating_duration_since(at) <= ANSWER_WITHIN) {
            self.answers = true;
            self.unanswered = 0;
        }
    }

    /// Returns `true` if the publisher is to be asked now, and counts it as asked.
    pub fn poll_request(&mut self, now: Instant) -> bool {
        if !self.wanted || self.asked_at.is_some_and(|at| now < at + MIN_INTERVAL) {
            return false;
        }
        self.wanted = false;
        self.asked_at = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
        true
    }

    /// Returns when a pending request may go to the publisher; `None` without a request, or if it
    /// need not wait.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asked_at.filter(|_| self.wanted).map(|at| at + MIN_INTERVAL)
    }

    /// Returns `true` if the publisher has ever answered.
    pub fn answers(&self) -> bool {
        self.answers
    }

    /// Returns `true` if waiting for this publisher's answer is useless.
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
        // A later periodic key frame: the publisher is still unresponsive for the next request.
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
