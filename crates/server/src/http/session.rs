//! What do WHIP and WHEP have in common?
//!
//! RFC 9725 and draft-ietf-wish-whep-03 differ in who offers what; sessions, their entity tags, trickle ICE and
//! their end are the same.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};
use media::{SessionId, StreamName};

use super::backend::Backend;
use super::body::{self, Body};
use super::limits::FRAGMENT_BYTES;
use super::problem::Problem;
use super::sdpfrag;
use super::{App, Exchange, Reply};
use crate::config::IceServer;
use crate::engine::{Opened, Refusal, Role, Trickled};

/// The media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";
/// The media type of ICE fragments (RFC 8840 §9).
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Answers 201: the session is there, this is its address, and these are the servers that help to reach us.
pub(super) fn opened(
    prefix: &str,
    protocol: &str,
    stream: &StreamName,
    opened: Opened,
    ice_servers: &[IceServer],
) -> Result<Reply, Problem> {
    let mut reply = Response::new(Body::from(Bytes::from(opened.sdp)));
    *reply.status_mut() = StatusCode::CREATED;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A path, not a URL: it stays on the origin that the client used, whatever stands before us.
    headers.insert(header::LOCATION, value(&format!("{prefix}/{protocol}/{stream}/{}", opened.session))?);
    headers.insert(header::ETAG, value(&quoted(&opened.etag))?);
    for link in ice_servers.iter().flat_map(links) {
        headers.append(header::LINK, value(&link)?);
    }
    Ok(reply)
}

/// RFC 9725 §4.6: one `Link` per URL.
fn links(server: &IceServer) -> Vec<String> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let link = |url: &String| {
        let mut link = format!("<{url}>; rel=\"ice-server\"");
        if let (Some(username), Some(credential), true) =
            (&server.username, &server.credential, url.starts_with("turn"))
        {
            let (username, credential) = (escaped(username), escaped(credential.expose()));
            link.push_str(&format!(
                "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
            ));
        }
        link
    };
    server.urls.iter().map(link).collect()
}

/// Finds out that a session is what its address says; otherwise it is as if it were not there.
pub(super) async fn owned<E: Backend>(
    app: &App<E>,
    stream: &StreamName,
    session: SessionId,
    role: Role,
) -> Result<(), Problem> {
    if is_of(&app.engine, stream, session, role).await {
        return Ok(());
    }
    Err(match app.engine.why_failed(session).await {
        Some(failed) if failed.stream == *stream && failed.role == role => {
            Refusal::HandshakeFailed { reason: failed.reason, why: failed.detail }
        }
        _ => Refusal::NoSuchSession,
    }
    .into())
}

/// Whether there is such a session of this stream.
pub(super) async fn is_of<E: Backend>(engine: &E, stream: &StreamName, session: SessionId, role: Role) -> bool {
    engine.owner(session).await.is_some_and(|owner| owner.stream == *stream && owner.role == role)
}

/// `PATCH` with an ICE fragment: candidates, or a restart.
pub(super) async fn patch_ice<E, B>(
    app: &App<E>,
    session: SessionId,
    headers: &HeaderMap,
    body: B,
) -> Result<Reply, Problem>
where
    E: Backend,
    B: hyper::body::Body<Data = Bytes>,
{
    let if_match = IfMatch::of(headers)?;
    let text = body::read_text(body, FRAGMENT_BYTES).await?;
    let fragment = sdpfrag::parse(&text).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, error.to_string(), "send a fragment as RFC 8840 §9 describes")
    })?;
    let mut trickled = app.engine.trickle(session, fragment.clone(), Some(if_match.first().to_owned())).await;
    // RFC 9110 §13.1.1: the condition holds when any of the listed tags matches.
    if let Err(Refusal::StaleEtag { current }) = &trickled
        && if_match.first() != current
        && if_match.names(current)
    {
        trickled = app.engine.trickle(session, fragment, Some(current.clone())).await;
    }
    match trickled? {
        // RFC 9725 §4.3.2: "MUST NOT include an ETag header in the response".
        Trickled::Accepted => Ok(empty(StatusCode::NO_CONTENT)),
        Trickled::Restarted { fragment, etag } => {
            let mut reply = Response::new(Body::from(Bytes::from(fragment)));
            let headers = reply.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            headers.insert(header::ETAG, value(&quoted(&etag))?);
            Ok(reply)
        }
    }
}

/// `DELETE`. RFC 9725 §4.3.1: an entity tag sent with it is ignored.
pub(super) async fn delete<E: Backend>(app: &App<E>, session: SessionId) -> Result<Reply, Problem> {
    if app.engine.close(session).await { Ok(empty(StatusCode::OK)) } else { Err(Refusal::NoSuchSession.into()) }
}

/// Refuses a body of another type: 415, saying which types are taken.
pub(super) fn unsupported_type(accepted: &'static str, header: header::HeaderName) -> Problem {
    let fix = format!("send it as “Content-Type: {accepted}”");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is of another type than this resource takes", fix)
        .with(header, accepted)
}

/// Returns the media type of a body: lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// Returns the name of the stream whose endpoint an address is, where it could also be that of a session: encoders that
/// write `app/stream` may have a stream key of 32 hexadecimal digits. `POST` tells: a session does not know it.
pub(super) async fn endpoint_of<E: Backend>(
    app: &App<E>,
    stream: &StreamName,
    session: SessionId,
    role: Role,
    exchange: &Exchange<'_>,
) -> Option<StreamName> {
    if *exchange.method != Method::POST || is_of(&app.engine, stream, session, role).await {
        return None;
    }
    StreamName::parse(&format!("{stream}/{session}")).ok()
}

/// The condition of a `PATCH` (RFC 9110 §13.1.1).
#[derive(Debug, PartialEq, Eq)]
struct IfMatch {
    /// Unquoted tags, or `*`; at least one.
    tags: Vec<String>,
}

/// What servers that compress append to the tags of others: Apache (`DeflateAlterETag`), Jetty.
const CODING_SUFFIXES: [&str; 8] = ["--gzip", "-gzip", "-deflate", "-br", "-zstd", ";gzip", ";br", ";zstd"];

impl IfMatch {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        let mut present = false;
        for value in headers.get_all(header::IF_MATCH) {
            present = true;
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                // RFC 9725 §4.3.3 shows the star in quotes, RFC 9110 without.
                if tag == "*" || tag == "\"*\"" {
                    return Ok(Self { tags: vec!["*".into()] });
                }
                // RFC 9110 §8.8.3.2: a weak tag never matches here. Ours names an ICE session (RFC 9725 §4.3.1) and no
                // bytes, so it means the same after a proxy that compresses has weakened it or added to it.
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

    fn first(&self) -> &str {
        self.tags.first().map_or("*", String::as_str)
    }

    fn names(&self, tag: &str) -> bool {
        self.tags.iter().any(|known| known == tag)
    }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// What we made ourselves is printable; if not, the bug is ours and says so.
pub(super) fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an answer could not be written", "report this as a bug")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

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

    #[test]
    fn ice_servers_become_link_headers() {
        let server = IceServer {
            urls: vec!["stun:stun.example.net".into(), "turn:turn.example.net?transport=udp".into()],
            username: Some("user".into()),
            credential: Some(Secret::new("my\"Password".into())),
        };
        let expected = [
            "<stun:stun.example.net>; rel=\"ice-server\"",
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
             credential=\"my\\\"Password\"; credential-type=\"password\"",
        ];
        assert_eq!(links(&server), expected);
    }
}
