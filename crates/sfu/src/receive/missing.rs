//! Which packets of an encoding are missing, and when is the sender asked for them again (RFC 4585
//! §6.2.1)?
//!
//! A gap in sequence numbers makes its packets missing. A missing packet is asked for
//! [`REORDERING`] after the gap was seen, then once a round trip, at most [`MAX_REQUESTS`] times.
//! Requests of an encoding leave in rounds of at least [`ROUND`], so that packets of one burst
//! share a request.
//!
//! At most [`MAX_MISSING`] packets are missing at a time. A gap that does not fit is not repaired
//! at all: a key frame costs less than the packets of such a gap, and viewers ask for one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Missing packets of one encoding, by sequence number.
#[derive(Debug, Default)]
pub(super) struct Missing {
    packets: VecDeque<Packet>,
    /// When the last round of requests was written.
    asked_at: Option<Instant>,
    /// When the next round is due; exact after each change.
    next: Option<Instant>,
    /// Packets that were given up, and packets that did not fit.
    pub(super) given_up: u64,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    seq: u64,
    /// When it may be asked for next.
    ask_at: Instant,
    requests: u8,
}

/// How long a gap may be reordering. A guess: packets of one burst that overtake each other are a
/// few ms apart. libwebrtc asks at once until it has seen reordering (`nack_requester.cc`); str0m
/// asks 0 to 33 ms after the gap.
const REORDERING: Duration = Duration::from_millis(5);
/// libwebrtc's `NackPeriodicProcessor::kUpdateInterval`.
const ROUND: Duration = Duration::from_millis(20);
/// libwebrtc's `kMaxNackRetries`.
const MAX_REQUESTS: u8 = 10;
/// libwebrtc's `kMaxNackPackets`. Less than what SRTP takes behind the newest packet (1,024).
pub(super) const MAX_MISSING: usize = 1_000;
/// libwebrtc's `kDefaultRtt`.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(100);
/// Packets of one request: at worst four bytes each, 800 of the [`super::MAX_RTCP_BYTES`] of a
/// datagram.
pub(super) const MAX_ASKED: usize = 200;

impl Missing {
    /// A packet came: the highest number was `highest` before, if there was one.
    pub(super) fn arrived(&mut self, now: Instant, highest: Option<u64>, seq: u64) {
        let Some(highest) = highest else { return };
        if seq <= highest {
            self.found(seq);
            return;
        }
        let gap = seq.saturating_sub(highest).saturating_sub(1);
        if gap == 0 {
            return;
        }
        let fits = usize::try_from(gap).is_ok_and(|gap| self.packets.len().saturating_add(gap) <= MAX_MISSING);
        if !fits {
            let lost = u64::try_from(self.packets.len()).unwrap_or_default();
            self.given_up = self.given_up.saturating_add(lost).saturating_add(gap);
            self.packets.clear();
            self.next = None;
            return;
        }
        let ask_at = now + REORDERING;
        let missing = highest.saturating_add(1)..seq;
        self.packets.extend(missing.map(|seq| Packet { seq, ask_at, requests: 0 }));
        let at = self.after_last_round(ask_at);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Forgets all packets: another flow begins.
    pub(super) fn reset(&mut self) {
        self.packets.clear();
        self.next = None;
    }

    /// Returns when [`Missing::ask`] has something to write.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.next
    }

    /// Puts the low 16 bits of the numbers to ask for now into `out`, ascending, at most
    /// [`MAX_ASKED`].
    pub(super) fn ask(&mut self, now: Instant, round_trip: Option<Duration>, out: &mut Vec<u16>) {
        out.clear();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.asked_at = Some(now);
        let again_at = now + round_trip.unwrap_or(DEFAULT_ROUND_TRIP);
        let mut given_up = 0_u64;
        let mut next: Option<Instant> = None;
        self.packets.retain_mut(|packet| {
            if packet.ask_at <= now && out.len() < MAX_ASKED {
                if packet.requests >= MAX_REQUESTS {
                    given_up = given_up.saturating_add(1);
                    return false;
                }
                packet.requests = packet.requests.saturating_add(1);
                packet.ask_at = again_at;
                let [.., high, low] = packet.seq.to_be_bytes();
                out.push(u16::from_be_bytes([high, low]));
            }
            next = Some(next.map_or(packet.ask_at, |next| next.min(packet.ask_at)));
            true
        });
        self.given_up = self.given_up.saturating_add(given_up);
        self.next = next.map(|next| self.after_last_round(next));
    }

    fn found(&mut self, seq: u64) {
        if let Ok(at) = self.packets.binary_search_by_key(&seq, |packet| packet.seq) {
            self.packets.remove(at);
            if self.packets.is_empty() {
                self.next = None;
            }
        }
    }

    fn after_last_round(&self, at: Instant) -> Instant {
        self.asked_at.map_or(at, |asked_at| at.max(asked_at + ROUND))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(40));

    /// Runs to `until` and returns what was asked for: ms and numbers.
    fn asked(missing: &mut Missing, start: Instant, until: u64) -> Vec<(u64, Vec<u16>)> {
        let mut asked = Vec::new();
        while let Some(at) = missing.due_at().filter(|at| *at <= start + Duration::from_millis(until)) {
            let mut out = Vec::new();
            missing.ask(at, RTT, &mut out);
            asked.push(((at - start).as_millis() as u64, out));
        }
        asked
    }

    #[test]
    fn a_lost_packet_is_asked_for_after_5_ms_and_once_a_round_trip_until_it_comes() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, Some(65_535), 65_538);
        assert_eq!(asked(&mut missing, start, 50), [(5, vec![0, 1]), (45, vec![0, 1])]);
        missing.arrived(start, Some(65_538), 65_536);
        assert_eq!(asked(&mut missing, start, 90), [(85, vec![1])]);
        missing.arrived(start, Some(65_538), 65_537);
        assert_eq!((missing.due_at(), missing.given_up), (None, 0));
    }

    #[test]
    fn a_packet_that_was_only_late_is_not_asked_for() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, Some(7), 9);
        missing.arrived(start + Duration::from_millis(4), Some(9), 8);
        assert_eq!(missing.due_at(), None);
    }

    #[test]
    fn ten_requests_without_an_answer_give_a_packet_up() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, Some(1), 3);
        let all = asked(&mut missing, start, 60_000);
        assert_eq!(all.iter().filter(|(_, seqs)| !seqs.is_empty()).count(), usize::from(MAX_REQUESTS));
        assert_eq!((missing.given_up, missing.due_at()), (1, None));
    }

    #[test]
    fn rounds_are_20_ms_apart_however_often_packets_are_lost() {
        let start = Instant::now();
        let mut missing = Missing::default();
        let mut rounds = Vec::new();
        for ms in 0..200 {
            let now = start + Duration::from_millis(ms);
            missing.arrived(now, Some(2 * ms + 1), 2 * ms + 3);
            if missing.due_at().is_some_and(|at| at <= now) {
                missing.ask(now, RTT, &mut Vec::new());
                rounds.push(ms);
            }
        }
        assert_eq!(rounds, [5, 25, 45, 65, 85, 105, 125, 145, 165, 185]);
    }

    #[test]
    fn a_gap_that_does_not_fit_is_given_up_as_a_whole() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, Some(0), 1_001);
        assert_eq!(missing.packets.len(), MAX_MISSING);
        missing.arrived(start, Some(1_001), 1_003);
        assert_eq!((missing.packets.len(), missing.given_up, missing.due_at()), (0, 1_001, None));
        missing.arrived(start, Some(1_003), u64::MAX);
        assert_eq!(missing.packets.len(), 0, "no loop is as long as a peer's number");
    }

    #[test]
    fn one_request_names_200_packets_and_the_next_goes_on() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.arrived(start, Some(0), 301);
        let all = asked(&mut missing, start, 30);
        assert_eq!(all.iter().map(|(_, seqs)| seqs.len()).collect::<Vec<_>>(), [MAX_ASKED, 100]);
        assert_eq!((all[0].1[0], all[1].1[0]), (1, 201));
    }

    proptest! {
        /// A naive twin keeps every number that was skipped and did not come since.
        #[test]
        fn what_is_missing_is_what_a_naive_twin_misses(steps in prop::collection::vec((0u64..6, any::<bool>()), 1..300)) {
            let start = Instant::now();
            let mut missing = Missing::default();
            let mut twin: BTreeMap<u64, ()> = BTreeMap::new();
            let mut highest = 100_000;
            for (step, is_late) in steps {
                let seq = if is_late { highest - step } else { highest + 1 + step };
                missing.arrived(start, Some(highest), seq);
                twin.extend((highest + 1..seq).map(|skipped| (skipped, ())));
                twin.remove(&seq);
                if twin.len() > MAX_MISSING {
                    twin.clear();
                }
                highest = highest.max(seq);
                prop_assert!(missing.packets.iter().map(|packet| packet.seq).eq(twin.keys().copied()));
                prop_assert_eq!(missing.due_at().is_some(), !twin.is_empty());
            }
        }
    }
}
