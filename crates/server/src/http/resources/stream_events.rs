//! How does a page hear that a stream changes?
//!
//! By server-sent events: the status at once, whenever it has changed, and every 2 s. Streams that
//! do not exist yet can be awaited. The number of open event streams is bounded; each ends when its
//! reader is gone or the server stops.

use std::sync::Arc;

use axum::extract::State;
use hyper::Method;
use tokio::sync::mpsc;

use super::streams;
use crate::engine::StreamStatus;
use crate::http::app::{App, Sender};
use crate::http::events::{hub, sse};
use crate::http::exchange::Exchange;
use crate::http::problem::{Answer, Content, PROBLEM};

/// Events that a slow reader may leave; then we wait for it and tell it the newest only.
const QUEUE: usize = 2;

/// A stream's status as it changes, as server-sent events.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}/events", tag = "API",
    params(("stream" = String, Path,
            description = "Stream name; may contain slashes. It need not exist yet")),
    responses(
        (status = 200, content_type = "text/event-stream", body = StreamStatus,
         description = "`event: status` with a StreamStatus, at once, on change and every 2 s"),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "No or a wrong token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
        (status = 503, content_type = PROBLEM, body = Content,
         description = "Too many event streams"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    exchange: Exchange,
    Sender(grants): Sender,
    method: Method,
) -> Answer {
    let stream = streams::named(&exchange)?;
    streams::check_visible(&app, stream, &grants)?;
    let permit = app.event_permit()?;
    let (reader, receiver) = mpsc::channel(QUEUE);
    if method == Method::GET {
        let newest = app.event_hub.newest(&app.engine, stream);
        let stopping = app.stopping.clone();
        tokio::spawn(async move {
            hub::tell(newest, reader, stopping).await;
            drop(permit);
        });
    }
    Ok(sse::stream_of(receiver))
}

#[cfg(test)]
mod tests;
