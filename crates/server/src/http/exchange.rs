//! Which facts about a request does its handler get?
//!
//! [`Exchange`] has the sender of the request, the resource it names and below which path the
//! client sees this server. [`Upload`] is the request's body: it is read when the handler asks for
//! it, within the size that the table declares for its media type and within [`BODY_TIMEOUT`].

use std::ops::Deref;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::limits::BODY_TIMEOUT;
use super::prefix::Prefix;
use super::problem::{Answer, Problem};
use super::remote::{Client, Remote};
use super::table::{Input, MediaType, Place, accept_header};

/// Facts about a request that its head and its body do not have.
#[derive(Clone)]
pub(super) struct Exchange(Arc<Known>);

/// See [`Exchange`].
pub(super) struct Known {
    pub(super) client: Client,
    pub(super) remote: Remote,
    /// The path below which clients see this server: addresses in answers begin with it.
    pub(super) prefix: Prefix,
    /// What leads from the answer to the server's root, for pages and documents.
    pub(super) root: String,
    pub(super) place: Place,
}

impl Exchange {
    pub(super) fn new(known: Known) -> Self {
        Self(Arc::new(known))
    }
}

impl Deref for Exchange {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Exchange {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unwritable)
    }
}

/// A request whose body the handler may read.
pub(super) struct Upload {
    headers: HeaderMap,
    body: Body,
    /// What the table declares for the resource and the method.
    input: Input,
    accept_header: Option<header::HeaderName>,
}

impl<S: Sync> FromRequest<S> for Upload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let exchange = Exchange::from_request_parts(&mut parts, state).await?;
        // Of a method that declares no body, none is read.
        let input = exchange.place.row.input(&parts.method).unwrap_or(Input::Any { most_bytes: 0 });
        Ok(Self { headers: parts.headers, body, input, accept_header: accept_header(&parts.method) })
    }
}

impl Upload {
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the media type that the request names: lower case, without parameters.
    pub(super) fn named_type(&self) -> Option<String> {
        let value = self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Returns the media type of the resource that the request names.
    ///
    /// # Errors
    ///
    /// 415 with those that there are.
    pub(super) fn media_type(&self) -> Result<MediaType, Problem> {
        self.known_type().ok_or_else(|| self.unsupported_type())
    }

    /// Returns 415, with the media types that the resource takes.
    pub(super) fn unsupported_type(&self) -> Problem {
        match (self.input.accepted(), &self.accept_header) {
            (Some(accepted), Some(header)) => Problem::unsupported_type(&accepted, header.clone()),
            _ => Problem::unwritable(),
        }
    }

    fn known_type(&self) -> Option<MediaType> {
        let Input::Types(types) = self.input else { return None };
        let named = self.named_type()?;
        types.iter().find(|known| known.name == named).copied()
    }

    /// Whether the body announces, before it is read, that it is not empty.
    pub(super) fn announces_content(&self) -> bool {
        self.body.size_hint().lower() > 0
    }

    /// Reads the body. It must be UTF-8.
    ///
    /// # Errors
    ///
    /// 413 if it is too long, 408 if it does not arrive in time, 400 if it breaks off or is no
    /// text.
    pub(super) async fn text(self) -> Result<String, Problem> {
        let most_bytes = self.known_type().map_or(self.input.most_bytes(), |known| known.most_bytes);
        let bytes = read(self.body, most_bytes).await?;
        String::from_utf8(bytes.into())
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8", "send SDP as text"))
    }
}

/// Reads a body: at most `limit` bytes, within [`BODY_TIMEOUT`].
///
/// Grows as bytes arrive, never by what `Content-Length` claims.
async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    // What a client claims to send is refused before it is sent.
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    tokio::time::timeout(BODY_TIMEOUT, read_all(body, limit)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail, "send it faster"))
    })
}

async fn read_all(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off", "send it whole");
        // Trailers are of no interest.
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Problem::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// Answers a method that a resource does not have.
pub(super) async fn refuse_method(exchange: Exchange) -> Answer {
    Err(Problem::method_not_allowed(&exchange.place.row.allow()))
}
