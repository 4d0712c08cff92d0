//! What is the canonical name of an SSRC (RFC 3550 §6.5)?
//!
//! Only written: what peers call themselves is in their SDP.

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
