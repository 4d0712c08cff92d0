//! Which parameter sets does an offer tell?
//!
//! RFC 6184 §8.1: `a=fmtp:96 sprop-parameter-sets=Z0IAHqtAUB7I,aM4xsg==` in the section of an H.264 track. RFC 7798 §7.1:
//! `sprop-vps`, `sprop-sps` and `sprop-pps` of H.265. A sender may tell its sets there and never send them.

use media::codec::parameter_sets::{MAX_SET_BYTES, MAX_SETS};

/// The NAL units that the section `mid` of an offer tells for a payload type; at most [`MAX_SETS`].
pub(super) fn parameter_sets(offer: &str, mid: &str, payload_type: u8) -> Vec<Vec<u8>> {
    let sections = offer.split("\nm=").skip(1);
    let is_it = |section: &&str| {
        let mut names = section.lines().filter_map(|line| line.strip_prefix("a=mid:"));
        names.next().map_or("", str::trim) == mid
    };
    let Some(section) = sections.into_iter().find(is_it) else { return Vec::new() };
    let head = format!("a=fmtp:{payload_type} ");
    let parameters = section.lines().filter_map(|line| line.strip_prefix(head.as_str()));
    let values = parameters.flat_map(|parameters| parameters.split(';')).filter_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some(value)
    });
    values.flat_map(|value| value.split(',')).filter_map(decoded).take(MAX_SETS).collect()
}

const NAMES: [&str; 4] = ["sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps"];

/// Reads base64 (RFC 4648 §4), with or without its padding; `None` if it is something else, nothing or too long.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    // Four characters for three bytes.
    if text.is_empty() || text.len() % 4 == 1 || text.len() > MAX_SET_BYTES.div_ceil(3) * 4 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for character in group {
            bits = bits << 6 | u32::from(value(*character)?);
        }
        let [_, all @ ..] = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.extend_from_slice(&all[..group.len() - 1]);
    }
    Some(bytes)
}

fn value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_those_of_the_section_and_of_the_payload_type() {
        let offer = "v=0\r\na=fmtp:96 sprop-parameter-sets=AAAA\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
            a=fmtp:96 sprop-parameter-sets=AAAB\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=mid:v-1\r\n\
            a=fmtp:96 packetization-mode=1; Sprop-Parameter-Sets=Z0IAHg==, aM4xsg;profile-level-id=42001e\r\n\
            a=fmtp:97 apt=96\r\na=fmtp:98 sprop-vps=QAEM;sprop-sps=QgEB;sprop-pps=RAHB\r\n";
        let check = |mid, payload_type, expected: &[&[u8]]| {
            assert_eq!(parameter_sets(offer, mid, payload_type), expected, "{mid} {payload_type}");
        };
        check("v-1", 96, &[&[0x67, 0x42, 0, 0x1e], &[0x68, 0xce, 0x31, 0xb2]]);
        check("v-1", 98, &[&[0x40, 1, 12], &[0x42, 1, 1], &[0x44, 1, 0xc1]]);
        check("v-1", 97, &[]);
        check("0", 96, &[&[0, 0, 1]]);
        check("2", 96, &[]);
    }

    #[test]
    fn what_is_not_base64_or_too_long_is_passed_over() {
        let rows: [(&str, Option<&[u8]>); 8] = [
            ("", None),
            ("=", None),
            ("A", None),
            ("AA", Some(&[0])),
            ("/+8=", Some(&[0xff, 0xef])),
            ("AA*A", None),
            ("AAAAé", None),
            ("AAAAA", None),
        ];
        for (text, expected) in rows {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
        assert!(decoded(&"A".repeat(MAX_SET_BYTES * 2)).is_none());
        let many = vec!["Z0IA"; 100].join(",");
        let offer = format!("v=0\nm=video 9 x 96\na=mid:0\na=fmtp:96 sprop-parameter-sets={many}\n");
        assert_eq!(parameter_sets(&offer, "0", 96).len(), MAX_SETS);
    }
}
