//! Which layers are there for a viewer, and which does it wish?
//!
//! The layer selection that early WHEP drafts described (draft-murillo-whep-00 §4.6.2): `POST` with
//! a JSON object names an `encodingId`. Ours goes on: a largest height, and pausing the picture
//! while the page is hidden.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::session::Session;
use super::whep::Whep;
use crate::engine::{LayerStatus, LayerWish, Refusal};
use crate::http::answer;
use crate::http::app::App;
use crate::http::exchange::Upload;
use crate::http::problem::{Answer, Content, PROBLEM, Problem};
use crate::http::table::Input;

/// A wish names a few fields.
pub(super) const WISH: Input = Input::Any { most_bytes: 1024 };

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

/// Which layers are there, and which is sent?
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/layers", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    responses(
        (status = 200, description = "The layers", body = Layers),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn layers(State(app): State<Arc<App>>, session: Session<Whep>) -> Answer {
    let report = app.engine.report(session.id).await.ok_or(Refusal::NoSuchSession)?;
    let video = app.engine.stream(&session.stream).await.video;
    let layers = video.map(|video| video.layers).unwrap_or_default();
    let (active, reason, wish) = match report.video {
        Some(video) => (video.layer, Some(video.reason), video.wish),
        None => (None, None, LayerWish::default()),
    };
    Ok(answer::json(&Layers { layers, active, reason, wish }))
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
        (status = 200, body = Layers,
         description = "The wish is kept for as long as the session lasts"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "It is not such an object, or there is no layer of that name"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many requests from this address"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn choose(State(app): State<Arc<App>>, session: Session<Whep>, wish: Upload) -> Answer {
    app.may_patch(&session.exchange)?;
    let wish = LayerWish::read(&wish.text().await?).map_err(|error| {
        let fix = "send a JSON object such as {\"encodingId\":\"h\"}, {\"maxHeight\":480}, {\"paused\":true} or {}";
        Problem::new(StatusCode::BAD_REQUEST, error, fix)
    })?;
    app.engine.wish(session.id, wish).await?;
    app.subscriptions.wished(session.id);
    layers(State(app), session).await
}

#[cfg(test)]
mod tests;
