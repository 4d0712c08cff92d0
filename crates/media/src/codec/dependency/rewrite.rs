//! How is a Dependency Descriptor written for a receiver that gets less than was sent?
//!
//! Its frame number and template id get the run's offsets, and the mask of active decode targets is
//! told: put in where the sender told none. All else stays bit by bit.

use super::{Head, SHORTEST, Structure};

/// What [`rewrite`] is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Added to the frame number, modulo 2^16.
    pub frame_number: u16,
    /// Added to the template id and to the structure's offset, modulo 64, so that templates of two
    /// structures that follow one another are not taken for each other (appendix A.8.3,
    /// `template_id_offset`).
    pub template_id: u8,
    /// The decode targets that the receiver gets, to be told with this packet.
    pub active_targets: Option<u32>,
}

/// Writes a descriptor anew into `out`. Returns its length; 0 if it does not fit, or cannot be read
/// with `structure`, which is the one that came last (with this descriptor, perhaps).
pub fn rewrite(bytes: &[u8], structure: &Structure, changes: &Changes, out: &mut [u8]) -> usize {
    try_rewrite(bytes, structure, changes, out).unwrap_or(0)
}

fn try_rewrite(bytes: &[u8], structure: &Structure, changes: &Changes, out: &mut [u8]) -> Option<usize> {
    let head = Head::read(bytes)?;
    let rest = head.clone().read_rest(structure)?;
    let targets = changes.active_targets.or(rest.active_targets);
    let mut writer = Writer { out, at: 0 };
    write_head(&mut writer, &head, changes)?;
    let has_structure = head.structure.is_some();
    let flags = [has_structure, targets.is_some(), head.has_indications, head.has_references, head.has_chains];
    if flags.contains(&true) {
        for flag in flags {
            writer.number(u32::from(flag), 1)?;
        }
        if has_structure {
            let offset = structure.template_id_offset.wrapping_add(changes.template_id) & 0x3f;
            writer.number(u32::from(offset), 6)?;
            writer.copy(bytes, head.structure_bits.start.saturating_add(6)..head.structure_bits.end)?;
        }
        if let Some(targets) = targets {
            writer.number(targets & structure.all_targets(), structure.target_count.into())?;
        }
        writer.copy(bytes, rest.definition_bits)?;
    }
    Some(writer.at.div_ceil(8))
}

/// As [`rewrite`], of a descriptor that has a frame number and nothing that a structure is needed
/// for.
pub(super) fn rewrite_shortest(bytes: &[u8], changes: &Changes, out: &mut [u8]) -> usize {
    let mut writer = Writer { out, at: 0 };
    let head = Head::read(bytes).filter(|_| bytes.len() == SHORTEST);
    head.and_then(|head| write_head(&mut writer, &head, changes)).map_or(0, |()| SHORTEST)
}

fn write_head(writer: &mut Writer<'_>, head: &Head<'_>, changes: &Changes) -> Option<()> {
    writer.number(u32::from(head.starts_frame), 1)?;
    writer.number(u32::from(head.ends_frame), 1)?;
    writer.number(u32::from(head.template_id.wrapping_add(changes.template_id) & 0x3f), 6)?;
    writer.number(u32::from(head.frame_number.wrapping_add(changes.frame_number)), 16)
}

/// Writes bits from the most significant to the least.
struct Writer<'a> {
    out: &'a mut [u8],
    /// Bits written.
    at: usize,
}

impl Writer<'_> {
    fn number(&mut self, number: u32, count: u32) -> Option<()> {
        for shift in (0..count).rev() {
            self.bit(number.checked_shr(shift)? & 1 == 1)?;
        }
        Some(())
    }

    fn copy(&mut self, from: &[u8], range: std::ops::Range<usize>) -> Option<()> {
        for at in range {
            self.bit(from.get(at / 8)? & mask(at) != 0)?;
        }
        Some(())
    }

    fn bit(&mut self, bit: bool) -> Option<()> {
        let byte = self.out.get_mut(self.at / 8)?;
        let mask = mask(self.at);
        // The first bit of a byte clears what stood there.
        let before = if mask == 0x80 { 0 } else { *byte };
        *byte = before | if bit { mask } else { 0 };
        self.at = self.at.saturating_add(1);
        Some(())
    }
}

/// Returns the place of a bit in its byte.
const fn mask(at: usize) -> u8 {
    0x80 >> (at % 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{L2T2_KEY, descriptor, with_structure};
    use super::super::{MAX_BYTES, Reader};
    use super::*;

    #[test]
    fn a_mask_is_put_in_where_there_was_none() {
        let mut reader = Reader::default();
        let key = with_structure(0, 7, &L2T2_KEY);
        let before = reader.read(&key).expect("it is well formed");
        let structure = reader.structure().expect("it came").clone();
        let changes = Changes { frame_number: 0xfffe, template_id: 60, active_targets: Some(0b1) };
        let mut out = [0; MAX_BYTES];
        let len = rewrite(&key, &structure, &changes, &mut out);

        let mut receiver = Reader::default();
        let after = receiver.read(&out[..len]).expect("it can be read");
        assert_eq!((after.frame_number, after.active_targets), (5, 1));
        assert_eq!(after.dependencies, before.dependencies);

        let delta = descriptor(true, true, 2, 8, "");
        let len = rewrite(&delta, &structure, &changes, &mut out);
        assert_eq!(receiver.read(&out[..len]).map(|d| (d.frame_number, d.dependencies)), {
            let read = reader.read(&delta).expect("it is well formed");
            Ok((6, read.dependencies))
        });
        assert_eq!(rewrite(&delta, &structure, &changes, &mut [0; 3]), 0, "no room");
        assert_eq!(rewrite(&[1, 2], &structure, &changes, &mut out), 0, "cut off");
    }

    proptest! {
        #[test]
        fn rewritten_descriptor_differs_by_the_changes_only(
            template in 0u8..6,
            number in any::<u16>(),
            (frame_number, template_id, mask) in (any::<u16>(), 0u8..64, proptest::option::of(any::<u32>())),
            more in "([01]{5}(000|111|010)[01]{40,90})?",
        ) {
            let mut reader = Reader::default();
            let key = with_structure(0, number, &L2T2_KEY);
            reader.read(&key).expect("it is well formed");
            let structure = reader.structure().expect("it came").clone();
            let mut receiver = Reader::default();
            let changes = Changes { frame_number, template_id, active_targets: mask };
            let mut out = [0; MAX_BYTES];
            let len = rewrite(&key, &structure, &changes, &mut out);
            receiver.read(&out[..len]).expect("it can be read");
            // No structure among the flags.
            let more = if more.is_empty() { more } else { format!("0{}", &more[1..]) };
            let bytes = descriptor(true, false, template, number, &more);
            let Ok(before) = reader.read(&bytes) else { return Ok(()) };
            let len = rewrite(&bytes, &structure, &changes, &mut out);
            let after = receiver.read(&out[..len]).expect("it can be read");
            prop_assert_eq!(after.dependencies, before.dependencies);
            prop_assert_eq!(after.frame_number, number.wrapping_add(frame_number));
            prop_assert_eq!(after.active_targets, mask.unwrap_or(before.active_targets) & structure.all_targets());
            prop_assert_eq!((after.starts_frame, after.ends_frame), (before.starts_frame, before.ends_frame));
        }
    }
}
