//! Watching: WHEP, draft-ietf-wish-whep-03, and the older style in which the server offers.

use bytes::Bytes;
use hyper::header;
use hyper::{Method, StatusCode};
use media::{SessionId, StreamName};

use super::backend::Backend;
use super::limits::SDP_BYTES;
use super::news::Kind;
use super::problem::Problem;
use super::session::{self, FRAGMENT, SDP};
use super::{App, Exchange, Reply, api, body};
use crate::engine::{Refusal, Role, ViewerReport, Watch};

/// Methods of the endpoint.
pub(super) const ENDPOINT_METHODS: &str = "POST, GET, HEAD, OPTIONS";
/// Methods of a session.
pub(super) const SESSION_METHODS: &str = "PATCH, DELETE, GET, HEAD, OPTIONS";
/// What a session takes by `PATCH`.
pub(super) const PATCH_TYPES: &str = "application/trickle-ice-sdpfrag, application/sdp";

/// Watch a stream (WHEP). With an empty body the server makes the offer and expects the answer by PATCH.
#[utoipa::path(
    post, path = "/whep/{stream}", tag = "WHEP",
    params(("stream" = String, Path, description = "Stream name; may contain slashes. It need not be live yet")),
    request_body(content = Option<String>, content_type = "application/sdp", description = "SDP offer, recvonly; or nothing"),
    responses(
        (status = 201, description = "SDP answer, or the server's offer; `Location` is the session, `ETag` its ICE generation, `Link` names ICE servers, the session's events and its layers",
         content_type = "application/sdp", body = String),
        (status = 400, description = "The SDP or the stream name cannot be used", content_type = "application/problem+json", body = super::problem::Content),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = super::problem::Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = super::problem::Content),
        (status = 406, description = "The viewer offers no codec that is published; `codec` and `offered` say which", content_type = "application/problem+json", body = super::problem::Content),
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
        // draft-ietf-wish-whep-03 §4.1: a GET is answered with success and no content.
        Method::GET | Method::HEAD => return Ok(session::empty(StatusCode::NO_CONTENT)),
        _ => return Err(Problem::method_not_allowed(ENDPOINT_METHODS)),
    }
    let media_type = session::media_type(exchange.headers);
    let is_sdp = media_type.as_deref() == Some(SDP);
    // An empty body asks for the server's offer, whatever type it claims to be: `curl -d ''` claims
    // application/x-www-form-urlencoded. The empty object of players that send JSON means the same.
    // A body of another type is refused before it is read, if it announces that it is not empty.
    let is_plain = is_sdp || matches!(media_type.as_deref(), None | Some("" | "application/json"));
    if !is_plain && body.size_hint().lower() > 0 {
        return Err(session::unsupported_type(SDP, header::HeaderName::from_static("accept-post")));
    }
    let grants = app.grants(&exchange)?;
    let stream = app.stream_or_room(stream, &grants)?;
    if !grants.may_watch(&stream) {
        return Err(app.refuse(
            &grants,
            "watching this stream",
            "get one with roomJoin, canSubscribe and this stream as its room",
        ));
    }
    app.may_open(&exchange)?;
    let offer = body::read_text(body, SDP_BYTES).await?;
    let offer = match offer.trim() {
        "" => None,
        "{}" if !is_sdp => None,
        _ if !is_sdp => {
            return Err(session::unsupported_type(SDP, header::HeaderName::from_static("accept-post")));
        }
        _ => Some(offer),
    };
    let identity = grants.identity().map(str::to_owned);
    let request = Watch { stream: stream.clone(), offer, remote: exchange.client.address, identity };
    let opened = app.engine.watch(request).await?;
    let links = extensions(exchange.prefix, &stream, opened.session);
    let mut reply = session::opened(exchange.prefix, "whep", &stream, opened, &app.ice_servers)?;
    for link in links {
        reply.headers_mut().append(header::LINK, session::value(&link)?);
    }
    Ok(reply)
}

/// Who may touch a viewer's session, and what belongs to it: who may watch its stream, if there is such a session.
pub(super) async fn may_touch<E: Backend>(
    app: &App<E>,
    stream: &StreamName,
    session: SessionId,
    exchange: &Exchange<'_>,
) -> Result<(), Problem> {
    let grants = app.session_grants(stream, session, Role::Viewer, exchange).await?;
    if !grants.may_watch(stream) {
        return Err(app.refuse(&grants, "this viewer's session", "use the token that began it"));
    }
    session::owned(app, stream, session, Role::Viewer).await
}

/// What else a session can do, as `Link` headers. draft-murillo-whep-02 §4.6.1 and §4.6.2.
/// The names of events are separated by blanks, not by commas as in the draft: OBS and others split the header at every
/// comma, also inside of quotes.
fn extensions(prefix: &str, stream: &StreamName, session: SessionId) -> [String; 2] {
    let names = Kind::ALL.map(Kind::name).join(" ");
    let base = format!("{prefix}/whep/{stream}/{session}");
    [
        format!("<{base}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{names}\""),
        format!("<{base}/layers>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
    ]
}

/// Answer the server's offer, trickle or restart ICE (PATCH), or end the session (DELETE).
#[utoipa::path(
    method(patch, delete), path = "/whep/{stream}/{session}", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("If-Match" = Option<String>, Header, description = "PATCH with a fragment: the session's ETag, or * to restart ICE"),
    ),
    request_body(content = Option<String>, content_type = "application/trickle-ice-sdpfrag", description = "Or application/sdp: the answer to the server's offer"),
    responses(
        (status = 200, description = "PATCH: ICE was restarted, our fragment and a new ETag. DELETE: the session has ended"),
        (status = 204, description = "Candidates or answer taken"),
        (status = 400, description = "The fragment or the answer cannot be used", content_type = "application/problem+json", body = super::problem::Content),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = super::problem::Content),
        (status = 406, description = "The answer takes no codec that is published", content_type = "application/problem+json", body = super::problem::Content),
        (status = 412, description = "If-Match names another ICE generation", content_type = "application/problem+json", body = super::problem::Content),
        (status = 415, description = "Another type", content_type = "application/problem+json", body = super::problem::Content),
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
    if let Some(stream) = session::endpoint_of(app, &stream, session, Role::Viewer, &exchange).await {
        return endpoint(app, Some(stream), exchange, body).await;
    }
    let known = [Method::PATCH, Method::DELETE, Method::GET, Method::HEAD];
    if !known.contains(exchange.method) {
        return Err(Problem::method_not_allowed(SESSION_METHODS));
    }
    let grants = app.session_grants(&stream, session, Role::Viewer, &exchange).await?;
    if !grants.may_watch(&stream) {
        return Err(app.refuse(&grants, "this viewer's session", "use the token that began it"));
    }
    let media_type = session::media_type(exchange.headers);
    if *exchange.method == Method::PATCH {
        app.may_patch(&exchange)?;
        if !matches!(media_type.as_deref(), Some(FRAGMENT | SDP)) {
            return Err(session::unsupported_type(PATCH_TYPES, header::HeaderName::from_static("accept-patch")));
        }
    }
    session::owned(app, &stream, session, Role::Viewer).await?;
    match *exchange.method {
        Method::PATCH if media_type.as_deref() == Some(SDP) => {
            let answer = body::read_text(body, SDP_BYTES).await?;
            if answer.trim().is_empty() {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty", "send the SDP answer"));
            }
            app.engine.accept_answer(session, answer).await?;
            Ok(session::empty(StatusCode::NO_CONTENT))
        }
        Method::PATCH => session::patch_ice(app, session, exchange.headers, body).await,
        Method::DELETE => session::delete(app, session).await,
        _ => report(app, session).await,
    }
}

/// What the server sends to this viewer.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    responses(
        (status = 200, description = "The report", body = ViewerReport),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = super::problem::Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn report<E: Backend>(app: &App<E>, session: SessionId) -> Result<Reply, Problem> {
    let report = app.engine.report(session).await.ok_or(Refusal::NoSuchSession)?;
    Ok(api::json(&report))
}
