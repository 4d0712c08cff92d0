//! How is a compound packet written into a datagram?

/// Appends RTCP packets to a buffer.
///
/// Each method returns `true` if the packet fitted and could be expressed. Otherwise nothing of it
/// is written, and the packets before it stay.
#[derive(Debug)]
pub struct Writer<'a> {
    out: Out<'a>,
}

impl<'a> Writer<'a> {
    /// Starts with nothing written.
    pub fn new(buffer: &'a mut [u8]) -> Writer<'a> {
        Writer { out: Out { buffer, len: 0 } }
    }

    /// Returns the length of everything written.
    pub fn finish(self) -> usize {
        self.out.len
    }

    /// Returns how many bytes have been written.
    pub fn len(&self) -> usize {
        self.out.len
    }

    /// Returns whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.out.len == 0
    }

    /// Writes one packet around `body`, padded to whole words.
    pub(super) fn packet(&mut self, packet_type: u8, count: u8, body: impl FnOnce(&mut Out<'a>) -> Option<()>) -> bool {
        let start = self.out.len;
        let written = self.out.packet(packet_type, count, body).is_some();
        if !written {
            self.truncate(start);
        }
        written
    }

    /// Removes the bytes written beyond `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.out.len = len.min(self.out.len);
    }
}

/// Puts big-endian numbers into a buffer.
#[derive(Debug)]
pub(super) struct Out<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn packet(&mut self, packet_type: u8, count: u8, body: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let start = self.len;
        self.bytes(&[0; 4])?;
        body(self)?;

        let written = self.len.checked_sub(start)?;
        let padding = written.next_multiple_of(4).checked_sub(written)?;
        // RFC 3550 §6.4.1: the last byte of padding counts it.
        let padded = match padding {
            0 => 0,
            1 => self.bytes(&[1]).map(|()| PADDING_BIT)?,
            2 => self.bytes(&[0, 2]).map(|()| PADDING_BIT)?,
            _ => self.bytes(&[0, 0, 3]).map(|()| PADDING_BIT)?,
        };
        let words = self.len.checked_sub(start)?.checked_div(4)?.checked_sub(1)?;
        let [high, low] = u16::try_from(words).ok()?.to_be_bytes();
        let header = self.buffer.get_mut(start..)?.first_chunk_mut()?;
        *header = [VERSION_2 | padded | (count & 0x1f), packet_type, high, low];
        Some(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buffer.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Writes the low 24 bits.
    pub(super) fn u24(&mut self, value: u32) -> Option<()> {
        let [_, low @ ..] = value.to_be_bytes();
        self.bytes(&low)
    }

    pub(super) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }
}

const VERSION_2: u8 = 2 << 6;
const PADDING_BIT: u8 = 1 << 5;
