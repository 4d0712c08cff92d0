//! What does the publisher send, and is what came the same?
//!
//! A packet has a codec's headers (`codecs`), a [`Stamp`], and a known pattern up to its end:
//!
//! ```text
//! | headers | stamp: 64 bytes | pattern …
//! ```
//!
//! The stamp is written in half bytes, none of which is zero: a server that turns packets into a
//! byte stream finds no start codes in it.

use media::Codec;

use crate::codecs::{self, Place};

/// When a packet was sent, and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sent_at_ns: u64,
    pub(crate) place: Place,
}

/// A packet is not what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

const MAGIC: u32 = 0x6e6f_7763;
/// Magic, whether it is a key frame, time, frame, packet and packets.
const FIELDS_BYTES: usize = 24;
/// These, and a checksum.
const NUMBERS_BYTES: usize = FIELDS_BYTES + 8;
pub(crate) const STAMP_BYTES: usize = 2 * NUMBERS_BYTES;
/// Makes half a byte a whole one.
const HALF: u8 = 0x50;
/// What an Ethernet frame holds, and more.
const LONGEST_BYTES: usize = 2_048;

/// Numbers that look random, without zeroes: no run of anything hides a shift.
pub(crate) static PATTERN: [u8; LONGEST_BYTES] = {
    let mut pattern = [0; LONGEST_BYTES];
    let (mut n, mut state) = (0, 0x2545_f491_u32);
    while n < LONGEST_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
        pattern[n] = (state >> 24) as u8 | 1;
        n += 1;
    }
    pattern
};

/// Writes the payload of one packet, `len_bytes` long.
pub(crate) fn write(codec: Codec, stamp: Stamp, len_bytes: usize) -> Vec<u8> {
    let fields = fields(stamp);
    let sum = checksum(&fields, len_bytes).to_be_bytes();

    let mut out = Vec::with_capacity(len_bytes);
    codecs::write_header(codec, stamp.place, len_bytes, &mut out);
    out.extend(fields.iter().chain(&sum).flat_map(|byte| [HALF | byte >> 4, HALF | byte & 0x0f]));
    out.extend(&PATTERN[..len_bytes.saturating_sub(out.len()).min(LONGEST_BYTES)]);
    out
}

/// Reads the stamp of a payload of which every byte is as it was sent, but for those that are the
/// server's to change.
pub(crate) fn read(codec: Codec, payload: &[u8]) -> Result<Stamp, Damaged> {
    let (header, rest) = payload.split_at_checked(codecs::header_bytes(codec)).ok_or(Damaged)?;
    let (halves, pattern) = rest.split_at_checked(STAMP_BYTES).ok_or(Damaged)?;
    let (stamp, sum) = numbers(halves).ok_or(Damaged)?;
    let mut expected = Vec::with_capacity(header.len());
    codecs::write_header(codec, stamp.place, payload.len(), &mut expected);
    let mutable = codecs::mutable(codec);
    let is_whole = sum == checksum(&fields(stamp), payload.len())
        && header[..mutable.start] == expected[..mutable.start]
        && header[mutable.end..] == expected[mutable.end..]
        && PATTERN.get(..pattern.len()) == Some(pattern);
    if is_whole { Ok(stamp) } else { Err(Damaged) }
}

/// Reads a stamp that begins here, and its checksum, which tells how long its packet was.
pub(crate) fn numbers(bytes: &[u8]) -> Option<(Stamp, u64)> {
    let halves = bytes.get(..STAMP_BYTES)?;
    let mut numbers = [0; NUMBERS_BYTES];
    for (number, halves) in numbers.iter_mut().zip(halves.chunks_exact(2)) {
        if halves[0] & 0xf0 != HALF || halves[1] & 0xf0 != HALF {
            return None;
        }
        *number = halves[0] << 4 | halves[1] & 0x0f;
    }
    let number = |at: usize| u32::from_be_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
    let long = |at: usize| u64::from(number(at)) << 32 | u64::from(number(at + 4));
    let place = Place {
        is_key: number(4) != 0,
        frame: number(16),
        packet: (number(20) >> 16) as u16,
        packets: number(20) as u16,
    };
    (number(0) == MAGIC).then(|| (Stamp { sent_at_ns: long(8), place }, long(24)))
}

/// Returns the fields of a stamp without its checksum.
fn fields(stamp: Stamp) -> [u8; FIELDS_BYTES] {
    let Stamp { sent_at_ns, place } = stamp;
    let mut fields = [0; FIELDS_BYTES];
    fields[..4].copy_from_slice(&MAGIC.to_be_bytes());
    fields[4..8].copy_from_slice(&u32::from(place.is_key).to_be_bytes());
    fields[8..16].copy_from_slice(&sent_at_ns.to_be_bytes());
    fields[16..20].copy_from_slice(&place.frame.to_be_bytes());
    fields[20..22].copy_from_slice(&place.packet.to_be_bytes());
    fields[22..].copy_from_slice(&place.packets.to_be_bytes());
    fields
}

/// FNV-1a over the stamp and the length.
fn checksum(stamp: &[u8], len_bytes: usize) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    stamp.iter().fold(0xcbf2_9ce4_8422_2325 ^ len_bytes as u64, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 6] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265, Codec::Opus];

    #[test]
    fn a_written_stamp_is_read_back() {
        for codec in ALL {
            for (packet, packets, is_key) in [(0, 1, true), (0, 6, true), (0, 6, false), (3, 6, true), (5, 6, false)] {
                let stamp = stamp(Place { frame: 70_000, packet, packets, is_key });
                let payload = write(codec, stamp, 1_100);
                assert_eq!(payload.len(), 1_100);
                assert_eq!(read(codec, &payload), Ok(stamp), "{codec}");
                assert!(payload[codecs::header_bytes(codec)..].iter().all(|byte| *byte != 0), "no start codes");
            }
        }
    }

    #[test]
    fn any_changed_byte_and_any_other_length_is_noticed() {
        for codec in ALL {
            let payload = write(codec, stamp(Place { frame: 1, packet: 0, packets: 6, is_key: true }), 250);
            for at in (0..payload.len()).filter(|at| !codecs::mutable(codec).contains(at)) {
                let mut changed = payload.clone();
                changed[at] ^= 0x10;
                assert_eq!(read(codec, &changed), Err(Damaged), "{codec} byte {at}");
            }
            for len in 0..payload.len() {
                assert_eq!(read(codec, &payload[..len]), Err(Damaged), "{codec} {len} bytes");
            }
        }
    }

    fn stamp(place: Place) -> Stamp {
        Stamp { sent_at_ns: 0x0123_4567_89ab_cdef, place }
    }
}
