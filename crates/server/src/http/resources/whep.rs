//! Watching: WHEP, draft-ietf-wish-whep-03, and the older style in which the server offers.

use std::sync::Arc;

use axum::extract::State;
use hyper::Method;
use media::StreamName;

use super::session::{self, Protocol, SDP, Session};
use crate::auth::Grants;
use crate::engine::{Refusal, Role, ViewerReport, Watch};
use crate::http::answer;
use crate::http::app::App;
use crate::http::events::news::Kind;
use crate::http::exchange::{Exchange, Upload};
use crate::http::problem::{Answer, Content, PROBLEM};

/// Sessions of viewers.
pub(super) struct Whep;

impl Protocol for Whep {
    const NAME: &'static str = "whep";
    const ROLE: Role = Role::Viewer;
    const OPENING: &'static str = "watching this stream";
    const OPENING_FIX: &'static str = "get one with roomJoin, canSubscribe and this stream as its room";
    const SESSION: &'static str = "this viewer's session";

    fn may_use(grants: &Grants, stream: &StreamName) -> bool {
        grants.may_watch(stream)
    }

    /// draft-murillo-whep-02 §4.6.1 and §4.6.2.
    fn links(base: &str) -> [String; 2] {
        let names = Kind::ALL.map(Kind::name).join(" ");
        [
            format!("<{base}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{names}\""),
            format!("<{base}/layers>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
        ]
    }
}

/// Watch a stream (WHEP). With an empty body the server makes the offer and expects the answer by PATCH.
#[utoipa::path(
    post, path = "/whep/{stream}", tag = "WHEP", operation_id = "endpoint",
    params(("stream" = String, Path,
            description = "Stream name; may contain slashes. It need not be live yet")),
    request_body(
        content = Option<String>, content_type = "application/sdp",
        description = "SDP offer, recvonly; or nothing"
    ),
    responses(
        (status = 201, content_type = "application/sdp", body = String,
         description = "SDP answer, or the server's offer; `Location` is the session, `ETag` its \
         ICE generation, `Link` names ICE servers, the session's events and its layers"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "The SDP or the stream name cannot be used"),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
        (status = 406, content_type = PROBLEM, body = Content,
         description = "The viewer offers no codec that is published; `codec` and `offered` say which"),
        (status = 413, content_type = PROBLEM, body = Content,
         description = "More than 64 KiB"),
        (status = 415, content_type = PROBLEM, body = Content,
         description = "Not application/sdp"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many sessions from this address"),
        (status = 503, content_type = PROBLEM, body = Content,
         description = "The server is full or stops"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn watch(State(app): State<Arc<App>>, exchange: Exchange, offer: Upload) -> Answer {
    let stream = exchange.place.stream.clone();
    open(&app, &exchange, stream, offer).await
}

/// Watches the stream whose name looks like a session's address.
pub(super) async fn watch_at_session(State(app): State<Arc<App>>, exchange: Exchange, offer: Upload) -> Answer {
    let stream = session::meant_stream::<Whep>(&app, &exchange).await?;
    open(&app, &exchange, Some(stream), offer).await
}

async fn open(app: &App, exchange: &Exchange, stream: Option<StreamName>, offer: Upload) -> Answer {
    let named_type = offer.named_type();
    let is_sdp = named_type.as_deref() == Some(SDP.name);
    let unsupported = offer.unsupported_type();
    // An empty body asks for the server's offer, whatever type it claims to be: `curl -d ''` claims
    // application/x-www-form-urlencoded. The empty object of players that send JSON means the same.
    // A body of another type is refused before it is read, if it announces that it is not empty.
    let is_plain = is_sdp || matches!(named_type.as_deref(), None | Some("" | "application/json"));
    if !is_plain && offer.announces_content() {
        return Err(unsupported);
    }
    let (stream, identity) = session::admit::<Whep>(app, exchange, stream, offer.headers())?;
    let offer = offer.text().await?;
    let offer = match offer.trim() {
        "" => None,
        "{}" if !is_sdp => None,
        _ if !is_sdp => return Err(unsupported),
        _ => Some(offer),
    };
    let request = Watch { stream: stream.clone(), offer, remote: exchange.client.address, identity };
    let opened = app.engine.watch(request).await?;
    session::opened::<Whep>(app, exchange, &stream, opened)
}

/// Answer the server's offer, trickle or restart ICE (PATCH), or end the session (DELETE).
#[utoipa::path(
    method(patch, delete), path = "/whep/{stream}/{session}", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("If-Match" = Option<String>, Header,
         description = "PATCH with a fragment: the session's ETag, or * to restart ICE"),
    ),
    request_body(
        content = Option<String>, content_type = "application/trickle-ice-sdpfrag",
        description = "Or application/sdp: the answer to the server's offer"
    ),
    responses(
        (status = 200, description = "PATCH: ICE was restarted, our fragment and a new ETag. \
         DELETE: the session has ended"),
        (status = 204, description = "Candidates or answer taken"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "The fragment or the answer cannot be used"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
        (status = 406, content_type = PROBLEM, body = Content,
         description = "The answer takes no codec that is published"),
        (status = 412, content_type = PROBLEM, body = Content,
         description = "If-Match names another ICE generation"),
        (status = 415, content_type = PROBLEM, body = Content,
         description = "Another type"),
        (status = 428, content_type = PROBLEM, body = Content,
         description = "If-Match is missing"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many PATCH requests from this address"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn session(State(app): State<Arc<App>>, exchange: Exchange, method: Method, upload: Upload) -> Answer {
    session::change::<Whep>(&app, exchange, method, upload).await
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
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn report(State(app): State<Arc<App>>, session: Session<Whep>) -> Answer {
    let report = app.engine.report(session.id).await.ok_or(Refusal::NoSuchSession)?;
    Ok(answer::json(&report))
}

#[cfg(test)]
mod tests;
