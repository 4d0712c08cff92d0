//! Is this access token genuine, and what does it say?
//!
//! HS256 only, and the key is the one that `iss` names exactly: there is no algorithm to confuse
//! and no `kid` to play with (threat T19). What a token says stays unread until its signature has
//! been checked, except for `iss`.

use std::collections::BTreeMap;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Secret;

/// Tolerated difference between the clocks of signer and server. Threat T19.
const LEEWAY_SECONDS: u64 = 60;

/// A token must expire within this time. Threat T19.
pub const LONGEST_LIFE_SECONDS: u64 = 24 * 60 * 60;

/// Longest token we look at. A guess: LiveKit's are below 1 KiB unless they carry metadata.
const TOKEN_BYTES: usize = 8 * 1024;

/// Longest identity and room name in bytes. A guess, far above names in use.
const NAME_BYTES: usize = 256;

/// What a token says, in the layout of LiveKit's access tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: the name of the key that signed the token.
    pub iss: String,
    /// The subject: the identity of the bearer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The time of expiry, in seconds since the Unix epoch.
    pub exp: u64,
    /// The time before which the token is not valid, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// The rights of the bearer.
    #[serde(default)]
    pub video: VideoGrant,
}

/// LiveKit's `video` grant, as far as we know it. Fields that we do not know are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VideoGrant {
    /// The room (for us: the stream) that `room_join` and `room_admin` are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// May enter the room.
    #[serde(skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// May end streams and sessions; of `room`, or of all rooms where none is named.
    #[serde(skip_serializing_if = "is_false")]
    pub room_admin: bool,
    /// May list all rooms.
    #[serde(skip_serializing_if = "is_false")]
    pub room_list: bool,
    /// May create rooms. Streams need no creation; known so that it can be carried.
    #[serde(skip_serializing_if = "is_false")]
    pub room_create: bool,
    /// May publish in the room; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    /// May watch in the room; absent means yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is an `Authorization` header, but it holds no bearer token.
    #[error("the Authorization header is not of the form “Bearer <token>”")]
    NotBearer,
    /// Not a JWT, not HS256, an unknown key or a wrong signature: which of them stays our secret.
    #[error("the token is not signed with a key of this server (HS256)")]
    NotGenuine,
    /// A genuine token whose claims we cannot read.
    #[error("the token is signed with a key of this server, but a claim of it is missing or of another form")]
    BadClaims,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the token is not valid yet")]
    NotYet,
    /// `exp` is too far ahead.
    #[error("the token lives longer than 24 hours")]
    LivesTooLong,
}

/// Signs a token.
pub fn sign(claims: &Claims, secret: &Secret<String>) -> Result<String, jsonwebtoken::errors::Error> {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.expose().as_bytes()))
}

/// Returns what a token says, if it is genuine and valid at `now` (seconds since the Unix epoch).
pub(super) fn verify(token: &str, keys: &BTreeMap<String, Secret<String>>, now: u64) -> Result<Claims, TokenError> {
    let claims = genuine(token, keys)?;
    check_times(&claims, now)?;
    Ok(claims)
}

/// Returns what a token says, if it is genuine. Whether it is valid now is not asked.
pub(super) fn genuine(token: &str, keys: &BTreeMap<String, Secret<String>>) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES {
        return Err(TokenError::NotGenuine);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::NotGenuine)?;
    if header.alg != Algorithm::HS256 {
        return Err(TokenError::NotGenuine);
    }
    let issuer: Issuer = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::NotGenuine)?;
    let key = match keys.get(&issuer.iss) {
        Some(secret) => DecodingKey::from_secret(secret.expose().as_bytes()),
        None => return Err(TokenError::NotGenuine),
    };
    let claims =
        jsonwebtoken::decode::<Claims>(token, &key, &signature_only()).map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::Utf8(_) => TokenError::BadClaims,
            _ => TokenError::NotGenuine,
        })?;
    let claims = claims.claims;
    let too_long = |name: &Option<String>| name.as_ref().is_some_and(|name| name.len() > NAME_BYTES);
    if too_long(&claims.sub) || too_long(&claims.video.room) {
        return Err(TokenError::BadClaims);
    }
    Ok(claims)
}

/// Whether a token is valid at `now`.
pub(super) fn check_times(claims: &Claims, now: u64) -> Result<(), TokenError> {
    if claims.exp.saturating_add(LEEWAY_SECONDS) <= now {
        return Err(TokenError::Expired);
    }
    if claims.exp > now.saturating_add(LONGEST_LIFE_SECONDS + LEEWAY_SECONDS) {
        return Err(TokenError::LivesTooLong);
    }
    if claims.nbf.is_some_and(|begins| begins > now.saturating_add(LEEWAY_SECONDS)) {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

/// Checks the algorithm and the signature; times are checked by [`verify`], which is handed the
/// clock.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_930_000;

    #[test]
    fn a_genuine_token_says_what_was_signed() {
        let claims = claims();
        let token = sign(&claims, &secret()).unwrap();
        assert_eq!(verify(&token, &keys(), NOW), Ok(claims));
    }

    #[test]
    fn times_are_checked_with_a_minute_of_leeway() {
        let check = |exp: u64, nbf: Option<u64>, expected: Option<TokenError>| {
            let token = sign(&Claims { exp, nbf, ..claims() }, &secret()).unwrap();
            assert_eq!(verify(&token, &keys(), NOW).err(), expected, "exp {exp} nbf {nbf:?}");
        };
        check(NOW + 3600, None, None);
        check(NOW - 59, None, None);
        check(NOW - 60, None, Some(TokenError::Expired));
        check(0, None, Some(TokenError::Expired));
        check(NOW + 24 * 3600 + 60, None, None);
        check(NOW + 24 * 3600 + 61, None, Some(TokenError::LivesTooLong));
        check(u64::MAX, None, Some(TokenError::LivesTooLong));
        check(NOW + 3600, Some(NOW + 60), None);
        check(NOW + 3600, Some(NOW + 61), Some(TokenError::NotYet));
        check(NOW + 3600, Some(u64::MAX), Some(TokenError::NotYet));
    }

    #[test]
    fn forged_and_foreign_tokens_all_get_the_same_answer() {
        let refuse = |what: &str, token: &str| {
            assert_eq!(verify(token, &keys(), NOW), Err(TokenError::NotGenuine), "{what}");
        };
        let genuine = sign(&claims(), &secret()).unwrap();
        let (rest, signature) = genuine.rsplit_once('.').unwrap();
        let payload = rest.split_once('.').unwrap().1;
        // {"alg":"none","typ":"JWT"}
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        refuse("alg none", &none);
        refuse("alg none with a signature", &format!("{none}{signature}"));
        refuse("no signature", &format!("{rest}."));
        refuse("another signature", &format!("{rest}.{}", signature.chars().rev().collect::<String>()));
        refuse("unknown key", &sign(&Claims { iss: "other".into(), ..claims() }, &secret()).unwrap());
        refuse("key in another case", &sign(&Claims { iss: "KEY".into(), ..claims() }, &secret()).unwrap());
        let other = Secret::new("another-secret-of-thirty-two-bytes".to_owned());
        refuse("wrong secret", &sign(&claims(), &other).unwrap());
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(secret().expose().as_bytes());
            refuse("another algorithm", &jsonwebtoken::encode(&Header::new(algorithm), &claims(), &key).unwrap());
        }
        for junk in ["", ".", "..", "a.b.c", "a", &"a".repeat(10_000), "eyJ9.eyJ9.eyJ9", "ä.ö.ü"] {
            refuse("junk", junk);
        }
    }

    #[test]
    fn claims_without_exp_or_with_long_names_are_refused() {
        #[derive(Serialize)]
        struct NoExpiry {
            iss: &'static str,
        }
        let key = EncodingKey::from_secret(secret().expose().as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &NoExpiry { iss: "key" }, &key).unwrap();
        assert_eq!(verify(&token, &keys(), NOW), Err(TokenError::BadClaims));
        let token = sign(&Claims { sub: Some("x".repeat(257)), ..claims() }, &secret()).unwrap();
        assert_eq!(verify(&token, &keys(), NOW), Err(TokenError::BadClaims));
    }

    fn claims() -> Claims {
        Claims { iss: "key".into(), sub: Some("alice".into()), exp: NOW + 3600, ..Claims::default() }
    }

    fn secret() -> Secret<String> {
        Secret::new("a-secret-of-at-least-thirty-two-bytes".to_owned())
    }

    fn keys() -> BTreeMap<String, Secret<String>> {
        [("key".to_owned(), secret())].into()
    }
}
