//! Which payloads does a simulated camera send, and how does a screen check that they arrived
//! unchanged?
//!
//! Payloads begin according to their codec's RTP format, so that a server can recognise pictures
//! and key frames. They end with a [`Stamp`]: the numbers of the picture and the packet, the
//! capture time, and a checksum over all bytes before.

use std::time::Duration;

use media::Codec;
use media::codec::layers::{PictureId, PictureNumbers, write_numbers};

use crate::random::Random;

/// The contents of the end of every payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the camera.
    pub source: u32,
    /// Number of the picture or sound, counted from 0.
    pub number: u32,
    /// Number of the packet within it.
    pub part: u16,
    /// Number of its packets.
    pub parts: u16,
    /// A decoder can start here.
    pub is_key: bool,
    /// Its codec.
    pub codec: Codec,
    /// The number of the picture that it refers to, if it is not a key frame.
    pub refers_to: u32,
    /// Capture time since the world began.
    pub captured: Duration,
}

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 32;

const MAGIC: [u8; 3] = *b"SIM";

impl Stamp {
    /// Reads the stamp of a payload; `None` if there is none, or if a byte before it has changed.
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (body, stamp) = payload.split_at_checked(payload.len().checked_sub(STAMP_BYTES)?)?;
        let u32_at = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
        let u16_at = |at: usize| u16::from_be_bytes([stamp[at], stamp[at + 1]]);
        let codec = Codec::ALL.into_iter().find(|codec| *codec as u8 == stamp[3] >> 1)?;
        if stamp[..3] != MAGIC || u32_at(28) != checksum(codec, body, &stamp[..28]) {
            return None;
        }
        Some(Stamp {
            is_key: stamp[3] & 1 == 1,
            codec,
            refers_to: u32_at(24),
            source: u32_at(4),
            number: u32_at(8),
            part: u16_at(12),
            parts: u16_at(14),
            captured: Duration::from_micros(u64::from(u32_at(16)) << 32 | u64::from(u32_at(20))),
        })
    }

    /// Appends the stamp to a payload.
    pub fn put(&self, payload: &mut Vec<u8>) {
        let mut stamp = [0; STAMP_BYTES];
        stamp[..3].copy_from_slice(&MAGIC);
        stamp[3] = u8::from(self.is_key) | (self.codec as u8) << 1;
        stamp[4..8].copy_from_slice(&self.source.to_be_bytes());
        stamp[8..12].copy_from_slice(&self.number.to_be_bytes());
        stamp[12..14].copy_from_slice(&self.part.to_be_bytes());
        stamp[14..16].copy_from_slice(&self.parts.to_be_bytes());
        stamp[16..24].copy_from_slice(&(self.captured.as_micros() as u64).to_be_bytes());
        stamp[24..28].copy_from_slice(&self.refers_to.to_be_bytes());
        let sum = checksum(self.codec, payload, &stamp[..28]);
        stamp[28..].copy_from_slice(&sum.to_be_bytes());
        payload.extend(stamp);
    }
}

/// FNV-1a over all bytes except the picture's numbers, which a server may change.
fn checksum(codec: Codec, body: &[u8], stamp: &[u8]) -> u32 {
    let (head, rest) = body.split_at(body.len().min(8));
    let mut head = head.to_vec();
    let zero = PictureNumbers { picture_id: Some(PictureId::Long(0)), base_index: Some(0), key_index: Some(0) };
    write_numbers(codec, &mut head, &zero);
    let bytes = head.iter().chain(rest).chain(stamp);
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The largest payload: a browser's, 1,200 bytes of datagram.
const MAX_PAYLOAD: usize = 1_150;

/// The numbers of a picture in front of VP8 and VP9.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// 15 bits.
    pub id: u16,
    /// Number of times that 1280x720 is halved.
    pub halvings: u8,
    /// Its temporal layer, the index of the last picture of layer 0, and whether it needs no other
    /// picture of its layer; `None` without layers.
    pub layer: Option<(u8, u8, bool)>,
}

/// Cuts a picture of about `bytes` into payloads. `place` is used by VP8 and VP9.
pub fn payloads(stamp: Stamp, place: Place, bytes: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let codec = stamp.codec;
    let body = MAX_PAYLOAD - 60 - STAMP_BYTES;
    let sets = usize::from(codec == Codec::H264 && stamp.is_key);
    let parts = bytes.div_ceil(body).max(1) + sets;
    let each = (bytes / (parts - sets)).clamp(8, body);
    (0..parts)
        .map(|part| {
            let mut payload = head(codec, stamp.is_key, part, parts, place);
            // One random byte tests as much as many, and costs less.
            payload.resize(payload.len() + each, random.bits() as u8);
            Stamp { part: part as u16, parts: parts as u16, ..stamp }.put(&mut payload);
            if sets == 1 && part == 0 {
                close_aggregation(&mut payload);
            }
            payload
        })
        .collect()
}

/// Returns the beginning of a payload.
fn head(codec: Codec, is_key: bool, part: usize, parts: usize, place: Place) -> Vec<u8> {
    let is_first = part == 0;
    let is_last = part + 1 == parts;
    let (width, height) = (1_280_u16 >> place.halvings, 720_u16 >> place.halvings);
    let [id_high, id_low] = (place.id | 0x8000).to_be_bytes();
    match codec {
        Codec::Vp8 => {
            // RFC 7741 §4.2: X and S; I, L and T; a picture id of 15 bits; TL0PICIDX; TID and Y.
            let fields = if place.layer.is_some() { 0xe0 } else { 0x80 };
            let mut head = vec![if is_first { 0x90 } else { 0x80 }, fields, id_high, id_low];
            if let Some((temporal, base, is_sync)) = place.layer {
                head.extend([base, temporal << 6 | u8::from(is_sync) << 5]);
            }
            match (is_first, is_key) {
                (true, true) => {
                    head.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a]);
                    head.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
                }
                (true, false) => head.extend([0x11, 0, 0]),
                (false, _) => {}
            }
            head
        }
        Codec::Vp9 => {
            // RFC 9628 §4.2: I, P, L, F, B, E, V, Z.
            let flags = 0x80 | u8::from(!is_key) << 6 | u8::from(is_first) << 3 | u8::from(is_last) << 2;
            let mut head = vec![flags, id_high, id_low];
            if let Some((temporal, base, _)) = place.layer {
                // L: TID, U; TL0PICIDX. A picture of a higher layer refers to the newest picture of
                // the lower layers.
                head[0] |= 0x20;
                head.extend([temporal << 5 | u8::from(temporal < 2) << 4, base]);
            }
            match (is_first, is_key) {
                // VP9 §6.2: marker, profile 0, a shown key frame; sync code; the size, less one, after four bits of colour.
                (true, true) => {
                    let size = u64::from(width - 1) << 20 | u64::from(height - 1) << 4;
                    head.extend([0x82, 0x49, 0x83, 0x42]);
                    head.extend(&size.to_be_bytes()[3..]);
                }
                (true, false) => head.push(0x86),
                (false, _) => {}
            }
            head
        }
        Codec::Av1 => {
            // AV1 RTP §4.4: Z, Y, W, N.
            let continues = u8::from(!is_first) << 7 | u8::from(!is_last) << 6;
            match (is_first, is_key) {
                // A sequence header of four bytes (reduced, still picture bits clear), then a frame.
                (true, true) => vec![continues | 0x20 | 0x08, 4, 0x08, 0, 0, 0, 0x30, 0x10],
                (true, false) => vec![continues | 0x10, 0x30, 0x30],
                (false, _) => vec![continues | 0x10],
            }
        }
        Codec::H264 => {
            let (nal, sets) = if is_key { (0x65, 1) } else { (0x61, 0) };
            let (slice, slices) = (part.wrapping_sub(sets), parts - sets);
            if is_key && is_first {
                // RFC 6184 §5.7.1: STAP-A of SPS, PPS and an SEI that holds the rest; see `close_aggregation`.
                let mut head = vec![0x78, 0, SPS.len() as u8];
                head.extend(SPS);
                head.extend([0, PPS.len() as u8]);
                head.extend(PPS);
                head.extend([0, 0, 0x06]);
                return head;
            }
            if slices == 1 {
                return vec![nal, 0x88];
            }
            // RFC 6184 §5.8: FU-A.
            let start = u8::from(slice == 0) << 7 | u8::from(is_last) << 6;
            let mut head = vec![0x60 | 28, start | (nal & 0x1f)];
            if slice == 0 {
                head.push(0x88);
            }
            head
        }
        Codec::H265 | Codec::Opus | Codec::Red => vec![0xfc],
    }
}

/// The parameter sets of H.264 pictures.
const SPS: [u8; 9] = [0x67, 0x42, 0xe0, 0x1f, 0xf4, 0x02, 0x80, 0x2d, 0xc8];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

/// Returns `true` for a payload with a parameter set alone. The server sends such packets before a
/// key frame that may lack its own.
pub fn is_parameter_set(payload: &[u8]) -> bool {
    payload == SPS || payload == PPS
}

/// Position of the SEI's length in the beginning of an H.264 key frame, as [`head`] writes it.
const SEI_LENGTH_AT: usize = 1 + 2 + 9 + 2 + 4;

/// Writes the length of the last unit of a STAP-A, which holds padding and the stamp, and computes
/// the checksum anew, because it does not cover the length.
fn close_aggregation(payload: &mut [u8]) {
    let length = (payload.len() - SEI_LENGTH_AT - 2) as u16;
    payload[SEI_LENGTH_AT..SEI_LENGTH_AT + 2].copy_from_slice(&length.to_be_bytes());
    let at = payload.len() - STAMP_BYTES;
    let (body, stamp) = payload.split_at(at);
    let sum = checksum(Codec::H264, body, &stamp[..28]);
    payload[at + 28..].copy_from_slice(&sum.to_be_bytes());
}

/// Returns the payload of a sound of Opus.
pub fn sound(stamp: Stamp, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0xfc; bytes.max(1)];
    stamp.put(&mut payload);
    payload
}

/// Returns a RED payload (RFC 2198 §3) of the sound before and this one, both of payload type
/// `opus`.
pub fn redundant_sound(opus: u8, before: &[u8], offset: u16, primary: &[u8]) -> Vec<u8> {
    let word = u32::from(offset & 0x3fff) << 10 | (before.len() as u32 & 0x3ff);
    let mut payload = vec![0x80 | opus, (word >> 16) as u8, (word >> 8) as u8, word as u8, opus];
    payload.extend(before);
    payload.extend(primary);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::codec::describe;

    const STAMP: Stamp = Stamp {
        source: 1,
        number: 77,
        part: 0,
        parts: 0,
        is_key: true,
        codec: Codec::Opus,
        refers_to: 76,
        captured: Duration::from_millis(1_234),
    };

    #[test]
    fn every_codec_is_understood_and_every_changed_byte_is_noticed() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264] {
            for (is_key, bytes) in [(true, 9_000), (false, 2_500), (true, 200), (false, 90)] {
                let stamp = Stamp { is_key, codec, ..STAMP };
                let place = Place { id: 0x7fff, halvings: 0, layer: None };
                let list = payloads(stamp, place, bytes, &mut Random::new(3));
                let described: Vec<_> = list.iter().map(|p| describe(codec, p)).collect();
                assert!(described[0].starts_frame, "{codec} {is_key}");
                assert_eq!(described.iter().any(|d| d.key), is_key, "{codec}: {described:?}");
                assert!(list.iter().all(|p| p.len() <= MAX_PAYLOAD));
                for (part, payload) in list.iter().enumerate() {
                    let expected = Stamp { part: part as u16, parts: list.len() as u16, ..stamp };
                    assert_eq!(Stamp::read(payload), Some(expected));
                    let mut damaged = payload.clone();
                    damaged[[0, 8, 9, 10, 11, 12, 13][part % 7]] ^= 1;
                    assert_eq!(Stamp::read(&damaged), None);
                }
            }
        }
    }

    #[test]
    fn red_holds_both_sounds() {
        let (a, b) = (sound(STAMP, 40), sound(STAMP, 41));
        let payload = redundant_sound(111, &a, 960, &b);
        let at = media::codec::red::primary_at(&payload).expect("a primary block");
        assert_eq!(payload[usize::from(at)..], b);
    }
}
