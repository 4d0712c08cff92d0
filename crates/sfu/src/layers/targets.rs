//! Which packets of one encoding does a viewer get, by the Dependency Descriptor?
//!
//! The viewer is sent one decode target. It changes to another at a frame that is a switch point of it and whose references
//! were sent; or at once, if all that the other one needs has been sent anyway. A frame that refers to one that was left out
//! is left out too.

use std::collections::VecDeque;

use media::SeqUnwrapper;
use media::codec::dependency::{Descriptor, Indication, Structure};

use super::selector::Haste;

/// What is being sent of one encoding.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets {
    current: Option<u8>,
    numbers: SeqUnwrapper,
    /// The first frame of the run.
    first: Option<u64>,
    /// What was decided lately.
    frames: VecDeque<(u64, bool)>,
    layers: (u8, u8),
    wants_key_frame: bool,
}

/// Frames that are remembered. A reference further back is believed to be there; encoders refer at most to the frames of
/// two structure periods, 24 for L3T3.
const REMEMBERED: usize = 64;

impl Targets {
    /// The highest layers of what is being sent.
    pub(super) fn layers(&self) -> (u8, u8) {
        self.layers
    }

    /// Whether what the viewer is to get can begin only at a key frame.
    pub(super) fn wants_key_frame(&self) -> bool {
        self.wants_key_frame
    }

    /// The decode targets that the viewer gets all frames of, a bit each.
    pub(super) fn active(&self, structure: &Structure) -> u32 {
        let Some(current) = self.current else { return 0 };
        let got = (0..structure.target_count()).filter(|target| structure.includes(current, *target));
        got.fold(0, |mask, target| mask | 1 << target)
    }

    /// Decides about a packet; `wanted` is what the viewer is to get. Returns the marker bit if it is to be forwarded.
    pub(super) fn forward(
        &mut self,
        descriptor: &Descriptor,
        structure: &Structure,
        marker: bool,
        wanted: (u8, u8),
        haste: Haste,
    ) -> Option<bool> {
        let number = self.numbers.extend(descriptor.frame_number);
        let decided = self.frames.iter().find(|(other, _)| *other == number).map(|(_, is_kept)| *is_kept);
        let is_kept = match decided {
            Some(is_kept) => is_kept,
            None => self.decide(number, descriptor, structure, wanted, haste),
        };
        is_kept.then_some(marker || (descriptor.ends_frame && descriptor.dependencies.spatial == self.layers.0))
    }

    fn decide(
        &mut self,
        number: u64,
        descriptor: &Descriptor,
        structure: &Structure,
        wanted: (u8, u8),
        haste: Haste,
    ) -> bool {
        let frame = &descriptor.dependencies;
        let first = *self.first.get_or_insert(number);
        // Unknown ones are late and will be sent when they come.
        let is_gone = |back: &u16| {
            let other = number.saturating_sub(u64::from(*back));
            other < first || self.frames.contains(&(other, false))
        };
        let can_be_decoded = !frame.references().iter().any(is_gone);
        if let Some(target) = best(structure, descriptor.active_targets, wanted) {
            let is_included = self.current.is_some_and(|current| structure.includes(current, target));
            // A picture that has begun is finished with the layers it began with, so that its marker is where it belongs.
            let is_boundary = frame.spatial == 0 || structure.layers_of(target).0 == self.layers.0;
            let is_switch = can_be_decoded && frame.of_target(target) == Indication::Switch;
            if self.current != Some(target) && (is_switch || (is_included && is_boundary)) {
                self.current = Some(target);
            }
            if self.current.is_some_and(|current| !structure.includes(current, target)) && haste == Haste::AtOnce {
                let is_more = structure.layers_of(target) > self.layers;
                self.current = self.current.filter(|_| is_more);
            }
            let layers = self.current.map(|current| structure.layers_of(current));
            self.wants_key_frame = layers.is_none_or(|layers| layers.0 != structure.layers_of(target).0);
            self.layers = layers.unwrap_or(self.layers);
        }
        let is_needed = self.current.is_some_and(|current| frame.of_target(current) != Indication::NotPresent);
        if self.frames.len() >= REMEMBERED {
            self.frames.pop_front();
        }
        self.frames.push_back((number, is_needed && can_be_decoded));
        is_needed && can_be_decoded
    }
}

/// The best decode target that has no higher layers than wanted and is being sent; else the least one.
fn best(structure: &Structure, active: u32, wanted: (u8, u8)) -> Option<u8> {
    let sent = (0..structure.target_count()).filter(|target| active & (1 << target) != 0);
    let layers = |target: &u8| structure.layers_of(*target);
    let fits = |target: &u8| layers(target).0 <= wanted.0 && layers(target).1 <= wanted.1;
    sent.clone().filter(fits).max_by_key(layers).or_else(|| sent.min_by_key(layers))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use media::codec::dependency::Reader;
    use proptest::prelude::*;

    use super::*;

    /// Spatial and temporal layer, indications, references.
    type Template = (u8, u8, &'static str, &'static [u8]);

    /// L2T2: targets S0T0, S0T1, S1T0, S1T1. Four frames a period, S0 and S1 of each picture.
    const L2T2: [Template; 6] = [
        (0, 0, "SSSS", &[]),
        (0, 0, "SSRR", &[4]),
        (0, 1, "-D-R", &[2]),
        (1, 0, "--SS", &[1]),
        (1, 0, "--SS", &[4, 1]),
        (1, 1, "---D", &[2, 1]),
    ];
    /// The same, in which S1 needs S0 only in key pictures.
    const L2T2_KEY: [Template; 6] = [
        (0, 0, "SSSS", &[]),
        (0, 0, "SS--", &[4]),
        (0, 1, "-D--", &[2]),
        (1, 0, "--SS", &[1]),
        (1, 0, "--SS", &[4]),
        (1, 1, "---D", &[2]),
    ];

    /// Writes the descriptor of one packet: a whole frame.
    fn write(templates: &[Template], template: usize, number: u16) -> Vec<u8> {
        let mut bits = format!("11{template:06b}{number:016b}");
        if template == 0 {
            bits += "1000000000000011";
            for pair in templates.windows(2) {
                bits += if pair[1].0 > pair[0].0 {
                    "10"
                } else if pair[1].1 > pair[0].1 {
                    "01"
                } else {
                    "00"
                };
            }
            bits += "11";
            let code = |letter| ["-", "D", "S", "R"].iter().position(|code| *code == letter).expect("a code");
            for letter in templates.iter().flat_map(|template| template.2.split_terminator("").skip(1)) {
                bits += &format!("{:02b}", code(letter));
            }
            for (.., references) in templates {
                references.iter().for_each(|back| bits += &format!("1{:04b}", back - 1));
                bits += "0";
            }
            bits += "000"; // no chains, no sizes
        }
        let bits: Vec<u8> = bits.bytes().collect();
        bits.chunks(8).map(|byte| (0..8).fold(0, |sum, at| sum << 1 | u8::from(byte.get(at) == Some(&b'1')))).collect()
    }

    proptest! {
        /// A decoder that is given what is forwarded finds everything that it refers to, whatever is asked for and when.
        #[test]
        fn all_that_a_frame_refers_to_was_forwarded(
            wishes in proptest::collection::vec((0usize..24, 0u8..2, 0u8..2, any::<bool>()), 1..12),
            is_key_mode in any::<bool>(),
            begin in any::<u16>(),
        ) {
            let templates = if is_key_mode { &L2T2_KEY } else { &L2T2 };
            let (mut reader, mut targets) = (Reader::default(), Targets::default());
            let mut decoded: HashSet<u16> = HashSet::new();
            let mut number = begin;
            let (mut picture, mut wants_key) = (0usize, true);
            for (count, spatial, temporal, at_once) in wishes {
                let haste = if at_once { Haste::AtOnce } else { Haste::Smooth };
                for _ in 0..count {
                    let is_base = picture % 2 == 0;
                    let is_key = is_base && wants_key;
                    let names = match (is_key, is_base) { (true, _) => [0, 3], (_, true) => [1, 4], _ => [2, 5] };
                    let before = targets.layers();
                    let mut markers = 0;
                    let mut kept = 0;
                    for (of_spatial, template) in std::iter::zip(0u8.., names) {
                        let descriptor = reader.read(&write(templates, template, number)).expect("it is well formed");
                        let structure = reader.structure().expect("it came");
                        let is_last = of_spatial == 1;
                        let out = targets.forward(&descriptor, structure, is_last, (spatial, temporal), haste);
                        if let Some(marker) = out {
                            for back in descriptor.dependencies.references() {
                                prop_assert!(decoded.contains(&number.wrapping_sub(*back)), "{number} needs {back}");
                            }
                            decoded.insert(number);
                            kept += 1;
                            markers += u32::from(marker);
                        }
                        number = number.wrapping_add(1);
                    }
                    // Up within a picture: its lower layer had ended it already.
                    let expected = if !is_key && kept == 2 && before.0 == 0 { 2 } else { kept.min(1) };
                    prop_assert_eq!(markers, expected, "a picture ends once");
                    if is_key {
                        prop_assert_eq!(targets.layers(), (spatial, temporal));
                        prop_assert_eq!(kept, u32::from(spatial) + 1);
                    }
                    wants_key = targets.wants_key_frame();
                    picture += 1;
                }
            }
        }
    }

    #[test]
    fn the_mask_has_the_targets_that_the_viewer_gets_whole() {
        for (templates, expected) in [(&L2T2, 0b0101), (&L2T2_KEY, 0b0100)] {
            let (mut reader, mut targets) = (Reader::default(), Targets::default());
            let key = reader.read(&write(templates, 0, 7)).expect("it is well formed");
            let structure = reader.structure().expect("it came");
            assert_eq!(targets.active(structure), 0);
            assert_eq!(targets.forward(&key, structure, false, (1, 0), Haste::Smooth), Some(false));
            assert_eq!(targets.active(structure), expected);
        }
    }
}
