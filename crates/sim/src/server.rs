//! How do the engine, desks and shards make a server, without a thread, a socket or a clock?
//!
//! [`control::Engine`] decides, as in the real server. Here is what `server::engine` and `shards` do
//! beside that: commands, events and datagrams are carried between the machines, in the same order (a
//! shard knows the session of an address before the address is answered; a viewer's keys, and every
//! event after them, leave the desk after the last flight of its handshake).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use control::engine::{
    Answer, IceFragment, Notice, Output, Publish, Refusal, Request, RequestId, StreamStatus, Trickled, Watch, Wish,
};
use control::{CloseReason, Engine};
use media::{NtpTime, SessionId, StreamName, WallClock};
use sfu::desk::{self, Desk};
use sfu::negotiate::Identity;
use sfu::publisher::Ended;
use sfu::shard::{self, Shard, Snapshot, ViewerReport};
use sfu::transmit::Batch;

use crate::core::Core;
use crate::cryptography;
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
    engine: Engine,
    shards: Vec<Shard>,
    /// The core that each shard runs on.
    cores: Vec<Core>,
    desks: Vec<Desk>,
    addresses: Vec<SocketAddr>,
    to_shards: Queues<shard::Command>,
    to_desks: Queues<desk::Command>,
    sent: Vec<Sent>,
    batch: Batch,
    /// The number given to a request last.
    last_request: u64,
    answers: HashMap<RequestId, Answer>,
    snapshots: HashMap<u8, Snapshot>,
    has_changed: bool,
    /// Sessions that ended, and why.
    pub ended: Vec<(SessionId, Gone)>,
    /// Things that happened and must never happen.
    pub problems: Vec<String>,
    /// Shards that have said goodbye.
    pub stopped: u8,
}

/// Why a session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// A desk or a shard ended it.
    Ended(Ended),
    /// The engine closed it.
    Closed(CloseReason),
}

impl Server {
    pub(crate) fn new(setup: Setup, base: Instant, addresses: Vec<SocketAddr>, mut random: Random) -> Server {
        let certificate = cryptography::certificate(&cryptography::SERVER);
        let identity = Identity::with(certificate, cryptography::cryptography(), addresses.clone());
        let clock = WallClock::new(base, NtpTime::from_unix_ms(1_800_000_000_000));
        let shards: Vec<_> = (0..setup.shards).map(|n| Shard::new(n, setup.shards, clock)).collect();
        let desks = (0..setup.desks)
            .map(|n| {
                let mut random = random.branch();
                Desk::new(n, identity.clone(), Box::new(move || random.bits()))
            })
            .collect();
        let limits = control::Limits { streams: 1_000, sessions: 10_000, viewers: 5_000, sessions_per_ip: 0 };
        let engine = control::engine::Setup {
            limits,
            takeover: setup.takeover,
            busy_percent: 100,
            shards: setup.shards,
            desks: setup.desks,
            random: Box::new(move || random.bits()),
        };
        let cores = vec![Core::new(base); shards.len()];
        Server {
            engine: Engine::new(base, engine),
            shards,
            cores,
            desks,
            addresses,
            to_shards: Queues::new(shard::Command::may_be_lost),
            to_desks: Queues::new(desk::Command::may_be_lost),
            sent: Vec::new(),
            batch: Batch::new(),
            last_request: 0,
            answers: HashMap::new(),
            snapshots: HashMap::new(),
            has_changed: false,
            ended: Vec::new(),
            problems: Vec::new(),
            stopped: 0,
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

    /// Returns the load of a shard, and the bit rate above which it sheds video.
    pub fn load(&self, shard: u8) -> shard::LoadStatus {
        self.shards[usize::from(shard)].load()
    }

    // ---- what HTTP asks

    pub(crate) fn publish(
        &mut self,
        now: Instant,
        name: &StreamName,
        offer: &str,
        remote: SocketAddr,
    ) -> Result<(SessionId, String), Refusal> {
        let (stream, offer) = (name.clone(), offer.to_owned());
        let publish = Publish { stream, offer, remote, identity: None };
        self.opened(now, Request::Publish(publish))
    }

    pub(crate) fn watch(
        &mut self,
        now: Instant,
        name: &StreamName,
        offer: Option<String>,
        remote: SocketAddr,
    ) -> Result<(SessionId, String), Refusal> {
        let watch = Watch { stream: name.clone(), offer, remote, identity: None };
        self.opened(now, Request::Watch(watch))
    }

    fn opened(&mut self, now: Instant, request: Request) -> Result<(SessionId, String), Refusal> {
        match self.ask(now, request) {
            Answer::Opened(result) => result.map(|opened| (opened.session, opened.sdp)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn answer(&mut self, now: Instant, session: SessionId, answer: String) -> Result<(), Refusal> {
        match self.ask(now, Request::Accept { session, answer }) {
            Answer::Accepted(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn restart(
        &mut self,
        now: Instant,
        session: SessionId,
        ufrag: String,
        password: String,
    ) -> Option<String> {
        let (ufrag, password) = (Some(ufrag), Some(password));
        let fragment = IceFragment { ufrag, password, ..IceFragment::default() };
        match self.ask(now, Request::Trickle { session, fragment, if_match: None }) {
            Answer::Trickled(Ok(Trickled::Restarted { fragment, .. })) => Some(fragment),
            Answer::Trickled(Err(Refusal::NoSuchSession)) => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn close(&mut self, now: Instant, session: SessionId) -> bool {
        matches!(self.ask(now, Request::Close { session }), Answer::Closed(true))
    }

    pub(crate) fn wish(&mut self, now: Instant, session: SessionId, wish: Wish) -> Result<(), Refusal> {
        match self.ask(now, Request::Wish { session, wish }) {
            Answer::Wished(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn kick(&mut self, now: Instant, name: &StreamName) -> bool {
        let stream = name.clone();
        matches!(self.ask(now, Request::Kick { stream }), Answer::Closed(true))
    }

    /// The answer comes when the goodbyes are sent: time has to pass for it.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.request(now, Request::ShutDown);
    }

    /// How its shards are.
    pub fn snapshots(&mut self, now: Instant) -> Vec<Snapshot> {
        for shard in 0..self.shards.len() as u8 {
            self.to_shards.push((shard, shard::Command::Snapshot));
        }
        self.run(now);
        (0..self.shards.len() as u8).filter_map(|n| self.snapshots.remove(&n)).collect()
    }

    /// What the engine says of a stream, if there is anybody in it.
    pub(crate) fn stream(&self, now: Instant, name: &StreamName) -> Option<StreamStatus> {
        self.engine.stream(now, name)
    }

    /// Whether the engine has told that streams changed, since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// What a viewer is sent.
    pub fn report(&mut self, now: Instant, session: SessionId) -> Option<ViewerReport> {
        match self.ask(now, Request::Report { session }) {
            Answer::Report(status) => status?.report,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, now: Instant, request: Request) -> Answer {
        let id = self.request(now, request);
        self.answers.remove(&id).expect("threads answer at once")
    }

    fn request(&mut self, now: Instant, request: Request) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.engine.handle_request(now, id, request);
        self.run(now);
        id
    }

    /// Sessions that the engine knows: publishers and viewers.
    pub fn sessions(&self) -> (usize, usize) {
        self.engine.control().session_count()
    }

    /// Returns the state of a stream; `None` if it has no session.
    pub fn state(&self, name: &StreamName) -> Option<control::State> {
        self.engine.control().stream(name).map(|view| view.state)
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
        for (shard, core) in self.shards.iter_mut().zip(&mut self.cores) {
            shard.add_sleep(core.slept_until(now));
        }
        for desk in 0..self.desks.len() {
            let mut batch = std::mem::take(&mut self.batch);
            self.desks[desk].handle_timeout(now, &mut batch);
            self.flush_desk(now, desk, &mut batch);
            self.batch = batch;
        }
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
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
                busy |= self.tell(now, shard);
            }
            while let Some((number, command)) = self.to_desks.pop() {
                busy = true;
                let mut batch = std::mem::take(&mut self.batch);
                self.desks[usize::from(number)].handle_command(now, command, &mut batch);
                self.flush_desk(now, usize::from(number), &mut batch);
                self.batch = batch;
            }
            self.carry_out();
            if !busy && self.to_shards.is_empty() && self.to_desks.is_empty() {
                return;
            }
        }
        panic!("the server goes round in circles");
    }

    /// Returns the datagrams that it sent since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(Shard::poll_timeout);
        let cores = self.shards.iter().zip(&self.cores).filter(|(shard, _)| shard.has_turns());
        let cores = cores.map(|(_, core)| core.free_at());
        let desks = self.desks.iter().filter_map(Desk::poll_timeout);
        shards.chain(cores).chain(desks).chain(self.engine.poll_timeout()).min()
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

    fn flush_desk(&mut self, now: Instant, desk: usize, batch: &mut Batch) {
        let mut after = Vec::new();
        while let Some(event) = self.desks[desk].poll_event() {
            let is_keys = matches!(event, desk::Event::ToShard { command: shard::Command::AddViewer(_), .. });
            if is_keys || !after.is_empty() {
                after.push(event);
            } else {
                self.told_by_desk(now, event);
            }
        }
        for (message, bytes) in batch.datagrams() {
            if matches!(bytes.first(), Some(128..=191)) {
                self.problems.push("a desk sent SRTP".to_owned());
            }
            self.sent.push(Sent { destination: message.destination, bytes: bytes.to_vec() });
        }
        batch.clear();
        after.into_iter().for_each(|event| self.told_by_desk(now, event));
    }

    fn told_by_desk(&mut self, now: Instant, event: desk::Event) {
        match event {
            desk::Event::ToShard { shard, command } => self.to_shards.push((shard, command)),
            event => {
                self.engine.handle_desk(now, event);
                self.carry_out();
            }
        }
    }

    fn tell(&mut self, now: Instant, shard: usize) -> bool {
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
                shard::Event::SessionFailed { session, desk } => {
                    self.to_desks.push((desk, desk::Command::Fail { session }));
                }
                shard::Event::PublisherSilent { session, desk } => {
                    self.to_desks.push((desk, desk::Command::Silent { session }));
                }
                event => {
                    if let shard::Event::Snapshot(snapshot) = &event {
                        self.snapshots.insert(snapshot.shard, (**snapshot).clone());
                    }
                    self.engine.handle_shard(now, event);
                    self.carry_out();
                }
            }
        }
        any
    }

    /// Whether ICE and DTLS of a session are up.
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.engine.is_connected(session) == Some(true)
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::ToShard { shard, command } => self.to_shards.push((shard, command)),
                Output::ToDesk { desk, command } => self.to_desks.push((desk, command)),
                Output::Answer { request, answer } => {
                    if self.answers.insert(request, answer).is_some() {
                        self.problems.push(format!("{request:?} was answered twice"));
                    }
                }
                Output::Changed => self.has_changed = true,
                Output::Notice(notice) => self.note(notice),
                // Screens have no data channel.
                Output::Heard { .. } => {}
            }
        }
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Ended { session, why } => self.ended.push((session, Gone::Ended(why))),
            Notice::HandshakeFailed { session, failure, .. } => {
                self.ended.push((session, Gone::Ended(Ended::Handshake(failure))));
            }
            Notice::Closing { session, reason, .. } => {
                self.ended.push((session, Gone::Closed(reason)));
            }
            Notice::ShardStopped { .. } => self.stopped += 1,
            Notice::PublisherConnects { .. }
            | Notice::Connected { .. }
            | Notice::Flows { .. }
            | Notice::Warning { .. } => {}
        }
    }
}
