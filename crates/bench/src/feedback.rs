//! When did packets arrive, as a browser tells a server that asks (transport-wide congestion
//! control)?
//!
//! Every [`INTERVAL`] all that arrived since is told, by
//! draft-holmer-rmcat-transport-wide-cc-extensions-01; packets in between that did not come count
//! as lost, and are told again should they come late.

use std::time::{Duration, Instant};

use media::seq::SeqUnwrapper;
use sfu::rtcp;

/// What one viewer has to tell.
#[derive(Debug)]
pub(crate) struct Feedback {
    interval: Duration,
    unwrapper: SeqUnwrapper,
    /// Sequence numbers, extended, and µs of our clock.
    arrived: Vec<(u64, u64)>,
    /// What was not told yet begins here.
    next_seq: Option<u64>,
    due_at: Option<Instant>,
    count: u8,
}

/// libwebrtc's default (`remote_estimator_proxy.cc`, `kDefaultInterval`); it moves between 50 and
/// 250 ms so that feedback takes 5 % of the bandwidth, which at more than 218 kb/s means 50 ms.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// More arrivals at once than this are told before their time. Two bytes each, they still fit into
/// a datagram.
const MAX_ARRIVALS: usize = 600;
/// More packets missing than this and another beginning is taken (libwebrtc: `kMaxNumberOfPackets`,
/// 32,768).
const MAX_SPAN: u64 = 8_000;
/// §3.1: the reference time counts 64 ms.
const REFERENCE_US: u64 = 64_000;

impl Feedback {
    pub(crate) fn new(interval: Duration) -> Feedback {
        Feedback {
            interval,
            unwrapper: SeqUnwrapper::new(),
            arrived: Vec::with_capacity(32),
            next_seq: None,
            due_at: None,
            count: 0,
        }
    }

    /// A packet arrived, `at_us` by our clock.
    pub(crate) fn arrived(&mut self, now: Instant, seq: u16, at_us: u64) {
        let seq = self.unwrapper.extend(seq);
        if self.next_seq.is_none_or(|next| seq > next + MAX_SPAN) {
            self.arrived.clear();
            self.next_seq = Some(seq);
        }
        self.arrived.push((seq, at_us));
        if self.arrived.len() >= MAX_ARRIVALS {
            self.due_at = Some(now);
        }
        self.due_at.get_or_insert(now + self.interval);
    }

    /// Returns when the next feedback is due, if there is any.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due_at
    }

    /// Writes what there is to tell, if it is time; `packets` is memory to work in.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        (sender, media): (u32, u32),
        packets: &mut Vec<(u16, Option<i64>)>,
        writer: &mut rtcp::Writer<'_>,
    ) {
        if self.due_at.is_none_or(|at| at > now) {
            return;
        }
        // In step with itself, as a timer that repeats; one that is late by more begins anew.
        self.due_at = None;
        if !self.arrived.is_sorted_by_key(|(seq, _)| *seq) {
            self.arrived.sort_unstable();
        }
        self.arrived.dedup_by_key(|(seq, _)| *seq);
        let (Some(&(first, _)), Some(&(last, _))) = (self.arrived.first(), self.arrived.last()) else { return };
        let base = self.next_seq.map_or(first, |next| next.min(first));
        // Late ones from before may widen the range beyond what one packet tells well.
        let base = if last - base > MAX_SPAN { first } else { base };
        let earliest_us = self.arrived[0].1;
        let reference = earliest_us / REFERENCE_US;
        packets.clear();
        packets.extend(self.arrived.iter().map(|&(seq, at_us)| (seq as u16, Some(at_us as i64))));
        writer.transport_feedback(sender, media, self.count, base as u16, reference as i32, packets);
        self.count = self.count.wrapping_add(1);
        self.next_seq = Some(last + 1).max(self.next_seq);
        self.arrived.clear();
    }
}

/// Returns the transport-wide sequence number of a packet: the element `id` of its header extension
/// (RFC 8285).
///
/// Unlike `media::rtp`, it stops at this element, because it runs for every packet.
pub(crate) fn transport_seq(packet: &[u8], id: u8) -> Option<u16> {
    let first = *packet.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let at = 12 + 4 * usize::from(first & 0x0f);
    let (&[p0, p1, l0, l1], rest) = packet.get(at..)?.split_first_chunk()?;
    let mut rest = rest.get(..4 * usize::from(u16::from_be_bytes([l0, l1])))?;
    if [p0, p1] != [0xbe, 0xde] {
        return media::rtp::Header::parse(packet)
            .ok()?
            .extension(id)?
            .first_chunk()
            .map(|seq| u16::from_be_bytes(*seq));
    }
    while let Some((&head, after)) = rest.split_first() {
        if head == 0 {
            rest = after;
            continue;
        }
        let (value, after) = after.split_at_checked(usize::from(head & 0x0f) + 1)?;
        if head >> 4 == id {
            return value.first_chunk().map(|seq| u16::from_be_bytes(*seq));
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_is_told_and_what_did_not_is_lost() {
        let now = Instant::now();
        let mut feedback = Feedback::new(INTERVAL);
        let told = |feedback: &mut Feedback, at| {
            let mut buffer = [0; 2_048];
            let mut writer = rtcp::Writer::new(&mut buffer);
            feedback.write(at, (1, 2), &mut Vec::new(), &mut writer);
            let len = writer.finish();
            rtcp::packets(&buffer[..len])
                .map(|packet| match packet {
                    Ok(rtcp::Packet::TransportFeedback(told)) => {
                        (told.feedback_count, told.arrivals().collect::<Vec<_>>())
                    }
                    other => panic!("{other:?}"),
                })
                .next()
        };
        assert_eq!(feedback.poll_timeout(), None);
        // 65,534, 65,535, then 1 before 0 …
        for (seq, at_us) in [(65_534, 1_000_000), (65_535, 1_000_250), (1, 1_000_500), (0, 1_001_000), (3, 1_030_000)] {
            feedback.arrived(now, seq, at_us);
        }
        assert_eq!(told(&mut feedback, now), None, "too early");
        let at = feedback.poll_timeout().unwrap();
        assert_eq!(at, now + INTERVAL);
        let (count, arrivals) = told(&mut feedback, at).unwrap();
        assert_eq!(count, 0);
        let expected = [
            (65_534, Some(1_000_000)),
            (65_535, Some(1_000_250)),
            (0, Some(1_001_000)),
            (1, Some(1_000_500)),
            (2, None),
            (3, Some(1_030_000)),
        ];
        assert_eq!(arrivals, expected);
        assert_eq!(told(&mut feedback, at + INTERVAL), None, "nothing new");
        // The next one begins behind the last, so that 4 is told as lost.
        feedback.arrived(at, 5, 1_100_000);
        let (count, arrivals) = told(&mut feedback, at + INTERVAL).unwrap();
        assert_eq!((count, arrivals), (1, vec![(4, None), (5, Some(1_100_000))]));
        // 2 comes late.
        feedback.arrived(at, 2, 1_200_000);
        let (_, arrivals) = told(&mut feedback, at + INTERVAL).unwrap();
        assert_eq!(arrivals, [(2, Some(1_200_000))]);
    }

    #[test]
    fn many_at_once_fit_into_a_datagram() {
        let now = Instant::now();
        let mut feedback = Feedback::new(INTERVAL);
        for n in 0..MAX_ARRIVALS as u16 {
            feedback.arrived(now, n.wrapping_mul(2), u64::from(n) * 2_000 / u64::from(n % 7 + 1));
        }
        assert_eq!(feedback.poll_timeout(), Some(now), "before its time");
        let mut buffer = [0; 2_000];
        let mut writer = rtcp::Writer::new(&mut buffer);
        feedback.write(now, (1, 2), &mut Vec::new(), &mut writer);
        assert!(writer.finish() > MAX_ARRIVALS);
    }

    #[test]
    fn the_number_is_found_among_other_extensions() {
        let mut packet = [0; 64];
        let elements: [(u8, &[u8]); 3] = [(4, b"0"), (3, &[0x12, 0x34]), (5, &[1, 2, 3])];
        let len = media::rtp::write_header(&mut packet, 96, false, 1, 2, 3, &elements);
        assert_eq!(transport_seq(&packet[..len], 3), Some(0x1234));
        assert_eq!(transport_seq(&packet[..len], 9), None);
        assert_eq!(transport_seq(&packet[..12], 3), None);
        let len = media::rtp::write_header(&mut packet, 96, false, 1, 2, 3, &[]);
        assert_eq!(transport_seq(&packet[..len], 3), None);
        assert_eq!(transport_seq(&[], 3), None);
    }
}
