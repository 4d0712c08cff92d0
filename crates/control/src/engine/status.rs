//! What does the engine say of a stream, and of a viewer?
//!
//! Plain values; the API's JSON is made from them at the edge.

use std::time::{Duration, Instant};

use media::codec::Resolution;
use media::packet::MAX_ENCODINGS;
use media::{Codec, SessionId, StreamName};
use sfu::format::Published;
use sfu::publisher::Health;
use sfu::publisher::warnings::Warnings;
use sfu::shard::{StreamSnapshot, ViewerReport};
use sfu::stream::choice::Reason;

use super::Engine;
use super::demand::WantedEncoding;
use super::failures::FailedSession;
use super::watched::Watched;
use crate::stream::{State, StreamView};

/// A stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamStatus {
    /// Its name.
    pub name: StreamName,
    /// Whether it can be seen.
    pub state: State,
    /// When it became live; `None` unless it is.
    pub live_since: Option<Instant>,
    /// Viewers that are connected.
    pub viewers: u32,
    /// Its publisher, if that is connected.
    pub publisher: Option<PublisherStatus>,
    /// The video track, while the stream is live.
    pub video: Option<VideoStatus>,
    /// The audio track, while the stream is live.
    pub audio: Option<AudioStatus>,
    /// Faults of the published media.
    pub warnings: Warnings,
    /// The last attempt to publish that failed in its DTLS handshake, until a publisher connects.
    pub publish_failure: Option<FailedSession>,
    /// Bits a second from the publisher.
    pub in_bps: u64,
    /// Bits a second to all viewers together.
    pub out_bps: u64,
}

/// A publisher.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherStatus {
    /// Its session.
    pub session: SessionId,
    /// When it was connected.
    pub connected_at: Instant,
    /// The health of the network path from it.
    pub health: Health,
    /// The demand for each encoding of the video, smallest first.
    pub wanted: Vec<WantedEncoding>,
}

/// A video track.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoStatus {
    /// Its codec.
    pub codec: Codec,
    /// Size of the best encoding's picture, once a key frame told.
    pub resolution: Option<Resolution>,
    /// Pictures a second.
    pub frame_rate: f64,
    /// Bits a second.
    pub bps: u64,
    /// Time between the last two key frames.
    pub key_frame_interval: Option<Duration>,
    /// The encodings that come, best first.
    pub encodings: Vec<EncodingStatus>,
}

/// One encoding of a video track.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodingStatus {
    /// The publisher's name for it, where simulcast names one.
    pub rid: Option<String>,
    /// Size of its picture, once a key frame told.
    pub resolution: Option<Resolution>,
    /// Bits a second.
    pub bps: u64,
    /// Pictures a second.
    pub frame_rate: f64,
}

/// An audio track.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioStatus {
    /// Its codec.
    pub codec: Codec,
    /// Bits a second.
    pub bps: u64,
}

/// The media that one viewer is sent.
#[derive(Debug, Clone)]
pub struct ViewerStatus {
    /// The viewer.
    pub session: SessionId,
    /// Its stream.
    pub stream: StreamName,
    /// Whether the stream can be seen.
    pub state: State,
    /// Whether ICE and DTLS are up.
    pub is_connected: bool,
    /// The place of the video among the media of its description, from zero.
    pub video_line: Option<u8>,
    /// The formats that are published.
    pub published: Published,
    /// Its shard's report; `None` while no shard serves it.
    pub report: Option<ViewerReport>,
}

impl Engine {
    /// Returns all streams that have a publisher or viewers, by name.
    pub fn streams(&self, now: Instant) -> Vec<StreamStatus> {
        self.control.streams().map(|view| self.status(now, &view)).collect()
    }

    /// Returns a stream, if it has a publisher or viewers, or if an attempt to publish it failed
    /// lately: a stream ends with its last session, and the failure is known for longer.
    pub fn stream(&self, now: Instant, name: &StreamName) -> Option<StreamStatus> {
        if let Some(view) = self.control.stream(name) {
            return Some(self.status(now, &view));
        }
        let failed = self.failures.of_publisher(now, name)?;
        Some(StreamStatus {
            name: name.clone(),
            state: State::Waiting,
            live_since: None,
            viewers: 0,
            publisher: None,
            video: None,
            audio: None,
            warnings: Warnings::default(),
            publish_failure: Some(failed.clone()),
            in_bps: 0,
            out_bps: 0,
        })
    }

    fn status(&self, now: Instant, view: &StreamView<'_>) -> StreamStatus {
        let nothing = Watched::default();
        let watched = self.streams.get(&view.id).unwrap_or(&nothing);
        let is_live = view.state == State::Live;
        let publisher = view.publisher.as_ref().and_then(|publisher| {
            Some(PublisherStatus {
                session: publisher.session,
                connected_at: publisher.connected_at?,
                health: watched.health(),
                wanted: watched.demand.wanted().to_vec(),
            })
        });
        let in_bps = watched.rates.audio_bps + watched.rates.video_bps;
        StreamStatus {
            name: view.name.clone(),
            state: view.state,
            live_since: view.live_since,
            viewers: view.viewers,
            publisher,
            video: is_live.then(|| watched.video()).flatten(),
            audio: is_live.then(|| watched.audio()).flatten(),
            warnings: if is_live { watched.warnings() } else { Warnings::default() },
            publish_failure: self.failures.of_publisher(now, view.name).cloned(),
            in_bps: if is_live { in_bps as u64 } else { 0 },
            out_bps: watched.rates.out_bps() as u64,
        }
    }

    pub(super) fn viewer_status(&self, session: SessionId, report: Option<ViewerReport>) -> Option<ViewerStatus> {
        let connection = self.connections.get(&session)?;
        let view = self.control.stream_by_id(connection.stream)?;
        let published = self.published(view.id);
        let report = report.map(|mut report| {
            for track in &mut report.tracks {
                // A viewer lacks no codec of a stream that is not published.
                if track.reason == Reason::Codec && published.of(track.kind).is_none() {
                    track.reason = Reason::Best;
                }
            }
            report
        });
        Some(ViewerStatus {
            session,
            stream: view.name.clone(),
            state: view.state,
            is_connected: connection.is_connected,
            video_line: connection.video_line,
            published,
            report,
        })
    }
}

impl Watched {
    fn video(&self) -> Option<VideoStatus> {
        let format = self.published().video?;
        let home = self.home()?;
        let best = home.encodings.get(usize::from(home.best));
        Some(VideoStatus {
            codec: format.codec,
            resolution: best.and_then(|encoding| encoding.resolution),
            frame_rate: self.rates.frame_rate,
            bps: self.rates.video_bps as u64,
            key_frame_interval: home.key_frame_interval,
            encodings: self.encodings(home),
        })
    }

    /// Returns the encodings that come, best first.
    fn encodings(&self, home: &StreamSnapshot) -> Vec<EncodingStatus> {
        let mut live: Vec<_> = (0..MAX_ENCODINGS).filter(|n| home.encodings[*n].is_live).collect();
        live.sort_by_key(|n| {
            let encoding = &home.encodings[*n];
            let size = encoding.resolution.map_or(0, |r| u32::from(r.width) * u32::from(r.height));
            std::cmp::Reverse((size, encoding.bits_per_second))
        });
        let encoding = |n: usize| EncodingStatus {
            rid: self.published().rids[n].map(|rid| rid.to_string()),
            resolution: home.encodings[n].resolution,
            bps: home.encodings[n].bits_per_second,
            frame_rate: self.rates.frame_rates[n],
        };
        live.into_iter().map(encoding).collect()
    }

    fn audio(&self) -> Option<AudioStatus> {
        let format = self.published().audio?;
        Some(AudioStatus { codec: format.codec, bps: self.rates.audio_bps as u64 })
    }
}
