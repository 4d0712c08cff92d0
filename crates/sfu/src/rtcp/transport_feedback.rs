//! When did packets arrive, by transport-wide sequence number
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1)?
//!
//! A packet lists a status for each of up to 65,535 sequence numbers, run-length coded or as bit
//! vectors, and behind them the time between arrivals for those that arrived.
//! [`TransportFeedback::parse`] walks the whole list once, in steps of chunks, so that iterating later
//! cannot fail. Beware that 16 bytes can list 65,535 lost packets: look at
//! [`TransportFeedback::status_count`] before walking the list.

use super::compound::Reader;
use super::packet_type;
use super::writer::{Out, Writer};

/// The arrival times of a range of packets.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'a> {
    /// Who received them.
    pub sender: u32,
    /// An SSRC that sent some of them.
    pub media: u32,
    /// Counts feedback packets, wrapping.
    pub feedback_count: u8,
    /// The first sequence number listed.
    pub base_seq: u16,
    /// How many sequence numbers are listed; at least one.
    pub status_count: u16,
    /// Where the time of the first arrival is counted from, in 64 ms of the receiver's own clock;
    /// 24 bits, signed, wrapping.
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
            chunk: Chunk {
                symbols: Symbols::Run(Symbol::NotReceived),
                len: 0,
            },
            chunks: self.chunks.iter(),
            deltas: Reader(self.deltas),
        }
    }

    /// Returns every listed sequence number with its time of arrival in µs of the receiver's own
    /// clock, counted like [`TransportFeedback::reference_time`]; `None` if it did not arrive.
    pub fn arrivals(&self) -> Arrivals<'a> {
        Arrivals {
            deltas: self.deltas(),
            at_us: reference_us(self.reference_time),
        }
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

/// What became of one packet (§3.1.1).
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

    /// Returns how long its delta is; `None` for the reserved one, which nobody can read.
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
    /// How many are left; those beyond the status count are not there.
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
        Chunk {
            symbols,
            len: len.min(left),
        }
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

    /// Returns how long the deltas of all its symbols are; `None` if one is reserved.
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
    /// Taken from the packets, and not reached yet.
    next: Option<(u16, Option<i64>)>,
    seq: u16,
    left: u16,
    /// Of the last arrival.
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
        Some((
            if (0..=255).contains(&delta) {
                Symbol::SmallDelta
            } else {
                Symbol::LargeDelta
            },
            delta,
        ))
    }
}

/// Writes the densest chunk that fits what comes next, again and again.
fn write_chunks(mut statuses: Statuses<'_>, out: &mut Out<'_>) -> Option<()> {
    while statuses.left > 0 {
        let mut ahead = statuses.clone().map(|(symbol, _)| symbol).take(MAX_RUN);
        let first = ahead.next()?;
        let run = ahead
            .take_while(|&symbol| symbol == first)
            .count()
            .checked_add(1)?;
        let window = statuses.clone().map(|(symbol, _)| symbol).take(14);
        let has_large = window.clone().any(|symbol| symbol == Symbol::LargeDelta);

        let (word, len) = if run >= if has_large { 7 } else { 14 } {
            ((first.bits() << 13) | u16::try_from(run).ok()?, run)
        } else if has_large {
            let bits = window.take(7).enumerate().fold(0, |bits, (at, symbol)| {
                bits | (symbol.bits() << 12 >> (2 * at))
            });
            (0xc000 | bits, 7)
        } else {
            let bits = window
                .enumerate()
                .fold(0, |bits, (at, symbol)| bits | (symbol.bits() << 13 >> at));
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
