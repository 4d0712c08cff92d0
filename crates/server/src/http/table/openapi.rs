//! What does the API look like to a machine?
//!
//! The description is generated from the handlers' own annotations, which the table collects; a
//! test in `http/tests/mod.rs` follows every path of it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Nowcast",
        description = "Live streams over WebRTC: WHIP (RFC 9725) to publish, WHEP to watch, and an API on both.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Token)
)]
struct Frame;

/// Access tokens.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("HS256, in the claim layout of LiveKit's access tokens; `nowcast token` makes them"))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Returns a description without any resource.
pub(super) fn frame() -> OpenApi {
    Frame::openapi()
}

/// The description as JSON. It is made once: making it takes milliseconds, and anyone may ask for
/// it.
#[derive(Debug)]
pub(crate) struct Document {
    /// What follows the address of the server.
    rest: String,
    /// The document for the root that was asked for last. A server has one root, unless several
    /// proxies show it.
    last: Mutex<Option<(String, Bytes)>>,
}

impl Document {
    /// Writes a description as JSON.
    pub(crate) fn new(description: &OpenApi) -> Self {
        let json = serde_json::to_string(description).expect("a description is plain values");
        Self { rest: json.strip_prefix('{').unwrap_or_default().to_owned(), last: Mutex::default() }
    }

    /// Returns the document. `root` is the path or the relative reference that leads to the
    /// server's root.
    pub(crate) fn at(&self, root: &str) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, document)) = last.as_ref().filter(|(known, _)| known == root) {
            return document.clone();
        }
        // A prefix has unreserved characters only, so that it stands in JSON as it is.
        let document = Bytes::from(format!("{{\"servers\":[{{\"url\":\"{root}\"}}],{}", self.rest));
        *last = Some((root.to_owned(), document.clone()));
        document
    }
}
