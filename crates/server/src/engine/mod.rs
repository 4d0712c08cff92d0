//! What does HTTP need from everything below it?
//!
//! [`Engine`] is the one handle: cheap to clone, async, and the only place where the tokio world meets
//! the media threads. All decisions are made by [`control::Engine`]; here is the task that drives it
//! ([`driver`]), its start, its log lines, its metrics, and the [`dialect`] in which HTTP speaks of
//! its values.

mod addresses;
pub(crate) mod dialect;
mod driver;
mod events;
mod metrics;
mod notices;
mod start;
#[cfg(test)]
mod tests;

pub(crate) use addresses::candidates;
pub use control::Role;
pub use control::engine::{IceFragment, Opened, Owner, Publish, Readiness, Refusal, Trickled, Watch};
pub use dialect::failure::{FailedSession, PublishFailure};
pub use dialect::stream::{
    AudioStatus, LayerStatus, PublisherStatus, StreamState, StreamStatus, VideoStatus, WantedLayer,
};
pub use dialect::viewer::{SentReport, TransportReport, ViewerReport};
pub use dialect::warnings::StreamWarning;
pub use dialect::wish::LayerWish;
pub(crate) use start::SOCKET_BUFFER_BYTES;

use std::time::Duration;

use media::{SessionId, StreamName};
use shards::plane::Liveness;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::MediaConfig;

/// The one handle on streams and sessions.
#[derive(Clone)]
pub struct Engine {
    asks: mpsc::Sender<Ask>,
    changes: watch::Receiver<u64>,
    liveness: Liveness,
}

impl Engine {
    /// Starts the media plane and everything that drives it.
    ///
    /// # Errors
    ///
    /// One line that names the option to change.
    pub async fn start(config: &MediaConfig) -> anyhow::Result<Engine> {
        start::start(config)
    }

    /// Creates an engine whose questions go to the caller: a test answers them in the place of the
    /// control task. `changes` is what [`Engine::changes`] returns.
    #[cfg(test)]
    pub(crate) fn of_asks(changes: watch::Receiver<u64>) -> (Engine, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(1);
        (Engine { asks, changes, liveness: Liveness::new() }, receiver)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.ok()?;
        match tokio::time::timeout(PATIENCE, answer).await.ok()? {
            Ok(answer) => Some(answer),
            Err(_) if self.asks.is_closed() => None,
            // The control task panicked with this request, and goes on with others. As with a task
            // that is joined, the panic is passed on to the caller; HTTP answers 500.
            Err(_) => std::panic::resume_unwind(Box::new("the control task panicked with this request")),
        }
    }

    /// Whether the control task and all media threads run.
    pub fn is_alive(&self) -> bool {
        self.liveness.is_alive() && !self.asks.is_closed()
    }

    /// Opens a publisher's session.
    pub async fn publish(&self, request: Publish) -> Result<Opened, Refusal> {
        self.ask(|reply| Ask::Publish(request, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Opens a viewer's session.
    pub async fn watch(&self, request: Watch) -> Result<Opened, Refusal> {
        self.ask(|reply| Ask::Watch(request, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Takes a viewer's answer to the server's offer.
    pub async fn accept_answer(&self, session: SessionId, answer: String) -> Result<(), Refusal> {
        self.ask(|reply| Ask::Answer(session, answer, reply)).await.unwrap_or(Err(Refusal::NoSuchSession))
    }

    /// Takes candidates, or restarts ICE when the fragment carries new credentials. `if_match` is the
    /// unquoted tag of the request (`None`: none was sent, `Some("*")`: any).
    pub async fn trickle(
        &self,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
    ) -> Result<Trickled, Refusal> {
        self.ask(|reply| Ask::Trickle(session, fragment, if_match, reply)).await.unwrap_or(Err(Refusal::NoSuchSession))
    }

    /// Returns a session's stream, role and identity, for checking the token of a PATCH, DELETE or
    /// GET.
    pub async fn owner(&self, session: SessionId) -> Option<Owner> {
        self.ask(|reply| Ask::Owner(session, reply)).await.flatten()
    }

    /// Returns a session whose handshake failed lately.
    pub async fn why_failed(&self, session: SessionId) -> Option<FailedSession> {
        self.ask(|reply| Ask::WhyFailed(session, reply)).await.flatten()
    }

    /// Ends a session. Returns whether there was one.
    pub async fn close(&self, session: SessionId) -> bool {
        self.ask(|reply| Ask::Close(session, reply)).await.unwrap_or(false)
    }

    /// What one viewer is sent.
    pub async fn report(&self, session: SessionId) -> Option<ViewerReport> {
        self.ask(|reply| Ask::Report(session, reply)).await.flatten()
    }

    /// A viewer wishes something of the video.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchLayer`], [`Refusal::NoSuchSession`].
    pub async fn wish(&self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        self.ask(|reply| Ask::Wish(session, wish, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// All streams that have a publisher or viewers, by name.
    pub async fn streams(&self) -> Vec<StreamStatus> {
        self.ask(Ask::Streams).await.unwrap_or_default()
    }

    /// One stream; a `waiting` one without viewers if it is unknown.
    pub async fn stream(&self, name: &StreamName) -> StreamStatus {
        let known = self.ask(|reply| Ask::Stream(name.clone(), reply)).await.flatten();
        known.unwrap_or_else(|| StreamStatus::unknown(name))
    }

    /// The value is a counter that grows when something about any stream has changed: re-read
    /// [`Engine::stream`] by it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Ends a stream's publisher and viewers. Returns whether there were any.
    pub async fn kick(&self, stream: &StreamName) -> bool {
        self.ask(|reply| Ask::Kick(stream.clone(), reply)).await.unwrap_or(false)
    }

    /// Counters and gauges of everything below, in Prometheus' text format (without HTTP's own).
    pub async fn metrics(&self) -> String {
        self.ask(Ask::Metrics).await.unwrap_or_default()
    }

    /// Whether all shards and desks answer.
    pub async fn readiness(&self) -> Readiness {
        self.ask(Ask::IsReady).await.unwrap_or(Readiness::Stuck)
    }

    /// Says goodbye to every session (RTCP BYE, DTLS close_notify) and ends the threads; returns when done.
    pub async fn shut_down(&self) {
        self.ask(Ask::ShutDown).await;
    }
}

/// Time that HTTP waits for the control task. The engine answers every request within
/// [`control::engine::ANSWER_WITHIN`]; a task that needs a second more hangs, and must not hang its
/// clients.
const PATIENCE: Duration = control::engine::ANSWER_WITHIN.saturating_add(Duration::from_secs(1));

/// Asked of the control task, with the way back to the caller.
pub(crate) enum Ask {
    Publish(Publish, oneshot::Sender<Result<Opened, Refusal>>),
    Watch(Watch, oneshot::Sender<Result<Opened, Refusal>>),
    Answer(SessionId, String, oneshot::Sender<Result<(), Refusal>>),
    Trickle(SessionId, IceFragment, Option<String>, oneshot::Sender<Result<Trickled, Refusal>>),
    Owner(SessionId, oneshot::Sender<Option<Owner>>),
    WhyFailed(SessionId, oneshot::Sender<Option<FailedSession>>),
    Close(SessionId, oneshot::Sender<bool>),
    Report(SessionId, oneshot::Sender<Option<ViewerReport>>),
    Wish(SessionId, LayerWish, oneshot::Sender<Result<(), Refusal>>),
    Streams(oneshot::Sender<Vec<StreamStatus>>),
    Stream(StreamName, oneshot::Sender<Option<StreamStatus>>),
    Kick(StreamName, oneshot::Sender<bool>),
    Metrics(oneshot::Sender<String>),
    IsReady(oneshot::Sender<Readiness>),
    #[cfg(test)]
    Panic(oneshot::Sender<()>),
    ShutDown(oneshot::Sender<()>),
}
