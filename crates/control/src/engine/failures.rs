//! Why did a session's handshake fail, and how often does that happen?
//!
//! A session whose DTLS handshake failed is closed within seconds. Its client asks for it
//! afterwards, and the stream's status shows the publisher's last attempt. The newest
//! [`MAX_FAILED`] failures are remembered, of all streams together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::{SessionId, StreamName};
use sfu::dtls::{Failure, Reason};

use crate::session::Role;

/// Handshakes that failed: all of them counted, the newest remembered, the newest last.
#[derive(Debug, Default)]
pub(super) struct Failures {
    newest: VecDeque<Remembered>,
    by_reason: [u64; Reason::ALL.len()],
}

/// A session that is over because its DTLS handshake failed.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedSession {
    /// The session.
    pub session: SessionId,
    /// Its stream.
    pub stream: StreamName,
    /// Its role.
    pub role: Role,
    /// The failure.
    pub failure: Failure,
    /// When it ended.
    pub at: Instant,
}

#[derive(Debug)]
struct Remembered {
    failed: FailedSession,
    /// Whether a publisher has connected to its stream since.
    is_mended: bool,
}

/// The most failed sessions that are remembered. A guess: those of some seconds, where something is
/// wrong with many clients.
pub const MAX_FAILED: usize = 256;

/// Time for which a stream's status shows a failed attempt to publish it. A guess: an encoder that
/// is being set up tries again within minutes.
const SHOWN: Duration = Duration::from_secs(600);

impl Failures {
    /// Counts a failure.
    pub(super) fn count(&mut self, failure: &Failure) {
        self.by_reason[failure.reason as usize] += 1;
    }

    /// Remembers a failed session, and forgets the oldest beyond [`MAX_FAILED`].
    pub(super) fn remember(&mut self, failed: FailedSession) {
        if self.newest.len() >= MAX_FAILED {
            self.newest.pop_front();
        }
        self.newest.push_back(Remembered { failed, is_mended: false });
    }

    /// A publisher of the stream has connected: its status shows no failed attempt any more.
    pub(super) fn mended(&mut self, stream: &StreamName) {
        for one in self.newest.iter_mut().filter(|one| one.failed.stream == *stream) {
            one.is_mended = true;
        }
    }

    /// Returns a failed session, if it is remembered.
    pub(super) fn of_session(&self, session: SessionId) -> Option<&FailedSession> {
        let mut failed = self.newest.iter().rev().map(|one| &one.failed);
        failed.find(|failed| failed.session == session)
    }

    /// Returns the last failed attempt to publish a stream, if none has succeeded since and it is
    /// not long ago.
    pub(super) fn of_publisher(&self, now: Instant, stream: &StreamName) -> Option<&FailedSession> {
        let is_shown = |one: &&Remembered| {
            let failed = &one.failed;
            failed.role == Role::Publisher && failed.stream == *stream && !one.is_mended
        };
        let last = &self.newest.iter().rev().find(is_shown)?.failed;
        (now.saturating_duration_since(last.at) < SHOWN).then_some(last)
    }

    /// Returns how many handshakes failed so far, by [`Reason`].
    pub(super) fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        self.by_reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failed_attempt_to_publish_is_shown_until_one_succeeds_or_it_is_old() {
        let began = Instant::now();
        let stream = |name: &str| StreamName::parse(name).expect("a legal name");
        let mut failures = Failures::default();
        for (n, name, role) in
            [(1, "a", Role::Publisher), (2, "a", Role::Publisher), (3, "a", Role::Viewer), (4, "b", Role::Publisher)]
        {
            let failure = Failure { reason: Reason::Cipher, alert: None, certificate: None };
            let session = SessionId::from_bytes([n; 16]);
            failures.remember(FailedSession { session, stream: stream(name), role, failure, at: began });
        }
        let shown = |failures: &Failures, name: &str, at: Instant| {
            failures.of_publisher(at, &stream(name)).map(|failed| failed.session.as_bytes()[0])
        };
        let almost = began + SHOWN - Duration::from_millis(1);
        assert_eq!(shown(&failures, "a", almost), Some(2));
        assert_eq!(shown(&failures, "a", began + SHOWN), None);
        assert_eq!(shown(&failures, "c", began), None);
        failures.mended(&stream("a"));
        assert_eq!((shown(&failures, "a", began), shown(&failures, "b", began)), (None, Some(4)));
        assert!(failures.of_session(SessionId::from_bytes([1; 16])).is_some(), "its client is told");
    }
}
