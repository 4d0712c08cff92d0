//! One WebRTC connection over one socket: how does it come up and stay up?
//!
//! str0m does SDP, ICE with its consent checks, and DTLS. What else goes over the socket is decided by who stands on
//! this: a publisher lets str0m send its media, a viewer takes the keys and does without.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use sfu::tap;
use sfu::transmit::Batch;
use shards::udp::{Options, SendState, Socket};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

/// One connection.
pub(crate) struct Peer {
    pub(crate) rtc: Box<Rtc>,
    pub(crate) socket: Socket,
    pub(crate) mid: Mid,
    /// When str0m wants to be driven again.
    pub(crate) wakes_at: Instant,
    pub(crate) is_connected: bool,
    pub(crate) is_over: bool,
    /// The server asked for a key frame.
    pub(crate) key_frame_asked: bool,
    local: SocketAddr,
    media: Media,
    pending: Option<SdpPendingOffer>,
}

/// Who sends and receives a connection's SRTP and SRTCP.
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
    /// Datagrams that the kernel did not take.
    pub(crate) failed: u64,
}

const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
/// What a viewer's socket may hold: 20 key frames of 100 kB. Linux bounds it by `net.core.rmem_max`.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

impl Peer {
    /// Opens a socket and makes an offer.
    pub(crate) fn new(now: Instant, direction: Direction, media: Media) -> anyhow::Result<(Peer, String)> {
        let options = Options {
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            // Loopback hands frames over whole: far cheaper than packet by packet.
            receive_offload: true,
            ..Options::default()
        };
        let socket = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &options)?;
        let local = socket.local_address();
        let mut config = RtcConfig::new()
            .set_crypto_provider(tap::provider())
            .set_dtls_cert(certificate())
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_vp8(true)
            .set_extension_map(extensions());
        if media == Media::Elsewhere {
            config = config.set_rtcp_report_interval_audio(NEVER).set_rtcp_report_interval_video(NEVER);
        }
        let mut rtc = Box::new(config.build(now));
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = changes.apply().context("nothing to offer")?;
        let peer = Peer {
            rtc,
            socket,
            mid,
            wakes_at: now,
            is_connected: false,
            is_over: false,
            key_frame_asked: false,
            local,
            media,
            pending: Some(pending),
        };
        Ok((peer, offer.to_sdp_string()))
    }

    pub(crate) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let pending = self.pending.take().context("two answers to one offer")?;
        self.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(answer)?)?;
        self.wakes_at = Instant::now();
        Ok(())
    }

    /// Takes a datagram. To be followed by [`Peer::drive`].
    pub(crate) fn handle_datagram(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, bytes) else { return };
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() {
            self.is_over = true;
        }
    }

    /// Lets str0m do what is due, and sends what it has to send.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Outgoing) {
        if self.wakes_at <= now && self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.is_over = true;
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
                    Event::Closed => self.is_over = true,
                    Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.is_over = true,
                    Event::KeyframeRequest(_) => self.key_frame_asked = true,
                    _ => {}
                },
                Err(_) => self.is_over = true,
            }
        }
        if self.is_over {
            self.wakes_at = now + NEVER;
        }
        out.send(&self.socket);
    }

    /// Says goodbye to the server.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outgoing) {
        let _ = self.rtc.close();
        self.drive(now, out);
    }
}

impl Outgoing {
    /// Sends what is in the batch.
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
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for (id, extension) in [
        (2, Extension::AbsoluteSendTime),
        (3, Extension::TransportSequenceNumber),
        (4, Extension::RtpMid),
        (5, Extension::PlayoutDelay),
        (8, Extension::AbsoluteCaptureTime),
    ] {
        map.set(id, extension);
    }
    map
}
