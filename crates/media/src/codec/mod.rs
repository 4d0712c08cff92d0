//! Does a picture begin in this payload, can a decoder start here, and how large is the picture?
//!
//! [`describe`] reads the first bytes of an RTP payload, and keeps no state between packets.
//! [`start`] keeps state: it derives from the descriptions of many packets the packet from which
//! viewers start. [`layers`] returns the layer of its encoding that a packet belongs to.
//!
//! One file per codec. Payloads come from strangers: a payload that breaks the rules is described
//! as far as it can be read, without allocation.

mod av1;
mod bits;
pub mod dependency;
mod h264;
mod h265;
pub mod layers;
pub mod parameter_sets;
pub mod red;
pub mod reorder;
pub mod start;
mod vp8;
mod vp9;

use std::fmt;

pub use layers::{FrameLayers, LayerTracker};
pub use parameter_sets::ParameterSets;
pub use reorder::ReorderTracker;
pub use start::{FrameStart, KeyFrameStart};

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// How a payload is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// Opus with redundant copies of earlier packets (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (RTP Payload Format For AV1, v1.0).
    Av1,
    /// H.264 / AVC (RFC 6184).
    H264,
    /// H.265 / HEVC (RFC 7798).
    H265,
}

impl Codec {
    /// All codecs there are.
    pub const ALL: [Codec; 7] = [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];

    /// Returns whether it codes sound or pictures.
    pub const fn kind(self) -> MediaKind {
        match self {
            Codec::Opus | Codec::Red => MediaKind::Audio,
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::H264 | Codec::H265 => MediaKind::Video,
        }
    }

    /// Returns the name for people and for JSON. SDP writes `opus` and `red` in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Opus => "Opus",
            Codec::Red => "RED",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Av1 => "AV1",
            Codec::H264 => "H264",
            Codec::H265 => "H265",
        }
    }

    /// Returns the ticks per second of the RTP timestamp.
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            // RFC 7587 §4.1: always 48000, whatever is coded. RED takes the clock of its primary.
            MediaKind::Audio => 48_000,
            // RFC 7741 §4.1, RFC 9628 §4.1, RFC 6184 §5.1, RFC 7798 §4.1; AV1's format says the
            // same.
            MediaKind::Video => 90_000,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Width and height of a picture in pixels, as a viewer sees them. Neither is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Resolution {
    /// Creates a resolution, if both numbers make sense.
    fn checked(width: u32, height: u32) -> Option<Resolution> {
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        let height = u16::try_from(height).ok().filter(|height| *height > 0)?;
        Some(Resolution { width, height })
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// What one payload says about itself, without knowledge of any other.
///
/// The default says nothing; it is what an empty or unreadable payload gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Description {
    /// A picture may begin with this packet.
    ///
    /// Several packets of one H.264 or H.265 picture may say so (parameter sets, then a slice);
    /// [`FrameStart`] tells which is the first. Always true for sound.
    pub starts_frame: bool,
    /// The packet has the beginning of a picture that a decoder can start from: of a VP8, VP9 or
    /// AV1 key frame, or of the first slice of an IDR (H.264) or IRAP (H.265) picture.
    ///
    /// Parameter sets alone do not count; [`KeyFrameStart`] puts both together. Always true for
    /// sound.
    pub key: bool,
    /// The packet carries a parameter set (H.264, H.265) or a sequence header (AV1).
    pub parameter_sets: bool,
    /// The size of the picture; of the largest spatial layer, if the payload lists several.
    pub resolution: Option<Resolution>,
    /// No other picture needs this one, and the payload says so. Only VP8 and H.264 do.
    pub discardable: bool,
}

impl Description {
    /// What every packet of sound gets.
    const SOUND: Description =
        Description { starts_frame: true, key: true, parameter_sets: false, resolution: None, discardable: false };
}

/// Describes an RTP payload (without header, header extensions and padding).
pub fn describe(codec: Codec, payload: &[u8]) -> Description {
    if payload.is_empty() {
        return Description::default();
    }
    match codec {
        Codec::Opus => Description::SOUND,
        Codec::Red if red::primary_at(payload).is_some() => Description::SOUND,
        Codec::Red => Description::default(),
        Codec::Vp8 => vp8::describe(payload),
        Codec::Vp9 => vp9::describe(payload),
        Codec::Av1 => av1::describe(payload),
        Codec::H264 => h264::describe(payload),
        Codec::H265 => h265::describe(payload),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_payload_says_nothing() {
        for codec in Codec::ALL {
            assert_eq!(describe(codec, &[]), Description::default(), "{codec}");
        }
    }

    #[test]
    fn every_packet_of_sound_can_be_started_from() {
        assert_eq!(describe(Codec::Opus, &[0xfc]), Description::SOUND);
        assert_eq!(describe(Codec::Red, &[111, 0xfc]), Description::SOUND);
        assert_eq!(describe(Codec::Red, &[0x80 | 111]), Description::default());
    }

    #[test]
    fn clock_rates_are_those_of_the_payload_formats() {
        for codec in Codec::ALL {
            let expected = match codec.kind() {
                MediaKind::Audio => 48_000,
                MediaKind::Video => 90_000,
            };
            assert_eq!(codec.clock_rate(), expected, "{codec}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            for codec in Codec::ALL {
                let description = describe(codec, &payload);
                if let Some(resolution) = description.resolution {
                    prop_assert!(resolution.width > 0 && resolution.height > 0);
                }
            }
        }
    }
}
