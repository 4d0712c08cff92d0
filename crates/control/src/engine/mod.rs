//! What does the whole server decide?
//!
//! [`Engine`] stands between HTTP and the threads that carry media. It takes requests, events of
//! desks and shards, and the time; it gives commands for them, answers, and facts for the log. It
//! is one value without a thread, a socket, a clock or a generator of its own, so the server, the
//! simulated world and the fuzzer drive the same one.
//!
//! # How to drive it
//!
//! Call a `handle_*` method, then [`Engine::poll_output`] until it returns `None`, carrying out
//! each [`Output`] in its order. Sleep until [`Engine::poll_timeout`] at most, then call
//! [`Engine::handle_timeout`]. Before a request, [`Engine::set_media`] says how the threads are.
//!
//! # What must always hold
//!
//! - Each request is answered once: at once, when a media thread answers, when its session ends, or
//!   [`ANSWER_WITHIN`] later.
//! - A request waits only for a session that is known, and [`waiting::MAX_WAITING`] at most for
//!   one.
//! - A command for a session goes to the desk or the shard that holds it. Events say which shard
//!   that is; an event about a publisher that ended meanwhile is answered by the command that
//!   removes it.
//!
//! # Where to start reading
//!
//! `joining` opens sessions, `restarting` replaces their ICE credentials, `viewing` is about wishes
//! and reports, `ending` about the end of sessions and of the server. Small values decide:
//! [`Control`] about admission, `watched`, `rates` and `demand` about one stream, `waiting` about
//! deadlines.

mod demand;
mod ending;
mod failures;
mod joining;
mod names;
mod output;
mod rates;
mod request;
mod restarting;
mod status;
#[cfg(test)]
mod tests;
mod viewing;
mod waiting;
mod watched;

pub use demand::WantedEncoding;
pub use failures::{FailedSession, MAX_FAILED};
pub use output::{Notice, Output};
pub use request::{
    Answer, BEHIND, IceFragment, Opened, Owner, Publish, Readiness, Refusal, Request, RequestId, Trickled, Watch, Wish,
};
pub use status::{AudioStatus, EncodingStatus, PublisherStatus, StreamStatus, VideoStatus, ViewerStatus};
pub use waiting::ANSWER_WITHIN;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use media::{SessionId, StreamId};
use sfu::desk::Random;
use sfu::dtls::Reason;
use sfu::format::Published;
use sfu::shard::Snapshot;
use sfu::stream::choice;
use sfu::{desk, shard};

use crate::admission::Load;
use crate::control::Control;
use crate::effect::CloseReason;
use crate::limits::Limits;
use crate::session::Role;
use crate::takeover::Takeover;
use ending::Stopping;
use failures::Failures;
use names::Names;
use waiting::Waiting;
use watched::Watched;

/// Time between two snapshots of a shard, from which rates and the demand of viewers are computed.
/// The publish page and the API show rates over the last second.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// How an engine is set up.
pub struct Setup {
    /// Bounds on streams and sessions.
    pub limits: Limits,
    /// The rule for a second publisher of a stream.
    pub takeover: Takeover,
    /// Viewers are refused while a media thread is busy for this share of its time, in percent; 100
    /// and more: never.
    pub busy_percent: u8,
    /// Number of shards, at least 1.
    pub shards: u8,
    /// Number of desks, at least 1.
    pub desks: u8,
    /// 64 random bits at a time: session ids, entity tags and passwords are made from them.
    pub random: Random,
}

/// How the media threads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// Load of the busiest of them.
    pub load: Load,
    /// Whether one has too many commands waiting, so that no more work may be given to it.
    pub is_behind: bool,
    /// Whether all of them run.
    pub is_alive: bool,
}

impl Default for Media {
    fn default() -> Media {
        Media { load: Load::default(), is_behind: false, is_alive: true }
    }
}

/// The state machine of the whole server; see the [module's tour](self).
#[derive(Debug)]
pub struct Engine {
    shards: u8,
    desks: u8,
    /// The desk that holds the session that came last; they take turns.
    last_desk: u8,
    names: Names,
    media: Media,
    control: Control,
    /// The sessions that `control` knows, except while one is being admitted.
    connections: BTreeMap<SessionId, Connection>,
    streams: BTreeMap<StreamId, Watched>,
    waiting: Waiting,
    failures: Failures,
    /// The newest snapshot of each shard.
    snapshots: BTreeMap<u8, Snapshot>,
    snapshots_at: Instant,
    stopping: Option<Stopping>,
    /// Drained by the driver after each call.
    outputs: VecDeque<Output>,
    has_changed: bool,
}

/// Where a session lives, and how its description stands.
#[derive(Debug)]
struct Connection {
    role: Role,
    stream: StreamId,
    /// The desk that holds the session.
    desk: u8,
    /// The shard that serves the session; `None` while it is connecting.
    shard: Option<u8>,
    etag: String,
    /// The client's ICE ufrag: another one in a fragment asks for a restart.
    client_ufrag: Option<String>,
    /// The place of the video among the media of its description.
    video_line: Option<u8>,
    is_connected: bool,
    /// A wish that its shard is told once there is one.
    early_wish: Option<choice::Preferences>,
    /// When its shard was last asked for a report that has not come yet.
    report_asked_at: Option<Instant>,
}

impl Engine {
    /// Creates an engine without sessions. It asks for the first snapshot a second from `now`.
    pub fn new(now: Instant, setup: Setup) -> Engine {
        Engine {
            shards: setup.shards.max(1),
            desks: setup.desks.max(1),
            last_desk: 0,
            names: Names::new(setup.random),
            media: Media::default(),
            control: Control::new(setup.limits, setup.takeover).with_busy_limit(setup.busy_percent),
            connections: BTreeMap::new(),
            streams: BTreeMap::new(),
            waiting: Waiting::default(),
            failures: Failures::default(),
            snapshots: BTreeMap::new(),
            snapshots_at: now + SNAPSHOT_INTERVAL,
            stopping: None,
            outputs: VecDeque::new(),
            has_changed: false,
        }
    }

    /// Takes how the media threads are; most useful right before a request.
    pub fn set_media(&mut self, media: Media) {
        self.media = media;
        self.control.measured(media.load);
    }

    /// Takes a request, which is answered by an [`Output::Answer`] with its number.
    pub fn handle_request(&mut self, now: Instant, id: RequestId, request: Request) {
        if self.media.is_behind && request.loads_threads() {
            self.answer(id, request.refused(Refusal::Full { limit: BEHIND }));
            return;
        }
        match request {
            Request::Publish(publish) => self.publish(now, id, publish),
            Request::Watch(watch) => self.watch(now, id, watch),
            Request::Accept { session, answer } => self.accept(now, id, session, answer),
            Request::Trickle { session, fragment, if_match } => {
                self.trickle(now, id, session, fragment, if_match.as_deref());
            }
            Request::Report { session } => self.report(now, id, session),
            Request::Wish { session, wish } => {
                let wished = self.wish(now, session, wish);
                self.answer(id, Answer::Wished(wished));
            }
            Request::Close { session } => {
                let closed = self.control.close(now, session, CloseReason::Asked);
                self.answer(id, Answer::Closed(closed));
            }
            Request::Kick { stream } => {
                let closed = self.control.kick(now, &stream);
                self.answer(id, Answer::Closed(closed));
            }
            Request::ShutDown => self.shut_down(now, id),
        }
    }

    /// Takes an event of a desk.
    pub fn handle_desk(&mut self, now: Instant, event: desk::Event) {
        match event {
            desk::Event::Opened { session, result } => self.opened(now, session, result),
            desk::Event::Answered { session, result } => self.accepted(session, result),
            desk::Event::Restarted { session, result } => self.restarted(session, result),
            desk::Event::Connected { session, shard } => self.connected(now, session, shard),
            desk::Event::Heard { session, text } => {
                if self.connections.contains_key(&session) {
                    self.outputs.push_back(Output::Heard { session, text });
                }
            }
            desk::Event::Closed { session, why } => self.ended(now, session, why),
            // Desks give these to shards themselves.
            desk::Event::ToShard { .. } => {}
        }
    }

    /// Takes an event of a shard.
    pub fn handle_shard(&mut self, now: Instant, event: shard::Event) {
        match event {
            shard::Event::PublisherFlows { session, flows } => {
                self.control.flows(now, session, flows);
                if self.connections.contains_key(&session) {
                    self.notice(Notice::Flows { session, flows });
                }
            }
            shard::Event::Published { stream, epoch, published } => {
                // Stream ids are not used twice: an unknown one is that of a stream that ended.
                if let Some(watched) = self.streams.get_mut(&stream) {
                    watched.publishes(epoch, published);
                    self.has_changed = true;
                }
            }
            shard::Event::Report { session, report } => self.reported(session, report),
            shard::Event::Snapshot(snapshot) => self.measured(now, *snapshot),
            shard::Event::Stopped { shard } => self.shard_stopped(now, shard),
            // Shards give these to each other and to desks themselves.
            shard::Event::ToDesk { .. }
            | shard::Event::ToShard { .. }
            | shard::Event::SessionFailed { .. }
            | shard::Event::PublisherSilent { .. } => {}
        }
    }

    /// Takes that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.control.handle_timeout(now);
        while let Some((session, request, answer)) = self.waiting.pop_due(now) {
            if matches!(answer, Answer::Opened(_)) {
                // The client never learned the session's name.
                self.control.close(now, session, CloseReason::Failed);
            }
            self.answer(request, answer);
        }
        if self.snapshots_at <= now && self.stopping.is_none() {
            self.snapshots_at = now + SNAPSHOT_INTERVAL;
            self.tell_all_shards(|| shard::Command::Snapshot);
        }
        self.look_at_stopping(now);
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let stopping = self.stopping.as_ref().and_then(Stopping::next);
        let snapshots = self.stopping.is_none().then_some(self.snapshots_at);
        [self.control.poll_timeout(), self.waiting.next(), snapshots, stopping].into_iter().flatten().min()
    }

    /// Returns the next thing to be done outside. Call until `None`, after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.carry_out();
        if self.outputs.is_empty() && std::mem::take(&mut self.has_changed) {
            return Some(Output::Changed);
        }
        self.outputs.pop_front()
    }

    // Questions; these change nothing.

    /// Returns a session's stream, role and identity.
    pub fn owner(&self, session: SessionId) -> Option<Owner> {
        let identity = self.control.identity(&session).map(str::to_owned);
        let (stream, role) = self.control.owner(&session)?;
        Some(Owner { stream: stream.clone(), role, identity })
    }

    /// Returns why a session failed, if its handshake failed lately.
    pub fn why_failed(&self, session: SessionId) -> Option<&FailedSession> {
        self.failures.of_session(session)
    }

    /// Returns whether the server takes sessions.
    pub fn readiness(&self) -> Readiness {
        match self.media.is_alive && self.stopping.is_none() {
            false => Readiness::Stuck,
            true if self.control.is_overloaded() => Readiness::Overloaded,
            true => Readiness::Ready,
        }
    }

    /// Returns whether ICE and DTLS of a session are up; `None` if there is no such session.
    pub fn is_connected(&self, session: SessionId) -> Option<bool> {
        self.connections.get(&session).map(|connection| connection.is_connected)
    }

    /// Returns the sessions that are admitted, and the counters of those that were not.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Returns the newest snapshot of each shard.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.values()
    }

    /// Returns how many sessions ended because their DTLS handshake failed, by [`Reason`].
    pub fn dtls_failures(&self) -> [u64; Reason::ALL.len()] {
        self.failures.by_reason()
    }

    /// Returns how many requests were refused because too many for their session waited.
    pub fn requests_turned_away(&self) -> u64 {
        self.waiting.turned_away()
    }

    // Steps of the calls above.

    fn published(&self, stream: StreamId) -> Published {
        self.streams.get(&stream).map(|watched| *watched.published()).unwrap_or_default()
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        self.outputs.push_back(Output::Answer { request, answer });
    }

    fn notice(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Notice(notice));
    }

    fn tell_shard(&mut self, shard: u8, command: shard::Command) {
        self.outputs.push_back(Output::ToShard { shard, command });
    }

    fn tell_all_shards(&mut self, command: impl Fn() -> shard::Command) {
        for shard in 0..self.shards {
            self.tell_shard(shard, command());
        }
    }

    /// Gives a command to the desk that holds a viewer's session.
    fn tell_desk(&mut self, session: SessionId, command: desk::Command) {
        if let Some(connection) = self.connections.get(&session) {
            let desk = connection.desk;
            self.outputs.push_back(Output::ToDesk { desk, command });
        }
    }
}
