//! What does HTTP need from everything below it?
//!
//! [`Engine`] is the one handle: cheap to clone, async, and the only place where the tokio world meets
//! `control`, the desks and the media shards.

mod actor;
mod addresses;
mod failures;
mod metrics;
mod status;
#[cfg(test)]
mod tests;
mod warnings;

pub(crate) use actor::SOCKET_BUFFER_BYTES;
pub(crate) use addresses::candidates;
pub use failures::{FailedSession, PublishFailure};
pub use warnings::StreamWarning;

use std::net::SocketAddr;
use std::time::Duration;

use media::{SessionId, StreamName};
use serde::{Deserialize, Serialize};
use shards::plane::Liveness;
use tokio::sync::{mpsc, oneshot, watch};
use utoipa::ToSchema;

use crate::config::MediaConfig;
use crate::json::{self, Form};

/// The one handle on streams and sessions.
#[derive(Clone)]
pub struct Engine {
    asks: mpsc::Sender<Ask>,
    changes: watch::Receiver<u64>,
    liveness: Liveness,
}

/// Someone wants to publish.
#[derive(Debug)]
pub struct Publish {
    /// Under which name.
    pub stream: StreamName,
    /// The SDP offer, at most [`crate::http::limits::SDP_BYTES`].
    pub offer: String,
    /// Who asks; for per-address limits and logs.
    pub remote: SocketAddr,
    /// The token's identity, if there was a token.
    pub identity: Option<String>,
}

/// Someone wants to watch.
#[derive(Debug)]
pub struct Watch {
    /// What to watch; it need not be live yet.
    pub stream: StreamName,
    /// The SDP offer, or `None`: the server is to make the offer.
    pub offer: Option<String>,
    /// Who asks.
    pub remote: SocketAddr,
    /// The token's identity, if there was a token.
    pub identity: Option<String>,
}

/// A session that has been opened, and our half of its description.
#[derive(Debug)]
pub struct Opened {
    /// Names the session resource.
    pub session: SessionId,
    /// Answer, or the server's offer.
    pub sdp: String,
    /// Changes with every ICE restart; the HTTP layer quotes it (RFC 9725 §4.3.1).
    pub etag: String,
}

/// An `application/trickle-ice-sdpfrag` body, parsed (RFC 8840).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceFragment {
    /// `a=ice-ufrag` of the client.
    pub ufrag: Option<String>,
    /// `a=ice-pwd` of the client.
    pub password: Option<String>,
    /// `a=candidate:` values, without the `a=`.
    pub candidates: Vec<String>,
    /// Whether `a=end-of-candidates` was there.
    pub end_of_candidates: bool,
}

/// What an ICE PATCH led to.
#[derive(Debug)]
pub enum Trickled {
    /// Candidates taken (204).
    Accepted,
    /// ICE restarted (200): our new credentials and candidates as a fragment, and the new ETag.
    Restarted {
        /// Our side, as `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new entity tag, unquoted.
        etag: String,
    },
}

/// Why something could not be done; each becomes one HTTP answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 400/422: the SDP cannot be used.
    #[error("the SDP cannot be used: {reason}")]
    BadSdp {
        /// What is wrong, in words.
        reason: String,
    },
    /// 406: a section of the offer cannot be served.
    #[error("the offer cannot be served as a whole: {what}; {fix}")]
    NotAcceptable {
        /// The section, and what is wrong with it.
        what: String,
        /// What to change.
        fix: String,
    },
    /// 406: nothing that the viewer offers decodes what is published.
    #[error("the stream is published as {published}, which the viewer does not offer")]
    UnsupportedCodec {
        /// What is published, for example `H265`.
        published: String,
        /// What the viewer offers.
        offered: Vec<String>,
    },
    /// 409: the stream has a publisher, and takeover is off.
    #[error("the stream already has a publisher")]
    StreamBusy {
        /// The earliest time after which that publisher may be given up.
        retry_after: Duration,
    },
    /// 404: no such session (any more).
    #[error("there is no such session")]
    NoSuchSession,
    /// 404: the session is over, because its DTLS handshake failed.
    #[error("the session has ended, because its DTLS handshake failed: {why}")]
    HandshakeFailed {
        /// The class of what went wrong, for programs.
        reason: &'static str,
        /// What went wrong, in words.
        why: String,
    },
    /// 400: the publisher sends no such layer.
    #[error("the stream has no layer called {wished}")]
    NoSuchLayer {
        /// What was wished.
        wished: String,
        /// What there is.
        known: Vec<String>,
    },
    /// 412: If-Match did not match the session's ICE generation.
    #[error("the entity tag is not the session's current one")]
    StaleEtag {
        /// The current tag, unquoted.
        current: String,
    },
    /// 503: a limit is reached.
    #[error("the server is full: {limit}")]
    Full {
        /// Which limit, by its option's name.
        limit: &'static str,
    },
    /// 503: the media threads have no time left for one more session.
    #[error("the server is too busy: its media threads have no time left for one more session")]
    Overloaded,
    /// 503: the server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Whether the server takes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// Viewers are refused because the media threads have no time left.
    Overloaded,
    /// A media thread has ended, or the server stops.
    Stuck,
}

/// Whether a stream can be seen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Nobody has published yet.
    Waiting,
    /// Packets flow.
    Live,
    /// No media comes of the publisher any more, or it left; viewers keep their sessions and wait.
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
    /// Who publishes.
    pub publisher: Option<PublisherStatus>,
    /// The video track.
    pub video: Option<VideoStatus>,
    /// The audio track.
    pub audio: Option<AudioStatus>,
    /// What is wrong with what is published; empty if nothing is known to be.
    pub warnings: Vec<StreamWarning>,
    /// The last attempt to publish that failed in its DTLS handshake: for ten minutes, or until a
    /// publisher connects.
    pub publish_failure: Option<PublishFailure>,
    /// What the publisher sends, in bits per second over the last second.
    pub bitrate_in_bps: u64,
    /// What all viewers together are sent.
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
    /// What its viewers have use for of each encoding of the video, smallest first. A publisher that keeps to it saves its
    /// uplink, and each viewer gets more of what its network carries.
    pub wanted_layers: Vec<WantedLayer>,
}

/// What is wanted of an encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WantedLayer {
    /// Its name; `null` where there is one encoding only.
    pub rid: Option<String>,
    /// Whether anybody has use for it. It is wanted again as soon as somebody may have.
    pub active: bool,
    /// More bits a second than this are of no use; `null` where there is one encoding only: its rate is the publisher's choice.
    pub max_bitrate_bps: Option<u64>,
    /// More pictures a second than this are of no use, where every viewer of the encoding wishes fewer than may come.
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

/// What the server sends to one viewer, for that viewer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ViewerReport {
    /// A short public handle of the session.
    pub session: String,
    /// What it watches.
    pub stream: String,
    /// The stream's state.
    pub state: StreamState,
    /// Whether ICE and DTLS are up.
    pub connected: bool,
    /// The place of the video among the media of the session's description, from zero.
    pub video_line: Option<u8>,
    /// The video it is sent.
    pub video: Option<SentReport>,
    /// The audio it is sent.
    pub audio: Option<SentReport>,
    /// What the viewer says of all packets that reach it, where it gives transport-wide feedback.
    pub transport: Option<TransportReport>,
}

/// A viewer's network by its transport-wide feedback, retransmissions included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct TransportReport {
    /// Packets that came.
    pub received: u64,
    /// Packets that had not come when it reported.
    pub lost: u64,
    /// Bits a second that its network carries, by our estimate.
    pub estimate_bps: u64,
    /// `increase`, `hold` or `decrease`.
    pub estimate_state: &'static str,
    /// Less is sent than the estimate, so the network may carry more than is known.
    pub app_limited: bool,
    /// Share of packets lost lately, before repair.
    pub loss_percent: f64,
    /// Round trip, with the time that reports wait.
    pub rtt_ms: f64,
    /// How long every packet waits in queues on the way.
    pub queue_ms: f64,
}

/// One track on its way to one viewer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SentReport {
    /// For example `VP8`.
    pub codec: String,
    /// RTP packets, without retransmissions.
    pub packets_sent: u64,
    /// Payload bytes.
    pub bytes_sent: u64,
    /// Packets that the viewer reported missing.
    pub nacks: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Key frames that the viewer asked for.
    pub key_frame_requests: u64,
    /// From the viewer's receiver reports.
    pub rtt_ms: Option<f64>,
    /// From the viewer's receiver reports.
    pub loss_percent: Option<f64>,
    /// RTP timestamp, as this viewer sees it, of the packet sent last.
    pub rtp_timestamp: u32,
    /// When that packet's picture or sound was captured, server wall clock, ms since the Unix epoch.
    pub captured_at_ms: Option<f64>,
    /// What is known of the publisher's clock: `known`; `untold` (no sender report or capture time
    /// came yet); `wrong` (it says that pictures were captured after they arrived, or a minute before).
    /// `captured_at_ms` is `null` unless it is known.
    pub capture_clock: &'static str,
    /// Ticks a second of `rtp_timestamp`.
    pub clock_rate: u32,
    /// The `rid` of the layer that is sent, where simulcast names one.
    pub layer: Option<String>,
    /// The highest temporal layer of it that is sent, where some are left out: fewer pictures a second.
    pub temporal_layer: Option<u8>,
    /// The highest spatial layer of it that is sent, where some are left out: smaller pictures.
    pub spatial_layer: Option<u8>,
    /// Why this one: `best` (there is no better one), `wished`, `network` (it carries no more), `hidden`, `load` (the server's core
    /// cannot send more to each viewer), `codec` (the session did not negotiate what is published, and nothing is sent).
    pub reason: &'static str,
    /// What to do about the reason, for people, where there is something: with `codec`.
    pub detail: Option<String>,
    /// Changes from one layer to another.
    pub switches: u64,
    /// What the viewer asked for.
    pub wish: LayerWish,
}

/// What a viewer wishes of the video. An empty object leaves the choice to the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LayerWish {
    /// The `mid` that is meant. There is one video, so it changes nothing; drafts of WHEP name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_id: Option<String>,
    /// The `rid` of the layer to send, whatever the network carries. Later drafts of WHEP call it so: `rid`.
    #[serde(alias = "rid")]
    pub encoding_id: Option<String>,
    /// The most lines of the picture. Smaller ones are sent where the network asks for it.
    pub max_height: Option<u16>,
    /// The most columns of the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_width: Option<u16>,
    /// The most pictures a second, where the publisher sends temporal layers to choose from, or where all viewers wish so few.
    pub max_frame_rate: Option<u16>,
    /// The highest spatial layer to send of an encoding that has some (SVC); `maxSpatialLayerId` means the same.
    #[serde(alias = "maxSpatialLayerId", skip_serializing_if = "Option::is_none")]
    pub spatial_layer_id: Option<u8>,
    /// The highest temporal layer to send of an encoding that has some; `maxTemporalLayerId` means the same.
    #[serde(alias = "maxTemporalLayerId", skip_serializing_if = "Option::is_none")]
    pub temporal_layer_id: Option<u8>,
    /// No picture for now: nobody looks. Sound goes on.
    pub paused: bool,
}

impl LayerWish {
    /// All fields by their names in JSON, and what each holds.
    const FIELDS: [(&str, Form); 11] = [
        ("mediaId", Form::Text),
        ("encodingId", Form::Text),
        ("rid", Form::Text),
        ("maxHeight", Form::UpTo(65_535)),
        ("maxWidth", Form::UpTo(65_535)),
        ("maxFrameRate", Form::UpTo(65_535)),
        ("spatialLayerId", Form::UpTo(255)),
        ("maxSpatialLayerId", Form::UpTo(255)),
        ("temporalLayerId", Form::UpTo(255)),
        ("maxTemporalLayerId", Form::UpTo(255)),
        ("paused", Form::Switch),
    ];

    /// Reads a wish from JSON.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, for the one who sent it.
    pub fn read(text: &str) -> Result<LayerWish, String> {
        let unread = |fault: String| format!("the wish cannot be read: {fault}");
        let object = json::object(text).map_err(unread)?;
        for (name, form) in Self::FIELDS {
            let Some(value) = object.get(name) else { continue };
            form.check(value).map_err(|expected| unread(format!("{name} is not {expected}")))?;
        }
        // Each field fits, so only two names of one field are left to go wrong.
        serde_json::from_value(object.into())
            .map_err(|_| unread("two of its fields mean the same (such as encodingId and rid); send one".to_owned()))
    }
}

impl Engine {
    /// Starts the media plane and everything that drives it.
    ///
    /// # Errors
    ///
    /// One line that names the option to change.
    pub async fn start(config: &MediaConfig) -> anyhow::Result<Engine> {
        actor::start(config)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.ok()?;
        // Every answer comes from a thread of this process; one that is gone must not hang its client.
        match tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()? {
            Ok(answer) => Some(answer),
            Err(_) if self.asks.is_closed() => None,
            // The control task panicked with this request, and goes on with others. As with a task that is joined, the panic
            // is now its asker's; HTTP answers 500.
            Err(_) => std::panic::resume_unwind(Box::new("the control task panicked with this request")),
        }
    }

    /// Whether the control task and all media threads run.
    pub fn is_alive(&self) -> bool {
        self.liveness.is_alive() && !self.asks.is_closed()
    }

    /// Opens a publisher's session.
    pub async fn publish(&self, request: Publish) -> Result<Opened, Refusal> {
        self.ask(|reply| Ask::Publish(request, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Opens a viewer's session.
    pub async fn watch(&self, request: Watch) -> Result<Opened, Refusal> {
        self.ask(|reply| Ask::Watch(request, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Takes a viewer's answer to the server's offer.
    pub async fn accept_answer(&self, session: SessionId, answer: String) -> Result<(), Refusal> {
        self.ask(|reply| Ask::Answer(session, answer, reply)).await.unwrap_or(Err(Refusal::NoSuchSession))
    }

    /// Takes candidates, or restarts ICE when the fragment carries new credentials. `if_match` is the
    /// unquoted tag of the request (`None`: none was sent, `Some("*")`: any).
    pub async fn trickle(
        &self,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
    ) -> Result<Trickled, Refusal> {
        self.ask(|reply| Ask::Trickle(session, fragment, if_match, reply)).await.unwrap_or(Err(Refusal::NoSuchSession))
    }

    /// Which stream a session belongs to, whether it publishes, and for whom; for checking the token of a
    /// PATCH, DELETE or GET.
    pub async fn owner(&self, session: SessionId) -> Option<Owner> {
        self.ask(|reply| Ask::Owner(session, reply)).await.flatten()
    }

    /// Why a session failed, and whose it was, if it did so lately.
    pub async fn why_failed(&self, session: SessionId) -> Option<FailedSession> {
        self.ask(|reply| Ask::WhyFailed(session, reply)).await.flatten()
    }

    /// Ends a session. Returns whether there was one.
    pub async fn close(&self, session: SessionId) -> bool {
        self.ask(|reply| Ask::Close(session, reply)).await.unwrap_or(false)
    }

    /// What one viewer is sent.
    pub async fn report(&self, session: SessionId) -> Option<ViewerReport> {
        self.ask(|reply| Ask::Report(session, reply)).await.flatten()
    }

    /// A viewer wishes something of the video.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchLayer`], [`Refusal::NoSuchSession`].
    pub async fn wish(&self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        self.ask(|reply| Ask::Wish(session, wish, reply)).await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// All streams that have a publisher or viewers, by name.
    pub async fn streams(&self) -> Vec<StreamStatus> {
        self.ask(Ask::Streams).await.unwrap_or_default()
    }

    /// One stream; `waiting` with nobody in it if it is unknown.
    pub async fn stream(&self, name: &StreamName) -> StreamStatus {
        let known = self.ask(|reply| Ask::Stream(name.clone(), reply)).await.flatten();
        known.unwrap_or_else(|| status::unknown(name))
    }

    /// The value is a counter that grows when something about any stream has changed: re-read
    /// [`Engine::stream`] by it.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Ends a stream's publisher and viewers. Returns whether there were any.
    pub async fn kick(&self, stream: &StreamName) -> bool {
        self.ask(|reply| Ask::Kick(stream.clone(), reply)).await.unwrap_or(false)
    }

    /// Counters and gauges of everything below, in Prometheus' text format (without HTTP's own).
    pub async fn metrics(&self) -> String {
        self.ask(Ask::Metrics).await.unwrap_or_default()
    }

    /// Whether all shards and desks answer.
    pub async fn readiness(&self) -> Readiness {
        self.ask(Ask::IsReady).await.unwrap_or(Readiness::Stuck)
    }

    /// Says goodbye to every session (RTCP BYE, DTLS close_notify) and ends the threads; returns when done.
    pub async fn shut_down(&self) {
        self.ask(Ask::ShutDown).await;
    }
}

/// The longest that HTTP waits for a thread below. A handshake thread that is this far behind is overloaded, and
/// clients should go elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asked of the engine's task.
enum Ask {
    Publish(Publish, oneshot::Sender<Result<Opened, Refusal>>),
    Watch(Watch, oneshot::Sender<Result<Opened, Refusal>>),
    Answer(SessionId, String, oneshot::Sender<Result<(), Refusal>>),
    Trickle(SessionId, IceFragment, Option<String>, oneshot::Sender<Result<Trickled, Refusal>>),
    Owner(SessionId, oneshot::Sender<Option<Owner>>),
    WhyFailed(SessionId, oneshot::Sender<Option<FailedSession>>),
    Close(SessionId, oneshot::Sender<bool>),
    Report(SessionId, oneshot::Sender<Option<ViewerReport>>),
    Wish(SessionId, LayerWish, oneshot::Sender<Result<(), Refusal>>),
    Streams(oneshot::Sender<Vec<StreamStatus>>),
    Stream(StreamName, oneshot::Sender<Option<StreamStatus>>),
    Kick(StreamName, oneshot::Sender<bool>),
    Metrics(oneshot::Sender<String>),
    IsReady(oneshot::Sender<Readiness>),
    #[cfg(test)]
    Panic(oneshot::Sender<()>),
    ShutDown(oneshot::Sender<()>),
}

/// What a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its stream.
    pub stream: StreamName,
    /// What it is for.
    pub role: Role,
    /// The identity of the token that opened it, if there was one.
    pub identity: Option<String>,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It sends media to us.
    Publisher,
    /// We send media to it.
    Viewer,
}
