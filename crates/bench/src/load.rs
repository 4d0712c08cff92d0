//! The loop that plays everybody.
//!
//! One thread: it sends the publisher's frames when they are due, receives for all viewers, and drives whoever is due.
//! In each turn the publisher comes first, and verified viewers' packets are only stamped on arrival and looked into
//! when nothing else waits, so that what is measured is the server's delay rather than ours.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::{ControlFlow, Range};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use shards::udp::ReceiveBatch;

use crate::clock;
use crate::histogram::Histogram;
use crate::http::{Job, Pool, Target};
use crate::payload;
use crate::peer::Outgoing;
use crate::process::Usage;
use crate::publisher::{Publisher, Sent};
use crate::reception::Counted;
use crate::seen::{Joined, Progress, Seen};
use crate::settings::Settings;
use crate::viewer::{Datagram, Viewer};

/// Everybody.
pub(crate) struct Load {
    target: Target,
    stream: String,
    http: Pool,
    poll: Poll,
    events: Events,
    received: ReceiveBatch,
    out: Outgoing,
    publisher: Publisher,
    viewers: Vec<Viewer>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The earliest entry of `timers` for each viewer.
    timed: Vec<Option<Instant>>,
    unverified: VecDeque<Unverified>,
    joins: Option<Joins>,
    window: Option<Window>,
    begun_at: Instant,
    observer: Option<Observer>,
    observed_at: Instant,
    /// Of verified packets since then.
    delay: Histogram,
    is_interrupted: bool,
}

/// Is told how things stand every [`OBSERVED_EVERY`], and may end the play.
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
    first: usize,
    begun_at: Instant,
    started: usize,
}

struct Window {
    begun_at: Instant,
    begun_ns: u64,
    viewers: Range<usize>,
    delay: Histogram,
    verified_packets: u64,
    damaged: u64,
    /// Of these viewers, when it began.
    total: Counted,
    drops: u64,
    usage: Usage,
    sent: Sent,
}

struct Unverified {
    viewer: usize,
    arrived_ns: u64,
    bytes: Vec<u8>,
}

/// Joins under way at a time when they are to go as fast as they can. A guess: enough to keep both sides busy.
pub(crate) const IN_FLIGHT: usize = 48;
/// Sockets looked at before the publisher gets its turn again: 32 × 3 µs.
const EVENTS: usize = 32;
/// Joins begun in one turn; each makes an offer, 0.3 ms.
const JOINS_PER_TURN: usize = 2;
/// Viewers driven in one turn.
const DUE_PER_TURN: usize = 32;
/// Packets looked into before sockets are asked again.
const VERIFIED_PER_TURN: usize = 64;
/// Longer without a packet and a viewer's picture stands still.
const STARVED_AFTER: Duration = Duration::from_millis(500);
/// A join that takes longer has failed.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// How often the observer is told.
const OBSERVED_EVERY: Duration = Duration::from_millis(200);

const WOKEN: Token = Token(usize::MAX);
const PUBLISHER: Token = Token(usize::MAX - 1);

impl Load {
    /// Publishes. Returns when the connection is up.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Load> {
        settings.check()?;
        let url = settings.whep_url(0);
        let target = Target::parse(
            url.strip_suffix(&format!("/whep/{}", settings.stream)).unwrap_or(&url),
            settings.whep_token.clone(),
        )?;
        let (target, stream) = (&target, settings.stream_name(0));
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WOKEN)?;
        let http = Pool::new(target, move || {
            // Fails only without memory; the loop looks every 10 ms anyway.
            let _ = waker.wake();
        })?;
        let (mut publisher, offer) = Publisher::new(Instant::now(), settings.video)?;
        let answer = target.post(&format!("/whip/{stream}"), &offer)?;
        publisher.peer.accept(&answer)?;
        let socket = publisher.peer.socket.as_raw_fd();
        poll.registry().register(&mut SourceFd(&socket), PUBLISHER, Interest::READABLE)?;
        let received = ReceiveBatch::for_socket(&publisher.peer.socket);
        let mut load = Load {
            target: target.clone(),
            stream,
            http,
            poll,
            events: Events::with_capacity(EVENTS),
            received,
            out: Outgoing::default(),
            publisher,
            viewers: Vec::new(),
            timers: BinaryHeap::new(),
            timed: Vec::new(),
            unverified: VecDeque::new(),
            joins: None,
            window: None,
            begun_at: Instant::now(),
            observer: None,
            observed_at: Instant::now(),
            delay: Histogram::default(),
            is_interrupted: false,
        };
        let until = Instant::now() + JOIN_PATIENCE;
        while load.publisher.sent.packets == 0 {
            load.turn(until)?;
            if Instant::now() >= until {
                bail!("the publisher got no connection to {:?} within {JOIN_PATIENCE:?}", load.target);
            }
        }
        Ok(load)
    }

    #[allow(dead_code)]
    /// Tells `observer` how things stand from now on.
    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    #[allow(dead_code)]
    /// Whether the observer ended the play. All that plays returns at once then, and what was seen can still be asked.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Plays for a while.
    pub(crate) fn run_for(&mut self, duration: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        while Instant::now() < until && !self.is_interrupted {
            self.turn(until)?;
        }
        Ok(())
    }

    /// Lets viewers join. Returns when each of them has a whole picture, or has failed.
    pub(crate) fn join(&mut self, plan: JoinPlan) -> anyhow::Result<Joined> {
        let first = self.viewers.len();
        let begun_at = Instant::now();
        self.joins = Some(Joins { plan, first, begun_at, started: 0 });
        let mut last_progress = (begun_at, 0);
        loop {
            self.turn(Instant::now() + Duration::from_millis(10))?;
            let new = &self.viewers[first..];
            let finished = new.iter().filter(|v| v.has_joined() || v.failure.is_some()).count();
            if finished == plan.viewers || self.is_interrupted {
                break;
            }
            if finished > last_progress.1 {
                last_progress = (Instant::now(), finished);
            }
            if last_progress.0.elapsed() > JOIN_PATIENCE {
                break;
            }
        }
        self.joins = None;
        let mut joined = Joined { seconds: begun_at.elapsed().as_secs_f64(), ..Joined::default() };
        for viewer in &self.viewers[first..] {
            let at = viewer.joining;
            let since_post = |at: Option<Instant>, posted: Instant| at.map(|at| at.saturating_duration_since(posted));
            let Some(posted_at) = at.posted_at.filter(|_| viewer.has_joined()) else {
                joined.failed += 1;
                let silent = || "it got no whole picture in time".to_owned();
                joined.failure.get_or_insert_with(|| viewer.failure.clone().unwrap_or_else(silent));
                continue;
            };
            joined.joined += 1;
            for (histogram, at) in [
                (&mut joined.answer, at.answered_at),
                (&mut joined.first_packet, at.first_packet_at),
                (&mut joined.first_picture, at.first_picture_at),
            ] {
                if let Some(took) = since_post(at, posted_at) {
                    histogram.add(took);
                }
            }
        }
        Ok(joined)
    }

    /// Begins to watch what these viewers get.
    pub(crate) fn open_window(&mut self, viewers: Range<usize>) -> anyhow::Result<()> {
        let now = Instant::now();
        for viewer in &mut self.viewers[viewers.clone()] {
            viewer.reception.forget_silence();
        }
        self.publisher.sent.latest = Duration::ZERO;
        self.window = Some(Window {
            begun_at: now,
            begun_ns: clock::ns(now),
            viewers: viewers.clone(),
            delay: Histogram::default(),
            verified_packets: 0,
            damaged: 0,
            total: self.total(now, viewers),
            drops: self.kernel_drops(),
            usage: Usage::of(std::process::id())?,
            sent: self.publisher.sent,
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
        let sent = self.publisher.sent;
        let mut seen = Seen {
            viewers: window.viewers.len(),
            seconds: now.saturating_duration_since(window.begun_at).as_secs_f64(),
            delay: window.delay,
            verified_packets: window.verified_packets,
            damaged: window.damaged,
            kernel_drops: self.kernel_drops() - window.drops,
            publisher_latest: sent.latest,
            sent: Sent {
                packets: sent.packets - window.sent.packets,
                payload_bytes: sent.payload_bytes - window.sent.payload_bytes,
                latest: sent.latest,
            },
            generator: Usage::of(std::process::id())?.since(&window.usage),
            ..Seen::default()
        };
        seen.total = self.total(now, window.viewers.clone()).since(&window.total);
        for viewer in &self.viewers[window.viewers] {
            let counted = viewer.reception.counted(now);
            seen.starved += usize::from(counted.longest_silence > STARVED_AFTER || !viewer.has_joined());
            seen.failed += usize::from(viewer.failure.is_some());
            seen.rejected += viewer.rejected;
        }
        Ok(seen)
    }

    fn total(&self, now: Instant, viewers: Range<usize>) -> Counted {
        let mut total = Counted::default();
        self.viewers[viewers].iter().for_each(|viewer| total.add(&viewer.reception.counted(now)));
        total
    }

    /// How many viewers there are.
    pub(crate) fn viewer_count(&self) -> usize {
        self.viewers.len()
    }

    /// Everybody says goodbye.
    pub(crate) fn close(mut self) {
        let now = Instant::now();
        for viewer in &mut self.viewers {
            viewer.peer.close(now, &mut self.out);
        }
        self.publisher.peer.close(now, &mut self.out);
    }

    /// One round; sleeps until something happens, `until` at the longest.
    fn turn(&mut self, until: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        let timeout = self.sleep(now, until);
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => self.events.clear(),
            other => other?,
        }
        self.publisher.handle_timeout(Instant::now(), &mut self.out)?;
        let ready: Vec<Token> = self.events.iter().map(|event| event.token()).collect();
        for token in &ready {
            match *token {
                WOKEN => {}
                PUBLISHER => self.receive_for_publisher()?,
                Token(viewer) => self.receive(viewer)?,
            }
        }
        while let Some(done) = self.http.poll() {
            self.answered(done);
        }
        self.begin_joins()?;
        self.drive_due();
        if ready.len() < EVENTS {
            self.verify(VERIFIED_PER_TURN);
        }
        self.tell_observer();
        if self.publisher.peer.is_over {
            bail!("the server ended the publisher's session, or was not heard any more");
        }
        Ok(())
    }

    fn tell_observer(&mut self) {
        let now = Instant::now();
        let Some(mut observer) = self.observer.take_if(|_| now >= self.observed_at + OBSERVED_EVERY) else { return };
        self.observed_at = now;
        let delay = std::mem::take(&mut self.delay);
        let progress = Progress {
            elapsed: now.saturating_duration_since(self.begun_at),
            started: self.viewers.len(),
            joined: self.viewers.iter().filter(|v| v.has_joined()).count(),
            failed: self.viewers.iter().filter(|v| v.failure.is_some()).count(),
            total: self.total(now, 0..self.viewers.len()),
            sent: self.publisher.sent,
            delay: &delay,
            kernel_drops: self.kernel_drops(),
        };
        self.is_interrupted |= observer(&progress).is_break();
        self.observer = Some(observer);
    }

    fn sleep(&self, now: Instant, until: Instant) -> Duration {
        let mut at = until.min(self.publisher.poll_timeout());
        if self.observer.is_some() {
            at = at.min(self.observed_at + OBSERVED_EVERY);
        }
        if let Some(Reverse((timer, _))) = self.timers.peek() {
            at = at.min(*timer);
        }
        if let Some(next) = self.next_join_at(now) {
            at = at.min(next);
        }
        if self.unverified.is_empty() { at.saturating_duration_since(now) } else { Duration::ZERO }
    }

    fn receive_for_publisher(&mut self) -> anyhow::Result<()> {
        let peer = &mut self.publisher.peer;
        loop {
            peer.socket.receive(&mut self.received)?;
            let now = Instant::now();
            for datagram in self.received.datagrams() {
                peer.handle_datagram(now, datagram.source, datagram.bytes);
                peer.drive(now, &mut self.out);
            }
            if !self.received.is_full() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, number: usize) -> anyhow::Result<()> {
        let viewer = &mut self.viewers[number];
        loop {
            viewer.peer.socket.receive(&mut self.received)?;
            let now = Instant::now();
            let arrived_ns = clock::ns(now);
            for datagram in self.received.datagrams() {
                match viewer.handle_datagram(now, datagram.source, datagram.bytes, &mut self.out) {
                    Datagram::Handshake => viewer.drive(now, &mut self.out),
                    Datagram::Media if viewer.is_verified => {
                        let bytes = datagram.bytes.to_vec();
                        self.unverified.push_back(Unverified { viewer: number, arrived_ns, bytes });
                    }
                    Datagram::Media | Datagram::Other => {}
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
        let at = self.viewers[number].poll_timeout();
        let timed = &mut self.timed[number];
        if timed.is_none_or(|timed| at < timed) {
            *timed = Some(at);
            self.timers.push(Reverse((at, number)));
        }
    }

    fn drive_due(&mut self) {
        let now = Instant::now();
        for _ in 0..DUE_PER_TURN {
            let Some(&Reverse((at, number))) = self.timers.peek() else { return };
            if at > now {
                return;
            }
            self.timers.pop();
            // An entry that an earlier one has replaced.
            if self.timed[number] != Some(at) {
                continue;
            }
            self.timed[number] = None;
            if self.viewers[number].poll_timeout() <= now {
                self.viewers[number].drive(now, &mut self.out);
            }
            self.schedule(number);
        }
    }

    fn verify(&mut self, most: usize) {
        for _ in 0..most {
            let Some(mut packet) = self.unverified.pop_front() else { return };
            let Some(payload) = self.viewers[packet.viewer].open(&mut packet.bytes) else { continue };
            let read = payload::read(payload);
            let Some(window) = self.window.as_mut().filter(|w| w.viewers.contains(&packet.viewer)) else { continue };
            match read {
                Ok(stamp) => {
                    window.verified_packets += 1;
                    // What was sent before belongs to a viewer's start.
                    if stamp.sent_at_ns >= window.begun_ns {
                        window.delay.add_ns(packet.arrived_ns.saturating_sub(stamp.sent_at_ns));
                        self.delay.add_ns(packet.arrived_ns.saturating_sub(stamp.sent_at_ns));
                    }
                }
                Err(payload::Damaged) => window.damaged += 1,
            }
        }
    }

    fn next_join_at(&self, now: Instant) -> Option<Instant> {
        let joins = self.joins.as_ref().filter(|joins| joins.started < joins.plan.viewers)?;
        if joins.plan.rate > 0.0 {
            return Some(joins.begun_at + Duration::from_secs_f64(joins.started as f64 / joins.plan.rate));
        }
        let new = &self.viewers[joins.first..];
        // Those that began last are under way.
        let under_way = new.iter().rev().take(4 * IN_FLIGHT).filter(|v| !v.has_joined() && v.failure.is_none()).count();
        (under_way < IN_FLIGHT).then_some(now)
    }

    fn begin_joins(&mut self) -> anyhow::Result<()> {
        for _ in 0..JOINS_PER_TURN {
            let now = Instant::now();
            if self.next_join_at(now).is_none_or(|at| at > now) {
                return Ok(());
            }
            let Some(joins) = &mut self.joins else { return Ok(()) };
            // Spread evenly, the first one included.
            let nth = |n: usize| (n as f64 * joins.plan.verify).ceil();
            let is_verified = nth(joins.started + 1) > nth(joins.started);
            joins.started += 1;
            let (mut viewer, offer) = Viewer::new(now, is_verified)?;
            let number = self.viewers.len();
            viewer.joining.posted_at = Some(Instant::now());
            let socket = viewer.peer.socket.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&socket), Token(number), Interest::READABLE)?;
            self.viewers.push(viewer);
            self.timed.push(None);
            self.http.post(Job { number, path: format!("/whep/{}", self.stream), offer });
        }
        Ok(())
    }

    fn answered(&mut self, done: crate::http::Done) {
        let viewer = &mut self.viewers[done.number];
        viewer.joining.posted_at = Some(done.posted_at);
        viewer.joining.answered_at = Some(done.answered_at);
        if let Err(error) = done.answer.and_then(|answer| viewer.accept(&answer)) {
            viewer.failure = Some(format!("{error:#}"));
            return;
        }
        viewer.drive(Instant::now(), &mut self.out);
        self.schedule(done.number);
    }

    fn kernel_drops(&self) -> u64 {
        self.viewers.iter().map(|v| u64::from(v.peer.socket.kernel_drops())).sum()
    }
}
