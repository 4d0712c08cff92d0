//! How do RTP and RTCP become SRTP and SRTCP, and back?
//!
//! The DTLS handshake exports bytes for both directions ([`KeyingMaterial`], RFC 5764 §4.2).
//! [`split`] turns them into a [`Seal`] for what we send and an [`Open`] for what we receive.
//!
//! - `kdf`: session keys from the master keys (RFC 3711 §4.3)
//! - `gcm`, `cm`: the two families of transforms (RFC 7714; RFC 3711 §4.1.1 and §4.2.1)
//! - `seal`: the send path; encrypts shared plaintext straight into the output, never allocates
//! - `open`: the receive path; guesses the rollover counter, refuses what came before
//! - `replay`, `sources`: what was seen, per SSRC
//!
//! # What must always hold
//!
//! No pair of SSRC and packet index is ever sealed twice under one key (threat T3): both transforms
//! are counter modes, and a repeated nonce gives away plaintext and, with GCM, the authentication key.
//! For RTCP [`Seal`] counts itself. For RTP the caller owns the index, because only the rewriter
//! of a subscription knows it.
//!
//! # Deliberately absent
//!
//! MKI, re-keying under one context, a key derivation rate other than 0, encrypted header extensions
//! (RFC 9335), AES-CM with the short tag (the `_32` profile). Browsers use none of them.

// What is parsed here comes from anyone: no input may panic (threats, code rule 1).
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use zeroize::Zeroizing;

mod cm;
mod gcm;
mod kdf;
mod open;
mod replay;
mod seal;
mod sources;

#[cfg(test)]
mod interop;

pub use open::{Open, Reject};
pub(crate) use replay::Replay;
pub use seal::Seal;

use cm::Cm;
use gcm::Gcm;
use kdf::{Label, Master};

use crate::prefetch::Prefetch;

/// How packets are encrypted and authenticated: what the `use_srtp` extension of DTLS agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714 §14.2). The cheapest one, see [`Seal::rtp`].
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714 §14.2).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2), which every WebRTC endpoint must have.
    AesCm128HmacSha1_80,
}

impl Profile {
    /// Returns the length of one master key.
    pub const fn key_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AesCm128HmacSha1_80 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    /// Returns the length of one master salt.
    pub const fn salt_bytes(self) -> usize {
        match self {
            // RFC 7714 §12
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            // RFC 5764 §4.1.2
            Profile::AesCm128HmacSha1_80 => 14,
        }
    }

    /// Returns how many bytes to take from the DTLS exporter.
    pub const fn exporter_bytes(self) -> usize {
        2 * (self.key_bytes() + self.salt_bytes())
    }

    /// Returns by how much an RTP packet grows.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => gcm::TAG_BYTES,
            Profile::AesCm128HmacSha1_80 => cm::TAG_BYTES,
        }
    }

    /// Returns by how much a compound RTCP packet grows: the tag, the E bit and the index.
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + INDEX_BYTES
    }
}

/// The most that any profile adds to an RTP packet.
pub const MAX_RTP_OVERHEAD: usize = Profile::AeadAes256Gcm.rtp_overhead();
/// The most that any profile adds to a compound RTCP packet.
pub const MAX_RTCP_OVERHEAD: usize = Profile::AeadAes256Gcm.rtcp_overhead();

/// Which side of the DTLS handshake we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We sent the ClientHello (`a=setup:active`).
    Client,
    /// We answered it (`a=setup:passive`).
    Server,
}

/// Why no SRTP keys could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The exporter's output does not have the length of the profile.
    #[error("SRTP keying material has {got_bytes} bytes instead of {expected_bytes}")]
    Length {
        /// What [`Profile::exporter_bytes`] says.
        expected_bytes: usize,
        /// What was given.
        got_bytes: usize,
    },
    /// The crypto library refused a key of the right length.
    #[error("the crypto library refused an SRTP key")]
    Crypto,
}

/// What the DTLS exporter gave for `EXTRACTOR-dtls_srtp`, and for which profile.
///
/// Wiped when dropped. Says nothing of the secret when printed.
pub struct KeyingMaterial {
    profile: Profile,
    bytes: Zeroizing<[u8; MAX_EXPORTER_BYTES]>,
}

impl KeyingMaterial {
    /// Keeps a copy of the exporter's output, which must have [`Profile::exporter_bytes`].
    pub fn new(profile: Profile, exporter: &[u8]) -> Result<KeyingMaterial, Error> {
        let expected_bytes = profile.exporter_bytes();
        let wrong = Error::Length { expected_bytes, got_bytes: exporter.len() };
        if exporter.len() != expected_bytes {
            return Err(wrong);
        }
        let mut bytes = Zeroizing::new([0; MAX_EXPORTER_BYTES]);
        bytes.get_mut(..expected_bytes).ok_or(wrong)?.copy_from_slice(exporter);
        Ok(KeyingMaterial { profile, bytes })
    }

    /// Returns the profile that the material is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Makes the keys for both directions.
    ///
    /// To be called once per handshake: a second [`Seal`] would count its RTCP packets from zero
    /// again, under the same key.
    pub fn split(self, role: DtlsRole) -> Result<(Seal, Open), Error> {
        let exporter = self.bytes.get(..self.profile.exporter_bytes());
        split(self.profile, exporter.unwrap_or_default(), role)
    }
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Makes the keys for both directions from the exporter's output. To be called once per handshake.
pub fn split(profile: Profile, exporter: &[u8], role: DtlsRole) -> Result<(Seal, Open), Error> {
    let cut = || {
        // RFC 5764 §4.2: client key, server key, client salt, server salt.
        let (client_key, rest) = exporter.split_at_checked(profile.key_bytes())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_bytes())?;
        let (client_salt, server_salt) = rest.split_at_checked(profile.salt_bytes())?;
        (server_salt.len() == profile.salt_bytes()).then_some(((client_key, client_salt), (server_key, server_salt)))
    };
    let (client, server) =
        cut().ok_or(Error::Length { expected_bytes: profile.exporter_bytes(), got_bytes: exporter.len() })?;
    let ((send_key, send_salt), (receive_key, receive_salt)) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    let send = Master::new(send_key, send_salt)?;
    let receive = Master::new(receive_key, receive_salt)?;
    Ok((
        Seal::new(profile, Keys::rtp(profile, &send)?, Keys::rtcp(profile, &send)?),
        Open::new(Keys::rtp(profile, &receive)?, Keys::rtcp(profile, &receive)?),
    ))
}

/// The session keys of one direction of RTP or of RTCP.
enum Keys {
    Gcm(Gcm),
    // 880 bytes, four times a session: most sessions have the other.
    Cm(Box<Cm>),
}

impl Keys {
    fn prefetch(&self, prefetch: Prefetch) {
        match self {
            Keys::Gcm(gcm) => gcm.prefetch(prefetch),
            Keys::Cm(cm) => prefetch.ask(&**cm),
        }
    }

    fn rtp(profile: Profile, master: &Master) -> Result<Keys, Error> {
        Keys::new(profile, master, [Label::RtpKey, Label::RtpAuth, Label::RtpSalt])
    }

    fn rtcp(profile: Profile, master: &Master) -> Result<Keys, Error> {
        Keys::new(profile, master, [Label::RtcpKey, Label::RtcpAuth, Label::RtcpSalt])
    }

    fn new(profile: Profile, master: &Master, [key, auth, salt]: [Label; 3]) -> Result<Keys, Error> {
        Ok(match profile {
            Profile::AeadAes128Gcm => Keys::Gcm(Gcm::new(&*master.derive::<16>(key)?, &*master.derive(salt)?)?),
            Profile::AeadAes256Gcm => Keys::Gcm(Gcm::new(&*master.derive::<32>(key)?, &*master.derive(salt)?)?),
            Profile::AesCm128HmacSha1_80 => {
                Keys::Cm(Box::new(Cm::new(&*master.derive(key)?, &*master.derive(auth)?, &*master.derive(salt)?)?))
            }
        })
    }
}

/// RFC 5764 §4.2: what AES-256-GCM needs.
const MAX_EXPORTER_BYTES: usize = Profile::AeadAes256Gcm.exporter_bytes();
/// RFC 3711 §3.4: the word with the E bit and the 31-bit SRTCP index.
const INDEX_BYTES: usize = 4;
/// RFC 3711 §3.4: this word's top bit says that the packet is encrypted.
const E_BIT: u32 = 1 << 31;
/// RFC 3711 §3.4: the fixed header and the SSRC of the first RTCP packet stay in the clear.
const RTCP_HEADER_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exporter_bytes_of_the_wrong_length_are_refused() {
        for profile in PROFILES {
            let expected_bytes = profile.exporter_bytes();
            for got_bytes in [0, 1, expected_bytes - 1, expected_bytes + 1, 200] {
                let wrong = Error::Length { expected_bytes, got_bytes };
                let exporter = vec![7; got_bytes];
                assert_eq!(split(profile, &exporter, DtlsRole::Client).err(), Some(wrong));
                assert_eq!(KeyingMaterial::new(profile, &exporter).err(), Some(wrong));
            }
            assert!(split(profile, &vec![7; expected_bytes], DtlsRole::Server).is_ok());
        }
    }

    #[test]
    fn keying_material_does_not_print_its_bytes() {
        let material = KeyingMaterial::new(Profile::AeadAes128Gcm, &[171; 56]).unwrap();
        assert_eq!(format!("{material:?}"), "KeyingMaterial { profile: AeadAes128Gcm, .. }");
    }

    #[test]
    fn both_directions_can_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Seal>();
        is_send::<Open>();
        is_send::<KeyingMaterial>();
    }

    #[test]
    fn each_side_opens_what_the_other_seals_and_not_its_own() {
        for profile in PROFILES {
            let exporter: Vec<u8> = (0..).take(profile.exporter_bytes()).collect();
            let (mut client_seal, mut client_open) =
                KeyingMaterial::new(profile, &exporter).unwrap().split(DtlsRole::Client).unwrap();
            let (mut server_seal, mut server_open) = split(profile, &exporter, DtlsRole::Server).unwrap();

            let plain = [0x80, 201, 0, 1, 1, 2, 3, 4];
            check_one_way(&mut client_seal, &mut server_open, &mut client_open, plain);
            let plain = [0x80, 201, 0, 1, 5, 6, 7, 8];
            check_one_way(&mut server_seal, &mut client_open, &mut server_open, plain);
        }
    }

    pub(super) const PROFILES: [Profile; 3] =
        [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

    fn check_one_way(seal: &mut Seal, open: &mut Open, own_open: &mut Open, plain: [u8; 8]) {
        let mut packet = vec![0; 64];
        packet[..8].copy_from_slice(&plain);
        let len = seal.rtcp(&mut packet, plain.len());
        assert_eq!(len, plain.len() + seal.rtcp_overhead());
        assert_eq!(own_open.rtcp(&mut packet.clone()[..len]), Err(Reject::BadTag));
        assert_eq!(open.rtcp(&mut packet[..len]), Ok(&plain[..]));
    }

    /// Two ends of one transport: what we send, and what the other side makes of it.
    pub(super) fn one_way(profile: Profile) -> (Seal, Open) {
        let exporter: Vec<u8> = (1..).take(profile.exporter_bytes()).collect();
        let (seal, _) = split(profile, &exporter, DtlsRole::Client).unwrap();
        let (_, open) = split(profile, &exporter, DtlsRole::Server).unwrap();
        (seal, open)
    }

    /// Seals a packet with a plain header.
    pub(super) fn rtp(seal: &Seal, ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 12 + payload.len() + MAX_RTP_OVERHEAD];
        out[..2].copy_from_slice(&[0x80, 96]);
        out[2..4].copy_from_slice(&index.to_be_bytes()[6..]);
        out[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let len = seal.rtp(&mut out, 12, &[], payload, ssrc, index);
        assert_eq!(len, 12 + payload.len() + seal.rtp_overhead());
        out.truncate(len);
        out
    }

    /// Seals a receiver report that is otherwise empty.
    pub(super) fn rtcp(seal: &mut Seal, ssrc: u32) -> Vec<u8> {
        let mut out = vec![0; 8 + MAX_RTCP_OVERHEAD];
        out[..4].copy_from_slice(&[0x80, 201, 0, 1]);
        out[4..8].copy_from_slice(&ssrc.to_be_bytes());
        let len = seal.rtcp(&mut out, 8);
        assert_eq!(len, 8 + seal.rtcp_overhead());
        out.truncate(len);
        out
    }

    pub(super) fn hex(digits: &str) -> Vec<u8> {
        let digits = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }
}
