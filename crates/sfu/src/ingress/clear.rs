//! How is str0m kept from encrypting and decrypting?
//!
//! [`Copying`] takes the place of its ciphers. The layout on both sides is that of AES-128-GCM, whatever DTLS
//! agreed on; tags are zero, and so are keys and salts. [`wrap_rtp`] and [`wrap_rtcp`] put a packet that was opened
//! elsewhere into this layout, [`unwrap_rtcp`] takes one out of it.
//!
//! With a salt of zero the nonce holds the packet index that str0m assumes (RFC 7714 §8.1). str0m wraps below zero when
//! a number lies before the first one; such a packet is refused here, before it changes anything.

use str0m_proto::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// RFC 7714 §13.1.
const TAG_BYTES: usize = 16;
/// RFC 7714 §9.1: the E bit and the SRTCP index stand behind the tag.
const INDEX: [u8; 4] = [0x80, 0, 0, 1];
/// RFC 3711 §3.4: header and SSRC of the first RTCP packet.
const RTCP_HEADER_BYTES: usize = 8;
/// What DTLS would export for AES-128-GCM (RFC 5764 §4.2, RFC 7714 §12): two keys, two salts.
pub(crate) const MATERIAL: [u8; 56] = [0; 56];

/// Appends what stands for a tag.
pub(super) fn wrap_rtp(packet: &mut Vec<u8>) {
    packet.extend_from_slice(&[0; TAG_BYTES]);
}

/// Appends what stands for a tag, and an index.
pub(super) fn wrap_rtcp(packet: &mut Vec<u8>) {
    packet.extend_from_slice(&[0; TAG_BYTES]);
    packet.extend_from_slice(&INDEX);
}

/// The compound packet that str0m wrote.
pub(super) fn unwrap_rtcp(written: &[u8]) -> Option<&[u8]> {
    let len = written.len().checked_sub(TAG_BYTES.checked_add(INDEX.len())?)?;
    written.get(..len).filter(|plain| plain.len() >= RTCP_HEADER_BYTES)
}

/// Ciphers that copy.
#[derive(Debug)]
pub(crate) struct Copying;

impl SrtpProvider for Copying {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Copying
    }
    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Copying
    }
    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Copying
    }
    // Used to derive keys and salts: all of them are zero.
    fn srtp_aes_128_ecb_round(&self, _: &[u8], _: &[u8], output: &mut [u8]) {
        output.fill(0);
    }
    fn srtp_aes_256_ecb_round(&self, _: &[u8], _: &[u8], output: &mut [u8]) {
        output.fill(0);
    }
}

impl SupportedAes128CmSha1_80 for Copying {
    fn create_cipher(&self, _: [u8; 16], _: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(Copying)
    }
}

impl SupportedAeadAes128Gcm for Copying {
    fn create_cipher(&self, _: [u8; 16], _: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Copying)
    }
}

impl SupportedAeadAes256Gcm for Copying {
    fn create_cipher(&self, _: [u8; 32], _: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Copying)
    }
}

impl AeadAes128GcmCipher for Copying {
    fn encrypt(&mut self, _: &[u8; 12], _: &[u8], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let (body, tag) = output.split_at_mut_checked(input.len()).ok_or_else(wrong)?;
        body.copy_from_slice(input);
        tag.fill(0);
        Ok(())
    }

    fn decrypt(
        &mut self,
        nonce: &[u8; 12],
        _: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        // RFC 7714 §8.1: two zero bytes, SSRC, rollover counter, sequence number. For RTCP (§9.1) these four bytes
        // are below 2^15.
        let [_, _, _, _, _, _, rollovers @ .., _, _] = *nonce;
        if u32::from_be_bytes(rollovers) >= WRAPPED {
            return Err(wrong());
        }
        let (body, _) = input.split_at_checked(input.len().saturating_sub(TAG_BYTES)).ok_or_else(wrong)?;
        output.get_mut(..body.len()).ok_or_else(wrong)?.copy_from_slice(body);
        Ok(body.len())
    }
}

/// Not used: the layout is that of AES-128-GCM.
impl AeadAes256GcmCipher for Copying {
    fn encrypt(&mut self, _: &[u8; 12], _: &[u8], _: &[u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Err(wrong())
    }
    fn decrypt(&mut self, _: &[u8; 12], _: &[&[u8]], _: &[u8], _: &mut [u8]) -> Result<usize, CryptoError> {
        Err(wrong())
    }
}

/// Not used: the layout is that of AES-128-GCM.
impl Aes128CmSha1_80Cipher for Copying {
    fn encrypt(&mut self, _: &[u8; 16], _: &[u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Err(wrong())
    }
    fn decrypt(&mut self, _: &[u8; 16], _: &[u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Err(wrong())
    }
}

fn wrong() -> CryptoError {
    CryptoError::Other(String::new())
}

/// A rollover counter of 2^31 takes 2^47 packets; only one that wrapped below zero is that high.
const WRAPPED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_copied_and_what_was_copied_is_unwrapped() {
        let plain = [0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
        let mut wrapped = plain.to_vec();
        wrap_rtcp(&mut wrapped);
        assert_eq!(unwrap_rtcp(&wrapped), Some(&plain[..]));
        assert_eq!(unwrap_rtcp(&wrapped[..27]), None);
        let mut packet = plain.to_vec();
        wrap_rtp(&mut packet);
        let mut out = [0; 12];
        let len = AeadAes128GcmCipher::decrypt(&mut Copying, &[0; 12], &[], &packet, &mut out);
        assert_eq!((len.unwrap(), out), (12, plain));
    }

    #[test]
    fn an_index_below_zero_is_refused() {
        let mut nonce = [0; 12];
        nonce[6..10].copy_from_slice(&[0xff; 4]);
        assert!(AeadAes128GcmCipher::decrypt(&mut Copying, &nonce, &[], &[0; 40], &mut [0; 40]).is_err());
    }
}
