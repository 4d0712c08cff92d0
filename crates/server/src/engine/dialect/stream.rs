//! How does the API show a stream?

use control::engine;
use media::{StreamName, WallClock};
use serde::Serialize;
use utoipa::ToSchema;

use super::failure::PublishFailure;
use super::tenths;
use super::warnings::{StreamWarning, told};

/// Whether a stream can be seen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// No publisher has been connected yet.
    Waiting,
    /// Media comes from the publisher.
    Live,
    /// The publisher has left or sends no media any more; viewers keep their sessions and wait.
    Paused,
}

/// A stream as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StreamStatus {
    /// Its name.
    pub stream: String,
    /// Whether it can be seen now.
    pub state: StreamState,
    /// Since when, in milliseconds since the Unix epoch.
    pub live_since_ms: Option<u64>,
    /// Viewers whose session is up.
    pub viewers: u32,
    /// The publisher, once it is connected.
    pub publisher: Option<PublisherStatus>,
    /// The video track.
    pub video: Option<VideoStatus>,
    /// The audio track.
    pub audio: Option<AudioStatus>,
    /// Faults of the published media that are known.
    pub warnings: Vec<StreamWarning>,
    /// The last attempt to publish that failed in its DTLS handshake: for ten minutes, or until a
    /// publisher connects.
    pub publish_failure: Option<PublishFailure>,
    /// Bits per second from the publisher, over the last second.
    pub bitrate_in_bps: u64,
    /// Bits per second to all viewers together, over the last second.
    pub bitrate_out_bps: u64,
}

/// A publisher as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PublisherStatus {
    /// A short public handle of the session, not its secret id.
    pub session: String,
    /// Since when it is connected, in milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
    /// Round-trip time, where known.
    pub rtt_ms: Option<f64>,
    /// Loss on the way from the publisher, before repair.
    pub loss_percent: Option<f64>,
    /// What is wanted of each encoding of the video, smallest first, by its viewers' networks and
    /// wishes. A publisher that keeps to it saves its uplink, and each viewer gets more of what its
    /// network carries.
    pub wanted_layers: Vec<WantedLayer>,
}

/// What is wanted of an encoding of the video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WantedLayer {
    /// Its name; `null` where there is one encoding only.
    pub rid: Option<String>,
    /// Whether a viewer has use for it. It is wanted again as soon as one may have.
    pub active: bool,
    /// More bits a second than this are of no use. `null` where there is one encoding only, whose
    /// rate is the publisher's choice.
    pub max_bitrate_bps: Option<u64>,
    /// More pictures a second than this are of no use, where every viewer of the encoding wishes
    /// fewer than may come.
    pub max_framerate: Option<u16>,
    /// Higher spatial layers than this are of no use, where the encoding has some (SVC).
    pub max_spatial_layer: Option<u8>,
    /// Higher temporal layers than this are of no use, where the encoding has some.
    pub max_temporal_layer: Option<u8>,
}

/// A video track as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VideoStatus {
    /// For example `H264`.
    pub codec: String,
    /// Pixels, once a key frame told.
    pub width: Option<u16>,
    /// Pixels, once a key frame told.
    pub height: Option<u16>,
    /// Frames per second over the last second.
    pub frame_rate: f64,
    /// Bits per second over the last second.
    pub bitrate_bps: u64,
    /// Time between the last two key frames.
    pub key_frame_interval_ms: Option<u64>,
    /// Simulcast or SVC layers; one entry where there is one encoding.
    pub layers: Vec<LayerStatus>,
}

/// One layer of a video track.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LayerStatus {
    /// The encoding's `rid`, where simulcast names one.
    pub rid: Option<String>,
    /// Pixels.
    pub width: Option<u16>,
    /// Pixels.
    pub height: Option<u16>,
    /// Bits per second over the last second.
    pub bitrate_bps: u64,
    /// Frames per second over the last second.
    pub frame_rate: f64,
}

/// An audio track as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AudioStatus {
    /// For example `Opus`.
    pub codec: String,
    /// Bits per second over the last second.
    pub bitrate_bps: u64,
}

impl StreamStatus {
    /// Returns the status of a stream that has no publisher and no viewers.
    pub(crate) fn unknown(name: &StreamName) -> StreamStatus {
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

    /// Translates the engine's status. `clock` maps its instants to wall-clock time.
    pub(crate) fn new(clock: &WallClock, status: engine::StreamStatus) -> StreamStatus {
        StreamStatus {
            stream: status.name.to_string(),
            state: status.state.into(),
            live_since_ms: status.live_since.map(|at| clock.at(at).to_unix_ms()),
            viewers: status.viewers,
            publisher: status.publisher.map(|publisher| PublisherStatus::new(clock, publisher)),
            video: status.video.map(VideoStatus::from),
            audio: status.audio.map(AudioStatus::from),
            warnings: told(status.warnings),
            publish_failure: status.publish_failure.map(|failed| PublishFailure::new(clock, &failed)),
            bitrate_in_bps: status.in_bps,
            bitrate_out_bps: status.out_bps,
        }
    }
}

impl PublisherStatus {
    fn new(clock: &WallClock, publisher: engine::PublisherStatus) -> PublisherStatus {
        PublisherStatus {
            session: publisher.session.handle(),
            connected_at_ms: clock.at(publisher.connected_at).to_unix_ms(),
            rtt_ms: publisher.health.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
            loss_percent: publisher.health.loss.map(|loss| f64::from(loss) * 100.0),
            wanted_layers: publisher.wanted.into_iter().map(WantedLayer::from).collect(),
        }
    }
}

impl From<control::State> for StreamState {
    fn from(state: control::State) -> StreamState {
        match state {
            control::State::Waiting => StreamState::Waiting,
            control::State::Live => StreamState::Live,
            control::State::Paused => StreamState::Paused,
        }
    }
}

impl From<engine::WantedEncoding> for WantedLayer {
    fn from(wanted: engine::WantedEncoding) -> WantedLayer {
        WantedLayer {
            rid: wanted.rid,
            active: wanted.is_active,
            max_bitrate_bps: wanted.max_bps,
            max_framerate: wanted.max_frame_rate,
            max_spatial_layer: wanted.max_spatial,
            max_temporal_layer: wanted.max_temporal,
        }
    }
}

impl From<engine::VideoStatus> for VideoStatus {
    fn from(video: engine::VideoStatus) -> VideoStatus {
        VideoStatus {
            codec: video.codec.name().to_owned(),
            width: video.resolution.map(|r| r.width),
            height: video.resolution.map(|r| r.height),
            frame_rate: tenths(video.frame_rate),
            bitrate_bps: video.bps,
            key_frame_interval_ms: video.key_frame_interval.map(|i| i.as_millis() as u64),
            layers: video.encodings.into_iter().map(LayerStatus::from).collect(),
        }
    }
}

impl From<engine::EncodingStatus> for LayerStatus {
    fn from(encoding: engine::EncodingStatus) -> LayerStatus {
        LayerStatus {
            rid: encoding.rid,
            width: encoding.resolution.map(|r| r.width),
            height: encoding.resolution.map(|r| r.height),
            bitrate_bps: encoding.bps,
            frame_rate: tenths(encoding.frame_rate),
        }
    }
}

impl From<engine::AudioStatus> for AudioStatus {
    fn from(audio: engine::AudioStatus) -> AudioStatus {
        AudioStatus { codec: audio.codec.name().to_owned(), bitrate_bps: audio.bps }
    }
}
