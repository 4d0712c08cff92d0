//! Publishing: WHIP, RFC 9725.

use bytes::Bytes;
use hyper::header;
use hyper::{Method, StatusCode};
use media::{SessionId, StreamName};

use super::backend::Backend;
use super::limits::SDP_BYTES;
use super::problem::Problem;
use super::session::{self, FRAGMENT, SDP};
use super::{App, Exchange, Reply, body, demand};
use crate::engine::{Publish, Role};

/// Methods of the endpoint.
pub(super) const ENDPOINT_METHODS: &str = "POST, GET, HEAD, OPTIONS";
/// Methods of a session.
pub(super) const SESSION_METHODS: &str = "PATCH, DELETE, GET, HEAD, OPTIONS";

/// Publish a stream (WHIP, RFC 9725).
#[utoipa::path(
    post, path = "/whip/{stream}", tag = "WHIP",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    request_body(content = String, content_type = "application/sdp", description = "SDP offer, sendonly"),
    responses(
        (status = 201, description = "SDP answer; `Location` is the session, `ETag` its ICE generation, `Link` names ICE servers, the session's events and what its audience has use for",
         content_type = "application/sdp", body = String),
        (status = 400, description = "The SDP or the stream name cannot be used", content_type = "application/problem+json", body = super::problem::Content),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = super::problem::Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = super::problem::Content),
        (status = 409, description = "The stream has a publisher; `Retry-After` is the earliest time after which it may be given up", content_type = "application/problem+json", body = super::problem::Content),
        (status = 413, description = "More than 64 KiB", content_type = "application/problem+json", body = super::problem::Content),
        (status = 415, description = "Not application/sdp", content_type = "application/problem+json", body = super::problem::Content),
        (status = 429, description = "Too many sessions from this address", content_type = "application/problem+json", body = super::problem::Content),
        (status = 503, description = "The server is full or stops", content_type = "application/problem+json", body = super::problem::Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn endpoint<E, B>(
    app: &App<E>,
    stream: Option<StreamName>,
    exchange: Exchange<'_>,
    body: B,
) -> Result<Reply, Problem>
where
    E: Backend,
    B: hyper::body::Body<Data = Bytes>,
{
    match *exchange.method {
        Method::POST => {}
        // RFC 9725 §4.1: "MUST return a 2xx (Successful) response with no content when a GET request is received".
        Method::GET | Method::HEAD => return Ok(session::empty(StatusCode::NO_CONTENT)),
        _ => return Err(Problem::method_not_allowed(ENDPOINT_METHODS)),
    }
    if session::media_type(exchange.headers).as_deref() != Some(SDP) {
        return Err(session::unsupported_type(SDP, header::HeaderName::from_static("accept-post")));
    }
    let grants = app.grants(&exchange)?;
    let stream = app.stream_or_room(stream, &grants)?;
    if !grants.may_publish(&stream) {
        return Err(app.refuse(
            &grants,
            "publishing this stream",
            "get one with roomJoin, canPublish and this stream as its room",
        ));
    }
    app.may_open(&exchange)?;
    let offer = body::read_text(body, SDP_BYTES).await?;
    if offer.trim().is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty", "send an SDP offer"));
    }
    let identity = grants.identity().map(str::to_owned);
    let request = Publish { stream: stream.clone(), offer, remote: exchange.client.address, identity };
    let opened = app.engine.publish(request).await?;
    let links = demand::extensions(exchange.prefix, &stream, opened.session);
    let mut reply = session::opened(exchange.prefix, "whip", &stream, opened, &app.ice_servers)?;
    for link in links {
        reply.headers_mut().append(header::LINK, session::value(&link)?);
    }
    Ok(reply)
}

/// Trickle ICE, restart ICE (PATCH) or end the session (DELETE).
#[utoipa::path(
    method(patch, delete), path = "/whip/{stream}/{session}", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("If-Match" = Option<String>, Header, description = "PATCH: the session's ETag, or * to restart ICE"),
    ),
    request_body(content = Option<String>, content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 200, description = "PATCH: ICE was restarted, our fragment and a new ETag. DELETE: the session has ended"),
        (status = 204, description = "Candidates taken"),
        (status = 400, description = "The fragment cannot be used", content_type = "application/problem+json", body = super::problem::Content),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = super::problem::Content),
        (status = 412, description = "If-Match names another ICE generation", content_type = "application/problem+json", body = super::problem::Content),
        (status = 415, description = "Not application/trickle-ice-sdpfrag", content_type = "application/problem+json", body = super::problem::Content),
        (status = 428, description = "If-Match is missing", content_type = "application/problem+json", body = super::problem::Content),
        (status = 429, description = "Too many PATCH requests from this address", content_type = "application/problem+json", body = super::problem::Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn session<E, B>(
    app: &App<E>,
    stream: StreamName,
    session: SessionId,
    exchange: Exchange<'_>,
    body: B,
) -> Result<Reply, Problem>
where
    E: Backend,
    B: hyper::body::Body<Data = Bytes>,
{
    if let Some(stream) = session::endpoint_of(app, &stream, session, Role::Publisher, &exchange).await {
        return endpoint(app, Some(stream), exchange, body).await;
    }
    let known = [Method::PATCH, Method::DELETE, Method::GET, Method::HEAD];
    if !known.contains(exchange.method) {
        return Err(Problem::method_not_allowed(SESSION_METHODS));
    }
    let grants = app.session_grants(&stream, session, Role::Publisher, &exchange).await?;
    let ends = *exchange.method == Method::DELETE && grants.may_administer(&stream);
    if !grants.may_publish(&stream) && !ends {
        return Err(app.refuse(&grants, "this publisher's session", "use the token that began it"));
    }
    if *exchange.method == Method::PATCH {
        app.may_patch(&exchange)?;
        if session::media_type(exchange.headers).as_deref() != Some(FRAGMENT) {
            return Err(session::unsupported_type(FRAGMENT, header::HeaderName::from_static("accept-patch")));
        }
    }
    session::owned(app, &stream, session, Role::Publisher).await?;
    match *exchange.method {
        Method::PATCH => session::patch_ice(app, session, exchange.headers, body).await,
        Method::DELETE => session::delete(app, session).await,
        // RFC 9725 §4.1, as above.
        _ => Ok(session::empty(StatusCode::NO_CONTENT)),
    }
}
