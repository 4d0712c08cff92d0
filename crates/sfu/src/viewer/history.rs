//! What was sent under which sequence number, so that it can be sent again?
//!
//! One ring per outgoing encoding. An entry leads from the outgoing number to the packet's
//! position in the track's log; the bytes are there, shared by everybody. A ring begins small and grows
//! until it reaches back [`REACH_MS`]: 24 bytes for each packet, times every viewer, is memory worth minding.

use std::time::Duration;

use super::lossy::Playout;
use super::rewrite::Rewritten;
use crate::layers::continuity::Shift;
use crate::prefetch::Prefetch;

/// What was sent lately.
#[derive(Debug)]
pub struct History {
    entries: Box<[Entry]>,
    most: usize,
    highest: u64,
    /// Of what lies below this, nobody can tell whether it was sent.
    known_from: u64,
}

/// 24 bytes. What a field leaves out is known from where the entry stands, or from when it is asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The index without the bits that choose the slot. 32 bits tell 2^40 packets of the smallest ring apart.
    lap: u32,
    /// The low half of the position: the log never keeps 2^32 packets.
    position: u32,
    timestamp: u32,
    /// Milliseconds of the viewer's time when it was sent last, modulo 65.5 s.
    sent_ms: u16,
    transport_seq: u16,
    /// Seven bits, and above them the third bit of how often it was sent again.
    payload_type_and_resends: u8,
    /// Two bits: how often it was sent again. Six bits: [`PacketForm::descriptor`].
    resends_and_descriptor: u8,
    flags: u8,
    shift: Shift,
    /// One more than [`PacketForm::playout`]; 0 if there is none.
    playout: u8,
}

const IN_USE: u8 = 1;
const WITH_RED: u8 = 2;
const WITH_CAPTURE_TIME: u8 = 4;
const WITH_TRANSPORT_SEQ: u8 = 8;
/// Two bits: the encoding, below [`media::packet::MAX_ENCODINGS`].
const ENCODING_AT: u32 = 4;
const ENCODING_MASK: u8 = 3;
const RESENDS_BITS: u8 = 2;
const LOW_RESENDS: u8 = (1 << RESENDS_BITS) - 1;
const PAYLOAD_TYPE_BITS: u8 = 7;
const PAYLOAD_TYPE: u8 = (1 << PAYLOAD_TYPE_BITS) - 1;
const WITH_MARKER: u8 = 64;
const EMPTY: u8 = 128;
/// Without a payload and with RED: a parameter set. RED is sound, and has none. Which one stands in place of
/// [`PacketForm::descriptor`], which codecs with parameter sets have no use for.
const PARAMETER_SET: u8 = EMPTY | WITH_RED;

/// Parameter sets are told apart by six bits.
const _: () = assert!(media::codec::parameter_sets::MAX_SETS <= 64);

impl Entry {
    fn is(&self, lap: u32) -> bool {
        self.flags & IN_USE != 0 && self.lap == lap
    }

    fn resends(&self) -> u8 {
        let low = self.resends_and_descriptor & LOW_RESENDS;
        low | (self.payload_type_and_resends >> PAYLOAD_TYPE_BITS) << RESENDS_BITS
    }

    fn set_resends(&mut self, resends: u8) {
        let high = (resends >> RESENDS_BITS) << PAYLOAD_TYPE_BITS;
        self.payload_type_and_resends = self.payload_type_and_resends & PAYLOAD_TYPE | high;
        self.resends_and_descriptor = self.resends_and_descriptor & !LOW_RESENDS | resends & LOW_RESENDS;
    }

    fn encoding(&self) -> u8 {
        (self.flags >> ENCODING_AT) & ENCODING_MASK
    }
}

/// How far back a ring is to reach: three round trips over a bad line, and what a browser waits for a repair.
const REACH_MS: u16 = 1_000;
/// As many packets come at once, usually: a frame of 1.5 Mb/s.
const SOON: usize = 6;
/// Entries that a ring begins with, a power of two: 1.6 s of 1.5 Mb/s.
const FIRST_ENTRIES: usize = 256;

/// How a packet was written: all of a datagram that does not follow from the packet and its numbers.
///
/// Without RTX a packet is sent again under its own index, and that is only safe if it is the same to the byte
/// (threat T3), whatever was decided in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketForm {
    /// Its payload type.
    pub payload_type: u8,
    /// The encoding in whose log it stands.
    pub encoding: u8,
    /// Whether a RED payload was sent whole.
    pub with_red: bool,
    /// Whether its capture time was written.
    pub with_capture_time: bool,
    /// Its transport-wide sequence number, if it has one.
    pub transport_seq: Option<u16>,
    /// Its marker bit.
    pub with_marker: bool,
    /// By how much the numbers in its payload were moved.
    pub shift: Shift,
    /// The least playout delay that was written in place of the publisher's.
    pub playout: Option<Playout>,
    /// What was sent behind its header.
    pub body: Body,
    /// How its Dependency Descriptor was changed ([`super::descriptors`]), 6 bits; 0 if it was sent without.
    pub descriptor: u8,
}

/// What of a packet was sent behind its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Body {
    /// Its payload.
    #[default]
    Payload,
    /// Nothing: it fills a gap.
    Empty,
    /// Not the packet itself, but one of the parameter sets that stand before it: [`Packet::sets`](media::Packet).
    ParameterSet(u8),
}

/// The most times one packet is sent again (threat T13). libwebrtc asks ten times. With three times
/// and 10 % loss, one of 1,000 lost packets is never repaired: one in 7 s of 1.5 Mb/s.
pub const MAX_RESENDS: u8 = 7;

/// A packet that may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPacket {
    /// Its outgoing numbers.
    pub numbers: Rewritten,
    /// Where its bytes stand in the log.
    pub position: u64,
    /// How it was written.
    pub form: PacketForm,
    /// How often it was sent again, this time included.
    pub resends: u8,
}

impl History {
    /// Remembers about the last second of packets, at most `most` (a power of two).
    pub fn new(most: usize) -> History {
        debug_assert!(most.is_power_of_two());
        let entries = vec![Entry::default(); most.min(FIRST_ENTRIES)].into_boxed_slice();
        History { entries, most, highest: 0, known_from: 0 }
    }

    /// Whether nothing was sent under `index` yet. The last guard against sealing two packets under one nonce
    /// (threat T3): of what is older than the ring, nobody can tell, so the answer is no.
    pub fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let in_reach = self.highest - index < self.entries.len() as u64 && index >= self.known_from;
        in_reach && !self.entries[self.slot(index)].is(self.lap(index))
    }

    /// The next packets of these will be remembered soon.
    pub fn prefetch(&self, prefetch: Prefetch) {
        let next = self.slot(self.highest + 1);
        prefetch.ask(&self.entries[next..(next + SOON).min(self.entries.len())]);
    }

    /// A packet was sent, `now_us` microseconds after the viewer came.
    pub fn on_sent(&mut self, now_us: u64, numbers: Rewritten, position: u64, form: PacketForm) {
        let sent_ms = ms(now_us);
        self.highest = self.highest.max(numbers.index);
        let mut slot = self.slot(numbers.index);
        let displaced = &self.entries[slot];
        let age_ms = sent_ms.wrapping_sub(displaced.sent_ms);
        if displaced.flags & IN_USE != 0 && age_ms < REACH_MS && self.entries.len() < self.most {
            self.grow();
            slot = self.slot(numbers.index);
        }
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let (body, six_bits) = match form.body {
            Body::Payload => (flag(form.with_red, WITH_RED), form.descriptor),
            Body::Empty => (EMPTY, form.descriptor),
            Body::ParameterSet(place) => (PARAMETER_SET, place),
        };
        self.entries[slot] = Entry {
            lap: self.lap(numbers.index),
            position: position as u32,
            timestamp: numbers.timestamp,
            sent_ms,
            transport_seq: form.transport_seq.unwrap_or_default(),
            payload_type_and_resends: form.payload_type & PAYLOAD_TYPE,
            resends_and_descriptor: six_bits << RESENDS_BITS,
            flags: IN_USE
                | (form.encoding & ENCODING_MASK) << ENCODING_AT
                | flag(form.with_marker, WITH_MARKER)
                | body
                | flag(form.with_capture_time, WITH_CAPTURE_TIME)
                | flag(form.transport_seq.is_some(), WITH_TRANSPORT_SEQ),
            shift: form.shift,
            playout: form.playout.map_or(0, |playout| playout.0.saturating_add(1)),
        };
    }

    /// A viewer misses sequence number `seq`. Returns what to send again, unless it was sent less than
    /// `rtt` ago (then the answer is still on its way), too often, or too long ago to know. `log_end`: the position that the
    /// log of an encoding will give out next.
    pub fn on_nack(
        &mut self,
        now_us: u64,
        seq: u16,
        rtt: Duration,
        log_end: impl FnOnce(u8) -> u64,
    ) -> Option<SentPacket> {
        let index = self.nearest_index(seq)?;
        let now_ms = ms(now_us);
        let lap = self.lap(index);
        let slot = self.slot(index);
        let entry = &mut self.entries[slot];
        if !entry.is(lap) || entry.resends() >= MAX_RESENDS {
            return None;
        }
        let since = Duration::from_millis(u64::from(now_ms.wrapping_sub(entry.sent_ms)));
        // The first request is always honoured: reordering on our side of the path cannot happen.
        if entry.resends() > 0 && since < rtt {
            return None;
        }
        entry.set_resends(entry.resends() + 1);
        entry.sent_ms = now_ms;
        Self::as_sent(entry, index, log_end(entry.encoding()))
    }

    /// The packet that was sent `back` packets before the newest, if it is known. It does not count as sent again.
    pub fn newest(&self, back: u64, log_end: impl FnOnce(u8) -> u64) -> Option<SentPacket> {
        let index = self.highest.checked_sub(back).filter(|_| back < self.entries.len() as u64)?;
        let entry = &self.entries[self.slot(index)];
        if !entry.is(self.lap(index)) {
            return None;
        }
        Self::as_sent(entry, index, log_end(entry.encoding()))
    }

    fn as_sent(entry: &Entry, index: u64, log_end: u64) -> Option<SentPacket> {
        let back = (log_end as u32).wrapping_sub(entry.position);
        let six_bits = entry.resends_and_descriptor >> RESENDS_BITS;
        let body = match entry.flags & PARAMETER_SET {
            PARAMETER_SET => Body::ParameterSet(six_bits),
            EMPTY => Body::Empty,
            _ => Body::Payload,
        };
        Some(SentPacket {
            numbers: Rewritten { index, timestamp: entry.timestamp },
            position: log_end.checked_sub(u64::from(back))?,
            resends: entry.resends(),
            form: PacketForm {
                payload_type: entry.payload_type_and_resends & PAYLOAD_TYPE,
                encoding: entry.encoding(),
                with_red: body == Body::Payload && entry.flags & WITH_RED != 0,
                with_capture_time: entry.flags & WITH_CAPTURE_TIME != 0,
                transport_seq: (entry.flags & WITH_TRANSPORT_SEQ != 0).then_some(entry.transport_seq),
                with_marker: entry.flags & WITH_MARKER != 0,
                shift: entry.shift,
                playout: entry.playout.checked_sub(1).map(Playout),
                body,
                descriptor: if matches!(body, Body::ParameterSet(_)) { 0 } else { six_bits },
            },
        })
    }

    /// The index at or below the highest one sent that ends in `seq`, if the ring reaches back to it.
    fn nearest_index(&self, seq: u16) -> Option<u64> {
        let back = u64::from((self.highest as u16).wrapping_sub(seq));
        self.highest.checked_sub(back).filter(|_| back < self.entries.len() as u64)
    }

    /// Doubles the ring. What it remembered stays; what it had forgotten stays unknown.
    fn grow(&mut self) {
        let larger = vec![Entry::default(); self.entries.len() * 2].into_boxed_slice();
        let old = std::mem::replace(&mut self.entries, larger);
        let old_len = old.len() as u64;
        self.known_from = self.known_from.max((self.highest + 1).saturating_sub(old_len));
        for index in self.known_from..=self.highest {
            let entry = old[(index % old_len) as usize];
            if entry.is((index / old_len) as u32) {
                self.entries[self.slot(index)] = Entry { lap: self.lap(index), ..entry };
            }
        }
    }

    fn slot(&self, index: u64) -> usize {
        (index as usize) & (self.entries.len() - 1)
    }

    fn lap(&self, index: u64) -> u32 {
        (index >> self.entries.len().trailing_zeros()) as u32
    }
}

fn ms(us: u64) -> u16 {
    (us / 1_000) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    /// The log's end in these tests: `filled` put packet n at 1,000 + n.
    const END: u64 = 1_200;

    /// When tests begin, in microseconds: milliseconds of 16 bits wrap soon after.
    const NOW: u64 = 65_500_000;

    fn filled(count: u64) -> History {
        let mut history = History::new(64);
        for n in 0..count {
            history.on_sent(
                NOW,
                Rewritten { index: 65_500 + n, timestamp: n as u32 },
                1_000 + n,
                PacketForm::default(),
            );
        }
        history
    }

    #[test]
    fn a_missing_packet_is_found_across_the_wrap_of_sequence_numbers() {
        let mut history = filled(50);
        let sent = history.on_nack(NOW, 65_510, RTT, |_| END).expect("below the wrap");
        assert_eq!((sent.position, sent.numbers.timestamp), (1_010, 10));
        let sent = history.on_nack(NOW, 3, RTT, |_| END).expect("above the wrap");
        assert_eq!(sent.numbers.index, 65_536 + 3);
    }

    #[test]
    fn an_index_is_new_once() {
        let mut history = History::new(64);
        for index in [100, 101, 103] {
            assert!(history.is_new(index));
            history.on_sent(NOW, Rewritten { index, timestamp: 0 }, index, PacketForm::default());
        }
        assert!(!history.is_new(101) && !history.is_new(103));
        assert!(history.is_new(102), "late, but never sent");
        assert!(history.is_new(104));
        assert!(!history.is_new(39), "older than the ring");
    }

    #[test]
    fn what_is_too_old_or_was_never_sent_is_not_found() {
        let mut history = filled(100);
        assert_eq!(history.on_nack(NOW, 65_500, RTT, |_| END), None);
        assert_eq!(history.on_nack(NOW, 30_000, RTT, |_| END), None);
        assert_eq!(History::new(64).on_nack(NOW, 7, RTT, |_| END), None);
    }

    #[test]
    fn a_packet_is_sent_again_once_per_round_trip_and_a_few_times_at_most() {
        let mut history = filled(10);
        let at = |ms: u64| NOW + ms * 1_000;
        let times = (0..1_000).filter(|&ms| history.on_nack(at(ms), 65_505, RTT, |_| END).is_some());
        assert_eq!(times.collect::<Vec<_>>(), [0, 40, 80, 120, 160, 200, 240]);
    }

    #[test]
    fn a_ring_grows_while_it_does_not_reach_back_a_second_and_remembers_what_it_knew() {
        let form = PacketForm {
            payload_type: 96,
            encoding: 2,
            with_red: true,
            with_capture_time: false,
            transport_seq: Some(40_000),
            with_marker: true,
            shift: Shift { picture_id: 0x7ffe, base_index: 200, key_index: 31 },
            playout: Some(Playout(30)),
            descriptor: 63,
            body: Body::Payload,
        };
        let set = PacketForm { with_red: false, descriptor: 0, body: Body::ParameterSet(63), ..form };
        let empty = PacketForm { with_red: false, body: Body::Empty, ..form };
        let form = |n: u64| [form, set, empty][n as usize % 3];
        // 2,000 packets a second need the ring of 2,048; 200 do not fill that of 256.
        for (per_second, most, entries) in
            [(200, 2_048, 256), (1_000, 2_048, 1_024), (2_000, 2_048, 2_048), (2_000, 512, 512)]
        {
            let mut history = History::new(most);
            for n in 0..4_000_u64 {
                let at = NOW + 1_000_000 / per_second * n;
                assert!(history.is_new(n));
                history.on_sent(at, Rewritten { index: n, timestamp: n as u32 }, (1 << 32) - 1_000 + n, form(n));
                assert!(!history.is_new(n) && !history.is_new(n / 2) && !history.is_new(n.saturating_sub(255)));
            }
            assert_eq!(history.entries.len(), entries, "{per_second} packets a second");
            let end = (1 << 32) + 3_000;
            for n in 4_000 - entries as u64..4_000 {
                let sent = history.on_nack(NOW + 30_000_000, n as u16, RTT, |_| end);
                let numbers = Rewritten { index: n, timestamp: n as u32 };
                assert_eq!(
                    sent,
                    Some(SentPacket { numbers, position: (1 << 32) - 1_000 + n, form: form(n), resends: 1 }),
                    "{n}"
                );
            }
        }
    }

    #[test]
    fn what_was_forgotten_before_the_ring_grew_is_not_new() {
        let mut history = History::new(2_048);
        for index in 0..300 {
            history.on_sent(NOW, Rewritten { index, timestamp: 0 }, index, PacketForm::default());
        }
        assert_eq!(history.entries.len(), 512);
        assert!((0..300).all(|index| !history.is_new(index)));
    }
}
