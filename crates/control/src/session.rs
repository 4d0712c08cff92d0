//! Which sessions are there, and how many of which kind?
//!
//! What must always hold: `by_address` adds up to the number of sessions and has no zeros;
//! `publishers` is how many of them have that role.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use media::{SessionId, StreamId};

use crate::limits::Address;

/// The role of a session in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The session sends the stream's media.
    Publisher,
    /// The session receives the stream's media.
    Viewer,
}

/// The client that asks for a session: its address, and the subject of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address as HTTP resolved it.
    pub ip: IpAddr,
    /// The subject of the token, if there was a token and it names one.
    pub identity: Option<String>,
}

impl From<IpAddr> for Caller {
    fn from(ip: IpAddr) -> Caller {
        Caller { ip, identity: None }
    }
}

/// One admitted session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) stream: StreamId,
    pub(crate) role: Role,
    pub(crate) address: Address,
    /// The subject of the token that opened it; at most 256 bytes (`server::auth`).
    pub(crate) identity: Option<Box<str>>,
    pub(crate) admitted_at: Instant,
    /// `None` while it is connecting.
    pub(crate) connected_at: Option<Instant>,
}

/// All admitted sessions, with their counts.
///
/// Ordered maps, so that every iteration has the same order in every run.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_address: BTreeMap<Address, usize>,
    publishers: usize,
}

impl Sessions {
    /// Adds a session whose id must be new.
    pub(crate) fn add(&mut self, id: SessionId, session: Session) {
        *self.by_address.entry(session.address).or_default() += 1;
        self.publishers += usize::from(session.role == Role::Publisher);
        let before = self.by_id.insert(id, session);
        assert!(before.is_none(), "session ids are 128 random bits");
    }

    /// Removes a session and returns it.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        self.publishers -= usize::from(session.role == Role::Publisher);
        let count = self.of_address(session.address);
        if count > 1 {
            self.by_address.insert(session.address, count - 1);
        } else {
            self.by_address.remove(&session.address);
        }
        Some(session)
    }

    /// Marks a connecting session as connected and returns it; `None` if it is unknown or was
    /// connected before.
    pub(crate) fn connect(&mut self, now: Instant, id: SessionId) -> Option<&Session> {
        let session = self.by_id.get_mut(&id)?;
        if session.connected_at.is_some() {
            return None;
        }
        session.connected_at = Some(now);
        Some(session)
    }

    /// Returns a session.
    pub(crate) fn get(&self, id: &SessionId) -> Option<&Session> {
        self.by_id.get(id)
    }

    /// Returns how many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns how many of them publish.
    pub(crate) fn publishers(&self) -> usize {
        self.publishers
    }

    /// Returns how many of them come from `address`.
    pub(crate) fn of_address(&self, address: Address) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_follow_sessions_and_leave_nothing_behind() {
        let mut sessions = Sessions::default();
        let [a, b, c] = [1, 2, 3].map(|n| SessionId::from_bytes([n; 16]));
        let home = Address::V4([192, 0, 2, 1].into());
        sessions.add(a, session(Role::Publisher, home));
        sessions.add(b, session(Role::Viewer, home));
        sessions.add(c, session(Role::Viewer, Address::V6Net([1, 2, 3, 4])));
        assert_eq!((sessions.len(), sessions.publishers()), (3, 1));
        assert_eq!(sessions.of_address(home), 2);

        assert!(sessions.remove(a).is_some());
        assert!(sessions.remove(a).is_none());
        assert_eq!((sessions.len(), sessions.publishers()), (2, 0));
        assert_eq!(sessions.of_address(home), 1);

        sessions.remove(b);
        sessions.remove(c);
        assert!(sessions.by_address.is_empty(), "an address may not stay for ever");
    }

    #[test]
    fn a_session_connects_once() {
        let mut sessions = Sessions::default();
        let id = SessionId::from_bytes([1; 16]);
        sessions.add(id, session(Role::Viewer, Address::V6Net([0; 4])));
        let now = Instant::now();
        assert!(sessions.connect(now, id).is_some());
        let later = now + Duration::from_secs(1);
        assert!(sessions.connect(later, id).is_none());
        assert_eq!(sessions.get(&id).and_then(|session| session.connected_at), Some(now));
        let stranger = SessionId::from_bytes([2; 16]);
        assert!(sessions.connect(now, stranger).is_none());
    }

    fn session(role: Role, address: Address) -> Session {
        Session { stream: StreamId(1), role, address, identity: None, admitted_at: Instant::now(), connected_at: None }
    }
}
