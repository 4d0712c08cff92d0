//! What does a VP9 payload say? RFC 9628.

use super::bits::Bits;
use super::layers::{FrameLayers, PictureId, PictureNumbers, TemporalSwitch};
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    parse(payload).unwrap_or_default()
}

fn parse(payload: &[u8]) -> Option<Description> {
    let (descriptor, frame) = Descriptor::parse(payload)?;
    // RFC 9628 §4.2: B marks the start of a layer frame, and the lowest layer (SID 0) comes first.
    let starts_frame = descriptor.starts_layer_frame && descriptor.spatial_layer == 0;
    if !starts_frame {
        return Some(Description { resolution: descriptor.largest, ..Description::default() });
    }
    let header = FrameHeader::parse(frame);
    // RFC 9628 §4.2: P tells a key frame by having no prediction between pictures. Intra-only
    // pictures have none either, but they leave reference slots unset: no start for a new decoder.
    // A header that cannot be read (it may be end-to-end encrypted) does not contradict P.
    let key = !descriptor.is_predicted && header != Some(FrameHeader::IntraOnly);
    let resolution = descriptor.largest.or(match header {
        Some(FrameHeader::Key { resolution }) => resolution,
        _ => None,
    });
    Some(Description { starts_frame, key, resolution, ..Description::default() })
}

/// Returns what the payload says of its layer.
pub(super) fn layers(payload: &[u8]) -> Option<FrameLayers> {
    let (descriptor, frame) = Descriptor::parse(payload)?;
    let starts_frame = descriptor.starts_layer_frame;
    let is_intra_only = || FrameHeader::parse(frame) == Some(FrameHeader::IntraOnly);
    // RFC 9628 §4.2, P: without prediction between pictures, a switch up from the layer below is
    // possible.
    let is_key = starts_frame && !descriptor.is_predicted && (descriptor.spatial_layer > 0 || !is_intra_only());
    Some(FrameLayers {
        spatial: descriptor.spatial_layer,
        temporal: descriptor.temporal_layer,
        starts_frame,
        ends_frame: descriptor.ends_layer_frame,
        is_key,
        switch: if descriptor.is_switch_up { TemporalSwitch::AboveThis } else { TemporalSwitch::No },
        discardable: false,
        needs_lower_spatial: descriptor.needs_lower_spatial,
        is_unneeded_above: descriptor.is_unneeded_above,
        numbers: descriptor.numbers,
    })
}

/// Writes other numbers over those that are there.
pub(super) fn write_numbers(payload: &mut [u8], numbers: &PictureNumbers) -> Option<()> {
    let (flags, mut rest) = payload.split_first_mut()?;
    if *flags & 0x80 != 0 {
        rest = match numbers.picture_id {
            Some(id) => id.write(rest)?,
            None => return None,
        };
    }
    if *flags & 0x30 == 0x20 {
        let index = rest.get_mut(1)?;
        *index = numbers.base_index.unwrap_or(*index);
    }
    Some(())
}

/// The fields of the payload descriptor that matter here: RFC 9628 §4.2.
#[derive(Debug, PartialEq, Eq)]
struct Descriptor {
    /// P: the picture is predicted from others.
    is_predicted: bool,
    /// B: a layer frame starts here.
    starts_layer_frame: bool,
    /// E: a layer frame ends here.
    ends_layer_frame: bool,
    /// SID; 0 if there are no layers.
    spatial_layer: u8,
    /// TID; 0 if there are no layers.
    temporal_layer: u8,
    /// U: after this picture, higher temporal layers need nothing of theirs from before it.
    is_switch_up: bool,
    /// D: predicted from the spatial layer below.
    needs_lower_spatial: bool,
    /// Z: no higher spatial layer is predicted from this one.
    is_unneeded_above: bool,
    numbers: PictureNumbers,
    /// The largest size in the scalability structure.
    largest: Option<Resolution>,
}

impl Descriptor {
    /// Parses a descriptor, and returns what follows it too.
    fn parse(payload: &[u8]) -> Option<(Descriptor, &[u8])> {
        // RFC 9628 §4.2: I, P, L, F, B, E, V, Z.
        let (flags, mut rest) = payload.split_first()?;
        let has = |bit: u8| flags & bit != 0;
        let (has_picture_id, has_layers, is_flexible, has_structure) = (has(0x80), has(0x20), has(0x10), has(0x02));
        let mut descriptor = Descriptor {
            is_predicted: has(0x40),
            starts_layer_frame: has(0x08),
            ends_layer_frame: has(0x04),
            spatial_layer: 0,
            temporal_layer: 0,
            is_switch_up: false,
            needs_lower_spatial: false,
            is_unneeded_above: has(0x01),
            numbers: PictureNumbers::default(),
            largest: None,
        };
        if has_picture_id {
            let (id, after) = PictureId::read(rest)?;
            descriptor.numbers.picture_id = Some(id);
            rest = after;
        }
        if has_layers {
            // TID (3), U, SID (3), D; and TL0PICIDX unless in flexible mode.
            let (indices, after) = rest.split_first()?;
            rest = after;
            descriptor.temporal_layer = indices >> 5;
            descriptor.is_switch_up = indices & 0x10 != 0;
            descriptor.spatial_layer = (indices >> 1) & 0x07;
            descriptor.needs_lower_spatial = indices & 0x01 != 0;
            if !is_flexible {
                let (index, after) = rest.split_first()?;
                descriptor.numbers.base_index = Some(*index);
                rest = after;
            }
        }
        if is_flexible && descriptor.is_predicted {
            // Up to three P_DIFF, each saying in its lowest bit (N) whether one more follows.
            for _ in 0..3 {
                let (difference, after) = rest.split_first()?;
                rest = after;
                if difference & 0x01 == 0 {
                    break;
                }
            }
        }
        if has_structure {
            (descriptor.largest, rest) = parse_structure(rest)?;
        }
        Some((descriptor, rest))
    }
}

/// Parses a scalability structure: RFC 9628 §4.2.1. Returns the largest size, and what follows.
fn parse_structure(bytes: &[u8]) -> Option<(Option<Resolution>, &[u8])> {
    // N_S (3), Y, G and three reserved bits.
    let (head, mut rest) = bytes.split_first()?;
    let mut largest = None;
    if head & 0x10 != 0 {
        // N_S is one less than the number of spatial layers.
        for _ in 0..=(head >> 5) {
            let (&[w0, w1, h0, h1], after) = rest.split_first_chunk()?;
            rest = after;
            let width = u16::from_be_bytes([w0, w1]);
            let height = u16::from_be_bytes([h0, h1]);
            let layer = Resolution::checked(width.into(), height.into());
            largest = std::cmp::max_by_key(largest, layer, |size| size.map(area));
        }
    }
    if head & 0x08 != 0 {
        // N_G pictures; each has TID (3), U, R (2), two reserved bits, then R times P_DIFF.
        let (pictures, after) = rest.split_first()?;
        rest = after;
        for _ in 0..*pictures {
            let (picture, after) = rest.split_first()?;
            rest = after.get(usize::from((picture >> 2) & 0x03)..)?;
        }
    }
    Some((largest, rest))
}

fn area(size: Resolution) -> u32 {
    u32::from(size.width).saturating_mul(size.height.into())
}

/// The beginning of a frame: VP9 bitstream specification v0.6 §6.2 and §7.2.
#[derive(Debug, PartialEq, Eq)]
enum FrameHeader {
    /// A decoder can start here.
    Key { resolution: Option<Resolution> },
    /// Predicted from nothing, and yet no place to start.
    IntraOnly,
    /// Predicted from others, or one of them shown again.
    Other,
}

impl FrameHeader {
    /// Parses an uncompressed header; `None` if this is not one.
    fn parse(frame: &[u8]) -> Option<FrameHeader> {
        let mut bits = Bits::new(frame);
        if bits.number(2)? != 2 {
            return None;
        }
        let profile_low = bits.flag()?;
        let profile_high = bits.flag()?;
        if profile_low && profile_high {
            bits.skip(1)?; // reserved_zero
        }
        if bits.flag()? {
            return Some(FrameHeader::Other); // show_existing_frame
        }
        let is_key = !bits.flag()?;
        let is_shown = bits.flag()?;
        let is_error_resilient = bits.flag()?;
        if is_key {
            if bits.number(24)? != SYNC_CODE {
                return None;
            }
            let resolution = frame_size(&mut bits, profile_low, profile_high);
            return Some(FrameHeader::Key { resolution });
        }
        let is_intra_only = !is_shown && bits.flag()?;
        if !is_intra_only {
            return Some(FrameHeader::Other);
        }
        if !is_error_resilient {
            bits.skip(2)?; // reset_frame_context
        }
        (bits.number(24)? == SYNC_CODE).then_some(FrameHeader::IntraOnly)
    }
}

/// Reads `color_config` and `frame_size`.
fn frame_size(bits: &mut Bits<'_>, profile_low: bool, profile_high: bool) -> Option<Resolution> {
    if profile_high {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let is_rgb = bits.number(3)? == 7;
    // Profiles 1 and 3 tell subsampling (two bits, unless RGB) and have a reserved bit.
    match (is_rgb, profile_low) {
        (false, false) => bits.skip(1)?,
        (false, true) => bits.skip(4)?,
        (true, true) => bits.skip(1)?,
        (true, false) => return None, // RGB is not for profiles 0 and 2.
    }
    let width = bits.number(16)?.saturating_add(1);
    let height = bits.number(16)?.saturating_add(1);
    Resolution::checked(width, height)
}

/// `frame_sync_code`: VP9 bitstream specification v0.6 §7.2.1.
const SYNC_CODE: u32 = 0x49_8342;

#[cfg(test)]
mod tests {
    use super::super::bits::tests::{pack, unhex};
    use super::*;

    /// Profile 0: marker 10, profile 00, not existing, key, shown, not resilient; sync code; then
    /// colour space 001, range 0; 639 and 359 in 16 bits; all shifted by four bits.
    const KEY: [u8; 9] = [0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x16, 0x70];
    /// Not shown, intra only, reset_frame_context 00, sync code.
    const INTRA_ONLY: [u8; 5] = [0x84, 0x89, 0x30, 0x68, 0x40];
    const PREDICTED: [u8; 3] = [0x86, 0x00, 0x00];

    const START: Description =
        Description { starts_frame: true, key: false, parameter_sets: false, resolution: None, discardable: false };

    fn key(width: u16, height: u16) -> Description {
        Description { key: true, resolution: Some(Resolution { width, height }), ..START }
    }

    #[test]
    fn payloads_say_what_rfc_9628_says() {
        let rows: [(&[u8], &[u8], Description); 17] = [
            // B; B and E; with picture ids of 7 and 15 bits.
            (&[0x08], &KEY, key(640, 360)),
            (&[0x0c], &KEY, key(640, 360)),
            (&[0x88, 0x12], &KEY, key(640, 360)),
            (&[0x88, 0x92, 0x34], &KEY, key(640, 360)),
            // P: predicted.
            (&[0xc8, 0x12], &PREDICTED, START),
            // Not B: inside of a picture.
            (&[0x80, 0x12], &KEY, Description::default()),
            (&[0x84, 0x12], &KEY, Description::default()),
            // Layers: SID 0 starts the picture, SID 1 does not; TL0PICIDX is there.
            (&[0xa8, 0x12, 0x00, 7], &KEY, key(640, 360)),
            (&[0xa8, 0x12, 0x03, 7], &KEY, Description::default()),
            // Flexible mode: no TL0PICIDX; one, two and three differences.
            (&[0xb8, 0x12, 0x00], &KEY, key(640, 360)),
            (&[0xf8, 0x12, 0x00, 0x02], &PREDICTED, START),
            (&[0xf8, 0x12, 0x00, 0x03, 0x04], &PREDICTED, START),
            (&[0xf8, 0x12, 0x00, 0x03, 0x05, 0x07], &PREDICTED, START),
            // Predicted from nothing, but no key frame.
            (&[0x88, 0x12], &INTRA_ONLY, START),
            // Unreadable frame header: the P bit decides.
            (&[0x88, 0x12], &[0x00, 1, 2, 3], Description { key: true, ..START }),
            (&[0x88, 0x12], &[], Description { key: true, ..START }),
            (&[0x88, 0x12], &KEY[..6], Description { key: true, ..START }),
        ];
        for (descriptor, frame, expected) in rows {
            let payload = [descriptor, frame].concat();
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn the_largest_layer_of_a_scalability_structure_is_the_size() {
        let sizes = |sizes: &[(u16, u16)]| -> Vec<u8> {
            sizes.iter().flat_map(|(w, h)| [w.to_be_bytes(), h.to_be_bytes()].concat()).collect()
        };
        let three = sizes(&[(320, 180), (640, 360), (1280, 720)]);
        let falling = sizes(&[(1280, 720), (320, 180)]);
        let rows = [
            // Three layers with sizes; and with a group of two pictures.
            ([&[0x8a, 1, 0x50], &three[..]].concat(), key(1280, 720)),
            ([&[0x8a, 1, 0x58], &three[..], &[2, 0x00, 0x28, 1, 2]].concat(), key(1280, 720)),
            ([&[0x8a, 1, 0x30], &falling[..]].concat(), key(1280, 720)),
            // No sizes: the header of the picture tells.
            ([&[0x8a, 1, 0x08, 1, 0x04, 1][..]].concat(), key(640, 360)),
            // Sizes of zero are none.
            ([&[0x8a, 1, 0x10, 0, 0, 0, 0][..]].concat(), key(640, 360)),
        ];
        for (descriptor, expected) in rows {
            let payload = [&descriptor[..], &KEY].concat();
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn every_profile_tells_its_size() {
        // Bits after marker: profile, [reserved], existing, key, shown, resilient, sync code,
        // colour.
        let rows = [
            ("00 0010 010010011000001101000010 001 0", true),
            ("10 0010 010010011000001101000010 001 0 11 0", true),
            ("01 0010 010010011000001101000010 0 001 0", true),
            ("11 0 0010 010010011000001101000010 0 001 0 11 0", true),
            ("10 0010 010010011000001101000010 111 0", true),
            ("00 0010 010010011000001101000010 111", false),
        ];
        for (bits, is_legal) in rows {
            let text = format!("10 {bits} 0000001001111111 0000000101100111");
            let header = FrameHeader::parse(&pack(&text));
            let resolution = is_legal.then_some(Resolution { width: 640, height: 360 });
            assert_eq!(header, Some(FrameHeader::Key { resolution }), "{bits}");
        }
    }

    #[test]
    fn pictures_of_libvpx_are_told_apart() {
        let size = Some(Resolution { width: 642, height: 362 });
        let rows = [
            ("8249834200281016960038241c18", FrameHeader::Key { resolution: size }),
            ("a249834200050202d2c007048383", FrameHeader::Key { resolution: size }), // 4:4:4
            ("86004092f0014004001861f2306a", FrameHeader::Other),
            ("a6004092f0014004000c604134dd", FrameHeader::Other),
        ];
        for (frame, expected) in rows {
            assert_eq!(FrameHeader::parse(&unhex(frame)), Some(expected), "{frame}");
        }
    }

    #[test]
    fn a_picture_shown_again_is_nothing_to_start_from() {
        assert_eq!(FrameHeader::parse(&[0x88]), Some(FrameHeader::Other));
        assert_eq!(FrameHeader::parse(&PREDICTED), Some(FrameHeader::Other));
    }

    #[test]
    fn a_descriptor_that_is_cut_off_says_nothing() {
        let whole = [0xfa, 0x92, 0x34, 0x00, 0x03, 0x04, 0x18, 0, 9, 0, 9, 1, 0x04, 1];
        for end in 0..whole.len() {
            assert_eq!(describe(&whole[..end]), Description::default(), "{end}");
        }
        assert!(describe(&whole).starts_frame);
    }

    #[test]
    fn layers_are_those_of_the_descriptor() {
        let id = PictureNumbers { picture_id: Some(PictureId::Long(0x1234)), ..PictureNumbers::default() };
        let with_index = PictureNumbers { base_index: Some(7), ..id };
        let none = FrameLayers { numbers: id, ..FrameLayers::default() };
        let rows: [(&[u8], FrameLayers); 8] = [
            (&[0x88, 0x92, 0x34, 0x82], FrameLayers { starts_frame: true, is_key: true, ..none }),
            (&[0xc4, 0x92, 0x34, 0x86], FrameLayers { ends_frame: true, ..none }),
            // TID 1, U, SID 0.
            (
                &[0xec, 0x92, 0x34, 0x30, 7],
                FrameLayers {
                    temporal: 1,
                    switch: TemporalSwitch::AboveThis,
                    starts_frame: true,
                    ends_frame: true,
                    numbers: with_index,
                    ..none
                },
            ),
            // The second spatial layer of a key picture: D, not P.
            (
                &[0xa8, 0x92, 0x34, 0x03, 7],
                FrameLayers {
                    spatial: 1,
                    needs_lower_spatial: true,
                    starts_frame: true,
                    is_key: true,
                    numbers: with_index,
                    ..none
                },
            ),
            // Flexible: no TL0PICIDX.
            (
                &[0xf8, 0x92, 0x34, 0x45, 0x02],
                FrameLayers { spatial: 2, temporal: 2, needs_lower_spatial: true, starts_frame: true, ..none },
            ),
            (&[0x88, 0x92, 0x34, 0x84, 0x89, 0x30, 0x68, 0x40], FrameLayers { starts_frame: true, ..none }),
            (&[0x80, 0x92, 0x34], none),
            // Z.
            (&[0x81, 0x92, 0x34], FrameLayers { is_unneeded_above: true, ..none }),
        ];
        for (payload, expected) in rows {
            assert_eq!(layers(payload), Some(expected), "{payload:x?}");
        }
        assert_eq!(layers(&[0xa8, 0x92, 0x34, 0x03]), None, "cut off");
    }
}
