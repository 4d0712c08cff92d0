//! What does the publisher send, and is what came the same?
//!
//! VP8 as RFC 7741 packs it, with a picture id of 15 bits as browsers write it. The pictures are noise behind a right
//! header. Every packet carries a [`Stamp`] and ends in a known pattern; all packets of a frame are equally long.
//!
//! ```text
//! 0        4             14      46
//! | VP8    | frame header | stamp | pattern …
//! ```

/// When a packet was sent, and which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sent_at_ns: u64,
    pub(crate) frame: u32,
    pub(crate) packet: u16,
    pub(crate) packets: u16,
    pub(crate) is_key: bool,
}

/// A packet is not what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// The shortest payload: all but the pattern.
pub(crate) const SHORTEST_BYTES: usize = PATTERN_AT;

const STAMP_AT: usize = 14;
const PATTERN_AT: usize = STAMP_AT + 32;
const MAGIC: u32 = 0x6e6f_7763;
/// What an Ethernet frame holds, and more.
const LONGEST_BYTES: usize = 2_048;

/// Numbers that look random: no run of zeroes hides a shift.
static PATTERN: [u8; LONGEST_BYTES] = {
    let mut pattern = [0; LONGEST_BYTES];
    let (mut n, mut state) = (0, 0x2545_f491_u32);
    while n < LONGEST_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
        pattern[n] = (state >> 24) as u8;
        n += 1;
    }
    pattern
};

/// Writes the payload of one packet, `len_bytes` long.
pub(crate) fn write(stamp: Stamp, len_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len_bytes);
    let starts = stamp.packet == 0;
    // RFC 7741 §4.2: X, and S for the first packet; then I; then the picture id with M.
    let picture_id = (stamp.frame as u16 & 0x7fff) | 0x8000;
    out.extend([if starts { 0x90 } else { 0x80 }, 0x80]);
    out.extend(picture_id.to_be_bytes());
    // RFC 6386 §9.1: a key frame of 1280x720, or the tag of another.
    out.extend(match (starts, stamp.is_key) {
        (true, true) => [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02],
        (true, false) => [0x11, 0x02, 0x00, 0, 0, 0, 0, 0, 0, 0],
        (false, _) => [0; 10],
    });
    out.extend(MAGIC.to_be_bytes());
    out.extend(u32::from(stamp.is_key).to_be_bytes());
    out.extend(stamp.sent_at_ns.to_be_bytes());
    out.extend(stamp.frame.to_be_bytes());
    out.extend(stamp.packet.to_be_bytes());
    out.extend(stamp.packets.to_be_bytes());
    out.extend(checksum(&out[STAMP_AT..], len_bytes).to_be_bytes());
    out.extend(&PATTERN[..len_bytes.saturating_sub(PATTERN_AT).min(LONGEST_BYTES)]);
    out
}

/// Reads the stamp of a payload of which every byte behind the VP8 descriptor is as it was sent. (The picture id in
/// that descriptor is the server's to change.)
pub(crate) fn read(payload: &[u8]) -> Result<Stamp, Damaged> {
    let (head, pattern) = payload.split_at_checked(PATTERN_AT).ok_or(Damaged)?;
    let (stamp, sum) = head[STAMP_AT..].split_at(24);
    let number = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
    let is_whole = number(0) == MAGIC
        && sum == checksum(stamp, payload.len()).to_be_bytes()
        && PATTERN.get(..pattern.len()) == Some(pattern);
    if !is_whole {
        return Err(Damaged);
    }
    Ok(Stamp {
        is_key: number(4) != 0,
        sent_at_ns: u64::from(number(8)) << 32 | u64::from(number(12)),
        frame: number(16),
        packet: (number(20) >> 16) as u16,
        packets: number(20) as u16,
    })
}

/// FNV-1a over the stamp and the length.
fn checksum(stamp: &[u8], len_bytes: usize) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    stamp.iter().fold(0xcbf2_9ce4_8422_2325 ^ len_bytes as u64, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::codec::describe;

    fn stamp() -> Stamp {
        Stamp { sent_at_ns: 0x0123_4567_89ab_cdef, frame: 70_000, packet: 0, packets: 6, is_key: true }
    }

    #[test]
    fn what_is_written_is_read_and_is_vp8() {
        for (packet, is_key) in [(0, true), (0, false), (3, true)] {
            let stamp = Stamp { packet, is_key, ..stamp() };
            let payload = write(stamp, 1_100);
            assert_eq!(payload.len(), 1_100);
            assert_eq!(read(&payload), Ok(stamp));
            let described = describe(media::Codec::Vp8, &payload);
            assert_eq!((described.starts_frame, described.key), (packet == 0, packet == 0 && is_key));
        }
    }

    #[test]
    fn any_changed_byte_and_any_other_length_is_noticed() {
        let payload = write(stamp(), 200);
        for at in STAMP_AT..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed), Err(Damaged), "byte {at}");
        }
        for len in 0..payload.len() {
            assert_eq!(read(&payload[..len]), Err(Damaged), "{len} bytes");
        }
    }
}
