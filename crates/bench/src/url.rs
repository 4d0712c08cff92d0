//! How is the URL of a resource parsed, and how is a reference in it resolved?
//!
//! As much of RFC 3986 as http and https need.

use std::fmt;

use anyhow::{Context, bail, ensure};

/// An http or https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_https: bool,
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query; begins with a slash.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Url> {
        let (scheme, rest) = text
            .split_once("://")
            .with_context(|| format!("{text} is no URL; it must begin with http:// or https://"))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => bail!("{text}: {scheme} is not understood; only http and https are"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        ensure!(!authority.contains('@'), "{text} has a name and a password in it; give a token instead");
        let (host, port) = match authority.strip_prefix('[').map(|six| six.split_once(']')) {
            Some(Some((host, port))) => (host, port.strip_prefix(':')),
            Some(None) => bail!("{text}: the bracket of the IPv6 address is not closed"),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        ensure!(!host.is_empty(), "{text} names no host");
        let port = match port {
            Some(port) => port.parse().with_context(|| format!("{text}: {port} is no port"))?,
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { is_https, host: host.to_owned(), port, path })
    }

    /// Returns what `reference` means in an answer from here (RFC 3986 §5.2).
    pub(crate) fn join(&self, reference: &str) -> anyhow::Result<Url> {
        if reference.contains("://") {
            return Url::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme()));
        }
        let own_path = self.path.split('?').next().unwrap_or_default();
        let path = match reference.chars().next() {
            None => self.path.clone(),
            Some('/') => without_dots(reference),
            Some('?') => format!("{own_path}{reference}"),
            Some(_) => {
                let directory = own_path.rfind('/').map_or("/", |at| &own_path[..=at]);
                without_dots(&format!("{directory}{reference}"))
            }
        };
        Ok(Url { path, ..self.clone() })
    }

    /// Returns what connections are made to: `host:port`, with brackets where they belong.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let last = path.split('/').count() - 1;
    for (n, part) in path.split('/').enumerate().skip(1) {
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if n == last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let check = |text: &str, expected: &str| assert_eq!(Url::parse(text).unwrap().to_string(), expected);
        check("http://host", "http://host:80/");
        check("https://host/a?b=c#d", "https://host:443/a?b=c");
        check("HTTP://[::1]:8889/x", "http://[::1]:8889/x");
        check("http://host:1?x", "http://host:1/?x");
        for (text, word) in [
            ("host:7880", "begin with"),
            ("ftp://host", "ftp"),
            ("http:///x", "no host"),
            ("http://host:port/", "no port"),
            ("http://me:secret@host/", "token"),
            ("http://[::1", "bracket"),
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn locations_are_relative_to_the_request() {
        let check = |reference: &str, expected: &str| {
            let base = Url::parse("http://host:80/live/whep?stream=a").unwrap();
            assert_eq!(base.join(reference).unwrap().to_string(), expected, "{reference}");
        };
        check("/session/1", "http://host:80/session/1");
        check("session/1?x=y", "http://host:80/live/session/1?x=y");
        check("../session/../1", "http://host:80/1");
        check("?id=1", "http://host:80/live/whep?id=1");
        check("", "http://host:80/live/whep?stream=a");
        check("//other/1", "http://other:80/1");
        check("https://other:8443/1", "https://other:8443/1");
        check("./", "http://host:80/live/");
        check("../../../1", "http://host:80/1");
    }
}
