//! What does the API say of a stream and of a viewer?
//!
//! Shards are asked once a second; rates are differences of what they count.

use std::collections::HashMap;
use std::time::Instant;

use control::StreamView;
use control::bound::Bound;
use control::ladder::{self, DesiredEncoding, Ladder, Rung};
use media::packet::MAX_ENCODINGS;
use media::{MediaKind, SessionId, StreamId, StreamName};
use sfu::bwe::State;
use sfu::format::Published;
use sfu::publisher::Health;
use sfu::publisher::warnings::Warnings;
use sfu::shard::{self, Snapshot, StreamSnapshot};
use sfu::stream::audience::{Audience, Need};
use sfu::stream::choice::{Preferences, Reason};
use sfu::viewer::subscription::Newest;

use super::actor::Actor;
use super::warnings;
use super::{
    AudioStatus, LayerStatus, LayerWish, PublishFailure, PublisherStatus, SentReport, StreamState, StreamStatus,
    TransportReport, VideoStatus, ViewerReport, WantedLayer,
};

/// What is known of a stream beyond `control`.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) epoch: u32,
    pub(super) published: Published,
    home: Option<StreamSnapshot>,
    /// What of the publisher's session is in the log already.
    logged: Warnings,
    health: Health,
    /// Per shard: bytes sent when it was last asked, and when.
    out: HashMap<u8, (u64, Instant)>,
    rate_out: HashMap<u8, f64>,
    home_at: Option<Instant>,
    audio_bps: f64,
    video_bps: f64,
    frame_rate: f64,
    /// By encoding: pictures a second.
    frame_rates: [f64; MAX_ENCODINGS],
    /// By encoding: lines and columns of its picture, also of one that is not sent at the moment.
    sizes: [Option<u32>; MAX_ENCODINGS],
    /// By shard.
    audiences: HashMap<u8, Audience>,
    /// Viewers that wished something since shards were heard of last.
    wishers: Audience,
    ladder: Ladder,
    /// By encoding: what of it is needed.
    needed: [Needed; MAX_ENCODINGS],
    wanted: Vec<WantedLayer>,
}

/// How much of one encoding is to be sent: raised at once, lowered after a while.
#[derive(Debug, Clone, Copy)]
struct Needed {
    spatial: Bound<u8>,
    temporal: Bound<u8>,
    frame_rate: Bound<u16>,
}

impl Default for Needed {
    fn default() -> Needed {
        let Need { spatial, temporal, frame_rate } = Need::ALL;
        Needed { spatial: Bound::new(spatial), temporal: Bound::new(temporal), frame_rate: Bound::new(frame_rate) }
    }
}

impl Needed {
    fn look(&mut self, now: Instant, need: Need) -> Need {
        Need {
            spatial: self.spatial.look(now, need.spatial),
            temporal: self.temporal.look(now, need.temporal),
            frame_rate: self.frame_rate.look(now, need.frame_rate),
        }
    }
}

/// A stream that nobody is in.
pub(super) fn unknown(name: &StreamName) -> StreamStatus {
    StreamStatus {
        stream: name.to_string(),
        state: StreamState::Waiting,
        live_since_ms: None,
        viewers: 0,
        publisher: None,
        video: None,
        audio: None,
        warnings: Vec::new(),
        publish_failure: None,
        bitrate_in_bps: 0,
        bitrate_out_bps: 0,
    }
}

impl Actor {
    /// A shard has said how it is.
    pub(super) fn measured(&mut self, snapshot: Snapshot) {
        let now = Instant::now();
        // Streams that nobody on that shard is in any more are not in its snapshot.
        self.watched.values_mut().for_each(|watched| {
            watched.audiences.remove(&snapshot.shard);
        });
        for stream in &snapshot.streams {
            let Some(watched) = self.watched.get_mut(&stream.stream) else { continue };
            watched.measured(now, snapshot.shard, stream);
            for warning in watched.take_unlogged().iter().map(warnings::words) {
                let name = self.control.stream_by_id(stream.stream).map(|view| view.name.to_string());
                tracing::warn!(stream = name, code = warning.code, "{}", warning.detail);
            }
        }
        for stream in &snapshot.streams {
            self.look_at_audience(now, stream.stream);
        }
        self.snapshots.insert(snapshot.shard, snapshot);
    }

    /// Who watches may have changed: so may what the publisher is to send, and then it is to hear of it.
    pub(super) fn look_at_audience(&mut self, now: Instant, stream: StreamId) {
        let Some(watched) = self.watched.get_mut(&stream).filter(|w| w.published.video.is_some()) else { return };
        let unknown = self.control.stream_by_id(stream).map_or(0, |view| view.viewers_connecting);
        if watched.look(now, unknown) {
            self.bump();
        }
    }

    pub(super) fn streams(&self) -> Vec<StreamStatus> {
        self.control.streams().map(|view| self.status(&view)).collect()
    }

    pub(super) fn stream(&self, name: &StreamName) -> Option<StreamStatus> {
        if let Some(view) = self.control.stream(name) {
            return Some(self.status(&view));
        }
        // A stream ends with its last session; that its publisher failed is known for longer.
        let publish_failure = Some(self.publish_failure(name)?);
        Some(StreamStatus { publish_failure, ..unknown(name) })
    }

    fn publish_failure(&self, name: &StreamName) -> Option<PublishFailure> {
        let (failed, at) = self.failed.of_publisher(Instant::now(), name)?;
        Some(PublishFailure {
            session: failed.session.handle(),
            reason: failed.reason,
            detail: failed.detail.clone(),
            failed_at_ms: self.plane.clock().at(at).to_unix_ms(),
        })
    }

    fn status(&self, view: &StreamView<'_>) -> StreamStatus {
        let unix_ms = |at: Instant| self.plane.clock().at(at).to_unix_ms();
        let nothing = Watched::default();
        let watched = self.watched.get(&view.id).unwrap_or(&nothing);
        let state = state_of(&view.state);
        let live = state == StreamState::Live;
        let publisher = view.publisher.as_ref().and_then(|publisher| {
            Some(PublisherStatus {
                session: publisher.session.handle(),
                connected_at_ms: unix_ms(publisher.connected_at?),
                rtt_ms: watched.health.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
                loss_percent: watched.health.loss.map(|loss| f64::from(loss) * 100.0),
                wanted_layers: watched.wanted.clone(),
            })
        });
        StreamStatus {
            stream: view.name.to_string(),
            state,
            live_since_ms: view.live_since.map(unix_ms),
            viewers: view.viewers,
            publisher,
            video: live.then(|| watched.video()).flatten(),
            audio: live.then(|| watched.audio()).flatten(),
            warnings: if live { warnings::told(watched.warnings()) } else { Vec::new() },
            publish_failure: self.publish_failure(view.name),
            bitrate_in_bps: if live { (watched.audio_bps + watched.video_bps) as u64 } else { 0 },
            bitrate_out_bps: watched.rate_out.values().sum::<f64>() as u64,
        }
    }

    pub(super) fn viewer_report(
        &self,
        session: SessionId,
        report: Option<&shard::ViewerReport>,
    ) -> Option<ViewerReport> {
        let (name, _) = self.control.owner(&session)?;
        let view = self.control.stream(name)?;
        let published = self.published(view.id);
        let track = |kind| report.and_then(|r| r.tracks.iter().find(|t| t.kind == kind));
        let sent = |kind| track(kind).map(|track| sent_report(track, &published));
        Some(ViewerReport {
            session: session.handle(),
            stream: name.to_string(),
            state: state_of(&view.state),
            connected: self.sessions.get(&session).is_some_and(|k| k.connected),
            video_line: self.sessions.get(&session).and_then(|k| k.video_line),
            video: sent(MediaKind::Video),
            audio: sent(MediaKind::Audio),
            transport: report.and_then(transport_report),
        })
    }

    /// The number of streams that are live, for metrics.
    pub(super) fn live_streams(&self) -> usize {
        self.control.streams().filter(|s| state_of(&s.state) == StreamState::Live).count()
    }
}

impl Watched {
    fn measured(&mut self, now: Instant, shard: u8, stream: &StreamSnapshot) {
        let rate = |new: u64, old: u64, since: Instant| {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
        };
        if let Some((bytes, at)) = self.out.insert(shard, (stream.sent.bytes, now)) {
            self.rate_out.insert(shard, 8.0 * rate(stream.sent.bytes, bytes, at));
        }
        self.audiences.insert(shard, stream.audience);
        self.wishers = self.wishers.emptied();
        if !stream.is_home {
            return;
        }
        for (size, encoding) in self.sizes.iter_mut().zip(&stream.encodings) {
            *size = encoding.resolution.map(|r| u32::from(r.width) * u32::from(r.height)).or(*size);
        }
        if let (Some(before), Some(at)) = (&self.home, self.home_at) {
            self.audio_bps = 8.0 * rate(stream.audio.bytes, before.audio.bytes, at);
            self.video_bps = 8.0 * rate(stream.video.bytes, before.video.bytes, at);
            self.frame_rate = rate(stream.video.frames, before.video.frames, at);
            for (n, known) in self.frame_rates.iter_mut().enumerate() {
                *known = rate(stream.encodings[n].frames, before.encodings[n].frames, at);
            }
        }
        self.health = stream.health;
        self.home = Some(*stream);
        self.home_at = Some(now);
    }

    /// What is wrong with what is published.
    fn warnings(&self) -> Warnings {
        self.home.map(|home| home.warnings).unwrap_or_default()
    }

    /// What of it is not in the log yet; it counts as logged.
    fn take_unlogged(&mut self) -> Warnings {
        let news = self.warnings().without(self.logged);
        self.logged = self.logged | news;
        news
    }

    /// Another publisher was admitted.
    pub(super) fn publisher_is(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.logged = Warnings::default();
        // What is known of the one before does not hold any more.
        if let Some(home) = &mut self.home {
            home.warnings = Warnings::default();
        }
        self.set_published(Published::default());
    }

    /// A viewer wishes this from now on.
    pub(super) fn wished(&mut self, preferences: &Preferences) {
        if self.wishers.viewers() == 0 {
            self.wishers = self.home.map_or_else(Audience::default, |home| home.audience.emptied());
        }
        self.wishers.add_viewer(None, preferences);
    }

    /// `unknown`: viewers that are connecting. Returns whether something else is wanted than before.
    fn look(&mut self, now: Instant, unknown: u32) -> bool {
        let audience = self.audiences.values().fold(Audience::default(), |all, shard| all.with(shard));
        let carried = audience.places().map(|(place, viewers)| (Audience::bits_per_second(place), viewers));
        let carried: Vec<_> = carried.collect();
        let bounded = (0..MAX_ENCODINGS).flat_map(|encoding| {
            let places = audience.places_within(encoding);
            places.map(move |(place, viewers)| (Audience::bits_per_second(place), encoding as u8, viewers))
        });
        let bounded: Vec<_> = bounded.collect();
        // Those who have just wished something are with the others already, or will be; so they decide nothing about rates.
        let asked = |encoding: usize| {
            let within = self.wishers.places_within(encoding).map(|(_, viewers)| viewers).sum::<u32>();
            self.wishers.pinned(encoding) + within
        };
        let wished = std::array::from_fn(|encoding| audience.pinned(encoding) + asked(encoding));
        let unknown = unknown + self.wishers.places().map(|(_, viewers)| viewers).sum::<u32>();
        let rids = self.published.rids;
        let rungs = rids.iter().enumerate().filter(|(_, rid)| rid.is_some());
        let rungs: Vec<_> = rungs.map(|(n, _)| Rung { encoding: n as u8, pixels: self.sizes[n] }).collect();
        let steps = if rungs.len() > 1 {
            self.ladder.look(now, &rungs, &ladder::Audience { carried: &carried, bounded: &bounded, wished, unknown })
        } else {
            // What is sent in one encoding is always sent, at the rate that its publisher chose.
            vec![DesiredEncoding { encoding: 0, is_active: true, max_bps: 0 }]
        };
        let is_single = rungs.len() <= 1;
        let home = self.home.map(|home| home.audience).unwrap_or_default();
        let wanted = steps.iter().map(|step| {
            let encoding = usize::from(step.encoding).min(MAX_ENCODINGS - 1);
            let need = audience.need(encoding).or(self.wishers.need(encoding));
            let need = self.needed[encoding].look(now, if unknown > 0 { Need::ALL } else { need });
            let top = home.limits(encoding).top();
            WantedLayer {
                rid: rids[encoding].map(|rid| rid.to_string()),
                active: step.is_active,
                max_bitrate_bps: (!is_single).then_some(step.max_bps),
                // Of nobody nothing is known.
                max_framerate: Some(need.frame_rate).filter(|most| *most > 0 && *most < u16::MAX),
                max_spatial_layer: Some(need.spatial).filter(|most| *most < top.0),
                max_temporal_layer: Some(need.temporal).filter(|most| *most < top.1),
            }
        });
        let before = std::mem::replace(&mut self.wanted, wanted.collect());
        before != self.wanted
    }

    /// A publisher begins, or is gone.
    pub(super) fn set_published(&mut self, published: Published) {
        if published != self.published {
            self.ladder = Ladder::default();
            self.sizes = [None; MAX_ENCODINGS];
            self.needed = Default::default();
            self.wanted.clear();
        }
        self.published = published;
    }

    fn video(&self) -> Option<VideoStatus> {
        let format = self.published.video?;
        let home = self.home?;
        let best = usize::from(home.best);
        let resolution = home.encodings.get(best).and_then(|encoding| encoding.resolution);
        Some(VideoStatus {
            codec: format.codec.name().to_owned(),
            width: resolution.map(|r| r.width),
            height: resolution.map(|r| r.height),
            frame_rate: tenths(self.frame_rate),
            bitrate_bps: self.video_bps as u64,
            key_frame_interval_ms: home.key_frame_interval.map(|i| i.as_millis() as u64),
            layers: self.layers(&home),
        })
    }

    /// The encodings that come, best first.
    fn layers(&self, home: &StreamSnapshot) -> Vec<LayerStatus> {
        let mut live: Vec<_> = (0..MAX_ENCODINGS).filter(|n| home.encodings[*n].is_live).collect();
        live.sort_by_key(|n| {
            let size = home.encodings[*n].resolution.map_or(0, |r| u32::from(r.width) * u32::from(r.height));
            std::cmp::Reverse((size, home.encodings[*n].bits_per_second))
        });
        let layer = |n: usize| LayerStatus {
            rid: self.published.rids[n].map(|rid| rid.to_string()),
            width: home.encodings[n].resolution.map(|r| r.width),
            height: home.encodings[n].resolution.map(|r| r.height),
            bitrate_bps: home.encodings[n].bits_per_second,
            frame_rate: tenths(self.frame_rates[n]),
        };
        live.into_iter().map(layer).collect()
    }

    fn audio(&self) -> Option<AudioStatus> {
        let format = self.published.audio?;
        Some(AudioStatus { codec: format.codec.name().to_owned(), bitrate_bps: self.audio_bps as u64 })
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn state_of(state: &control::State) -> StreamState {
    match state {
        control::State::Waiting => StreamState::Waiting,
        control::State::Live => StreamState::Live,
        control::State::Paused => StreamState::Paused,
    }
}

fn transport_report(report: &shard::ViewerReport) -> Option<TransportReport> {
    let estimate = report.estimate?;
    let (received, lost) = report.transport;
    Some(TransportReport {
        received,
        lost,
        estimate_bps: estimate.bps as u64,
        estimate_state: match estimate.state {
            State::Increase => "increase",
            State::Hold => "hold",
            State::Decrease => "decrease",
        },
        app_limited: estimate.is_app_limited,
        loss_percent: tenths(f64::from(estimate.loss) * 100.0),
        rtt_ms: tenths(f64::from(estimate.rtt_ms)),
        queue_ms: tenths(f64::from(estimate.queue_ms)),
    })
}

/// The capture time, unless the publisher's clock cannot be right.
fn captured_at_ms(newest: Option<Newest>) -> Option<f64> {
    let newest = newest.filter(|newest| !newest.has_wrong_clock)?;
    Some(newest.captured_at?.to_unix_ms_f64())
}

fn capture_clock(newest: Option<Newest>) -> &'static str {
    match newest {
        Some(Newest { captured_at: Some(_), has_wrong_clock: true, .. }) => "wrong",
        Some(Newest { captured_at: Some(_), .. }) => "known",
        _ => "untold",
    }
}

fn sent_report(track: &shard::SentTrack, published: &Published) -> SentReport {
    let counters = &track.counters;
    let format = published.of(track.kind);
    // Without a publisher there is nothing to lack.
    let reason = if track.reason == Reason::Codec && format.is_none() { Reason::Best } else { track.reason };
    let rids = if track.kind == MediaKind::Video { published.rids } else { Default::default() };
    let rid = |encoding: u8| rids.get(usize::from(encoding)).copied().flatten().map(|rid| rid.to_string());
    SentReport {
        codec: track.codec.map_or_else(String::new, |c| c.name().to_owned()),
        packets_sent: counters.packets,
        bytes_sent: counters.bytes,
        nacks: counters.nacks,
        retransmitted: counters.resent,
        key_frame_requests: counters.key_frame_requests,
        rtt_ms: counters.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        loss_percent: counters.rtt.map(|_| f64::from(counters.fraction_lost) * 100.0 / 256.0),
        rtp_timestamp: track.newest.map_or(0, |newest| newest.timestamp),
        captured_at_ms: captured_at_ms(track.newest),
        capture_clock: capture_clock(track.newest),
        clock_rate: match track.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        },
        layer: rid(track.encoding),
        temporal_layer: track.within.map(|within| within.1).filter(|layer| *layer < u8::MAX),
        spatial_layer: track.within.map(|within| within.0).filter(|layer| *layer < u8::MAX),
        reason: reason.name(),
        detail: (reason == Reason::Codec).then(|| {
            let published = format.map_or("something else", |format| format.codec.name());
            let accepted = track.accepted.join(", ");
            format!(
                "the stream is published as {published}, and this session negotiated {accepted} only; publish it as \
                 H264 or VP8, or watch with a browser that has {published}"
            )
        }),
        switches: counters.switches,
        wish: LayerWish {
            media_id: None,
            encoding_id: track.preferences.encoding.and_then(rid),
            max_height: track.preferences.max_height,
            max_width: track.preferences.max_width,
            max_frame_rate: track.preferences.max_frame_rate,
            spatial_layer_id: track.preferences.max_spatial,
            temporal_layer_id: track.preferences.max_temporal,
            paused: track.preferences.is_hidden,
        },
    }
}

#[cfg(test)]
mod tests {
    use media::Codec;
    use sfu::format::Format;

    use super::*;

    #[test]
    fn a_viewer_that_lacks_the_published_codec_is_told_both() {
        let track = shard::SentTrack {
            kind: MediaKind::Video,
            codec: None,
            counters: Default::default(),
            newest: None,
            flowing: false,
            encoding: 0,
            within: None,
            reason: Reason::Codec,
            preferences: Preferences::default(),
            accepted: vec!["VP8", "VP9"],
        };
        let format = Some(Format { codec: Codec::H264, profile: 0 });
        let report = sent_report(&track, &Published { video: format, ..Published::default() });
        let detail = report.detail.unwrap_or_default();
        assert_eq!(report.reason, "codec");
        assert!(detail.starts_with("the stream is published as H264, and this session negotiated VP8, VP9 only"));
        let report = sent_report(&track, &Published::default());
        assert_eq!((report.reason, report.detail), ("best", None), "nothing is published any more");
    }
}
