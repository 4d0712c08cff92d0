//! Picture Loss Indication: a request for a key frame after a lost picture (RFC 4585 §6.3.1).

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A request for a key frame by a receiver that cannot decode an SSRC any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pli {
    /// The SSRC of the requesting receiver.
    pub sender: u32,
    /// The SSRC that has to send a key frame.
    pub media: u32,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Pli> {
        let mut reader = Reader(body);
        Some(Pli { sender: reader.u32()?, media: reader.u32()? })
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

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    #[test]
    fn a_pli_is_laid_out_as_in_rfc_4585() {
        let bytes = written(|writer| assert!(writer.pli(0x0102_0304, 0x0506_0708)));
        assert_eq!(bytes, [0x81, 206, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]);
        let Packet::Pli(pli) = only(&bytes) else { panic!() };
        assert_eq!(pli, Pli { sender: 0x0102_0304, media: 0x0506_0708 });
    }
}
