//! Verifies a peer's signature in a handshake, with the key of its certificate.
//!
//! dimpl verifies ECDSA on P-256 and P-384. RSA is added here, because GStreamer before 1.28,
//! aiortc by choice and many gateways have RSA certificates. The fingerprint in its description
//! (RFC 8122) authenticates a peer; this signature only proves that the peer holds the key of the
//! certificate with that fingerprint.

use std::cell::Cell;
use std::fmt;

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
};
use dimpl::crypto::{HashAlgorithm, SignatureAlgorithm, SignatureVerifier};
use dimpl::{CryptoError, CryptoOperation};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateKind {
    /// ECDSA on this curve.
    Ecdsa(&'static str),
    /// RSA with a modulus of this many bits.
    Rsa(u32),
    /// Ed25519, which no browser makes for WebRTC; not accepted.
    Ed25519,
    /// A key of another kind, or bytes that are not a certificate.
    Unknown,
}

impl CertificateKind {
    /// Reads the kind from a certificate (DER).
    pub fn of(certificate: &[u8]) -> CertificateKind {
        key_of(certificate).as_ref().map_or(CertificateKind::Unknown, kind_of)
    }
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateKind::Ecdsa(curve) => write!(f, "ECDSA {curve}"),
            CertificateKind::Rsa(bits) => write!(f, "RSA {bits}"),
            CertificateKind::Ed25519 => f.write_str("Ed25519"),
            CertificateKind::Unknown => f.write_str("of an unknown kind"),
        }
    }
}

thread_local! {
    /// A handshake runs on one thread from datagram to verdict. On the active side the certificate
    /// is verified here before dimpl reports it.
    static LAST: Cell<Option<CertificateKind>> = const { Cell::new(None) };
}

/// Returns, once, the kind of the certificate of the last signature checked on this thread.
pub(super) fn take_last() -> Option<CertificateKind> {
    LAST.take()
}

/// dimpl's verifier with RSA added.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) ecdsa: &'static dyn SignatureVerifier,
}

impl SignatureVerifier for Verifier {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let key = key_of(certificate).ok_or(CryptoError::CertificateParseFailed)?;
        LAST.set(Some(kind_of(&key)));
        let Some(parameters) = rsa(hash, algorithm) else {
            return self.ecdsa.verify_signature(certificate, data, signature, hash, algorithm);
        };
        if key.algorithm.oid != RSA_ENCRYPTION {
            return Err(CryptoError::UnsupportedPublicKeyAlgorithm);
        }
        let bytes = key.subject_public_key.as_bytes().ok_or(CryptoError::InvalidSubjectPublicKey)?;
        // AWS-LC accepts 2,048 to 8,192 bits. A smaller key can be factored by well-funded
        // attackers (NIST SP 800-57 part 1, 112 bits of strength); one verification with a larger
        // key takes longer than the rest of the handshake.
        UnparsedPublicKey::new(parameters, bytes)
            .verify(data, signature)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::VerifySignature))
    }
}

/// RSASSA-PKCS1-v1_5 by hash and signature (RFC 5246 §7.4.1.4.1), RSASSA-PSS by code point (RFC 8446 §4.2.3).
fn rsa(hash: HashAlgorithm, algorithm: SignatureAlgorithm) -> Option<&'static RsaParameters> {
    match (hash.as_u8(), algorithm.as_u8()) {
        (4, 1) => Some(&RSA_PKCS1_2048_8192_SHA256),
        (5, 1) => Some(&RSA_PKCS1_2048_8192_SHA384),
        (6, 1) => Some(&RSA_PKCS1_2048_8192_SHA512),
        (8, 4) => Some(&RSA_PSS_2048_8192_SHA256),
        (8, 5) => Some(&RSA_PSS_2048_8192_SHA384),
        (8, 6) => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn key_of(certificate: &[u8]) -> Option<SubjectPublicKeyInfoOwned> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().subject_public_key_info().clone())
}

fn kind_of(key: &SubjectPublicKeyInfoOwned) -> CertificateKind {
    match key.algorithm.oid {
        RSA_ENCRYPTION => key
            .subject_public_key
            .as_bytes()
            .and_then(modulus_bits)
            .map_or(CertificateKind::Unknown, CertificateKind::Rsa),
        EC_PUBLIC_KEY => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
            CertificateKind::Ecdsa(match curve.map(|curve| curve.to_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => "P-256",
                Some("1.3.132.0.34") => "P-384",
                Some("1.3.132.0.35") => "P-521",
                _ => "on another curve",
            })
        }
        ED25519 => CertificateKind::Ed25519,
        _ => CertificateKind::Unknown,
    }
}

/// RFC 8017 §A.1.1: `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`.
fn modulus_bits(key: &[u8]) -> Option<u32> {
    let modulus = AnyRef::from_der(key).ok()?.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        reader.read_slice(reader.remaining_len())?;
        Ok::<_, x509_cert::der::Error>(modulus)
    });
    let modulus = modulus.ok()?;
    let bytes = modulus.as_bytes();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    (u32::try_from(bytes.len()).ok()?.checked_mul(8)?).checked_sub(unused)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    };

    use super::*;
    use crate::dtls::testing;

    fn signed(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Vec<u8> {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), b"transcript", &mut signature).unwrap();
        signature
    }

    #[test]
    fn each_rsa_scheme_verifies_its_own_signature_and_no_other() {
        let verifier = crate::dtls::provider().signature_verification;
        let ours = testing::rsa_certificate(2_048);
        let pair = RsaKeyPair::from_pkcs8(&ours.private_key).unwrap();
        let schemes: [(u8, u8, &'static dyn RsaEncoding); 6] = [
            (4, 1, &RSA_PKCS1_SHA256),
            (5, 1, &RSA_PKCS1_SHA384),
            (6, 1, &RSA_PKCS1_SHA512),
            (8, 4, &RSA_PSS_SHA256),
            (8, 5, &RSA_PSS_SHA384),
            (8, 6, &RSA_PSS_SHA512),
        ];
        for (at, (_, _, encoding)) in schemes.iter().enumerate() {
            let signature = signed(&pair, *encoding);
            for (other, (hash, algorithm, _)) in schemes.iter().enumerate() {
                let (hash, algorithm) = (HashAlgorithm::from_u8(*hash), SignatureAlgorithm::from_u8(*algorithm));
                let check =
                    |data: &[u8]| verifier.verify_signature(&ours.certificate, data, &signature, hash, algorithm);
                assert_eq!(check(b"transcript").is_ok(), at == other, "{hash:?} {algorithm:?}");
                assert!(check(b"another transcript").is_err());
            }
        }
    }

    #[test]
    fn kinds_are_read_and_rubbish_is_unknown() {
        let rsa = testing::rsa_certificate(2_048).certificate;
        let ecdsa = dimpl::certificate::generate_self_signed_certificate().unwrap().certificate;
        assert_eq!(CertificateKind::of(&rsa).to_string(), "RSA 2048");
        assert_eq!(CertificateKind::of(&ecdsa).to_string(), "ECDSA P-256");
        for len in [0, 1, 20, rsa.len() - 1] {
            assert_eq!(CertificateKind::of(&rsa[..len]), CertificateKind::Unknown);
        }
    }

    #[test]
    fn an_rsa_signature_does_not_verify_with_an_ecdsa_certificate() {
        let verifier = crate::dtls::provider().signature_verification;
        let ecdsa = dimpl::certificate::generate_self_signed_certificate().unwrap().certificate;
        let found = verifier.verify_signature(&ecdsa, b"", &[0; 256], HashAlgorithm::SHA256, SignatureAlgorithm::RSA);
        assert_eq!(found, Err(CryptoError::UnsupportedPublicKeyAlgorithm));
    }

    #[test]
    fn a_key_of_1024_bits_is_too_small() {
        // AWS-LC makes no such key: the modulus of a certificate is cut in half, and its kind and
        // the check are tested.
        let pair = RsaKeyPair::from_pkcs8(&testing::rsa_certificate(2_048).private_key).unwrap();
        // SEQUENCE and INTEGER with lengths of two bytes, and a zero before the modulus.
        let modulus = &pair.public_key().as_ref()[9..];
        let mut key = vec![0x30, 0x81, 0x88, 0x02, 0x81, 0x81, 0x00];
        key.extend_from_slice(&modulus[..127]);
        key.extend_from_slice(&[0x01, 0x02, 0x02, 0x01, 0x03]);
        assert_eq!(modulus_bits(&key), Some(1_024));
        let signature = [1; 128];
        assert!(UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key).verify(b"", &signature).is_err());
    }
}
