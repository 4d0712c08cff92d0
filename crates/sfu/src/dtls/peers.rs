//! Handshakes with peers of every kind of certificate, driven by hand, in both roles.

use std::time::Instant;

use dimpl::{Dtls, Error, Output, SecurityError};
use rcgen::KeyPair;
use str0m_proto::crypto::DtlsVersion;
use str0m_proto::crypto::dtls::{DtlsCert, DtlsInstance, DtlsOutput, DtlsProvider};

use super::testing::{certificate, peer, rsa_certificate};
use super::{CertificateKind, Cryptography, Failure, Notes, Patience, Provider, Reason};

struct Pair {
    now: Instant,
    ours: Box<dyn DtlsInstance>,
    theirs: Dtls,
    failures: Patience,
    /// The certificate that the peer showed, and the keys of both sides.
    shown: Option<Vec<u8>>,
    keys: [Option<Vec<u8>>; 2],
}

impl Pair {
    fn new(theirs: DtlsCert, we_begin: bool) -> Pair {
        let now = Instant::now();
        let notes = Notes::default();
        let certificate = Provider.generate_certificate().unwrap();
        let mut ours = Cryptography::of_this_machine()
            .instance(&certificate, now, DtlsVersion::Dtls12, Some(1_200), notes.clone())
            .unwrap();
        ours.set_active(we_begin);
        ours.handle_timeout(now).unwrap();
        let failures = Patience::new(notes);
        Pair { now, ours, theirs: peer(theirs, !we_begin, 1_200, now), failures, shown: None, keys: [None, None] }
    }

    fn our_turn(&mut self) {
        let (mut packets, mut buffer) = (Vec::new(), [0; 2_000]);
        loop {
            match self.ours.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                DtlsOutput::PeerCert(certificate) => self.shown = Some(certificate.to_vec()),
                DtlsOutput::KeyingMaterial(keys, _) => self.keys[0] = Some(keys.to_vec()),
                DtlsOutput::Timeout(_) | DtlsOutput::BufferTooSmall { .. } => break,
                _ => {}
            }
        }
        for packet in packets {
            self.theirs.handle_packet(&packet).unwrap();
        }
    }

    fn their_turn(&mut self, change: impl Fn(&mut Vec<u8>)) {
        let (mut packets, mut buffer) = (Vec::new(), [0; 4_000]);
        loop {
            match self.theirs.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::KeyingMaterial(keys, _) => self.keys[1] = Some(keys.to_vec()),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        for mut packet in packets {
            change(&mut packet);
            self.hear(&packet);
        }
    }

    fn hear(&mut self, packet: &[u8]) {
        let _ = self.ours.handle_packet(packet);
        self.failures.look(self.now);
    }

    /// Runs until both sides have keys, or one cannot continue.
    fn shake(&mut self) -> Option<Failure> {
        for _ in 0..6 {
            self.our_turn();
            self.their_turn(|_| {});
        }
        self.our_turn();
        self.failures.over(self.now)
    }
}

#[test]
fn peers_with_rsa_and_p384_certificates_agree_on_keys_in_both_roles() {
    let p384 = certificate(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(), 1);
    let certificates = [
        (rsa_certificate(2_048), "RSA 2048"),
        (rsa_certificate(3_072), "RSA 3072"),
        (rsa_certificate(4_096), "RSA 4096"),
        (p384, "ECDSA P-384"),
        (Provider.generate_certificate().unwrap(), "ECDSA P-256"),
    ];
    for (theirs, kind) in certificates {
        for we_begin in [false, true] {
            let mut pair = Pair::new(theirs.clone(), we_begin);
            assert_eq!(pair.shake(), None, "{kind}, we begin: {we_begin}");
            assert_eq!(pair.shown.as_deref(), Some(theirs.certificate.as_slice()));
            assert_eq!(CertificateKind::of(&theirs.certificate).to_string(), kind);
            assert!(pair.keys[0].is_some() && pair.keys[0] == pair.keys[1], "{kind}, we begin: {we_begin}");
        }
    }
}

#[test]
fn a_flight_of_more_than_eight_records_in_one_datagram_is_read() {
    for we_begin in [false, true] {
        let mut pair = Pair::new(rsa_certificate(2_048), we_begin);
        pair.theirs = peer(rsa_certificate(2_048), !we_begin, 256, pair.now);
        for _ in 0..6 {
            pair.our_turn();
            let flight = std::cell::RefCell::new(Vec::new());
            pair.their_turn(|packet| flight.borrow_mut().append(packet));
            pair.hear(&flight.into_inner());
        }
        assert_eq!(pair.failures.over(pair.now), None);
        assert!(pair.keys[0].is_some() && pair.keys[0] == pair.keys[1], "we begin: {we_begin}");
    }
}

#[test]
fn a_certificate_in_several_fragments_is_read_and_one_larger_than_the_buffer_is_refused() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    for we_begin in [false, true] {
        let fits = certificate(&key, 50);
        assert!((1_300..2_000).contains(&fits.certificate.len()), "{}", fits.certificate.len());
        assert_eq!(Pair::new(fits, we_begin).shake(), None, "we begin: {we_begin}");

        let mut pair = Pair::new(certificate(&key, 90), we_begin);
        pair.shake();
        pair.failures.look(pair.now);
        assert_eq!(pair.failures.over(pair.now).map(|failure| failure.reason), Some(Reason::Certificate));
        assert_eq!(pair.keys[0], None);
    }
}

#[test]
fn a_peer_without_the_key_of_its_certificate_fails_at_once_and_its_kind_is_told() {
    for we_begin in [false, true] {
        let mut theirs = rsa_certificate(2_048);
        theirs.private_key =
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap().serialize_der();
        let mut pair = Pair::new(theirs, we_begin);
        let failure = pair.shake().expect("the signature is another key's");
        assert_eq!((failure.reason, pair.keys[0].is_some()), (Reason::Signature, false), "we begin: {we_begin}");
        assert_eq!(failure.certificate, Some(CertificateKind::Rsa(2_048)));
        let alert = pair.failures.alert(failure).expect("the peer is told");
        let heard = pair.theirs.handle_packet(&alert);
        assert_eq!(heard, Err(Error::SecurityError(SecurityError::FatalAlert { description: 51 })));
    }
}

/// Offsets in the first datagram of a client: record 13 bytes, handshake header 12, version 2, random 32, empty session
/// and cookie 1 each, length of the suites 2.
const VERSION: usize = 25;
const SUITES: usize = 63;

#[test]
fn a_client_hello_without_a_suite_or_version_of_ours_fails_after_the_grace() {
    let other_suites = |packet: &mut Vec<u8>| {
        let end = SUITES + usize::from(packet[SUITES - 1]);
        // TLS_RSA_WITH_AES_128_CBC_SHA: no forward secrecy.
        packet[SUITES..end].chunks_mut(2).for_each(|suite| suite.copy_from_slice(&[0x00, 0x2f]));
    };
    let dtls_1_0 = |packet: &mut Vec<u8>| packet[VERSION..VERSION + 2].copy_from_slice(&[0xfe, 0xff]);
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, Reason); 2] = [(other_suites, Reason::Cipher), (dtls_1_0, Reason::Version)];
    for (change, reason) in changes {
        let mut pair = Pair::new(rsa_certificate(2_048), false);
        pair.their_turn(change);
        assert_eq!(pair.failures.over(pair.now), None, "a forged ClientHello can say that too");
        let at = pair.failures.poll_timeout().expect("a failure was noted");
        assert_eq!(pair.failures.over(at).map(|failure| failure.reason), Some(reason));
    }
}

#[test]
fn a_forged_alert_does_not_keep_a_handshake_from_its_end() {
    let mut pair = Pair::new(rsa_certificate(2_048), false);
    // Fatal handshake_failure, epoch 0.
    pair.hear(&[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]);
    let at = pair.failures.poll_timeout().expect("it was noted");
    assert_eq!(pair.failures.over(at).and_then(|failure| failure.alert), Some(40));
    assert_eq!(pair.shake(), None);
    assert!(pair.keys[0].is_some() && pair.keys[0] == pair.keys[1]);
}
