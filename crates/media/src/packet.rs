//! One RTP packet of a published track, parsed once and shared by all viewers.
//!
//! A packet never changes after ingest: viewers write their own headers around the shared payload.

use std::sync::Arc;
use std::time::Instant;

use crate::codec::dependency::Described;
use crate::codec::parameter_sets::Units;
use crate::codec::{Codec, FrameLayers, Resolution};
use crate::time::NtpTime;

/// The most encodings of one source that a publisher's simulcast may bring (RFC 8853): browsers
/// send three, OBS up to four. An offer of more is refused.
pub const MAX_ENCODINGS: usize = 4;

/// Which publisher a packet came from, and which run of its packets it belongs to.
///
/// Ordered: a later publisher is greater whatever its run, then a later run. Within one epoch and
/// encoding, sequence numbers count one RTP flow of one format; between epochs they have nothing to
/// do with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Counts publishers, of all streams (`control`).
    pub publisher: u32,
    /// Counts the runs of one encoding of this publisher, from 0: a change of SSRC, of the video
    /// format, or a jump of the sequence number begins the next one. It never wraps; see
    /// `sfu::publisher::runs`.
    pub run: u32,
}

impl Epoch {
    /// Returns the first run of a publisher.
    pub const fn of(publisher: u32) -> Epoch {
        Epoch { publisher, run: 0 }
    }
}

/// A published RTP packet, immutable and shared (`Arc<Packet>`).
#[derive(Debug, Clone)]
pub struct Packet {
    /// What the payload is coded with.
    pub codec: Codec,
    /// Which publisher and run this came from; only grows within one encoding of a stream.
    pub epoch: Epoch,
    /// Which encoding of a simulcast it belongs to: its place in the publisher's offer, below
    /// [`MAX_ENCODINGS`]. 0 without simulcast. Sequence numbers and timestamps of different
    /// encodings have nothing to do with each other.
    pub encoding: u8,
    /// The publisher's sequence number, extended to 64 bits (RFC 3711 §3.3.1 "index").
    pub seq: u64,
    /// RTP timestamp as the publisher wrote it, in ticks of [`Codec::clock_rate`].
    pub timestamp: u32,
    /// The RTP marker bit.
    pub marker: bool,
    /// Set on the packet that proves a key frame: the sequence number of that picture's first
    /// packet, this one or one shortly before it ([`crate::codec::KeyFrameStart`]).
    pub key_frame_from: Option<u64>,
    /// The picture's size, on a packet that tells it: one of a key frame.
    pub resolution: Option<Resolution>,
    /// First packet of a picture.
    pub starts_frame: bool,
    /// Which layer of its encoding it belongs to, and the numbers of its picture.
    pub layers: FrameLayers,
    /// When the datagram was received.
    pub arrived_at: Instant,
    /// When the picture or sound was captured, in the server's wall clock, if the publisher told
    /// (abs-capture-time, or a sender report to map the RTP timestamp by).
    pub captured_at: Option<NtpTime>,
    /// `captured_at` cannot be right: later than `arrived_at`, or absurdly early. It still relates
    /// the tracks of one publisher to each other (lip sync), and says nothing about delay.
    pub has_wrong_clock: bool,
    /// Its Dependency Descriptor, if the publisher sends one (AV1).
    pub descriptor: Option<Arc<Described>>,
    /// Header extensions that are carried through.
    pub extensions: Extensions,
    /// On a packet that may begin a key frame: the parameter sets known by then (H.264, H.265). The
    /// sets sent before the key frame depend on this packet alone, so that a retransmission has the
    /// same bytes.
    pub sets: Option<Arc<Units>>,
    /// The payload without header, extensions and padding. Empty for a pure padding packet.
    pub payload: Arc<[u8]>,
    /// Where the primary block starts in a RED payload (RFC 2198); 0 for other codecs.
    pub red_primary_at: u16,
}

/// Header extension values that viewers get as the publisher sent them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `playout-delay`: minimum and maximum in units of 10 ms, 12 bits each, as on the wire.
    pub playout_delay: Option<[u8; 3]>,
    /// `urn:3gpp:video-orientation` (CVO) byte.
    pub video_orientation: Option<u8>,
    /// `color-space` without its HDR metadata: primaries, transfer, matrix, range and chroma
    /// siting, a byte each. Without it a player shows a full-range picture (a screen, a canvas)
    /// with the wrong contrast.
    pub color_space: Option<[u8; 4]>,
    /// RFC 6464 audio level byte (voice flag and level).
    pub audio_level: Option<u8>,
}

impl Packet {
    /// Returns the payload for a viewer that negotiated RED, or the primary block for one that did
    /// not.
    pub fn payload(&self, with_red: bool) -> &[u8] {
        if with_red { &self.payload } else { self.payload.get(usize::from(self.red_primary_at)..).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::Epoch;

    #[test]
    fn a_later_publisher_is_greater_than_any_run_of_an_earlier_one() {
        let last = Epoch { publisher: (1 << 24) - 1, run: u32::MAX };
        assert!(last < Epoch::of(1 << 24));
        assert!(Epoch::of(1 << 24) < Epoch { publisher: 1 << 24, run: 256 });
        assert!(Epoch { publisher: u32::MAX - 1, run: 300 } < Epoch::of(u32::MAX));
    }
}
