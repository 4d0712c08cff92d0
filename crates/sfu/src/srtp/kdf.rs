//! Which session keys follow from a master key and salt?
//!
//! RFC 3711 §4.3 with a key derivation rate of 0: every key is derived once, from index 0.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use zeroize::{Zeroize, Zeroizing};

use super::Error;

/// What a derived key is for (RFC 3711 §4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// The master key and salt of one direction.
pub(super) struct Master {
    /// The pseudo-random function: AES in counter mode under the master key (RFC 3711 §4.3.3).
    prf: EncryptingKey,
    /// 112 bits, in the low end.
    salt: u128,
}

impl Master {
    /// Takes a key of 16 or 32 bytes and a salt of at most 14.
    pub(super) fn new(key: &[u8], salt: &[u8]) -> Result<Master, Error> {
        // RFC 7714 §11: AES-256 derives with AES-256, as RFC 6188 has it.
        let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
        let prf = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr);
        let prf = prf.map_err(|_| Error::Crypto)?;

        // RFC 7714 §11: the 96 bits of a GCM salt stand in the high end of the 112.
        let mut padded = Zeroizing::new([0; 14]);
        padded
            .get_mut(..salt.len())
            .ok_or(Error::Crypto)?
            .copy_from_slice(salt);
        Ok(Master {
            prf,
            salt: widen(&*padded),
        })
    }

    /// Derives the first `N` bytes for `label`.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Result<Zeroizing<[u8; N]>, Error> {
        // RFC 3711 §4.3.1: x = key_id XOR master_salt, where key_id is the label and 48 bits of
        // index DIV rate, which are 0.
        let x = self.salt ^ (u128::from(label as u8) << 48);
        // RFC 3711 §4.3.3: the key stream for IV = x * 2^16, which is what zeros encrypt to.
        let iv = (x << 16).to_be_bytes();
        let mut out = Zeroizing::new([0; N]);
        self.prf
            .less_safe_encrypt(&mut *out, EncryptionContext::Iv128((&iv).into()))
            .map_err(|_| Error::Crypto)?;
        Ok(out)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.salt.zeroize(); // the library wipes its key
    }
}

/// Reads up to 16 bytes as a big-endian number.
pub(super) fn widen(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0, |number, &byte| (number << 8) | u128::from(byte))
}
