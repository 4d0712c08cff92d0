//! What do the handlers need from below?
//!
//! The same as [`Engine`] offers. A trait only so that the tests of HTTP can put a double in its place and see
//! every answer; the server has the one implementation.

use std::future::Future;

use media::{SessionId, StreamName};

use crate::engine::{
    Engine, FailedSession, IceFragment, LayerWish, Opened, Owner, Publish, Readiness, Refusal, StreamStatus, Trickled,
    ViewerReport, Watch,
};

/// Streams and sessions; see the methods of [`Engine`].
pub trait Backend: Clone + Send + Sync + 'static {
    /// See [`Engine::publish`].
    fn publish(&self, request: Publish) -> impl Future<Output = Result<Opened, Refusal>> + Send;
    /// See [`Engine::watch`].
    fn watch(&self, request: Watch) -> impl Future<Output = Result<Opened, Refusal>> + Send;
    /// See [`Engine::accept_answer`].
    fn accept_answer(&self, session: SessionId, answer: String) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// See [`Engine::trickle`].
    fn trickle(
        &self,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
    ) -> impl Future<Output = Result<Trickled, Refusal>> + Send;
    /// See [`Engine::owner`].
    fn owner(&self, session: SessionId) -> impl Future<Output = Option<Owner>> + Send;
    /// See [`Engine::why_failed`].
    fn why_failed(&self, session: SessionId) -> impl Future<Output = Option<FailedSession>> + Send;
    /// See [`Engine::close`].
    fn close(&self, session: SessionId) -> impl Future<Output = bool> + Send;
    /// See [`Engine::report`].
    fn report(&self, session: SessionId) -> impl Future<Output = Option<ViewerReport>> + Send;
    /// See [`Engine::wish`].
    fn wish(&self, session: SessionId, wish: LayerWish) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// See [`Engine::streams`].
    fn streams(&self) -> impl Future<Output = Vec<StreamStatus>> + Send;
    /// See [`Engine::stream`].
    fn stream(&self, name: &StreamName) -> impl Future<Output = StreamStatus> + Send;
    /// See [`Engine::changes`].
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
    /// See [`Engine::kick`].
    fn kick(&self, stream: &StreamName) -> impl Future<Output = bool> + Send;
    /// See [`Engine::metrics`].
    fn metrics(&self) -> impl Future<Output = String> + Send;
    /// See [`Engine::is_alive`].
    fn is_alive(&self) -> bool;
    /// See [`Engine::readiness`].
    fn readiness(&self) -> impl Future<Output = Readiness> + Send;
}

impl Backend for Engine {
    async fn publish(&self, request: Publish) -> Result<Opened, Refusal> {
        Engine::publish(self, request).await
    }

    async fn watch(&self, request: Watch) -> Result<Opened, Refusal> {
        Engine::watch(self, request).await
    }

    async fn accept_answer(&self, session: SessionId, answer: String) -> Result<(), Refusal> {
        Engine::accept_answer(self, session, answer).await
    }

    async fn trickle(
        &self,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
    ) -> Result<Trickled, Refusal> {
        Engine::trickle(self, session, fragment, if_match).await
    }

    async fn owner(&self, session: SessionId) -> Option<Owner> {
        Engine::owner(self, session).await
    }

    async fn why_failed(&self, session: SessionId) -> Option<FailedSession> {
        Engine::why_failed(self, session).await
    }

    async fn close(&self, session: SessionId) -> bool {
        Engine::close(self, session).await
    }

    async fn report(&self, session: SessionId) -> Option<ViewerReport> {
        Engine::report(self, session).await
    }

    async fn wish(&self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        Engine::wish(self, session, wish).await
    }

    async fn streams(&self) -> Vec<StreamStatus> {
        Engine::streams(self).await
    }

    async fn stream(&self, name: &StreamName) -> StreamStatus {
        Engine::stream(self, name).await
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        Engine::changes(self)
    }

    async fn kick(&self, stream: &StreamName) -> bool {
        Engine::kick(self, stream).await
    }

    async fn metrics(&self) -> String {
        Engine::metrics(self).await
    }

    fn is_alive(&self) -> bool {
        Engine::is_alive(self)
    }

    async fn readiness(&self) -> Readiness {
        Engine::readiness(self).await
    }
}
