//! Which handshake is next, and which session is told to come again?
//!
//! A handshake waits for the network most of the time, and each client whose handshake is under way
//! asks again after a while if no answer comes. So only a limited number is under way at once;
//! others wait in order, for a short time, and are then turned away while their player still shows
//! that it is trying.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use media::{SessionId, StreamId};

use crate::format::Published;

/// Handshakes under way, and sessions that wait for theirs.
pub(super) struct Admission {
    most: usize,
    /// Those under way, and when they began; some are done already.
    begun: VecDeque<(Instant, SessionId)>,
    under_way: HashSet<SessionId>,
    waiting: VecDeque<(Instant, Asked)>,
}

/// A session that is to begin its handshake, with the viewer's offer, if it sent one.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) stream: StreamId,
    pub(super) offer: Option<String>,
    pub(super) published: Published,
}

/// What to do with the first in the queue.
pub(super) enum Decision {
    /// It may begin.
    Open(Asked),
    /// It has waited too long.
    TurnAway(SessionId),
}

/// The most sessions that wait: at 64 KiB an offer, 64 MiB at worst.
const MAX_WAITING: usize = 1_024;

/// Longest time that a session waits for its turn. A guess: players and people are patient for some
/// seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Time after which an unfinished handshake does not count as under way any more: its peer may
/// never come, and must not delay others. Four round trips on the longest ways of the internet,
/// with one packet lost (DTLS repeats after 1 s, RFC 6347 §4.2.4.1).
const SPAN: Duration = Duration::from_secs(3);

impl Admission {
    /// `most`: handshakes under way at once.
    pub(super) fn new(most: usize) -> Admission {
        Admission { most, begun: VecDeque::new(), under_way: HashSet::new(), waiting: VecDeque::new() }
    }

    /// Takes a session that is to begin. Returns whether there is a place to wait.
    pub(super) fn ask(&mut self, now: Instant, asked: Asked) -> bool {
        let has_place = self.waiting.len() < MAX_WAITING;
        if has_place {
            self.waiting.push_back((now, asked));
        }
        has_place
    }

    /// The next one to begin, or to be turned away.
    pub(super) fn next(&mut self, now: Instant) -> Option<Decision> {
        self.forget_old(now);
        let (since, _) = self.waiting.front()?;
        if now.saturating_duration_since(*since) >= LONGEST_WAIT {
            return self.waiting.pop_front().map(|(_, asked)| Decision::TurnAway(asked.session));
        }
        if self.under_way.len() >= self.most {
            return None;
        }
        let (_, asked) = self.waiting.pop_front()?;
        self.begun.push_back((now, asked.session));
        self.under_way.insert(asked.session);
        Some(Decision::Open(asked))
    }

    /// A handshake is done, or its session is gone.
    pub(super) fn finish(&mut self, session: SessionId) {
        if !self.under_way.remove(&session) {
            self.waiting.retain(|(_, asked)| asked.session != session);
        }
    }

    /// When to ask for the next one.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let (since, _) = self.waiting.front()?;
        if self.under_way.len() < self.most {
            return Some(*since);
        }
        let oldest = self.begun.iter().find(|(_, session)| self.under_way.contains(session));
        let turned_away_at = *since + LONGEST_WAIT;
        Some(oldest.map_or(turned_away_at, |(began, _)| turned_away_at.min(*began + SPAN)))
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((began, session)) = self.begun.front() {
            let is_over = !self.under_way.contains(session);
            if !is_over && now.saturating_duration_since(*began) < SPAN {
                return;
            }
            self.under_way.remove(session);
            self.begun.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    fn asked(n: u8) -> Asked {
        Asked { session: id(n), stream: StreamId(1), offer: None, published: Published::default() }
    }

    fn opened(admission: &mut Admission, now: Instant) -> Vec<SessionId> {
        std::iter::from_fn(|| match admission.next(now)? {
            Decision::Open(asked) => Some(asked.session),
            Decision::TurnAway(_) => panic!("nobody has waited that long"),
        })
        .collect()
    }

    #[test]
    fn so_many_are_under_way_and_others_follow_in_order() {
        let now = Instant::now();
        let mut admission = Admission::new(2);
        for n in 1..=5 {
            assert!(admission.ask(now, asked(n)));
        }
        assert_eq!(opened(&mut admission, now), [id(1), id(2)]);
        admission.finish(id(2));
        assert_eq!(admission.poll_timeout(), Some(now), "at once");
        assert_eq!(opened(&mut admission, now), [id(3)]);
        admission.finish(id(4));
        admission.finish(id(1));
        assert_eq!(opened(&mut admission, now), [id(5)], "the fourth went away while it waited");
        assert_eq!(admission.poll_timeout(), None);
    }

    #[test]
    fn session_that_never_connects_delays_others_for_a_bounded_time() {
        let began = Instant::now();
        let mut admission = Admission::new(1);
        admission.ask(began, asked(1));
        assert_eq!(opened(&mut admission, began), [id(1)]);
        let later = began + Duration::from_millis(1_500);
        admission.ask(later, asked(2));
        assert_eq!(admission.poll_timeout(), Some(began + SPAN));
        assert!(opened(&mut admission, later).is_empty());
        assert_eq!(opened(&mut admission, began + SPAN), [id(2)]);
    }

    #[test]
    fn session_that_waits_too_long_is_refused() {
        let began = Instant::now();
        let mut admission = Admission::new(0);
        admission.ask(began, asked(1));
        assert_eq!(admission.poll_timeout(), Some(began + LONGEST_WAIT));
        assert!(admission.next(began).is_none());
        assert!(matches!(admission.next(began + LONGEST_WAIT), Some(Decision::TurnAway(session)) if session == id(1)));
        for n in 0..MAX_WAITING {
            assert!(admission.ask(began, asked(n as u8)));
        }
        assert!(!admission.ask(began, asked(0)), "no place to wait");
    }

    #[test]
    fn what_is_done_is_not_remembered() {
        let now = Instant::now();
        let mut admission = Admission::new(4);
        for n in 0..=255 {
            admission.ask(now, asked(n));
            assert_eq!(opened(&mut admission, now), [id(n)]);
            admission.finish(id(n));
        }
        assert!(admission.begun.len() <= 1 && admission.under_way.is_empty());
    }
}
