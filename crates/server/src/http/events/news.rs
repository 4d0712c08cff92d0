//! Which events of its session does a viewer's subscription get?
//!
//! The events of the server-sent events extension of WHEP (draft-murillo-whep-02 §4.6.1): `active`
//! and `inactive` when media of a publisher comes and stops, `layers` when the published or the
//! sent layers have changed, `viewercount`; and `failed`, which the drafts do not have, when the
//! session is over because its DTLS handshake failed. A reader that is new is told how it is; after
//! that only what differs. The `layers` of that draft are an object for each medium, in later ones
//! an array; players read the object, so that is what we write, with the later name of an encoding
//! (`rid`) beside.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::sse;
use crate::engine::{FailedSession, LayerStatus, LayerWish, StreamState, StreamStatus, VideoStatus, ViewerReport};

/// An event of the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// Media of a publisher comes.
    Active,
    /// Media of a publisher comes no more.
    Inactive,
    /// The layers that can be asked for, and those that are sent to this viewer.
    Layers,
    /// The number of viewers.
    ViewerCount,
    /// The session is over because its DTLS handshake failed: the last event, which the drafts do
    /// not have.
    Failed,
}

impl Kind {
    /// All that there are.
    pub(in crate::http) const ALL: [Self; 5] =
        [Self::Active, Self::Inactive, Self::Layers, Self::ViewerCount, Self::Failed];

    /// Its name on the wire.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::ViewerCount => "viewercount",
            Self::Failed => "failed",
        }
    }
}

/// The data of a `layers` event, for each medium of the session's description that is video.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct MediumLayers {
    /// Encodings that come, best first.
    active: Vec<Encoding>,
    /// Encodings that the publisher can send and does not send now.
    inactive: Vec<Encoding>,
    /// What can be asked for, best first.
    layers: Vec<Layer>,
    /// What is sent to this viewer.
    current: Option<Current>,
    /// Why: `best` (there is no better one), `wished`, `network` (it carries no more), `hidden`, `codec` (the session did not
    /// negotiate what is published, and nothing is sent).
    reason: Option<&'static str>,
    /// What to do about the reason, for people, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What the viewer asked for.
    wish: LayerWish,
    /// Bits a second that the viewer's network carries, by our estimate.
    carried_bitrate: Option<u64>,
}

/// An encoding as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Encoding {
    /// Its `rid`, where simulcast names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Its place by size, from zero, the smallest.
    simulcast_idx: usize,
    /// Bits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
}

/// A layer that can be asked for. Layers within an encoding are the server's choice and not listed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Layer {
    /// The encoding's `rid`, where simulcast names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_id: Option<String>,
    /// The same, as later drafts call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<String>,
    /// Zero where there is no `rid`: the draft asks for one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    spatial_layer_id: Option<u8>,
    /// The encoding's place by size, from zero, the smallest.
    simulcast_idx: usize,
    /// Bits a second.
    bitrate: u64,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    /// Pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
    /// Pictures a second.
    frame_rate: f64,
}

/// What a viewer is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Current {
    /// The encoding's `rid`, where simulcast names one.
    encoding_id: Option<String>,
    /// The highest spatial layer that is sent, where some are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    spatial_layer_id: Option<u8>,
    /// The highest temporal layer that is sent, where some are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    temporal_layer_id: Option<u8>,
}

/// The data of a `failed` event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failed<'a> {
    /// The class of the reason, as in `nowcast_dtls_failures_total`: `alert`, `cipher` …
    reason: &'a str,
    /// The reason in words.
    detail: &'a str,
}

impl Failed<'_> {
    /// Returns the data of the event, in JSON.
    pub(super) fn of(failed: &FailedSession) -> String {
        let data = Failed { reason: failed.reason, detail: &failed.detail };
        serde_json::to_string(&data).unwrap_or_default()
    }
}

/// Decides what a subscription is told.
#[derive(Debug)]
pub(in crate::http) struct News {
    wanted: Vec<Kind>,
    /// Whether the stream was live since this began: only then can it become inactive.
    was_live: bool,
    told: Told,
}

/// What the reader knows.
#[derive(Debug, Default)]
struct Told {
    is_live: Option<bool>,
    layers: Option<(Instant, BTreeMap<u8, MediumLayers>)>,
    viewers: Option<u32>,
}

/// Bit rates waver all the time; that they do is told at most this often. The interval of a
/// stream's own events.
const FIGURES: Duration = Duration::from_secs(2);

/// An estimate that moved by less than this share has not moved: a step up of the estimate is about
/// as large.
const MOVED: f64 = 0.1;

impl News {
    /// Begins with what of it all is to be told.
    pub(in crate::http) fn new(wanted: Vec<Kind>) -> Self {
        Self { wanted, was_live: false, told: Told::default() }
    }

    /// A new reader begins, which knows nothing.
    pub(in crate::http) fn restart(&mut self) {
        self.told = Told::default();
    }

    /// Returns the events that are due, as they go over the wire; nothing if nothing has changed.
    pub(in crate::http) fn poll(&mut self, now: Instant, stream: &StreamStatus, session: &ViewerReport) -> String {
        let mut text = String::new();
        let is_live = stream.state == StreamState::Live;
        self.was_live |= is_live;
        if self.told.is_live.replace(is_live) != Some(is_live) {
            match (is_live, self.was_live) {
                (true, _) => self.write(&mut text, Kind::Active, "{}"),
                (false, true) => self.write(&mut text, Kind::Inactive, "{}"),
                // The draft: no `inactive` at the beginning.
                (false, false) => {}
            }
        }
        let layers = layers(stream, session);
        let is_due = self.told.layers.as_ref().is_none_or(|(told_at, told)| {
            is_news(told, &layers) || (*told != layers && now.saturating_duration_since(*told_at) >= FIGURES)
        });
        if is_due {
            self.write(&mut text, Kind::Layers, &serde_json::to_string(&layers).unwrap_or_default());
            self.told.layers = Some((now, layers));
        }
        if self.told.viewers.replace(stream.viewers) != Some(stream.viewers) {
            self.write(&mut text, Kind::ViewerCount, &format!("{{\"viewercount\":{}}}", stream.viewers));
        }
        text
    }

    /// Returns the event that ends the events of a session whose handshake failed.
    pub(super) fn failed(&self, failed: &FailedSession) -> String {
        let mut text = String::new();
        self.write(&mut text, Kind::Failed, &Failed::of(failed));
        text
    }

    fn write(&self, text: &mut String, kind: Kind, data: &str) {
        if self.wanted.contains(&kind) {
            text.push_str(&sse::written(kind.name(), data));
        }
    }
}

/// Whether more has changed than figures that waver.
fn is_news(told: &BTreeMap<u8, MediumLayers>, now: &BTreeMap<u8, MediumLayers>) -> bool {
    let steady = |medium: &MediumLayers| {
        let named = |encodings: &[Encoding]| -> Vec<_> {
            encodings.iter().map(|encoding| (encoding.id.clone(), encoding.width, encoding.height)).collect()
        };
        let (active, inactive) = (named(&medium.active), named(&medium.inactive));
        (active, inactive, medium.current.clone(), medium.reason, medium.wish.clone())
    };
    told.len() != now.len()
        || told.iter().zip(now).any(|((old_line, old), (line, new))| {
            let moved = match (old.carried_bitrate, new.carried_bitrate) {
                (Some(old), Some(new)) => old.abs_diff(new) as f64 > old as f64 * MOVED,
                (old, new) => old != new,
            };
            old_line != line || steady(old) != steady(new) || moved
        })
}

fn layers(stream: &StreamStatus, session: &ViewerReport) -> BTreeMap<u8, MediumLayers> {
    let Some(line) = session.video_line else { return BTreeMap::new() };
    let coming = stream.video.as_ref().map_or(&[][..], |video: &VideoStatus| &video.layers);
    // Smallest first, also what does not come at the moment.
    let known = stream.publisher.as_ref().map_or(&[][..], |publisher| &publisher.wanted_layers);
    let place = |place: usize, rid: Option<&String>| {
        let by_name = known.iter().position(|wanted| wanted.rid.as_ref() == rid);
        by_name.unwrap_or(coming.len().saturating_sub(place + 1))
    };
    let encoding = |(n, layer): (usize, &LayerStatus)| Encoding {
        id: layer.rid.clone(),
        simulcast_idx: place(n, layer.rid.as_ref()),
        bitrate: Some(layer.bitrate_bps),
        width: layer.width,
        height: layer.height,
    };
    let layer = |(n, layer): (usize, &LayerStatus)| Layer {
        encoding_id: layer.rid.clone(),
        rid: layer.rid.clone(),
        spatial_layer_id: layer.rid.is_none().then_some(0),
        simulcast_idx: place(n, layer.rid.as_ref()),
        bitrate: layer.bitrate_bps,
        width: layer.width,
        height: layer.height,
        frame_rate: layer.frame_rate,
    };
    let missing = known.iter().enumerate().rev();
    let missing = missing.filter(|(_, wanted)| !coming.iter().any(|layer| layer.rid == wanted.rid));
    let missing = missing.map(|(n, wanted)| Encoding {
        id: wanted.rid.clone(),
        simulcast_idx: n,
        bitrate: None,
        width: None,
        height: None,
    });
    let sent = session.video.as_ref();
    let medium = MediumLayers {
        active: coming.iter().enumerate().map(encoding).collect(),
        inactive: missing.collect(),
        layers: coming.iter().enumerate().map(layer).collect(),
        current: sent.map(|sent| Current {
            encoding_id: sent.layer.clone(),
            spatial_layer_id: sent.spatial_layer,
            temporal_layer_id: sent.temporal_layer,
        }),
        reason: sent.map(|sent| sent.reason),
        detail: sent.and_then(|sent| sent.detail.clone()),
        wish: sent.map(|sent| sent.wish.clone()).unwrap_or_default(),
        carried_bitrate: session.transport.map(|transport| transport.estimate_bps),
    };
    BTreeMap::from([(line, medium)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{PublisherStatus, SentReport, TransportReport, WantedLayer};

    #[test]
    fn a_reader_is_told_how_it_is_and_then_what_changes() {
        let mut news = News::new(Kind::ALL.to_vec());
        let now = Instant::now();
        let (mut stream, mut session) = (stream(StreamState::Waiting), session("h", 1_000_000));
        stream.video = None;
        assert_eq!(names(&news.poll(now, &stream, &session)), ["layers", "viewercount"], "not inactive at first");
        assert_eq!(news.poll(now, &stream, &session), "");

        stream = self::stream(StreamState::Live);
        assert_eq!(names(&news.poll(now, &stream, &session)), ["active", "layers"]);
        stream.viewers = 3;
        assert_eq!(news.poll(now, &stream, &session), "event: viewercount\ndata: {\"viewercount\":3}\n\n");
        session.video.as_mut().unwrap().layer = Some("f".into());
        assert_eq!(names(&news.poll(now, &stream, &session)), ["layers"]);
        stream.state = StreamState::Paused;
        assert_eq!(news.poll(now, &stream, &session), "event: inactive\ndata: {}\n\n");

        news.restart();
        assert_eq!(names(&news.poll(now, &stream, &session)), ["inactive", "layers", "viewercount"]);
    }

    #[test]
    fn figures_that_waver_are_told_now_and_then() {
        let mut news = News::new(vec![Kind::Layers]);
        let now = Instant::now();
        let mut stream = stream(StreamState::Live);
        news.poll(now, &stream, &session("h", 1_000_000));
        assert_eq!(news.poll(now, &stream, &session("h", 1_090_000)), "", "about the same");
        assert_ne!(news.poll(now, &stream, &session("h", 1_110_000)), "");
        stream.video.as_mut().unwrap().layers[0].bitrate_bps += 7;
        assert_eq!(news.poll(now + FIGURES / 2, &stream, &session("h", 1_110_000)), "");
        assert_ne!(news.poll(now + FIGURES, &stream, &session("h", 1_110_000)), "");
        assert_eq!(news.poll(now + 10 * FIGURES, &stream, &session("h", 1_110_000)), "", "all the same");
    }

    #[test]
    fn only_subscribed_events_are_sent() {
        let mut news = News::new(vec![Kind::Inactive]);
        let now = Instant::now();
        assert_eq!(news.poll(now, &stream(StreamState::Live), &session("h", 1_000_000)), "");
        let told = news.poll(now, &stream(StreamState::Paused), &session("h", 1_000_000));
        assert_eq!(names(&told), ["inactive"]);
    }

    #[test]
    fn layers_are_written_as_the_draft_says() {
        let mut news = News::new(vec![Kind::Layers]);
        let text = news.poll(Instant::now(), &stream(StreamState::Live), &session("h", 1_000_000));
        let data = text.strip_prefix("event: layers\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let expected = serde_json::json!({"1": {
            "active": [
                {"id": "h", "simulcastIdx": 1, "bitrate": 500_000, "width": 640, "height": 360},
                {"id": "q", "simulcastIdx": 0, "bitrate": 150_000},
            ],
            "inactive": [{"id": "f", "simulcastIdx": 2}],
            "layers": [
                {"encodingId": "h", "rid": "h", "simulcastIdx": 1, "bitrate": 500_000, "width": 640, "height": 360, "frameRate": 30.0},
                {"encodingId": "q", "rid": "q", "simulcastIdx": 0, "bitrate": 150_000, "frameRate": 30.0},
            ],
            "current": {"encodingId": "h", "temporalLayerId": 1},
            "reason": "network",
            "wish": {"encodingId": null, "maxHeight": null, "maxFrameRate": null, "paused": false},
            "carriedBitrate": 1_000_000,
        }});
        assert_eq!(data, expected);
    }

    #[test]
    fn a_codec_that_the_session_lacks_is_told_at_once() {
        let mut news = News::new(vec![Kind::Layers]);
        let now = Instant::now();
        let stream = stream(StreamState::Live);
        news.poll(now, &stream, &session("h", 1_000_000));
        let mut session = session("h", 1_000_000);
        let video = session.video.as_mut().unwrap();
        (video.reason, video.detail) = ("codec", Some("published as H264".into()));
        let text = news.poll(now, &stream, &session);
        assert!(text.contains(r#""reason":"codec","detail":"published as H264""#), "{text}");
    }

    #[test]
    fn one_encoding_without_a_name_is_a_layer_too() {
        let mut stream = stream(StreamState::Live);
        stream.publisher = None;
        let video = stream.video.as_mut().unwrap();
        video.layers.truncate(1);
        video.layers[0].rid = None;
        let layers = layers(&stream, &session("h", 1));
        let json = serde_json::to_value(&layers[&1].layers).unwrap();
        assert_eq!((&json[0]["spatialLayerId"], &json[0]["simulcastIdx"]), (&0.into(), &0.into()));
        assert!(json[0].get("encodingId").is_none());
        let without = ViewerReport { video_line: None, ..session("h", 1) };
        assert!(super::layers(&stream, &without).is_empty(), "a session without video");
    }

    fn names(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
    }

    fn stream(state: StreamState) -> StreamStatus {
        let layer = |rid: &str, bitrate_bps, size: Option<(u16, u16)>| LayerStatus {
            rid: Some(rid.into()),
            width: size.map(|size| size.0),
            height: size.map(|size| size.1),
            bitrate_bps,
            frame_rate: 30.0,
        };
        let wanted = |rid: &str, active| WantedLayer {
            rid: Some(rid.into()),
            active,
            max_bitrate_bps: Some(1),
            max_framerate: None,
            max_spatial_layer: None,
            max_temporal_layer: None,
        };
        StreamStatus {
            stream: "demo".into(),
            state,
            live_since_ms: None,
            viewers: 1,
            publisher: Some(PublisherStatus {
                session: "short".into(),
                connected_at_ms: 1,
                rtt_ms: None,
                loss_percent: None,
                wanted_layers: vec![wanted("q", true), wanted("h", true), wanted("f", false)],
            }),
            video: Some(VideoStatus {
                codec: "VP8".into(),
                width: None,
                height: None,
                frame_rate: 30.0,
                bitrate_bps: 650_000,
                key_frame_interval_ms: None,
                layers: vec![layer("h", 500_000, Some((640, 360))), layer("q", 150_000, None)],
            }),
            audio: None,
            warnings: Vec::new(),
            publish_failure: None,
            bitrate_in_bps: 0,
            bitrate_out_bps: 0,
        }
    }

    fn session(layer: &str, estimate_bps: u64) -> ViewerReport {
        let video = SentReport {
            codec: "VP8".into(),
            packets_sent: 1,
            bytes_sent: 1,
            nacks: 0,
            retransmitted: 0,
            key_frame_requests: 0,
            rtt_ms: None,
            loss_percent: None,
            rtp_timestamp: 1,
            captured_at_ms: None,
            capture_clock: "untold",
            clock_rate: 90_000,
            layer: Some(layer.into()),
            temporal_layer: Some(1),
            spatial_layer: None,
            reason: "network",
            detail: None,
            switches: 0,
            wish: LayerWish::default(),
        };
        let transport = TransportReport {
            received: 1,
            lost: 0,
            estimate_bps,
            estimate_state: "hold",
            app_limited: false,
            loss_percent: 0.0,
            rtt_ms: 1.0,
            queue_ms: 0.0,
        };
        ViewerReport {
            session: "short".into(),
            stream: "demo".into(),
            state: StreamState::Live,
            connected: true,
            video_line: Some(1),
            video: Some(video),
            audio: None,
            transport: Some(transport),
        }
    }
}
