//! Which packets were sent recently, by transport-wide sequence number, until the viewer reports on
//! them?

use crate::prefetch::Prefetch;

/// A packet that was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentEntry {
    /// Departure in microseconds; the low 32 bits (71 minutes).
    pub(super) at_us: u32,
    /// Size of the RTP packet in bytes.
    pub(super) bytes: u16,
    /// Number of the probe that the packet belongs to; 0: none.
    pub(super) probe: u8,
    state: State,
    seq: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Unknown,
    Lost,
    Received,
}

/// The first report on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    /// The packet has not arrived so far.
    Lost(SentEntry),
    /// The packet arrived. `true`: an earlier report listed it as lost.
    Received(SentEntry, bool),
}

/// A ring that grows until it holds all packets between departure and report.
#[derive(Debug)]
pub(super) struct SentRing {
    entries: Box<[SentEntry]>,
}

/// Typical number of packets in a frame of 1.5 Mb/s.
const SOON: usize = 6;
/// Typical number of packets in one report: 100 ms of 1.5 Mb/s.
const AT_ONCE: usize = 20;
const FIRST_ENTRIES: usize = 64;
/// Capacity: 1.5 s of 30 Mb/s. Reports on older packets are ignored.
const MOST_ENTRIES: usize = 4_096;
/// Longest time until a report: two round trips of a bad path, and the interval of reports.
const REPORTED_WITHIN_US: u32 = 1_500_000;

impl SentRing {
    pub(super) fn new() -> SentRing {
        SentRing { entries: vec![SentEntry::default(); FIRST_ENTRIES].into_boxed_slice() }
    }

    /// Prefetches the slots of the packets that are sent next.
    pub(super) fn prefetch(&self, seq: u16, prefetch: Prefetch) {
        let next = self.slot(seq);
        prefetch.ask(&self.entries[next..(next + SOON).min(self.entries.len())]);
    }

    /// Prefetches the slots of the packets before `seq`, which will be reported soon.
    pub(super) fn prefetch_before(&self, seq: u16, prefetch: Prefetch) {
        let end = self.slot(seq);
        prefetch.ask(&self.entries[end.saturating_sub(AT_ONCE)..end]);
    }

    pub(super) fn push(&mut self, seq: u16, at_us: u32, bytes: u16, probe: u8) {
        let old = self.entries[self.slot(seq)];
        let waits = old.state == State::Unknown && at_us.wrapping_sub(old.at_us) < REPORTED_WITHIN_US;
        if waits && self.entries.len() < MOST_ENTRIES {
            self.grow();
        }
        let slot = self.slot(seq);
        self.entries[slot] = SentEntry { at_us, bytes, probe, state: State::Unknown, seq };
    }

    /// Takes a report on `seq`. Returns `None` if it says nothing new, or the packet was never
    /// sent, or was sent too long ago.
    pub(super) fn on_report(&mut self, seq: u16, is_received: bool) -> Option<Receipt> {
        let slot = self.slot(seq);
        let entry = &mut self.entries[slot];
        if entry.seq != seq {
            return None;
        }
        match (entry.state, is_received) {
            (State::Unknown, false) => {
                entry.state = State::Lost;
                Some(Receipt::Lost(*entry))
            }
            (State::Unknown | State::Lost, true) => {
                let was_lost = entry.state == State::Lost;
                entry.state = State::Received;
                Some(Receipt::Received(*entry, was_lost))
            }
            _ => None,
        }
    }

    fn grow(&mut self) {
        let larger = vec![SentEntry::default(); self.entries.len() * 2].into_boxed_slice();
        for entry in std::mem::replace(&mut self.entries, larger) {
            if entry.state != State::Empty {
                let slot = self.slot(entry.seq);
                self.entries[slot] = entry;
            }
        }
    }

    fn slot(&self, seq: u16) -> usize {
        usize::from(seq) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_is_reported_once_and_a_late_one_twice() {
        let mut ring = SentRing::new();
        ring.push(65_535, 7, 1_200, 3);
        assert!(matches!(
            ring.on_report(65_535, true),
            Some(Receipt::Received(SentEntry { at_us: 7, probe: 3, .. }, false))
        ));
        assert_eq!(ring.on_report(65_535, true), None);
        ring.push(0, 9, 100, 0);
        assert!(matches!(ring.on_report(0, false), Some(Receipt::Lost(_))));
        assert_eq!(ring.on_report(0, false), None);
        assert!(matches!(ring.on_report(0, true), Some(Receipt::Received(_, true))));
        assert_eq!(ring.on_report(64, true), None, "another lap");
        assert_eq!(ring.on_report(5, true), None, "never sent");
    }

    #[test]
    fn ring_grows_while_reports_are_due_and_no_further() {
        let mut ring = SentRing::new();
        // 300 packets per second without a report: 1.5 s of them are kept.
        for n in 0..100_000_u32 {
            ring.push(n as u16, n * 3_333, 1_200, 0);
        }
        assert_eq!(ring.entries.len(), 512);
        assert_eq!(size_of::<SentEntry>(), 12);
        let mut ring = SentRing::new();
        for n in 0..100_000_u32 {
            ring.push(n as u16, n, 1_200, 0);
        }
        assert_eq!(ring.entries.len(), MOST_ENTRIES);
    }
}
