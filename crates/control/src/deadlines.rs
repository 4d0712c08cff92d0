//! Which sessions are past their deadline, and when is the next deadline?
//!
//! One deadline a session at most, ordered by time; every step is O(log n).

use std::collections::BTreeSet;
use std::time::Instant;

use media::SessionId;

/// The deadlines of those sessions that have one.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Instant, SessionId)>,
}

impl Deadlines {
    /// Adds a deadline.
    pub(crate) fn add(&mut self, at: Instant, session: SessionId) {
        self.by_time.insert((at, session));
    }

    /// Removes a deadline; `at` is the time with which it was added.
    pub(crate) fn remove(&mut self, at: Instant, session: SessionId) {
        self.by_time.remove(&(at, session));
    }

    /// Removes and returns a session whose deadline is not later than `now`, earliest first.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<SessionId> {
        let (at, session) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        Some(session)
    }

    /// Returns how many sessions have a deadline.
    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_due_in_order_and_not_before_their_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [a, b, c] = [1, 2, 3].map(|n| SessionId::from_bytes([n; 16]));
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);

        deadlines.add(at(30), a);
        deadlines.add(at(10), b);
        deadlines.add(at(20), c);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(10)), Some(b));
        assert_eq!(deadlines.pop_due(at(10)), None);

        deadlines.remove(at(20), c);
        assert_eq!(deadlines.next(), Some(at(30)));
        assert_eq!(deadlines.pop_due(at(99)), Some(a));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn sessions_may_share_a_moment() {
        let now = Instant::now();
        let [a, b] = [1, 2].map(|n| SessionId::from_bytes([n; 16]));
        let mut deadlines = Deadlines::default();
        deadlines.add(now, b);
        deadlines.add(now, a);
        assert_eq!(deadlines.pop_due(now), Some(a));
        assert_eq!(deadlines.pop_due(now), Some(b));
        assert_eq!(deadlines.pop_due(now), None);
    }
}
