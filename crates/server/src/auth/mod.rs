//! Who may do what?
//!
//! A request carries an access token (`Authorization: Bearer`, an HS256 JWT in LiveKit's claim layout)
//! or nothing. [`Authority`] turns either into [`Grants`], the only thing that handlers ask.
//!
//! What must always hold: a token is believed only after its signature has been checked with the one key
//! that its issuer names; nothing about a token is ever logged; a wrong key and an unknown key get the same answer.

mod grants;
mod secret;
mod token;

use std::collections::BTreeMap;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

pub use grants::Grants;
pub use secret::Secret;
pub use token::{Claims, LONGEST_LIFE_SECONDS, TokenError, VideoGrant, sign};

use token::verify;

/// What may be done without a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anonymous {
    /// Anyone may watch any stream.
    pub watch: bool,
    /// Anyone may publish any stream.
    pub publish: bool,
}

/// Decides what the bearer of a request may do.
pub struct Authority {
    keys: BTreeMap<String, Secret<String>>,
    anonymous: Anonymous,
}

impl Authority {
    /// Creates an authority that believes tokens signed with `keys`.
    pub fn new(keys: BTreeMap<String, Secret<String>>, anonymous: Anonymous) -> Self {
        Self { keys, anonymous }
    }

    /// Returns what the sender of these headers may do, `now` being seconds since the Unix epoch.
    ///
    /// No token means what anonymous users may do. A token never takes away what anonymous users may do, but a wrong
    /// one is an error even where none is needed: whoever sends one should learn that it is wrong.
    pub fn grants(&self, headers: &HeaderMap, now: u64) -> Result<Grants, TokenError> {
        match bearer(headers)? {
            None => Ok(Grants::anonymous(self.anonymous)),
            Some(token) => Ok(Grants::of(verify(token, &self.keys, now)?, self.anonymous)),
        }
    }
}

/// Returns the bearer token of a request. RFC 6750 §2.1; the scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TokenError::NotBearer);
    }
    let value = value.to_str().map_err(|_| TokenError::NotBearer)?.trim();
    if value.is_empty() || value.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(TokenError::NotBearer),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_bearer_scheme_is_read_in_any_case_and_others_are_refused() {
        let check = |value: &'static str, expected: Result<Option<&str>, ()>| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers).map_err(|_| ()), expected, "{value}");
        };
        check("Bearer abc", Ok(Some("abc")));
        check("bearer  abc ", Ok(Some("abc")));
        check("BEARER abc", Ok(Some("abc")));
        check("Bearer", Ok(None));
        check("Bearer ", Ok(None));
        check("", Ok(None));
        check("Basic abc", Err(()));
        check("abc", Err(()));
        assert!(bearer(&HeaderMap::new()).unwrap().is_none());
    }
}
