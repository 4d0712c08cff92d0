//! When did packets arrive, by transport-wide sequence number
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1)?
//!
//! A packet lists a status for each of up to 65,535 sequence numbers, run-length coded or as bit
//! vectors, and behind them the time between arrivals for those that arrived.
//! [`TransportFeedback::parse`] walks the whole list once, in steps of chunks, so that iterating later
//! cannot fail. Beware that 18 bytes can list 65,535 lost packets: look at
//! [`TransportFeedback::status_count`] before walking the list.

use super::compound::Reader;
use super::packet_type;
use super::writer::{Out, Writer};

/// The arrival times of a range of packets.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'a> {
    /// The SSRC of the receiver.
    pub sender: u32,
    /// An SSRC that sent some of them.
    pub media: u32,
    /// Counts feedback packets, wrapping.
    pub feedback_count: u8,
    /// The first sequence number listed.
    pub base_seq: u16,
    /// Number of sequence numbers listed; at least one.
    pub status_count: u16,
    /// Origin of the first arrival time, in units of 64 ms of the receiver's own clock; 24 bits,
    /// signed, wrapping.
    pub reference_time: i32,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<TransportFeedback<'a>> {
        let mut reader = Reader(body);
        let (sender, media) = (reader.u32()?, reader.u32()?);
        let (base_seq, status_count) = (reader.u16()?, reader.u16()?);
        let (reference_time, feedback_count) = (reader.i24()?, reader.u8()?);
        if status_count == 0 {
            return None;
        }

        let list = reader.0;
        let (mut left, mut chunk_count, mut delta_bytes) = (status_count, 0usize, 0usize);
        while left > 0 {
            let chunk = Chunk::parse(reader.array()?, left);
            left = left.saturating_sub(chunk.len);
            chunk_count = chunk_count.checked_add(1)?;
            delta_bytes = delta_bytes.checked_add(chunk.delta_bytes()?)?;
        }
        let (chunks, _) = list.as_chunks().0.split_at_checked(chunk_count)?;
        let deltas = reader.bytes(delta_bytes)?;
        Some(TransportFeedback {
            sender,
            media,
            feedback_count,
            base_seq,
            status_count,
            reference_time,
            chunks,
            deltas,
        })
    }

    /// Returns every listed sequence number with the time in µs, a multiple of 250, since the arrival
    /// before it in the list (for the first, since the reference time); `None` if it did not arrive.
    pub fn deltas(&self) -> Deltas<'a> {
        Deltas {
            next_seq: self.base_seq,
            left: self.status_count,
            chunk: Chunk { symbols: Symbols::Run(Symbol::NotReceived), len: 0 },
            chunks: self.chunks.iter(),
            deltas: Reader(self.deltas),
        }
    }

    /// Returns every listed sequence number with its time of arrival in µs of the receiver's own
    /// clock, counted like [`TransportFeedback::reference_time`]; `None` if it did not arrive.
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals { deltas: self.deltas(), at_us: reference_us(self.reference_time) }
    }
}

/// Sequence numbers with the time since the arrival before, see [`TransportFeedback::deltas`].
#[derive(Debug, Clone)]
pub struct Deltas<'a> {
    next_seq: u16,
    left: u16,
    chunk: Chunk,
    chunks: std::slice::Iter<'a, [u8; 2]>,
    deltas: Reader<'a>,
}

impl Iterator for Deltas<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<(u16, Option<i64>)> {
        while self.chunk.len == 0 && self.left > 0 {
            self.chunk = Chunk::parse(*self.chunks.next()?, self.left);
        }
        self.left = self.left.checked_sub(1)?;
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        let ticks = match self.chunk.pop() {
            Symbol::SmallDelta => Some(i64::from(self.deltas.u8()?)),
            Symbol::LargeDelta => Some(i64::from(self.deltas.u16()?.cast_signed())),
            Symbol::NotReceived | Symbol::Reserved => None,
        };
        Some((seq, ticks.map(|ticks| ticks.saturating_mul(TICK_US))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

/// Sequence numbers with their times of arrival, see [`TransportFeedback::arrivals`].
#[derive(Debug, Clone)]
pub struct Arrivals<'a> {
    deltas: Deltas<'a>,
    at_us: i64,
}

impl Iterator for Arrivals<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<(u16, Option<i64>)> {
        let (seq, delta_us) = self.deltas.next()?;
        let at_us = delta_us.map(|delta_us| {
            self.at_us = self.at_us.saturating_add(delta_us);
            self.at_us
        });
        Some((seq, at_us))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.deltas.size_hint()
    }
}

/// The fate of one packet (§3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    NotReceived,
    SmallDelta,
    LargeDelta,
    Reserved,
}

impl Symbol {
    fn from_bits(bits: u16) -> Symbol {
        match bits & 3 {
            0 => Symbol::NotReceived,
            1 => Symbol::SmallDelta,
            2 => Symbol::LargeDelta,
            _ => Symbol::Reserved,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Symbol::NotReceived => 0,
            Symbol::SmallDelta => 1,
            Symbol::LargeDelta => 2,
            Symbol::Reserved => 3,
        }
    }

    /// Returns the length of the delta; `None` for the reserved symbol, which cannot be read.
    fn delta_bytes(self) -> Option<usize> {
        match self {
            Symbol::NotReceived => Some(0),
            Symbol::SmallDelta => Some(1),
            Symbol::LargeDelta => Some(2),
            Symbol::Reserved => None,
        }
    }
}

/// A run of equal symbols, or a vector of up to 14.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    symbols: Symbols,
    /// Symbols that are left; those beyond the status count do not exist.
    len: u16,
}

#[derive(Debug, Clone, Copy)]
enum Symbols {
    Run(Symbol),
    /// One bit each, the next one at the top: received with a small delta, or not received.
    OneBit(u16),
    /// Two bits each, the next one at the top.
    TwoBits(u16),
}

impl Chunk {
    fn parse(bytes: [u8; 2], left: u16) -> Chunk {
        let word = u16::from_be_bytes(bytes);
        let (symbols, len) = match word >> 14 {
            // §3.1.3: two bits of symbol, 13 of length.
            0 | 1 => (Symbols::Run(Symbol::from_bits(word >> 13)), word & 0x1fff),
            // §3.1.4: 14 symbols of one bit, or 7 of two.
            2 => (Symbols::OneBit(word << 2), 14),
            _ => (Symbols::TwoBits(word << 2), 7),
        };
        Chunk { symbols, len: len.min(left) }
    }

    /// Takes the next symbol.
    fn pop(&mut self) -> Symbol {
        self.len = self.len.saturating_sub(1);
        match &mut self.symbols {
            Symbols::Run(symbol) => *symbol,
            Symbols::OneBit(bits) => {
                let symbol = Symbol::from_bits(*bits >> 15);
                *bits <<= 1;
                symbol
            }
            Symbols::TwoBits(bits) => {
                let symbol = Symbol::from_bits(*bits >> 14);
                *bits <<= 2;
                symbol
            }
        }
    }

    /// Returns the total length of the deltas of all symbols; `None` if one is reserved.
    fn delta_bytes(mut self) -> Option<usize> {
        if let Symbols::Run(symbol) = self.symbols {
            return symbol.delta_bytes()?.checked_mul(usize::from(self.len));
        }
        let mut sum = 0usize;
        while self.len > 0 {
            sum = sum.checked_add(self.pop().delta_bytes()?)?;
        }
        Some(sum)
    }
}

impl Writer<'_> {
    /// Appends the arrival times of packets.
    ///
    /// `packets` are sequence numbers, ascending (they may wrap), none before `base_seq`, each with
    /// its time of arrival in µs counted like `reference_time` (in 64 ms, the low 24 bits of which
    /// are sent); those between that are not listed count as lost. Times are rounded down to 250 µs.
    ///
    /// Nothing is written if the list is empty or does not ascend, or if two arrivals lie more than 8.19 s apart.
    pub fn transport_feedback(
        &mut self,
        sender: u32,
        media: u32,
        feedback_count: u8,
        base_seq: u16,
        reference_time: i32,
        packets: &[(u16, Option<i64>)],
    ) -> bool {
        self.packet(packet_type::TRANSPORT_FEEDBACK, FORMAT, |out| {
            let &(last_seq, _) = packets.last()?;
            let status_count = last_seq.wrapping_sub(base_seq).checked_add(1)?;
            let statuses = Statuses {
                packets: packets.iter(),
                next: None,
                seq: base_seq,
                left: status_count,
                ticks: reference_us(reference_time).div_euclid(TICK_US),
            };
            out.u32(sender)?;
            out.u32(media)?;
            out.u16(base_seq)?;
            out.u16(status_count)?;
            out.u24(reference_time.cast_unsigned())?;
            out.u8(feedback_count)?;
            write_chunks(statuses.clone(), out)?;
            write_deltas(statuses, out)
        })
    }
}

/// The status of each sequence number of a list with gaps.
#[derive(Clone)]
struct Statuses<'a> {
    packets: std::slice::Iter<'a, (u16, Option<i64>)>,
    /// The next entry of the packets, which the list has not reached yet.
    next: Option<(u16, Option<i64>)>,
    seq: u16,
    left: u16,
    /// The time of the last arrival.
    ticks: i64,
}

impl Iterator for Statuses<'_> {
    type Item = (Symbol, i16);

    fn next(&mut self) -> Option<(Symbol, i16)> {
        self.left = self.left.checked_sub(1)?;
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let (next_seq, at_us) = match self.next.take() {
            Some(next) => next,
            None => *self.packets.next()?,
        };
        if next_seq != seq {
            self.next = Some((next_seq, at_us));
            return Some((Symbol::NotReceived, 0));
        }
        let Some(at_us) = at_us else {
            return Some((Symbol::NotReceived, 0));
        };
        let ticks = at_us.div_euclid(TICK_US);
        // Ends here, too early, if the delta is too long for its 16 bits.
        let delta = i16::try_from(ticks.saturating_sub(self.ticks)).ok()?;
        self.ticks = ticks;
        Some((if (0..=255).contains(&delta) { Symbol::SmallDelta } else { Symbol::LargeDelta }, delta))
    }
}

/// Writes, repeatedly, the densest chunk that fits the next statuses.
fn write_chunks(mut statuses: Statuses<'_>, out: &mut Out<'_>) -> Option<()> {
    while statuses.left > 0 {
        let mut ahead = statuses.clone().map(|(symbol, _)| symbol).take(MAX_RUN);
        let first = ahead.next()?;
        let run = ahead.take_while(|&symbol| symbol == first).count().checked_add(1)?;
        let window = statuses.clone().map(|(symbol, _)| symbol).take(14);
        let has_large = window.clone().any(|symbol| symbol == Symbol::LargeDelta);

        let (word, len) = if run >= if has_large { 7 } else { 14 } {
            ((first.bits() << 13) | u16::try_from(run).ok()?, run)
        } else if has_large {
            let bits =
                window.take(7).enumerate().fold(0, |bits, (at, symbol)| bits | (symbol.bits() << 12 >> (2 * at)));
            (0xc000 | bits, 7)
        } else {
            let bits = window.enumerate().fold(0, |bits, (at, symbol)| bits | (symbol.bits() << 13 >> at));
            (0x8000 | bits, 14)
        };
        out.u16(word)?;
        for _ in 0..len.min(usize::from(statuses.left)) {
            statuses.next()?;
        }
    }
    Some(())
}

fn write_deltas(mut statuses: Statuses<'_>, out: &mut Out<'_>) -> Option<()> {
    for (symbol, delta) in statuses.by_ref() {
        match symbol {
            Symbol::SmallDelta => out.u8(u8::try_from(delta).ok()?)?,
            Symbol::LargeDelta => out.u16(delta.cast_unsigned())?,
            Symbol::NotReceived | Symbol::Reserved => {}
        }
    }
    // A list that does not ascend has packets left over.
    statuses.packets.next().is_none().then_some(())
}

/// §3.1: the reference time counts 64 ms; 24 bits.
fn reference_us(reference_time: i32) -> i64 {
    i64::from(reference_time).saturating_mul(64_000)
}

/// §3.1: "Transport-wide congestion control".
pub(super) const FORMAT: u8 = 15;
/// §3.1.5: deltas count 250 µs.
const TICK_US: i64 = 250;
/// §3.1.3: 13 bits.
const MAX_RUN: usize = 0x1fff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    #[test]
    fn chunks_and_deltas_are_read_as_in_the_draft() {
        let check = |status_count: u16, list: &[u8], expected: &[Option<i64>]| {
            let body = body(status_count, list);
            let feedback = TransportFeedback::parse(&body).unwrap();
            let deltas: Vec<_> = feedback.deltas().map(|(_, delta)| delta).collect();
            assert_eq!(deltas, expected);
            let seqs: Vec<_> = feedback.deltas().map(|(seq, _)| seq).collect();
            let expected: Vec<_> = (0..status_count).map(|at| 0xfffeu16.wrapping_add(at)).collect();
            assert_eq!(seqs, expected);
        };
        // A run of three small deltas.
        check(3, &[0x20, 3, 0, 1, 255], &[Some(0), Some(250), Some(63_750)]);
        // A run of two losses, then a run of two large deltas, one of them negative.
        check(4, &[0, 2, 0x40, 2, 0x7f, 0xff, 0xff, 0xff], &[None, None, Some(8_191_750), Some(-250)]);
        // 14 symbols of one bit: the first and the last arrived.
        let mut expected = [None; 14];
        (expected[0], expected[13]) = (Some(250), Some(500));
        check(14, &[0xa0, 1, 1, 2], &expected);
        // The same, of which only the first three count.
        check(3, &[0xa0, 1, 1], &[Some(250), None, None]);
        // 7 symbols of two bits: small, lost, large, and four lost.
        check(7, &[0xd2, 0, 4, 0, 4], &[Some(1_000), None, Some(1_000), None, None, None, None]);
        // A chunk of no packets is stepped over.
        check(1, &[0x20, 0, 0x20, 1, 8], &[Some(2_000)]);
    }

    #[test]
    fn lists_that_contradict_themselves_are_malformed() {
        for (name, status_count, list) in [
            ("no packets", 0, &[0x20u8, 1, 1][..]),
            ("no chunks", 1, &[]),
            ("half a chunk", 1, &[0x20]),
            ("fewer statuses than counted", 4, &[0x20, 3, 1, 1, 1]),
            ("no deltas", 3, &[0x20, 3]),
            ("a delta too few", 3, &[0x20, 3, 1, 1]),
            ("half a large delta", 1, &[0x40, 1, 1]),
            ("a run of the reserved symbol", 1, &[0x60, 1, 1, 1, 1]),
            ("a reserved symbol in a vector", 2, &[0xdc, 0, 1, 1, 1]),
        ] {
            assert!(TransportFeedback::parse(&body(status_count, list)).is_none(), "{name}");
        }
        // A reserved symbol behind the end does not count.
        assert!(TransportFeedback::parse(&body(1, &[0xdc, 0, 1])).is_some());
        for len in 0..16 {
            assert!(TransportFeedback::parse(&body(1, &[0x20, 1, 1])[..len]).is_none());
        }
    }

    #[test]
    fn eighteen_bytes_list_65535_losses_and_no_more() {
        let list = [0x1f, 0xff].repeat(9);
        let body = body(u16::MAX, &list);
        let feedback = TransportFeedback::parse(&body).unwrap();
        assert_eq!(feedback.deltas().count(), 65_535);
        assert!(feedback.deltas().all(|(_, delta)| delta.is_none()));
        assert!(TransportFeedback::parse(&body[..body.len() - 4]).is_none());
    }

    #[test]
    fn the_densest_chunk_is_written() {
        let small = |count: u16| (0..count).map(|at| (at, Some(i64::from(at) * 1_000)));
        for (name, packets, chunks) in [
            ("a run", small(100).collect::<Vec<_>>(), &[0x20u8, 100][..]),
            ("a short vector", small(3).collect(), &[0xb8, 0]),
            ("losses between", vec![(0, Some(0)), (13, Some(0))], &[0xa0, 1]),
            ("a large delta", vec![(0, Some(0)), (1, Some(500_000))], &[0xd8, 0]),
            ("a negative one", vec![(0, Some(10_000)), (1, Some(0))], &[0xd8, 0]),
        ] {
            let bytes = written(|writer| {
                assert!(writer.transport_feedback(1, 2, 3, 0, 0, &packets));
            });
            assert_eq!(bytes[20..22], *chunks, "{name}");
        }
    }

    #[test]
    fn lists_that_cannot_be_expressed_are_not_written() {
        for (name, packets) in [
            ("empty", &[][..]),
            ("descending", &[(5, Some(0)), (4, Some(0)), (9, Some(0))]),
            ("repeating", &[(5, Some(0)), (5, Some(0))]),
            ("too far apart", &[(5, Some(0)), (6, Some(8_192_000))]),
            ("too far from the reference time", &[(5, Some(9_000_000))]),
            ("65,536 packets", &[(5, Some(0)), (4, Some(0))]),
        ] {
            let bytes = written(|writer| {
                assert!(!writer.transport_feedback(1, 2, 3, 5, 0, packets), "{name}");
            });
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn a_negative_reference_time_keeps_its_sign() {
        let packets = [(7, Some(-64_000 + 250))];
        let bytes = written(|writer| {
            assert!(writer.transport_feedback(1, 2, 255, 7, -1, &packets));
        });
        let Packet::TransportFeedback(feedback) = only(&bytes) else { panic!() };
        assert_eq!((feedback.reference_time, feedback.feedback_count), (-1, 255));
        assert!(feedback.arrivals().eq(packets));
    }

    proptest! {
        #[test]
        fn arrivals_are_read_as_written(
            base_seq: u16,
            reference_time in -1000i32..1_000_000,
            steps in prop::collection::vec(
                (
                    prop_oneof![8 => 1u16..2, 2 => 1u16..4, 1 => 1u16..500],
                    prop_oneof![
                        6 => (0i64..60_000).prop_map(Some),
                        1 => (-8_000_000i64..8_000_000).prop_map(Some),
                        2 => Just(None),
                    ],
                ),
                1..130,
            ),
        ) {
            let mut at_us = i64::from(reference_time) * 64_000;
            let mut seq = base_seq.wrapping_sub(1);
            let packets: Vec<(u16, Option<i64>)> = steps
                .into_iter()
                .map(|(step, delta_us)| {
                    seq = seq.wrapping_add(step);
                    (seq, delta_us.map(|delta_us| {
                        at_us += delta_us;
                        at_us
                    }))
                })
                .collect();
            let bytes = written(|writer| {
                assert!(writer.transport_feedback(1, 2, 3, base_seq, reference_time, &packets));
            });
            let Packet::TransportFeedback(feedback) = only(&bytes) else { panic!() };
            prop_assert_eq!(
                (feedback.sender, feedback.media, feedback.feedback_count),
                (1, 2, 3)
            );
            prop_assert_eq!((feedback.base_seq, feedback.reference_time), (base_seq, reference_time));

            // Every packet in between was lost.
            let mut expected = packets.iter().peekable();
            for (seq, at_us) in feedback.arrivals() {
                let listed = expected.next_if(|(listed, _)| *listed == seq);
                let listed_us = listed.and_then(|(_, at_us)| *at_us);
                prop_assert_eq!(at_us, listed_us.map(|at_us| at_us.div_euclid(250) * 250));
            }
            prop_assert!(expected.next().is_none());
        }
    }

    fn body(status_count: u16, list: &[u8]) -> Vec<u8> {
        let count = status_count.to_be_bytes();
        [&[0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe], &count[..], &[0, 0, 5, 6], list].concat()
    }
}
