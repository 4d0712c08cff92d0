//! How do media threads tell the control task what happened?
//!
//! By two queues, into which they put without ever waiting: events that change state, and behind them
//! what may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shards::PlaneEvent;
use shards::plane::EventSink;
use tokio::sync::mpsc;

/// Events that may be lost and wait for the control task (reports, snapshots, messages of viewers): a
/// second's worth of 20,000 viewers that all ask at once. More are dropped and counted. Events that
/// change state are not limited: they follow from sessions that the task admitted, and it admits none
/// while any of them waits.
pub(super) const ANSWERS: usize = 65_536;

/// The control task's end of both queues.
pub(super) struct Events {
    pub(super) changes: mpsc::UnboundedReceiver<PlaneEvent>,
    pub(super) answers: mpsc::Receiver<PlaneEvent>,
    /// Events that found the second queue full.
    pub(super) dropped: Arc<AtomicU64>,
}

/// Creates both queues, and the end for media threads.
pub(super) fn event_queues() -> (EventSink, Events) {
    let (change, changes) = mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel(ANSWERS);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    let sink = Arc::new(move |event: PlaneEvent| {
        if !event.may_be_lost() {
            // A task that is gone ends the process.
            let _ = change.send(event);
        } else if answer.try_send(event).is_err() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (sink, Events { changes, answers, dropped })
}
