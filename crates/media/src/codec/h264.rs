//! What does an H.264 payload say? RFC 6184.

use super::bits::Bits;
use super::layers::{FrameLayers, TemporalSwitch};
use super::parameter_sets::{Key, Kind};
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    summarise(payload).description()
}

/// Returns the layer of a payload; `None` if the payload contains neither a slice nor a prefix NAL
/// unit.
///
/// Prefix NAL units carry temporal layers (H.264 §7.3.1, `temporal_id` of annex G), but few
/// encoders write them. The pictures of all other encoders form two layers: reference pictures, and
/// pictures without references to them.
pub(super) fn layers(payload: &[u8]) -> Option<FrameLayers> {
    let summary = summarise(payload);
    let description = summary.description();
    let discardable = description.discardable;
    let told = summary.temporal;
    if told.is_none() && !summary.has_slices && !description.parameter_sets {
        return None;
    }
    let temporal = told.unwrap_or(u8::from(discardable));
    let is_free = temporal > 0 && discardable;
    Some(FrameLayers {
        temporal,
        starts_frame: description.starts_frame,
        is_key: description.key,
        switch: if is_free { TemporalSwitch::ToThis } else { TemporalSwitch::No },
        discardable,
        ..FrameLayers::default()
    })
}

fn summarise(payload: &[u8]) -> Summary {
    let mut summary = Summary::default();
    match payload {
        // RFC 6184 §5.6: a single NAL unit.
        [head, body @ ..] if matches!(nal_type(*head), 1..=23) => summary.add(*head, body),
        // RFC 6184 §5.7.1: STAP-A.
        [head, units @ ..] if nal_type(*head) == 24 => {
            for unit in Aggregated(units) {
                if let Some((head, body)) = unit.split_first() {
                    summary.add(*head, body);
                }
            }
        }
        // RFC 6184 §5.8: FU-A. The indicator has nal_ref_idc, the FU header S, E, R and the type.
        [indicator, head, body @ ..] if nal_type(*indicator) == 28 => {
            let nal_head = (indicator & 0xe0) | nal_type(*head);
            if head & 0x80 != 0 {
                summary.add(nal_head, body);
            } else {
                summary.continues(nal_head);
            }
        }
        // STAP-B, MTAP and FU-B are for interleaved mode, which WebRTC does not use.
        _ => {}
    }
    summary
}

/// Returns the whole NAL units of a payload: of a single NAL unit packet or a STAP-A.
pub(super) fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (single, aggregated) = match payload {
        [head, units @ ..] if nal_type(*head) == 24 => (None, units),
        [head, ..] if matches!(nal_type(*head), 1..=23) => (Some(payload), &[][..]),
        _ => (None, &[][..]),
    };
    single.into_iter().chain(Aggregated(aggregated))
}

/// Returns which parameter set a NAL unit is, if it is one.
pub(super) fn parameter_set(unit: &[u8]) -> Option<Key> {
    let (head, body) = unit.split_first()?;
    let mut bits = Bits::of_nal_unit(body);
    let kind = match nal_type(*head) {
        7 => {
            bits.skip(24)?; // profile, constraint flags, level
            Kind::Sequence
        }
        8 => Kind::Picture,
        _ => return None,
    };
    let id = bits.exp_golomb()?;
    // H.264 §7.4.2.1.1 and §7.4.2.2.
    let most = if kind == Kind::Sequence { 31 } else { 255 };
    (id <= most).then_some(Key { kind, id })
}

/// The NAL units of an aggregation packet, each after its length: RFC 6184 §5.7.1.
struct Aggregated<'a>(&'a [u8]);

impl<'a> Iterator for Aggregated<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(unit)
    }
}

/// What the NAL units of a packet say together.
#[derive(Default)]
struct Summary {
    has_units: bool,
    starts_frame: bool,
    key: bool,
    parameter_sets: bool,
    resolution: Option<Resolution>,
    has_slices: bool,
    has_referenced_slices: bool,
    /// Of a prefix: `temporal_id`.
    temporal: Option<u8>,
}

impl Summary {
    /// Adds a NAL unit, or the beginning of one.
    fn add(&mut self, head: u8, body: &[u8]) {
        let nal_type = nal_type(head);
        // H.264 §7.3.3: first_mb_in_slice comes first, and 0 is written as a single 1.
        let is_first_slice = body.first().is_some_and(|bits| bits & 0x80 != 0);
        // H.264 §7.4.1.2.3: with which NAL units an access unit begins.
        let begins_picture = match nal_type {
            1 | 2 | 5 => is_first_slice,
            6..=9 | 14..=18 => true,
            _ => false,
        };
        if !self.has_units {
            self.starts_frame = begins_picture;
        }
        self.has_units = true;
        match nal_type {
            1..=5 => {
                self.key = self.key || (nal_type == 5 && is_first_slice);
                self.continues(head);
            }
            7 => {
                self.parameter_sets = true;
                self.resolution = self.resolution.or_else(|| resolution(body));
            }
            8 | 15 => self.parameter_sets = true,
            // H.264 §G.7.3.1.1: svc_extension_flag 1, then nal_unit_header_svc_extension: idr_flag
            // (1), priority_id (6), no_inter_layer_pred_flag (1), dependency_id (3), quality_id
            // (4), temporal_id (3) and more.
            14 => {
                if let &[first, _, third, ..] = body
                    && first & 0x80 != 0
                {
                    self.temporal = Some(third >> 5);
                }
            }
            _ => {}
        }
    }

    /// Adds the middle of a NAL unit, of which only the header is known.
    fn continues(&mut self, head: u8) {
        if matches!(nal_type(head), 1..=5) {
            self.has_slices = true;
            // H.264 §7.4.1: nal_ref_idc is 0 in pictures that no other refers to.
            self.has_referenced_slices = self.has_referenced_slices || head & 0x60 != 0;
        }
    }

    fn description(&self) -> Description {
        Description {
            starts_frame: self.starts_frame,
            key: self.key,
            parameter_sets: self.parameter_sets,
            resolution: self.resolution,
            discardable: self.has_slices && !self.has_referenced_slices && !self.parameter_sets,
        }
    }
}

/// Returns `nal_unit_type`: H.264 §7.3.1.
const fn nal_type(head: u8) -> u8 {
    head & 0x1f
}

/// Returns the size in a sequence parameter set (without its NAL header): H.264 §7.3.2.1.1.
fn resolution(sps: &[u8]) -> Option<Resolution> {
    let mut bits = Bits::of_nal_unit(sps);
    let profile = bits.number(8)?;
    bits.skip(16)?; // constraint flags, level
    bits.exp_golomb()?; // seq_parameter_set_id
    let chroma = if HIGH_PROFILES.contains(&profile) { high_profile_chroma(&mut bits)? } else { Chroma::YUV_420 };
    bits.exp_golomb()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut bits)?;
    bits.exp_golomb()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_in_macroblocks = bits.exp_golomb()?.checked_add(1)?;
    let height_in_map_units = bits.exp_golomb()?.checked_add(1)?;
    let is_frame_only = bits.flag()?;
    if !is_frame_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if bits.flag()? {
        for side in &mut crop {
            *side = bits.exp_golomb()?;
        }
    }
    let [left, right, top, bottom] = crop;

    // H.264 §7.4.2.1.1, equations 7-13 to 7-22: a macroblock has 16 pixels; a map unit is one
    // macroblock high, or two where fields may be coded, and so is the unit of vertical cropping.
    let fields = if is_frame_only { 1 } else { 2 };
    let width = width_in_macroblocks.checked_mul(16)?;
    let height = height_in_map_units.checked_mul(16)?.checked_mul(fields)?;
    let unused_width = left.checked_add(right)?.checked_mul(chroma.crop_x)?;
    let crop_y = chroma.crop_y.checked_mul(fields)?;
    let unused_height = top.checked_add(bottom)?.checked_mul(crop_y)?;
    Resolution::checked(width.checked_sub(unused_width)?, height.checked_sub(unused_height)?)
}

/// The units in which cropping is told: H.264 table 6-1 and equations 7-19 to 7-22.
struct Chroma {
    crop_x: u32,
    crop_y: u32,
}

impl Chroma {
    const YUV_420: Chroma = Chroma { crop_x: 2, crop_y: 2 };
    const YUV_422: Chroma = Chroma { crop_x: 2, crop_y: 1 };
    /// Also monochrome, and three separate planes.
    const UNSAMPLED: Chroma = Chroma { crop_x: 1, crop_y: 1 };
}

/// Reads what only the high profiles have.
fn high_profile_chroma(bits: &mut Bits<'_>) -> Option<Chroma> {
    let chroma_format = bits.exp_golomb()?;
    if chroma_format == 3 {
        bits.skip(1)?; // separate_colour_plane_flag
    }
    bits.exp_golomb()?; // bit_depth_luma_minus8
    bits.exp_golomb()?; // bit_depth_chroma_minus8
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        let lists = if chroma_format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    match chroma_format {
        1 => Some(Chroma::YUV_420),
        2 => Some(Chroma::YUV_422),
        0 | 3 => Some(Chroma::UNSAMPLED),
        _ => None,
    }
}

/// Passes over a scaling list: H.264 §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let mut last = 8i32;
    for _ in 0..size {
        // Once the next scale is 0, the rest of the list repeats the last one.
        let next = last.checked_add(bits.signed_exp_golomb()?)?.rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Some(())
}

/// Passes over how the order of pictures is told.
fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.exp_golomb()?; // offset_for_non_ref_pic
            bits.exp_golomb()?; // offset_for_top_to_bottom_field
            // Each one takes at least a bit, so a false count ends with the bits.
            for _ in 0..bits.exp_golomb()? {
                bits.exp_golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    Some(())
}

/// `profile_idc` of those with `chroma_format_idc` and scaling lists: H.264 §7.3.2.1.1.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bits::tests::{escape, exp_golomb, pack, unhex};
    use super::*;

    /// 1280x720, high profile: the first of [`SETS_OF_X264`].
    const SPS: [u8; 23] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xb2, 0x00, 0xa0, 0x0b, 0x74, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00,
        0x07, 0x91, 0xe3, 0x06, 0x49,
    ];
    const PPS: [u8; 4] = [0x68, 0xeb, 0xc3, 0xcb];
    const SEI: [u8; 3] = [0x06, 0x05, 0xff];
    const AUD: [u8; 2] = [0x09, 0x10];
    const IDR: [u8; 3] = [0x65, 0x88, 0x84];
    const IDR_SECOND_SLICE: [u8; 3] = [0x65, 0x00, 0x39];
    const SLICE: [u8; 3] = [0x41, 0x9a, 0x38];
    const SECOND_SLICE: [u8; 3] = [0x41, 0x00, 0x39];
    const UNREFERENCED: [u8; 3] = [0x01, 0x9e, 0x41];

    const NOTHING: Description =
        Description { starts_frame: false, key: false, parameter_sets: false, resolution: None, discardable: false };
    const START: Description = Description { starts_frame: true, ..NOTHING };
    const SETS: Description = Description { parameter_sets: true, ..START };
    const SIZED: Description = Description { resolution: Some(Resolution { width: 1280, height: 720 }), ..SETS };
    const KEY: Description = Description { key: true, ..START };

    #[test]
    fn payloads_say_what_rfc_6184_says() {
        let unreferenced = Description { discardable: true, ..START };
        let rows = [
            // Single NAL units.
            (SPS.to_vec(), SIZED),
            (PPS.to_vec(), SETS),
            (SEI.to_vec(), START),
            (AUD.to_vec(), START),
            (IDR.to_vec(), KEY),
            (IDR_SECOND_SLICE.to_vec(), NOTHING),
            (SLICE.to_vec(), START),
            (SECOND_SLICE.to_vec(), NOTHING),
            (UNREFERENCED.to_vec(), unreferenced),
            (vec![0x65], NOTHING),
            (vec![0x0c, 0xff], NOTHING), // filler
            // STAP-A.
            (stap_a(&[&SPS, &PPS]), SIZED),
            (stap_a(&[&SPS, &PPS, &IDR]), Description { key: true, ..SIZED }),
            (stap_a(&[&AUD, &SLICE]), START),
            (stap_a(&[&SLICE, &UNREFERENCED]), START),
            (stap_a(&[&UNREFERENCED, &SECOND_SLICE[..1]]), START),
            (stap_a(&[&SEI, &UNREFERENCED]), unreferenced),
            (stap_a(&[&SECOND_SLICE, &SLICE]), NOTHING),
            (stap_a(&[]), NOTHING),
            // A length that runs over the end: what stands before it is good.
            ([stap_a(&[&PPS]), vec![0, 9, 0x65, 0x88]].concat(), SETS),
            (vec![0x78, 0, 0, 0, 0], NOTHING),
            (vec![0x78, 0], NOTHING),
            // FU-A: the beginning, the middle and the end of an IDR slice.
            (vec![0x7c, 0x85, 0x88, 0x84], KEY),
            (vec![0x7c, 0x05, 0x88, 0x84], NOTHING),
            (vec![0x7c, 0x45, 0x88, 0x84], NOTHING),
            (vec![0x7c, 0x85, 0x00, 0x39], NOTHING),
            (vec![0x5c, 0x81, 0x9a], START),
            (vec![0x1c, 0x81, 0x9a], unreferenced),
            (vec![0x1c, 0x01, 0x9a], Description { discardable: true, ..NOTHING }),
            (vec![0x7c], NOTHING),
            (vec![0x7c, 0x85], NOTHING),
            // Interleaved mode, and types not defined.
            ([&[0x79, 0, 0, 0, 3], &IDR[..]].concat(), NOTHING),
            (vec![0x7d, 0x85, 0, 0, 0x88], NOTHING),
            (vec![0x60, 0x88], NOTHING),
            (vec![0x7f, 0x88], NOTHING),
        ];
        for (payload, expected) in rows {
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn parameter_sets_of_x264_tell_their_size() {
        assert_eq!(SPS[..], unhex(SETS_OF_X264[0].0));
        for (sps, width, height) in SETS_OF_X264 {
            let expected = Some(Resolution { width: *width, height: *height });
            assert_eq!(resolution(&unhex(sps)[1..]), expected, "{sps}");
        }
    }

    #[test]
    fn a_parameter_set_that_is_cut_off_tells_no_size() {
        // The size is told within the first 12 bytes after the header.
        for end in 0..9 {
            assert_eq!(resolution(&SPS[1..=end]), None, "{end}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_none() {
        let rows = [
            sps(100, 4, 79, 44, true, [0; 4]),          // no such chroma format
            sps(66, 1, 5000, 44, true, [0; 4]),         // wider than 16 bits
            sps(66, 1, u32::MAX - 1, 44, true, [0; 4]), // wider than 32 bits
            sps(66, 1, 0, 0, true, [4, 4, 0, 0]),       // nothing left
            sps(66, 1, 0, 0, true, [u32::MAX - 1, 4, 0, 0]),
        ];
        for sps in rows {
            assert_eq!(resolution(&sps), None, "{sps:x?}");
        }
    }

    #[test]
    fn a_false_count_of_picture_order_offsets_ends_with_the_bits() {
        let bits = format!("{:08b} {:016b} 1 1 {} 0 1 1", 66, 0, exp_golomb(1));
        let sps = pack(&format!("{bits} {}", exp_golomb(u32::MAX - 1)));
        assert_eq!(resolution(&sps), None);
    }

    #[test]
    fn picture_order_of_every_kind_is_passed_over() {
        let offsets = [exp_golomb(2), exp_golomb(9), exp_golomb(4)].concat();
        let kinds = [
            format!("{} {}", exp_golomb(0), exp_golomb(4)),
            format!("{} 1 {} {} {offsets}", exp_golomb(1), exp_golomb(5), exp_golomb(6)),
            exp_golomb(2),
        ];
        for kind in kinds {
            let size = format!("{} {} 1 1 0", exp_golomb(79), exp_golomb(44));
            let sps = pack(&format!("{:08b} {:016b} 1 1 {kind} 1 0 {size}", 66, 0));
            assert_eq!(resolution(&sps), SIZED.resolution, "{kind}");
        }
    }

    #[test]
    fn layers_follow_from_prefixes_and_from_unreferenced_pictures() {
        let none = FrameLayers { starts_frame: true, ..FrameLayers::default() };
        let free = FrameLayers { temporal: 1, discardable: true, switch: TemporalSwitch::ToThis, ..none };
        let prefix = |temporal: u8| [0x6e, 0x80, 0x80, temporal << 5 | 0x0f];
        let rows = [
            (IDR.to_vec(), Some(FrameLayers { is_key: true, ..none })),
            (SLICE.to_vec(), Some(none)),
            (UNREFERENCED.to_vec(), Some(free)),
            (vec![0x1c, 0x01, 0x9a], Some(FrameLayers { starts_frame: false, ..free })),
            (SPS.to_vec(), Some(none)),
            (SEI.to_vec(), None),
            (prefix(2).to_vec(), Some(FrameLayers { temporal: 2, ..none })),
            (stap_a(&[&prefix(1), &SLICE]), Some(FrameLayers { temporal: 1, ..none })),
            (stap_a(&[&prefix(2), &UNREFERENCED]), Some(FrameLayers { temporal: 2, ..free })),
            (stap_a(&[&prefix(0), &SLICE]), Some(none)),
        ];
        for (payload, expected) in rows {
            assert_eq!(layers(&payload), expected, "{payload:x?}");
        }
    }

    /// Sequence parameter sets with their NAL header: high, baseline, main; interlaced with
    /// cropping; 4:2:2; 4:4:4; scaling lists; monochrome.
    const SETS_OF_X264: &[(&str, u16, u16)] = &[
        ("6764001facb200a00b7420000003002000000791e30649", 1280, 720),
        ("6742c028d900780227e584000003000400000300f23c60c920", 1920, 1080),
        ("674d4015eca0d8ff2708000003000800000301e078b16cb0", 426, 240),
        ("67640028acd94078044fdc20000003002000000783e2c5b2c0", 1920, 1080),
        ("677a001fbcd9405005beae10000003001000000303c0f1831960", 1278, 718),
        ("67f4001f919b280a00b7d542000003000200000300781e30632c", 1279, 719),
        ("6764001eacd940a02ff9610000030001000003003c0f162d96", 640, 360),
        ("6764001ef3650290bf8f9e10000003001000000303c0f162d960", 642, 362),
    ];

    fn stap_a(units: &[&[u8]]) -> Vec<u8> {
        let lengths = units.iter().map(|unit| (unit.len() as u16).to_be_bytes());
        let units = lengths.zip(units).flat_map(|(length, unit)| [&length[..], unit].concat());
        std::iter::once(0x78).chain(units).collect()
    }

    /// Writes a sequence parameter set without its NAL header. `width` and `height` are in
    /// macroblocks and map units, less one; `crop` is left, right, top, bottom.
    fn sps(profile: u32, chroma: u32, width: u32, height: u32, is_frame_only: bool, crop: [u32; 4]) -> Vec<u8> {
        let mut text = format!("{profile:08b} {:016b} {}", 0x1f, exp_golomb(0));
        if HIGH_PROFILES.contains(&profile) {
            text += &exp_golomb(chroma);
            text += if chroma == 3 { "0" } else { "" };
            // Bit depths, transform bypass; scaling lists: the first with one step and an early end
            // (8 - 8 = 0), then absent ones.
            text += &format!("{} {} 0 1", exp_golomb(0), exp_golomb(0));
            text += &format!("1 {} {}", exp_golomb(0), exp_golomb(16));
            text += &"0".repeat(if chroma == 3 { 11 } else { 7 });
        }
        text += &format!("{} {} {} {} 0", exp_golomb(0), exp_golomb(0), exp_golomb(2), exp_golomb(4));
        text += &format!("{} {}", exp_golomb(width), exp_golomb(height));
        text += if is_frame_only { "1" } else { "0 1" };
        text += "1 1";
        text += &crop.map(exp_golomb).concat();
        escape(&pack(&(text + "0 1")))
    }

    proptest! {
        #[test]
        fn any_size_is_told(
            profile in proptest::sample::select(vec![66, 77, 100, 122, 244]), chroma in 0u32..4,
            width in 1u32..400, height in 1u32..200, is_frame_only: bool,
            crop in [0u32..4, 0u32..4, 0u32..2, 0u32..2],
        ) {
            let chroma = if HIGH_PROFILES.contains(&profile) { chroma } else { 1 };
            let sps = sps(profile, chroma, width, height, is_frame_only, crop);
            let fields = if is_frame_only { 1 } else { 2 };
            let (x, y) = [(1, 1), (2, 2), (2, 1), (1, 1)][chroma as usize];
            let expected = Resolution {
                width: ((width + 1) * 16 - (crop[0] + crop[1]) * x) as u16,
                height: ((height + 1) * 16 * fields - (crop[2] + crop[3]) * y * fields) as u16,
            };
            prop_assert_eq!(resolution(&sps), Some(expected));
        }
    }
}
