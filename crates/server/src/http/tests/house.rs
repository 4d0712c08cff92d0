//! A server without a network and without an engine, for tests.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use tokio::sync::watch;

use super::SECRET;
use super::double::Double;
use crate::auth::{Claims, Secret, VideoGrant, sign};
use crate::config::{self, Flags};
use crate::http::app::App;
use crate::http::front::Front;
use crate::http::remote::Remote;
use crate::http::resources;
use crate::http::table::Table;

/// What all tests have logged, at every level. One log for all, because `tracing` remembers across
/// threads whether anyone listens.
pub(super) static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An app with a double for an engine.
pub(in crate::http) struct House {
    pub(in crate::http) front: Arc<Front>,
    pub(in crate::http) engine: Double,
    pub(in crate::http) stop: watch::Sender<bool>,
}

/// An answer, read whole.
pub(in crate::http) struct Received {
    pub(in crate::http) status: u16,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: String,
}

/// A reader of events.
pub(in crate::http) struct Reader {
    pub(in crate::http) body: Body,
}

impl House {
    /// Every request may do everything but administer.
    pub(in crate::http) fn open() -> Self {
        Self::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")], true)
    }

    /// No request may do anything without a token.
    pub(in crate::http) fn locked() -> Self {
        Self::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")], false)
    }

    pub(in crate::http) fn with(options: &[(&str, &str)], open: bool) -> Self {
        Self::start(options, open, false)
    }

    pub(in crate::http) fn start(options: &[(&str, &str)], open: bool, dev: bool) -> Self {
        Self::of(resources::table(), options, open, dev)
    }

    /// Has the resources of a table.
    pub(in crate::http) fn of(table: Table<Arc<App>>, options: &[(&str, &str)], open: bool, dev: bool) -> Self {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log);
        // The second house finds it there.
        let _ = log.with_ansi(false).try_init();
        let open = open.to_string();
        let keys = format!("key: {SECRET}");
        let ice = "[{ urls = [\"stun:stun.example\", \"turn:turn.example\"], username = \"u\", credential = \"p\" }]";
        let common = [
            ("NOWCAST_KEYS", keys.as_str()),
            ("NOWCAST_AUTH_ANONYMOUS_WATCH", &open),
            ("NOWCAST_AUTH_ANONYMOUS_PUBLISH", &open),
            ("NOWCAST_MEDIA_ICE_SERVERS", ice),
        ];
        let environment = common.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (config, remarks) = config::load(None, environment, &Flags { dev, ..Flags::default() }).unwrap();
        assert!(remarks.is_empty());
        let engine = Double::default();
        let (stop, stopping) = watch::channel(false);
        let front = Arc::new(Front::of(table, engine.start(), &config, stopping));
        Self { front, engine, stop }
    }

    pub(in crate::http) async fn ask(
        &self,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Received {
        self.ask_bytes(method, address, headers, body.as_bytes()).await
    }

    pub(in crate::http) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Received {
        let authorization = format!("Bearer {token}");
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", authorization.as_str())]).collect();
        self.ask_bytes(method, address, &headers, body.as_bytes()).await
    }

    pub(in crate::http) async fn ask_bytes(
        &self,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Received {
        let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
        self.send(&remote, method, address, headers, body).await
    }

    pub(in crate::http) async fn send(
        &self,
        remote: &Remote,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Received {
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (head, body) = self.front.respond(request, remote).await.into_parts();
        let is_endless = body.size_hint().exact().is_none();
        let bytes = if is_endless { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        let body = String::from_utf8(bytes.into()).unwrap();
        Received { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(in crate::http) async fn listen(&self, address: &str) -> Reader {
        let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
        let request = Request::get(address).body(Full::new(Bytes::new())).unwrap();
        let reply = self.front.respond(request, &remote).await;
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Reader { body: reply.into_body() }
    }

    /// What reached the engine.
    pub(in crate::http) fn said(&self) -> Vec<String> {
        self.engine.state.lock().unwrap().said.clone()
    }
}

impl Received {
    #[track_caller]
    pub(in crate::http) fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
    }

    #[track_caller]
    pub(in crate::http) fn is_problem(&self, status: u16, detail: &str) -> &Self {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["fix"].as_str().unwrap().is_empty());
        self
    }

    #[track_caller]
    pub(in crate::http) fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.header(name), value, "{name}");
        self
    }

    pub(in crate::http) fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

impl Reader {
    pub(in crate::http) async fn chunk(&mut self) -> String {
        let bytes = self.body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(bytes.into()).unwrap()
    }

    pub(in crate::http) async fn event(&mut self) -> String {
        let text = self.chunk().await;
        assert!(text.starts_with("event: status\ndata: {") && text.ends_with("}\n\n"), "{text}");
        text
    }
}

pub(in crate::http) fn token(video: VideoGrant) -> String {
    token_of(Some("alice"), 60, video)
}

/// Returns a token that expires this number of seconds from now.
pub(in crate::http) fn token_of(identity: Option<&str>, expires: i64, video: VideoGrant) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let exp = now.saturating_add_signed(expires);
    let claims = Claims { iss: "key".into(), sub: identity.map(str::to_owned), exp, nbf: None, video };
    sign(&claims, &Secret::new(SECRET.to_owned())).unwrap()
}
