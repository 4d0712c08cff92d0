//! Which encoding of which section does an SSRC belong to, and does it bring media or
//! retransmissions?
//!
//! RFC 8843 §9.2: by the `mid` that a packet carries, with `rid` or `repaired-rid` (RFC 8852) where
//! the section has several encodings; else by the SSRCs that the description names. A payload type
//! decides only where neither is there: the `mid` extension was not agreed on, and exactly one
//! section uses that payload type.
//!
//! What was decided for an SSRC stays. The table is bounded by [`MAX_SOURCES`]; an SSRC beyond is
//! not served.

use str0m::media::Rid;

use super::header::Elements;
use super::negotiated::{Carries, MAX_NAMED, MAX_SECTIONS, Negotiated, Section};

/// An encoding of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index in [`Negotiated::sections`].
    pub section: usize,
    /// Index in [`Section::rids`]; 0 without simulcast.
    pub encoding: usize,
}

/// What an SSRC was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) place: Place,
    pub(super) is_repair: bool,
}

/// The table of one session.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: Vec<(u32, Source)>,
}

/// SSRCs that are served: as many as one session may send from ([`crate::srtp::Open::rtp`]).
const MAX_SOURCES: usize = 64;

impl Sources {
    /// Returns what an SSRC was found to be.
    pub(super) fn get(&self, ssrc: u32) -> Option<Source> {
        self.known.iter().find(|(known, _)| *known == ssrc).map(|(_, source)| *source)
    }

    /// Finds out what an unknown SSRC is from one of its packets, and remembers it.
    pub(super) fn learn(
        &mut self,
        negotiated: &Negotiated,
        ssrc: u32,
        payload_type: u8,
        elements: &Elements<'_>,
    ) -> Option<Source> {
        let source = find(negotiated, ssrc, payload_type, elements)?;
        if self.known.len() >= MAX_SOURCES {
            return None;
        }
        self.known.push((ssrc, source));
        Some(source)
    }
}

fn find(negotiated: &Negotiated, ssrc: u32, payload_type: u8, elements: &Elements<'_>) -> Option<Source> {
    let sections = || negotiated.sections.iter().take(MAX_SECTIONS).enumerate();
    if let Some(mid) = elements.mid {
        // A `mid` of no section is an error of the sender: nothing else is asked (RFC 8843 §9.2).
        let (at, section) = sections().find(|(_, section)| section.mid.as_bytes() == mid)?;
        return by_name(at, section, payload_type, elements);
    }
    let named = named(negotiated, ssrc);
    if named.is_some() || negotiated.extensions.mid.is_some() {
        return named;
    }
    let mut users = sections().filter_map(|(at, section)| Some((at, section, section.carries(payload_type)?)));
    let (at, section, carries) = users.next()?;
    let is_sure = users.next().is_none() && section.rids.is_empty();
    is_sure.then_some(Source {
        place: Place { section: at, encoding: 0 },
        is_repair: matches!(carries, Carries::Repair { .. }),
    })
}

/// Finds an SSRC that a description names.
pub(super) fn named(negotiated: &Negotiated, ssrc: u32) -> Option<Source> {
    // SSRCs of a simulcast are told apart by `rid` alone: Firefox names them in another order than
    // its encodings.
    let mut sections = negotiated.sections.iter().take(MAX_SECTIONS).enumerate();
    sections.find_map(|(at, section)| {
        let mut named = section.ssrcs.iter().take(MAX_NAMED).filter(|_| section.rids.is_empty());
        let named = named.find(|named| named.ssrc == ssrc)?;
        Some(Source { place: Place { section: at, encoding: 0 }, is_repair: named.is_repair })
    })
}

/// Finds the encoding of a section that a packet named.
fn by_name(at: usize, section: &Section, payload_type: u8, elements: &Elements<'_>) -> Option<Source> {
    let encoding = |rid: &[u8]| {
        let rid = Rid::from(std::str::from_utf8(rid).ok()?);
        section.rids.iter().take(section.encodings()).position(|known| *known == rid)
    };
    let (encoding, is_repair) = match (elements.rid, elements.repaired_rid) {
        (Some(rid), _) if !section.rids.is_empty() => (encoding(rid)?, false),
        (None, Some(rid)) if !section.rids.is_empty() => (encoding(rid)?, true),
        // One encoding: RFC 4588 §8.1, the payload type tells retransmissions.
        _ if section.rids.is_empty() => (0, matches!(section.carries(payload_type)?, Carries::Repair { .. })),
        _ => return None,
    };
    Some(Source { place: Place { section: at, encoding }, is_repair })
}

#[cfg(test)]
mod tests {
    use media::{Codec, MediaKind};

    use super::*;
    use crate::format::Format;
    use crate::receive::negotiated::{ExtensionIds, NamedSsrc};

    fn section(mid: &str, kind: MediaKind, payload_types: &[u8], rids: &[&str]) -> Section {
        let codec = if kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 };
        Section {
            mid: mid.to_owned(),
            kind,
            formats: payload_types.iter().map(|pt| (*pt, Format { codec, profile: 0 })).collect(),
            repairs: payload_types.iter().map(|pt| (pt + 1, *pt)).collect(),
            nacks: Vec::new(),
            rids: rids.iter().map(|rid| Rid::from(*rid)).collect(),
            ssrcs: Vec::new(),
        }
    }

    fn negotiated(sections: &[Section], mid: Option<u8>) -> Negotiated {
        let extensions = ExtensionIds { mid, ..ExtensionIds::default() };
        Negotiated { sections: sections.to_vec(), extensions, ..Negotiated::default() }
    }

    /// Section, encoding, and whether it repairs.
    type Found = Option<(usize, usize, bool)>;

    fn found(negotiated: &Negotiated, ssrc: u32, payload_type: u8, elements: Elements<'_>) -> Found {
        let mut sources = Sources::default();
        let found = sources.learn(negotiated, ssrc, payload_type, &elements);
        assert_eq!(sources.get(ssrc), found);
        found.map(|source| (source.place.section, source.place.encoding, source.is_repair))
    }

    fn named<'a>(mid: &'a str, rid: Option<&'a str>, repaired: Option<&'a str>) -> Elements<'a> {
        Elements {
            mid: Some(mid.as_bytes()),
            rid: rid.map(str::as_bytes),
            repaired_rid: repaired.map(str::as_bytes),
            ..Elements::default()
        }
    }

    #[test]
    fn a_mid_decides_and_the_payload_type_of_another_section_does_not() {
        let sections =
            [section("a", MediaKind::Audio, &[96], &[]), section("v", MediaKind::Video, &[96, 98], &["q", "h"])];
        let session = negotiated(&sections, Some(1));
        for (payload_type, elements, expected) in [
            (96, named("a", None, None), Some((0, 0, false))),
            (97, named("a", None, None), Some((0, 0, true))),
            (96, named("v", Some("h"), None), Some((1, 1, false))),
            (97, named("v", None, Some("q")), Some((1, 0, true))),
            // Chromium's padding of a repair stream may have the media's payload type.
            (96, named("v", None, Some("q")), Some((1, 0, true))),
            (96, named("v", None, None), None),
            (96, named("v", Some("x"), None), None),
            (96, named("x", None, None), None),
            (33, named("a", None, None), None),
            (96, Elements::default(), None),
        ] {
            assert_eq!(found(&session, 7, payload_type, elements), expected, "{payload_type} {elements:?}");
        }
    }

    #[test]
    fn an_ssrc_of_the_description_needs_no_mid_but_not_with_simulcast() {
        let mut one = section("v", MediaKind::Video, &[96], &[]);
        one.ssrcs = vec![NamedSsrc { ssrc: 5, is_repair: false }, NamedSsrc { ssrc: 6, is_repair: true }];
        let session = negotiated(&[one.clone()], Some(1));
        assert_eq!(found(&session, 5, 96, Elements::default()), Some((0, 0, false)));
        assert_eq!(found(&session, 6, 97, Elements::default()), Some((0, 0, true)));
        assert_eq!(found(&session, 7, 96, Elements::default()), None);
        one.rids = vec![Rid::from("q"), Rid::from("h")];
        assert_eq!(found(&negotiated(&[one], Some(1)), 5, 96, Elements::default()), None);
    }

    #[test]
    fn without_mid_a_payload_type_decides_where_one_section_uses_it() {
        let sections = [
            section("0", MediaKind::Audio, &[111, 100], &[]),
            section("1", MediaKind::Video, &[96, 100], &[]),
            section("2", MediaKind::Video, &[120], &["q", "h"]),
        ];
        let session = negotiated(&sections, None);
        for (payload_type, expected) in [
            (111, Some((0, 0, false))),
            (112, Some((0, 0, true))),
            (96, Some((1, 0, false))),
            (97, Some((1, 0, true))),
            (100, None),
            (120, None),
            (33, None),
        ] {
            assert_eq!(found(&session, 7, payload_type, Elements::default()), expected, "{payload_type}");
        }
    }

    #[test]
    fn full_table_refuses_new_sources_and_keeps_the_known_ones() {
        let session = negotiated(&[section("v", MediaKind::Video, &[96], &[])], Some(1));
        let mut sources = Sources::default();
        let learned = (0..100).filter(|ssrc| sources.learn(&session, *ssrc, 96, &named("v", None, None)).is_some());
        assert_eq!(learned.count(), MAX_SOURCES);
        assert!(sources.get(0).is_some() && sources.get(99).is_none());
    }
}
