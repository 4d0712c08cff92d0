//! The loop that plays all publishers and viewers.
//!
//! One thread sends the publishers' frames when they are due, receives for all viewers, and drives
//! sessions whose timers are due. In each turn publishers come first, then viewers that have
//! joined, and only then a few handshakes of joining viewers. The packets of verified viewers are
//! stamped on arrival and checked when no other work waits. The measured delay is therefore the
//! server's and not the generator's.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::{ControlFlow, Range};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use shards::udp::{ReceiveBatch, descriptors};

use crate::agreed::Flow;
use crate::alarms::Alarms;
use crate::histogram::Histogram;
use crate::http::{Client, Request};
use crate::loss::Loss;
use crate::payload::{self, Damaged};
use crate::peer::Outgoing;
use crate::pool::{Done, Job, Pool};
use crate::process::Usage;
use crate::publisher::{Beat, Publisher, Sent};
use crate::reception::Counted;
use crate::seen::{Joined, Progress, Seen};
use crate::settings::{Offers, Settings, Source};
use crate::url::Url;
use crate::viewer::{Datagram, Viewer, codec_of};
use crate::{clock, frames, recut, tls};

/// All publishers and viewers of a run.
pub(crate) struct Load {
    settings: Settings,
    /// Where each stream is watched.
    whep: Vec<Url>,
    /// The streams that joining viewers watch, in turn.
    offered: Range<usize>,
    local_ip: IpAddr,
    open_files: u64,
    http: Pool,
    poll: Poll,
    events: Events,
    ready: Vec<Token>,
    received: ReceiveBatch,
    out: Outgoing,
    publishers: Vec<Publisher>,
    publisher_alarms: Alarms,
    viewers: Vec<Viewer>,
    /// Viewers with their offers, made ahead of their joins.
    prepared: VecDeque<(Viewer, String)>,
    alarms: Alarms,
    /// Joining viewers whose sockets have datagrams.
    handshakes: VecDeque<usize>,
    /// More answers of HTTP may have come.
    has_answers: bool,
    /// How many viewers have joined or failed.
    settled: usize,
    unverified: VecDeque<Unverified>,
    joins: Option<Joins>,
    window: Option<Window>,
    begun_at: Instant,
    /// When any viewer got anything.
    media_at: Instant,
    looked_at: Instant,
    observer: Option<Observer>,
    /// Of verified packets since the observer was told.
    delay: Histogram,
    timers_latest: Duration,
    is_interrupted: bool,
}

/// Is told how things stand every [`LOOKED_EVERY`], and may end the play.
pub(crate) type Observer = Box<dyn FnMut(&Progress<'_>) -> ControlFlow<()>>;

/// How to join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinPlan {
    pub(crate) viewers: usize,
    /// Joins a second; 0: as fast as they go, [`IN_FLIGHT`] at a time.
    pub(crate) rate: f64,
    /// Share of viewers that look into all they get.
    pub(crate) verify: f64,
}

struct Joins {
    plan: JoinPlan,
    begun_at: Instant,
    started: usize,
}

struct Window {
    begun_at: Instant,
    begun_ns: u64,
    viewers: Range<usize>,
    delay: Histogram,
    key_frame_delay: Histogram,
    verified_packets: u64,
    damaged: u64,
    recut: u64,
    wrong_timestamps: u64,
    /// By viewer: how far the last timestamp it got was from the one published.
    timestamp_offsets: HashMap<usize, u32>,
    /// Of these viewers, when it began.
    total: Counted,
    drops: u64,
    usage: Usage,
    sent: Sent,
}

struct Unverified {
    viewer: usize,
    flow: Flow,
    arrived_ns: u64,
    bytes: Vec<u8>,
    /// Where its payload is, if it was decrypted already.
    payload: Option<Range<usize>>,
}

/// Joins under way at a time when they are to go as fast as they can. A guess: enough to keep both
/// sides busy.
pub(crate) const IN_FLIGHT: usize = 48;
/// Sockets looked at before publishers get their turn again: 32 × 3 µs.
const EVENTS: usize = 32;
/// Joins begun in one turn; each makes an offer, 0.3 ms.
const JOINS_PER_TURN: usize = 2;
/// The most sockets read, and the most answers taken, for joining viewers in one turn. Each may
/// cost half a millisecond of cryptography or SDP, which delays viewers that have joined.
const HANDSHAKES_PER_TURN: usize = 2;
/// Viewers driven in one turn.
const DUE_PER_TURN: usize = 32;
/// Packets looked into before sockets are asked again.
const VERIFIED_PER_TURN: usize = 64;
/// Longer without a packet and a viewer's picture stands still.
const STARVED_AFTER: Duration = Duration::from_millis(500);
/// A join that takes longer has failed.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How often the observer is told, and whether the server lives is looked at.
const LOOKED_EVERY: Duration = Duration::from_millis(200);
/// Time without any packet to any viewer after which the server counts as dead: ICE would take 5 s
/// and more to notice.
const MEDIA_PATIENCE: Duration = Duration::from_secs(3);
/// How long saying goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two reads of the sockets when no other work is due. Measured delays are too long by
/// up to this time, and by the 50 µs by which Linux rounds sleeps.
const REST: Duration = Duration::from_micros(200);

/// Files that are open beside the sockets of viewers and publishers: HTTP, epoll, logs, the
/// terminal.
const OTHER_FILES: u64 = 64;

const WOKEN: Token = Token(usize::MAX);
/// Publishers' tokens begin here, viewers' at 0.
const PUBLISHERS: usize = usize::MAX / 2;

impl Load {
    /// Publishes, or attaches to streams that are there. Returns when all publishers send.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Load> {
        settings.check()?;
        let whep = (0..settings.streams).map(|n| Url::parse(&settings.whep_url(n))).collect::<Result<Vec<_>, _>>()?;
        let local_ip = whep.first().context("there is no stream").and_then(local_ip_towards)?;
        let open_files = descriptors::raise_open_files().context("how many files may be open cannot be asked")?;
        let whip = (0..settings.streams).map(|n| Url::parse(&settings.whip_url(n))).collect::<Result<Vec<_>, _>>();
        let whip = if settings.source == Source::Publish { whip? } else { Vec::new() };
        let tls = tls::config(&settings.trust, whep.iter().chain(&whip).any(|url| url.is_https))?;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WOKEN)?;
        let http = Pool::new(&tls, move || {
            // Fails only without memory; the loop looks every 10 ms anyway.
            let _ = waker.wake();
        })?;
        let mut publishers = Vec::new();
        if settings.source == Source::Publish {
            let origin = Instant::now();
            let mut client = Client::new(tls.clone());
            for (n, url) in whip.into_iter().enumerate() {
                let beat = Beat { origin, phase: n as f64 / settings.streams as f64 };
                let (mut publisher, offer) = Publisher::new(Instant::now(), settings, local_ip, beat)?;
                let request = Request { method: "POST", url, token: settings.whip_token.clone(), body: offer };
                let reply = client.send(&request).context("the stream cannot be published")?;
                publisher.resource = reply.location;
                publisher.peer.accept(&reply.body)?;
                let socket = publisher.peer.socket.as_raw_fd();
                poll.registry().register(&mut SourceFd(&socket), Token(PUBLISHERS + n), Interest::READABLE)?;
                publishers.push(publisher);
            }
        }
        let now = Instant::now();
        let mut load = Load {
            settings: settings.clone(),
            offered: 0..whep.len(),
            whep,
            local_ip,
            open_files,
            http,
            poll,
            events: Events::with_capacity(EVENTS),
            ready: Vec::with_capacity(EVENTS),
            received: ReceiveBatch::with_offload(),
            out: Outgoing::default(),
            publishers,
            publisher_alarms: Alarms::default(),
            viewers: Vec::new(),
            prepared: VecDeque::new(),
            alarms: Alarms::default(),
            handshakes: VecDeque::new(),
            has_answers: false,
            settled: 0,
            unverified: VecDeque::new(),
            joins: None,
            window: None,
            begun_at: now,
            media_at: now,
            looked_at: now,
            observer: None,
            delay: Histogram::default(),
            timers_latest: Duration::ZERO,
            is_interrupted: false,
        };
        (0..load.publishers.len()).for_each(|n| load.publisher_alarms.set(n, now));
        while let Some(silent) = load.publishers.iter().find(|publisher| publisher.sent.packets == 0) {
            let heard = silent.peer.is_heard;
            if now.elapsed() > JOIN_PATIENCE {
                let why = if heard { "DTLS did not end" } else { "no UDP packet came from the server" };
                bail!("the publisher got no connection within {JOIN_PATIENCE:?}: {why}");
            }
            load.turn(Instant::now() + LOOKED_EVERY)?;
        }
        Ok(load)
    }

    /// Tells `observer` how things stand from now on.
    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Returns whether the observer ended the run. All methods then return at once, and the
    /// counters can still be read.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Plays for a while. After an error (the server died) what was seen can still be asked.
    pub(crate) fn run_for(&mut self, duration: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until && !self.is_interrupted {
            self.turn(until)?;
        }
        Ok(())
    }

    /// Spreads the key frames of several publishers evenly over the interval: joining viewers have
    /// requested all of them at once. Takes effect after one group of pictures.
    pub(crate) fn stagger_key_frames(&mut self) {
        self.publishers.iter_mut().for_each(Publisher::stagger_key_frames);
    }

    /// Viewers that join from now on watch these streams only, in turn.
    pub(crate) fn offer_streams(&mut self, streams: Range<usize>) -> anyhow::Result<()> {
        ensure!(!streams.is_empty() && streams.end <= self.whep.len(), "there are no streams {streams:?}");
        self.offered = streams;
        Ok(())
    }

    /// From now on the network loses this share of what goes to viewers.
    pub(crate) fn lose(&mut self, share: f64) {
        for (number, viewer) in self.viewers.iter_mut().enumerate() {
            viewer.lose(Loss::new(share, self.settings.seed, number));
        }
    }

    /// The networks of these viewers die.
    pub(crate) fn cut_off(&mut self, viewers: Range<usize>) {
        self.viewers[viewers].iter_mut().for_each(Viewer::cut_off);
    }

    /// Opens the sockets and makes the offers of the next joins ahead, so that joins cost the
    /// generator less.
    pub(crate) fn prepare(&mut self, plan: JoinPlan) -> anyhow::Result<()> {
        self.check_open_files(plan.viewers)?;
        for started in self.prepared.len()..plan.viewers {
            let number = self.viewers.len() + started;
            let made = Viewer::new(Instant::now(), number, plan.verifies(started), &self.settings, self.local_ip)?;
            self.prepared.push_back(made);
            // The other peers continue meanwhile.
            self.turn(Instant::now())?;
        }
        Ok(())
    }

    /// Lets viewers join. Returns when each of them has a whole picture, or has failed.
    pub(crate) fn join(&mut self, plan: JoinPlan) -> anyhow::Result<Joined> {
        let first = self.viewers.len();
        self.check_open_files(plan.viewers)?;
        // Moving thousands of them to a larger place would take as long as half a frame lasts.
        self.viewers.reserve(plan.viewers);
        let begun_at = Instant::now();
        self.joins = Some(Joins { plan, begun_at, started: 0 });
        self.media_at = begun_at;
        let mut last_progress = (begun_at, self.settled);
        while self.settled < first + plan.viewers && !self.is_interrupted {
            self.turn(Instant::now() + LOOKED_EVERY)?;
            if self.settled > last_progress.1 {
                last_progress = (Instant::now(), self.settled);
            }
            if last_progress.0.elapsed() > JOIN_PATIENCE {
                break;
            }
        }
        self.joins = None;
        let mut joined = Joined { seconds: begun_at.elapsed().as_secs_f64(), ..Joined::default() };
        for viewer in &mut self.viewers[first..] {
            let at = viewer.joining;
            let Some(posted_at) = at.posted_at.filter(|_| viewer.has_joined()) else {
                if !self.is_interrupted {
                    let missing = viewer.missing_part();
                    viewer.failure.get_or_insert_with(|| missing.to_owned());
                }
                joined.failed += 1;
                if joined.failure.is_none() {
                    joined.failure = viewer.failure.clone();
                }
                continue;
            };
            joined.joined += 1;
            for (histogram, at) in [
                (&mut joined.answer, at.answered_at),
                (&mut joined.first_packet, at.first_packet_at),
                (&mut joined.first_picture, at.first_picture_at),
            ] {
                if let Some(at) = at {
                    histogram.add(at.saturating_duration_since(posted_at));
                }
            }
            joined.pictured_after.extend(at.first_picture_at.map(|at| at.saturating_duration_since(begun_at)));
        }
        joined.pictured_after.sort_unstable();
        Ok(joined)
    }

    fn check_open_files(&self, more: usize) -> anyhow::Result<()> {
        let needed = (self.viewers.len() + more + self.publishers.len()) as u64 + OTHER_FILES;
        ensure!(
            needed <= self.open_files,
            "{needed} open files are needed and {} are allowed; raise the hard limit (ulimit -Hn), or play fewer viewers",
            self.open_files
        );
        Ok(())
    }

    /// Begins to watch what these viewers get.
    pub(crate) fn open_window(&mut self, viewers: Range<usize>) -> anyhow::Result<()> {
        let now = Instant::now();
        for viewer in &mut self.viewers[viewers.clone()] {
            viewer.forget_silence();
        }
        for publisher in &mut self.publishers {
            publisher.sent.latest = Duration::ZERO;
        }
        self.timers_latest = Duration::ZERO;
        self.window = Some(Window {
            begun_at: now,
            begun_ns: clock::ns(now),
            viewers: viewers.clone(),
            delay: Histogram::default(),
            key_frame_delay: Histogram::default(),
            verified_packets: 0,
            damaged: 0,
            recut: 0,
            wrong_timestamps: 0,
            timestamp_offsets: HashMap::new(),
            total: self.total(now, viewers),
            drops: self.kernel_drops(),
            usage: Usage::of(std::process::id())?,
            sent: self.sent(),
        });
        Ok(())
    }

    /// Ends what [`Load::open_window`] began.
    pub(crate) fn close_window(&mut self) -> anyhow::Result<Seen> {
        while !self.unverified.is_empty() {
            self.verify(usize::MAX);
        }
        let window = self.window.take().context("no window is open")?;
        let now = Instant::now();
        let mut seen = Seen {
            viewers: window.viewers.len(),
            seconds: now.saturating_duration_since(window.begun_at).as_secs_f64(),
            delay: window.delay,
            key_frame_delay: window.key_frame_delay,
            verified_packets: window.verified_packets,
            damaged: window.damaged,
            recut: window.recut,
            wrong_timestamps: window.wrong_timestamps,
            kernel_drops: self.kernel_drops() - window.drops,
            timers_latest: self.timers_latest,
            sent: self.sent().since(&window.sent),
            generator: Usage::of(std::process::id())?.since(&window.usage),
            total: self.total(now, window.viewers.clone()).since(&window.total),
            ..Seen::default()
        };
        for viewer in &self.viewers[window.viewers] {
            let silence = viewer.counted(now).longest_silence;
            seen.starved += usize::from(silence > STARVED_AFTER || !viewer.has_joined());
            // One that never joined is told of by [`Joined`].
            seen.failed += usize::from(viewer.has_joined() && viewer.failure.is_some());
            seen.rejected += viewer.rejected;
        }
        Ok(seen)
    }

    /// Packets that came to viewers the first way since the beginning, those that their networks
    /// then lost included.
    pub(crate) fn arrived(&self) -> u64 {
        let total = self.total(Instant::now(), 0..self.viewers.len());
        total.packets + total.dropped
    }

    /// Returns how many viewers there are.
    pub(crate) fn viewer_count(&self) -> usize {
        self.viewers.len()
    }

    /// Closes all sessions: by HTTP DELETE as far as the server answers in time, and by DTLS
    /// close_notify.
    pub(crate) fn close(mut self) {
        let sessions = self.viewers.iter_mut().map(|viewer| viewer.resource.take());
        let viewers = sessions.flatten().map(|url| (url, &self.settings.whep_token));
        let sessions = self.publishers.iter_mut().map(|publisher| publisher.resource.take());
        let publishers = sessions.flatten().map(|url| (url, &self.settings.whip_token));
        for (number, (url, token)) in viewers.chain(publishers).enumerate() {
            let request = Request { method: "DELETE", url, token: token.clone(), body: String::new() };
            self.http.send(Job { number, request });
        }
        self.http.finish(Instant::now() + CLOSE_PATIENCE);
        let now = Instant::now();
        for viewer in &mut self.viewers {
            viewer.peer.close(now, &mut self.out);
        }
        for publisher in &mut self.publishers {
            publisher.peer.close(now, &mut self.out);
        }
    }

    /// One round; sleeps until something happens, `until` at the longest.
    fn turn(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut timeout = self.sleep(Instant::now(), until);
        // The thread sleeps instead of waiting at the sockets. Otherwise each burst would wake it
        // on another core, and a server on this machine would be charged for the wake-ups: a tenth
        // of its time, a cost that networks do not have.
        if timeout >= REST && self.joins.is_none() {
            std::thread::sleep(REST);
            timeout -= REST;
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        self.drive_publishers()?;
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.token()));
        for token in &ready {
            match *token {
                WOKEN => {}
                Token(publisher @ PUBLISHERS..) => self.receive_for_publisher(publisher - PUBLISHERS)?,
                Token(viewer) if self.viewers[viewer].has_joined() => self.receive(viewer)?,
                Token(viewer) => self.handshakes.push_back(viewer),
            }
        }
        for _ in 0..HANDSHAKES_PER_TURN {
            if let Some(viewer) = self.handshakes.pop_front() {
                self.receive(viewer)?;
            }
            let done = self.http.poll();
            self.has_answers = done.is_some();
            if let Some(done) = done {
                self.answered(done);
            }
        }
        self.begin_joins()?;
        self.drive_due();
        if ready.len() < EVENTS {
            self.verify(VERIFIED_PER_TURN);
        }
        self.ready = ready;
        self.look()
    }

    fn sleep(&self, now: Instant, until: Instant) -> Duration {
        let alarms = [self.publisher_alarms.poll_timeout(), self.alarms.poll_timeout(), self.next_join_at(now)];
        let look_at = self.looked_at + LOOKED_EVERY;
        let at = alarms.into_iter().flatten().fold(until.min(look_at), Instant::min);
        let has_more = self.has_answers || !self.unverified.is_empty() || !self.handshakes.is_empty();
        if has_more { Duration::ZERO } else { at.saturating_duration_since(now) }
    }

    fn drive_publishers(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some((number, _)) = self.publisher_alarms.poll(now) {
            let publisher = &mut self.publishers[number];
            publisher.handle_timeout(now, &mut self.out)?;
            ensure!(
                !publisher.peer.is_over,
                "the publisher of stream {} lost its session: {}",
                self.settings.stream_name(number),
                publisher.peer.error.as_deref().unwrap_or("the server ended it")
            );
            self.publisher_alarms.set(number, publisher.poll_timeout());
        }
        Ok(())
    }

    fn receive_for_publisher(&mut self, number: usize) -> anyhow::Result<()> {
        let peer = &mut self.publishers[number].peer;
        loop {
            peer.socket.receive(&mut self.received)?;
            let now = Instant::now();
            for datagram in self.received.datagrams() {
                peer.handle_datagram(now, datagram.source, datagram.bytes);
                peer.drive(now, &mut self.out);
            }
            if !self.received.is_full() {
                break;
            }
        }
        // At once: it may have been asked for a key frame, or be connected.
        self.publisher_alarms.set(number, Instant::now());
        Ok(())
    }

    fn receive(&mut self, number: usize) -> anyhow::Result<()> {
        let viewer = &mut self.viewers[number];
        loop {
            viewer.peer.socket.receive(&mut self.received)?;
            let now = Instant::now();
            let now_since_epoch = clock::since_epoch();
            for datagram in self.received.datagrams() {
                let mut media = None;
                let waited = datagram.arrived.map_or(Duration::ZERO, |at| now_since_epoch.saturating_sub(at));
                let arrived = now.checked_sub(waited).unwrap_or(now);
                match viewer.handle_datagram(now, arrived, datagram.source, datagram.bytes, &mut self.out) {
                    Datagram::Handshake => viewer.drive_session(now, &mut self.out),
                    Datagram::Media(flow) => media = Some((flow, None)),
                    Datagram::Opened(flow, place) => media = Some((flow, Some(place))),
                    Datagram::Other => {}
                }
                let Some((flow, payload)) = media else { continue };
                self.media_at = now;
                if viewer.is_verified {
                    let (arrived_ns, bytes) = (clock::ns(arrived), datagram.bytes.to_vec());
                    self.unverified.push_back(Unverified { viewer: number, flow, arrived_ns, bytes, payload });
                }
            }
            if !self.received.is_full() {
                break;
            }
        }
        self.schedule(number);
        Ok(())
    }

    fn schedule(&mut self, number: usize) {
        let viewer = &mut self.viewers[number];
        if !viewer.is_settled && (viewer.has_joined() || viewer.failure.is_some()) {
            viewer.is_settled = true;
            self.settled += 1;
        }
        self.alarms.set(number, viewer.poll_timeout());
    }

    fn drive_due(&mut self) {
        let now = Instant::now();
        for _ in 0..DUE_PER_TURN {
            let Some((number, at)) = self.alarms.poll(now) else { return };
            let viewer = &mut self.viewers[number];
            if viewer.poll_timeout() <= now {
                self.timers_latest = self.timers_latest.max(now.saturating_duration_since(at));
                viewer.drive(now, &mut self.out);
            }
            self.schedule(number);
        }
    }

    fn verify(&mut self, most: usize) {
        let Settings { video, source, .. } = self.settings;
        for _ in 0..most {
            let Some(mut packet) = self.unverified.pop_front() else { return };
            let timestamp = packet.bytes.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            let viewer = &mut self.viewers[packet.viewer];
            let Some(place) = packet.payload.take().or_else(|| viewer.open_in_place(&mut packet.bytes)) else {
                continue;
            };
            let payload = packet.bytes.get(place).unwrap_or_default();
            let Some(window) = self.window.as_mut().filter(|w| w.viewers.contains(&packet.viewer)) else { continue };
            if source == Source::Attach {
                // The packet is authentic; its payload cannot be compared.
                window.verified_packets += 1;
                continue;
            }
            let codec = codec_of(packet.flow, video.codec);
            let read = payload::read(codec, payload).map(Some).or_else(|_| {
                let stamp = recut::read(codec, payload)?;
                window.recut += 1;
                Ok::<_, Damaged>(stamp)
            });
            let Ok(stamp) = read else {
                window.damaged += 1;
                continue;
            };
            window.verified_packets += 1;
            let Some(stamp) = stamp else { continue };
            // What was sent before belongs to a viewer's start.
            if stamp.sent_at_ns < window.begun_ns {
                continue;
            }
            let delay_ns = packet.arrived_ns.saturating_sub(stamp.sent_at_ns);
            window.delay.add_ns(delay_ns);
            self.delay.add_ns(delay_ns);
            if packet.flow == Flow::Video {
                if stamp.place.is_key {
                    window.key_frame_delay.add_ns(delay_ns);
                }
                let published = frames::timestamp(stamp.place.frame, video.frame_rate);
                let offset = timestamp.unwrap_or_default().wrapping_sub(published);
                // From packet to packet: one picture that is wrong must not make all others look
                // so.
                let before = window.timestamp_offsets.insert(packet.viewer, offset).unwrap_or(offset);
                window.wrong_timestamps += u64::from(offset != before);
            }
        }
    }

    fn next_join_at(&self, now: Instant) -> Option<Instant> {
        let joins = self.joins.as_ref().filter(|joins| joins.started < joins.plan.viewers)?;
        if joins.plan.rate > 0.0 {
            return Some(joins.begun_at + Duration::from_secs_f64(joins.started as f64 / joins.plan.rate));
        }
        (self.viewers.len() - self.settled < IN_FLIGHT).then_some(now)
    }

    fn begin_joins(&mut self) -> anyhow::Result<()> {
        for _ in 0..JOINS_PER_TURN {
            let now = Instant::now();
            if self.next_join_at(now).is_none_or(|at| at > now) {
                return Ok(());
            }
            let Some(joins) = &mut self.joins else { return Ok(()) };
            let number = self.viewers.len();
            let is_verified = joins.plan.verifies(joins.started);
            joins.started += 1;
            let (mut viewer, offer) = match self.prepared.pop_front() {
                Some(made) => made,
                None => Viewer::new(now, number, is_verified, &self.settings, self.local_ip)?,
            };
            viewer.joining.posted_at = Some(Instant::now());
            let socket = viewer.peer.socket.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&socket), Token(number), Interest::READABLE)?;
            self.viewers.push(viewer);
            let url = self.whep[self.offered.start + number % self.offered.len()].clone();
            let request = Request { method: "POST", url, token: self.settings.whep_token.clone(), body: offer };
            self.http.send(Job { number, request });
        }
        Ok(())
    }

    fn answered(&mut self, done: Done) {
        let Some(viewer) = self.viewers.get_mut(done.number) else { return };
        viewer.joining.answered_at = Some(done.answered_at);
        let result = match (done.method, self.settings.offers, done.reply) {
            (_, _, Err(error)) => Err(error),
            ("POST", offers, Ok(reply)) => {
                viewer.joining.posted_at = Some(done.sent_at);
                viewer.resource = reply.location;
                match offers {
                    Offers::Viewer => viewer.accept(&reply.body),
                    Offers::Server => {
                        let answer = viewer.answer(&reply.body);
                        let url = viewer.resource.clone().context("the server's offer has no Location to answer to");
                        answer.and_then(|body| Ok((body, url?))).map(|(body, url)| {
                            let token = self.settings.whep_token.clone();
                            let request = Request { method: "PATCH", url, token, body };
                            self.http.send(Job { number: done.number, request });
                        })
                    }
                }
            }
            (_, _, Ok(_)) => Ok(()),
        };
        match result {
            Ok(()) => viewer.drive(Instant::now(), &mut self.out),
            Err(error) => viewer.failure = Some(format!("{error:#}")),
        }
        self.schedule(done.number);
    }

    /// Tells the observer, and finds out whether the server is alive.
    fn look(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if now < self.looked_at + LOOKED_EVERY {
            return Ok(());
        }
        self.looked_at = now;
        let joined = self.viewers.iter().filter(|viewer| viewer.has_joined()).count();
        let failed = self.viewers.iter().filter(|viewer| viewer.failure.is_some()).count();
        if let Some(mut observer) = self.observer.take() {
            let progress = Progress {
                elapsed: now.saturating_duration_since(self.begun_at),
                started: self.viewers.len(),
                joined,
                failed,
                total: self.total(now, 0..self.viewers.len()),
                sent: self.sent(),
                delay: &std::mem::take(&mut self.delay),
                kernel_drops: self.kernel_drops(),
            };
            self.is_interrupted |= observer(&progress).is_break();
            self.observer = Some(observer);
        }
        if joined > 0 {
            let silence = now.saturating_duration_since(self.media_at);
            ensure!(
                silence < MEDIA_PATIENCE,
                "none of {joined} viewers got a packet for {:.1} s: the server has died, or the stream has ended",
                silence.as_secs_f64()
            );
            let is_lost = |viewer: &&Viewer| viewer.has_joined() && viewer.failure.is_some();
            let lost = self.viewers.iter().filter(is_lost).count();
            let why =
                || self.viewers.iter().find(is_lost).and_then(|viewer| viewer.failure.clone()).unwrap_or_default();
            ensure!(lost < joined, "the sessions of all {joined} viewers have ended; the first: {}", why());
        }
        Ok(())
    }

    fn total(&self, now: Instant, viewers: Range<usize>) -> Counted {
        let mut total = Counted::default();
        self.viewers[viewers].iter().for_each(|viewer| total.add(&viewer.counted(now)));
        total
    }

    fn sent(&self) -> Sent {
        let mut sent = Sent::default();
        self.publishers.iter().for_each(|publisher| sent.add(&publisher.sent));
        sent
    }

    fn kernel_drops(&self) -> u64 {
        self.viewers.iter().map(|v| u64::from(v.peer.socket.kernel_drops())).sum()
    }
}

impl JoinPlan {
    /// Returns whether the `number`th viewer of these joins verifies all its packets. Verifying
    /// viewers are spread evenly over the viewers of every stream: multiples of the golden ratio
    /// fill an interval evenly.
    fn verifies(&self, number: usize) -> bool {
        (number as f64 * 0.618_033_988_749_894_9).fract() < self.verify
    }
}

/// Returns the local address that the server sees: the one from which its HTTP port is reached.
fn local_ip_towards(url: &Url) -> anyhow::Result<IpAddr> {
    let authority = url.authority();
    let server = authority
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .with_context(|| format!("{} is no name or address of a machine", url.host))?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket sends nothing: it only chooses the way.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server).with_context(|| format!("there is no way to {server}"))?;
    Ok(socket.local_addr()?.ip())
}
