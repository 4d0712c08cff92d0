//! Is this SRTP or SRTCP packet authentic and new, and what does it say?
//!
//! Everything that depends on the packet's past (replay windows, rollover counters) is looked up
//! before decryption and changed only after the tag was right. Anything that anyone could have
//! sent is refused with a [`Reject`] and leaves no trace.

use super::sources::Sources;
use super::{E_BIT, INDEX_BYTES, Keys, RTCP_HEADER_BYTES, cm, gcm};

/// The keys of the direction that we receive, and what came in so far.
pub struct Open {
    rtp: Keys,
    rtcp: Keys,
    rtp_sources: Sources,
    rtcp_sources: Sources,
}

/// Why a packet was refused. Never a reason to close anything (threat T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// Too short for its header and tag, or no version 2 header.
    #[error("too short")]
    TooShort,
    /// Seen before, or too old to tell.
    #[error("replayed")]
    Replayed,
    /// Not sent by the peer, or damaged.
    #[error("bad tag")]
    BadTag,
    /// Another SSRC than the 64 that we follow.
    #[error("too many sources")]
    TooManySources,
    /// SRTCP whose E bit says that it is not encrypted.
    #[error("not encrypted")]
    NotEncrypted,
}

impl Open {
    pub(super) fn new(rtp: Keys, rtcp: Keys) -> Open {
        Open {
            rtp,
            rtcp,
            rtp_sources: Sources::default(),
            rtcp_sources: Sources::default(),
        }
    }

    /// Decrypts a compound RTCP packet in place. After an error its bytes are garbage.
    ///
    /// Replays are refused per sender SSRC. Of more than 64 SSRCs those that were silent for longest
    /// are forgotten: only the peer itself can bring that about.
    ///
    /// Packets with the E bit clear are refused though they could be authentic: RFC 3711 §3.4 lets
    /// a sender choose, but all our profiles encrypt SRTCP (RFC 5764 §4.1.2, RFC 7714 §14.2), and
    /// WebRTC demands it (RFC 8834 §4.8 and RFC 8827 §6.5), so no honest peer sends them.
    pub fn rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Reject> {
        let (header, rest) = packet
            .split_first_chunk::<RTCP_HEADER_BYTES>()
            .ok_or(Reject::TooShort)?;
        let [first, _, _, _, ssrc @ ..] = *header;
        let ssrc = u32::from_be_bytes(ssrc);
        // RFC 3711 §3.4: the index stands before the tag. RFC 7714 §9.1: behind it.
        let word = match &self.rtcp {
            Keys::Gcm(_) => rest
                .split_last_chunk()
                .filter(|(sealed, _)| sealed.len() >= gcm::TAG_BYTES),
            Keys::Cm(_) => rest
                .split_last_chunk::<{ cm::TAG_BYTES }>()
                .and_then(|(rest, _)| rest.split_last_chunk()),
        };
        let (_, word): (_, &[u8; INDEX_BYTES]) = word.ok_or(Reject::TooShort)?;
        let word = u32::from_be_bytes(*word);
        if first >> 6 != VERSION {
            return Err(Reject::TooShort);
        }
        if word & E_BIT == 0 {
            return Err(Reject::NotEncrypted);
        }
        let index = word & !E_BIT;

        if self
            .rtcp_sources
            .find(ssrc)
            .is_some_and(|replay| !replay.is_new(u64::from(index)))
        {
            return Err(Reject::Replayed);
        }
        let len = match &self.rtcp {
            Keys::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            Keys::Cm(cm) => cm.open_rtcp(packet, ssrc, index),
        };
        let len = len.ok_or(Reject::BadTag)?;
        self.rtcp_sources.saw(ssrc, u64::from(index));
        packet.get(..len).ok_or(Reject::TooShort)
    }

    /// Decrypts an RTP packet in place. After an error its bytes are garbage.
    ///
    /// Returns the packet index (rollover counter and sequence number) and the payload with its
    /// padding; the header stands in the clear before it. A 65th SSRC is refused rather than an old
    /// one forgotten, since its rollover counter would be lost with it.
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<(u64, &'a [u8]), Reject> {
        let tag_bytes = match &self.rtp {
            Keys::Gcm(_) => gcm::TAG_BYTES,
            Keys::Cm(_) => cm::TAG_BYTES,
        };
        let header = Header::parse(packet).ok_or(Reject::TooShort)?;
        let sealed_len = packet.len().saturating_sub(header.len);
        if sealed_len < tag_bytes {
            return Err(Reject::TooShort);
        }

        let source = self.rtp_sources.find(header.ssrc);
        if source.is_none() && self.rtp_sources.is_full() {
            return Err(Reject::TooManySources);
        }
        let highest = source.and_then(|replay| replay.highest());
        let index = guess_index(highest, header.seq).ok_or(Reject::Replayed)?;
        if source.is_some_and(|replay| !replay.is_new(index)) {
            return Err(Reject::Replayed);
        }
        let payload = match &self.rtp {
            Keys::Gcm(gcm) => gcm.open_rtp(packet, header.len, header.ssrc, index),
            Keys::Cm(cm) => cm.open_rtp(packet, header.len, header.ssrc, index),
        };
        let payload = payload.ok_or(Reject::BadTag)?;
        self.rtp_sources.saw(header.ssrc, index);
        Ok((index, payload))
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

/// What decryption needs to know of an RTP header.
struct Header {
    seq: u16,
    ssrc: u32,
    /// With CSRCs and extensions.
    len: usize,
}

impl Header {
    fn parse(packet: &[u8]) -> Option<Header> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [flags, _, seq_high, seq_low, _, _, _, _, ssrc @ ..] = *fixed;
        if flags >> 6 != VERSION {
            return None;
        }
        // RFC 3550 §5.1: up to 15 CSRCs.
        let csrcs = rest.get(..usize::from(flags & 0x0f).checked_mul(4)?)?;
        let rest = rest.get(csrcs.len()..)?;
        let mut len = fixed.len().checked_add(csrcs.len())?;
        // RFC 3550 §5.3.1: the extension's length counts words behind its own first.
        if flags & 0x10 != 0 {
            let [_, _, words @ ..] = *rest.first_chunk::<4>()?;
            let extension = usize::from(u16::from_be_bytes(words))
                .checked_mul(4)?
                .checked_add(4)?;
            rest.get(..extension)?;
            len = len.checked_add(extension)?;
        }
        Some(Header {
            seq: u16::from_be_bytes([seq_high, seq_low]),
            ssrc: u32::from_be_bytes(ssrc),
            len,
        })
    }
}

/// Returns the packet index that `seq` most likely has, given the highest authentic one.
///
/// RFC 3711 §3.3.1 and appendix A: the candidate closest to the highest index, which is the same
/// rollover, the one before or the one after. `None` if that lies before the first or behind the
/// last of the 2^48.
fn guess_index(highest: Option<u64>, seq: u16) -> Option<u64> {
    let Some(highest) = highest else {
        // RFC 3711 §3.3.1: the rollover counter starts at zero.
        return Some(u64::from(seq));
    };
    let [_, _, roc_bytes @ .., high, low] = highest.to_be_bytes();
    let highest_seq = u16::from_be_bytes([high, low]);
    let roc = u32::from_be_bytes(roc_bytes);
    let roc = if highest_seq < HALF {
        let before = u32::from(seq) > u32::from(highest_seq).saturating_add(u32::from(HALF));
        if before { roc.checked_sub(1)? } else { roc }
    } else {
        let after = u32::from(highest_seq).saturating_sub(u32::from(HALF)) > u32::from(seq);
        if after { roc.checked_add(1)? } else { roc }
    };
    Some((u64::from(roc) << 16) | u64::from(seq))
}

/// RFC 3550 §5.1 and §6.4.1.
const VERSION: u8 = 2;
/// Half of all sequence numbers.
const HALF: u16 = 1 << 15;
