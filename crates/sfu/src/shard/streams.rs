//! What does a shard keep of one stream?

use std::sync::Arc;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{MediaKind, Packet};

use super::TrackStats;
use super::load::RoundTimer;
use super::send_queue::RANKS;
use super::send_round::SendRound;
use crate::format::Published;
use crate::stream::Tracks;
use crate::viewer::Viewer;

/// A stream that a publisher or viewers of this shard are in.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) tracks: Tracks,
    /// Its viewers by rank.
    pub(super) rounds: [SendRound; RANKS],
    /// How long serving all of them takes, by rank.
    pub(super) round_timers: [RoundTimer; RANKS],
    pub(super) source: Source,
    /// Shards that relay it from here.
    pub(super) relays: Vec<u8>,
    /// Packets that came since relays were told.
    pub(super) to_relay: Vec<Arc<Packet>>,
    /// The highest epoch that publishes; lower ones are fenced.
    pub(super) epoch: u32,
    pub(super) news: News,
    pub(super) stats: StreamStats,
}

/// What of its formats control is told, and how often: a publisher may change them with every packet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The newest, until it is told.
    pub(super) untold: Option<Published>,
    since: Option<Instant>,
    told: u8,
}

/// Changes of format that are told within a second; after that the newest alone, in the next second. Audio and video of a
/// publisher that begins are two; the rest is room. A guess.
const NEWS_A_SECOND: u8 = 8;

impl News {
    /// What to tell now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Published> {
        self.untold?;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.told) = (Some(now), 0);
        }
        if self.told >= NEWS_A_SECOND {
            return None;
        }
        self.told += 1;
        self.untold.take()
    }
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
        self.rounds.iter().any(|round| !round.viewers().is_empty())
    }

    /// Places of all who watch it.
    pub(super) fn viewers(&self) -> impl Iterator<Item = usize> {
        self.rounds.iter().flat_map(|round| round.viewers().iter().copied())
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
    pub(super) fn on_packet(&mut self, packet: &Packet, best: u8) {
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

    pub(super) fn on_viewer_left(&mut self, viewer: &Viewer) {
        self.gone = viewer.subscriptions().fold(self.gone, TrackStats::plus);
    }
}

#[cfg(test)]
mod tests {
    use media::Codec;

    use super::*;
    use crate::format::Format;

    #[test]
    fn a_publisher_that_changes_formats_with_every_packet_is_told_of_eight_times_a_second_and_the_last_one_is() {
        let start = Instant::now();
        let mut news = News::default();
        let format =
            |profile| Published { video: Some(Format { codec: Codec::H264, profile }), ..Published::default() };
        let mut told = Vec::new();
        for n in 0..1_000 {
            news.untold = Some(format(n));
            told.extend(news.poll(start + Duration::from_micros(u64::from(n) * 1_000)));
        }
        assert_eq!(told, (0..8).map(format).collect::<Vec<_>>());
        assert_eq!(news.poll(start + Duration::from_secs(1)), Some(format(999)));
        assert_eq!(news.poll(start + Duration::from_secs(2)), None, "once");
    }
}
