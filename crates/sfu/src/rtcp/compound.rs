//! Where does one packet of a compound end and the next begin?

use super::report::{parse_receiver_report, parse_sender_report};
use super::{Bye, ExtendedReport, Fir, Malformed, Nack, Packet, Pli, Remb, TransportFeedback, packet_type};

/// Reads the packets of a compound (RFC 3550 §6.1), also of a reduced one (RFC 5506).
///
/// A malformed packet is returned as an error and skipped. If the start of the next packet is
/// unknown, the iteration ends.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound, left: MAX_PACKETS }
}

/// The packets of a compound, see [`packets`].
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some(match self.split() {
            Ok(Frame { count, packet_type, body }) => parse(count, packet_type, body),
            Err(malformed) => Err(malformed),
        })
    }
}

/// A packet without its header and padding.
struct Frame<'a> {
    count: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> Packets<'a> {
    /// Splits off one packet. A fault in its frame ends the iteration, except wrong padding.
    fn split(&mut self) -> Result<Frame<'a>, Malformed> {
        let compound = std::mem::take(&mut self.rest);
        self.left = self.left.checked_sub(1).ok_or(Malformed::TooMany)?;

        // RFC 3550 §6.4.1: version, padding bit, count; packet type; length in words less one.
        let (&[flags, packet_type, length @ ..], after) =
            compound.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
        if flags >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let body_bytes = usize::from(u16::from_be_bytes(length)).saturating_mul(4);
        let (body, rest) = after.split_at_checked(body_bytes).ok_or(Malformed::Truncated)?;
        self.rest = rest;

        let body = if flags & 0x20 == 0 {
            body
        } else {
            // RFC 3550 §6.4.1: the last byte counts the padding with itself. It should be a multiple of
            // four, but transport feedback in the wild is not.
            let padding = body.last().map_or(0, |&last| usize::from(last));
            let len = body.len().checked_sub(padding).filter(|_| padding > 0);
            len.and_then(|len| body.get(..len)).ok_or(Malformed::Padding)?
        };
        Ok(Frame { count: flags & 0x1f, packet_type, body })
    }
}

fn parse(count: u8, packet_type: u8, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let other = Packet::Other { packet_type, count };
    let packet = match (packet_type, count) {
        (packet_type::SENDER_REPORT, _) => {
            parse_sender_report(count, body).map(|(report, blocks)| Packet::SenderReport { report, blocks })
        }
        (packet_type::RECEIVER_REPORT, _) => parse_receiver_report(count, body).map(Packet::ReceiverReport),
        (packet_type::SDES, _) => Some(Packet::Sdes),
        (packet_type::BYE, _) => Bye::parse(count, body).map(Packet::Bye),
        (packet_type::TRANSPORT_FEEDBACK, super::nack::FORMAT) => Nack::parse(body).map(Packet::Nack),
        (packet_type::TRANSPORT_FEEDBACK, super::transport_feedback::FORMAT) => {
            TransportFeedback::parse(body).map(Packet::TransportFeedback)
        }
        (packet_type::PAYLOAD_FEEDBACK, super::pli::FORMAT) => Pli::parse(body).map(Packet::Pli),
        (packet_type::PAYLOAD_FEEDBACK, super::fir::FORMAT) => Fir::parse(body).map(Packet::Fir),
        (packet_type::PAYLOAD_FEEDBACK, super::remb::FORMAT) => {
            if Remb::has_name(body) {
                Remb::parse(body).map(Packet::Remb)
            } else {
                Some(other)
            }
        }
        (packet_type::EXTENDED_REPORT, _) => ExtendedReport::parse(body).map(Packet::ExtendedReport),
        _ => Some(other),
    };
    packet.ok_or(Malformed::Content { packet_type })
}

/// Takes big-endian numbers from the front of a packet.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Option<u32> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn i24(&mut self) -> Option<i32> {
        self.array().map(|[a, b, c]| i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Most packets of a compound (threat T12). A datagram could hold 500 empty packets; peers send a
/// handful at most.
pub const MAX_PACKETS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const PLI: [u8; 12] = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];

    #[test]
    fn a_bad_frame_ends_the_compound_and_bad_content_does_not() {
        let bad_nack = [0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]; // without any entry
        for (name, compound, expected) in [
            ("nothing", vec![], "".to_string()),
            ("one", PLI.to_vec(), "ok ".into()),
            ("two", [PLI, PLI].concat(), "ok ok ".into()),
            ("bad content", [bad_nack, PLI].concat(), "Content { packet_type: 205 } ok ".into()),
            ("version 1", [&[0x41], &PLI[1..], &PLI].concat(), "Version ".into()),
            ("half a header", [&PLI[..], &[0x81, 206]].concat(), "ok Truncated ".into()),
            ("too long", [&PLI[..], &PLI[..11]].concat(), "ok Truncated ".into()),
            ("no padding", [&[0xa1], &PLI[1..11], &[0], &PLI].concat(), "Padding ok ".into()),
            ("much padding", [&[0xa1], &PLI[1..11], &[9], &PLI].concat(), "Padding ok ".into()),
            ("unknown", [&[0x81, 204], &PLI[2..], &PLI].concat(), "ok ok ".into()),
        ] {
            let found: String = packets(&compound)
                .map(|packet| packet.map_or_else(|bad| format!("{bad:?} "), |_| "ok ".into()))
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn padding_is_not_read_as_content() {
        let nack = [0xa1, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 0, 0, 0, 0, 4];
        let Some(Ok(Packet::Nack(nack))) = packets(&nack).next() else { panic!("no NACK") };
        assert!(nack.seqs().eq([7]));
    }

    #[test]
    fn a_65th_packet_is_one_too_many() {
        let empty = [0x80, 210, 0, 0].repeat(1_000);
        assert_eq!(packets(&empty).filter(|packet| packet.is_ok()).count(), MAX_PACKETS);
        assert_eq!(packets(&empty).last().map(|last| last.err()), Some(Some(Malformed::TooMany)));
    }
}
