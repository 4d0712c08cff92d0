//! What does an H.264 payload say? RFC 6184.

use super::bits::Bits;
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
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
    summary.description()
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
    let chroma = if HIGH_PROFILES.contains(&profile) {
        high_profile_chroma(&mut bits)?
    } else {
        Chroma::YUV_420
    };
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
    Resolution::checked(
        width.checked_sub(unused_width)?,
        height.checked_sub(unused_height)?,
    )
}

/// The units in which cropping is told: H.264 table 6-1 and equations 7-19 to 7-22.
struct Chroma {
    crop_x: u32,
    crop_y: u32,
}

impl Chroma {
    const YUV_420: Chroma = Chroma {
        crop_x: 2,
        crop_y: 2,
    };
    const YUV_422: Chroma = Chroma {
        crop_x: 2,
        crop_y: 1,
    };
    /// Also monochrome, and three separate planes.
    const UNSAMPLED: Chroma = Chroma {
        crop_x: 1,
        crop_y: 1,
    };
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
