//! Extended reports (RFC 3611), of which only those are read that give a receiver its round trip
//! time.
//!
//! A receiver without media of its own has no sender reports that could be answered. It sends its
//! time as an RRTR block and gets a DLRR block back, as a sender would with SR and RR.

use media::NtpTime;

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A packet of extended report blocks.
#[derive(Debug, Clone, Copy)]
pub struct ExtendedReport<'a> {
    /// The SSRC of the reporter.
    pub ssrc: u32,
    blocks: &'a [u8],
}

/// One block of an [`ExtendedReport`].
#[derive(Debug, Clone)]
pub enum XrBlock<'a> {
    /// The reporter's wall clock (RFC 3611 §4.4).
    ReceiverReferenceTime {
        /// At the moment of sending.
        ntp: NtpTime,
    },
    /// Times since the reporter received the wall clocks of others (RFC 3611 §4.5).
    Dlrr(DlrrBlocks<'a>),
    /// An unknown block type.
    Other {
        /// RFC 3611 §3.
        block_type: u8,
    },
}

/// Time since a receiver's wall clock arrived (RFC 3611 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DlrrBlock {
    /// The receiver.
    pub ssrc: u32,
    /// [`NtpTime::middle_32`] of its last report; 0 if there was none.
    pub last_receiver_report: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_last_receiver_report: u32,
}

impl<'a> ExtendedReport<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<ExtendedReport<'a>> {
        let mut reader = Reader(body);
        let report = ExtendedReport { ssrc: reader.u32()?, blocks: reader.0 };
        // Walks all blocks once, so that one that is cut off condemns the packet.
        let mut blocks = report.blocks();
        while !blocks.reader.0.is_empty() {
            blocks.next()?;
        }
        Some(report)
    }

    /// Returns the blocks.
    pub fn blocks(&self) -> XrBlocks<'a> {
        XrBlocks { reader: Reader(self.blocks) }
    }
}

/// The blocks of an [`ExtendedReport`].
#[derive(Debug, Clone)]
pub struct XrBlocks<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        // RFC 3611 §3: type, type-specific byte, length in words without this one.
        let (block_type, _) = (self.reader.u8()?, self.reader.u8()?);
        let words = usize::from(self.reader.u16()?);
        let content = self.reader.bytes(words.checked_mul(4)?)?;
        Some(match block_type {
            RRTR => XrBlock::ReceiverReferenceTime { ntp: NtpTime(Reader(content).u64()?) },
            DLRR => {
                let (blocks, rest) = content.as_chunks();
                rest.is_empty().then_some(XrBlock::Dlrr(DlrrBlocks { blocks: blocks.iter() }))?
            }
            block_type => XrBlock::Other { block_type },
        })
    }
}

/// The parts of a DLRR block.
#[derive(Debug, Clone)]
pub struct DlrrBlocks<'a> {
    blocks: std::slice::Iter<'a, [u8; DLRR_BYTES]>,
}

impl Iterator for DlrrBlocks<'_> {
    type Item = DlrrBlock;

    fn next(&mut self) -> Option<DlrrBlock> {
        let mut reader = Reader(self.blocks.next()?);
        Some(DlrrBlock {
            ssrc: reader.u32()?,
            last_receiver_report: reader.u32()?,
            delay_since_last_receiver_report: reader.u32()?,
        })
    }
}

impl Writer<'_> {
    /// Appends the server's wall clock, for the peer to answer with [`Writer::dlrr`].
    pub fn rrtr(&mut self, ssrc: u32, ntp: NtpTime) -> bool {
        self.packet(packet_type::EXTENDED_REPORT, 0, |out| {
            out.u32(ssrc)?;
            out.bytes(&[RRTR, 0])?;
            out.u16(2)?;
            out.u64(ntp.0)
        })
    }

    /// Appends the times since receivers' wall clocks arrived. Without blocks nothing is written.
    pub fn dlrr(&mut self, ssrc: u32, blocks: &[DlrrBlock]) -> bool {
        let words = blocks.len().checked_mul(DLRR_BYTES / 4).and_then(|words| u16::try_from(words).ok());
        let Some(words) = words.filter(|&words| words > 0) else {
            return false;
        };
        self.packet(packet_type::EXTENDED_REPORT, 0, |out| {
            out.u32(ssrc)?;
            out.bytes(&[DLRR, 0])?;
            out.u16(words)?;
            blocks.iter().try_for_each(|block| {
                out.u32(block.ssrc)?;
                out.u32(block.last_receiver_report)?;
                out.u32(block.delay_since_last_receiver_report)
            })
        })
    }
}

/// RFC 3611 §4.4
const RRTR: u8 = 4;
/// RFC 3611 §4.5
const DLRR: u8 = 5;
const DLRR_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    #[test]
    fn a_reference_time_is_laid_out_as_in_rfc_3611() {
        let ntp = NtpTime(0x1112_1314_1516_1718);
        let bytes = written(|writer| assert!(writer.rrtr(0x0102_0304, ntp)));
        let expected = [0x80, 207, 0, 4, 1, 2, 3, 4, 4, 0, 0, 2, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
        assert_eq!(bytes, expected);
        let Packet::ExtendedReport(report) = only(&bytes) else { panic!() };
        assert_eq!(report.ssrc, 0x0102_0304);
        let blocks: Vec<_> = report.blocks().collect();
        assert!(matches!(blocks[..], [XrBlock::ReceiverReferenceTime { ntp: read }] if read == ntp));
    }

    #[test]
    fn delays_are_read_as_written() {
        let answers = [1, 2, 3].map(|ssrc| DlrrBlock {
            ssrc,
            last_receiver_report: 10 * ssrc,
            delay_since_last_receiver_report: u32::MAX - ssrc,
        });
        let bytes = written(|writer| assert!(writer.dlrr(7, &answers)));
        assert_eq!(bytes[8..12], [5, 0, 0, 9]);
        let Packet::ExtendedReport(report) = only(&bytes) else { panic!() };
        let Some(XrBlock::Dlrr(read)) = report.blocks().next() else { panic!() };
        assert!(read.eq(answers));
        assert!(written(|writer| assert!(!writer.dlrr(7, &[]))).is_empty());
    }

    #[test]
    fn unknown_blocks_are_stepped_over_and_cut_ones_are_malformed() {
        let body = [0, 0, 0, 1, 42, 0, 0, 1, 9, 9, 9, 9, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 8];
        let blocks: Vec<_> = ExtendedReport::parse(&body).unwrap().blocks().collect();
        assert!(matches!(
            blocks[..],
            [XrBlock::Other { block_type: 42 }, XrBlock::ReceiverReferenceTime { ntp: NtpTime(8) }]
        ));
        for len in (0..body.len()).filter(|len| ![4, 12].contains(len)) {
            assert!(ExtendedReport::parse(&body[..len]).is_none(), "{len}");
        }
        // A DLRR block of one word and a half, and an RRTR block of one.
        assert!(ExtendedReport::parse(&[0, 0, 0, 1, 5, 0, 0, 1, 0, 0, 0, 0]).is_none());
        assert!(ExtendedReport::parse(&[0, 0, 0, 1, 4, 0, 0, 1, 0, 0, 0, 0]).is_none());
    }
}
