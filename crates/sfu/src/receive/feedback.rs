//! When did the publisher's packets arrive, by transport-wide sequence number?
//!
//! Written for the publisher every [`INTERVAL`] (draft-holmer-rmcat-transport-wide-cc-extensions-01), from which it
//! estimates what its network carries. Only receipts are kept, so that a gap between two numbers costs nothing: at most
//! [`MAX_RECEIPTS`], of which [`KEPT`] were reported and stay for a packet that overtook another. A report covers
//! at most [`MAX_SPAN`] numbers and [`MAX_REPORTED`] receipts; the next begins where it ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::Writer;

/// Receipts of one transport.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    /// By number.
    receipts: VecDeque<Receipt>,
    /// The number that the next report begins at, or a later one.
    next: i64,
    /// The highest number.
    newest: Option<i64>,
    /// Numbers in a row that were too old to be placed.
    too_old: u32,
    /// What times are counted from.
    began_at: Option<Instant>,
    reported_at: Option<Instant>,
    reports: u8,
    /// An SSRC that sent some of them.
    media: u32,
    /// What the last report lists.
    listed: Vec<(u16, Option<i64>)>,
    loss: Loss,
}

#[derive(Debug, Clone, Copy)]
struct Receipt {
    /// Extended from 16 bits.
    number: i64,
    at: Instant,
}

/// Numbers used and numbers received since [`Feedback::take_loss`] was called last.
#[derive(Debug, Default)]
struct Loss {
    since: i64,
    received: u32,
}

/// str0m's; libwebrtc's receiver takes 50 to 250 ms.
const INTERVAL: Duration = Duration::from_millis(50);
/// Between reports if one did not hold all: the shortest time that a session may ask to be woken after is 1 ms. A guess.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(5);
/// More than 50 ms of 80,000 packets per second.
const MAX_RECEIPTS: usize = 4_096;
/// str0m keeps 100.
const KEPT: usize = 100;
/// A run-length chunk's 13 bits (§3.1.3). A report's 16-bit count would hold eight times that.
const MAX_SPAN: i64 = 8_191;
/// What 1,100 bytes hold at worst: a chunk and a large delta (2 bytes each) for each.
const MAX_REPORTED: usize = 256;
/// §3.1.5: deltas have 16 bits of 250 µs. Rounded down, since times are rounded too.
const MAX_DELTA: Duration = Duration::from_millis(8_000);
/// Too old a number this often in a row is not reordering: the sender began anew. A guess.
const MAX_TOO_OLD: u32 = 64;
/// libwebrtc's SSRC of a side that only receives.
const SENDER: u32 = 1;

impl Feedback {
    /// A packet of `ssrc` had this number.
    pub(crate) fn on_packet(&mut self, now: Instant, number: u16, ssrc: u32) {
        self.media = ssrc;
        self.began_at.get_or_insert(now);
        self.reported_at.get_or_insert(now);
        let Some(newest) = self.newest else {
            self.begin(now, i64::from(number));
            return;
        };
        let [.., high, low] = newest.to_be_bytes();
        let step = number.wrapping_sub(u16::from_be_bytes([high, low])).cast_signed();
        let number = newest.saturating_add(i64::from(step));
        if step > 0 {
            self.newest = Some(number);
            self.receipts.push_back(Receipt { number, at: now });
        } else if self.receipts.front().is_none_or(|oldest| number < oldest.number) {
            self.too_old = self.too_old.saturating_add(1);
            if self.too_old >= MAX_TOO_OLD {
                self.begin(now, number);
            }
            return;
        } else {
            // A number that came twice keeps its first time.
            let Err(at) = self.receipts.binary_search_by_key(&number, |receipt| receipt.number) else { return };
            self.receipts.insert(at, Receipt { number, at: now });
            self.next = self.next.min(number);
        }
        self.too_old = 0;
        self.loss.received = self.loss.received.saturating_add(1);
        if self.receipts.len() > MAX_RECEIPTS {
            self.receipts.pop_front();
        }
    }

    /// When to call [`Feedback::report`].
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let last = self.receipts.back().filter(|last| last.number >= self.next);
        last.and(self.reported_at.map(|at| at + INTERVAL))
    }

    /// Writes a report if one is due; returns its length.
    pub(crate) fn report(&mut self, now: Instant, out: &mut [u8]) -> usize {
        if self.due_at().is_none_or(|at| now < at) {
            return 0;
        }
        self.reported_at = Some(now);
        let first = self.receipts.partition_point(|receipt| receipt.number < self.next);
        let (Some(base), Some(began_at)) = (self.receipts.get(first).copied(), self.began_at) else { return 0 };
        let since = |at: Instant| at.saturating_duration_since(began_at);
        self.listed.clear();
        let mut before = base.at;
        for receipt in self.receipts.iter().skip(first).take(MAX_REPORTED) {
            let (later, earlier) = (receipt.at.max(before), receipt.at.min(before));
            let distance = later.saturating_duration_since(earlier);
            if receipt.number.saturating_sub(base.number) >= MAX_SPAN || distance > MAX_DELTA {
                break;
            }
            before = receipt.at;
            let us = i64::try_from(since(receipt.at).as_micros()).unwrap_or(i64::MAX);
            self.listed.push((low_bits(receipt.number), Some(us)));
        }
        // §3.1: 24 bits of 64 ms; the writer cuts them off.
        let reference = i32::try_from(since(base.at).as_millis() / 64 % (1 << 24)).unwrap_or_default();
        // Times count from the reference as it is sent.
        let wrapped = i64::try_from(since(base.at).as_millis() / 64 / (1 << 24)).unwrap_or_default();
        let wrapped_us = wrapped.saturating_mul((1 << 24) * 64_000);
        for (_, us) in &mut self.listed {
            *us = us.map(|us| us.saturating_sub(wrapped_us));
        }
        let mut writer = Writer::new(out);
        let is_written =
            writer.transport_feedback(SENDER, self.media, self.reports, low_bits(base.number), reference, &self.listed);
        let reported = first.saturating_add(self.listed.len());
        let last = self.receipts.get(reported.saturating_sub(1)).map_or(base.number, |last| last.number);
        self.next = last.saturating_add(1);
        self.reports = self.reports.wrapping_add(1);
        if reported < self.receipts.len() {
            self.reported_at = now.checked_sub(INTERVAL - BACKLOG_INTERVAL).or(Some(now));
        }
        self.receipts.drain(..reported.saturating_sub(KEPT).min(self.receipts.len()));
        if is_written { writer.finish() } else { 0 }
    }

    /// Share of the numbers that did not arrive since this was asked last.
    pub(crate) fn take_loss(&mut self) -> Option<f32> {
        let newest = self.newest?;
        let expected = newest.saturating_sub(self.loss.since);
        let received = i64::from(self.loss.received);
        self.loss = Loss { since: newest, received: 0 };
        (expected > 0).then(|| expected.saturating_sub(received).max(0) as f32 / expected as f32)
    }

    /// Forgets what was before.
    fn begin(&mut self, now: Instant, number: i64) {
        self.receipts.clear();
        self.receipts.push_back(Receipt { number, at: now });
        self.next = number;
        self.newest = Some(number);
        self.too_old = 0;
        self.loss = Loss { since: number.saturating_sub(1), received: 1 };
    }
}

/// The sequence number on the wire.
fn low_bits(number: i64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{self, Packet};

    /// All that is reported until nothing is due: number and time of arrival in µs.
    fn reports(feedback: &mut Feedback, now: &mut Instant) -> Vec<(u16, i64)> {
        let mut listed = Vec::new();
        while let Some(at) = feedback.due_at() {
            *now = (*now).max(at);
            let mut out = [0; 1_100];
            let len = feedback.report(*now, &mut out);
            assert!(len > 0, "a report that is due is written");
            for packet in rtcp::packets(&out[..len]) {
                let Ok(Packet::TransportFeedback(report)) = packet else { panic!("{packet:?}") };
                assert!(i64::from(report.status_count) <= MAX_SPAN);
                listed.extend(report.arrivals().filter_map(|(number, at)| Some((number, at?))));
            }
        }
        listed
    }

    #[test]
    fn numbers_far_apart_are_reported_without_the_gap() {
        // Each of these made str0m fill the gap: 2^64 less 25,535 numbers, then 2^13 at a time.
        let start = Instant::now();
        let (mut feedback, mut now) = (Feedback::default(), start);
        for number in [0, 1, 40_000, 5, 32_772, 65_535, 32_000] {
            feedback.on_packet(now, number, 9);
        }
        let numbers: Vec<_> = reports(&mut feedback, &mut now).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 5, 32_772, 65_535, 32_000]);
        assert_eq!(feedback.receipts.len(), 6);
    }

    #[test]
    fn any_numbers_keep_at_most_4_096_receipts() {
        let (mut feedback, mut now) = (Feedback::default(), Instant::now());
        for n in 0..100_000_u32 {
            feedback.on_packet(now, (n * 32_767) as u16, 9);
        }
        assert_eq!(feedback.receipts.len(), MAX_RECEIPTS);
        assert_eq!(reports(&mut feedback, &mut now).len(), MAX_RECEIPTS);
        assert_eq!(feedback.receipts.len(), KEPT);
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed_after_64_packets() {
        let (mut feedback, mut now) = (Feedback::default(), Instant::now());
        for number in 30_000..30_200 {
            feedback.on_packet(now, number, 9);
        }
        reports(&mut feedback, &mut now);
        for number in 100..200 {
            feedback.on_packet(now, number, 9);
        }
        assert_eq!(reports(&mut feedback, &mut now).first().map(|(number, _)| *number), Some(163));
    }

    #[test]
    fn a_packet_that_was_overtaken_is_reported_later() {
        let (mut feedback, mut now) = (Feedback::default(), Instant::now());
        [65_534, 65_535, 1].iter().for_each(|number| feedback.on_packet(now, *number, 9));
        assert_eq!(reports(&mut feedback, &mut now).len(), 3);
        feedback.on_packet(now, 0, 9);
        let numbers: Vec<_> = reports(&mut feedback, &mut now).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn loss_is_the_share_of_numbers_that_did_not_come() {
        let (mut feedback, now) = (Feedback::default(), Instant::now());
        assert_eq!(feedback.take_loss(), None);
        (10..20).for_each(|number| feedback.on_packet(now, number, 9));
        assert_eq!(feedback.take_loss(), Some(0.0));
        assert_eq!(feedback.take_loss(), None);
        [20, 22, 23, 23].iter().for_each(|number| feedback.on_packet(now, *number, 9));
        assert_eq!(feedback.take_loss(), Some(0.25));
    }

    #[test]
    fn times_are_right_after_the_reference_time_wrapped() {
        // 24 bits of 64 ms are 12.4 days.
        let start = Instant::now();
        let mut feedback = Feedback::default();
        feedback.on_packet(start, 1, 9);
        let mut now = start + INTERVAL;
        reports(&mut feedback, &mut now);
        let mut now = start + Duration::from_millis((1 << 24) * 64 + 640);
        feedback.on_packet(now, 2, 9);
        assert_eq!(reports(&mut feedback, &mut now), [(2, 640_000)]);
    }

    proptest! {
        #[test]
        fn every_receipt_in_order_is_reported_once_at_its_time(
            steps in prop::collection::vec((1u16..3_000, 0u64..200_000), 1..300),
        ) {
            let start = Instant::now();
            let (mut feedback, mut now) = (Feedback::default(), start);
            let (mut number, mut expected) = (65_000u16, Vec::new());
            for (step, us) in steps {
                number = number.wrapping_add(step);
                now += Duration::from_micros(us);
                feedback.on_packet(now, number, 9);
                expected.push((number, (now - feedback.began_at.unwrap()).as_micros() as i64));
            }
            let listed = reports(&mut feedback, &mut now);
            prop_assert_eq!(listed.len(), expected.len());
            for ((number, at), (expected_number, expected_at)) in listed.into_iter().zip(expected) {
                prop_assert_eq!(number, expected_number);
                prop_assert!((expected_at - at).abs() < 250, "{at} instead of {expected_at}");
            }
        }
    }
}
