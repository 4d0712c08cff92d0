//! What does a publisher hear of its audience?
//!
//! Which encodings and which layers of them somebody has use for: the `wanted_layers` of the stream's status, on the
//! session's own resource, so that it needs no right to see the stream. `GET` of the session itself stays without content
//! (RFC 9725 §4.1), so they have an address below it; and they come as server-sent events, as a viewer's session has them.

use bytes::Bytes;
use hyper::Method;
use media::{SessionId, StreamName};
use serde::Serialize;
use utoipa::ToSchema;

use super::backend::Backend;
use super::body;
use super::events;
use super::news::Failed;
use super::problem::{Content, Problem};
use super::session::owned;
use super::subscriptions::{self, LIST_BYTES, Told};
use super::{App, Exchange, Reply, api};
use crate::engine::{FailedSession, Role, StreamStatus, WantedLayer};

/// Methods of what is wanted.
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

/// An event of a publisher's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What its viewers have use for.
    WantedLayers,
    /// How many watch.
    ViewerCount,
    /// The session is over because its handshake failed: the last event.
    Failed,
}

impl Kind {
    /// All that there are.
    pub(super) const ALL: [Self; 3] = [Self::WantedLayers, Self::ViewerCount, Self::Failed];

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WantedLayers => "wantedlayers",
            Self::ViewerCount => "viewercount",
            Self::Failed => "failed",
        }
    }
}

/// What a publisher's audience has use for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Wanted {
    /// One for each encoding of the video, smallest first; none until something comes.
    wanted_layers: Vec<WantedLayer>,
}

/// Decides what a publisher's subscription is told.
#[derive(Debug)]
pub(super) struct Demand {
    kinds: Vec<Kind>,
    /// What the reader knows.
    layers: Option<Vec<WantedLayer>>,
    viewers: Option<u32>,
}

impl Demand {
    /// Begins with what of it all is to be told.
    pub(super) fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, layers: None, viewers: None }
    }

    /// Somebody begins to read, and knows nothing.
    pub(super) fn restart(&mut self) {
        (self.layers, self.viewers) = (None, None);
    }

    /// Returns the events that are due, as they go over the wire; nothing if nothing has changed.
    pub(super) fn poll(&mut self, stream: &StreamStatus) -> String {
        let mut text = String::new();
        let Wanted { wanted_layers } = wanted_of(stream);
        if self.kinds.contains(&Kind::WantedLayers) && self.layers.as_ref() != Some(&wanted_layers) {
            let data = serde_json::to_string(&Wanted { wanted_layers: wanted_layers.clone() }).unwrap_or_default();
            text.push_str(&events::written(Kind::WantedLayers.name(), &data));
            self.layers = Some(wanted_layers);
        }
        if self.kinds.contains(&Kind::ViewerCount) && self.viewers != Some(stream.viewers) {
            let data = format!("{{\"viewercount\":{}}}", stream.viewers);
            text.push_str(&events::written(Kind::ViewerCount.name(), &data));
            self.viewers = Some(stream.viewers);
        }
        text
    }
}

impl Demand {
    /// Returns the event that ends the events of a session whose handshake failed.
    pub(super) fn failed(&self, failed: &FailedSession) -> String {
        if !self.kinds.contains(&Kind::Failed) {
            return String::new();
        }
        events::written(Kind::Failed.name(), &Failed::of(failed))
    }
}

fn wanted_of(stream: &StreamStatus) -> Wanted {
    let known = stream.publisher.as_ref().map(|publisher| publisher.wanted_layers.clone());
    Wanted { wanted_layers: known.unwrap_or_default() }
}

/// What else a publisher's session can do, as `Link` headers. The relations are ours: WHIP has none for this. No comma
/// stands inside of a parameter, as in those of viewers.
pub(super) fn extensions(prefix: &str, stream: &StreamName, session: SessionId) -> [String; 2] {
    let names = Kind::ALL.map(Kind::name).join(" ");
    let base = format!("{prefix}/whip/{stream}/{session}");
    [
        format!("<{base}/sse>; rel=\"urn:nowcast:whip:ext:server-sent-events\"; events=\"{names}\""),
        format!("<{base}/layers>; rel=\"urn:nowcast:whip:ext:wanted-layers\""),
    ]
}

/// Who may ask for it: who may publish the stream, if there is such a session.
async fn may_touch<E: Backend>(
    app: &App<E>,
    stream: &StreamName,
    session: SessionId,
    exchange: &Exchange<'_>,
) -> Result<(), Problem> {
    let grants = app.session_grants(stream, session, Role::Publisher, exchange).await?;
    if !grants.may_publish(stream) {
        return Err(app.refuse(&grants, "this publisher's session", "use the token that began it"));
    }
    owned(app, stream, session, Role::Publisher).await
}

/// Which encodings and layers does the audience have use for?
#[utoipa::path(
    get, path = "/whip/{stream}/{session}/layers", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    responses(
        (status = 200, description = "What is wanted of each encoding", body = Wanted),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn wanted<E: Backend>(
    app: &App<E>,
    stream: StreamName,
    session: SessionId,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    if ![Method::GET, Method::HEAD].contains(exchange.method) {
        return Err(Problem::method_not_allowed(METHODS));
    }
    may_touch(app, &stream, session, &exchange).await?;
    Ok(api::json(&wanted_of(&app.engine.stream(&stream).await)))
}

/// Subscribe to events of the session: a JSON array of `wantedlayers`, `viewercount`, `failed`; nothing for all.
#[utoipa::path(
    post, path = "/whip/{stream}/{session}/sse", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
    ),
    request_body(content = Option<Vec<String>>, content_type = "application/json"),
    responses(
        (status = 201, description = "`Location` is the stream of events; a third subscription of a session ends its first"),
        (status = 400, description = "It is not such an array, or names none of these events", content_type = "application/problem+json", body = Content),
        (status = 404, description = "No such session", content_type = "application/problem+json", body = Content),
        (status = 429, description = "Too many requests from this address", content_type = "application/problem+json", body = Content),
        (status = 503, description = "Too many event streams", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn subscribe<E, B>(
    app: &App<E>,
    stream: StreamName,
    session: SessionId,
    exchange: Exchange<'_>,
    body: B,
) -> Result<Reply, Problem>
where
    E: Backend,
    B: hyper::body::Body<Data = Bytes>,
{
    if *exchange.method != Method::POST {
        return Err(Problem::method_not_allowed(subscriptions::METHODS));
    }
    may_touch(app, &stream, session, &exchange).await?;
    app.may_patch(&exchange)?;
    let kinds = subscriptions::wanted(&body::read_text(body, LIST_BYTES).await?, Kind::ALL, Kind::name)?;
    let session = subscriptions::Of { prefix: exchange.prefix, protocol: "whip", stream, session };
    subscriptions::open(app, session, Told::Publisher(Demand::new(kinds)))
}

/// Tells a subscription's reading from its end.
pub(super) async fn subscription<E: Backend>(
    app: &App<E>,
    stream: StreamName,
    session: SessionId,
    id: u64,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    subscriptions::is_of_subscription(&exchange)?;
    may_touch(app, &stream, session, &exchange).await?;
    if *exchange.method == Method::DELETE { end(app, session, id) } else { read(app, session, id, &exchange).await }
}

/// Read a subscription. Who reads it anew takes the place of who did before, and is told at once how it is.
#[utoipa::path(
    get, path = "/whip/{stream}/{session}/sse/{subscription}", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, description = "`event: wantedlayers` with such an object, at once and when it changes; \
         `event: viewercount` with `{\"viewercount\":3}`; `event: failed` with `{\"reason\":\"signature\",\"detail\":\"…\"}`",
         content_type = "text/event-stream", body = Wanted),
        (status = 404, description = "No such session or subscription", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
async fn read<E: Backend>(
    app: &App<E>,
    session: SessionId,
    id: u64,
    exchange: &Exchange<'_>,
) -> Result<Reply, Problem> {
    subscriptions::read(app, session, id, exchange).await
}

/// End a subscription.
#[utoipa::path(
    delete, path = "/whip/{stream}/{session}/sse/{subscription}", tag = "WHIP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, description = "It has ended"),
        (status = 404, description = "No such session or subscription", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
fn end<E: Backend>(app: &App<E>, session: SessionId, id: u64) -> Result<Reply, Problem> {
    subscriptions::end(app, session, id)
}
