//! Which status did a stream have last, and when does it change?
//!
//! One task per stream asks the engine, however many read: with a thousand open pages a change is
//! one question, not a thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use media::StreamName;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::sse::{has_stopped, written};
use crate::engine::{Engine, StreamStatus};
use crate::http::panics::unless_it_panics;

/// The contract of 0001: at least this often.
const INTERVAL: Duration = Duration::from_secs(2);
/// Changes that follow one another faster are told together. A guess: faster than a person sees.
const REST: Duration = Duration::from_millis(100);

/// The last status of a stream; `None` until the engine has answered for the first time.
pub(in crate::http) type Newest = Option<Arc<Told>>;

/// A stream's status.
pub(in crate::http) struct Told {
    pub(in crate::http) status: StreamStatus,
    /// The same as it goes over the wire.
    event: Bytes,
}

/// What the readers of each stream are told.
#[derive(Default)]
pub(in crate::http) struct Hub {
    streams: Mutex<HashMap<StreamName, watch::Sender<Newest>>>,
}

impl Hub {
    /// Returns the last status of a stream, now and when it changes.
    pub(in crate::http) fn newest(self: &Arc<Self>, engine: &Engine, stream: &StreamName) -> watch::Receiver<Newest> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = streams.get(stream) {
            return newest.subscribe();
        }
        let (newest, receiver) = watch::channel(None);
        streams.insert(stream.clone(), newest.clone());
        tokio::spawn(ask(Arc::clone(self), engine.clone(), stream.clone(), newest));
        receiver
    }

    /// Forgets a stream that has no reader. Returns whether it did.
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
async fn ask(hub: Arc<Hub>, engine: Engine, stream: StreamName, newest: watch::Sender<Newest>) {
    let mut changes = engine.changes();
    loop {
        // From here on a change wakes us again.
        changes.borrow_and_update();
        let asked_at = Instant::now();
        let Some(status) = unless_it_panics(engine.stream(&stream)).await else {
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
pub(in crate::http) async fn tell(
    mut newest: watch::Receiver<Newest>,
    reader: mpsc::Sender<Bytes>,
    mut stopping: watch::Receiver<bool>,
) {
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
