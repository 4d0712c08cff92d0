//! Which clients publish and watch in the simulated world?
//!
//! A stock `str0m::Rtc` in RTP mode: a full ICE agent, its own DTLS and SRTP, its own NACKs. It
//! shares nothing with the server but the library. This file has the connection; [`crate::camera`]
//! and [`crate::screen`] have the media.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use media::demux::{Class, classify};
use media::{MediaKind, SessionId};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec as RtcCodec;
use str0m::media::{Direction, MediaKind as RtcKind, Mid, Rid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{Extension, ExtensionMap, RawPacket};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig};

use crate::camera::Camera;
use crate::cryptography;
use crate::screen::Screen;

/// Names of sizes, small to large.
pub(crate) const RIDS: [&str; 4] = ["q", "h", "f", "x"];

/// As long may one kind be asked for before it is the other's turn: str0m asks every 33 ms.
const TURN: Duration = Duration::from_millis(35);

/// Packets that str0m keeps for retransmission by default.
const RTX_CACHE_PACKETS: usize = 2_000;
const RTX_CACHE_AGE: Duration = Duration::from_secs(3);

/// The role of a browser.
#[derive(Debug)]
pub(crate) enum Role {
    Camera(Camera),
    Screen(Screen),
}

/// Unusual properties of a browser.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// Its offer has no RTX.
    pub without_rtx: bool,
    /// Its offer has RTX for VP8 only.
    pub rtx_for_vp8_only: bool,
    /// Its payload type of Opus, if not 111.
    pub opus_payload_type: Option<u8>,
    /// It supports RED.
    pub with_red: bool,
    /// It requests an offer of the server.
    pub waits_for_offer: bool,
    /// Delay of its answer to the server's offer; ICE and DTLS begin before.
    pub answers_after: Duration,
    /// It supports this video codec only.
    pub only: Option<media::Codec>,
    /// It records the RTCP that it receives.
    pub notes_rtcp: bool,
    /// It also opens a data channel.
    pub with_channel: bool,
}

/// A browser with one connection.
pub(crate) struct Browser {
    pub(crate) rtc: Rtc,
    pub(crate) role: Role,
    /// Its address as it knows it.
    pub(crate) local: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) session: Option<SessionId>,
    pub(crate) answer: String,
    pub(crate) opened_at: Instant,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) ended: Option<Goodbye>,
    /// Number of SSRCs in RTCP BYEs received.
    pub(crate) byes: usize,
    /// When it wrote its last sender report, and the wall clock there; of those that note RTCP.
    pub(crate) reported: Option<(Instant, SystemTime)>,
    pub(crate) audio: Option<Mid>,
    pub(crate) video: Option<Mid>,
    pub(crate) wakes_at: Instant,
    /// It neither sends nor receives any more.
    pub(crate) is_gone: bool,
    pending: Option<SdpPendingOffer>,
    /// It requests every missing packet again, with or without RTX, as GStreamer does.
    nacks_all: bool,
}

/// The way in which a browser learned that its session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The server sent close_notify.
    Said,
    /// ICE lost the connection.
    IceLost,
    /// str0m gave up.
    Failed,
}

impl Browser {
    pub(crate) fn new(now: Instant, role: Role, habits: &Habits, local: SocketAddr, server: SocketAddr) -> Browser {
        let mut config = RtcConfig::new()
            .clear_codecs()
            .set_crypto_provider(cryptography::of_browsers())
            .set_rtp_mode(true)
            .set_extension_map(extensions())
            .enable_raw_packets(habits.notes_rtcp);
        match habits.opus_payload_type {
            Some(pt) => {
                let format = str0m::format::FormatParams { use_inband_fec: Some(true), ..Default::default() };
                let clock = str0m::media::Frequency::FORTY_EIGHT_KHZ;
                config.codec_config().add_config(pt.into(), None, RtcCodec::Opus, clock, Some(2), format);
            }
            None => config = config.enable_opus(true, habits.with_red),
        }
        let wants = |codec| habits.only.is_none_or(|only| only == codec);
        config = config
            .enable_vp8(wants(media::Codec::Vp8))
            .enable_h264(wants(media::Codec::H264))
            .enable_vp9(wants(media::Codec::Vp9))
            .enable_av1(wants(media::Codec::Av1));
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").expect("a good address"));
        Browser {
            rtc,
            role,
            local,
            server,
            session: None,
            answer: String::new(),
            opened_at: now,
            connected_at: None,
            ended: None,
            byes: 0,
            reported: None,
            audio: None,
            video: None,
            wakes_at: now,
            is_gone: false,
            pending: None,
            nacks_all: habits.without_rtx || habits.rtx_for_vp8_only || habits.with_red,
        }
    }

    /// Makes an offer, as WHIP and WHEP clients do.
    pub(crate) fn offer(&mut self, habits: &Habits) -> String {
        let direction = match self.role {
            Role::Camera(_) => Direction::SendOnly,
            Role::Screen(_) => Direction::RecvOnly,
        };
        let mut changes = self.rtc.sdp_api();
        self.audio = Some(changes.add_media(RtcKind::Audio, direction, None, None, None));
        let sizes = match &self.role {
            Role::Camera(camera) if camera.sizes() > 1 => Some(camera.sizes()),
            _ => None,
        };
        let simulcast = sizes.map(|sizes| Simulcast {
            send: RIDS.iter().take(usize::from(sizes)).map(|rid| SimulcastLayer::new(rid)).collect(),
            recv: Vec::new(),
        });
        self.video = Some(changes.add_media(RtcKind::Video, direction, None, None, simulcast));
        if habits.with_channel {
            changes.add_channel("chat".to_owned());
        }
        let (offer, pending) = changes.apply().expect("something to offer");
        self.pending = Some(pending);
        edited(offer.to_sdp_string(), habits)
    }

    /// Takes the answer to its offer.
    pub(crate) fn accept(&mut self, answer: &str) {
        let pending = self.pending.take().expect("an offer was made");
        let parsed = SdpAnswer::from_sdp_string(answer).expect("the server answers in SDP");
        self.rtc.sdp_api().accept_answer(pending, parsed).expect("an answer that str0m takes");
        self.answer = answer.to_owned();
    }

    /// Answers the server's offer.
    pub(crate) fn answer(&mut self, offer: &str, habits: &Habits) -> String {
        let parsed = SdpOffer::from_sdp_string(offer).expect("the server offers in SDP");
        let answer = self.rtc.sdp_api().accept_offer(parsed).expect("an offer that str0m takes");
        let answer = edited(answer.to_sdp_string(), habits);
        for section in sfu::negotiate::text::sections(offer) {
            let mid = section.mid.map(Mid::from);
            match section.kind {
                "audio" => self.audio = mid,
                _ => self.video = mid,
            }
        }
        answer
    }

    /// Begins an ICE restart. Returns the new credentials.
    pub(crate) fn restart(&mut self) -> (String, String) {
        let mut changes = self.rtc.sdp_api();
        let credentials = changes.ice_restart(true);
        let (_, pending) = changes.apply().expect("a restart is a change");
        self.pending = Some(pending);
        (credentials.ufrag, credentials.pass)
    }

    /// Takes the server's fragment, by which an ICE restart is answered.
    pub(crate) fn restarted(&mut self, fragment: &str) {
        use sfu::negotiate::text::{first, with_our_credentials};
        let ufrag = first(fragment, "a=ice-ufrag:").expect("a ufrag");
        let password = first(fragment, "a=ice-pwd:").expect("a password");
        // The candidates of the old answer belong to the old generation; those of the fragment
        // count.
        let old = with_our_credentials(&self.answer, ufrag, password);
        let kept = old.lines().filter(|line| !line.starts_with("a=candidate:"));
        let mut answer: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        for line in fragment.lines().filter(|line| line.starts_with("a=candidate:")) {
            answer.push_str(line);
            answer.push_str("\r\n");
        }
        self.accept(&answer);
    }

    /// Takes a datagram.
    pub(crate) fn receive(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, bytes) else { return };
        let input = Input::Receive(now, receive);
        if self.is_gone || !self.rtc.is_alive() || !self.rtc.accepts(&input) {
            return;
        }
        let _ = self.rtc.handle_input(input);
    }

    /// Performs the work that is due. Datagrams to send go into `out`.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Vec<(SocketAddr, Vec<u8>)>) {
        if self.is_gone {
            self.wakes_at = now + Duration::from_secs(3_600);
            return;
        }
        self.asks_in_turn(now);
        let mut wakes_at = self.drain(now, out);
        if wakes_at <= now {
            let _ = self.rtc.handle_input(Input::Timeout(now));
            wakes_at = self.drain(now, out);
        }
        let due = match (&mut self.role, self.connected_at) {
            (Role::Camera(camera), Some(_)) => camera.film(now),
            (Role::Screen(screen), _) => {
                let wishes = screen.look(now);
                if let (true, Some(mid)) = (wishes, self.video) {
                    if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, None) {
                        stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
                    }
                    let _ = self.rtc.handle_input(Input::Timeout(now));
                    wakes_at = self.drain(now, out);
                }
                Vec::new()
            }
            _ => Vec::new(),
        };
        for packet in due {
            let mid = match packet.kind {
                MediaKind::Audio => self.audio,
                MediaKind::Video => self.video,
            };
            let payload_type = self.payload_type(packet.kind, mid);
            let Some((mid, payload_type)) = mid.zip(payload_type) else { continue };
            let mut api = self.rtc.direct_api();
            let is_sized = packet.kind == MediaKind::Video && matches!(&self.role, Role::Camera(c) if c.sizes() > 1);
            let rid = is_sized.then(|| Rid::from(RIDS[usize::from(packet.size)]));
            let Some(stream) = api.stream_tx_by_mid(mid, rid) else { continue };
            stream.write_rtp(packet.write(payload_type));
            let _ = self.rtc.handle_input(Input::Timeout(now));
            wakes_at = self.drain(now, out);
        }
        let next = match &self.role {
            Role::Camera(camera) if self.connected_at.is_some() => camera.next_at(),
            Role::Camera(_) => None,
            Role::Screen(screen) => screen.next_at(now),
        };
        self.wakes_at = next.map_or(wakes_at, |at| at.min(wakes_at)).max(now + Duration::from_micros(1));
        in_one_order(out);
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<(SocketAddr, Vec<u8>)>) -> Instant {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => return at,
                Ok(Output::Transmit(transmit)) => out.push((transmit.destination, transmit.contents.to_vec())),
                Ok(Output::Event(event)) => self.handle(now, event),
                Err(_) => {
                    self.ended.get_or_insert(Goodbye::Failed);
                    return now + Duration::from_secs(3_600);
                }
            }
        }
    }

    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.connected_at.get_or_insert(now);
                self.answers_every_nack();
            }
            Event::Closed => {
                self.ended.get_or_insert(Goodbye::Said);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.ended.get_or_insert(Goodbye::IceLost);
            }
            Event::RawPacket(raw) => match *raw {
                RawPacket::RtcpRx(Rtcp::Goodbye(bye)) => self.byes += bye.reports.iter().count(),
                RawPacket::RtcpTx(Rtcp::SenderReport(report)) => {
                    self.reported = Some((now, report.sender_info.ntp_time));
                }
                _ => {}
            },
            Event::KeyframeRequest(request) => {
                let size = RIDS.iter().position(|rid| request.rid == Some(Rid::from(*rid))).unwrap_or_default();
                if let Role::Camera(camera) = &mut self.role {
                    camera.asked(now, size as u8);
                }
            }
            Event::RtpPacket(packet) => {
                if let Role::Screen(screen) = &mut self.role {
                    let params = self.rtc.codec_config();
                    let found = params
                        .find(|p| p.pt() == packet.header.payload_type || p.red() == Some(packet.header.payload_type));
                    let Some(codec) = found.map(|p| p.spec().codec) else {
                        screen.problem(now, "a payload type that was not negotiated");
                        return;
                    };
                    let is_red = found.is_some_and(|p| p.red() == Some(packet.header.payload_type));
                    screen.receive(now, &packet, codec.is_audio(), is_red);
                }
            }
            Event::SenderFeedback(feedback) => {
                if let Role::Screen(screen) = &mut self.role {
                    let is_audio = Some(feedback.mid) == self.audio;
                    screen.report(
                        feedback.sender_info.ntp_time,
                        feedback.sender_info.rtp_time.numer() as u32,
                        is_audio,
                    );
                }
            }
            _ => {}
        }
    }

    /// Retransmits every requested packet, as libwebrtc does within its send rate. str0m stops at a
    /// repair share of 15 %, which random loss of 10 % exceeds in every other second.
    fn answers_every_nack(&mut self) {
        let sizes = RIDS.iter().map(|rid| Some(Rid::from(*rid))).chain([None]);
        for (mid, rid) in
            [self.audio, self.video].into_iter().flatten().flat_map(|mid| sizes.clone().map(move |rid| (mid, rid)))
        {
            if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, rid) {
                stream.set_rtx_cache(RTX_CACHE_PACKETS, RTX_CACHE_AGE, None);
            }
        }
    }

    /// Asks for missing sounds and for missing pictures in turn. In one report str0m would name them in the order of a
    /// `HashMap`, which is another one in every run, and the server answers in the order of the report.
    fn asks_in_turn(&mut self, now: Instant) {
        if !self.nacks_all {
            return;
        }
        let is_sounds_turn = (now - self.opened_at).as_millis() / TURN.as_millis() % 2 == 1;
        for (mid, is_its_turn) in [(self.audio, is_sounds_turn), (self.video, !is_sounds_turn)] {
            let mut api = self.rtc.direct_api();
            if let Some(stream) = mid.and_then(|mid| api.stream_rx_by_mid(mid, None)) {
                stream.suppress_nack(!is_its_turn);
            }
        }
    }

    /// The payload type that was negotiated for what the camera sends.
    fn payload_type(&self, kind: MediaKind, mid: Option<Mid>) -> Option<str0m::media::Pt> {
        let Role::Camera(camera) = &self.role else { return None };
        let agreed = self.rtc.media(mid?)?.remote_pts();
        let list = self.rtc.codec_config().params();
        let wanted = match kind {
            MediaKind::Audio => RtcCodec::Opus,
            MediaKind::Video => match camera.codec() {
                media::Codec::Vp8 => RtcCodec::Vp8,
                media::Codec::Vp9 => RtcCodec::Vp9,
                media::Codec::Av1 => RtcCodec::Av1,
                _ => RtcCodec::H264,
            },
        };
        let mut fitting = list.iter().filter(|p| p.spec().codec == wanted && agreed.contains(&p.pt()));
        // Baseline first, or, for another profile, the last of the list.
        let params = if camera.uses_last_profile() { fitting.next_back() } else { fitting.next() }?;
        match kind {
            MediaKind::Audio if camera.uses_red() => params.red(),
            _ => Some(params.pt()),
        }
    }
}

/// Puts RTP of one moment in the order of its SSRCs; packets of one SSRC, and everything else, stay where they are. str0m
/// takes streams that have something to send in the order of a `HashMap`, which is another one in every run, and the
/// first datagram of a moment draws the first lot of its link.
fn in_one_order(out: &mut [(SocketAddr, Vec<u8>)]) {
    let ssrc = |bytes: &[u8]| match bytes.get(8..12) {
        Some(ssrc) if classify(bytes) == Class::Rtp && !media::rtp::is_rtcp(bytes) => Some(ssrc.to_vec()),
        _ => None,
    };
    let places: Vec<usize> = (0..out.len()).filter(|n| ssrc(&out[*n].1).is_some()).collect();
    let mut packets: Vec<_> = places.iter().map(|n| (out[*n].0, std::mem::take(&mut out[*n].1))).collect();
    packets.sort_by_key(|(_, bytes)| ssrc(bytes));
    for (place, packet) in places.into_iter().zip(packets) {
        out[place] = packet;
    }
}

/// What a browser offers, changed as its habits want.
fn edited(sdp: String, habits: &Habits) -> String {
    if !habits.without_rtx && !habits.rtx_for_vp8_only {
        return sdp;
    }
    let payload_type = |line: &str, prefix: &str| line.strip_prefix(prefix)?.split(' ').next()?.parse::<u8>().ok();
    let vp8: Vec<_> =
        sdp.lines().filter(|l| l.contains(" VP8/")).filter_map(|l| payload_type(l, "a=rtpmap:")).collect();
    let is_kept = |rtx: u8| {
        let apt = sdp.lines().find(|l| payload_type(l, "a=fmtp:") == Some(rtx)).and_then(|l| l.split("apt=").nth(1));
        let apt = apt.and_then(|apt| apt.trim().parse::<u8>().ok());
        habits.rtx_for_vp8_only && apt.is_some_and(|apt| vp8.contains(&apt))
    };
    let gone: Vec<_> = sdp
        .lines()
        .filter(|l| l.contains(" rtx/"))
        .filter_map(|l| payload_type(l, "a=rtpmap:"))
        .filter(|rtx| !is_kept(*rtx))
        .collect();
    let mut out = String::new();
    for line in sdp.lines() {
        let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().find_map(|prefix| payload_type(line, prefix));
        let is_group = line.starts_with("a=ssrc-group:FID") && habits.without_rtx;
        if of.is_some_and(|pt| gone.contains(&pt)) || is_group {
            continue;
        }
        if line.starts_with("m=") {
            let words = line.split(' ').enumerate();
            let kept = words.filter(|(n, w)| *n < 3 || w.parse::<u8>().is_ok_and(|pt| !gone.contains(&pt)));
            out.push_str(&kept.map(|(_, word)| word).collect::<Vec<_>>().join(" "));
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
    }
    out
}

/// Header extensions with the ids that Chromium uses.
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    for (id, extension) in [
        (1, Extension::AudioLevel),
        (2, Extension::AbsoluteSendTime),
        (3, Extension::TransportSequenceNumber),
        (4, Extension::RtpMid),
        (5, Extension::PlayoutDelay),
        (8, Extension::AbsoluteCaptureTime),
        (10, Extension::RtpStreamId),
        (11, Extension::RepairedRtpStreamId),
        (13, Extension::VideoOrientation),
    ] {
        map.set(id, extension);
    }
    map
}
