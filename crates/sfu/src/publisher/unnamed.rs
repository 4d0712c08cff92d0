//! Which section does RTP belong to that does not say it?
//!
//! A publisher that did not negotiate the `mid` header extension announces its SSRCs in its offer. When it changes one, the
//! only hint left is the payload type (RFC 8843 §9.2), and it is one only where no other section uses the same.

use media::MediaKind;
use str0m::media::Mid;

use super::TrackIn;
use crate::negotiate::PublisherTrack;

/// What is known of RTP without `mid`.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// The publisher did not offer the extension.
    is_without_mid: bool,
    /// Payload types that more than one section uses.
    shared: Vec<u8>,
    /// An SSRC that was made known to str0m, and of which no packet has authenticated.
    pub(super) unproven: Option<u32>,
}

/// RFC 8843 §15.
const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

impl Unnamed {
    /// For an offer and what its sections may bring.
    pub(super) fn new(offer: &str, sections: &[PublisherTrack]) -> Unnamed {
        let all = || sections.iter().flat_map(|section| &section.formats).map(|(payload_type, _)| *payload_type);
        let is_shared = |payload_type: &u8| all().filter(|other| other == payload_type).count() > 1;
        Unnamed { is_without_mid: !offer.contains(MID_URI), shared: all().filter(is_shared).collect(), unproven: None }
    }

    /// Payload type and SSRC of an RTP datagram, if its section is to be looked for.
    pub(super) fn source_of(&self, datagram: &[u8]) -> Option<(u8, u32)> {
        if !self.is_without_mid {
            return None;
        }
        // RFC 3550 §5.1.
        let &[_, second, _, _, _, _, _, _, a, b, c, d] = datagram.first_chunk()?;
        Some((second & 0x7f, u32::from_be_bytes([a, b, c, d])))
    }

    /// The section that alone uses a payload type, and has no encodings to tell apart.
    pub(super) fn section_of(&self, tracks: &[TrackIn], payload_type: u8) -> Option<Mid> {
        let uses = |track: &&TrackIn| track.format(payload_type).is_some();
        let track = tracks.iter().find(uses).filter(|_| !self.shared.contains(&payload_type))?;
        (track.kind == MediaKind::Audio || track.encodings.iter().all(|encoding| encoding.rid.is_none()))
            .then_some(track.mid)
    }

    /// A run begins with a packet of `ssrc`. Returns the SSRC before it, if str0m has no use for that any more.
    pub(super) fn on_run(&mut self, ssrc: u32, before: Option<u32>) -> Option<u32> {
        if self.unproven != Some(ssrc) {
            return None;
        }
        self.unproven = None;
        before.filter(|before| *before != ssrc)
    }
}

#[cfg(test)]
mod tests {
    use media::Codec;
    use str0m::media::Rid;

    use super::*;
    use crate::format::Format;

    fn section(mid: &str, kind: MediaKind, payload_types: &[u8], rids: &[&str]) -> PublisherTrack {
        let codec = if kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 };
        PublisherTrack {
            mid: Mid::from(mid),
            kind,
            formats: payload_types.iter().map(|pt| (*pt, Format { codec, profile: 0 })).collect(),
            rids: rids.iter().map(|rid| Rid::from(*rid)).collect(),
        }
    }

    #[test]
    fn a_payload_type_tells_the_section_only_where_it_is_used_once_and_nothing_else_does() {
        let sections = [
            section("0", MediaKind::Audio, &[111, 100], &[]),
            section("1", MediaKind::Video, &[96, 100], &[]),
            section("2", MediaKind::Video, &[97, 98], &["q", "h"]),
        ];
        let tracks: Vec<_> = sections.iter().map(|section| TrackIn::new(section.clone(), "")).collect();
        let unnamed = Unnamed::new("v=0", &sections);
        let check = |payload_type, mid: Option<&str>| {
            assert_eq!(unnamed.section_of(&tracks, payload_type), mid.map(Mid::from), "{payload_type}");
        };
        check(111, Some("0"));
        check(96, Some("1"));
        check(100, None);
        check(98, None);
        check(33, None);
        let datagram = [0x80, 0x80 | 96, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5];
        assert_eq!(unnamed.source_of(&datagram), Some((96, 0x0102_0304)));
        assert_eq!(unnamed.source_of(&datagram[..11]), None);
        let named = Unnamed::new("a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid", &sections);
        assert_eq!(named.source_of(&datagram), None, "it says its section by itself");
    }

    #[test]
    fn an_ssrc_is_given_up_when_a_packet_of_its_successor_has_authenticated() {
        let mut unnamed = Unnamed { unproven: Some(2), ..Unnamed::default() };
        assert_eq!(unnamed.on_run(1, Some(9)), None, "another one");
        assert_eq!(unnamed.on_run(2, Some(1)), Some(1));
        assert_eq!((unnamed.on_run(2, Some(1)), unnamed.unproven), (None, None));
    }
}
