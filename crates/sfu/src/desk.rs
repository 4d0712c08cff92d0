//! Who shakes hands with viewers?
//!
//! A desk owns viewers' `str0m::Rtc`: SDP, ICE-lite, DTLS. It never carries their media; once DTLS is up, the
//! keys go to the shard that the viewer's datagrams arrive at ([`Event::ToShard`]), and from then on the
//! desk sees STUN, DTLS and data channels only. A handshake costs about 1 ms, which is why this is not done on
//! a media thread.
//!
//! What must always hold: a desk never sends a datagram whose first byte is 128..=191 (both sides
//! share SRTP keys; two senders would repeat nonces, threat T3). DTLS is only taken from an address that
//! passed ICE for that very session (T1). Media goes to an address only after it completed DTLS, or answered a
//! check of ours (T4).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use media::demux::Class;
use media::{SessionId, StreamId};
use str0m::change::SdpPendingOffer;
use str0m::ice::{IceCreds, StunMessage, TransId};
use str0m::net::{Protocol, Receive};
use str0m::{Event as RtcEvent, IceConnectionState, Input, Output, Rtc};

use crate::format::Published;
use crate::negotiate::{self, Identity, Unusable, ViewerOffer};
use crate::publisher::{Ended, SHORTEST_WAIT};
use crate::shard;
use crate::tap::{self, KeySlot};
use crate::transmit::Batch;
use crate::viewer::ViewerSetup;
use crate::viewer::track::TrackFacts;

/// Shakes hands with viewers.
pub struct Desk {
    number: u8,
    identity: Identity,
    random: Random,
    sessions: HashMap<SessionId, Session>,
    by_ufrag: HashMap<String, SessionId>,
    by_source: HashMap<SocketAddr, SessionId>,
    timers: BinaryHeap<Reverse<(Instant, SessionId)>>,
    events: VecDeque<Event>,
    /// What has happened so far.
    pub counters: Counters,
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
        /// What it watches.
        stream: StreamId,
        /// Its offer; `None` asks for ours.
        offer: Option<String>,
        /// What is being published, so far as it is known.
        published: Published,
    },
    /// The answer to our offer. Answered by [`Event::Answered`].
    Answer {
        /// Whose.
        session: SessionId,
        /// SDP.
        answer: String,
        /// What is being published.
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
    /// End a session: DTLS close_notify is sent.
    Close {
        /// Which.
        session: SessionId,
    },
    /// A datagram that a shard received for one of our sessions.
    Datagram(Handed),
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
    /// ICE and DTLS are up, and a shard has the keys.
    Connected {
        /// Which session.
        session: SessionId,
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
pub struct Counters {
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
}

struct Session {
    rtc: Box<Rtc>,
    keys: KeySlot,
    stream: StreamId,
    offer: Option<String>,
    pending: Option<SdpPendingOffer>,
    tracks: Vec<TrackFacts>,
    ufrag: String,
    /// The viewer's ICE credentials.
    remote: Option<IceCreds>,
    /// Addresses that passed ICE, and the shard and local address that they came in by.
    sources: Vec<Source>,
    /// The shard that serves it, and the address that media goes to.
    serving: Option<Serving>,
    check: Option<AddressCheck>,
    closing: bool,
    /// When it last proved that it wants to be sent to.
    consent_at: Instant,
    wakes_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Source {
    address: SocketAddr,
    destination: SocketAddr,
    shard: u8,
}

struct Serving {
    shard: u8,
    address: SocketAddr,
}

/// Our own binding request to an address that the viewer wants to be sent to (threat T4).
struct AddressCheck {
    transaction: TransId,
    source: Source,
    sent_at: Instant,
}

/// The most addresses of one viewer that are remembered.
const MAX_SOURCES: usize = 8;

/// Address changes are checked this often at most (threat T4: 1/s).
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A viewer whose checks stop coming is not sent to any longer (threat T5; RFC 7675 §5.1 allows 30 s).
const CONSENT: Duration = Duration::from_secs(15);

/// RFC 8445 §5.1.2.1: a host candidate's type preference, 126, in the highest byte.
const CHECK_PRIORITY: u32 = 126 << 24;

/// Rounds that one session may take at a time.
const MAX_OUTPUTS: usize = 2_000;

impl Desk {
    /// Desk number `number`.
    pub fn new(number: u8, identity: Identity, random: Random) -> Desk {
        Desk {
            number,
            identity,
            random,
            sessions: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_source: HashMap::new(),
            timers: BinaryHeap::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// How many sessions it holds.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Someone asks.
    pub fn handle_command(&mut self, now: Instant, command: Command, batch: &mut Batch) {
        match command {
            Command::Open { session, stream, offer, published } => {
                let result = self.open(now, session, stream, offer, &published);
                self.events.push_back(Event::Opened { session, result });
                self.drive(now, session, batch);
            }
            Command::Answer { session, answer, published } => {
                let mut result = None;
                self.guarded(session, |s| {
                    if let Some(pending) = s.pending.take() {
                        s.remote = remote_credentials(&answer);
                        let accepted = negotiate::accept_answer(&mut s.rtc, pending, &answer, &published);
                        result = Some(accepted.map(|tracks| s.tracks = tracks));
                    }
                    true
                });
                self.events.push_back(Event::Answered { session, result });
                self.drive(now, session, batch);
            }
            Command::Restart { session, ufrag, password } => {
                let result = self.restart(session, &ufrag, &password);
                self.events.push_back(Event::Restarted { session, result });
                self.drive(now, session, batch);
            }
            Command::Close { session } => {
                self.guarded(session, |s| {
                    s.closing = true;
                    let _ = s.rtc.close();
                    true
                });
                self.drive(now, session, batch);
                self.remove(session);
            }
            Command::Datagram(handed) => self.handle_datagram(now, &handed, batch),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, batch: &mut Batch) {
        while let Some(Reverse((at, session))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let due = self.sessions.get(&session).is_some_and(|s| s.wakes_at == Some(at));
            let silent = self
                .sessions
                .get(&session)
                .is_some_and(|s| s.serving.is_some() && now.saturating_duration_since(s.consent_at) >= CONSENT);
            if silent {
                self.events.push_back(Event::Closed { session, why: Ended::IceLost });
                self.remove(session);
            } else if due {
                self.guarded(session, |s| s.rtc.handle_input(Input::Timeout(now)).is_ok());
                self.drive(now, session, batch);
            }
        }
    }

    /// When to come again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Something happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
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
        let ufrag = credentials.ufrag.clone();
        let ViewerOffer { rtc, keys, sdp, tracks, pending } = match &offer {
            Some(offer) => {
                let opened = catch_unwind(AssertUnwindSafe(|| {
                    negotiate::viewer(&self.identity, now, credentials, offer, published)
                }));
                opened.unwrap_or_else(|_| {
                    self.counters.panics += 1;
                    Err(Unusable::Malformed("it could not be processed".to_owned()))
                })?
            }
            None => negotiate::offer_to_viewer(&self.identity, now, credentials)?,
        };
        self.by_ufrag.insert(ufrag.clone(), session);
        let remote = offer.as_deref().and_then(remote_credentials);
        let opened = Session {
            remote,
            rtc,
            keys,
            stream,
            offer,
            pending,
            tracks,
            ufrag,
            sources: Vec::new(),
            serving: None,
            check: None,
            closing: false,
            consent_at: now,
            wakes_at: None,
        };
        self.sessions.insert(session, opened);
        Ok(sdp)
    }

    /// `v`, the desk's number, and 64 random bits; see `docs/design/0001-first-stream.md`.
    fn credentials(&mut self) -> IceCreds {
        let ufrag = format!("v{:02x}{:016x}", self.number, (self.random)());
        // RFC 8445 §5.3: at least 128 bits of randomness.
        IceCreds { ufrag, pass: format!("{:016x}{:016x}", (self.random)(), (self.random)()) }
    }

    fn restart(&mut self, session: SessionId, ufrag: &str, password: &str) -> Option<Result<String, Unusable>> {
        let credentials = self.credentials();
        let s = self.sessions.get_mut(&session)?;
        let offer = s.offer.as_ref()?;
        let result = negotiate::restart_ice(&mut s.rtc, offer, ufrag, password, credentials.clone());
        if result.is_ok() {
            self.by_ufrag.remove(&s.ufrag);
            s.ufrag = credentials.ufrag.clone();
            s.remote = Some(IceCreds { ufrag: ufrag.to_owned(), pass: password.to_owned() });
            self.by_ufrag.insert(credentials.ufrag, session);
        }
        Some(result)
    }

    fn handle_datagram(&mut self, now: Instant, handed: &Handed, batch: &mut Batch) {
        let class = media::demux::classify(&handed.bytes);
        let session = match class {
            Class::Stun => self.session_of_stun(handed),
            Class::Dtls => self.by_source.get(&handed.source).copied(),
            _ => None,
        };
        let Some(session) = session else {
            self.counters.refused += 1;
            return;
        };
        if class == Class::Stun && self.is_check_answer(session, handed) {
            return;
        }
        let destination = self.identity.candidate_for(handed.destination);
        let mut accepted = false;
        let mut usable = true;
        self.guarded(session, |s| {
            let Ok(receive) = Receive::new(Protocol::Udp, handed.source, destination, &handed.bytes) else {
                usable = false;
                return true;
            };
            let input = Input::Receive(now, receive);
            accepted = s.rtc.accepts(&input);
            if accepted {
                usable = s.rtc.handle_input(input).is_ok();
            }
            true
        });
        if !accepted {
            self.counters.refused += 1;
            return;
        }
        if !usable {
            self.counters.malformed += 1;
        }
        if class == Class::Stun {
            self.bind(session, handed);
            if let Some(s) = self.sessions.get_mut(&session) {
                s.consent_at = now;
            }
        }
        self.drive(now, session, batch);
    }

    fn session_of_stun(&self, handed: &Handed) -> Option<SessionId> {
        let message = StunMessage::parse(&handed.bytes).ok()?;
        match message.split_username() {
            Some((local, _)) => self.by_ufrag.get(local).copied(),
            // Answers carry no username; only our own address checks have any.
            None => self.by_source.get(&handed.source).copied(),
        }
    }

    /// An address passed ICE: its datagrams belong to this session from now on.
    fn bind(&mut self, session: SessionId, handed: &Handed) {
        let Some(s) = self.sessions.get_mut(&session) else { return };
        let source = Source { address: handed.source, destination: handed.destination, shard: handed.shard };
        if let Some(known) = s.sources.iter_mut().find(|k| k.address == source.address) {
            if known.shard == source.shard {
                return;
            }
            *known = source;
        } else {
            if s.sources.len() >= MAX_SOURCES {
                let oldest = s.sources.remove(0);
                self.by_source.remove(&oldest.address);
                let command = shard::Command::Unbind { source: oldest.address };
                self.events.push_back(Event::ToShard { shard: oldest.shard, command });
            }
            s.sources.push(source);
        }
        self.by_source.insert(source.address, session);
        let serving = s.serving.as_ref().map(|s| s.shard);
        let command = shard::Command::Bind { source: source.address, session, desk: self.number, serving };
        self.events.push_back(Event::ToShard { shard: source.shard, command });
    }

    fn drive(&mut self, now: Instant, session: SessionId, batch: &mut Batch) {
        let mut wants = None;
        let mut closed = None;
        let survived = self.guarded(session, |s| {
            for _ in 0..MAX_OUTPUTS {
                match s.rtc.poll_output() {
                    Ok(Output::Timeout(at)) => {
                        s.wakes_at = Some(at.max(now + SHORTEST_WAIT));
                        return true;
                    }
                    Ok(Output::Transmit(transmit)) => {
                        // The rule: SRTP and SRTCP of a viewer are the shard's alone.
                        if matches!(transmit.contents.first(), Some(128..=191)) {
                            continue;
                        }
                        if !matches!(transmit.contents.first(), Some(0..=3)) {
                            wants = Some(transmit.destination);
                        }
                        batch.push(transmit.destination, Some(transmit.source.ip()), &transmit.contents);
                    }
                    Ok(Output::Event(RtcEvent::Closed)) => closed = Some(Ended::PeerLeft),
                    Ok(Output::Event(RtcEvent::IceConnectionStateChange(IceConnectionState::Disconnected))) => {
                        closed = Some(Ended::IceLost);
                    }
                    Ok(Output::Event(_)) => {}
                    Err(_) => {
                        closed = Some(Ended::Failed);
                        return true;
                    }
                }
            }
            s.wakes_at = Some(now + SHORTEST_WAIT);
            true
        });
        if !survived {
            return;
        }
        self.hand_over(session, wants);
        self.follow(now, session, batch);
        if let Some(why) = closed {
            if let Some(s) = self.sessions.get(&session)
                && !s.closing
            {
                self.events.push_back(Event::Closed { session, why });
            }
            self.remove(session);
            return;
        }
        if let Some(at) = self.sessions.get(&session).and_then(|s| s.wakes_at) {
            self.timers.push(Reverse((at, session)));
        }
    }

    /// Gives the keys to a shard, once they are there.
    fn hand_over(&mut self, session: SessionId, dtls_to: Option<SocketAddr>) {
        let seed = u128::from((self.random)()) << 64 | u128::from((self.random)());
        let Some(s) = self.sessions.get_mut(&session) else { return };
        if s.serving.is_some() || s.tracks.is_empty() {
            return;
        }
        // DTLS finished from there: that is the address's proof (T4).
        let Some(source) =
            dtls_to.and_then(|to| s.sources.iter().find(|k| k.address == to)).or(s.sources.last()).copied()
        else {
            return;
        };
        if !s.rtc.is_connected() {
            return;
        }
        let (seal, open) = match s.keys.take() {
            None => return,
            Some(Ok(keys)) => keys,
            Some(Err(_)) => {
                self.events.push_back(Event::Closed { session, why: Ended::Failed });
                self.remove(session);
                return;
            }
        };
        let setup = ViewerSetup {
            session,
            stream: s.stream,
            desk: self.number,
            address: source.address,
            source: local_source(source.destination),
            seal,
            open,
            tracks: s.tracks.clone(),
            seed,
        };
        s.serving = Some(Serving { shard: source.shard, address: source.address });
        let command = shard::Command::AddViewer(Box::new(setup));
        self.events.push_back(Event::ToShard { shard: source.shard, command });
        for known in s.sources.iter().filter(|k| k.shard != source.shard) {
            let command =
                shard::Command::Bind { source: known.address, session, desk: self.number, serving: Some(source.shard) };
            self.events.push_back(Event::ToShard { shard: known.shard, command });
        }
        self.counters.connected += 1;
        self.events.push_back(Event::Connected { session });
    }

    /// A connected viewer's checks come from another address now: before media follows it there, we ask that
    /// address ourselves, because one forged request must not send a stream to a stranger (T4).
    fn follow(&mut self, now: Instant, session: SessionId, batch: &mut Batch) {
        let (tie_breaker, unpredictable) = ((self.random)(), [(self.random)(), (self.random)()]);
        let Some(s) = self.sessions.get_mut(&session) else { return };
        let Some(serving) = &s.serving else { return };
        let Some(newest) = s.sources.last().copied().filter(|n| n.address != serving.address) else { return };
        if s.check.as_ref().is_some_and(|c| now.saturating_duration_since(c.sent_at) < CHECK_INTERVAL) {
            return;
        }
        let Some(remote) = &s.remote else { return };
        let transaction = transaction(unpredictable);
        let username = format!("{}:{}", remote.ufrag, s.ufrag);
        let request = StunMessage::binding_request(&username, transaction, false, tie_breaker, CHECK_PRIORITY, false);
        let mut written = [0; 256];
        let hmac = |key: &[u8], parts: &[&[u8]]| tap::provider().sha1_hmac_provider.sha1_hmac(key, parts);
        let Ok(len) = request.to_bytes(Some(remote.pass.as_bytes()), &mut written, hmac) else { return };
        batch.push(newest.address, local_source(newest.destination), &written[..len]);
        self.counters.address_checks += 1;
        s.check = Some(AddressCheck { transaction, source: newest, sent_at: now });
    }

    /// The answer to our own check: the viewer really is there, and media may follow.
    fn is_check_answer(&mut self, session: SessionId, handed: &Handed) -> bool {
        let Some(s) = self.sessions.get_mut(&session) else { return false };
        let (Some(check), Some(serving), Some(remote)) = (&s.check, &mut s.serving, &s.remote) else { return false };
        let Ok(message) = StunMessage::parse(&handed.bytes) else { return false };
        if !message.is_successful_binding_response() || message.trans_id() != check.transaction {
            return false;
        }
        let hmac = |key: &[u8], parts: &[&[u8]]| tap::provider().sha1_hmac_provider.sha1_hmac(key, parts);
        if handed.source == check.source.address && message.verify(remote.pass.as_bytes(), hmac) {
            serving.address = check.source.address;
            let command = shard::Command::MoveViewer {
                session,
                address: check.source.address,
                source: local_source(check.source.destination),
            };
            self.events.push_back(Event::ToShard { shard: serving.shard, command });
            s.check = None;
        }
        true
    }

    fn remove(&mut self, session: SessionId) {
        let Some(s) = self.sessions.remove(&session) else { return };
        self.by_ufrag.remove(&s.ufrag);
        for source in &s.sources {
            self.by_source.remove(&source.address);
            let command = shard::Command::Unbind { source: source.address };
            self.events.push_back(Event::ToShard { shard: source.shard, command });
        }
        if let Some(serving) = s.serving {
            let command = shard::Command::RemoveViewer { session };
            self.events.push_back(Event::ToShard { shard: serving.shard, command });
        }
    }

    /// Runs `step` on a session so that a panic ends that session only. Returns whether the session is still
    /// there.
    fn guarded(&mut self, session: SessionId, step: impl FnOnce(&mut Session) -> bool) -> bool {
        let Some(s) = self.sessions.get_mut(&session) else { return false };
        match catch_unwind(AssertUnwindSafe(|| step(s))) {
            Ok(_) => true,
            Err(_) => {
                self.counters.panics += 1;
                self.events.push_back(Event::Closed { session, why: Ended::Failed });
                self.remove(session);
                false
            }
        }
    }
}

/// A transaction id that nobody can guess: str0m's own come from a generator that one can, and the answer
/// to this one is a proof.
fn transaction(random: [u64; 2]) -> TransId {
    let mut header = [0; 20];
    // RFC 8489 §5: binding request, no attributes, magic cookie.
    header[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    header[8..16].copy_from_slice(&random[0].to_be_bytes());
    header[16..20].copy_from_slice(&random[1].to_be_bytes()[..4]);
    StunMessage::parse(&header).map_or_else(|_| TransId::new(), |message| message.trans_id())
}

/// The local address to send media from; the unspecified one says "as the routes say".
fn local_source(destination: SocketAddr) -> Option<IpAddr> {
    Some(destination.ip()).filter(|ip| !ip.is_unspecified())
}

fn remote_credentials(sdp: &str) -> Option<IceCreds> {
    let ufrag = negotiate::text::first(sdp, "a=ice-ufrag:")?.to_owned();
    let pass = negotiate::text::first(sdp, "a=ice-pwd:")?.to_owned();
    Some(IceCreds { ufrag, pass })
}
