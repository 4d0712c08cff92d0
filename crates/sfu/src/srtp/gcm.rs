//! AES-GCM for SRTP and SRTCP (RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::kdf::widen;
use super::{E_BIT, Error, INDEX_BYTES, RTCP_HEADER_BYTES};

/// RFC 7714 §13.1: both profiles have the full tag.
pub(super) const TAG_BYTES: usize = 16;

/// One session key and salt.
pub(super) struct Gcm {
    key: LessSafeKey,
    /// 96 bits, in the low end.
    salt: u128,
}

impl Gcm {
    /// Takes a key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8], salt: &[u8; 12]) -> Result<Gcm, Error> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Error::Crypto)?;
        Ok(Gcm {
            key: LessSafeKey::new(key),
            salt: widen(salt),
        })
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
        if prefix.is_empty() {
            let (body, tag) = rest.split_at_mut_checked(payload.len())?;
            self.key
                .seal_out_of_place_scatter(nonce, aad, payload, body, &[], tag)
                .ok()
        } else {
            let (body, tag) = rest.split_at_mut_checked(rest.len().checked_sub(TAG_BYTES)?)?;
            let (first, second) = body.split_at_mut_checked(prefix.len())?;
            first.copy_from_slice(prefix);
            second.get_mut(..payload.len())?.copy_from_slice(payload);
            self.key
                .seal_in_place_scatter(nonce, aad, body, &[], tag)
                .ok()
        }
    }

    /// Decrypts what stands behind the header. The result includes RTP padding.
    pub(super) fn open_rtp<'a>(
        &self,
        packet: &'a mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<&'a [u8]> {
        let (header, body) = packet.split_at_mut_checked(header_len)?;
        let plain = self
            .key
            .open_in_place(self.nonce(ssrc, index), Aad::from(&*header), body);
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
        let sealed =
            self.key
                .seal_in_place_separate_tag(self.nonce(ssrc, u64::from(index)), aad, body);
        tag.copy_from_slice(sealed.ok()?.as_ref());
        Some(())
    }

    /// Decrypts a compound packet in place and returns its plain length.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Option<usize> {
        let (header, rest) = packet.split_first_chunk_mut::<RTCP_HEADER_BYTES>()?;
        let (body, word) = rest.split_last_chunk_mut::<INDEX_BYTES>()?;
        let aad = Aad::from(rtcp_aad(header, word));
        let plain = self
            .key
            .open_in_place(self.nonce(ssrc, u64::from(index)), aad, body)
            .ok()?;
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
