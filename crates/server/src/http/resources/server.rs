//! What does the server say of itself?
//!
//! Its clock and the description of its API, for all.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer;
use crate::http::app::App;
use crate::http::body::{self, Reply};
use crate::http::exchange::Exchange;

/// The server's clock.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Time {
    /// Milliseconds since the Unix epoch, with a fraction.
    now_ms: f64,
}

/// The server's wall clock.
#[utoipa::path(
    get, path = "/api/v1/time", tag = "API",
    responses((status = 200, description = "Now", body = Time))
)]
pub(super) async fn time() -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    answer::json(&Time { now_ms: now.as_secs_f64() * 1e3 })
}

/// This description.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "API",
    responses((status = 200, description = "OpenAPI 3.1"))
)]
pub(super) async fn openapi(State(app): State<Arc<App>>, exchange: Exchange) -> Reply {
    body::fresh(StatusCode::OK, "application/json", app.document.at(&exchange.root))
}
