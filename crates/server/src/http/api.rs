//! What may programs ask?
//!
//! Who may: the list needs `roomList` (or `roomAdmin` of the whole server), one stream needs `roomJoin` of it or
//! `roomAdmin`, unless anyone may watch. `/metrics` is for this machine itself and for `roomAdmin` of the whole
//! server. Health, time and the description are for all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use media::StreamName;
use serde::Serialize;
use utoipa::ToSchema;

use super::backend::Backend;
use super::body::Body;
use super::problem::{Content, Problem};
use super::{App, Exchange, Reply, openapi as description, session};
use crate::engine::{Readiness, StreamState, StreamStatus};

/// Methods of what can only be read.
pub(super) const READ_METHODS: &str = "GET, HEAD, OPTIONS";
/// Methods of a stream.
pub(super) const STREAM_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// How long readiness may take to find out before it means no.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// All streams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Streams {
    /// Streams that have a publisher or viewers, by name.
    streams: Vec<StreamStatus>,
}

/// The server's clock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Time {
    /// Milliseconds since the Unix epoch, with a fraction.
    now_ms: f64,
}

/// All streams that have a publisher or viewers.
#[utoipa::path(
    get, path = "/api/v1/streams", tag = "API",
    responses(
        (status = 200, description = "Streams by name", body = Streams),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn streams<E: Backend>(app: &App<E>, exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    let grants = app.grants(&exchange)?;
    if !grants.may_list() {
        return Err(app.refuse(&grants, "the list of streams", "get one with roomList"));
    }
    Ok(json(&Streams { streams: app.engine.streams().await }))
}

/// Tells a stream's reading from its end.
pub(super) async fn stream_resource<E: Backend>(
    app: &App<E>,
    name: &StreamName,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    match *exchange.method {
        Method::GET | Method::HEAD => stream(app, name, exchange).await,
        Method::DELETE => kick(app, name, exchange).await,
        _ => Err(Problem::method_not_allowed(STREAM_METHODS)),
    }
}

/// One stream.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}", tag = "API",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    responses(
        (status = 200, description = "The stream", body = StreamStatus),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = Content),
        (status = 404, description = "Nobody publishes or awaits it, and no attempt to publish it failed lately", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn stream<E: Backend>(
    app: &App<E>,
    name: &StreamName,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    may_see(app, name, &exchange)?;
    let status = app.engine.stream(name).await;
    let is_empty = status.publisher.is_none() && status.viewers == 0 && status.publish_failure.is_none();
    if status.state == StreamState::Waiting && is_empty {
        return Err(no_stream());
    }
    Ok(json(&status))
}

/// End a stream: its publisher and its viewers.
#[utoipa::path(
    delete, path = "/api/v1/streams/{stream}", tag = "API",
    params(("stream" = String, Path, description = "Stream name; may contain slashes")),
    responses(
        (status = 204, description = "Its sessions have ended"),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = Content),
        (status = 404, description = "Nobody publishes or awaits it", content_type = "application/problem+json", body = Content),
    ),
    security(("token" = []))
)]
pub(super) async fn kick<E: Backend>(
    app: &App<E>,
    name: &StreamName,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    let grants = app.grants(&exchange)?;
    if !grants.may_administer(name) {
        return Err(app.refuse(&grants, "ending this stream", "get one with roomAdmin"));
    }
    if app.engine.kick(name).await { Ok(session::empty(StatusCode::NO_CONTENT)) } else { Err(no_stream()) }
}

/// The server's wall clock.
#[utoipa::path(get, path = "/api/v1/time", tag = "API", responses((status = 200, description = "Now", body = Time)))]
pub(super) fn time(exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(json(&Time { now_ms: now.as_secs_f64() * 1e3 }))
}

/// This description.
#[utoipa::path(get, path = "/api/openapi.json", tag = "API", responses((status = 200, description = "OpenAPI 3.1")))]
pub(super) fn openapi(exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    let mut reply = Response::new(Body::from(description::document(exchange.root)));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(reply)
}

/// Counters and gauges for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Operation",
    responses(
        (status = 200, description = "Prometheus' text format", content_type = "text/plain", body = String),
        (status = 401, description = "Neither this machine nor a token", content_type = "application/problem+json", body = Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn metrics<E: Backend>(app: &App<E>, exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    if !exchange.client.is_local {
        let grants = app.grants(&exchange)?;
        if !grants.may_administer_all() {
            return Err(app.refuse(
                &grants,
                "metrics from another machine",
                "get one with roomAdmin and without a room",
            ));
        }
    }
    let text = app.counters.text() + &app.engine.metrics().await;
    Ok(plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "Operation",
    responses((status = 200, description = "Yes"), (status = 503, description = "A thread of it has ended: it aborts"))
)]
pub(super) fn healthz<E: Backend>(app: &App<E>, exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    if !app.engine.is_alive() {
        let text = "a part of the server has ended; the process aborts\n";
        return Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text.into()));
    }
    Ok(plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into()))
}

/// Does it take sessions?
#[utoipa::path(
    get, path = "/readyz", tag = "Operation",
    responses((status = 200, description = "Yes"), (status = 503, description = "Not now: it starts, stops, is stuck, or refuses viewers because it is busy"))
)]
pub(super) async fn readyz<E: Backend>(app: &App<E>, exchange: Exchange<'_>) -> Result<Reply, Problem> {
    only_reads(&exchange)?;
    let (status, text) = if *app.stopping.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else {
        match tokio::time::timeout(READY_TIMEOUT, app.engine.readiness()).await {
            Ok(Readiness::Ready) => (StatusCode::OK, "ready\n"),
            Ok(Readiness::Overloaded) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: the media threads are busy, new viewers are refused\n")
            }
            Ok(Readiness::Stuck) | Err(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: a media thread does not answer\n")
            }
        }
    };
    Ok(plain(status, "text/plain; charset=utf-8", text.into()))
}

/// Whether the sender may see this stream's status.
pub(super) fn may_see<E: Backend>(app: &App<E>, name: &StreamName, exchange: &Exchange<'_>) -> Result<(), Problem> {
    let grants = app.grants(exchange)?;
    // Who publishes it may see it too.
    if grants.may_watch(name) || (grants.has_token() && grants.may_publish(name)) {
        return Ok(());
    }
    Err(app.refuse(&grants, "this stream's status", "get one with roomJoin and this stream as its room"))
}

/// Refuses everything but reading.
pub(super) fn only_reads(exchange: &Exchange<'_>) -> Result<(), Problem> {
    match *exchange.method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method_not_allowed(READ_METHODS)),
    }
}

/// An answer in JSON.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(json) => {
            let mut reply = Response::new(Body::from(Bytes::from(json)));
            reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(_) => {
            let detail = "an answer could not be written";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail, "report this as a bug").into_reply()
        }
    }
}

fn plain(status: StatusCode, kind: &'static str, text: String) -> Reply {
    let mut reply = Response::new(Body::from(Bytes::from(text)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn no_stream() -> Problem {
    let fix = "publish it first; GET /api/v1/streams lists what there is";
    Problem::new(StatusCode::NOT_FOUND, "nobody publishes or awaits this stream", fix)
}
