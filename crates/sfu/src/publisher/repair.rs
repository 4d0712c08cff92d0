//! May str0m restore the packet that this retransmission names (RFC 4588)?
//!
//! str0m extends the original sequence number to 64 bits by the newest number of the stream that is repaired, and wraps to
//! 2^64 if that gives one below zero: nothing of the stream would be newer than that. What may be repaired lies at
//! most [`MAX_AHEAD`] numbers in front of the newest packet.
//!
//! A retransmission that may not, or whose stream str0m does not know yet, is handed over without its payload: str0m learns
//! its SSRC and takes it for padding.

use str0m::rtp::Ssrc;

use super::Publisher;
use crate::ingress::Admitted;

/// Packets whose retransmission may come before they do: those at the end of a burst that got lost. A guess.
const MAX_AHEAD: i16 = 1_024;

impl Publisher {
    /// Whether str0m would take the packet for a retransmission and its original number for what it is not.
    pub(super) fn is_unsound_repair(&mut self, packet: Admitted) -> bool {
        if packet.is_empty {
            return false;
        }
        let is_main = self.tracks.iter().flat_map(|t| &t.encodings).any(|e| e.runs.ssrc() == Some(packet.ssrc));
        let names_original =
            self.repair_types.contains(&packet.payload_type) || self.repair_ssrcs.contains(&packet.ssrc);
        if is_main && !names_original && !packet.names_repaired {
            return false;
        }
        let ssrc = Ssrc::from(packet.ssrc);
        for track in &self.tracks {
            for encoding in &track.encodings {
                let mut api = self.rtc.direct_api();
                let Some(stream) = api.stream_rx_by_mid(track.mid, encoding.rid) else { continue };
                if stream.rtx() == Some(ssrc) || (names_original && stream.ssrc() == ssrc) {
                    let is_known = encoding.runs.ssrc() == Some(*stream.ssrc());
                    let newest = encoding.newest.filter(|_| is_known);
                    return !newest.is_some_and(|newest| is_sound(newest, packet.original_seq));
                }
            }
        }
        // A stream that is not known yet: a first packet of a main stream may come, one of a retransmission may not.
        names_original || packet.names_repaired
    }
}

/// Whether the packet with this number may be missing if `newest` is the highest that came.
fn is_sound(newest: u64, original: Option<u16>) -> bool {
    let Some(original) = original else { return false };
    let step = original.wrapping_sub(newest as u16).cast_signed();
    step <= MAX_AHEAD && newest.checked_add_signed(i64::from(step)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_original_number_lies_behind_the_newest_or_a_little_in_front_and_never_below_zero() {
        for (newest, original, expected) in [
            (1_000, Some(999), true),
            (1_000, Some(1_000), true),
            (1_000, Some(2_024), true),
            (1_000, Some(2_025), false),
            (1_000, Some(0), true),
            // Below zero: str0m would make 2^64 - 1 of it.
            (1_000, Some(65_535), false),
            (5, Some(40_000), false),
            (65_536 + 5, Some(65_535), true),
            (65_535, Some(3), true),
            (1_000, None, false),
        ] {
            assert_eq!(is_sound(newest, original), expected, "{newest}, {original:?}");
        }
    }
}
