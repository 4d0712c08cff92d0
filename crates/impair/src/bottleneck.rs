//! When does a datagram leave a queue that is served at a rate?
//!
//! One datagram after the other is sent, each for its bits at the present rate; when the rate
//! changes, the remaining bits of the datagram being sent continue at the new rate. Moments are
//! exact to the nanosecond and do not depend on polling.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::settings::QueueLimit;

/// A queue before a link of limited rate.
#[derive(Debug)]
pub(crate) struct Bottleneck<T> {
    rate: Option<u64>,
    limit: QueueLimit,
    waiting: VecDeque<Waiting<T>>,
    /// When the first of them began to be sent, or was last reckoned.
    served_at: Instant,
    /// The remaining part of the first datagram in billionths of a bit, the product of bits a
    /// second and nanoseconds.
    first_work: u128,
    /// Bytes of all of them, the first counted whole.
    bytes: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    entered_at: Instant,
    /// `None` until it is the first.
    started_at: Option<Instant>,
    bytes: u64,
    what: T,
}

/// What has been sent.
#[derive(Debug)]
pub(crate) struct Departure<T> {
    /// When its last bit was sent.
    pub(crate) at: Instant,
    /// How long it stood behind others.
    pub(crate) waited: Duration,
    /// The queued item.
    pub(crate) what: T,
}

const BILLION: u128 = 1_000_000_000;

impl<T> Bottleneck<T> {
    /// Creates an empty queue without a rate.
    pub(crate) fn new(now: Instant) -> Bottleneck<T> {
        Bottleneck {
            rate: None,
            limit: QueueLimit::Time(Duration::ZERO),
            waiting: VecDeque::new(),
            served_at: now,
            first_work: 0,
            bytes: 0,
        }
    }

    /// Changes the rate and the limit. What has departed by `now` must have been polled.
    pub(crate) fn set(&mut self, now: Instant, rate: Option<u64>, limit: QueueLimit) {
        let done = self.done_since(now);
        self.first_work = self.first_work.saturating_sub(done);
        self.served_at = now;
        self.rate = rate;
        self.limit = limit;
    }

    /// Takes something of `bytes`. Gives it back if the queue is full.
    pub(crate) fn offer(&mut self, now: Instant, bytes: u64, what: T) -> Result<(), T> {
        // Whatever its limit, a link carries one.
        if !self.waiting.is_empty() && !self.has_room(now, bytes) {
            return Err(what);
        }
        if self.waiting.is_empty() {
            self.first_work = u128::from(bytes) * 8 * BILLION;
            self.served_at = now;
        }
        let started_at = self.waiting.is_empty().then_some(now);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { entered_at: now, started_at, bytes, what });
        Ok(())
    }

    /// Returns when the next datagram departs.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.waiting.front()?;
        let nanos = match self.rate {
            Some(rate) => self.first_work.div_ceil(u128::from(rate.max(1))),
            None => 0,
        };
        Some(self.served_at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Returns the next one that has departed by `now`.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Departure<T>> {
        let at = self.next_at().filter(|at| *at <= now)?;
        let first = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(first.bytes);
        self.served_at = at;
        if let Some(next) = self.waiting.front_mut() {
            next.started_at = Some(at);
            self.first_work = u128::from(next.bytes) * 8 * BILLION;
        }
        let waited = first.started_at.unwrap_or(at).saturating_duration_since(first.entered_at);
        Some(Departure { at, waited, what: first.what })
    }

    fn has_room(&self, now: Instant, bytes: u64) -> bool {
        match (self.limit, self.rate) {
            (_, None) => true,
            (QueueLimit::Bytes(limit), _) => self.bytes + bytes <= limit,
            (QueueLimit::Time(limit), Some(rate)) => {
                let first_bytes = self.waiting.front().map_or(0, |first| first.bytes);
                let behind = u128::from(self.bytes.saturating_sub(first_bytes)) * 8 * BILLION;
                let work = behind + self.first_work.saturating_sub(self.done_since(now));
                work <= limit.as_nanos() * u128::from(rate)
            }
        }
    }

    fn done_since(&self, now: Instant) -> u128 {
        now.saturating_duration_since(self.served_at).as_nanos() * u128::from(self.rate.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn departures(bottleneck: &mut Bottleneck<u32>, start: Instant, until: Duration) -> Vec<(u32, u128, u128)> {
        std::iter::from_fn(|| bottleneck.poll(start + until))
            .map(|d| (d.what, d.at.duration_since(start).as_millis(), d.waited.as_millis()))
            .collect()
    }

    #[test]
    fn one_after_the_other_at_the_rate() {
        let start = Instant::now();
        let mut bottleneck = Bottleneck::new(start);
        bottleneck.set(start, Some(8_000), QueueLimit::Time(10 * SECOND));
        (0..3).for_each(|n| bottleneck.offer(start, 100, n).unwrap());
        assert_eq!(departures(&mut bottleneck, start, SECOND), [(0, 100, 0), (1, 200, 100), (2, 300, 200)]);
        bottleneck.offer(start + SECOND, 100, 3).unwrap();
        assert_eq!(bottleneck.next_at(), Some(start + Duration::from_millis(1_100)));
    }

    #[test]
    fn the_rest_of_a_datagram_continues_at_the_new_rate() {
        let start = Instant::now();
        let mut bottleneck = Bottleneck::new(start);
        bottleneck.set(start, Some(8_000), QueueLimit::Time(10 * SECOND));
        (0..2).for_each(|n| bottleneck.offer(start, 1_000, n).unwrap());
        // Half of the first is left, and takes ten times as long.
        bottleneck.set(start + SECOND / 2, Some(800), QueueLimit::Time(10 * SECOND));
        assert_eq!(departures(&mut bottleneck, start, 6 * SECOND), [(0, 5_500, 0)]);
        bottleneck.set(start + 6 * SECOND, None, QueueLimit::Time(SECOND));
        assert_eq!(departures(&mut bottleneck, start, 6 * SECOND), [(1, 6_000, 5_500)]);
    }

    #[test]
    fn a_full_queue_drops_the_tail() {
        let start = Instant::now();
        let taken = |limit| {
            let mut bottleneck = Bottleneck::new(start);
            bottleneck.set(start, Some(8_000), limit);
            (0..100).filter(|n| bottleneck.offer(start, 100, *n).is_ok()).count()
        };
        // A datagram enters if it waits no longer than the limit: 0 to 500 ms are six.
        assert_eq!(taken(QueueLimit::Time(SECOND / 2)), 6);
        assert_eq!(taken(QueueLimit::Bytes(500)), 5);
        assert_eq!(taken(QueueLimit::Bytes(10)), 1, "an idle link carries one whatever its queue");
    }
}
