//! How does a packet that we send become SRTP or SRTCP?

use super::{E_BIT, Keys, Profile, RTCP_HEADER_BYTES};

/// The keys of the direction that we send, and the count of RTCP packets sent.
///
/// The SRTCP index only grows, so no nonce of RTCP repeats. For RTP that is the caller's duty.
pub struct Seal {
    profile: Profile,
    rtp: Keys,
    rtcp: Keys,
    /// The index of the next SRTCP packet; used up at 2^31.
    next_rtcp_index: u32,
}

impl Seal {
    pub(super) fn new(profile: Profile, rtp: Keys, rtcp: Keys) -> Seal {
        // RFC 3711 §3.4: the SRTCP index is zero for the first packet.
        Seal {
            profile,
            rtp,
            rtcp,
            next_rtcp_index: 0,
        }
    }

    /// Encrypts `prefix ++ payload` behind the RTP header in `out[..header_len]`.
    ///
    /// `prefix` is empty, or the two bytes of original sequence number of a retransmission
    /// (RFC 4588 §4). `index` is the 48-bit packet index (rollover counter and sequence number,
    /// RFC 3711 §3.3.1) of the packet among those of `ssrc`; both must agree with the header, and
    /// the caller guarantees that no index repeats for an SSRC.
    ///
    /// Returns the length of the whole packet; 0 if it does not fit into `out` or the index has
    /// more than 48 bits.
    #[inline]
    pub fn rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        prefix: &[u8],
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> usize {
        self.try_rtp(out, header_len, prefix, payload, ssrc, index)
            .unwrap_or(0)
    }

    fn try_rtp(
        &self,
        out: &mut [u8],
        header_len: usize,
        prefix: &[u8],
        payload: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        // RFC 3711 §9.2: one key is good for 2^48 packets; the next would repeat a nonce.
        if index > MAX_RTP_INDEX {
            return None;
        }
        let len = header_len
            .checked_add(prefix.len())?
            .checked_add(payload.len())?
            .checked_add(self.profile.rtp_overhead())?;
        let out = out.get_mut(..len)?;
        match &self.rtp {
            Keys::Gcm(gcm) => gcm.seal_rtp(out, header_len, prefix, payload, ssrc, index)?,
            Keys::Cm(cm) => cm.seal_rtp(out, header_len, prefix, payload, ssrc, index)?,
        }
        Some(len)
    }

    /// Encrypts the compound RTCP packet in `out[..len]` in place and appends tag and index.
    ///
    /// Returns the length of the whole packet; 0 if it does not fit into `out`, is shorter than
    /// an RTCP header with its SSRC, or 2^31 packets have been sent with this key.
    pub fn rtcp(&mut self, out: &mut [u8], len: usize) -> usize {
        self.try_rtcp(out, len).unwrap_or(0)
    }

    fn try_rtcp(&mut self, out: &mut [u8], len: usize) -> Option<usize> {
        let index = self.next_rtcp_index;
        // RFC 3711 §9.2: one key is good for 2^31 RTCP packets.
        if index >= E_BIT || len < RTCP_HEADER_BYTES {
            return None;
        }
        let len = len.checked_add(self.profile.rtcp_overhead())?;
        let out = out.get_mut(..len)?;
        let (_, ssrc) = out
            .first_chunk::<RTCP_HEADER_BYTES>()?
            .split_last_chunk::<4>()?;
        let ssrc = u32::from_be_bytes(*ssrc);
        // Before the attempt, so that an index is never used twice, whatever comes of it.
        self.next_rtcp_index = index.saturating_add(1);
        match &self.rtcp {
            Keys::Gcm(gcm) => gcm.seal_rtcp(out, ssrc, index)?,
            Keys::Cm(cm) => cm.seal_rtcp(out, ssrc, index)?,
        }
        Some(len)
    }

    /// Returns the profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Returns by how much [`Seal::rtp`] makes a packet grow.
    pub const fn rtp_overhead(&self) -> usize {
        self.profile.rtp_overhead()
    }

    /// Returns by how much [`Seal::rtcp`] makes a packet grow.
    pub const fn rtcp_overhead(&self) -> usize {
        self.profile.rtcp_overhead()
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// RFC 3711 §3.3.1: 32 bits of rollover counter, 16 of sequence number.
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;
