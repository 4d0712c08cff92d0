//! AES-GCM for SRTP and SRTCP (RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::kdf::widen;
use super::{E_BIT, Error, INDEX_BYTES, RTCP_HEADER_BYTES};
use crate::prefetch::Prefetch;

/// RFC 7714 §13.1: both profiles have the full tag.
pub(super) const TAG_BYTES: usize = 16;

/// Size of a key's state in the library (`EVP_AEAD_CTX` of aws-lc): round keys of up to 240 bytes,
/// and powers for GHASH.
const KEY_STATE_BYTES: usize = 584;

/// One session key and salt.
pub(super) struct Gcm {
    key: LessSafeKey,
    /// 96 bits, in the low end.
    salt: u128,
}

impl Gcm {
    /// Takes a key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8], salt: &[u8; 12]) -> Result<Gcm, Error> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Error::Crypto)?;
        Ok(Gcm { key: LessSafeKey::new(key), salt: widen(salt) })
    }

    /// Prefetches the key, which is used soon.
    pub(super) fn prefetch(&self, prefetch: Prefetch) {
        prefetch.ask_behind(&self.key, KEY_STATE_BYTES);
    }

    /// Encrypts `prefix ++ payload` behind the header in `out`, which ends with the tag.
    pub(super) fn seal_rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        prefix: &[u8],
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Option<()> {
        let nonce = self.nonce(ssrc, index);
        // RFC 7714 §8.2: the header with its CSRCs and extensions is authenticated, not encrypted.
        let (header, rest) = out.split_at_mut_checked(header_len)?;
        let aad = Aad::from(&*header);
        // Two pieces without copying them together: measured as 170 ns for 1,200 bytes, against
        // 177 with a copy and 154 for one piece.
        let (first, second) = if prefix.is_empty() { (payload, &[][..]) } else { (prefix, payload) };
        let (body, rest) = rest.split_at_mut_checked(first.len())?;
        self.key.seal_out_of_place_scatter(nonce, aad, first, body, second, rest).ok()
    }

    /// Decrypts the part behind the header. The result includes RTP padding.
    pub(super) fn open_rtp<'a>(
        &self,
        packet: &'a mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<&'a [u8]> {
        let (header, body) = packet.split_at_mut_checked(header_len)?;
        let plain = self.key.open_in_place(self.nonce(ssrc, index), Aad::from(&*header), body);
        plain.ok().map(|plain| &*plain)
    }

    /// Encrypts a compound packet in `out`, which ends with room for the tag and the index.
    pub(super) fn seal_rtcp(&self, out: &mut [u8], ssrc: u32, index: u32) -> Option<()> {
        // RFC 7714 §9.1: header, encrypted portion, tag, index word.
        let (header, rest) = out.split_first_chunk_mut::<RTCP_HEADER_BYTES>()?;
        let (rest, word) = rest.split_last_chunk_mut::<INDEX_BYTES>()?;
        let (body, tag) = rest.split_last_chunk_mut::<TAG_BYTES>()?;
        *word = (E_BIT | index).to_be_bytes();
        let aad = Aad::from(rtcp_aad(header, word));
        let sealed = self.key.seal_in_place_separate_tag(self.nonce(ssrc, u64::from(index)), aad, body);
        tag.copy_from_slice(sealed.ok()?.as_ref());
        Some(())
    }

    /// Decrypts a compound packet in place and returns its plain length.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Option<usize> {
        let (header, rest) = packet.split_first_chunk_mut::<RTCP_HEADER_BYTES>()?;
        let (body, word) = rest.split_last_chunk_mut::<INDEX_BYTES>()?;
        let aad = Aad::from(rtcp_aad(header, word));
        let plain = self.key.open_in_place(self.nonce(ssrc, u64::from(index)), aad, body).ok()?;
        plain.len().checked_add(RTCP_HEADER_BYTES)
    }

    /// RFC 7714 §8.1: 16 zero bits, SSRC, rollover counter, sequence number, XOR the salt.
    /// RFC 7714 §9.1: 16 zero bits, SSRC, 17 zero bits, SRTCP index, XOR the salt. These are
    /// the same when the index is one number.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let value = self.salt ^ (u128::from(ssrc) << 48) ^ u128::from(index);
        let [_, _, _, _, nonce @ ..] = value.to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// RFC 7714 §9.2: the first eight bytes and the word with the E bit and the index.
fn rtcp_aad(header: &[u8; RTCP_HEADER_BYTES], word: &[u8; INDEX_BYTES]) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = *header;
    let [i, j, k, l] = *word;
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::super::{Keys, Open, Profile, Reject, Seal};
    use super::*;

    #[test]
    fn packets_are_those_of_rfc_7714_section_16() {
        let plain = b"Gallia est omnis divisa in partes tres";
        for (key, expected) in [
            (
                KEY_128,
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833\
                 899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                KEY_256,
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b\
                 7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ] {
            let (seal, mut open) = both_ways(key);
            let header = hex("8040f17b8041f8d35501a0b2");
            let mut out = [0; 100];
            out[..12].copy_from_slice(&header);
            let len = seal.rtp(&mut out, 12, &[], plain, 0x5501_a0b2, 0xf17b);
            assert_eq!(out[..len], [header, hex(expected)].concat());
            assert_eq!(open.rtp(&mut out[..len]), Ok((0xf17b, &plain[..])));
        }
    }

    #[test]
    fn packets_are_those_of_rfc_7714_section_17() {
        let plain = hex(RTCP);
        for (key, expected) in [
            (
                KEY_128,
                "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
                 0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                KEY_256,
                "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047\
                 6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
            ),
        ] {
            let (mut seal, mut open) = both_ways(key);
            seal.skip_to_rtcp_index(0x5d4);
            let mut out = [0; 100];
            out[..plain.len()].copy_from_slice(&plain);
            let len = seal.rtcp(&mut out, plain.len());
            assert_eq!(out[..len], [&plain[..8], &hex(expected)].concat());
            assert_eq!(open.rtcp(&mut out[..len]), Ok(&plain[..]));
        }
    }

    /// RFC 7714 §17.3 has authentic packets that are not encrypted.
    #[test]
    fn authentic_rtcp_in_the_clear_is_refused() {
        for (key, tag) in [(KEY_128, "841dd9683dd78ec92ae58790125f62b3"), (KEY_256, "91db4afbfeee5a978fab4393ed2615fe")]
        {
            let (_, mut open) = both_ways(key);
            let mut packet = hex(&[RTCP, tag, "000005d4"].concat());
            assert_eq!(open.rtcp(&mut packet), Err(Reject::NotEncrypted));
        }
    }

    fn both_ways(key: &str) -> (Seal, Open) {
        let salt = b"Quid pro quo";
        let key = hex(key);
        let keys = || Keys::Gcm(Gcm::new(&key, salt).unwrap());
        let profile = if key.len() == 16 { Profile::AeadAes128Gcm } else { Profile::AeadAes256Gcm };
        (Seal::new(profile, keys(), keys()), Open::new(keys(), keys()))
    }

    const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
    const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e930\
                        4c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
}
