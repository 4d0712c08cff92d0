//! Which RTCP goes to a sender, and when?
//!
//! A report every [`REPORT_INTERVAL`], and soon after a new SSRC came: reception of each encoding,
//! our canonical name, and our wall clock, by which the round trip is known. Requests for key
//! frames and for missing packets leave when they are due. Transport-wide feedback has a datagram
//! of its own, as libwebrtc sends it.
//!
//! A compound packet begins with a report (RFC 3550 §6.1), unless reduced-size RTCP was agreed on
//! (RFC 5506). All is sent from one SSRC.

use std::time::{Duration, Instant};

use media::WallClock;

use super::missing::MAX_ASKED;
use super::{Feedback, MAX_RTCP_BYTES, Receiver};
use crate::rtcp::{ReportBlock, Writer};

/// Our SSRC: libwebrtc's of a side that only receives.
pub(super) const OUR_SSRC: u32 = 1;

/// libwebrtc's and str0m's interval for video. Both report audio every 5 s; here one report has
/// all.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// RFC 3550 §6.4.1: five bits count the blocks of a report.
const MAX_BLOCKS: usize = 31;

/// A request for packets at worst: a header with two SSRCs, and four bytes for each number.
const MAX_REQUEST_BYTES: usize = 12 + 4 * MAX_ASKED;

impl Receiver {
    /// Writes one SRTCP datagram that is due into `out` and returns its length; 0 if there is none.
    /// To be called again until there is none.
    pub fn poll_transmit(&mut self, now: Instant, clock: &WallClock, out: &mut [u8]) -> usize {
        let room = out.len().saturating_sub(self.seal.rtcp_overhead()).min(MAX_RTCP_BYTES);
        let Some(room) = out.get_mut(..room) else { return 0 };
        let mut len = self.write_compound(now, clock, room);
        if len == 0 {
            len = self.feedback.as_mut().map_or(0, |feedback: &mut Feedback| feedback.report(now, room));
        }
        if len == 0 { 0 } else { self.seal.rtcp(out, len) }
    }

    fn write_compound(&mut self, now: Instant, clock: &WallClock, room: &mut [u8]) -> usize {
        let is_report = self.report_at.is_some_and(|at| at <= now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut encodings = self.encodings.iter().flatten();
        let is_request = encodings.any(|encoding| is_due(encoding.key_frame_at()) || is_due(encoding.ask_at()));
        if !is_report && !is_request && !self.is_leaving {
            return 0;
        }
        let room_bytes = room.len();
        let mut writer = Writer::new(room);
        if is_report {
            self.report_at = Some(now + REPORT_INTERVAL);
            let blocks = self.encodings.iter_mut().flatten().filter_map(|encoding| encoding.report(now));
            let blocks: Vec<ReportBlock> = blocks.take(MAX_BLOCKS).collect();
            writer.receiver_report(OUR_SSRC, &blocks);
            writer.sdes_cname(OUR_SSRC, &self.cname);
            writer.rrtr(OUR_SSRC, clock.at(now));
        } else if !self.negotiated.has_reduced_size || self.is_leaving {
            writer.receiver_report(OUR_SSRC, &[]);
            writer.sdes_cname(OUR_SSRC, &self.cname);
        }
        for encoding in self.encodings.iter_mut().flatten() {
            if let Some(ssrc) = encoding.ssrc().filter(|_| is_due(encoding.key_frame_at()))
                && writer.pli(OUR_SSRC, ssrc)
            {
                encoding.key_frame.on_asked(now);
            }
        }
        for encoding in self.encodings.iter_mut().flatten() {
            // One that does not fit leaves with the next datagram.
            let fits = room_bytes.saturating_sub(writer.len()) >= MAX_REQUEST_BYTES;
            if let Some(ssrc) = encoding.ssrc().filter(|_| fits && is_due(encoding.ask_at())) {
                encoding.missing.ask(now, self.round_trip, &mut self.asked);
                writer.nack(OUR_SSRC, ssrc, &self.asked);
                let count = u64::try_from(self.asked.len()).unwrap_or_default();
                self.counters.asked_for = self.counters.asked_for.saturating_add(count);
            }
        }
        if std::mem::take(&mut self.is_leaving) {
            writer.bye(&[OUR_SSRC]);
        }
        writer.finish()
    }
}
