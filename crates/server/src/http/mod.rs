//! What does the world see?
//!
//! [`App::respond`] takes every request: it finds the resource ([`route`]), asks who may ([`crate::auth`]), lets the
//! resource answer and adds what every answer carries. The parts: [`whip`], [`whep`] and [`session`] for streams,
//! [`layers`] for viewers, [`demand`] for publishers, [`subscriptions`] for both, [`api`] and [`events`] for programs, [`pages`] for people, [`accept`] and [`tls`] for connections.
//!
//! Not here: anything that knows what an SDP says.

pub mod accept;
mod api;
pub mod backend;
pub mod body;
mod cors;
mod counters;
mod demand;
mod events;
pub mod frames;
mod layers;
pub mod limits;
mod news;
mod openapi;
mod pages;
pub mod prefix;
mod problem;
mod rate;
pub mod remote;
pub mod route;
pub mod sdpfrag;
mod session;
mod subscriptions;
pub mod tls;
mod whep;
mod whip;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use media::{SessionId, StreamName};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Authority, Grants};
use crate::config::{Cidr, Config, IceServer};
use crate::engine::Role;
use backend::Backend;
use body::Body;
use counters::Counters;
use limits::{PATCH_PER_SECOND, SESSION_BURST, WRONG_TOKENS_PER_MINUTE};
use prefix::Prefix;
use problem::Problem;
use rate::RateLimit;
use remote::{Client, Remote};
use route::{NoRoute, Route};

/// An answer.
pub type Reply = Response<Body>;

/// Everything that answers requests.
pub struct App<E> {
    engine: E,
    authority: Authority,
    ice_servers: Vec<IceServer>,
    cors_origins: Option<Vec<String>>,
    trusted_proxies: Vec<Cidr>,
    base_path: Prefix,
    posts: RateLimit,
    patches: RateLimit,
    wrong_tokens: RateLimit,
    event_streams: Arc<Semaphore>,
    event_hub: Arc<events::Hub>,
    subscriptions: Arc<subscriptions::Subscriptions>,
    counters: Arc<Counters>,
    stopping: watch::Receiver<bool>,
}

/// One request, as far as handlers look at it.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    client: Client,
    remote: &'a Remote,
    /// The path below which clients see this server: addresses in answers begin with it.
    prefix: &'a str,
    /// What leads from this answer to the server's root, for pages and documents.
    root: &'a str,
}

impl<E: Backend> App<E> {
    /// Creates what answers; it says it is not ready once `stopping` is true.
    pub fn new(engine: E, config: &Config, stopping: watch::Receiver<bool>) -> Self {
        let sessions = config.http.limits.new_sessions_per_ip;
        let second = Duration::from_secs(1);
        Self {
            engine,
            authority: Authority::new(config.auth.keys.clone(), config.auth.anonymous)
                .ignoring_wrong_tokens(config.dev),
            ice_servers: config.http.ice_servers.clone(),
            cors_origins: config.http.cors_origins.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            base_path: config.http.base_path.clone(),
            posts: RateLimit::new(sessions, second, sessions.saturating_mul(SESSION_BURST)),
            patches: RateLimit::new(if sessions == 0 { 0 } else { PATCH_PER_SECOND }, second, PATCH_PER_SECOND),
            wrong_tokens: RateLimit::new(WRONG_TOKENS_PER_MINUTE, Duration::from_secs(60), WRONG_TOKENS_PER_MINUTE),
            event_streams: Arc::new(Semaphore::new(config.http.limits.event_streams)),
            event_hub: Arc::default(),
            subscriptions: Arc::default(),
            counters: Arc::default(),
            stopping,
        }
    }

    /// Answers one request.
    pub async fn respond<B>(&self, request: Request<B>, remote: &Remote) -> Reply
    where
        B: hyper::body::Body<Data = Bytes>,
    {
        let began_at = Instant::now();
        let (head, body) = request.into_parts();
        let client = Client::of(remote.peer, &head.headers, &self.trusted_proxies);
        let path = head.uri.path();
        let forwarded = if client.is_proxied { Prefix::forwarded(&head.headers) } else { None };
        let (route, prefix) = prefix::place(&self.base_path, forwarded, path, head.uri.query());
        let root = prefix::root(&prefix, path);
        let (method, headers) = (&head.method, &head.headers);
        let exchange = Exchange { method, headers, client, remote, prefix: prefix.as_str(), root: &root };
        let mut reply = match &route {
            Ok(route) if *method == Method::OPTIONS => cors::options(route),
            Ok(route) => {
                let answer = unless_it_panics(self.answer(route.clone(), exchange, body)).await;
                answer.unwrap_or_else(|| Err(Problem::panicked())).unwrap_or_else(Problem::into_reply)
            }
            Err(error) => cors::options_of_nothing(method, path, headers)
                .or_else(|| pages::of_illegal_name(error, exchange))
                .unwrap_or_else(|| no_route(error).into_reply()),
        };
        cors::allow(route.as_ref().ok(), method, headers, self.cors_origins.as_deref(), reply.headers_mut());
        every_answer(reply.headers_mut());
        if head.method == Method::HEAD {
            without_body(&mut reply);
        }
        let template = route.as_ref().map_or(route::TEMPLATES.len() - 1, Route::template);
        self.counters.answered(template, reply.status());
        let stream = route.as_ref().ok().and_then(Route::stream);
        log(&head.method, template, stream, reply.status(), began_at.elapsed(), client);
        reply
    }

    async fn answer<B>(&self, route: Route, exchange: Exchange<'_>, body: B) -> Result<Reply, Problem>
    where
        B: hyper::body::Body<Data = Bytes>,
    {
        match route {
            Route::WhipEndpoint(stream) => whip::endpoint(self, stream, exchange, body).await,
            Route::WhipSession(stream, id) => whip::session(self, stream, id, exchange, body).await,
            Route::WhipLayers(stream, id) => demand::wanted(self, stream, id, exchange).await,
            Route::WhipEvents(stream, id) => demand::subscribe(self, stream, id, exchange, body).await,
            Route::WhipSubscription(stream, session, id) => {
                demand::subscription(self, stream, session, id, exchange).await
            }
            Route::WhepEndpoint(stream) => whep::endpoint(self, stream, exchange, body).await,
            Route::WhepSession(stream, id) => whep::session(self, stream, id, exchange, body).await,
            Route::WhepLayers(stream, id) => layers::choose(self, stream, id, exchange, body).await,
            Route::WhepEvents(stream, id) => subscriptions::subscribe(self, stream, id, exchange, body).await,
            Route::WhepSubscription(stream, session, id) => {
                subscriptions::subscription(self, stream, session, id, exchange).await
            }
            Route::Streams => api::streams(self, exchange).await,
            Route::Stream(stream) => api::stream_resource(self, &stream, exchange).await,
            Route::Events(stream) => events::events(self, stream, exchange).await,
            Route::Time => api::time(exchange),
            Route::OpenApi => api::openapi(exchange),
            Route::Metrics => api::metrics(self, exchange).await,
            Route::Healthz => api::healthz(self, exchange),
            Route::Readyz => api::readyz(self, exchange).await,
            Route::Home => pages::page(pages::Page::Home, exchange.root, exchange.method, exchange.headers),
            Route::PublishPage => pages::page(pages::Page::Publish, exchange.root, exchange.method, exchange.headers),
            Route::WatchPage => pages::page(pages::Page::Watch, exchange.root, exchange.method, exchange.headers),
            Route::Asset(path) => pages::asset(&path, exchange.method, exchange.headers),
        }
    }

    /// Returns what the sender may do. Wrong tokens are counted per address; beyond the limit the answer is 429. A
    /// right token always passes, so that nobody can lock out those who share an address with them.
    fn grants(&self, exchange: &Exchange<'_>) -> Result<Grants, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.authority.grants(exchange.headers, now) {
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

    /// Returns what the sender may do with a session. The token that a session was opened with stays good for it when it
    /// has expired: otherwise the session could be neither restarted nor ended, while its media goes on.
    ///
    /// An expired token is taken if it is genuine, the session is of that stream and role, and the token's identity is
    /// the one that opened it. What the token allows is asked by the caller, as of every token.
    async fn session_grants(
        &self,
        stream: &StreamName,
        session: SessionId,
        role: Role,
        exchange: &Exchange<'_>,
    ) -> Result<Grants, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some(grants) = self.authority.grants_of_expired(exchange.headers, now)
            && let Some(owner) = self.engine.owner(session).await
            && (&owner.stream, owner.role, owner.identity.as_deref()) == (stream, role, grants.identity())
        {
            return Ok(grants);
        }
        self.grants(exchange)
    }

    /// 401 without a token, 403 with one.
    fn refuse(&self, grants: &Grants, what: &str, fix: &str) -> Problem {
        if grants.has_token() { Problem::forbidden(what, fix) } else { Problem::token_needed(what) }
    }

    /// The stream that the address names, or else the token's room.
    fn stream_or_room(&self, stream: Option<StreamName>, grants: &Grants) -> Result<StreamName, Problem> {
        if let Some(stream) = stream {
            return Ok(stream);
        }
        let Some(room) = grants.room() else {
            let fix = "POST to /whip/{stream} or /whep/{stream}, or let the token's video.room name it";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "no stream is named", fix));
        };
        StreamName::parse(room).map_err(|error| no_route(&NoRoute::IllegalName(error.to_string())))
    }

    /// Whether this address may open another session now.
    fn may_open(&self, exchange: &Exchange<'_>) -> Result<(), Problem> {
        if *self.stopping.borrow() {
            return Err(Problem::shutting_down());
        }
        self.limited(&self.posts, "new sessions", exchange)
    }

    /// Whether this address may `PATCH` now.
    fn may_patch(&self, exchange: &Exchange<'_>) -> Result<(), Problem> {
        self.limited(&self.patches, "PATCH requests", exchange)
    }

    fn limited(&self, limit: &RateLimit, what: &str, exchange: &Exchange<'_>) -> Result<(), Problem> {
        limit.take(exchange.client.address.ip(), Instant::now()).map_err(|wait| {
            self.counters.rate_limited();
            Problem::too_often(what, wait)
        })
    }
}

/// Waits for a handler. Returns `None` if it panicked: its connection goes on with other requests.
async fn unless_it_panics<T>(handler: impl Future<Output = T>) -> Option<T> {
    let mut handler = std::pin::pin!(handler);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn no_route(error: &NoRoute) -> Problem {
    match error {
        NoRoute::NotFound => Problem::not_found("there is nothing at this address"),
        NoRoute::IllegalName(rule) | NoRoute::IllegalNameOfPage(_, rule) => {
            Problem::new(StatusCode::BAD_REQUEST, rule.clone(), "choose another stream name")
        }
    }
}

/// RFC 9110 §9.3.2: the same head as GET's, and no body.
fn without_body(reply: &mut Reply) {
    if let Body::Whole(bytes) = std::mem::replace(reply.body_mut(), Body::empty())
        && !bytes.is_empty()
    {
        reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
}

/// Threats T18 and T23.
fn every_answer(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// One line per request: what an operator cares about at INFO, the rest at DEBUG; which stream only at DEBUG.
fn log(
    method: &Method,
    template: usize,
    stream: Option<&StreamName>,
    status: StatusCode,
    took: Duration,
    client: Client,
) {
    let route = route::TEMPLATES.get(template).copied().unwrap_or("other");
    let (status, ms, ip) = (status.as_u16(), took.as_secs_f64() * 1e3, client.address.ip());
    let changes = matches!(*method, Method::POST | Method::DELETE) && status < 400;
    if status >= 500 && status != 503 {
        tracing::warn!(%method, route, status, ms, %ip, "request failed");
    } else if changes {
        tracing::info!(%method, route, status, ms, %ip, "request");
    } else {
        tracing::debug!(%method, route, status, ms, %ip, stream = stream.map(StreamName::as_str), "request");
    }
}
