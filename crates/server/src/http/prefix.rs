//! Below which path do clients see this server?
//!
//! A reverse proxy may show the server below a path such as `/live`. Two sources say so: the option
//! `http.base_path`, and `X-Forwarded-Prefix` of a trusted proxy, which wins because it belongs to
//! the request. Every address in an answer (`Location`, `Link`, pages, the API's description)
//! begins with the prefix.
//!
//! A prefix goes into headers and pages, so it consists of unreserved characters only (RFC 3986
//! §2.3) and never begins with `//`, which a browser would take for another host.

use hyper::HeaderMap;

use super::table::address::NoRoute;

/// Longest prefix, whole. A guess: real ones have one or two segments.
const PREFIX_BYTES: usize = 200;

/// The header in which proxies (Traefik, nginx by `proxy_set_header`) say what they took off the
/// path.
const FORWARDED_PREFIX: &str = "x-forwarded-prefix";

/// A path below which the server is seen: empty, or like `/live` or `/a/b`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text is no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// It is a relative path, or an URL.
    #[error("does not begin with “/”")]
    NoSlash,
    /// Two slashes follow one another.
    #[error("has an empty segment (“//”)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("has the segment “.” or “..”")]
    Dots,
    /// Something else than letters, digits, `-`, `.`, `_` and `~`.
    #[error("has a character that is not a letter, a digit, “-”, “.”, “_” or “~”")]
    IllegalCharacter,
    /// Longer than [`PREFIX_BYTES`].
    #[error("is longer than {PREFIX_BYTES} bytes")]
    TooLong,
}

impl Prefix {
    /// Reads a prefix; a slash at its end is left out, so `/` and nothing are the same.
    pub fn parse(text: &str) -> Result<Self, BadPrefix> {
        if text.len() > PREFIX_BYTES {
            return Err(BadPrefix::TooLong);
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::default());
        }
        let segments = text.strip_prefix('/').ok_or(BadPrefix::NoSlash)?;
        for segment in segments.split('/') {
            match segment {
                "" => return Err(BadPrefix::EmptySegment),
                "." | ".." => return Err(BadPrefix::Dots),
                _ if segment.bytes().all(is_unreserved) => {}
                _ => return Err(BadPrefix::IllegalCharacter),
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the prefix that a trusted proxy forwards. Several headers, or several values in one,
    /// are those of several proxies, the outermost first. `None` where there is no prefix, or one
    /// that cannot be used.
    pub fn forwarded(headers: &HeaderMap) -> Option<Self> {
        let mut whole = Self::default();
        for value in headers.get_all(FORWARDED_PREFIX) {
            for part in value.to_str().ok()?.split(',') {
                whole.0.push_str(&Self::parse(part.trim()).ok()?.0);
                if whole.0.len() > PREFIX_BYTES {
                    return None;
                }
            }
        }
        (!whole.0.is_empty()).then_some(whole)
    }

    /// The prefix, empty or without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the prefix off a path; `None` where the path does not begin with it.
    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        match path.strip_prefix(self.0.as_str())? {
            "" => Some("/"),
            rest if rest.starts_with('/') => Some(rest),
            _ => None,
        }
    }
}

/// Finds what a request's path names, and the prefix that answers begin with. `find` finds what a
/// path names without any prefix.
///
/// A proxy may strip the prefix or leave it in the path. `http.base_path` is taken off where the
/// path has it: with it and without it a path names the same. A forwarded prefix says what the
/// proxy took away already, so it is taken off only where the path names nothing otherwise.
pub(super) fn place<T>(
    base: &Prefix,
    forwarded: Option<Prefix>,
    path: &str,
    find: impl Fn(&str) -> Result<T, NoRoute>,
) -> (Result<T, NoRoute>, Prefix) {
    let (first, second, prefix) = match forwarded {
        Some(forwarded) => (Some(path), forwarded.strip(path), forwarded),
        None => (base.strip(path), Some(path), base.clone()),
    };
    let mut found = Err(NoRoute::NotFound);
    for path in [first, second].into_iter().flatten() {
        found = match (find(path), found) {
            (Ok(place), _) => return (Ok(place), prefix),
            // The rule that a name breaks says more than that there is nothing.
            (Err(_), known @ Err(NoRoute::IllegalName { .. })) => known,
            (error, _) => error,
        };
    }
    (found, prefix)
}

/// Returns what leads from a page or a document to the server's root: the prefix, or where none is
/// known the relative path, which is right below any prefix that a proxy strips in silence. `path`
/// is the request's own.
pub(super) fn root(prefix: &Prefix, path: &str) -> String {
    if !prefix.0.is_empty() {
        return prefix.0.clone();
    }
    match path.trim_start_matches('/').matches('/').count() {
        0 => ".".to_owned(),
        depth => vec![".."; depth].join("/"),
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::resources;

    #[test]
    fn a_prefix_is_a_plain_absolute_path_and_nothing_else() {
        let check = |text: &str, expected: Result<&str, BadPrefix>| {
            let found = Prefix::parse(text);
            assert_eq!(found.as_ref().map(Prefix::as_str).map_err(|error| *error), expected, "{text:?}");
        };
        check("", Ok(""));
        check("/", Ok(""));
        check("/live", Ok("/live"));
        check("/live/", Ok("/live"));
        check("/a/b-c_d.e~f", Ok("/a/b-c_d.e~f"));
        check("live", Err(BadPrefix::NoSlash));
        check("https://evil.example", Err(BadPrefix::NoSlash));
        check("//", Err(BadPrefix::EmptySegment));
        check("//evil.example", Err(BadPrefix::EmptySegment));
        check("/live//x", Err(BadPrefix::EmptySegment));
        check("/live//", Err(BadPrefix::EmptySegment));
        check("/../x", Err(BadPrefix::Dots));
        check("/x/.", Err(BadPrefix::Dots));
        for text in
            ["/a b", "/a\r\nb: c", "/a\0", "/\\evil", "/a%2f", "/ä", "/a?b", "/a#b", "/<b>", "/\"", "/a;b", "/@"]
        {
            check(text, Err(BadPrefix::IllegalCharacter));
        }
        check(&format!("/{}", "x".repeat(PREFIX_BYTES)), Err(BadPrefix::TooLong));
    }

    #[test]
    fn forwarded_prefixes_follow_one_another_and_bad_ones_are_none() {
        let check = |values: &[&str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED_PREFIX, value.parse().unwrap());
            }
            assert_eq!(Prefix::forwarded(&headers).as_ref().map(Prefix::as_str), expected, "{values:?}");
        };
        check(&[], None);
        check(&[""], None);
        check(&["/"], None);
        check(&["/live"], Some("/live"));
        check(&["/live/"], Some("/live"));
        check(&["/a, /b"], Some("/a/b"));
        check(&["/a", "/b"], Some("/a/b"));
        check(&["//evil.example"], None);
        check(&["/a, //evil.example"], None);
        check(&["https://evil.example/"], None);
        let long = format!("/{}", "x".repeat(150));
        check(&[&long, &long], None);
    }

    #[test]
    fn paths_name_the_same_with_the_base_path_and_without_it() {
        let check = |base: &str, forwarded: Option<&str>, path: &str, stream: Option<&str>| {
            let forwarded = forwarded.map(|text| Prefix::parse(text).unwrap());
            let base_path = Prefix::parse(base).unwrap();
            let find = |path: &str| resources::name(path, None);
            let (found, prefix) = place(&base_path, forwarded.clone(), path, find);
            assert_eq!(prefix, forwarded.unwrap_or(base_path));
            let named = found.ok().and_then(|(_, stream)| stream.map(|name| name.as_str().to_owned()));
            assert_eq!(named.as_deref(), stream, "{base} {path}");
        };
        check("", None, "/whip/demo", Some("demo"));
        check("", None, "/live/whip/demo", None);
        check("/live", None, "/whip/demo", Some("demo"));
        check("/live", None, "/live/whip/demo", Some("demo"));
        check("/live", None, "/live/demo/whip", Some("demo"));
        check("/live", None, "/alive/whip/demo", None);
        check("/live", None, "/livewhip/demo", None);
        check("/live", None, "/whip/live/demo", Some("live/demo"));
        check("/whip", None, "/whip/whip/demo", Some("demo"));
        check("/whip", None, "/whip/demo", Some("demo"));
        check("", Some("/live"), "/whip/demo", Some("demo"));
        check("", Some("/live"), "/live/whip/demo", Some("demo"));
        check("", Some("/live"), "/live/whip", Some("live"));
        check("/other", Some("/live"), "/whip/demo", Some("demo"));
    }

    #[test]
    fn the_home_page_and_rules_of_names_are_found_below_the_base_path() {
        let base = Prefix::parse("/live").unwrap();
        let find = |path: &str| place(&base, None, path, |path| resources::name(path, None)).0;
        for path in ["/", "/live", "/live/"] {
            assert_eq!(find(path), Ok(("/".into(), None)), "{path}");
        }
        assert!(matches!(find("/live/whip/a.b"), Err(NoRoute::IllegalName { .. })));
        assert_eq!(find("/live/whip"), Ok(("/whip/{stream}".into(), None)));
        assert_eq!(find("/live/nothing"), Err(NoRoute::NotFound));
        let named = Some(media::StreamName::parse("x").unwrap());
        assert_eq!(find("/whip/x"), Ok(("/whip/{stream}".into(), named)));
    }

    #[test]
    fn a_page_finds_the_root_by_the_prefix_or_by_its_own_depth() {
        let check = |prefix: &str, path: &str, expected: &str| {
            assert_eq!(root(&Prefix::parse(prefix).unwrap(), path), expected, "{path}");
        };
        check("/live", "/watch/a/b", "/live");
        check("", "/", ".");
        check("", "/watch/a", "..");
        check("", "/watch/a/b", "../..");
        check("", "/watch/a/", "../..");
        check("", "//watch/a", "..");
        check("", "/api/openapi.json", "..");
    }
}
