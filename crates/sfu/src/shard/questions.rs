//! How is a viewer, and how is everything?
//!
//! Answers are put together when somebody asks, from what sessions and streams know of themselves.

use media::SessionId;
use media::packet::MAX_ENCODINGS;

use super::guard::Turn;
use super::message::SentTrack;
use super::streams::{Source, Stream};
use super::{EncodingSnapshot, Networks, Shard, Snapshot, StreamSnapshot, TrackStats, ViewerReport};
use crate::publisher::Publisher;
use crate::stream::audience::Audience;

impl Shard {
    pub(super) fn report(&self, session: SessionId) -> Option<ViewerReport> {
        let key = self.slot_of(session)?;
        let viewer = &self.viewers.get(key)?.viewer;
        let tracks = viewer.subscriptions().map(|subscription| SentTrack {
            kind: subscription.negotiated().kind,
            codec: subscription.codec(),
            counters: subscription.counters,
            newest: subscription.newest(),
            flowing: subscription.is_flowing(),
            encoding: subscription.encoding(),
            within: subscription.within(),
            reason: subscription.reason(),
            preferences: subscription.preferences(),
            accepted: subscription.negotiated().formats.names(),
        });
        let transport = (viewer.transport().received, viewer.transport().lost);
        let estimator = &viewer.transport().estimator;
        let estimate = estimator.has_feedback().then(|| estimator.estimate());
        Some(ViewerReport { session, tracks: tracks.collect(), transport, estimate })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut counters = self.counters;
        let mut networks = Networks::default();
        for (key, slot) in &self.viewers {
            self.turn.set(Turn::Viewer(key));
            counters.starts_refused += slot.viewer.starts_refused();
            counters.srtcp_rejected += slot.viewer.rejected;
            networks.count(&slot.viewer);
        }
        self.turn.set(Turn::Shared);
        let streams = self.streams.iter().map(|(id, s)| {
            let publisher = match s.source {
                Source::Local(key) => self.publishers.get(key),
                _ => None,
            };
            let viewers = s.viewers().filter_map(|key| Some((key, self.viewers.get(key)?)));
            let mut audience = Audience::new(s.tracks.video.limits());
            let mut sent = s.stats.gone;
            for (key, slot) in viewers {
                self.turn.set(Turn::Viewer(key));
                crate::guard::fault!(Snapshot, Some(slot.viewer.session));
                sent = slot.viewer.subscriptions().fold(sent, TrackStats::plus);
                slot.viewer.count(&s.tracks, &mut audience);
            }
            self.turn.set(Turn::Shared);
            StreamSnapshot {
                stream: *id,
                is_home: matches!(s.source, Source::Local(_)),
                viewers: s.viewers().count() as u32,
                health: publisher.map(|p| p.health).unwrap_or_default(),
                published: publisher.map(|p| *p.published()).unwrap_or_default(),
                warnings: publisher.map(Publisher::warnings).unwrap_or_default(),
                audio: s.stats.audio,
                video: s.stats.video,
                encodings: s.encodings(),
                best: s.tracks.video.best(),
                key_frame_interval: s.stats.key_frame_interval,
                sent,
                audience,
            }
        });
        Snapshot {
            shard: self.number,
            counters,
            publishers: self.publishers.len() as u32,
            viewers: self.viewers.len() as u32,
            streams: streams.collect(),
            networks,
            load: self.load.status(),
        }
    }
}

impl Stream {
    fn encodings(&self) -> [EncodingSnapshot; MAX_ENCODINGS] {
        let video = &self.tracks.video;
        std::array::from_fn(|n| EncodingSnapshot {
            is_live: video.is_live(n as u8),
            resolution: video.of(n as u8).resolution(),
            bits_per_second: video.of(n as u8).bits_per_second(),
            frames: self.stats.frames[n],
        })
    }
}
