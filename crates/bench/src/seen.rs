//! What came of the play: while it runs, when viewers had joined, and for a window of time?

use std::fmt;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::process::Spent;
use crate::publisher::Sent;
use crate::reception::Counted;

/// How things stand, told to the observer while the play goes on.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    /// Since everything began.
    pub(crate) elapsed: Duration,
    /// Viewers that began to join, that see pictures, and that failed. Those that joined and failed
    /// later are in both.
    pub(crate) started: usize,
    pub(crate) joined: usize,
    pub(crate) failed: usize,
    /// Over all viewers since the beginning.
    pub(crate) total: Counted,
    /// Over all publishers since the beginning.
    pub(crate) sent: Sent,
    /// Of verified packets since the observer was told last.
    pub(crate) delay: &'a Histogram,
    /// Datagrams that found the generator's own sockets full, since the beginning.
    pub(crate) kernel_drops: u64,
}

/// What a group of viewers got while we watched.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) viewers: usize,
    pub(crate) seconds: f64,
    pub(crate) total: Counted,
    /// Viewers that were without a packet for longer than [`STARVED_AFTER`](crate::load).
    pub(crate) starved: usize,
    /// Viewers that had joined and whose sessions then ended.
    pub(crate) failed: usize,
    pub(crate) delay: Histogram,
    /// Of key frames' packets alone.
    pub(crate) key_frame_delay: Histogram,
    pub(crate) verified_packets: u64,
    pub(crate) damaged: u64,
    /// Of the verified: packets that the server has put together anew from what was published.
    pub(crate) recut: u64,
    /// Frames whose RTP timestamp did not advance as published.
    pub(crate) wrong_timestamps: u64,
    pub(crate) rejected: u64,
    pub(crate) kernel_drops: u64,
    /// How late a viewer's timer was served at worst.
    pub(crate) timers_latest: Duration,
    pub(crate) sent: Sent,
    pub(crate) generator: Spent,
}

/// How joining went.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) joined: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) answer: Histogram,
    pub(crate) first_packet: Histogram,
    pub(crate) first_picture: Histogram,
    /// When each had its first whole picture, counted from when the first began to join; in order.
    pub(crate) pictured_after: Vec<Duration>,
    /// Why the first that failed did.
    pub(crate) failure: Option<String>,
}

/// Why what was seen may be the generator's doing rather than the server's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bottleneck {
    /// It had no time left.
    Cpu { cores: f64 },
    /// Datagrams found its sockets full.
    SocketsFull { datagrams: u64 },
    /// A frame was published too late.
    PublisherLate { ms: f64 },
    /// A viewer asked or told too late.
    TimersLate { ms: f64 },
}

/// The generator is at its end when its one core is; a guess that leaves room for the sampling of
/// `/proc`.
const BUSY_CORES: f64 = 0.9;
/// Lateness of a frame in ms above which the generator counts as the bottleneck: a third of a frame
/// at 30 frames a second.
const LATE_MS: f64 = 10.0;
/// Feedback later than this is not what a browser sends: half of its interval.
const TIMERS_LATE_MS: f64 = 50.0;

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bottleneck::Cpu { cores } => write!(f, "the generator used {cores:.2} cores"),
            Bottleneck::SocketsFull { datagrams } => {
                write!(f, "{datagrams} datagrams found the generator's sockets full")
            }
            Bottleneck::PublisherLate { ms } => write!(f, "a frame was sent {ms:.1} ms late"),
            Bottleneck::TimersLate { ms } => write!(f, "a viewer's feedback was sent {ms:.1} ms late"),
        }
    }
}

impl Seen {
    /// Packets that came neither the first way nor by repair, as a share of all that were to come.
    pub(crate) fn loss_after_repair(&self) -> f64 {
        self.total.lost as f64 / self.expected()
    }

    /// Packets that did not come the first way.
    pub(crate) fn loss_before_repair(&self) -> f64 {
        self.total.gaps.saturating_sub(self.total.late) as f64 / self.expected()
    }

    /// Received the first way.
    pub(crate) fn packets_per_second(&self) -> f64 {
        self.total.packets as f64 / self.seconds.max(1e-9)
    }

    /// Why what was seen may be the generator's doing.
    pub(crate) fn bottleneck(&self) -> Option<Bottleneck> {
        let (cores, ms) = (self.generator.cores(), self.sent.latest.as_secs_f64() * 1e3);
        let timers_ms = self.timers_latest.as_secs_f64() * 1e3;
        if cores > BUSY_CORES {
            Some(Bottleneck::Cpu { cores })
        } else if self.kernel_drops > 0 {
            Some(Bottleneck::SocketsFull { datagrams: self.kernel_drops })
        } else if ms > LATE_MS {
            Some(Bottleneck::PublisherLate { ms })
        } else if timers_ms > TIMERS_LATE_MS {
            Some(Bottleneck::TimersLate { ms: timers_ms })
        } else {
            None
        }
    }

    /// Of the packets that did not come the first way: the share that came by repair within 200 ms.
    /// 1 if all came.
    pub(crate) fn repaired_in_time(&self) -> f64 {
        match self.total.gaps.saturating_sub(self.total.late) {
            0 => 1.0,
            gaps => self.total.repaired_in_time as f64 / gaps as f64,
        }
    }

    /// Returns the number of packets that the server has numbered for its viewers.
    pub(crate) fn expected(&self) -> f64 {
        (self.total.packets + self.total.lost + self.total.repaired).max(1) as f64
    }
}
