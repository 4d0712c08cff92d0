//! Which pages of other origins may use us?
//!
//! WHIP, WHEP and what the API shows are for any page by default (`http.cors_origins = ["*"]`):
//! they need a token where that matters, and no cookie is ever used, so another origin gains
//! nothing (threat T23). What ends streams (`DELETE` on the API) is open only to origins that are
//! named one by one. `/metrics` and pages are for no other origin. The table says which resource is
//! which ([`Row::is_shared`], [`Row::for_named_origins`]).
//!
//! An address that names nothing answers with the same headers: a page of another origin can then
//! read the fault, where its browser would show a CORS error otherwise.

use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};

use super::row::Row;
use crate::http::body::{self, Reply};

/// Headers of answers that pages of other origins may read.
const EXPOSED: &str = "Location, ETag, Link, Retry-After";
/// Headers of requests that pages of other origins may send.
const ALLOWED: &str = "Authorization, Content-Type, If-Match";
/// How long a browser may keep the answer to a preflight, in seconds. Chromium caps this at two
/// hours.
const MAX_AGE: &str = "7200";

/// What a request says of the page that sends it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: Method,
    origin: Option<HeaderValue>,
    /// The method that a preflight asks for.
    requested: Option<HeaderValue>,
}

impl Asked {
    /// Reads a request's head.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            method: method.clone(),
            origin: headers.get(header::ORIGIN).cloned(),
            requested: headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).cloned(),
        }
    }

    fn is_for(&self, method: &Method) -> bool {
        self.method == *method || self.requested.as_ref().is_some_and(|asked| asked == method.as_str())
    }
}

/// Answers a request that names no resource, but asks for no resource either: a preflight (Fetch
/// §4.8), which has to succeed before the browser sends the request itself, or `OPTIONS *` (RFC
/// 9110 §9.3.7).
pub(crate) fn options_of_nothing(nothing: &Row, asked: &Asked, path: &str) -> Option<Reply> {
    let asks_nothing = path == "*" || asked.requested.is_some();
    (asked.method == Method::OPTIONS && asks_nothing).then(|| {
        let mut reply = body::empty(StatusCode::OK);
        insert(reply.headers_mut(), header::ALLOW, &nothing.allow());
        reply
    })
}

/// Adds the CORS headers that an answer needs. `origins` is `None` where any origin is allowed.
pub(crate) fn allow(row: &Row, asked: &Asked, origins: Option<&[String]>, reply: &mut HeaderMap) {
    if !row.is_shared {
        return;
    }
    let allowed = match origins {
        None if row.for_named_origins.as_ref().is_some_and(|method| asked.is_for(method)) => return,
        None => HeaderValue::from_static("*"),
        Some(origins) => {
            reply.append(header::VARY, HeaderValue::from_static("Origin"));
            let text = asked.origin.as_ref().and_then(|origin| origin.to_str().ok()).unwrap_or_default();
            match &asked.origin {
                Some(origin) if origins.contains(&text.to_ascii_lowercase()) => origin.clone(),
                _ => return,
            }
        }
    };
    reply.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    reply.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if asked.method == Method::OPTIONS {
        insert(reply, header::ACCESS_CONTROL_ALLOW_METHODS, &row.preflight());
        reply.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
        reply.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    }
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
