//! Which bit rate does the receiver allow at most (draft-alvestrand-rmcat-remb-03 §2.2)?

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A receiver's estimate of the bandwidth towards it.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'a> {
    /// The SSRC of the estimating receiver.
    pub sender: u32,
    /// Bits per second for all [`Remb::ssrcs`] together.
    pub bitrate_bps: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    /// Returns `true` if application layer feedback is a REMB.
    pub(super) fn has_name(body: &[u8]) -> bool {
        body.get(8..).is_some_and(|rest| rest.starts_with(NAME))
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Remb<'a>> {
        let mut reader = Reader(body);
        let (sender, _media) = (reader.u32()?, reader.u32()?);
        reader.bytes(NAME.len())?;
        let count = usize::from(reader.u8()?);
        // Six bits of exponent, 18 of mantissa.
        let number = reader.u24()?;
        let (exponent, mantissa) = (number >> 18, u64::from(number & MAX_MANTISSA));
        let bitrate_bps = mantissa.checked_shl(exponent)?;
        let fits = bitrate_bps.checked_shr(exponent)? == mantissa;

        let (ssrcs, rest) = reader.0.as_chunks();
        (fits && ssrcs.len() == count && rest.is_empty()).then_some(Remb { sender, bitrate_bps, ssrcs })
    }

    /// Returns the SSRCs that the estimate is for.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.ssrcs.iter().map(|&ssrc| u32::from_be_bytes(ssrc))
    }
}

impl Writer<'_> {
    /// Appends an estimate, rounded down to 18 significant bits. At most 255 SSRCs.
    pub fn remb(&mut self, sender: u32, bitrate_bps: u64, ssrcs: &[u32]) -> bool {
        let Ok(count) = u8::try_from(ssrcs.len()) else {
            return false;
        };
        let exponent = (64 - bitrate_bps.leading_zeros()).saturating_sub(18);
        let mantissa = u32::try_from(bitrate_bps >> exponent).unwrap_or(MAX_MANTISSA); // 18 bits
        self.packet(packet_type::PAYLOAD_FEEDBACK, FORMAT, |out| {
            out.u32(sender)?;
            out.u32(0)?;
            out.bytes(NAME)?;
            out.u8(count)?;
            out.u24((exponent << 18) | mantissa)?;
            ssrcs.iter().try_for_each(|&ssrc| out.u32(ssrc))
        })
    }
}

/// RFC 4585 §6.4: "Application layer feedback".
pub(super) const FORMAT: u8 = 15;
const NAME: &[u8; 4] = b"REMB";
const MAX_MANTISSA: u32 = (1 << 18) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Packet;
    use super::super::tests::{only, written};
    use super::*;

    /// 0x3fb93 * 2 bits per second for three SSRCs.
    const THREE: [u8; 32] = [
        0x8f, 206, 0, 7, 1, 2, 3, 4, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 3, 0x07, 0xfb, 0x93, 0, 0, 0, 5, 0, 0, 0, 6,
        0, 0, 0, 7,
    ];

    #[test]
    fn an_estimate_is_laid_out_as_in_the_draft() {
        let bytes = written(|writer| assert!(writer.remb(0x0102_0304, 0x3_fb93 * 2, &[5, 6, 7])));
        assert_eq!(bytes, THREE);
        let Packet::Remb(remb) = only(&bytes) else { panic!() };
        assert_eq!((remb.sender, remb.bitrate_bps), (0x0102_0304, 522_022));
        assert!(remb.ssrcs().eq([5, 6, 7]));
    }

    #[test]
    fn an_estimate_beyond_64_bits_or_with_another_count_is_malformed() {
        let parse = |at: usize, value: u8| {
            let mut bytes = THREE;
            bytes[at] = value;
            Remb::parse(&bytes[4..]).map(|remb| remb.bitrate_bps)
        };
        assert_eq!(parse(17, 46 << 2 | 3), Some(0x3_fb93 << 46));
        assert_eq!(parse(17, 47 << 2 | 3), None);
        assert_eq!(parse(17, 0xff), None);
        assert_eq!(parse(16, 2), None);
        assert_eq!(parse(16, 4), None);
    }

    #[test]
    fn other_application_feedback_is_not_an_estimate() {
        let mut bytes = THREE;
        bytes[12] = b'X';
        assert!(matches!(only(&bytes), Packet::Other { packet_type: 206, count: 15 }));
    }

    proptest! {
        #[test]
        fn any_estimate_is_read_to_18_significant_bits(bitrate_bps: u64, shift in 0u32..64) {
            let bitrate_bps = bitrate_bps >> shift;
            let bytes = written(|writer| assert!(writer.remb(1, bitrate_bps, &[])));
            let Packet::Remb(remb) = only(&bytes) else { panic!() };
            prop_assert!(remb.bitrate_bps <= bitrate_bps);
            prop_assert!(bitrate_bps - remb.bitrate_bps <= bitrate_bps >> 17);
        }
    }
}
