//! The engine, a desk and a shard with one session, without threads and with a clock of our own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use control::engine::{Answer, IceFragment, Notice, Opened, Output, Publish, Request, RequestId, Setup, Watch};
use control::{Engine, Limits, Takeover};
use media::{NtpTime, SessionId, StreamId, StreamName, WallClock};
use sfu::desk::{self, Desk, Handed};
use sfu::negotiate;
use sfu::shard::{self, Shard};
use sfu::transmit::Batch;

use crate::mutate::Random;
use crate::peer::{Peer, Purpose};

/// Where the server is.
pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 7_882);

/// Where the honest peer is.
pub(crate) const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 5_000);

/// The stream of the session: the first one that the engine opens.
pub(crate) const STREAM: StreamId = StreamId(1);

/// A second stream, which a [`Watcher`] of [`World::watched`] sees go on.
pub(crate) const OTHER: StreamId = StreamId(2);

/// A viewer that behaves.
pub(crate) struct Watcher {
    pub(crate) peer: Peer,
    pub(crate) stream: StreamId,
}

/// The engine, a desk, a shard, one session and its peer.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) peer: Peer,
    /// Viewers beside it.
    pub(crate) watchers: Vec<Watcher>,
    /// Datagrams that went to the peer.
    pub(crate) to_peer: usize,
    /// The peer's offer and our answer.
    pub(crate) offer: String,
    pub(crate) answer: String,
    /// What the peer sent and the server has not seen yet.
    pub(crate) on_the_way: VecDeque<Vec<u8>>,
    /// Bytes that went to other addresses than the peer's, and came from them.
    pub(crate) to_strangers: usize,
    pub(crate) from_strangers: usize,
    /// Why the server ended the session, if it did.
    pub(crate) ended: Option<String>,
    /// Whether that was because the session had not connected in time.
    pub(crate) was_late: bool,
    /// Our half of ICE's names and passwords.
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// The peer's ufrag.
    pub(crate) peer_ufrag: String,
    pub(crate) session: SessionId,
    engine: Engine,
    /// The number given to a request last, and the answers so far.
    last_request: u64,
    answers: Vec<(RequestId, Answer)>,
    desk: Desk,
    shard: Shard,
}

impl World {
    pub(crate) fn new(purpose: Purpose) -> World {
        let now = Instant::now();
        let identity = crate::sdp::identity().clone();
        let mut random = Random(7);
        let clock = WallClock::new(now, NtpTime::from_unix_ms(1_763_930_000_000));
        let mut of_engine = Random(8);
        let engine = Setup {
            limits: Limits { streams: 10, sessions: 10, viewers: 10, sessions_per_ip: 0 },
            takeover: Takeover::Refuse,
            busy_percent: 100,
            shards: 1,
            desks: 1,
            random: Box::new(move || of_engine.bits()),
        };
        let mut peer = Peer::new(now, PEER);
        let offer = peer.offer(purpose);
        let mut world = World {
            now,
            peer,
            watchers: Vec::new(),
            to_peer: 0,
            offer: offer.clone(),
            answer: String::new(),
            on_the_way: VecDeque::new(),
            to_strangers: 0,
            from_strangers: 0,
            ended: None,
            was_late: false,
            ufrag: String::new(),
            password: String::new(),
            peer_ufrag: String::new(),
            session: SessionId::from_bytes([0; 16]),
            engine: Engine::new(now, engine),
            last_request: 0,
            answers: Vec::new(),
            desk: Desk::new(0, identity, Box::new(move || random.bits())),
            shard: Shard::new(0, 1, clock),
        };
        let Opened { session, sdp, .. } = match purpose {
            Purpose::Watch | Purpose::WatchAndTalk => world.watch("one", offer, PEER),
            Purpose::Publish => {
                let stream = StreamName::parse("one").expect("a legal name");
                let publish = Publish { stream, offer, remote: PEER, identity: None };
                world.open(Request::Publish(publish))
            }
        };
        world.peer.accept(&sdp);
        let of = |sdp: &str, what| negotiate::text::first(sdp, what).unwrap_or_default().to_owned();
        world.session = session;
        world.ufrag = of(&sdp, "a=ice-ufrag:");
        world.password = of(&sdp, "a=ice-pwd:");
        world.peer_ufrag = of(&world.offer, "a=ice-ufrag:");
        world.answer = sdp;
        world
    }

    fn watch(&mut self, stream: &str, offer: String, remote: SocketAddr) -> Opened {
        let stream = StreamName::parse(stream).expect("a legal name");
        self.open(Request::Watch(Watch { stream, offer: Some(offer), remote, identity: None }))
    }

    fn open(&mut self, request: Request) -> Opened {
        match self.ask(request) {
            Answer::Opened(Ok(opened)) => opened,
            other => panic!("an honest offer is answered, but: {other:?}"),
        }
    }

    /// [`World::new`] with a viewer of its stream and one of another, all connected.
    pub(crate) fn watched(purpose: Purpose) -> World {
        let mut world = World::new(purpose);
        for (n, (name, stream)) in [("one", STREAM), ("two", OTHER)].into_iter().enumerate() {
            let address = SocketAddr::from(([192, 0, 2, 20 + n as u8], 5_000));
            let mut peer = Peer::new(world.now, address);
            let offer = peer.offer(Purpose::Watch);
            let opened = world.watch(name, offer, address);
            peer.accept(&opened.sdp);
            world.watchers.push(Watcher { peer, stream });
        }
        for _ in 0..50 {
            world.pass(STEP);
            if world.peer.is_connected && world.watchers.iter().all(|watcher| watcher.peer.is_connected) {
                return world;
            }
        }
        panic!("honest peers connect within a second");
    }

    /// A datagram reaches the server.
    pub(crate) fn deliver(&mut self, source: SocketAddr, bytes: &[u8]) {
        if source != PEER {
            self.from_strangers += bytes.len();
        }
        self.shard.handle_datagram(self.now, source, SERVER, &mut bytes.to_vec());
        self.settle();
    }

    /// A datagram reaches the desk, whatever a shard would have thought of it.
    pub(crate) fn deliver_to_desk(&mut self, source: SocketAddr, bytes: &[u8]) {
        if source != PEER {
            self.from_strangers += bytes.len();
        }
        let handed = Handed { shard: 0, source, destination: SERVER, bytes: bytes.to_vec() };
        self.ask_desk(desk::Command::Datagram(handed));
    }

    /// The peer restarts ICE.
    pub(crate) fn restart(&mut self, ufrag: String, password: String) {
        let (ufrag, password) = (Some(ufrag), Some(password));
        let fragment = IceFragment { ufrag, password, ..IceFragment::default() };
        let session = self.session;
        match self.ask(Request::Trickle { session, fragment, if_match: None }) {
            Answer::Trickled(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Asks the engine, whose threads answer at once.
    fn ask(&mut self, request: Request) -> Answer {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.engine.handle_request(self.now, id, request);
        self.settle();
        let mut answers = std::mem::take(&mut self.answers);
        match (answers.pop(), answers.pop()) {
            (Some((of, answer)), None) if of == id => answer,
            (answer, more) => panic!("one request has one answer: {answer:?}, {more:?}"),
        }
    }

    fn ask_desk(&mut self, command: desk::Command) {
        self.give_desk(command);
        self.settle();
    }

    pub(crate) fn ask_shard(&mut self, command: shard::Command) {
        self.shard.handle_command(self.now, command);
        self.settle();
    }

    /// Peer and server talk until both have said all.
    pub(crate) fn talk(&mut self) {
        for _ in 0..40 {
            self.on_the_way.extend(self.peer.drive(self.now));
            let mut of_watchers = Vec::new();
            for Watcher { peer, .. } in &mut self.watchers {
                of_watchers.extend(peer.drive(self.now).into_iter().map(|datagram| (peer.address, datagram)));
            }
            if self.on_the_way.is_empty() && of_watchers.is_empty() {
                return;
            }
            for (source, mut datagram) in of_watchers {
                self.shard.handle_datagram(self.now, source, SERVER, &mut datagram);
                self.settle();
            }
            while let Some(datagram) = self.on_the_way.pop_front() {
                self.deliver(PEER, &datagram);
            }
        }
    }

    /// Time passes, and the honest peer keeps talking.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = (self.now + STEP).min(until);
            let mut batch = Batch::new();
            self.desk.handle_timeout(self.now, &mut batch);
            self.carry(&batch);
            self.shard.handle_timeout(self.now);
            self.engine.handle_timeout(self.now);
            self.settle();
            self.talk();
        }
    }

    /// Panics that were contained.
    pub(crate) fn panics(&mut self) -> u64 {
        self.desk.counters.panics + self.snapshot().counters.panics
    }

    /// Returns whether the server still holds the session.
    pub(crate) fn has_session(&mut self) -> bool {
        self.engine.is_connected(self.session).is_some()
    }

    fn snapshot(&mut self) -> shard::Snapshot {
        self.shard.handle_command(self.now, shard::Command::Snapshot);
        loop {
            match self.shard.poll_event() {
                Some(shard::Event::Snapshot(snapshot)) => return *snapshot,
                Some(_) => {}
                None => panic!("a shard always answers"),
            }
        }
    }

    /// Carries commands, events and datagrams between the machines until there are no more.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut quiet = true;
            while let Some(output) = self.engine.poll_output() {
                quiet = false;
                self.carry_out(output);
            }
            while let Some(event) = self.shard.poll_event() {
                quiet = false;
                match event {
                    shard::Event::ToDesk { desk: 0, handed } => {
                        self.give_desk(desk::Command::Datagram(handed));
                    }
                    shard::Event::SessionFailed { session, .. } => {
                        self.give_desk(desk::Command::Fail { session });
                    }
                    shard::Event::PublisherSilent { session, .. } => {
                        self.give_desk(desk::Command::Silent { session });
                    }
                    event => self.engine.handle_shard(self.now, event),
                }
            }
            while let Some(event) = self.desk.poll_event() {
                quiet = false;
                match event {
                    desk::Event::ToShard { command, .. } => {
                        self.shard.handle_command(self.now, command);
                    }
                    event => self.engine.handle_desk(self.now, event),
                }
            }
            loop {
                let mut batch = Batch::new();
                self.shard.poll_transmit(self.now, &mut batch);
                if batch.is_empty() {
                    break;
                }
                quiet = false;
                self.carry(&batch);
            }
            if quiet {
                return;
            }
        }
        panic!("engine, desk and shard never come to rest");
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::ToShard { command, .. } => self.shard.handle_command(self.now, command),
            Output::ToDesk { command, .. } => self.give_desk(command),
            Output::Answer { request, answer } => self.answers.push((request, answer)),
            Output::Notice(notice) => self.note(notice),
            Output::Heard { session, text } => self.engine.say(session, text),
            Output::Changed => {}
        }
    }

    fn note(&mut self, notice: Notice) {
        let (session, why) = match notice {
            Notice::Ended { session, why } => (session, format!("{why:?}")),
            Notice::HandshakeFailed { session, failure, .. } => (session, format!("{failure:?}")),
            Notice::Closing { session, reason, .. } => {
                self.was_late |= session == self.session && reason == control::CloseReason::ConnectTimeout;
                (session, format!("{reason:?}"))
            }
            _ => return,
        };
        if session == self.session {
            self.ended = Some(why);
        }
    }

    fn give_desk(&mut self, command: desk::Command) {
        let mut batch = Batch::new();
        self.desk.handle_command(self.now, command, &mut batch);
        self.carry(&batch);
    }

    fn carry(&mut self, batch: &Batch) {
        for (message, datagram) in batch.datagrams() {
            let watcher = self.watchers.iter_mut().find(|watcher| watcher.peer.address == message.destination);
            if message.destination == PEER {
                self.to_peer += 1;
                self.peer.receive(self.now, SERVER, datagram);
            } else if let Some(watcher) = watcher {
                watcher.peer.receive(self.now, SERVER, datagram);
            } else {
                self.to_strangers += datagram.len();
            }
        }
    }
}

/// How finely time passes.
const STEP: Duration = Duration::from_millis(20);
