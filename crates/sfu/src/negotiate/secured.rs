//! What does a description say about its sender's DTLS?

use std::str::FromStr;

use str0m::config::Fingerprint;

use super::Unusable;
use crate::tap;

/// What DTLS with the sender of a description must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// We send the ClientHello (RFC 8842 §5: the sender is passive).
    pub we_begin: bool,
    /// Of its certificate (RFC 8122).
    fingerprint: Fingerprint,
}

impl Secured {
    /// Reads the description of the other side.
    ///
    /// # Errors
    ///
    /// Without a fingerprint that can be checked nobody could be told from anybody else.
    pub fn of(sdp: &str) -> Result<Secured, Unusable> {
        let found = sdp.lines().filter_map(|line| line.strip_prefix("a=fingerprint:"));
        let checkable = found.filter_map(|text| {
            let fingerprint = Fingerprint::from_str(text.trim()).ok()?;
            Some((rank(&fingerprint.hash_func)?, fingerprint))
        });
        // RFC 8122 §5.1: the strongest hash of those given.
        let Some((_, fingerprint)) = checkable.min_by_key(|(rank, _)| *rank) else {
            return Err(Unusable::Malformed("it has no a=fingerprint with sha-256 or sha-1".to_owned()));
        };
        let we_begin = super::text::first(sdp, "a=setup:") == Some("passive");
        Ok(Secured { we_begin, fingerprint })
    }

    /// Whether a certificate (DER) is the one that was announced.
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

fn rank(hash: &str) -> Option<u8> {
    ["sha-256", "sha-1"].iter().position(|known| known.eq_ignore_ascii_case(hash)).map(|at| at as u8)
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
        let sdp = format!("v=0\r\na=fingerprint:sha-1 {sha1}\r\na=fingerprint:SHA-256 {sha256}\r\na=setup:actpass\r\n");
        let secured = Secured::of(&sdp).unwrap();
        assert!(secured.is_of(b"certificate") && !secured.is_of(b"another") && !secured.we_begin);
        let old = Secured::of(&format!("v=0\r\na=fingerprint:sha-1 {sha1}\r\na=setup:passive\r\n")).unwrap();
        assert!(old.is_of(b"another") && !old.is_of(b"certificate") && old.we_begin);
    }

    #[test]
    fn without_a_fingerprint_that_can_be_checked_there_is_no_session() {
        for sdp in ["v=0\r\n", "v=0\r\na=fingerprint:md5 00:11\r\n", "v=0\r\na=fingerprint:sha-256 zz\r\n"] {
            assert!(Secured::of(sdp).is_err(), "{sdp}");
        }
    }
}
