//! Which packet was the how-manieth on the way to this viewer, and which of them came?
//!
//! Transport-wide sequence numbers count everything that is sent to a viewer, whatever its SSRC
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).

use std::time::{Duration, Instant};

use crate::bwe::{Estimator, Settings};
use crate::prefetch::Prefetch;
use crate::rtcp::TransportFeedback;

/// Numbers what one viewer is sent, and hands what it reports of it to the estimator.
#[derive(Debug)]
pub struct Transport {
    /// What the way carries.
    pub estimator: Box<Estimator>,
    /// Packets carry numbers: the viewer has negotiated that.
    is_numbered: bool,
    began_at: Instant,
    /// Microseconds from `began_at` to this turn: the clock is not asked for each packet.
    now_us: u64,
    /// The number of the packet that comes next, not wrapped.
    next: u64,
    /// Statuses that were read in reports.
    read: u64,
    /// Packets that the viewer reported received.
    pub received: u64,
    /// Packets that it reported missing.
    pub lost: u64,
}

/// Beyond this a report is not read (threat T13: 18 bytes can list 65,535 packets). 100 ms of 100 Mb/s are 1,042 packets.
const MAX_STATUSES: u16 = 4_096;

/// How often a packet may be reported: receivers repeat those around one that was overtaken. More is not read, so that a
/// datagram with 58 reports of 4,096 statuses costs no more than what was sent. A guess.
const REPORTS_OF_A_PACKET: u64 = 4;

impl Transport {
    /// Nothing was sent yet. `is_numbered`: the viewer has negotiated transport-wide numbers.
    pub fn new(now: Instant, is_numbered: bool) -> Transport {
        Transport {
            estimator: Box::new(Estimator::new(Settings::default())),
            is_numbered,
            began_at: now,
            now_us: 0,
            next: 0,
            read: 0,
            received: 0,
            lost: 0,
        }
    }

    /// Whether packets carry numbers.
    pub fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// When its way was found full lately.
    pub fn congested_at(&self) -> [Option<Instant>; 4] {
        self.estimator.congested_us().map(|us| (us > 0).then(|| self.began_at + Duration::from_micros(us)))
    }

    /// Something will be sent soon: this once the memory that it stands in itself is there, and then
    /// [`Estimator::prefetch`].
    pub fn prefetch(&self, prefetch: Prefetch) {
        prefetch.ask(&*self.estimator);
    }

    /// What follows happens now.
    pub fn turn(&mut self, now: Instant) {
        self.now_us = now.saturating_duration_since(self.began_at).as_micros() as u64;
    }

    /// This turn, in microseconds since the viewer came.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The number of the packet that is written next. It is used up by [`Transport::on_packet_sent`].
    pub fn next(&self) -> u16 {
        self.next as u16
    }

    /// The packet was written. `probe`: the train that it belongs to.
    pub fn on_packet_sent(&mut self, bytes: usize, probe: Option<u8>) {
        self.estimator.on_packet_sent(self.now_us, self.next as u16, bytes as u16, probe);
        self.next += 1;
    }

    /// The viewer reports. A report on packets that were never sent is not believed.
    pub fn on_feedback(&mut self, report: &TransportFeedback<'_>) {
        let last = report.base_seq.wrapping_add(report.status_count - 1);
        let since_last = u64::from(self.next().wrapping_sub(last));
        let since_first = since_last + u64::from(report.status_count) - 1;
        if report.status_count > MAX_STATUSES || since_last == 0 || since_first > self.next {
            return;
        }
        let allowed = self.next * REPORTS_OF_A_PACKET;
        // What was not used does not add up.
        self.read = self.read.max(allowed.saturating_sub(REPORTS_OF_A_PACKET * u64::from(MAX_STATUSES)));
        let read = self.read + u64::from(report.status_count);
        if read > allowed {
            return;
        }
        self.read = read;
        for (_, delta) in report.deltas() {
            match delta {
                Some(_) => self.received += 1,
                None => self.lost += 1,
            }
        }
        self.estimator.on_feedback(self.now_us, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{self, Packet, Writer};

    fn report(transport: &mut Transport, base: u16, packets: &[(u16, Option<i64>)]) -> (u64, u64) {
        let mut buffer = [0; 1_500];
        let mut writer = Writer::new(&mut buffer);
        assert!(writer.transport_feedback(1, 2, 0, base, 0, packets));
        let len = writer.finish();
        for packet in rtcp::packets(&buffer[..len]) {
            let Ok(Packet::TransportFeedback(report)) = packet else { panic!("{packet:?}") };
            transport.on_feedback(&report);
        }
        (transport.received, transport.lost)
    }

    fn sent(count: u64) -> Transport {
        let mut transport = Transport::new(Instant::now(), true);
        for n in 0..count {
            assert_eq!(transport.next(), n as u16);
            transport.on_packet_sent(1_200, None);
        }
        transport
    }

    #[test]
    fn packets_are_read_of_four_times_and_no_more() {
        let mut transport = Transport::new(Instant::now(), true);
        (0..10_000).for_each(|_| transport.on_packet_sent(100, None));
        let packets = [(5_000, Some(0)), (9_000, Some(1_000))];
        for reports in 1..=100 {
            let (received, lost) = report(&mut transport, 5_000, &packets);
            // 4 times 4,096 statuses are 4 reports of 4,001.
            let read = u64::min(reports, 4);
            assert_eq!((received, lost), (read * 2, read * 3_999));
        }
        (0..1_001).for_each(|_| transport.on_packet_sent(100, None));
        assert_eq!(report(&mut transport, 5_000, &packets), (10, 5 * 3_999), "what is sent adds to it");
    }

    #[test]
    fn what_came_and_what_did_not_is_counted_across_the_wrap() {
        let mut transport = sent(65_540);
        assert_eq!(report(&mut transport, 65_534, &[(65_534, Some(0)), (1, Some(250)), (2, None)]), (2, 3));
    }

    #[test]
    fn a_report_on_what_was_never_sent_is_not_believed() {
        let mut transport = sent(10);
        assert_eq!(report(&mut transport, 8, &[(8, Some(0)), (10, Some(0))]), (0, 0));
        assert_eq!(report(&mut transport, 65_535, &[(65_535, Some(0)), (1, Some(0))]), (0, 0));
        assert_eq!(report(&mut transport, 0, &[(0, Some(0)), (9, Some(0))]), (2, 8));
    }

    #[test]
    fn a_report_that_lists_too_many_is_not_read() {
        let mut transport = sent(100_000);
        let base = transport.next().wrapping_sub(5_000);
        assert_eq!(report(&mut transport, base, &[(base, Some(0)), (base.wrapping_add(4_999), None)]), (0, 0));
    }
}
