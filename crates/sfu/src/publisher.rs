//! What does a publisher bring?
//!
//! A publisher is a whole `str0m::Rtc` in RTP mode: it answers ICE, does DTLS, asks for what is missing and
//! sends receiver reports. Packets pass [`Ingress`] before it sees them. Out of it come [`Packet`]s, described once for
//! all who forward them.

mod repair;

mod encoding;
mod sprop;
mod unnamed;
pub mod warnings;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::codec::red;
use media::demux::Class;
use media::packet::Extensions;
use media::{Codec, Epoch, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use crate::allowance::Allowance;
use crate::clock::SenderClock;
use crate::dtls::{Failure, Notes, Patience, Reason};
use crate::flow::Flow;
use crate::format::{Format, Published};
use crate::ingress::{Ingress, NewSources, Verdict};
use crate::negotiate::PublisherTrack;
use crate::negotiate::color_space::ColorSpace;
use crate::negotiate::descriptor::DescriptorBytes;
use crate::transmit::Batch;
use encoding::{EncodingIn, Read};
use sprop::parameter_sets;
use unnamed::Unnamed;
use warnings::Warnings;

/// All that a shard needs to take a publisher in.
#[derive(Debug)]
pub struct PublisherSetup {
    /// Names the session.
    pub session: SessionId,
    /// What it publishes.
    pub stream: StreamId,
    /// Its fencing number: packets of lower ones are not forwarded any more.
    pub epoch: u32,
    /// Our ICE ufrag, by which its first datagrams are recognised.
    pub ufrag: String,
    /// The session itself.
    pub rtc: Box<Rtc>,
    /// The offer, for ICE restarts.
    pub offer: String,
    /// What its m-lines may bring.
    pub tracks: Vec<PublisherTrack>,
    /// What its packets pass before the session sees them.
    pub ingress: Box<Ingress>,
    /// What goes wrong in its DTLS handshake.
    pub notes: Notes,
}

/// One publisher on a shard.
#[derive(Debug)]
pub struct Publisher {
    /// Names the session.
    pub session: SessionId,
    /// What it publishes.
    pub stream: StreamId,
    /// Its fencing number.
    pub epoch: u32,
    /// Our ICE ufrag.
    pub ufrag: String,
    /// The offer, for ICE restarts.
    pub offer: String,
    rtc: Box<Rtc>,
    ingress: Box<Ingress>,
    /// Where the last authenticated packet came from and went to: feedback goes there.
    feedback_path: Option<(SocketAddr, SocketAddr)>,
    /// Payload types of retransmissions (RFC 4588).
    repair_types: Vec<u8>,
    /// SSRCs of retransmissions that the offer names (RFC 5576 §4.2).
    repair_ssrcs: Vec<u32>,
    tracks: Vec<TrackIn>,
    published: Published,
    clock: SenderClock,
    connected: bool,
    failures: Patience,
    heard_at: Instant,
    flow: Flow,
    /// Source addresses that passed ICE.
    sources: Vec<SocketAddr>,
    new_sources: NewSources,
    out: VecDeque<Arrived>,
    unnamed: Unnamed,
    strays: u64,
    next_timeout: Instant,
    /// Round trip and loss, as str0m measures them.
    pub health: Health,
}

/// How the way from a publisher is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    /// Round-trip time.
    pub rtt: Option<Duration>,
    /// Share of packets lost before repair, 0 to 1.
    pub loss: Option<f32>,
}

/// Something that a publisher brought.
#[derive(Debug)]
pub enum Arrived {
    /// A packet to forward.
    Packet(Arc<Packet>),
    /// ICE and DTLS are up.
    Connected,
    /// It sends these formats from now on.
    Published(Published),
    /// Whether its media comes, if that has changed.
    Flows(bool),
    /// The session is over.
    Closed(Ended),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The other side said so.
    PeerLeft,
    /// No consent any more (RFC 7675).
    IceLost,
    /// Its DTLS handshake failed.
    Handshake(Failure),
    /// It could not go on, or something in it panicked.
    Failed,
}

impl Ended {
    pub(crate) fn of_handshake(failure: Option<Failure>) -> Ended {
        failure.map_or(Ended::Failed, Ended::Handshake)
    }

    /// An error of str0m; the certificate's fingerprint is checked there.
    pub(crate) fn of_error(now: Instant, error: &RtcError, failures: &mut Patience) -> Ended {
        if matches!(error, RtcError::RemoteSdp(_)) {
            return Ended::Handshake(failures.of_this_peer(Failure::new(Reason::Fingerprint)));
        }
        failures.look(now);
        Ended::of_handshake(failures.over(now))
    }
}

#[derive(Debug)]
struct TrackIn {
    mid: Mid,
    kind: MediaKind,
    formats: Vec<(u8, Format)>,
    current: Option<(u8, Format)>,
    /// At least one, at most [`media::packet::MAX_ENCODINGS`].
    encodings: Vec<EncodingIn>,
    /// How often a change of format may be told.
    news: Allowance,
    has_news: bool,
}

impl TrackIn {
    /// `offer`: where parameter sets may be told.
    fn new(track: PublisherTrack, offer: &str) -> TrackIn {
        let names: Vec<_> = track.rids.iter().copied().map(Some).collect();
        let names = if names.is_empty() { vec![None] } else { names };
        let mut encodings: Vec<_> = names.into_iter().map(EncodingIn::named).collect();
        // Of several payload types the first that tells sets is taken; what is sent replaces them.
        let told = track.formats.iter().map(|(pt, format)| (format.codec, parameter_sets(offer, track.mid, *pt)));
        if let Some((codec, units)) = told.into_iter().find(|(_, units)| !units.is_empty()) {
            for encoding in &mut encodings {
                for unit in &units {
                    encoding.sets.keep(codec, unit);
                }
            }
        }
        TrackIn {
            mid: track.mid,
            kind: track.kind,
            formats: track.formats,
            current: None,
            encodings,
            news: Allowance::new(MAX_NEWS, NEWS_EVERY),
            has_news: false,
        }
    }

    fn format(&self, payload_type: u8) -> Option<Format> {
        let known = self.current.filter(|(pt, _)| *pt == payload_type);
        known.or_else(|| self.formats.iter().find(|(pt, _)| *pt == payload_type).copied()).map(|(_, format)| format)
    }
}

/// Changes of format that are told at once, and how fast more are: of audio each packet may have another one (Opus, and
/// Opus in RED), and each is a message to control.
const MAX_NEWS: u32 = 8;
const NEWS_EVERY: Duration = Duration::from_secs(1);

/// A publisher that sends nothing at all this long is gone, whatever ICE still hopes: viewers are told, and its
/// successor is let in. Browsers check a connection every 2.5 s at least; a phone that changes
/// networks is back within a few seconds. A guess.
const SILENCE: Duration = Duration::from_secs(10);

/// The most source addresses of one publisher that are remembered; an address change needs ICE again.
const MAX_SOURCES: usize = 16;

impl Publisher {
    /// Takes a session in.
    pub fn new(now: Instant, setup: PublisherSetup) -> Publisher {
        let unnamed = Unnamed::new(&setup.offer, &setup.tracks);
        let tracks = tracks_of_a_stream(setup.tracks).into_iter().map(|track| TrackIn::new(track, &setup.offer));
        let tracks: Vec<_> = tracks.collect();
        let mut published = Published::default();
        if let Some(video) = tracks.iter().find(|track| track.kind == MediaKind::Video) {
            for (slot, encoding) in published.rids.iter_mut().zip(&video.encodings) {
                *slot = encoding.rid;
            }
        }
        let params = setup.rtc.codec_config().params();
        let repair_types = params.iter().filter_map(|params| params.resend().map(|pt| *pt)).collect();
        let groups = setup.offer.lines().filter_map(|line| line.strip_prefix("a=ssrc-group:FID "));
        let repair_ssrcs = groups.filter_map(|group| group.split_ascii_whitespace().nth(1)?.parse().ok());
        let repair_ssrcs = repair_ssrcs.take(MAX_REPAIR_SSRCS).collect();
        Publisher {
            session: setup.session,
            stream: setup.stream,
            epoch: setup.epoch,
            ufrag: setup.ufrag,
            offer: setup.offer,
            rtc: setup.rtc,
            ingress: setup.ingress,
            feedback_path: None,
            repair_types,
            repair_ssrcs,
            tracks,
            published,
            clock: SenderClock::default(),
            connected: false,
            failures: Patience::new(setup.notes),
            heard_at: now,
            flow: Flow::default(),
            sources: Vec::new(),
            new_sources: NewSources::default(),
            out: VecDeque::new(),
            unnamed,
            strays: 0,
            next_timeout: now,
            health: Health::default(),
        }
    }

    /// The session itself, for negotiation.
    pub fn rtc(&mut self) -> &mut Rtc {
        &mut self.rtc
    }

    /// What it sends, so far as packets have told.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// What is wrong with what it sends.
    pub fn warnings(&self) -> Warnings {
        let encodings = self.tracks.iter().flat_map(|track| &track.encodings);
        encodings.fold(Warnings::default(), |all, encoding| all | encoding.warnings())
    }

    /// Packets that were dropped since this was asked last: they belong to no track, or to a flow that was replaced.
    pub fn take_strays(&mut self) -> u64 {
        std::mem::take(&mut self.strays)
    }

    /// Whether ICE and DTLS are up.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Source addresses that passed ICE.
    pub fn sources(&self) -> &[SocketAddr] {
        &self.sources
    }

    /// Takes a datagram. Returns whether it belongs to this session: STUN must authenticate, all else come
    /// from an address that did (threat T1).
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) -> bool {
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, bytes) else { return false };
        let class = media::demux::classify(bytes);
        let is_stun = class == Class::Stun;
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return false;
        }
        if is_stun && !self.sources.contains(&source) && !self.new_sources.take(now) {
            return false;
        }
        self.heard_at = now;
        if is_stun && !self.sources.contains(&source) {
            if self.sources.len() >= MAX_SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(source);
        }
        if class == Class::Rtp {
            self.handle_protected(now, source, destination, bytes);
            return true;
        }
        if self.rtc.handle_input(input).is_err() && self.connected {
            // Only an authenticated message or a deadline ends a session (threats, code rule 5): an error of
            // a peer's bytes is counted by str0m and forgotten by us.
        }
        if !self.connected && matches!(class, media::demux::Class::Dtls) {
            self.failures.look(now);
        }
        true
    }

    /// Takes SRTP or SRTCP from an address that passed ICE.
    fn handle_protected(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        match self.ingress.admit(now, bytes) {
            Verdict::Drop => return,
            Verdict::Rtcp => {}
            Verdict::Rtp(packet) => {
                self.feedback_path = Some((source, destination));
                self.expect_source();
                if self.is_unsound_repair(packet) {
                    self.ingress.empty_payload(packet);
                }
            }
        }
        let plain = self.ingress.plain();
        if let Ok(receive) = Receive::new(Protocol::Udp, source, destination, plain) {
            // As above: what is wrong with a packet does not end a session.
            let _ = self.rtc.handle_input(Input::Receive(now, receive));
        }
    }

    /// How many SRTP and SRTCP datagrams were refused since this was asked last.
    pub fn take_refused(&mut self) -> u64 {
        self.ingress.take_refused()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.connected && now.saturating_duration_since(self.heard_at) >= SILENCE {
            self.out.push_back(Arrived::Closed(Ended::IceLost));
        }
        if self.flow.handle_timeout(now) {
            self.out.push_back(Arrived::Flows(false));
        }
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.out.push_back(Arrived::Closed(Ended::Failed));
        }
    }

    /// Something was asked of the session: it is to be driven at once.
    pub fn wake(&mut self, now: Instant) {
        self.next_timeout = self.next_timeout.min(now);
    }

    /// When to come again.
    pub fn next_timeout(&self) -> Instant {
        self.next_timeout
    }

    /// Drains the session: datagrams into `batch`, all else into [`Publisher::poll`].
    pub fn drive(&mut self, now: Instant, clock: &WallClock, batch: &mut Batch) {
        // A bound, so that a session that never settles cannot keep its shard.
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.send_feedback(now, batch);
                    let quiet_at = self.flow.poll_timeout().unwrap_or(at);
                    let over_at = self.failures.poll_timeout().unwrap_or(at);
                    let feedback_at = self.ingress.feedback_at().unwrap_or(at);
                    self.next_timeout = at.min(quiet_at).min(over_at).min(feedback_at).max(now + SHORTEST_WAIT);
                    if let Some(failure) = self.failures.over(now) {
                        self.out.push_back(Arrived::Closed(Ended::Handshake(failure)));
                    }
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    let (to, from) = (transmit.destination, Some(transmit.source.ip()));
                    if media::demux::classify(&transmit.contents) == media::demux::Class::Rtp {
                        batch.push_with(to, from, |out| self.ingress.seal(&transmit.contents, out));
                    } else {
                        batch.push(to, from, &transmit.contents);
                    }
                }
                Ok(Output::Event(event)) => self.handle_event(now, clock, event),
                Err(error) => {
                    let why = match self.connected {
                        true => Ended::Failed,
                        false => Ended::of_error(now, &error, &mut self.failures),
                    };
                    self.out.push_back(Arrived::Closed(why));
                    self.next_timeout = now + Duration::from_secs(3_600);
                    return;
                }
            }
        }
        self.next_timeout = now + SHORTEST_WAIT;
    }

    /// What the session brought since.
    pub fn poll(&mut self) -> Option<Arrived> {
        self.out.pop_front()
    }

    /// Asks for a key frame of one encoding of the video.
    pub fn request_key_frame(&mut self, encoding: u8) {
        for track in self.tracks.iter_mut().filter(|t| t.kind == MediaKind::Video) {
            let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) else { continue };
            let mut api = self.rtc.direct_api();
            // str0m keeps the SSRCs that were replaced, and has no order among those of one section.
            let current = encoding.runs.ssrc().map(Ssrc::from).filter(|ssrc| api.stream_rx(ssrc).is_some());
            let stream = match current {
                Some(ssrc) => api.stream_rx(&ssrc),
                None => api.stream_rx_by_mid(track.mid, encoding.rid),
            };
            match stream {
                Some(stream) => stream.request_keyframe(KeyframeRequestKind::Pli),
                None => encoding.key_frame_wanted = true,
            }
        }
    }

    /// Says goodbye: BYE and close_notify come out of [`Publisher::drive`].
    pub fn close(&mut self) {
        let _ = self.rtc.close();
    }

    fn send_feedback(&mut self, now: Instant, batch: &mut Batch) {
        if let Some((peer, local)) = self.feedback_path
            && self.ingress.feedback_at().is_some_and(|at| at <= now)
        {
            batch.push_with(peer, Some(local.ip()), |out| self.ingress.poll_feedback(now, out));
        }
    }

    fn handle_event(&mut self, now: Instant, clock: &WallClock, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                if !self.ingress.on_connected() {
                    self.out.push_back(Arrived::Closed(Ended::Failed));
                }
                self.failures.forget_but_srtp(now);
                self.flow.begin(now);
                self.out.push_back(Arrived::Connected);
            }
            Event::RtpPacket(packet) => {
                self.on_media(packet.timestamp);
                self.handle_rtp(clock, packet);
            }
            Event::SenderFeedback(feedback) => {
                self.on_media(feedback.received_at);
                let ntp = NtpTime::from_system_time(feedback.sender_info.ntp_time);
                self.clock.on_sender_report(clock.at(feedback.received_at), ntp);
                let track = self.tracks.iter_mut().find(|t| t.mid == feedback.mid);
                if let Some(encoding) = track.and_then(|t| t.encodings.iter_mut().find(|e| e.rid == feedback.rid)) {
                    encoding.report = Some((ntp, feedback.sender_info.rtp_time.numer() as u32));
                }
            }
            Event::PeerStats(stats) => {
                self.health = Health { rtt: stats.rtt, loss: self.ingress.take_loss() };
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.out.push_back(Arrived::Closed(Ended::IceLost));
            }
            Event::Closed => self.out.push_back(Arrived::Closed(Ended::PeerLeft)),
            _ => {}
        }
    }

    fn on_media(&mut self, at: Instant) {
        if self.flow.on_media(at) {
            self.out.push_back(Arrived::Flows(true));
        }
    }

    /// Makes str0m take RTP of an SSRC that it does not know, where the section can be told otherwise.
    fn expect_source(&mut self) {
        let Some((payload_type, ssrc)) = self.unnamed.source_of(self.ingress.plain()) else { return };
        let is_current = |ssrc| {
            let mut encodings = self.tracks.iter().flat_map(|track| &track.encodings);
            encodings.any(|encoding| encoding.runs.ssrc() == Some(ssrc))
        };
        if is_current(ssrc) {
            return;
        }
        let mut api = self.rtc.direct_api();
        let Some(mid) = self.unnamed.section_of(&self.tracks, payload_type) else { return };
        if api.stream_rx(&Ssrc::from(ssrc)).is_some() {
            return;
        }
        // One such SSRC is known at a time, so that made-up ones do not add up.
        if let Some(old) = self.unnamed.unproven.replace(ssrc).filter(|old| !is_current(*old)) {
            api.remove_stream_rx(old.into());
        }
        api.expect_stream_rx(ssrc.into(), None, mid, None);
    }

    fn place_of(&mut self, ssrc: Ssrc) -> Option<(usize, usize)> {
        let Publisher { tracks, rtc, .. } = self;
        place_of(tracks, *ssrc, || rtc.direct_api().stream_rx(&ssrc).map(|stream| (stream.mid(), stream.rid())))
    }

    fn handle_rtp(&mut self, clock: &WallClock, rtp: RtpPacket) {
        let seq = *rtp.seq_no;
        if seq > MAX_SEQ {
            return;
        }
        let Some((place, number)) = self.place_of(rtp.header.ssrc) else {
            self.strays += 1;
            return;
        };
        let track = &mut self.tracks[place];
        let Some(format) = track.format(*rtp.header.payload_type) else {
            self.strays += 1;
            return;
        };
        let encoding = &mut track.encodings[number];
        let before = encoding.runs.ssrc();
        let newest = encoding.newest.filter(|_| before == Some(*rtp.header.ssrc));
        let of_video = Some(format).filter(|_| track.kind == MediaKind::Video);
        let verdict = encoding.runs.observe(rtp.timestamp, *rtp.header.ssrc, of_video, seq);
        if encoding.runs.ssrc() == Some(*rtp.header.ssrc) {
            encoding.newest = newest.max(Some(seq));
        }
        match verdict {
            crate::receive::runs::Verdict::Goes => self.forward(clock, place, number, rtp),
            crate::receive::runs::Verdict::Begins => {
                encoding.begin();
                let proved = *rtp.header.ssrc;
                if let Some(old) = self.unnamed.on_run(proved, before) {
                    self.rtc.direct_api().remove_stream_rx(old.into());
                }
                self.forward(clock, place, number, rtp);
            }
            crate::receive::runs::Verdict::Held => encoding.held = Some(Box::new(rtp)),
            crate::receive::runs::Verdict::HeldBegins => {
                encoding.begin();
                if let Some(held) = encoding.held.take() {
                    self.forward(clock, place, number, *held);
                }
                self.forward(clock, place, number, rtp);
            }
            crate::receive::runs::Verdict::Dropped => self.strays += 1,
        }
    }

    /// Makes a [`Packet`] of an RTP packet and queues it for the shard.
    fn forward(&mut self, clock: &WallClock, place: usize, number: usize, rtp: RtpPacket) {
        let track = &mut self.tracks[place];
        let payload_type = *rtp.header.payload_type;
        let Some(format) = track.format(payload_type) else { return };
        track.has_news |= track.current.map(|(_, f)| f) != Some(format);
        track.current = Some((payload_type, format));
        let encoding = &mut track.encodings[number];

        let seq = *rtp.seq_no;
        let timestamp = rtp.header.timestamp;
        // Padding that the publisher sends to probe its own path is nothing for viewers, but its number is used up, so it is
        // passed on empty.
        let mut read = match track.kind {
            MediaKind::Audio => Read { starts_frame: true, ..Read::default() },
            MediaKind::Video => encoding.read(format.codec, seq, timestamp, &rtp.payload),
        };
        let values = &rtp.header.ext_vals;
        let bytes = values.user_values.get::<DescriptorBytes>().filter(|_| format.codec == Codec::Av1);
        let descriptor = bytes.and_then(|bytes| encoding.descriptors.take(&bytes.0)).map(Arc::new);
        if let Some((said, structure)) = descriptor.as_ref().and_then(|descriptor| descriptor.read.as_ref()) {
            read.layers = encoding.described_layers.observe(timestamp, said, structure);
        }
        let captured_at = match values.abs_capture_time {
            Some(capture) => self.clock.to_server(NtpTime::from_system_time(capture.capture_time)),
            None => encoding.report.and_then(|(ntp, at)| {
                let ticks = i64::from(timestamp.wrapping_sub(at) as i32);
                let ms = ticks as f64 * 1_000.0 / f64::from(format.codec.clock_rate());
                self.clock.to_server(NtpTime::from_unix_ms_f64(ntp.to_unix_ms_f64() + ms))
            }),
        };
        let has_wrong_clock = captured_at.is_some_and(|at| !encoding.capture_clock.can_be(clock, rtp.timestamp, at));
        let extensions = Extensions {
            playout_delay: playout_delay(values.play_delay_min, values.play_delay_max),
            video_orientation: values.video_orientation.map(|o| o as u8),
            color_space: values.user_values.get::<ColorSpace>().map(|space| space.0),
            audio_level: values.audio_level.map(|level| {
                let voice = if values.voice_activity == Some(true) { 0x80 } else { 0 };
                voice | (level.unsigned_abs() & 0x7f)
            }),
        };
        let red_primary_at = match format.codec {
            Codec::Red => red::primary_at(&rtp.payload).unwrap_or(0),
            _ => 0,
        };
        let packet = Packet {
            codec: format.codec,
            epoch: Epoch { publisher: self.epoch, run: encoding.runs.run() },
            encoding: number as u8,
            seq,
            timestamp,
            marker: rtp.header.marker,
            key_frame_from: read.key_frame_from,
            resolution: read.resolution,
            starts_frame: read.starts_frame,
            layers: read.layers,
            arrived_at: rtp.timestamp,
            captured_at,
            has_wrong_clock,
            descriptor,
            extensions,
            sets: read.sets,
            payload: rtp.payload,
            red_primary_at,
        };
        let wanted = std::mem::take(&mut encoding.key_frame_wanted);
        if track.has_news && track.news.take(rtp.timestamp) {
            track.has_news = false;
            match track.kind {
                MediaKind::Audio => self.published.audio = Some(format),
                MediaKind::Video => self.published.video = Some(format),
            }
            self.out.push_back(Arrived::Published(self.published));
        }
        self.out.push_back(Arrived::Packet(Arc::new(packet)));
        if wanted {
            self.request_key_frame(number as u8);
        }
    }
}

/// As many SSRCs as are decrypted; see [`crate::srtp::Open::rtp`].
const MAX_REPAIR_SSRCS: usize = 64;

/// RFC 3711 §3.3.1: a packet index has 48 bits. Numbers beyond are those of arithmetic that wrapped.
const MAX_SEQ: u64 = (1 << 48) - 1;

/// The sections that a stream is made of: the first of each kind. Packets of others are dropped, not mixed with these.
fn tracks_of_a_stream(mut sections: Vec<PublisherTrack>) -> Vec<PublisherTrack> {
    let mut kinds = Vec::new();
    sections.retain(|section| {
        let is_first = !kinds.contains(&section.kind);
        kinds.push(section.kind);
        is_first
    });
    sections
}

/// Which track and which of its encodings an SSRC belongs to: by what came of it before, else by the section (`mid`) and the
/// `rid` that str0m `knows` it by. Never by the payload type, which bundled sections may share (RFC 8843 §9.2).
fn place_of(
    tracks: &[TrackIn],
    ssrc: u32,
    knows: impl FnOnce() -> Option<(Mid, Option<Rid>)>,
) -> Option<(usize, usize)> {
    let current = tracks.iter().enumerate().find_map(|(place, track)| {
        Some((place, track.encodings.iter().position(|encoding| encoding.runs.ssrc() == Some(ssrc))?))
    });
    current.or_else(|| {
        let (mid, rid) = knows()?;
        let place = tracks.iter().position(|track| track.mid == mid)?;
        let encodings = &tracks[place].encodings;
        Some((place, encodings.iter().position(|encoding| encoding.rid == rid)?))
    })
}

/// A session that asks to be woken at once, again and again, cannot keep its thread.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The most outputs that one round takes from a session.
const MAX_OUTPUTS: usize = 10_000;

fn playout_delay(min: Option<str0m::media::MediaTime>, max: Option<str0m::media::MediaTime>) -> Option<[u8; 3]> {
    // draft-ietf-avtext-… playout-delay: 12 bits each, in units of 10 ms.
    let units = |time: str0m::media::MediaTime| ((time.as_seconds() * 100.0).round() as u32).min(0xfff);
    let (min, max) = (units(min?), units(max?));
    let bytes = (min << 12 | max).to_be_bytes();
    Some([bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_sections_of_one_kind_with_the_same_payload_type_one_is_forwarded() {
        let now = Instant::now();
        let vp8 = Format { codec: Codec::Vp8, profile: 0 };
        let section = |mid: &str, rids: &[&str]| PublisherTrack {
            mid: Mid::from(mid),
            kind: MediaKind::Video,
            formats: vec![(96, vp8)],
            rids: rids.iter().map(|rid| Rid::from(*rid)).collect(),
        };
        let tracks = |sections: &[PublisherTrack]| -> Vec<TrackIn> {
            sections.iter().map(|section| TrackIn::new(section.clone(), "")).collect()
        };
        let first = || tracks(&tracks_of_a_stream(vec![section("1", &[]), section("2", &[])]));
        let by = |mid: &str, rid: Option<&str>| {
            let known = (Mid::from(mid), rid.map(Rid::from));
            move || Some(known)
        };
        let mut one = first();
        assert_eq!(place_of(&one, 11, by("1", None)), Some((0, 0)));
        one[0].encodings[0].runs.observe(now, 11, Some(vp8), 1);
        assert_eq!(place_of(&one, 11, || None), Some((0, 0)), "known by its SSRC from then on");
        assert_eq!(place_of(&one, 22, by("2", None)), None, "the second section");
        assert_eq!(place_of(&one, 22, || None), None, "an SSRC that no section is known for");

        let sized = tracks(&[section("1", &["q", "h"])]);
        assert_eq!(place_of(&sized, 7, by("1", Some("h"))), Some((0, 1)));
        assert_eq!(place_of(&sized, 7, by("1", None)), None, "no encoding has no name");
    }

    #[test]
    fn playout_delay_is_two_times_twelve_bits_of_ten_ms() {
        let time = |s: f64| Some(str0m::media::MediaTime::from_seconds(s));
        assert_eq!(playout_delay(time(0.0), time(0.4)), Some([0, 0, 40]));
        assert_eq!(playout_delay(time(0.1), time(40.95)), Some([0x00, 0xaf, 0xff]));
        assert_eq!(playout_delay(None, time(1.0)), None);
    }
}
