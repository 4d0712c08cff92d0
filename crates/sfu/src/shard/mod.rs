//! One media shard: who gets which packet, now?
//!
//! A shard owns its publishers, its viewers and the logs of the streams that either is in. It is handed
//! datagrams and commands and asked for datagrams and events; it decides little itself: `publisher` makes packets,
//! `stream` keeps them, `viewer` sends them.
//!
//! A stream whose publisher is on another shard is *relayed*: this shard subscribes there, and the packets
//! (shared, never copied) come as commands.
//!
//! What must always hold: a datagram reaches a session only by its source address, which ICE proved, or
//! by an ICE ufrag (threat T1). Nothing waits: not for control, not for a desk, not for a viewer.

mod message;
mod neighbours;
mod networks;
mod sweep;
mod timers;
mod waiting;

pub use message::{
    Command, Counters, EncodingSnapshot, Event, SentTrack, Snapshot, StreamSnapshot, TrackStats, ViewerReport,
};
use neighbours::Neighbours;
pub use networks::{ESTIMATES_BPS, Networks};

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use media::demux::Class;
use media::packet::MAX_ENCODINGS;
use media::{Packet, SessionId, StreamId, WallClock};
use slab::Slab;

use crate::desk::Handed;
use crate::negotiate::Identity;
use crate::prefetch::Prefetch;
use crate::publisher::{Arrived, Ended, Publisher};
use crate::stream::Tracks;
use crate::stream::audience::Audience;
use crate::stream::log::PacketLog;
use crate::transmit::Batch;
use crate::viewer::{PREFETCH_FROM, Viewer};
use message::StreamStats;
use sweep::Sweep;
use timers::{Due, Timers};
use waiting::{NEW_FOR, RANKS, Rank, Waiting};

/// One media shard.
pub struct Shard {
    number: u8,
    shards: u8,
    identity: Identity,
    clock: WallClock,
    streams: HashMap<StreamId, Stream>,
    publishers: Slab<Publisher>,
    viewers: Slab<Seat>,
    by_session: HashMap<SessionId, Key>,
    routes: HashMap<SocketAddr, Route>,
    ufrags: HashMap<String, UfragRoute>,
    waiting: Waiting,
    /// Streams with packets for other shards, each once.
    relaying: Vec<StreamId>,
    timers: Timers,
    neighbours: Neighbours,
    /// What sessions wrote on their own account (STUN, DTLS, RTCP, retransmissions), before media.
    urgent: Batch,
    events: VecDeque<Event>,
    counters: Counters,
    prefetch: Prefetch,
    /// Viewers whose feedback is expected: memory of [`Shard::expect`] to work in.
    expected: Vec<usize>,
    stopping: bool,
}

struct Seat {
    viewer: Viewer,
    /// In a queue of `waiting` already.
    queued: bool,
    rank: Rank,
    /// When it has been here for so long that it belongs to those who watch.
    new_until: Instant,
    /// When it gets its next turn without asking.
    turn_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Publisher(usize),
    Viewer(usize),
}

/// Where datagrams from an address belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Publisher(usize),
    /// A viewer's address: STUN and DTLS go to its desk; SRTCP to `seat` here, or to the shard that serves it.
    Viewer {
        session: SessionId,
        desk: u8,
        serving: Option<u8>,
        /// Its place among our viewers, if it has one; whoever comes after it may have that now.
        seat: Option<usize>,
    },
    /// A publisher on another shard.
    Shard(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UfragRoute {
    Here(usize),
    Shard(u8),
}

#[derive(Default)]
struct Stream {
    tracks: Tracks,
    /// Its viewers by rank.
    sweeps: [Sweep; RANKS],
    source: Source,
    /// Shards that relay it from here.
    relays: Vec<u8>,
    /// Packets that came since relays were told.
    to_relay: Vec<Arc<Packet>>,
    /// The highest epoch that publishes; lower ones are fenced.
    epoch: u32,
    stats: StreamStats,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Source {
    #[default]
    None,
    Local(usize),
    /// On another shard; `subscribed` while anybody here watches.
    Remote {
        shard: u8,
        subscribed: bool,
    },
}

/// Viewers of one stream that are asked before another stream's are.
const VIEWERS_IN_A_ROW: usize = 64;

/// Bytes of datagrams after which a round of sending pauses for the system call: large enough that the call
/// is cheap per packet, small enough to stay in the second-level cache.
const ROUND_BYTES: usize = 128 * 1024;

/// The most events that wait to be picked up; beyond that STUN for desks is dropped, and it is repeated.
const MAX_EVENTS: usize = 65_536;

/// The most source addresses that are known; more than a viewer's [`crate::desk`] limit times 20,000 viewers.
const MAX_ROUTES: usize = 200_000;

impl Shard {
    /// Shard `number` of `shards`. `clock` maps the monotonic clock to the wall clock.
    pub fn new(number: u8, shards: u8, identity: Identity, clock: WallClock) -> Shard {
        Shard {
            number,
            shards,
            identity,
            clock,
            streams: HashMap::new(),
            publishers: Slab::new(),
            viewers: Slab::new(),
            by_session: HashMap::new(),
            routes: HashMap::new(),
            ufrags: HashMap::new(),
            waiting: Waiting::default(),
            relaying: Vec::new(),
            timers: Timers::default(),
            neighbours: Neighbours::default(),
            urgent: Batch::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            prefetch: Prefetch::default(),
            expected: Vec::new(),
            stopping: false,
        }
    }

    /// Has the processor asked for what a sweep needs next.
    pub fn with_prefetch(self, prefetch: Prefetch) -> Shard {
        Shard { prefetch, ..self }
    }

    /// A datagram came in. It may be decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &mut [u8]) {
        self.counters.datagrams_in += 1;
        let class = media::demux::classify(bytes);
        match self.routes.get(&source).copied() {
            Some(Route::Publisher(key)) => self.publisher_datagram(now, key, source, destination, bytes),
            Some(Route::Shard(shard)) => self.pass_on(shard, source, destination, bytes),
            Some(Route::Viewer { session, desk, serving, seat }) => match class {
                Class::Stun | Class::Dtls => self.hand_to_desk(desk, source, destination, bytes),
                Class::Rtp if !media::rtp::is_rtcp(bytes) => self.counters.unexpected += 1,
                Class::Rtp => match serving {
                    Some(shard) if shard != self.number => self.pass_on(shard, source, destination, bytes),
                    _ => self.viewer_feedback(now, session, seat, bytes),
                },
                Class::Other => self.counters.unexpected += 1,
            },
            None if class == Class::Stun => self.first_binding(now, source, destination, bytes),
            None => self.counters.unknown_source += 1,
        }
    }

    /// Datagrams came from there, and will be handed in one by one.
    pub fn expect(&mut self, sources: impl Iterator<Item = SocketAddr>) {
        let mut expected = std::mem::take(&mut self.expected);
        expected.extend(sources.filter_map(|source| match self.routes.get(&source) {
            Some(Route::Viewer { seat, .. }) => *seat,
            _ => None,
        }));
        for step in 0..3 {
            for seat in expected.iter().filter_map(|key| self.viewers.get(*key)) {
                seat.viewer.prefetch_feedback(step, self.prefetch);
            }
        }
        expected.clear();
        self.expected = expected;
    }

    /// Someone asks.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::CloseStream { stream } => {
                self.streams.remove(&stream);
            }
            Command::AddPublisher(setup) => {
                let (ufrag, session) = (setup.ufrag.clone(), setup.session);
                let publisher = Publisher::new(now, *setup);
                self.take_in(now, ufrag, session, publisher);
            }
            Command::AdoptPublisher { publisher, first } => {
                let (ufrag, session) = (publisher.ufrag.clone(), publisher.session);
                self.take_in(now, ufrag, session, *publisher);
                if let Some(mut first) = first {
                    self.handle_datagram(now, first.source, first.destination, &mut first.bytes);
                }
            }
            Command::PublisherElsewhere { ufrag, shard } => {
                self.ufrags.insert(ufrag, UfragRoute::Shard(shard));
            }
            Command::RouteToShard { source, shard } => {
                if self.routes.len() < MAX_ROUTES {
                    self.routes.insert(source, Route::Shard(shard));
                }
            }
            Command::ForgetPublisher { ufrag, sources } => {
                self.ufrags.remove(&ufrag);
                for source in sources {
                    if matches!(self.routes.get(&source), Some(Route::Shard(_))) {
                        self.routes.remove(&source);
                    }
                }
            }
            Command::RestartPublisher { session, ufrag, password, credentials } => {
                self.restart_publisher(now, session, &ufrag, &password, credentials);
            }
            Command::RemovePublisher { session } => {
                if let Some(Key::Publisher(key)) = self.by_session.get(&session).copied() {
                    self.publishers[key].close();
                    self.drive_publisher(now, key);
                    self.remove_publisher(key);
                }
            }
            Command::AddViewer(setup) => self.add_viewer(now, *setup),
            Command::MoveViewer { session, address, source } => {
                if let Some(key) = self.seat_of(session) {
                    self.viewers[key].viewer.moved(address, source);
                }
            }
            Command::RemoveViewer { session } => {
                if let Some(key) = self.seat_of(session) {
                    self.viewers[key].viewer.bye(&mut self.urgent);
                    self.remove_viewer(key);
                }
            }
            Command::Bind { source, session, desk, serving } => {
                if self.routes.len() < MAX_ROUTES {
                    let seat = self.seat_of(session);
                    self.routes.insert(source, Route::Viewer { session, desk, serving, seat });
                } else {
                    self.counters.routes_full += 1;
                }
            }
            Command::Unbind { source } => {
                if matches!(self.routes.get(&source), Some(Route::Viewer { .. })) {
                    self.routes.remove(&source);
                }
            }
            Command::Datagram(mut handed) => {
                self.relayed_datagram(now, &mut handed);
            }
            Command::StreamHome { stream, shard, epoch } => {
                let s = self.streams.entry(stream).or_default();
                if epoch >= s.epoch {
                    // Whatever is here of the one before is not to be relayed to anybody as the new one's.
                    if epoch != s.epoch {
                        s.tracks.publisher_left();
                    }
                    s.epoch = epoch;
                    s.source = Source::Remote { shard, subscribed: false };
                    self.subscribe(stream);
                }
            }
            Command::StreamAway { stream, epoch } => {
                if let Some(s) = self.streams.get_mut(&stream)
                    && s.epoch == epoch
                    && matches!(s.source, Source::Remote { .. })
                {
                    s.source = Source::None;
                    s.tracks.publisher_left();
                }
            }
            Command::Subscribe { stream, shard } => self.add_relay(stream, shard),
            Command::Unsubscribe { stream, shard } => {
                if let Some(s) = self.streams.get_mut(&stream) {
                    s.relays.retain(|r| *r != shard);
                }
            }
            Command::Relayed { stream, published, deaf, packets } => {
                if let Some(s) = self.streams.get_mut(&stream) {
                    s.tracks.set_published(&published);
                    s.tracks.video.set_deaf_elsewhere(deaf);
                    for packet in packets {
                        self.arrived(now, stream, packet);
                    }
                }
            }
            Command::WantKeyFrame { stream, encoding } => self.want_key_frame(now, stream, encoding),
            Command::Neighbours { address, neighbours } => {
                neighbours.into_iter().for_each(|one| self.neighbours.note(now, address, one));
            }
            Command::Wish { session, wish } => {
                if let Some(key) = self.seat_of(session) {
                    self.viewers[key].viewer.wish(wish);
                    self.give_turn(key);
                }
            }
            Command::Report { session } => {
                let report = self.report(session);
                self.events.push_back(Event::Report { session, report });
            }
            Command::Snapshot => {
                self.neighbours.clean(now);
                let snapshot = self.snapshot();
                self.events.push_back(Event::Snapshot(Box::new(snapshot)));
            }
            Command::Stop => self.stop(now),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            match due {
                Due::Publisher(key) => {
                    if self.publishers.get(key).is_some_and(|p| p.next_timeout() <= now) {
                        self.guarded_publisher(key, |p| p.handle_timeout(now));
                        self.drive_publisher(now, key);
                    }
                }
                Due::Report(key) => {
                    self.promote(now, key);
                    if let Some(seat) = self.viewers.get_mut(key) {
                        seat.viewer.report(now, &self.clock, &mut self.urgent);
                        self.timers.set(seat.viewer.next_report_at(), Due::Report(key));
                        self.look_at_neighbours(now, key);
                    }
                }
                Due::Turn(key) => {
                    if let Some(seat) = self.viewers.get_mut(key)
                        && seat.turn_at.is_some_and(|at| at <= now)
                    {
                        seat.turn_at = None;
                        self.give_turn(key);
                    }
                }
                Due::KeyFrame(stream) => (0..MAX_ENCODINGS as u8).for_each(|n| self.ask_for_key_frame(now, stream, n)),
            }
        }
    }

    /// Fills `batch` with what is to be sent, up to a round's worth. Call again while it is not empty.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch) {
        if !self.urgent.is_empty() {
            std::mem::swap(batch, &mut self.urgent);
        }
        for rank in self.waiting.next_round() {
            self.take_turns(now, rank, batch);
            self.sweep(now, rank, batch);
        }
        self.counters.messages_out += batch.messages().len() as u64;
        self.counters.bytes_out += batch.len_bytes() as u64;
    }

    /// Asks viewers that may have something to send of their own.
    fn take_turns(&mut self, now: Instant, rank: Rank, batch: &mut Batch) {
        // A viewer takes one turn a round, however often it is queued meanwhile.
        let mut left = self.waiting.of(rank).turns.len();
        while left > 0 && batch.len_bytes() < ROUND_BYTES {
            left -= 1;
            let Some(key) = self.waiting.of(rank).turns.pop_front() else { break };
            let Some(seat) = self.viewers.get_mut(key) else { continue };
            seat.queued = false;
            let id = seat.viewer.stream;
            let Some(stream) = self.streams.get(&id) else { continue };
            if let Some(encoding) = seat.send(now, key, &stream.tracks, batch, &mut self.timers) {
                self.want_key_frame(now, id, encoding);
            }
        }
    }

    /// Asks viewers of streams with new packets.
    fn sweep(&mut self, now: Instant, rank: Rank, batch: &mut Batch) {
        while batch.len_bytes() < ROUND_BYTES {
            let Some(id) = self.waiting.of(rank).sweeps.pop_front() else { break };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let sweep = &mut stream.sweeps[rank as usize];
            let mut wanted = [false; MAX_ENCODINGS];
            for _ in 0..VIEWERS_IN_A_ROW {
                let Some(key) = sweep.next() else { break };
                // The next one's turn is at distance 1.
                for distance in 1..=PREFETCH_FROM {
                    let ahead = sweep.ahead(distance - 1);
                    if let Some(seat) = ahead.and_then(|key| self.viewers.get(key)) {
                        seat.viewer.prefetch(distance, self.prefetch);
                    }
                }
                if let Some(seat) = self.viewers.get_mut(key)
                    && let Some(encoding) = seat.send(now, key, &stream.tracks, batch, &mut self.timers)
                {
                    wanted[usize::from(encoding)] = true;
                }
                if batch.len_bytes() >= ROUND_BYTES {
                    break;
                }
            }
            if !sweep.is_over() {
                self.waiting.of(rank).sweeps.push_back(id);
            }
            for (encoding, _) in (0..).zip(wanted).filter(|(_, is_wanted)| *is_wanted) {
                self.want_key_frame(now, id, encoding);
            }
        }
    }

    /// Something happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.flush_relays();
        self.events.pop_front()
    }

    /// When to come again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether [`Shard::poll_transmit`] has something at once.
    pub fn has_turns(&self) -> bool {
        !self.waiting.is_empty() || !self.urgent.is_empty()
    }

    // ---- publishers

    fn take_in(&mut self, now: Instant, ufrag: String, session: SessionId, publisher: Publisher) {
        let (stream, epoch) = (publisher.stream, publisher.epoch);
        let key = self.publishers.insert(publisher);
        self.by_session.insert(session, Key::Publisher(key));
        self.ufrags.insert(ufrag.clone(), UfragRoute::Here(key));
        let s = self.streams.entry(stream).or_default();
        if epoch >= s.epoch {
            if matches!(s.source, Source::Local(_)) || s.epoch != epoch {
                s.tracks.publisher_left();
            }
            s.epoch = epoch;
            s.source = Source::Local(key);
            let shard = self.number;
            self.tell_others(|| Command::StreamHome { stream, shard, epoch });
        }
        let here = self.number;
        self.tell_others(|| Command::PublisherElsewhere { ufrag: ufrag.clone(), shard: here });
        self.timers.set(now, Due::Publisher(key));
    }

    fn publisher_datagram(
        &mut self,
        now: Instant,
        key: usize,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
    ) {
        let local = self.identity.candidate_for(destination);
        let mut accepted = false;
        self.guarded_publisher(key, |p| accepted = p.handle_datagram(now, source, local, bytes));
        if accepted {
            self.drive_publisher(now, key);
        } else {
            self.counters.refused += 1;
        }
    }

    /// A datagram that another shard received for a session that lives here.
    fn relayed_datagram(&mut self, now: Instant, handed: &mut Handed) {
        if media::demux::classify(&handed.bytes) == Class::Rtp
            && !matches!(self.routes.get(&handed.source), Some(Route::Publisher(_)))
        {
            // Feedback of a viewer whose address hashes to another shard.
            let served = self.viewers.iter().find(|(_, s)| s.viewer.address() == handed.source);
            if let Some(session) = served.map(|(_, s)| s.viewer.session) {
                self.viewer_feedback(now, session, None, &mut handed.bytes);
            }
            return;
        }
        let Some(UfragRoute::Here(key)) = self.ufrag_route(&handed.bytes) else {
            if let Some(Route::Publisher(key)) = self.routes.get(&handed.source).copied() {
                self.publisher_datagram(now, key, handed.source, handed.destination, &handed.bytes);
            } else {
                self.counters.unknown_source += 1;
            }
            return;
        };
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        let fresh = publisher.sources().is_empty() && !publisher.is_connected();
        if !fresh {
            // It moved to an address that hashes to another shard, which passes its datagrams on.
            self.publisher_datagram(now, key, handed.source, handed.destination, &handed.bytes);
            self.bind_publisher(key, handed.source);
            if self.routes.get(&handed.source) == Some(&Route::Publisher(key)) {
                let command = Command::RouteToShard { source: handed.source, shard: self.number };
                self.events.push_back(Event::ToShard { shard: handed.shard, command });
            }
            return;
        }
        // The shard that receives a session's first binding adopts it.
        let publisher = self.release_publisher(key);
        self.ufrags.insert(publisher.ufrag.clone(), UfragRoute::Shard(handed.shard));
        let first = Some(handed.clone());
        let command = Command::AdoptPublisher { publisher: Box::new(publisher), first };
        self.events.push_back(Event::ToShard { shard: handed.shard, command });
    }

    fn release_publisher(&mut self, key: usize) -> Publisher {
        let publisher = self.publishers.remove(key);
        self.by_session.remove(&publisher.session);
        if let Some(s) = self.streams.get_mut(&publisher.stream)
            && s.source == Source::Local(key)
        {
            s.source = Source::None;
        }
        publisher
    }

    fn bind_publisher(&mut self, key: usize, source: SocketAddr) {
        if self.publishers.get(key).is_some_and(|p| p.sources().contains(&source)) && self.routes.len() < MAX_ROUTES {
            self.routes.insert(source, Route::Publisher(key));
        }
    }

    fn drive_publisher(&mut self, now: Instant, key: usize) {
        let Shard { publishers, urgent, clock, .. } = self;
        let Some(publisher) = publishers.get_mut(key) else { return };
        let alive = catch_unwind(AssertUnwindSafe(|| publisher.drive(now, clock, urgent))).is_ok();
        if !alive {
            self.publisher_panicked(key);
            return;
        }
        let (stream, session, epoch) = (publisher.stream, publisher.session, publisher.epoch);
        let next = publisher.next_timeout();
        self.timers.set(next, Due::Publisher(key));
        let mut ended = None;
        while let Some(arrived) = self.publishers.get_mut(key).and_then(Publisher::poll) {
            let fenced = self.streams.get(&stream).is_none_or(|s| s.epoch != epoch);
            match arrived {
                Arrived::Packet(_) if fenced => self.counters.fenced += 1,
                Arrived::Packet(packet) => {
                    if let Some(s) = self.streams.get_mut(&stream)
                        && !s.relays.is_empty()
                    {
                        if s.to_relay.is_empty() {
                            self.relaying.push(stream);
                        }
                        s.to_relay.push(packet.clone());
                    }
                    self.arrived(now, stream, packet);
                }
                Arrived::Connected => self.events.push_back(Event::PublisherConnected { session }),
                Arrived::Flows(flows) => self.events.push_back(Event::PublisherFlows { session, flows }),
                Arrived::Published(published) if !fenced => {
                    if let Some(s) = self.streams.get_mut(&stream) {
                        s.tracks.set_published(&published);
                    }
                    self.events.push_back(Event::Published { stream, epoch, published });
                }
                Arrived::Published(_) => {}
                Arrived::Closed(why) => ended = ended.or(Some(why)),
            }
        }
        if let Some(why) = ended {
            self.events.push_back(Event::PublisherClosed { session, why });
            self.remove_publisher(key);
        }
    }

    fn guarded_publisher(&mut self, key: usize, step: impl FnOnce(&mut Publisher)) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        if catch_unwind(AssertUnwindSafe(|| step(publisher))).is_err() {
            self.publisher_panicked(key);
        }
    }

    fn publisher_panicked(&mut self, key: usize) {
        self.counters.panics += 1;
        if let Some(session) = self.publishers.get(key).map(|p| p.session) {
            self.events.push_back(Event::PublisherClosed { session, why: Ended::Failed });
            self.remove_publisher(key);
        }
    }

    fn remove_publisher(&mut self, key: usize) {
        if !self.publishers.contains(key) {
            return;
        }
        let publisher = self.release_publisher(key);
        for source in publisher.sources() {
            if self.routes.get(source) == Some(&Route::Publisher(key)) {
                self.routes.remove(source);
            }
        }
        self.ufrags.remove(&publisher.ufrag);
        let (stream, epoch) = (publisher.stream, publisher.epoch);
        if let Some(s) = self.streams.get_mut(&stream)
            && s.epoch == epoch
        {
            s.tracks.publisher_left();
            s.relays.clear();
            s.to_relay.clear();
        }
        self.tell_others(|| Command::StreamAway { stream, epoch });
        let sources = publisher.sources();
        self.tell_others(|| Command::ForgetPublisher { ufrag: publisher.ufrag.clone(), sources: sources.to_vec() });
    }

    fn restart_publisher(
        &mut self,
        now: Instant,
        session: SessionId,
        ufrag: &str,
        password: &str,
        credentials: str0m::ice::IceCreds,
    ) {
        let Some(Key::Publisher(key)) = self.by_session.get(&session).copied() else { return };
        let mut result = None;
        let fresh = credentials.ufrag.clone();
        self.guarded_publisher(key, |p| {
            let offer = p.offer.clone();
            result = Some(crate::negotiate::restart_ice(p.rtc(), &offer, ufrag, password, credentials));
        });
        let Some(result) = result else { return };
        if result.is_ok() {
            let old = std::mem::replace(&mut self.publishers[key].ufrag, fresh.clone());
            self.ufrags.remove(&old);
            self.ufrags.insert(fresh.clone(), UfragRoute::Here(key));
            let here = self.number;
            self.tell_others(|| Command::PublisherElsewhere { ufrag: fresh.clone(), shard: here });
            self.tell_others(|| Command::ForgetPublisher { ufrag: old.clone(), sources: Vec::new() });
        }
        self.events.push_back(Event::PublisherRestarted { session, result });
        self.drive_publisher(now, key);
    }

    // ---- packets

    fn arrived(&mut self, now: Instant, stream: StreamId, packet: Arc<Packet>) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        let kind = packet.codec.kind();
        let source = s.tracks.of_mut(kind);
        s.stats.arrived(&packet, source.best());
        source.push(now, packet);
        for rank in [Rank::Watching, Rank::New] {
            if s.sweeps[rank as usize].begin() {
                self.waiting.of(rank).sweeps.push_back(stream);
            }
        }
    }

    fn want_key_frame(&mut self, now: Instant, stream: StreamId, encoding: u8) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        s.tracks.video.of_mut(encoding).key_frames().wanted();
        self.ask_for_key_frame(now, stream, encoding);
    }

    fn ask_for_key_frame(&mut self, now: Instant, stream: StreamId, encoding: u8) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        let source = s.source;
        if source == Source::None {
            return;
        }
        let requests = s.tracks.video.of_mut(encoding).key_frames();
        if !requests.poll_request(now) {
            if let Some(at) = requests.poll_timeout() {
                self.timers.set(at, Due::KeyFrame(stream));
            }
            return;
        }
        match source {
            Source::Local(key) => {
                self.counters.key_frames_asked += 1;
                self.guarded_publisher(key, |publisher| publisher.request_key_frame(encoding));
                // The request leaves with the session's next output.
                self.timers.set(now, Due::Publisher(key));
                if let Some(publisher) = self.publishers.get_mut(key) {
                    publisher.wake(now);
                }
            }
            Source::Remote { shard, .. } => {
                self.events.push_back(Event::ToShard { shard, command: Command::WantKeyFrame { stream, encoding } });
            }
            Source::None => {}
        }
    }

    // ---- viewers

    fn add_viewer(&mut self, now: Instant, setup: crate::viewer::ViewerSetup) {
        let (session, stream, desk, address) = (setup.session, setup.stream, setup.desk, setup.address);
        let viewer = Viewer::new(now, setup);
        let report_at = viewer.next_report_at();
        let seat = Seat { viewer, queued: false, rank: Rank::New, new_until: now + NEW_FOR, turn_at: None };
        let key = self.viewers.insert(seat);
        self.by_session.insert(session, Key::Viewer(key));
        let serving = Some(self.number);
        self.routes.insert(address, Route::Viewer { session, desk, serving, seat: Some(key) });
        self.streams.entry(stream).or_default().sweeps[Rank::New as usize].add(key);
        self.timers.set(report_at, Due::Report(key));
        self.counters.viewers_added += 1;
        self.subscribe(stream);
        self.give_turn(key);
    }

    fn remove_viewer(&mut self, key: usize) {
        let Some(seat) = self.viewers.try_remove(key) else { return };
        let viewer = seat.viewer;
        self.counters.srtcp_rejected += viewer.rejected;
        self.by_session.remove(&viewer.session);
        let is_its = |route: &Route| matches!(route, Route::Viewer { session, .. } if *session == viewer.session);
        if self.routes.get(&viewer.address()).is_some_and(is_its) {
            self.routes.remove(&viewer.address());
        }
        let Some(s) = self.streams.get_mut(&viewer.stream) else { return };
        s.sweeps[seat.rank as usize].remove(key);
        s.stats.left(&viewer);
        if let (false, Source::Remote { shard, subscribed: true }) = (s.is_watched(), s.source) {
            s.source = Source::Remote { shard, subscribed: false };
            let command = Command::Unsubscribe { stream: viewer.stream, shard: self.number };
            self.events.push_back(Event::ToShard { shard, command });
        }
    }

    fn seat_of(&self, session: SessionId) -> Option<usize> {
        match self.by_session.get(&session) {
            Some(Key::Viewer(key)) => Some(*key),
            _ => None,
        }
    }

    /// `seat`: where the session's viewer is, if that is known.
    fn viewer_feedback(&mut self, now: Instant, session: SessionId, seat: Option<usize>, bytes: &mut [u8]) {
        let is_there = |key: &usize| self.viewers.get(*key).is_some_and(|seat| seat.viewer.session == session);
        let Some(key) = seat.filter(is_there).or_else(|| self.seat_of(session)) else { return };
        let Some(seat) = self.viewers.get_mut(key) else { return };
        let id = seat.viewer.stream;
        let Some(stream) = self.streams.get(&id) else { return };
        match seat.viewer.handle_srtcp(now, &self.clock, bytes, &stream.tracks, &mut self.urgent) {
            Ok(feedback) => {
                self.counters.feedback += 1;
                if let Some(encoding) = feedback.wants_key_frame {
                    self.want_key_frame(now, id, encoding);
                }
                if feedback.wants_turn {
                    self.give_turn(key);
                }
            }
            Err(_) => seat.viewer.rejected += 1,
        }
    }

    fn give_turn(&mut self, key: usize) {
        if let Some(seat) = self.viewers.get_mut(key)
            && !seat.queued
        {
            seat.queued = true;
            self.waiting.of(seat.rank).turns.push_back(key);
        }
    }

    /// Whoever has been here for a while belongs to those who watch.
    fn promote(&mut self, now: Instant, key: usize) {
        let Some(seat) = self.viewers.get_mut(key) else { return };
        if seat.rank == Rank::Watching || now < seat.new_until {
            return;
        }
        seat.rank = Rank::Watching;
        if let Some(stream) = self.streams.get_mut(&seat.viewer.stream) {
            stream.sweeps[Rank::New as usize].remove(key);
            stream.sweeps[Rank::Watching as usize].add(key);
        }
        // It may have waited there, and those here may have had their turn.
        self.give_turn(key);
    }

    // ---- between shards and desks

    /// A first datagram from an address that nobody knows: only STUN names its session.
    fn first_binding(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if let Some(desk) = desk_of(bytes) {
            self.hand_to_desk(desk, source, destination, bytes);
            return;
        }
        match self.ufrag_route(bytes) {
            Some(UfragRoute::Here(key)) => {
                self.publisher_datagram(now, key, source, destination, bytes);
                self.bind_publisher(key, source);
            }
            Some(UfragRoute::Shard(shard)) => {
                self.pass_on(shard, source, destination, bytes);
            }
            None => self.counters.unknown_source += 1,
        }
    }

    fn ufrag_route(&self, bytes: &[u8]) -> Option<UfragRoute> {
        let message = str0m::ice::StunMessage::parse(bytes).ok()?;
        let (local, _) = message.split_username()?;
        self.ufrags.get(local).copied()
    }

    fn hand_to_desk(&mut self, desk: u8, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_desk += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToDesk { desk, handed });
    }

    fn pass_on(&mut self, shard: u8, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_shard += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToShard { shard, command: Command::Datagram(handed) });
        self.counters.passed_on += 1;
    }

    fn tell_others(&mut self, command: impl Fn() -> Command) {
        for shard in (0..self.shards).filter(|s| *s != self.number) {
            self.events.push_back(Event::ToShard { shard, command: command() });
        }
    }

    fn subscribe(&mut self, stream: StreamId) {
        let number = self.number;
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if let (true, Source::Remote { shard, subscribed: false }) = (s.is_watched(), s.source) {
            s.source = Source::Remote { shard, subscribed: true };
            s.tracks.publisher_left();
            let command = Command::Subscribe { stream, shard: number };
            self.events.push_back(Event::ToShard { shard, command });
        }
    }

    fn add_relay(&mut self, stream: StreamId, shard: u8) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if !s.relays.contains(&shard) {
            s.relays.push(shard);
        }
        // What a late viewer there is started from: everything since the key frame.
        let since_key_frame = |log: &PacketLog| log.key_at().unwrap_or(log.end())..log.end();
        let logs = s.tracks.video.iter().map(|(_, track)| track.log());
        let packets = logs.flat_map(|log| since_key_frame(log).filter_map(|at| log.get(at).cloned())).collect();
        let command = s.relayed(packets, &self.publishers, stream);
        self.events.push_back(Event::ToShard { shard, command });
    }

    fn flush_relays(&mut self) {
        for id in std::mem::take(&mut self.relaying) {
            let Some(s) = self.streams.get_mut(&id) else { continue };
            let packets = std::mem::take(&mut s.to_relay);
            for &shard in &s.relays {
                let command = s.relayed(packets.clone(), &self.publishers, id);
                self.events.push_back(Event::ToShard { shard, command });
            }
        }
    }

    // ---- questions

    fn report(&self, session: SessionId) -> Option<ViewerReport> {
        let key = self.seat_of(session)?;
        let viewer = &self.viewers.get(key)?.viewer;
        let tracks = viewer.tracks().map(|track| message::SentTrack {
            kind: track.facts().kind,
            codec: track.codec(),
            counters: track.counters,
            newest: track.newest().map(|n| (n.timestamp, n.captured_at)),
            flowing: track.is_flowing(),
            encoding: track.encoding(),
            within: track.within(),
            reason: track.reason(),
            wished: track.wished(),
        });
        let transport = (viewer.transport().received, viewer.transport().lost);
        let estimator = &viewer.transport().estimator;
        let estimate = estimator.has_feedback().then(|| estimator.estimate());
        Some(ViewerReport { session, tracks: tracks.collect(), transport, estimate })
    }

    fn snapshot(&self) -> Snapshot {
        let mut counters = self.counters;
        counters.srtcp_rejected += self.viewers.iter().map(|(_, s)| s.viewer.rejected).sum::<u64>();
        let mut networks = Networks::default();
        self.viewers.iter().for_each(|(_, seat)| networks.count(&seat.viewer));
        let streams = self.streams.iter().map(|(id, s)| {
            let (health, published) = match s.source {
                Source::Local(key) => {
                    self.publishers.get(key).map(|p| (Some(p.health), Some(*p.published()))).unwrap_or_default()
                }
                _ => (None, None),
            };
            let viewers = s.viewers().filter_map(|key| self.viewers.get(key));
            let mut audience = Audience::new(s.tracks.video.extents());
            let mut sent = s.stats.gone;
            for seat in viewers {
                sent = seat.viewer.tracks().fold(sent, TrackStats::plus);
                seat.viewer.count(&s.tracks, &mut audience);
            }
            StreamSnapshot {
                stream: *id,
                is_home: matches!(s.source, Source::Local(_)),
                viewers: s.viewers().count() as u32,
                health: health.unwrap_or_default(),
                published: published.unwrap_or_default(),
                audio: s.stats.audio,
                video: s.stats.video,
                encodings: s.encodings(),
                best: s.tracks.video.best(),
                key_frame_interval: s.stats.key_frame_interval,
                sent,
                audience,
            }
        });
        Snapshot {
            shard: self.number,
            counters,
            publishers: self.publishers.len() as u32,
            viewers: self.viewers.len() as u32,
            streams: streams.collect(),
            networks,
        }
    }

    fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        for (_, seat) in self.viewers.iter_mut() {
            seat.viewer.bye(&mut self.urgent);
        }
        let keys: Vec<_> = self.publishers.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.guarded_publisher(key, Publisher::close);
            self.drive_publisher(now, key);
        }
        self.events.push_back(Event::Stopped { shard: self.number });
    }
}

impl Seat {
    /// Sends what there is for the viewer, and says when it is to be asked again. Returns of which encoding it needs a
    /// key frame.
    fn send(
        &mut self,
        now: Instant,
        key: usize,
        tracks: &Tracks,
        batch: &mut Batch,
        timers: &mut Timers,
    ) -> Option<u8> {
        let next = self.viewer.send(now, tracks, batch);
        if let Some(at) = next.at
            && self.turn_at.is_none_or(|known| known > at || known <= now)
        {
            self.turn_at = Some(at);
            timers.set(at, Due::Turn(key));
        }
        next.wants_key_frame
    }
}

impl Stream {
    fn is_watched(&self) -> bool {
        self.sweeps.iter().any(|sweep| !sweep.viewers().is_empty())
    }

    /// Places of all who watch it.
    fn viewers(&self) -> impl Iterator<Item = usize> {
        self.sweeps.iter().flat_map(|sweep| sweep.viewers().iter().copied())
    }

    fn encodings(&self) -> [EncodingSnapshot; MAX_ENCODINGS] {
        let video = &self.tracks.video;
        std::array::from_fn(|n| EncodingSnapshot {
            is_live: video.is_live(n as u8),
            resolution: video.of(n as u8).resolution(),
            bits_per_second: video.of(n as u8).bits_per_second(),
            frames: self.stats.frames[n],
        })
    }

    fn relayed(&self, packets: Vec<Arc<Packet>>, publishers: &Slab<Publisher>, stream: StreamId) -> Command {
        let published = match self.source {
            Source::Local(key) => publishers.get(key).map(|p| *p.published()).unwrap_or_default(),
            _ => crate::format::Published::default(),
        };
        Command::Relayed { stream, published, deaf: self.tracks.video.is_deaf(), packets }
    }
}

/// Which desk a STUN request's ufrag names: `v` and two hex digits, see [`crate::desk`].
fn desk_of(bytes: &[u8]) -> Option<u8> {
    let message = str0m::ice::StunMessage::parse(bytes).ok()?;
    if !message.is_binding_request() {
        return None;
    }
    let (local, _) = message.split_username()?;
    let digits = local.strip_prefix('v')?.get(..2)?;
    u8::from_str_radix(digits, 16).ok()
}
