//! What becomes of the Dependency Descriptors of one track for one viewer?
//!
//! What is changed in them ([`Changes`]) follows from when a packet was sent first, and must be the same when it is sent again.
//! It changes seldom: with another encoding, and with the layers that the viewer gets. So every such change has a number of
//! six bits, which is remembered with the packet.

use media::Packet;
use media::codec::dependency::{self, Changes};

use crate::layers::continuity::DescriptorRun;

/// The descriptors of one track.
#[derive(Debug)]
pub struct Descriptors {
    run: DescriptorRun,
    /// By number, from 1 on; the numbers begin anew when all are used.
    kept: Vec<Kept>,
    newest: u8,
    /// Memory that a descriptor is written in before it becomes part of a header.
    written: [u8; dependency::MAX_BYTES],
}

impl Default for Descriptors {
    fn default() -> Descriptors {
        Descriptors { run: DescriptorRun::default(), kept: Vec::new(), newest: 0, written: [0; dependency::MAX_BYTES] }
    }
}

/// What was changed in packets from one index on.
#[derive(Debug, Clone, Copy)]
struct Kept {
    changes: Changes,
    from: u64,
}

/// Numbers of six bits, without 0.
const NUMBERS: usize = 63;

impl Descriptors {
    /// A run begins with the key frame whose first packet this is.
    pub fn start(&mut self, first: &Packet) {
        if let Some(described) = &first.descriptor {
            self.run.start(described.frame_number());
        }
    }

    /// The number of what is changed in the descriptor of a packet that is sent under `index` for the first time; 0 if it has
    /// none. `within`: the highest spatial and temporal layer that the viewer gets; `None`: all.
    pub fn number(&mut self, packet: &Packet, index: u64, within: Option<(u8, u8)>) -> u8 {
        let Some(described) = &packet.descriptor else { return 0 };
        let changes = self.run.forward(described, within);
        match self.of_number(self.newest) {
            Some(newest) if index < newest.from => self.of_time(index),
            Some(newest) if newest.changes == changes => self.newest,
            _ => {
                let slot = usize::from(self.newest) % NUMBERS;
                let kept = Kept { changes, from: index };
                match self.kept.get_mut(slot) {
                    Some(old) => *old = kept,
                    None => self.kept.push(kept),
                }
                self.newest = slot as u8 + 1;
                self.newest
            }
        }
    }

    /// What was changed under a number in the packet of this index; `None` if that is forgotten.
    pub fn changes(&self, number: u8, index: u64) -> Option<&Changes> {
        self.of_number(number).filter(|kept| kept.from <= index).map(|kept| &kept.changes)
    }

    /// Writes the descriptor of a packet as this viewer gets it. Empty if it is sent without; `None` if it is not known any
    /// more what was changed in it under this index.
    pub fn write(&mut self, packet: &Packet, number: u8, index: u64) -> Option<&[u8]> {
        let (Some(described), 1..) = (&packet.descriptor, number) else { return Some(&[]) };
        let changes = *self.changes(number, index)?;
        let len = described.write(&changes, &mut self.written);
        self.written.get(..len)
    }

    fn of_number(&self, number: u8) -> Option<&Kept> {
        self.kept.get(usize::from(number).checked_sub(1)?)
    }

    /// What was changed when packets of this index were sent: it comes late.
    fn of_time(&self, index: u64) -> u8 {
        let known = (1..).zip(&self.kept).filter(|(_, kept)| kept.from <= index);
        known.max_by_key(|(_, kept)| kept.from).map_or(0, |(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use media::codec::dependency::Described;

    use super::*;
    use crate::testing::packet;

    /// A packet whose structure is not known: all that is told is a frame number.
    fn of_frame(number: u16) -> Packet {
        let [high, low] = number.to_be_bytes();
        let described = Described { bytes: [0x80, high, low].into(), read: None };
        Packet { descriptor: Some(Arc::new(described)), ..packet(u64::from(number)).build() }
    }

    #[test]
    fn what_was_changed_is_known_as_long_as_packets_are() {
        let mut descriptors = Descriptors::default();
        assert_eq!(descriptors.number(&packet(1).build(), 1, None), 0, "it has none");
        assert_eq!(descriptors.number(&of_frame(7), 10, None), 1);
        assert_eq!(descriptors.number(&of_frame(8), 11, None), 1, "nothing else is changed");
        descriptors.start(&of_frame(500));
        assert_eq!(descriptors.number(&of_frame(500), 20, None), 2);
        let delta = |number, index| descriptors.changes(number, index).map(|changes| changes.frame_number);
        assert_eq!((delta(1, 11), delta(2, 20)), (Some(0), Some(9_u16.wrapping_sub(500))));
        assert_eq!((delta(2, 11), delta(0, 11), delta(3, 30)), (None, None, None));
    }

    #[test]
    fn a_late_packet_is_changed_as_those_of_its_time() {
        let mut descriptors = Descriptors::default();
        descriptors.number(&of_frame(7), 10, None);
        descriptors.start(&of_frame(500));
        descriptors.number(&of_frame(500), 20, None);
        assert_eq!(descriptors.number(&of_frame(9), 12, None), 1);
        assert_eq!(descriptors.number(&of_frame(6), 5, None), 0, "nobody knows");
    }

    #[test]
    fn numbers_begin_anew_and_what_they_were_before_is_forgotten() {
        let mut descriptors = Descriptors::default();
        for run in 0..200_u16 {
            descriptors.start(&of_frame(run * 300));
            let index = u64::from(run) * 10;
            let number = descriptors.number(&of_frame(run * 300), index, None);
            assert!((1..=63).contains(&number));
            assert!(descriptors.changes(number, index).is_some());
            let before = index.checked_sub(630).map(|before| descriptors.changes(number, before).is_some());
            assert_ne!(before, Some(true));
        }
        assert_eq!(descriptors.kept.len(), NUMBERS);
    }
}
