//! Is what came the same, though the server has cut it into packets of its own?
//!
//! A server may put pictures together and cut them again, as those do that speak other protocols
//! too. Then a packet holds the end of one published packet and the beginning of the next: stamps,
//! each followed by the pattern from its beginning, with the headers of codecs between them. A
//! damaged or a missing byte breaks the pattern; only headers and a stamp of which a part is in
//! another packet are not looked at.

use crate::codecs;
use crate::payload::{Damaged, PATTERN, STAMP_BYTES, Stamp, numbers};
use media::Codec;

/// Length in bytes from which each part of the pattern occurs in it only once.
const UNIQUE_BYTES: usize = 8;

/// Reads the first whole stamp of a payload in which everything is as it was published; `None` if
/// no stamp is whole.
pub(crate) fn read(codec: Codec, payload: &[u8]) -> Result<Option<Stamp>, Damaged> {
    let header = codecs::header_bytes(codec);
    // What goes on from the packet before: its headers and stamp, or its pattern.
    let lead = header + STAMP_BYTES;
    let begins = |at: &usize| payload.get(*at..).is_some_and(|rest| numbers(rest).is_some() || goes_on(rest).is_some());
    let Some(mut at) = (0..=lead).find(begins) else {
        // Parameter sets by themselves, or less than can be known.
        return if payload.len() <= lead { Ok(None) } else { Err(Damaged) };
    };
    at += goes_on(&payload[at..]).unwrap_or(0);
    let mut first = None;
    loop {
        let rest = &payload[at..];
        let next = (0..=header).find_map(|skip| Some((skip, numbers(rest.get(skip..)?)?)));
        let Some((skip, (stamp, _))) = next else {
            // The next one's beginning, which goes on in another packet.
            return if rest.len() < header + STAMP_BYTES { Ok(first) } else { Err(Damaged) };
        };
        first.get_or_insert(stamp);
        at += skip + STAMP_BYTES;
        at += alike(&payload[at..], &PATTERN);
    }
}

/// Returns the length of the pattern at this position, from any offset within the pattern.
fn goes_on(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.get(..UNIQUE_BYTES)?;
    let from = PATTERN.windows(UNIQUE_BYTES).position(|window| window == begin)?;
    Some(alike(bytes, &PATTERN[from..]))
}

fn alike(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codecs::Place;
    use crate::payload;

    const CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];

    #[test]
    fn whatever_the_cut_all_is_recognised() {
        for codec in CODECS {
            let stream = stream(codec);
            for packet_bytes in [300, 701, 1_148, 1_188, 1_400] {
                let mut stamps = Vec::new();
                for packet in stream.chunks(packet_bytes) {
                    stamps.extend(read(codec, &cut(packet)).unwrap_or_else(|_| panic!("{codec} {packet_bytes}")));
                }
                assert!(!stamps.is_empty() && stamps.iter().all(|stamp| stamp.place.frame == 7), "{codec} {stamps:?}");
            }
        }
    }

    #[test]
    fn a_changed_or_missing_byte_of_the_pattern_is_noticed() {
        let packet = cut(&stream(Codec::H264)[500..1_600]);
        assert!(read(Codec::H264, &packet).is_ok());
        for at in [10, 200, 400, 800, 1_000] {
            let mut changed = packet.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(Codec::H264, &changed), Err(Damaged), "{at}");
            let mut shorter = packet.clone();
            shorter.remove(at);
            assert_eq!(read(Codec::H264, &shorter), Err(Damaged), "{at}");
        }
        assert_eq!(read(Codec::H264, &[0x55; 1_000]), Err(Damaged));
    }

    /// Four packets of a picture, one behind the other.
    fn stream(codec: Codec) -> Vec<u8> {
        let packet = |packet| {
            let stamp = Stamp { sent_at_ns: 5, place: Place { frame: 7, packet, packets: 4, is_key: true } };
            payload::write(codec, stamp, 1_160)
        };
        (0..4).flat_map(packet).collect()
    }

    /// Behind a header of the server's own.
    fn cut(part: &[u8]) -> Vec<u8> {
        [&[0x7c, 0x05], part].concat()
    }
}
