//! Why did a session's handshake fail, and how often does that happen?

use std::collections::VecDeque;

use media::{SessionId, StreamName};
use sfu::dtls::{Failure, Reason};

use crate::session::Role;

/// Handshakes that failed: all of them counted, the newest remembered.
#[derive(Debug, Default)]
pub(super) struct Failures {
    newest: VecDeque<FailedSession>,
    by_reason: [u64; Reason::ALL.len()],
}

/// A session that is over because its DTLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSession {
    /// The session.
    pub session: SessionId,
    /// Its stream.
    pub stream: StreamName,
    /// Its role.
    pub role: Role,
    /// The failure, in words.
    pub why: String,
}

/// The most failed sessions that are remembered, so that a client that asks for its session is told
/// why it is gone. A guess: those of some seconds, where something is wrong with many clients.
pub const MAX_FAILED: usize = 256;

impl Failures {
    /// Counts a failure.
    pub(super) fn count(&mut self, failure: &Failure) {
        self.by_reason[failure.reason as usize] += 1;
    }

    /// Remembers a failed session, and forgets the oldest beyond [`MAX_FAILED`].
    pub(super) fn remember(&mut self, failed: FailedSession) {
        if self.newest.len() >= MAX_FAILED {
            self.newest.pop_front();
        }
        self.newest.push_back(failed);
    }

    /// Returns a failed session, if it is remembered.
    pub(super) fn get(&self, session: SessionId) -> Option<&FailedSession> {
        self.newest.iter().rev().find(|failed| failed.session == session)
    }

    /// Returns how many handshakes failed so far, by [`Reason`].
    pub(super) fn by_reason(&self) -> [u64; Reason::ALL.len()] {
        self.by_reason
    }
}
