//! Which viewers are here, and when is each asked again?

use std::time::Instant;

use media::SessionId;

use super::routing::Route;
use super::send_queue::{NEW_FOR, Rank};
use super::timers::{Due, Timers};
use super::{Key, Shard};
use crate::stream::Tracks;
use crate::transmit::Batch;
use crate::viewer::{Viewer, ViewerSetup};

/// A viewer and its turns.
pub(super) struct ViewerSlot {
    pub(super) viewer: Viewer,
    /// In a queue of `send_queue` already.
    pub(super) queued: bool,
    pub(super) rank: Rank,
    /// When it has been here for so long that it belongs to those who watch.
    pub(super) new_until: Instant,
    /// When it gets its next turn without asking.
    pub(super) turn_at: Option<Instant>,
}

impl Shard {
    pub(super) fn add_viewer(&mut self, now: Instant, setup: ViewerSetup) {
        let (session, stream, desk, address) = (setup.session, setup.stream, setup.desk, setup.address);
        crate::guard::fault!(Add, Some(session));
        let viewer = Viewer::new(now, setup);
        let report_at = viewer.next_report_at();
        let slot = ViewerSlot { viewer, queued: false, rank: Rank::New, new_until: now + NEW_FOR, turn_at: None };
        let key = self.viewers.insert(slot);
        self.by_session.insert(session, Key::Viewer(key));
        let serving = Some(self.number);
        let route = Route { session, desk, serving, is_sender: false, key: Some(Key::Viewer(key)) };
        self.routes.insert(address, route);
        self.streams.entry(stream).or_default().rounds[Rank::New as usize].add(key);
        self.timers.set(report_at, Due::Report(key));
        self.counters.viewers_added += 1;
        self.subscribe(stream);
        self.give_turn(now, key);
    }

    pub(super) fn remove_viewer(&mut self, key: usize) {
        let Some(slot) = self.viewers.try_remove(key) else { return };
        let viewer = slot.viewer;
        self.counters.srtcp_rejected += viewer.rejected;
        self.counters.starts_refused += viewer.starts_refused();
        self.by_session.remove(&viewer.session);
        self.unbind_from(viewer.session, viewer.address());
        let Some(s) = self.streams.get_mut(&viewer.stream) else { return };
        s.rounds[slot.rank as usize].remove(key);
        s.stats.on_viewer_left(&viewer);
        self.unsubscribe(viewer.stream);
    }

    pub(super) fn slot_of(&self, session: SessionId) -> Option<usize> {
        match self.by_session.get(&session) {
            Some(Key::Viewer(key)) => Some(*key),
            _ => None,
        }
    }
}

impl ViewerSlot {
    /// Sends what there is for the viewer, and says when it is to be asked again. Returns of which encoding it needs a
    /// key frame.
    pub(super) fn send(
        &mut self,
        now: Instant,
        key: usize,
        tracks: &Tracks,
        batch: &mut Batch,
        timers: &mut Timers,
    ) -> Option<u8> {
        let next = self.viewer.send(now, tracks, batch);
        if let Some(at) = next.at
            && self.turn_at.is_none_or(|known| known > at || known <= now)
        {
            self.turn_at = Some(at);
            timers.set(at, Due::Turn(key));
        }
        next.wants_key_frame
    }
}
