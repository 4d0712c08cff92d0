//! Which requests wait for a media thread, and until when?
//!
//! A request waits under the session that it is about, in order, until the thread answers or the
//! session ends. When [`ANSWER_WITHIN`] has passed it is answered, but keeps its place: the
//! thread's answer may still come, and belongs to no request behind it. What must always hold: each
//! request that is not answered has one deadline, and no session has an empty list.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use media::SessionId;

use super::request::{Answer, BEHIND, Refusal, RequestId};

/// Time within which a media thread must answer. A guess: a thread that needs longer is overloaded,
/// and the client should go elsewhere.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The most requests that wait for one session. A client sends one at a time; a guess that leaves
/// room for a page and its monitors.
pub(super) const MAX_WAITING: usize = 64;

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_session: BTreeMap<SessionId, Vec<Pending>>,
    deadlines: BTreeMap<(Instant, RequestId), SessionId>,
    /// Requests that found [`MAX_WAITING`] others.
    turned_away: u64,
}

/// One request that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// `None` once it was answered because its time was over.
    pub(super) request: Option<RequestId>,
    pub(super) awaits: Awaits,
    until: Instant,
}

/// The answer that a request waits for.
#[derive(Debug)]
pub(super) enum Awaits {
    /// The server's half of a description, from a desk.
    Opened,
    /// Whether a viewer's answer could be used, from a desk.
    Accepted,
    /// New ICE credentials, from a desk.
    Restarted {
        /// The client's new ufrag.
        ufrag: String,
    },
    /// The report on a viewer's media, from its shard.
    Report,
}

impl Awaits {
    /// The answer to a request that will not get the one that it waits for.
    pub(super) fn failed(&self, refusal: Refusal) -> Answer {
        match self {
            Awaits::Opened => Answer::Opened(Err(refusal)),
            Awaits::Accepted => Answer::Accepted(Err(refusal)),
            Awaits::Restarted { .. } => Answer::Trickled(Err(refusal)),
            Awaits::Report => Answer::Report(None),
        }
    }
}

impl Waiting {
    /// Adds a request. Returns `false`, and adds nothing, if too many wait for the session.
    #[must_use]
    pub(super) fn add(&mut self, now: Instant, session: SessionId, request: RequestId, awaits: Awaits) -> bool {
        let list = self.by_session.entry(session).or_default();
        if list.len() >= MAX_WAITING {
            self.turned_away += 1;
            return false;
        }
        let until = now + ANSWER_WITHIN;
        list.push(Pending { request: Some(request), awaits, until });
        self.deadlines.insert((until, request), session);
        true
    }

    /// Takes out the request of `session` that has waited longest of those that `is_meant` chooses.
    pub(super) fn take_first(&mut self, session: SessionId, is_meant: impl Fn(&Awaits) -> bool) -> Option<Pending> {
        let list = self.by_session.get_mut(&session)?;
        let at = list.iter().position(|pending| is_meant(&pending.awaits))?;
        let pending = list.remove(at);
        if list.is_empty() {
            self.by_session.remove(&session);
        }
        self.forget_deadline(&pending);
        Some(pending)
    }

    /// Takes out all requests of a session.
    pub(super) fn take_all(&mut self, session: SessionId) -> Vec<Pending> {
        let list = self.by_session.remove(&session).unwrap_or_default();
        for pending in &list {
            self.forget_deadline(pending);
        }
        list
    }

    /// Returns a request whose time is over, its session, and the answer that it is to get.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(SessionId, RequestId, Answer)> {
        let (&(until, request), &session) = self.deadlines.first_key_value()?;
        if until > now {
            return None;
        }
        self.deadlines.pop_first();
        let list = self.by_session.get_mut(&session)?;
        let at = list.iter().position(|pending| pending.request == Some(request))?;
        let pending = list.get_mut(at)?;
        pending.request = None;
        let answer = pending.awaits.failed(Refusal::Full { limit: BEHIND });
        // One report answers all requests that wait for it.
        if matches!(pending.awaits, Awaits::Report) {
            list.remove(at);
        }
        if list.is_empty() {
            self.by_session.remove(&session);
        }
        Some((session, request, answer))
    }

    /// Returns when the next request's time is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((until, _), _)| *until)
    }

    /// Returns how many requests were not taken because too many of their session waited.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away
    }

    fn forget_deadline(&mut self, pending: &Pending) {
        if let Some(request) = pending.request {
            self.deadlines.remove(&(pending.until, request));
        }
    }

    /// Returns the sessions that have waiting requests, with their number.
    #[cfg(test)]
    pub(super) fn sessions(&self) -> impl Iterator<Item = (SessionId, usize)> {
        let all = self.by_session.values().flatten();
        let unanswered = all.filter(|pending| pending.request.is_some()).count();
        assert_eq!(unanswered, self.deadlines.len(), "each unanswered request has one deadline");
        assert!(self.by_session.values().all(|list| !list.is_empty()), "no empty list");
        self.by_session.iter().map(|(session, list)| (*session, list.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId::from_bytes([1; 16]);

    fn is_report(awaits: &Awaits) -> bool {
        matches!(awaits, Awaits::Report)
    }

    #[test]
    fn a_request_is_taken_once_by_kind_in_order_or_when_its_time_is_over() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut waiting = Waiting::default();
        assert!(waiting.add(start, SESSION, RequestId(1), Awaits::Accepted));
        assert!(waiting.add(later, SESSION, RequestId(2), Awaits::Report));
        assert!(waiting.add(later, SESSION, RequestId(3), Awaits::Report));
        let first = waiting.take_first(SESSION, is_report).and_then(|pending| pending.request);
        assert_eq!(first, Some(RequestId(2)));
        assert_eq!(waiting.next(), Some(start + ANSWER_WITHIN));
        assert!(waiting.pop_due(start + ANSWER_WITHIN - Duration::from_nanos(1)).is_none());
        let due = waiting.pop_due(start + ANSWER_WITHIN);
        assert_eq!(due.map(|(of, request, _)| (of, request)), Some((SESSION, RequestId(1))));
        let rest: Vec<_> = waiting.take_all(SESSION).iter().map(|pending| pending.request).collect();
        assert_eq!(rest, [None, Some(RequestId(3))], "the first one keeps its place");
        assert_eq!((waiting.next(), waiting.sessions().count()), (None, 0));
        assert!(waiting.take_first(SESSION, is_report).is_none());
    }

    #[test]
    fn more_requests_than_the_limit_are_not_taken_and_are_counted() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for n in 0..MAX_WAITING as u64 {
            assert!(waiting.add(now, SESSION, RequestId(n), Awaits::Report));
        }
        assert!(!waiting.add(now, SESSION, RequestId(1_000), Awaits::Report));
        let other = SessionId::from_bytes([2; 16]);
        assert!(waiting.add(now, other, RequestId(1_001), Awaits::Report));
        assert_eq!(waiting.turned_away(), 1);
    }
}
