//! How does an SDP become a session?
//!
//! str0m negotiates; here is what we offer and accept, and what the rest of the house needs to know of the
//! result. An `Rtc` has done its part when both descriptions are there: what is left of it is [`Secured`], and
//! [`NegotiatedTrack`] of a viewer or [`Negotiated`] of a publisher. A session with a data channel keeps it.

mod answers;
#[cfg(test)]
mod cases;
mod description;
pub mod descriptor;
mod normal;
mod numbers;
mod order;
mod payloads;
mod profile;
mod receiving;
mod secured;
pub mod text;
mod transport;

pub use answers::Answers;
pub use normal::Role;
pub use secured::Secured;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::{Codec, MediaKind};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::format::{Codec as RtcCodec, FormatParams};
use str0m::ice::IceCreds;
use str0m::media::{Direction, Frequency, MediaKind as RtcKind};
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};

use crate::dtls::Cryptography;
use crate::format::{Accepted, AcceptedFormats, Format, Published};
use crate::receive::Negotiated;
use crate::tap::{self, KeySlot};
use crate::viewer::subscription::{ExtensionIds, NegotiatedTrack};
use description::Description;
use normal::{Normal, Part};
use payloads::Payload;
use transport::Transport;

/// The properties that all sessions of this process share.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: DtlsCert,
    cryptography: Cryptography,
    candidates: Vec<SocketAddr>,
}

impl Identity {
    /// Makes a certificate for DTLS; `candidates` are the addresses that peers are told to send to.
    pub fn new(candidates: Vec<SocketAddr>) -> Identity {
        let certificate = tap::provider().dtls_provider.generate_certificate();
        let certificate = certificate.expect("the AWS-LC provider makes certificates");
        Identity::with(certificate, Cryptography::of_this_machine(), candidates)
    }

    /// Takes a certificate with its key, and the cryptography of the sessions' DTLS.
    pub fn with(certificate: DtlsCert, cryptography: Cryptography, candidates: Vec<SocketAddr>) -> Identity {
        Identity { certificate, cryptography, candidates }
    }

    /// Returns the addresses that peers are told to send to.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// Returns the candidate that a datagram to `destination` was meant for: behind a NAT the two
    /// differ.
    pub fn candidate_for(&self, destination: SocketAddr) -> SocketAddr {
        if self.candidates.contains(&destination) {
            return destination;
        }
        let same_family = self.candidates.iter().find(|c| c.is_ipv4() == destination.is_ipv4());
        same_family.copied().unwrap_or(destination)
    }

    /// Returns the server's certificate and its key.
    pub(crate) fn certificate(&self) -> &DtlsCert {
        &self.certificate
    }

    /// The cryptography of the sessions' DTLS.
    pub(crate) fn cryptography(&self) -> &Cryptography {
        &self.cryptography
    }

    fn rtc(&self, now: Instant, credentials: IceCreds) -> Rtc {
        let mut config = RtcConfig::new()
            .set_crypto_provider(tap::provider())
            .set_dtls_cert(self.certificate.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_local_ice_credentials(credentials)
            .set_sctp_max_message_size(MAX_DATA_MESSAGE_BYTES)
            .set_extension_map(extensions())
            .enable_opus(true, true);
        add_formats(&mut config);
        // Its reports would be dropped: they need not be made.
        let config = config.set_rtcp_report_interval_audio(NEVER).set_rtcp_report_interval_video(NEVER);
        let mut rtc = config.build(now);
        for candidate in &self.candidates {
            if let Ok(candidate) = Candidate::host(*candidate, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        rtc
    }
}

const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The largest data channel message that we say we take (threat T16).
const MAX_DATA_MESSAGE_BYTES: u32 = 64 * 1024;

fn extensions() -> str0m::rtp::ExtensionMap {
    let mut map = str0m::rtp::ExtensionMap::empty();
    let list = [
        Extension::ColorSpace,
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

/// Adds profiles that browsers offer beyond str0m's defaults. Payload types are only proposals:
/// those of the other side's offer are used. In the server's own offer, however, no number may have
/// two meanings (45 and 46 are str0m's AV1).
fn add_formats(config: &mut RtcConfig) {
    let codecs = config.codec_config();
    // High 4:4:4 Predictive and, with packetization-mode 0, High.
    codecs.add_h264(39.into(), Some(40.into()), true, 0xf4_001f);
    codecs.add_h264(41.into(), Some(42.into()), false, 0x64_001f);
    codecs.add_h264(52.into(), Some(53.into()), false, 0xf4_001f);
    // Main 10, Main tier, level 6.
    codecs.add_h265(54.into(), Some(55.into()), 2, 0, 180);
    for (pt, rtx, profile) in [(43, 44, 1), (50, 51, 3)] {
        let format = FormatParams { profile_id: Some(profile), ..FormatParams::default() };
        codecs.add_config(u8::into(pt), Some(u8::into(rtx)), RtcCodec::Vp9, Frequency::NINETY_KHZ, None, format);
    }
    let format = FormatParams { profile: Some(1), ..FormatParams::default() };
    codecs.add_config(48.into(), Some(49.into()), RtcCodec::Av1, Frequency::NINETY_KHZ, None, format);
}

/// The reason for which a description cannot be used, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The text is not SDP, breaks a limit, or str0m cannot work with it.
    #[error("{0}")]
    Malformed(String),
    /// A section cannot be served: no codec in it is forwarded, or it is a second one of its kind,
    /// or of the wrong direction.
    #[error("{what}; {fix}")]
    Unacceptable {
        /// The section, and its fault.
        what: String,
        /// The remedy.
        fix: String,
    },
    /// The description is correct, but too many viewers join at once.
    #[error("too many viewers come at once")]
    Busy,
    /// The viewer decodes none of the published codecs.
    #[error("the stream is published as {published}")]
    CannotDecode {
        /// The published codec.
        published: &'static str,
        /// The codecs of the offer.
        offered: Vec<String>,
    },
}

/// A publisher's session, ready for its handshake.
#[derive(Debug)]
pub struct PublisherOffer {
    /// Our answer.
    pub sdp: String,
    /// What it may send.
    pub negotiated: Negotiated,
    /// What the handshake needs.
    pub stage: Stage,
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
    let normal = Normal::of(offer, Role::Publisher)?;
    let secured = Secured::of(normal.text())?;
    let (mut rtc, keys) = rtc_of(identity, now, credentials, &normal);
    let sdp = answered(&mut rtc, &normal, normal.text())?;
    let negotiated = receiving::negotiated(&rtc, &normal, &sdp)?;
    Ok(PublisherOffer { sdp, negotiated, stage: Stage::of(rtc, keys, secured) })
}

/// A viewer's session, ready for its handshake.
#[derive(Debug)]
pub struct ViewerOffer {
    /// Our answer, or our offer.
    pub sdp: String,
    /// What was negotiated; empty as long as our offer has no answer.
    pub tracks: Vec<NegotiatedTrack>,
    /// What the handshake needs.
    pub stage: Stage,
}

/// What a session is made of after a description was read.
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

impl Stage {
    /// `keys`: the slot of a session that goes on as a whole.
    fn of(rtc: Rtc, keys: Option<KeySlot>, secured: Secured) -> Stage {
        match keys {
            Some(keys) => Stage::Whole { rtc: Box::new(rtc), keys },
            None => Stage::Agreed(secured),
        }
    }
}

/// Makes what reads a description, and the slot of its keys if there is a data channel: it does DTLS then.
fn rtc_of(identity: &Identity, now: Instant, credentials: IceCreds, normal: &Normal<'_>) -> (Rtc, Option<KeySlot>) {
    let keys = normal.has_channel().then(|| tap::arm_with(identity.cryptography.clone()));
    if keys.is_none() {
        tap::hollow();
    }
    (identity.rtc(now, credentials), keys)
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
    let normal = Normal::of(offer, Role::Viewer)?;
    let secured = Secured::of(normal.text())?;
    let (mut rtc, keys) = rtc_of(identity, now, credentials, &normal);
    let answer = answered(&mut rtc, &normal, normal.text())?;
    let tracks = negotiated(&mut rtc, &normal)?;
    can_decode(&tracks, published, offer)?;
    let stage = Stage::of(rtc, keys, secured);
    Ok(ViewerOffer { sdp: text::with_one_stream(&answer, STREAM_LABEL), tracks, stage })
}

/// Makes the offer for a viewer that requested one. The offer lists the `published` codec first.
///
/// # Errors
///
/// None in practice; str0m may refuse.
pub fn offer_to_viewer(
    identity: &Identity,
    now: Instant,
    credentials: IceCreds,
    published: &Published,
) -> Result<ViewerOffer, Unusable> {
    tap::hollow();
    let mut rtc = identity.rtc(now, credentials);
    let mut changes = rtc.sdp_api();
    for (kind, label) in [(RtcKind::Audio, "audio"), (RtcKind::Video, "video")] {
        changes.add_media(kind, Direction::SendOnly, Some(STREAM_LABEL.to_owned()), Some(label.to_owned()), None);
    }
    let (offer, pending) = changes.apply().ok_or_else(|| Unusable::Malformed("no offer could be made".to_owned()))?;
    let sdp = text::with_one_stream(&offer.to_sdp_string(), STREAM_LABEL);
    let sdp = order::with_published_first(&sdp, published);
    let stage = Stage::Offered { rtc: Box::new(rtc), pending: Box::new(pending) };
    Ok(ViewerOffer { sdp, tracks: Vec::new(), stage })
}

/// Reads a viewer's answer to the server's offer.
///
/// # Errors
///
/// [`Unusable`], in words for the viewer.
pub fn accept_answer(
    rtc: &mut Rtc,
    pending: SdpPendingOffer,
    answer: &str,
    published: &Published,
) -> Result<(Vec<NegotiatedTrack>, Secured), Unusable> {
    let normal = Normal::of(answer, Role::Answerer)?;
    let parsed = SdpAnswer::from_sdp_string(normal.text()).map_err(unread)?;
    let secured = Secured::of(normal.text())?;
    rtc.sdp_api().accept_answer(pending, parsed).map_err(|error| {
        tracing::debug!(%error, "an answer does not fit the offer");
        Unusable::Malformed(
            "its m= sections are not those of the offer; answer each of them, in the order and with the a=mid of the offer"
                .to_owned(),
        )
    })?;
    let tracks = negotiated(rtc, &normal)?;
    can_decode(&tracks, published, answer)?;
    Ok((tracks, secured))
}

/// Restarts ICE: `offer` is what the session was opened with, by `role`. Returns our fragment with new credentials.
///
/// # Errors
///
/// [`Unusable`], in words for the peer.
pub fn restart_ice(
    rtc: &mut Rtc,
    role: Role,
    offer: &str,
    ufrag: &str,
    password: &str,
    credentials: IceCreds,
) -> Result<String, Unusable> {
    if !text::is_ufrag(ufrag) || !text::is_password(password) {
        return Err(Unusable::Malformed(text::ICE_CREDENTIALS.to_owned()));
    }
    let normal = Normal::of(offer, role)?;
    let answer = answered(rtc, &normal, &text::with_ice_credentials(normal.text(), ufrag, password))?;
    // str0m chose credentials of its own; the server's identify the session of a datagram.
    rtc.direct_api().set_local_ice_credentials(credentials.clone());
    Ok(text::ice_fragment(&text::with_our_credentials(&answer, &credentials.ufrag, &credentials.pass)))
}

/// Returns the ICE credentials of a peer's description: those of the transport that its sections
/// share.
pub fn remote_credentials(sdp: &str) -> Option<IceCreds> {
    Some(Transport::of(&Description::parse(sdp).ok()?).ok()?.credentials())
}

/// All tracks of a stream are in one media stream, so that they play in sync.
const STREAM_LABEL: &str = "nowcast";

/// Returns the answer to `text`, as str0m reads it, in the words of the peer.
fn answered(rtc: &mut Rtc, normal: &Normal<'_>, text: &str) -> Result<String, Unusable> {
    let offer = SdpOffer::from_sdp_string(text).map_err(unread)?;
    Ok(normal.give_back(&rtc.sdp_api().accept_offer(offer).map_err(unread)?.to_sdp_string()))
}

/// Returns the error for a text that str0m did not accept. Its own words are about that text and
/// not about the peer's, and may reveal this process's memory.
fn unread(error: impl std::fmt::Display) -> Unusable {
    tracing::warn!(%error, "a description that was normalised could not be used");
    Unusable::Malformed(
        "this server could not use it, and cannot say which line is the cause; please report it".to_owned(),
    )
}

/// Returns the sections that str0m negotiated.
fn media_of<'n, 'a>(normal: &'n Normal<'a>) -> impl Iterator<Item = (&'n Part<'a>, MediaKind)> {
    normal.media().map(|part| (part, if part.kind() == "audio" { MediaKind::Audio } else { MediaKind::Video }))
}

/// A format that str0m agreed on, with its helpers.
struct Agreed {
    format: Format,
    payload_type: u8,
    rtx: Option<u8>,
    red: Option<u8>,
}

/// Returns the agreed formats in the order of the configuration.
fn agreed(rtc: &Rtc, part: &Part<'_>) -> Vec<Agreed> {
    let Some(media) = rtc.media(part.name()) else { return Vec::new() };
    let pts = media.remote_pts();
    let format = |number: u8| part.payloads().iter().find(|p| p.number == number).and_then(Payload::format);
    let params = rtc.codec_config().params().iter().filter(|p| pts.contains(&p.pt()));
    let agreed = params.filter_map(|p| {
        let payload_type = *p.pt();
        let (rtx, red) = (p.resend().map(|pt| *pt), p.red().map(|pt| *pt));
        Some(Agreed { format: format(payload_type)?, payload_type, rtx, red })
    });
    agreed.collect()
}

/// Returns the agreed tracks of a viewer: one of each section that it receives.
fn negotiated(rtc: &mut Rtc, normal: &Normal<'_>) -> Result<Vec<NegotiatedTrack>, Unusable> {
    let mut tracks: Vec<NegotiatedTrack> = Vec::new();
    for (part, kind) in media_of(normal) {
        let mid = part.name();
        let ssrcs = rtc.direct_api().stream_tx_by_mid(mid, None).map(|s| (*s.ssrc(), s.rtx().map(|r| *r)));
        let agreed = agreed(rtc, part);
        let (Some((ssrc, rtx_ssrc)), Some(media), false) = (ssrcs, rtc.media(mid), agreed.is_empty()) else {
            return Err(unread(format!("nothing was agreed on for {}", part.in_words())));
        };
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
        let mut formats = Vec::new();
        for Agreed { format, payload_type, rtx, red } in agreed {
            formats.push(Accepted { format, payload_type, rtx_payload_type: rtx });
            if let Some(red) = red {
                let format = Format { codec: Codec::Red, profile: u32::from(payload_type) };
                formats.push(Accepted { format, payload_type: red, rtx_payload_type: None });
            }
        }
        let has_rtx = formats.iter().any(|f| f.rtx_payload_type.is_some());
        tracks.push(NegotiatedTrack {
            kind,
            mid: part.mid().to_owned(),
            ssrc,
            rtx_ssrc: rtx_ssrc.filter(|_| has_rtx),
            formats: AcceptedFormats(formats),
            extensions,
        });
    }
    Ok(tracks)
}

/// Refuses a viewer that can decode no published video, so that it gets an error instead of a black
/// picture; also a viewer that can decode no published track at all.
fn can_decode(tracks: &[NegotiatedTrack], published: &Published, offer: &str) -> Result<(), Unusable> {
    for (kind, name) in [(MediaKind::Video, "video"), (MediaKind::Audio, "audio")] {
        let Some(format) = published.of(kind) else { continue };
        let Some(track) = tracks.iter().find(|t| t.kind == kind) else { continue };
        let opus_inside = format.codec == Codec::Red && track.formats.0.iter().any(|f| f.format.codec == Codec::Opus);
        if track.formats.pick(format).is_none() && !opus_inside {
            return Err(Unusable::CannotDecode {
                published: format.name(),
                offered: text::offered_codecs(offer, name),
            });
        }
    }
    Ok(())
}
