//! Which layers does an encoding have, and what do its frames need? The templates of a Dependency
//! Descriptor.

use super::super::Resolution;
use super::super::bits::Bits;
use super::{MAX_CHAINS, MAX_REFERENCES, MAX_SPATIAL, MAX_TARGETS, MAX_TEMPLATES};

/// What a frame is to one decode target: appendix A.4, in the order of their codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Indication {
    /// Not needed at all.
    #[default]
    NotPresent,
    /// Shown, but needed by no other frame of it.
    Discardable,
    /// If this frame can be decoded, so can all later ones of the target.
    Switch,
    /// Needed by others of it.
    Required,
}

impl Indication {
    const fn of(bits: u32) -> Indication {
        match bits & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }
}

/// The frames that a frame needs, and the decode targets that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependencies {
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    pub(super) indications: [Indication; MAX_TARGETS],
    references: [u16; MAX_REFERENCES],
    pub(super) reference_count: u8,
    pub(super) chains: [u8; MAX_CHAINS],
}

impl Dependencies {
    const NONE: Dependencies = Dependencies {
        spatial: 0,
        temporal: 0,
        indications: [Indication::NotPresent; MAX_TARGETS],
        references: [0; MAX_REFERENCES],
        reference_count: 0,
        chains: [0; MAX_CHAINS],
    };

    /// Returns the indication of the frame for a decode target.
    pub fn of_target(&self, target: u8) -> Indication {
        self.indications.get(usize::from(target)).copied().unwrap_or_default()
    }

    /// How far back the frames lie that this one refers to, in frame numbers.
    pub fn references(&self) -> &[u16] {
        self.references.get(..usize::from(self.reference_count)).unwrap_or_default()
    }

    /// How far back the last frame of a chain lies; 0 where there is none.
    pub fn chain(&self, chain: usize) -> u8 {
        self.chains.get(chain).copied().unwrap_or_default()
    }

    pub(super) fn add_reference(&mut self, difference: u32) -> Option<()> {
        let slot = self.references.get_mut(usize::from(self.reference_count))?;
        *slot = u16::try_from(difference).ok()?;
        self.reference_count = self.reference_count.saturating_add(1);
        Some(())
    }
}

/// What key frames say of all frames until the next: appendix A.8.2,
/// `template_dependency_structure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    pub(super) template_id_offset: u8,
    pub(super) target_count: u8,
    pub(super) templates: Vec<Dependencies>,
    pub(super) chain_count: u8,
    protected_by: [u8; MAX_TARGETS],
    resolutions: [Option<Resolution>; MAX_SPATIAL],
}

impl Structure {
    /// Returns how many decode targets there are; at least one.
    pub fn target_count(&self) -> u8 {
        self.target_count
    }

    /// All decode targets, a bit each.
    pub fn all_targets(&self) -> u32 {
        u32::MAX.checked_shr(32u32.saturating_sub(u32::from(self.target_count))).unwrap_or(0)
    }

    /// Returns the highest spatial and temporal layer of a decode target: appendix A.8.2,
    /// `decode_target_layers`.
    pub fn layers_of(&self, target: u8) -> (u8, u8) {
        let needed = self.templates.iter().filter(|template| template.of_target(target) != Indication::NotPresent);
        needed.fold((0, 0), |(spatial, temporal), one| (spatial.max(one.spatial), temporal.max(one.temporal)))
    }

    /// Returns the decode targets of no higher layers than these, a bit each.
    pub fn targets_within(&self, layers: (u8, u8)) -> u32 {
        let fits = |target: &u8| {
            let (spatial, temporal) = self.layers_of(*target);
            spatial <= layers.0 && temporal <= layers.1
        };
        (0..self.target_count).filter(fits).fold(0, |mask, target| mask | 1 << target)
    }

    /// Returns the size of a spatial layer, if the structure contains it.
    pub fn resolution(&self, spatial: u8) -> Option<Resolution> {
        self.resolutions.get(usize::from(spatial)).copied().flatten()
    }

    /// Returns the chain that protects a decode target, if there are chains.
    pub fn chain_of(&self, target: u8) -> Option<u8> {
        self.protected_by.get(usize::from(target)).copied().filter(|_| self.chain_count > 0)
    }

    pub(super) fn read(bits: &mut Bits<'_>) -> Option<Structure> {
        let template_id_offset = byte(bits.number(6)?);
        let target_count = byte(bits.number(5)?).saturating_add(1);
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            read_indications(bits, &mut template.indications, target_count)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.add_reference(bits.number(4)?.saturating_add(1))?;
            }
        }
        let chain_count = byte(non_symmetric(bits, u32::from(target_count).saturating_add(1))?);
        if usize::from(chain_count) > MAX_CHAINS {
            return None;
        }
        let mut protected_by = [0; MAX_TARGETS];
        if chain_count > 0 {
            for chain in protected_by.iter_mut().take(usize::from(target_count)) {
                *chain = byte(non_symmetric(bits, u32::from(chain_count))?);
            }
            for template in &mut templates {
                for chain in template.chains.iter_mut().take(usize::from(chain_count)) {
                    *chain = byte(bits.number(4)?);
                }
            }
        }
        let mut resolutions = [None; MAX_SPATIAL];
        if bits.flag()? {
            let spatial_layers = templates.last().map_or(0, |last| usize::from(last.spatial).saturating_add(1));
            for resolution in resolutions.iter_mut().take(spatial_layers) {
                let width = bits.number(16)?.saturating_add(1);
                *resolution = Resolution::checked(width, bits.number(16)?.saturating_add(1));
            }
        }
        Some(Structure { template_id_offset, target_count, templates, chain_count, protected_by, resolutions })
    }
}

/// Reads `template_layers`.
fn read_layers(bits: &mut Bits<'_>) -> Option<Vec<Dependencies>> {
    let mut templates = Vec::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if templates.len() >= MAX_TEMPLATES {
            return None;
        }
        templates.push(Dependencies { spatial, temporal, ..Dependencies::NONE });
        match bits.number(2)? {
            0 => {}
            1 => temporal = temporal.saturating_add(1),
            2 => (spatial, temporal) = (spatial.saturating_add(1), 0),
            _ => return Some(templates),
        }
        // AV1 §5.3.3: temporal_id has 3 bits.
        if usize::from(spatial) >= MAX_SPATIAL || temporal >= 8 {
            return None;
        }
    }
}

pub(super) fn read_indications(
    bits: &mut Bits<'_>,
    indications: &mut [Indication; MAX_TARGETS],
    count: u8,
) -> Option<()> {
    for indication in indications.iter_mut().take(usize::from(count)) {
        *indication = Indication::of(bits.number(2)?);
    }
    Some(())
}

/// Reads a number below `count` in as few bits as it needs: `ns(n)`, AV1 §4.10.7.
fn non_symmetric(bits: &mut Bits<'_>, count: u32) -> Option<u32> {
    let width = 32u32.saturating_sub(count.leading_zeros());
    let short = 1u32.checked_shl(width)?.saturating_sub(count);
    let value = bits.number(width.saturating_sub(1))?;
    if value < short {
        return Some(value);
    }
    let value = value.saturating_mul(2).saturating_add(bits.number(1)?);
    Some(value.saturating_sub(short))
}

/// Returns the low byte of a number that was read from at most 8 bits.
pub(super) fn byte(number: u32) -> u8 {
    number.to_be_bytes()[3]
}
