//! What was sent lately, by transport-wide sequence number, until the viewer has reported on it?

use crate::prefetch::Prefetch;

/// A packet that was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentEntry {
    /// When, in microseconds; the low 32 bits (71 minutes).
    pub(super) at_us: u32,
    /// Bytes of the RTP packet.
    pub(super) bytes: u16,
    /// The probe that it belongs to; 0: none.
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

/// What a report says of a packet for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    /// It did not come, so far.
    Lost(SentEntry),
    /// It came. `was_lost`: a report before said that it had not.
    Received(SentEntry, bool),
}

/// A ring that grows until it holds what is sent between a packet and the report on it.
#[derive(Debug)]
pub(super) struct SentRing {
    entries: Box<[SentEntry]>,
}

/// As many packets come at once, usually: a frame of 1.5 Mb/s.
const SOON: usize = 6;
/// … and are reported on at once: 100 ms of it.
const AT_ONCE: usize = 20;
const FIRST_ENTRIES: usize = 64;
/// 1.5 s of 30 Mb/s. Of older packets no report is believed.
const MOST_ENTRIES: usize = 4_096;
/// A report comes within two round trips of a bad line and the interval of reports.
const REPORTED_WITHIN_US: u32 = 1_500_000;

impl SentRing {
    pub(super) fn new() -> SentRing {
        SentRing { entries: vec![SentEntry::default(); FIRST_ENTRIES].into_boxed_slice() }
    }

    /// What is sent next will be remembered soon.
    pub(super) fn prefetch(&self, seq: u16, prefetch: Prefetch) {
        let next = self.slot(seq);
        prefetch.ask(&self.entries[next..(next + SOON).min(self.entries.len())]);
    }

    /// What was sent before `seq` will be reported on soon.
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

    /// A report names `seq`. `None` if that is no news, or the packet was never sent, or too long ago.
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
    fn a_packet_is_news_once_and_a_late_one_twice() {
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
    fn it_grows_as_long_as_reports_are_due_and_no_further() {
        let mut ring = SentRing::new();
        // 300 packets a second, never reported: 1.5 s of them.
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
