//! What does a publisher bring?
//!
//! A publisher is a whole `str0m::Rtc` in RTP mode: it answers ICE, does DTLS, asks for what is missing,
//! sends receiver reports and transport-wide feedback. Out of it come [`Packet`]s, described once for all who
//! forward them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::codec::dependency::{DescribedLayers, Reader};
use media::codec::layers::{self, LayerTracker};
use media::codec::{FrameLayers, FrameStart, KeyFrameStart, describe, red};
use media::packet::Extensions;
use media::{Codec, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use crate::dtls::{Failure, Notes, Patience, Reason};
use crate::flow::Flow;
use crate::format::{Format, Published};
use crate::negotiate::PublisherTrack;
use crate::negotiate::color_space::ColorSpace;
use crate::negotiate::descriptor::DescriptorBytes;
use crate::transmit::Batch;

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
    tracks: Vec<TrackIn>,
    published: Published,
    clock: SenderClock,
    connected: bool,
    failures: Patience,
    heard_at: Instant,
    flow: Flow,
    /// Source addresses that passed ICE.
    sources: Vec<SocketAddr>,
    out: VecDeque<Arrived>,
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
}

#[derive(Debug, Default)]
struct EncodingIn {
    /// `None` without simulcast.
    rid: Option<Rid>,
    ssrc: Option<u32>,
    /// Counts changes of SSRC: each begins a new epoch for viewers, because sequence numbers start again.
    run: u32,
    key_frames: KeyFrameStart,
    frames: FrameStart,
    layers: LayerTracker,
    descriptors: Reader,
    described_layers: DescribedLayers,
    /// The last sender report: NTP time and RTP timestamp of one moment.
    report: Option<(NtpTime, u32)>,
    key_frame_wanted: bool,
}

impl EncodingIn {
    /// Packets come from this SSRC from now on. Its numbers have nothing to do with those of another.
    fn comes_from(&mut self, ssrc: u32) {
        if self.ssrc == Some(ssrc) {
            return;
        }
        if self.ssrc.is_some() {
            self.run = (self.run + 1).min(RUNS_PER_EPOCH - 1);
            self.key_frames = KeyFrameStart::default();
            self.frames = FrameStart::default();
            self.layers = LayerTracker::default();
            self.descriptors = Reader::default();
            self.described_layers = DescribedLayers::default();
            self.report = None;
        }
        self.ssrc = Some(ssrc);
    }
}

/// A publisher that sends nothing at all this long is gone, whatever ICE still hopes: viewers are told, and its
/// successor is let in. Browsers check a connection every 2.5 s at least; a phone that changes
/// networks is back within a few seconds. A guess.
const SILENCE: Duration = Duration::from_secs(10);

/// The most source addresses of one publisher that are remembered; an address change needs ICE again.
const MAX_SOURCES: usize = 16;

/// Epochs of one publisher's restarts of a track; see [`TrackIn::run`].
const RUNS_PER_EPOCH: u32 = 1 << 8;

impl Publisher {
    /// Takes a session in.
    pub fn new(now: Instant, setup: PublisherSetup) -> Publisher {
        let tracks = setup.tracks.into_iter().map(|track| TrackIn {
            mid: track.mid,
            kind: track.kind,
            formats: track.formats,
            current: None,
            encodings: match track.rids.len() {
                0 => vec![EncodingIn::default()],
                _ => track.rids.iter().map(|rid| EncodingIn { rid: Some(*rid), ..EncodingIn::default() }).collect(),
            },
        });
        let tracks: Vec<TrackIn> = tracks.collect();
        let mut published = Published::default();
        if let Some(video) = tracks.iter().find(|track| track.kind == MediaKind::Video) {
            for (slot, encoding) in published.rids.iter_mut().zip(&video.encodings) {
                *slot = encoding.rid;
            }
        }
        Publisher {
            session: setup.session,
            stream: setup.stream,
            epoch: setup.epoch,
            ufrag: setup.ufrag,
            offer: setup.offer,
            rtc: setup.rtc,
            tracks,
            published,
            clock: SenderClock::default(),
            connected: false,
            failures: Patience::new(setup.notes),
            heard_at: now,
            flow: Flow::default(),
            sources: Vec::new(),
            out: VecDeque::new(),
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
        let is_stun = matches!(class, media::demux::Class::Stun);
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return false;
        }
        self.heard_at = now;
        if is_stun && !self.sources.contains(&source) {
            if self.sources.len() >= MAX_SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(source);
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

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.connected && now.saturating_duration_since(self.heard_at) >= SILENCE {
            self.out.push_back(Arrived::Closed(Ended::IceLost));
        }
        if self.flow.look(now) {
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
                    let quiet_at = self.flow.poll_timeout().unwrap_or(at);
                    let over_at = self.failures.poll_timeout().unwrap_or(at);
                    self.next_timeout = at.min(quiet_at).min(over_at).max(now + SHORTEST_WAIT);
                    if let Some(failure) = self.failures.over(now) {
                        self.out.push_back(Arrived::Closed(Ended::Handshake(failure)));
                    }
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    batch.push(transmit.destination, Some(transmit.source.ip()), &transmit.contents);
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
            match api.stream_rx_by_mid(track.mid, encoding.rid) {
                Some(stream) => stream.request_keyframe(KeyframeRequestKind::Pli),
                None => encoding.key_frame_wanted = true,
            }
        }
    }

    /// Says goodbye: BYE and close_notify come out of [`Publisher::drive`].
    pub fn close(&mut self) {
        let _ = self.rtc.close();
    }

    fn handle_event(&mut self, now: Instant, clock: &WallClock, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.failures.forget_but_srtp(now);
                self.flow.begin(now);
                self.out.push_back(Arrived::Connected);
            }
            Event::RtpPacket(packet) => {
                self.flows(packet.timestamp);
                self.handle_rtp(packet);
            }
            Event::SenderFeedback(feedback) => {
                self.flows(feedback.received_at);
                let ntp = NtpTime::from_system_time(feedback.sender_info.ntp_time);
                self.clock.reported(clock.at(feedback.received_at), ntp);
                let track = self.tracks.iter_mut().find(|t| t.mid == feedback.mid);
                if let Some(encoding) = track.and_then(|t| t.encodings.iter_mut().find(|e| e.rid == feedback.rid)) {
                    encoding.report = Some((ntp, feedback.sender_info.rtp_time.numer() as u32));
                }
            }
            Event::PeerStats(stats) => {
                self.health = Health { rtt: stats.rtt, loss: stats.ingress_loss_fraction };
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.out.push_back(Arrived::Closed(Ended::IceLost));
            }
            Event::Closed => self.out.push_back(Arrived::Closed(Ended::PeerLeft)),
            _ => {}
        }
    }

    fn flows(&mut self, at: Instant) {
        if self.flow.comes(at) {
            self.out.push_back(Arrived::Flows(true));
        }
    }

    fn handle_rtp(&mut self, rtp: RtpPacket) {
        let payload_type = *rtp.header.payload_type;
        let ssrc = *rtp.header.ssrc;
        let Some(track) = self.tracks.iter_mut().find(|t| t.formats.iter().any(|(pt, _)| *pt == payload_type)) else {
            return;
        };
        // Padding that the publisher sends to probe its own path: nothing for viewers, but its number is used up,
        // so it is passed on empty.
        let known = track.current.filter(|(pt, _)| *pt == payload_type);
        let Some((_, format)) = known.or_else(|| track.formats.iter().find(|(pt, _)| *pt == payload_type).copied())
        else {
            return;
        };
        let place = track.encodings.iter().position(|e| e.ssrc == Some(ssrc)).or_else(|| {
            // Browsers name the encoding until we have reported on it; str0m remembers.
            let rid = self.rtc.direct_api().stream_rx(&rtp.header.ssrc).and_then(|stream| stream.rid());
            track.encodings.iter().position(|e| e.rid == rid)
        });
        let Some(encoding) = place.and_then(|place| track.encodings.get_mut(place)) else { return };
        let number = place.unwrap_or_default() as u8;
        encoding.comes_from(ssrc);
        let changed = track.current.map(|(_, f)| f) != Some(format);
        track.current = Some((payload_type, format));

        let seq = *rtp.seq_no;
        let timestamp = rtp.header.timestamp;
        let description = describe(format.codec, &rtp.payload);
        let (starts_frame, key_frame_from, mut layers) = match track.kind {
            MediaKind::Audio => (true, None, FrameLayers::default()),
            MediaKind::Video => (
                encoding.frames.observe(timestamp, &description),
                encoding.key_frames.observe(seq, timestamp, &description),
                encoding.layers.observe(timestamp, layers::read(format.codec, &rtp.payload)),
            ),
        };
        let values = &rtp.header.ext_vals;
        let bytes = values.user_values.get::<DescriptorBytes>().filter(|_| format.codec == Codec::Av1);
        let descriptor = bytes.and_then(|bytes| encoding.descriptors.take(&bytes.0)).map(Arc::new);
        if let Some((said, structure)) = descriptor.as_ref().and_then(|descriptor| descriptor.read.as_ref()) {
            layers = encoding.described_layers.observe(timestamp, said, structure);
        }
        let captured_at = match values.abs_capture_time {
            Some(capture) => self.clock.to_server(NtpTime::from_system_time(capture.capture_time)),
            None => encoding.report.and_then(|(ntp, at)| {
                let ticks = i64::from(timestamp.wrapping_sub(at) as i32);
                let ms = ticks as f64 * 1_000.0 / f64::from(format.codec.clock_rate());
                self.clock.to_server(NtpTime::from_unix_ms_f64(ntp.to_unix_ms_f64() + ms))
            }),
        };
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
            epoch: self.epoch * RUNS_PER_EPOCH + encoding.run,
            encoding: number,
            seq,
            timestamp,
            marker: rtp.header.marker,
            key_frame_from,
            resolution: description.resolution,
            starts_frame,
            layers,
            arrived_at: rtp.timestamp,
            captured_at,
            descriptor,
            extensions,
            payload: rtp.payload,
            red_primary_at,
        };
        let kind = track.kind;
        let wanted = std::mem::take(&mut encoding.key_frame_wanted);
        if changed {
            match kind {
                MediaKind::Audio => self.published.audio = Some(format),
                MediaKind::Video => self.published.video = Some(format),
            }
            self.out.push_back(Arrived::Published(self.published));
        }
        self.out.push_back(Arrived::Packet(Arc::new(packet)));
        if wanted {
            self.request_key_frame(number);
        }
    }
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

/// How far a publisher's wall clock is from ours.
///
/// Every sender report tells "now, by my clock"; it arrives later by the time it was on its way. The least
/// difference seen in a while is the clock's offset plus the shortest way: on a LAN exact to a millisecond,
/// over the internet wrong by the one-way delay.
#[derive(Debug, Default)]
struct SenderClock {
    offset_ms: Option<f64>,
    window: VecDeque<f64>,
}

/// Reports looked back on: at one a second and track, half a minute. A clock drifts 1 ms in that time at most.
const CLOCK_WINDOW: usize = 64;

impl SenderClock {
    fn reported(&mut self, arrived: NtpTime, said: NtpTime) {
        if self.window.len() == CLOCK_WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(arrived.difference_ms(said));
        self.offset_ms = self.window.iter().copied().reduce(f64::min);
    }

    fn to_server(&self, theirs: NtpTime) -> Option<NtpTime> {
        Some(NtpTime::from_unix_ms_f64(theirs.to_unix_ms_f64() + self.offset_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_clock_is_the_least_difference_seen() {
        let at = |ms: f64| NtpTime::from_unix_ms_f64(1_700_000_000_000.0 + ms);
        let mut clock = SenderClock::default();
        assert_eq!(clock.to_server(at(0.0)), None);
        for (said, way) in [(0.0, 30.0), (1_000.0, 5.0), (2_000.0, 80.0)] {
            clock.reported(at(said + 500.0 + way), at(said));
        }
        let server = clock.to_server(at(0.0)).expect("reports came");
        assert!((server.difference_ms(at(0.0)) - 505.0).abs() < 0.01);
    }

    #[test]
    fn playout_delay_is_two_times_twelve_bits_of_ten_ms() {
        let time = |s: f64| Some(str0m::media::MediaTime::from_seconds(s));
        assert_eq!(playout_delay(time(0.0), time(0.4)), Some([0, 0, 40]));
        assert_eq!(playout_delay(time(0.1), time(40.95)), Some([0x00, 0xaf, 0xff]));
        assert_eq!(playout_delay(None, time(1.0)), None);
    }
}
