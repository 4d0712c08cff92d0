//! Which rights does a request have?
//!
//! A request carries an access token (`Authorization: Bearer`, an HS256 JWT in LiveKit's claim
//! layout) or nothing. [`Authority`] turns either into [`Grants`], the only thing that handlers
//! ask.
//!
//! What must always hold: a token is accepted only after its signature has been checked with the
//! one key that its issuer names; nothing about a token is ever logged; a wrong key and an unknown
//! key get the same answer.

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

/// The rights of requests without a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Anonymous {
    /// Watching any stream needs no token.
    pub watch: bool,
    /// Publishing any stream needs no token.
    pub publish: bool,
}

/// Decides which rights a request has.
pub struct Authority {
    keys: BTreeMap<String, Secret<String>>,
    anonymous: Anonymous,
    ignores_wrong: bool,
}

impl Authority {
    /// Creates an authority that accepts tokens signed with `keys`.
    pub fn new(keys: BTreeMap<String, Secret<String>>, anonymous: Anonymous) -> Self {
        Self { keys, anonymous, ignores_wrong: false }
    }

    /// Lets a wrong token count as none. For `--dev`, where nothing needs a token and encoders send
    /// a stream key in its place because their form has a field for it.
    #[must_use]
    pub fn ignoring_wrong_tokens(mut self, ignores_wrong: bool) -> Self {
        self.ignores_wrong = ignores_wrong;
        self
    }

    /// Returns the rights of requests without a token.
    pub fn anonymous(&self) -> Anonymous {
        self.anonymous
    }

    /// Returns what the sender of these headers may do, `now` being seconds since the Unix epoch.
    ///
    /// No token means what anonymous users may do. A token never takes away what anonymous users
    /// may do, but a wrong one is an error even where none is needed, so that its sender learns
    /// that it is wrong; except with [`Self::ignoring_wrong_tokens`].
    pub fn grants(&self, headers: &HeaderMap, now: u64) -> Result<Grants, TokenError> {
        let claims = bearer(headers).and_then(|token| token.map(|token| verify(token, &self.keys, now)).transpose());
        match claims {
            Ok(None) => Ok(Grants::anonymous(self.anonymous)),
            Ok(Some(claims)) => Ok(Grants::of(claims, self.anonymous)),
            Err(_) if self.ignores_wrong => Ok(Grants::anonymous(self.anonymous)),
            Err(error) => Err(error),
        }
    }

    /// Returns what a genuine token allowed before it expired; `None` for every other token.
    ///
    /// It is good for one thing: to go on with a session that its bearer opened while it was valid.
    /// The caller checks that it is such a session.
    pub fn grants_of_expired(&self, headers: &HeaderMap, now: u64) -> Option<Grants> {
        let token = bearer(headers).ok().flatten()?;
        let claims = token::genuine(token, &self.keys).ok()?;
        let is_expired = token::check_times(&claims, now) == Err(TokenError::Expired);
        is_expired.then(|| Grants::of(claims, self.anonymous))
    }
}

/// Returns the bearer token of a request. RFC 6750 §2.1; the scheme is case-insensitive (RFC 9110
/// §11.1). A scheme that is written twice is read once: encoders put theirs before what was pasted,
/// scheme and all, into their form.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TokenError::NotBearer);
    }
    let value = value.to_str().map_err(|_| TokenError::NotBearer)?.trim();
    let is_scheme = |word: &str| word.eq_ignore_ascii_case("bearer");
    // At most as many rounds as the header has words; its length is bounded
    // (`limits::HEADER_BYTES`).
    let mut rest = value;
    while let Some((_, token)) = rest.split_once(char::is_whitespace).filter(|(word, _)| is_scheme(word)) {
        rest = token.trim_start();
    }
    let has_scheme = rest.len() < value.len();
    match rest {
        "" => Ok(None),
        word if is_scheme(word) => Ok(None),
        token if has_scheme => Ok(Some(token)),
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
        check("Bearer\tabc", Ok(Some("abc")));
        check("Bearer Bearer abc", Ok(Some("abc")));
        check("Bearer bearer  BEARER abc", Ok(Some("abc")));
        check("Bearer Bearer", Ok(None));
        check("Bearer abc def", Ok(Some("abc def")));
        check("Bearerabc", Err(()));
        check("Basic Bearer abc", Err(()));
        check("Bearer", Ok(None));
        check("Bearer ", Ok(None));
        check("", Ok(None));
        check("Basic abc", Err(()));
        check("abc", Err(()));
        assert!(bearer(&HeaderMap::new()).unwrap().is_none());
    }
}
