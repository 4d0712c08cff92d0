//! Which parameter sets must a decoder have before a key frame?
//!
//! Some senders write the parameter sets of H.264 (SPS, PPS) and H.265 (VPS, SPS, PPS) before every
//! key frame, some once, and some only into their session description (`sprop-parameter-sets`, RFC
//! 6184 §8.1; `sprop-vps`, `sprop-sps`, `sprop-pps`, RFC 7798 §7.1). A receiver that joins later
//! needs them too. [`ParameterSets`] keeps the latest of each kind and id, and
//! [`ParameterSets::current`] is what can be sent before a key frame that [lacks](lacks) them.
//!
//! AV1 needs nothing like it: a key frame that decoding can begin with follows a sequence header in
//! its own temporal unit (AV1 §7.6.2), and VP8 and VP9 have no parameter sets.

use std::sync::Arc;

use super::{Codec, Resolution, h264, h265};

/// The latest parameter sets of one encoding.
#[derive(Debug, Clone, Default)]
pub struct ParameterSets {
    codec: Option<Codec>,
    sets: Vec<Set>,
    current: Option<Arc<Units>>,
    refused: u64,
}

/// What a parameter set is referred to by. The order is the one in which a decoder needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) id: u32,
}

/// What a parameter set describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// H.265 only.
    Video,
    Sequence,
    Picture,
}

#[derive(Debug, Clone)]
struct Set {
    key: Key,
    unit: Arc<[u8]>,
}

/// Parameter sets as NAL units, video before sequence before picture. Each is the payload of an RTP
/// packet (single NAL unit packet: RFC 6184 §5.6, RFC 7798 §4.4.1), which every packetization mode
/// allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    units: Vec<Arc<[u8]>>,
    keys: Vec<Key>,
    codec: Codec,
    /// The size that the first sequence parameter set tells.
    pub resolution: Option<Resolution>,
}

/// The most parameter sets of one encoding: H.264 allows 32 and 256 (§7.4.2), encoders in use write
/// one SPS and up to four PPS, H.265 one VPS more. A guess.
pub const MAX_SETS: usize = 16;

/// The longest parameter set that is kept: one that fits a packet of 1,200 bytes beside its
/// headers. Those of encoders in use have 4 to 60 bytes, with scaling lists about 200.
pub const MAX_SET_BYTES: usize = 1_100;

impl ParameterSets {
    /// Keeps the parameter sets of a payload. Returns whether anything has changed.
    pub fn observe(&mut self, codec: Codec, payload: &[u8]) -> bool {
        let mut changed = false;
        each_unit(codec, payload, |unit| changed |= self.keep(codec, unit));
        changed
    }

    /// Keeps one NAL unit, if it is a parameter set. Returns whether anything has changed.
    pub fn keep(&mut self, codec: Codec, unit: &[u8]) -> bool {
        let Some(key) = key_of(codec, unit) else { return false };
        if self.codec.replace(codec) != Some(codec) {
            self.sets.clear();
        }
        let place = self.sets.binary_search_by_key(&key, |set| set.key);
        let known = place.ok().and_then(|place| self.sets.get(place));
        if known.is_some_and(|set| *set.unit == *unit) {
            return false;
        }
        if unit.len() > MAX_SET_BYTES || (place.is_err() && self.sets.len() >= MAX_SETS) {
            self.refused = self.refused.saturating_add(1);
            return false;
        }
        let set = Set { key, unit: unit.into() };
        match place {
            Ok(place) => self.sets.get_mut(place).into_iter().for_each(|old| *old = set.clone()),
            Err(place) => self.sets.insert(place, set),
        }
        self.current = Some(Arc::new(Units {
            units: self.sets.iter().map(|set| Arc::clone(&set.unit)).collect(),
            keys: self.sets.iter().map(|set| set.key).collect(),
            codec,
            resolution: self.sets.iter().find_map(|set| resolution(codec, &set.unit)),
        }));
        true
    }

    /// Returns the sets that precede a key frame; `None` while no set of this codec is known.
    pub fn current(&self, codec: Codec) -> Option<&Arc<Units>> {
        self.current.as_ref().filter(|units| units.codec == codec)
    }

    /// Returns whether the stored sets suffice for a key frame: one set of each kind that `codec`
    /// needs.
    pub fn is_complete(&self, codec: Codec) -> bool {
        let has = |kind| self.codec == Some(codec) && self.sets.iter().any(|set| set.key.kind == kind);
        match codec {
            Codec::H264 => has(Kind::Sequence) && has(Kind::Picture),
            Codec::H265 => has(Kind::Video) && has(Kind::Sequence) && has(Kind::Picture),
            Codec::Opus | Codec::Red | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => true,
        }
    }

    /// Sets that were not kept because of [`MAX_SETS`] or [`MAX_SET_BYTES`].
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl Units {
    /// Returns the number of packets, at most [`MAX_SETS`].
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Returns whether there is no packet; always `false`.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Returns the payload of a packet; empty beyond the last one.
    pub fn payload(&self, place: usize) -> &[u8] {
        self.units.get(place).map_or(&[], |unit| unit)
    }
}

/// Returns whether the picture with these payloads contains fewer parameter sets than are stored.
pub fn lacks<'a>(known: &Units, picture: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut missing = known.keys.clone();
    for payload in picture {
        each_unit(known.codec, payload, |unit| {
            let brought = key_of(known.codec, unit);
            missing.retain(|key| Some(*key) != brought);
        });
        if missing.is_empty() {
            return false;
        }
    }
    !missing.is_empty()
}

/// Calls `take` with each whole NAL unit of a payload. Fragments are passed over: a parameter set
/// that takes more than one packet is longer than [`MAX_SET_BYTES`], or its sender has a reason
/// that is not known to us.
fn each_unit(codec: Codec, payload: &[u8], take: impl FnMut(&[u8])) {
    match codec {
        Codec::H264 => h264::units(payload).for_each(take),
        Codec::H265 => h265::units(payload).for_each(take),
        Codec::Opus | Codec::Red | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => {}
    }
}

fn key_of(codec: Codec, unit: &[u8]) -> Option<Key> {
    match codec {
        Codec::H264 => h264::parameter_set(unit),
        Codec::H265 => h265::parameter_set(unit),
        Codec::Opus | Codec::Red | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => None,
    }
}

fn resolution(codec: Codec, unit: &[u8]) -> Option<Resolution> {
    super::describe(codec, unit).resolution
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1280x720 of x264, with the ids 0.
    const SPS: [u8; 23] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xb2, 0x00, 0xa0, 0x0b, 0x74, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00,
        0x07, 0x91, 0xe3, 0x06, 0x49,
    ];
    const PPS: [u8; 4] = [0x68, 0xeb, 0xc3, 0xcb];
    /// `pic_parameter_set_id` 1 is written 010.
    const PPS_1: [u8; 4] = [0x68, 0x5b, 0xc3, 0xcb];
    const IDR: [u8; 3] = [0x65, 0x88, 0x84];

    const VPS_265: [u8; 5] = [0x40, 0x01, 0x0c, 0x01, 0xff];
    const SPS_265: [u8; 20] = [0x42, 0x01, 0x01, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x5d, 0xa0, 0x02];
    const PPS_265: [u8; 4] = [0x44, 0x01, 0xc1, 0x72];

    fn stap_a(units: &[&[u8]]) -> Vec<u8> {
        let lengths = units.iter().map(|unit| (unit.len() as u16).to_be_bytes());
        let units = lengths.zip(units).flat_map(|(length, unit)| [&length[..], unit].concat());
        std::iter::once(0x78).chain(units).collect()
    }

    fn known(payloads: &[&[u8]]) -> ParameterSets {
        let mut sets = ParameterSets::default();
        for payload in payloads {
            sets.observe(Codec::H264, payload);
        }
        sets
    }

    #[test]
    fn the_latest_set_of_each_id_is_kept_in_the_order_of_decoding() {
        let mut sets = known(&[&PPS_1, &stap_a(&[&PPS, &SPS]), &IDR]);
        let units = sets.current(Codec::H264).expect("three are known").clone();
        assert_eq!((0..4).map(|n| units.payload(n)).collect::<Vec<_>>(), [&SPS[..], &PPS, &PPS_1, &[]]);
        assert_eq!(units.resolution, Some(Resolution { width: 1_280, height: 720 }));
        assert!(!sets.observe(Codec::H264, &PPS), "it is known");
        let changed = [0x68, 0xeb, 0xc3, 0xcc];
        assert!(sets.observe(Codec::H264, &changed));
        let units = sets.current(Codec::H264).expect("three are known");
        assert_eq!((units.len(), units.payload(1)), (3, &changed[..]));
    }

    #[test]
    fn a_picture_lacks_sets_unless_it_brings_all_of_the_known_ids() {
        let sets = known(&[&SPS, &PPS, &PPS_1]);
        let units = sets.current(Codec::H264).expect("three are known");
        let rows: [(&[&[u8]], bool); 5] = [
            (&[&IDR], true),
            (&[&SPS, &PPS, &IDR], true),
            (&[&SPS, &PPS, &PPS_1, &IDR], false),
            (&[&stap_a(&[&SPS, &PPS_1, &[0x68, 0xeb, 0xc3, 0xcc], &IDR])], false),
            (&[], true),
        ];
        for (picture, expected) in rows {
            assert_eq!(lacks(units, picture.iter().copied()), expected, "{picture:x?}");
        }
    }

    #[test]
    fn sets_are_complete_when_there_is_one_of_each_kind() {
        assert!(!known(&[]).is_complete(Codec::H264) && !known(&[&SPS]).is_complete(Codec::H264));
        assert!(known(&[&SPS, &PPS]).is_complete(Codec::H264) && known(&[]).is_complete(Codec::Vp8));
        let mut sets = ParameterSets::default();
        for (unit, complete) in [(&VPS_265[..], false), (&PPS_265, false), (&SPS_265, true)] {
            assert!(sets.observe(Codec::H265, unit), "{unit:x?}");
            assert_eq!(sets.is_complete(Codec::H265), complete);
        }
        let units = sets.current(Codec::H265).expect("three are known");
        assert_eq!([units.payload(0), units.payload(1), units.payload(2)], [&VPS_265[..], &SPS_265, &PPS_265]);
        assert!(sets.current(Codec::H264).is_none() && !sets.is_complete(Codec::H264));
        // The publisher changes to H.264: the sets of H.265 are discarded.
        sets.observe(Codec::H264, &SPS);
        assert!(sets.current(Codec::H265).is_none() && !sets.is_complete(Codec::H265));
    }

    #[test]
    fn sets_beyond_the_limits_are_refused_and_counted() {
        let mut sets = ParameterSets::default();
        for id in 0..40_u32 {
            // ue(id) for id below 64, with leading zeros as Exp-Golomb writes it.
            let code = u64::from(id + 1);
            let width = 2 * (63 - code.leading_zeros()) + 1;
            let bits = (code << (32 - width)) as u32 | 1;
            sets.observe(Codec::H264, &[&[0x68][..], &bits.to_be_bytes()].concat());
        }
        assert_eq!((sets.current(Codec::H264).map(|units| units.len()), sets.refused()), (Some(MAX_SETS), 24));
        let long = [&SPS[..], &[1; MAX_SET_BYTES]].concat();
        let mut sets = known(&[&SPS]);
        assert!(!sets.observe(Codec::H264, &long));
        assert_eq!((sets.current(Codec::H264).map(|units| units.payload(0).len()), sets.refused()), (Some(23), 1));
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic_or_grow(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..60),
        ) {
            for codec in Codec::ALL {
                let mut sets = ParameterSets::default();
                for payload in &payloads {
                    sets.observe(codec, payload);
                    if let Some(units) = sets.current(codec) {
                        prop_assert!((1..=MAX_SETS).contains(&units.len()));
                        lacks(units, payloads.iter().map(Vec::as_slice));
                    }
                }
            }
        }
    }
}
