//! Which wishes does a viewer have, which media is it sent, and what can the viewers of a stream
//! use together?

use std::time::Instant;

use media::{SessionId, StreamId};
use sfu::shard::{self, Snapshot, ViewerReport};
use sfu::stream::choice;
use sfu::{desk, format::Published};

use super::Engine;
use super::output::Notice;
use super::request::{Answer, Refusal, RequestId, Wish};
use super::waiting::{ANSWER_WITHIN, Awaits};
use crate::session::Role;

impl Engine {
    pub(super) fn wish(&mut self, now: Instant, session: SessionId, wish: Wish) -> Result<(), Refusal> {
        let connection = self.connections.get(&session);
        let viewer = connection.filter(|connection| connection.role == Role::Viewer);
        let stream = viewer.ok_or(Refusal::NoSuchSession)?.stream;
        let preferences = wish.read(&self.published(stream))?;
        let viewer = self.connections.get_mut(&session).ok_or(Refusal::NoSuchSession)?;
        match viewer.shard {
            Some(shard) => {
                self.tell_shard(shard, shard::Command::SetPreferences { session, preferences });
            }
            None => viewer.early_wish = Some(preferences),
        }
        // What the viewer needs now is wanted at once; that it needs less than before, the next
        // snapshot tells.
        if let Some(watched) = self.streams.get_mut(&stream) {
            watched.demand.wished(&preferences);
        }
        self.look_at_demand(now, stream);
        Ok(())
    }

    /// Sends a text to a viewer on its data channel, if it has one.
    pub fn say(&mut self, session: SessionId, text: String) {
        self.tell_desk(session, desk::Command::Say { session, text });
    }

    pub(super) fn report(&mut self, now: Instant, id: RequestId, session: SessionId) {
        let connection = self.connections.get(&session);
        let Some(viewer) = connection.filter(|connection| connection.role == Role::Viewer) else {
            return self.answer(id, Answer::Report(None));
        };
        let Some(shard) = viewer.shard else {
            let status = self.viewer_status(session, None).map(Box::new);
            return self.answer(id, Answer::Report(status));
        };
        // One question answers all waiting requests. A shard that is behind may have lost it, so it
        // is put again after a while.
        let is_open = |at: Instant| now.saturating_duration_since(at) < ANSWER_WITHIN;
        let must_ask = !viewer.report_asked_at.is_some_and(is_open);
        if !self.wait(now, session, id, Awaits::Report) || !must_ask {
            return;
        }
        if let Some(viewer) = self.connections.get_mut(&session) {
            viewer.report_asked_at = Some(now);
        }
        self.tell_shard(shard, shard::Command::Report { session });
    }

    /// Takes a shard's report on the media that a viewer is sent; `None`: the shard does not serve
    /// the viewer.
    pub(super) fn reported(&mut self, session: SessionId, report: Option<ViewerReport>) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.report_asked_at = None;
        let status = self.viewer_status(session, report).map(Box::new);
        let is_meant = |awaits: &Awaits| matches!(awaits, Awaits::Report);
        while let Some(pending) = self.waiting.take_first(session, is_meant) {
            self.answer_pending(&pending, Answer::Report(status.clone()));
        }
    }

    /// Takes a shard's snapshot of all its streams.
    pub(super) fn measured(&mut self, now: Instant, snapshot: Snapshot) {
        // A stream without viewers on that shard may be missing in its snapshot.
        for watched in self.streams.values_mut() {
            watched.demand.forget_shard(snapshot.shard);
        }
        for stream in &snapshot.streams {
            let Some(watched) = self.streams.get_mut(&stream.stream) else { continue };
            watched.measured(now, snapshot.shard, stream);
            let untold = watched.take_untold();
            let view = self.control.stream_by_id(stream.stream);
            let Some(name) = view.map(|view| view.name.clone()) else { continue };
            for warning in untold.iter() {
                self.notice(Notice::Warning { stream: name.clone(), warning });
            }
        }
        for stream in &snapshot.streams {
            self.look_at_demand(now, stream.stream);
        }
        if self.stopping.is_none() {
            self.snapshots.insert(snapshot.shard, snapshot);
        }
        self.has_changed = true;
    }

    /// Computes the demand for a stream's encodings anew.
    pub(super) fn look_at_demand(&mut self, now: Instant, stream: StreamId) {
        let Some(watched) = self.streams.get_mut(&stream) else { return };
        let published = *watched.published();
        if published.video.is_none() {
            return;
        }
        let view = self.control.stream_by_id(stream);
        let connecting = view.map_or(0, |view| view.viewers_connecting);
        self.has_changed |= watched.demand.look(now, &published, connecting);
    }
}

impl Wish {
    /// Translates the publisher's name of an encoding into its number.
    fn read(self, published: &Published) -> Result<choice::Preferences, Refusal> {
        let encoding = match self.rid {
            None => None,
            Some(rid) => match published.encoding(&rid) {
                Some(encoding) => Some(encoding),
                None => {
                    let known = published.rids.iter().flatten().map(ToString::to_string).collect();
                    return Err(Refusal::NoSuchLayer { wished: rid, known });
                }
            },
        };
        Ok(choice::Preferences {
            encoding,
            max_height: self.max_height,
            max_width: self.max_width,
            max_frame_rate: self.max_frame_rate,
            max_spatial: self.max_spatial,
            max_temporal: self.max_temporal,
            is_hidden: self.is_hidden,
        })
    }
}
