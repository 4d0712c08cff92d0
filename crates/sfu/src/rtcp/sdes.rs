//! The canonical name of an SSRC (RFC 3550 §6.5).
//!
//! Names are only written: those of peers are in their SDP.

use super::packet_type;
use super::writer::Writer;

impl Writer<'_> {
    /// Appends the canonical name of `ssrc`, which has at most 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> bool {
        let Ok(len) = u8::try_from(cname.len()) else {
            return false;
        };
        self.packet(packet_type::SDES, 1, |out| {
            out.u32(ssrc)?;
            out.u8(CNAME)?;
            out.u8(len)?;
            out.bytes(cname.as_bytes())?;
            // RFC 3550 §6.5: one to four zero bytes end the items at a word; they are not padding.
            let zeros = [0u8; 4];
            let item_bytes = cname.len().checked_add(2)?;
            out.bytes(zeros.get(item_bytes % 4..)?)
        })
    }
}

/// RFC 3550 §6.5.1
const CNAME: u8 = 1;

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{only, written};

    #[test]
    fn a_name_ends_with_zeros_up_to_a_word() {
        for (name, item) in [
            ("", &[1, 0, 0, 0][..]),
            ("a", &[1, 1, b'a', 0]),
            ("ab", &[1, 2, b'a', b'b', 0, 0, 0, 0]),
            ("abc", &[1, 3, b'a', b'b', b'c', 0, 0, 0]),
        ] {
            let bytes = written(|writer| assert!(writer.sdes_cname(0x0102_0304, name)));
            assert_eq!(bytes[..2], [0x81, 202]);
            assert_eq!(bytes[4..], [&[1, 2, 3, 4], item].concat(), "{name}");
            assert!(matches!(only(&bytes), Packet::Sdes));
        }
    }

    #[test]
    fn a_name_of_more_than_255_bytes_is_not_written() {
        assert!(!written(|writer| assert!(writer.sdes_cname(1, &"x".repeat(255)))).is_empty());
        assert!(written(|writer| assert!(!writer.sdes_cname(1, &"x".repeat(256)))).is_empty());
    }
}
