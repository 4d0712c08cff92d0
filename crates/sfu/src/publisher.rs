//! What does a publisher bring?
//!
//! A publisher on a shard is the receiving half of a session ([`Receiver`]) and the descriptions
//! that are read from its packets. Its handshake is at a desk, as a viewer's. Out of it come
//! [`Packet`]s, described once for all viewers.

mod encoding;
mod sprop;
pub mod warnings;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::codec::red;
use media::{Codec, Epoch, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use str0m::RtcError;

use crate::allowance::Allowance;
use crate::clock::SenderClock;
use crate::dtls::{Failure, Patience, Reason};
use crate::flow::Flow;
use crate::format::{Format, Published};
use crate::receive::{Counters, Delivery, Negotiated, Outcome, Place, Received, Receiver, Section};
use crate::rtcp::SenderReport;
use crate::srtp::{Open, Seal};
use crate::transmit::{Batch, local_source};
use encoding::{EncodingIn, Read};
use sprop::parameter_sets;
use warnings::Warnings;

/// What a shard needs to serve a publisher, once its DTLS is up.
#[derive(Debug)]
pub struct PublisherSetup {
    /// Names the session.
    pub session: SessionId,
    /// The stream that it publishes.
    pub stream: StreamId,
    /// Its fencing number: packets of lower ones are not forwarded any more.
    pub epoch: u32,
    /// The desk that holds the session.
    pub desk: u8,
    /// The address that DTLS finished at.
    pub address: SocketAddr,
    /// Our address towards it.
    pub source: Option<IpAddr>,
    /// Encrypts our RTCP.
    pub seal: Seal,
    /// Decrypts its SRTP and SRTCP.
    pub open: Open,
    /// The media that it may send.
    pub negotiated: Negotiated,
    /// Its offer, which may tell parameter sets.
    pub offer: String,
    /// Random.
    pub seed: u64,
}

/// One publisher on a shard.
#[derive(Debug)]
pub struct Publisher {
    /// Names the session.
    pub session: SessionId,
    /// The stream that it publishes.
    pub stream: StreamId,
    /// Its fencing number.
    pub epoch: u32,
    /// The desk that holds the session.
    pub desk: u8,
    receiver: Receiver,
    /// Where feedback goes: to where the last authentic packet came from, and from our address that
    /// it came to.
    feedback_path: (SocketAddr, Option<IpAddr>),
    /// By section.
    tracks: Vec<TrackIn>,
    published: Published,
    clock: SenderClock,
    heard_at: Instant,
    flow: Flow,
    out: VecDeque<Arrived>,
    /// The receiver's counters that were passed on.
    counted: Counters,
    /// When the round trip and the loss are looked at next.
    measure_at: Instant,
    /// When silence is looked at next.
    silence_at: Instant,
    /// The earliest timer of it that its shard has.
    pub wakes_at: Option<Instant>,
    /// Round trip and loss of the last second.
    pub health: Health,
}

/// How the path from a publisher is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
    /// It sends these formats from now on.
    Published(Published),
    /// Whether its media comes, if that has changed.
    Flows(bool),
    /// Nothing has come on its media path for [`SILENCE`].
    Silent,
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

/// One section of a publisher.
#[derive(Debug)]
struct TrackIn {
    kind: MediaKind,
    /// Payload type and format of the newest packet.
    current: Option<(u8, Format)>,
    /// At least one, at most [`media::packet::MAX_ENCODINGS`].
    encodings: Vec<EncodingIn>,
    /// How often a change of format may be told.
    news: Allowance,
    has_news: bool,
}

impl TrackIn {
    /// `offer`: where parameter sets may be told.
    fn new(section: &Section, offer: &str) -> TrackIn {
        let names: Vec<_> = section.rids.iter().copied().map(Some).collect();
        let names = if names.is_empty() { vec![None] } else { names };
        let mut encodings: Vec<_> = names.into_iter().map(EncodingIn::named).collect();
        // Of several payload types the first that tells sets is taken; sets in packets replace
        // them.
        let formats = section.formats.iter();
        let told = formats.map(|(pt, format)| (format.codec, parameter_sets(offer, &section.mid, *pt)));
        if let Some((codec, units)) = told.into_iter().find(|(_, units)| !units.is_empty()) {
            for encoding in &mut encodings {
                for unit in &units {
                    encoding.sets.keep(codec, unit);
                }
            }
        }
        TrackIn {
            kind: section.kind,
            current: None,
            encodings,
            news: Allowance::new(MAX_NEWS, NEWS_EVERY),
            has_news: false,
        }
    }
}

/// Changes of format that are told at once, and how fast more are: of audio each packet may have
/// another one (Opus, and Opus in RED), and each is a message to control.
const MAX_NEWS: u32 = 8;
const NEWS_EVERY: Duration = Duration::from_secs(1);

/// A publisher that sends nothing at all for this long is gone: viewers are told, and its successor
/// is let in. Browsers check a connection every 2.5 s at least; a phone that changes networks is
/// back within a few seconds. A guess.
pub const SILENCE: Duration = Duration::from_secs(10);

/// How often the desk of a silent publisher is asked whether it still hears it. A guess.
const SILENCE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the round trip and the loss are looked at.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Datagrams that one round takes from a receiver: two for each kind of RTCP.
const MAX_OUTPUTS: usize = 8;

impl Publisher {
    /// Takes a session over from its desk.
    pub fn new(now: Instant, setup: PublisherSetup) -> Publisher {
        let sections = &setup.negotiated.sections;
        let tracks: Vec<_> = sections.iter().map(|section| TrackIn::new(section, &setup.offer)).collect();
        let mut published = Published::default();
        if let Some(video) = tracks.iter().find(|track| track.kind == MediaKind::Video) {
            for (slot, encoding) in published.rids.iter_mut().zip(&video.encodings) {
                *slot = encoding.rid;
            }
        }
        let mut flow = Flow::default();
        flow.begin(now);
        Publisher {
            session: setup.session,
            stream: setup.stream,
            epoch: setup.epoch,
            desk: setup.desk,
            receiver: Receiver::new(setup.negotiated, setup.seal, setup.open, setup.seed),
            feedback_path: (setup.address, setup.source),
            tracks,
            published,
            clock: SenderClock::default(),
            heard_at: now,
            flow,
            out: VecDeque::new(),
            counted: Counters::default(),
            measure_at: now + MEASURE_INTERVAL,
            silence_at: now + SILENCE,
            wakes_at: None,
            health: Health::default(),
        }
    }

    /// The formats that it sends, as far as packets have told.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Returns the faults of the media that it sends.
    pub fn warnings(&self) -> Warnings {
        let encodings = self.tracks.iter().flat_map(|track| &track.encodings);
        encodings.fold(Warnings::default(), |all, encoding| all | encoding.warnings())
    }

    /// What its receiver has counted since this was asked last.
    pub fn take_counters(&mut self) -> Counters {
        let counters = self.receiver.counters();
        let since = counters.since(&self.counted);
        self.counted = counters;
        since
    }

    /// A datagram for its desk came from one of its addresses.
    pub fn on_datagram(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Takes an SRTP or SRTCP datagram from one of its addresses, and decrypts it in place.
    pub fn handle_protected(
        &mut self,
        now: Instant,
        clock: &WallClock,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &mut [u8],
    ) {
        if media::rtp::is_rtcp(bytes) {
            self.handle_rtcp(now, clock, bytes);
            return;
        }
        let outcome = self.receiver.handle_rtp(now, bytes);
        if matches!(outcome, Outcome::Refused) {
            return;
        }
        self.heard_at = now;
        self.feedback_path = (source, local_source(destination));
        if let Outcome::Deliver(delivery) = outcome {
            self.on_media(now);
            let Delivery { begins, held, packet } = delivery;
            if begins && let Some(encoding) = self.encoding(packet.place) {
                encoding.begin();
            }
            if let Some(held) = held {
                self.forward(clock, *held);
            }
            self.forward(clock, packet);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, clock: &WallClock, bytes: &mut [u8]) {
        let mut reports: [Option<(Place, SenderReport)>; MAX_REPORTS] = [None; MAX_REPORTS];
        let mut slots = reports.iter_mut();
        let is_authentic = self.receiver.handle_rtcp(now, clock, bytes, |place, report| {
            if let Some(slot) = slots.next() {
                *slot = Some((place, report));
            }
        });
        if is_authentic {
            self.heard_at = now;
        }
        for (place, report) in reports.into_iter().flatten() {
            self.on_media(now);
            self.clock.on_sender_report(clock.at(now), report.ntp);
            if let Some(encoding) = self.encoding(place) {
                encoding.report = Some((report.ntp, report.rtp));
            }
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.silence_at <= now {
            let silent_at = self.heard_at + SILENCE;
            if silent_at <= now {
                self.out.push_back(Arrived::Silent);
                self.silence_at = now + SILENCE_INTERVAL;
            } else {
                self.silence_at = silent_at;
            }
        }
        if self.flow.handle_timeout(now) {
            self.out.push_back(Arrived::Flows(false));
        }
        if self.measure_at <= now {
            self.measure_at = now + MEASURE_INTERVAL;
            self.health = Health { rtt: self.receiver.round_trip(), loss: self.receiver.take_loss() };
        }
    }

    /// When to call [`Publisher::handle_timeout`] and [`Publisher::drive`].
    pub fn next_timeout(&self) -> Instant {
        let at = self.measure_at.min(self.silence_at);
        [self.flow.poll_timeout(), self.receiver.poll_timeout()].into_iter().flatten().fold(at, Instant::min)
    }

    /// Writes the RTCP that is due.
    pub fn drive(&mut self, now: Instant, clock: &WallClock, batch: &mut Batch) {
        let (address, source) = self.feedback_path;
        let is_due = |receiver: &Receiver| receiver.poll_timeout().is_some_and(|at| at <= now);
        for _ in 0..MAX_OUTPUTS {
            if !is_due(&self.receiver) {
                return;
            }
            batch.push_with(address, source, |out| self.receiver.poll_transmit(now, clock, out));
        }
    }

    /// Takes the next event out.
    pub fn poll(&mut self) -> Option<Arrived> {
        self.out.pop_front()
    }

    /// Asks for a key frame of one encoding of the video.
    pub fn request_key_frame(&mut self, now: Instant, encoding: u8) {
        for (section, track) in self.tracks.iter().enumerate() {
            if track.kind == MediaKind::Video {
                self.receiver.request_key_frame(now, Place { section, encoding: usize::from(encoding) });
            }
        }
    }

    /// Writes a farewell (RTCP BYE). Its desk sends close_notify.
    pub fn close(&mut self, now: Instant, clock: &WallClock, batch: &mut Batch) {
        self.receiver.close();
        let (address, source) = self.feedback_path;
        batch.push_with(address, source, |out| self.receiver.poll_transmit(now, clock, out));
    }

    fn on_media(&mut self, at: Instant) {
        if self.flow.on_media(at) {
            self.out.push_back(Arrived::Flows(true));
        }
    }

    fn encoding(&mut self, place: Place) -> Option<&mut EncodingIn> {
        self.tracks.get_mut(place.section)?.encodings.get_mut(place.encoding)
    }

    /// Makes a [`Packet`] of what was received and queues it for the shard.
    fn forward(&mut self, clock: &WallClock, rtp: Received) {
        let Received { format, seq, timestamp, .. } = rtp;
        let Some(track) = self.tracks.get_mut(rtp.place.section) else { return };
        track.has_news |= track.current.map(|(_, current)| current) != Some(format);
        track.current = Some((rtp.payload_type, format));
        let Some(encoding) = track.encodings.get_mut(rtp.place.encoding) else { return };

        // Padding that the publisher sends to probe its own path is nothing for viewers, but its
        // number is used up, so it is passed on empty.
        let mut read = match track.kind {
            MediaKind::Audio => Read { starts_frame: true, ..Read::default() },
            MediaKind::Video => encoding.read(format.codec, seq, timestamp, &rtp.payload),
        };
        let descriptor = rtp.descriptor.as_deref().and_then(|bytes| encoding.descriptors.take(bytes)).map(Arc::new);
        if let Some((said, structure)) = descriptor.as_ref().and_then(|descriptor| descriptor.read.as_ref()) {
            read.layers = encoding.described_layers.observe(timestamp, said, structure);
        }
        let captured_at = match rtp.captured_at {
            Some(captured_at) => self.clock.to_server(captured_at),
            None => encoding.report.and_then(|(ntp, at)| {
                let ticks = i64::from(timestamp.wrapping_sub(at) as i32);
                let ms = ticks as f64 * 1_000.0 / f64::from(format.codec.clock_rate());
                self.clock.to_server(NtpTime::from_unix_ms_f64(ntp.to_unix_ms_f64() + ms))
            }),
        };
        let has_wrong_clock = captured_at.is_some_and(|at| !encoding.capture_clock.can_be(clock, rtp.arrived_at, at));
        let red_primary_at = match format.codec {
            Codec::Red => red::primary_at(&rtp.payload).unwrap_or(0),
            _ => 0,
        };
        let packet = Packet {
            codec: format.codec,
            epoch: Epoch { publisher: self.epoch, run: rtp.run },
            encoding: rtp.place.encoding as u8,
            seq,
            timestamp,
            marker: rtp.marker,
            key_frame_from: read.key_frame_from,
            resolution: read.resolution,
            starts_frame: read.starts_frame,
            layers: read.layers,
            arrived_at: rtp.arrived_at,
            captured_at,
            has_wrong_clock,
            descriptor,
            extensions: rtp.extensions,
            sets: read.sets,
            payload: rtp.payload,
            red_primary_at,
        };
        if track.has_news && track.news.take(rtp.arrived_at) {
            track.has_news = false;
            match track.kind {
                MediaKind::Audio => self.published.audio = Some(format),
                MediaKind::Video => self.published.video = Some(format),
            }
            self.out.push_back(Arrived::Published(self.published));
        }
        self.out.push_back(Arrived::Packet(Arc::new(packet)));
    }
}

/// Sender reports that are read of one compound packet: one for each encoding of a section of each
/// kind, and room. More are dropped.
const MAX_REPORTS: usize = 16;
