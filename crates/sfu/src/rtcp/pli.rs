//! Please send a key frame, a picture was lost (RFC 4585 §6.3.1).

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A receiver cannot decode an SSRC any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pli {
    /// Who asks.
    pub sender: u32,
    /// Whom.
    pub media: u32,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Pli> {
        let mut reader = Reader(body);
        Some(Pli {
            sender: reader.u32()?,
            media: reader.u32()?,
        })
    }
}

impl Writer<'_> {
    /// Appends a request for a key frame of `media`.
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.packet(packet_type::PAYLOAD_FEEDBACK, FORMAT, |out| {
            out.u32(sender)?;
            out.u32(media)
        })
    }
}

/// RFC 4585 §6.3: "Picture Loss Indication".
pub(super) const FORMAT: u8 = 1;
