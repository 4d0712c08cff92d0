//! One media shard: who gets which packet, now?
//!
//! A shard owns its publishers, its viewers and the logs of the streams that either is in. It is handed
//! datagrams and commands and asked for datagrams and events; it decides little itself: `publisher` makes packets,
//! `stream` keeps them, `viewer` sends them. Here is whose turn it is; publishers come and go in `publishers`, viewers in
//! `viewer_slots`, and what is for others goes by `routing` and `relays`.
//!
//! A stream whose publisher is on another shard is *relayed*: this shard subscribes there, and the packets
//! (shared, never copied) come as commands.
//!
//! What must always hold: a datagram reaches a session only by its source address, which ICE proved, or
//! by an ICE ufrag (threat T1). Nothing waits: not for control, not for a desk, not for a viewer.

mod bottleneck;
mod guard;
mod load;
mod message;
mod networks;
mod publishers;
mod questions;
mod relays;
mod routing;
mod send_queue;
mod send_round;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod viewer_slots;

use bottleneck::BottleneckGroups;
pub use load::LoadStatus;
pub use message::{
    Command, EncodingSnapshot, Event, SentTrack, ShardCounters, Snapshot, StreamSnapshot, TrackStats, ViewerReport,
};
pub use networks::{ESTIMATES_BPS, Networks};

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{Packet, SessionId, StreamId, WallClock};
use slab::Slab;

use crate::guard::Strikes;
use crate::prefetch::Prefetch;
use crate::publisher::Publisher;
use crate::transmit::Batch;
use crate::viewer::PREFETCH_FROM;
use guard::Turn;
use load::{Load, OfferedRates};
use routing::{Early, Route};
use send_queue::{HANDICAP, NextTurn, Rank, SendQueue};
use streams::Stream;
use timers::{Due, Timers};
use viewer_slots::ViewerSlot;

/// One media shard.
pub struct Shard {
    number: u8,
    shards: u8,
    clock: WallClock,
    streams: HashMap<StreamId, Stream>,
    publishers: Slab<Publisher>,
    viewers: Slab<ViewerSlot>,
    by_session: HashMap<SessionId, Key>,
    routes: HashMap<SocketAddr, Route>,
    /// Media that came before its keys.
    early: Early,
    send_queue: SendQueue,
    /// Streams with packets for other shards, each once.
    relaying: Vec<StreamId>,
    timers: Timers,
    bottlenecks: BottleneckGroups,
    /// What sessions wrote on their own account (STUN, DTLS, RTCP, retransmissions), before media.
    urgent: Batch,
    events: VecDeque<Event>,
    counters: ShardCounters,
    load: Load,
    prefetch: Prefetch,
    /// Viewers whose feedback is expected: memory of [`Shard::expect`] to work in.
    expected: Vec<usize>,
    /// Whose state is being changed: a panic ends that session.
    turn: Cell<Turn>,
    /// Panics that belonged to no session.
    strikes: Strikes,
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Publisher(usize),
    Viewer(usize),
}

/// Viewers of one stream that are asked before another stream's are.
const VIEWERS_IN_A_ROW: usize = 64;

/// Viewers with something of their own that are asked before it is looked who has waited longest.
const TURNS_IN_A_ROW: usize = 16;

/// Bytes of datagrams after which a batch ends for the system call: large enough that the call
/// is cheap per packet, small enough to stay in the second-level cache.
const BATCH_BYTES: usize = 128 * 1024;

impl Shard {
    /// Shard `number` of `shards`. `clock` maps the monotonic clock to the wall clock.
    pub fn new(number: u8, shards: u8, clock: WallClock) -> Shard {
        Shard {
            number,
            shards,
            clock,
            streams: HashMap::new(),
            publishers: Slab::new(),
            viewers: Slab::new(),
            by_session: HashMap::new(),
            routes: HashMap::new(),
            early: Early::default(),
            send_queue: SendQueue::default(),
            relaying: Vec::new(),
            timers: Timers::default(),
            bottlenecks: BottleneckGroups::default(),
            urgent: Batch::new(),
            events: VecDeque::new(),
            counters: ShardCounters::default(),
            load: Load::default(),
            prefetch: Prefetch::default(),
            expected: Vec::new(),
            turn: Cell::default(),
            strikes: Strikes::default(),
            stopping: false,
        }
    }

    /// Has the processor asked for what a round needs next.
    pub fn with_prefetch(self, prefetch: Prefetch) -> Shard {
        Shard { prefetch, ..self }
    }

    /// A datagram came in. It may be decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &mut [u8]) {
        self.counters.datagrams_in += 1;
        self.guarded(now, Turn::Stranger, |shard| shard.take_datagram(now, source, destination, bytes));
    }

    /// Datagrams came from there, and will be handed in one by one.
    pub fn expect(&mut self, sources: impl Iterator<Item = SocketAddr>) {
        let mut expected = std::mem::take(&mut self.expected);
        expected.extend(sources.filter_map(|source| match self.routes.get(&source)?.key {
            Some(Key::Viewer(key)) => Some(key),
            _ => None,
        }));
        for step in 0..3 {
            for slot in expected.iter().filter_map(|key| self.viewers.get(*key)) {
                slot.viewer.prefetch_feedback(step, self.prefetch);
            }
        }
        expected.clear();
        self.expected = expected;
    }

    /// Someone asks.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let turn = Shard::turn_of(&command);
        self.guarded(now, turn, |shard| shard.obey(now, command));
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::CloseStream { stream } => {
                self.streams.remove(&stream);
            }
            Command::AddPublisher(setup) => {
                let session = setup.session;
                self.add_publisher(now, *setup);
                self.take_early(now, session);
            }
            Command::AddViewer(setup) => self.add_viewer(now, *setup),
            Command::MoveViewer { session, address, source } => {
                if let Some(key) = self.slot_of(session) {
                    self.viewers[key].viewer.set_address(address, source);
                }
            }
            Command::Remove { session } => match self.by_session.get(&session).copied() {
                Some(Key::Viewer(key)) => {
                    self.viewers[key].viewer.bye(&mut self.urgent);
                    self.remove_viewer(key);
                }
                Some(Key::Publisher(key)) => self.end_publisher(now, key),
                None => {}
            },
            Command::Bind { source, session, desk, serving, is_sender } => {
                self.bind(source, session, desk, serving, is_sender);
            }
            Command::Unbind { source } => self.unbind(source),
            Command::Protected { session, handed } => self.passed_on(now, session, handed),
            Command::FailPublisher { stream, epoch } => self.fail_publisher_of(stream, epoch),
            Command::StreamHome { stream, shard, epoch } => self.stream_home(stream, shard, epoch),
            Command::StreamAway { stream, epoch } => self.stream_away(stream, epoch),
            Command::Subscribe { stream, shard } => self.add_relay(stream, shard),
            Command::Unsubscribe { stream, shard } => self.remove_relay(stream, shard),
            Command::Relayed { stream, epoch, published, unresponsive, packets } => {
                self.relayed(now, stream, epoch, &published, unresponsive, packets);
            }
            Command::WantKeyFrame { stream, encoding } => self.want_key_frame(now, stream, encoding),
            Command::BottleneckMembers { address, members } => {
                members.into_iter().for_each(|one| self.bottlenecks.note(now, address, one));
            }
            Command::SetPreferences { session, preferences } => {
                if let Some(key) = self.slot_of(session) {
                    crate::guard::fault!(SetPreferences, Some(session));
                    self.viewers[key].viewer.set_preferences(preferences);
                    self.give_turn(now, key);
                }
            }
            Command::Report { session } => {
                let report = self.report(session);
                self.events.push_back(Event::Report { session, report });
            }
            Command::Snapshot => {
                self.bottlenecks.clean(now);
                let snapshot = self.snapshot();
                self.events.push_back(Event::Snapshot(Box::new(snapshot)));
            }
            Command::Stop => self.stop(now),
            #[cfg(any(test, feature = "inject"))]
            Command::Inject(fault) => crate::inject::arm(fault),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        // A timer that panicked is not due any more.
        self.guarded(now, Turn::Shared, |shard| shard.look_at_load(now));
        while self.guarded(now, Turn::Shared, |shard| shard.look_at_timers(now)).is_none() {}
    }

    fn look_at_timers(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            self.turn.set(match due {
                Due::Publisher(key) => Turn::Publisher(key),
                Due::Report(key) | Due::Turn(key) => Turn::Viewer(key),
                Due::KeyFrame(_) => Turn::Shared,
            });
            match due {
                Due::Publisher(key) => {
                    self.wake_publisher(now, key);
                }
                Due::Report(key) => {
                    // A timer that another viewer left behind in this slot finds nothing due.
                    if self.viewers.get(key).is_none_or(|slot| slot.viewer.next_report_at() > now) {
                        continue;
                    }
                    self.promote(now, key);
                    if let Some(slot) = self.viewers.get_mut(key) {
                        crate::guard::fault!(Report, Some(slot.viewer.session));
                        slot.viewer.report(now, &self.clock, &mut self.urgent);
                        self.timers.set(slot.viewer.next_report_at(), Due::Report(key));
                        self.update_bottleneck_group(now, key);
                    }
                }
                Due::Turn(key) => {
                    if let Some(slot) = self.viewers.get_mut(key)
                        && slot.turn_at.is_some_and(|at| at <= now)
                    {
                        slot.turn_at = None;
                        self.give_turn(now, key);
                    }
                }
                Due::KeyFrame(stream) => {
                    crate::guard::fault!(Timer, None);
                    (0..MAX_ENCODINGS as u8).for_each(|n| self.ask_for_key_frame(now, stream, n));
                }
            }
        }
    }

    /// The thread that drives the shard slept for this long, with nothing to do.
    pub fn add_sleep(&mut self, span: Duration) {
        self.load.add_sleep(span);
    }

    /// How busy the shard is, and what it sheds.
    pub fn load(&self) -> LoadStatus {
        self.load.status()
    }

    /// Measures the load, and bounds what viewers are sent by it.
    fn look_at_load(&mut self, now: Instant) {
        if !self.load.is_due(now) {
            return;
        }
        let max_bps = self.load.status().max_bps.unwrap_or(u64::MAX);
        let mut rates = OfferedRates::default();
        for stream in self.streams.values().filter(|stream| stream.is_watched()) {
            let offered = stream.tracks.video.offered();
            let shown = offered.iter().find(|o| o.bits_per_second <= max_bps).or(offered.last());
            rates.shown_bps = rates.shown_bps.max(shown.map_or(0, |o| o.bits_per_second));
            rates.largest_bps = offered.iter().fold(rates.largest_bps, |most, o| most.max(o.bits_per_second));
        }
        let changed = self.load.look(now, rates);
        let max_bps = self.load.status().max_bps;
        if changed || max_bps.is_some() {
            // Streams that began within the last window are bounded now.
            self.streams.values_mut().for_each(|stream| stream.tracks.video.set_max_bps(max_bps));
        }
        if changed {
            self.counters.load_steps += 1;
        }
    }

    /// Fills `batch` with what is to be sent, up to a batch's worth. Call again while it is not empty.
    pub fn poll_transmit(&mut self, now: Instant, batch: &mut Batch) {
        if !self.urgent.is_empty() {
            std::mem::swap(batch, &mut self.urgent);
        }
        // What a session wrote before it panicked stays in the batch: whole datagrams under indexes of its own.
        while self.guarded(now, Turn::Shared, |shard| shard.fill(now, batch)).is_none() {}
        self.counters.messages_out += batch.messages().len() as u64;
        self.counters.bytes_out += batch.len_bytes() as u64;
    }

    fn fill(&mut self, now: Instant, batch: &mut Batch) {
        while batch.len_bytes() < BATCH_BYTES {
            match self.send_queue.next(|rank, stream| self.waits_since(rank, stream)) {
                Some(NextTurn::Round(rank)) => self.send_round(now, rank, batch),
                Some(turns) => self.take_turns(now, turns, batch),
                None => break,
            }
        }
    }

    /// How long the next viewer of a stream has waited, if there is one.
    fn waits_since(&self, rank: Rank, stream: StreamId) -> Option<Instant> {
        let stream = self.streams.get(&stream)?;
        let key = stream.rounds[rank as usize].ahead(0)?;
        let slot = self.viewers.get(key)?;
        self.turn.set(Turn::Viewer(key));
        Some(slot.viewer.waits_since(&stream.tracks))
    }

    /// Asks viewers that may have something to send of their own.
    fn take_turns(&mut self, now: Instant, of: NextTurn, batch: &mut Batch) {
        for _ in 0..TURNS_IN_A_ROW {
            if batch.len_bytes() >= BATCH_BYTES {
                break;
            }
            let Some(key) = self.send_queue.pop_turn(of) else { break };
            let Some(slot) = self.viewers.get_mut(key) else { continue };
            slot.queued = false;
            self.turn.set(Turn::Viewer(key));
            let id = slot.viewer.stream;
            let Some(stream) = self.streams.get(&id) else { continue };
            if let Some(encoding) = slot.send(now, key, &stream.tracks, batch, &mut self.timers) {
                self.want_key_frame(now, id, encoding);
            }
        }
    }

    /// Asks viewers of a stream with new packets.
    fn send_round(&mut self, now: Instant, rank: Rank, batch: &mut Batch) {
        // It stays the first of its queue until the round is over: a panic in between must not lose it.
        let Some(id) = self.send_queue.of(rank).rounds.front().copied() else { return };
        let Some(stream) = self.streams.get_mut(&id) else {
            self.send_queue.of(rank).rounds.pop_front();
            return;
        };
        let round = &mut stream.rounds[rank as usize];
        let timer = &mut stream.round_timers[rank as usize];
        let allowed = if rank == Rank::New { HANDICAP } else { Duration::ZERO };
        let mut wanted = [false; MAX_ENCODINGS];
        for _ in 0..VIEWERS_IN_A_ROW {
            let Some(key) = round.next() else { break };
            if let Some(took) = timer.on_served(now, round.viewers().len()) {
                self.load.add_round(took.saturating_sub(allowed));
            }
            // The next one's turn is at distance 1.
            for distance in 1..=PREFETCH_FROM {
                let ahead = round.ahead(distance - 1);
                if let Some(slot) = ahead.and_then(|key| self.viewers.get(key)) {
                    slot.viewer.prefetch(distance, self.prefetch);
                }
            }
            self.turn.set(Turn::Viewer(key));
            if let Some(slot) = self.viewers.get_mut(key)
                && let Some(encoding) = slot.send(now, key, &stream.tracks, batch, &mut self.timers)
            {
                wanted[usize::from(encoding)] = true;
            }
            if batch.len_bytes() >= BATCH_BYTES {
                break;
            }
        }
        let is_over = round.is_over();
        self.turn.set(Turn::Shared);
        let rounds = &mut self.send_queue.of(rank).rounds;
        rounds.pop_front();
        if !is_over {
            rounds.push_back(id);
        }
        for (encoding, _) in (0..).zip(wanted).filter(|(_, is_wanted)| *is_wanted) {
            self.want_key_frame(now, id, encoding);
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
        !self.send_queue.is_empty() || !self.urgent.is_empty()
    }

    fn on_packet(&mut self, now: Instant, stream: StreamId, packet: Arc<Packet>) {
        crate::guard::fault!(Arrived, None);
        let Some(s) = self.streams.get_mut(&stream) else { return };
        let kind = packet.codec.kind();
        let track = s.tracks.of_mut(kind);
        s.stats.on_packet(&packet, track.best());
        track.push(now, packet);
        for rank in [Rank::Watching, Rank::New] {
            if s.rounds[rank as usize].begin() {
                s.round_timers[rank as usize].begin(now);
                self.send_queue.of(rank).rounds.push_back(stream);
            }
        }
    }

    /// SRTCP came from a viewer here.
    fn viewer_feedback(&mut self, now: Instant, key: usize, bytes: &mut [u8]) {
        self.turn.set(Turn::Viewer(key));
        let Some(slot) = self.viewers.get_mut(key) else { return };
        let id = slot.viewer.stream;
        let Some(stream) = self.streams.get(&id) else { return };
        crate::guard::fault!(Feedback, Some(slot.viewer.session));
        match slot.viewer.handle_srtcp(now, &self.clock, bytes, &stream.tracks, &mut self.urgent) {
            Ok(feedback) => {
                self.counters.feedback += 1;
                if let Some(encoding) = feedback.wants_key_frame {
                    self.want_key_frame(now, id, encoding);
                }
                if feedback.wants_turn {
                    self.give_turn(now, key);
                }
            }
            Err(_) => slot.viewer.rejected += 1,
        }
    }

    fn give_turn(&mut self, now: Instant, key: usize) {
        if let Some(slot) = self.viewers.get_mut(key)
            && !slot.queued
        {
            slot.queued = true;
            let begins = slot.viewer.is_starting();
            let queue = if begins { &mut self.send_queue.starts } else { &mut self.send_queue.of(slot.rank).turns };
            queue.push_back((key, now));
        }
    }

    /// Whoever has been here for a while belongs to those who watch.
    fn promote(&mut self, now: Instant, key: usize) {
        let Some(slot) = self.viewers.get_mut(key) else { return };
        if slot.rank == Rank::Watching || now < slot.new_until {
            return;
        }
        slot.rank = Rank::Watching;
        if let Some(stream) = self.streams.get_mut(&slot.viewer.stream) {
            stream.rounds[Rank::New as usize].remove(key);
            stream.rounds[Rank::Watching as usize].add(key);
        }
        // It may have waited there, and those here may have had their turn.
        self.give_turn(now, key);
    }

    fn stop(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let keys: Vec<_> = self.viewers.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.guarded(now, Turn::Viewer(key), |shard| {
                if let Some(slot) = shard.viewers.get_mut(key) {
                    slot.viewer.bye(&mut shard.urgent);
                }
            });
        }
        let keys: Vec<_> = self.publishers.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.guarded(now, Turn::Publisher(key), |shard| shard.say_goodbye_to_publisher(now, key));
        }
        self.events.push_back(Event::Stopped { shard: self.number });
    }
}
