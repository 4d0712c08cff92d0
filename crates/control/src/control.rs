//! Which sessions are admitted, and what follows when one of them comes, connects or goes?
//!
//! What must always hold between two calls: every session belongs to a stream that names it, every
//! stream has at least one session, and exactly the connecting sessions have a deadline.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use media::{SessionId, StreamId, StreamName};

use crate::admission::{Admission, Load};
use crate::deadlines::Deadlines;
use crate::effect::{CloseReason, Effect};
use crate::limits::{Address, Limits, Refused};
use crate::session::{Caller, Role, Session, Sessions};
use crate::stream::{PublisherView, StreamView, Streams};
use crate::takeover::{Claimant, Holder, Takeover};

/// The state machine of streams, publishers and viewers.
///
/// See the [crate's tour](crate) for how to drive it. A session ends here in exactly one of two
/// ways: by an [`Effect::Close`], or by [`closed`](Self::closed). Afterwards it is unknown, and
/// whatever is still said about it (the floor below may be late) changes nothing.
#[derive(Debug)]
pub struct Control {
    limits: Limits,
    takeover: Takeover,
    admission: Admission,
    sessions: Sessions,
    streams: Streams,
    deadlines: Deadlines,
    /// The epoch given last. One counter for all streams: a stream that is forgotten and opened
    /// again cannot repeat one.
    last_epoch: u32,
    shutting_down: bool,
    /// Effects that the driver has not taken yet. Bounded, because the driver drains them after
    /// every call: a session adds at most seven effects in its whole life, and one each time its
    /// media stops or comes again. No effect is ever dropped.
    effects: VecDeque<Effect>,
}

/// Someone may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// Into which stream.
    pub stream: StreamId,
    /// A publisher's epoch, larger than every one before; 0 for viewers.
    pub epoch: u32,
}

impl Control {
    /// Creates the state machine, without sessions.
    pub fn new(limits: Limits, takeover: Takeover) -> Control {
        Control {
            limits,
            takeover,
            admission: Admission::default(),
            sessions: Sessions::default(),
            streams: Streams::default(),
            deadlines: Deadlines::default(),
            last_epoch: 0,
            shutting_down: false,
            effects: VecDeque::new(),
        }
    }

    /// Refuses viewers while a media thread is busy for `percent` of its time, as
    /// [`measured`](Self::measured) tells; 100: never, which is how it begins.
    #[must_use]
    pub fn with_busy_limit(mut self, percent: u8) -> Control {
        self.admission.set_limit(percent);
        self
    }

    /// Takes the load of the media threads; it is most useful right before a session is admitted.
    pub fn measured(&mut self, load: Load) {
        self.admission.measured(load);
    }

    /// Whether viewers are refused at the moment because of the load.
    pub fn is_overloaded(&self) -> bool {
        self.admission.is_overloaded()
    }

    /// Sessions refused because of the load so far.
    pub fn refused_by_load(&self) -> u64 {
        self.admission.refused()
    }

    /// Someone wants to publish. The session is admitted as connecting.
    ///
    /// # Panics
    ///
    /// If a session of this id is here already: ids are 128 random bits.
    pub fn publish(
        &mut self,
        now: Instant,
        session: SessionId,
        name: StreamName,
        caller: impl Into<Caller>,
    ) -> Result<Admitted, Refused> {
        let caller = caller.into();
        let address = Address::from(caller.ip);
        self.check_open(&session)?;
        let claimant = Claimant { address, identity: caller.identity.as_deref() };
        let replaced = self.check_takeover(now, &name, claimant)?;
        // A replaced session makes room: a publisher can come back to a full house.
        let leaving = replaced.and_then(|session| self.sessions.get(&session));
        self.check_room(&name, address, leaving)?;
        // A publisher that replaces another adds no load.
        if replaced.is_none() && !self.admission.takes_publisher() {
            return Err(Refused::Overloaded);
        }
        // 2^32 publishers have been here: nothing but a restart helps, and the old are not
        // repeated.
        let epoch = self.last_epoch.checked_add(1).ok_or(Refused::Full { limit: Limits::SESSIONS })?;

        let stream = self.find_or_open(name)?;
        self.last_epoch = epoch;
        if let Some(replaced) = replaced {
            self.take_out(replaced, Some(CloseReason::Replaced));
        }
        self.add_session(now, session, stream, Role::Publisher, caller);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.add_publisher(session, epoch);
        }
        self.effects.push_back(Effect::PublisherIs { stream, session, epoch });
        self.settle(stream);
        Ok(Admitted { stream, epoch })
    }

    /// Someone wants to watch; the stream need not be live yet. The session is admitted as
    /// connecting.
    ///
    /// # Panics
    ///
    /// If a session of this id is here already: ids are 128 random bits.
    pub fn watch(
        &mut self,
        now: Instant,
        session: SessionId,
        name: StreamName,
        caller: impl Into<Caller>,
    ) -> Result<Admitted, Refused> {
        let caller = caller.into();
        let address = Address::from(caller.ip);
        self.check_open(&session)?;
        self.check_room(&name, address, None)?;
        self.check_audience(&name)?;
        let viewers = self.sessions.len() - self.sessions.publishers();
        let connecting = self.deadlines.len().min(viewers);
        if !self.admission.takes_viewer(viewers - connecting, connecting) {
            return Err(Refused::Overloaded);
        }

        let stream = self.find_or_open(name)?;
        self.add_session(now, session, stream, Role::Viewer, caller);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.add_viewer(session);
        }
        self.settle(stream);
        Ok(Admitted { stream, epoch: 0 })
    }

    /// ICE and DTLS of this session are up.
    ///
    /// Until [`handle_timeout`](Self::handle_timeout) has been called, it is in time.
    pub fn connected(&mut self, now: Instant, session: SessionId) {
        let Some(connected) = self.sessions.connect(now, session) else {
            return;
        };
        let (stream, role) = (connected.stream, connected.role);
        self.deadlines.remove(connect_deadline(connected), session);
        if let Some(stream) = self.streams.get_mut(stream) {
            match role {
                Role::Publisher => stream.publisher_connected(now),
                Role::Viewer => stream.viewer_connected(),
            }
        }
        self.settle(stream);
    }

    /// Takes a report of the floor below: media of this publisher comes (`flows`), or has stopped
    /// coming, and the publisher is quiet. A quiet publisher stays the publisher. A publisher that
    /// connects counts as sending until the floor below reports that it does not.
    pub fn flows(&mut self, now: Instant, session: SessionId, flows: bool) {
        let publisher = self.sessions.get(&session).filter(|session| session.role == Role::Publisher);
        let Some(id) = publisher.map(|publisher| publisher.stream) else { return };
        if let Some(stream) = self.streams.get_mut(id) {
            stream.publisher_flows(now, flows);
        }
        self.settle(id);
    }

    /// The floor below says that this session has ended, or could not be opened.
    pub fn closed(&mut self, _now: Instant, session: SessionId) {
        if let Some(stream) = self.take_out(session, None) {
            self.settle(stream);
        }
    }

    /// Closes a session and forgets it at once. Returns whether there was one.
    pub fn close(&mut self, _now: Instant, session: SessionId, reason: CloseReason) -> bool {
        let stream = self.take_out(session, Some(reason));
        if let Some(stream) = stream {
            self.settle(stream);
        }
        stream.is_some()
    }

    /// Closes everyone in a stream, which is forgotten. Returns whether there was such a stream.
    pub fn kick(&mut self, _now: Instant, name: &StreamName) -> bool {
        let stream = self.streams.id_of(name);
        if let Some(stream) = stream {
            self.empty(stream, CloseReason::Kicked);
        }
        stream.is_some()
    }

    /// Closes everyone, and refuses newcomers from now on.
    pub fn shut_down(&mut self, _now: Instant) {
        self.shutting_down = true;
        let streams: Vec<StreamId> = self.streams.ids().collect();
        for stream in streams {
            self.empty(stream, CloseReason::ShuttingDown);
        }
    }

    /// Returns the next thing to be done outside. Call until `None`, after every other call.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) at the latest: when the next
    /// connecting session has had its time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Many may be due at once; each stream is settled when all of them are out.
        let mut touched = BTreeSet::new();
        while let Some(session) = self.deadlines.pop_due(now) {
            touched.extend(self.take_out(session, Some(CloseReason::ConnectTimeout)));
        }
        for stream in touched {
            self.settle(stream);
        }
    }

    /// Returns the stream of a session, and the session's role in it.
    pub fn owner(&self, session: &SessionId) -> Option<(&StreamName, Role)> {
        let session = self.sessions.get(session)?;
        let stream = self.streams.get(session.stream)?;
        Some((stream.name(), session.role))
    }

    /// Returns the subject of the token that opened a session, if there was one.
    pub fn identity(&self, session: &SessionId) -> Option<&str> {
        self.sessions.get(session)?.identity.as_deref()
    }

    /// Returns the stream of this name, if it has a session.
    pub fn stream(&self, name: &StreamName) -> Option<StreamView<'_>> {
        self.stream_by_id(self.streams.id_of(name)?)
    }

    /// Returns the stream of this id, if it has a session.
    pub fn stream_by_id(&self, id: StreamId) -> Option<StreamView<'_>> {
        self.streams.get(id).map(|stream| stream.view())
    }

    /// Returns all streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = StreamView<'_>> {
        self.streams.ids().filter_map(|id| self.stream_by_id(id))
    }

    /// Returns how many publishers and how many viewers are admitted, connecting ones included.
    pub fn session_count(&self) -> (usize, usize) {
        let publishers = self.sessions.publishers();
        (publishers, self.sessions.len() - publishers)
    }

    // Whether someone may come in; these change nothing.

    fn check_open(&self, session: &SessionId) -> Result<(), Refused> {
        // Before anything changes, so that the panic of a bug ends one request and nothing else.
        let known = self.sessions.get(session).is_some();
        assert!(!known, "a session is admitted once");
        if self.shutting_down {
            return Err(Refused::ShuttingDown);
        }
        Ok(())
    }

    /// Returns the publisher that is closed for a new one of this stream.
    fn check_takeover(
        &self,
        now: Instant,
        name: &StreamName,
        claimant: Claimant<'_>,
    ) -> Result<Option<SessionId>, Refused> {
        let Some(publisher) = self.stream(name).and_then(|view| view.publisher) else {
            return Ok(None);
        };
        let PublisherView { session: id, quiet_since, .. } = publisher;
        if let Some(session) = self.sessions.get(&id) {
            let verdict = self.takeover.check(now, Holder { session, quiet_since }, claimant);
            verdict.map_err(|retry_after| Refused::StreamBusy { retry_after })?;
        }
        Ok(Some(id))
    }

    /// Checks the limits from the narrowest to the widest, so the error names the limit that is
    /// nearest to the caller.
    fn check_room(&self, name: &StreamName, address: Address, leaving: Option<&Session>) -> Result<(), Refused> {
        let full = |limit| Err(Refused::Full { limit });
        let leaves_address = leaving.is_some_and(|session| session.address == address);
        let of_address = self.sessions.of_address(address) - usize::from(leaves_address);
        let per_address = self.limits.sessions_per_ip;
        if per_address != 0 && of_address >= per_address {
            return full(Limits::SESSIONS_PER_IP);
        }
        let sessions = self.sessions.len() - usize::from(leaving.is_some());
        if sessions >= self.limits.sessions {
            return full(Limits::SESSIONS);
        }
        if self.streams.id_of(name).is_none() && self.streams.len() >= self.limits.streams {
            return full(Limits::STREAMS);
        }
        Ok(())
    }

    fn check_audience(&self, name: &StreamName) -> Result<(), Refused> {
        let stream = self.streams.id_of(name).and_then(|id| self.streams.get(id));
        let viewers = stream.map_or(0, |stream| stream.viewer_count());
        if viewers >= self.limits.viewers {
            let limit = Limits::VIEWERS;
            return Err(Refused::Full { limit });
        }
        Ok(())
    }

    // Steps of the calls above. A call that changes a stream settles it at the end.

    fn find_or_open(&mut self, name: StreamName) -> Result<StreamId, Refused> {
        if let Some(stream) = self.streams.id_of(&name) {
            return Ok(stream);
        }
        // `None` after 2^32 streams: nothing but a restart helps.
        let stream = self.streams.open(name).ok_or(Refused::Full { limit: Limits::STREAMS })?;
        self.effects.push_back(Effect::StreamOpened { stream });
        Ok(stream)
    }

    fn add_session(&mut self, now: Instant, id: SessionId, stream: StreamId, role: Role, caller: Caller) {
        let session = Session {
            stream,
            role,
            address: Address::from(caller.ip),
            identity: caller.identity.map(String::into_boxed_str),
            admitted_at: now,
            connected_at: None,
        };
        self.deadlines.add(connect_deadline(&session), id);
        self.sessions.add(id, session);
    }

    /// Forgets a session and takes it out of its stream, which is returned and must be settled.
    /// With a reason, the floor below is told to close it.
    fn take_out(&mut self, id: SessionId, reason: Option<CloseReason>) -> Option<StreamId> {
        let session = self.sessions.remove(id)?;
        self.deadlines.remove(connect_deadline(&session), id);
        if let Some(reason) = reason {
            self.effects.push_back(Effect::Close { session: id, role: session.role, stream: session.stream, reason });
        }
        let stream = self.streams.get_mut(session.stream)?;
        match session.role {
            Role::Viewer => stream.remove_viewer(id, session.connected_at.is_some()),
            Role::Publisher => {
                if let Some(publisher) = stream.remove_publisher() {
                    self.effects.push_back(Effect::PublisherGone { stream: session.stream, epoch: publisher.epoch });
                }
            }
        }
        Some(session.stream)
    }

    fn empty(&mut self, stream: StreamId, reason: CloseReason) {
        let Some(view) = self.streams.get(stream) else {
            return;
        };
        let sessions: Vec<SessionId> = view.sessions().collect();
        for session in sessions {
            self.take_out(session, Some(reason));
        }
        self.settle(stream);
    }

    /// Forgets a stream without sessions. Otherwise reports whether its appearance in the API has
    /// changed.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.is_empty() {
            self.streams.forget(id);
            self.effects.push_back(Effect::StreamClosed { stream: id });
        } else if stream.take_change() {
            self.effects.push_back(Effect::Changed { stream: id });
        }
    }
}

fn connect_deadline(session: &Session) -> Instant {
    session.admitted_at + CONNECT_DEADLINE
}

/// How long a session may take from being admitted to being connected.
///
/// threats.md T1 and T17: this deadline, and nothing that a stranger sends, is what ends a
/// handshake. 15 s fit a slow ICE and three retransmissions of DTLS (1 + 2 + 4 s, RFC 6347
/// §4.2.4.1).
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_that_are_used_up_refuse_and_do_not_repeat() {
        let limits = Limits { streams: 1, sessions: 1, viewers: 1, sessions_per_ip: 1 };
        let mut control = Control::new(limits, Takeover::Replace);
        control.last_epoch = u32::MAX;
        let name = StreamName::parse("demo").unwrap();
        let (now, session) = (Instant::now(), SessionId::from_bytes([1; 16]));
        let refused = control.publish(now, session, name.clone(), std::net::IpAddr::from([127, 0, 0, 1]));
        let limit = "limits.sessions";
        assert_eq!(refused, Err(Refused::Full { limit }));
        assert_eq!(control.stream(&name), None);
        assert_eq!(control.poll_effect(), None);
    }
}
