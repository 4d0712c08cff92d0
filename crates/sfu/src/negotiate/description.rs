//! A session description as the peer wrote it: its session part and its media sections, with line
//! numbers.
//!
//! Only the parts that decide the treatment of a section are interpreted (kind, port, mid,
//! direction, BUNDLE). Every error names the line and the remedy.

use super::Unusable;

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    /// `x=…`
    pub text: &'a str,
}

/// RFC 8866 §6.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    fn parse(text: &str) -> Option<Direction> {
        Some(match text {
            "a=sendrecv" => Direction::SendRecv,
            "a=sendonly" => Direction::SendOnly,
            "a=recvonly" => Direction::RecvOnly,
            "a=inactive" => Direction::Inactive,
            _ => return None,
        })
    }

    /// Returns `true` if the peer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Returns `true` if the peer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// A media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section<'a> {
    /// The m= line.
    pub media: Line<'a>,
    /// `audio`, `video`, `application` or another kind.
    pub kind: &'a str,
    /// For example `UDP/TLS/RTP/SAVPF`.
    pub protocol: &'a str,
    /// The words after the protocol: payload types.
    pub formats: &'a str,
    /// `a=mid`, if there is one.
    pub mid: Option<&'a str>,
    /// The section's own, else the session's, else sendrecv (RFC 8866 §6.7).
    pub direction: Direction,
    /// The port is 0, and the section is not part of the BUNDLE group (RFC 9143 §6).
    pub is_rejected: bool,
    /// The lines after the m= line.
    pub lines: Vec<Line<'a>>,
}

impl<'a> Section<'a> {
    /// Returns the values of `a=NAME:…` lines, with their lines.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = (Line<'a>, &'a str)> + '_ {
        values(&self.lines, name)
    }

    /// Returns `true` if the section has the line `a=NAME`.
    pub fn has_flag(&self, name: &str) -> bool {
        self.lines.iter().any(|line| line.text.strip_prefix("a=") == Some(name))
    }

    /// Returns the section's name for errors: `section video (mid 1, line 22)`.
    pub fn in_words(&self) -> String {
        let kind = bounded(self.kind);
        match self.mid {
            Some(mid) => format!("section {kind} (mid {}, line {})", bounded(mid), self.media.number),
            None => format!("section {kind} (line {})", self.media.number),
        }
    }
}

/// A whole description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description<'a> {
    /// The lines before the first m= line.
    pub session: Vec<Line<'a>>,
    /// The sections in the order of the description.
    pub sections: Vec<Section<'a>>,
    /// The mids of the BUNDLE group, in its order; `None` without such a group.
    pub bundle: Option<Vec<&'a str>>,
}

impl<'a> Description<'a> {
    /// Reads a text that has passed [`super::text::check`].
    ///
    /// # Errors
    ///
    /// [`Unusable::Malformed`] with the line and the remedy.
    pub fn parse(sdp: &'a str) -> Result<Description<'a>, Unusable> {
        let mut session: Vec<Line<'a>> = Vec::new();
        let mut sections: Vec<Section<'a>> = Vec::new();
        for (index, text) in sdp.lines().enumerate() {
            let line = Line { number: index + 1, text: text.trim_end() };
            if line.text.is_empty() {
                continue;
            }
            if line.text.starts_with("m=") {
                sections.push(section(line)?);
            } else {
                sections.last_mut().map_or(&mut session, |section| &mut section.lines).push(line);
            }
        }
        let of_session = direction(&session)?;
        for section in &mut sections {
            section.direction = direction(&section.lines)?.or(of_session).unwrap_or(Direction::SendRecv);
            section.mid = mid(section)?;
        }
        let bundle = bundle(&session)?;
        for (n, section) in sections.iter().enumerate() {
            let Some(mid) = section.mid else { continue };
            if let Some(other) = sections[..n].iter().find(|other| other.mid == Some(mid)) {
                return malformed(format!(
                    "{} has the a=mid of {}; give each section a mid of its own",
                    section.in_words(),
                    other.in_words()
                ));
            }
        }
        for mid in bundle.iter().flatten() {
            if !sections.iter().any(|section| section.mid == Some(mid)) {
                return malformed(format!(
                    "a=group:BUNDLE names “{}”, and no section has this a=mid; name sections that exist",
                    bounded(mid)
                ));
            }
        }
        for section in &mut sections {
            let in_group = section.mid.is_some_and(|mid| bundle.as_ref().is_some_and(|group| group.contains(&mid)));
            section.is_rejected &= !in_group;
        }
        Ok(Description { session, sections, bundle })
    }

    /// Returns the section whose transport the bundled ones share (RFC 9143 §7.2: the first one of
    /// the group that is offered).
    pub fn tagged(&self) -> Option<&Section<'a>> {
        let of_group = self.bundle.iter().flatten().find_map(|mid| self.sections.iter().find(|s| s.mid == Some(mid)));
        of_group.or_else(|| self.sections.iter().find(|section| !section.is_rejected))
    }

    /// Returns the values of `a=NAME:…` of the tagged section, else of the session.
    pub fn of_transport(&self, name: &'static str) -> Vec<(Line<'a>, &'a str)> {
        let own: Vec<_> = self.tagged().map(|section| section.values(name).collect()).unwrap_or_default();
        if !own.is_empty() {
            return own;
        }
        let of_session: Vec<_> = values(&self.session, name).collect();
        if !of_session.is_empty() {
            return of_session;
        }
        // Some clients have it in one section only, which need not be the first.
        let offered = self.sections.iter().filter(|section| !section.is_rejected);
        offered
            .map(|section| section.values(name).collect::<Vec<_>>())
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }
}

/// Returns the values of `a=NAME:…` among `lines`.
pub(super) fn values<'a, 'l>(
    lines: &'l [Line<'a>],
    name: &'static str,
) -> impl Iterator<Item = (Line<'a>, &'a str)> + use<'a, 'l> {
    lines.iter().filter_map(move |line| {
        let value = line.text.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?;
        Some((*line, value.trim()))
    })
}

fn section(media: Line<'_>) -> Result<Section<'_>, Unusable> {
    let mut words = media.text.get(2..).unwrap_or_default().splitn(4, ' ');
    let (kind, port, protocol, formats) = (words.next(), words.next(), words.next(), words.next());
    let number = port.and_then(|port| port.split('/').next()).and_then(|port| port.parse::<u16>().ok());
    let (Some(kind), Some(number), Some(protocol)) = (kind.filter(|kind| !kind.is_empty()), number, protocol) else {
        return malformed(format!(
            "{}: an m= line is “m=<kind> <port> <protocol> <payload types>” (RFC 8866 §5.14)",
            of_line(media)
        ));
    };
    Ok(Section {
        media,
        kind,
        protocol,
        formats: formats.unwrap_or_default().trim(),
        mid: None,
        direction: Direction::SendRecv,
        is_rejected: number == 0,
        lines: Vec::new(),
    })
}

fn direction(lines: &[Line<'_>]) -> Result<Option<Direction>, Unusable> {
    let mut found = lines.iter().filter_map(|line| Some((line, Direction::parse(line.text)?)));
    let Some((_, first)) = found.next() else { return Ok(None) };
    match found.find(|(_, other)| *other != first) {
        Some((line, _)) => malformed(format!("{}: a second direction; leave one of them out", of_line(*line))),
        None => Ok(Some(first)),
    }
}

fn mid<'a>(section: &Section<'a>) -> Result<Option<&'a str>, Unusable> {
    let mut found = section.lines.iter().filter_map(|line| Some((*line, line.text.strip_prefix("a=mid:")?.trim())));
    let Some((line, mid)) = found.next() else { return Ok(None) };
    // RFC 5888 §4 and RFC 8866 §9: a token, so of printable ASCII without separators.
    let is_token = |byte: u8| byte.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&byte);
    if mid.is_empty() || !mid.bytes().all(is_token) {
        return malformed(format!("{}: a mid is one word, such as a=mid:0 (RFC 5888 §4)", of_line(line)));
    }
    match found.next() {
        Some((line, _)) => malformed(format!("{}: a second a=mid in one section; leave one out", of_line(line))),
        None => Ok(Some(mid)),
    }
}

fn bundle<'a>(session: &[Line<'a>]) -> Result<Option<Vec<&'a str>>, Unusable> {
    let mut groups = values(session, "group").filter_map(|(line, group)| {
        let mut words = group.split_ascii_whitespace();
        (words.next() == Some("BUNDLE")).then(|| (line, words.collect::<Vec<_>>()))
    });
    let first = groups.next().map(|(_, mids)| mids).filter(|mids| !mids.is_empty());
    match groups.find(|(_, mids)| !mids.is_empty()) {
        Some((line, _)) => malformed(format!(
            "{}: a second BUNDLE group; this server uses one transport: put all sections into one group",
            of_line(line)
        )),
        None => Ok(first),
    }
}

/// Returns the line's name for errors: `line 7 (a=mid:)`.
pub(super) fn of_line(line: Line<'_>) -> String {
    format!("line {} ({})", line.number, bounded(line.text))
}

/// Returns at most 60 characters of a peer's text for errors, and of these the visible ones.
pub(super) fn bounded(text: &str) -> String {
    let visible = |c: char| if c.is_control() || c == '\u{202e}' { '?' } else { c };
    let mut short: String = text.chars().take(60).map(visible).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

pub(super) fn malformed<T>(words: String) -> Result<T, Unusable> {
    Err(Unusable::Malformed(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[&str]) -> Result<Vec<(Direction, bool)>, String> {
        let sdp = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        let description = Description::parse(&sdp).map_err(|error| error.to_string())?;
        Ok(description.sections.iter().map(|s| (s.direction, s.is_rejected)).collect())
    }

    #[test]
    fn a_direction_is_inherited_and_absent_is_sendrecv() {
        use Direction::{Inactive, SendOnly, SendRecv};
        assert_eq!(parsed(&["m=audio 9 X 0"]), Ok(vec![(SendRecv, false)]));
        assert_eq!(
            parsed(&["a=sendonly", "m=audio 9 X 0", "m=video 9 X 0", "a=inactive"]),
            Ok(vec![(SendOnly, false), (Inactive, false)])
        );
    }

    #[test]
    fn port_0_is_rejected_unless_it_is_bundled() {
        let of = |port, group| parsed(&[group, &format!("m=audio {port} X 0"), "a=mid:a"]).unwrap()[0].1;
        assert!(of("0", "a=group:LS a") && !of("0", "a=group:BUNDLE a") && !of("9", "a=x"));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line() {
        for (lines, words) in [
            (&["m=audio"][..], "line 2 (m=audio): an m= line is"),
            (&["m=audio 99999 X 0"], "line 2 (m=audio 99999 X 0): an m= line is"),
            (&["m=audio 9 X 0", "a=sendonly", "a=recvonly"], "line 4 (a=recvonly): a second direction"),
            (&["m=audio 9 X 0", "a=mid:"], "line 3 (a=mid:): a mid is one word"),
            (&["m=audio 9 X 0", "a=mid:a b"], "line 3 (a=mid:a b): a mid is one word"),
            (&["m=audio 9 X 0", "a=mid:a", "a=mid:b"], "line 4 (a=mid:b): a second a=mid"),
            (
                &["m=audio 9 X 0", "a=mid:a", "m=video 9 X 0", "a=mid:a"],
                "section video (mid a, line 4) has the a=mid of",
            ),
            (&["a=group:BUNDLE a", "m=audio 9 X 0"], "names “a”, and no section"),
            (&["a=group:BUNDLE a", "a=group:BUNDLE b", "m=audio 9 X 0"], "line 3 (a=group:BUNDLE b): a second BUNDLE"),
        ] {
            let said = parsed(lines).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
    }
}
