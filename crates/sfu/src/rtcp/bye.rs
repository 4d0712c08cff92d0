//! Which SSRCs end (RFC 3550 §6.6)?

use super::compound::Reader;
use super::writer::Writer;
use super::{MAX_COUNT, packet_type};

/// SSRCs that send no more packets. The reason, if any, is not read.
#[derive(Debug, Clone, Copy)]
pub struct Bye<'a> {
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Bye<'a>> {
        let mut reader = Reader(body);
        let (ssrcs, _) = reader.bytes(usize::from(count).checked_mul(4)?)?.as_chunks();
        Some(Bye { ssrcs })
    }

    /// Returns the SSRCs that end: at most 31, perhaps none.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.ssrcs.iter().map(|&ssrc| u32::from_be_bytes(ssrc))
    }
}

impl Writer<'_> {
    /// Appends a BYE of at most 31 SSRCs. A BYE without SSRCs is not written.
    pub fn bye(&mut self, ssrcs: &[u32]) -> bool {
        let count = u8::try_from(ssrcs.len()).unwrap_or(u8::MAX);
        if ssrcs.is_empty() || ssrcs.len() > MAX_COUNT {
            return false;
        }
        self.packet(packet_type::BYE, count, |out| ssrcs.iter().try_for_each(|&ssrc| out.u32(ssrc)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    #[test]
    fn a_bye_names_up_to_31() {
        for count in 1..=31 {
            let ssrcs: Vec<u32> = (0..count).collect();
            let bytes = written(|writer| assert!(writer.bye(&ssrcs)));
            let Packet::Bye(bye) = only(&bytes) else { panic!() };
            assert!(bye.ssrcs().eq(ssrcs));
        }
        assert!(written(|writer| assert!(!writer.bye(&[0; 32]))).is_empty());
        assert!(written(|writer| assert!(!writer.bye(&[]))).is_empty());
    }

    #[test]
    fn a_reason_is_skipped_and_a_missing_ssrc_is_malformed() {
        let bytes = [0x81, 203, 0, 3, 0, 0, 0, 9, 5, b'a', b'd', b'i', b'e', b'u', 0, 0];
        let Packet::Bye(bye) = only(&bytes) else { panic!() };
        assert!(bye.ssrcs().eq([9]));
        assert!(Bye::parse(2, &[0; 7]).is_none());
        assert!(Bye::parse(0, &[]).is_some());
    }
}
