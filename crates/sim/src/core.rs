//! How much can a core send?
//!
//! Models the time that a shard's thread spends on sending; receiving costs nothing.

use std::time::{Duration, Instant};

/// A core on which one shard runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Core {
    per_datagram: Duration,
    free_at: Instant,
    /// End of the sleep that was already reported.
    told_until: Instant,
}

impl Core {
    /// Makes a core that sends any number of datagrams in no time.
    pub(crate) fn new(now: Instant) -> Core {
        Core { per_datagram: Duration::ZERO, free_at: now, told_until: now }
    }

    /// Sets the datagrams that the core sends per second; `None`: any number.
    pub(crate) fn set_rate(&mut self, datagrams_per_second: Option<u32>) {
        self.per_datagram = datagrams_per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
    }

    /// Returns `true` if all datagrams given to it were sent.
    pub(crate) fn is_free(&self, now: Instant) -> bool {
        self.free_at <= now
    }

    /// Returns the time at which all datagrams given to it are sent.
    pub(crate) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// Adds datagrams to send.
    pub(crate) fn works(&mut self, now: Instant, datagrams: usize) {
        self.free_at = self.free_at.max(now) + self.per_datagram * datagrams as u32;
    }

    /// Returns the idle time since the last call.
    pub(crate) fn slept_until(&mut self, now: Instant) -> Duration {
        let idle_from = self.told_until.max(self.free_at.min(now));
        self.told_until = now;
        now.saturating_duration_since(idle_from)
    }
}
