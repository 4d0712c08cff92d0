//! What of a publisher's RTCP does str0m need?
//!
//! Its wall clock (sender reports, RFC 3550 §6.4.1) and how long ago it heard ours (DLRR, RFC 3611 §4.5), from which
//! the round-trip time follows. The rest concerns senders, or is strings. str0m allocates for what a DLRR
//! block says that it holds, not for what is there; here blocks are parsed first and written anew.

use crate::rtcp::{self, DlrrBlock, Packet, Writer, XrBlock};

/// Replaces a compound packet by what is to be passed on. Returns whether that is anything.
pub(super) fn keep(compound: &mut Vec<u8>) -> bool {
    let mut kept = [0; MAX_KEPT_BYTES];
    let mut writer = Writer::new(&mut kept);
    for packet in rtcp::packets(compound).flatten() {
        match packet {
            Packet::SenderReport { report, .. } => {
                writer.sender_report(report);
            }
            Packet::ExtendedReport(report) => {
                let blocks = report.blocks().filter_map(|block| match block {
                    XrBlock::Dlrr(blocks) => Some(blocks),
                    _ => None,
                });
                for block in blocks.flatten().take(MAX_DLRR) {
                    let block: DlrrBlock = block;
                    writer.dlrr(report.ssrc, &[block]);
                }
            }
            _ => {}
        }
    }
    let len = writer.finish();
    compound.clear();
    compound.extend_from_slice(kept.get(..len).unwrap_or_default());
    len > 0
}

/// 64 sender reports of 28 bytes, as many as there may be SSRCs; more are dropped.
const MAX_KEPT_BYTES: usize = 64 * 28;
/// One would do: only one of our SSRCs asks.
const MAX_DLRR: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(compound: &[u8]) -> Vec<u8> {
        let mut compound = compound.to_vec();
        let any = keep(&mut compound);
        assert_eq!(any, !compound.is_empty());
        compound
    }

    const SENDER_REPORT: [u8; 28] =
        [0x80, 200, 0, 6, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];

    #[test]
    fn sender_reports_are_passed_on_without_blocks_and_all_else_of_the_compound_is_not() {
        let mut with_block = SENDER_REPORT.to_vec();
        with_block.extend([7; 24]);
        (with_block[0], with_block[3]) = (0x81, 12);
        // CNAME "abc", BYE, PLI.
        with_block.extend([0x81, 202, 0, 3, 0, 0, 0, 9, 1, 3, b'a', b'b', b'c', 0, 0, 0]);
        with_block.extend([0x81, 203, 0, 1, 0, 0, 0, 9]);
        with_block.extend([0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 8]);
        assert_eq!(kept(&with_block), SENDER_REPORT);
    }

    #[test]
    fn a_dlrr_block_is_passed_on_if_it_is_as_long_as_it_says() {
        let good = [0x80, 207, 0, 5, 0, 0, 0, 9, 5, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(kept(&good), good);
        // 21,845 parts announced, none there: str0m would allocate 256 KiB for each of 116 in a datagram.
        let bad = [0x80, 207, 0, 2, 0, 0, 0, 9, 5, 0, 0xff, 0xff];
        assert!(kept(&bad.repeat(116)).is_empty());
    }

    #[test]
    fn a_packet_that_promises_more_than_is_there_ends_the_compound() {
        let mut compound = SENDER_REPORT.to_vec();
        compound.extend([0x80, 200, 0xff, 0xff, 1]);
        assert_eq!(kept(&compound), SENDER_REPORT);
    }
}
