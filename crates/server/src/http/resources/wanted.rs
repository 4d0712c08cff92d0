//! What does a publisher's audience have use for?
//!
//! The `wanted_layers` of the stream's status, on the session's own resource, so that it needs no
//! right to see the stream. `GET` of the session itself stays without content (RFC 9725 §4.1), so
//! they have an address below it; and they come as server-sent events ([`super::session_events`]).

use std::sync::Arc;

use axum::extract::State;

use super::session::Session;
use super::whip::Whip;
use crate::http::answer;
use crate::http::app::App;
use crate::http::events::demand::{Wanted, wanted_of};
use crate::http::problem::{Answer, Content, PROBLEM};

/// Which encodings and layers does the audience have use for?
#[utoipa::path(
    get, path = "/whip/{stream}/{session}/layers", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    responses(
        (status = 200, description = "What is wanted of each encoding", body = Wanted),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn wanted(State(app): State<Arc<App>>, session: Session<Whip>) -> Answer {
    Ok(answer::json(&wanted_of(&app.engine.stream(&session.stream).await)))
}
