//! Which SCTP packets of a peer does the SCTP library see?
//!
//! The library keeps a state for each stream that a chunk names and an entry for each chunk that is not delivered, and walks
//! all of either for each chunk. Its only limit is the receive window, which counts bytes of user data, not entries.
//! Data channels carry a few messages a second here (`desk::WISHES`), so a packet passes only if
//!
//! - its chunks name streams below [`MAX_STREAMS`] (threat T16),
//! - its DATA is at most [`MAX_AHEAD`] TSNs in front of what we acknowledged,
//! - there are tokens for its chunks: [`BURST`], and [`CHUNKS_PER_SECOND`] more,
//! - the session has not used up [`MAX_DATA_CHUNKS`].
//!
//! A packet that does not pass looks lost to the peer, which sends it again.

// Bytes here come from the network: no input may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

use std::time::Instant;

/// The association of one session, as far as packets show it.
#[derive(Debug, Default)]
pub(crate) struct Sctp {
    /// What we acknowledged last, or the TSN before the peer's first.
    cumulative: Option<u32>,
    has_acknowledged: bool,
    /// In chunks; the bucket is full at first.
    used: u32,
    refilled_at: Option<Instant>,
    data_chunks: u32,
}

/// Threat T16. Browsers and libdatachannel number their channels from 0.
const MAX_STREAMS: u16 = 64;
/// TSNs in front of the acknowledged one: 512 full packets are 600 KB in flight. A guess.
const MAX_AHEAD: u32 = 512;
/// Chunks that may come at once. A guess.
const BURST: u32 = 512;
/// Fifty wishes or acknowledgements a second; clients send one. A guess.
const CHUNKS_PER_SECOND: u32 = 50;
/// At one message a second this is 18 hours; as entries that are never delivered, about 16 MB.
const MAX_DATA_CHUNKS: u32 = 65_536;
/// RFC 9260 §3.1.
const COMMON_HEADER_BYTES: usize = 12;

/// RFC 9260 §3.2; RFC 8260 §2.1 and §2.3.1; RFC 3758 §3.2; RFC 6525 §3.1.
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const SACK: u8 = 3;
    pub(super) const I_DATA: u8 = 64;
    pub(super) const FORWARD_TSN: u8 = 192;
    pub(super) const I_FORWARD_TSN: u8 = 194;
}

impl Sctp {
    /// Time passed.
    pub(crate) fn refill(&mut self, now: Instant) {
        let since = self.refilled_at.map_or(std::time::Duration::ZERO, |at| now.saturating_duration_since(at));
        let tokens = since.as_millis().saturating_mul(u128::from(CHUNKS_PER_SECOND)) / 1_000;
        if tokens > 0 || self.refilled_at.is_none() {
            self.used = self.used.saturating_sub(u32::try_from(tokens).unwrap_or(u32::MAX));
            self.refilled_at = Some(now);
        }
    }

    /// Whether a packet of the peer may be handed to the library.
    pub(crate) fn admits(&mut self, packet: &[u8]) -> bool {
        let (mut chunks, mut data) = (0u32, 0u32);
        let mut initial = None;
        for (kind, value) in Chunks::of(packet) {
            chunks = chunks.saturating_add(1);
            let is_sound = match kind {
                chunk::DATA | chunk::I_DATA => {
                    data = data.saturating_add(1);
                    if self.cumulative.is_none() {
                        // An association that was agreed on in SDP has no INIT.
                        initial = initial.or(u32_at(value, 0));
                    }
                    self.takes_tsn(u32_at(value, 0)) && stream_at(value, 4)
                }
                chunk::FORWARD_TSN => every_stream(value, 4),
                chunk::I_FORWARD_TSN => every_stream(value, 8),
                chunk::INIT | chunk::INIT_ACK => {
                    initial = u32_at(value, 12);
                    true
                }
                _ => true,
            };
            if !is_sound {
                return false;
            }
        }
        let used = self.used.saturating_add(chunks);
        let taken = self.data_chunks.saturating_add(data);
        if used > BURST || (data > 0 && taken > MAX_DATA_CHUNKS) {
            return false;
        }
        (self.used, self.data_chunks) = (used, taken);
        // Our own acknowledgements say it better, once there are any.
        if let Some(initial) = initial.filter(|_| !self.has_acknowledged) {
            self.cumulative = Some(initial.wrapping_sub(1));
        }
        true
    }

    /// The library sends a packet.
    pub(crate) fn on_sent(&mut self, packet: &[u8]) {
        for (kind, value) in Chunks::of(packet) {
            if let (chunk::SACK, Some(cumulative)) = (kind, u32_at(value, 0)) {
                self.cumulative = Some(cumulative);
                self.has_acknowledged = true;
            }
        }
    }

    fn takes_tsn(&self, tsn: Option<u32>) -> bool {
        let Some(tsn) = tsn else { return false };
        let Some(cumulative) = self.cumulative else { return true };
        // RFC 1982 arithmetic: what lies behind is a repetition.
        let ahead = tsn.wrapping_sub(cumulative);
        ahead <= MAX_AHEAD || ahead.cast_signed() < 0
    }
}

/// The chunks of a packet: type and value. Ends at one that does not fit.
struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    fn of(packet: &'a [u8]) -> Chunks<'a> {
        Chunks(packet.get(COMMON_HEADER_BYTES..).unwrap_or_default())
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [kind, _, length @ ..] = *self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes(length));
        let value = self.0.get(4..length)?;
        // RFC 9260 §3.2: padded to four bytes, except perhaps the last.
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn u32_at(value: &[u8], at: usize) -> Option<u32> {
    value.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Whether a stream that we take stands there.
fn stream_at(value: &[u8], at: usize) -> bool {
    let stream = value.get(at..).and_then(|rest| rest.first_chunk());
    stream.is_some_and(|bytes| u16::from_be_bytes(*bytes) < MAX_STREAMS)
}

/// Behind the new cumulative TSN there is a list of streams, each in an entry of `entry_bytes`.
fn every_stream(value: &[u8], entry_bytes: usize) -> bool {
    value.get(4..).unwrap_or_default().chunks_exact(entry_bytes).all(|entry| stream_at(entry, 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn packet(chunks: &[&[u8]]) -> Vec<u8> {
        [&[0x13, 0x88, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 0][..], &chunks.concat()].concat()
    }

    fn data(tsn: u32, stream: u16) -> Vec<u8> {
        let ([a, b, c, d], [e, f]) = (tsn.to_be_bytes(), stream.to_be_bytes());
        packet(&[&[0, 3, 0, 17, a, b, c, d, e, f, 0, 0, 0, 0, 0, 51, 1, 0, 0, 0]])
    }

    fn init(tsn: u32) -> Vec<u8> {
        packet(&[&[1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff], &tsn.to_be_bytes()])
    }

    fn sack(tsn: u32) -> Vec<u8> {
        packet(&[&[3, 0, 0, 16], &tsn.to_be_bytes(), &[0; 8]])
    }

    fn opened(tsn: u32) -> Sctp {
        let mut sctp = Sctp::default();
        assert!(sctp.admits(&init(tsn)));
        sctp
    }

    #[test]
    fn data_passes_near_what_was_acknowledged_and_only_on_the_first_64_streams() {
        let mut sctp = opened(u32::MAX);
        for (tsn, stream, expected) in [
            (u32::MAX, 0, true),
            (0, 63, true),
            (1, 64, false),
            (1, 65_535, false),
            (510, 1, true),
            (511, 1, false),
            (1 << 30, 1, false),
            (u32::MAX - 5, 1, true),
        ] {
            assert_eq!(sctp.admits(&data(tsn, stream)), expected, "{tsn}, {stream}");
        }
        sctp.on_sent(&sack(100));
        assert!(sctp.admits(&data(612, 1)));
        assert!(!sctp.admits(&data(613, 1)));
        // A second INIT does not move the window.
        assert!(sctp.admits(&init(50_000)));
        assert!(!sctp.admits(&data(50_000, 1)));
    }

    #[test]
    fn without_init_the_first_data_is_where_numbers_begin() {
        let mut sctp = Sctp::default();
        assert!(sctp.admits(&data(9_000, 1)));
        assert!(sctp.admits(&data(9_511, 1)));
        assert!(!sctp.admits(&data(9_512, 1)));
        assert!(!sctp.admits(&packet(&[&[0, 3, 0, 4]])));
    }

    #[test]
    fn skipped_streams_are_bounded_too() {
        let mut sctp = opened(1);
        assert!(sctp.admits(&packet(&[&[192, 0, 0, 12, 0, 0, 0, 9, 0, 63, 0, 1]])));
        assert!(!sctp.admits(&packet(&[&[192, 0, 0, 12, 0, 0, 0, 9, 0, 64, 0, 1]])));
        assert!(!sctp.admits(&packet(&[&[194, 0, 0, 16, 0, 0, 0, 9, 0xff, 0, 0, 0, 0, 0, 0, 1]])));
    }

    #[test]
    fn chunks_are_limited_by_tokens_and_data_by_a_total() {
        let start = Instant::now();
        let mut sctp = opened(1);
        sctp.refill(start);
        let passed = (0..2_000).filter(|_| sctp.admits(&data(1, 1))).count();
        assert_eq!(passed as u32, BURST - 1);
        sctp.refill(start + Duration::from_secs(1));
        let passed = (0..2_000).filter(|_| sctp.admits(&data(1, 1))).count();
        assert_eq!(passed as u32, CHUNKS_PER_SECOND);
        for second in 2..3_000 {
            sctp.refill(start + Duration::from_secs(second));
            (0..CHUNKS_PER_SECOND).for_each(|_| {
                sctp.admits(&data(1, 1));
            });
        }
        assert_eq!(sctp.data_chunks, MAX_DATA_CHUNKS);
        assert!(sctp.admits(&sack(1)), "only DATA is counted in all");
    }

    #[test]
    fn chunks_that_do_not_fit_end_the_packet() {
        let mut sctp = opened(1);
        for bytes in [&[][..], &[0; 11], &[0; 12], &packet(&[&[0, 3, 0, 2]]), &packet(&[&[0, 3, 0xff, 0xff, 1]])] {
            assert!(sctp.admits(bytes));
        }
    }
}
