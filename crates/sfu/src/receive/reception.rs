//! How well do packets of one SSRC arrive, in the terms of a report block (RFC 3550 §6.4.1)?
//!
//! Counts what came from the network, before repair: a retransmission that restores a packet does
//! not undo its loss (libwebrtc's `ReceiveStatistics` counts the same way). Numbers are extended
//! (RFC 3550 A.1), as SRTP has them.

use std::time::{Duration, Instant};

use media::NtpTime;

use crate::rtcp::ReportBlock;

/// Reception of one SSRC since its first packet.
#[derive(Debug, Clone)]
pub(super) struct Reception {
    ssrc: u32,
    /// Ticks a second of the RTP timestamp.
    clock_rate: u32,
    first: u64,
    highest: u64,
    received: u64,
    /// Packets expected and received at the last report.
    expected_before: u64,
    received_before: u64,
    /// In sixteenths of a tick (RFC 3550 A.8).
    jitter: u64,
    began_at: Instant,
    /// Ticks between arrival and timestamp of the newest picture or sound, and its timestamp.
    transit: Option<(u32, u32)>,
    /// [`NtpTime::middle_32`] of the last sender report, and when it came.
    sender_report: Option<(u32, Instant)>,
}

/// Longer jumps of the transit time are not jitter: libwebrtc's limit, 5 s of a 90 kHz clock.
const MAX_TRANSIT_CHANGE: u32 = 450_000;

impl Reception {
    /// Begins with a packet.
    pub(super) fn new(now: Instant, ssrc: u32, clock_rate: u32, seq: u64) -> Reception {
        Reception {
            ssrc,
            clock_rate,
            first: seq,
            highest: seq,
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            began_at: now,
            transit: None,
            sender_report: None,
        }
    }

    /// A packet came from the network.
    pub(super) fn arrived(&mut self, now: Instant, seq: u64, timestamp: u32) {
        self.received = self.received.saturating_add(1);
        // A packet that overtook the first one was expected too.
        self.first = self.first.min(seq);
        let is_in_order = seq >= self.highest;
        self.highest = self.highest.max(seq);
        if is_in_order && self.transit.is_none_or(|(_, before)| before != timestamp) {
            self.passed(now, timestamp);
        }
    }

    /// A sender report of the SSRC came.
    pub(super) fn reported(&mut self, now: Instant, said: NtpTime) {
        self.sender_report = Some((said.middle_32(), now));
    }

    /// Returns the block of the next report. Loss is counted from here on anew.
    pub(super) fn report(&mut self, now: Instant) -> ReportBlock {
        let expected = self.highest.saturating_sub(self.first).saturating_add(1);
        let expected_since = expected.saturating_sub(self.expected_before);
        let received_since = self.received.saturating_sub(self.received_before);
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_since = expected_since.saturating_sub(received_since);
        // RFC 3550 A.3: in 256ths, rounded down.
        let fraction = lost_since.saturating_mul(256).checked_div(expected_since).unwrap_or_default();
        let lost = i64::try_from(expected).unwrap_or(i64::MAX).saturating_sub(self.received_i64());
        let [.., a, b, c, d] = self.highest.to_be_bytes();
        let (last, delay) =
            self.sender_report.map_or((0, 0), |(last, at)| (last, in_65536ths(now.saturating_duration_since(at))));
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            total_lost: i32::try_from(lost).unwrap_or(if lost < 0 { i32::MIN } else { i32::MAX }),
            highest_seq: u32::from_be_bytes([a, b, c, d]),
            jitter: u32::try_from(self.jitter >> 4).unwrap_or(u32::MAX),
            last_sender_report: last,
            delay_since_last_sender_report: delay,
        }
    }

    fn received_i64(&self) -> i64 {
        i64::try_from(self.received).unwrap_or(i64::MAX)
    }

    /// RFC 3550 A.8, for the first packet of each timestamp: the others of a picture are sent at
    /// other moments.
    fn passed(&mut self, now: Instant, timestamp: u32) {
        let us = now.saturating_duration_since(self.began_at).as_micros();
        let ticks = us.saturating_mul(u128::from(self.clock_rate)) / 1_000_000;
        // Ticks wrap, as timestamps do.
        let arrival = u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or_default();
        let transit = arrival.wrapping_sub(timestamp);
        if let Some((before, _)) = self.transit.replace((transit, timestamp)) {
            let change = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            if change < MAX_TRANSIT_CHANGE {
                let decayed = self.jitter.saturating_sub((self.jitter.saturating_add(8)) >> 4);
                self.jitter = decayed.saturating_add(u64::from(change));
            }
        }
    }
}

/// A span in 1/65536 s (RFC 3550 §6.4.1).
fn in_65536ths(span: Duration) -> u32 {
    u32::try_from(span.as_micros().saturating_mul(65_536) / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn reception(start: Instant, seqs: &[u64]) -> Reception {
        let mut reception = Reception::new(start, 9, 90_000, seqs[0]);
        seqs.iter().for_each(|seq| reception.arrived(start, *seq, 0));
        reception
    }

    #[test]
    fn loss_is_told_since_the_last_report_and_since_the_first_packet() {
        let start = Instant::now();
        let mut reception = reception(start, &[65_534, 65_535, 65_537, 65_540]);
        let report = reception.report(start);
        assert_eq!((report.fraction_lost, report.total_lost), (109, 3), "3 of 7");
        assert_eq!(report.highest_seq, 0x0001_0004);
        (65_541..65_551).for_each(|seq| reception.arrived(start, seq, 0));
        let report = reception.report(start);
        assert_eq!((report.fraction_lost, report.total_lost), (0, 3));
        let report = reception.report(start);
        assert_eq!((report.fraction_lost, report.total_lost), (0, 3), "nothing was expected");
    }

    #[test]
    fn a_packet_before_the_first_and_one_that_came_twice_make_no_loss() {
        let start = Instant::now();
        assert_eq!(reception(start, &[10, 9, 8]).report(start).total_lost, 0);
        let report = reception(start, &[10, 10, 11]).report(start);
        assert_eq!((report.fraction_lost, report.total_lost), (0, -1));
    }

    #[test]
    fn all_that_was_lost_is_255_of_256() {
        let start = Instant::now();
        let mut reception = reception(start, &[1]);
        reception.report(start);
        reception.arrived(start, 1_000_000, 0);
        assert_eq!(reception.report(start).fraction_lost, 255);
    }

    #[test]
    fn jitter_follows_rfc_3550_a_8() {
        let start = Instant::now();
        let mut reception = Reception::new(start, 9, 90_000, 1);
        // Pictures 10 ms apart; the second is 2 ms late (180 ticks), the third in time again.
        for (seq, ms, timestamp) in [(1, 0, 0), (2, 12, 900), (3, 20, 1_800), (4, 20, 1_800)] {
            reception.arrived(at(start, ms), seq, timestamp);
        }
        // 180, then 180 - 11 + 180, in sixteenths.
        assert_eq!(reception.jitter, 349);
        assert_eq!(reception.report(start).jitter, 21);
        // Timestamps that begin anew say nothing.
        reception.arrived(at(start, 30), 5, 4_000_000_000);
        assert_eq!(reception.jitter, 349);
    }

    #[test]
    fn the_last_sender_report_is_told_with_its_age() {
        let start = Instant::now();
        let mut reception = reception(start, &[1]);
        let report = reception.report(start);
        assert_eq!((report.last_sender_report, report.delay_since_last_sender_report), (0, 0));
        reception.reported(start, NtpTime(0x1111_2222_3333_4444));
        let report = reception.report(at(start, 1_500));
        assert_eq!((report.last_sender_report, report.delay_since_last_sender_report), (0x2222_3333, 98_304));
    }
}
