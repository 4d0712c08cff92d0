//! What does a panic on a shard end?
//!
//! The session whose turn it was, and nothing else. Each entry into the shard (a datagram, a command, the timers, a round
//! of sending) runs under one `catch_unwind`, and [`Shard::turn`] notes whose state is being changed: one store per
//! session, and nothing more until a panic happens. What the session sent or left half changed goes with it; queues
//! and timers of the shard are changed so that they are whole at every step of a session.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use media::{SessionId, StreamId};

use super::streams::Source;
use super::{Command, Event, Key, Shard};

/// Whose state is being changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// State of all sessions.
    #[default]
    Shared,
    /// A datagram of which no session is known yet; it is dropped.
    Stranger,
    /// A viewer here, by its slot.
    Viewer(usize),
    /// A publisher here.
    Publisher(usize),
    /// A session that may be here: many commands go to all shards.
    Session(SessionId),
    /// A session that is being added, and its desk.
    Coming(SessionId, u8),
    /// Packets that another shard relays to this one.
    Relayed(StreamId),
}

impl Shard {
    /// Runs a step of the shard. Returns `None` after a panic: the session whose turn it was is gone then.
    ///
    /// # Panics
    ///
    /// Goes on with a panic that belongs to no session and has happened too often ([`crate::guard::Strikes`]).
    #[inline]
    pub(super) fn guarded<T>(&mut self, now: Instant, turn: Turn, step: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        self.turn.set(turn);
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.panicked(now, panic);
                None
            }
        }
    }

    /// Whose state a command changes.
    pub(super) fn turn_of(command: &Command) -> Turn {
        match command {
            Command::AddPublisher(setup) => Turn::Coming(setup.session, setup.desk),
            Command::AddViewer(setup) => Turn::Coming(setup.session, setup.desk),
            Command::MoveViewer { session, .. }
            | Command::Remove { session }
            | Command::Bind { session, .. }
            | Command::Protected { session, .. }
            | Command::SetPreferences { session, .. }
            | Command::Report { session } => Turn::Session(*session),
            Command::Relayed { stream, .. } => Turn::Relayed(*stream),
            _ => Turn::Shared,
        }
    }

    #[cold]
    fn panicked(&mut self, now: Instant, panic: Box<dyn Any + Send>) {
        self.counters.panics += 1;
        match self.turn.take() {
            Turn::Viewer(key) if self.viewers.contains(key) => self.viewer_failed(key),
            Turn::Publisher(key) if self.publishers.contains(key) => self.publisher_failed(key),
            Turn::Session(session) | Turn::Coming(session, _) if self.by_session.contains_key(&session) => {
                match self.by_session.get(&session).copied() {
                    Some(Key::Viewer(key)) => self.viewer_failed(key),
                    Some(Key::Publisher(key)) => self.publisher_failed(key),
                    None => {}
                }
            }
            Turn::Coming(session, desk) => {
                self.log_panic(session, "new");
                self.events.push_back(Event::SessionFailed { session, desk });
            }
            Turn::Relayed(stream) => self.relay_failed(stream),
            // The datagram is dropped, and nothing was changed for it.
            Turn::Stranger => {}
            Turn::Viewer(_) | Turn::Publisher(_) | Turn::Session(_) | Turn::Shared => {
                if !self.strikes.survives(now) {
                    resume_unwind(panic);
                }
            }
        }
    }

    /// A viewer's step panicked: it goes without a goodbye of ours, because its keys and numbers may be half changed.
    /// Its desk says goodbye (DTLS close_notify) and tells control.
    fn viewer_failed(&mut self, key: usize) {
        let Some(viewer) = self.viewers.get(key).map(|slot| &slot.viewer) else { return };
        let (session, desk, address) = (viewer.session, viewer.desk, viewer.address());
        self.log_panic(session, "viewer");
        self.bottlenecks.forget(address.ip());
        self.remove_viewer(key);
        self.events.push_back(Event::SessionFailed { session, desk });
    }

    /// A publisher's step panicked.
    pub(super) fn publisher_failed(&mut self, key: usize) {
        let Some((session, desk)) = self.publishers.get(key).map(|p| (p.session, p.desk)) else { return };
        self.log_panic(session, "publisher");
        self.remove_publisher(key);
        self.events.push_back(Event::SessionFailed { session, desk });
    }

    /// Packets of a publisher on another shard led to a panic here: that shard ends it.
    fn relay_failed(&mut self, stream: StreamId) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        s.tracks.on_publisher_left();
        let epoch = s.epoch;
        if let Source::Remote { shard, .. } = s.source {
            let command = Command::FailPublisher { stream, epoch };
            self.events.push_back(Event::ToShard { shard, command });
        }
    }

    /// Another shard could not take what the publisher of this stream sends.
    pub(super) fn fail_publisher_of(&mut self, stream: StreamId, epoch: u32) {
        if let Some(s) = self.streams.get(&stream)
            && s.epoch == epoch
            && let Source::Local(key) = s.source
        {
            self.publisher_failed(key);
        }
    }

    fn log_panic(&self, session: SessionId, role: &str) {
        tracing::error!(
            shard = self.number,
            session = session.handle(),
            role,
            "a panic ended this session; all others go on"
        );
    }
}
