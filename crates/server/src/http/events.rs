//! How does a page hear that a stream changes?
//!
//! By server-sent events: the status at once, whenever it has changed, and every 2 s. Streams that do not exist yet
//! can be awaited. The number of open event streams is bounded; each ends when its reader is gone or the server stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use media::StreamName;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
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

/// One server-sent event as it goes over the wire. `data` is one line.
pub(super) fn written(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

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
    let permit = permit(app)?;
    let (reader, receiver) = mpsc::channel(QUEUE);
    if exchange.method == hyper::Method::GET {
        let newest = app.event_hub.newest(&app.engine, &stream);
        let stopping = app.stopping.clone();
        tokio::spawn(async move {
            tell(newest, reader, stopping).await;
            drop(permit);
        });
    }
    Ok(stream_of(receiver))
}

/// Takes one of the places for event streams; it is free again when the permit is dropped.
pub(super) fn permit<E>(app: &App<E>) -> Result<OwnedSemaphorePermit, Problem> {
    if *app.stopping.borrow() {
        return Err(Problem::shutting_down());
    }
    Arc::clone(&app.event_streams).try_acquire_owned().map_err(|_| {
        let fix = "try again later, or poll the status; the option limits.event_streams sets the limit";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many event streams are open", fix)
            .with(header::RETRY_AFTER, "10")
    })
}

/// The answer that goes on for as long as there are events.
pub(super) fn stream_of(events: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Stream(events));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// What is known of a stream: nothing until the engine was asked for the first time.
pub(super) type Newest = Option<Arc<Told>>;

/// A stream's status.
pub(super) struct Told {
    pub(super) status: StreamStatus,
    /// The same as it goes over the wire.
    event: Bytes,
}

/// What the readers of each stream are told. One task per stream asks the engine, however many read: with a thousand
/// open pages a change is one question, not a thousand.
#[derive(Default)]
pub(super) struct Hub {
    streams: Mutex<HashMap<StreamName, watch::Sender<Newest>>>,
}

impl Hub {
    /// Returns what is known of a stream, now and when it changes.
    pub(super) fn newest<E: Backend>(self: &Arc<Self>, engine: &E, stream: &StreamName) -> watch::Receiver<Newest> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = streams.get(stream) {
            return newest.subscribe();
        }
        let (newest, receiver) = watch::channel(None);
        streams.insert(stream.clone(), newest.clone());
        tokio::spawn(ask(Arc::clone(self), engine.clone(), stream.clone(), newest));
        receiver
    }

    /// Forgets a stream that nobody reads. Returns whether it did.
    fn forget(&self, stream: &StreamName) -> bool {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = streams.get(stream).is_some_and(|newest| newest.receiver_count() == 0);
        if unread {
            streams.remove(stream);
        }
        unread
    }
}

/// Asks for one stream's status as long as anyone reads it.
async fn ask<E: Backend>(hub: Arc<Hub>, engine: E, stream: StreamName, newest: watch::Sender<Newest>) {
    let mut changes = engine.changes();
    loop {
        // From here on a change wakes us again.
        changes.borrow_and_update();
        let asked_at = Instant::now();
        let Some(status) = super::unless_it_panics(engine.stream(&stream)).await else {
            if newest.receiver_count() == 0 && hub.forget(&stream) {
                return;
            }
            sleep(INTERVAL).await;
            continue;
        };
        let json = serde_json::to_string(&status).unwrap_or_default();
        let event = Bytes::from(written("status", &json));
        newest.send_if_modified(|newest| {
            let changed = newest.as_ref().is_none_or(|told| told.event != event);
            *newest = Some(Arc::new(Told { status, event }));
            changed
        });
        let changed = tokio::select! {
            () = newest.closed() => {
                if hub.forget(&stream) {
                    return;
                }
                false
            }
            () = sleep_until(asked_at + INTERVAL) => false,
            // An engine that has ended changes no more; the interval goes on.
            Ok(()) = changes.changed() => true,
        };
        if changed {
            sleep(REST).await;
        }
    }
}

/// Tells a reader until it is gone or the server stops.
async fn tell(mut newest: watch::Receiver<Newest>, reader: mpsc::Sender<Bytes>, mut stopping: watch::Receiver<bool>) {
    loop {
        let event = newest.borrow_and_update().as_ref().map(|told| told.event.clone());
        if let Some(event) = event
            && reader.send(event).await.is_err()
        {
            return;
        }
        tokio::select! {
            () = reader.closed() => return,
            () = has_stopped(&mut stopping) => return,
            () = sleep(INTERVAL) => {}
            Ok(()) = newest.changed() => {}
        }
    }
}

/// Returns when the server stops.
pub(super) async fn has_stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
