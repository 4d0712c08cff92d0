//! A desk and a shard with one session, without threads and with a clock of our own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::{NtpTime, SessionId, StreamId, WallClock};
use sfu::desk::{self, Desk, Handed};
use sfu::format::Published;
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

/// The stream that everybody here is in.
pub(crate) const STREAM: StreamId = StreamId(1);

/// Another stream, that [`Watcher`]s of [`World::watched`] see go on.
pub(crate) const OTHER: StreamId = StreamId(2);

/// A viewer that behaves.
pub(crate) struct Watcher {
    pub(crate) peer: Peer,
    pub(crate) stream: StreamId,
}

/// A desk, a shard, one session and its peer.
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
    /// Bytes that went to anybody but the peer, and came from them.
    pub(crate) to_strangers: usize,
    pub(crate) from_strangers: usize,
    /// The server said that the session is over.
    pub(crate) ended: Option<String>,
    /// Our half of ICE's names and passwords.
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// The peer's ufrag.
    pub(crate) peer_ufrag: String,
    pub(crate) session: SessionId,
    desk: Desk,
    shard: Shard,
}

impl World {
    pub(crate) fn new(purpose: Purpose) -> World {
        let now = Instant::now();
        let identity = crate::sdp::identity().clone();
        let mut random = Random(7);
        let clock = WallClock::new(now, NtpTime::from_unix_ms(1_763_930_000_000));
        let mut desk = Desk::new(0, identity, Box::new(move || random.bits()));
        let shard = Shard::new(0, 1, clock);
        let mut peer = Peer::new(now, PEER);
        let offer = peer.offer(purpose);
        let session = SessionId::from_bytes([9; 16]);
        let command = match purpose {
            Purpose::Watch | Purpose::WatchAndTalk => {
                let published = Published::default();
                desk::Command::Open { session, stream: STREAM, offer: Some(offer.clone()), published }
            }
            Purpose::Publish => desk::Command::Publish { session, stream: STREAM, epoch: 1, offer: offer.clone() },
        };
        desk.handle_command(now, command, &mut Batch::new());
        let answer = match desk.poll_event() {
            Some(desk::Event::Opened { result: Ok(answer), .. }) => answer,
            other => panic!("an honest offer is answered, but: {other:?}"),
        };
        peer.accept(&answer);
        let answered = answer.clone();
        let of = |sdp: &str, what| negotiate::text::first(sdp, what).unwrap_or_default().to_owned();
        World {
            now,
            peer,
            watchers: Vec::new(),
            to_peer: 0,
            offer: offer.clone(),
            answer: answered,
            on_the_way: VecDeque::new(),
            to_strangers: 0,
            from_strangers: 0,
            ended: None,
            ufrag: of(&answer, "a=ice-ufrag:"),
            password: of(&answer, "a=ice-pwd:"),
            peer_ufrag: of(&offer, "a=ice-ufrag:"),
            session,
            desk,
            shard,
        }
    }

    /// [`World::new`] with a viewer of its stream and one of another, all connected.
    pub(crate) fn watched(purpose: Purpose) -> World {
        let mut world = World::new(purpose);
        for (n, stream) in [STREAM, OTHER].into_iter().enumerate() {
            let address = SocketAddr::from(([192, 0, 2, 20 + n as u8], 5_000));
            let mut peer = Peer::new(world.now, address);
            let offer = Some(peer.offer(Purpose::Watch));
            let session = SessionId::from_bytes([20 + n as u8; 16]);
            let command = desk::Command::Open { session, stream, offer, published: Published::default() };
            world.desk.handle_command(world.now, command, &mut Batch::new());
            match world.desk.poll_event() {
                Some(desk::Event::Opened { result: Ok(answer), .. }) => peer.accept(&answer),
                other => panic!("an honest offer is answered, but: {other:?}"),
            }
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

    pub(crate) fn ask_desk(&mut self, command: desk::Command) {
        let mut batch = Batch::new();
        self.desk.handle_command(self.now, command, &mut batch);
        self.carry(&batch);
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
            self.settle();
            self.talk();
        }
    }

    /// Panics that were contained.
    pub(crate) fn panics(&mut self) -> u64 {
        self.desk.counters.panics + self.snapshot().counters.panics
    }

    /// Whether the server still holds the session.
    pub(crate) fn has_session(&mut self) -> bool {
        self.desk.session_count() == 1
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

    /// Events between desk and shard, and datagrams out, until there are no more.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut quiet = true;
            while let Some(event) = self.shard.poll_event() {
                quiet = false;
                match event {
                    shard::Event::ToDesk { desk: 0, handed } => {
                        self.obey(desk::Command::Datagram(handed));
                    }
                    shard::Event::SessionFailed { session, .. } => self.obey(desk::Command::Fail { session }),
                    shard::Event::PublisherSilent { session, .. } => self.obey(desk::Command::Silent { session }),
                    _ => {}
                }
            }
            while let Some(event) = self.desk.poll_event() {
                quiet = false;
                match event {
                    desk::Event::ToShard { command, .. } => self.shard.handle_command(self.now, command),
                    desk::Event::Closed { why, .. } => self.ended = Some(format!("{why:?}")),
                    _ => {}
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
        panic!("desk and shard never come to rest");
    }

    fn obey(&mut self, command: desk::Command) {
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
