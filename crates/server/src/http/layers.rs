//! Which layers are there for a viewer, and which does it wish?
//!
//! The layer selection that early WHEP drafts described (draft-murillo-whep-00 §4.6.2): `POST` with a JSON object names an
//! `encodingId`. Ours goes on: a largest height, and pausing the picture while nobody looks.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use media::{SessionId, StreamName};
use serde::Serialize;
use utoipa::ToSchema;

use super::backend::Backend;
use super::problem::Problem;
use super::{App, Exchange, Reply, api, body, whep};
use crate::engine::{LayerStatus, LayerWish, Refusal};

/// Methods of a viewer's layers.
pub(super) const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// A wish names a few fields.
const WISH_BYTES: usize = 1024;

/// What a viewer may be shown, and what it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Layers {
    /// What the publisher sends at the moment, best first.
    layers: Vec<LayerStatus>,
    /// The `rid` of what is shown, where simulcast names one.
    active: Option<String>,
    /// Why: `best` (there is no better one), `wished`, `network` (it carries no more), `hidden`.
    reason: Option<&'static str>,
    /// What the viewer asked for.
    wish: LayerWish,
}

/// Say which layer to send, or leave the choice to the server again (with `{}`).
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/layers", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    request_body(content = LayerWish, content_type = "application/json"),
    responses(
        (status = 200, description = "The wish is kept for as long as the session lasts", body = Layers),
        (status = 400, description = "It is not such an object, or there is no layer of that name", content_type = "application/problem+json", body = super::problem::Content),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = super::problem::Content),
        (status = 429, description = "Too many requests from this address", content_type = "application/problem+json", body = super::problem::Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn choose<E, B>(
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
    if ![Method::GET, Method::HEAD, Method::POST].contains(exchange.method) {
        return Err(Problem::method_not_allowed(METHODS));
    }
    whep::may_touch(app, &stream, session, &exchange).await?;
    if *exchange.method == Method::POST {
        app.may_patch(&exchange)?;
        let text = body::read_text(body, WISH_BYTES).await?;
        let wish = LayerWish::read(&text).map_err(|error| {
            let fix = "send a JSON object such as {\"encodingId\":\"h\"}, {\"maxHeight\":480}, {\"paused\":true} or {}";
            Problem::new(StatusCode::BAD_REQUEST, error, fix)
        })?;
        app.engine.wish(session, wish).await?;
        app.subscriptions.wished(session);
    }
    layers(app, &stream, session).await
}

/// Which layers are there, and which is sent?
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/layers", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    responses(
        (status = 200, description = "The layers", body = Layers),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = super::problem::Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn layers<E: Backend>(
    app: &App<E>,
    stream: &StreamName,
    session: SessionId,
) -> Result<Reply, Problem> {
    let report = app.engine.report(session).await.ok_or(Refusal::NoSuchSession)?;
    let layers = app.engine.stream(stream).await.video.map(|video| video.layers).unwrap_or_default();
    let (active, reason, wish) = match report.video {
        Some(video) => (video.layer, Some(video.reason), video.wish),
        None => (None, None, LayerWish::default()),
    };
    Ok(api::json(&Layers { layers, active, reason, wish }))
}
