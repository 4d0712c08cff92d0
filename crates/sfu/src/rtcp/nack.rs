//! Which packets are missing (RFC 4585 §6.2.1)?

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A receiver misses packets of an SSRC.
#[derive(Debug, Clone, Copy)]
pub struct Nack<'a> {
    /// Who misses them.
    pub sender: u32,
    /// The SSRC they were sent with.
    pub media: u32,
    entries: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Nack<'a>> {
        let mut reader = Reader(body);
        let (sender, media) = (reader.u32()?, reader.u32()?);
        let (entries, rest) = reader.0.as_chunks();
        // RFC 4585 §6.2.1: at least one entry.
        (!entries.is_empty() && rest.is_empty()).then_some(Nack {
            sender,
            media,
            entries,
        })
    }

    /// Returns the missing sequence numbers in the order of the packet, perhaps with repetitions:
    /// up to 17 for every four bytes.
    pub fn seqs(&self) -> NackSeqs<'a> {
        NackSeqs {
            entries: self.entries.iter(),
            next: 0,
            mask: 0,
        }
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
        let seq = self
            .next
            .wrapping_add(u16::try_from(skipped).unwrap_or_default());
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
