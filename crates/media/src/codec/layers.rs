//! Which layer of its encoding does a packet belong to, and where may a receiver change layers?
//!
//! [`read`] takes it from the payload alone. Where a packet does not say (the inside of an AV1 or
//! H.264 picture), it has the layers of the packets of its picture before it: [`LayerTracker`]
//! remembers them. What the Dependency Descriptor says is in [`super::dependency`], and is to be
//! believed before this.

use super::start::Recent;
use super::{Codec, av1, h264, h265, vp8, vp9};

/// What one packet says of the layer that it belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameLayers {
    /// The spatial layer; 0 where there is one only.
    pub spatial: u8,
    /// The temporal layer; 0 where there is one only.
    pub temporal: u8,
    /// The first packet of this layer's frame, as far as the payload tells.
    pub starts_frame: bool,
    /// The last packet of this layer's frame. Only VP9 tells; elsewhere the marker bit does.
    pub ends_frame: bool,
    /// Nothing before this picture is needed to decode this layer's frame: of layer 0 a key frame,
    /// of a higher one the place to switch up from the layer below.
    pub is_key: bool,
    /// What a receiver of fewer temporal layers may do here.
    pub switch: TemporalSwitch,
    /// No other picture needs this one.
    pub discardable: bool,
    /// Needs the frame of the spatial layer below in the same picture.
    pub needs_lower_spatial: bool,
    /// No higher spatial layer of the same picture needs this frame, nor do later pictures of one:
    /// K-SVC, between key pictures.
    pub is_unneeded_above: bool,
    /// Numbers by which receivers find what a picture refers to.
    pub numbers: PictureNumbers,
}

/// Where a receiver that has left out temporal layers may take them again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TemporalSwitch {
    /// Not here.
    #[default]
    No,
    /// With this frame, from the layer right below, to this frame's layer: VP8's layer sync bit,
    /// H.265's STSA pictures, and pictures that no other picture refers to.
    ToThis,
    /// With this frame, from the layer right below, to this frame's layer and all above: H.265's
    /// TSA pictures.
    ToThisAndAbove,
    /// After this frame, to all layers above its own: VP9's switching up point.
    AboveThis,
}

/// Numbers in VP8's and VP9's payload descriptors that must run on without seams for a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PictureNumbers {
    /// Grows by one per picture.
    pub picture_id: Option<PictureId>,
    /// `TL0PICIDX`: grows by one per picture of temporal layer 0.
    pub base_index: Option<u8>,
    /// VP8's `KEYIDX`, 5 bits: grows by one per key frame.
    pub key_index: Option<u8>,
}

/// A picture's number, modulo 2^7 or 2^15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureId {
    /// 7 bits, in one byte.
    Short(u8),
    /// 15 bits, in two bytes.
    Long(u16),
}

impl PictureId {
    /// Its bits as a number.
    pub const fn value(self) -> u16 {
        match self {
            PictureId::Short(value) => value as u16,
            PictureId::Long(value) => value,
        }
    }

    /// Returns the same form with the low bits of another number.
    #[must_use]
    pub const fn with(self, value: u16) -> PictureId {
        match self {
            PictureId::Short(_) => PictureId::Short(value.to_be_bytes()[1] & 0x7f),
            PictureId::Long(_) => PictureId::Long(value & 0x7fff),
        }
    }

    /// Reads one: 7 bits, or 15 if the top bit (M) is set (RFC 7741 §4.2, RFC 9628 §4.2). Returns
    /// what follows too.
    pub(super) fn read(bytes: &[u8]) -> Option<(PictureId, &[u8])> {
        let (first, rest) = bytes.split_first()?;
        if first & 0x80 == 0 {
            return Some((PictureId::Short(*first), rest));
        }
        let (second, rest) = rest.split_first()?;
        Some((PictureId::Long(u16::from_be_bytes([first & 0x7f, *second])), rest))
    }

    /// Writes it over one of the same form; returns what follows.
    pub(super) fn write(self, bytes: &mut [u8]) -> Option<&mut [u8]> {
        let (first, rest) = bytes.split_first_mut()?;
        let is_long = *first & 0x80 != 0;
        let value = self.value().to_be_bytes();
        if !is_long {
            *first = value[1] & 0x7f;
            return Some(rest);
        }
        let (second, rest) = rest.split_first_mut()?;
        (*first, *second) = (value[0] | 0x80, value[1]);
        Some(rest)
    }
}

/// Reads what a payload says of its layer; `None` if it says nothing (the inside of a picture,
/// sound).
pub fn read(codec: Codec, payload: &[u8]) -> Option<FrameLayers> {
    match codec {
        Codec::Opus | Codec::Red => None,
        Codec::Vp8 => vp8::layers(payload),
        Codec::Vp9 => vp9::layers(payload),
        Codec::Av1 => av1::layers(payload),
        Codec::H264 => h264::layers(payload),
        Codec::H265 => h265::layers(payload),
    }
}

/// Writes other numbers over those that a VP8 or VP9 payload has, in place: what the payload lacks
/// stays lacking, and a picture id keeps its form. Does nothing to other codecs, nor to a
/// descriptor that cannot be read.
pub fn write_numbers(codec: Codec, payload: &mut [u8], numbers: &PictureNumbers) {
    let written = match codec {
        Codec::Vp8 => vp8::write_numbers(payload, numbers),
        Codec::Vp9 => vp9::write_numbers(payload, numbers),
        Codec::Opus | Codec::Red | Codec::Av1 | Codec::H264 | Codec::H265 => None,
    };
    // A descriptor that ends early was not understood by anybody before either.
    written.unwrap_or_default();
}

/// Gives every packet of one encoding its layers, also those that do not say.
#[derive(Debug, Clone, Default)]
pub struct LayerTracker {
    pictures: Recent<FrameLayers>,
}

impl LayerTracker {
    /// Stores the layer that [`read`] found in a packet, and returns the layer of the packet.
    ///
    /// A packet without a layer gets the last layer of its picture. If no packet of the picture had
    /// one yet (the first packet is late), it gets layer 0, which is always forwarded.
    pub fn observe(&mut self, timestamp: u32, said: Option<FrameLayers>) -> FrameLayers {
        let (known, is_new) = self.pictures.find_or_insert(timestamp, said.unwrap_or_default());
        let Some(said) = said else {
            if !is_new {
                (known.starts_frame, known.ends_frame) = (false, false);
            }
            return *known;
        };
        // H.264's prefix comes once, before slices that do not say their layer.
        let is_less = !is_new && known.spatial == said.spatial && known.temporal > said.temporal;
        let (temporal, switch) = if is_less { (known.temporal, known.switch) } else { (said.temporal, said.switch) };
        *known = FrameLayers { temporal, switch, ..said };
        *known
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_inside_of_a_picture_has_the_layers_of_its_beginning() {
        let mut tracker = LayerTracker::default();
        let begins = FrameLayers { temporal: 2, starts_frame: true, ..FrameLayers::default() };
        assert_eq!(tracker.observe(10, Some(begins)), begins);
        assert_eq!(tracker.observe(20, Some(FrameLayers { temporal: 1, ..begins })).temporal, 1);
        assert_eq!(tracker.observe(10, None), FrameLayers { starts_frame: false, ..begins });
        assert_eq!(tracker.observe(30, None), FrameLayers::default(), "its beginning is late");
        let slice = FrameLayers { starts_frame: true, ..FrameLayers::default() };
        assert_eq!(tracker.observe(10, Some(slice)).temporal, 2, "a slice after its prefix");
        let above = FrameLayers { spatial: 1, ..slice };
        assert_eq!(tracker.observe(10, Some(above)), above);
    }

    proptest! {
        #[test]
        fn numbers_that_are_written_are_read_and_nothing_else_changes(
            payload in proptest::collection::vec(any::<u8>(), 0..24),
            is_vp8 in any::<bool>(),
            (id, base, key) in any::<(u16, u8, u8)>(),
        ) {
            let codec = if is_vp8 { Codec::Vp8 } else { Codec::Vp9 };
            let Some(before) = read(codec, &payload) else { return Ok(()) };
            let numbers = PictureNumbers {
                picture_id: before.numbers.picture_id.map(|old| old.with(id)),
                base_index: before.numbers.base_index.map(|_| base),
                key_index: before.numbers.key_index.map(|_| key & 0x1f),
            };
            let mut changed = payload.clone();
            write_numbers(codec, &mut changed, &numbers);
            prop_assert_eq!(read(codec, &changed), Some(FrameLayers { numbers, ..before }));
            write_numbers(codec, &mut changed, &before.numbers);
            prop_assert_eq!(changed, payload);
        }

        #[test]
        fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            for codec in Codec::ALL {
                if let Some(layers) = read(codec, &payload) {
                    prop_assert!(layers.spatial < 64 && layers.temporal < 8);
                }
            }
        }
    }
}
