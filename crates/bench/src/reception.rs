//! Which video packets did one viewer receive, which are missing, and when does it request them?
//!
//! Sequence numbers are extended by [`SeqUnwrapper`]. A gap is asked for at once (browsers do so
//! when the next packet comes), then every [`NACK_INTERVAL`] up to [`MAX_NACKS`] times; after
//! [`GIVE_UP`] the packet counts as lost, and a key frame is asked for.

use std::time::{Duration, Instant};

use media::codec::{Description, KeyFrameStart};
use media::seq::SeqUnwrapper;

/// What one viewer has got.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    unwrapper: SeqUnwrapper,
    /// Sequence number of the first packet.
    first: Option<u64>,
    picture: FirstPicture,
    /// The server sends a packet that is asked for once more as it was, not on a flow of its own.
    is_repaired_in_place: bool,
    highest: u64,
    last_at: Option<Instant>,
    missing: Vec<Missing>,
    pub(crate) counted: Counted,
    key_frame_wanted: bool,
    /// At the last report: packets expected and received.
    reported: (u64, u64),
}

/// Numbers since the beginning, but for the silence, which is since [`Reception::forget_silence`].
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counted {
    /// Packets that came the first way, without duplicates.
    pub(crate) packets: u64,
    /// Bytes of their datagrams.
    pub(crate) bytes: u64,
    /// Packets that were overtaken or lost.
    pub(crate) gaps: u64,
    /// Of these: came late the first way.
    pub(crate) late: u64,
    /// Of these: came by retransmission.
    pub(crate) repaired: u64,
    /// Of these: within [`IN_TIME`] after they were missed.
    pub(crate) repaired_in_time: u64,
    /// Of these: never came.
    pub(crate) lost: u64,
    /// Came twice.
    pub(crate) duplicates: u64,
    /// Thrown away by us, as a bad network does; no part of `packets`.
    pub(crate) dropped: u64,
    /// Times a packet was asked for.
    pub(crate) nacks: u64,
    /// Key frames asked for.
    pub(crate) plis: u64,
    /// Transport-wide feedback packets sent.
    pub(crate) feedbacks: u64,
    /// The longest time without a packet.
    pub(crate) longest_silence: Duration,
}

impl Counted {
    /// Adds what another viewer counted.
    pub(crate) fn add(&mut self, other: &Counted) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.gaps += other.gaps;
        self.late += other.late;
        self.repaired += other.repaired;
        self.lost += other.lost;
        self.repaired_in_time += other.repaired_in_time;
        self.duplicates += other.duplicates;
        self.dropped += other.dropped;
        self.nacks += other.nacks;
        self.plis += other.plis;
        self.feedbacks += other.feedbacks;
        self.longest_silence = self.longest_silence.max(other.longest_silence);
    }

    /// Returns the difference of the counters to `before`, except for the longest silence.
    pub(crate) fn since(&self, before: &Counted) -> Counted {
        Counted {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            gaps: self.gaps - before.gaps,
            late: self.late - before.late,
            repaired: self.repaired - before.repaired,
            lost: self.lost - before.lost,
            repaired_in_time: self.repaired_in_time - before.repaired_in_time,
            duplicates: self.duplicates - before.duplicates,
            dropped: self.dropped - before.dropped,
            nacks: self.nacks - before.nacks,
            plis: self.plis - before.plis,
            feedbacks: self.feedbacks - before.feedbacks,
            longest_silence: self.longest_silence,
        }
    }
}

/// What a packet of the first way was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one, or one that was overtaken.
    New,
    /// It leaves something to ask for.
    Gap,
    /// It came because it was asked for.
    Repair,
    Duplicate,
}

/// The first picture from which a decoder can start.
#[derive(Debug, Default)]
struct FirstPicture {
    starts: KeyFrameStart,
    /// Its timestamp and its first packet.
    begun: Option<(u32, u64)>,
    last_seq: Option<u64>,
    /// Timestamp and place of the last marker: it may overtake the packet that proves the
    /// beginning.
    marker: Option<(u32, u64)>,
    is_complete: bool,
}

#[derive(Debug)]
struct Missing {
    seq: u64,
    since: Instant,
    ask_at: Instant,
    asked: u32,
}

/// libwebrtc asks again after a round trip, at least 20 ms (`nack_requester.cc`), and at most 10
/// times.
const NACK_INTERVAL: Duration = Duration::from_millis(100);
const MAX_NACKS: u32 = 10;
/// A repair that arrives within this time is counted as in time. A guess: players buffer about this
/// much.
const IN_TIME: Duration = Duration::from_millis(200);
/// A second late is lost: no player waits longer.
const GIVE_UP: Duration = Duration::from_secs(1);
/// More than this at once is no gap but another beginning.
const MAX_GAP: u64 = 2_000;

impl Reception {
    /// For a server that has agreed to no flow of its own for retransmissions: what comes late was
    /// sent once more.
    pub(crate) fn repaired_in_place() -> Reception {
        Reception { is_repaired_in_place: true, ..Reception::default() }
    }

    /// Records a packet that arrived without retransmission.
    pub(crate) fn arrived(&mut self, now: Instant, seq: u16, len_bytes: usize) -> Arrival {
        let seq = self.unwrapper.extend(seq);
        if let Some(last_at) = self.last_at.replace(now) {
            let silence = now.saturating_duration_since(last_at);
            self.counted.longest_silence = self.counted.longest_silence.max(silence);
        }
        let is_first = self.first.is_none();
        self.first.get_or_insert(seq);
        let mut arrival = Arrival::New;
        if is_first || seq > self.highest {
            if !is_first && seq - self.highest <= MAX_GAP {
                for missing in self.highest + 1..seq {
                    self.missing.push(Missing { seq: missing, since: now, ask_at: now, asked: 0 });
                    self.counted.gaps += 1;
                    arrival = Arrival::Gap;
                }
            }
            self.highest = seq;
        } else if let Some(missed) = self.take(seq) {
            if self.is_repaired_in_place && missed.asked > 0 {
                self.count_repair(now, &missed);
                self.complete();
                return Arrival::Repair;
            }
            self.counted.late += 1;
        } else {
            self.counted.duplicates += 1;
            return Arrival::Duplicate;
        }
        self.counted.packets += 1;
        self.counted.bytes += len_bytes as u64;
        self.complete();
        arrival
    }

    /// Takes note of what a packet says that has arrived or was repaired: where does the first
    /// picture begin and end?
    pub(crate) fn described(&mut self, seq: u16, timestamp: u32, marker: bool, description: &Description) {
        let seq = self.unwrapper.guess(seq);
        let picture = &mut self.picture;
        if let Some(first) = picture.starts.observe(seq, timestamp, description)
            && picture.begun.is_none_or(|(begun, at)| begun == timestamp || first > at)
            && !picture.is_complete
        {
            // A later key frame takes the place of one that never became whole: a server that goes
            // on to a newer key frame leaves the rest of the older one out.
            if picture.begun.is_some_and(|(begun, _)| begun != timestamp) {
                picture.last_seq = None;
            }
            picture.begun = Some((timestamp, first));
        }
        if marker {
            picture.marker = Some((timestamp, seq));
        }
        if let (Some((begun, _)), Some((ended, last))) = (picture.begun, picture.marker)
            && begun == ended
        {
            picture.last_seq = Some(last);
        }
        self.complete();
    }

    /// Records a retransmission of `seq`. Returns whether the packet was missing.
    pub(crate) fn repaired(&mut self, now: Instant, seq: u16) -> bool {
        let seq = self.unwrapper.guess(seq);
        let missed = self.take(seq);
        match &missed {
            Some(missed) => self.count_repair(now, missed),
            None => self.counted.duplicates += 1,
        }
        self.complete();
        missed.is_some()
    }

    /// Gives up what has been missing for too long.
    pub(crate) fn give_up(&mut self, now: Instant) {
        let before = self.missing.len();
        self.missing.retain(|m| now < m.since + GIVE_UP);
        let lost = before - self.missing.len();
        self.counted.lost += lost as u64;
        self.key_frame_wanted |= lost > 0;
    }

    /// Returns whether a picture became irreparable since the last call.
    pub(crate) fn take_key_frame_wanted(&mut self) -> bool {
        std::mem::take(&mut self.key_frame_wanted)
    }

    /// Returns the packets to request now, at most 32.
    pub(crate) fn nacks(&mut self, now: Instant) -> Vec<u16> {
        self.give_up(now);
        let mut asked = Vec::new();
        for missing in self.missing.iter_mut().filter(|m| m.ask_at <= now && m.asked < MAX_NACKS).take(32) {
            missing.ask_at = now + NACK_INTERVAL;
            missing.asked += 1;
            asked.push(missing.seq as u16);
        }
        self.counted.nacks += asked.len() as u64;
        asked
    }

    /// Returns when the next request is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.missing.iter().map(|m| m.ask_at).min()
    }

    /// Returns whether a whole key frame has arrived.
    pub(crate) fn has_first_picture(&self) -> bool {
        self.picture.is_complete
    }

    /// Returns the fields of a receiver report: highest sequence number, share lost since the last
    /// report, and total of lost packets.
    pub(crate) fn report(&mut self) -> (u32, u8, i32) {
        let expected = self.first.map_or(0, |first| self.highest + 1 - first);
        let received = expected.saturating_sub(self.missing.len() as u64);
        let (expected_before, received_before) = std::mem::replace(&mut self.reported, (expected, received));
        let of = expected - expected_before;
        let lost = of.saturating_sub(received.saturating_sub(received_before));
        let fraction = (lost * 256).checked_div(of).unwrap_or(0).min(255) as u8;
        // The unwrapper begins one cycle up; a report counts cycles from 0.
        (self.highest.saturating_sub(1 << 16) as u32, fraction, self.missing.len() as i32)
    }

    /// Returns the counters. Packets that are still missing may yet arrive, and are not in
    /// `Counted::lost`.
    pub(crate) fn counted(&self, now: Instant) -> Counted {
        let silence = self.last_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        Counted { longest_silence: self.counted.longest_silence.max(silence), ..self.counted }
    }

    /// Measures the longest silence anew.
    pub(crate) fn forget_silence(&mut self) {
        self.counted.longest_silence = Duration::ZERO;
    }

    fn take(&mut self, seq: u64) -> Option<Missing> {
        let place = self.missing.iter().position(|m| m.seq == seq)?;
        Some(self.missing.swap_remove(place))
    }

    fn count_repair(&mut self, now: Instant, missed: &Missing) {
        self.counted.repaired += 1;
        let is_in_time = now.saturating_duration_since(missed.since) <= IN_TIME;
        self.counted.repaired_in_time += u64::from(is_in_time);
    }

    fn complete(&mut self) {
        let FirstPicture { begun, last_seq, is_complete, .. } = &mut self.picture;
        if let (false, Some((_, first)), Some(last)) = (*is_complete, *begun, *last_seq) {
            *is_complete = !self.missing.iter().any(|m| (first..=last).contains(&m.seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_and_repaired() {
        let now = Instant::now();
        let mut reception = Reception::default();
        assert_eq!(reception.arrived(now, 65_534, 100), Arrival::New);
        reception.described(65_534, 9, false, &KEY);
        assert_eq!(reception.arrived(now, 1, 100), Arrival::Gap);
        reception.described(1, 9, true, &INSIDE);
        assert_eq!(reception.nacks(now), [65_535, 0]);
        assert!(reception.nacks(now).is_empty(), "not again at once");
        assert!(!reception.has_first_picture());
        assert!(reception.repaired(now + IN_TIME, 0));
        assert!(!reception.repaired(now + IN_TIME, 0));
        assert_eq!(reception.arrived(now, 65_535, 100), Arrival::New);
        assert!(reception.has_first_picture());
        let counted = reception.counted(now);
        assert_eq!((counted.repaired_in_time, counted.nacks), (1, 2));
        assert_eq!((counted.gaps, counted.late, counted.repaired, counted.lost, counted.duplicates), (2, 1, 1, 0, 1));
    }

    #[test]
    fn what_was_asked_for_and_comes_as_it_was_is_a_repair() {
        let now = Instant::now();
        let mut reception = Reception::repaired_in_place();
        reception.arrived(now, 1, 100);
        reception.arrived(now, 4, 100);
        assert_eq!(reception.arrived(now, 3, 100), Arrival::New, "overtaken: nobody has asked yet");
        assert_eq!(reception.nacks(now), [2]);
        assert_eq!(reception.arrived(now + IN_TIME, 2, 100), Arrival::Repair);
        assert_eq!(reception.arrived(now + IN_TIME, 2, 100), Arrival::Duplicate);
        let Counted { packets, gaps, late, repaired, repaired_in_time, .. } = reception.counted(now);
        assert_eq!((packets, gaps, late, repaired, repaired_in_time), (3, 2, 1, 1, 1));
    }

    #[test]
    fn only_a_whole_key_frame_lets_a_viewer_see() {
        let now = Instant::now();
        let mut reception = Reception::default();
        let mut gets = |seq, timestamp, marker, description| {
            reception.arrived(now, seq, 100);
            reception.described(seq, timestamp, marker, description);
            reception.has_first_picture()
        };
        // The rest of a picture, a picture that needs others, and a key frame of which the last
        // packet comes before the first.
        assert!(!gets(10, 1, true, &INSIDE));
        assert!(!gets(11, 2, true, &Description { starts_frame: true, ..INSIDE }));
        assert!(!gets(13, 3, true, &INSIDE));
        assert!(gets(12, 3, false, &KEY));
    }

    #[test]
    fn a_key_frame_whose_end_never_comes_is_replaced_by_the_next_one() {
        let now = Instant::now();
        let mut reception = Reception::default();
        let mut gets = |seq, timestamp, marker, description| {
            reception.arrived(now, seq, 100);
            reception.described(seq, timestamp, marker, description);
            reception.has_first_picture()
        };
        assert!(!gets(10, 1, false, &KEY));
        assert!(!gets(11, 2, false, &KEY));
        assert!(!gets(12, 2, false, &INSIDE));
        assert!(gets(13, 2, true, &INSIDE));
    }

    #[test]
    fn what_never_comes_is_lost_after_a_second() {
        let now = Instant::now();
        let mut reception = Reception::default();
        reception.arrived(now, 1, 1);
        reception.arrived(now, 3, 1);
        let asked: usize = (0..12).map(|n| reception.nacks(now + NACK_INTERVAL * n).len()).sum();
        assert_eq!(asked, 10);
        assert_eq!(reception.counted(now).lost, 1);
        assert!(reception.take_key_frame_wanted());
        assert!(!reception.take_key_frame_wanted());
        assert_eq!(reception.poll_timeout(), None);
        assert_eq!(reception.report(), (3, 0, 0));
    }

    const INSIDE: Description =
        Description { starts_frame: false, key: false, parameter_sets: false, resolution: None, discardable: false };
    const KEY: Description = Description { starts_frame: true, key: true, ..INSIDE };
}
