//! How do control, desks and shards make a server, without a thread, a socket or a clock?
//!
//! Does what `server::engine` and `shards` do: carries commands and events between the machines, in the same
//! order (a shard knows whose an address is before the address is answered; a viewer's keys leave the desk after the
//! last flight of its handshake).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use control::{CloseReason, Control, Effect, Refused};
use media::{NtpTime, SessionId, StreamId, StreamName, WallClock};
use sfu::desk::{self, Desk};
use sfu::format::Published;
use sfu::negotiate::{Identity, Unusable};
use sfu::publisher::Ended;
use sfu::shard::{self, Shard, Snapshot, StreamSnapshot, ViewerReport};
use sfu::transmit::Batch;

use crate::core::Core;
use crate::random::Random;

/// How a server is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Media shards.
    pub shards: u8,
    /// Desks.
    pub desks: u8,
    /// What becomes of a second publisher.
    pub takeover: control::Takeover,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { shards: 1, desks: 1, takeover: control::Takeover::Refuse }
    }
}

/// A datagram that the server sends.
pub(crate) struct Sent {
    pub(crate) destination: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Why a session was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpened {
    /// Control said no.
    Refused(Refused),
    /// The description cannot be used.
    Unusable(Unusable),
}

/// What waits for threads: commands, and behind them what may be lost, as in `shards::mailbox`.
struct Queues<T> {
    commands: VecDeque<(u8, T)>,
    datagrams: VecDeque<(u8, T)>,
    may_be_lost: fn(&T) -> bool,
    /// Whether the second queue is full all the time.
    is_full: bool,
    dropped: u64,
}

impl<T> Queues<T> {
    fn new(may_be_lost: fn(&T) -> bool) -> Queues<T> {
        Queues { commands: VecDeque::new(), datagrams: VecDeque::new(), may_be_lost, is_full: false, dropped: 0 }
    }

    fn push(&mut self, (thread, message): (u8, T)) {
        match ((self.may_be_lost)(&message), self.is_full) {
            (false, _) => self.commands.push_back((thread, message)),
            (true, false) => self.datagrams.push_back((thread, message)),
            (true, true) => self.dropped += 1,
        }
    }

    fn pop(&mut self) -> Option<(u8, T)> {
        self.commands.pop_front().or_else(|| self.datagrams.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.datagrams.is_empty()
    }
}

/// The whole server.
pub struct Server {
    shards: Vec<Shard>,
    /// The core that each shard runs on.
    cores: Vec<Core>,
    desks: Vec<Desk>,
    control: Control,
    addresses: Vec<SocketAddr>,
    random: Random,
    known: HashMap<SessionId, Known>,
    published: HashMap<StreamId, (u32, Published)>,
    next_desk: u8,
    to_shards: Queues<shard::Command>,
    to_desks: Queues<desk::Command>,
    sent: Vec<Sent>,
    batch: Batch,
    opened: HashMap<SessionId, Result<String, Unusable>>,
    answered: HashMap<SessionId, Option<Result<(), Unusable>>>,
    restarted: HashMap<SessionId, Option<Result<String, Unusable>>>,
    reports: HashMap<SessionId, ViewerReport>,
    snapshots: HashMap<u8, Snapshot>,
    /// Sessions that ended, and why.
    pub ended: Vec<(SessionId, Gone)>,
    /// What must never happen and did.
    pub problems: Vec<String>,
    /// Shards that have said goodbye.
    pub stopped: u8,
    now: Instant,
}

/// Why a session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The media plane noticed.
    Ended(Ended),
    /// Control decided.
    Closed(CloseReason),
}

struct Known {
    stream: StreamId,
    desk: u8,
    connected: bool,
}

impl Server {
    pub(crate) fn new(setup: Setup, base: Instant, addresses: Vec<SocketAddr>, mut random: Random) -> Server {
        let identity = Identity::new(addresses.clone());
        let clock = WallClock::new(base, NtpTime::from_unix_ms(1_800_000_000_000));
        let shards: Vec<_> = (0..setup.shards).map(|n| Shard::new(n, setup.shards, clock)).collect();
        let desks = (0..setup.desks)
            .map(|n| {
                let mut random = random.branch();
                Desk::new(n, identity.clone(), Box::new(move || random.bits()))
            })
            .collect();
        let limits = control::Limits { streams: 1_000, sessions: 10_000, viewers: 5_000, sessions_per_ip: 0 };
        let cores = vec![Core::new(base); shards.len()];
        Server {
            shards,
            cores,
            desks,
            control: Control::new(limits, setup.takeover),
            addresses,
            random,
            known: HashMap::new(),
            published: HashMap::new(),
            next_desk: 0,
            to_shards: Queues::new(shard::Command::may_be_lost),
            to_desks: Queues::new(desk::Command::may_be_lost),
            sent: Vec::new(),
            batch: Batch::new(),
            opened: HashMap::new(),
            answered: HashMap::new(),
            restarted: HashMap::new(),
            reports: HashMap::new(),
            snapshots: HashMap::new(),
            ended: Vec::new(),
            problems: Vec::new(),
            stopped: 0,
            now: base,
        }
    }

    /// Its addresses, the IPv4 one first.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// From now on all threads are behind, or none is any more: what may be lost between them is lost.
    pub fn set_overloaded(&mut self, is_overloaded: bool) {
        self.to_shards.is_full = is_overloaded;
        self.to_desks.is_full = is_overloaded;
    }

    /// Messages between threads that were lost because the threads were behind.
    pub fn dropped(&self) -> u64 {
        self.to_shards.dropped + self.to_desks.dropped
    }

    /// Which shard a peer's datagrams reach: the kernel hashes addresses and ports.
    pub fn shard_of(&self, source: SocketAddr) -> u8 {
        let ip = match source.ip() {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip) as u64,
        };
        let mut hash = Random::new(ip << 16 ^ u64::from(source.port()));
        hash.below(self.shards.len() as u64) as u8
    }

    /// Each shard's core sends this many datagrams a second from now on; `None`: any number.
    pub fn set_core(&mut self, datagrams_per_second: Option<u32>) {
        self.cores.iter_mut().for_each(|core| core.set_rate(datagrams_per_second));
    }

    /// How busy a shard is, and what it sheds.
    pub fn load(&self, shard: u8) -> shard::LoadStatus {
        self.shards[usize::from(shard)].load()
    }

    // ---- what HTTP asks

    pub(crate) fn publish(
        &mut self,
        now: Instant,
        name: &StreamName,
        offer: &str,
        ip: IpAddr,
    ) -> Result<(SessionId, String), NotOpened> {
        let session = self.new_session();
        let admitted = self.control.publish(now, session, name.clone(), ip).map_err(NotOpened::Refused)?;
        let desk = self.choose_desk();
        self.known.insert(session, Known { stream: admitted.stream, desk, connected: false });
        let (stream, epoch, offer) = (admitted.stream, admitted.epoch, offer.to_owned());
        self.to_desks.push((desk, desk::Command::Publish { session, stream, epoch, offer }));
        self.run(now);
        let opened = self.opened.remove(&session).expect("a desk answers at once");
        opened.map(|sdp| (session, sdp)).map_err(NotOpened::Unusable)
    }

    pub(crate) fn watch(
        &mut self,
        now: Instant,
        name: &StreamName,
        offer: Option<String>,
        ip: IpAddr,
    ) -> Result<(SessionId, String), NotOpened> {
        let session = self.new_session();
        let admitted = self.control.watch(now, session, name.clone(), ip).map_err(NotOpened::Refused)?;
        let desk = self.choose_desk();
        self.known.insert(session, Known { stream: admitted.stream, desk, connected: false });
        let published = self.published(admitted.stream);
        let command = desk::Command::Open { session, stream: admitted.stream, offer, published };
        self.to_desks.push((desk, command));
        self.run(now);
        let opened = self.opened.remove(&session).expect("a desk answers at once");
        opened.map(|sdp| (session, sdp)).map_err(NotOpened::Unusable)
    }

    fn choose_desk(&mut self) -> u8 {
        self.next_desk = (self.next_desk + 1) % self.desks.len() as u8;
        self.next_desk
    }

    pub(crate) fn answer(&mut self, now: Instant, session: SessionId, answer: String) -> Result<(), NotOpened> {
        let Some(known) = self.known.get(&session) else { panic!("no such session") };
        let (desk, published) = (known.desk, self.published(known.stream));
        self.to_desks.push((desk, desk::Command::Answer { session, answer, published }));
        self.run(now);
        let answered = self.answered.remove(&session).flatten().expect("a desk answers at once");
        answered.map_err(NotOpened::Unusable)
    }

    pub(crate) fn restart(
        &mut self,
        now: Instant,
        session: SessionId,
        ufrag: String,
        password: String,
    ) -> Option<String> {
        let known = self.known.get(&session)?;
        self.to_desks.push((known.desk, desk::Command::Restart { session, ufrag, password }));
        self.run(now);
        self.restarted.remove(&session).flatten().map(|result| result.expect("credentials that str0m takes"))
    }

    pub(crate) fn close(&mut self, now: Instant, session: SessionId) -> bool {
        let closed = self.control.close(now, session, CloseReason::Asked);
        self.run(now);
        closed
    }

    pub(crate) fn set_preferences(
        &mut self,
        now: Instant,
        session: SessionId,
        preferences: sfu::stream::choice::Preferences,
    ) {
        for shard in 0..self.shards.len() as u8 {
            self.to_shards.push((shard, shard::Command::SetPreferences { session, preferences }));
        }
        self.run(now);
    }

    pub(crate) fn kick(&mut self, now: Instant, name: &StreamName) -> bool {
        let kicked = self.control.kick(now, name);
        self.run(now);
        kicked
    }

    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.control.shut_down(now);
        self.run(now);
        for shard in 0..self.shards.len() as u8 {
            self.to_shards.push((shard, shard::Command::Stop));
        }
        self.run(now);
    }

    /// How its shards are.
    pub fn snapshots(&mut self, now: Instant) -> Vec<Snapshot> {
        for shard in 0..self.shards.len() as u8 {
            self.to_shards.push((shard, shard::Command::Snapshot));
        }
        self.run(now);
        (0..self.shards.len() as u8).filter_map(|n| self.snapshots.remove(&n)).collect()
    }

    /// How shards see a stream, and how many viewers of it are connecting.
    pub(crate) fn audience_of(&mut self, now: Instant, name: &StreamName) -> Option<(Vec<StreamSnapshot>, u32)> {
        let view = self.control.stream(name)?;
        let (id, connecting) = (view.id, view.viewers_connecting);
        let snapshots = self.snapshots(now).into_iter().flat_map(|snapshot| snapshot.streams);
        Some((snapshots.filter(|stream| stream.stream == id).collect(), connecting))
    }

    /// What a viewer is sent.
    pub fn report(&mut self, now: Instant, session: SessionId) -> Option<ViewerReport> {
        for shard in 0..self.shards.len() as u8 {
            self.to_shards.push((shard, shard::Command::Report { session }));
        }
        self.run(now);
        self.reports.remove(&session)
    }

    /// Sessions that control knows: publishers and viewers.
    pub fn sessions(&self) -> (usize, usize) {
        self.control.session_count()
    }

    /// Whether a stream can be seen; `None` if nobody is in it.
    pub fn state(&self, name: &StreamName) -> Option<control::State> {
        self.control.stream(name).map(|view| view.state)
    }

    /// Sessions that desks hold.
    pub fn sessions_on_desks(&self) -> usize {
        self.desks.iter().map(Desk::session_count).sum()
    }

    /// What desks count, together.
    pub fn desk_counters(&self) -> desk::DeskCounters {
        self.desks.iter().fold(desk::DeskCounters::default(), |sum, desk| desk::DeskCounters {
            connected: sum.connected + desk.counters.connected,
            refused: sum.refused + desk.counters.refused,
            malformed: sum.malformed + desk.counters.malformed,
            panics: sum.panics + desk.counters.panics,
            address_checks: sum.address_checks + desk.counters.address_checks,
            turned_away: sum.turned_away + desk.counters.turned_away,
        })
    }

    // ---- what the network and the clock bring

    pub(crate) fn receive(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &mut [u8]) {
        let shard = self.shard_of(source);
        self.shards[usize::from(shard)].handle_datagram(now, source, destination, bytes);
    }

    /// Does all there is to do at `now`.
    pub(crate) fn run(&mut self, now: Instant) {
        self.now = now;
        for (shard, core) in self.shards.iter_mut().zip(&mut self.cores) {
            shard.add_sleep(core.slept_until(now));
        }
        for desk in 0..self.desks.len() {
            let mut batch = std::mem::take(&mut self.batch);
            self.desks[desk].handle_timeout(now, &mut batch);
            self.flush_desk(desk, &mut batch);
            self.batch = batch;
        }
        if self.control.poll_timeout().is_some_and(|at| at <= now) {
            self.control.handle_timeout(now);
        }
        self.carry_out();
        // Enough for the longest chain of commands; more is a circle.
        for _ in 0..10_000 {
            let mut busy = false;
            while let Some((number, command)) = self.to_shards.pop() {
                busy = true;
                self.shards[usize::from(number)].handle_command(now, command);
            }
            for shard in 0..self.shards.len() {
                self.shards[shard].handle_timeout(now);
                busy |= self.transmit(now, shard);
                busy |= self.tell(shard);
            }
            while let Some((number, command)) = self.to_desks.pop() {
                busy = true;
                let mut batch = std::mem::take(&mut self.batch);
                self.desks[usize::from(number)].handle_command(now, command, &mut batch);
                self.flush_desk(usize::from(number), &mut batch);
                self.batch = batch;
            }
            self.carry_out();
            if !busy && self.to_shards.is_empty() && self.to_desks.is_empty() {
                return;
            }
        }
        panic!("the server goes round in circles");
    }

    /// What it sent since.
    pub(crate) fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(Shard::poll_timeout);
        let cores = self.shards.iter().zip(&self.cores).filter(|(shard, _)| shard.has_turns());
        let cores = cores.map(|(_, core)| core.free_at());
        let desks = self.desks.iter().filter_map(Desk::poll_timeout);
        shards.chain(cores).chain(desks).chain(self.control.poll_timeout()).min()
    }

    fn transmit(&mut self, now: Instant, shard: usize) -> bool {
        let mut any = false;
        loop {
            if !self.cores[shard].is_free(now) {
                return any;
            }
            self.shards[shard].poll_transmit(now, &mut self.batch);
            if self.batch.is_empty() {
                return any;
            }
            any = true;
            let before = self.sent.len();
            for (message, bytes) in self.batch.datagrams() {
                self.sent.push(Sent { destination: message.destination, bytes: bytes.to_vec() });
            }
            self.cores[shard].works(now, self.sent.len() - before);
            self.batch.clear();
        }
    }

    fn flush_desk(&mut self, desk: usize, batch: &mut Batch) {
        let mut after = Vec::new();
        while let Some(event) = self.desks[desk].poll_event() {
            match event {
                desk::Event::ToShard { shard, command: command @ shard::Command::AddViewer(_) } => {
                    after.push((shard, command));
                }
                desk::Event::ToShard { shard, command } if !after.is_empty() => after.push((shard, command)),
                desk::Event::ToShard { shard, command } => self.to_shards.push((shard, command)),
                desk::Event::Opened { session, result } => {
                    if result.is_err() {
                        self.known.remove(&session);
                        self.control.closed(self.now, session);
                    }
                    self.opened.insert(session, result);
                }
                desk::Event::Answered { session, result } => {
                    self.answered.insert(session, result);
                }
                desk::Event::Restarted { session, result } => {
                    self.restarted.insert(session, result);
                }
                desk::Event::Connected { session } => self.connected(session),
                // Screens have no data channel.
                desk::Event::Heard { .. } => {}
                desk::Event::Closed { session, why } => self.session_ended(session, why),
            }
        }
        for (message, bytes) in batch.datagrams() {
            if matches!(bytes.first(), Some(128..=191)) {
                self.problems.push("a desk sent SRTP".to_owned());
            }
            self.sent.push(Sent { destination: message.destination, bytes: bytes.to_vec() });
        }
        batch.clear();
        after.into_iter().for_each(|message| self.to_shards.push(message));
    }

    fn tell(&mut self, shard: usize) -> bool {
        let mut any = false;
        while let Some(event) = self.shards[shard].poll_event() {
            any = true;
            match event {
                shard::Event::ToDesk { desk, handed } => {
                    if usize::from(desk) < self.desks.len() {
                        self.to_desks.push((desk, desk::Command::Datagram(handed)));
                    }
                }
                shard::Event::ToShard { shard, command } => self.to_shards.push((shard, command)),
                shard::Event::PublisherFlows { session, flows } => self.control.flows(self.now, session, flows),
                shard::Event::SessionFailed { session, desk } => {
                    self.to_desks.push((desk, desk::Command::Fail { session }));
                }
                shard::Event::PublisherSilent { session, desk } => {
                    self.to_desks.push((desk, desk::Command::Silent { session }));
                }
                shard::Event::Published { stream, epoch, published } => {
                    let entry = self.published.entry(stream).or_default();
                    if epoch >= entry.0 {
                        *entry = (epoch, published);
                    }
                }
                shard::Event::Report { session, report } => {
                    if let Some(report) = report {
                        self.reports.insert(session, report);
                    }
                }
                shard::Event::Snapshot(snapshot) => {
                    self.snapshots.insert(snapshot.shard, *snapshot);
                }
                shard::Event::Stopped { .. } => self.stopped += 1,
            }
        }
        any
    }

    fn connected(&mut self, session: SessionId) {
        self.control.connected(self.now, session);
        if let Some(known) = self.known.get_mut(&session) {
            known.connected = true;
        }
    }

    /// Whether ICE and DTLS of a session are up.
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.known.get(&session).is_some_and(|k| k.connected)
    }

    fn session_ended(&mut self, session: SessionId, why: Ended) {
        if self.known.remove(&session).is_some() {
            self.ended.push((session, Gone::Ended(why)));
        }
        self.control.closed(self.now, session);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.control.poll_effect() {
            match effect {
                Effect::Close { session, reason, .. } => {
                    self.ended.push((session, Gone::Closed(reason)));
                    if let Some(known) = self.known.remove(&session) {
                        self.to_desks.push((known.desk, desk::Command::Close { session }));
                    }
                }
                Effect::StreamClosed { stream } => {
                    self.published.remove(&stream);
                    for shard in 0..self.shards.len() as u8 {
                        self.to_shards.push((shard, shard::Command::CloseStream { stream }));
                    }
                }
                Effect::PublisherIs { stream, epoch, .. } => {
                    self.published.insert(stream, (epoch, Published::default()));
                }
                Effect::PublisherGone { stream, epoch } => {
                    if let Some(entry) = self.published.get_mut(&stream).filter(|p| p.0 == epoch) {
                        entry.1 = Published::default();
                    }
                }
                Effect::StreamOpened { .. } | Effect::Changed { .. } => {}
            }
        }
    }

    fn published(&self, stream: StreamId) -> Published {
        self.published.get(&stream).map(|p| p.1).unwrap_or_default()
    }

    fn new_session(&mut self) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.bits().to_be_bytes());
        bytes[8..].copy_from_slice(&self.random.bits().to_be_bytes());
        SessionId::from_bytes(bytes)
    }
}
