//! How does a page hear that a stream changes?
//!
//! By server-sent events: the status at once, whenever it has changed, and every 2 s. Streams that do not exist yet
//! can be awaited. The number of open event streams is bounded; each ends when its reader is gone or the server stops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use media::StreamName;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::backend::Backend;
use super::body::Body;
use super::problem::{Content, Problem};
use super::{App, Exchange, Reply, api};
use crate::engine::StreamStatus;

/// The contract of 0001: at least this often.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that follow one another faster are told together. A guess: faster than a person sees.
const REST: Duration = Duration::from_millis(100);
/// Events that a slow reader may leave; then we wait for it and tell it the newest only.
const QUEUE: usize = 2;

/// A stream's status as it changes, as server-sent events.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}/events", tag = "API",
    params(("stream" = String, Path, description = "Stream name; may contain slashes. It need not exist yet")),
    responses(
        (status = 200, description = "`event: status` with a StreamStatus, at once, on change and every 2 s",
         content_type = "text/event-stream", body = StreamStatus),
        (status = 401, description = "No or a wrong token", content_type = "application/problem+json", body = Content),
        (status = 403, description = "The token does not allow it", content_type = "application/problem+json", body = Content),
        (status = 503, description = "Too many event streams", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn events<E: Backend>(
    app: &App<E>,
    stream: StreamName,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    api::only_reads(&exchange)?;
    api::may_see(app, &stream, &exchange)?;
    if *app.stopping.borrow() {
        return Err(Problem::shutting_down());
    }
    let Ok(permit) = Arc::clone(&app.event_streams).try_acquire_owned() else {
        let fix = "try again later, or poll the status; the option limits.event_streams sets the limit";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many event streams are open", fix)
            .with(header::RETRY_AFTER, "10"));
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    if exchange.method == hyper::Method::GET {
        let (engine, stopping) = (app.engine.clone(), app.stopping.clone());
        tokio::spawn(async move {
            tell(engine, stream, sender, stopping).await;
            drop(permit);
        });
    }
    let mut reply = Response::new(Body::Stream(receiver));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(reply)
}

/// Tells a reader until it is gone or the server stops.
async fn tell<E: Backend>(
    engine: E,
    stream: StreamName,
    sender: mpsc::Sender<Bytes>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut changes = engine.changes();
    let mut last = None;
    let mut told_at = Instant::now();
    loop {
        // From here on a change wakes us again.
        changes.borrow_and_update();
        let status = engine.stream(&stream).await;
        let now = Instant::now();
        if last.as_ref() != Some(&status) || now >= told_at + INTERVAL {
            let json = serde_json::to_string(&status).unwrap_or_default();
            if sender.send(Bytes::from(format!("event: status\ndata: {json}\n\n"))).await.is_err() {
                return;
            }
            last = Some(status);
            told_at = Instant::now();
        }
        let changed = tokio::select! {
            () = sender.closed() => return,
            () = has_stopped(&mut stopping) => return,
            () = sleep_until(told_at + INTERVAL) => false,
            // An engine that has ended changes no more; the interval goes on.
            Ok(()) = changes.changed() => true,
        };
        if changed {
            sleep(REST).await;
        }
    }
}

async fn has_stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
