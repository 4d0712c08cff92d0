//! Sender and receiver reports (RFC 3550 §6.4).

use media::NtpTime;

use super::compound::Reader;
use super::writer::{Out, Writer};
use super::{MAX_COUNT, packet_type};

/// The counts of an SSRC's sender (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// The SSRC.
    pub ssrc: u32,
    /// The sender's wall clock at this moment.
    pub ntp: NtpTime,
    /// The same moment as an RTP timestamp of the SSRC.
    pub rtp: u32,
    /// Packets sent since the start, wrapping.
    pub packets: u32,
    /// Payload bytes sent since the start, wrapping.
    pub octets: u32,
}

/// The report on one received SSRC (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The SSRC that is reported on.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, less duplicates. 24 bits; what exceeds them is clamped.
    pub total_lost: i32,
    /// Highest sequence number received, with 16 bits of cycles above.
    pub highest_seq: u32,
    /// Interarrival jitter in RTP ticks.
    pub jitter: u32,
    /// [`NtpTime::middle_32`] of the last sender report; 0 if there was none.
    pub last_sender_report: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

/// Reports of an SSRC that sends no media (RFC 3550 §6.4.2).
#[derive(Debug, Clone)]
pub struct ReceiverReport<'a> {
    /// The SSRC of the reporting receiver.
    pub ssrc: u32,
    /// The reports.
    pub blocks: ReportBlocks<'a>,
}

/// The blocks of a report, at most 31.
#[derive(Debug, Clone)]
pub struct ReportBlocks<'a> {
    blocks: std::slice::Iter<'a, [u8; BLOCK_BYTES]>,
}

pub(super) fn parse_sender_report(count: u8, body: &[u8]) -> Option<(SenderReport, ReportBlocks<'_>)> {
    let mut reader = Reader(body);
    let report = SenderReport {
        ssrc: reader.u32()?,
        ntp: NtpTime(reader.u64()?),
        rtp: reader.u32()?,
        packets: reader.u32()?,
        octets: reader.u32()?,
    };
    Some((report, ReportBlocks::parse(count, &mut reader)?))
}

pub(super) fn parse_receiver_report(count: u8, body: &[u8]) -> Option<ReceiverReport<'_>> {
    let mut reader = Reader(body);
    Some(ReceiverReport { ssrc: reader.u32()?, blocks: ReportBlocks::parse(count, &mut reader)? })
}

impl<'a> ReportBlocks<'a> {
    /// Data behind the blocks are extensions of an unknown profile (RFC 3550 §6.4.3).
    fn parse(count: u8, reader: &mut Reader<'a>) -> Option<ReportBlocks<'a>> {
        let bytes = reader.bytes(usize::from(count).checked_mul(BLOCK_BYTES)?)?;
        let (blocks, _) = bytes.as_chunks();
        Some(ReportBlocks { blocks: blocks.iter() })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let mut reader = Reader(self.blocks.next()?);
        Some(ReportBlock {
            ssrc: reader.u32()?,
            fraction_lost: reader.u8()?,
            total_lost: reader.i24()?,
            highest_seq: reader.u32()?,
            jitter: reader.u32()?,
            last_sender_report: reader.u32()?,
            delay_since_last_sender_report: reader.u32()?,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.blocks.size_hint()
    }
}

impl ExactSizeIterator for ReportBlocks<'_> {}

impl Writer<'_> {
    /// Appends a sender report without report blocks.
    pub fn sender_report(&mut self, report: SenderReport) -> bool {
        self.packet(packet_type::SENDER_REPORT, 0, |out| {
            out.u32(report.ssrc)?;
            out.u64(report.ntp.0)?;
            out.u32(report.rtp)?;
            out.u32(report.packets)?;
            out.u32(report.octets)
        })
    }

    /// Appends a receiver report, or several if there are more than 31 blocks; without any block
    /// an empty one, which may head a compound.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        let start = self.len();
        let mut left = blocks;
        loop {
            let (blocks, rest) = left.split_at(left.len().min(MAX_COUNT));
            let count = u8::try_from(blocks.len()).unwrap_or_default(); // at most 31
            let fitted = self.packet(packet_type::RECEIVER_REPORT, count, |out| {
                out.u32(ssrc)?;
                blocks.iter().try_for_each(|block| block.write(out))
            });
            if !fitted {
                self.truncate(start);
                return false;
            }
            if rest.is_empty() {
                return true;
            }
            left = rest;
        }
    }
}

impl ReportBlock {
    fn write(&self, out: &mut Out<'_>) -> Option<()> {
        // RFC 3550 appendix A.3: clamped to 24 bits, signed.
        let total_lost = self.total_lost.clamp(-0x80_0000, 0x7f_ffff);
        out.u32(self.ssrc)?;
        out.u8(self.fraction_lost)?;
        out.u24(total_lost.cast_unsigned())?;
        out.u32(self.highest_seq)?;
        out.u32(self.jitter)?;
        out.u32(self.last_sender_report)?;
        out.u32(self.delay_since_last_sender_report)
    }
}

const BLOCK_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::super::tests::{only, written};
    use super::super::{Packet, packets};
    use super::*;

    #[test]
    fn a_sender_report_is_laid_out_as_in_rfc_3550() {
        let report = SenderReport {
            ssrc: 0x0102_0304,
            ntp: NtpTime(0x1112_1314_1516_1718),
            rtp: 0x2122_2324,
            packets: 0x3132_3334,
            octets: 0x4142_4344,
        };
        let bytes = written(|writer| assert!(writer.sender_report(report)));
        assert_eq!(
            bytes,
            [
                0x80, 200, 0, 6, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
                0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44
            ]
        );
        let Packet::SenderReport { report: read, blocks } = only(&bytes) else { panic!() };
        assert_eq!((read, blocks.len()), (report, 0));
    }

    #[test]
    fn blocks_are_read_as_written_and_losses_are_clamped_to_24_bits() {
        for (lost, read) in [(0, 0), (-1, -1), (0x7f_ffff, 0x7f_ffff), (i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000)] {
            let block = ReportBlock {
                ssrc: 9,
                fraction_lost: 0xfe,
                total_lost: lost,
                highest_seq: 0x0001_ffff,
                jitter: 11,
                last_sender_report: 12,
                delay_since_last_sender_report: u32::MAX,
            };
            let bytes = written(|writer| assert!(writer.receiver_report(1, &[block])));
            let Packet::ReceiverReport(report) = only(&bytes) else { panic!() };
            assert_eq!(report.ssrc, 1);
            assert!(report.blocks.eq([ReportBlock { total_lost: read, ..block }]));
        }
    }

    #[test]
    fn blocks_beyond_31_go_into_a_second_report() {
        for (blocks, expected) in [(0, vec![0]), (31, vec![31]), (32, vec![31, 1]), (93, vec![31; 3])] {
            let blocks = vec![ReportBlock::default(); blocks];
            let bytes = written(|writer| assert!(writer.receiver_report(1, &blocks)));
            let counts: Vec<_> = packets(&bytes)
                .map(|packet| match packet {
                    Ok(Packet::ReceiverReport(report)) => report.blocks.count(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn a_second_report_that_does_not_fit_takes_the_first_with_it() {
        let mut buffer = [0; 8 + 31 * BLOCK_BYTES + 8 + BLOCK_BYTES - 1];
        let mut writer = Writer::new(&mut buffer);
        assert!(!writer.receiver_report(1, &[ReportBlock::default(); 32]));
        assert_eq!(writer.finish(), 0);
    }

    #[test]
    fn a_report_with_fewer_blocks_than_it_counts_is_malformed() {
        assert!(parse_receiver_report(1, &[0; 27]).is_none());
        assert!(parse_receiver_report(1, &[0; 28]).is_some());
        assert!(parse_receiver_report(1, &[0; 40]).is_some()); // with an extension
        assert!(parse_sender_report(1, &[0; 47]).is_none());
        assert!(parse_sender_report(1, &[0; 48]).is_some());
    }
}
