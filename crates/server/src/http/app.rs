//! What do all handlers share?
//!
//! [`App`] holds the engine, the rules of tokens and rates, and the event streams that
//! are open. It is the state of the router.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use media::{SessionId, StreamName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::counters::Counters;
use super::events::hub::Hub;
use super::events::subscriptions::Subscriptions;
use super::exchange::Exchange;
use super::limits::{PATCH_PER_SECOND, SESSION_BURST, WRONG_TOKENS_PER_MINUTE};
use super::problem::Problem;
use super::rate::RateLimit;
use super::table::openapi::Document;
use crate::auth::{Authority, Grants};
use crate::config::{Config, IceServer};
use crate::engine::{Engine, Role};

/// What all handlers share.
pub(super) struct App {
    pub(super) engine: Engine,
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) event_hub: Arc<Hub>,
    pub(super) subscriptions: Arc<Subscriptions>,
    pub(super) counters: Arc<Counters>,
    pub(super) document: Document,
    /// Becomes true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
    authority: Authority,
    posts: RateLimit,
    patches: RateLimit,
    wrong_tokens: RateLimit,
    event_streams: Arc<Semaphore>,
}

/// What the sender of a request may do, by its token or without one.
pub(super) struct Sender(pub(super) Grants);

impl FromRequestParts<Arc<App>> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let exchange = Exchange::from_request_parts(parts, app).await?;
        app.grants(&parts.headers, &exchange).map(Self)
    }
}

impl App {
    /// Creates what handlers share. New sessions and event streams are refused once `stopping` is
    /// true.
    pub(super) fn new(
        engine: Engine,
        config: &Config,
        counters: Arc<Counters>,
        document: Document,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let sessions = config.http.limits.new_sessions_per_ip;
        let second = Duration::from_secs(1);
        let minute = Duration::from_secs(60);
        Self {
            engine,
            ice_servers: config.http.ice_servers.clone(),
            event_hub: Arc::default(),
            subscriptions: Arc::default(),
            counters,
            document,
            stopping,
            authority: Authority::new(config.auth.keys.clone(), config.auth.anonymous)
                .ignoring_wrong_tokens(config.dev),
            posts: RateLimit::new(sessions, second, sessions.saturating_mul(SESSION_BURST)),
            patches: RateLimit::new(if sessions == 0 { 0 } else { PATCH_PER_SECOND }, second, PATCH_PER_SECOND),
            wrong_tokens: RateLimit::new(WRONG_TOKENS_PER_MINUTE, minute, WRONG_TOKENS_PER_MINUTE),
            event_streams: Arc::new(Semaphore::new(config.http.limits.event_streams)),
        }
    }

    /// Returns the sender's rights. Wrong tokens are counted per address; beyond the limit the
    /// answer is 429. A right token always passes, so a sender with wrong tokens cannot lock out
    /// the others that share its address.
    pub(super) fn grants(&self, headers: &HeaderMap, exchange: &Exchange) -> Result<Grants, Problem> {
        match self.authority.grants(headers, unix_seconds()) {
            Ok(grants) => {
                if let (true, Some(slot)) = (grants.has_token(), &exchange.remote.slot) {
                    slot.authenticated();
                }
                Ok(grants)
            }
            Err(error) => {
                self.counters.wrong_token();
                match self.wrong_tokens.take(exchange.client.address.ip(), Instant::now()) {
                    Ok(()) => Err(Problem::wrong_token(error, self.authority.anonymous())),
                    Err(wait) => Err(Problem::too_often("wrong tokens", wait)),
                }
            }
        }
    }

    /// Returns what the sender may do with a session. The token that a session was opened with
    /// stays good for it when it has expired: otherwise the session could be neither restarted nor
    /// ended, while its media goes on.
    ///
    /// An expired token is taken if it is genuine, the session is of that stream and role, and the
    /// token's identity is the one that opened it. What the token allows is asked by the caller, as
    /// of every token.
    pub(super) async fn session_grants(
        &self,
        stream: &StreamName,
        session: SessionId,
        role: Role,
        headers: &HeaderMap,
        exchange: &Exchange,
    ) -> Result<Grants, Problem> {
        if let Some(grants) = self.authority.grants_of_expired(headers, unix_seconds())
            && let Some(owner) = self.engine.owner(session).await
            && (&owner.stream, owner.role, owner.identity.as_deref()) == (stream, role, grants.identity())
        {
            return Ok(grants);
        }
        self.grants(headers, exchange)
    }

    /// Returns 401 without a token, 403 with one.
    pub(super) fn refuse(&self, grants: &Grants, what: &str, fix: &str) -> Problem {
        if grants.has_token() { Problem::forbidden(what, fix) } else { Problem::token_needed(what) }
    }

    /// Refuses a new session if the server stops, or if the sender's address has opened too many
    /// lately.
    pub(super) fn may_open(&self, exchange: &Exchange) -> Result<(), Problem> {
        if *self.stopping.borrow() {
            return Err(Problem::shutting_down());
        }
        self.limited(&self.posts, "new sessions", exchange)
    }

    /// Refuses a change of a session if the sender's address has changed too much lately.
    pub(super) fn may_patch(&self, exchange: &Exchange) -> Result<(), Problem> {
        self.limited(&self.patches, "PATCH requests", exchange)
    }

    fn limited(&self, limit: &RateLimit, what: &str, exchange: &Exchange) -> Result<(), Problem> {
        limit.take(exchange.client.address.ip(), Instant::now()).map_err(|wait| {
            self.counters.rate_limited();
            Problem::too_often(what, wait)
        })
    }

    /// Takes one of the places for event streams; it is free again when the permit is dropped.
    pub(super) fn event_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if *self.stopping.borrow() {
            return Err(Problem::shutting_down());
        }
        Arc::clone(&self.event_streams).try_acquire_owned().map_err(|_| {
            let fix = "try again later, or poll the status; the option limits.event_streams sets the limit";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many event streams are open", fix)
                .with(hyper::header::RETRY_AFTER, "10")
        })
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
