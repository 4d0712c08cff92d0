//! Why did a session fail that is gone?
//!
//! A session whose DTLS handshake failed is closed within seconds. Its client asks for it afterwards, and
//! the stream's status shows the publisher's last attempt. The last [`KEPT`] failures are kept, of all
//! streams together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use media::{SessionId, StreamName};
use serde::Serialize;
use sfu::dtls::Failure;
use utoipa::ToSchema;

use super::Role;

/// A session that is over because its DTLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSession {
    /// Its id.
    pub session: SessionId,
    /// Its stream.
    pub stream: StreamName,
    /// What it was for.
    pub role: Role,
    /// The label of `nowcast_dtls_failures_total`: `signature`, `fingerprint` …
    pub reason: &'static str,
    /// The reason in words.
    pub detail: String,
}

/// The last attempt to publish a stream that came to nothing because the DTLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PublishFailure {
    /// A short public handle of the session, not its secret id.
    pub session: String,
    /// For programs, as in `nowcast_dtls_failures_total`: `alert`, `version`, `cipher`, `srtp`,
    /// `certificate`, `signature`, `fingerprint`, `finished`, `timeout`.
    pub reason: &'static str,
    /// For people: what went wrong, and the kind of the publisher's certificate.
    pub detail: String,
    /// When, in milliseconds since the Unix epoch.
    pub failed_at_ms: u64,
}

/// Failures that are kept. A guess: those of some seconds, where something is wrong with many clients.
const KEPT: usize = 256;

/// For so long a stream's status shows a failed attempt to publish it. A guess: as long as someone tries.
const SHOWN: Duration = Duration::from_secs(600);

/// The last failures, the newest last.
#[derive(Debug, Default)]
pub(super) struct Failures(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    failed: FailedSession,
    at: Instant,
    /// Whether a publisher has connected to its stream since.
    is_mended: bool,
}

impl Failures {
    /// Keeps a failure; the oldest of too many is forgotten.
    pub(super) fn keep(&mut self, now: Instant, session: SessionId, stream: StreamName, role: Role, failure: Failure) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        let (reason, detail) = (failure.reason.name(), failure.to_string());
        let failed = FailedSession { session, stream, role, reason, detail };
        self.0.push_back(Kept { failed, at: now, is_mended: false });
    }

    /// A publisher of the stream has connected: its status shows no failed attempt any more.
    pub(super) fn mended(&mut self, stream: &StreamName) {
        for kept in self.0.iter_mut().filter(|kept| kept.failed.stream == *stream) {
            kept.is_mended = true;
        }
    }

    /// Why a session failed.
    pub(super) fn of_session(&self, session: SessionId) -> Option<FailedSession> {
        self.0.iter().rev().map(|kept| &kept.failed).find(|failed| failed.session == session).cloned()
    }

    /// The last failed attempt to publish a stream, if none has succeeded since, and when it was.
    pub(super) fn of_publisher(&self, now: Instant, stream: &StreamName) -> Option<(&FailedSession, Instant)> {
        let is_shown = |kept: &&Kept| {
            let failed = &kept.failed;
            failed.role == Role::Publisher && failed.stream == *stream && !kept.is_mended
        };
        let last = self.0.iter().rev().find(is_shown)?;
        (now.saturating_duration_since(last.at) < SHOWN).then_some((&last.failed, last.at))
    }
}

#[cfg(test)]
mod tests {
    use sfu::dtls::Reason;

    use super::*;

    const FAILURE: Failure = Failure { reason: Reason::Cipher, alert: None, certificate: None };

    fn session(n: u64) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    fn stream(name: &str) -> StreamName {
        StreamName::parse(name).unwrap()
    }

    #[test]
    fn the_last_failed_attempt_to_publish_is_shown_until_one_succeeds_or_it_is_old() {
        let began = Instant::now();
        let mut failures = Failures::default();
        failures.keep(began, session(1), stream("a"), Role::Publisher, FAILURE);
        failures.keep(began, session(2), stream("a"), Role::Publisher, FAILURE);
        failures.keep(began, session(3), stream("a"), Role::Viewer, FAILURE);
        failures.keep(began, session(4), stream("b"), Role::Publisher, FAILURE);
        let shown = |failures: &Failures, name: &str, at| {
            failures.of_publisher(at, &stream(name)).map(|(failed, _)| failed.session)
        };
        assert_eq!(shown(&failures, "a", began), Some(session(2)));
        assert_eq!(shown(&failures, "a", began + SHOWN), None);
        failures.mended(&stream("a"));
        assert_eq!(shown(&failures, "a", began), None);
        assert_eq!(shown(&failures, "b", began), Some(session(4)));
        let failed = failures.of_session(session(1)).expect("a client may still ask for its session");
        assert_eq!((failed.reason, failed.role), ("cipher", Role::Publisher));
        assert!(failed.detail.contains("common cipher suite"), "{}", failed.detail);
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let mut failures = Failures::default();
        for n in 0..=KEPT as u64 {
            failures.keep(Instant::now(), session(n), stream("a"), Role::Viewer, FAILURE);
        }
        assert_eq!((failures.0.len(), failures.of_session(session(0))), (KEPT, None));
        assert!(failures.of_session(session(1)).is_some());
    }
}
