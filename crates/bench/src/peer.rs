//! How does one WebRTC connection over one socket come up and stay up?
//!
//! str0m does SDP, ICE with its consent checks, and DTLS. The user of this module decides about
//! media: a publisher lets str0m send it, a viewer takes the keys and receives without str0m.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use media::Codec;
use sfu::tap;
use sfu::transmit::Batch;
use shards::udp::{Options, SendState, Socket};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

/// One connection.
pub(crate) struct Peer {
    pub(crate) rtc: Box<Rtc>,
    pub(crate) socket: Socket,
    /// When str0m wants to be driven again.
    pub(crate) wakes_at: Instant,
    pub(crate) is_connected: bool,
    pub(crate) is_over: bool,
    /// Anything came from the server's UDP port.
    pub(crate) is_heard: bool,
    /// Why it is over, if str0m has said.
    pub(crate) error: Option<String>,
    /// The server asked for a key frame.
    pub(crate) key_frame_asked: bool,
    local: SocketAddr,
    media: Media,
    pending: Option<Box<SdpPendingOffer>>,
}

/// How a connection is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Where its socket is.
    pub(crate) local_ip: IpAddr,
    pub(crate) media: Media,
    /// The codec of pictures; `None`: all that there are.
    pub(crate) codec: Option<Codec>,
    pub(crate) has_audio: bool,
    pub(crate) has_feedback: bool,
}

/// The component that sends and receives a connection's SRTP and SRTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    OfRtc,
    Elsewhere,
}

/// What all connections share of their ways out.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) batch: Batch,
    state: SendState,
    /// Memory in which feedback is put together.
    pub(crate) arrivals: Vec<(u16, Option<i64>)>,
    /// Datagrams that the kernel did not take.
    pub(crate) failed: u64,
}

const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
/// What a viewer's socket may hold: 20 key frames of 100 kB. Linux bounds it by
/// `net.core.rmem_max`.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

impl Peer {
    /// Opens a socket.
    pub(crate) fn new(now: Instant, plan: Plan) -> anyhow::Result<Peer> {
        let options = Options {
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            // Loopback hands frames over whole: far cheaper than packet by packet.
            receive_offload: true,
            // When a packet came is no matter of when we come to look.
            receive_timestamps: true,
            ..Options::default()
        };
        let socket = Socket::bind(SocketAddr::new(plan.local_ip, 0), &options)?;
        let local = socket.local_address();
        let has = |codec| plan.codec.is_none_or(|only| only == codec);
        let mut config = RtcConfig::new()
            .set_crypto_provider(tap::provider())
            .set_dtls_cert(certificate())
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_vp8(has(Codec::Vp8))
            .enable_vp9(has(Codec::Vp9))
            .enable_av1(has(Codec::Av1))
            .enable_h264(has(Codec::H264))
            .enable_h265(has(Codec::H265))
            .enable_opus(plan.has_audio, false)
            .set_extension_map(extensions(plan.has_feedback));
        if plan.media == Media::Elsewhere {
            config = config.set_rtcp_report_interval_audio(NEVER).set_rtcp_report_interval_video(NEVER);
        }
        let mut rtc = Box::new(config.build(now));
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        Ok(Peer {
            rtc,
            socket,
            wakes_at: now,
            is_connected: false,
            is_over: false,
            is_heard: false,
            error: None,
            key_frame_asked: false,
            local,
            media: plan.media,
            pending: None,
        })
    }

    /// Makes an offer: pictures, and sound if there is any. Returns their names with it.
    pub(crate) fn offer(
        &mut self,
        direction: Direction,
        has_audio: bool,
    ) -> anyhow::Result<(String, Mid, Option<Mid>)> {
        let mut changes = self.rtc.sdp_api();
        let video = changes.add_media(MediaKind::Video, direction, None, None, None);
        let audio = has_audio.then(|| changes.add_media(MediaKind::Audio, direction, None, None, None));
        let (offer, pending) = changes.apply().context("nothing to offer")?;
        self.pending = Some(Box::new(pending));
        Ok((offer.to_sdp_string(), video, audio))
    }

    /// Takes the server's answer.
    pub(crate) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let pending = self.pending.take().context("two answers to one offer")?;
        let answer = SdpAnswer::from_sdp_string(answer).context("the server's answer is no SDP that is understood")?;
        self.rtc.sdp_api().accept_answer(*pending, answer).context("the server's answer does not fit the offer")?;
        self.wakes_at = Instant::now();
        Ok(())
    }

    /// Takes the server's offer. Returns the answer.
    pub(crate) fn answer(&mut self, offer: &str) -> anyhow::Result<String> {
        let offer = SdpOffer::from_sdp_string(offer).context("the server's offer is no SDP that is understood")?;
        let answer = self.rtc.sdp_api().accept_offer(offer).context("the server's offer cannot be answered")?;
        self.wakes_at = Instant::now();
        Ok(answer.to_sdp_string())
    }

    /// Takes a datagram. To be followed by [`Peer::drive`].
    pub(crate) fn handle_datagram(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, bytes) else { return };
        self.is_heard = true;
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, receive)) {
            self.fail(error.to_string());
        }
    }

    /// Runs the timers of str0m that are due, and sends its datagrams.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Outgoing) {
        if self.wakes_at <= now
            && let Err(error) = self.rtc.handle_input(Input::Timeout(now))
        {
            self.fail(error.to_string());
        }
        while !self.is_over {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wakes_at = at.max(now + Duration::from_micros(100));
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    if self.media == Media::OfRtc || !matches!(transmit.contents.first(), Some(128..=191)) {
                        out.batch.push(transmit.destination, None, &transmit.contents);
                    }
                }
                Ok(Output::Event(event)) => match event {
                    Event::Connected => self.is_connected = true,
                    Event::Closed => self.fail("the server ended the session".to_owned()),
                    Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                        self.fail("the server's UDP port answers no more".to_owned());
                    }
                    Event::KeyframeRequest(_) => self.key_frame_asked = true,
                    _ => {}
                },
                Err(error) => self.fail(error.to_string()),
            }
        }
        if self.is_over {
            self.wakes_at = now + NEVER;
        }
        out.send(&self.socket);
    }

    fn fail(&mut self, why: String) {
        self.is_over = true;
        self.error.get_or_insert(why);
    }

    /// Says goodbye to the server.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outgoing) {
        let _ = self.rtc.close();
        self.drive(now, out);
    }
}

impl Outgoing {
    /// Sends the batch.
    pub(crate) fn send(&mut self, socket: &Socket) {
        if !self.batch.is_empty() {
            let report = socket.send(&self.batch, &mut self.state);
            self.failed += report.errors + report.would_block;
            self.batch.clear();
        }
    }
}

/// One for all: making it is no part of joining.
fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let make = || tap::provider().dtls_provider.generate_certificate().expect("the AWS-LC provider makes certificates");
    CERTIFICATE.get_or_init(make).clone()
}

/// Header extensions with the ids that Chromium uses.
fn extensions(has_feedback: bool) -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for (id, extension) in [
        (2, Extension::AbsoluteSendTime),
        (4, Extension::RtpMid),
        (5, Extension::PlayoutDelay),
        (8, Extension::AbsoluteCaptureTime),
    ] {
        map.set(id, extension);
    }
    if has_feedback {
        map.set(3, Extension::TransportSequenceNumber);
    }
    map
}
