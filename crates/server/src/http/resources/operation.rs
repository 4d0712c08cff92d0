//! How does an operator learn how the server is?
//!
//! `/metrics` is for this machine itself and for `roomAdmin` of the whole server. Health is for
//! all.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use hyper::StatusCode;

use crate::engine::Readiness;
use crate::http::app::App;
use crate::http::body::{self, Reply};
use crate::http::exchange::Exchange;
use crate::http::problem::{Answer, Content, PROBLEM};

/// How long readiness may take to find out before it means no.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Counters and gauges for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "Operation",
    responses(
        (status = 200, content_type = "text/plain", body = String,
         description = "Prometheus' text format"),
        (status = 401, content_type = PROBLEM, body = Content,
         description = "Neither this machine nor a token"),
        (status = 403, content_type = PROBLEM, body = Content,
         description = "The token does not allow it"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn metrics(State(app): State<Arc<App>>, exchange: Exchange, request: Request) -> Answer {
    if !exchange.client.is_local {
        let grants = app.grants(request.headers(), &exchange)?;
        if !grants.may_administer_all() {
            let fix = "get one with roomAdmin and without a room";
            return Err(app.refuse(&grants, "metrics from another machine", fix));
        }
    }
    let text = app.counters.text() + &app.engine.metrics().await;
    Ok(body::fresh(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "Operation",
    responses(
        (status = 200, description = "Yes"),
        (status = 503, description = "A thread of it has ended: it aborts"),
    )
)]
pub(super) async fn healthz(State(app): State<Arc<App>>) -> Reply {
    if !app.engine.is_alive() {
        let text = "a part of the server has ended; the process aborts\n";
        return plain(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    plain(StatusCode::OK, "ok\n")
}

/// Does it take sessions?
#[utoipa::path(
    get, path = "/readyz", tag = "Operation",
    responses(
        (status = 200, description = "Yes"),
        (status = 503, description = "Not now: it starts, stops, is stuck, or refuses viewers \
         because it is busy"),
    )
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Reply {
    let (status, text) = if *app.stopping.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else {
        match tokio::time::timeout(READY_TIMEOUT, app.engine.readiness()).await {
            Ok(Readiness::Ready) => (StatusCode::OK, "ready\n"),
            Ok(Readiness::Overloaded) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: the media threads are busy, new viewers are refused\n")
            }
            Ok(Readiness::Stuck) | Err(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready: a media thread does not answer\n")
            }
        }
    };
    plain(status, text)
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    body::fresh(status, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests;
