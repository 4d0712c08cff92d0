//! What was sent under which sequence number, so that it can be sent again?
//!
//! One ring per outgoing encoding. An entry leads from the outgoing number to the packet's
//! position in the track's log; the bytes are there, shared by everybody.

use std::time::{Duration, Instant};

use super::rewrite::Rewritten;

/// What was sent lately.
#[derive(Debug)]
pub struct History {
    entries: Box<[Entry]>,
    epoch_at: Instant,
    highest: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The index plus one; 0 marks an empty entry.
    index_plus_one: u64,
    position: u64,
    timestamp: u32,
    /// Milliseconds since `epoch_at` of the last time it was sent.
    sent_ms: u32,
    resends: u8,
    form: Form,
}

/// How a packet was written: all of a datagram that does not follow from the packet and its numbers.
///
/// Without RTX a packet is sent again under its own index, and that is only safe if it is the same to the byte
/// (threat T3), whatever was decided in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// Its payload type.
    pub payload_type: u8,
    /// Whether a RED payload was sent whole.
    pub with_red: bool,
    /// Whether its capture time was written.
    pub with_capture_time: bool,
}

/// The most times one packet is sent again (threat T13).
pub const MAX_RESENDS: u8 = 3;

/// A packet that may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its outgoing numbers.
    pub numbers: Rewritten,
    /// Where its bytes stand in the log.
    pub position: u64,
    /// How it was written.
    pub form: Form,
}

impl History {
    /// Remembers the last `entries` packets (a power of two).
    pub fn new(entries: usize, now: Instant) -> History {
        debug_assert!(entries.is_power_of_two());
        History { entries: vec![Entry::default(); entries].into_boxed_slice(), epoch_at: now, highest: 0 }
    }

    /// Whether nothing was sent under `index` yet. The last guard against sealing two packets under one nonce
    /// (threat T3): of what is older than the ring, nobody can tell, so the answer is no.
    pub fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        let in_reach = self.highest - index < self.entries.len() as u64;
        in_reach && self.entries[self.slot(index)].index_plus_one != index + 1
    }

    /// A packet was sent.
    pub fn sent(&mut self, now: Instant, numbers: Rewritten, position: u64, form: Form) {
        let sent_ms = self.ms(now);
        self.highest = self.highest.max(numbers.index);
        let slot = self.slot(numbers.index);
        self.entries[slot] = Entry {
            index_plus_one: numbers.index + 1,
            position,
            timestamp: numbers.timestamp,
            sent_ms,
            resends: 0,
            form,
        };
    }

    /// A viewer misses sequence number `seq`. Returns what to send again, unless it was sent less than
    /// `rtt` ago (then the answer is still on its way), too often, or too long ago to know.
    pub fn missing(&mut self, now: Instant, seq: u16, rtt: Duration) -> Option<Sent> {
        let index = self.nearest_index(seq)?;
        let now_ms = self.ms(now);
        let slot = self.slot(index);
        let entry = &mut self.entries[slot];
        if entry.index_plus_one != index + 1 || entry.resends >= MAX_RESENDS {
            return None;
        }
        let since = Duration::from_millis(u64::from(now_ms.wrapping_sub(entry.sent_ms)));
        // The first request is always honoured: reordering on our side of the path cannot happen.
        if entry.resends > 0 && since < rtt {
            return None;
        }
        entry.resends += 1;
        entry.sent_ms = now_ms;
        Some(Sent {
            numbers: Rewritten { index, timestamp: entry.timestamp },
            position: entry.position,
            form: entry.form,
        })
    }

    /// The index at or below the highest one sent that ends in `seq`.
    fn nearest_index(&self, seq: u16) -> Option<u64> {
        let back = (self.highest as u16).wrapping_sub(seq);
        self.highest.checked_sub(u64::from(back))
    }

    fn slot(&self, index: u64) -> usize {
        (index as usize) & (self.entries.len() - 1)
    }

    fn ms(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch_at).as_millis() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn filled(count: u64) -> (History, Instant) {
        let now = Instant::now();
        let mut history = History::new(64, now);
        for n in 0..count {
            history.sent(now, Rewritten { index: 65_500 + n, timestamp: n as u32 }, 1_000 + n, Form::default());
        }
        (history, now)
    }

    #[test]
    fn a_missing_packet_is_found_across_the_wrap_of_sequence_numbers() {
        let (mut history, now) = filled(50);
        let sent = history.missing(now, 65_510, RTT).expect("below the wrap");
        assert_eq!((sent.position, sent.numbers.timestamp), (1_010, 10));
        let sent = history.missing(now, 3, RTT).expect("above the wrap");
        assert_eq!(sent.numbers.index, 65_536 + 3);
    }

    #[test]
    fn an_index_is_new_once() {
        let now = Instant::now();
        let mut history = History::new(64, now);
        for index in [100, 101, 103] {
            assert!(history.is_new(index));
            history.sent(now, Rewritten { index, timestamp: 0 }, index, Form::default());
        }
        assert!(!history.is_new(101) && !history.is_new(103));
        assert!(history.is_new(102), "late, but never sent");
        assert!(history.is_new(104));
        assert!(!history.is_new(39), "older than the ring");
    }

    #[test]
    fn what_is_too_old_or_was_never_sent_is_not_found() {
        let (mut history, now) = filled(100);
        assert_eq!(history.missing(now, 65_500, RTT), None);
        assert_eq!(history.missing(now, 30_000, RTT), None);
        assert_eq!(History::new(64, now).missing(now, 7, RTT), None);
    }

    #[test]
    fn a_packet_is_sent_again_once_per_round_trip_and_a_few_times_at_most() {
        let (mut history, now) = filled(10);
        let times = (0..1_000).filter(|&ms| history.missing(now + Duration::from_millis(ms), 65_505, RTT).is_some());
        assert_eq!(times.collect::<Vec<_>>(), [0, 40, 80]);
    }
}
