//! How are numbers read from a bit stream?

/// Reads bits from the most significant to the least; `None` once they run out.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    current: u8,
    /// Bits of `current` not read yet.
    left: u32,
    /// Zero bytes in a row up to `current`, if emulation prevention bytes are to be dropped.
    zeros: Option<u8>,
}

impl<'a> Bits<'a> {
    /// Reads bytes as they are.
    pub(super) const fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { rest: bytes, current: 0, left: 0, zeros: None }
    }

    /// Reads the inside of a NAL unit, without its emulation prevention bytes.
    pub(super) const fn of_nal_unit(bytes: &'a [u8]) -> Bits<'a> {
        Bits { rest: bytes, current: 0, left: 0, zeros: Some(0) }
    }

    /// Bits that are not read yet, with emulation prevention bytes.
    pub(super) fn left(&self) -> usize {
        let unread = usize::try_from(self.left).unwrap_or(0);
        self.rest.len().saturating_mul(8).saturating_add(unread)
    }

    /// Reads one bit as a flag.
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.current = self.next_byte()?;
            self.left = 8;
        }
        self.left = self.left.wrapping_sub(1);
        Some((self.current >> self.left) & 1 == 1)
    }

    /// Reads an unsigned number of `count` bits, at most 32.
    pub(super) fn number(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..count.min(32) {
            number = (number << 1) | u32::from(self.flag()?);
        }
        Some(number)
    }

    /// Passes over `count` bits.
    pub(super) fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.flag().map(drop))
    }

    /// Reads an unsigned Exp-Golomb number, `ue(v)`: H.264 §9.1, H.265 §9.2; AV1's `uvlc` is alike.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0u32;
        while !self.flag()? {
            zeros = zeros.wrapping_add(1);
            // 2^32 - 2 is the largest number the standards know.
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.number(zeros)?;
        (1u32 << zeros).wrapping_sub(1).checked_add(suffix)
    }

    /// Reads a signed Exp-Golomb number, `se(v)`: H.264 §9.1.1.
    pub(super) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = self.exp_golomb()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code & 1 == 1 { magnitude } else { magnitude.wrapping_neg() })
    }

    fn next_byte(&mut self) -> Option<u8> {
        let mut byte = self.pop()?;
        if let Some(zeros) = self.zeros {
            // H.264 §7.3.1, H.265 §7.3.1.1: in 00 00 03 the 03 is not part of the message.
            let is_emulation_prevention = zeros >= 2 && byte == 3;
            if is_emulation_prevention {
                byte = self.pop()?;
            }
            let before = if is_emulation_prevention { 0 } else { zeros };
            self.zeros = Some(if byte == 0 { before.saturating_add(1) } else { 0 });
        }
        Some(byte)
    }

    fn pop(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exp_golomb_numbers_are_those_of_the_standard() {
        // H.264 table 9-2 and table 9-3.
        let rows = [
            ("1", 0, 0),
            ("010", 1, 1),
            ("011", 2, -1),
            ("00100", 3, 2),
            ("00101", 4, -2),
            ("00110", 5, 3),
            ("00111", 6, -3),
            ("0001000", 7, 4),
            ("0001010", 9, 5),
        ];
        for (bits, unsigned, signed) in rows {
            let bytes = pack(bits);
            assert_eq!(Bits::new(&bytes).exp_golomb(), Some(unsigned), "{bits}");
            assert_eq!(Bits::new(&bytes).signed_exp_golomb(), Some(signed), "{bits}");
        }
    }

    #[test]
    fn exp_golomb_numbers_without_an_end_are_refused() {
        assert_eq!(Bits::new(&[0; 64]).exp_golomb(), None);
        assert_eq!(Bits::new(&[0, 0, 0, 1]).exp_golomb(), None);
        assert_eq!(Bits::new(&[]).exp_golomb(), None);
        let largest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Bits::new(&largest).exp_golomb(), Some(u32::MAX - 1));
    }

    #[test]
    fn emulation_prevention_bytes_are_dropped() {
        let rows: [(&[u8], &[u8]); 6] = [
            (&[0, 0, 3, 1], &[0, 0, 1]),
            (&[0, 0, 3, 0, 0, 3, 1], &[0, 0, 0, 0, 1]),
            (&[0, 0, 0, 3, 1], &[0, 0, 0, 1]),
            (&[0, 3, 0, 3], &[0, 3, 0, 3]),
            (&[0, 0, 3], &[0, 0]),
            (&[0, 0, 3, 3, 3], &[0, 0, 3, 3]),
        ];
        for (bytes, expected) in rows {
            let mut bits = Bits::of_nal_unit(bytes);
            let read: Vec<u8> = std::iter::from_fn(|| bits.number(8)).map(|byte| byte as u8).collect();
            assert_eq!(read, expected, "{bytes:?}");
        }
    }

    #[test]
    fn more_bits_than_there_are_is_none() {
        let mut bits = Bits::new(&[0xa5]);
        assert_eq!(bits.number(4), Some(0xa));
        assert_eq!(bits.number(5), None);
        assert_eq!(Bits::new(&[0]).skip(9), None);
        assert_eq!(Bits::new(&[0]).skip(8), Some(()));
    }

    #[test]
    fn what_the_helpers_below_write_is_read() {
        let text = format!("{}{}{}", exp_golomb(0), exp_golomb(41), exp_golomb(7));
        let bytes = pack(&text);
        let mut bits = Bits::new(&bytes);
        assert_eq!([bits.exp_golomb(), bits.exp_golomb(), bits.exp_golomb()], [Some(0), Some(41), Some(7)]);
        assert_eq!(escape(&[0, 0, 1, 0, 0, 0, 9]), [0, 0, 3, 1, 0, 0, 3, 0, 9]);
    }

    /// Packs text of zeros and ones into bytes, padded with zeros. Blanks are for the reader.
    pub(in crate::codec) fn pack(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text.bytes().filter(|bit| *bit != b' ').collect();
        let bit = |byte: &[u8], at| u8::from(byte.get(at) == Some(&b'1'));
        bits.chunks(8).map(|byte| (0..8).fold(0, |sum, at| (sum << 1) | bit(byte, at))).collect()
    }

    /// Reads hexadecimal digits.
    pub(in crate::codec) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// Writes an unsigned Exp-Golomb number as text.
    pub(in crate::codec) fn exp_golomb(number: u32) -> String {
        let digits = format!("{:b}", u64::from(number) + 1);
        format!("{}{digits}", "0".repeat(digits.len() - 1))
    }

    /// Puts emulation prevention bytes into a NAL unit.
    pub(in crate::codec) fn escape(message: &[u8]) -> Vec<u8> {
        let mut unit: Vec<u8> = Vec::new();
        for byte in message {
            if *byte <= 3 && unit.ends_with(&[0, 0]) {
                unit.push(3);
            }
            unit.push(*byte);
        }
        unit
    }

    proptest! {
        #[test]
        fn escaped_bytes_are_read_as_they_were(message in proptest::collection::vec(0u8..5, 0..40)) {
            let unit = escape(&message);
            let mut bits = Bits::of_nal_unit(&unit);
            let read: Vec<u8> = std::iter::from_fn(|| bits.number(8)).map(|byte| byte as u8).collect();
            prop_assert_eq!(read, message);
        }

        #[test]
        fn numbers_are_what_a_big_integer_says(bytes in proptest::collection::vec(any::<u8>(), 1..16), counts in proptest::collection::vec(0u32..=32, 0..12)) {
            let text: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
            let mut bits = Bits::new(&bytes);
            let mut at = 0;
            for count in counts {
                let end = at + count as usize;
                let expected = text.get(at..end).map(|digits| u32::from_str_radix(digits, 2).unwrap_or(0));
                prop_assert_eq!(bits.number(count), expected);
                if expected.is_none() { break; }
                at = end;
            }
        }
    }
}
