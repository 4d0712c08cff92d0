//! What does a panic in a handler end?
//!
//! The request, or the stream of events, that it belongs to. The connection and its other requests
//! go on.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Waits for a handler. Returns `None` if it panicked.
pub(super) async fn unless_it_panics<T>(handler: impl Future<Output = T>) -> Option<T> {
    let mut handler = std::pin::pin!(handler);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
