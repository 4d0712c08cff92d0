//! Which packets are missing (RFC 4585 §6.2.1)?

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A request for missing packets of an SSRC.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// The SSRC of the requesting receiver.
    pub sender: u32,
    /// The SSRC that the packets were sent with.
    pub media: u32,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Nack<'a>> {
        let mut reader = Reader(body);
        let (sender, media) = (reader.u32()?, reader.u32()?);
        let (entries, rest) = reader.0.as_chunks();
        // RFC 4585 §6.2.1: at least one entry.
        (!entries.is_empty() && rest.is_empty()).then_some(Nack { sender, media, entries })
    }

    /// Returns the missing sequence numbers in the order of the packet, perhaps with repetitions:
    /// up to 17 for every four bytes.
    pub fn seqs(&self) -> NackSeqs<'a> {
        NackSeqs { entries: self.entries.iter(), next: 0, mask: 0 }
    }
}

/// The sequence numbers of a [`Nack`].
#[derive(Debug, Clone)]
pub struct NackSeqs<'a> {
    entries: std::slice::Iter<'a, [u8; 4]>,
    /// The sequence number that the lowest bit of the mask stands for.
    next: u16,
    mask: u32,
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let [pid @ .., high, low] = *self.entries.next()?;
            // RFC 4585 §6.2.1: the packet id itself, then a bit for each of the 16 that follow it.
            self.next = u16::from_be_bytes(pid);
            self.mask = 1 | (u32::from(u16::from_be_bytes([high, low])) << 1);
        }
        let skipped = self.mask.trailing_zeros(); // at most 16, as some bit is set
        let seq = self.next.wrapping_add(u16::try_from(skipped).unwrap_or_default());
        self.mask = self.mask >> skipped >> 1;
        self.next = seq.wrapping_add(1);
        Some(seq)
    }
}

impl Writer<'_> {
    /// Appends a request for `seqs`; densest if they ascend. An empty request is not written.
    pub fn nack(&mut self, sender: u32, media: u32, seqs: &[u16]) -> bool {
        let Some((&first, rest)) = seqs.split_first() else {
            return false;
        };
        self.packet(packet_type::TRANSPORT_FEEDBACK, FORMAT, |out| {
            out.u32(sender)?;
            out.u32(media)?;
            let (mut pid, mut mask) = (first, 0u16);
            for &seq in rest {
                match seq.wrapping_sub(pid) {
                    0 => {}
                    after @ 1..=16 => mask |= 1 << (after - 1),
                    _ => {
                        out.u16(pid)?;
                        out.u16(mask)?;
                        (pid, mask) = (seq, 0);
                    }
                }
            }
            out.u16(pid)?;
            out.u16(mask)
        })
    }
}

/// RFC 4585 §6.2: "Generic NACK".
pub(super) const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::Packet;
    use super::super::tests::{only, written};

    #[test]
    fn a_nack_is_laid_out_as_in_rfc_4585() {
        for (seqs, entries) in [
            (&[10][..], &[0, 10, 0, 0][..]),
            (&[10, 11], &[0, 10, 0, 1]),
            (&[10, 26], &[0, 10, 0x80, 0]),
            (&[10, 27], &[0, 10, 0, 0, 0, 27, 0, 0]),
            (&[0xffff, 0, 15], &[0xff, 0xff, 0x80, 1]),
            (&[7, 7, 8, 8], &[0, 7, 0, 1]),
            (&[9, 7], &[0, 9, 0, 0, 0, 7, 0, 0]),
        ] {
            let bytes = written(|writer| assert!(writer.nack(1, 2, seqs)));
            assert_eq!(bytes[..2], [0x81, 205]);
            assert_eq!(bytes[4..12], [0, 0, 0, 1, 0, 0, 0, 2]);
            assert_eq!(&bytes[12..], entries, "{seqs:?}");
        }
        assert!(written(|writer| assert!(!writer.nack(1, 2, &[]))).is_empty());
    }

    #[test]
    fn a_full_mask_is_17_packets_across_the_wrap() {
        let bytes = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xf8, 0xff, 0xff];
        let Packet::Nack(nack) = only(&bytes) else { panic!() };
        let expected: Vec<u16> = (0..17).map(|after| 0xfff8u16.wrapping_add(after)).collect();
        assert!(nack.seqs().eq(expected));
    }

    /// Packs by marking off, as a reader of RFC 4585 would with a pencil.
    fn twin_entries(seqs: &BTreeSet<u16>) -> Vec<(u16, u16)> {
        let mut left = seqs.clone();
        let mut entries = Vec::new();
        while let Some(pid) = left.pop_first() {
            let mut mask = 0;
            for bit in 0..16 {
                if pid.checked_add(bit + 1).is_some_and(|seq| left.remove(&seq)) {
                    mask |= 1 << bit;
                }
            }
            entries.push((pid, mask));
        }
        entries
    }

    proptest! {
        #[test]
        fn ascending_packets_are_packed_like_a_naive_twin_does(
            seqs in prop::collection::btree_set(any::<u16>(), 1..200),
            dense in prop::collection::btree_set(0u16..300, 1..200),
        ) {
            for seqs in [seqs, dense] {
                let list: Vec<u16> = seqs.iter().copied().collect();
                let bytes = written(|writer| assert!(writer.nack(1, 2, &list)));
                let entries: Vec<u8> = twin_entries(&seqs)
                    .into_iter()
                    .flat_map(|(pid, mask)| [pid.to_be_bytes(), mask.to_be_bytes()].concat())
                    .collect();
                prop_assert_eq!(&bytes[12..], entries);
                let Packet::Nack(nack) = only(&bytes) else { panic!() };
                prop_assert!(nack.seqs().eq(list));
            }
        }

        #[test]
        fn packets_in_any_order_are_all_asked_for(seqs in prop::collection::vec(any::<u16>(), 1..200)) {
            let bytes = written(|writer| assert!(writer.nack(1, 2, &seqs)));
            let Packet::Nack(nack) = only(&bytes) else { panic!() };
            let read: BTreeSet<u16> = nack.seqs().collect();
            prop_assert_eq!(read, seqs.into_iter().collect());
        }
    }
}
