//! How does a handler write a value into an answer?

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::body::{self, Reply};
use super::problem::Problem;

/// Returns 200 with a value in JSON.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(json) => body::fresh(StatusCode::OK, "application/json", json),
        Err(_) => Problem::unwritable().into_reply(),
    }
}

/// Returns the value of a header whose text the server made; an error is a bug of the server.
pub(super) fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::unwritable())
}
