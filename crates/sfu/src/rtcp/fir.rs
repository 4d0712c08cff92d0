//! Please send a key frame, I am new here (RFC 5104 §4.3.1).

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A receiver cannot begin without a key frame.
#[derive(Debug, Clone, Copy)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender: u32,
    entries: &'a [[u8; 8]],
}

/// Whom a [`Fir`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The SSRC that shall send a key frame.
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

    /// Returns who is asked.
    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries {
            entries: self.entries.iter(),
        }
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
        Some(FirEntry {
            media: reader.u32()?,
            command: reader.u8()?,
        })
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
