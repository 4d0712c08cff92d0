//! Which parts of an SDP text are read and changed without interpreting all of it?
//!
//! str0m does the negotiation. Information that it does not return (the codecs of an offer that the
//! server lacks), and parts that it would write differently (simulcast, stream ids), are read and
//! changed here line by line, after checking limits of the text (threat T15).

use super::description::bounded;

/// Limits of an SDP from the network.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most lines.
pub const MAX_LINES: usize = 2_000;
/// The longest line.
pub const MAX_LINE_BYTES: usize = 4 * 1024;
/// The most m-lines.
pub const MAX_MEDIA: usize = 64;

/// Checks the limits, and that the text has the form of SDP.
///
/// # Errors
///
/// Names the fault, in words for the sender.
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
            return Err(format!("line {} ({}) is not of the form x=…", n + 1, bounded(line)));
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(format!("line {} ({}) has a control character", n + 1, bounded(line)));
        }
    }
    match media {
        0 => Err("it has no m= line".to_owned()),
        1..=MAX_MEDIA => Ok(()),
        _ => Err(format!("it has more than {MAX_MEDIA} m= lines")),
    }
}

/// The examined parts of an m-section.
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

/// Returns the offered codecs of a kind, each once.
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

/// Returns the session part, and then each m-section.
pub(super) fn split_sections(sdp: &str) -> Vec<&str> {
    let starts = sdp.match_indices("\nm=").map(|(at, _)| at + 1);
    let bounds: Vec<usize> = std::iter::once(0).chain(starts).chain([sdp.len()]).collect();
    bounds.windows(2).map(|pair| &sdp[pair[0]..pair[1]]).collect()
}

/// Returns `true` if a section of [`split_sections`] has port 0 (RFC 3264 §6).
pub(super) fn is_rejected(section: &str) -> bool {
    section.starts_with("m=") && section.split_ascii_whitespace().nth(1) == Some("0")
}

/// Replaces the ICE credentials of every section, and drops the candidates that belonged to the old
/// ones (an ICE restart in the form of a whole description).
pub fn with_ice_credentials(sdp: &str, ufrag: &str, password: &str) -> String {
    rewrite(&with_our_credentials(sdp, ufrag, password), |line| {
        (!line.starts_with("a=candidate:")).then(|| line.to_owned())
    })
}

/// Replaces the ICE credentials of every section, and the ufrag in candidates, because a browser
/// drops candidates of another ufrag than its section's. Changes nothing else.
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

/// Puts all tracks of the server's description into one stream and under one CNAME, so that a
/// receiver plays them in sync.
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

/// Replaces SSRCs and names of m-lines: pairs of old and new.
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

/// The form of ICE credentials, for errors.
pub const ICE_CREDENTIALS: &str =
    "ice-ufrag has 4 to 256 and ice-pwd 22 to 256 letters, digits, '+' and '/' (RFC 8839 §5.4)";

/// Returns `true` for an ICE ufrag (RFC 8839 §5.4).
pub fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// Returns `true` for an ICE password (RFC 8839 §5.4).
pub fn is_password(text: &str) -> bool {
    (22..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Returns the rest of the first line that starts with `prefix`.
pub fn first<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim)
}

/// Returns the ICE part of the server's description as a fragment (RFC 8840 §9): credentials and
/// candidates.
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
    // The first section of the bundle stands for all (RFC 8840 §4.4.3).
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

/// Replaces or removes lines; all lines end with CRLF afterwards.
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
        let restarted = with_ice_credentials(OFFER, "new", "secret");
        assert_eq!(restarted.matches("a=ice-ufrag:new\r\n").count(), 2);
        assert_eq!(restarted.matches("a=ice-pwd:secret\r\n").count(), 2);
        assert!(!restarted.contains("aaaa") && !restarted.contains("a=candidate"));

        let grouped = with_one_stream(OFFER, "live");
        assert!(grouped.contains("a=msid:live t1\r\n") && grouped.contains("a=ssrc:5 msid:live t1\r\n"));
        assert!(grouped.contains("a=ssrc:5 cname:nowcast\r\n"));
    }

    #[test]
    fn ssrcs_and_mids_are_renamed_where_they_are_named() {
        let sdp = "v=0\r\na=group:BUNDLE a b\r\na=mid:a\r\na=x:a\r\na=ssrc-group:FID 5 6\r\na=ssrc:5 cname:5\r\na=ssrc:6 cname:5\r\na=ssrc:7 cname:5\r\n";
        let other = "v=0\r\na=group:BUNDLE 0 b\r\na=mid:0\r\na=x:a\r\na=ssrc-group:FID 50 60\r\na=ssrc:50 cname:5\r\na=ssrc:60 cname:5\r\na=ssrc:7 cname:5\r\n";
        assert_eq!(renamed(sdp, &[(5, 50), (6, 60)], &[("a", "0")]), other);
    }

    #[test]
    fn ice_credentials_are_those_of_the_rfc() {
        assert!(is_ufrag("abcd") && is_ufrag(&"x".repeat(256)) && is_password("0123456789012345678901+/"));
        for bad in ["", "abc", "ab cd", "ab:cd", "ab-cd", "ab\r\ncd", &"x".repeat(257)] {
            assert!(!is_ufrag(bad) && !is_password(bad), "{bad:?}");
        }
        assert!(!is_password("012345678901234567890"), "21 characters");
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
    fn text_that_breaks_a_limit_or_is_no_sdp_is_refused_in_words() {
        let check_says = |sdp: &str, words: &str| {
            let said = check(sdp).expect_err(words);
            assert!(said.contains(words), "{said}");
        };
        assert!(check(OFFER).is_ok());
        check_says("hello", "v=0");
        check_says("v=0\r\ns=-\r\n", "no m= line");
        check_says("v=0\r\nnonsense\r\n", "line 2 (nonsense) is not of the form");
        check_says("v=0\r\na=x\ry\r\n", "line 2 (a=x?y) has a control character");
        check_says(&format!("v=0\r\na={}\r\n", "x".repeat(5_000)), "longer than");
        check_says(&format!("v=0\r\n{}", "a=x\r\n".repeat(2_001)), "more than 2000 lines");
        check_says(&format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(65)), "more than 64 m=");
        check_says(&format!("v=0\r\na={}", "x".repeat(70_000)), "at most 65536");
    }
}
