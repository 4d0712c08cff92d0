//! Which ICE generation does a `PATCH` mean?

use hyper::header;
use hyper::{HeaderMap, StatusCode};

use crate::http::problem::Problem;

/// The condition of a `PATCH` (RFC 9110 §13.1.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IfMatch {
    /// Unquoted tags, or `*`; at least one.
    tags: Vec<String>,
}

/// What servers that compress append to the tags of others: Apache (`DeflateAlterETag`), Jetty.
const CODING_SUFFIXES: [&str; 8] = ["--gzip", "-gzip", "-deflate", "-br", "-zstd", ";gzip", ";br", ";zstd"];

impl IfMatch {
    /// Reads the condition. 428 if there is none, 412 if it names no tag.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        let mut present = false;
        for value in headers.get_all(header::IF_MATCH) {
            present = true;
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                // RFC 9725 §4.3.3 shows the star in quotes, RFC 9110 without.
                if tag == "*" || tag == "\"*\"" {
                    return Ok(Self { tags: vec!["*".into()] });
                }
                // RFC 9110 §8.8.3.2: a weak tag never matches here. Ours names an ICE session (RFC
                // 9725 §4.3.1) and no bytes, so it means the same after a proxy that compresses has
                // weakened it or added to it.
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                if let Some(tag) = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
                    let plain = CODING_SUFFIXES.iter().find_map(|suffix| tag.strip_suffix(suffix));
                    tags.push(plain.unwrap_or(tag).to_owned());
                }
            }
        }
        if !present {
            // RFC 9725 §4.3.1, RFC 6585 §3.
            let fix = "send “If-Match” with the ETag of the 201 (or of the last restart), or “*” to restart ICE";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "the request has no If-Match", fix));
        }
        if tags.is_empty() {
            let fix = "send “If-Match” with the ETag exactly as it was received, in quotes";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "If-Match names no entity tag", fix));
        }
        Ok(Self { tags })
    }

    /// Returns the first tag, or `*`.
    pub(super) fn first(&self) -> &str {
        self.tags.first().map_or("*", String::as_str)
    }

    /// Whether the condition lists a tag.
    pub(super) fn names(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_read_as_rfc_9110_writes_it() {
        let check = |values: &[&str], expected: Result<&[&str], u16>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_MATCH, value.parse().unwrap());
            }
            let found = IfMatch::of(&headers).map_err(|problem| problem.into_reply().status().as_u16());
            let expected = expected.map(|tags| IfMatch { tags: tags.iter().map(ToString::to_string).collect() });
            assert_eq!(found, expected, "{values:?}");
        };
        check(&["\"a\""], Ok(&["a"]));
        check(&["\"a\", \"b\""], Ok(&["a", "b"]));
        check(&["\"a\"", "\"b\""], Ok(&["a", "b"]));
        check(&["*"], Ok(&["*"]));
        check(&["\"*\""], Ok(&["*"]));
        check(&["W/\"a\", \"b\""], Ok(&["a", "b"]));
        check(&["W/\"a\""], Ok(&["a"]));
        check(&["\"a-gzip\""], Ok(&["a"]));
        check(&["W/\"a--gzip\""], Ok(&["a"]));
        check(&["\"a;br\""], Ok(&["a"]));
        check(&["W/a"], Err(412));
        check(&["a"], Err(412));
        check(&[""], Err(412));
        check(&[], Err(428));
    }
}
