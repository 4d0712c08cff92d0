//! Which pages of other origins may use us?
//!
//! WHIP, WHEP and what the API shows are for any page by default (`http.cors_origins = ["*"]`): they need a token
//! where that matters, and no cookie is ever used, so another origin gains nothing (threat T23). What ends streams
//! (`DELETE` on the API) is open only to origins that are named one by one. `/metrics` and pages are for nobody else.
//!
//! An address that names nothing answers with the same headers: a page of another origin can then read what is wrong
//! with it, where its browser would show a CORS error otherwise.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};

use super::Reply;
use super::api;
use super::route::Route;
use super::session::{self, FRAGMENT, SDP};
use super::{demand, layers, subscriptions, whep, whip};

/// Headers of answers that pages of other origins may read.
const EXPOSED: &str = "Location, ETag, Link, Retry-After";

/// Methods of a resource, for `Allow` and for preflights.
fn methods(route: &Route) -> &'static str {
    match route {
        Route::WhipEndpoint(_) => whip::ENDPOINT_METHODS,
        Route::WhipSession(..) => whip::SESSION_METHODS,
        Route::WhepEndpoint(_) => whep::ENDPOINT_METHODS,
        Route::WhepSession(..) => whep::SESSION_METHODS,
        Route::WhepLayers(..) => layers::METHODS,
        Route::WhipLayers(..) => demand::METHODS,
        Route::WhepEvents(..) | Route::WhipEvents(..) => subscriptions::METHODS,
        Route::WhepSubscription(..) | Route::WhipSubscription(..) => subscriptions::SUBSCRIPTION_METHODS,
        Route::Stream(_) => api::STREAM_METHODS,
        _ => api::READ_METHODS,
    }
}

/// Methods of an address that names nothing, for preflights: whichever it is, the answer says what is wrong.
const ANY_METHODS: &str = "POST, GET, HEAD, PATCH, DELETE, OPTIONS";
/// Methods of what looks like a session, for preflights: `POST` means a stream (see [`session::endpoint_of`]).
const SESSION_OR_STREAM_METHODS: &str = "PATCH, DELETE, POST, GET, HEAD, OPTIONS";

/// Methods that a preflight is told.
fn preflight_methods(route: Option<&Route>) -> &'static str {
    match route {
        None => ANY_METHODS,
        Some(Route::WhipSession(..) | Route::WhepSession(..)) => SESSION_OR_STREAM_METHODS,
        Some(route) => methods(route),
    }
}

/// Answers a request that names no resource, but asks for no resource either: a preflight (Fetch §4.8), which has to
/// succeed before the browser sends the request itself, or `OPTIONS *` (RFC 9110 §9.3.7).
pub(super) fn options_of_nothing(method: &Method, path: &str, request: &HeaderMap) -> Option<Reply> {
    let asks_nothing = path == "*" || request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    (*method == Method::OPTIONS && asks_nothing).then(|| {
        let mut reply = session::empty(StatusCode::OK);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ANY_METHODS));
        reply
    })
}

/// Answers `OPTIONS`, which needs no token (RFC 9725 §4.7.1). RFC 9725 §4.2: 200 with `Accept-Post`.
pub(super) fn options(route: &Route) -> Reply {
    let mut reply = session::empty(StatusCode::OK);
    let headers = reply.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods(route)));
    let accept_post = HeaderName::from_static("accept-post");
    let accept_patch = HeaderName::from_static("accept-patch");
    match route {
        Route::WhipEndpoint(_) | Route::WhepEndpoint(_) => {
            headers.insert(accept_post, HeaderValue::from_static(SDP));
        }
        Route::WhipSession(..) => {
            headers.insert(accept_post, HeaderValue::from_static(SDP));
            headers.insert(accept_patch, HeaderValue::from_static(FRAGMENT));
        }
        Route::WhepSession(..) => {
            headers.insert(accept_post, HeaderValue::from_static(SDP));
            headers.insert(accept_patch, HeaderValue::from_static(whep::PATCH_TYPES));
        }
        _ => {}
    }
    reply
}

/// Adds the CORS headers that an answer needs. `route` is `None` where the address names nothing, `origins` for any.
pub(super) fn allow(
    route: Option<&Route>,
    method: &Method,
    request: &HeaderMap,
    origins: Option<&[String]>,
    reply: &mut HeaderMap,
) {
    let shared = route.is_none_or(|route| match route {
        Route::WhipEndpoint(_) | Route::WhipSession(..) | Route::WhipLayers(..) => true,
        Route::WhipEvents(..) | Route::WhipSubscription(..) => true,
        Route::WhepEndpoint(_) | Route::WhepSession(..) | Route::WhepLayers(..) => true,
        Route::WhepEvents(..) | Route::WhepSubscription(..) => true,
        Route::Streams | Route::Stream(_) | Route::Events(_) | Route::Time | Route::OpenApi => true,
        Route::Healthz | Route::Readyz | Route::Metrics => false,
        Route::Home | Route::PublishPage | Route::WatchPage | Route::Asset(_) => false,
    });
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(|value| value.to_str().ok());
    let administers = matches!(route, Some(Route::Stream(_))) && (*method == Method::DELETE || asked == Some("DELETE"));
    let allowed = match origins {
        None if shared && !administers => HeaderValue::from_static("*"),
        Some(origins) if shared => {
            reply.append(header::VARY, HeaderValue::from_static("Origin"));
            let origin = request.get(header::ORIGIN);
            let text = origin.and_then(|origin| origin.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
            match origin {
                Some(origin) if origins.contains(&text) => origin.clone(),
                _ => return,
            }
        }
        _ => return,
    };
    reply.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    reply.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if *method == Method::OPTIONS {
        reply.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(preflight_methods(route)));
        let headers = HeaderValue::from_static("Authorization, Content-Type, If-Match");
        reply.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        // Chromium caps this at two hours.
        reply.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    }
}
