//! What does the API look like to a machine?
//!
//! The description is generated from the handlers' own annotations; a test in `tests.rs` follows every path of it.

use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{api, demand, events, layers, subscriptions, whep, whip};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nowcast",
        description = "Live streams over WebRTC: WHIP (RFC 9725) to publish, WHEP to watch, and an API on both.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        whip::endpoint, whip::session, whep::endpoint, whep::session, whep::report, layers::choose, layers::layers,
        subscriptions::subscribe, subscriptions::read, subscriptions::end,
        demand::wanted, demand::subscribe, demand::read, demand::end,
        api::streams, api::stream, api::kick, events::events, api::time, api::openapi,
        api::metrics, api::healthz, api::readyz,
    ),
    modifiers(&Token)
)]
struct Description;

/// Access tokens.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("HS256, in the claim layout of LiveKit's access tokens; `nowcast token` makes them"))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Returns the description as JSON. `root` is the path or the relative reference that leads to the server's root.
///
/// It is made once: making it takes milliseconds, and anyone may ask for it.
pub(super) fn document(root: &str) -> Bytes {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| serde_json::to_string(&Description::openapi()).expect("a description is plain values"));
    // A server has one root, unless several proxies show it: the one that was asked for last is kept.
    static LAST: Mutex<Option<(String, Bytes)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, document)) = last.as_ref().filter(|(known, _)| known == root) {
        return document.clone();
    }
    let rest = DOCUMENT.strip_prefix('{').unwrap_or_default();
    // A prefix has unreserved characters only, so that it stands in JSON as it is.
    let document = Bytes::from(format!("{{\"servers\":[{{\"url\":\"{root}\"}}],{rest}"));
    *last = Some((root.to_owned(), document.clone()));
    document
}
