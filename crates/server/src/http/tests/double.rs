//! What answers a test's questions to the engine?

use std::sync::{Arc, Mutex};
use std::time::Duration;

use media::{SessionId, StreamName};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::ID;
use crate::engine::{
    Ask, Engine, FailedSession, IceFragment, LayerWish, Opened, Owner, Publish, PublishFailure, PublisherStatus,
    Readiness, Refusal, Role, SentReport, StreamState, StreamStatus, Trickled, ViewerReport, WantedLayer, Watch,
};

/// Answers in the place of the control task: one session, the stream `demo`, and a memory of the
/// requests.
#[derive(Clone)]
pub(in crate::http) struct Double {
    pub(in crate::http) state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    /// The task that answers questions.
    task: Arc<Mutex<Option<AbortHandle>>>,
}

#[derive(Default)]
pub(in crate::http) struct State {
    pub(in crate::http) said: Vec<String>,
    pub(in crate::http) refusal: Option<fn() -> Refusal>,
    pub(in crate::http) busy: Option<Duration>,
    /// The identity that opened the session.
    pub(in crate::http) identity: Option<String>,
    pub(in crate::http) session: Option<Role>,
    /// The role of the session that is over because its handshake failed, and the reason in words.
    failed: Option<(Role, String)>,
    pub(in crate::http) publish_failure: Option<PublishFailure>,
    pub(in crate::http) live: Vec<String>,
    pub(in crate::http) viewers: u32,
    pub(in crate::http) wanted: Vec<WantedLayer>,
    pub(in crate::http) wish: LayerWish,
    pub(in crate::http) is_stuck: bool,
    pub(in crate::http) is_overloaded: bool,
    /// How often a stream's status was asked for.
    pub(in crate::http) asked: usize,
}

impl Default for Double {
    fn default() -> Self {
        let state = State { live: vec!["demo".into()], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::channel(0).0, task: Arc::default() }
    }
}

impl Double {
    /// Returns the engine whose questions this double answers.
    pub(in crate::http) fn start(&self) -> Engine {
        let (engine, mut asks) = Engine::of_asks(self.changes.subscribe());
        let double = self.clone();
        let task = tokio::spawn(async move {
            while let Some(ask) = asks.recv().await {
                double.answer(ask);
            }
        });
        *self.task.lock().unwrap() = Some(task.abort_handle());
        engine
    }

    /// Ends as a control task does that was not asked to.
    pub(in crate::http) async fn dies(&self) {
        self.task.lock().unwrap().take().unwrap().abort();
        tokio::task::yield_now().await;
    }

    /// Answers one question. An asker that is gone needs no answer.
    fn answer(&self, ask: Ask) {
        match ask {
            Ask::Publish(request, reply) => drop(reply.send(self.publish(request))),
            Ask::Watch(request, reply) => drop(reply.send(self.watch(request))),
            Ask::Answer(session, answer, reply) => {
                drop(reply.send(self.hears(format!("answer {session} {answer}"))));
            }
            Ask::Trickle(_, fragment, if_match, reply) => drop(reply.send(trickle(fragment, if_match))),
            Ask::Owner(session, reply) => drop(reply.send(self.owner(session))),
            Ask::WhyFailed(session, reply) => drop(reply.send(self.why_failed(session))),
            Ask::Close(session, reply) => drop(reply.send(self.close(session))),
            Ask::Report(session, reply) => drop(reply.send(self.report(session))),
            Ask::Wish(session, wish, reply) => drop(reply.send(self.wish(session, wish))),
            Ask::Streams(reply) => {
                drop(reply.send(vec![self.stream(&StreamName::parse("demo").unwrap())]));
            }
            Ask::Stream(name, reply) => drop(reply.send(Some(self.stream(&name)))),
            // The control task drops the way to the asker when it panics.
            Ask::Kick(name, reply) if name.as_str() == "panics" => drop(reply),
            Ask::Kick(name, reply) => drop(reply.send(self.kick(&name))),
            Ask::Metrics(reply) => drop(reply.send("engine_metrics 1\n".into())),
            Ask::IsReady(reply) => drop(reply.send(self.readiness())),
            Ask::Panic(reply) | Ask::ShutDown(reply) => drop(reply.send(())),
        }
    }

    pub(in crate::http) fn refuse(&self, refusal: fn() -> Refusal) {
        self.state.lock().unwrap().refusal = Some(refusal);
    }

    pub(in crate::http) fn refuse_busy(&self, retry_after: Duration) {
        self.state.lock().unwrap().busy = Some(retry_after);
    }

    /// A session that a token of this identity opened.
    pub(in crate::http) fn has_session_of(&self, role: Role, identity: Option<&str>) {
        let mut state = self.state.lock().unwrap();
        (state.session, state.identity) = (Some(role), identity.map(str::to_owned));
    }

    pub(in crate::http) fn has_session(&self, role: Role) {
        self.state.lock().unwrap().session = Some(role);
    }

    /// The session is over because its handshake failed.
    pub(in crate::http) fn fails(&self, role: Role, why: &str) {
        let mut state = self.state.lock().unwrap();
        (state.session, state.failed) = (None, Some((role, why.to_owned())));
    }

    pub(in crate::http) fn begins(&self, stream: &str) {
        self.state.lock().unwrap().live.push(stream.to_owned());
        self.changes.send_modify(|count| *count += 1);
    }

    pub(in crate::http) fn ends(&self, stream: &str) {
        self.state.lock().unwrap().live.retain(|live| live != stream);
        self.changes.send_modify(|count| *count += 1);
    }

    pub(in crate::http) fn has_viewers(&self, viewers: u32) {
        self.state.lock().unwrap().viewers = viewers;
        self.changes.send_modify(|count| *count += 1);
    }

    pub(in crate::http) fn wants(&self, layer: WantedLayer) {
        self.state.lock().unwrap().wanted = vec![layer];
        self.changes.send_modify(|count| *count += 1);
    }

    fn hears(&self, what: String) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if let Some(refusal) = state.refusal {
            return Err(refusal());
        }
        if let Some(retry_after) = state.busy {
            return Err(Refusal::StreamBusy { retry_after });
        }
        state.said.push(what);
        Ok(())
    }
}

impl Double {
    fn publish(&self, request: Publish) -> Result<Opened, Refusal> {
        self.hears(format!("publish {} {} {} {:?}", request.stream, request.offer, request.remote, request.identity))?;
        self.has_session(Role::Publisher);
        Ok(opened("answer"))
    }

    fn watch(&self, request: Watch) -> Result<Opened, Refusal> {
        self.hears(format!("watch {} {:?}", request.stream, request.offer))?;
        self.has_session(Role::Viewer);
        Ok(opened(if request.offer.is_some() { "answer" } else { "offer" }))
    }

    fn owner(&self, session: SessionId) -> Option<Owner> {
        let state = self.state.lock().unwrap();
        let (role, identity) = (state.session?, state.identity.clone());
        (session.to_string() == ID).then(|| Owner { stream: StreamName::parse("demo").unwrap(), role, identity })
    }

    fn why_failed(&self, session: SessionId) -> Option<FailedSession> {
        let (role, detail) = self.state.lock().unwrap().failed.clone()?;
        let stream = StreamName::parse("demo").unwrap();
        let failed = FailedSession { session, stream, role, reason: "signature", detail };
        (session.to_string() == ID).then_some(failed)
    }

    fn close(&self, session: SessionId) -> bool {
        let mut state = self.state.lock().unwrap();
        state.said.push(format!("close {session}"));
        state.session.take().is_some()
    }

    fn report(&self, session: SessionId) -> Option<ViewerReport> {
        self.owner(session)?;
        let video = SentReport {
            codec: "VP8".into(),
            packets_sent: 0,
            bytes_sent: 0,
            nacks: 0,
            retransmitted: 0,
            key_frame_requests: 0,
            rtt_ms: None,
            loss_percent: None,
            rtp_timestamp: 0,
            captured_at_ms: None,
            capture_clock: "untold",
            clock_rate: 90_000,
            layer: None,
            temporal_layer: None,
            spatial_layer: None,
            reason: "best",
            detail: None,
            switches: 0,
            wish: self.state.lock().unwrap().wish.clone(),
        };
        Some(ViewerReport {
            session: "short".into(),
            stream: "demo".into(),
            state: StreamState::Live,
            connected: true,
            video_line: Some(0),
            video: Some(video),
            audio: None,
            transport: None,
        })
    }

    fn wish(&self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        if wish.encoding_id.as_deref() == Some("unknown") {
            return Err(Refusal::NoSuchLayer { wished: "unknown".into(), known: vec!["q".into(), "f".into()] });
        }
        self.state.lock().unwrap().wish = wish.clone();
        self.hears(format!("wish {session} {:?} {:?} {}", wish.encoding_id, wish.max_height, wish.paused))
    }

    fn stream(&self, name: &StreamName) -> StreamStatus {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        let is_live = state.live.iter().any(|live| live == name.as_str());
        let publisher = PublisherStatus {
            session: "short".into(),
            connected_at_ms: 1,
            rtt_ms: None,
            loss_percent: None,
            wanted_layers: state.wanted.clone(),
        };
        StreamStatus {
            stream: name.to_string(),
            state: if is_live { StreamState::Live } else { StreamState::Waiting },
            live_since_ms: is_live.then_some(1),
            viewers: state.viewers,
            publisher: is_live.then_some(publisher),
            video: None,
            audio: None,
            warnings: Vec::new(),
            publish_failure: state.publish_failure.clone(),
            bitrate_in_bps: 0,
            bitrate_out_bps: 0,
        }
    }

    fn kick(&self, stream: &StreamName) -> bool {
        let mut state = self.state.lock().unwrap();
        state.said.push(format!("kick {stream}"));
        state.live.iter().any(|live| live == stream.as_str())
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.lock().unwrap();
        match (state.is_stuck, state.is_overloaded) {
            (true, _) => Readiness::Stuck,
            (false, true) => Readiness::Overloaded,
            (false, false) => Readiness::Ready,
        }
    }
}

fn opened(sdp: &str) -> Opened {
    Opened { session: SessionId::parse(ID).unwrap(), sdp: sdp.into(), etag: "tag".into() }
}

fn trickle(fragment: IceFragment, if_match: Option<String>) -> Result<Trickled, Refusal> {
    if !matches!(if_match.as_deref(), Some("tag" | "*")) {
        return Err(Refusal::StaleEtag { current: "tag".into() });
    }
    Ok(match fragment.ufrag {
        Some(_) => Trickled::Restarted { fragment: "a=ice-ufrag:new\r\n".into(), etag: "tag2".into() },
        None => Trickled::Accepted,
    })
}
