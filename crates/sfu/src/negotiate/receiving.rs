//! What was agreed on about the media that a publisher sends?
//!
//! Read from its normalised offer, from what str0m agreed on, and from our answer. The receiving
//! half of its session ([`crate::receive::Receiver`]) works by it.

use media::Codec;
use str0m::Rtc;
use str0m::media::Rid;

use super::normal::Normal;
use super::{Agreed, Unusable, agreed, descriptor, media_of, text, unread};
use crate::format::Format;
use crate::receive::{ExtensionIds, Negotiated, Section};

/// Returns the receiving side of a session that str0m negotiated; `answer` is our answer in the
/// peer's words.
pub(super) fn negotiated(rtc: &Rtc, normal: &Normal<'_>, answer: &str) -> Result<Negotiated, Unusable> {
    let mut sections = Vec::new();
    for (part, kind) in media_of(normal) {
        let agreed = agreed(rtc, part);
        if agreed.is_empty() {
            return Err(unread(format!("nothing was agreed on for {}", part.in_words())));
        }
        let mut section = Section {
            mid: part.mid().to_owned(),
            kind,
            formats: Vec::new(),
            repairs: Vec::new(),
            nacks: nacks(answer, part.mid(), part.kind()),
            rids: part.rids().iter().map(|rid| Rid::from(*rid)).collect(),
            ssrcs: part.ssrcs(),
        };
        for Agreed { format, payload_type, rtx, red } in agreed {
            section.formats.push((payload_type, format));
            let of_red = Format { codec: Codec::Red, profile: u32::from(payload_type) };
            section.formats.extend(red.map(|red| (red, of_red)));
            section.repairs.extend(rtx.map(|rtx| (rtx, payload_type)));
        }
        sections.push(section);
    }
    let id = |uri| extension_id(answer, uri);
    let extensions = ExtensionIds {
        mid: id("urn:ietf:params:rtp-hdrext:sdes:mid"),
        rid: id("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
        repaired_rid: id("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
        transport_number: id("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
        capture_time: id("http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"),
        playout_delay: id("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
        orientation: id("urn:3gpp:video-orientation"),
        color_space: id("http://www.webrtc.org/experiments/rtp-hdrext/color-space"),
        audio_level: id("urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        descriptor: id(descriptor::URI),
    };
    let has_feedback = answer.lines().any(|line| line.starts_with("a=rtcp-fb:") && line.contains("transport-cc"));
    Ok(Negotiated {
        sections,
        extensions,
        has_transport_feedback: has_feedback && extensions.transport_number.is_some(),
        has_reduced_size: answer.lines().any(|line| line == "a=rtcp-rsize"),
    })
}

/// Returns the payload types of a section for which our answer has Generic NACK (RFC 4585 §4.2).
/// Without a `mid` there is one section of a kind.
fn nacks(answer: &str, mid: &str, kind: &str) -> Vec<u8> {
    let sections = text::split_sections(answer);
    let is_it = |section: &&&str| {
        let is_named = section.lines().filter_map(|line| line.strip_prefix("a=mid:")).any(|name| name == mid);
        section.starts_with(&format!("m={kind} ")) && (is_named || mid.is_empty())
    };
    let lines = sections.iter().filter(is_it).flat_map(|section| section.lines());
    let values = lines.filter_map(|line| line.strip_prefix("a=rtcp-fb:")?.strip_suffix(" nack"));
    values.filter_map(|payload_type| payload_type.parse().ok()).collect()
}

/// Returns the id that `a=extmap` gives to an extension.
fn extension_id(sdp: &str, uri: &str) -> Option<u8> {
    let mut lines = sdp.lines().filter_map(|line| line.strip_prefix("a=extmap:"));
    lines.find_map(|line| {
        let (id, rest) = line.split_once(' ')?;
        // RFC 8285 §5: a direction may follow the id.
        let id = id.split_once('/').map_or(id, |(id, _)| id);
        (rest.split_ascii_whitespace().next() == Some(uri)).then(|| id.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nack_is_read_of_the_section_of_that_mid() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-fb:111 transport-cc\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n";
        assert_eq!(nacks(answer, "1", "video"), [96]);
        assert_eq!(nacks(answer, "", "video"), [96]);
        assert!(nacks(answer, "0", "audio").is_empty());
        assert!(nacks(answer, "x", "video").is_empty());
    }

    #[test]
    fn an_extension_is_found_by_its_whole_name() {
        let sdp = "a=extmap:3/sendonly urn:a\r\na=extmap:4 urn:ab x\r\n";
        assert_eq!((extension_id(sdp, "urn:a"), extension_id(sdp, "urn:ab")), (Some(3), Some(4)));
        assert_eq!(extension_id(sdp, "urn:b"), None);
    }
}
