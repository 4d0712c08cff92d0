//! How does the API show a DTLS handshake that failed?

use control::engine;
use media::{SessionId, StreamName, WallClock};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::Role;

/// A session that is over because its DTLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSession {
    /// Its id.
    pub session: SessionId,
    /// Its stream.
    pub stream: StreamName,
    /// Its role.
    pub role: Role,
    /// The label of `nowcast_dtls_failures_total`: `signature`, `fingerprint` …
    pub reason: &'static str,
    /// The reason in words.
    pub detail: String,
}

/// The last attempt to publish a stream that failed in its DTLS handshake.
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

impl From<&engine::FailedSession> for FailedSession {
    fn from(failed: &engine::FailedSession) -> FailedSession {
        FailedSession {
            session: failed.session,
            stream: failed.stream.clone(),
            role: failed.role,
            reason: failed.failure.reason.name(),
            detail: failed.failure.to_string(),
        }
    }
}

impl PublishFailure {
    pub(super) fn new(clock: &WallClock, failed: &engine::FailedSession) -> PublishFailure {
        PublishFailure {
            session: failed.session.handle(),
            reason: failed.failure.reason.name(),
            detail: failed.failure.to_string(),
            failed_at_ms: clock.at(failed.at).to_unix_ms(),
        }
    }
}
