//! In which order does the server's own offer list its payload types?
//!
//! The published codec comes first. An answerer may take only the first codec of a section, and
//! GStreamer's webrtcbin does so. RFC 3264 §6.1 permits this, and calls the order of an m= line a
//! preference. Retransmissions and redundancy follow their codec, because a peer that accepts only
//! redundant audio decodes none.

use super::description::{Description, Section};
use super::payloads::{Meaning, Payload};
use crate::format::Published;
use media::MediaKind;

/// Sorts the payload types of each m= line of the server's offer to a viewer of `published`. The
/// order of the lines stays.
pub(super) fn with_published_first(offer: &str, published: &Published) -> String {
    let Ok(description) = Description::parse(offer) else { return offer.to_owned() };
    let mut sections = description.sections.iter();
    let mut out = String::with_capacity(offer.len());
    for line in offer.lines() {
        let section = line.starts_with("m=").then(|| sections.next()).flatten();
        match section.and_then(|section| sorted(section, published)) {
            Some(numbers) => {
                let words: Vec<&str> = line.splitn(4, ' ').take(3).collect();
                out.extend([&words.join(" "), " ", &numbers]);
            }
            None => out.push_str(line),
        }
        out.push_str("\r\n");
    }
    out
}

/// Returns the payload types of a section in their new order; `None` if the order stays.
fn sorted(section: &Section<'_>, published: &Published) -> Option<String> {
    let kind = match section.kind {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => return None,
    };
    let wanted = published.of(kind);
    let payloads = Payload::of(section, false).ok()?;
    // The published profile, then other profiles of its codec, then other codecs.
    let rank = |payload: &Payload<'_>| match payload.format() {
        Some(format) if Some(format) == wanted => 0,
        Some(format) if Some(format.codec) == wanted.map(|wanted| wanted.codec) => 1,
        _ => 2_u8,
    };
    let place = |number: u8| payloads.iter().position(|payload| payload.number == number);
    let key = |number: &str| -> Option<(u8, usize, bool)> {
        let own = place(number.parse().ok()?)?;
        let (primary, is_helper) = match payloads.get(own)?.meaning {
            Meaning::Media(_) => (own, false),
            Meaning::Rtx(primary) | Meaning::Red(primary) => (place(primary)?, true),
        };
        Some((rank(payloads.get(primary)?), primary, is_helper))
    };
    let mut numbers: Vec<&str> = section.formats.split_ascii_whitespace().collect();
    numbers.sort_by_key(|number| key(number).unwrap_or((u8::MAX, usize::MAX, true)));
    Some(numbers.join(" "))
}

#[cfg(test)]
mod tests {
    use media::Codec;

    use super::*;
    use crate::format::Format;

    const OFFER: &str = "v=0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 102 103 5\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
        a=rtpmap:100 VP9/90000\r\na=rtpmap:101 rtx/90000\r\na=fmtp:101 apt=100\r\n\
        a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=64001f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n";

    #[test]
    fn the_published_codec_is_first_and_helpers_follow_what_they_help() {
        let h264 = |profile| Format { codec: Codec::H264, profile };
        let vp8 = Format { codec: Codec::Vp8, profile: 0 };
        let vp9 = Format { codec: Codec::Vp9, profile: 0 };
        let av1 = Format { codec: Codec::Av1, profile: 0 };
        for (video, numbers) in [
            (None, "96 97 98 99 100 101 102 103 5"),
            (Some(vp8), "96 97 98 99 100 101 102 103 5"),
            (Some(h264(0x1_42e0)), "98 99 102 103 96 97 100 101 5"),
            (Some(h264(0x1_6400)), "102 103 98 99 96 97 100 101 5"),
            (Some(h264(0x1_4d00)), "98 99 102 103 96 97 100 101 5"),
            (Some(vp9), "100 101 96 97 98 99 102 103 5"),
            (Some(av1), "96 97 98 99 100 101 102 103 5"),
        ] {
            let offer = with_published_first(OFFER, &Published { video, ..Published::default() });
            let expected =
                OFFER.replace("SAVPF 63 111", "SAVPF 111 63").replace("96 97 98 99 100 101 102 103 5", numbers);
            assert_eq!(offer, expected, "{video:?}");
        }
    }
}
