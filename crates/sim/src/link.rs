//! What happens to a datagram on its path?
//!
//! A [`Link`] describes one direction, a [`Wire`] is one in use. A datagram may be lost, delayed,
//! queued behind others, overtaken or duplicated. Jitter alone keeps the order, as a queue in a
//! router does; only [`Link::reordering`] breaks it.

use std::time::{Duration, Instant};

use crate::random::Random;

/// One direction of a network path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    burst: Option<Burst>,
    reordering: f64,
    duplication: f64,
    bits_per_second: Option<u64>,
    queue: Duration,
    socket: Option<Socket>,
    is_cut: bool,
}

/// Capacity of the receiver's socket, and the interval at which the receiver reads.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Socket {
    datagrams: u32,
    bytes: usize,
    read_every: Duration,
}

/// Gilbert–Elliott: a path is good or bad, and loses everything while it is bad.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Burst {
    begins: f64,
    ends: f64,
    longest: Duration,
}

/// Default of the longest queueing time before a datagram is dropped: a router's buffer. A guess.
const QUEUE: Duration = Duration::from_millis(200);

/// A burst of the average length takes half of this for each datagram of media (200 a second). A
/// fade of a radio ends with time. If it ended only with datagrams, the reports against the media,
/// or a handshake with its timers of seconds, would lose everything they send for that long.
const DATAGRAM_TIME: Duration = Duration::from_millis(10);

/// Headers of IP and UDP.
const HEADER_BYTES: usize = 28;

/// Delay of a reordered datagram. A guess: two to three packets at 2 Mb/s.
const FALLS_BEHIND: Duration = Duration::from_millis(12);

impl Link {
    /// A path of 10 ms that loses nothing.
    pub fn good() -> Link {
        Link::of(Duration::from_millis(10))
    }

    /// A path of this one-way delay that loses nothing.
    pub fn of(delay: Duration) -> Link {
        Link {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reordering: 0.0,
            duplication: 0.0,
            bits_per_second: None,
            queue: QUEUE,
            socket: None,
            is_cut: false,
        }
    }

    /// A path on which nothing arrives.
    pub fn cut() -> Link {
        Link { is_cut: true, ..Link::good() }
    }

    /// Adds up to this much delay, drawn anew for every datagram.
    pub fn jitter(self, jitter: Duration) -> Link {
        Link { jitter, ..self }
    }

    /// Loses this share of datagrams, independently.
    pub fn loss(self, loss: f64) -> Link {
        Link { loss, ..self }
    }

    /// Bursts begin at this share of datagrams and are this long on average; they end after
    /// [`DATAGRAM_TIME`] for each of these datagrams at the latest.
    pub fn bursts(self, begins: f64, datagrams: f64) -> Link {
        let longest = DATAGRAM_TIME.mul_f64(datagrams);
        Link { burst: Some(Burst { begins, ends: 1.0 / datagrams, longest }), ..self }
    }

    /// This share of datagrams is overtaken by later ones.
    pub fn reordering(self, reordering: f64) -> Link {
        Link { reordering, ..self }
    }

    /// This share of datagrams arrives twice.
    pub fn duplication(self, duplication: f64) -> Link {
        Link { duplication, ..self }
    }

    /// Sets the longest queueing time; 200 ms by default.
    pub fn queue(self, queue: Duration) -> Link {
        Link { queue, ..self }
    }

    /// Limits the bit rate, with a queue before the limit.
    pub fn rate(self, bits_per_second: u64) -> Link {
        Link { bits_per_second: Some(bits_per_second), ..self }
    }

    /// The receiver reads at this interval, and between two reads its socket holds this number of
    /// datagrams and of bytes of payload; the rest is lost.
    pub fn socket(self, datagrams: u32, bytes: usize, read_every: Duration) -> Link {
        Link { socket: Some(Socket { datagrams, bytes, read_every }), ..self }
    }

    /// The one-way delay without jitter and queue.
    pub fn one_way(&self) -> Duration {
        self.delay
    }
}

/// Both directions between a peer and the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// From the peer.
    pub up: Link,
    /// To the peer.
    pub down: Link,
}

impl Path {
    /// Makes a path of equal directions.
    pub fn both(link: Link) -> Path {
        Path { up: link, down: link }
    }
}

/// A link in use.
#[derive(Debug)]
pub struct Wire {
    /// Its current properties.
    pub link: Link,
    random: Random,
    is_bad: bool,
    bad_until: Option<Instant>,
    free_at: Option<Instant>,
    last_at: Option<Instant>,
    began_at: Option<Instant>,
    /// The receiver's next read, and the datagrams and bytes that it will find.
    held: (Option<Instant>, u32, usize),
    /// Number of datagrams given to it.
    pub sent: u64,
    /// Number of datagrams that it lost.
    pub lost: u64,
    /// Bytes carried, with headers of IP and UDP.
    pub bytes: u64,
}

impl Wire {
    /// Makes a wire with its own random numbers.
    pub fn new(link: Link, random: Random) -> Wire {
        Wire {
            link,
            random,
            is_bad: false,
            bad_until: None,
            free_at: None,
            last_at: None,
            began_at: None,
            held: (None, 0, 0),
            sent: 0,
            lost: 0,
            bytes: 0,
        }
    }

    /// Carries a datagram of `bytes`. Returns its arrivals: none, one or two.
    pub fn carry(&mut self, now: Instant, bytes: usize) -> [Option<Instant>; 2] {
        self.sent += 1;
        let arrives = self.first_arrival(now, bytes);
        if arrives.is_none() {
            self.lost += 1;
        } else {
            self.bytes += (bytes + HEADER_BYTES) as u64;
        }
        let again = arrives.filter(|_| self.random.happens(self.link.duplication));
        [arrives, again.map(|at| at + Duration::from_micros(300))]
    }

    fn first_arrival(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.link.is_cut {
            return None;
        }
        if let Some(burst) = self.link.burst {
            let was_bad = self.is_bad && self.bad_until.is_some_and(|until| now < until);
            self.is_bad = if was_bad { !self.random.happens(burst.ends) } else { self.random.happens(burst.begins) };
            if self.is_bad && !was_bad {
                self.bad_until = Some(now + burst.longest);
            }
            if self.is_bad {
                return None;
            }
        }
        if self.random.happens(self.link.loss) {
            return None;
        }
        let mut leaves = now;
        if let Some(rate) = self.link.bits_per_second {
            let starts = self.free_at.unwrap_or(now).max(now);
            if starts > now + self.link.queue {
                return None;
            }
            leaves = starts + Duration::from_nanos((bytes + HEADER_BYTES) as u64 * 8 * 1_000_000_000 / rate.max(1));
            self.free_at = Some(leaves);
        }
        let jitter = Duration::from_micros(self.random.below(self.link.jitter.as_micros() as u64 + 1));
        let arrives = leaves + self.link.delay + jitter;
        if self.random.happens(self.link.reordering) {
            return Some(arrives + FALLS_BEHIND);
        }
        let in_order = arrives.max(self.last_at.unwrap_or(arrives));
        self.last_at = Some(in_order);
        match self.link.socket {
            Some(socket) => self.read_at(in_order, bytes, socket),
            None => Some(in_order),
        }
    }

    /// Returns the time at which the receiver reads a datagram that arrives at `at`; `None` if its
    /// socket is full.
    fn read_at(&mut self, at: Instant, bytes: usize, socket: Socket) -> Option<Instant> {
        let began_at = *self.began_at.get_or_insert(at);
        let each = socket.read_every.as_nanos().max(1);
        let reads = at.saturating_duration_since(began_at).as_nanos() / each + 1;
        let read_at = began_at + Duration::from_nanos(u64::try_from(reads * each).ok()?);
        let (next, datagrams, held) = &mut self.held;
        if next.replace(read_at) != Some(read_at) {
            (*datagrams, *held) = (0, 0);
        }
        if *datagrams >= socket.datagrams || *held + bytes > socket.bytes {
            return None;
        }
        *datagrams += 1;
        *held += bytes;
        Some(read_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_has_the_properties_that_were_set() {
        let now = Instant::now();
        let share = |link: Link| {
            let mut wire = Wire::new(link, Random::new(7));
            let arrived: usize =
                (0..20_000).map(|n| wire.carry(now + Duration::from_millis(n), 1_000).iter().flatten().count()).sum();
            arrived as f64 / 20_000.0
        };
        assert_eq!(share(Link::good()), 1.0);
        assert_eq!(share(Link::cut()), 0.0);
        assert!((share(Link::good().loss(0.1)) - 0.9).abs() < 0.01);
        assert!((share(Link::good().duplication(0.1)) - 1.1).abs() < 0.01);
        // 8.2 Mb/s offered.
        assert!((share(Link::good().rate(4_112_000)) - 0.5).abs() < 0.03);
        // Bursts of 5 begin at 1 %: about 4.8 % is lost.
        assert!((share(Link::good().bursts(0.01, 5.0)) - 0.952).abs() < 0.01);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let now = Instant::now();
        let ordered = |link: Link| {
            let mut wire = Wire::new(link, Random::new(7));
            let arrivals: Vec<_> =
                (0..1_000).filter_map(|n| wire.carry(now + Duration::from_millis(n), 100)[0]).collect();
            arrivals.windows(2).all(|w| w[0] <= w[1])
        };
        assert!(ordered(Link::good().jitter(Duration::from_millis(30))));
        assert!(!ordered(Link::good().reordering(0.05)));
    }
}
