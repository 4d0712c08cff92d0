//! What can be read from an SDP text, and changed in it, without understanding all of it?
//!
//! str0m does the negotiation. What it does not tell (which codecs a viewer offered that we lack) or
//! would do differently (simulcast, stream ids) is read and changed here, line by line, with limits
//! before anything else looks at the text (threat T15).

/// Limits on an SDP from the network.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most lines.
pub const MAX_LINES: usize = 2_000;
/// The longest line.
pub const MAX_LINE_BYTES: usize = 4 * 1024;
/// The most m-lines.
pub const MAX_MEDIA: usize = 64;

/// Checks the limits, and that it looks like SDP at all.
///
/// # Errors
///
/// Says what is wrong, for the one who sent it.
pub fn check(sdp: &str) -> Result<(), String> {
    if sdp.len() > MAX_BYTES {
        return Err(format!("it has {} bytes; at most {MAX_BYTES} are taken", sdp.len()));
    }
    if !sdp.trim_start().starts_with("v=0") {
        return Err("it does not begin with v=0".to_owned());
    }
    let mut media = 0;
    for (n, line) in sdp.lines().enumerate() {
        if n >= MAX_LINES {
            return Err(format!("it has more than {MAX_LINES} lines"));
        }
        if line.len() > MAX_LINE_BYTES {
            return Err(format!("line {} is longer than {MAX_LINE_BYTES} bytes", n + 1));
        }
        if line.starts_with("m=") {
            media += 1;
        }
        let mut bytes = line.bytes();
        let (key, eq) = (bytes.next(), bytes.next());
        if !line.is_empty() && (!key.is_some_and(|k| k.is_ascii_lowercase()) || eq != Some(b'=')) {
            return Err(format!("line {} is not of the form x=…", n + 1));
        }
    }
    match media {
        0 => Err("it has no m= line".to_owned()),
        1..=MAX_MEDIA => Ok(()),
        _ => Err(format!("it has more than {MAX_MEDIA} m= lines")),
    }
}

/// One m-section, as far as we look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// `audio`, `video` or `application`.
    pub kind: &'a str,
    /// 0 means that the section is rejected.
    pub port: &'a str,
    /// `a=mid`
    pub mid: Option<&'a str>,
    /// Names of codecs in `a=rtpmap`, in order, each once, without helpers (rtx, red, fec…).
    pub codecs: Vec<&'a str>,
    /// `sendrecv`, `sendonly`, `recvonly`, `inactive`.
    pub direction: &'a str,
}

/// Reads the m-sections.
pub fn sections(sdp: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut session_direction = "sendrecv";
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_ascii_whitespace();
            sections.push(Section {
                kind: words.next().unwrap_or_default(),
                port: words.next().unwrap_or_default(),
                mid: None,
                codecs: Vec::new(),
                direction: session_direction,
            });
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else { continue };
        let direction = matches!(attribute, "sendrecv" | "sendonly" | "recvonly" | "inactive").then_some(attribute);
        let Some(section) = sections.last_mut() else {
            session_direction = direction.unwrap_or(session_direction);
            continue;
        };
        if let Some(direction) = direction {
            section.direction = direction;
        } else if let Some(mid) = attribute.strip_prefix("mid:") {
            section.mid = Some(mid.trim());
        } else if let Some(map) = attribute.strip_prefix("rtpmap:") {
            let name =
                map.split_ascii_whitespace().nth(1).and_then(|codec| codec.split('/').next()).unwrap_or_default();
            if !is_helper(name) && !section.codecs.contains(&name) {
                section.codecs.push(name);
            }
        }
    }
    sections
}

fn is_helper(codec: &str) -> bool {
    ["rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "CN"].iter().any(|h| h.eq_ignore_ascii_case(codec))
}

/// The codecs of a kind that somebody offers, each once.
pub fn offered_codecs(sdp: &str, kind: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for section in sections(sdp).into_iter().filter(|s| s.kind == kind) {
        for codec in section.codecs {
            if !names.iter().any(|n| n == codec) {
                names.push(codec.to_owned());
            }
        }
    }
    names
}

/// Leaves at most `most` encodings of each simulcast (RFC 8853) in an offer, the first ones. An alternative for an
/// encoding is left out, and so is an encoding that begins paused or belongs to no simulcast that is sent.
pub fn with_encodings(sdp: &str, most: usize) -> String {
    let mut out = String::with_capacity(sdp.len());
    for section in split_sections(sdp) {
        let offered = section.lines().find_map(|line| line.strip_prefix("a=simulcast:"));
        let kept: Vec<&str> = offered.map(|list| sent_encodings(list).take(most).collect()).unwrap_or_default();
        out.push_str(&rewrite(section, |line| {
            if line.starts_with("a=simulcast:") {
                // One encoding is no simulcast, and needs no name.
                return (kept.len() > 1).then(|| format!("a=simulcast:send {}", kept.join(";")));
            }
            let rid = line.strip_prefix("a=rid:").map(|rest| rest.split_ascii_whitespace().next().unwrap_or_default());
            let keep = rid.is_none_or(|rid| kept.len() > 1 && kept.contains(&rid));
            keep.then(|| line.to_owned())
        }));
    }
    out
}

/// RFC 8853 §5.1: `send a,b;c recv d`: streams with `;` between them, alternatives with `,`, `~` before what is paused.
fn sent_encodings(list: &str) -> impl Iterator<Item = &str> {
    let mut words = list.split_ascii_whitespace();
    let sent = words.find(|word| *word == "send").and_then(|_| words.next()).unwrap_or_default();
    let first = |stream: &'_ str| -> usize { stream.find(',').unwrap_or(stream.len()) };
    sent.split(';').map(move |stream| &stream[..first(stream)]).filter(|rid| !rid.is_empty() && !rid.starts_with('~'))
}

/// The session's part, and then each m-section.
pub(super) fn split_sections(sdp: &str) -> Vec<&str> {
    let starts = sdp.match_indices("\nm=").map(|(at, _)| at + 1);
    let bounds: Vec<usize> = std::iter::once(0).chain(starts).chain([sdp.len()]).collect();
    bounds.windows(2).map(|pair| &sdp[pair[0]..pair[1]]).collect()
}

/// Whether a section of [`split_sections`] has port 0 (RFC 3264 §6).
pub(super) fn is_rejected(section: &str) -> bool {
    section.starts_with("m=") && section.split_ascii_whitespace().nth(1) == Some("0")
}

/// Replaces the ICE credentials of every section, and drops the candidates that belonged to the old ones (an
/// ICE restart, said as a whole description).
pub fn with_ice_credentials(sdp: &str, ufrag: &str, password: &str) -> String {
    rewrite(&with_our_credentials(sdp, ufrag, password), |line| {
        (!line.starts_with("a=candidate:")).then(|| line.to_owned())
    })
}

/// Replaces the ICE credentials of every section, and the ufrag that candidates name: a browser drops candidates of
/// another ufrag than its section's. Nothing else.
pub fn with_our_credentials(sdp: &str, ufrag: &str, password: &str) -> String {
    rewrite(sdp, |line| {
        Some(if line.starts_with("a=ice-ufrag:") {
            format!("a=ice-ufrag:{ufrag}")
        } else if line.starts_with("a=ice-pwd:") {
            format!("a=ice-pwd:{password}")
        } else if let Some((candidate, old)) =
            line.split_once(" ufrag ").filter(|(head, _)| head.starts_with("a=candidate:"))
        {
            let rest = old.split_once(' ').map_or(String::new(), |(_, rest)| format!(" {rest}"));
            format!("{candidate} ufrag {ufrag}{rest}")
        } else {
            line.to_owned()
        })
    })
}

/// Renames a header extension's URI.
pub fn with_extension_renamed(sdp: &str, from: &str, to: &str) -> String {
    rewrite(sdp, |line| {
        let extmap = line.starts_with("a=extmap:") && line.split_ascii_whitespace().nth(1) == Some(from);
        Some(if extmap { line.replacen(from, to, 1) } else { line.to_owned() })
    })
}

/// Lists the payload types of every m-line of `answer` in the order of the offer's: the first one is what most
/// publishers send, and the offer's order is their wish (RFC 3264 §6.1).
pub fn with_order_of(answer: &str, offer: &str) -> String {
    let mut offered = offer.lines().filter(|l| l.starts_with("m="));
    rewrite(answer, |line| {
        if !line.starts_with("m=") {
            return Some(line.to_owned());
        }
        let theirs: Vec<_> = offered.next().unwrap_or_default().split_ascii_whitespace().skip(3).collect();
        let mut words: Vec<_> = line.split_ascii_whitespace().collect();
        let place = |pt: &&str| theirs.iter().position(|t| t == pt).unwrap_or(usize::MAX);
        if let Some(payload_types) = words.get_mut(3..) {
            payload_types.sort_by_key(place);
        }
        Some(words.join(" "))
    })
}

/// Answers a publisher's Opus with the publisher's own parameters: whatever it can send (stereo, DTX, FEC, its bitrate)
/// is passed on as it is, so we want all of it (RFC 7587 §7.1: without `stereo=1` in our answer a browser sends
/// mono).
pub fn with_opus_of(answer: &str, offer: &str) -> String {
    let opus = |sdp: &str| {
        sdp.lines().find_map(|line| {
            let (payload_type, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            name.get(..4).is_some_and(|n| n.eq_ignore_ascii_case("opus")).then(|| format!("a=fmtp:{payload_type} "))
        })
    };
    let (Some(theirs), Some(ours)) = (opus(offer), opus(answer)) else { return answer.to_owned() };
    let Some(parameters) = first(offer, &theirs) else { return answer.to_owned() };
    let wants_stereo = parameters.contains("stereo=1") && !parameters.split(';').any(|p| p.trim() == "stereo=1");
    let stereo = if wants_stereo { ";stereo=1" } else { "" };
    rewrite(answer, |line| {
        Some(if line.starts_with(&ours) { format!("{ours}{parameters}{stereo}") } else { line.to_owned() })
    })
}

/// Puts all tracks of our description into one stream and under one CNAME, so that a receiver plays them in sync.
pub fn with_one_stream(sdp: &str, stream: &str) -> String {
    rewrite(sdp, |line| {
        let regrouped = |prefix: &str, rest: &str| {
            let track = rest.split_ascii_whitespace().nth(1).unwrap_or("-");
            format!("{prefix}{stream} {track}")
        };
        Some(if let Some(rest) = line.strip_prefix("a=msid:") {
            regrouped("a=msid:", rest)
        } else if let Some((ssrc, rest)) = line.strip_prefix("a=ssrc:").and_then(|l| l.split_once(' ')) {
            if let Some(rest) = rest.strip_prefix("msid:") {
                regrouped(&format!("a=ssrc:{ssrc} msid:"), rest)
            } else if rest.starts_with("cname:") {
                format!("a=ssrc:{ssrc} cname:{}", crate::viewer::CNAME)
            } else {
                line.to_owned()
            }
        } else {
            line.to_owned()
        })
    })
}

/// Gives our encodings other SSRCs and m-lines other names: pairs of old and new.
pub fn renamed(sdp: &str, ssrcs: &[(u32, u32)], mids: &[(&str, &str)]) -> String {
    let new = |old: &str| {
        let old = old.parse::<u32>().ok()?;
        ssrcs.iter().find(|(from, _)| *from == old).map(|(_, to)| to.to_string())
    };
    let new_mid =
        |old: &str| mids.iter().find(|(from, _)| *from == old).map_or(old.to_owned(), |(_, to)| (*to).to_owned());
    rewrite(sdp, |line| {
        if let Some(mid) = line.strip_prefix("a=mid:") {
            return Some(format!("a=mid:{}", new_mid(mid)));
        }
        if let Some(group) = line.strip_prefix("a=group:") {
            return Some(format!("a=group:{}", group.split(' ').map(new_mid).collect::<Vec<_>>().join(" ")));
        }
        if let Some((ssrc, rest)) = line.strip_prefix("a=ssrc:").and_then(|l| l.split_once(' ')) {
            return Some(format!("a=ssrc:{} {rest}", new(ssrc).unwrap_or_else(|| ssrc.to_owned())));
        }
        let Some(group) = line.strip_prefix("a=ssrc-group:") else { return Some(line.to_owned()) };
        let words = group.split(' ').map(|word| new(word).unwrap_or_else(|| word.to_owned()));
        Some(format!("a=ssrc-group:{}", words.collect::<Vec<_>>().join(" ")))
    })
}

/// Whether this can be an ICE ufrag or password of anybody.
pub fn is_ice_credential(text: &str) -> bool {
    // RFC 8839 §5.4: ice-char = ALPHA / DIGIT / "+" / "/", 256 at most. Some clients use more; what would end a ufrag in
    // USERNAME, or a line in SDP, cannot be taken.
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// The value of the first line that starts with `prefix`.
pub fn first<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim)
}

/// The ICE half of our description as a fragment (RFC 8840 §9): credentials and candidates.
pub fn ice_fragment(sdp: &str) -> String {
    let mut fragment = String::new();
    let mut push = |line: &str| {
        fragment.push_str(line);
        fragment.push_str("\r\n");
    };
    push("a=ice-lite");
    for prefix in ["a=ice-ufrag:", "a=ice-pwd:"] {
        if let Some(value) = first(sdp, prefix) {
            push(&format!("{prefix}{value}"));
        }
    }
    // The section that the bundle begins with stands for all (RFC 8840 §4.4.3).
    if let Some(section) = split_sections(sdp).into_iter().skip(1).find(|section| !is_rejected(section)) {
        push(section.lines().next().unwrap_or_default());
        if let Some(mid) = first(section, "a=mid:") {
            push(&format!("a=mid:{mid}"));
        }
        for candidate in section.lines().filter(|line| line.starts_with("a=candidate:")) {
            push(candidate);
        }
        push("a=end-of-candidates");
    }
    fragment
}

/// Replaces or leaves out lines; all end with CRLF afterwards.
pub(super) fn rewrite(sdp: &str, mut line: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(sdp.len() + 64);
    for kept in sdp.lines().filter(|l| !l.is_empty()).filter_map(&mut line) {
        out.push_str(&kept);
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\na=ice-ufrag:aaaa\r\na=ice-pwd:bbbb\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtpmap:63 red/48000/2\r\na=sendonly\r\na=msid:x t1\r\na=ssrc:5 cname:zz\r\na=ssrc:5 msid:x t1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=ice-ufrag:aaaa\r\na=ice-pwd:bbbb\r\na=candidate:1 1 udp 1 1.1.1.1 9 typ host\r\n\
        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=rid:h send\r\na=simulcast:send h\r\na=recvonly\r\n";

    #[test]
    fn sections_tell_kind_mid_codecs_and_direction() {
        let sections = sections(OFFER);
        assert_eq!(sections.len(), 2);
        assert_eq!((sections[0].kind, sections[0].mid, sections[0].direction), ("audio", Some("0"), "sendonly"));
        assert_eq!(sections[0].codecs, ["opus"]);
        assert_eq!((sections[1].codecs.as_slice(), sections[1].direction), (&["VP8"][..], "recvonly"));
        assert_eq!(offered_codecs(OFFER, "video"), ["VP8"]);
    }

    #[test]
    fn changes_touch_only_their_lines() {
        let plain = with_encodings(OFFER, 1);
        assert!(!plain.contains("simulcast") && !plain.contains("a=rid"));
        assert_eq!(plain.lines().count(), OFFER.lines().count() - 2);

        let restarted = with_ice_credentials(OFFER, "new", "secret");
        assert_eq!(restarted.matches("a=ice-ufrag:new\r\n").count(), 2);
        assert_eq!(restarted.matches("a=ice-pwd:secret\r\n").count(), 2);
        assert!(!restarted.contains("aaaa") && !restarted.contains("a=candidate"));

        let grouped = with_one_stream(OFFER, "live");
        assert!(grouped.contains("a=msid:live t1\r\n") && grouped.contains("a=ssrc:5 msid:live t1\r\n"));
        assert!(grouped.contains("a=ssrc:5 cname:nowcast\r\n"));
    }

    #[test]
    fn an_answer_lists_payload_types_in_the_order_of_the_offer() {
        let answer = "v=0\r\nm=audio 9 X 111\r\nm=video 9 X 97 102 96\r\na=mid:1\r\n";
        let offer = "v=0\r\nm=audio 9 X 63 111\r\nm=video 9 X 102 103 96 97\r\n";
        let ordered = with_order_of(answer, offer);
        assert_eq!(ordered, "v=0\r\nm=audio 9 X 111\r\nm=video 9 X 102 96 97\r\na=mid:1\r\n");
    }

    #[test]
    fn opus_is_answered_with_the_parameters_of_the_offer() {
        let answer = "v=0\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 minptime=10\r\na=fmtp:97 apt=1\r\n";
        let answered = |fmtp: &str| {
            let offer = format!("v=0\r\na=rtpmap:111 OPUS/48000/2\r\na=fmtp:111 {fmtp}\r\n");
            with_opus_of(answer, &offer).lines().nth(2).map(str::to_owned).unwrap_or_default()
        };
        assert_eq!(answered("stereo=1;usedtx=1"), "a=fmtp:96 stereo=1;usedtx=1");
        assert_eq!(answered("useinbandfec=1;sprop-stereo=1"), "a=fmtp:96 useinbandfec=1;sprop-stereo=1;stereo=1");
        assert_eq!(with_opus_of(answer, "v=0\r\n"), answer);
    }

    #[test]
    fn an_extension_is_renamed_in_its_own_lines_only() {
        let sdp = "v=0\r\na=extmap:3 urn:a\r\na=extmap:4/recvonly urn:ab\r\na=note:3 urn:a\r\n";
        let renamed = with_extension_renamed(sdp, "urn:a", "urn:z");
        assert_eq!(renamed, "v=0\r\na=extmap:3 urn:z\r\na=extmap:4/recvonly urn:ab\r\na=note:3 urn:a\r\n");
    }

    #[test]
    fn ssrcs_and_mids_are_renamed_where_they_are_named() {
        let sdp = "v=0\r\na=group:BUNDLE a b\r\na=mid:a\r\na=x:a\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:5\r\na=ssrc:6 cname:5\r\na=ssrc:7 cname:5\r\n";
        let other = "v=0\r\na=group:BUNDLE 0 b\r\na=mid:0\r\na=x:a\r\na=ssrc-group:FID 50 60\r\na=ssrc:50 cname:5\r\na=ssrc:60 cname:5\r\na=ssrc:7 cname:5\r\n";
        assert_eq!(renamed(sdp, &[(5, 50), (6, 60)], &[("a", "0")]), other);
    }

    #[test]
    fn ice_credentials_are_of_one_word() {
        assert!(is_ice_credential("abcd") && is_ice_credential("0123456789012345678901+/"));
        for bad in ["", "a b", "a:b", "a\r\nb", &"x".repeat(257)] {
            assert!(!is_ice_credential(bad), "{bad:?}");
        }
    }

    #[test]
    fn candidates_are_of_the_credentials_beside_them() {
        let old = "v=0\r\nm=audio 9 X 0\r\na=ice-ufrag:old\r\na=ice-pwd:p\r\n\
            a=candidate:1 1 udp 1 1.1.1.1 9 typ host ufrag else generation 0\r\na=candidate:2 1 udp 1 1.1.1.1 9 typ host\r\n";
        let fragment = ice_fragment(&with_our_credentials(old, "new", "secret"));
        assert!(fragment.contains("typ host ufrag new generation 0\r\n"), "{fragment}");
        assert!(fragment.contains("a=candidate:2 1 udp 1 1.1.1.1 9 typ host\r\n"), "{fragment}");
        assert!(!fragment.contains("else") && !fragment.contains("old"));
    }

    #[test]
    fn what_breaks_a_limit_or_is_no_sdp_is_refused_in_words() {
        let check_says = |sdp: &str, words: &str| {
            let said = check(sdp).expect_err(words);
            assert!(said.contains(words), "{said}");
        };
        assert!(check(OFFER).is_ok());
        check_says("hello", "v=0");
        check_says("v=0\r\ns=-\r\n", "no m= line");
        check_says("v=0\r\nnonsense\r\n", "line 2 is not of the form");
        check_says(&format!("v=0\r\na={}\r\n", "x".repeat(5_000)), "longer than");
        check_says(&format!("v=0\r\n{}", "a=x\r\n".repeat(2_001)), "more than 2000 lines");
        check_says(&format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(65)), "more than 64 m=");
        check_says(&format!("v=0\r\na={}", "x".repeat(70_000)), "at most 65536");
    }
}
