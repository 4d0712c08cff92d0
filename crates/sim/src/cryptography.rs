//! How do DTLS handshakes give the same keys and the same bytes whenever a story is told with the same seed?
//!
//! Key exchanges take their private keys from [`chance`], signatures are those of [`keys`], and dimpl's own generator has
//! a fixed seed. Everything else is the product's: protocol, verification of signatures, cipher suites.
//!
//! The keys are no secret: anyone with the source of this crate can decrypt data that is encrypted
//! with them. No part of it is in the product: the server, and all crates that it is made of, do
//! not depend on this crate, and a test says so.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, PrivateKey, UnparsedPublicKey, X25519, agree};
use dimpl::crypto::{
    ActiveKeyExchange, Buf, HashAlgorithm, KeyProvider, NamedGroup, SignatureAlgorithm, SigningKey, SupportedKxGroup,
};
use dimpl::{CryptoError, CryptoOperation};
use sfu::dtls::{Cryptography, Notes};
use str0m_proto::crypto::dtls::{DtlsCert, DtlsInstance, DtlsProvider};
use str0m_proto::crypto::{CryptoError as ProviderError, CryptoProvider, DtlsVersion};

use crate::chance;
use crate::keys::Key;

/// The private key of the server's certificate.
pub(crate) const SERVER: [u8; 32] = [0x11; 32];
/// The private key of all browsers' certificate.
const BROWSER: [u8; 32] = [0x22; 32];
/// Of dimpl's own generator. Two sessions with the same randoms have different keys: their key exchanges differ.
const SEED: u64 = 1;

/// The cryptography of DTLS in all stories.
pub(crate) fn cryptography() -> Cryptography {
    static CRYPTOGRAPHY: OnceLock<Cryptography> = OnceLock::new();
    let make = || {
        Cryptography::predictable(SEED, |provider| {
            provider.kx_groups = &[&Group(NamedGroup::X25519), &Group(NamedGroup::Secp256r1)];
            provider.key_provider = &Keys;
        })
    };
    CRYPTOGRAPHY.get_or_init(make).clone()
}

/// The cryptography of browsers: stock, but for DTLS.
pub(crate) fn of_browsers() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || Arc::new(CryptoProvider { dtls_provider: &Browsers, ..(*sfu::tap::provider()).clone() });
    PROVIDER.get_or_init(make).clone()
}

/// A certificate for a private key: the same for the same key.
pub(crate) fn certificate(secret: &[u8; 32]) -> DtlsCert {
    let key = Key::of(secret).expect("a number below the order");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "A story");
    params.not_before = rcgen::date_time_ymd(2035, 1, 1);
    params.not_after = rcgen::date_time_ymd(2036, 1, 1);
    params.serial_number = Some(vec![7; 16].into());
    let certificate = params.self_signed(&key).expect("a certificate can be written");
    DtlsCert { certificate: certificate.der().to_vec(), private_key: secret.to_vec() }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.point()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Key::sign(self, message))
    }
}

#[derive(Debug)]
struct Browsers;

impl DtlsProvider for Browsers {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        static MADE: OnceLock<DtlsCert> = OnceLock::new();
        Some(MADE.get_or_init(|| certificate(&BROWSER)).clone())
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, ProviderError> {
        cryptography().instance(certificate, now, version, mtu, Notes::default())
    }
}

/// Reads a private key as [`Key::of`] does.
#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, bytes: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        Ok(Box::new(Signing(Key::of(bytes).ok_or(CryptoError::InvalidPrivateKey)?)))
    }
}

#[derive(Debug)]
struct Signing(Key);

impl SigningKey for Signing {
    fn sign(&mut self, bytes: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch { key_hash: HashAlgorithm::SHA256, requested: hash });
        }
        out.clear();
        out.extend_from_slice(&self.0.sign(bytes));
        Ok(())
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }
    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

/// A group whose private keys come from [`chance`].
#[derive(Debug)]
struct Group(NamedGroup);

impl Group {
    fn algorithm(&self) -> &'static Algorithm {
        if self.0 == NamedGroup::X25519 { &X25519 } else { &ECDH_P256 }
    }
}

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.0
    }

    fn start_exchange(&self, mut buffer: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let mut bytes = chance::key(32);
        // Below the order of P-256.
        bytes[0] &= 0x7f;
        let failed = |operation| move |_| CryptoError::OperationFailed(operation);
        let private = PrivateKey::from_private_key(self.algorithm(), &bytes);
        let private = private.map_err(failed(CryptoOperation::GenerateEphemeralKey))?;
        let public = private.compute_public_key();
        let public = public.map_err(|_| CryptoError::OperationFailed(CryptoOperation::ComputePublicKey))?;
        buffer.clear();
        buffer.extend_from_slice(public.as_ref());
        Ok(Box::new(Exchange { group: Group(self.0), private, public: buffer }))
    }
}

#[derive(Debug)]
struct Exchange {
    group: Group,
    private: PrivateKey,
    public: Buf,
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let peer = UnparsedPublicKey::new(self.group.algorithm(), peer);
        agree(&self.private, peer, CryptoError::InvalidPublicKey(self.group.0), |secret| {
            out.clear();
            out.extend_from_slice(secret);
            Ok(())
        })
    }

    fn group(&self) -> NamedGroup {
        self.group.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crate_of_the_product_depends_on_this_one() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for name in ["media", "sfu", "control", "shards", "server", "bench", "impair"] {
            let manifest = std::fs::read_to_string(crates.join(name).join("Cargo.toml")).expect("a crate of ours");
            let product = manifest.split("[dev-dependencies]").next().unwrap_or_default();
            let is_named = product.lines().any(|line| line.trim_start().starts_with("sim"));
            assert!(!is_named, "{name} depends on sim, whose keys everybody knows");
        }
    }

    #[test]
    fn a_key_has_one_certificate_and_two_keys_have_two() {
        let of = |secret| certificate(secret).certificate;
        assert_eq!(of(&SERVER), of(&SERVER));
        assert_ne!(of(&SERVER), of(&BROWSER));
    }

    #[test]
    fn a_seed_gives_one_key_exchange() {
        let public = |seed, group| {
            chance::seed(seed);
            Group(group).start_exchange(Buf::new()).expect("a key").pub_key().to_vec()
        };
        for group in [NamedGroup::X25519, NamedGroup::Secp256r1] {
            assert_eq!(public(3, group), public(3, group));
            assert_ne!(public(3, group), public(4, group));
        }
    }
}
