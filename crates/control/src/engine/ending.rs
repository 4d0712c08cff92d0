//! How do sessions end, and how does the server stop?

use std::time::{Duration, Instant};

use media::SessionId;
use sfu::publisher::Ended;
use sfu::{desk, shard};

use super::failures::FailedSession;
use super::output::{Notice, Output};
use super::request::{Answer, Refusal, RequestId};
use super::waiting::ANSWER_WITHIN;
use super::{Connection, Engine};
use crate::effect::{CloseReason, Effect};

/// Time for the goodbyes of desks (DTLS close_notify) after the last shard has said its own. A
/// guess.
const FAREWELL: Duration = Duration::from_millis(300);

/// A stop that is under way.
#[derive(Debug)]
pub(super) struct Stopping {
    /// Shards that have not said goodbye yet.
    left: u8,
    /// When it is over, also if a shard has not said goodbye by then.
    until: Instant,
    requests: Vec<RequestId>,
}

impl Stopping {
    /// Returns when to look at it again.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.requests.is_empty()).then_some(self.until)
    }
}

impl Engine {
    /// A media thread ended a session.
    pub(super) fn ended(&mut self, now: Instant, session: SessionId, why: Ended) {
        let Some(Connection { role, .. }) = self.connections.get(&session) else { return };
        let role = *role;
        if let Ended::Handshake(failure) = why {
            self.failures.count(&failure);
            self.notice(Notice::HandshakeFailed { session, role, failure });
            if let Some((stream, _)) = self.control.owner(&session) {
                let stream = stream.clone();
                self.failures.remember(FailedSession { session, stream, role, failure, at: now });
                self.has_changed = true;
            }
        } else {
            self.notice(Notice::Ended { session, why });
        }
        self.forget(session);
        self.control.closed(now, session);
    }

    /// Closes a session because of a fault of the engine: a step for it panicked, and may have been
    /// half done. Returns whether there was such a session.
    pub fn fail(&mut self, now: Instant, session: SessionId) -> bool {
        self.fail_waiting(session);
        self.control.close(now, session, CloseReason::Failed)
    }

    /// Forgets a session, and answers the requests that wait for it.
    pub(super) fn forget(&mut self, session: SessionId) -> Option<Connection> {
        self.fail_waiting(session);
        self.connections.remove(&session)
    }

    fn fail_waiting(&mut self, session: SessionId) {
        for pending in self.waiting.take_all(session) {
            self.answer_pending(&pending, pending.awaits.failed(Refusal::NoSuchSession));
        }
    }

    /// Does what `control` decided.
    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.control.poll_effect() {
            match effect {
                Effect::Close { session, role, reason, .. } => {
                    self.notice(Notice::Closing { session, role, reason });
                    if let Some(connection) = self.forget(session) {
                        let command = desk::Command::Close { session };
                        self.outputs.push_back(Output::ToDesk { desk: connection.desk, command });
                    }
                    self.has_changed = true;
                }
                Effect::StreamOpened { stream } => {
                    self.streams.entry(stream).or_default();
                }
                Effect::StreamClosed { stream } => {
                    self.streams.remove(&stream);
                    // Every shard may know a stream: its home tells all others of it.
                    self.tell_all_shards(|| shard::Command::CloseStream { stream });
                    self.has_changed = true;
                }
                Effect::PublisherIs { stream, epoch, .. } => {
                    self.streams.entry(stream).or_default().publisher_is(epoch);
                }
                Effect::PublisherGone { stream, epoch } => {
                    if let Some(watched) = self.streams.get_mut(&stream) {
                        watched.publisher_gone(epoch);
                    }
                    self.has_changed = true;
                }
                Effect::Changed { .. } => self.has_changed = true,
            }
        }
    }

    pub(super) fn shut_down(&mut self, now: Instant, id: RequestId) {
        self.control.shut_down(now);
        // The goodbyes of sessions go before the end of their threads.
        self.carry_out();
        match &mut self.stopping {
            Some(stopping) => {
                stopping.until = stopping.until.max(now);
                stopping.requests.push(id);
            }
            None => {
                let until = now + ANSWER_WITHIN;
                self.stopping = Some(Stopping { left: self.shards, until, requests: vec![id] });
                self.tell_all_shards(|| shard::Command::Stop);
            }
        }
    }

    /// A shard has said goodbye to all of its sessions.
    pub(super) fn shard_stopped(&mut self, now: Instant, shard: u8) {
        self.notice(Notice::ShardStopped { shard });
        self.snapshots.remove(&shard);
        if let Some(stopping) = &mut self.stopping {
            stopping.left = stopping.left.saturating_sub(1);
            if stopping.left == 0 {
                stopping.until = stopping.until.min(now + FAREWELL);
            }
        }
    }

    pub(super) fn look_at_stopping(&mut self, now: Instant) {
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| stopping.until <= now) else {
            return;
        };
        for request in std::mem::take(&mut stopping.requests) {
            self.answer(request, Answer::Stopped);
        }
    }
}
