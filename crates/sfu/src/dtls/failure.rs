//! Why did a DTLS handshake fail, and when does its session end?
//!
//! Before its Finished messages nothing in DTLS is authenticated: a datagram with a forged source
//! address can carry an alert or a ClientHello. There are therefore two classes of failures. Those
//! after which dimpl cannot continue (wrong certificate, signature or Finished) end the session at
//! once: the same datagram has spoilt the transcript, and no later one repairs it. After all others
//! the handshake can still be completed; they end the session only when the peer does not continue
//! for [`GRACE`]. See T1 in `docs/threats.md`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dimpl::{CryptoError, Error, SecurityError};

use super::alert::{Alert, Sent};
use super::reason::Reason;
use super::verify::{CertificateKind, take_last};

/// Longest silence of a peer after a failure that a forged datagram can cause. DTLS repeats a lost
/// flight after one second at first (RFC 6347 §4.2.4.1), then after two: in three seconds a genuine
/// peer is heard twice.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// A failed handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The class of the failure.
    pub reason: Reason,
    /// The alert that the peer sent (RFC 5246 §7.2), if it sent one.
    pub alert: Option<u8>,
    /// The kind of the peer's certificate, if it was seen.
    pub certificate: Option<CertificateKind>,
}

impl Failure {
    pub(crate) fn new(reason: Reason) -> Failure {
        Failure { reason, alert: None, certificate: None }
    }

    fn of(error: &Error) -> Failure {
        let reason = match error {
            Error::SecurityError(SecurityError::FatalAlert { description }) => {
                return Failure { alert: Some(*description), ..Failure::new(Reason::Alert) };
            }
            Error::SecurityError(error) => match error {
                SecurityError::UnsupportedClientVersion(_)
                | SecurityError::UnsupportedServerVersion(_)
                | SecurityError::UnsupportedHelloVerifyRequestVersion(_) => Reason::Version,
                SecurityError::ClientFinishedVerificationFailed | SecurityError::ServerFinishedVerificationFailed => {
                    Reason::Finished
                }
                _ => Reason::Cipher,
            },
            Error::IncompleteServerHello => Reason::Cipher,
            Error::CertificateError(_) => Reason::Certificate,
            Error::CryptoError(error) => match error {
                CryptoError::CertificateParseFailed | CryptoError::InvalidSubjectPublicKey => Reason::Certificate,
                CryptoError::NoDtls12KeyExchangeGroupsConfigured | CryptoError::UnsupportedEcdheNamedGroup(_) => {
                    Reason::Cipher
                }
                _ => Reason::Signature,
            },
            Error::Timeout(_) => Reason::Timeout,
            _ => Reason::Malformed,
        };
        Failure::new(reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reason, self.alert) {
            (Reason::Alert, Some(alert)) => {
                write!(f, "the peer sent the fatal alert {alert} ({})", alert_name(alert))?;
            }
            (Reason::Alert, None) => f.write_str("the peer sent a fatal alert")?,
            (Reason::Version, _) => f.write_str("the peer does not speak DTLS 1.2")?,
            (Reason::Cipher, _) => f.write_str(
                "there is no common cipher suite, curve or extension (needed: ECDHE with AES-GCM or ChaCha20-Poly1305, \
                 extended_master_secret)",
            )?,
            (Reason::Srtp, _) => f.write_str("there is no common SRTP profile (use_srtp)")?,
            (Reason::Certificate, _) => {
                f.write_str("the peer sent no certificate, or one that cannot be read or is larger than 2,000 bytes")?;
            }
            (Reason::Signature, _) => f.write_str(
                "the peer's signature cannot be verified (accepted: ECDSA P-256 and P-384, RSA of 2048 to 8192 bits)",
            )?,
            (Reason::Fingerprint, _) => {
                f.write_str("the peer's certificate is not the one of the a=fingerprint in its description")?;
            }
            (Reason::Finished, _) => f.write_str("the peer's Finished does not fit the handshake")?,
            (Reason::Timeout, _) => f.write_str("the peer stopped answering")?,
            (Reason::Malformed, _) => f.write_str("the peer sent a message that cannot be read")?,
        }
        match self.certificate {
            Some(kind) => write!(f, "; its certificate: {kind}"),
            None => Ok(()),
        }
    }
}

/// Returns the name of an alert that ends handshakes (RFC 5246 §7.2).
fn alert_name(alert: u8) -> &'static str {
    match alert {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        110 => "unsupported_extension",
        _ => "see IANA's TLS alerts",
    }
}

/// The findings of a DTLS instance about its handshake, shared with its session.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    certificate: Option<CertificateKind>,
    failure: Option<Failure>,
    sent: Sent,
}

impl Notes {
    /// Records a datagram of the handshake that is sent.
    pub(super) fn sent(&self, datagram: &[u8]) {
        self.with(|noted| noted.sent.note(datagram));
    }

    pub(super) fn certificate(&self, certificate: &[u8]) {
        self.with(|noted| noted.certificate = Some(CertificateKind::of(certificate)));
    }

    pub(super) fn error(&self, error: &Error) {
        self.failure(Failure::of(error));
    }

    pub(super) fn failure(&self, failure: Failure) {
        let kind = take_last();
        self.with(|noted| {
            noted.certificate = noted.certificate.or(kind);
            noted.failure = Some(failure);
        });
    }

    fn with<T>(&self, step: impl FnOnce(&mut Noted) -> T) -> T {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Decides when a failed handshake ends its session.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    notes: Notes,
    /// The first failure that counts, and the time at which the peer was last heard without one.
    failed: Option<(Failure, Instant)>,
}

impl Patience {
    pub(crate) fn new(notes: Notes) -> Patience {
        Patience { notes, failed: None }
    }

    /// Takes the result of the last datagram or deadline.
    pub(crate) fn look(&mut self, now: Instant) {
        match (self.notes.with(|noted| noted.failure.take()), &mut self.failed) {
            // dimpl drops unreadable messages, and the genuine message may follow.
            (Some(Failure { reason: Reason::Malformed, .. }), _) => {}
            (Some(failure), Some((known, _))) if failure.reason.is_final() && !known.reason.is_final() => {
                *known = failure;
            }
            (Some(failure), None) => self.failed = Some((failure, now)),
            (Some(_), Some(_)) | (None, None) => {}
            // The peer continues: the failure was not its doing.
            (None, Some((_, heard_at))) => *heard_at = now,
        }
    }

    /// Returns the failure that ends the session now.
    pub(crate) fn over(&self, now: Instant) -> Option<Failure> {
        let (failure, heard_at) = self.failed?;
        let is_over = failure.reason.is_final() || now.saturating_duration_since(heard_at) >= GRACE;
        is_over.then(|| self.of_this_peer(failure))
    }

    /// Returns the alert for this failure, once, if one may be sent in the clear.
    pub(crate) fn alert(&self, failure: Failure) -> Option<Alert> {
        self.notes.with(|noted| noted.sent.alert(failure.reason))
    }

    /// Returns when to call [`Patience::over`] again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.failed.map(|(_, heard_at)| heard_at + GRACE)
    }

    /// Adds the kind of the certificate to a failure that the owner found itself.
    pub(crate) fn of_this_peer(&self, failure: Failure) -> Failure {
        Failure { certificate: self.notes.with(|noted| noted.certificate), ..failure }
    }

    /// Drops all failures, because the handshake is complete.
    pub(crate) fn forget(&mut self) {
        self.notes.with(|noted| noted.failure = None);
        self.failed = None;
    }

    /// Drops all failures but the lack of SRTP keys, which was recorded before the end of the
    /// handshake was reported.
    pub(crate) fn forget_but_srtp(&mut self, now: Instant) {
        self.notes.with(|noted| noted.failure = noted.failure.filter(|failure| failure.reason == Reason::Srtp));
        self.failed = None;
        self.look(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Error {
        Error::SecurityError(SecurityError::FatalAlert { description: 40 })
    }

    #[test]
    fn an_alert_ends_the_session_only_after_a_time_of_silence() {
        let began = Instant::now();
        let mut patience = Patience::default();
        patience.notes.error(&alert());
        patience.look(began);
        assert_eq!(patience.over(began), None);
        assert_eq!(patience.poll_timeout(), Some(began + GRACE));
        // A genuine peer continues: its datagrams delay the end.
        patience.look(began + GRACE / 2);
        assert_eq!(patience.over(began + GRACE), None);
        let failure = patience.over(began + GRACE / 2 + GRACE).expect("silent for as long as that");
        assert_eq!(failure.to_string(), "the peer sent the fatal alert 40 (handshake_failure)");
        patience.forget();
        assert_eq!((patience.over(began + GRACE * 9), patience.poll_timeout()), (None, None));
    }

    #[test]
    fn repeated_failures_do_not_put_the_end_off() {
        let began = Instant::now();
        let mut patience = Patience::default();
        for second in 0..3 {
            patience.notes.error(&Error::SecurityError(SecurityError::NoMutuallyAcceptableCipherSuite));
            patience.look(began + Duration::from_secs(second));
        }
        assert_eq!(patience.over(began + GRACE).map(|failure| failure.reason), Some(Reason::Cipher));
    }

    #[test]
    fn a_failure_that_spoils_the_transcript_ends_it_at_once_even_after_an_alert() {
        let began = Instant::now();
        let mut patience = Patience::default();
        patience.notes.error(&alert());
        patience.look(began);
        patience.notes.error(&Error::SecurityError(SecurityError::ClientFinishedVerificationFailed));
        patience.look(began);
        assert_eq!(patience.over(began).map(|failure| failure.reason), Some(Reason::Finished));
    }

    #[test]
    fn unreadable_message_ends_nothing() {
        let began = Instant::now();
        let mut patience = Patience::default();
        patience.notes.error(&Error::ReceiveQueueFull);
        patience.look(began);
        assert_eq!((patience.over(began + GRACE), patience.poll_timeout()), (None, None));
    }
}
