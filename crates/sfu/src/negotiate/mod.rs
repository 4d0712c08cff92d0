//! How does an SDP become a session?
//!
//! str0m negotiates; here is what we offer and accept, and what the rest of the house needs to know of the
//! result. A publisher's `Rtc` goes on to a shard as a whole. A viewer's has done its part when both descriptions are
//! there: what is left of it is [`TrackFacts`] and [`Secured`]. Only one who wants a data channel keeps it.

mod answers;
pub mod color_space;
pub mod descriptor;
mod numbers;
mod secured;
pub mod text;

pub use answers::Answers;
pub use secured::Secured;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{Codec, MediaKind};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::format::{Codec as RtcCodec, FormatParams, PayloadParams};
use str0m::ice::IceCreds;
use str0m::media::{Direction, Frequency, MediaKind as RtcKind, Mid, Rid, Rids};
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

use crate::dtls::Notes;
use crate::format::{Accepted, AcceptedFormats, Format, Published};
use crate::ingress::Ingress;
use crate::tap::{self, KeySlot};
use crate::viewer::track::{ExtensionIds, TrackFacts};

/// What every session of this process shares.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: DtlsCert,
    candidates: Vec<SocketAddr>,
}

impl Identity {
    /// Makes a certificate for DTLS; `candidates` are the addresses that peers are told to send to.
    pub fn new(candidates: Vec<SocketAddr>) -> Identity {
        let certificate = tap::provider().dtls_provider.generate_certificate();
        Identity { certificate: certificate.expect("the AWS-LC provider makes certificates"), candidates }
    }

    /// The addresses that peers are told to send to.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// The candidate that a datagram which came in at `destination` was meant for: behind a NAT the two differ.
    pub fn candidate_for(&self, destination: SocketAddr) -> SocketAddr {
        if self.candidates.contains(&destination) {
            return destination;
        }
        let same_family = self.candidates.iter().find(|c| c.is_ipv4() == destination.is_ipv4());
        same_family.copied().unwrap_or(destination)
    }

    /// Our certificate and its key.
    pub(crate) fn certificate(&self) -> &DtlsCert {
        &self.certificate
    }

    fn rtc(&self, now: Instant, credentials: IceCreds, media: Media) -> Rtc {
        let provider = match media {
            Media::OfRtc => tap::publishers(),
            Media::Elsewhere => tap::provider(),
        };
        let mut config = RtcConfig::new()
            .set_crypto_provider(provider)
            .set_dtls_cert(self.certificate.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_local_ice_credentials(credentials)
            .set_sctp_max_message_size(MAX_DATA_MESSAGE_BYTES)
            .set_extension_map(extensions(media))
            .enable_opus(true, true);
        add_formats(&mut config);
        let mut rtc = match media {
            Media::OfRtc => config.set_stats_interval(Some(Duration::from_secs(1))),
            // Its reports would be dropped: they need not be made.
            Media::Elsewhere => config.set_rtcp_report_interval_audio(NEVER).set_rtcp_report_interval_video(NEVER),
        }
        .build(now);
        for candidate in &self.candidates {
            if let Ok(candidate) = Candidate::host(*candidate, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        rtc
    }
}

/// Who moves a session's media.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    /// Its `Rtc`: a publisher's.
    OfRtc,
    /// A shard: a viewer's.
    Elsewhere,
}

const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The largest data channel message that we say we take (threat T16).
const MAX_DATA_MESSAGE_BYTES: u32 = 64 * 1024;

fn extensions(media: Media) -> str0m::rtp::ExtensionMap {
    let mut map = str0m::rtp::ExtensionMap::empty();
    let color_space = match media {
        Media::OfRtc => color_space::extension(),
        Media::Elsewhere => Extension::ColorSpace,
    };
    let list = [
        color_space,
        Extension::AudioLevel,
        Extension::AbsoluteSendTime,
        Extension::TransportSequenceNumber,
        Extension::RtpMid,
        Extension::PlayoutDelay,
        Extension::AbsoluteCaptureTime,
        Extension::VideoOrientation,
        Extension::RtpStreamId,
        Extension::RepairedRtpStreamId,
        descriptor::extension(),
    ];
    for (n, extension) in list.into_iter().enumerate() {
        map.set(n as u8 + 1, extension);
    }
    map
}

/// Profiles that browsers offer beyond str0m's defaults. Payload types are only proposals: those of the other
/// side's offer are used. Yet where the server offers, no number may mean two things (45 and 46 are str0m's AV1).
fn add_formats(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    // High 4:4:4 Predictive and, with packetization-mode 0, High.
    codecs.add_h264(39.into(), Some(40.into()), true, 0xf4_001f);
    codecs.add_h264(41.into(), Some(42.into()), false, 0x64_001f);
    for (pt, rtx, profile) in [(43, 44, 1), (50, 51, 3)] {
        let format = FormatParams { profile_id: Some(profile), ..FormatParams::default() };
        codecs.add_config(u8::into(pt), Some(u8::into(rtx)), RtcCodec::Vp9, Frequency::NINETY_KHZ, None, format);
    }
    let format = FormatParams { profile: Some(1), ..FormatParams::default() };
    codecs.add_config(48.into(), Some(49.into()), RtcCodec::Av1, Frequency::NINETY_KHZ, None, format);
}

/// Why a description cannot be used; for the one who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not SDP, breaks a limit, or str0m cannot work with it.
    #[error("{0}")]
    Malformed(String),
    /// It offers no codec that we forward.
    #[error("it offers no {kind} codec that this server forwards (offered: {})", offered.join(", "))]
    NoCodec {
        /// `audio` or `video`.
        kind: &'static str,
        /// What it offers.
        offered: Vec<String>,
    },
    /// Nothing is wrong with it, but too many come at once.
    #[error("too many viewers come at once")]
    Busy,
    /// It decodes nothing of what is being published.
    #[error("the stream is published as {published}")]
    CannotDecode {
        /// What is published.
        published: &'static str,
        /// What it offers.
        offered: Vec<String>,
    },
}

/// A publisher's session, ready for a shard.
#[derive(Debug)]
pub struct PublisherOffer {
    /// The session.
    pub rtc: Box<Rtc>,
    /// Our answer.
    pub answer: String,
    /// The offer that was answered, for ICE restarts.
    pub offer: String,
    /// What each m-line may bring.
    pub tracks: Vec<PublisherTrack>,
    /// What its packets pass before its session sees them.
    pub ingress: Box<Ingress>,
    /// What goes wrong in its DTLS handshake.
    pub notes: Notes,
}

/// One m-line of a publisher.
#[derive(Debug, Clone)]
pub struct PublisherTrack {
    /// Its `mid`.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// Payload types and what they mean.
    pub formats: Vec<(u8, Format)>,
    /// Its encodings, in the order of the offer; empty without simulcast.
    pub rids: Vec<Rid>,
}

/// Answers a publisher's offer.
///
/// # Errors
///
/// [`Unusable`], in words for the publisher.
pub fn publisher(
    identity: &Identity,
    now: Instant,
    credentials: IceCreds,
    offer: &str,
) -> Result<PublisherOffer, Unusable> {
    text::check(offer).map_err(Unusable::Malformed)?;
    if numbers::bind_us(offer) {
        numbers::check(offer).map_err(Unusable::Malformed)?;
    }
    let offer = descriptor::if_wanted(&color_space::hidden(&text::with_encodings(offer, MAX_ENCODINGS)));
    let parsed = parse_offer(&offer)?;
    Secured::of(&offer)?;
    let keys = tap::withhold();
    let notes = keys.notes();
    let mut rtc = identity.rtc(now, credentials, Media::OfRtc);
    let answer = rtc.sdp_api().accept_offer(parsed).map_err(malformed)?.to_sdp_string();
    let answer = text::with_opus_of(&text::with_order_of(&color_space::shown(&answer), &offer), &offer);
    let mut tracks = Vec::new();
    for (section, mid, kind) in negotiated(&offer, &answer) {
        let Some(media) = rtc.media(mid) else { continue };
        if !matches!(section.direction, "sendonly" | "sendrecv") {
            continue;
        }
        let pts = media.remote_pts();
        let mut formats = Vec::new();
        for params in rtc.codec_config().params().iter().filter(|p| pts.contains(&p.pt())) {
            if let Some(format) = format_of(params) {
                formats.push((*params.pt(), format));
                if let Some(red) = params.red() {
                    formats.push((*red, Format { codec: Codec::Red, profile: u32::from(*params.pt()) }));
                }
            }
        }
        if !formats.is_empty() {
            let rids = match media.rids_rx() {
                Rids::Specific(rids) if kind == MediaKind::Video => rids.iter().copied().take(MAX_ENCODINGS).collect(),
                _ => Vec::new(),
            };
            tracks.push(PublisherTrack { mid, kind, formats, rids });
        }
    }
    if tracks.is_empty() {
        return Err(no_codec(&offer));
    }
    let ingress = Box::new(Ingress::new(keys, &answer));
    Ok(PublisherOffer { rtc: Box::new(rtc), answer, offer, tracks, ingress, notes })
}

/// A viewer's session, ready for its handshake.
#[derive(Debug)]
pub struct ViewerOffer {
    /// Our answer, or our offer.
    pub sdp: String,
    /// What was negotiated; empty as long as our offer has no answer.
    pub tracks: Vec<TrackFacts>,
    /// What the handshake needs.
    pub stage: Stage,
}

/// What a viewer's session is made of after a description was read.
#[derive(Debug)]
pub enum Stage {
    /// All is agreed on; DTLS and ICE-lite are all that is left to do.
    Agreed(Secured),
    /// There is a data channel: SCTP needs the whole session.
    Whole {
        /// The session.
        rtc: Box<Rtc>,
        /// Where its keys will appear.
        keys: KeySlot,
    },
    /// Our offer waits for its answer.
    Offered {
        /// Reads the answer.
        rtc: Box<Rtc>,
        /// The offer.
        pending: Box<SdpPendingOffer>,
    },
}

/// Answers a viewer's offer. `published` is what the stream carries at the moment, so far as it is known.
///
/// # Errors
///
/// [`Unusable`], in words for the viewer.
pub fn viewer(
    identity: &Identity,
    now: Instant,
    credentials: IceCreds,
    offer: &str,
    published: &Published,
) -> Result<ViewerOffer, Unusable> {
    text::check(offer).and_then(|()| numbers::check(offer)).map_err(Unusable::Malformed)?;
    let parsed = parse_offer(offer)?;
    let secured = Secured::of(offer)?;
    let keys = text::sections(offer).iter().any(|s| s.kind == "application").then(tap::arm);
    if keys.is_none() {
        tap::hollow();
    }
    let mut rtc = identity.rtc(now, credentials, Media::Elsewhere);
    let answer = rtc.sdp_api().accept_offer(parsed).map_err(malformed)?.to_sdp_string();
    let tracks = facts(&mut rtc, offer, &answer);
    if tracks.is_empty() {
        return Err(no_codec(offer));
    }
    can_decode(&tracks, published, offer)?;
    let stage = match keys {
        Some(keys) => Stage::Whole { rtc: Box::new(rtc), keys },
        None => Stage::Agreed(secured),
    };
    Ok(ViewerOffer { sdp: text::with_one_stream(&answer, STREAM_LABEL), tracks, stage })
}

/// Makes the offer for a viewer who asked without one.
///
/// # Errors
///
/// None in practice; str0m may refuse.
pub fn offer_to_viewer(identity: &Identity, now: Instant, credentials: IceCreds) -> Result<ViewerOffer, Unusable> {
    tap::hollow();
    let mut rtc = identity.rtc(now, credentials, Media::Elsewhere);
    let mut changes = rtc.sdp_api();
    for (kind, label) in [(RtcKind::Audio, "audio"), (RtcKind::Video, "video")] {
        changes.add_media(kind, Direction::SendOnly, Some(STREAM_LABEL.to_owned()), Some(label.to_owned()), None);
    }
    let (offer, pending) = changes.apply().ok_or_else(|| Unusable::Malformed("no offer could be made".to_owned()))?;
    let sdp = text::with_one_stream(&offer.to_sdp_string(), STREAM_LABEL);
    let stage = Stage::Offered { rtc: Box::new(rtc), pending: Box::new(pending) };
    Ok(ViewerOffer { sdp, tracks: Vec::new(), stage })
}

/// Takes a viewer's answer to our offer.
///
/// # Errors
///
/// [`Unusable`], in words for the viewer.
pub fn accept_answer(
    rtc: &mut Rtc,
    pending: SdpPendingOffer,
    answer: &str,
    published: &Published,
) -> Result<(Vec<TrackFacts>, Secured), Unusable> {
    text::check(answer).and_then(|()| numbers::check(answer)).map_err(Unusable::Malformed)?;
    let parsed = SdpAnswer::from_sdp_string(answer).map_err(malformed)?;
    let secured = Secured::of(answer)?;
    rtc.sdp_api().accept_answer(pending, parsed).map_err(malformed)?;
    let tracks = facts(rtc, answer, answer);
    if tracks.is_empty() {
        return Err(no_codec(answer));
    }
    can_decode(&tracks, published, answer)?;
    Ok((tracks, secured))
}

/// Restarts ICE: `offer` is what the session was opened with. Returns our fragment with new credentials.
///
/// # Errors
///
/// str0m refuses credentials that are too short or the like.
pub fn restart_ice(
    rtc: &mut Rtc,
    offer: &str,
    ufrag: &str,
    password: &str,
    credentials: IceCreds,
) -> Result<String, Unusable> {
    let offer = text::with_ice_credentials(offer, ufrag, password);
    let answer = rtc.sdp_api().accept_offer(parse_offer(&offer)?).map_err(malformed)?.to_sdp_string();
    // str0m chose credentials of its own; ours say where datagrams belong.
    rtc.direct_api().set_local_ice_credentials(credentials.clone());
    Ok(text::ice_fragment(&text::with_our_credentials(&answer, &credentials.ufrag, &credentials.pass)))
}

/// All tracks of a stream are in one media stream, so that they play in sync.
const STREAM_LABEL: &str = "nowcast";

fn parse_offer(offer: &str) -> Result<SdpOffer, Unusable> {
    SdpOffer::from_sdp_string(offer).map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> Unusable {
    Unusable::Malformed(error.to_string())
}

fn no_codec(sdp: &str) -> Unusable {
    let kind = if text::sections(sdp).iter().any(|s| s.kind == "video") { "video" } else { "audio" };
    Unusable::NoCodec { kind, offered: text::offered_codecs(sdp, kind) }
}

/// The m-lines that both sides use: from the other side's description, with our answer not rejecting them.
fn negotiated<'a>(theirs: &'a str, answer: &str) -> Vec<(text::Section<'a>, Mid, MediaKind)> {
    let accepted: Vec<_> =
        text::sections(answer).into_iter().filter(|s| s.port != "0").filter_map(|s| s.mid.map(Mid::from)).collect();
    text::sections(theirs)
        .into_iter()
        .filter_map(|section| {
            let kind = match section.kind {
                "audio" => MediaKind::Audio,
                "video" => MediaKind::Video,
                _ => return None,
            };
            let mid = section.mid.map(Mid::from).filter(|mid| accepted.contains(mid))?;
            Some((section, mid, kind))
        })
        .collect()
}

fn facts(rtc: &mut Rtc, theirs: &str, answer: &str) -> Vec<TrackFacts> {
    let mut tracks: Vec<TrackFacts> = Vec::new();
    for (section, mid, kind) in negotiated(theirs, answer) {
        if !matches!(section.direction, "recvonly" | "sendrecv") || tracks.iter().any(|t| t.kind == kind) {
            continue;
        }
        let Some((ssrc, rtx_ssrc)) =
            rtc.direct_api().stream_tx_by_mid(mid, None).map(|s| (*s.ssrc(), s.rtx().map(|r| *r)))
        else {
            continue;
        };
        let Some(media) = rtc.media(mid) else { continue };
        let id = |extension| media.remote_extmap().id_of(extension).filter(|id| *id <= 14);
        let extensions = ExtensionIds {
            mid: id(Extension::RtpMid),
            transport_seq: id(Extension::TransportSequenceNumber),
            playout_delay: id(Extension::PlayoutDelay),
            abs_capture_time: id(Extension::AbsoluteCaptureTime),
            video_orientation: id(Extension::VideoOrientation),
            audio_level: id(Extension::AudioLevel),
            color_space: id(Extension::ColorSpace),
            dependency_descriptor: id(descriptor::extension()),
        };
        let pts = media.remote_pts();
        let mut formats = Vec::new();
        for params in rtc.codec_config().params().iter().filter(|p| pts.contains(&p.pt())) {
            let Some(format) = format_of(params) else { continue };
            let payload_type = *params.pt();
            formats.push(Accepted { format, payload_type, rtx_payload_type: params.resend().map(|p| *p) });
            if let Some(red) = params.red() {
                let format = Format { codec: Codec::Red, profile: u32::from(payload_type) };
                formats.push(Accepted { format, payload_type: *red, rtx_payload_type: None });
            }
        }
        if formats.is_empty() {
            continue;
        }
        let has_rtx = formats.iter().any(|f| f.rtx_payload_type.is_some());
        tracks.push(TrackFacts {
            kind,
            mid: mid.to_string(),
            ssrc,
            rtx_ssrc: rtx_ssrc.filter(|_| has_rtx),
            formats: AcceptedFormats(formats),
            extensions,
        });
    }
    tracks
}

/// A viewer that can decode no video that is published gets an answer instead of a black picture; so does one
/// that can decode nothing at all of it.
fn can_decode(tracks: &[TrackFacts], published: &Published, offer: &str) -> Result<(), Unusable> {
    for (kind, name) in [(MediaKind::Video, "video"), (MediaKind::Audio, "audio")] {
        let Some(format) = published.of(kind) else { continue };
        let Some(track) = tracks.iter().find(|t| t.kind == kind) else { continue };
        let opus_inside = format.codec == Codec::Red && track.formats.0.iter().any(|f| f.format.codec == Codec::Opus);
        if track.formats.pick(format).is_none() && !opus_inside {
            return Err(Unusable::CannotDecode {
                published: format.codec.name(),
                offered: text::offered_codecs(offer, name),
            });
        }
    }
    Ok(())
}

fn format_of(params: &PayloadParams) -> Option<Format> {
    let spec = params.spec();
    let format = spec.format;
    let (codec, profile) = match spec.codec {
        RtcCodec::Opus => (Codec::Opus, 0),
        RtcCodec::Vp8 => (Codec::Vp8, 0),
        RtcCodec::Vp9 => (Codec::Vp9, format.profile_id.unwrap_or(0)),
        RtcCodec::Av1 => (Codec::Av1, u32::from(format.profile.unwrap_or(0))),
        RtcCodec::H264 => {
            // RFC 6184 §8.1: without a profile it is Baseline; the level (last byte) is no part of it.
            let mode = u32::from(format.packetization_mode.unwrap_or(0));
            (Codec::H264, mode << 16 | format.profile_level_id.unwrap_or(0x42_0010) >> 8)
        }
        RtcCodec::H265 => (Codec::H265, 0),
        _ => return None,
    };
    Some(Format { codec, profile })
}
