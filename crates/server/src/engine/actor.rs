//! The task that drives `control` and the media plane.
//!
//! Everything that HTTP asks and everything that media threads tell comes through here, one after the other, so
//! that `control` needs no lock. Nothing here waits: what a thread below has to answer first is kept in
//! `waiting` until it does.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use control::{Caller, CloseReason, Control, Effect, Refused};
use media::{SessionId, StreamId};
use sfu::desk;
use sfu::dtls::Reason;
use sfu::format::Published;
use sfu::guard::Strikes;
use sfu::negotiate::{self, Unusable};
use sfu::publisher::Ended;
use sfu::shard::{self, Snapshot};
use sfu::stream::choice::Preferences;
use shards::plane::{EventSink, everywhere};
use shards::{Plane, PlaneEvent, Setup};
use tokio::sync::{mpsc, oneshot, watch};

use super::addresses;
use super::failures::Failures;
use super::status::Watched;
use super::{
    ANSWER_WITHIN, Ask, Engine, IceFragment, LayerWish, Opened, Owner, Publish, Readiness, Refusal, Role, Trickled,
    ViewerReport, Watch,
};
use crate::config::{MediaConfig, Takeover};

/// Requests that wait for the task; beyond that HTTP handlers wait (backpressure).
const ASKS: usize = 1_024;

/// Answers of the media plane that may be lost and wait for the task (reports, snapshots, what viewers say): a second's
/// worth of 20,000 viewers that all ask at once. More are dropped and counted. Events that change state are not limited:
/// they follow from sessions that this task admitted, and it admits none while any of them waits.
pub(super) const ANSWERS: usize = 65_536;

/// Named as the limit that is reached while media threads have too many commands to obey ([`Plane::is_behind`]).
const BEHIND: &str = "the media threads are behind with their commands; try again in a few seconds";

/// How often shards are asked how they are, and rates are computed.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// How long goodbyes may take before the threads end.
const FAREWELL: Duration = Duration::from_millis(300);

pub(super) fn start(config: &MediaConfig) -> anyhow::Result<Engine> {
    let (sink, events) = event_queues();
    let dropped = events.dropped.clone();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let listen = match (config.loopback_only, config.listen.is_empty()) {
        (true, _) => vec![std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()],
        (false, true) => everywhere(),
        (false, false) => config.listen.clone(),
    };
    let plane = Plane::start(Setup {
        port: config.udp_port,
        listen: addresses::bindable(listen),
        candidates: addresses::candidates(config)?,
        // The kernel, HTTP and handshakes want cores too: half of them for media, at least one.
        shards: config.shards.unwrap_or(cores / 2).clamp(1, 64) as u8,
        desks: (cores / 4).clamp(1, 8) as u8,
        handshakes: config.limits.handshakes,
        pin: config.pin_cores,
        socket_buffer_bytes: SOCKET_BUFFER_BYTES,
        random,
        events: sink,
    })?;
    tracing::info!(
        port = plane.port(),
        shards = plane.shard_count(),
        desks = plane.desk_count(),
        candidates = ?plane.identity().candidates(),
        "media plane is up"
    );
    let (asks, questions) = mpsc::channel(ASKS);
    let (changed, changes) = watch::channel(0);
    let limits = &config.limits;
    let control = Control::new(
        control::Limits {
            streams: limits.streams,
            sessions: limits.sessions,
            viewers: limits.viewers,
            sessions_per_ip: limits.sessions_per_ip.unwrap_or(usize::MAX),
        },
        match config.takeover {
            Takeover::Refuse => control::Takeover::Refuse,
            Takeover::Replace => control::Takeover::Replace,
        },
    )
    .with_busy_limit(limits.busy_percent);
    let liveness = plane.liveness();
    let actor = Actor {
        plane,
        dropped,
        strikes: Strikes::default(),
        control,
        sessions: HashMap::new(),
        waiting: HashMap::new(),
        watched: HashMap::new(),
        snapshots: HashMap::new(),
        failed: Failures::default(),
        dtls_failures: [0; Reason::ALL.len()],
        next_desk: 0,
        changed,
        stopping: None,
    };
    let running = tokio::spawn(actor.run(questions, events));
    tokio::spawn(async move {
        // It returns when all handles are gone; a runtime that shuts down cancels it.
        if running.await.is_err_and(|error| error.is_panic()) {
            shards::plane::abort("control");
        }
    });
    Ok(Engine { asks, changes, liveness })
}

/// What the media plane tells this task: what changes state, and behind it what may be lost.
pub(super) struct Events {
    pub(super) changes: mpsc::UnboundedReceiver<PlaneEvent>,
    pub(super) answers: mpsc::Receiver<PlaneEvent>,
    pub(super) dropped: Arc<AtomicU64>,
}

/// Both queues, and the end for media threads, which never waits.
pub(super) fn event_queues() -> (EventSink, Events) {
    let (change, changes) = mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel(ANSWERS);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    let sink = Arc::new(move |event: PlaneEvent| {
        if !event.may_be_lost() {
            // A task that is gone ends the process.
            let _ = change.send(event);
        } else if answer.try_send(event).is_err() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (sink, Events { changes, answers, dropped })
}

/// 4 MiB: a shard that is away for 20 ms at 1.6 Gb/s loses nothing. Twice that is granted where allowed.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 << 20;

pub(super) struct Actor {
    pub(super) plane: Plane,
    /// Answers of the media plane that found their queue full.
    pub(super) dropped: Arc<AtomicU64>,
    strikes: Strikes,
    pub(super) control: Control,
    pub(super) sessions: HashMap<SessionId, Known>,
    waiting: HashMap<SessionId, Vec<Waiting>>,
    pub(super) watched: HashMap<StreamId, Watched>,
    pub(super) snapshots: HashMap<u8, Snapshot>,
    /// Sessions that failed lately.
    pub(super) failed: Failures,
    /// Sessions that ended because their DTLS handshake failed, by [`Reason`].
    pub(super) dtls_failures: [u64; Reason::ALL.len()],
    next_desk: u8,
    changed: watch::Sender<u64>,
    /// Set once the server stops: who waits for it.
    stopping: Option<Option<oneshot::Sender<()>>>,
}

/// What HTTP needs to know of a session between requests.
pub(super) struct Known {
    pub(super) role: Role,
    stream: StreamId,
    desk: u8,
    etag: String,
    /// The client's ICE ufrag: another one in a PATCH asks for a restart.
    client_ufrag: Option<String>,
    /// The place of the video among the media of its description.
    pub(super) video_line: Option<u8>,
    pub(super) connected: bool,
}

/// Somebody who waits for a thread's answer.
enum Waiting {
    Opened(oneshot::Sender<Result<Opened, Refusal>>),
    Answered(oneshot::Sender<Result<(), Refusal>>),
    Restarted { ufrag: String, reply: oneshot::Sender<Result<Trickled, Refusal>> },
    Report(ReportAsked),
}

/// A question for a viewer's report. One at a time for each session: shards' answers do not say to which question.
struct ReportAsked {
    /// Shards that have not answered yet.
    left: u8,
    asked_at: Instant,
    replies: Vec<oneshot::Sender<Option<ViewerReport>>>,
}

impl Actor {
    async fn run(mut self, mut questions: mpsc::Receiver<Ask>, mut events: Events) {
        let mut tick = tokio::time::interval(SNAPSHOT_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let deadline = self
                .control
                .poll_timeout()
                .map_or_else(|| tokio::time::Instant::now() + SNAPSHOT_INTERVAL, tokio::time::Instant::from_std);
            // In this order: what has happened is known before anything new is admitted, so a task that is behind makes HTTP
            // wait, and its queue of events does not grow.
            tokio::select! {
                biased;
                event = events.changes.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline) => {
                    self.guarded(|actor| actor.control.handle_timeout(Instant::now()));
                }
                _ = tick.tick() => self.to_all_shards(|| shard::Command::Snapshot),
                ask = questions.recv() => match ask {
                    // A panic drops the sender of the answer, by which the asker hears of it.
                    Some(ask) => drop(catch_unwind(AssertUnwindSafe(|| self.handle_ask(ask)))),
                    None => return,
                },
                event = events.answers.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => return,
                },
            }
            while self.guarded(Actor::carry_out).is_none() {}
        }
    }

    /// A panic at an event closes the session that it is about: what the event was to change may be half done.
    fn handle_event(&mut self, event: PlaneEvent) {
        let session = event.session();
        let handled = self.guarded(|actor| match event {
            PlaneEvent::Desk(event) => actor.handle_desk(event),
            PlaneEvent::Shard(event) => actor.handle_shard(event),
        });
        if let (None, Some(session)) = (handled, session) {
            tracing::error!(session = session.handle(), "a panic in the control task closes this session");
            self.guarded(|actor| {
                actor.fail_waiting(session, || Refusal::NoSuchSession);
                actor.control.close(Instant::now(), session, CloseReason::Failed)
            });
        }
    }

    /// Runs a step. Returns `None` after a panic.
    ///
    /// # Panics
    ///
    /// Goes on with a panic that has happened too often ([`Strikes`]): the process aborts then.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Actor) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) if self.strikes.survives(Instant::now()) => {
                drop(panic);
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn handle_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Publish(_, reply) if self.plane.is_behind() => {
                let _ = reply.send(Err(Refusal::Full { limit: BEHIND }));
            }
            Ask::Watch(_, reply) if self.plane.is_behind() => {
                let _ = reply.send(Err(Refusal::Full { limit: BEHIND }));
            }
            Ask::Answer(_, _, reply) if self.plane.is_behind() => {
                let _ = reply.send(Err(Refusal::Full { limit: BEHIND }));
            }
            Ask::Trickle(_, _, _, reply) if self.plane.is_behind() => {
                let _ = reply.send(Err(Refusal::Full { limit: BEHIND }));
            }
            Ask::Wish(_, _, reply) if self.plane.is_behind() => {
                let _ = reply.send(Err(Refusal::Full { limit: BEHIND }));
            }
            #[cfg(test)]
            Ask::Panic(_reply) => panic!("injected"),
            Ask::Publish(request, reply) => self.publish(request, reply),
            Ask::Watch(request, reply) => self.watch(request, reply),
            Ask::Answer(session, answer, reply) => match self.sessions.get(&session) {
                Some(known) if known.role == Role::Viewer => {
                    let published = self.published(known.stream);
                    self.wait(session, Waiting::Answered(reply));
                    self.to_desk(session, |_| desk::Command::Answer { session, answer, published });
                }
                _ => {
                    let _ = reply.send(Err(Refusal::NoSuchSession));
                }
            },
            Ask::Trickle(session, fragment, if_match, reply) => self.trickle(session, fragment, if_match, reply),
            Ask::Owner(session, reply) => {
                let identity = self.control.identity(&session).map(str::to_owned);
                let owner = self.control.owner(&session).map(|(stream, role)| Owner {
                    stream: stream.clone(),
                    role: role_of(role),
                    identity,
                });
                let _ = reply.send(owner);
            }
            Ask::WhyFailed(session, reply) => {
                let _ = reply.send(self.failed.of_session(session));
            }
            Ask::Close(session, reply) => {
                let _ = reply.send(self.control.close(Instant::now(), session, CloseReason::Asked));
            }
            Ask::Report(session, reply) => {
                let is_viewer = self.sessions.get(&session).is_some_and(|k| k.role == Role::Viewer);
                if is_viewer {
                    self.ask_for_report(session, reply);
                } else {
                    let _ = reply.send(None);
                }
            }
            Ask::Wish(session, wish, reply) => {
                let _ = reply.send(self.wish(session, wish));
            }
            Ask::Streams(reply) => {
                let _ = reply.send(self.streams());
            }
            Ask::Stream(name, reply) => {
                let _ = reply.send(self.stream(&name));
            }
            Ask::Kick(name, reply) => {
                let _ = reply.send(self.control.kick(Instant::now(), &name));
            }
            Ask::Metrics(reply) => {
                let _ = reply.send(self.metrics());
            }
            Ask::IsReady(reply) => {
                self.measure_load();
                let _ = reply.send(match self.plane.is_alive() && self.stopping.is_none() {
                    false => Readiness::Stuck,
                    true if self.control.is_overloaded() => Readiness::Overloaded,
                    true => Readiness::Ready,
                });
            }
            Ask::ShutDown(reply) => {
                self.control.shut_down(Instant::now());
                self.carry_out();
                self.to_all_shards(|| shard::Command::Stop);
                self.stopping = Some(Some(reply));
            }
        }
    }

    fn wish(&mut self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        let stream = self.sessions.get(&session).map(|known| known.stream).ok_or(Refusal::NoSuchSession)?;
        let published = self.published(stream);
        let encoding = match &wish.encoding_id {
            None => None,
            Some(rid) => Some(published.encoding(rid).ok_or_else(|| Refusal::NoSuchLayer {
                wished: rid.clone(),
                known: published.rids.iter().flatten().map(ToString::to_string).collect(),
            })?),
        };
        let preferences = Preferences {
            encoding,
            max_height: wish.max_height,
            max_width: wish.max_width,
            max_frame_rate: wish.max_frame_rate,
            max_spatial: wish.spatial_layer_id,
            max_temporal: wish.temporal_layer_id,
            is_hidden: wish.paused,
        };
        self.to_all_shards(|| shard::Command::SetPreferences { session, preferences });
        // What it needs now is wanted at once; that it needs less than before, shards will tell.
        if let Some(watched) = self.watched.get_mut(&stream) {
            watched.wished(&preferences);
        }
        self.look_at_audience(Instant::now(), stream);
        Ok(())
    }

    /// A wish came on a viewer's data channel. Returns what to answer: the wish as it was understood, or what is wrong with it.
    fn hear(&mut self, session: SessionId, text: &str) -> String {
        let heard = LayerWish::read(text).and_then(|wish| {
            self.wish(session, wish.clone()).map_err(|refusal| refusal.to_string())?;
            Ok(wish)
        });
        let answer = match heard {
            Ok(wish) => serde_json::json!({ "wish": wish }),
            Err(error) => serde_json::json!({ "error": error }),
        };
        answer.to_string()
    }

    /// Tells `control` how busy the media threads are now.
    fn measure_load(&mut self) {
        let busy = self.plane.highest(|g| &g.busy_permille);
        self.control.measured(control::Load { busy_permille: u16::try_from(busy).unwrap_or(u16::MAX) });
    }

    fn publish(&mut self, request: Publish, reply: oneshot::Sender<Result<Opened, Refusal>>) {
        let now = Instant::now();
        self.measure_load();
        let session = new_session();
        let ip = request.remote.ip();
        let caller = Caller { ip, identity: request.identity.clone() };
        let admitted = match self.control.publish(now, session, request.stream, caller) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let _ = reply.send(Err(refusal(refused)));
                return;
            }
        };
        tracing::info!(session = session.handle(), ip = %ip, "a publisher connects");
        tracing::debug!(session = session.handle(), identity = request.identity, "identity of the publisher");
        let desk = self.new_known(session, Role::Publisher, admitted.stream, Some(&request.offer));
        let (stream, epoch) = (admitted.stream, admitted.epoch);
        self.wait(session, Waiting::Opened(reply));
        self.open(now, session, desk, desk::Command::Publish { session, stream, epoch, offer: request.offer });
    }

    /// Keeps a new session. Returns its desk.
    fn new_known(&mut self, session: SessionId, role: Role, stream: StreamId, offer: Option<&str>) -> u8 {
        self.next_desk = (self.next_desk + 1) % self.plane.desk_count();
        let client_ufrag = offer.and_then(negotiate::remote_credentials).map(|credentials| credentials.ufrag);
        let known = Known {
            role,
            stream,
            desk: self.next_desk,
            etag: new_etag(),
            client_ufrag,
            video_line: None,
            connected: false,
        };
        self.sessions.insert(session, known);
        self.next_desk
    }

    /// Has a desk open a session, if it takes one more.
    fn open(&mut self, now: Instant, session: SessionId, desk: u8, command: desk::Command) {
        if !self.plane.desk(desk, command) {
            self.fail_waiting(session, || Refusal::Full { limit: "limits.handshakes" });
            self.control.closed(now, session);
        }
    }

    fn watch(&mut self, request: Watch, reply: oneshot::Sender<Result<Opened, Refusal>>) {
        let now = Instant::now();
        self.measure_load();
        let session = new_session();
        let caller = Caller { ip: request.remote.ip(), identity: request.identity };
        let admitted = match self.control.watch(now, session, request.stream, caller) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let _ = reply.send(Err(refusal(refused)));
                return;
            }
        };
        let desk = self.new_known(session, Role::Viewer, admitted.stream, request.offer.as_deref());
        self.look_at_audience(now, admitted.stream);
        let published = self.published(admitted.stream);
        let command = desk::Command::Open { session, stream: admitted.stream, offer: request.offer, published };
        self.wait(session, Waiting::Opened(reply));
        self.open(now, session, desk, command);
    }

    fn trickle(
        &mut self,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
        reply: oneshot::Sender<Result<Trickled, Refusal>>,
    ) {
        let Some(known) = self.sessions.get(&session) else {
            let _ = reply.send(Err(Refusal::NoSuchSession));
            return;
        };
        let is_current = if_match.as_deref().is_none_or(|tag| tag == "*" || tag == known.etag);
        if !is_current {
            let _ = reply.send(Err(Refusal::StaleEtag { current: known.etag.clone() }));
            return;
        }
        let restart = fragment.ufrag.as_ref().filter(|u| known.client_ufrag.as_ref() != Some(u)).cloned();
        let (Some(ufrag), Some(password)) = (restart, fragment.password) else {
            // As an ICE-lite agent we learn the client's addresses from its checks; its candidates tell nothing
            // that we use (threat T6: names in them are never resolved).
            let _ = reply.send(Ok(Trickled::Accepted));
            return;
        };
        self.wait(session, Waiting::Restarted { ufrag: ufrag.clone(), reply });
        self.to_desk(session, |_| desk::Command::Restart { session, ufrag, password });
    }

    fn handle_desk(&mut self, event: desk::Event) {
        let now = Instant::now();
        match event {
            desk::Event::Opened { session, result } => {
                let etag = self.sessions.get(&session).map(|k| k.etag.clone()).unwrap_or_default();
                let is_err = result.is_err();
                if let (Some(known), Ok(sdp)) = (self.sessions.get_mut(&session), &result) {
                    known.video_line = video_line(sdp);
                }
                let answer = result.map(|sdp| Opened { session, sdp, etag }).map_err(unusable);
                self.settle(session, answer, |waiting| match waiting {
                    Waiting::Opened(reply) => Ok(reply),
                    other => Err(other),
                });
                if is_err {
                    self.control.closed(now, session);
                    self.sessions.remove(&session);
                }
            }
            desk::Event::Answered { session, result } => {
                let answer = result.unwrap_or(Err(Unusable::Malformed("no offer waits for an answer".to_owned())));
                self.settle(session, answer.map_err(unusable), |waiting| match waiting {
                    Waiting::Answered(reply) => Ok(reply),
                    other => Err(other),
                });
            }
            desk::Event::Restarted { session, result } => self.restarted(session, result),
            desk::Event::Connected { session } => self.connected(session),
            desk::Event::Heard { session, text } => {
                let text = self.hear(session, &text);
                self.to_desk(session, |_| desk::Command::Say { session, text });
            }
            desk::Event::Closed { session, why } => self.ended(session, why),
            desk::Event::ToShard { .. } => {}
        }
    }

    fn handle_shard(&mut self, event: shard::Event) {
        match event {
            shard::Event::PublisherFlows { session, flows } => self.flows(session, flows),
            shard::Event::Published { stream, epoch, published } => {
                let watched = self.watched.entry(stream).or_default();
                if epoch >= watched.epoch {
                    watched.epoch = epoch;
                    watched.set_published(published);
                }
                self.bump();
            }
            shard::Event::Report { session, report } => self.reported(session, report),
            shard::Event::Snapshot(snapshot) => {
                self.measured(*snapshot);
                self.bump();
            }
            shard::Event::Stopped { shard } => {
                tracing::debug!(shard, "a shard has said goodbye");
                self.snapshots.remove(&shard);
                if let Some(Some(reply)) = self.stopping.as_mut().map(Option::take) {
                    // Desks send their close_notify meanwhile.
                    tokio::spawn(async move {
                        tokio::time::sleep(FAREWELL).await;
                        let _ = reply.send(());
                    });
                }
            }
            shard::Event::ToDesk { .. }
            | shard::Event::ToShard { .. }
            | shard::Event::SessionFailed { .. }
            | shard::Event::PublisherSilent { .. } => {}
        }
    }

    fn connected(&mut self, session: SessionId) {
        self.control.connected(Instant::now(), session);
        if let Some(known) = self.sessions.get_mut(&session) {
            known.connected = true;
            tracing::info!(session = session.handle(), role = ?known.role, "connected");
            if let (Role::Publisher, Some((stream, _))) = (known.role, self.control.owner(&session)) {
                self.failed.mended(stream);
            }
        }
    }

    fn flows(&mut self, session: SessionId, flows: bool) {
        self.control.flows(Instant::now(), session, flows);
        let what = if flows { "media of a publisher comes again" } else { "no media of a publisher comes" };
        tracing::info!(session = session.handle(), "{what}");
    }

    fn ended(&mut self, session: SessionId, why: Ended) {
        let known = self.sessions.remove(&session);
        match (why, &known) {
            (Ended::Handshake(failure), Some(known)) => {
                self.dtls_failures[failure.reason as usize] += 1;
                let certificate = failure.certificate.map(|kind| kind.to_string());
                let (role, reason) = (known.role, failure.reason.name());
                // One line a session: it is gone afterwards.
                tracing::warn!(
                    session = session.handle(),
                    ?role,
                    reason,
                    alert = failure.alert,
                    certificate,
                    "the DTLS handshake failed: {failure}"
                );
                if let Some((stream, _)) = self.control.owner(&session) {
                    self.failed.keep(Instant::now(), session, stream.clone(), role, failure);
                    self.bump();
                }
            }
            (_, Some(_)) => tracing::info!(session = session.handle(), ?why, "a session ended"),
            (_, None) => {}
        }
        self.fail_waiting(session, || Refusal::NoSuchSession);
        self.control.closed(Instant::now(), session);
    }

    fn restarted(&mut self, session: SessionId, result: Option<Result<String, Unusable>>) {
        let etag = new_etag();
        let Some((ufrag, reply)) = self.take_waiting(session, |waiting| match waiting {
            Waiting::Restarted { ufrag, reply } => Ok((ufrag, reply)),
            other => Err(other),
        }) else {
            return;
        };
        let answer = match result {
            None => Err(Refusal::NoSuchSession),
            Some(Err(error)) => Err(unusable(error)),
            Some(Ok(fragment)) => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.client_ufrag = Some(ufrag);
                    known.etag = etag.clone();
                }
                Ok(Trickled::Restarted { fragment, etag })
            }
        };
        let _ = reply.send(answer);
    }

    fn ask_for_report(&mut self, session: SessionId, reply: oneshot::Sender<Option<ViewerReport>>) {
        let now = Instant::now();
        let mut replies = vec![reply];
        // A shard that was behind may have lost the question; then it is asked again.
        if let Some(mut asked) = self.take_report(session)
            && now.saturating_duration_since(asked.asked_at) < ANSWER_WITHIN
        {
            asked.replies.append(&mut replies);
            self.wait(session, Waiting::Report(asked));
            return;
        }
        self.wait(session, Waiting::Report(ReportAsked { left: self.plane.shard_count(), asked_at: now, replies }));
        self.to_all_shards(|| shard::Command::Report { session });
    }

    fn reported(&mut self, session: SessionId, report: Option<shard::ViewerReport>) {
        let Some(mut asked) = self.take_report(session) else { return };
        if report.is_none() && asked.left > 1 {
            asked.left -= 1;
            self.wait(session, Waiting::Report(asked));
            return;
        }
        let report = self.viewer_report(session, report.as_ref());
        for reply in asked.replies {
            let _ = reply.send(report.clone());
        }
    }

    fn take_report(&mut self, session: SessionId) -> Option<ReportAsked> {
        self.take_waiting(session, |waiting| match waiting {
            Waiting::Report(asked) => Ok(asked),
            other => Err(other),
        })
    }

    /// Does what `control` decided.
    fn carry_out(&mut self) {
        while let Some(effect) = self.control.poll_effect() {
            match effect {
                Effect::Close { session, role, reason, .. } => {
                    tracing::info!(session = session.handle(), ?role, ?reason, "closing a session");
                    self.to_desk(session, |_| desk::Command::Close { session });
                    self.fail_waiting(session, || Refusal::NoSuchSession);
                    self.sessions.remove(&session);
                    self.bump();
                }
                Effect::StreamClosed { stream } => {
                    self.watched.remove(&stream);
                    self.to_all_shards(|| shard::Command::CloseStream { stream });
                    self.bump();
                }
                Effect::PublisherIs { stream, epoch, .. } => {
                    self.watched.entry(stream).or_default().publisher_is(epoch);
                }
                Effect::PublisherGone { stream, epoch } => {
                    if let Some(watched) = self.watched.get_mut(&stream).filter(|w| w.epoch == epoch) {
                        watched.set_published(Published::default());
                    }
                    self.bump();
                }
                Effect::StreamOpened { stream } => {
                    self.watched.entry(stream).or_default();
                }
                Effect::Changed { .. } => self.bump(),
            }
        }
    }

    pub(super) fn published(&self, stream: StreamId) -> Published {
        self.watched.get(&stream).map(|w| w.published).unwrap_or_default()
    }

    pub(super) fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn to_all_shards(&self, command: impl Fn() -> shard::Command) {
        for number in 0..self.plane.shard_count() {
            // A shard that has said goodbye takes no more commands.
            let command = command();
            let may_be_lost = command.may_be_lost();
            if !self.plane.shard(number, command) && !may_be_lost && self.stopping.is_none() {
                // It has ended; the process aborts.
                tracing::error!(shard = number, "a media shard takes no commands any more");
            }
        }
    }

    fn to_desk(&self, session: SessionId, command: impl FnOnce(u8) -> desk::Command) {
        let Some(number) = self.sessions.get(&session).map(|k| k.desk) else { return };
        if !self.plane.desk(number, command(number)) {
            tracing::error!(desk = number, "a desk takes no commands any more");
        }
    }

    fn wait(&mut self, session: SessionId, waiting: Waiting) {
        self.waiting.entry(session).or_default().push(waiting);
    }

    /// Takes the first one out that `pick` wants.
    fn take_waiting<T>(&mut self, session: SessionId, pick: impl Fn(Waiting) -> Result<T, Waiting>) -> Option<T> {
        let list = self.waiting.remove(&session)?;
        let mut taken = None;
        let mut rest = Vec::new();
        for waiting in list {
            if taken.is_some() {
                rest.push(waiting);
                continue;
            }
            match pick(waiting) {
                Ok(it) => taken = Some(it),
                Err(other) => rest.push(other),
            }
        }
        if !rest.is_empty() {
            self.waiting.insert(session, rest);
        }
        taken
    }

    fn settle<T>(
        &mut self,
        session: SessionId,
        answer: T,
        pick: impl Fn(Waiting) -> Result<oneshot::Sender<T>, Waiting>,
    ) {
        if let Some(reply) = self.take_waiting(session, pick) {
            let _ = reply.send(answer);
        }
    }

    fn fail_waiting(&mut self, session: SessionId, why: impl Fn() -> Refusal) {
        for waiting in self.waiting.remove(&session).into_iter().flatten() {
            match waiting {
                Waiting::Opened(reply) => drop(reply.send(Err(why()))),
                Waiting::Answered(reply) => drop(reply.send(Err(why()))),
                Waiting::Restarted { reply, .. } => drop(reply.send(Err(why()))),
                Waiting::Report(asked) => asked.replies.into_iter().for_each(|reply| drop(reply.send(None))),
            }
        }
    }
}

/// The place of the video among a description's media, from zero.
fn video_line(sdp: &str) -> Option<u8> {
    let place = sdp.lines().filter(|line| line.starts_with("m=")).position(|line| line.starts_with("m=video"))?;
    u8::try_from(place).ok()
}

fn role_of(role: control::Role) -> Role {
    match role {
        control::Role::Publisher => Role::Publisher,
        control::Role::Viewer => Role::Viewer,
    }
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::StreamBusy { retry_after } => Refusal::StreamBusy { retry_after },
        Refused::Full { limit } => Refusal::Full { limit },
        Refused::Overloaded => Refusal::Overloaded,
        Refused::ShuttingDown => Refusal::ShuttingDown,
    }
}

fn unusable(error: Unusable) -> Refusal {
    match error {
        Unusable::CannotDecode { published, offered } => {
            Refusal::UnsupportedCodec { published: published.to_owned(), offered }
        }
        Unusable::Unacceptable { what, fix } => Refusal::NotAcceptable { what, fix },
        Unusable::Busy => Refusal::Full { limit: "limits.handshakes" },
        other => Refusal::BadSdp { reason: other.to_string() },
    }
}

fn new_session() -> SessionId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random().to_be_bytes());
    bytes[8..].copy_from_slice(&random().to_be_bytes());
    SessionId::from_bytes(bytes)
}

fn new_etag() -> String {
    format!("{:016x}", random())
}

/// The operating system's generator: these become ids and passwords that outsiders must not guess.
fn random() -> u64 {
    getrandom::u64().expect("the operating system has a random number generator")
}
