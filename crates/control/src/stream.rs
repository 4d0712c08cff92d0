//! Which sessions are in a stream, and how does the stream appear in the API?
//!
//! What must always hold: a stream that [`Streams`] keeps has a publisher or a viewer, except while
//! a call to `Control` is under way; both maps hold the same streams.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use media::{SessionId, StreamId, StreamName};

/// State of a stream, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No publisher has been connected since this stream was opened, or the last publisher has left
    /// and no viewer waits for the next one.
    Waiting,
    /// The publisher is connected, and its media comes.
    Live,
    /// The publisher is connected and quiet: it sends no media. Or it has left, and viewers stay.
    Paused,
}

/// A stream, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamView<'a> {
    /// Its id inside this process.
    pub id: StreamId,
    /// Its name.
    pub name: &'a StreamName,
    /// Its state.
    pub state: State,
    /// The publisher, connected or connecting.
    pub publisher: Option<PublisherView>,
    /// Viewers that are connected.
    pub viewers: u32,
    /// Viewers that are admitted and not connected yet.
    pub viewers_connecting: u32,
    /// Time since which it has been live without a break; `None` unless it is live now.
    pub live_since: Option<Instant>,
}

/// A stream's publisher, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherView {
    /// Its session.
    pub session: SessionId,
    /// Its epoch.
    pub epoch: u32,
    /// When it was connected; `None` while it is connecting.
    pub connected_at: Option<Instant>,
    /// Time since which its media has come without a break; `None` while it is connecting or quiet.
    pub flows_since: Option<Instant>,
    /// Time since which it has been connected and quiet.
    pub quiet_since: Option<Instant>,
}

/// A stream and its sessions.
#[derive(Debug)]
pub(crate) struct Stream {
    id: StreamId,
    name: StreamName,
    publisher: Option<PublisherView>,
    /// All viewers, connecting and connected.
    viewers: BTreeSet<SessionId>,
    viewers_connected: usize,
    /// Whether a publisher has ever been connected.
    was_live: bool,
    /// The view that was compared last with [`Stream::take_change`].
    told: Shown,
}

/// The part of a stream that the API shows and that `Control` decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    state: State,
    publisher: Option<PublisherView>,
    viewers: usize,
}

impl Stream {
    fn new(id: StreamId, name: StreamName) -> Stream {
        Stream {
            id,
            name,
            publisher: None,
            viewers: BTreeSet::new(),
            viewers_connected: 0,
            was_live: false,
            told: Shown { state: State::Waiting, publisher: None, viewers: 0 },
        }
    }

    /// Adds the admitted publisher. The one before must have been taken out.
    pub(crate) fn add_publisher(&mut self, session: SessionId, epoch: u32) {
        assert!(self.publisher.is_none(), "a stream has one publisher");
        self.publisher =
            Some(PublisherView { session, epoch, connected_at: None, flows_since: None, quiet_since: None });
    }

    /// Marks the publisher as connected. Its media is expected to come at once.
    pub(crate) fn publisher_connected(&mut self, now: Instant) {
        if let Some(publisher) = &mut self.publisher {
            publisher.connected_at = Some(now);
            publisher.flows_since = Some(now);
            self.was_live = true;
        }
    }

    /// Records whether media of the publisher comes, if the publisher is connected.
    pub(crate) fn publisher_flows(&mut self, now: Instant, flows: bool) {
        if let Some(publisher) = self.publisher.as_mut().filter(|publisher| publisher.connected_at.is_some()) {
            publisher.flows_since = flows.then(|| publisher.flows_since.unwrap_or(now));
            publisher.quiet_since = (!flows).then(|| publisher.quiet_since.unwrap_or(now));
        }
    }

    /// Takes the publisher out.
    pub(crate) fn remove_publisher(&mut self) -> Option<PublisherView> {
        self.publisher.take()
    }

    /// Adds an admitted viewer.
    pub(crate) fn add_viewer(&mut self, session: SessionId) {
        self.viewers.insert(session);
    }

    /// Counts a viewer as connected.
    pub(crate) fn viewer_connected(&mut self) {
        self.viewers_connected += 1;
    }

    /// Takes a viewer out.
    pub(crate) fn remove_viewer(&mut self, session: SessionId, was_connected: bool) {
        self.viewers.remove(&session);
        self.viewers_connected -= usize::from(was_connected);
    }

    /// Returns whether the API's view has changed since the last call.
    pub(crate) fn take_change(&mut self) -> bool {
        let shown = Shown { state: self.state(), publisher: self.publisher, viewers: self.viewers_connected };
        std::mem::replace(&mut self.told, shown) != shown
    }

    /// Returns whether it has no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.publisher.is_none() && self.viewers.is_empty()
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &StreamName {
        &self.name
    }

    /// Returns the number of viewers, connecting ones included.
    pub(crate) fn viewer_count(&self) -> usize {
        self.viewers.len()
    }

    /// Returns all its sessions: the publisher, then the viewers by id.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        let publisher = self.publisher.map(|publisher| publisher.session);
        publisher.into_iter().chain(self.viewers.iter().copied())
    }

    /// Returns the part of it that the API shows.
    pub(crate) fn view(&self) -> StreamView<'_> {
        // 2^32 sessions do not fit into the memory of any machine.
        let count = |viewers: usize| u32::try_from(viewers).unwrap_or(u32::MAX);
        StreamView {
            id: self.id,
            name: &self.name,
            state: self.state(),
            publisher: self.publisher,
            viewers: count(self.viewers_connected),
            viewers_connecting: count(self.viewers.len() - self.viewers_connected),
            // A new publisher fences the one before when it is admitted, so between two connected
            // publishers there is always a pause, however short.
            live_since: self.live_since(),
        }
    }

    fn state(&self) -> State {
        let is_connected = self.publisher.is_some_and(|publisher| publisher.connected_at.is_some());
        if self.live_since().is_some() {
            State::Live
        } else if is_connected || self.was_live && !self.viewers.is_empty() {
            State::Paused
        } else {
            State::Waiting
        }
    }

    fn live_since(&self) -> Option<Instant> {
        self.publisher.and_then(|publisher| publisher.flows_since)
    }
}

/// The streams that are remembered, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_id: BTreeMap<StreamId, Stream>,
    by_name: BTreeMap<StreamName, StreamId>,
    /// The id given last; ids are never reused.
    last_id: u32,
}

impl Streams {
    /// Opens a stream, whose name must be new, under an id that no stream had before. `None` when
    /// the ids are used up.
    pub(crate) fn open(&mut self, name: StreamName) -> Option<StreamId> {
        self.last_id = self.last_id.checked_add(1)?;
        let id = StreamId(self.last_id);
        let before = self.by_name.insert(name.clone(), id);
        assert!(before.is_none(), "a name belongs to one stream");
        self.by_id.insert(id, Stream::new(id, name));
        Some(id)
    }

    /// Forgets a stream.
    pub(crate) fn forget(&mut self, id: StreamId) {
        if let Some(stream) = self.by_id.remove(&id) {
            self.by_name.remove(&stream.name);
        }
    }

    /// Returns a stream.
    pub(crate) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.by_id.get(&id)
    }

    /// Returns a stream, to change it.
    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.by_id.get_mut(&id)
    }

    /// Returns the id that belongs to a name now.
    pub(crate) fn id_of(&self, name: &StreamName) -> Option<StreamId> {
        self.by_name.get(name).copied()
    }

    /// Returns the ids of all streams, by name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.by_name.values().copied()
    }

    /// Returns how many streams there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_stream() {
        // (publisher, viewer, was live) → state
        #[track_caller]
        fn check(publisher: Option<Publisher>, viewer: bool, was_live: bool, state: State) {
            let mut stream = Stream::new(StreamId(1), StreamName::parse("demo").unwrap());
            stream.was_live = was_live;
            if let Some(publisher) = publisher {
                stream.add_publisher(SessionId::from_bytes([1; 16]), 1);
                if publisher != Publisher::Connecting {
                    stream.publisher_connected(Instant::now());
                }
                stream.publisher_flows(Instant::now(), publisher != Publisher::Quiet);
            }
            if viewer {
                stream.add_viewer(SessionId::from_bytes([2; 16]));
            }
            assert_eq!(stream.view().state, state);
            assert_eq!(stream.view().live_since.is_some(), state == State::Live);
        }
        #[derive(PartialEq)]
        enum Publisher {
            Connecting,
            Connected,
            Quiet,
        }
        use Publisher::{Connected, Connecting, Quiet};
        check(None, true, false, State::Waiting);
        check(None, true, true, State::Paused);
        check(Some(Connecting), false, false, State::Waiting);
        check(Some(Connecting), true, false, State::Waiting);
        check(Some(Connecting), true, true, State::Paused);
        check(Some(Connecting), false, true, State::Waiting);
        check(Some(Connected), false, false, State::Live);
        check(Some(Connected), true, true, State::Live);
        check(Some(Quiet), false, true, State::Paused);
        check(Some(Quiet), true, true, State::Paused);
    }

    #[test]
    fn ids_are_not_reused_and_their_end_is_no_panic() {
        let name = StreamName::parse("demo").unwrap();
        let mut streams = Streams::default();
        let first = streams.open(name.clone()).unwrap();
        streams.forget(first);
        let second = streams.open(name.clone()).unwrap();
        assert_ne!(first, second);
        streams.forget(second);

        streams.last_id = u32::MAX;
        assert_eq!(streams.open(name.clone()), None);
        assert_eq!(streams.id_of(&name), None);
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn a_change_is_told_once() {
        let mut stream = Stream::new(StreamId(1), StreamName::parse("demo").unwrap());
        assert!(!stream.take_change());
        stream.add_viewer(SessionId::from_bytes([1; 16]));
        assert!(!stream.take_change(), "connecting viewers are not shown");
        stream.viewer_connected();
        assert!(stream.take_change());
        assert!(!stream.take_change());
    }
}
