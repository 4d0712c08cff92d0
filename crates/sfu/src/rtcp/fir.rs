//! Full Intra Request: a request for a key frame by a receiver that has just joined (RFC 5104
//! §4.3.1).

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A request for a key frame by a receiver that cannot start without one.
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    /// The SSRC of the requesting receiver.
    pub sender: u32,
    entries: &'a [[u8; 8]],
}

/// The encoding that a [`Fir`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The SSRC that has to send a key frame.
    pub media: u32,
    /// Grows with every new request; the same number again is the same request.
    pub command: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Fir<'a>> {
        let mut reader = Reader(body);
        // RFC 5104 §4.3.1.2: the media SSRC of the feedback header is not used.
        let (sender, _) = (reader.u32()?, reader.u32()?);
        let (entries, rest) = reader.0.as_chunks();
        (!entries.is_empty() && rest.is_empty()).then_some(Fir { sender, entries })
    }

    /// Returns the requested encodings.
    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries { entries: self.entries.iter() }
    }
}

/// The entries of a [`Fir`].
#[derive(Debug, Clone)]
pub struct FirEntries<'a> {
    entries: std::slice::Iter<'a, [u8; 8]>,
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let mut reader = Reader(self.entries.next()?);
        Some(FirEntry { media: reader.u32()?, command: reader.u8()? })
    }
}

impl Writer<'_> {
    /// Appends a request for a key frame of `media`; `command` grows with every new request.
    pub fn fir(&mut self, sender: u32, media: u32, command: u8) -> bool {
        self.packet(packet_type::PAYLOAD_FEEDBACK, FORMAT, |out| {
            out.u32(sender)?;
            out.u32(0)?;
            out.u32(media)?;
            out.bytes(&[command, 0, 0, 0])
        })
    }
}

/// RFC 5104 §4.3.1.1: "Full Intra Request".
pub(super) const FORMAT: u8 = 4;

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    #[test]
    fn a_fir_is_laid_out_as_in_rfc_5104() {
        let bytes = written(|writer| assert!(writer.fir(0x0102_0304, 0x0506_0708, 9)));
        let expected = [0x84, 206, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 9, 0, 0, 0];
        assert_eq!(bytes, expected);
        let Packet::Fir(fir) = only(&bytes) else { panic!() };
        assert_eq!(fir.sender, 0x0102_0304);
        assert!(fir.entries().eq([FirEntry { media: 0x0506_0708, command: 9 }]));
    }

    #[test]
    fn fir_without_entries_or_with_half_an_entry_is_malformed() {
        assert!(Fir::parse(&[0; 8]).is_none());
        assert!(Fir::parse(&[0; 12]).is_none());
        assert!(Fir::parse(&[0; 24]).is_some_and(|fir| fir.entries().count() == 2));
    }
}
