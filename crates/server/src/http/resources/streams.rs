//! Which streams are there?
//!
//! The list needs `roomList` (or `roomAdmin` of the whole server), one stream needs `roomJoin` of
//! it or `roomAdmin`, unless anyone may watch.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use media::StreamName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Grants;
use crate::engine::{StreamState, StreamStatus};
use crate::http::answer;
use crate::http::app::{App, Sender};
use crate::http::body;
use crate::http::exchange::Exchange;
use crate::http::problem::{Answer, Content, PROBLEM, Problem};

/// All streams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Streams {
    /// Streams that have a publisher or viewers, by name.
    streams: Vec<StreamStatus>,
}

/// All streams that have a publisher or viewers.
#[utoipa::path(
    get, path = "/api/v1/streams", tag = "API",
    responses(
        (status = 200, description = "Streams by name", body = Streams),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn streams(State(app): State<Arc<App>>, Sender(grants): Sender) -> Answer {
    if !grants.may_list() {
        return Err(app.refuse(&grants, "the list of streams", "get one with roomList"));
    }
    Ok(answer::json(&Streams { streams: app.engine.streams().await }))
}

/// One stream.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}", tag = "API",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    responses(
        (status = 200, description = "The stream", body = StreamStatus),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "Nobody publishes or awaits it, and no attempt to publish it failed lately"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn stream(State(app): State<Arc<App>>, exchange: Exchange, Sender(grants): Sender) -> Answer {
    let name = named(&exchange)?;
    check_visible(&app, name, &grants)?;
    let status = app.engine.stream(name).await;
    let has_sessions = status.publisher.is_some() || status.viewers > 0;
    let is_waiting = status.state == StreamState::Waiting;
    if is_waiting && !has_sessions && status.publish_failure.is_none() {
        return Err(no_stream());
    }
    Ok(answer::json(&status))
}

/// End a stream: its publisher and its viewers.
#[utoipa::path(
    delete, path = "/api/v1/streams/{stream}", tag = "API",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    responses(
        (status = 204, description = "Its sessions have ended"),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "Nobody publishes or awaits it"),
    ),
    security(("token" = []))
)]
pub(super) async fn kick(State(app): State<Arc<App>>, exchange: Exchange, Sender(grants): Sender) -> Answer {
    let name = named(&exchange)?;
    if !grants.may_administer(name) {
        return Err(app.refuse(&grants, "ending this stream", "get one with roomAdmin"));
    }
    let is_ended = app.engine.kick(name).await;
    if is_ended { Ok(body::empty(StatusCode::NO_CONTENT)) } else { Err(no_stream()) }
}

/// Returns the stream that the address names.
pub(super) fn named(exchange: &Exchange) -> Result<&StreamName, Problem> {
    exchange.place.stream.as_ref().ok_or_else(Problem::unwritable)
}

/// Refuses a sender that may not see this stream's status. A token that allows to publish a stream
/// allows to see it too.
pub(super) fn check_visible(app: &App, name: &StreamName, grants: &Grants) -> Result<(), Problem> {
    if grants.may_watch(name) || (grants.has_token() && grants.may_publish(name)) {
        return Ok(());
    }
    Err(app.refuse(grants, "this stream's status", "get one with roomJoin and this stream as its room"))
}

fn no_stream() -> Problem {
    let fix = "publish it first; GET /api/v1/streams lists what there is";
    Problem::new(StatusCode::NOT_FOUND, "nobody publishes or awaits this stream", fix)
}

#[cfg(test)]
mod tests;
