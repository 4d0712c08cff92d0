//! Is this SRTP or SRTCP packet authentic and new, and what are its contents?
//!
//! State of earlier packets (replay windows, rollover counters) is read before decryption and
//! changed only after the tag was verified. A packet that any sender could have made is refused
//! with a [`Reject`] and changes nothing.

use crate::prefetch::Prefetch;

use super::sources::Sources;
use super::{E_BIT, INDEX_BYTES, Keys, RTCP_HEADER_BYTES, cm, gcm};

/// The keys of the receiving direction, and the replay state.
pub struct Open {
    rtp: Keys,
    rtcp: Keys,
    rtp_sources: Sources,
    rtcp_sources: Sources,
}

/// The reason for refusing a packet. Never a reason to close anything (threat T2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reject {
    /// Too short for its header and tag, or no version 2 header.
    #[error("too short")]
    TooShort,
    /// The packet was received before, or is too old to know.
    #[error("replayed")]
    Replayed,
    /// Not sent by the peer, or damaged.
    #[error("bad tag")]
    BadTag,
    /// Another SSRC than the 64 that are tracked.
    #[error("too many sources")]
    TooManySources,
    /// SRTCP whose E bit says that it is not encrypted.
    #[error("not encrypted")]
    NotEncrypted,
}

impl Open {
    /// Prefetches the state for a datagram of RTCP that will be opened soon.
    pub fn prefetch(&self, prefetch: Prefetch) {
        self.rtcp.prefetch(prefetch);
        self.rtcp_sources.prefetch(prefetch);
    }

    pub(super) fn new(rtp: Keys, rtcp: Keys) -> Open {
        Open { rtp, rtcp, rtp_sources: Sources::default(), rtcp_sources: Sources::default() }
    }

    /// Decrypts a compound RTCP packet in place. After an error its bytes are undefined.
    ///
    /// Replays are refused per sender SSRC. Beyond 64 SSRCs the one that was silent for longest is
    /// dropped: only the peer itself can cause that.
    ///
    /// Packets with the E bit clear are refused although they could be authentic: RFC 3711 §3.4
    /// lets a sender choose, but all supported profiles encrypt SRTCP (RFC 5764 §4.1.2, RFC 7714
    /// §14.2), and WebRTC requires it (RFC 8834 §4.8 and RFC 8827 §6.5), so no honest peer sends
    /// them.
    pub fn rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Reject> {
        let (header, rest) = packet.split_first_chunk::<RTCP_HEADER_BYTES>().ok_or(Reject::TooShort)?;
        let [first, _, _, _, ssrc @ ..] = *header;
        let ssrc = u32::from_be_bytes(ssrc);
        // RFC 3711 §3.4: the index stands before the tag. RFC 7714 §9.1: behind it.
        let word = match &self.rtcp {
            Keys::Gcm(_) => rest.split_last_chunk().filter(|(sealed, _)| sealed.len() >= gcm::TAG_BYTES),
            Keys::Cm(_) => rest.split_last_chunk::<{ cm::TAG_BYTES }>().and_then(|(rest, _)| rest.split_last_chunk()),
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

        if self.rtcp_sources.find(ssrc).is_some_and(|replay| !replay.is_new(u64::from(index))) {
            return Err(Reject::Replayed);
        }
        let len = match &self.rtcp {
            Keys::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            Keys::Cm(cm) => cm.open_rtcp(packet, ssrc, index),
        };
        let len = len.ok_or(Reject::BadTag)?;
        self.rtcp_sources.record(ssrc, u64::from(index));
        packet.get(..len).ok_or(Reject::TooShort)
    }

    /// Decrypts an RTP packet in place. After an error its bytes are undefined.
    ///
    /// Returns the packet index (rollover counter and sequence number) and the payload with its
    /// padding; the header before it is in the clear. A 65th SSRC is refused. An old one is not
    /// dropped for it, because its rollover counter would be lost.
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
        self.rtp_sources.record(header.ssrc, index);
        Ok((index, payload))
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

/// The parts of an RTP header that decryption needs.
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
            let extension = usize::from(u16::from_be_bytes(words)).checked_mul(4)?.checked_add(4)?;
            rest.get(..extension)?;
            len = len.checked_add(extension)?;
        }
        Some(Header { seq: u16::from_be_bytes([seq_high, seq_low]), ssrc: u32::from_be_bytes(ssrc), len })
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::tests::{PROFILES, one_way, rtcp, rtp};
    use super::super::{MAX_RTCP_OVERHEAD, Profile};
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        for profile in PROFILES {
            let (mut seal, _) = one_way(profile);
            let (rtp_packet, rtcp_packet) = (rtp(&seal, 9, 77, b"payload"), rtcp(&mut seal, 9));
            for bit in 0..rtp_packet.len() * 8 {
                let (_, mut open) = one_way(profile);
                let mut damaged = rtp_packet.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(open.rtp(&mut damaged).is_err(), "{profile:?}: bit {bit}");
                assert_eq!(open.rtp(&mut rtp_packet.clone()), Ok((77, &b"payload"[..])));
            }
            for bit in 0..rtcp_packet.len() * 8 {
                let (_, mut open) = one_way(profile);
                let mut damaged = rtcp_packet.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(open.rtcp(&mut damaged).is_err(), "{profile:?}: bit {bit}");
                assert!(open.rtcp(&mut rtcp_packet.clone()).is_ok());
            }
        }
    }

    #[test]
    fn every_shortened_packet_is_refused() {
        for profile in PROFILES {
            let (mut seal, mut open) = one_way(profile);
            let (rtp_packet, rtcp_packet) = (rtp(&seal, 9, 77, b"payload"), rtcp(&mut seal, 9));
            for len in 0..rtp_packet.len() {
                assert!(open.rtp(&mut rtp_packet.clone()[..len]).is_err());
            }
            for len in 0..rtcp_packet.len() {
                assert!(open.rtcp(&mut rtcp_packet.clone()[..len]).is_err());
            }
        }
    }

    #[test]
    fn garbage_of_any_length_is_refused() {
        let mut random = 1u64;
        for profile in PROFILES {
            let (_, mut open) = one_way(profile);
            for len in 0..=2_048 {
                for version in [None, Some(0x80), Some(0x9f)] {
                    let mut packet: Vec<u8> = (0..len).map(|_| xorshift(&mut random) as u8).collect();
                    if let (Some(version), Some(first)) = (version, packet.first_mut()) {
                        *first = version;
                    }
                    assert!(open.rtp(&mut packet.clone()).is_err());
                    assert!(open.rtcp(&mut packet).is_err());
                }
            }
            assert!(!open.rtp_sources.is_full() && open.rtp_sources.find(0).is_none());
        }
    }

    #[test]
    fn csrcs_and_extensions_stay_in_the_clear() {
        for profile in PROFILES {
            let (seal, mut open) = one_way(profile);
            let mut packet = [0u8; 100];
            // Two CSRCs, and an extension of one word.
            let header =
                [0x92, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0];
            packet[..header.len()].copy_from_slice(&header);
            let len = seal.rtp(&mut packet, header.len(), &[], b"abc", 5, 1);
            assert_eq!(packet[..header.len()], header);
            assert_eq!(open.rtp(&mut packet[..len]), Ok((1, &b"abc"[..])));
        }
    }

    #[test]
    fn the_rollover_counter_is_recovered_in_spite_of_loss_and_reordering() {
        for profile in PROFILES {
            let (seal, mut open) = one_way(profile);
            let mut random = 7u64;
            let mut index = 60_000u64;
            let mut late = Vec::new();
            while index < 60_000 + 3 * 65_536 {
                let packet = rtp(&seal, 1, index, &index.to_be_bytes());
                match xorshift(&mut random) % 100 {
                    0..20 => {}                           // lost
                    20..30 => late.push((index, packet)), // comes after others
                    _ => check_opens(&mut open, index, packet),
                }
                if late.len() > 2 {
                    let at = (xorshift(&mut random) % late.len() as u64) as usize;
                    let (index, packet) = late.swap_remove(at);
                    check_opens(&mut open, index, packet);
                }
                // Rarely, a burst of loss of nearly half a rollover.
                index += if xorshift(&mut random).is_multiple_of(20_000) { 32_000 } else { 1 };
                late.retain(|(late, _)| late + 1_000 > index);
            }
        }
    }

    #[test]
    fn a_second_half_of_a_rollover_that_was_lost_is_beyond_repair_and_says_so() {
        let (seal, mut open) = one_way(Profile::AeadAes128Gcm);
        check_opens(&mut open, 10, rtp(&seal, 1, 10, b"x"));
        assert_eq!(open.rtp(&mut rtp(&seal, 1, 10 + 65_536, b"x")), Err(Reject::Replayed));
        assert_eq!(open.rtp(&mut rtp(&seal, 1, 11 + 65_536, b"x")), Err(Reject::BadTag));
    }

    #[test]
    fn a_guess_is_the_nearest_index_that_exists() {
        for highest in [0, 1, 32_767, 32_768, 65_535, 65_536, 98_303, 98_304, 131_071, LAST - 40_000, LAST] {
            for seq in (0..=u16::MAX).step_by(13).chain([u16::MAX, 32_767, 32_768]) {
                assert_eq!(guess_index(Some(highest), seq), nearest(highest, seq), "{highest}, {seq}");
            }
        }
        assert_eq!(guess_index(None, 65_535), Some(65_535));
    }

    /// Tries all three; of two that are equally far, takes the one in the same rollover.
    fn nearest(highest: u64, seq: u16) -> Option<u64> {
        let highest = i128::from(highest);
        let same = (highest >> 16 << 16) + i128::from(seq);
        let nearest = [same, same - 65_536, same + 65_536].into_iter().min_by_key(|guess| (guess - highest).abs());
        nearest.and_then(|guess| u64::try_from(guess).ok()).filter(|&guess| guess <= LAST)
    }

    #[test]
    fn a_65th_source_of_rtp_is_refused_and_the_others_go_on() {
        let (seal, mut open) = one_way(Profile::AeadAes128Gcm);
        for ssrc in 0..64 {
            assert!(open.rtp(&mut rtp(&seal, ssrc, 5, b"x")).is_ok());
        }
        assert_eq!(open.rtp(&mut rtp(&seal, 64, 5, b"x")), Err(Reject::TooManySources));
        assert!(open.rtp(&mut rtp(&seal, 63, 6, b"x")).is_ok());
        assert_eq!(open.rtp(&mut rtp(&seal, 0, 5, b"x")), Err(Reject::Replayed));
    }

    #[test]
    fn a_65th_source_of_rtcp_pushes_out_the_one_that_was_silent_for_longest() {
        let (mut seal, mut open) = one_way(Profile::AesCm128HmacSha1_80);
        let packets: Vec<_> = (0..65).map(|ssrc| rtcp(&mut seal, ssrc)).collect();
        for packet in &packets {
            assert!(open.rtcp(&mut packet.clone()).is_ok());
        }
        for packet in &packets[1..] {
            assert_eq!(open.rtcp(&mut packet.clone()), Err(Reject::Replayed));
        }
    }

    #[test]
    fn rtcp_of_ten_sources_is_told_apart() {
        // Other senders count per SSRC (RFC 3711 §3.2.1), so the same index comes from several.
        for profile in PROFILES {
            let (mut seal, mut open) = one_way(profile);
            for index in [5, 3, 4, 3_000, 2_500] {
                for ssrc in 0..10 {
                    seal.skip_to_rtcp_index(index);
                    let mut packet = rtcp(&mut seal, ssrc);
                    let mut again = packet.clone();
                    assert!(open.rtcp(&mut packet).is_ok());
                    assert_eq!(open.rtcp(&mut again), Err(Reject::Replayed));
                }
            }
        }
    }

    #[test]
    fn forgeries_change_nothing() {
        for profile in PROFILES {
            let (mut seal, mut open) = one_way(profile);
            check_opens(&mut open, 100, rtp(&seal, 1, 100, b"x"));
            // Would move the window, the rollover counter or the table of sources.
            for index in [30_000, 32_868] {
                let mut forged = rtp(&seal, 1, index, b"x");
                *forged.last_mut().unwrap() ^= 1;
                assert_eq!(open.rtp(&mut forged), Err(Reject::BadTag));
            }
            for ssrc in 0..200 {
                let mut forged = rtp(&seal, ssrc, 101, b"x");
                forged[12] ^= 1;
                assert_eq!(open.rtp(&mut forged), Err(Reject::BadTag));
                let mut forged = rtcp(&mut seal, ssrc);
                let at = forged.len() - MAX_RTCP_OVERHEAD.min(seal.rtcp_overhead());
                forged[at] ^= 1;
                assert!(open.rtcp(&mut forged).is_err());
            }
            check_opens(&mut open, 101, rtp(&seal, 1, 101, b"x"));
            check_opens(&mut open, 99, rtp(&seal, 1, 99, b"x"));
            assert!(open.rtcp_sources.find(0).is_none());
        }
    }

    proptest! {
        #[test]
        fn each_packet_is_opened_at_most_once_like_a_naive_twin_says(
            order in prop::collection::vec((0u32..3, 0u64..3_000), 1..400),
        ) {
            let (mut seal, mut open) = one_way(Profile::AeadAes128Gcm);
            let mut rtp_twin: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
            let mut rtcp_twin = rtp_twin.clone();
            for (ssrc, index) in order {
                let expected = twin_takes(&mut rtp_twin, ssrc, index);
                prop_assert_eq!(open.rtp(&mut rtp(&seal, ssrc, index, b"x")).is_ok(), expected);

                let expected = twin_takes(&mut rtcp_twin, ssrc, index);
                seal.skip_to_rtcp_index(index as u32);
                prop_assert_eq!(open.rtcp(&mut rtcp(&mut seal, ssrc)).is_ok(), expected);
            }
        }

        #[test]
        fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for profile in PROFILES {
                let (_, mut open) = one_way(profile);
                prop_assert!(open.rtp(&mut bytes).is_err());
                prop_assert!(open.rtcp(&mut bytes).is_err());
            }
        }
    }

    fn twin_takes(seen: &mut BTreeMap<u32, BTreeSet<u64>>, ssrc: u32, index: u64) -> bool {
        let seen = seen.entry(ssrc).or_default();
        let too_old = seen.last().is_some_and(|highest| index + 1_024 <= *highest);
        !too_old && seen.insert(index)
    }

    fn check_opens(open: &mut Open, index: u64, mut packet: Vec<u8>) {
        let result = open.rtp(&mut packet).map(|(index, payload)| (index, payload.to_vec()));
        let (opened, _) = result.unwrap_or_else(|reject| panic!("{index}: {reject}"));
        assert_eq!(opened, index);
    }

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    const LAST: u64 = (1 << 48) - 1;
}
