//! What does the Dependency Descriptor say? RTP Payload Format For AV1, v1.0, appendix A.
//!
//! A header extension with which a frame of any codec says which earlier frames it needs, and which
//! *decode targets* (a spatial and a temporal layer to watch) need it. Key frames bring a
//! [`Structure`] of templates; the frames after it name a template, or say what differs. [`Reader`]
//! keeps the last structure of one encoding and reads descriptors with it; [`rewrite`] writes one
//! anew for a receiver that gets only some of the targets.

mod layers;
mod rewrite;
mod structure;

use std::sync::Arc;

use super::Resolution;
use super::bits::Bits;

pub use layers::DescribedLayers;
pub use rewrite::{Changes, rewrite};
pub use structure::{Dependencies, Indication, Structure};
use structure::{byte, read_indications};

/// Decode targets of one structure: `dt_cnt_minus_one` has 5 bits.
pub const MAX_TARGETS: usize = 32;
/// Templates of one structure: `frame_dependency_template_id` has 6 bits.
pub const MAX_TEMPLATES: usize = 64;
/// Frames that one refers to directly. The format has no limit; AV1 has 7 references and VP9 8
/// slots.
pub const MAX_REFERENCES: usize = 8;
/// Chains of one structure. The format allows one per target; encoders have one per spatial layer.
pub const MAX_CHAINS: usize = 8;
/// Spatial layers: AV1 §5.3.3, `spatial_id` has 2 bits.
pub const MAX_SPATIAL: usize = 4;
/// The longest descriptor that is read: what a header extension element can hold (RFC 8285 §4.3).
pub const MAX_BYTES: usize = 255;

/// A descriptor, read with the structure that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The first packet of a frame.
    pub starts_frame: bool,
    /// The last packet of a frame.
    pub ends_frame: bool,
    /// The frame's number; grows by one per frame of the encoding, whatever its layer.
    pub frame_number: u16,
    /// The frames that this frame needs, and the decode targets that need it.
    pub dependencies: Dependencies,
    /// Whether the descriptor carries a structure: the frame is a key frame.
    pub has_structure: bool,
    /// The decode targets that the sender sends now, one bit per target.
    pub active_targets: u32,
    /// The size of the frame's spatial layer, if the descriptor contains it.
    pub resolution: Option<Resolution>,
}

/// Why a descriptor cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The descriptor ends early, exceeds a limit of the format or of this module, or names an
    /// unknown template.
    #[error("the dependency descriptor is malformed")]
    Malformed,
    /// The descriptor belongs to a structure that was not received.
    #[error("no structure came before this dependency descriptor")]
    NoStructure,
}

/// A descriptor in its received bytes and, if readable, its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The bytes as received.
    pub bytes: Box<[u8]>,
    /// The fields, and the structure that was used to read them; `None` until this structure
    /// arrives.
    pub read: Option<(Descriptor, Arc<Structure>)>,
}

impl Described {
    /// Returns the frame's number; see [`Descriptor::frame_number`].
    pub fn frame_number(&self) -> u16 {
        Head::read(&self.bytes).map_or(0, |head| head.frame_number)
    }

    /// Writes the descriptor with `changes` into `out`. Returns its length, or 0 if `out` is too
    /// short.
    pub fn write(&self, changes: &Changes, out: &mut [u8]) -> usize {
        match &self.read {
            Some((_, structure)) => rewrite(&self.bytes, structure, changes, out),
            None => rewrite::rewrite_shortest(&self.bytes, changes, out),
        }
    }
}

/// Reads the descriptors of one encoding.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    structure: Option<Arc<Structure>>,
    active_targets: u32,
}

impl Reader {
    /// Reads a descriptor; one with a structure replaces the structure before, if it can be read to
    /// its end.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Descriptor, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::Malformed);
        }
        let head = Head::read(bytes).ok_or(Error::Malformed)?;
        let structure = head.structure.as_ref().or(self.structure.as_deref()).ok_or(Error::NoStructure)?;
        let said = head.clone().read_rest(structure).ok_or(Error::Malformed)?;
        // Until one is told, all are active: appendix A.8.2, extended_descriptor_fields.
        let before = if head.structure.is_some() { structure.all_targets() } else { self.active_targets };
        let active_targets = said.active_targets.unwrap_or(before);
        let descriptor = Descriptor {
            starts_frame: head.starts_frame,
            ends_frame: head.ends_frame,
            frame_number: head.frame_number,
            resolution: structure.resolution(said.dependencies.spatial),
            dependencies: said.dependencies,
            has_structure: head.structure.is_some(),
            active_targets,
        };
        self.active_targets = active_targets;
        if let Some(structure) = head.structure {
            self.structure = Some(Arc::new(structure));
        }
        Ok(descriptor)
    }

    /// Returns the structure that was received last.
    pub fn structure(&self) -> Option<&Arc<Structure>> {
        self.structure.as_ref()
    }

    /// Converts a packet's descriptor to the form that is stored with the packet.
    ///
    /// A descriptor whose structure has not arrived yet is stored if only its frame number has to
    /// be read. Returns `None` if the descriptor is of no use.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Described> {
        let read = match self.read(bytes) {
            Ok(descriptor) => Some((descriptor, self.structure.clone()?)),
            Err(Error::NoStructure | Error::Malformed) if bytes.len() == SHORTEST => None,
            Err(_) => return None,
        };
        Some(Described { bytes: bytes.into(), read })
    }
}

/// The fields of a descriptor that can be read without the structure.
#[derive(Clone)]
struct Head<'a> {
    starts_frame: bool,
    ends_frame: bool,
    template_id: u8,
    frame_number: u16,
    structure: Option<Structure>,
    /// Where the structure lies, in bits from the descriptor's start.
    structure_bits: std::ops::Range<usize>,
    has_active_targets: bool,
    has_indications: bool,
    has_references: bool,
    has_chains: bool,
    /// The bits behind these fields.
    rest: Bits<'a>,
    whole_bits: usize,
}

/// The fields behind the structure.
struct Rest {
    active_targets: Option<u32>,
    dependencies: Dependencies,
    /// The position of the bits behind the mask of active targets.
    definition_bits: std::ops::Range<usize>,
}

/// The flags that follow in a descriptor of more than three bytes.
const FLAG_BITS: usize = 5;
/// A descriptor of a template and a frame number, and nothing else.
const SHORTEST: usize = 3;

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Option<Head<'a>> {
        let mut bits = Bits::new(bytes);
        let whole_bits = bytes.len().saturating_mul(8);
        let (starts_frame, ends_frame) = (bits.flag()?, bits.flag()?);
        let template_id = byte(bits.number(6)?);
        let frame_number = u16::try_from(bits.number(16)?).ok()?;
        let mut flags = [false; FLAG_BITS];
        if bytes.len() > SHORTEST {
            for flag in &mut flags {
                *flag = bits.flag()?;
            }
        }
        let [has_structure, has_active_targets, has_indications, has_references, has_chains] = flags;
        let from = whole_bits.saturating_sub(bits.left());
        let structure = if has_structure { Some(Structure::read(&mut bits)?) } else { None };
        let structure_bits = from..whole_bits.saturating_sub(bits.left());
        Some(Head {
            starts_frame,
            ends_frame,
            template_id,
            frame_number,
            structure,
            structure_bits,
            has_active_targets,
            has_indications,
            has_references,
            has_chains,
            rest: bits,
            whole_bits,
        })
    }

    fn read_rest(mut self, structure: &Structure) -> Option<Rest> {
        let bits = &mut self.rest;
        let active_targets =
            if self.has_active_targets { Some(bits.number(structure.target_count.into())?) } else { None };
        let from = self.whole_bits.saturating_sub(bits.left());
        let index = self.template_id.wrapping_sub(structure.template_id_offset) & 0x3f;
        let mut dependencies = *structure.templates.get(usize::from(index))?;
        if self.has_indications {
            read_indications(bits, &mut dependencies.indications, structure.target_count)?;
        }
        if self.has_references {
            dependencies.reference_count = 0;
            loop {
                let nibbles = bits.number(2)?;
                if nibbles == 0 {
                    break;
                }
                dependencies.add_reference(bits.number(nibbles.saturating_mul(4))?.saturating_add(1))?;
            }
        }
        if self.has_chains {
            for chain in dependencies.chains.iter_mut().take(usize::from(structure.chain_count)) {
                *chain = byte(bits.number(8)?);
            }
        }
        let definition_bits = from..self.whole_bits.saturating_sub(bits.left());
        Some(Rest { active_targets, dependencies, definition_bits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bits::tests::pack;
    use super::*;

    /// A template: spatial and temporal layer, indications by target, references, chain distances.
    type Template = (u8, u8, &'static str, &'static [u8], &'static [u8]);

    /// Two spatial layers whose deltas do not need each other, two temporal ones: L2T2_KEY.
    /// Targets: S0T0, S0T1, S1T0, S1T1; a chain for each spatial layer.
    pub(super) const L2T2_KEY: [Template; 6] = [
        (0, 0, "SSSS", &[], &[0, 0]),
        (0, 0, "SS--", &[4], &[4, 3]),
        (0, 1, "-D--", &[2], &[2, 1]),
        (1, 0, "--SS", &[1], &[1, 1]),
        (1, 0, "--SS", &[4], &[1, 4]),
        (1, 1, "---D", &[2], &[3, 2]),
    ];

    /// Writes a descriptor; `more` is what follows the mandatory fields.
    pub(super) fn descriptor(starts: bool, ends: bool, template: u8, number: u16, more: &str) -> Vec<u8> {
        pack(&format!("{}{}{template:06b}{number:016b}{more}", u8::from(starts), u8::from(ends)))
    }

    /// Writes the descriptor of a key frame.
    pub(super) fn with_structure(template: u8, number: u16, templates: &[Template]) -> Vec<u8> {
        descriptor(true, true, template, number, &format!("10000{}", structure(templates)))
    }

    fn structure(templates: &[Template]) -> String {
        let targets = templates[0].2.len();
        let mut bits = format!("000000{:05b}", targets - 1);
        for pair in templates.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            bits += if after.0 > before.0 {
                "10"
            } else if after.1 > before.1 {
                "01"
            } else {
                "00"
            };
        }
        bits += "11";
        for (_, _, indications, ..) in templates {
            for letter in indications.chars() {
                bits += match letter {
                    'D' => "01",
                    'S' => "10",
                    'R' => "11",
                    _ => "00",
                };
            }
        }
        for (_, _, _, references, _) in templates {
            for reference in *references {
                bits += &format!("1{:04b}", reference - 1);
            }
            bits += "0";
        }
        // Two chains of five possible numbers: ns(5) of 2 is 10. Of two chains, ns(2) is a bit.
        bits += "10 0011";
        for (.., chains) in templates {
            bits += &chains.iter().map(|chain| format!("{chain:04b}")).collect::<String>();
        }
        bits += "1";
        for (width, height) in [(640, 360), (1280, 720)] {
            bits += &format!("{:016b}{:016b}", width - 1, height - 1);
        }
        bits
    }

    #[test]
    fn a_structure_and_frames_that_name_its_templates() {
        let mut reader = Reader::default();
        assert_eq!(reader.read(&descriptor(true, true, 1, 5, "")), Err(Error::NoStructure));
        let key = reader.read(&with_structure(0, 9, &L2T2_KEY)).expect("it is well formed");
        assert!(key.has_structure && key.starts_frame && key.ends_frame);
        assert_eq!((key.frame_number, key.active_targets), (9, 0b1111));
        assert_eq!(key.resolution, Some(Resolution { width: 640, height: 360 }));
        assert_eq!(key.dependencies.references(), &[] as &[u16]);

        let structure = reader.structure().expect("it came").clone();
        assert_eq!(
            (0..4).map(|target| structure.layers_of(target)).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (1, 0), (1, 1)]
        );
        assert_eq!([(0, 0), (0, 1), (1, 0), (9, 9)].map(|layers| structure.targets_within(layers)), [1, 3, 5, 15]);
        assert_eq!((structure.chain_of(0), structure.chain_of(3)), (Some(0), Some(1)));

        let upper = reader.read(&descriptor(true, false, 5, 12, "")).expect("it names a template");
        assert_eq!((upper.dependencies.spatial, upper.dependencies.temporal), (1, 1));
        assert_eq!(upper.dependencies.references(), [2]);
        assert_eq!(upper.dependencies.of_target(3), Indication::Discardable);
        assert_eq!(upper.dependencies.of_target(0), Indication::NotPresent);
        assert_eq!((upper.dependencies.chain(0), upper.dependencies.chain(1)), (3, 2));
        assert_eq!(upper.resolution, Some(Resolution { width: 1280, height: 720 }));
        assert_eq!(reader.read(&descriptor(true, true, 6, 13, "")), Err(Error::Malformed), "no such template");
    }

    #[test]
    fn what_differs_from_the_template_is_said_by_the_frame() {
        let mut reader = Reader::default();
        reader.read(&with_structure(0, 0, &L2T2_KEY)).expect("it is well formed");
        // Active targets 0011; indications R D - S; references 3 and 300; chains 200 and 1.
        let more = "01111 0011 11010010 01 0010 11 000100101011 00 11001000 00000001";
        let said = reader.read(&descriptor(true, true, 1, 1, &more.replace(' ', ""))).expect("it is well formed");
        assert_eq!(said.active_targets, 0b0011);
        let indications: Vec<_> = (0..4).map(|target| said.dependencies.of_target(target)).collect();
        use Indication::{Discardable, NotPresent, Required, Switch};
        assert_eq!(indications, [Required, Discardable, NotPresent, Switch]);
        assert_eq!(said.dependencies.references(), [3, 300]);
        assert_eq!((said.dependencies.chain(0), said.dependencies.chain(1)), (200, 1));
        // The mask stays until another is told.
        assert_eq!(reader.read(&descriptor(true, true, 1, 2, "")).map(|d| d.active_targets), Ok(0b0011));
    }

    #[test]
    fn more_than_the_limits_is_refused() {
        let mut reader = Reader::default();
        let endless = format!("10000000000{}{}", "00000", "00".repeat(100));
        assert_eq!(reader.read(&descriptor(true, true, 0, 0, &endless)), Err(Error::Malformed), "templates");
        reader.read(&with_structure(0, 0, &L2T2_KEY)).expect("it is well formed");
        let references = format!("00010{}00", "010000".repeat(MAX_REFERENCES + 1));
        assert_eq!(reader.read(&descriptor(true, true, 0, 0, &references)), Err(Error::Malformed), "references");
        assert_eq!(reader.read(&[0; MAX_BYTES + 1]), Err(Error::Malformed));
        assert!(reader.structure().is_some(), "what was known stays");
    }

    #[test]
    fn a_descriptor_that_is_cut_off_is_refused_and_changes_nothing() {
        let whole = with_structure(0, 9, &L2T2_KEY);
        for end in 0..whole.len() - 1 {
            let mut reader = Reader::default();
            assert!(reader.read(&whole[..end]).is_err(), "{end}");
            assert!(reader.structure().is_none());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8)) {
            let mut reader = Reader::default();
            for bytes in list {
                let mut out = [0; MAX_BYTES + 8];
                let read = reader.read(&bytes);
                if let (Ok(_), Some(structure)) = (read, reader.structure()) {
                    let changes = Changes { frame_number: 5, template_id: 9, active_targets: Some(1) };
                    prop_assert!(rewrite(&bytes, structure, &changes, &mut out) >= 3);
                }
            }
        }
    }
}
