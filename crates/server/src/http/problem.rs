//! How do we say no?
//!
//! With `application/problem+json` (RFC 9457) that tells the fault and, in `fix`, what to do
//! about it.

use std::time::Duration;

use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{self, Reply};
use super::table::address::NoRoute;
use crate::auth::{Anonymous, TokenError};
use crate::engine::Refusal;

/// The media type of an error answer (RFC 9457 §3).
pub(super) const PROBLEM: &str = "application/problem+json";

/// What a handler returns.
pub(super) type Answer = Result<Reply, Problem>;

/// An error answer.
#[derive(Debug)]
pub struct Problem {
    /// Boxed: the way of no should not make the way of yes larger.
    content: Box<Content>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An error as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Content {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong.
    detail: String,
    /// What to do.
    fix: String,
    /// With 406: the codec that is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
    /// With 406: the codecs that the viewer offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<Vec<String>>,
    /// With the 404 of a session whose DTLS handshake failed: the class of the reason, as in
    /// `nowcast_dtls_failures_total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<&'static str>,
}

impl Problem {
    /// Creates an answer that names the fault and the remedy.
    pub fn new(status: StatusCode, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        let content = Box::new(Content {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            fix: fix.into(),
            codec: None,
            offered: None,
            handshake: None,
        });
        Self { content, headers: Vec::new() }
    }

    /// Adds a header; one whose value cannot be sent is left out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail, "check the address; GET /api/openapi.json describes what there is")
    }

    /// 400: the name of a stream breaks this rule.
    pub fn illegal_name(rule: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rule, "choose another stream name")
    }

    /// 405 with the methods there are.
    pub fn method_not_allowed(allow: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this resource does not know the method",
            format!("use one of: {allow}"),
        )
        .with(header::ALLOW, allow)
    }

    /// 401: a token is needed.
    pub fn token_needed(what: &str) -> Self {
        let fix = "send “Authorization: Bearer <token>” (a token in the URL is not read); `nowcast token` makes tokens";
        Self::new(StatusCode::UNAUTHORIZED, format!("{what} needs an access token"), fix)
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"nowcast\"")
    }

    /// 401: the token is not believed. `anonymous` is what needs none.
    pub fn wrong_token(error: TokenError, anonymous: Anonymous) -> Self {
        let fix = match error {
            TokenError::NotBearer => "send “Authorization: Bearer <token>”",
            TokenError::NotGenuine => {
                "sign it with HS256 by one of auth.keys, the key's name in “iss”; `nowcast token` does. A stream key is \
                 no token: the stream's name belongs into the address"
            }
            TokenError::BadClaims => {
                "see what `nowcast token` makes: iss, exp, sub (at most 256 bytes), video.room and so on"
            }
            TokenError::Expired => "get a new token",
            TokenError::NotYet => "wait, or compare the clocks of this server and of the one that signs",
            TokenError::LivesTooLong => "let “exp” be at most 24 hours ahead",
        };
        let without = match (anonymous.publish, anonymous.watch) {
            (true, true) => "; or send none: this server needs no token to publish and to watch",
            (true, false) => "; or send none to publish: that needs no token here",
            (false, true) => "; or send none to watch: that needs no token here",
            (false, false) => "",
        };
        Self::new(StatusCode::UNAUTHORIZED, error.to_string(), format!("{fix}{without}"))
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"nowcast\", error=\"invalid_token\"")
    }

    /// 403: the token does not allow this.
    pub fn forbidden(what: &str, fix: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("the token does not allow this: {what}"), fix)
            .with(header::WWW_AUTHENTICATE, "Bearer realm=\"nowcast\", error=\"insufficient_scope\"")
    }

    /// 429.
    pub fn too_often(what: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + 1;
        let unit = if seconds == 1 { "second" } else { "seconds" };
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("too many {what} from this address"),
            format!("wait {seconds} {unit}"),
        )
        .with(header::RETRY_AFTER, seconds.to_string())
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail, "send less: no real description is this long")
    }

    /// 500: an answer could not be written, which is a bug of the server.
    pub fn unwritable() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an answer could not be written", "report this as a bug")
    }

    /// 415, with the media types that are taken. `header` is `Accept-Post` or `Accept-Patch`.
    pub fn unsupported_type(accepted: &str, header: HeaderName) -> Self {
        let fix = format!("send it as “Content-Type: {accepted}”");
        let detail = "the body is of another type than this resource takes";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, fix).with(header, accepted)
    }

    /// 500: a bug of ours.
    pub fn panicked() -> Self {
        let fix = "try again; if it happens again, report it with the server's log of this moment";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server panicked with this request", fix)
    }

    /// 503.
    pub fn shutting_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down", "try again in a few seconds")
            .with(header::RETRY_AFTER, "5")
    }

    /// The answer.
    pub fn into_reply(self) -> Reply {
        let json = serde_json::to_vec(&*self.content).unwrap_or_default();
        let status = StatusCode::from_u16(self.content.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = body::fresh(status, PROBLEM, json);
        for (name, value) in self.headers {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Reply {
        self.into_reply()
    }
}

impl From<NoRoute> for Problem {
    fn from(error: NoRoute) -> Self {
        match error {
            NoRoute::NotFound => Self::not_found("there is nothing at this address"),
            NoRoute::IllegalName { rule, .. } => Self::illegal_name(rule),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::BadSdp { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                detail,
                "send the SDP as a WebRTC stack writes it (RFC 9429), unchanged",
            ),
            Refusal::NotAcceptable { fix, .. } => Self::new(StatusCode::NOT_ACCEPTABLE, detail, fix),
            Refusal::NoSuchLayer { known, .. } => {
                let fix = match known.as_slice() {
                    [] => "the publisher sends one layer; send {} to watch it".to_owned(),
                    known => {
                        format!("wish one of {}, or send {{}} to leave the choice to the server", known.join(", "))
                    }
                };
                Self::new(StatusCode::BAD_REQUEST, detail, fix)
            }
            Refusal::UnsupportedCodec { published, offered } => {
                let fix =
                    format!("watch with a player that decodes {published}, or publish with a codec that it decodes");
                let mut problem = Self::new(StatusCode::NOT_ACCEPTABLE, detail, fix);
                problem.content.codec = Some(published);
                problem.content.offered = Some(offered);
                problem
            }
            Refusal::StreamBusy { retry_after } => {
                let fix = "end the other publisher or choose another name; if it was yours and crashed, try again in some \
                           seconds (Retry-After); streams.takeover = \"replace\" lets the newest win";
                // Rounded up: a second that has begun has not passed. RFC 9110 §10.2.3 knows whole
                // seconds only.
                let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
                Self::new(StatusCode::CONFLICT, detail, fix).with(header::RETRY_AFTER, seconds.to_string())
            }
            Refusal::NoSuchSession => {
                let fix = "the session has ended; begin a new one with POST";
                Self::new(StatusCode::NOT_FOUND, detail, fix)
            }
            Refusal::HandshakeFailed { reason, .. } => {
                let fix = "mend what the detail names in the client, and begin a new session with POST";
                let mut problem = Self::new(StatusCode::NOT_FOUND, detail, fix);
                problem.content.handshake = Some(reason);
                problem
            }
            Refusal::StaleEtag { current } => {
                let fix = "ICE was restarted meanwhile: send candidates of the current generation with its entity tag";
                Self::new(StatusCode::PRECONDITION_FAILED, detail, fix).with(header::ETAG, format!("\"{current}\""))
            }
            Refusal::Full { limit } => {
                let fix = format!("try again later; the option {limit} sets the limit");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail, fix).with(header::RETRY_AFTER, "10")
            }
            Refusal::Overloaded => {
                let fix = "try again in some seconds; add cores (media.shards) or raise limits.busy_percent";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail, fix).with(header::RETRY_AFTER, "5")
            }
            Refusal::ShuttingDown => Self::shutting_down(),
        }
    }
}
