//! Publishing: WHIP, RFC 9725.

use std::sync::Arc;

use axum::extract::State;
use hyper::{Method, StatusCode};
use media::StreamName;

use super::session::{self, Protocol};
use crate::auth::Grants;
use crate::engine::{Publish, Role};
use crate::http::app::App;
use crate::http::events::demand::Kind;
use crate::http::exchange::{Exchange, Upload};
use crate::http::problem::{Answer, Content, PROBLEM, Problem};

/// Sessions of publishers.
pub(super) struct Whip;

impl Protocol for Whip {
    const NAME: &'static str = "whip";
    const ROLE: Role = Role::Publisher;
    const OPENING: &'static str = "publishing this stream";
    const OPENING_FIX: &'static str = "get one with roomJoin, canPublish and this stream as its room";
    const SESSION: &'static str = "this publisher's session";

    fn may_use(grants: &Grants, stream: &StreamName) -> bool {
        grants.may_publish(stream)
    }

    fn may_end(grants: &Grants, stream: &StreamName) -> bool {
        grants.may_administer(stream)
    }

    /// The relations are ours: WHIP has none for this.
    fn links(base: &str) -> [String; 2] {
        let names = Kind::ALL.map(Kind::name).join(" ");
        [
            format!("<{base}/sse>; rel=\"urn:nowcast:whip:ext:server-sent-events\"; events=\"{names}\""),
            format!("<{base}/layers>; rel=\"urn:nowcast:whip:ext:wanted-layers\""),
        ]
    }
}

/// Publish a stream (WHIP, RFC 9725).
#[utoipa::path(
    post, path = "/whip/{stream}", tag = "WHIP", operation_id = "endpoint",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    request_body(
        content = String, content_type = "application/sdp", description = "SDP offer, sendonly"
    ),
    responses(
        (status = 201, content_type = "application/sdp", body = String,
         description = "SDP answer; `Location` is the session, `ETag` its ICE generation, \
         `Link` names ICE servers, the session's events and what its audience has use for"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "The SDP or the stream name cannot be used"),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
        (status = 409, content_type = PROBLEM, body = Content,
         description = "The stream has a publisher; `Retry-After` is the earliest time after which it \
         may be given up"),
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
pub(super) async fn publish(State(app): State<Arc<App>>, exchange: Exchange, offer: Upload) -> Answer {
    let stream = exchange.place.stream.clone();
    open(&app, &exchange, stream, offer).await
}

/// Publishes the stream whose name looks like a session's address.
pub(super) async fn publish_at_session(State(app): State<Arc<App>>, exchange: Exchange, offer: Upload) -> Answer {
    let stream = session::meant_stream::<Whip>(&app, &exchange).await?;
    open(&app, &exchange, Some(stream), offer).await
}

async fn open(app: &App, exchange: &Exchange, stream: Option<StreamName>, offer: Upload) -> Answer {
    offer.media_type()?;
    let (stream, identity) = session::admit::<Whip>(app, exchange, stream, offer.headers())?;
    let offer = offer.text().await?;
    if offer.trim().is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty", "send an SDP offer"));
    }
    let request = Publish { stream: stream.clone(), offer, remote: exchange.client.address, identity };
    let opened = app.engine.publish(request).await?;
    session::opened::<Whip>(app, exchange, &stream, opened)
}

/// Trickle ICE, restart ICE (PATCH) or end the session (DELETE).
#[utoipa::path(
    method(patch, delete), path = "/whip/{stream}/{session}", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("If-Match" = Option<String>, Header,
         description = "PATCH: the session's ETag, or * to restart ICE"),
    ),
    request_body(content = Option<String>, content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 200, description = "PATCH: ICE was restarted, our fragment and a new ETag. \
         DELETE: the session has ended"),
        (status = 204, description = "Candidates taken"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "The fragment cannot be used"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
        (status = 412, content_type = PROBLEM, body = Content,
         description = "If-Match names another ICE generation"),
        (status = 415, content_type = PROBLEM, body = Content,
         description = "Not application/trickle-ice-sdpfrag"),
        (status = 428, content_type = PROBLEM, body = Content,
         description = "If-Match is missing"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many PATCH requests from this address"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn session(State(app): State<Arc<App>>, exchange: Exchange, method: Method, upload: Upload) -> Answer {
    session::change::<Whip>(&app, exchange, method, upload).await
}

#[cfg(test)]
mod tests;
