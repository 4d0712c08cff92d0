//! Is there a session where an address says that one is?
//!
//! A session has one address: its protocol, its stream and its id. At another address it is as if
//! it were not there.

use media::{SessionId, StreamName};

use super::problem::Problem;
use crate::engine::{Engine, Refusal, Role};

/// Whether there is such a session of this stream.
pub(super) async fn is_of(engine: &Engine, stream: &StreamName, session: SessionId, role: Role) -> bool {
    engine.owner(session).await.is_some_and(|owner| owner.stream == *stream && owner.role == role)
}

/// Finds out that a session is there.
///
/// # Errors
///
/// 404, with the reason if its handshake failed lately.
pub(super) async fn check(engine: &Engine, stream: &StreamName, session: SessionId, role: Role) -> Result<(), Problem> {
    if is_of(engine, stream, session, role).await {
        return Ok(());
    }
    Err(match engine.why_failed(session).await {
        Some(failed) if failed.stream == *stream && failed.role == role => {
            Refusal::HandshakeFailed { reason: failed.reason, why: failed.detail }
        }
        _ => Refusal::NoSuchSession,
    }
    .into())
}
