//! How do sessions shake hands?
//!
//! A desk reads descriptions of publishers and viewers and does their ICE-lite and DTLS. It never
//! carries media; once DTLS is up, the keys go to the shard that the peer's datagrams arrive at
//! ([`Event::ToShard`]), and from then on the desk sees STUN and DTLS only: it answers the one and
//! waits for a goodbye in the other. A handshake costs about 0.3 ms of CPU
//! (`bench record --only joins`), too long for a media thread.
//!
//! What must always hold: a desk never sends a datagram whose first byte is 128..=191 (both sides
//! share SRTP keys; two senders would repeat nonces, threat T3). DTLS is only taken from an address that
//! passed ICE for that very session (T1), and an address that a session is served at is taken from it by no other.
//! Media goes to an address only after it completed DTLS, or answered a check of ours (T4).

mod addresses;
mod admission;
mod handshake;
mod ice;
mod new_sources;
mod session;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::demux::Class;
use media::{SessionId, StreamId};
use str0m::ice::{IceCreds, StunMessage};

use crate::format::Published;
use crate::guard::Strikes;
use crate::negotiate::{self, Answers, Identity, Unusable};
use crate::publisher::{Ended, PublisherSetup, SILENCE};
use crate::shard;
use crate::transmit::{Batch, local_source};
use crate::viewer::ViewerSetup;
pub use session::WISHES;

use addresses::{Heard, Path};
use admission::{Admission, Asked, Decision};
use session::{AddressCheck, Datagram, Driven, Media, Opened, Serving, Session, Taken};

/// Shakes hands with publishers and viewers.
pub struct Desk {
    number: u8,
    identity: Arc<Identity>,
    random: Random,
    answers: Answers,
    admission: Admission,
    sessions: HashMap<SessionId, Box<Session>>,
    by_ufrag: HashMap<String, SessionId>,
    by_source: HashMap<SocketAddr, SessionId>,
    timers: BinaryHeap<Reverse<(Instant, SessionId)>>,
    events: VecDeque<Event>,
    /// Whose state is being changed: a panic ends that session.
    turn: Turn,
    /// Panics that belonged to no session.
    strikes: Strikes,
    /// What has happened so far.
    pub counters: DeskCounters,
}

/// Whose state a desk is changing.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// State of all sessions.
    Shared,
    /// A datagram of which no session is known yet; it is dropped.
    Stranger,
    /// A session that is being opened.
    Opening(SessionId),
    /// A session that may be here.
    Session(SessionId),
}

/// 64 random bits at a time, handed in: the operating system's in the server, seeded in the simulated world.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// Asked of a desk.
#[derive(Debug)]
pub enum Command {
    /// Open a session. Answered by [`Event::Opened`].
    Open {
        /// Names it; chosen by the caller.
        session: SessionId,
        /// The stream that it watches.
        stream: StreamId,
        /// Its offer; `None` asks for ours.
        offer: Option<String>,
        /// The formats of the published media, so far as they are known.
        published: Published,
    },
    /// Open a publisher's session. Answered by [`Event::Opened`].
    Publish {
        /// Names it; chosen by the caller.
        session: SessionId,
        /// The stream that it publishes.
        stream: StreamId,
        /// Its fencing number.
        epoch: u32,
        /// Its offer.
        offer: String,
    },
    /// The answer to our offer. Answered by [`Event::Answered`].
    Answer {
        /// Whose.
        session: SessionId,
        /// SDP.
        answer: String,
        /// The formats of the published media.
        published: Published,
    },
    /// Restart ICE. Answered by [`Event::Restarted`].
    Restart {
        /// Whose.
        session: SessionId,
        /// The viewer's new ufrag.
        ufrag: String,
        /// The viewer's new password.
        password: String,
    },
    /// Tell a viewer something on its data channel, if it has one.
    Say {
        /// Whom.
        session: SessionId,
        /// What.
        text: String,
    },
    /// End a session: DTLS close_notify is sent.
    Close {
        /// Which.
        session: SessionId,
    },
    /// The shard of a publisher heard nothing for [`SILENCE`]: the session ends, unless this desk heard it.
    Silent {
        /// Which.
        session: SessionId,
    },
    /// A panic on its shard ended a session: it is closed as failed, with DTLS close_notify.
    Fail {
        /// Which.
        session: SessionId,
    },
    /// A datagram that a shard received for one of our sessions.
    Datagram(Handed),
    /// Tests only: arm a panic on this thread.
    #[cfg(any(test, feature = "inject"))]
    Inject(crate::inject::Fault),
}

impl Command {
    /// Whether a desk that is behind may be spared it: peers repeat datagrams. All else changes state once and must arrive.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Command::Datagram(_) => true,
            Command::Open { .. }
            | Command::Publish { .. }
            | Command::Answer { .. }
            | Command::Restart { .. }
            | Command::Say { .. }
            | Command::Close { .. }
            | Command::Silent { .. }
            | Command::Fail { .. } => false,
            #[cfg(any(test, feature = "inject"))]
            Command::Inject(_) => false,
        }
    }

    fn turn(&self) -> Turn {
        match self {
            // Which of those that wait is opened is known later.
            Command::Open { session, .. } | Command::Publish { session, .. } => Turn::Opening(*session),
            Command::Answer { session, .. }
            | Command::Restart { session, .. }
            | Command::Say { session, .. }
            | Command::Close { session }
            | Command::Silent { session }
            | Command::Fail { session } => Turn::Session(*session),
            Command::Datagram(_) => Turn::Stranger,
            #[cfg(any(test, feature = "inject"))]
            Command::Inject(_) => Turn::Shared,
        }
    }
}

impl Event {
    /// Whether the event may be dropped while its receiver is behind. Messages of a viewer's data
    /// channel are answered, and a viewer without an answer sends its message again.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Event::Heard { .. } => true,
            Event::ToShard { command, .. } => command.may_be_lost(),
            Event::Opened { .. }
            | Event::Answered { .. }
            | Event::Restarted { .. }
            | Event::Connected { .. }
            | Event::Closed { .. } => false,
        }
    }

    /// The session that it is about, if it is about one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Event::Opened { session, .. }
            | Event::Answered { session, .. }
            | Event::Restarted { session, .. }
            | Event::Connected { session, .. }
            | Event::Heard { session, .. }
            | Event::Closed { session, .. } => Some(*session),
            Event::ToShard { .. } => None,
        }
    }
}

/// A datagram handed from a shard to a desk.
#[derive(Debug, Clone)]
pub struct Handed {
    /// Which shard received it.
    pub shard: u8,
    /// From where.
    pub source: SocketAddr,
    /// To which of our addresses.
    pub destination: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Told by a desk.
#[derive(Debug)]
pub enum Event {
    /// See [`Command::Open`]: our half of the description, or why not.
    Opened {
        /// Which session.
        session: SessionId,
        /// SDP.
        result: Result<String, Unusable>,
    },
    /// See [`Command::Answer`].
    Answered {
        /// Which session.
        session: SessionId,
        /// Whether it could be used; `None` if there is no such session or no offer waits.
        result: Option<Result<(), Unusable>>,
    },
    /// See [`Command::Restart`].
    Restarted {
        /// Which session.
        session: SessionId,
        /// Our fragment; `None` if there is no such session.
        result: Option<Result<String, Unusable>>,
    },
    /// ICE and DTLS of a session are up. Follows the [`shard::Command::AddViewer`] that gives its
    /// keys to a shard, and must not overtake it: commands for the viewer are sent to that shard
    /// from now on.
    Connected {
        /// Which session.
        session: SessionId,
        /// The shard that serves it until it ends.
        shard: u8,
    },
    /// A viewer said something on its data channel (labelled [`WISHES`]); answered by [`Command::Say`].
    Heard {
        /// Which session.
        session: SessionId,
        /// What, as it came.
        text: String,
    },
    /// The session is over.
    Closed {
        /// Which session.
        session: SessionId,
        /// Why.
        why: Ended,
    },
    /// For a shard.
    ToShard {
        /// Which.
        shard: u8,
        /// What.
        command: shard::Command,
    },
}

/// What has happened on a desk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeskCounters {
    /// Sessions whose DTLS came up.
    pub connected: u64,
    /// Datagrams of no session, or that did not authenticate.
    pub refused: u64,
    /// Datagrams that str0m could not use.
    pub malformed: u64,
    /// Sessions that ended because something in them panicked.
    pub panics: u64,
    /// Checks of ours to a new address of a viewer.
    pub address_checks: u64,
    /// Viewers that were told to come again, because too many came at once.
    pub turned_away: u64,
}

/// Address changes are checked this often at most (threat T4: 1/s).
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Handshakes under way at once, if nothing else is said. They wait for the network for half a second or so; a desk
/// completes some 3,000 a second.
const DEFAULT_HANDSHAKES: usize = 1_000;

/// Sessions opened before others get their turn; about 20 µs each, ten times that if the offer is of a new kind.
const MAX_OPENED_AT_ONCE: usize = 8;

impl Desk {
    /// Desk number `number`.
    pub fn new(number: u8, identity: Identity, random: Random) -> Desk {
        Desk {
            number,
            identity: Arc::new(identity),
            random,
            answers: Answers::default(),
            admission: Admission::new(DEFAULT_HANDSHAKES),
            sessions: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_source: HashMap::new(),
            timers: BinaryHeap::new(),
            events: VecDeque::new(),
            turn: Turn::Shared,
            strikes: Strikes::default(),
            counters: DeskCounters::default(),
        }
    }

    /// Returns the same desk with at most `most` handshakes under way at once.
    pub fn with_handshakes(mut self, most: usize) -> Desk {
        self.admission = Admission::new(most);
        self
    }

    /// How many sessions it holds.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Someone asks.
    pub fn handle_command(&mut self, now: Instant, command: Command, batch: &mut Batch) {
        let turn = command.turn();
        self.survives(now, turn, |desk| desk.obey(now, command, batch));
        while !self.survives(now, Turn::Shared, |desk| desk.admit(now)) {}
    }

    fn obey(&mut self, now: Instant, command: Command, batch: &mut Batch) {
        match command {
            Command::Open { session, stream, offer, published } => {
                if !self.admission.ask(now, Asked { session, stream, offer, published }) {
                    self.turn_away(session);
                }
            }
            Command::Publish { session, stream, epoch, offer } => {
                crate::guard::fault!(Open, Some(session));
                let result = self.open_publisher(now, session, stream, epoch, offer);
                self.events.push_back(Event::Opened { session, result });
            }
            Command::Answer { session, answer, published } => {
                let identity = self.identity.clone();
                let result = self.guarded(session, |s| s.answer(now, &identity, &answer, &published)).flatten();
                self.events.push_back(Event::Answered { session, result });
                self.drive(now, session, batch);
            }
            Command::Restart { session, ufrag, password } => {
                let result = self.restart(session, IceCreds { ufrag, pass: password });
                self.events.push_back(Event::Restarted { session, result });
                self.drive(now, session, batch);
            }
            Command::Say { session, text } => {
                self.guarded(session, |s| s.say(&text));
                self.drive(now, session, batch);
            }
            Command::Close { session } => {
                self.guarded(session, Session::close);
                self.drive(now, session, batch);
                self.remove(session);
            }
            Command::Silent { session } => {
                let consent_at = self.sessions.get(&session).map(|s| s.consent_at);
                if consent_at.is_some_and(|at| now.saturating_duration_since(at) >= SILENCE) {
                    self.end(session, Ended::IceLost);
                }
            }
            Command::Fail { session } => {
                if self.sessions.contains_key(&session) {
                    self.events.push_back(Event::Closed { session, why: Ended::Failed });
                    self.guarded(session, Session::close);
                    self.drive(now, session, batch);
                    self.remove(session);
                }
            }
            Command::Datagram(handed) => self.handle_datagram(now, &handed, batch),
            #[cfg(any(test, feature = "inject"))]
            Command::Inject(fault) => crate::inject::arm(fault),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, batch: &mut Batch) {
        // A timer that panicked is not due any more.
        while !self.survives(now, Turn::Shared, |desk| desk.look_at_timers(now, batch)) {}
        while !self.survives(now, Turn::Shared, |desk| desk.admit(now)) {}
    }

    fn look_at_timers(&mut self, now: Instant, batch: &mut Batch) {
        while let Some(Reverse((at, session))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let Some(s) = self.sessions.get_mut(&session).filter(|s| s.wakes_at == Some(at)) else { continue };
            s.wakes_at = None;
            self.turn = Turn::Session(session);
            let is_silent = s.silent_at().is_some_and(|at| at <= now);
            if is_silent {
                self.end(session, Ended::IceLost);
                continue;
            }
            match self.guarded(session, |s| s.handle_timeout(now)) {
                Some(None) => self.drive(now, session, batch),
                Some(Some(why)) => {
                    self.guarded(session, |s| s.alert(why, batch));
                    self.end(session, why);
                }
                None => {}
            }
        }
    }

    /// When to come again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        [timer, self.admission.poll_timeout()].into_iter().flatten().min()
    }

    /// Something happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Opens the sessions whose turn it is.
    fn admit(&mut self, now: Instant) {
        for _ in 0..MAX_OPENED_AT_ONCE {
            match self.admission.next(now) {
                Some(Decision::Open(Asked { session, stream, offer, published })) => {
                    self.turn = Turn::Opening(session);
                    crate::guard::fault!(Open, Some(session));
                    let result = self.open(now, session, stream, offer, &published);
                    if result.is_err() {
                        self.admission.finish(session);
                    }
                    self.events.push_back(Event::Opened { session, result });
                }
                Some(Decision::TurnAway(session)) => self.turn_away(session),
                None => return,
            }
        }
    }

    fn turn_away(&mut self, session: SessionId) {
        self.counters.turned_away += 1;
        self.events.push_back(Event::Opened { session, result: Err(Unusable::Busy) });
    }

    fn open(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        offer: Option<String>,
        published: &Published,
    ) -> Result<String, Unusable> {
        let credentials = self.credentials();
        let opened = match &offer {
            Some(offer) => {
                let ours = credentials.clone();
                let opened = catch_unwind(AssertUnwindSafe(|| {
                    self.answers.answer(&self.identity, now, ours, offer, published, &mut self.random)
                }));
                opened.unwrap_or_else(|_| Err(self.unprocessed()))?
            }
            None => negotiate::offer_to_viewer(&self.identity, now, credentials.clone(), published)?,
        };
        Ok(self.insert(now, session, stream, credentials, Opened::of_viewer(offer, opened)))
    }

    fn open_publisher(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        epoch: u32,
        offer: String,
    ) -> Result<String, Unusable> {
        let credentials = self.credentials();
        let (identity, ours) = (self.identity.clone(), credentials.clone());
        let opened = catch_unwind(AssertUnwindSafe(|| negotiate::publisher(&identity, now, ours, &offer)));
        let opened = opened.unwrap_or_else(|_| Err(self.unprocessed()))?;
        Ok(self.insert(now, session, stream, credentials, Opened::of_publisher(epoch, offer, opened)))
    }

    /// A panic at a description is counted, and told to its sender.
    fn unprocessed(&mut self) -> Unusable {
        self.counters.panics += 1;
        Unusable::Malformed("it could not be processed".to_owned())
    }

    /// Keeps a session. Returns our half of the description.
    fn insert(
        &mut self,
        now: Instant,
        session: SessionId,
        stream: StreamId,
        credentials: IceCreds,
        opened: Opened,
    ) -> String {
        let (sdp, ufrag) = (opened.sdp.clone(), credentials.ufrag.clone());
        self.sessions.insert(session, Box::new(Session::new(now, stream, credentials, opened)));
        self.by_ufrag.insert(ufrag, session);
        sdp
    }

    /// `v`, the desk's number, and 64 random bits; see `docs/design/0001-first-stream.md`.
    fn credentials(&mut self) -> IceCreds {
        let ufrag = format!("v{:02x}{:016x}", self.number, (self.random)());
        // RFC 8445 §5.3: at least 128 bits of randomness.
        IceCreds { ufrag, pass: format!("{:016x}{:016x}", (self.random)(), (self.random)()) }
    }

    fn restart(&mut self, session: SessionId, theirs: IceCreds) -> Option<Result<String, Unusable>> {
        let ours = self.credentials();
        let ufrag = ours.ufrag.clone();
        let restarted = self.guarded(session, |s| s.restart(ours, theirs))?;
        Some(restarted.map(|(fragment, retired)| {
            self.by_ufrag.insert(ufrag, session);
            retired.map(|retired| self.by_ufrag.remove(&retired));
            fragment
        }))
    }

    fn handle_datagram(&mut self, now: Instant, handed: &Handed, batch: &mut Batch) {
        let taken = match media::demux::classify(&handed.bytes) {
            Class::Stun => self.handle_stun(now, handed, batch),
            Class::Dtls => self.handle_dtls(now, handed, batch),
            Class::Rtp | Class::Other => Taken::Refused,
        };
        match taken {
            Taken::Well => {}
            Taken::Malformed => self.counters.malformed += 1,
            Taken::Refused => self.counters.refused += 1,
        }
    }

    fn handle_dtls(&mut self, now: Instant, handed: &Handed, batch: &mut Batch) -> Taken {
        let Some(session) = self.by_source.get(&handed.source).copied() else { return Taken::Refused };
        self.turn = Turn::Session(session);
        let identity = self.identity.clone();
        let taken = self.guarded(session, |s| s.dtls(now, &identity, handed.as_datagram()));
        self.drive(now, session, batch);
        taken.unwrap_or(Taken::Malformed)
    }

    fn handle_stun(&mut self, now: Instant, handed: &Handed, batch: &mut Batch) -> Taken {
        let Ok(message) = StunMessage::parse(&handed.bytes) else { return Taken::Refused };
        let Some((local, _)) = message.split_username() else { return self.handle_answer(handed, &message) };
        let Some(session) = self.by_ufrag.get(local).copied() else { return Taken::Refused };
        self.turn = Turn::Session(session);
        let Some(authentic) = self.guarded(session, |s| s.ice.authenticate(&message)).flatten() else {
            return Taken::Refused;
        };
        // A peer with a session of its own may forge another's address; the other session keeps it.
        if self.serves_another(handed.source, session) {
            return Taken::Refused;
        }
        let may_come = |s: &mut Session| s.addresses.path(handed.source).is_some() || s.new_sources.take(now);
        if self.sessions.get_mut(&session).is_none_or(|s| !may_come(s)) {
            return Taken::Refused;
        }
        authentic.retired.map(|retired| self.by_ufrag.remove(&retired));
        let identity = self.identity.clone();
        let taken = self.guarded(session, |s| s.checked(now, &identity, &message, handed.as_datagram(), batch));
        if taken != Some(Taken::Refused) {
            self.bind(now, session, handed, message.use_candidate());
            self.drive(now, session, batch);
            self.follow(now, session, batch);
        }
        taken.unwrap_or(Taken::Malformed)
    }

    /// Returns whether media of a session other than `session` goes to `source`.
    fn serves_another(&self, source: SocketAddr, session: SessionId) -> bool {
        let owner = self.by_source.get(&source).filter(|owner| **owner != session);
        let owner = owner.and_then(|owner| self.sessions.get(owner));
        owner.and_then(|s| s.serving.as_ref()).is_some_and(|serving| serving.address == source)
    }

    /// An address passed ICE: its datagrams belong to this session from now on.
    fn bind(&mut self, now: Instant, session: SessionId, handed: &Handed, nominates: bool) {
        let Some(s) = self.sessions.get_mut(&session) else { return };
        s.consent_at = now;
        let path = handed.as_datagram().path;
        let serves = s.serving.as_ref().map(|serving| serving.address);
        let heard = s.addresses.on_request(now, path, nominates, serves);
        let owner = self.by_source.insert(path.address, session);
        if heard == Heard::Known && owner == Some(session) {
            return;
        }
        let serving = s.serving.as_ref().map(|s| s.shard);
        let is_sender = s.role == negotiate::Role::Publisher;
        if let Heard::New { forgotten: Some(forgotten) } = heard {
            self.unbind(session, forgotten);
        }
        let command = shard::Command::Bind { source: path.address, session, desk: self.number, serving, is_sender };
        self.events.push_back(Event::ToShard { shard: path.shard, command });
    }

    /// An address is not this session's any more; if it became another's meanwhile, it stays theirs.
    fn unbind(&mut self, session: SessionId, path: Path) {
        if self.by_source.get(&path.address) == Some(&session) {
            self.by_source.remove(&path.address);
            let command = shard::Command::Unbind { source: path.address };
            self.events.push_back(Event::ToShard { shard: path.shard, command });
        }
    }

    fn drive(&mut self, now: Instant, session: SessionId, batch: &mut Batch) {
        let Some(Driven { wakes_at, ended, heard }) = self.guarded(session, |s| s.drive(now, batch)) else { return };
        self.hand_over(session);
        let Some(s) = self.sessions.get_mut(&session) else { return };
        // A publisher wishes nothing of the stream.
        let heard = heard.into_iter().filter(|_| s.role == negotiate::Role::Viewer);
        self.events.extend(heard.map(|text| Event::Heard { session, text }));
        match ended {
            Some(_) if s.is_closing => self.remove(session),
            Some(why) => {
                // A goodbye is answered by one, and a failed handshake by an alert.
                let _ = self.guarded(session, |s| {
                    s.alert(why, batch);
                    s.close();
                    s.drive(now, batch)
                });
                self.end(session, why);
            }
            None => {
                let next = [wakes_at, s.silent_at()].into_iter().flatten().min();
                // A timer that comes sooner looks again.
                if let Some(next) = next.filter(|next| s.wakes_at.is_none_or(|set| *next < set)) {
                    s.wakes_at = Some(next);
                    self.timers.push(Reverse((next, session)));
                }
            }
        }
    }

    /// Gives the keys to a shard, once they are there.
    fn hand_over(&mut self, session: SessionId) {
        let Some(ready) = self.guarded(session, Session::take_ready).flatten() else { return };
        let Ok((seal, open)) = ready.keys else {
            self.end(session, Ended::Failed);
            return;
        };
        let seed = u128::from((self.random)()) << 64 | u128::from((self.random)());
        let Some(s) = self.sessions.get_mut(&session) else { return };
        let path = ready.path;
        let (stream, desk, address) = (s.stream, self.number, path.address);
        let source = local_source(path.destination);
        let command = match ready.media {
            Media::Viewer(tracks) => {
                let setup = ViewerSetup { session, stream, desk, address, source, seal, open, tracks, seed };
                shard::Command::AddViewer(Box::new(setup))
            }
            Media::Publisher(publishing) => {
                let session::Publishing { epoch, offer, negotiated } = *publishing;
                let seed = seed as u64;
                shard::Command::AddPublisher(Box::new(PublisherSetup {
                    session,
                    stream,
                    epoch,
                    desk,
                    address,
                    source,
                    seal,
                    open,
                    negotiated,
                    offer,
                    seed,
                }))
            }
        };
        let is_sender = s.role == negotiate::Role::Publisher;
        s.serving = Some(Serving { shard: path.shard, address: path.address });
        self.events.push_back(Event::ToShard { shard: path.shard, command });
        for known in s.addresses.iter().filter(|known| known.shard != path.shard) {
            let serving = Some(path.shard);
            let source = known.address;
            let command = shard::Command::Bind { source, session, desk: self.number, serving, is_sender };
            self.events.push_back(Event::ToShard { shard: known.shard, command });
        }
        self.admission.finish(session);
        self.counters.connected += 1;
        self.events.push_back(Event::Connected { session, shard: path.shard });
    }

    /// A connected viewer wants to be sent to at another address: before media follows it there, we ask that
    /// address ourselves, because one forged request must not send a stream to a stranger (T4).
    fn follow(&mut self, now: Instant, session: SessionId, batch: &mut Batch) {
        let Some(s) = self.sessions.get_mut(&session) else { return };
        let Some(wanted) = s.serving.as_ref().and_then(|serving| s.addresses.better(now, serving.address)) else {
            return;
        };
        if s.check.as_ref().is_some_and(|c| now.saturating_duration_since(c.sent_at) < CHECK_INTERVAL) {
            return;
        }
        let transaction = ice::transaction([(self.random)(), (self.random)()]);
        let mut written = [0; ice::MAX_WRITTEN_BYTES];
        let len = s.ice.check(transaction, (self.random)(), &mut written);
        let Some(request) = written.get(..len).filter(|request| !request.is_empty()) else { return };
        batch.push(wanted.address, local_source(wanted.destination), request);
        self.counters.address_checks += 1;
        s.check = Some(AddressCheck { transaction, path: wanted, sent_at: now });
    }

    /// The answer to our own check: the viewer really is there, and media may follow.
    fn handle_answer(&mut self, handed: &Handed, answer: &StunMessage<'_>) -> Taken {
        let Some(session) = self.by_source.get(&handed.source).copied() else { return Taken::Refused };
        self.turn = Turn::Session(session);
        let moved = self.guarded(session, |s| {
            let (check, serving) = (s.check.as_ref()?, s.serving.as_mut()?);
            let is_it = answer.is_successful_binding_response()
                && answer.trans_id() == check.transaction
                && handed.source == check.path.address
                && s.ice.has_answered(answer);
            let path = is_it.then_some(check.path)?;
            serving.address = path.address;
            s.check = None;
            Some((serving.shard, path))
        });
        let Some((shard, path)) = moved.flatten() else { return Taken::Refused };
        let source = local_source(path.destination);
        let command = shard::Command::MoveViewer { session, address: path.address, source };
        self.events.push_back(Event::ToShard { shard, command });
        Taken::Well
    }

    /// A session is over, and not because we were asked.
    fn end(&mut self, session: SessionId, why: Ended) {
        if self.sessions.contains_key(&session) {
            self.events.push_back(Event::Closed { session, why });
            self.remove(session);
        }
    }

    fn remove(&mut self, session: SessionId) {
        self.admission.finish(session);
        let Some(s) = self.sessions.remove(&session) else { return };
        for ufrag in s.ice.ufrags() {
            self.by_ufrag.remove(ufrag);
        }
        for path in s.addresses.iter() {
            self.unbind(session, path);
        }
        if let Some(serving) = s.serving {
            let command = shard::Command::Remove { session };
            self.events.push_back(Event::ToShard { shard: serving.shard, command });
        }
    }

    /// Runs `step` on a session so that a panic ends that session only. `None`: there is no session, or not any more.
    fn guarded<T>(&mut self, session: SessionId, step: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let s = self.sessions.get_mut(&session)?;
        let done = catch_unwind(AssertUnwindSafe(|| step(s)));
        if done.is_err() {
            self.counters.panics += 1;
            self.failed(session);
        }
        done.ok()
    }

    /// Runs a step of the desk. Returns whether it came to its end: if not, the session whose turn it was is over.
    ///
    /// # Panics
    ///
    /// Goes on with a panic that belongs to no session and has happened too often ([`Strikes`]).
    fn survives(&mut self, now: Instant, turn: Turn, step: impl FnOnce(&mut Desk)) -> bool {
        self.turn = turn;
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(self))) else { return true };
        self.counters.panics += 1;
        match self.turn {
            Turn::Session(session) | Turn::Opening(session) if self.sessions.contains_key(&session) => {
                self.failed(session);
            }
            Turn::Opening(session) => {
                self.admission.finish(session);
                let unusable = Unusable::Malformed("it could not be processed".to_owned());
                self.events.push_back(Event::Opened { session, result: Err(unusable) });
            }
            // The datagram is dropped, and nothing was changed for it.
            Turn::Stranger => {}
            Turn::Session(_) | Turn::Shared => {
                if !self.strikes.survives(now) {
                    resume_unwind(panic);
                }
            }
        }
        false
    }

    fn failed(&mut self, session: SessionId) {
        tracing::error!(desk = self.number, session = session.handle(), "a panic ended this session; all others go on");
        self.end(session, Ended::Failed);
    }
}

impl Handed {
    fn as_datagram(&self) -> Datagram<'_> {
        let path = Path { address: self.source, destination: self.destination, shard: self.shard };
        Datagram { path, bytes: &self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_limit_wait_for_their_turn_and_are_then_told_to_come_again() {
        let began = Instant::now();
        let mut desk = Desk::new(0, Identity::new(Vec::new()), Box::new(|| 7)).with_handshakes(1);
        let mut batch = Batch::new();
        for n in 1..=3 {
            let session = SessionId::from_bytes([n; 16]);
            let open = Command::Open { session, stream: StreamId(1), offer: None, published: Published::default() };
            desk.handle_command(began, open, &mut batch);
        }
        let told = |desk: &mut Desk| -> Vec<(u8, bool)> {
            let opened = |event| match event {
                Event::Opened { session, result } => (session.as_bytes()[0], result.is_ok()),
                other => panic!("{other:?}"),
            };
            std::iter::from_fn(|| desk.poll_event()).map(opened).collect()
        };
        assert_eq!(told(&mut desk), [(1, true)]);
        let session = SessionId::from_bytes([1; 16]);
        desk.handle_command(began, Command::Close { session }, &mut batch);
        assert_eq!(told(&mut desk), [(2, true)]);
        let at = desk.poll_timeout().expect("somebody waits");
        desk.handle_timeout(at, &mut batch);
        assert_eq!(told(&mut desk), [(3, false)]);
        assert_eq!((desk.session_count(), desk.counters.turned_away), (1, 1));
    }
}
