//! How does the API report to a viewer the media that it is sent?

use control::engine::ViewerStatus;
use media::MediaKind;
use serde::Serialize;
use sfu::bwe::State;
use sfu::format::Published;
use sfu::shard;
use sfu::stream::choice::Reason;
use sfu::viewer::subscription::Newest;
use utoipa::ToSchema;

use super::stream::StreamState;
use super::tenths;
use super::wish::LayerWish;

/// What the server sends to one viewer, for that viewer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ViewerReport {
    /// A short public handle of the session.
    pub session: String,
    /// The stream that it watches.
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
    /// How its network is, where the viewer gives transport-wide feedback.
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
    /// Whether the publisher's clock is known: `known`; `untold` (no sender report or capture time
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
    /// Why this one: `best` (there is no better one), `wished`, `network` (it carries no more),
    /// `hidden`, `load` (the server's core cannot send more to each viewer), `codec` (the session did
    /// not negotiate what is published, and nothing is sent).
    pub reason: &'static str,
    /// What to do about the reason, for people, where there is something: with `codec`.
    pub detail: Option<String>,
    /// Changes from one layer to another.
    pub switches: u64,
    /// The viewer's wish.
    pub wish: LayerWish,
}

impl From<ViewerStatus> for ViewerReport {
    fn from(status: ViewerStatus) -> ViewerReport {
        let report = status.report.as_ref();
        let track = |kind| report.and_then(|r| r.tracks.iter().find(|track| track.kind == kind));
        let sent = |kind| track(kind).map(|track| sent_report(track, &status.published));
        ViewerReport {
            session: status.session.handle(),
            stream: status.stream.to_string(),
            state: status.state.into(),
            connected: status.is_connected,
            video_line: status.video_line,
            video: sent(MediaKind::Video),
            audio: sent(MediaKind::Audio),
            transport: report.and_then(transport_report),
        }
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

/// Returns the capture time, unless the publisher's clock cannot be right.
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
    let (format, reason) = (published.of(track.kind), track.reason);
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
        wish: LayerWish::of(&track.preferences, track.preferences.encoding.and_then(rid)),
    }
}

#[cfg(test)]
mod tests {
    use media::Codec;
    use sfu::format::Format;
    use sfu::stream::choice::Preferences;

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
    }
}
