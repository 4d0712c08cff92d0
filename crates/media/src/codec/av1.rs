//! What does an AV1 payload say? RTP Payload Format For AV1, v1.0 (AOMedia).

use super::bits::Bits;
use super::layers::FrameLayers;
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    let Some((&head, rest)) = payload.split_first() else {
        return Description::default();
    };
    // AV1 RTP §4.4: Z, Y, W (2), N. Z: the first element continues one of the packet before.
    let continues = head & 0x80 != 0;
    let elements = Elements { rest, declared: (head >> 4) & 0x03, count: 0 };
    let obus = elements.skip(usize::from(continues)).map(Obu::parse);

    let mut description = Description::default();
    let mut first = None;
    let mut has_key_frame = false;
    for obu in obus.map_while(|obu| obu) {
        first.get_or_insert(obu);
        match obu.kind {
            ObuKind::SequenceHeader => {
                description.parameter_sets = true;
                let resolution = sequence_resolution(obu.payload);
                description.resolution = description.resolution.or(resolution);
            }
            ObuKind::Frame => {
                has_key_frame = has_key_frame || starts_with_key_frame(obu.payload);
                break; // What follows belongs to this picture or to higher layers of it.
            }
            ObuKind::Leading | ObuKind::Inside => {}
        }
    }
    description.starts_frame =
        !continues && first.is_some_and(|obu| obu.kind != ObuKind::Inside && obu.spatial_layer == 0);
    // AV1 RTP §4.4: N is set in the first packet of a coded video sequence, and there Z is not. For
    // senders that forget N: a sequence header and a key frame in one packet are such a packet too.
    let is_new_sequence = head & 0x08 != 0 || (description.parameter_sets && has_key_frame);
    description.key = description.starts_frame && is_new_sequence;
    description
}

/// Returns what the payload says of its layer: nothing if it only has the inside of an OBU.
///
/// AV1 RTP §5: all OBUs of a packet that have an extension are of one layer, so the last one found
/// tells. Without the Dependency Descriptor there is no telling where a receiver may switch up but
/// at key frames.
pub(super) fn layers(payload: &[u8]) -> Option<FrameLayers> {
    let (&head, rest) = payload.split_first()?;
    let continues = head & 0x80 != 0;
    let elements = Elements { rest, declared: (head >> 4) & 0x03, count: 0 };
    let obus = elements.skip(usize::from(continues)).map_while(Obu::parse);
    // Sequence headers and delimiters belong to all layers, and have no extension.
    let mut last = None;
    let mut has_beginning = false;
    for obu in obus.filter(|obu| matches!(obu.kind, ObuKind::Frame | ObuKind::Inside)) {
        has_beginning |= obu.kind == ObuKind::Frame;
        last = Some(obu);
    }
    let description = describe(payload);
    if last.is_none() && !description.key {
        return None;
    }
    let (spatial, temporal) = last.map_or((0, 0), |obu| (obu.spatial_layer, obu.temporal_layer));
    let is_key = spatial == 0 && description.key;
    let starts_frame = is_key || (!continues && has_beginning);
    Some(FrameLayers { spatial, temporal, starts_frame, is_key, ..FrameLayers::default() })
}

/// The OBU elements of a payload, whole or in part.
struct Elements<'a> {
    rest: &'a [u8],
    /// W: how many there are, the last without a length; or 0, then all have one.
    declared: u8,
    count: u8,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.count = self.count.saturating_add(1);
        if self.count == self.declared {
            return Some(std::mem::take(&mut self.rest));
        }
        let (element, rest) =
            leb128(self.rest).and_then(|(length, after)| after.split_at_checked(length)).unwrap_or_default();
        self.rest = rest;
        // A length that is wrong ends it: there is no telling where the next element is.
        (!element.is_empty()).then_some(element)
    }
}

/// What an OBU is to the picture it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObuKind {
    /// The size and more, before key frames.
    SequenceHeader,
    /// May stand before a picture.
    Leading,
    /// The beginning of a picture.
    Frame,
    /// Never the beginning of a picture.
    Inside,
}

/// An open bitstream unit, possibly cut off.
#[derive(Debug, Clone, Copy)]
struct Obu<'a> {
    kind: ObuKind,
    spatial_layer: u8,
    temporal_layer: u8,
    payload: &'a [u8],
}

impl<'a> Obu<'a> {
    fn parse(element: &'a [u8]) -> Option<Obu<'a>> {
        // AV1 §5.3.2: forbidden bit, type (4), extension flag, has_size_field, reserved bit.
        let (head, mut rest) = element.split_first()?;
        let (mut spatial_layer, mut temporal_layer) = (0, 0);
        if head & 0x04 != 0 {
            // AV1 §5.3.3: temporal_id (3), spatial_id (2), reserved (3).
            let (extension, after) = rest.split_first()?;
            spatial_layer = (extension >> 3) & 0x03;
            temporal_layer = extension >> 5;
            rest = after;
        }
        if head & 0x02 != 0 {
            // The RTP format asks senders to leave the size out. It may run over this packet's end.
            let (size, after) = leb128(rest)?;
            rest = after.get(..size).unwrap_or(after);
        }
        // AV1 §6.2.2, obu_type.
        let kind = match (head >> 3) & 0x0f {
            1 => ObuKind::SequenceHeader,
            2 | 5 => ObuKind::Leading, // temporal delimiter, metadata
            3 | 6 => ObuKind::Frame,   // frame header, frame
            _ => ObuKind::Inside,
        };
        Some(Obu { kind, spatial_layer, temporal_layer, payload: rest })
    }
}

/// Returns whether a frame header is that of a new key frame: AV1 §5.9.2.
///
/// Only right after a sequence header without `reduced_still_picture_header`; such a one codes a
/// single picture, which is a key frame with other bits here.
fn starts_with_key_frame(header: &[u8]) -> bool {
    // show_existing_frame is clear, and frame_type (2) is KEY_FRAME, 0.
    header.first().is_some_and(|bits| bits & 0xe0 == 0)
}

/// Returns the size in a sequence header: AV1 §5.5.1.
fn sequence_resolution(header: &[u8]) -> Option<Resolution> {
    let mut bits = Bits::new(header);
    bits.skip(4)?; // seq_profile, still_picture
    let is_reduced = bits.flag()?;
    if is_reduced {
        bits.skip(5)?; // seq_level_idx
    } else {
        skip_operating_points(&mut bits)?;
    }
    // Both sizes are told in as many bits as they need.
    let width_bits = bits.number(4)?.saturating_add(1);
    let height_bits = bits.number(4)?.saturating_add(1);
    let width = bits.number(width_bits)?.saturating_add(1);
    let height = bits.number(height_bits)?.saturating_add(1);
    Resolution::checked(width, height)
}

/// Passes over timing, decoder model and operating points: AV1 §5.5.1, §5.5.3 to §5.5.5.
fn skip_operating_points(bits: &mut Bits<'_>) -> Option<()> {
    let mut buffer_delay_bits = None;
    if bits.flag()? {
        bits.skip(64)?; // num_units_in_display_tick, time_scale
        if bits.flag()? {
            bits.exp_golomb()?; // num_ticks_per_picture
        }
        if bits.flag()? {
            buffer_delay_bits = Some(bits.number(5)?.saturating_add(1));
            // num_units_in_decoding_tick, lengths of removal and presentation time
            bits.skip(42)?;
        }
    }
    let has_display_delay = bits.flag()?;
    let last_operating_point = bits.number(5)?;
    for _ in 0..=last_operating_point {
        bits.skip(12)?; // operating_point_idc
        if bits.number(5)? > 7 {
            bits.skip(1)?; // seq_tier, for levels above 3.3
        }
        if let Some(delay_bits) = buffer_delay_bits
            && bits.flag()?
        {
            // decoder_buffer_delay, encoder_buffer_delay, low_delay_mode_flag
            bits.skip(delay_bits.saturating_mul(2).saturating_add(1))?;
        }
        if has_display_delay && bits.flag()? {
            bits.skip(4)?; // initial_display_delay_minus_1
        }
    }
    Some(())
}

/// Reads a number of 7 bits per byte, and returns what follows it too: AV1 §4.10.5.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0u64;
    let mut rest = bytes;
    for at in 0..8u32 {
        let (byte, after) = rest.split_first()?;
        rest = after;
        number |= u64::from(byte & 0x7f) << at.saturating_mul(7);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::{pack, unhex};
    use super::*;
    use proptest::prelude::*;

    /// OBU header (sequence header, no size), then profile 0, one operating point, level 8 (4.0),
    /// tier 0, 11 + 10 bits of size: 1279 and 719.
    fn sequence_header() -> Vec<u8> {
        obu("0 0001 000", "000 0 0 0 0 00000 000000000000 01000 0 1010 1001 10011111111 1011001111")
    }

    fn frame(bits: &str) -> Vec<u8> {
        obu("0 0110 000", bits)
    }

    const SIZE: Option<Resolution> = Some(Resolution { width: 1280, height: 720 });

    #[test]
    fn payloads_say_what_the_rtp_format_says() {
        let sequence = sequence_header();
        let key_frame = frame("0 00 10000");
        let inter_frame = frame("0 01 10000");
        let start = Description { starts_frame: true, ..Description::default() };
        let key = Description { key: true, parameter_sets: true, resolution: SIZE, ..start };
        let rows = [
            // W 2, with N and without; each element with a length (W 0).
            (payload(0x28, &[&sequence, &key_frame], true), key),
            (payload(0x20, &[&sequence, &key_frame], true), key),
            (payload(0x08, &[&sequence, &key_frame], false), key),
            // A temporal delimiter in front, which senders should have removed.
            (payload(0x38, &[&obu("0 0010 000", ""), &sequence, &key_frame], true), key),
            // The sequence header alone: believed to start a sequence only with N.
            (payload(0x18, &[&sequence], true), key),
            (payload(0x10, &[&sequence], true), Description { key: false, ..key }),
            // A sequence header repeated before another kind of frame.
            (payload(0x20, &[&sequence, &inter_frame], true), Description { key: false, ..key }),
            // An ordinary picture; its beginning (Y), its inside (Z), its second tile group.
            (payload(0x10, &[&inter_frame], true), start),
            (payload(0x50, &[&inter_frame], true), start),
            (payload(0x90, &[&inter_frame], true), Description::default()),
            (payload(0x10, &[&obu("0 0100 000", "1")], true), Description::default()),
            // N means nothing in the middle of an OBU.
            (payload(0x98, &[&inter_frame], true), Description::default()),
            // A key frame without a sequence header is nothing to start from.
            (payload(0x10, &[&key_frame], true), start),
            // The second spatial layer.
            (payload(0x10, &[&obu("0 0110 100 000 01 000", "0 01")], true), Description::default()),
            // The OBU has a size of its own.
            (payload(0x18, &[&with_size(&sequence)], true), key),
        ];
        for (payload, expected) in rows {
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn sequence_headers_of_all_shapes_tell_their_size() {
        let size = "1010 1001 10011111111 1011001111";
        let zeros = "0".repeat(64);
        let rows = [
            // reduced_still_picture_header
            "000 1 1 01000".to_owned(),
            // Level 2.0 has no tier.
            "000 0 0 0 0 00000 000000000000 00000".to_owned(),
            // Two operating points, with display delays.
            "000 0 0 0 1 00001 000000000000 00000 0 000000000000 00001 1 0101".to_owned(),
            // Timing, with ticks per picture, without a decoder model.
            format!("000 0 0 1 {zeros} 1 010 0 0 00000 000000000000 00000"),
            // Timing and a decoder model with buffer delays of 3 bits.
            format!("000 0 0 1 {zeros} 0 1 00010 {} 00000 00000 0 00000 000000000000 00000 1 101 101 1", &zeros[..32]),
        ];
        for bits in rows {
            let header = pack(&format!("{bits} {size}"));
            assert_eq!(sequence_resolution(&header), SIZE, "{bits}");
        }
    }

    #[test]
    fn a_key_frame_of_svt_av1_is_one_with_and_without_n() {
        // Both OBUs have sizes of their own; the frame is cut off.
        let sequence = "0a0b0000000cc5036912be4010";
        let frame = "322310008c2081450820";
        for head in ["28", "20"] {
            let payload = unhex(&format!("{head}0d{sequence}{frame}"));
            let description = describe(&payload);
            assert!(description.key && description.starts_frame && description.parameter_sets);
            assert_eq!(description.resolution, Some(Resolution { width: 642, height: 362 }));
        }
    }

    #[test]
    fn lengths_that_are_wrong_end_the_payload() {
        let rows: [&[u8]; 5] = [
            &[0x00, 0xff],
            &[0x00, 0x05, 0x08],
            &[0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x08],
            &[0x20, 0x7f, 0x08],
            &[0x00, 0x00, 0x08],
        ];
        for payload in rows {
            assert_eq!(describe(payload), Description::default(), "{payload:x?}");
        }
    }

    #[test]
    fn leb128_numbers_end_within_eight_bytes() {
        assert_eq!(leb128(&[0x05, 9]), Some((5, &[9][..])));
        assert_eq!(leb128(&[0xe5, 0x8e, 0x26]), Some((624_485, &[][..])));
        assert_eq!(leb128(&[0x80, 0x80, 0x00]), Some((0, &[][..])));
        assert_eq!(leb128(&[0x80; 7]), None);
        assert_eq!(leb128(&[0x80; 9]), None);
    }

    #[test]
    fn layers_are_those_of_the_extension() {
        let none = FrameLayers::default();
        let begins = FrameLayers { starts_frame: true, ..none };
        let of_layer = |extension: &str| obu(&format!("0 0110 100 {extension} 000"), "0 01 10000");
        let key = [sequence_header(), frame("0 00 10000")];
        let rows = [
            (payload(0x28, &[&key[0], &key[1]], true), Some(FrameLayers { is_key: true, ..begins })),
            (payload(0x10, &[&frame("0 01 10000")], true), Some(begins)),
            (payload(0x10, &[&of_layer("010 00")], true), Some(FrameLayers { temporal: 2, ..begins })),
            (payload(0x10, &[&of_layer("001 01")], true), Some(FrameLayers { temporal: 1, spatial: 1, ..begins })),
            // The end of one OBU, then a tile group of the same frame.
            (
                payload(0xa0, &[&[1, 2, 3], &obu("0 0100 100 001 01 000", "1")], true),
                Some(FrameLayers { temporal: 1, spatial: 1, ..none }),
            ),
            // Only the inside of one.
            (payload(0xd0, &[&[1, 2, 3]], true), None),
            (vec![], None),
        ];
        for (payload, expected) in rows {
            assert_eq!(layers(&payload), expected, "{payload:x?}");
        }
    }

    fn payload(head: u8, elements: &[&[u8]], last_has_no_length: bool) -> Vec<u8> {
        let mut payload = vec![head];
        for (at, element) in elements.iter().enumerate() {
            if !last_has_no_length || at + 1 < elements.len() {
                payload.push(element.len() as u8);
            }
            payload.extend(*element);
        }
        payload
    }

    fn with_size(obu: &[u8]) -> Vec<u8> {
        [&[obu[0] | 0x02, (obu.len() - 1) as u8], &obu[1..]].concat()
    }

    fn obu(header: &str, bits: &str) -> Vec<u8> {
        [pack(header), pack(bits)].concat()
    }

    proptest! {
        #[test]
        fn any_size_is_told(width in 1u32..=65_535, height in 1u32..=65_535) {
            let bits = format!("000 1 1 01000 1111 1111 {:016b} {:016b}", width - 1, height - 1);
            let expected = Resolution { width: width as u16, height: height as u16 };
            prop_assert_eq!(sequence_resolution(&pack(&bits)), Some(expected));
        }
    }
}
