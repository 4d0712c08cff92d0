//! Peers with certificates of other kinds than the server's.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{Config, CryptoError, CryptoOperation, Dtls};
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use str0m_proto::crypto::dtls::DtlsCert;

/// Makes a self-signed certificate with an RSA key; once for each size, because it takes a second.
pub(crate) fn rsa_certificate(bits: u32) -> DtlsCert {
    static MADE: [OnceLock<DtlsCert>; 3] = [const { OnceLock::new() }; 3];
    let (made, size) = match bits {
        2_048 => (&MADE[0], RsaKeySize::_2048),
        3_072 => (&MADE[1], RsaKeySize::_3072),
        _ => (&MADE[2], RsaKeySize::_4096),
    };
    made.get_or_init(|| certificate(&KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap(), 1)).clone()
}

/// Makes a self-signed certificate with this many names.
pub(crate) fn certificate(key: &KeyPair, names: usize) -> DtlsCert {
    let names: Vec<_> = (0..names).map(|n| format!("peer-{n:04}.example.net")).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(key).unwrap();
    DtlsCert { certificate: certificate.der().to_vec(), private_key: key.serialize_der() }
}

/// Makes the other end of a handshake: dimpl with keys of another kind.
pub(crate) fn peer(certificate: DtlsCert, is_client: bool, mtu: usize, now: Instant) -> Dtls {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let mut provider = super::provider();
    provider.key_provider = KEYS.get_or_init(|| Keys { ecdsa: provider.key_provider });
    let config = Config::builder().use_server_cookie(false).with_crypto_provider(provider).mtu(mtu).build().unwrap();
    let mut dtls = Dtls::new_12(Arc::new(config), certificate, now);
    dtls.set_active(is_client);
    dtls.handle_timeout(now).unwrap();
    dtls
}

#[derive(Debug)]
struct Keys {
    ecdsa: &'static dyn KeyProvider,
}

impl KeyProvider for Keys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        match RsaKeyPair::from_pkcs8(der) {
            Ok(pair) => Ok(Box::new(Rsa(Arc::new(pair)))),
            Err(_) => self.ecdsa.load_private_key(der),
        }
    }
}

#[derive(Debug)]
struct Rsa(Arc<RsaKeyPair>);

impl SigningKey for Rsa {
    fn sign(&mut self, data: &[u8], _: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature);
        signed.map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(&signature);
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}
