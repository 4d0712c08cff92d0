//! How does a story run?
//!
//! A [`Story`] is a small world: one server, some browsers, links between them, and a clock that
//! jumps from one event to the next. Only the story moves time. Messages of HTTP take no time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use control::engine::{Refusal, Wish};
use media::demux::{Class, classify};
use media::{SessionId, StreamName};

use crate::asking;
use crate::browser::{Browser, Goodbye, Habits, RIDS, Role};
use crate::camera::{Camera, Filming, SIZE_STEP};
use crate::chance;
use crate::clock;
use crate::ledger::Ledger;
use crate::link::{Link, Path, Wire};
use crate::random::Random;
use crate::rival::{self, Rival};
use crate::run::{Run, Sender};
use crate::screen::Screen;
use crate::server::{Gone, Server, Setup};

/// A browser in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(usize);

/// A link that several peers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck(usize);

/// A download in a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download(usize);

/// A small world.
pub struct Story {
    name: String,
    seed: u64,
    base: Instant,
    now: Instant,
    random: Random,
    /// The server.
    pub server: Server,
    peers: Vec<Seat>,
    by_address: HashMap<SocketAddr, usize>,
    calendar: BinaryHeap<Reverse<(Instant, u64, Arrival)>>,
    posted: u64,
    /// The server's datagrams, seen from outside.
    pub ledger: Ledger,
    strays: HashMap<SocketAddr, Stray>,
    next_host: u32,
    path: Path,
    bottlenecks: Vec<Wire>,
    rivals: Vec<Rival>,
    /// Publishers that follow the server's demand for encodings.
    followers: Vec<Peer>,
    behind: Option<usize>,
    wants_shard: Option<u8>,
    is_loud: bool,
    out: Vec<(SocketAddr, Vec<u8>)>,
    /// Number of panics that the test has injected; there must be no others.
    pub injected: u64,
    run: Run,
    runs_file: Option<PathBuf>,
}

struct Seat {
    browser: Browser,
    /// Its address as the world sees it: the browser's own, unless a NAT has changed it.
    public: SocketAddr,
    up: Wire,
    down: Wire,
    /// The bottleneck that its downlink goes through first.
    behind: Option<usize>,
    stream: StreamName,
    source: u32,
}

/// The receiver of an arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    Server {
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    },
    Peer {
        peer: usize,
        source: SocketAddr,
        bytes: Vec<u8>,
    },
    /// The sender of a download learns the fate of a packet.
    Rival {
        rival: usize,
        lost: Option<u64>,
    },
}

/// Datagrams to an address without a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stray {
    /// Bytes of all datagrams.
    pub bytes: usize,
    /// Number of datagrams.
    pub datagrams: usize,
    /// Number of SRTP and SRTCP datagrams among them.
    pub media: usize,
}

impl Story {
    /// Makes a story with one shard and one desk. Its seed is derived from the test's name, or is
    /// `SIM_SEED`.
    #[allow(clippy::new_without_default, reason = "a story begins, it is not a default")]
    pub fn new() -> Story {
        Story::with(Setup::default())
    }

    /// Makes a story with another server.
    pub fn with(setup: Setup) -> Story {
        let name = std::thread::current().name().unwrap_or("story").to_owned();
        let of_name =
            name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Story::seeded(setup, seed_of_environment().unwrap_or(of_name & 0xffff_ffff))
    }

    /// Makes a story with this seed.
    pub fn seeded(setup: Setup, seed: u64) -> Story {
        let mut story = Story::beginning_at(clock::beginning(), setup, seed);
        story.run = Run::new();
        story.runs_file = Run::file();
        story
    }

    fn beginning_at(base: Instant, setup: Setup, seed: u64) -> Story {
        chance::seed(seed);
        let mut random = Random::new(seed);
        let addresses = vec![SocketAddr::from(([198, 51, 100, 1], 7882)), "[2001:db8::1]:7882".parse().expect("fine")];
        let server = Server::new(setup, base, addresses, random.branch());
        Story {
            name: std::thread::current().name().unwrap_or("story").to_owned(),
            seed,
            base,
            now: base,
            random,
            server,
            peers: Vec::new(),
            by_address: HashMap::new(),
            calendar: BinaryHeap::new(),
            posted: 0,
            ledger: Ledger::default(),
            strays: HashMap::new(),
            next_host: 0,
            path: Path::both(Link::good()),
            bottlenecks: Vec::new(),
            rivals: Vec::new(),
            followers: Vec::new(),
            behind: None,
            wants_shard: None,
            is_loud: std::env::var_os("SIM_LOUD").is_some(),
            out: Vec::new(),
            injected: 0,
            run: Run::silent(),
            runs_file: None,
        }
    }

    /// What a publisher takes for the time of the wall clock at a moment after `base`.
    pub(crate) fn reading(base: Instant) -> (Instant, SystemTime) {
        let mut story = Story::beginning_at(base, Setup::default(), 0);
        let habits = Habits { notes_rtcp: true, ..Habits::default() };
        let publisher = story.tries_to_publish("clock", Filming::default(), habits).expect("admitted");
        let reported = |story: &Story| story.peers[publisher.0].browser.reported;
        // str0m reports every second.
        story.runs_until(Duration::from_secs(10), |story| reported(story).is_some());
        reported(&story).expect("a publisher reports")
    }

    // ---- peers that join

    /// Sets the links of peers that join from now on.
    pub fn path(&mut self, path: Path) -> &mut Story {
        self.path = path;
        self
    }

    /// Makes a link that peers can share.
    pub fn bottleneck(&mut self, link: Link) -> Bottleneck {
        self.bottlenecks.push(Wire::new(link, self.random.branch()));
        Bottleneck(self.bottlenecks.len() - 1)
    }

    /// Puts peers that join from now on into one home: they have one address, and their downlinks
    /// go through this bottleneck first, then through links of their own.
    pub fn behind(&mut self, bottleneck: Bottleneck) -> &mut Story {
        self.behind = Some(bottleneck.0);
        self
    }

    /// Starts an endless download behind a bottleneck, from a server at this one-way delay.
    pub fn downloads(&mut self, behind: Bottleneck, one_way: Duration) -> Download {
        self.rivals.push(Rival::new(behind.0, one_way));
        self.drive_rival(self.rivals.len() - 1);
        Download(self.rivals.len() - 1)
    }

    /// Returns the bytes of a download that arrived.
    pub fn downloaded(&self, download: Download) -> u64 {
        self.rivals[download.0].bytes
    }

    /// The next peer gets an address whose datagrams reach this shard first.
    pub fn on_shard(&mut self, shard: u8) -> &mut Story {
        self.wants_shard = Some(shard);
        self
    }

    /// Adds a publisher.
    pub fn publishes(&mut self, stream: &str, filming: Filming) -> Peer {
        self.tries_to_publish(stream, filming, Habits::default()).expect("admitted")
    }

    /// Tries to add a publisher.
    ///
    /// # Errors
    ///
    /// What the server says against it.
    pub fn tries_to_publish(&mut self, stream: &str, filming: Filming, habits: Habits) -> Result<Peer, Refusal> {
        let stream = StreamName::parse(stream).expect("a legal name");
        let habits = Habits { only: habits.only.or(Some(filming.codec)), with_red: filming.with_red, ..habits };
        let source = self.peers.len() as u32 + 1;
        let camera = Camera::new(filming, source, self.base, self.random.branch());
        let mut browser = self.browser(Role::Camera(camera), &habits);
        let offer = browser.offer(&habits);
        let result = self.server.publish(self.now, &stream, &offer, browser.local);
        self.after_server();
        let (session, answer) = result?;
        browser.session = Some(session);
        browser.accept(&answer);
        Ok(self.seat(browser, stream))
    }

    /// Lets a publisher send the layers that its audience needs from now on, as the publish page
    /// does.
    pub fn follows_audience(&mut self, publisher: Peer) -> &mut Story {
        self.followers.push(publisher);
        self
    }

    /// Adds a viewer.
    pub fn watches(&mut self, stream: &str) -> Peer {
        self.tries_to_watch(stream, Habits::default()).expect("admitted")
    }

    /// Adds a viewer with habits.
    pub fn watches_with(&mut self, stream: &str, habits: Habits) -> Peer {
        self.tries_to_watch(stream, habits).expect("admitted")
    }

    /// Tries to add a viewer.
    ///
    /// # Errors
    ///
    /// What the server says against it.
    pub fn tries_to_watch(&mut self, stream: &str, habits: Habits) -> Result<Peer, Refusal> {
        let stream = StreamName::parse(stream).expect("a legal name");
        let mut browser = self.browser(Role::Screen(Screen::new(self.base)), &habits);
        let offer = (!habits.waits_for_offer).then(|| browser.offer(&habits));
        let result = self.server.watch(self.now, &stream, offer, browser.local);
        self.after_server();
        let (session, sdp) = result?;
        browser.session = Some(session);
        if habits.waits_for_offer {
            let answer = browser.answer(&sdp, &habits);
            browser.answer = sdp;
            let peer = self.seat(browser, stream);
            self.runs(habits.answers_after);
            let result = self.server.answer(self.now, session, answer);
            self.after_server();
            return result.map(|()| peer);
        }
        browser.accept(&sdp);
        Ok(self.seat(browser, stream))
    }

    fn browser(&mut self, role: Role, habits: &Habits) -> Browser {
        let local = self.new_address();
        Browser::new(self.now, role, habits, local, self.server.addresses()[0])
    }

    fn seat(&mut self, browser: Browser, stream: StreamName) -> Peer {
        let peer = self.peers.len();
        let public = browser.local;
        self.by_address.insert(public, peer);
        let up = Wire::new(self.path.up, self.random.branch());
        let down = Wire::new(self.path.down, self.random.branch());
        self.peers.push(Seat { browser, public, up, down, behind: self.behind, stream, source: peer as u32 + 1 });
        self.say(format_args!("{} comes to {}", self.describe(Peer(peer)), self.peers[peer].stream));
        self.drive_peer(peer);
        Peer(peer)
    }

    /// Returns an unused address.
    pub fn new_address(&mut self) -> SocketAddr {
        self.next_host += 1;
        // Peers behind a bottleneck are in one home: one address, different ports.
        let host = self.behind.map_or(self.next_host, |home| 0x00ff_0000 + home as u32);
        let [_, a, b, c] = host.to_be_bytes();
        let wanted = self.wants_shard.take();
        loop {
            let port = 10_000 + self.random.below(50_000) as u16;
            let address = SocketAddr::from(([10, a, b, c], port));
            if wanted.is_none_or(|shard| self.server.shard_of(address) == shard) {
                return address;
            }
        }
    }

    // ---- events of peers

    /// Sets the links of a peer from now on.
    pub fn link(&mut self, peer: Peer, path: Path) -> &mut Story {
        let seat = &mut self.peers[peer.0];
        seat.up.link = path.up;
        seat.down.link = path.down;
        self
    }

    /// Ends a peer's session by HTTP DELETE.
    pub fn leaves(&mut self, peer: Peer) -> bool {
        self.say(format_args!("{} leaves", self.describe(peer)));
        let session = self.session(peer);
        let was_there = self.server.close(self.now, session);
        self.after_server();
        was_there
    }

    /// Closes a peer's connection by DTLS, without HTTP.
    pub fn hangs_up(&mut self, peer: Peer) {
        self.say(format_args!("{} hangs up", self.describe(peer)));
        let browser = &mut self.peers[peer.0].browser;
        browser.rtc.close().expect("a session can be closed");
        browser.wakes_at = self.now;
        self.drive_peer(peer.0);
    }

    /// Removes a peer without a goodbye.
    pub fn vanishes(&mut self, peer: Peer) {
        self.say(format_args!("{} vanishes", self.describe(peer)));
        self.peers[peer.0].browser.is_gone = true;
        self.by_address.remove(&self.peers[peer.0].public.clone());
    }

    /// Moves a peer to another address of its NAT. Returns the old one.
    pub fn moves(&mut self, peer: Peer) -> SocketAddr {
        let address = self.new_address();
        let seat = &mut self.peers[peer.0];
        let old = std::mem::replace(&mut seat.public, address);
        self.by_address.remove(&old);
        self.by_address.insert(address, peer.0);
        self.say(format_args!("{} moves from {old} to {address}", self.describe(peer)));
        old
    }

    /// Restarts a peer's ICE. Returns `true` if the server took part.
    pub fn restarts_ice(&mut self, peer: Peer) -> bool {
        self.say(format_args!("{} restarts ICE", self.describe(peer)));
        let session = self.session(peer);
        let (ufrag, password) = self.peers[peer.0].browser.restart();
        let fragment = self.server.restart(self.now, session, ufrag, password);
        self.after_server();
        let took_part = fragment.is_some();
        if let Some(fragment) = fragment {
            self.peers[peer.0].browser.restarted(&fragment);
        }
        self.drive_peer(peer.0);
        took_part
    }

    /// Restarts a peer's ICE; the server's answer never reaches the peer.
    pub fn restarts_ice_in_vain(&mut self, peer: Peer) {
        let session = self.session(peer);
        // A client chooses new credentials for each restart (RFC 8445 §9).
        let ufrag = format!("never{:08x}", self.random.bits() as u32);
        let password = "apasswordthatisneverused".to_owned();
        assert!(self.server.restart(self.now, session, ufrag, password).is_some());
        self.after_server();
    }

    /// A viewer wishes something of the video; it names an encoding by its `rid`.
    pub fn prefers(&mut self, viewer: Peer, preferences: sfu::stream::choice::Preferences) {
        let session = self.session(viewer);
        let wish = Wish {
            rid: preferences.encoding.map(|size| RIDS[usize::from(size)].to_owned()),
            max_height: preferences.max_height,
            max_width: preferences.max_width,
            max_frame_rate: preferences.max_frame_rate,
            max_spatial: preferences.max_spatial,
            max_temporal: preferences.max_temporal,
            is_hidden: preferences.is_hidden,
        };
        self.server.wish(self.now, session, wish).expect("an encoding that is published");
        self.after_server();
    }

    /// Returns the size that a viewer was shown last; 0 is the smallest.
    pub fn size(&self, publisher: Peer, viewer: Peer) -> Option<u32> {
        let shown = self.screen(viewer).pictures.last()?;
        Some((shown.stamp.source - self.source(publisher)) / SIZE_STEP)
    }

    /// Ends a stream, as an operator does.
    pub fn kicks(&mut self, stream: &str) -> bool {
        let name = StreamName::parse(stream).expect("a legal name");
        let kicked = self.server.kick(self.now, &name);
        self.after_server();
        kicked
    }

    /// Stops the server.
    pub fn shuts_down(&mut self) {
        self.server.shut_down(self.now);
        self.after_server();
    }

    /// Delivers a datagram from any source to the server now.
    pub fn forges(&mut self, source: SocketAddr, bytes: &[u8]) {
        let destination = self.server.addresses()[0];
        self.server.receive(self.now, source, destination, &mut bytes.to_vec());
        self.server.run(self.now);
        self.after_server();
    }

    /// Makes a viewer request a key frame, needed or not.
    pub fn asks_for_key_frame(&mut self, peer: Peer) {
        let browser = &mut self.peers[peer.0].browser;
        let Some(mid) = browser.video else { return };
        if let Some(stream) = browser.rtc.direct_api().stream_rx_by_mid(mid, None) {
            stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
        }
        browser.wakes_at = self.now;
        self.drive_peer(peer.0);
    }

    /// Sends a damaged offer to watch; the client sends nothing else.
    pub fn watches_with_damaged_offer(&mut self, stream: &str) {
        let stream = StreamName::parse(stream).expect("a legal name");
        let habits = Habits::default();
        let mut browser = self.browser(Role::Screen(Screen::new(self.base)), &habits);
        let mut offer = browser.offer(&habits).into_bytes();
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(offer.len() as u64) as usize;
            match self.random.below(3) {
                0 => offer[at] = b' ' + self.random.below(95) as u8,
                1 => drop(offer.drain(at..(at + self.random.below(40) as usize).min(offer.len()))),
                _ => offer[at] = b'9',
            }
        }
        let offer = String::from_utf8_lossy(&offer).into_owned();
        let _ = self.server.watch(self.now, &stream, Some(offer), browser.local);
        self.after_server();
    }

    // ---- time

    /// Returns the time since the world began.
    pub fn now(&self) -> Duration {
        self.now - self.base
    }

    /// Returns the current moment.
    pub fn instant(&self) -> Instant {
        self.now
    }

    /// Lets time pass.
    pub fn runs(&mut self, span: Duration) -> &mut Story {
        let until = self.now + span;
        let mut still = 0;
        loop {
            let arrival = self.calendar.peek().map(|Reverse((at, ..))| *at);
            let peers = self.peers.iter().map(|seat| seat.browser.wakes_at).min();
            let next = [arrival, peers, self.server.next_at()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            still = if next > self.now { 0 } else { still + 1 };
            assert!(still < 1_000, "somebody wants to be woken at once, again and again: {}", self.wakers());
            self.now = self.now.max(next);
            self.happens();
        }
        self.now = until;
        self
    }

    /// Lets time pass until a condition holds. Returns how long it took, or `None` after `limit`.
    pub fn runs_until(&mut self, limit: Duration, mut is_so: impl FnMut(&mut Story) -> bool) -> Option<Duration> {
        let began = self.now;
        while self.now < began + limit {
            if is_so(self) {
                return Some(self.now - began);
            }
            self.runs(Duration::from_millis(5));
        }
        None
    }

    fn wakers(&self) -> String {
        let peers = self.peers.iter().filter(|seat| seat.browser.wakes_at <= self.now).count();
        format!("{peers} peers; the server: {}", self.server.next_at().is_some_and(|at| at <= self.now))
    }

    fn happens(&mut self) {
        while let Some(Reverse((at, ..))) = self.calendar.peek() {
            if *at > self.now {
                break;
            }
            let Some(Reverse((_, _, arrival))) = self.calendar.pop() else { break };
            match arrival {
                Arrival::Server { source, destination, mut bytes } => {
                    self.server.receive(self.now, source, destination, &mut bytes);
                }
                Arrival::Rival { rival, lost } => {
                    match lost {
                        Some(number) => self.rivals[rival].lost(number),
                        None => self.rivals[rival].arrived(),
                    }
                    self.drive_rival(rival);
                }
                Arrival::Peer { peer, source, bytes } => {
                    let browser = &mut self.peers[peer].browser;
                    browser.receive(self.now, source, &bytes);
                    browser.wakes_at = self.now;
                    // str0m has to be polled after every change.
                    self.drive_peer(peer);
                }
            }
        }
        self.server.run(self.now);
        self.ask();
        self.after_server();
        for peer in 0..self.peers.len() {
            if self.peers[peer].browser.wakes_at <= self.now {
                self.drive_peer(peer);
            }
        }
    }

    /// Tells publishers the server's demand, when streams have changed.
    fn ask(&mut self) {
        if !self.server.take_changed() {
            return;
        }
        for publisher in self.followers.clone() {
            let stream = &self.peers[publisher.0].stream;
            for (size, most_bps) in asking::wanted(self.now, &self.server, stream) {
                self.camera(publisher).sends(size, most_bps);
            }
        }
    }

    fn drive_peer(&mut self, peer: usize) {
        let mut out = std::mem::take(&mut self.out);
        let seat = &mut self.peers[peer];
        seat.browser.drive(self.now, &mut out);
        for (destination, bytes) in out.drain(..) {
            self.run.datagram(self.now - self.base, Sender::Peer, seat.public, destination, &bytes);
            for at in seat.up.carry(self.now, bytes.len()).into_iter().flatten() {
                self.posted += 1;
                let arrival = Arrival::Server { source: seat.public, destination, bytes: bytes.clone() };
                self.calendar.push(Reverse((at, self.posted, arrival)));
            }
        }
        self.out = out;
    }

    fn after_server(&mut self) {
        let server = self.server.addresses()[0];
        for sent in self.server.take_sent() {
            self.run.datagram(self.now - self.base, Sender::Server, server, sent.destination, &sent.bytes);
            let Some(&peer) = self.by_address.get(&sent.destination) else {
                let stray = self.strays.entry(sent.destination).or_default();
                stray.datagrams += 1;
                stray.bytes += sent.bytes.len();
                stray.media += usize::from(classify(&sent.bytes) == Class::Rtp);
                continue;
            };
            self.ledger.note(peer, &sent.bytes);
            let source = self.peers[peer].browser.server;
            let seat = &mut self.peers[peer];
            let through = match seat.behind {
                Some(bottleneck) => self.bottlenecks[bottleneck].carry(self.now, sent.bytes.len()),
                None => [Some(self.now), None],
            };
            for leaves in through.into_iter().flatten() {
                for at in seat.down.carry(leaves, sent.bytes.len()).into_iter().flatten() {
                    self.posted += 1;
                    let arrival = Arrival::Peer { peer, source, bytes: sent.bytes.clone() };
                    self.calendar.push(Reverse((at, self.posted, arrival)));
                }
            }
        }
    }

    fn drive_rival(&mut self, n: usize) {
        let rival = &mut self.rivals[n];
        while let Some(number) = rival.poll_packet() {
            let [left, _] = self.bottlenecks[rival.bottleneck].carry(self.now, rival::PACKET_BYTES);
            self.posted += 1;
            let arrival = Arrival::Rival { rival: n, lost: left.is_none().then_some(number) };
            self.calendar.push(Reverse((rival.learns_at(self.now, left), self.posted, arrival)));
        }
    }

    // ---- questions

    /// Returns the state of a stream; `None` if it has no session.
    pub fn state(&self, stream: &str) -> Option<control::State> {
        self.server.state(&StreamName::parse(stream).expect("a legal name"))
    }

    /// Returns a viewer's screen.
    pub fn screen(&self, peer: Peer) -> &Screen {
        match &self.peers[peer.0].browser.role {
            Role::Screen(screen) => screen,
            Role::Camera(_) => panic!("{peer:?} publishes"),
        }
    }

    /// Makes a viewer show all media and never request a key frame.
    pub fn is_patient(&mut self, peer: Peer) -> &mut Story {
        match &mut self.peers[peer.0].browser.role {
            Role::Screen(screen) => screen.is_patient = true,
            Role::Camera(_) => panic!("{peer:?} publishes"),
        }
        self
    }

    /// Returns a publisher's settings.
    pub(crate) fn films(&self, peer: Peer) -> &Filming {
        match &self.peers[peer.0].browser.role {
            Role::Camera(camera) => camera.films(),
            Role::Screen(_) => panic!("{peer:?} watches"),
        }
    }

    /// Returns a publisher's camera.
    pub fn camera(&mut self, peer: Peer) -> &mut Camera {
        match &mut self.peers[peer.0].browser.role {
            Role::Camera(camera) => camera,
            Role::Screen(_) => panic!("{peer:?} watches"),
        }
    }

    /// Returns the source number in the stamps of a publisher.
    pub fn source(&self, peer: Peer) -> u32 {
        self.peers[peer.0].source
    }

    /// Returns a peer's session.
    pub fn session(&self, peer: Peer) -> SessionId {
        self.peers[peer.0].browser.session.expect("opened")
    }

    /// Returns the time from a peer's join to its connection.
    pub fn connected_after(&self, peer: Peer) -> Option<Duration> {
        let browser = &self.peers[peer.0].browser;
        Some(browser.connected_at? - browser.opened_at)
    }

    /// Returns the time of a peer's join since the world began.
    pub fn came_at(&self, peer: Peer) -> Duration {
        self.peers[peer.0].browser.opened_at - self.base
    }

    /// Returns the way in which a peer learned that its session has ended.
    pub fn goodbye(&self, peer: Peer) -> Option<Goodbye> {
        self.peers[peer.0].browser.ended
    }

    /// Returns the number of SSRCs in RTCP BYEs to a peer that records RTCP.
    pub fn byes(&self, peer: Peer) -> usize {
        self.peers[peer.0].browser.byes
    }

    /// Returns the server's reason to end a peer's session, if it did.
    pub fn gone(&self, peer: Peer) -> Option<Gone> {
        let session = self.session(peer);
        self.server.ended.iter().find(|(ended, _)| *ended == session).map(|(_, why)| *why)
    }

    /// Returns a peer's address as the world sees it.
    pub fn address(&self, peer: Peer) -> SocketAddr {
        self.peers[peer.0].public
    }

    /// Returns the datagrams to an address without a peer.
    pub fn stray(&self, address: SocketAddr) -> Stray {
        self.strays.get(&address).copied().unwrap_or_default()
    }

    /// Returns the wires of a peer: up and down.
    pub fn wires(&self, peer: Peer) -> (&Wire, &Wire) {
        (&self.peers[peer.0].up, &self.peers[peer.0].down)
    }

    /// Returns the highest index of any encoding sent to a peer.
    pub fn highest_index(&self, peer: Peer) -> u64 {
        self.ledger.highest_index(peer.0)
    }

    /// Returns the STUN request by which a peer proves an address, as any owner of its passwords
    /// could make it.
    pub fn binding_request(&mut self, peer: Peer, nominates: bool) -> Vec<u8> {
        use str0m::ice::{StunMessage, TransId};
        let browser = &mut self.peers[peer.0].browser;
        let ours = browser.rtc.direct_api().local_ice_credentials().ufrag;
        let ufrag = sfu::negotiate::text::first(&browser.answer, "a=ice-ufrag:").expect("a ufrag").to_owned();
        let password = sfu::negotiate::text::first(&browser.answer, "a=ice-pwd:").expect("a password").to_owned();
        let username = format!("{ufrag}:{ours}");
        let request = StunMessage::binding_request(&username, TransId::new(), true, 7, 1 << 24, nominates);
        let mut bytes = [0; 256];
        let hmac = |key: &[u8], parts: &[&[u8]]| sfu::tap::provider().sha1_hmac_provider.sha1_hmac(key, parts);
        let len = request.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).expect("it fits");
        bytes[..len].to_vec()
    }

    /// Returns the story's own random numbers.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Returns all peers that have joined.
    pub fn everyone(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..self.peers.len()).map(Peer)
    }

    /// Returns `true` if a peer publishes.
    pub fn is_camera(&self, peer: Peer) -> bool {
        matches!(self.peers[peer.0].browser.role, Role::Camera(_))
    }

    /// Checks the invariants of every story.
    pub fn holds(&mut self) {
        assert!(
            self.ledger.reused.is_empty(),
            "{} nonces were used twice: {:?}",
            self.ledger.reused.len(),
            &self.ledger.reused[..self.ledger.reused.len().min(5)]
        );
        assert!(self.ledger.largest_bytes <= 1_400, "a datagram of {} bytes", self.ledger.largest_bytes);
        assert!(self.server.problems.is_empty(), "{:?}", self.server.problems);
        for (n, seat) in self.peers.iter().enumerate() {
            match &seat.browser.role {
                Role::Screen(screen) => assert!(screen.problems.is_empty(), "peer {n}: {:#?}", screen.problems),
                Role::Camera(camera) => {
                    // A request may be late by the jitter of a link, and links change.
                    let jitter = Duration::from_millis(200);
                    let shortest = camera.shortest_between_requests().unwrap_or(Duration::from_secs(3_600));
                    assert!(
                        shortest + jitter >= Duration::from_millis(500),
                        "peer {n} was asked for key frames {shortest:?} apart"
                    );
                }
            }
        }
        let now = self.now;
        let panics: u64 = self.server.snapshots(now).iter().map(|s| s.counters.panics).sum();
        assert_eq!(panics + self.server.desk_counters().panics, self.injected, "something panicked");
        self.after_server();
    }

    /// Prints a line if `SIM_LOUD` is set.
    pub fn say(&self, what: impl std::fmt::Display) {
        if self.is_loud {
            println!("{:>10.3} {what}", self.now().as_secs_f64());
        }
    }

    /// Tells what was seen, and writes the run down.
    fn ends_run(&mut self, file: &std::path::Path) {
        thread_local! {
            static TOLD: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        }
        self.run.event(format_args!("{:?} {:?}", self.server.ended, self.ledger.packets));
        for seat in &self.peers {
            match &seat.browser.role {
                Role::Screen(screen) => self.run.event(format_args!("{:?}{:?}", screen.pictures, screen.sounds)),
                Role::Camera(camera) => self.run.event(format_args!("{} {:?}", camera.packets, camera.asked_at.len())),
            }
        }
        // Stories of one test are told in the same order each time.
        let number = TOLD.replace(TOLD.get() + 1);
        self.run.write(file, &format!("{} {number}", self.name), self.seed);
    }

    fn describe(&self, peer: Peer) -> String {
        let seat = &self.peers[peer.0];
        let role = if matches!(seat.browser.role, Role::Camera(_)) { "publisher" } else { "viewer" };
        format!("{role} {} ({})", peer.0, seat.public)
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if let Some(file) = self.runs_file.take().filter(|_| !std::thread::panicking()) {
            self.ends_run(&file);
        }
        if std::thread::panicking() {
            let at = self.now();
            eprintln!("the story failed at {at:?}; to replay it:");
            eprintln!(
                "    SIM_SEED={:#x} SIM_LOUD=1 cargo test --release -p sim {} -- --nocapture",
                self.seed, self.name
            );
        }
    }
}

/// Returns the seeds of a story: `usually` seeds, the number in `SIM_SEEDS`, or only `SIM_SEED`.
pub fn seeds(usually: u64) -> Vec<u64> {
    let of_environment = std::env::var("SIM_SEEDS").ok().map(|text| text.parse().expect("SIM_SEEDS is a number"));
    seed_of_environment().map_or_else(|| (0..of_environment.unwrap_or(usually)).collect(), |seed| vec![seed])
}

/// Returns the seed in the environment.
pub fn seed_of_environment() -> Option<u64> {
    let text = std::env::var("SIM_SEED").ok()?;
    let seed = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    Some(seed.expect("SIM_SEED is a number, or 0x and hexadecimal digits"))
}
