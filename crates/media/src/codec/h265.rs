//! What does an H.265 payload say? RFC 7798.

use super::bits::Bits;
use super::layers::{FrameLayers, TemporalSwitch};
use super::parameter_sets::{Key, Kind};
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
                summary.add(Head { nal_type: fragment_head & 0x3f, ..head }, body);
            }
        }
        // PACI (50) and undefined types.
        _ => {}
    }
    summary.description
}

/// Returns the layer of a payload. Every packet has one: the payload header has the format of a NAL
/// unit header, and its temporal layer is that of the contents (RFC 7798 §4.4.2: the lowest of an
/// aggregation packet).
pub(super) fn layers(payload: &[u8]) -> Option<FrameLayers> {
    let (head, body) = split_head(payload)?;
    let description = describe(payload);
    let nal_type = match head.nal_type {
        48 => Aggregated(body).filter_map(split_head).map(|(unit, _)| unit.nal_type).find(|kind| *kind < 32)?,
        49 => body.first()? & 0x3f,
        single => single,
    };
    // H.265 table 7-1. TSA: no picture of this layer or above refers to one from before of this
    // layer or above; STSA: the same of this layer alone.
    let switch = match nal_type {
        2 | 3 => TemporalSwitch::ToThisAndAbove,
        4 | 5 => TemporalSwitch::ToThis,
        _ => TemporalSwitch::No,
    };
    Some(FrameLayers {
        temporal: head.temporal_layer,
        starts_frame: description.starts_frame,
        is_key: description.key,
        switch,
        ..FrameLayers::default()
    })
}

/// The header of a NAL unit: H.265 §7.3.1.2.
#[derive(Clone, Copy)]
struct Head {
    nal_type: u8,
    /// `nuh_layer_id`. Decoders without extensions decode layer 0 only.
    layer: u8,
    /// `nuh_temporal_id_plus1`, less one.
    temporal_layer: u8,
}

fn split_head(unit: &[u8]) -> Option<(Head, &[u8])> {
    // F, nal_unit_type (6), nuh_layer_id (6), nuh_temporal_id_plus1 (3).
    let (&[first, second], body) = unit.split_first_chunk()?;
    let layer = ((first & 0x01) << 5) | (second >> 3);
    let temporal_layer = (second & 0x07).saturating_sub(1);
    Some((Head { nal_type: (first >> 1) & 0x3f, layer, temporal_layer }, body))
}

/// Returns the whole NAL units of a payload: of a single NAL unit packet or an aggregation packet.
pub(super) fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (single, aggregated) = match split_head(payload) {
        Some((Head { nal_type: 48, .. }, units)) => (None, units),
        Some((Head { nal_type: 0..=47, .. }, _)) => (Some(payload), &[][..]),
        _ => (None, &[][..]),
    };
    single.into_iter().chain(Aggregated(aggregated))
}

/// Returns which parameter set of layer 0 a NAL unit is, if it is one.
pub(super) fn parameter_set(unit: &[u8]) -> Option<Key> {
    let (head, body) = split_head(unit).filter(|(head, _)| head.layer == 0)?;
    let mut bits = Bits::of_nal_unit(body);
    // H.265 §7.4.3.1, §7.4.3.2.1 and §7.4.3.3.1: the largest ids.
    let (kind, id, most) = match head.nal_type {
        32 => (Kind::Video, bits.number(4)?, 15),
        33 => {
            bits.skip(4)?; // sps_video_parameter_set_id
            let sub_layers = bits.number(3)?;
            bits.skip(1)?; // sps_temporal_id_nesting_flag
            skip_profile_tier_level(&mut bits, sub_layers)?;
            (Kind::Sequence, bits.exp_golomb()?, 15)
        }
        34 => (Kind::Picture, bits.exp_golomb()?, 63),
        _ => return None,
    };
    (id <= most).then_some(Key { kind, id })
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
    Resolution::checked(width.checked_sub(unused_width)?, height.checked_sub(unused_height)?)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bits::tests::{escape, exp_golomb, pack, unhex};
    use super::*;

    const VPS: [u8; 4] = [0x40, 0x01, 0x0c, 0x01];
    const PPS: [u8; 4] = [0x44, 0x01, 0xc1, 0x72];
    const SEI: [u8; 4] = [0x4e, 0x01, 0x05, 0xff];
    const AUD: [u8; 3] = [0x46, 0x01, 0x50];
    const IDR: [u8; 4] = [0x28, 0x01, 0xaf, 0x08];
    const SLICE: [u8; 4] = [0x02, 0x01, 0xd8, 0x09];

    const NOTHING: Description =
        Description { starts_frame: false, key: false, parameter_sets: false, resolution: None, discardable: false };
    const START: Description = Description { starts_frame: true, ..NOTHING };
    const SETS: Description = Description { parameter_sets: true, ..START };
    const SIZED: Description = Description { resolution: Some(Resolution { width: 1280, height: 720 }), ..SETS };
    const KEY: Description = Description { key: true, ..START };
    const KEY_INSIDE: Description = Description { key: true, ..NOTHING };

    #[test]
    fn layers_are_those_of_the_header() {
        let none = FrameLayers { starts_frame: true, ..FrameLayers::default() };
        let rows: [(&[u8], Option<FrameLayers>); 7] = [
            // IDR, TRAIL_R, TSA_N of temporal layer 2, STSA_R of 1; the inside of a fragmented
            // TSA_R.
            (&[0x26, 0x01, 0xaf], Some(FrameLayers { is_key: true, ..none })),
            (&[0x02, 0x01, 0xd0], Some(none)),
            (&[0x04, 0x03, 0xe0], Some(FrameLayers { temporal: 2, switch: TemporalSwitch::ToThisAndAbove, ..none })),
            (&[0x0a, 0x02, 0xd0], Some(FrameLayers { temporal: 1, switch: TemporalSwitch::ToThis, ..none })),
            (
                &[0x62, 0x03, 0x03, 0x11],
                Some(FrameLayers { temporal: 2, switch: TemporalSwitch::ToThisAndAbove, starts_frame: false, ..none }),
            ),
            // Aggregated: a delimiter, then TRAIL_R.
            (&[0x60, 0x01, 0, 3, 0x46, 0x01, 0x50, 0, 3, 0x02, 0x01, 0xd0], Some(none)),
            (&[0x26], None),
        ];
        for (payload, expected) in rows {
            assert_eq!(layers(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn payloads_say_what_rfc_7798_says() {
        let sps = unhex(SETS_OF_X265[0].0);
        let rows = [
            // Single NAL units.
            (VPS.to_vec(), SETS),
            (sps.clone(), SIZED),
            (PPS.to_vec(), SETS),
            (SEI.to_vec(), START),
            (AUD.to_vec(), START),
            (IDR.to_vec(), KEY),
            (SLICE.to_vec(), START),
            (vec![0x28, 0x01, 0x2f], NOTHING), // not the first slice
            (vec![0x02, 0x01, 0x2f], NOTHING),
            (vec![0x00, 0x01, 0x80], START),   // TRAIL_N
            (vec![0x50, 0x01, 0x80], NOTHING), // suffix SEI
            (vec![0x28, 0x01], NOTHING),
            (vec![0x28], NOTHING),
            // A layer of another picture format.
            (vec![0x28, 0x09, 0xaf], NOTHING),
            (vec![0x29, 0x01, 0xaf], NOTHING),
            // Aggregation packets.
            (aggregate(&[&VPS, &sps, &PPS]), SIZED),
            (aggregate(&[&VPS, &sps, &PPS, &IDR]), Description { key: true, ..SIZED }),
            (aggregate(&[&AUD, &SLICE]), START),
            (aggregate(&[&[0x02, 0x01, 0x2f], &IDR]), KEY_INSIDE),
            (aggregate(&[]), NOTHING),
            ([aggregate(&[&VPS]), vec![0, 9, 0x28, 1, 0xaf]].concat(), SETS),
            (vec![0x60, 0x01, 0, 0, 0, 1, 0x28, 0], NOTHING),
            // Fragmentation units: beginning, middle, end, cut off.
            (vec![0x62, 0x01, 0x94, 0xaf], KEY),
            (vec![0x62, 0x01, 0x14, 0xaf], NOTHING),
            (vec![0x62, 0x01, 0x54, 0xaf], NOTHING),
            (vec![0x62, 0x01, 0x81, 0xd8], START),
            (vec![0x62, 0x01, 0x81, 0x58], NOTHING),
            (vec![0x62, 0x01, 0x94], NOTHING),
            (vec![0x62, 0x01], NOTHING),
            // PACI, and types not defined.
            (vec![0x64, 0x01, 0x28, 0x00, 0xaf], NOTHING),
            (vec![0x7e, 0x01, 0xaf], NOTHING),
        ];
        for (payload, expected) in rows {
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn pictures_for_random_access_are_those_of_types_16_to_21() {
        for nal_type in 0..32u8 {
            let description = describe(&[nal_type << 1, 1, 0x80]);
            assert_eq!(description.key, (16..=21).contains(&nal_type), "{nal_type}");
            assert!(description.starts_frame, "{nal_type}");
        }
    }

    #[test]
    fn parameter_sets_of_x265_tell_their_size() {
        for (sps, width, height) in SETS_OF_X265 {
            let expected = Some(Resolution { width: *width, height: *height });
            assert_eq!(resolution(&unhex(sps)[2..]), expected, "{sps}");
        }
    }

    #[test]
    fn sizes_that_make_no_sense_are_none() {
        let rows = [
            sps(0, "", 4, 1280, 720, [0; 4]),
            sps(0, "", 1, 70_000, 720, [0; 4]),
            sps(0, "", 1, 1280, 0, [0; 4]),
            sps(0, "", 1, 8, 8, [4, 4, 0, 0]),
            sps(0, "", 1, 8, 8, [u32::MAX - 1, 1, 0, 0]),
            sps(0, "", 1, 1280, 720, [0; 4])[..13].to_vec(),
        ];
        for sps in rows {
            assert_eq!(resolution(&sps), None, "{sps:x?}");
        }
    }

    /// Sequence parameter sets with their NAL header: main, with cropping; 4:2:2; 4:4:4; three
    /// temporal layers; monochrome.
    const SETS_OF_X265: &[(&str, u16, u16)] = &[
        ("42010101600000030090000003000003005da00280802d165959a4932b9a020000030002000003003c10", 1280, 720),
        ("420101016000000300900000030000030078a003c08010e596566924cae68080000003008000000f04", 1920, 1080),
        ("42010101600000030090000003000003003ca00d880f1c9e5959a4932b9a020000030002000003003c10", 426, 240),
        ("4201010408000003009d0800000300005db00280802d1d5e5959a4932b9a020000030002000003003c10", 1278, 718),
        ("4201010408000003009e0800000300005d9000501005a3aacb2b349265734040000003004000000782", 1279, 719),
        ("42010401600000030090000003000003003f0000a005020169659594aca565924cae6808000003000800000300f040", 640, 360),
        ("4201010408000003009fc800000300003fc0144805c73cf96566924cae6808000003000800000300f040", 642, 362),
    ];

    fn aggregate(units: &[&[u8]]) -> Vec<u8> {
        let lengths = units.iter().map(|unit| (unit.len() as u16).to_be_bytes());
        let units = lengths.zip(units).flat_map(|(length, unit)| [&length[..], unit].concat());
        [0x60, 0x01].into_iter().chain(units).collect()
    }

    /// Writes a sequence parameter set without its NAL header. `present` has the two flags of each
    /// sub-layer, `window` is left, right, top, bottom.
    fn sps(sub_layers: u32, present: &str, chroma: u32, width: u32, height: u32, window: [u32; 4]) -> Vec<u8> {
        let mut text = format!("0000 {sub_layers:03b} 1 {} {}", "01".repeat(44), "0".repeat(8));
        if sub_layers > 0 {
            text += present;
            text += &"00".repeat(8 - sub_layers as usize);
            for flags in present.as_bytes().chunks(2) {
                text += &"1".repeat(usize::from(flags[0] - b'0') * 88);
                text += &"1".repeat(usize::from(flags[1] - b'0') * 8);
            }
        }
        text += &format!("{} {}", exp_golomb(0), exp_golomb(chroma));
        text += if chroma == 3 { "0" } else { "" };
        text += &format!("{} {} 1", exp_golomb(width), exp_golomb(height));
        text += &window.map(exp_golomb).concat();
        escape(&pack(&(text + "1")))
    }

    proptest! {
        #[test]
        fn any_size_is_told(
            present in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..=6), chroma in 0u32..4,
            width in 16u32..8192, height in 16u32..8192, window in [0u32..4, 0u32..4, 0u32..4, 0u32..4],
        ) {
            let flags: String = present.iter().map(|(a, b)| format!("{}{}", u8::from(*a), u8::from(*b))).collect();
            let sps = sps(present.len() as u32, &flags, chroma, width, height, window);
            let (x, y) = [(1, 1), (2, 2), (2, 1), (1, 1)][chroma as usize];
            let expected = Resolution {
                width: (width - (window[0] + window[1]) * x) as u16,
                height: (height - (window[2] + window[3]) * y) as u16,
            };
            prop_assert_eq!(resolution(&sps), Some(expected));
        }
    }
}
