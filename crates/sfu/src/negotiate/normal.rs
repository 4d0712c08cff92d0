//! How does a peer's description become the form that str0m reads, and how does the answer get the
//! peer's own names?
//!
//! str0m never reads a peer's text. It reads a description that is written anew from the parts that
//! were understood: one BUNDLE group of all sections in their order, mids that str0m does not
//! change, one line of each kind, and formats by their class. Rejected and idle sections are left
//! out. [`Normal::give_back`] restores all of this in the server's answer: the m= lines of the
//! offer in their order, its mids, its group, and the parameters of its formats.
//!
//! A description that cannot be served as a whole is refused in words: RFC 9725 §4.4.3 permits no
//! partly successful answers.

use str0m::media::{Mid, Rid};

use super::description::{Description, Direction, Section, bounded, malformed, of_line};
use super::payloads::{Meaning, Payload};
use super::transport::Transport;
use super::{Unusable, descriptor, numbers, text};
use crate::receive::NamedSsrc;
use media::packet::MAX_ENCODINGS;

/// The sender of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A publisher offers to send.
    Publisher,
    /// A viewer offers to receive.
    Viewer,
    /// A viewer answers our offer.
    Answerer,
}

/// The treatment of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// str0m negotiates it.
    Served,
    /// It is `inactive`: it stays as it is, without media.
    Idle,
    /// It is rejected by the peer, or of an unknown kind.
    Rejected,
}

/// One section, and its treatment.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    section: Section<'a>,
    fate: Fate,
    /// Its `a=mid` towards str0m.
    name: Mid,
    /// Whether packets that carry the peer's mid belong to `name`.
    is_own_name: bool,
    payloads: Vec<Payload<'a>>,
    /// Encodings of a simulcast (RFC 8853); none with a single one.
    rids: Vec<&'a str>,
}

impl<'a> Part<'a> {
    /// `audio`, `video` …
    pub fn kind(&self) -> &'a str {
        self.section.kind
    }

    /// Returns its `a=mid` towards str0m.
    pub fn name(&self) -> Mid {
        self.name
    }

    /// Returns its `a=mid` as the peer wrote it; empty without one.
    pub fn mid(&self) -> &'a str {
        self.section.mid.unwrap_or_default()
    }

    /// Returns its payload types.
    pub fn payloads(&self) -> &[Payload<'a>] {
        &self.payloads
    }

    /// Encodings of a simulcast, in the order of the offer; none with a single one.
    pub fn rids(&self) -> &[&'a str] {
        &self.rids
    }

    /// SSRCs that it names, and which of them retransmit (RFC 5576 §4.2); at most [`MAX_SSRCS`].
    pub fn ssrcs(&self) -> Vec<NamedSsrc> {
        let groups = self.section.values("ssrc-group").filter_map(|(_, value)| value.strip_prefix("FID "));
        let repairs = groups.filter_map(|group| group.split_ascii_whitespace().nth(1)?.parse().ok());
        let repairs: Vec<u32> = repairs.take(MAX_SSRCS).collect();
        let named = self.section.values("ssrc").filter_map(|(_, value)| value.split(' ').next()?.parse().ok());
        let mut all: Vec<NamedSsrc> = Vec::new();
        for ssrc in named {
            if all.len() < MAX_SSRCS && all.iter().all(|known| known.ssrc != ssrc) {
                all.push(NamedSsrc { ssrc, is_repair: repairs.contains(&ssrc) });
            }
        }
        all
    }

    /// For errors.
    pub fn in_words(&self) -> String {
        self.section.in_words()
    }
}

/// A peer's description in the form that str0m reads, with the peer's own names.
#[derive(Debug, Clone)]
pub(super) struct Normal<'a> {
    role: Role,
    text: String,
    parts: Vec<Part<'a>>,
    bundle: Option<Vec<&'a str>>,
}

/// SSRCs of a section that are told to str0m, at most: one for media, and one for its retransmissions; a few more
/// for encodings that are told by SSRC only. A guess.
const MAX_SSRCS: usize = 16;

impl<'a> Normal<'a> {
    /// Reads a peer's description.
    ///
    /// # Errors
    ///
    /// [`Unusable`] with the line or the section, its fault, and the remedy.
    pub fn of(sdp: &'a str, role: Role) -> Result<Normal<'a>, Unusable> {
        text::check(sdp).map_err(Unusable::Malformed)?;
        let description = Description::parse(sdp)?;
        if let Some(line) = description.session.iter().find(|line| line.text == "a=ice-lite") {
            return malformed(format!(
                "{}: this server is an ICE-lite agent too, so that neither side would begin (RFC 8445 §6.1.1); \
                 use a full ICE agent",
                of_line(*line)
            ));
        }
        let mut parts: Vec<Part<'a>> = Vec::new();
        for section in &description.sections {
            let fate = fate(section, role, &parts)?;
            let (name, is_own_name) = name(section, &description, &parts);
            parts.push(Part {
                section: section.clone(),
                fate,
                name,
                is_own_name,
                payloads: Vec::new(),
                rids: Vec::new(),
            });
        }
        bundled(&description, &parts)?;
        numbers::check(&served_lines(&parts)).map_err(Unusable::Malformed)?;
        for part in parts.iter_mut().filter(|part| part.fate == Fate::Served && is_media(part.section.kind)) {
            has_rtcp_mux(&part.section)?;
            part.payloads = Payload::of(&part.section, role == Role::Publisher)?;
            if role == Role::Publisher {
                part.rids = encodings(&part.section)?;
            }
        }
        if !parts.iter().any(|part| part.fate == Fate::Served && is_media(part.section.kind)) {
            let (verb, fix) = match role {
                Role::Publisher => ("sends", "offer at least one section as sendonly"),
                Role::Viewer | Role::Answerer => ("receives", "take at least one section as recvonly"),
            };
            return unacceptable(format!("no audio or video section {verb}"), fix);
        }
        let transport = Transport::of(&description)?;
        let text = written(role, &description, &parts, &transport)?;
        Ok(Normal { role, text, parts, bundle: description.bundle })
    }

    /// Returns the description for str0m.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the audio and video sections that str0m negotiates.
    pub fn media(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.fate == Fate::Served && is_media(part.section.kind))
    }

    /// Returns `true` if there is a data channel.
    pub fn has_channel(&self) -> bool {
        self.parts.iter().any(|part| part.fate == Fate::Served && part.section.kind == "application")
    }

    /// Returns the server's answer, as str0m wrote it, in the peer's words.
    pub fn give_back(&self, answer: &str) -> String {
        let all = text::split_sections(answer);
        let (session, sections) = all.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        let mut out: Vec<String> = Vec::new();
        for line in session.lines().filter(|line| !line.is_empty()) {
            if line.starts_with("a=group:") {
                out.extend(self.group());
            } else {
                out.push(line.to_owned());
            }
        }
        let mut served = sections.iter();
        for part in &self.parts {
            match part.fate {
                Fate::Served => part.served(served.next().copied().unwrap_or_default(), self.role, &mut out),
                Fate::Idle => part.idle(sections.first().copied().unwrap_or_default(), &mut out),
                Fate::Rejected => part.rejected(&mut out),
            }
        }
        out.push(String::new());
        out.join("\r\n")
    }

    /// Returns the group line. RFC 9143 §7.3: no group where none was offered, and no rejected
    /// section in it.
    fn group(&self) -> Option<String> {
        let of = |mid: &&str| self.parts.iter().any(|p| p.section.mid == Some(mid) && p.fate != Fate::Rejected);
        let mids: Vec<&str> = self.bundle.iter().flatten().copied().filter(of).collect();
        (!mids.is_empty()).then(|| format!("a=group:BUNDLE {}", mids.join(" ")))
    }
}

impl Part<'_> {
    fn head(&self, port: u16, formats: &str) -> String {
        format!("m={} {port} {} {formats}", self.section.kind, self.section.protocol)
    }

    fn mid_line(&self) -> Option<String> {
        self.section.mid.map(|mid| format!("a=mid:{mid}"))
    }

    fn served(&self, ours: &str, role: Role, out: &mut Vec<String>) {
        let offered: Vec<&str> = self.section.formats.split_ascii_whitespace().collect();
        let own = |line: &str, attribute: &str| {
            let number = line.strip_prefix(attribute)?.split(' ').next()?.parse::<u8>().ok()?;
            self.payloads.iter().find(|p| p.number == number)?.in_answer(role == Role::Publisher)
        };
        for line in ours.lines().filter(|line| !line.is_empty()) {
            if let Some(media) = line.strip_prefix("m=") {
                let mut words = media.split_ascii_whitespace();
                let port = words.nth(1).and_then(|port| port.parse().ok()).unwrap_or_default();
                let mut formats: Vec<&str> = words.skip(1).collect();
                // The first one is the one that most publishers send, and the order of the offer is
                // their preference (RFC 3264 §6.1).
                formats.sort_by_key(|format| offered.iter().position(|o| o == format).unwrap_or(usize::MAX));
                if !is_media(self.section.kind) {
                    formats = offered.clone();
                }
                out.push(self.head(port, &formats.join(" ")));
            } else if line.starts_with("a=mid:") {
                out.extend(self.mid_line());
            } else if let Some((rtpmap, fmtp)) = own(line, "a=rtpmap:") {
                out.push(rtpmap);
                out.extend(fmtp);
            } else if own(line, "a=fmtp:").is_none() {
                out.push(line.to_owned());
            }
        }
    }

    /// Writes an idle section. `transport` is a section of the server, whose transport is that of
    /// all.
    fn idle(&self, transport: &str, out: &mut Vec<String>) {
        const OF_TRANSPORT: [&str; 5] = ["a=ice-", "a=fingerprint:", "a=setup:", "a=candidate:", "a=end-of-candidates"];
        out.push(self.head(9, self.section.formats));
        out.push("c=IN IP4 0.0.0.0".to_owned());
        let shared = |line: &&str| OF_TRANSPORT.iter().any(|prefix| line.starts_with(prefix));
        out.extend(transport.lines().filter(shared).map(str::to_owned));
        out.extend(self.mid_line());
        out.push("a=inactive".to_owned());
        if self.section.has_flag("rtcp-mux") {
            out.push("a=rtcp-mux".to_owned());
        }
        for line in &self.section.lines {
            if ["a=rtpmap:", "a=fmtp:"].iter().any(|prefix| line.text.starts_with(prefix)) {
                out.push(line.text.to_owned());
            }
        }
    }

    /// Writes a rejected section. RFC 3264 §6: port 0; all other lines have no meaning.
    fn rejected(&self, out: &mut Vec<String>) {
        out.push(self.head(0, if self.section.formats.is_empty() { "0" } else { self.section.formats }));
        out.push("c=IN IP4 0.0.0.0".to_owned());
        out.extend(self.mid_line());
        if is_media(self.section.kind) {
            out.push("a=inactive".to_owned());
        }
    }
}

fn is_media(kind: &str) -> bool {
    matches!(kind, "audio" | "video")
}

fn unacceptable<T>(what: String, fix: &str) -> Result<T, Unusable> {
    Err(Unusable::Unacceptable { what, fix: fix.to_owned() })
}

fn fate(section: &Section<'_>, role: Role, before: &[Part<'_>]) -> Result<Fate, Unusable> {
    if section.is_rejected {
        return Ok(Fate::Rejected);
    }
    let is_second = before.iter().any(|part| part.section.kind == section.kind && part.fate == Fate::Served);
    if section.kind == "application" {
        let is_channel = section.protocol.ends_with("DTLS/SCTP") && !is_second;
        return Ok(if is_channel { Fate::Served } else { Fate::Rejected });
    }
    if !is_media(section.kind) {
        return Ok(Fate::Rejected);
    }
    // RFC 8829 §5.1.2: any of the RTP profiles is taken for UDP/TLS/RTP/SAVPF.
    let mut profile = section.protocol.rsplit('/');
    let is_rtp = matches!(profile.next(), Some("SAVPF" | "SAVP" | "AVPF" | "AVP")) && profile.next() == Some("RTP");
    if !is_rtp {
        return malformed(format!(
            "{}: the protocol of audio and video is UDP/TLS/RTP/SAVPF (RFC 8829 §5.1.2)",
            of_line(section.media)
        ));
    }
    let (flows, otherwise) = match role {
        Role::Publisher => (section.direction.sends(), Direction::RecvOnly),
        Role::Viewer | Role::Answerer => (section.direction.receives(), Direction::SendOnly),
    };
    if section.direction == otherwise {
        let (what, fix) = match role {
            Role::Publisher => (
                "is recvonly, and this server sends nothing to a publisher",
                "offer the section sendonly to publish; to watch, send the offer to the stream's /whep/ address",
            ),
            Role::Viewer | Role::Answerer => (
                "is sendonly, and this server takes nothing from a viewer",
                "offer the section recvonly to watch; to publish, send the offer to the stream's /whip/ address",
            ),
        };
        return unacceptable(format!("{} {what}", section.in_words()), fix);
    }
    if !flows {
        return Ok(Fate::Idle);
    }
    if is_second && role == Role::Publisher {
        return unacceptable(
            format!("{} is the second {} track, and a stream has one", section.in_words(), section.kind),
            "publish one camera and one microphone per stream: leave the section out, or publish it under another stream name",
        );
    }
    if is_second && role == Role::Viewer {
        return unacceptable(
            format!(
                "{} is the second {} section, and a stream has one track of a kind",
                section.in_words(),
                section.kind
            ),
            "offer one audio and one video section; watch each further stream with a session of its own",
        );
    }
    Ok(Fate::Served)
}

/// Returns a name that str0m does not change. str0m replaces every character that is neither letter
/// nor digit by `_` and keeps 16 characters, in descriptions and in packets; names must therefore
/// still differ afterwards, or packets are not assigned by them.
fn name(section: &Section<'_>, description: &Description<'_>, before: &[Part<'_>]) -> (Mid, bool) {
    let is_free = |name: &Mid| before.iter().all(|part| part.name != *name);
    if let Some(name) = section.mid.map(Mid::from).filter(is_free) {
        return (name, true);
    }
    let is_unused =
        |name: &Mid| is_free(name) && description.sections.iter().all(|s| s.mid.map(Mid::from) != Some(*name));
    let fresh = (0..=description.sections.len() + before.len()).map(|n| Mid::from(format!("n{n}").as_str()));
    (fresh.into_iter().find(is_unused).unwrap_or_default(), false)
}

/// Checks that all sections that are not rejected share one transport.
fn bundled(description: &Description<'_>, parts: &[Part<'_>]) -> Result<(), Unusable> {
    let offered: Vec<_> = parts.iter().filter(|part| part.fate != Fate::Rejected).collect();
    let in_group = |part: &Part<'_>| {
        part.section.mid.is_some_and(|mid| description.bundle.as_ref().is_some_and(|group| group.contains(&mid)))
    };
    match offered.iter().find(|part| !in_group(part)) {
        Some(outside) if offered.len() > 1 => malformed(format!(
            "{} is in no a=group:BUNDLE, and this server uses one transport for all sections (RFC 9143); \
             set the bundle policy to max-bundle, or write a=group:BUNDLE with the a=mid of each section",
            outside.in_words()
        )),
        _ => Ok(()),
    }
}

fn has_rtcp_mux(section: &Section<'_>) -> Result<(), Unusable> {
    if section.has_flag("rtcp-mux") || section.has_flag("rtcp-mux-only") {
        return Ok(());
    }
    unacceptable(
        format!("{} has no a=rtcp-mux, and this server uses one port for RTP and RTCP (RFC 5761)", section.in_words()),
        "set the RTCP mux policy to require, or write a=rtcp-mux into each audio and video section",
    )
}

/// Returns the lines that decide the meaning of payload types.
fn served_lines(parts: &[Part<'_>]) -> String {
    let mut lines = String::new();
    for part in parts.iter().filter(|part| part.fate == Fate::Served) {
        for line in [&part.section.media].into_iter().chain(&part.section.lines) {
            lines.extend([line.text, "\r\n"]);
        }
    }
    lines
}

/// Returns the encodings of a simulcast that are sent from the start (RFC 8853 §5.1: `send a,b;c
/// recv d`, with `;` between streams, `,` between alternatives and `~` before paused ones); none if
/// there is only one.
fn encodings<'a>(section: &Section<'a>) -> Result<Vec<&'a str>, Unusable> {
    let Some((line, offered)) = section.values("simulcast").next() else { return Ok(Vec::new()) };
    let mut words = offered.split_ascii_whitespace();
    let sent = words.find(|word| *word == "send").and_then(|_| words.next()).unwrap_or_default();
    let first = |stream: &'a str| stream.split(',').next().unwrap_or_default();
    let mut rids: Vec<&'a str> = Vec::new();
    for rid in sent.split(';').map(first).filter(|rid| !rid.is_empty() && !rid.starts_with('~')) {
        // RFC 8852 §3. str0m compares the first eight characters, here as in packets.
        if !rid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return malformed(format!(
                "{}: the rid “{}” has other characters than letters and digits (RFC 8852 §3)",
                of_line(line),
                bounded(rid)
            ));
        }
        if rids.iter().any(|other: &&str| Rid::from(*other) == Rid::from(rid)) {
            return malformed(format!(
                "{}: the rid “{}” does not differ from another one in its first 8 characters; choose shorter names",
                of_line(line),
                bounded(rid)
            ));
        }
        rids.push(rid);
    }
    if rids.len() > MAX_ENCODINGS {
        return unacceptable(
            format!(
                "{} offers {} simulcast encodings, and at most {MAX_ENCODINGS} are forwarded",
                section.in_words(),
                rids.len()
            ),
            "send fewer encodings (OBS: Simulcast, Total Layers)",
        );
    }
    Ok(if rids.len() > 1 { rids } else { Vec::new() })
}

/// Writes the whole description as str0m reads it.
fn written(
    role: Role,
    description: &Description<'_>,
    parts: &[Part<'_>],
    transport: &Transport<'_>,
) -> Result<String, Unusable> {
    // A section that an answer rejects or leaves idle is in the server's offer, so str0m expects
    // it.
    let is_told = |part: &&Part<'_>| part.fate == Fate::Served || role == Role::Answerer;
    let told: Vec<&Part<'_>> = parts.iter().filter(is_told).collect();
    let bundled = told.iter().filter(|part| part.fate != Fate::Rejected);
    let group: String = bundled.map(|part| format!(" {}", part.name)).collect();
    let mut out: Vec<String> =
        ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"].into_iter().map(str::to_owned).collect();
    out.push(format!("a=group:BUNDLE{group}"));
    transport.for_str0m(&mut out);
    let mut ssrcs: Vec<u32> = Vec::new();
    for part in told {
        let section = &part.section;
        if !is_media(section.kind) {
            out.push("m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned());
            out.push("c=IN IP4 0.0.0.0".to_owned());
            out.push(format!("a=mid:{}", part.name));
            channel(section, &mut out);
            continue;
        }
        let numbers: String = match part.fate {
            Fate::Served => part.payloads.iter().map(|payload| format!(" {}", payload.number)).collect(),
            // PCMU, which needs no a=rtpmap, and which the server does not support.
            Fate::Idle | Fate::Rejected => " 0".to_owned(),
        };
        let port = if part.fate == Fate::Rejected { 0 } else { 9 };
        out.push(format!("m={} {port} UDP/TLS/RTP/SAVPF{numbers}", section.kind));
        out.push("c=IN IP4 0.0.0.0".to_owned());
        out.push(format!("a=mid:{}", part.name));
        let direction = match (part.fate, role) {
            (Fate::Idle | Fate::Rejected, _) => "inactive",
            (Fate::Served, Role::Publisher) => "sendonly",
            (Fate::Served, Role::Viewer | Role::Answerer) => "recvonly",
        };
        out.push(format!("a={direction}"));
        out.push("a=rtcp-mux".to_owned());
        if part.fate != Fate::Served {
            continue;
        }
        extensions(part, role, description, &mut out);
        for payload in &part.payloads {
            payload.for_str0m(section, &mut out);
        }
        if !part.rids.is_empty() {
            out.extend(part.rids.iter().map(|rid| format!("a=rid:{rid} send")));
            out.push(format!("a=simulcast:send {}", part.rids.join(";")));
        }
        if role == Role::Publisher {
            sources(part, &mut ssrcs, &mut out)?;
        }
    }
    out.push(String::new());
    Ok(out.join("\r\n"))
}

/// Writes the data channel (RFC 8841 §5 and §6).
fn channel(section: &Section<'_>, out: &mut Vec<String>) {
    if let Some(port) = section.values("sctp-port").find_map(|(_, port)| port.parse::<u16>().ok()) {
        out.push(format!("a=sctp-port:{port}"));
    }
    if let Some(bytes) = section.values("max-message-size").find_map(|(_, bytes)| bytes.parse::<u32>().ok()) {
        out.push(format!("a=max-message-size:{bytes}"));
    }
}

/// Writes header extensions (RFC 8285 §5): of the section, else of the session; each number and
/// each name once.
fn extensions(part: &Part<'_>, role: Role, description: &Description<'_>, out: &mut Vec<String>) {
    const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    let prefers_av1 = matches!(
        part.payloads.first().map(|payload| &payload.meaning),
        Some(Meaning::Media(class)) if class.format.codec == media::Codec::Av1
    );
    let mut known: Vec<(u8, &str)> = Vec::new();
    let of_session = super::description::values(&description.session, "extmap");
    for (_, value) in part.section.values("extmap").chain(of_session) {
        let mut words = value.split_ascii_whitespace();
        let id = words.next().and_then(|id| id.split('/').next()).and_then(|id| id.parse::<u8>().ok());
        // RFC 8285 §4.2: 1 to 14 in the one-byte header, which is what str0m reads and shards write.
        let (Some(id @ 1..=14), Some(uri)) = (id, words.next()) else { continue };
        let is_wanted = match uri {
            MID => part.is_own_name,
            descriptor::URI => role != Role::Publisher || prefers_av1,
            _ => true,
        };
        if is_wanted && known.iter().all(|(other, name)| *other != id && *name != uri) {
            known.push((id, uri));
        }
    }
    for (id, uri) in known {
        out.push(format!("a=extmap:{id} {uri}"));
    }
}

/// Writes the SSRCs of a publisher, and their repair relations (RFC 5576). With a simulcast they
/// are named by rid.
fn sources(part: &Part<'_>, all: &mut Vec<u32>, out: &mut Vec<String>) -> Result<(), Unusable> {
    let section = &part.section;
    let mut own: Vec<u32> = Vec::new();
    for (line, value) in section.values("ssrc") {
        let Some(ssrc) = value.split(' ').next().and_then(|ssrc| ssrc.parse::<u32>().ok()).filter(|ssrc| *ssrc != 0)
        else {
            return malformed(format!("{}: an SSRC is a number from 1 to 4294967295 (RFC 5576 §4.1)", of_line(line)));
        };
        if own.contains(&ssrc) {
            continue;
        }
        if all.contains(&ssrc) {
            return malformed(format!(
                "{}: the SSRC is one of another section; give each track an SSRC of its own (RFC 3550 §8)",
                of_line(line)
            ));
        }
        if own.len() >= MAX_SSRCS {
            return malformed(format!("{}: a section has at most {MAX_SSRCS} SSRCs", of_line(line)));
        }
        own.push(ssrc);
    }
    all.extend(&own);
    if !part.rids.is_empty() {
        return Ok(());
    }
    let mut grouped: Vec<u32> = Vec::new();
    out.extend(own.iter().map(|ssrc| format!("a=ssrc:{ssrc} cname:-")));
    for (_, value) in section.values("ssrc-group") {
        let Some(pair) = value.strip_prefix("FID ") else { continue };
        let pair: Vec<u32> = pair.split_ascii_whitespace().filter_map(|ssrc| ssrc.parse().ok()).collect();
        let [media, repair] = pair[..] else { continue };
        let is_new = |ssrc: &u32| own.contains(ssrc) && !grouped.contains(ssrc);
        if media != repair && is_new(&media) && is_new(&repair) {
            grouped.extend([media, repair]);
            out.push(format!("a=ssrc-group:FID {media} {repair}"));
        }
    }
    Ok(())
}
