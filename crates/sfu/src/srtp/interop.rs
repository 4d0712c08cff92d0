//! Do the ciphers, the key derivation and the nonces agree with str0m's?
//!
//! The twin is assembled from the parts that str0m uses (its own context is not public) in the
//! simplest way: it allocates, copies and expands the key anew for every packet.

use proptest::prelude::*;
use str0m_proto::crypto::{AeadAes128Gcm, AeadAes256Gcm, Aes128CmSha1_80, CryptoProvider};

use super::tests::PROFILES;
use super::{DtlsRole, Profile, split};

/// One direction, as str0m computes it.
struct Twin {
    profile: Profile,
    crypto: CryptoProvider,
    key: Vec<u8>,
    salt: Vec<u8>,
}

impl Twin {
    fn derive<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut input = [0; 16];
        input[..self.salt.len()].copy_from_slice(&self.salt);
        input[7] ^= label;
        let mut stream = Vec::new();
        for block in 0..N.div_ceil(16) {
            input[15] = u8::try_from(block).unwrap();
            let mut out = [0; 32];
            match self.key.len() {
                16 => self.crypto.srtp_provider.srtp_aes_128_ecb_round(&self.key, &input, &mut out),
                _ => self.crypto.srtp_provider.srtp_aes_256_ecb_round(&self.key, &input, &mut out),
            }
            stream.extend_from_slice(&out[..16]);
        }
        stream[..N].try_into().unwrap()
    }

    fn rtp(&self, header: &[u8], payload: &[u8], ssrc: u32, index: u64) -> Vec<u8> {
        let (roc, seq) = ((index >> 16) as u32, index as u16);
        let srtp = self.crypto.srtp_provider;
        let mut body = vec![0; payload.len() + 16];
        match self.profile {
            Profile::AeadAes128Gcm => {
                let iv = AeadAes128Gcm::rtp_iv(self.derive(2), ssrc, roc, seq);
                let mut cipher = srtp.aead_aes_128_gcm().create_cipher(self.derive(0), true);
                cipher.encrypt(&iv, header, payload, &mut body).unwrap();
                [header, &body].concat()
            }
            Profile::AeadAes256Gcm => {
                let iv = AeadAes256Gcm::rtp_iv(self.derive(2), ssrc, roc, seq);
                let mut cipher = srtp.aead_aes_256_gcm().create_cipher(self.derive(0), true);
                cipher.encrypt(&iv, header, payload, &mut body).unwrap();
                [header, &body].concat()
            }
            Profile::AesCm128HmacSha1_80 => {
                let iv = Aes128CmSha1_80::rtp_iv(self.derive(2), ssrc, index);
                let mut cipher = srtp.aes_128_cm_sha1_80().create_cipher(self.derive(0), true);
                cipher.encrypt(&iv, payload, &mut body).unwrap();
                let mut packet = [header, &body[..payload.len()], &[0; 10]].concat();
                let end = packet.len() - 10;
                let hmac = |key: &[u8], parts: &[&[u8]]| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts);
                Aes128CmSha1_80::rtp_hmac(hmac, &self.derive::<20>(1), &mut packet, index, end);
                packet
            }
        }
    }

    fn rtcp(&self, plain: &[u8], ssrc: u32, index: u32) -> Vec<u8> {
        let (header, payload) = plain.split_at(8);
        let word = (index | 1 << 31).to_be_bytes();
        let aad = [header, &word].concat();
        let srtp = self.crypto.srtp_provider;
        let mut body = vec![0; payload.len() + 16];
        match self.profile {
            Profile::AeadAes128Gcm => {
                let iv = AeadAes128Gcm::rtcp_iv(self.derive(5), ssrc, index);
                let mut cipher = srtp.aead_aes_128_gcm().create_cipher(self.derive(3), true);
                cipher.encrypt(&iv, &aad, payload, &mut body).unwrap();
                [header, &body, &word].concat()
            }
            Profile::AeadAes256Gcm => {
                let iv = AeadAes256Gcm::rtcp_iv(self.derive(5), ssrc, index);
                let mut cipher = srtp.aead_aes_256_gcm().create_cipher(self.derive(3), true);
                cipher.encrypt(&iv, &aad, payload, &mut body).unwrap();
                [header, &body, &word].concat()
            }
            Profile::AesCm128HmacSha1_80 => {
                let iv = Aes128CmSha1_80::rtp_iv(self.derive(5), ssrc, u64::from(index));
                let mut cipher = srtp.aes_128_cm_sha1_80().create_cipher(self.derive(3), true);
                cipher.encrypt(&iv, payload, &mut body).unwrap();
                let mut packet = [header, &body[..payload.len()], &word, &[0; 10]].concat();
                let end = packet.len() - 10;
                let hmac = |key: &[u8], parts: &[&[u8]]| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts);
                Aes128CmSha1_80::rtcp_hmac(hmac, &self.derive::<20>(4), &mut packet, end);
                packet
            }
        }
    }
}

/// The directions from the client and from the server.
fn twins(profile: Profile, exporter: &[u8]) -> [Twin; 2] {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    [0, 1].map(|side| Twin {
        profile,
        crypto: str0m_aws_lc_rs::default_provider(),
        key: exporter[side * key..][..key].to_vec(),
        salt: exporter[2 * key + side * salt..][..salt].to_vec(),
    })
}

proptest! {
    #[test]
    fn packets_are_the_same_bytes_and_open_at_either_end(
        exporter in prop::collection::vec(any::<u8>(), 88),
        ssrc: u32,
        index in 0..=(1u64 << 48) - 1,
        rtcp_index in 0..1u32 << 31,
        payload in prop::collection::vec(any::<u8>(), 0..1_300),
    ) {
        for profile in PROFILES {
            let exporter = &exporter[..profile.exporter_bytes()];
            let [from_client, from_server] = twins(profile, exporter);
            let (mut client, mut from_server_open) = split(profile, exporter, DtlsRole::Client).unwrap();
            let (mut server, _) = split(profile, exporter, DtlsRole::Server).unwrap();

            let mut header = [0x80, 96, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0];
            header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            header[8..].copy_from_slice(&ssrc.to_be_bytes());
            for (seal, twin) in [(&client, &from_client), (&server, &from_server)] {
                let mut out = vec![0; 1_400];
                out[..12].copy_from_slice(&header);
                let len = seal.rtp(&mut out, 12, &[], &payload, ssrc, index);
                prop_assert_eq!(&out[..len], twin.rtp(&header, &payload, ssrc, index));
            }
            // The counter starts at zero for a receiver.
            let first = index & 0xffff;
            let mut packet = from_server.rtp(&header, &payload, ssrc, first);
            prop_assert_eq!(from_server_open.rtp(&mut packet), Ok((first, &payload[..])));

            let mut plain = vec![0x80, 201, 0, 1];
            plain.extend_from_slice(&ssrc.to_be_bytes());
            plain.extend_from_slice(&payload);
            for (seal, twin) in [(&mut client, &from_client), (&mut server, &from_server)] {
                seal.skip_to_rtcp_index(rtcp_index);
                let mut out = [&plain[..], &[0; 20]].concat();
                let len = seal.rtcp(&mut out, plain.len());
                prop_assert_eq!(&out[..len], twin.rtcp(&plain, ssrc, rtcp_index));
            }
            let mut packet = from_server.rtcp(&plain, ssrc, rtcp_index);
            prop_assert_eq!(from_server_open.rtcp(&mut packet), Ok(&plain[..]));
        }
    }
}
