//! Which RTCP packets do the two ends of a transport exchange?
//!
//! A compound packet (RFC 3550 §6.1) is read by [`packets`], without copying, and written by a
//! [`Writer`], without allocating. Each kind has its file, for reading and writing:
//!
//! - `report`: sender and receiver reports (RFC 3550 §6.4)
//! - `sdes`, `bye`: names, and the end of SSRCs (RFC 3550 §6.5, §6.6)
//! - `nack`, `transport_feedback`: feedback on packets (RFC 4585 §6.2;
//!   draft-holmer-rmcat-transport-wide-cc-extensions-01)
//! - `pli`, `fir`: requests for a key frame (RFC 4585 §6.3.1; RFC 5104 §4.3.1)
//! - `remb`: the receiver's bandwidth estimate (draft-alvestrand-rmcat-remb-03)
//! - `xr`: extended reports (RFC 3611), of which only those are read that give a receiver its round
//!   trip time
//!
//! All input comes from the peer. It is bounded by the datagram and by [`MAX_PACKETS`], and the
//! output of an iterator is bounded by its input. Callers limit the actions that packets request
//! (threat T13).

// The input may come from any peer: no input may panic (threats, code rule 1).
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod bye;
mod compound;
mod fir;
mod nack;
mod pli;
mod remb;
mod report;
mod sdes;
mod transport_feedback;
mod writer;
mod xr;

pub use bye::Bye;
pub use compound::{MAX_PACKETS, Packets, packets};
pub use fir::{Fir, FirEntries, FirEntry};
pub use nack::{Nack, NackSeqs};
pub use pli::Pli;
pub use remb::Remb;
pub use report::{ReceiverReport, ReportBlock, ReportBlocks, SenderReport};
pub use transport_feedback::{Arrivals, Deltas, TransportFeedback};
pub use writer::Writer;
pub use xr::{DlrrBlock, DlrrBlocks, ExtendedReport, XrBlock, XrBlocks};

/// One packet of a compound.
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// Packets and bytes that an SSRC has sent, with its reports on other SSRCs.
    SenderReport {
        /// The SSRC's own counts.
        report: SenderReport,
        /// Its reports on others.
        blocks: ReportBlocks<'a>,
    },
    /// Reports of an SSRC that sends no media.
    ReceiverReport(ReceiverReport<'a>),
    /// A request for missing packets.
    Nack(Nack<'a>),
    /// A request for a key frame after a lost picture.
    Pli(Pli),
    /// A request for a key frame by a new receiver.
    Fir(Fir<'a>),
    /// A limit of the bit rate.
    Remb(Remb<'a>),
    /// The arrival times of packets, by transport-wide sequence number.
    TransportFeedback(TransportFeedback<'a>),
    /// SSRCs that end.
    Bye(Bye<'a>),
    /// Names of SSRCs, which are known from signalling.
    Sdes,
    /// Extended reports.
    ExtendedReport(ExtendedReport<'a>),
    /// An unknown packet type.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The five bits of count or, for feedback, of its format.
        count: u8,
    },
}

/// The fault of a packet or of a whole compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// It ends in the middle of a packet. Nothing follows.
    #[error("truncated")]
    Truncated,
    /// It is not version 2. Nothing follows.
    #[error("not version 2")]
    Version,
    /// It has more than [`MAX_PACKETS`]. Nothing follows.
    #[error("too many packets")]
    TooMany,
    /// The padding does not fit into its packet. The next packet follows.
    #[error("impossible padding")]
    Padding,
    /// The content of a packet contradicts itself. The next packet follows.
    #[error("malformed content of packet type {packet_type}")]
    Content {
        /// The packet type.
        packet_type: u8,
    },
}

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    /// RTPFB
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    /// PSFB
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// RFC 3550 §6.4.1: five bits count the blocks of a report and the SSRCs of a BYE.
const MAX_COUNT: usize = 31;

#[cfg(test)]
mod tests {
    use media::NtpTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_compound_of_everything_is_read_as_it_was_written() {
        let compound = everything();
        let kinds: Vec<_> = packets(&compound).map(|packet| kind(&packet.unwrap())).collect();
        let expected = ["sr", "rr", "sdes", "nack", "pli", "fir", "remb", "twcc", "xr", "xr", "bye"];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn a_packet_that_does_not_fit_leaves_those_before_it() {
        let whole = everything();
        for len in 0..whole.len() {
            let mut buffer = vec![0xee; len];
            let mut writer = Writer::new(&mut buffer);
            let all_fitted = write_everything(&mut writer);
            assert!(!all_fitted);
            let written = writer.finish();
            assert!(written <= len);
            assert!(packets(&buffer[..written]).all(|packet| packet.is_ok()));
        }
    }

    #[test]
    fn whatever_the_corpus_of_libwebrtc_holds_is_walked_without_harm() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora/libwebrtc/rtcp");
        let Ok(files) = std::fs::read_dir(corpus) else {
            return;
        };
        let (mut read, mut refused) = (0, 0);
        for file in files {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for packet in packets(&bytes) {
                match packet {
                    Ok(packet) => {
                        walk(&packet, bytes.len());
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        println!("{read} packets read, {refused} refused");
        assert!(read > 30, "the corpus has mostly good packets: {read} read, {refused} refused");
    }

    #[test]
    fn a_compound_cut_anywhere_is_walked_without_harm() {
        let compound = everything();
        for len in 0..compound.len() {
            walk_all(&compound[..len]);
        }
    }

    #[test]
    fn a_compound_with_any_byte_changed_is_walked_without_harm() {
        let compound = everything();
        for at in 0..compound.len() {
            for value in [0, 1, 3, 0x7f, 0x80, 0xa0, 0xff] {
                let mut changed = compound.clone();
                changed[at] = value;
                walk_all(&changed);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            walk_all(&bytes);
        }

        #[test]
        fn any_content_of_any_kind_is_walked_without_harm(
            flags in 0x80u8..=0xbf,
            packet_type in 199u8..=208,
            mut content in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            content.resize(content.len().next_multiple_of(4), 1);
            let words = u16::try_from(content.len() / 4).unwrap().to_be_bytes();
            walk_all(&[&[flags, packet_type, words[0], words[1]], &content[..]].concat());
        }
    }

    /// Reads every packet to its end, whatever it is.
    fn walk_all(bytes: &[u8]) {
        let mut count = 0;
        for packet in packets(bytes) {
            count += 1;
            if let Ok(packet) = packet {
                walk(&packet, bytes.len());
            }
        }
        assert!(count <= MAX_PACKETS + 1);
    }

    /// Reads all of a packet and checks that it holds no more than `bytes` could have.
    fn walk(packet: &Packet<'_>, bytes: usize) {
        match packet {
            Packet::SenderReport { blocks, .. } => assert!(blocks.clone().count() <= MAX_COUNT),
            Packet::ReceiverReport(report) => {
                assert_eq!(report.blocks.len(), report.blocks.clone().count());
            }
            Packet::Nack(nack) => assert!(nack.seqs().count() <= bytes / 4 * 17),
            Packet::Fir(fir) => assert!(fir.entries().count() <= bytes / 8),
            Packet::Remb(remb) => assert!(remb.ssrcs().count() <= bytes / 4),
            Packet::TransportFeedback(feedback) => {
                let count = usize::from(feedback.status_count);
                assert_eq!(feedback.deltas().count(), count);
                assert_eq!(feedback.arrivals().count(), count);
                assert!(feedback.deltas().filter(|(_, delta)| delta.is_some()).count() <= bytes);
            }
            Packet::Bye(bye) => assert!(bye.ssrcs().count() <= MAX_COUNT),
            Packet::ExtendedReport(report) => {
                for block in report.blocks() {
                    if let XrBlock::Dlrr(blocks) = block {
                        assert!(blocks.count() <= bytes / 12);
                    }
                }
            }
            Packet::Pli(_) | Packet::Sdes | Packet::Other { .. } => {}
        }
    }

    fn kind(packet: &Packet<'_>) -> &'static str {
        match packet {
            Packet::SenderReport { .. } => "sr",
            Packet::ReceiverReport(_) => "rr",
            Packet::Nack(_) => "nack",
            Packet::Pli(_) => "pli",
            Packet::Fir(_) => "fir",
            Packet::Remb(_) => "remb",
            Packet::TransportFeedback(_) => "twcc",
            Packet::Bye(_) => "bye",
            Packet::Sdes => "sdes",
            Packet::ExtendedReport(_) => "xr",
            Packet::Other { .. } => "other",
        }
    }

    fn everything() -> Vec<u8> {
        written(|writer| assert!(write_everything(writer)))
    }

    /// Returns whether every packet fitted, but tries them all.
    fn write_everything(writer: &mut Writer<'_>) -> bool {
        let ntp = NtpTime(0x0123_4567_89ab_cdef);
        [
            writer.sender_report(SenderReport { ssrc: 1, ntp, rtp: 2, packets: 3, octets: 4 }),
            writer.receiver_report(1, &[ReportBlock::default(); 2]),
            writer.sdes_cname(1, "nowcast"),
            writer.nack(1, 2, &[3, 4, 40, 41]),
            writer.pli(1, 2),
            writer.fir(1, 2, 3),
            writer.remb(1, 2_000_000, &[2, 3]),
            writer.transport_feedback(1, 2, 3, 4, 5, &[(4, Some(320_000)), (9, Some(330_000))]),
            writer.rrtr(1, ntp),
            writer.dlrr(1, &[DlrrBlock::default(); 2]),
            writer.bye(&[1, 2]),
        ]
        .iter()
        .all(|&fitted| fitted)
    }

    pub(super) fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = vec![0xee; 70_000];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    }

    /// Reads a compound of a single good packet.
    pub(super) fn only(compound: &[u8]) -> Packet<'_> {
        let mut packets = packets(compound);
        let packet = packets.next().unwrap().unwrap();
        assert!(packets.next().is_none());
        packet
    }
}
