//! What is sent again, and how much of it?
//!
//! What a viewer misses, as RTX where it was negotiated; and, to find out what the network carries, what it has already.

use std::time::Duration;

use media::Packet;

use super::write::{descriptor_of, extensions_of, payload_of};
use super::{Link, Subscription};
use crate::layers::continuity::MAX_DESCRIPTOR_BYTES;
use crate::stream::choice::AvailableBitrate;
use crate::stream::track::Track;
use crate::viewer::header::Fields;
use crate::viewer::history::SentPacket;
use crate::viewer::rewrite::Rewritten;

/// Bytes that retransmissions may save up of their share of what is sent
/// ([`Lossy::repair_share`](crate::viewer::lossy::Lossy::repair_share), threat T13).
pub(super) const REPAIR_BUDGET_BYTES: i64 = 256 * 1024;

/// As much may be sent again of what a run begins with, at least.
pub(super) const REPAIR_OF_A_START: i64 = 32 * 1024;

/// Below this only one copy is sent: a second copy must not use up the budget of another packet.
const FOR_FIRST_COPIES: i64 = 16 * 1024;

/// Of the network's rate, the share of a second that may be saved up for retransmissions: more would fill its queue.
const REPAIR_SHARE: u64 = 4;

/// The most packets of one part of a train: 2 ms of 50 Mb/s.
const MAX_PADDING_PACKETS: u64 = 12;

impl Subscription {
    /// The viewer misses `seq`: sends it again if that is allowed and possible.
    pub fn resend(&mut self, track: &Track, seq: u16, link: &mut Link<'_>) {
        self.counters.nacks += 1;
        // Before the first report a guess that suits most of the internet.
        let rtt = self.counters.rtt.unwrap_or(Duration::from_millis(50)).max(Duration::from_millis(10));
        if let Some(AvailableBitrate { bps: carried, .. }) = self.available {
            let most = i64::try_from(carried / 8 / REPAIR_SHARE).unwrap_or(i64::MAX);
            self.repair_budget = self.repair_budget.min(most.max(REPAIR_OF_A_START));
        }
        if self.repair_budget <= 0 {
            return;
        }
        let Some(sent) =
            self.history.on_nack(link.transport.now_us(), seq, rtt, |encoding| track.of(encoding).log().end())
        else {
            return;
        };
        // A decoder that gets the key frame of another encoding has no use for what came before it.
        if sent.form.encoding != self.encoding {
            return;
        }
        let Some(packet) = track.of(sent.form.encoding).log().get(sent.position) else { return };
        let accepted = self.negotiated.formats.0.iter().find(|a| a.payload_type == sent.form.payload_type);
        let rtx = accepted.and_then(|a| a.rtx_payload_type).filter(|_| self.rtx_header.is_some());
        for copy in 0..self.copies {
            if copy > 0 && self.repair_budget <= FOR_FIRST_COPIES {
                break;
            }
            let written = match rtx {
                Some(payload_type) => self.retransmit(packet, &sent, payload_type, None, link),
                // Without RTX the same packet goes out again under the same index. That is safe only because it is the
                // same to the byte, and so is its form (threat T3).
                None => self.write(packet, sent.numbers, sent.form, link),
            };
            self.counters.resent += u64::from(written > 0);
            self.repair_budget -= written as i64;
        }
    }

    /// Sends a packet again as RTX (RFC 4588). Returns its bytes. `probe`: the train that it belongs to.
    fn retransmit(
        &mut self,
        packet: &Packet,
        sent: &SentPacket,
        payload_type: u8,
        probe: Option<u8>,
        link: &mut Link<'_>,
    ) -> usize {
        let Some(descriptor) = descriptor_of(&mut self.descriptors, packet, sent.form, sent.numbers.index) else {
            return 0;
        };
        let Some(writer) = &mut self.rtx_header else { return 0 };
        let numbers = Rewritten { index: self.rtx_index, timestamp: sent.numbers.timestamp };
        self.rtx_index += 1;
        let fields = Fields {
            payload_type,
            marker: sent.form.with_marker,
            numbers,
            transport_seq: link.transport.next(),
            extensions: extensions_of(packet, sent.form),
            captured_at: None,
            descriptor,
        };
        let payload = payload_of(packet, sent.form);
        let (beginning, len) = sent.form.shift.beginning(packet.codec, &packet.layers.numbers, payload);
        // RFC 4588 §4: the original sequence number stands before the payload.
        let mut prefix = [0; 2 + MAX_DESCRIPTOR_BYTES];
        prefix[..2].copy_from_slice(&(sent.numbers.index as u16).to_be_bytes());
        prefix[2..].copy_from_slice(&beginning);
        let mut written = 0;
        link.batch.push_with(link.destination, link.source, |out| {
            let header = writer.write(out, &fields);
            written = if header == 0 {
                0
            } else {
                link.seal.rtp(out, header, &prefix[..2 + len], &payload[len..], writer.ssrc(), numbers.index)
            };
            written
        });
        if writer.has_transport_seq() {
            link.transport.on_packet_sent(written, probe);
        }
        written
    }

    /// Sends some of the newest packets once more, to find out whether the network carries more: useful if they were lost,
    /// and thrown away otherwise. Returns the bytes; 0 if there is nothing that may be sent again so.
    pub fn pad(&mut self, track: &Track, bytes: usize, probe: u8, link: &mut Link<'_>) -> usize {
        let mut padded = 0;
        for back in 0..MAX_PADDING_PACKETS {
            if padded >= bytes {
                break;
            }
            let Some(sent) = self.history.newest(back, |encoding| track.of(encoding).log().end()) else { break };
            let Some(packet) = track.of(sent.form.encoding).log().get(sent.position) else { break };
            let accepted = self.negotiated.formats.0.iter().find(|a| a.payload_type == sent.form.payload_type);
            let Some(payload_type) = accepted.and_then(|a| a.rtx_payload_type) else { break };
            padded += self.retransmit(packet, &sent, payload_type, Some(probe), link);
        }
        padded
    }
}
