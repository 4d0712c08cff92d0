//! Which session keys follow from a master key and salt?
//!
//! RFC 3711 §4.3 with a key derivation rate of 0: every key is derived once, from index 0.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use zeroize::{Zeroize, Zeroizing};

use super::Error;

/// The purpose of a derived key (RFC 3711 §4.3.2).
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
        padded.get_mut(..salt.len()).ok_or(Error::Crypto)?.copy_from_slice(salt);
        Ok(Master { prf, salt: widen(&*padded) })
    }

    /// Derives the first `N` bytes for `label`.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Result<Zeroizing<[u8; N]>, Error> {
        // RFC 3711 §4.3.1: x = key_id XOR master_salt, where key_id is the label and 48 bits of
        // index DIV rate, which are 0.
        let x = self.salt ^ (u128::from(label as u8) << 48);
        // RFC 3711 §4.3.3: the key stream for IV = x * 2^16, which is what zeros encrypt to.
        let iv = (x << 16).to_be_bytes();
        let mut out = Zeroizing::new([0; N]);
        self.prf.less_safe_encrypt(&mut *out, EncryptionContext::Iv128((&iv).into())).map_err(|_| Error::Crypto)?;
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
    bytes.iter().fold(0, |number, &byte| (number << 8) | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    #[test]
    fn keys_are_those_of_rfc_3711_appendix_b_3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let master = Master::new(&key, &salt).unwrap();
        check::<16>(&master, Label::RtpKey, "C61E7A93744F39EE10734AFE3FF7A087");
        check::<14>(&master, Label::RtpSalt, "30CBBC08863D8C85D49DB34A9AE1");
        check::<94>(
            &master,
            Label::RtpAuth,
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCE\
             E049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC25\
             6D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2",
        );
    }

    #[test]
    fn keys_are_those_of_rfc_6188_section_7_2() {
        let key = hex("F0F04914B513F2763A1B1FA130F10E2998F6F6E43E4309D1E622A0E332B9F1B6");
        let salt = hex("3B04803DE51EE7C96423AB5B78D2");
        let master = Master::new(&key, &salt).unwrap();
        check::<32>(&master, Label::RtpKey, "5BA1064E30EC51613CAD926C5A28EF731EC7FB397F70A960653CAF06554CD8C4");
        check::<14>(&master, Label::RtpSalt, "FA31791685CA444A9E07C6C64E93");
        check::<20>(&master, Label::RtpAuth, "FD9C32D39ED5FBB5A9DC96B30818454D1313DC05");
    }

    #[test]
    fn lengths_that_no_profile_has_are_refused() {
        assert!(Master::new(&[0; 15], &[0; 12]).is_err());
        assert!(Master::new(&[0; 33], &[0; 12]).is_err());
        assert!(Master::new(&[0; 16], &[0; 15]).is_err());
    }

    fn check<const N: usize>(master: &Master, label: Label, expected: &str) {
        assert_eq!(master.derive::<N>(label).unwrap()[..], hex(expected), "{label:?}");
    }
}
