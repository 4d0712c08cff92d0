//! Which layer does a frame belong to, according to its Dependency Descriptor?

use super::{Descriptor, Indication, Structure};
use crate::codec::FrameLayers;
use crate::codec::layers::TemporalSwitch;
use crate::seq::timestamp_is_later;

/// Derives the layers of the frames of one encoding.
#[derive(Debug, Clone, Default)]
pub struct DescribedLayers {
    /// The newest picture: its timestamp, and the number of its first frame.
    picture: Option<(u32, u16)>,
}

impl DescribedLayers {
    /// Returns the layers of the frame whose packet has this RTP timestamp and descriptor.
    pub fn observe(&mut self, timestamp: u32, descriptor: &Descriptor, structure: &Structure) -> FrameLayers {
        let number = descriptor.frame_number;
        let first = match self.picture {
            Some((newest, first)) if newest == timestamp => first,
            // The picture of a late packet is not stored: the frames that it refers to count as
            // older.
            Some((newest, _)) if !timestamp_is_later(timestamp, newest) => number,
            _ => {
                self.picture = Some((timestamp, number));
                number
            }
        };
        let frame = &descriptor.dependencies;
        // Frames of one picture, lowest layer first, have consecutive numbers.
        let within = number.wrapping_sub(first);
        let is_in_picture = |back: &u16| *back <= within && within < 1 << 15;
        FrameLayers {
            spatial: frame.spatial,
            temporal: frame.temporal,
            starts_frame: descriptor.starts_frame,
            ends_frame: descriptor.ends_frame,
            is_key: frame.references().iter().all(is_in_picture),
            switch: switch(descriptor, structure),
            discardable: of_layer(descriptor, structure).all(|one| one == Indication::Discardable),
            needs_lower_spatial: frame.references().iter().any(is_in_picture),
            is_unneeded_above: above(descriptor, structure).all(|one| one == Indication::NotPresent),
            ..FrameLayers::default()
        }
    }
}

/// Returns whether the higher temporal layers may begin after this frame.
fn switch(descriptor: &Descriptor, structure: &Structure) -> TemporalSwitch {
    let frame = &descriptor.dependencies;
    let above = (0..structure.target_count()).filter(|target| {
        let (spatial, temporal) = structure.layers_of(*target);
        spatial == frame.spatial && temporal > frame.temporal
    });
    match above.map(|target| frame.of_target(target)).all(|one| one == Indication::Switch) {
        true => TemporalSwitch::AboveThis,
        false => TemporalSwitch::No,
    }
}

/// Returns the frame's indications for the decode targets of higher spatial layers.
fn above<'a>(descriptor: &'a Descriptor, structure: &'a Structure) -> impl Iterator<Item = Indication> + 'a {
    let frame = &descriptor.dependencies;
    let is_higher = move |target: &u8| structure.layers_of(*target).0 > frame.spatial;
    (0..structure.target_count()).filter(is_higher).map(|target| frame.of_target(target))
}

fn of_layer<'a>(descriptor: &'a Descriptor, structure: &'a Structure) -> impl Iterator<Item = Indication> + 'a {
    let frame = &descriptor.dependencies;
    let is_its = move |target: &u8| structure.layers_of(*target) == (frame.spatial, frame.temporal);
    (0..structure.target_count()).filter(is_its).map(|target| frame.of_target(target))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::dependency::Reader;

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

    fn layers_of(templates: &[Template], frames: &[(u32, usize)]) -> Vec<FrameLayers> {
        let (mut reader, mut layers) = (Reader::default(), DescribedLayers::default());
        let frames = frames.iter().zip(65_534_u16..=u16::MAX).chain(frames.iter().skip(2).zip(0_u16..));
        let read = frames.map(|((picture, template), number)| {
            let descriptor = reader.read(&write(templates, *template, number)).expect("it is well formed");
            let structure = reader.structure().expect("it came");
            layers.observe(picture * 3_000, &descriptor, structure)
        });
        read.collect()
    }

    #[test]
    fn a_layer_is_key_if_it_needs_nothing_of_earlier_pictures() {
        let frames = [(0, 0), (0, 3), (1, 2), (1, 5), (2, 1), (2, 4)];
        for templates in [&L2T2, &L2T2_KEY] {
            let read = layers_of(templates, &frames);
            let layers: Vec<_> = read.iter().map(|one| (one.spatial, one.temporal, one.is_key)).collect();
            let expected = [(0, 0, true), (1, 0, true), (0, 1, false), (1, 1, false), (0, 0, false), (1, 0, false)];
            assert_eq!(layers, expected);
            assert!(read.iter().all(|one| one.starts_frame && one.ends_frame));
            let needs: Vec<_> = read.iter().map(|one| one.needs_lower_spatial).collect();
            let is_full = templates == &L2T2;
            assert_eq!(needs, [false, true, false, is_full, false, is_full]);
            let unneeded: Vec<_> = read.iter().map(|one| one.is_unneeded_above).collect();
            assert_eq!(unneeded, [false, true, !is_full, true, !is_full, true]);
        }
    }

    #[test]
    fn more_pictures_may_follow_one_that_is_a_switch_point_of_them() {
        let frames = [(0, 0), (0, 3), (1, 2), (1, 5), (2, 1), (2, 4)];
        let read = layers_of(&L2T2_KEY, &frames);
        let switches: Vec<_> = read.iter().map(|one| one.switch == TemporalSwitch::AboveThis).collect();
        assert_eq!(switches, [true, true, true, true, true, true], "each base picture, and the highest of all");
        let read = layers_of(&L2T2, &frames);
        assert!(read[4].switch == TemporalSwitch::AboveThis && read[2].discardable && read[3].discardable);
    }

    #[test]
    fn what_came_late_is_no_key() {
        let (mut reader, mut layers) = (Reader::default(), DescribedLayers::default());
        let mut of = |picture: u32, template, number| {
            let descriptor = reader.read(&write(&L2T2_KEY, template, number)).expect("it is well formed");
            layers.observe(picture, &descriptor, reader.structure().expect("it came"))
        };
        assert!(of(3_000, 0, 7).is_key);
        of(6_000, 2, 9);
        assert!(!of(3_000, 3, 8).is_key, "its picture's first frame is forgotten");
        assert!(!of(6_000, 5, 10).is_key);
    }
}
