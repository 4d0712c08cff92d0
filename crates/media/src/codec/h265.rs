//! What does an H.265 payload say? RFC 7798.

use super::bits::Bits;
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    let mut summary = Summary::default();
    let Some((head, body)) = split_head(payload) else {
        return Description::default();
    };
    match head.nal_type {
        // RFC 7798 §4.4.1: a single NAL unit.
        0..=47 => summary.add(head, body),
        // RFC 7798 §4.4.2: an aggregation packet. Without sprop-max-don-diff, which WebRTC does not
        // use, there are no decoding order numbers.
        48 => {
            for unit in Aggregated(body) {
                if let Some((head, body)) = split_head(unit) {
                    summary.add(head, body);
                }
            }
        }
        // RFC 7798 §4.4.3: a fragmentation unit; its header has S, E and the type.
        49 => {
            if let Some((fragment_head, body)) = body.split_first()
                && fragment_head & 0x80 != 0
            {
                summary.add(
                    Head {
                        nal_type: fragment_head & 0x3f,
                        ..head
                    },
                    body,
                );
            }
        }
        // PACI (50) and what is not defined.
        _ => {}
    }
    summary.description
}

/// The header of a NAL unit: H.265 §7.3.1.2.
#[derive(Clone, Copy)]
struct Head {
    nal_type: u8,
    /// `nuh_layer_id`; pictures of a stream that everybody can decode are in layer 0.
    layer: u8,
}

fn split_head(unit: &[u8]) -> Option<(Head, &[u8])> {
    // F, nal_unit_type (6), nuh_layer_id (6), nuh_temporal_id_plus1 (3).
    let (&[first, second], body) = unit.split_first_chunk()?;
    let layer = ((first & 0x01) << 5) | (second >> 3);
    Some((
        Head {
            nal_type: (first >> 1) & 0x3f,
            layer,
        },
        body,
    ))
}

/// The NAL units of an aggregation packet, each after its length: RFC 7798 §4.4.2.
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
///
/// Never `discardable`: an even NAL type below 16 says that no picture *of the same temporal layer*
/// refers to this one, and pictures of higher layers still may (H.265 §7.4.2.2).
#[derive(Default)]
struct Summary {
    has_units: bool,
    description: Description,
}

impl Summary {
    /// Adds a NAL unit, or the beginning of one.
    fn add(&mut self, head: Head, body: &[u8]) {
        if head.layer != 0 {
            self.has_units = true;
            return;
        }
        // H.265 §7.3.6.1: first_slice_segment_in_pic_flag is the first bit.
        let is_first_slice = body.first().is_some_and(|bits| bits & 0x80 != 0);
        // H.265 §7.4.2.4.4: with which NAL units an access unit begins.
        let begins_picture = match head.nal_type {
            0..=31 => is_first_slice,
            32..=35 | 39 | 41..=44 | 48..=55 => true,
            _ => false,
        };
        if !self.has_units {
            self.description.starts_frame = begins_picture;
        }
        self.has_units = true;
        match head.nal_type {
            // H.265 §7.4.2.2: BLA, IDR and CRA, the pictures for random access.
            16..=21 => self.description.key |= is_first_slice,
            // Video, sequence and picture parameter sets.
            32..=34 => self.description.parameter_sets = true,
            _ => {}
        }
        if head.nal_type == 33 && self.description.resolution.is_none() {
            self.description.resolution = resolution(body);
        }
    }
}

/// Returns the size in a sequence parameter set (without its NAL header): H.265 §7.3.2.2.1.
fn resolution(sps: &[u8]) -> Option<Resolution> {
    let mut bits = Bits::of_nal_unit(sps);
    bits.skip(4)?; // sps_video_parameter_set_id
    let sub_layers = bits.number(3)?; // sps_max_sub_layers_minus1
    bits.skip(1)?; // sps_temporal_id_nesting_flag
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.exp_golomb()?; // sps_seq_parameter_set_id
    let chroma_format = bits.exp_golomb()?;
    // H.265 table 6-1: how many pixels of luma there are for one of chroma; and equations 7-27,
    // 7-28: cropping is told in these units.
    let (crop_x, crop_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        0 | 3 => (1, 1),
        _ => return None,
    };
    if chroma_format == 3 {
        bits.skip(1)?; // separate_colour_plane_flag
    }
    let width = bits.exp_golomb()?;
    let height = bits.exp_golomb()?;
    let mut window = [0; 4];
    if bits.flag()? {
        for side in &mut window {
            *side = bits.exp_golomb()?;
        }
    }
    let [left, right, top, bottom] = window;
    let unused_width = left.checked_add(right)?.checked_mul(crop_x)?;
    let unused_height = top.checked_add(bottom)?.checked_mul(crop_y)?;
    Resolution::checked(
        width.checked_sub(unused_width)?,
        height.checked_sub(unused_height)?,
    )
}

/// Passes over `profile_tier_level(1, sub_layers)`: H.265 §7.3.3.
fn skip_profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    bits.skip(PROFILE_BITS)?;
    bits.skip(LEVEL_BITS)?;
    if sub_layers == 0 {
        return Some(());
    }
    let mut present = [(false, false); 8];
    for sub_layer in present.iter_mut().take(sub_layers.try_into().ok()?) {
        *sub_layer = (bits.flag()?, bits.flag()?);
    }
    // reserved_zero_2bits for each of the sub-layers, up to eight, that are not there.
    bits.skip(8u32.saturating_sub(sub_layers).saturating_mul(2))?;
    for (has_profile, has_level) in present {
        if has_profile {
            bits.skip(PROFILE_BITS)?;
        }
        if has_level {
            bits.skip(LEVEL_BITS)?;
        }
    }
    Some(())
}

/// Profile space, tier, profile, 32 compatibility flags, 48 flags and reserved bits.
const PROFILE_BITS: u32 = 88;
const LEVEL_BITS: u32 = 8;
