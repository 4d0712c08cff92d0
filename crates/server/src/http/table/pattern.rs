//! Does a path have the form of a template?
//!
//! Stream names contain slashes, so `{stream}` stands for one or more segments, and a template is
//! matched from both of its ends. Below `/whip/` and `/whep/`, a segment of 32 hexadecimal digits
//! (lower case, as the server writes them) behind a stream name is a session. `POST` to such an
//! address that is no session is meant for the stream ([`crate::http::resources`]).

use media::SessionId;

/// A template that has variables. Paths are compared with it without slashes at their ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What precedes the first variable, with its slash.
    pub(super) head: String,
    /// What follows the first variable.
    pub(super) tail: Vec<Part>,
}

/// A segment behind the first variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The segment is this text.
    Literal(String),
    /// The segment is a session's id.
    Session,
    /// The segment is a decimal number.
    Number,
}

/// What a path has in the places of a pattern's variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// The first variable, percent-encoded as in the path.
    pub(super) first: &'a str,
    pub(super) session: Option<SessionId>,
    pub(super) number: Option<u64>,
}

impl Pattern {
    /// Reads a template; `None` where it has no variable.
    ///
    /// The first variable is a stream's name or a file's path, `{session}` is a session's id, and
    /// any other variable is a number.
    pub(super) fn of(template: &str) -> Option<Self> {
        let (head, rest) = template.trim_start_matches('/').split_once('{')?;
        let (_, tail) = rest.split_once('}')?;
        let part = |segment: &str| match segment {
            "{session}" => Part::Session,
            variable if variable.starts_with('{') => Part::Number,
            literal => Part::Literal(literal.to_owned()),
        };
        let tail = tail.split('/').filter(|segment| !segment.is_empty()).map(part).collect();
        Some(Self { head: head.to_owned(), tail })
    }

    /// Compares a path, which has no slashes at its ends.
    pub(super) fn find<'a>(&self, path: &'a str) -> Option<Found<'a>> {
        let mut found = Found { first: path.strip_prefix(self.head.as_str())?, session: None, number: None };
        for part in self.tail.iter().rev() {
            let (before, segment) = found.first.rsplit_once('/')?;
            match part {
                Part::Literal(text) if segment == text => {}
                Part::Literal(_) => return None,
                Part::Session => found.session = Some(session(segment)?),
                Part::Number => found.number = Some(segment.parse().ok()?),
            }
            found.first = before;
        }
        Some(found)
    }
}

/// Reads a session's id. In upper case the digits are a part of a stream's name.
fn session(segment: &str) -> Option<SessionId> {
    SessionId::parse(segment).filter(|_| !segment.contains(|digit: char| digit.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_template_is_read_into_its_head_and_its_tail() {
        let check = |template: &str, head: &str, tail: Vec<Part>| {
            let expected = Pattern { head: head.into(), tail };
            assert_eq!(Pattern::of(template), Some(expected), "{template}");
        };
        let literal = |text: &str| Part::Literal(text.into());
        check("/whip/{stream}", "whip/", vec![]);
        check("/{stream}/whip", "", vec![literal("whip")]);
        let subscription = vec![Part::Session, literal("sse"), Part::Number];
        check("/whip/{stream}/{session}/sse/{subscription}", "whip/", subscription);
        assert_eq!(Pattern::of("/metrics"), None);
    }

    #[test]
    fn a_path_matches_when_each_segment_of_the_tail_has_its_form() {
        let pattern = Pattern::of("/whip/{stream}/{session}/sse/{subscription}").unwrap();
        let session = SessionId::parse(ID);
        let found = |first| Some(Found { first, session, number: Some(7) });
        assert_eq!(pattern.find(&format!("whip/a/b/{ID}/sse/7")), found("a/b"));
        assert_eq!(pattern.find(&format!("whip/a%2Fb/{ID}/sse/7")), found("a%2Fb"));
        let upper = ID.to_uppercase();
        for path in [
            format!("whep/a/{ID}/sse/7"),
            format!("whip/a/{ID}/sse/x"),
            format!("whip/a/{ID}/ssf/7"),
            format!("whip/{ID}/sse/7"),
            format!("whip/a/{upper}/sse/7"),
            "whip/sse/7".into(),
            String::new(),
        ] {
            assert_eq!(pattern.find(&path), None, "{path}");
        }
    }
}
