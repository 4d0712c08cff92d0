//! How do server-sent events go over the wire?

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::sync::{mpsc, watch};

use crate::http::body::{self, Reply};

/// Writes one event. `data` is one line.
pub(in crate::http) fn written(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// Returns the answer that goes on for as long as there are events.
pub(in crate::http) fn stream_of(events: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = body::fresh(StatusCode::OK, "text/event-stream", body::chunks(events));
    // nginx would hold events back.
    reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    reply
}

/// Returns when the server stops.
pub(in crate::http) async fn has_stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
