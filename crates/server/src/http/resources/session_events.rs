//! How does a viewer hear of its session, and a publisher of its own?
//!
//! By the server-sent events extension of WHEP (draft-murillo-whep-02 §4.6.1): `POST` to the
//! session's `sse` with the names of events makes a subscription; `GET` of what its `Location`
//! names reads it, `DELETE` ends it. WHIP has no such extension; its sessions have the same.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use hyper::{Method, StatusCode, header};
use tokio::sync::mpsc;

use super::session::{Protocol, Session};
use super::whep::Whep;
use super::whip::Whip;
use crate::http::answer::value;
use crate::http::app::App;
use crate::http::body;
use crate::http::events::demand::{self, Demand, Wanted};
use crate::http::events::news::{self, MediumLayers, News};
use crate::http::events::sse;
use crate::http::events::teller::{Teller, Told};
use crate::http::exchange::Upload;
use crate::http::panics::unless_it_panics;
use crate::http::problem::{Answer, Content, PROBLEM, Problem};
use crate::http::table::Input;
use crate::json;

/// A list names a few events.
pub(super) const LIST: Input = Input::Any { most_bytes: 1024 };
/// Chunks that a slow reader may leave; then its subscription waits for it and tells it the newest
/// only.
const QUEUE: usize = 1;

/// Subscribe to events of the session: a JSON array of `wantedlayers`, `viewercount`, `failed`; nothing for all.
#[utoipa::path(
    post, path = "/whip/{stream}/{session}/sse", tag = "WHIP", operation_id = "subscribe",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    request_body(content = Option<Vec<String>>, content_type = "application/json"),
    responses(
        (status = 201, description = "`Location` is the stream of events; a third subscription \
         of a session ends its first"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "It is not such an array, or names none of these events"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many requests from this address"),
        (status = 503, content_type = PROBLEM, body = Content,
         description = "Too many event streams"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn subscribe_publisher(State(app): State<Arc<App>>, session: Session<Whip>, list: Upload) -> Answer {
    let kinds = |list: &str| wanted(list, demand::Kind::ALL, demand::Kind::name);
    subscribe(&app, session, list, |list| kinds(list).map(|kinds| Told::Publisher(Demand::new(kinds)))).await
}

/// Read a subscription. Who reads it anew takes the place of who did before, and is told at once how it is.
#[utoipa::path(
    get, path = "/whip/{stream}/{session}/sse/{subscription}", tag = "WHIP", operation_id = "read",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = Wanted,
         description = "`event: wantedlayers` with such an object, at once and when it changes; \
         `event: viewercount` with `{\"viewercount\":3}`; \
         `event: failed` with `{\"reason\":\"signature\",\"detail\":\"…\"}`"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session or subscription"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn read_publisher(State(app): State<Arc<App>>, session: Session<Whip>, method: Method) -> Answer {
    read(&app, session, method).await
}

/// End a subscription.
#[utoipa::path(
    delete, path = "/whip/{stream}/{session}/sse/{subscription}", tag = "WHIP", operation_id = "end",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, description = "It has ended"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session or subscription"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn end_publisher(State(app): State<Arc<App>>, session: Session<Whip>) -> Answer {
    end(&app, session)
}

/// Subscribe to events of the session: a JSON array of `active`, `inactive`, `layers`, `viewercount`, `failed`; nothing for all.
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/sse", tag = "WHEP", operation_id = "subscribe",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    request_body(content = Option<Vec<String>>, content_type = "application/json"),
    responses(
        (status = 201, description = "`Location` is the stream of events; a third subscription \
         of a session ends its first"),
        (status = 400, content_type = PROBLEM, body = Content,
         description = "It is not such an array, or names none of these events"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session"),
        (status = 429, content_type = PROBLEM, body = Content,
         description = "Too many requests from this address"),
        (status = 503, content_type = PROBLEM, body = Content,
         description = "Too many event streams"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn subscribe_viewer(State(app): State<Arc<App>>, session: Session<Whep>, list: Upload) -> Answer {
    let kinds = |list: &str| wanted(list, news::Kind::ALL, news::Kind::name);
    subscribe(&app, session, list, |list| kinds(list).map(|kinds| Told::Viewer(News::new(kinds)))).await
}

/// Read a subscription. Who reads it anew takes the place of who did before, and is told at once how it is.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/sse/{subscription}", tag = "WHEP", operation_id = "read",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = MediumLayers,
         description = "`event: layers` with an object that has such an entry for the video's place in the \
         description; `event: viewercount` with `{\"viewercount\":3}`; \
         `event: active` and `event: inactive` with `{}`; \
         `event: failed` with `{\"reason\":\"signature\",\"detail\":\"…\"}`"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session or subscription"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn read_viewer(State(app): State<Arc<App>>, session: Session<Whep>, method: Method) -> Answer {
    read(&app, session, method).await
}

/// End a subscription.
#[utoipa::path(
    delete, path = "/whep/{stream}/{session}/sse/{subscription}", tag = "WHEP", operation_id = "end",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, description = "It has ended"),
        (status = 404, content_type = PROBLEM, body = Content,
         description = "No such session or subscription"),
    ),
    security((), ("token" = []))
)]
pub(super) async fn end_viewer(State(app): State<Arc<App>>, session: Session<Whep>) -> Answer {
    end(&app, session)
}

/// Makes a subscription and answers where it is. `told` reads the list of events.
async fn subscribe<P: Protocol>(
    app: &App,
    session: Session<P>,
    list: Upload,
    told: impl FnOnce(&str) -> Result<Told, Problem>,
) -> Answer {
    app.may_patch(&session.exchange)?;
    let mut told = told(&list.text().await?)?;
    let permit = app.event_permit()?;
    let orders = app.subscriptions.open(session.id);
    let id = orders.id;
    let location = format!("{}/sse/{id}", session.path());
    let teller = Teller {
        engine: app.engine.clone(),
        hub: Arc::clone(&app.event_hub),
        subscriptions: Arc::clone(&app.subscriptions),
        stopping: app.stopping.clone(),
        stream: session.stream,
        session: session.id,
    };
    tokio::spawn(async move {
        // After a panic as after its end: its place is free again.
        unless_it_panics(teller.run(&mut told, orders)).await;
        teller.subscriptions.close(session.id, id);
        drop(permit);
    });
    let mut reply = body::empty(StatusCode::CREATED);
    reply.headers_mut().insert(header::LOCATION, value(&location)?);
    Ok(reply)
}

async fn read<P: Protocol>(app: &App, session: Session<P>, method: Method) -> Answer {
    let number = session.exchange.place.number.unwrap_or_default();
    let readers = app.subscriptions.readers(session.id, number).ok_or_else(none_such)?;
    let (reader, receiver) = mpsc::channel::<Bytes>(QUEUE);
    if method == Method::GET {
        readers.send(reader).await.map_err(|_| none_such())?;
    }
    Ok(sse::stream_of(receiver))
}

fn end<P: Protocol>(app: &App, session: Session<P>) -> Answer {
    let number = session.exchange.place.number.unwrap_or_default();
    let is_closed = app.subscriptions.close(session.id, number);
    if is_closed { Ok(body::empty(StatusCode::OK)) } else { Err(none_such()) }
}

fn none_such() -> Problem {
    let fix = "subscribe again: POST to the session's /sse";
    Problem::new(StatusCode::NOT_FOUND, "there is no such subscription (any more)", fix)
}

/// Returns the events of `all` that a body names: nothing means all. Names that we do not know are
/// those of other servers. Clients that take the list out of our `Link` header as a whole, or split
/// it at commas, mean the names in it.
fn wanted<K: Copy, const N: usize>(
    text: &str,
    all: [K; N],
    name: impl Fn(K) -> &'static str,
) -> Result<Vec<K>, Problem> {
    let fix = || format!("send a JSON array of some of: {}", all.map(&name).join(", "));
    if text.trim().is_empty() {
        return Ok(all.to_vec());
    }
    let names = json::strings(text).map_err(|fault| {
        let detail = format!("the list of events cannot be read: {fault}");
        Problem::new(StatusCode::BAD_REQUEST, detail, fix())
    })?;
    let is_separator = |letter: char| letter.is_whitespace() || letter == ',';
    let is_named = |kind: &K| names.iter().flat_map(|list| list.split(is_separator)).any(|known| known == name(*kind));
    let wanted: Vec<_> = all.into_iter().filter(is_named).collect();
    if wanted.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the list names no event of this server", fix()));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
