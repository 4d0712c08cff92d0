//! What does the DTLS of one more session cost?
//!
//! As little as can be: what is the same for all sessions is made and tested once for the process. dimpl proves its
//! cryptography whenever a configuration is made (key exchanges, signatures and hashes against known answers), and reads
//! the certificate's key for every session; str0m's stock provider does both per session, and P-384 alone, which no
//! browser asks for, was a fifth of all samples of a join. Protocol, curves, cipher suites and SRTP profiles are dimpl's
//! own; only the work is shared.
//!
//! A caller that must repeat a run to the byte hands in its own [`Cryptography`]; the server never does.

mod alert;
mod failure;
#[cfg(test)]
mod peers;
mod reason;
mod suites;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, CryptoProvider, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{Config, CryptoOperation, Dtls};
use str0m_proto::crypto::dtls::{DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};
use str0m_proto::crypto::{CryptoError, DtlsVersion};

pub(crate) use alert::Alert;
#[cfg(test)]
pub(crate) use failure::GRACE;
pub(crate) use failure::Patience;
pub use failure::{Failure, Notes};
pub use reason::Reason;
pub use verify::CertificateKind;
use verify::Verifier;

/// Makes DTLS instances that share the configuration and the key.
#[derive(Debug)]
pub(crate) struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Cryptography::of_this_machine().instance(certificate, now, version, mtu, Notes::default())
    }
}

/// The cryptography of DTLS sessions, made and tested once for all of them.
#[derive(Clone)]
pub struct Cryptography {
    provider: CryptoProvider,
    /// The seed of dimpl's own generator: client and server randoms, explicit nonces. `None`: the machine's generator.
    seed: Option<u64>,
    shared: Arc<OnceLock<(Option<usize>, Arc<Config>)>>,
}

impl Cryptography {
    /// Keys, nonces and signatures come from the machine's generator.
    pub fn of_this_machine() -> Cryptography {
        static OF_THIS_MACHINE: OnceLock<Cryptography> = OnceLock::new();
        OF_THIS_MACHINE.get_or_init(|| Cryptography::of(provider(), None)).clone()
    }

    /// Keys, nonces and signatures follow from what the caller puts into the provider, and from `seed`. An observer that
    /// knows both reads everything: for simulations only. No crate of the server makes such a provider.
    pub fn predictable(seed: u64, change: impl FnOnce(&mut CryptoProvider)) -> Cryptography {
        let mut provider = provider();
        change(&mut provider);
        Cryptography::of(provider, Some(seed))
    }

    fn of(provider: CryptoProvider, seed: Option<u64>) -> Cryptography {
        Cryptography { provider, seed, shared: Arc::default() }
    }

    /// Makes a DTLS instance that notes what goes wrong in its handshake.
    ///
    /// # Errors
    ///
    /// [`CryptoError`], if dimpl refuses the configuration or does not know the version.
    pub fn instance(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
        notes: Notes,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = self.config(mtu)?;
        let certificate = certificate.clone();
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(config, certificate, now),
            _ => return Err(CryptoError::Other(format!("DTLS version {version} is not known here"))),
        };
        Ok(Box::new(Instance { dtls, notes, stage: Stage::Handshake }))
    }

    /// The configuration of all sessions with this MTU. There is one in practice: the MTU is ours to choose, not a peer's.
    fn config(&self, mtu: Option<usize>) -> Result<Arc<Config>, CryptoError> {
        if let Some((_, config)) = self.shared.get().filter(|(of, _)| *of == mtu) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.configure(mtu)?);
        let _ = self.shared.set((mtu, config.clone()));
        Ok(config)
    }

    fn configure(&self, mtu: Option<usize>) -> Result<Config, CryptoError> {
        // DTLS is taken from addresses that passed ICE only: a cookie would prove the address a second time.
        let mut builder = Config::builder().use_server_cookie(false).with_crypto_provider(self.provider.clone());
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        if let Some(seed) = self.seed {
            builder = builder.dangerously_set_rng_seed(seed);
        }
        builder.build().map_err(|error| CryptoError::Other(format!("DTLS cannot be configured: {error}")))
    }
}

impl std::fmt::Debug for Cryptography {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cryptography").field("is_predictable", &self.seed.is_some()).finish_non_exhaustive()
    }
}

/// dimpl's cryptography, with the process's key read once and with RSA certificates of peers.
fn provider() -> CryptoProvider {
    static PROVIDER: OnceLock<CryptoProvider> = OnceLock::new();
    static KEYS: OnceLock<Keys> = OnceLock::new();
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let make = || {
        let mut provider = str0m_aws_lc_rs::dimpl_crypto_provider();
        provider.key_provider = KEYS.get_or_init(|| Keys { of_others: provider.key_provider, last: Mutex::default() });
        provider.signature_verification = VERIFIER.get_or_init(|| Verifier { ecdsa: provider.signature_verification });
        provider.cipher_suites = suites::with_rsa(provider.cipher_suites);
        provider
    };
    PROVIDER.get_or_init(make).clone()
}

/// Reads the process's key once. A process has one certificate, so the last key read is kept.
#[derive(Debug)]
struct Keys {
    of_others: &'static dyn KeyProvider,
    last: Mutex<Option<Key>>,
}

impl KeyProvider for Keys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, dimpl::CryptoError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = last.as_ref().filter(|key| key.der.as_slice() == der) {
            return Ok(Box::new(key.clone()));
        }
        // The process's key is P-256 in PKCS #8, like those of all browsers; other kinds take
        // dimpl's slower path.
        let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) else {
            return self.of_others.load_private_key(der);
        };
        let key = Key { der: Arc::new(zeroize::Zeroizing::new(der.to_vec())), pair: Arc::new(pair) };
        *last = Some(key.clone());
        Ok(Box::new(key))
    }
}

#[derive(Clone)]
struct Key {
    der: Arc<zeroize::Zeroizing<Vec<u8>>>,
    pair: Arc<EcdsaKeyPair>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl SigningKey for Key {
    fn sign(&mut self, bytes: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), dimpl::CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(dimpl::CryptoError::SigningKeyHashMismatch {
                key_hash: HashAlgorithm::SHA256,
                requested: hash,
            });
        }
        let signature = self.pair.sign(&SystemRandom::new(), bytes);
        let signature = signature.map_err(|_| dimpl::CryptoError::OperationFailed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
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

/// The most records that dimpl reads from one datagram; it drops a datagram with more.
const MAX_RECORDS: usize = 8;

/// Splits a datagram into runs of at most [`MAX_RECORDS`] records. OpenSSL writes a client's last flight in fragments of
/// 256 bytes and sends them together: with an RSA certificate that is nine records and more. Bounded by the datagram.
fn runs_of_records(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(datagram);
    std::iter::from_fn(move || {
        let packet = rest.take()?;
        let mut end = 0;
        for _ in 0..MAX_RECORDS {
            // RFC 6347 §4.1: type, version, epoch and sequence number take 11 bytes, the length two.
            let length = packet.get(end + 11..end + 13).map(|length| u16::from_be_bytes([length[0], length[1]]));
            match length.map(|length| end + 13 + usize::from(length)) {
                Some(next) if next < packet.len() => end = next,
                // The last record, or bytes that are no record: dimpl reports the fault.
                _ => return Some(packet),
            }
        }
        let (run, more) = packet.split_at(end);
        rest = Some(more);
        Some(run)
    })
}

struct Instance {
    dtls: Dtls,
    notes: Notes,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    /// The handshake is complete; keys for SRTP have not come yet.
    Connected,
    /// No further results are recorded.
    Done,
    /// The peer's certificate is larger than the buffer: the instance returns nothing more, above
    /// all no keys.
    Refused {
        needed: usize,
    },
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instance(..)")
    }
}

impl DtlsInstance for Instance {
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        verify::take_last();
        let result = runs_of_records(packet).try_for_each(|records| self.dtls.handle_packet(records));
        if let Err(error) = &result
            && self.stage == Stage::Handshake
        {
            self.notes.error(error);
        }
        result
    }
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Stage::Refused { needed } = self.stage {
            return DtlsOutput::BufferTooSmall { needed };
        }
        let output = self.dtls.poll_output(buf);
        match &output {
            DtlsOutput::Packet(packet) if self.stage == Stage::Handshake => self.notes.sent(packet),
            DtlsOutput::PeerCert(certificate) => self.notes.certificate(certificate),
            DtlsOutput::Connected => self.stage = Stage::Connected,
            DtlsOutput::KeyingMaterial(..) => self.stage = Stage::Done,
            // Keys would follow directly: there are none.
            DtlsOutput::Timeout(_) if self.stage == Stage::Connected => {
                self.stage = Stage::Done;
                self.notes.failure(Failure::new(Reason::Srtp));
            }
            // Records that are sent fit; a certificate of the peer may not.
            DtlsOutput::BufferTooSmall { needed } if self.stage == Stage::Handshake => {
                self.stage = Stage::Refused { needed: *needed };
                self.notes.failure(Failure::new(Reason::Certificate));
            }
            _ => {}
        }
        output
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        let result = self.dtls.handle_timeout(now);
        if let Err(error) = &result
            && self.stage == Stage::Handshake
        {
            self.notes.error(error);
        }
        result
    }
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_split_after_every_eighth_record_and_nothing_of_it_is_lost() {
        let record =
            |length: u8| [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, length][..], &[7; 9][..length.into()]].concat();
        for (count, runs) in [(0, 1), (1, 1), (8, 1), (9, 2), (16, 2), (17, 3)] {
            let datagram: Vec<u8> = (0..count).flat_map(|n| record(n % 10)).collect();
            let found: Vec<_> = runs_of_records(&datagram).collect();
            assert_eq!((found.len(), found.concat()), (runs, datagram), "{count} records");
        }
        // Cut anywhere, or with a length that lies.
        let datagram: Vec<u8> = (0..20).flat_map(|n| record(n % 10)).collect();
        for cut in 0..datagram.len() {
            assert_eq!(runs_of_records(&datagram[..cut]).collect::<Vec<_>>().concat(), &datagram[..cut]);
        }
        assert_eq!(runs_of_records(&[0xff; 40]).count(), 1);
    }

    #[test]
    fn sessions_share_one_configuration() {
        let shared = |mtu| Cryptography::of_this_machine().config(mtu);
        let one = shared(Some(1_200)).unwrap();
        let other = shared(Some(1_200)).unwrap();
        assert_eq!(one.mtu(), 1_200);
        // Another test may have been first with another MTU; then this one is made anew, and is
        // still correct.
        assert!(Arc::ptr_eq(&one, &other) || shared(Some(1_300)).unwrap().mtu() == 1_300);
        assert_eq!(shared(Some(1_000)).unwrap().mtu(), 1_000);
    }

    #[test]
    fn two_instances_with_a_shared_key_agree_on_srtp_keys() {
        let now = Instant::now();
        let certificate = Provider.generate_certificate().unwrap();
        let mut ends: Vec<_> = [true, false]
            .into_iter()
            .map(|active| {
                let mut end = Provider.new_dtls(&certificate, now, DtlsVersion::Dtls12, Some(1_200)).unwrap();
                end.set_active(active);
                end.handle_timeout(now).unwrap();
                end
            })
            .collect();
        let mut keys = [None, None];
        let mut buffer = [0; 2_048];
        for turn in 0..40 {
            let here = turn % 2;
            let mut packets = Vec::new();
            loop {
                match ends[here].poll_output(&mut buffer) {
                    DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                    DtlsOutput::KeyingMaterial(material, profile) => keys[here] = Some((material.to_vec(), profile)),
                    DtlsOutput::Timeout(_) => break,
                    _ => {}
                }
            }
            for packet in packets {
                ends[1 - here].handle_packet(&packet).unwrap();
            }
        }
        assert!(keys[0].is_some());
        assert_eq!(keys[0], keys[1]);
    }

    #[test]
    fn a_key_that_is_no_key_is_refused_and_the_next_is_read() {
        let config = Cryptography::of_this_machine().config(Some(1_200)).unwrap();
        let keys = config.crypto_provider().key_provider;
        assert!(keys.load_private_key(b"no key").is_err());
        let certificate = Provider.generate_certificate().unwrap();
        let mut key = keys.load_private_key(&certificate.private_key).unwrap();
        assert!(key.sign(b"hello", HashAlgorithm::SHA384, &mut Buf::new()).is_err(), "P-256 signs with SHA-256 alone");
        let mut signature = Buf::new();
        key.sign(b"hello", HashAlgorithm::SHA256, &mut signature).unwrap();
        let verifier = config.crypto_provider().signature_verification;
        let check = |bytes: &[u8]| {
            verifier.verify_signature(
                &certificate.certificate,
                bytes,
                &signature,
                HashAlgorithm::SHA256,
                SignatureAlgorithm::ECDSA,
            )
        };
        assert!(check(b"hello").is_ok());
        assert!(check(b"hallo").is_err());
    }
}
