//! What does a shard keep of one stream?

use std::sync::Arc;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{MediaKind, Packet};

use super::TrackStats;
use super::sweep::Sweep;
use super::waiting::RANKS;
use crate::stream::Tracks;
use crate::viewer::Viewer;

/// A stream that a publisher or viewers of this shard are in.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) tracks: Tracks,
    /// Its viewers by rank.
    pub(super) sweeps: [Sweep; RANKS],
    pub(super) source: Source,
    /// Shards that relay it from here.
    pub(super) relays: Vec<u8>,
    /// Packets that came since relays were told.
    pub(super) to_relay: Vec<Arc<Packet>>,
    /// The highest epoch that publishes; lower ones are fenced.
    pub(super) epoch: u32,
    pub(super) stats: StreamStats,
}

/// Where its publisher is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    None,
    Local(usize),
    /// On another shard; `subscribed` while anybody here watches.
    Remote {
        shard: u8,
        subscribed: bool,
    },
}

impl Stream {
    pub(super) fn is_watched(&self) -> bool {
        self.sweeps.iter().any(|sweep| !sweep.viewers().is_empty())
    }

    /// Places of all who watch it.
    pub(super) fn viewers(&self) -> impl Iterator<Item = usize> {
        self.sweeps.iter().flat_map(|sweep| sweep.viewers().iter().copied())
    }
}

/// What a shard counts of a stream.
#[derive(Debug, Default)]
pub(super) struct StreamStats {
    pub(super) audio: TrackStats,
    pub(super) video: TrackStats,
    /// Pictures of each encoding.
    pub(super) frames: [u64; MAX_ENCODINGS],
    pub(super) key_frame_interval: Option<Duration>,
    key_frame_at: Option<Instant>,
    /// What was sent to viewers who left.
    pub(super) gone: TrackStats,
}

impl StreamStats {
    /// A packet came. `best`: the encoding whose pictures are counted.
    pub(super) fn arrived(&mut self, packet: &Packet, best: u8) {
        let stats = match packet.codec.kind() {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        };
        stats.packets += 1;
        stats.bytes += packet.payload.len() as u64;
        if packet.codec.kind() == MediaKind::Video
            && let Some(frames) = self.frames.get_mut(usize::from(packet.encoding))
        {
            *frames += u64::from(packet.starts_frame);
        }
        if packet.encoding != best {
            return;
        }
        stats.frames += u64::from(packet.starts_frame);
        if packet.key_frame_from.is_some() {
            stats.key_frames += 1;
            self.key_frame_interval =
                self.key_frame_at.map(|at| packet.arrived_at.saturating_duration_since(at)).or(self.key_frame_interval);
            self.key_frame_at = Some(packet.arrived_at);
        }
    }

    pub(super) fn left(&mut self, viewer: &Viewer) {
        self.gone = viewer.tracks().fold(self.gone, TrackStats::plus);
    }
}
