//! How does a viewer hear of its session, and a publisher of its own?
//!
//! By the server-sent events extension of WHEP (draft-murillo-whep-02 §4.6.1): `POST` to the session's `sse` with the names
//! of events makes a subscription; `GET` of what its `Location` names reads it, `DELETE` ends it. Each is a task that
//! looks at the session while somebody reads, and lets [`News`] or [`Demand`] decide what to tell. WHIP has no such
//! extension; its sessions have the same.
//!
//! A session has at most [`PER_SESSION`], the server as many as `limits.event_streams` together with the streams' own
//! events. A subscription ends with its session, and when nobody has read it for [`UNREAD`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header;
use hyper::{Method, StatusCode};
use media::{SessionId, StreamName};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backend::Backend;
use super::body;
use super::demand::Demand;
use super::events::{self, Newest};
use super::news::{Kind, MediumLayers, News};
use super::problem::{Content, Problem};
use super::{App, Exchange, Reply, session, whep};
use crate::engine::{Role, ViewerReport};
use crate::json;

/// Methods of a session's subscriptions.
pub(super) const METHODS: &str = "POST, OPTIONS";
/// Methods of one of them.
pub(super) const SUBSCRIPTION_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// A page needs one; the second is for its successor, before we notice that it is gone. A third ends the first.
const PER_SESSION: usize = 2;
/// A list names a few events.
pub(super) const LIST_BYTES: usize = 1024;
/// A reader whose connection broke is back sooner. A guess.
const UNREAD: Duration = Duration::from_secs(30);
/// How often a session is looked at. Measured: 50 µs a look, so twenty thousand readers would take a core.
const LOOK: Duration = Duration::from_secs(1);
/// After a wish it is looked at every [`REST`] for so long: another encoding begins at a key frame.
const ALERT: Duration = Duration::from_secs(2);
/// Changes that follow one another faster are told together: four times a second at most.
const REST: Duration = Duration::from_millis(250);
/// Silence for so long would look like a dead line; some proxies close one after 10 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Sessions that are asked after at once: a shard's mailbox has room for much more, and thousands of subscriptions
/// only wait longer for each other.
const QUESTIONS: usize = 8;
/// Chunks that a slow reader may leave; then we wait for it and tell it the newest only.
const QUEUE: usize = 1;

/// One who reads.
type Reader = mpsc::Sender<Bytes>;

/// All subscriptions.
pub(super) struct Subscriptions {
    open: Mutex<HashMap<SessionId, Vec<Subscription>>>,
    next: AtomicU64,
    questions: Semaphore,
}

/// Ends when it is dropped.
struct Subscription {
    id: u64,
    readers: mpsc::Sender<Reader>,
    wishes: Arc<Notify>,
}

/// Its other end.
struct Orders {
    id: u64,
    readers: mpsc::Receiver<Reader>,
    wishes: Arc<Notify>,
}

/// Subscribe to events of the session: a JSON array of `active`, `inactive`, `layers`, `viewercount`, `failed`; nothing for all.
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/sse", tag = "WHEP",
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
        return Err(Problem::method_not_allowed(METHODS));
    }
    whep::may_touch(app, &stream, session, &exchange).await?;
    app.may_patch(&exchange)?;
    let wanted = wanted(&body::read_text(body, LIST_BYTES).await?, Kind::ALL, Kind::name)?;
    let session = Of { prefix: exchange.prefix, protocol: "whep", stream, session };
    open(app, session, Told::Viewer(News::new(wanted)))
}

/// The session that a subscription belongs to, and where it is.
pub(super) struct Of<'a> {
    /// The path below which clients see the server.
    pub(super) prefix: &'a str,
    /// `whip` or `whep`.
    pub(super) protocol: &'a str,
    pub(super) stream: StreamName,
    pub(super) session: SessionId,
}

/// Makes a subscription and answers where it is.
pub(super) fn open<E: Backend>(app: &App<E>, of: Of<'_>, mut told: Told) -> Result<Reply, Problem> {
    let Of { prefix, protocol, stream, session } = of;
    let permit = events::permit(app)?;
    let orders = app.subscriptions.open(session);
    let id = orders.id;
    let location = format!("{prefix}/{protocol}/{stream}/{session}/sse/{id}");
    let teller = Teller {
        engine: app.engine.clone(),
        hub: Arc::clone(&app.event_hub),
        subscriptions: Arc::clone(&app.subscriptions),
        stopping: app.stopping.clone(),
        stream,
        session,
    };
    tokio::spawn(async move {
        // After a panic as after its end: its place is free again.
        super::unless_it_panics(teller.run(&mut told, orders)).await;
        teller.subscriptions.close(session, id);
        drop(permit);
    });
    let mut reply = session::empty(StatusCode::CREATED);
    reply.headers_mut().insert(header::LOCATION, session::value(&location)?);
    Ok(reply)
}

/// Tells a subscription's reading from its end.
pub(super) async fn subscription<E: Backend>(
    app: &App<E>,
    stream: StreamName,
    session: SessionId,
    id: u64,
    exchange: Exchange<'_>,
) -> Result<Reply, Problem> {
    is_of_subscription(&exchange)?;
    whep::may_touch(app, &stream, session, &exchange).await?;
    if *exchange.method == Method::DELETE { end(app, session, id) } else { read(app, session, id, &exchange).await }
}

/// Refuses methods that a subscription does not have.
pub(super) fn is_of_subscription(exchange: &Exchange<'_>) -> Result<(), Problem> {
    if [Method::GET, Method::HEAD, Method::DELETE].contains(exchange.method) {
        return Ok(());
    }
    Err(Problem::method_not_allowed(SUBSCRIPTION_METHODS))
}

/// Read a subscription. Who reads it anew takes the place of who did before, and is told at once how it is.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/sse/{subscription}", tag = "WHEP",
    params(
        ("stream" = String, Path, description = "Stream name; may contain slashes"),
        ("session" = String, Path, description = "32 hexadecimal digits, from `Location`"),
        ("subscription" = u64, Path, description = "From the subscription's `Location`"),
    ),
    responses(
        (status = 200, description = "`event: layers` with an object that has such an entry for the video's place in the description; \
         `event: viewercount` with `{\"viewercount\":3}`; `event: active` and `event: inactive` with `{}`; \
         `event: failed` with `{\"reason\":\"signature\",\"detail\":\"…\"}`",
         content_type = "text/event-stream", body = MediumLayers),
        (status = 404, description = "No such session or subscription", content_type = "application/problem+json", body = Content),
    ),
    security((), ("token" = []))
)]
pub(super) async fn read<E: Backend>(
    app: &App<E>,
    session: SessionId,
    id: u64,
    exchange: &Exchange<'_>,
) -> Result<Reply, Problem> {
    let readers = app.subscriptions.readers(session, id).ok_or_else(none_such)?;
    let (reader, receiver) = mpsc::channel(QUEUE);
    if *exchange.method == Method::GET {
        readers.send(reader).await.map_err(|_| none_such())?;
    }
    Ok(events::stream_of(receiver))
}

/// End a subscription.
#[utoipa::path(
    delete, path = "/whep/{stream}/{session}/sse/{subscription}", tag = "WHEP",
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
pub(super) fn end<E: Backend>(app: &App<E>, session: SessionId, id: u64) -> Result<Reply, Problem> {
    if app.subscriptions.close(session, id) { Ok(session::empty(StatusCode::OK)) } else { Err(none_such()) }
}

fn none_such() -> Problem {
    let fix = "subscribe again: POST to the session's /sse";
    Problem::new(StatusCode::NOT_FOUND, "there is no such subscription (any more)", fix)
}

/// The events of `all` that a body names: nothing means all. Names that we do not know are those of other servers. Clients
/// that take the list out of our `Link` header as a whole, or split it at commas, mean the names in it.
pub(super) fn wanted<K: Copy, const N: usize>(
    text: &str,
    all: [K; N],
    name: impl Fn(K) -> &'static str,
) -> Result<Vec<K>, Problem> {
    let fix = || format!("send a JSON array of some of: {}", all.map(&name).join(", "));
    if text.trim().is_empty() {
        return Ok(all.to_vec());
    }
    let names = json::strings(text).map_err(|fault| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the list of events cannot be read: {fault}"), fix())
    })?;
    let is_separator = |letter: char| letter.is_whitespace() || letter == ',';
    let is_named = |kind: &K| names.iter().flat_map(|list| list.split(is_separator)).any(|known| known == name(*kind));
    let wanted: Vec<_> = all.into_iter().filter(is_named).collect();
    if wanted.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the list names no event of this server", fix()));
    }
    Ok(wanted)
}

/// What the readers of a subscription were told, and are to be.
pub(super) enum Told {
    Viewer(News),
    Publisher(Demand),
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1), questions: Semaphore::new(QUESTIONS) }
    }
}

impl Subscriptions {
    /// A viewer has wished something: those who read are to hear of it soon.
    pub(super) fn wished(&self, session: SessionId) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&session).into_iter().flatten().for_each(|own| own.wishes.notify_one());
    }

    /// Makes room for one. The oldest of too many ends.
    fn open(&self, session: SessionId) -> Orders {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (readers, receiver) = mpsc::channel(1);
        let wishes = Arc::<Notify>::default();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(session).or_default();
        if own.len() >= PER_SESSION {
            own.remove(0);
        }
        own.push(Subscription { id, readers, wishes: Arc::clone(&wishes) });
        Orders { id, readers: receiver, wishes }
    }

    fn readers(&self, session: SessionId, id: u64) -> Option<mpsc::Sender<Reader>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Some(open.get(&session)?.iter().find(|own| own.id == id)?.readers.clone())
    }

    /// Ends a subscription. Returns whether there was one.
    fn close(&self, session: SessionId, id: u64) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = open.get_mut(&session) else { return false };
        let before = own.len();
        own.retain(|subscription| subscription.id != id);
        let is_closed = own.len() < before;
        if own.is_empty() {
            open.remove(&session);
        }
        is_closed
    }
}

/// Tells the readers of one subscription, one after the other.
struct Teller<E> {
    engine: E,
    hub: Arc<events::Hub>,
    subscriptions: Arc<Subscriptions>,
    stopping: watch::Receiver<bool>,
    stream: StreamName,
    session: SessionId,
}

impl<E: Backend> Teller<E> {
    /// Returns when the subscription is over.
    async fn run(&self, told: &mut Told, orders: Orders) {
        let Orders { mut readers, wishes, .. } = orders;
        while let Ok(Some(mut reader)) = timeout(UNREAD, readers.recv()).await {
            let mut stream = self.hub.newest(&self.engine, &self.stream);
            let mut stopping = self.stopping.clone();
            loop {
                tokio::select! {
                    end = self.tell(told, &reader, &mut stream, &wishes) => match end {
                        End::OfReader => break,
                        End::OfSession => return self.say_why(told, &reader).await,
                    },
                    next = readers.recv() => match next {
                        Some(next) => reader = next,
                        None => return,
                    },
                    () = events::has_stopped(&mut stopping) => return,
                }
            }
        }
    }

    async fn tell(
        &self,
        told: &mut Told,
        reader: &Reader,
        stream: &mut watch::Receiver<Newest>,
        wishes: &Notify,
    ) -> End {
        match told {
            Told::Viewer(news) => {
                news.restart();
                self.tell_viewer(news, reader, stream, wishes).await
            }
            Told::Publisher(demand) => {
                demand.restart();
                self.tell_publisher(demand, reader, stream).await
            }
        }
    }

    /// The session is over: tells the reader why, if its handshake failed.
    async fn say_why(&self, told: &Told, reader: &Reader) {
        let Some(failed) = self.engine.why_failed(self.session).await else { return };
        let text = match told {
            Told::Viewer(news) => news.failed(&failed),
            Told::Publisher(demand) => demand.failed(&failed),
        };
        // A reader that is gone needs no reason.
        let _ = say(reader, text, &mut Instant::now()).await;
    }

    async fn tell_publisher(&self, demand: &mut Demand, reader: &Reader, stream: &mut watch::Receiver<Newest>) -> End {
        let mut told_at = Instant::now();
        loop {
            let Ok(Some(newest)) = stream.wait_for(Option::is_some).await.map(|told| told.clone()) else {
                return End::OfReader;
            };
            if !session::is_of(&self.engine, &self.stream, self.session, Role::Publisher).await {
                return End::OfSession;
            }
            match say(reader, demand.poll(&newest.status), &mut told_at).await {
                Some(false) => {}
                Some(true) => sleep(REST).await,
                None => return End::OfReader,
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Ok(()) = stream.changed() => {}
            }
            if reader.reserve().await.is_err() {
                return End::OfReader;
            }
        }
    }

    async fn tell_viewer(
        &self,
        news: &mut News,
        reader: &Reader,
        stream: &mut watch::Receiver<Newest>,
        wishes: &Notify,
    ) -> End {
        let mut told_at = Instant::now();
        let mut alert_until = told_at;
        let mut known: Option<(Instant, ViewerReport)> = None;
        loop {
            let Ok(Some(told)) = stream.wait_for(Option::is_some).await.map(|told| told.clone()) else {
                return End::OfReader;
            };
            let now = Instant::now();
            let interval = if now < alert_until { REST } else { LOOK };
            let (looked_at, report) = match known.take() {
                Some((looked_at, report)) if looked_at + interval > now => (looked_at, report),
                _ => match self.report().await {
                    Some(report) => (now, report),
                    None => return End::OfSession,
                },
            };
            let text = news.poll(now, &told.status, &report);
            known = Some((looked_at, report));
            if say(reader, text, &mut told_at).await.is_none() {
                return End::OfReader;
            }
            sleep(REST).await;
            tokio::select! {
                () = sleep_until(looked_at + interval) => {}
                Ok(()) = stream.changed() => {}
                () = wishes.notified() => alert_until = Instant::now() + ALERT,
            }
            // A slow reader is waited for, so that it is told the newest; its connection does not wait for ever.
            if reader.reserve().await.is_err() {
                return End::OfReader;
            }
        }
    }

    async fn report(&self) -> Option<ViewerReport> {
        let _permit = self.subscriptions.questions.acquire().await.ok()?;
        self.engine.report(self.session).await
    }
}

/// Sends what is to be told, or a sign of life when there was nothing for long. Returns whether something was sent; `None` if
/// nobody reads any more.
async fn say(reader: &Reader, mut text: String, told_at: &mut Instant) -> Option<bool> {
    if text.is_empty() && told_at.elapsed() >= KEEP_ALIVE {
        text = ":\n\n".into();
    }
    if text.is_empty() {
        return Some(false);
    }
    *told_at = Instant::now();
    reader.send(Bytes::from(text)).await.ok().map(|()| true)
}

/// Why there is nobody to tell any more.
enum End {
    OfReader,
    OfSession,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_events() {
        let check = |text: &str, expected: Option<&[Kind]>| {
            assert_eq!(wanted(text, Kind::ALL, Kind::name).ok().as_deref(), expected, "{text}")
        };
        check("", Some(&Kind::ALL));
        check(" \n", Some(&Kind::ALL));
        check("[\"layers\"]", Some(&[Kind::Layers]));
        check("[\"viewercount\",\"reconnect\",\"active\"]", Some(&[Kind::Active, Kind::ViewerCount]));
        for text in ["[]", "[\"reconnect\"]", "{}", "[1]", "\"layers\"", "["] {
            check(text, None);
        }
    }

    #[test]
    fn the_oldest_of_too_many_ends() {
        let subscriptions = Subscriptions::default();
        let session = SessionId::from_bytes([1; 16]);
        let first = subscriptions.open(session);
        let second = subscriptions.open(session);
        let other = subscriptions.open(SessionId::from_bytes([2; 16]));
        assert!(!first.readers.is_closed() && subscriptions.readers(session, first.id).is_some());
        let third = subscriptions.open(session);
        assert!(first.readers.is_closed() && subscriptions.readers(session, first.id).is_none());
        assert!(!subscriptions.close(session, first.id) && !subscriptions.close(session, other.id));
        assert!(subscriptions.close(session, second.id) && subscriptions.close(session, third.id));
        assert_eq!(subscriptions.open.lock().unwrap().len(), 1, "nothing is left of the session");
    }
}
