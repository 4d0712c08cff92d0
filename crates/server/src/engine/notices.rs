//! Which log lines does an operator get of sessions and streams?

use control::engine::Notice;

use super::dialect::warnings;

/// Writes a notice of the engine into the log.
pub(super) fn log(notice: Notice) {
    match notice {
        Notice::PublisherConnects { session, ip, identity } => {
            tracing::info!(session = session.handle(), ip = %ip, "a publisher connects");
            // Personal data is never logged above DEBUG.
            tracing::debug!(session = session.handle(), identity, "identity of the publisher");
        }
        Notice::Connected { session, role } => {
            tracing::info!(session = session.handle(), ?role, "connected");
        }
        Notice::Flows { session, flows } => {
            let what = match flows {
                true => "media of a publisher comes again",
                false => "no media of a publisher comes",
            };
            tracing::info!(session = session.handle(), "{what}");
        }
        Notice::HandshakeFailed { session, role, failure } => {
            let certificate = failure.certificate.map(|kind| kind.to_string());
            tracing::warn!(
                session = session.handle(),
                ?role,
                reason = failure.reason.name(),
                alert = failure.alert,
                certificate,
                "the DTLS handshake failed: {failure}"
            );
        }
        Notice::Ended { session, why } => {
            tracing::info!(session = session.handle(), ?why, "a session ended");
        }
        Notice::Closing { session, role, reason } => {
            tracing::info!(session = session.handle(), ?role, ?reason, "closing a session");
        }
        Notice::Warning { stream, warning } => {
            let warning = warnings::words(warning);
            let stream = stream.to_string();
            tracing::warn!(stream, code = warning.code, "{}", warning.detail);
        }
        Notice::ShardStopped { shard } => tracing::debug!(shard, "a shard has said goodbye"),
    }
}
