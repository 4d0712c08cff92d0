//! How is a message signed so that the same key and message give the same bytes?
//!
//! ECDSA on P-256 (FIPS 186-5, section 6.4.1) with one nonce for every signature. Random nonces make signatures of 70 to 72
//! bytes, and so datagrams of different sizes. One nonce for two messages gives away the private key; the keys of the
//! simulated world stand in this crate's source anyway. Verifiers are the product's own: to them a signature is one
//! like any other.

use std::sync::OnceLock;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest::{SHA256, digest};

/// A signing key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    secret: Number,
    /// The point of the public key, uncompressed (SEC 1, section 2.3.3).
    point: Vec<u8>,
}

impl Key {
    /// A key of 32 bytes, as a number below the order of P-256; `None` if it is not one.
    pub(crate) fn of(bytes: &[u8]) -> Option<Key> {
        let secret = Number::of(bytes)?;
        Some(Key { secret, point: point(bytes)? })
    }

    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    /// Signs a message with SHA-256. Returns the signature in DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let nonce = Nonce::shared();
        let hash = digest(&SHA256, message);
        let hash = Number::of(hash.as_ref()).expect("SHA-256 has 32 bytes").reduced();
        let s = nonce.inverse.times(hash.plus(nonce.r.times(self.secret)));
        sequence(&[integer(nonce.r), integer(s)].concat())
    }
}

/// What all signatures share.
struct Nonce {
    /// The x coordinate of the nonce's point.
    r: Number,
    inverse: Number,
}

impl Nonce {
    fn shared() -> &'static Nonce {
        static SHARED: OnceLock<Nonce> = OnceLock::new();
        SHARED.get_or_init(|| {
            let point = point(&[0x5e; 32]).expect("the nonce is below the order");
            let nonce = Number::of(&[0x5e; 32]).expect("32 bytes");
            let r = Number::of(&point[1..33]).expect("a coordinate has 32 bytes").reduced();
            Nonce { r, inverse: nonce.inverse() }
        })
    }
}

/// The generator of P-256 times `scalar`, uncompressed.
fn point(scalar: &[u8]) -> Option<Vec<u8>> {
    let key = PrivateKey::from_private_key(&ECDH_P256, scalar).ok()?;
    Some(key.compute_public_key().ok()?.as_ref().to_vec())
}

/// A number below 2^256: four words, the lowest first. Sums and products are modulo [`ORDER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number([u64; 4]);

/// The order of P-256 (SP 800-186, section 3.2.1.3).
const ORDER: Number =
    Number([0xf3b9_cac2_fc63_2551, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000]);

impl Number {
    fn of(bytes: &[u8]) -> Option<Number> {
        let bytes: [u8; 32] = bytes.try_into().ok()?;
        let mut words = [0; 4];
        for (word, eight) in words.iter_mut().rev().zip(bytes.chunks_exact(8)) {
            *word = u64::from_be_bytes(eight.try_into().expect("eight bytes"));
        }
        Some(Number(words))
    }

    fn to_bytes(self) -> Vec<u8> {
        self.0.iter().rev().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// `self - other` modulo 2^256, and whether it was below zero.
    fn less(self, other: Number) -> (Number, bool) {
        let mut words = [0; 4];
        let mut borrow = false;
        for (n, word) in words.iter_mut().enumerate() {
            let (first, one) = self.0[n].overflowing_sub(other.0[n]);
            let (second, two) = first.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (second, one | two);
        }
        (Number(words), borrow)
    }

    /// 2^256 is less than two orders.
    fn reduced(self) -> Number {
        let (less, is_below) = self.less(ORDER);
        if is_below { self } else { less }
    }

    fn plus(self, other: Number) -> Number {
        let mut words = [0; 4];
        let mut carry = false;
        for (n, word) in words.iter_mut().enumerate() {
            let (first, one) = self.0[n].overflowing_add(other.0[n]);
            let (second, two) = first.overflowing_add(u64::from(carry));
            (*word, carry) = (second, one | two);
        }
        if carry { Number(words).less(ORDER).0 } else { Number(words).reduced() }
    }

    fn bits(self) -> impl Iterator<Item = bool> {
        self.0.into_iter().rev().flat_map(|word| (0..64).rev().map(move |bit| word >> bit & 1 == 1))
    }

    fn times(self, other: Number) -> Number {
        self.bits().fold(Number([0; 4]), |sum, is_set| {
            let twice = sum.plus(sum);
            if is_set { twice.plus(other) } else { twice }
        })
    }

    /// Its inverse: its power `ORDER - 2` (Fermat).
    fn inverse(self) -> Number {
        let power = ORDER.less(Number([2, 0, 0, 0])).0;
        power.bits().fold(Number([1, 0, 0, 0]), |product, is_set| {
            let squared = product.times(product);
            if is_set { squared.times(self) } else { squared }
        })
    }
}

/// An INTEGER in DER.
fn integer(number: Number) -> Vec<u8> {
    let bytes = number.to_bytes();
    let significant = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let sign = if bytes[significant] >= 0x80 { &[0][..] } else { &[] };
    let content = [sign, &bytes[significant..]].concat();
    [&[0x02, content.len() as u8][..], &content].concat()
}

/// A SEQUENCE in DER, of less than 128 bytes.
fn sequence(content: &[u8]) -> Vec<u8> {
    [&[0x30, content.len() as u8][..], content].concat()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn signatures_are_accepted_by_the_library_and_repeat() {
        for n in 0..200u8 {
            let key = Key::of(&[[n; 16], [7; 16]].concat()).expect("a number below the order");
            let message = vec![n; usize::from(n)];
            let signature = key.sign(&message);
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point());
            assert!(public.verify(&message, &signature).is_ok(), "key {n}");
            assert!(public.verify(b"another message", &signature).is_err(), "key {n}");
            assert_eq!(signature, key.sign(&message), "key {n}");
        }
    }

    #[test]
    fn a_number_of_the_wrong_length_or_beyond_the_order_is_no_key() {
        assert!(Key::of(&[1; 31]).is_none());
        assert!(Key::of(&[0xff; 32]).is_none());
    }
}
