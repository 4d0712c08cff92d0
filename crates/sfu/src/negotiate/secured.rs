//! Which DTLS role and certificate does a description announce?

use str0m::config::Fingerprint;

use super::Unusable;
use super::description::Description;
use super::transport::Transport;
use crate::tap;

/// The requirements for DTLS with the sender of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// The server sends the ClientHello (RFC 8842 §5: the sender is passive).
    pub we_begin: bool,
    /// Fingerprint of the sender's certificate (RFC 8122).
    fingerprint: Fingerprint,
}

impl Secured {
    /// Reads the description of the other side.
    ///
    /// # Errors
    ///
    /// [`Unusable::Malformed`] without ICE credentials, or without a fingerprint that can be checked.
    pub fn of(sdp: &str) -> Result<Secured, Unusable> {
        Ok(Secured::with(&Transport::of(&Description::parse(sdp)?)?))
    }

    /// Reads them from a transport.
    pub(super) fn with(transport: &Transport<'_>) -> Secured {
        Secured { we_begin: transport.we_begin(), fingerprint: transport.fingerprint().clone() }
    }

    /// Returns `true` if a certificate (DER) is the announced one.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        let provider = tap::provider();
        let bytes = match rank(&self.fingerprint.hash_func) {
            Some(0) => provider.sha256_provider.sha256(certificate).to_vec(),
            Some(_) => provider.sha1_provider.sha1(certificate).to_vec(),
            None => return false,
        };
        bytes == self.fingerprint.bytes
    }
}

/// Hashes that are checked, the strongest first, with their lengths in bytes.
pub(super) const HASHES: [(&str, usize); 2] = [("sha-256", 32), ("sha-1", 20)];

/// Returns the place of a hash in [`HASHES`].
pub(super) fn rank(hash: &str) -> Option<usize> {
    HASHES.iter().position(|(known, _)| known.eq_ignore_ascii_case(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }

    #[test]
    fn the_strongest_fingerprint_counts_and_only_its_certificate_fits() {
        let sha256 = hex(&tap::provider().sha256_provider.sha256(b"certificate"));
        let sha1 = hex(&tap::provider().sha1_provider.sha1(b"another"));
        let sdp = of(&[&format!("sha-1 {sha1}"), &format!("SHA-256 {sha256}")], "actpass");
        let secured = Secured::of(&sdp).unwrap();
        assert!(secured.is_of(b"certificate") && !secured.is_of(b"another") && !secured.we_begin);
        let old = Secured::of(&of(&[&format!("sha-1 {sha1}")], "passive")).unwrap();
        assert!(old.is_of(b"another") && !old.is_of(b"certificate") && old.we_begin);
    }

    fn of(fingerprints: &[&str], setup: &str) -> String {
        let lines: String = fingerprints.iter().map(|f| format!("a=fingerprint:{f}\r\n")).collect();
        let credentials = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";
        format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n{credentials}{lines}a=setup:{setup}\r\n")
    }

    #[test]
    fn without_a_fingerprint_that_can_be_checked_there_is_no_session() {
        for (fingerprints, words) in [
            (&[][..], "no a=fingerprint"),
            (&["md5 00:11"], "no a=fingerprint"),
            (&["sha-256 zz"], "no a=fingerprint"),
            (&["sha-256 00:11"], "line 5 (a=fingerprint): sha-256 has 32 bytes, and 2 are written"),
        ] {
            let said = Secured::of(&of(fingerprints, "actpass")).expect_err(words).to_string();
            assert!(said.contains(words), "{said}");
        }
        assert!(Secured::of(&of(&[], "holdconn")).is_err());
    }
}
