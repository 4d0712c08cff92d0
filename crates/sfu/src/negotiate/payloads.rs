//! The payload types of a media section: their meaning for this server, and their form for str0m.

use media::Codec;

use super::Unusable;
use super::description::{Section, bounded};
use super::profile::{self, Class, Parameters, Useless};
use crate::format::Format;

/// An agreed payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    /// Below 128.
    pub number: u8,
    /// The meaning.
    pub meaning: Meaning,
    /// `a=rtpmap` as the peer wrote it, without the number.
    rtpmap: &'a str,
    /// `a=fmtp` as the peer wrote it, without the number; each line.
    fmtp: Vec<&'a str>,
}

/// The meaning of a payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Media.
    Media(Class),
    /// Retransmissions of another payload type (RFC 4588).
    Rtx(u8),
    /// Redundant coding of another payload type (RFC 2198).
    Red(u8),
}

/// Payload types without media of their own.
const HELPERS: [&str; 7] = ["rtx", "red", "ulpfec", "flexfec", "flexfec-03", "telephone-event", "cn"];

/// The static payload types that are still in use (RFC 3551 §6): they need no `a=rtpmap`.
const STATIC: [(u8, &str); 5] =
    [(0, "PCMU/8000"), (3, "GSM/8000"), (8, "PCMA/8000"), (9, "G722/8000"), (13, "CN/8000")];

/// Feedback that str0m reads (RFC 4585 §4.2).
const FEEDBACK: [&str; 5] = ["transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"];

/// Parameters of Opus that str0m reads (RFC 7587 §6.1).
const OF_OPUS: [&str; 5] = ["minptime", "useinbandfec", "usedtx", "stereo", "sprop-stereo"];

/// Number of unusable formats that an error names.
const NAMED: usize = 3;

impl<'a> Payload<'a> {
    /// Returns the payload types of a section that this server forwards, in the order of its m=
    /// line. Of two that a decoder cannot distinguish (two levels of one profile) the first counts.
    ///
    /// # Errors
    ///
    /// [`Unusable::Unacceptable`] if none remains: names the offered formats, the reasons and the
    /// settings to change.
    pub fn of(section: &Section<'a>, by_publisher: bool) -> Result<Vec<Payload<'a>>, Unusable> {
        let mut numbers: Vec<u8> = Vec::new();
        for number in section.formats.split_ascii_whitespace().filter_map(number_of) {
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        let mut found: Vec<Payload<'a>> = Vec::new();
        let mut useless: Vec<Useless> = Vec::new();
        for number in &numbers {
            let Some(payload) = Payload::read(section, *number, &mut useless) else { continue };
            let is_new = found.iter().all(|known| known.meaning != payload.meaning);
            if is_new {
                found.push(payload);
            }
        }
        if found.is_empty() {
            return Err(nothing(section, &useless, by_publisher));
        }
        for number in numbers {
            let Some(helper) = Payload::helper(section, number, &found) else { continue };
            if found.iter().all(|known| known.meaning != helper.meaning && known.number != helper.number) {
                found.push(helper);
            }
        }
        Ok(found)
    }

    fn read(section: &Section<'a>, number: u8, useless: &mut Vec<Useless>) -> Option<Payload<'a>> {
        let of_table = || STATIC.iter().find(|(known, _)| *known == number).map(|(_, rtpmap)| *rtpmap);
        let rtpmap = of_number(section, "rtpmap", number).next().or_else(of_table)?;
        let name = rtpmap.split('/').next().unwrap_or_default();
        if HELPERS.iter().any(|helper| helper.eq_ignore_ascii_case(name)) {
            return None;
        }
        let fmtp: Vec<_> = of_number(section, "fmtp", number).collect();
        match profile::class(section.kind, rtpmap, &Parameters::parse(&fmtp)) {
            Ok(class) => Some(Payload { number, meaning: Meaning::Media(class), rtpmap, fmtp }),
            Err(why) => {
                if !useless.contains(&why) {
                    useless.push(why);
                }
                None
            }
        }
    }

    fn helper(section: &Section<'a>, number: u8, media: &[Payload<'a>]) -> Option<Payload<'a>> {
        let rtpmap = of_number(section, "rtpmap", number).next()?;
        let fmtp: Vec<_> = of_number(section, "fmtp", number).collect();
        let of_media = |primary: &u8| {
            media.iter().any(|known| known.number == *primary && matches!(known.meaning, Meaning::Media(_)))
        };
        let meaning = match rtpmap.split('/').next()?.to_ascii_lowercase().as_str() {
            "rtx" => Meaning::Rtx(Parameters::parse(&fmtp).get("apt").and_then(number_of).filter(of_media)?),
            "red" if section.kind == "audio" => {
                let primary = fmtp.first().and_then(|blocks| blocks.split('/').next());
                Meaning::Red(primary.and_then(number_of).filter(of_media)?)
            }
            _ => return None,
        };
        Some(Payload { number, meaning, rtpmap, fmtp })
    }

    /// Returns the format of media.
    pub fn format(&self) -> Option<Format> {
        match &self.meaning {
            Meaning::Media(class) => Some(class.format),
            Meaning::Rtx(_) | Meaning::Red(_) => None,
        }
    }

    /// Writes its lines as str0m reads them.
    pub fn for_str0m(&self, section: &Section<'_>, out: &mut Vec<String>) {
        let number = self.number;
        match &self.meaning {
            Meaning::Media(class) => {
                out.push(format!("a=rtpmap:{number} {}", class.rtpmap));
                for feedback in FEEDBACK {
                    let any = section.values("rtcp-fb").any(|(_, value)| {
                        let Some((of, said)) = value.split_once(' ') else { return false };
                        (of == "*" || number_of(of) == Some(number)) && said.trim() == feedback
                    });
                    if any {
                        out.push(format!("a=rtcp-fb:{number} {feedback}"));
                    }
                }
                let parameters =
                    if class.format.codec == Codec::Opus { self.of_opus() } else { class.parameters.clone() };
                if !parameters.is_empty() {
                    out.push(format!("a=fmtp:{number} {parameters}"));
                }
            }
            Meaning::Rtx(primary) => {
                out.push(format!("a=rtpmap:{number} rtx/90000"));
                out.push(format!("a=fmtp:{number} apt={primary}"));
            }
            Meaning::Red(primary) => {
                out.push(format!("a=rtpmap:{number} red/48000/2"));
                out.push(format!("a=fmtp:{number} {primary}/{primary}"));
            }
        }
    }

    fn of_opus(&self) -> String {
        let parameters = Parameters::parse(&self.fmtp);
        let known = OF_OPUS.into_iter().filter_map(|name| {
            let value: u8 = parameters.get(name)?.parse().ok()?;
            Some(format!("{name}={value}"))
        });
        known.collect::<Vec<_>>().join(";")
    }

    /// Returns its `a=rtpmap` and `a=fmtp` in the server's answer: the peer's own words. `None` if
    /// str0m's stay.
    ///
    /// All properties of a publisher's Opus (stereo, DTX, FEC, its bit rate) are forwarded, so the
    /// server accepts all of them: without `stereo=1` in the answer a browser sends mono (RFC 7587
    /// §7.1).
    pub fn in_answer(&self, to_publisher: bool) -> Option<(String, Option<String>)> {
        let Meaning::Media(class) = &self.meaning else { return None };
        let mut said: Vec<&str> = self.fmtp.iter().flat_map(|line| line.split(';')).map(str::trim).collect();
        said.retain(|parameter| !parameter.is_empty());
        if class.format.codec == Codec::Opus {
            if !to_publisher {
                return None;
            }
            if said.contains(&"sprop-stereo=1") && !said.contains(&"stereo=1") {
                said.push("stereo=1");
            }
        } else {
            // The parameter sets at the beginning of the peer's stream do not belong into the
            // answer (RFC 6184 §8.2.2).
            said.retain(|parameter| !parameter.get(..6).is_some_and(|name| name.eq_ignore_ascii_case("sprop-")));
        }
        let fmtp = (!said.is_empty()).then(|| format!("a=fmtp:{} {}", self.number, said.join(";")));
        Some((format!("a=rtpmap:{} {}", self.number, self.rtpmap), fmtp))
    }
}

fn number_of(text: &str) -> Option<u8> {
    text.trim().parse().ok().filter(|number| *number < 128)
}

/// Returns the values of the section's `a=NAME:<number> …` lines.
fn of_number<'a>(section: &Section<'a>, name: &'static str, number: u8) -> impl Iterator<Item = &'a str> {
    let found = section.values(name).filter_map(move |(_, value)| {
        let (of, rest) = value.split_once([' ', '\t'])?;
        (number_of(of) == Some(number)).then(|| rest.trim())
    });
    found.collect::<Vec<_>>().into_iter()
}

fn nothing(section: &Section<'_>, useless: &[Useless], by_publisher: bool) -> Unusable {
    let section_words = section.in_words();
    let fix = match (by_publisher, useless.first()) {
        (true, Some(first)) => first.fix,
        (_, _) if section.kind == "audio" => "offer Opus (a=rtpmap:111 opus/48000/2)",
        (_, _) => "offer H.264, VP8, VP9, AV1 or H.265, each named by an a=rtpmap",
    };
    let offered: Vec<_> =
        useless.iter().take(NAMED).map(|useless| format!("{} ({})", useless.what, useless.why)).collect();
    let offered = if offered.is_empty() {
        format!("no codec in the payload types “{}”", bounded(section.formats))
    } else {
        offered.join(", ")
    };
    Unusable::Unacceptable {
        what: format!("{section_words} offers nothing that this server forwards and browsers play: {offered}"),
        fix: fix.to_owned(),
    }
}
