//! Which classes of failed handshakes are there?

/// The class of a failure. The classes are labels of a metric, so there are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The peer sent a fatal alert.
    Alert,
    /// The peer does not use DTLS 1.2.
    Version,
    /// No common cipher suite, curve or extension.
    Cipher,
    /// No common SRTP protection profile (RFC 5764 §4.1.1).
    Srtp,
    /// The peer sent no certificate, or one that cannot be read or is too large.
    Certificate,
    /// The peer's signature does not fit its certificate, or the key is of a kind or size that is not
    /// accepted.
    Signature,
    /// The certificate is not the one that the description announced.
    Fingerprint,
    /// The peer's Finished does not fit the handshake.
    Finished,
    /// The peer stopped answering.
    Timeout,
    /// A message that cannot be read or is out of place.
    Malformed,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 10] = [
        Reason::Alert,
        Reason::Version,
        Reason::Cipher,
        Reason::Srtp,
        Reason::Certificate,
        Reason::Signature,
        Reason::Fingerprint,
        Reason::Finished,
        Reason::Timeout,
        Reason::Malformed,
    ];

    /// Returns the label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Alert => "alert",
            Reason::Version => "version",
            Reason::Cipher => "cipher",
            Reason::Srtp => "srtp",
            Reason::Certificate => "certificate",
            Reason::Signature => "signature",
            Reason::Fingerprint => "fingerprint",
            Reason::Finished => "finished",
            Reason::Timeout => "timeout",
            Reason::Malformed => "malformed",
        }
    }

    /// Returns `true` if no later datagram can repair the handshake.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Reason::Alert | Reason::Version | Reason::Cipher | Reason::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_listed_and_have_names_of_their_own() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
