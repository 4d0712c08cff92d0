//! Cipher suites for servers with RSA certificates.
//!
//! ECDHE_RSA differs from ECDHE_ECDSA in the signature of ServerKeyExchange; keys, hash and cipher
//! are the same (RFC 5289 §3.2, RFC 7905 §2). Each suite here is therefore dimpl's ECDSA suite
//! under another number. They are offered if this server is the DTLS client; as the DTLS server it
//! has an ECDSA certificate, and dimpl does not choose them.

use dimpl::CryptoError;
use dimpl::crypto::{Cipher, Dtls12CipherSuite, HashAlgorithm, SupportedDtls12CipherSuite};

/// A suite under another number.
#[derive(Debug)]
struct Renumbered {
    number: u16,
    of: &'static dyn SupportedDtls12CipherSuite,
}

/// ECDHE_ECDSA and its ECDHE_RSA twin, by their numbers at IANA: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305.
const TWINS: [(u16, u16); 3] = [(0xc02b, 0xc02f), (0xc02c, 0xc030), (0xcca9, 0xcca8)];

/// Returns the suites given, followed by the RSA twins of those that have one. The process calls
/// this once, so nothing is freed.
pub(super) fn with_rsa(
    suites: &'static [&'static dyn SupportedDtls12CipherSuite],
) -> &'static [&'static dyn SupportedDtls12CipherSuite] {
    let mut all = suites.to_vec();
    for of in suites.iter().copied() {
        if let Some((_, number)) = TWINS.into_iter().find(|(number, _)| *number == of.suite().as_u16()) {
            all.push(Box::leak(Box::new(Renumbered { number, of })));
        }
    }
    all.leak()
}

impl SupportedDtls12CipherSuite for Renumbered {
    fn suite(&self) -> Dtls12CipherSuite {
        Dtls12CipherSuite::from_u16(self.number)
    }
    fn hash_algorithm(&self) -> HashAlgorithm {
        self.of.hash_algorithm()
    }
    fn key_lengths(&self) -> (usize, usize, usize) {
        self.of.key_lengths()
    }
    fn explicit_nonce_len(&self) -> usize {
        self.of.explicit_nonce_len()
    }
    fn tag_len(&self) -> usize {
        self.of.tag_len()
    }
    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        self.of.create_cipher(key)
    }
}
