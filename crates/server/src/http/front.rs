//! What happens to a request from its head to its answer?
//!
//! [`Front::respond`] takes every request: it finds its sender and the resource that it names,
//! lets the router's handler answer, and adds what every answer carries: CORS, security headers,
//! one line in the log, one count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use media::StreamName;
use tokio::sync::watch;
use tower_service::Service;

use super::app::App;
use super::body::Reply;
use super::counters::Counters;
use super::exchange::{Exchange, Known};
use super::panics::unless_it_panics;
use super::prefix::{self, Prefix};
use super::problem::Problem;
use super::remote::{Client, Remote};
use super::resources;
use super::table::cors::{self, Asked};
use super::table::openapi::Document;
use super::table::{Index, Table};
use crate::config::{Cidr, Config};
use crate::engine::Engine;

/// Everything that answers requests.
pub struct Front {
    index: Index,
    router: Router,
    counters: Arc<Counters>,
    cors_origins: Option<Vec<String>>,
    trusted_proxies: Vec<Cidr>,
    base_path: Prefix,
}

impl Front {
    /// Creates what answers; it says it is not ready once `stopping` is true.
    pub fn new(engine: Engine, config: &Config, stopping: watch::Receiver<bool>) -> Self {
        Self::of(resources::table(), engine, config, stopping)
    }

    /// Creates what answers requests for the resources of a table.
    pub(super) fn of(table: Table<Arc<App>>, engine: Engine, config: &Config, stopping: watch::Receiver<bool>) -> Self {
        let Table { index, router, description } = table;
        let counters = Arc::new(Counters::new(index.templates()));
        let document = Document::new(&description);
        let app = Arc::new(App::new(engine, config, Arc::clone(&counters), document, stopping));
        Self {
            index,
            router: router.with_state(app),
            counters,
            cors_origins: config.http.cors_origins.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            base_path: config.http.base_path.clone(),
        }
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether the peer is a proxy that the configuration trusts.
    pub(super) fn trusts(&self, remote: &Remote) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(remote.peer.ip()))
    }

    #[cfg(test)]
    pub(super) fn templates(&self) -> Vec<String> {
        self.index.templates()
    }

    /// Answers one request.
    pub async fn respond<B>(&self, request: Request<B>, remote: &Remote) -> Reply
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began_at = Instant::now();
        let client = Client::of(remote.peer, request.headers(), &self.trusted_proxies);
        let asked = Asked::of(request.method(), request.headers());
        let method = request.method().clone();
        let path = request.uri().path();
        let forwarded = if client.is_proxied { Prefix::forwarded(request.headers()) } else { None };
        let find = |path: &str| self.index.find(path, request.uri().query());
        let (found, prefix) = prefix::place(&self.base_path, forwarded, path, find);
        let root = prefix::root(&prefix, path);

        let (mut reply, row, stream) = match found {
            Ok(place) => {
                let (row, stream) = (Arc::clone(&place.row), place.stream.clone());
                let reply = if method == Method::OPTIONS {
                    row.options()
                } else {
                    let exchange = Exchange::new(Known { client, remote: remote.clone(), prefix, root, place });
                    let handler = self.router.clone().call(routed(request.map(Body::new), exchange));
                    let mut reply = match unless_it_panics(handler).await {
                        Some(Ok(reply)) => reply,
                        Some(Err(never)) => match never {},
                        None => Problem::panicked().into_reply(),
                    };
                    without_routers_own(&mut reply);
                    reply
                };
                (reply, row, stream)
            }
            Err(error) => {
                let nothing = self.index.nothing();
                let reply = cors::options_of_nothing(nothing, &asked, path)
                    .or_else(|| resources::of_illegal_name(&error, &root, &method, request.headers()))
                    .unwrap_or_else(|| Problem::from(error).into_reply());
                (reply, Arc::clone(nothing), None)
            }
        };
        cors::allow(&row, &asked, self.cors_origins.as_deref(), reply.headers_mut());
        every_answer(reply.headers_mut());
        if method == Method::HEAD {
            without_body(&mut reply);
        }
        self.counters.answered(&row.template, reply.status());
        log(&method, &row.template, stream.as_ref(), reply.status(), began_at.elapsed(), client);
        reply
    }
}

/// Prepares a request for the router, which has each resource at one path.
fn routed(mut request: Request<Body>, exchange: Exchange) -> Request<Body> {
    let path = exchange.place.path();
    let uri = request.uri();
    if uri.path() != path {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path + &query).ok();
        // Made of a URI and of names that need no encoding, it is one. If not, the router finds
        // nothing.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    request.extensions_mut().insert(exchange);
    request
}

/// RFC 9110 §9.3.2: the same head as GET's, and no body.
fn without_body(reply: &mut Reply) {
    if let Some(length) = reply.body().size_hint().exact().filter(|length| *length > 0) {
        reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *reply.body_mut() = Body::empty();
}

/// Threats T18 and T23.
fn every_answer(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Takes off an answer what the router adds by itself.
fn without_routers_own(reply: &mut Reply) {
    // The router writes the length of every body that it knows. hyper writes those that RFC 9110 §8.6
    // asks for, and none with 204 and 304.
    if reply.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0") {
        reply.headers_mut().remove(header::CONTENT_LENGTH);
    }
    // It adds `Allow` to every answer to a method that a resource does not have.
    if reply.status() != StatusCode::METHOD_NOT_ALLOWED {
        reply.headers_mut().remove(header::ALLOW);
    }
}

/// One line per request: what an operator cares about at INFO, the rest at DEBUG; which stream only
/// at DEBUG.
fn log(method: &Method, route: &str, stream: Option<&StreamName>, status: StatusCode, took: Duration, client: Client) {
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
