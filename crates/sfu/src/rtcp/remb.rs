//! How much does the receiver want at most (draft-alvestrand-rmcat-remb-03 §2.2)?

use super::compound::Reader;
use super::packet_type;
use super::writer::Writer;

/// A receiver's estimate of the bandwidth towards it.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender: u32,
    /// Bits per second for all [`Remb::ssrcs`] together.
    pub bitrate_bps: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    /// Returns whether application layer feedback is this.
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
        (fits && ssrcs.len() == count && rest.is_empty()).then_some(Remb {
            sender,
            bitrate_bps,
            ssrcs,
        })
    }

    /// Returns what the estimate is for.
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
