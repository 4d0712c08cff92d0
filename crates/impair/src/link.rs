//! What happens to a datagram on its way?
//!
//! In this order: it is lost by chance or in a burst; it waits for the rate, or meets a full queue;
//! it travels for the delay and the jitter; it is held until others have passed; it arrives,
//! perhaps twice. All random numbers are drawn when it enters the link and when it leaves the
//! queue, so the same seed and the same datagrams give the same result at any polling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::bottleneck::{Bottleneck, Departure};
use crate::counts::{Counts, Drop, Report};
use crate::random::Random;
use crate::script::Script;
use crate::settings::{Order, Settings, Shape};

/// One direction of a link, which carries datagrams of any number of flows.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    script: Script,
    /// The start of the script.
    began_at: Instant,
    random: Random,
    is_bad: bool,
    bottleneck: Bottleneck<Datagram>,
    held: Vec<Held>,
    travelling: BinaryHeap<Reverse<Travelling>>,
    /// Arrival time of the last datagram that keeps the order.
    last_at: Option<Instant>,
    next_number: u64,
    bytes_inside: usize,
    counts: Counts,
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The flow of the datagram. The link does not interpret it.
    pub flow: u32,
    /// The payload of UDP.
    pub bytes: Vec<u8>,
}

/// A datagram that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The time of arrival. A later poll is the timer error of the caller.
    pub due_at: Instant,
    /// The datagram.
    pub datagram: Datagram,
}

/// A datagram that waits until others have passed.
#[derive(Debug)]
struct Held {
    /// Number of datagrams that have yet to pass.
    wanted: u32,
    /// The time of arrival without reordering.
    arrives_at: Instant,
    /// The time at which it stops waiting.
    until: Instant,
    datagram: Datagram,
}

/// Ordered by time of arrival, then by number.
#[derive(Debug)]
struct Travelling {
    at: Instant,
    number: u64,
    datagram: Datagram,
}

/// Bytes of the headers of IPv4 and UDP, which count for the rate.
const HEADER_BYTES: u64 = 28;
/// The most bytes inside a link: 10 s at 50 Mb/s, far above the use in tests. Further datagrams are
/// dropped and counted.
pub(crate) const MOST_BYTES: usize = 64 << 20;
/// The longest wait of an overtaken datagram for others: the flow may have paused. A guess.
const HELD_AT_MOST: Duration = Duration::from_millis(200);

impl Link {
    /// Creates a link that follows a script which begins `now`.
    pub fn new(script: Script, seed: u64, now: Instant) -> Link {
        let mut link = Link {
            settings: Settings::default(),
            script,
            began_at: now,
            random: Random::new(seed),
            is_bad: false,
            bottleneck: Bottleneck::new(now),
            held: Vec::new(),
            travelling: BinaryHeap::new(),
            last_at: None,
            next_number: 0,
            bytes_inside: 0,
            counts: Counts::new(now),
        };
        link.advance(now);
        link
    }

    /// Returns an empty link with the same script.
    pub fn fork(&self, seed: u64) -> Link {
        let mut bottleneck = Bottleneck::new(self.began_at);
        bottleneck.set(self.began_at, self.settings.rate, self.settings.queue);
        Link {
            settings: self.settings,
            script: self.script.clone(),
            began_at: self.began_at,
            random: Random::new(seed),
            is_bad: false,
            bottleneck,
            held: Vec::new(),
            travelling: BinaryHeap::new(),
            last_at: None,
            next_number: 0,
            bytes_inside: 0,
            counts: self.counts.fork(),
        }
    }

    /// Returns the settings from now until the next step.
    pub fn settings_at(&mut self, now: Instant) -> Settings {
        self.advance(now);
        self.settings
    }

    /// Returns the counters since the last reset.
    pub fn report(&self) -> Report {
        self.counts.report()
    }

    /// Resets all counters.
    pub fn reset_counts(&mut self, now: Instant) {
        self.advance(now);
        self.counts = Counts::new(now);
    }

    /// Follows another script from `now` on. Datagrams under way are not affected.
    pub fn follow(&mut self, now: Instant, script: Script) {
        self.advance(now);
        self.script = script;
        self.began_at = now;
        self.advance(now);
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        self.advance(now);
        let size = datagram.bytes.len();
        self.counts.offered(now, size);
        if let Some(why) = self.loss() {
            return self.counts.dropped(now, why);
        }
        if self.bytes_inside + size > MOST_BYTES {
            return self.counts.dropped(now, Drop::Overflow);
        }
        if self.bottleneck.offer(now, size as u64 + HEADER_BYTES, datagram).is_err() {
            return self.counts.dropped(now, Drop::Queue);
        }
        self.bytes_inside += size;
        self.advance(now);
    }

    /// Returns the next datagram that has arrived by `now`.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery> {
        self.advance(now);
        if self.travelling.peek().is_none_or(|Reverse(first)| first.at > now) {
            return None;
        }
        let Reverse(Travelling { at, datagram, .. }) = self.travelling.pop()?;
        self.bytes_inside = self.bytes_inside.saturating_sub(datagram.bytes.len());
        self.counts.delivered(at, datagram.bytes.len());
        Some(Delivery { due_at: at, datagram })
    }

    /// Returns when to poll again. Steps of the script need no wake-up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let arrives = self.travelling.peek().map(|Reverse(first)| first.at);
        let held = self.held.iter().map(|held| held.until).min();
        // A step of the script may release datagrams in the queue earlier.
        let leaves = self.bottleneck.next_at();
        let step = self.next_step_at().filter(|_| leaves.is_some());
        [arrives, held, leaves, step].into_iter().flatten().min()
    }

    /// Advances the link to `now`, step by step of the script.
    fn advance(&mut self, now: Instant) {
        while let Some(at) = self.next_step_at().filter(|at| *at <= now) {
            self.serve(at);
            if let Some(settings) = self.script.poll_step() {
                self.bottleneck.set(at, settings.rate, settings.queue);
                self.settings = settings;
            }
        }
        self.serve(now);
        let ripe = |held: &mut Held| held.until <= now;
        let ripe: Vec<Held> = self.held.extract_if(.., ripe).collect();
        ripe.into_iter().for_each(|held| self.travel(held.until, held.datagram));
    }

    fn next_step_at(&self) -> Option<Instant> {
        self.script.next_at().map(|at| self.began_at + at)
    }

    fn serve(&mut self, until: Instant) {
        while let Some(departure) = self.bottleneck.poll(until) {
            self.depart(departure);
        }
    }

    fn loss(&mut self) -> Option<Drop> {
        if let Some(burst) = self.settings.burst {
            self.is_bad =
                if self.is_bad { !self.random.happens(burst.ends()) } else { self.random.happens(burst.begins()) };
        } else {
            self.is_bad = false;
        }
        if self.is_bad {
            return Some(Drop::Burst);
        }
        self.random.happens(self.settings.loss).then_some(Drop::Random)
    }

    fn depart(&mut self, departure: Departure<Datagram>) {
        let Departure { at, waited, what: datagram } = departure;
        self.counts.left_queue(at, waited);
        let mut arrives_at = at + self.settings.delay + self.jitter();
        if let Some(reorder) = self.settings.reorder
            && self.random.happens(reorder.share)
        {
            self.counts.overtaken();
            let until = arrives_at + HELD_AT_MOST;
            self.held.push(Held { wanted: reorder.distance, arrives_at, until, datagram });
            return;
        }
        if self.settings.order == Order::Keep {
            arrives_at = arrives_at.max(self.last_at.unwrap_or(arrives_at));
            self.last_at = Some(arrives_at);
        }
        let is_doubled = self.random.happens(self.settings.duplicate);
        if is_doubled && self.bytes_inside + datagram.bytes.len() <= MOST_BYTES {
            self.counts.duplicated();
            self.bytes_inside += datagram.bytes.len();
            self.travel(arrives_at, datagram.clone());
        }
        self.travel(arrives_at, datagram);
        self.let_pass(arrives_at);
    }

    /// Counts one passing datagram for the held ones.
    fn let_pass(&mut self, at: Instant) {
        self.held.iter_mut().for_each(|held| held.wanted = held.wanted.saturating_sub(1));
        let free: Vec<Held> = self.held.extract_if(.., |held| held.wanted == 0).collect();
        free.into_iter().for_each(|held| self.travel(at.max(held.arrives_at).min(held.until), held.datagram));
    }

    fn travel(&mut self, at: Instant, datagram: Datagram) {
        let number = self.next_number;
        self.next_number += 1;
        self.travelling.push(Reverse(Travelling { at, number, datagram }));
    }

    fn jitter(&mut self) -> Duration {
        if self.settings.jitter.is_zero() {
            return Duration::ZERO;
        }
        let share = match self.settings.shape {
            Shape::Uniform => self.random.share(),
            Shape::Bell => (0..4).map(|_| self.random.share()).sum::<f64>() / 4.0,
            Shape::Spikes => self.random.share().powi(8),
        };
        self.settings.jitter.mul_f64(share)
    }
}

impl Ord for Travelling {
    fn cmp(&self, other: &Travelling) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Travelling {
    fn partial_cmp(&self, other: &Travelling) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Travelling {
    fn eq(&self, other: &Travelling) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Travelling {}
