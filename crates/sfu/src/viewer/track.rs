//! How does one track reach one viewer?
//!
//! A viewer's track walks along the shared log. It is always in one [`Phase`]; the phases of video:
//!
//! ```text
//! Waiting ──key frame known──► CatchUp ──end of log──► Live
//!    ▲           │ (it is old and the publisher answers requests)
//!    │           ▼
//!    │        Holding ──new key frame──► CatchUp
//!    │           └──────none came──────► CatchUp (with all that came since)
//!    └── the publisher changed, or the viewer fell behind the log
//!
//! Live ──another encoding, whose key frame is there──► CatchUp
//! Live ──a smaller encoding, at once──► Between ──its key frame──► CatchUp
//! ```
//!
//! Of a source that comes in several encodings the viewer is shown one; it changes over at a key frame of the other,
//! and looks at the old one until then.
//!
//! Audio knows only Waiting and Live: any packet can be started from, and it starts at the live edge.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use media::codec::dependency;
use media::packet::Extensions;
use media::{Codec, MediaKind, NtpTime, Packet};

use super::descriptors::Descriptors;
pub use super::header::ExtensionIds;
use super::header::{Fields, HeaderWriter};
use super::history::{Form, History, Sent};
use super::lossy::Playout;
use super::pace::Pace;
use super::rewrite::{Rewrite, Rewritten};
use super::transport::Transport;
use crate::format::AcceptedFormats;
use crate::layers::LayerId;
use crate::layers::continuity::{MAX_DESCRIPTOR_BYTES, PictureRun};
use crate::layers::svc::{Behind, Svc};
use crate::prefetch::Prefetch;
use crate::srtp::Seal;
use crate::stream::Track;
use crate::stream::choice::{self, Carried, Climb, Reason, Wish};
use crate::stream::encodings::Encodings;
use crate::transmit::Batch;

/// What was negotiated for one track of one viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFacts {
    /// Audio or video.
    pub kind: MediaKind,
    /// The m-line's `mid`.
    pub mid: String,
    /// SSRC of the media.
    pub ssrc: u32,
    /// SSRC of retransmissions, if negotiated.
    pub rtx_ssrc: Option<u32>,
    /// What the viewer can decode.
    pub formats: AcceptedFormats,
    /// Ids of header extensions.
    pub extensions: ExtensionIds,
}

/// One track on its way to one viewer.
#[derive(Debug)]
pub struct TrackOut {
    facts: TrackFacts,
    phase: Phase,
    /// The encoding that is being sent.
    encoding: u8,
    /// What the viewer is to get.
    target: LayerId,
    climb: Climb,
    /// How many spatial and temporal layers of the encoding the viewer is to get: these and those below.
    within: (u8, u8),
    /// Which of them it gets; `None`: all that there are.
    layers: Option<Box<Svc>>,
    pictures: PictureRun,
    /// If the publisher describes its frames, and the viewer understands that.
    descriptors: Option<Box<Descriptors>>,
    wish: Wish,
    /// What the network carries for this track, if known.
    carried: Option<Carried>,
    /// Why it is this encoding.
    reason: Reason,
    /// The next position of its log to look at.
    cursor: u64,
    rewrite: Rewrite,
    header: HeaderWriter,
    rtx_header: Option<HeaderWriter>,
    history: History,
    pace: Pace,
    chosen: Option<Chosen>,
    rtx_index: u64,
    repair_budget: i64,
    /// How often what is missing is sent.
    copies: usize,
    playout: Option<Playout>,
    restarted_at: Option<Instant>,
    /// When a capture time was written last, in microseconds since the viewer came.
    capture_written_us: Option<u64>,
    /// Outgoing timestamp of the newest picture or sound, when it was captured, and when it was sent.
    newest: Option<Newest>,
    /// What has happened so far.
    pub counters: Counters,
}

/// The newest picture or sound that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Newest {
    /// Its outgoing RTP timestamp.
    pub timestamp: u32,
    /// When it was captured, server wall clock, if known.
    pub captured_at: Option<NtpTime>,
    /// When its packet reached the server.
    pub arrived_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    /// The key frame at `key_at` has been sent and is being looked at.
    Holding {
        key_at: u64,
        key_timestamp: u32,
        since: Instant,
    },
    /// Sending what came before `edge` as fast as the pace allows. `skip` is a picture that was sent already.
    CatchUp {
        edge: u64,
        skip: Option<u32>,
    },
    Live,
    /// The network carries the old encoding no more, and of the new one no key frame came yet: nothing is sent.
    Between {
        since: Instant,
    },
}

/// The payload type in use, and for what it was chosen.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    epoch: u32,
    codec: Codec,
    /// `None` if the viewer cannot decode it.
    payload_type: Option<u8>,
    with_red: bool,
}

/// What has been sent, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets, without retransmissions.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that the viewer reported missing.
    pub nacks: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Key frames that the viewer asked for.
    pub key_frame_requests: u64,
    /// Times the viewer was started or restarted from a key frame.
    pub starts: u64,
    /// Times the viewer fell behind what the log keeps.
    pub fell_behind: u64,
    /// Times it changed over to another encoding.
    pub switches: u64,
    /// Packets of layers that the viewer does not get.
    pub left_out: u64,
    /// Packets whose codec the viewer did not negotiate.
    pub undecodable: u64,
    /// Packets that came twice, or too late to know whether they did.
    pub repeated: u64,
    /// Round-trip time by the viewer's last receiver report.
    pub rtt: Option<Duration>,
    /// Fraction lost by the viewer's last receiver report, in 1/256.
    pub fraction_lost: u8,
}

/// Where a viewer's datagrams go, and through which keys.
pub struct Link<'a> {
    /// Keys towards the viewer.
    pub seal: &'a Seal,
    /// The viewer's proven address.
    pub destination: SocketAddr,
    /// Our address towards it.
    pub source: Option<IpAddr>,
    /// Where to write.
    pub batch: &'a mut Batch,
    /// Bytes that may still be sent of the past; live packets have a [`Pace`] of their own.
    pub budget: &'a mut i64,
    /// Counts what is sent.
    pub transport: &'a mut Transport,
}

/// What a round of sending leaves to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Come again then.
    pub at: Option<Instant>,
    /// The viewer cannot go on, or not change over, without a key frame of this encoding.
    pub wants_key_frame: Option<u8>,
}

/// What came since the key frame is sent at once up to this age; older, a new key frame is cheaper for everyone
/// and shows no fast-forward. The issue allows 0.5 s of it: a second of 720p decodes in about 0.2 s.
const SHORT_GROUP: Duration = Duration::from_millis(1_000);

/// A key frame is changed over to up to this age: what came since is then caught up with unnoticed.
const FRESH: Duration = Duration::from_millis(250);

/// How long a viewer looks at a held picture before it is given all that came since. Longer than a
/// request, its answer and a round trip of 100 ms need, with one lost.
const HOLD: Duration = Duration::from_millis(700);

/// Timestamps of the past lie 1 ms apart: the shortest that no renderer takes for one picture.
const SQUEEZED_FRAME_TICKS: u32 = 90;

/// A viewer that asks for a key frame nobody will send is started again from the last one, this often at most.
const RESTART_INTERVAL: Duration = Duration::from_secs(2);

/// Retransmissions may take a fifth of what is sent (threat T13), and save up to this many bytes.
const REPAIR_BUDGET_BYTES: i64 = 256 * 1024;

/// As much may be sent again of what a run begins with, at least.
const REPAIR_OF_A_START: i64 = 32 * 1024;

/// Of the network's rate, the share of a second that may be saved up for retransmissions: more would fill its queue.
const REPAIR_SHARE: u64 = 4;

/// How often a capture time is written between key frames. The receiver interpolates in between
/// (abs-capture-time, "timestamp interpolation"); libwebrtc sends one a second.
const CAPTURE_TIME_INTERVAL_US: u64 = 500_000;

/// All layers of an encoding.
const WHOLE: (u8, u8) = (u8::MAX, u8::MAX);

/// The most packets of one part of a train: 2 ms of 50 Mb/s.
const MAX_PADDING_PACKETS: u64 = 12;

/// The most packets remembered for retransmission: a second of 20 Mb/s; audio: 1.3 s of 20 ms.
const VIDEO_HISTORY: usize = 2_048;
const AUDIO_HISTORY: usize = 64;

impl TrackOut {
    /// A track that starts at the live edge of `track`. `seed`: 64 random bits.
    pub fn new(facts: TrackFacts, now: Instant, seed: u64) -> TrackOut {
        let (clock_rate, history) = match facts.kind {
            MediaKind::Audio => (48_000, AUDIO_HISTORY),
            MediaKind::Video => (90_000, VIDEO_HISTORY),
        };
        TrackOut {
            phase: Phase::Waiting,
            encoding: 0,
            target: LayerId::whole(0),
            climb: Climb::default(),
            within: WHOLE,
            layers: None,
            pictures: PictureRun::default(),
            descriptors: None,
            wish: Wish::default(),
            carried: None,
            reason: Reason::default(),
            cursor: u64::MAX,
            rewrite: Rewrite::new(clock_rate, seed),
            header: HeaderWriter::new(facts.ssrc, facts.extensions, &facts.mid),
            rtx_header: facts.rtx_ssrc.map(|ssrc| HeaderWriter::new(ssrc, facts.extensions, &facts.mid)),
            pace: Pace::new(now),
            history: History::new(history),
            chosen: None,
            rtx_index: 1 + (seed >> 16 & 0x7ffe),
            repair_budget: REPAIR_BUDGET_BYTES / 4,
            copies: 1,
            playout: None,
            restarted_at: None,
            capture_written_us: None,
            newest: None,
            counters: Counters::default(),
            facts,
        }
    }

    /// What was negotiated.
    pub fn facts(&self) -> &TrackFacts {
        &self.facts
    }

    /// What was sent last.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// Whether the viewer is being shown moving pictures (or sound).
    pub fn is_flowing(&self) -> bool {
        matches!(self.phase, Phase::Live | Phase::CatchUp { .. })
    }

    /// Whether the viewer is being shown the past: the time of its pictures says nothing of the present yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. } | Phase::CatchUp { .. })
    }

    /// The codec that is being sent, if the viewer can take it.
    pub fn codec(&self) -> Option<Codec> {
        self.chosen.filter(|c| c.payload_type.is_some()).map(|c| c.codec)
    }

    /// The encoding that is being sent.
    pub fn encoding(&self) -> u8 {
        self.encoding
    }

    /// The highest spatial and temporal layer of it that is sent; `None` if all are.
    pub fn within(&self) -> Option<(u8, u8)> {
        self.layers.as_ref().map(|layers| layers.layers())
    }

    /// What the viewer wishes from now on.
    pub fn wish(&mut self, wish: Wish) {
        self.wish = wish;
    }

    /// What it wishes.
    pub fn wished(&self) -> Wish {
        self.wish
    }

    /// Why it is shown this encoding.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the network carries for this track, if known.
    pub fn set_carried(&mut self, carried: Option<Carried>) {
        self.carried = carried;
    }

    /// The network carries no more bits a second than this, if that is known: nothing is sent in bursts.
    pub fn set_pace(&mut self, bps: Option<f32>) {
        self.pace.set_rate(bps);
    }

    /// How to deal with losses: how often what is missing is sent, and the least time from capture to being shown.
    pub fn repairs(&mut self, copies: usize, playout: Option<Playout>) {
        (self.copies, self.playout) = (copies, playout);
    }

    /// Something will be sent soon, and the memory of the track itself is there.
    pub fn prefetch(&self, prefetch: Prefetch) {
        self.history.prefetch(prefetch);
    }

    /// Sends what there is to send.
    pub fn send(&mut self, now: Instant, source: &Encodings, link: &mut Link<'_>) -> Next {
        match self.facts.kind {
            MediaKind::Audio => self.send_audio(now, source.of(0), link),
            MediaKind::Video => {
                let may_climb = self.climb.may(now);
                let choice = choice::choose(source.offered(), &self.wish, self.carried, self.target, may_climb);
                self.reason = match choice.reason {
                    // It is the best that comes, because nobody has use for more than this viewer wishes.
                    Reason::Best if source.is_spared(&self.wish) => Reason::Wished,
                    reason => reason,
                };
                let Some(wanted) = choice.layer else {
                    self.phase = Phase::Waiting;
                    return Next::default();
                };
                if wanted != self.target {
                    self.aim(now, source, wanted);
                }
                let key_frame_of = self.change_over(now, source, wanted.encoding).or_else(|| self.thin(source));
                let mut next = self.send_video(now, source, link);
                next.wants_key_frame = next.wants_key_frame.or(key_frame_of);
                next
            }
        }
    }

    /// Something else is wanted from now on.
    fn aim(&mut self, now: Instant, source: &Encodings, wanted: LayerId) {
        let offered = source.offered();
        let place = |layer: LayerId| offered.iter().position(|o| o.layer == layer).unwrap_or(usize::MAX);
        if place(wanted) < place(self.target) {
            self.climb.went_up(now);
        } else if self.reason == Reason::Network {
            self.climb.fell(now);
        }
        self.target = wanted;
    }

    /// Sends as many layers of the encoding as are wanted, from its next picture on that allows it. Returns the encoding if it
    /// takes a key frame.
    fn thin(&mut self, source: &Encodings) -> Option<u8> {
        if self.target.encoding != self.encoding {
            return None;
        }
        self.within = self.allowed(source);
        let is_sparse = source.is_sparse(self.encoding);
        if self.layers.is_none() && (self.within != WHOLE || is_sparse) {
            let sent = source.of(self.encoding).log().get(self.cursor.wrapping_sub(1));
            self.layers = Some(Box::new(Svc::whole(sent.map(|packet| packet.timestamp))));
        }
        let sent = self.layers.as_ref()?.layers();
        if self.within == WHOLE && source.is_all(self.encoding, sent) {
            self.layers = self.layers.take().filter(|_| is_sparse);
            return None;
        }
        (sent.0 < self.within.0 && !source.is_all(self.encoding, (sent.0, u8::MAX))).then_some(self.encoding)
    }

    /// The layers that the viewer may get of the encoding that is being sent.
    fn allowed(&self, source: &Encodings) -> (u8, u8) {
        let wanted = if self.target.encoding == self.encoding { self.target.within() } else { WHOLE };
        let is_av1 = source.of(self.encoding).log().last().is_some_and(|packet| packet.codec == Codec::Av1);
        let understands_layers = !is_av1 || self.facts.extensions.dependency_descriptor.is_some();
        // Without descriptors libwebrtc takes every spatial layer for a picture of its own, and can decode none.
        if understands_layers || source.is_all(self.encoding, (0, u8::MAX)) { wanted } else { (0, wanted.1) }
    }

    /// Changes over to the encoding that the viewer is to be shown: at once while it is shown nothing, else at a fresh key
    /// frame. Returns of which encoding that key frame is missing.
    fn change_over(&mut self, now: Instant, source: &Encodings, wanted: u8) -> Option<u8> {
        if wanted == self.encoding {
            return None;
        }
        match self.phase {
            Phase::Waiting | Phase::Between { .. } => self.encoding = wanted,
            Phase::Holding { .. } | Phase::CatchUp { .. } => {}
            Phase::Live => match fresh_key(now, source.of(wanted)) {
                Some(at) => {
                    self.encoding = wanted;
                    self.counters.switches += 1;
                    self.start_from(now, source, at);
                }
                // What the network does not carry would only wait in somebody's queue, and delay the way out.
                None if self.reason == Reason::Network => {
                    self.encoding = wanted;
                    self.counters.switches += 1;
                    self.phase = Phase::Between { since: now };
                }
                None => return Some(wanted),
            },
        }
        None
    }

    fn send_audio(&mut self, now: Instant, track: &Track, link: &mut Link<'_>) -> Next {
        let log = track.log();
        if self.cursor == u64::MAX {
            // A viewer that joins starts with the newest packet, if it is still news.
            self.cursor = log.end().saturating_sub(1).max(log.start());
        }
        if self.cursor < log.start() {
            self.counters.fell_behind += 1;
            self.cursor = log.start();
        }
        while let Some(packet) = log.get(self.cursor) {
            let newer = self.rewrite.epoch().is_none_or(|epoch| epoch < packet.epoch);
            if newer {
                self.rewrite.start(now, packet);
                self.phase = Phase::Live;
            }
            self.forward(now, track, self.cursor, packet, link);
            self.cursor += 1;
        }
        Next::default()
    }

    fn send_video(&mut self, now: Instant, source: &Encodings, link: &mut Link<'_>) -> Next {
        let track = source.of(self.encoding);
        let log = track.log();
        loop {
            match self.phase {
                Phase::Waiting => match log.key_at() {
                    Some(at) => self.start_from(now, source, at),
                    None => {
                        self.cursor = log.end();
                        return Next { at: None, wants_key_frame: log.last().map(|_| self.encoding) };
                    }
                },
                Phase::Holding { key_at, key_timestamp, since } => {
                    if log.key_at().is_some_and(|at| at > key_at) {
                        self.phase = Phase::Waiting;
                        continue;
                    }
                    while let Some(packet) = log.get(self.cursor) {
                        if packet.timestamp == key_timestamp {
                            self.forward(now, track, self.cursor, packet, link);
                        }
                        self.cursor += 1;
                    }
                    if now < since + HOLD && !source.is_deaf() {
                        return Next { at: Some(since + HOLD), wants_key_frame: Some(self.encoding) };
                    }
                    if log.key_at() != Some(key_at) {
                        // The group grew past what the log keeps: only a key frame helps.
                        self.phase = Phase::Waiting;
                        return Next { at: None, wants_key_frame: Some(self.encoding) };
                    }
                    self.catch_up(now, source, key_at, Some(key_timestamp));
                }
                Phase::Between { since } => {
                    if let Some(at) = fresh_key(now, track) {
                        self.start_from(now, source, at);
                    } else if now < since + HOLD && !source.is_deaf() {
                        return Next { at: Some(since + HOLD), wants_key_frame: Some(self.encoding) };
                    } else {
                        self.phase = Phase::Waiting;
                    }
                }
                Phase::CatchUp { edge, skip } => {
                    if self.fell_behind(track) {
                        continue;
                    }
                    while self.cursor < edge {
                        if *link.budget <= 0 {
                            return Next { at: Some(now + Duration::from_millis(1)), wants_key_frame: None };
                        }
                        let Some(packet) = log.get(self.cursor) else { break };
                        if self.waits_for_next(track, packet) {
                            break;
                        }
                        if skip != Some(packet.timestamp) {
                            *link.budget -= self.forward(now, track, self.cursor, packet, link);
                        }
                        self.cursor += 1;
                    }
                    self.phase = Phase::Live;
                }
                Phase::Live => {
                    if self.fell_behind(track) {
                        continue;
                    }
                    let share = self.pace.share(now, log.end().saturating_sub(self.cursor));
                    let stop = self.cursor + u64::from(share);
                    let begun = self.cursor;
                    let mut waits = false;
                    while let Some(packet) = log.get(self.cursor).filter(|_| self.cursor < stop) {
                        if self.rewrite.epoch().is_some_and(|epoch| epoch < packet.epoch) {
                            self.phase = Phase::Waiting;
                            break;
                        }
                        if self.waits_for_next(track, packet) {
                            waits = true;
                            break;
                        }
                        self.forward(now, track, self.cursor, packet, link);
                        self.cursor += 1;
                    }
                    self.pace.sent((self.cursor - begun) as u32);
                    if self.phase == Phase::Live {
                        let at = (self.cursor < log.end() && !waits).then(|| self.pace.next_at());
                        return Next { at, wants_key_frame: None };
                    }
                }
            }
        }
    }

    /// Begins a run at the key frame at `at`.
    fn start_from(&mut self, now: Instant, source: &Encodings, at: u64) {
        let log = source.of(self.encoding).log();
        let (Some(first), Some(last)) = (log.get(at), log.last()) else {
            self.cursor = log.end();
            return;
        };
        self.rewrite.start(now, first);
        self.pictures.start(&first.layers.numbers);
        if first.descriptor.is_some() && self.facts.extensions.dependency_descriptor.is_some() {
            self.descriptors.get_or_insert_default().start(first);
        }
        self.within = self.allowed(source);
        self.layers = (self.within != WHOLE).then(Box::default);
        // Whatever was sent again of the run before: the key frame is worth more.
        self.repair_budget = self.repair_budget.max(REPAIR_OF_A_START);
        self.counters.starts += 1;
        let age = last.arrived_at.saturating_duration_since(first.arrived_at);
        if age <= SHORT_GROUP || source.is_deaf() {
            self.catch_up(now, source, at, None);
        } else {
            self.cursor = at;
            self.phase = Phase::Holding { key_at: at, key_timestamp: first.timestamp, since: now };
        }
    }

    fn catch_up(&mut self, now: Instant, source: &Encodings, at: u64, skip: Option<u32>) {
        let log = source.of(self.encoding).log();
        let (Some(first), Some(last)) = (log.get(at), log.last()) else { return };
        let frames = (at..log.end()).filter_map(|p| log.get(p)).filter(|p| p.starts_frame).count();
        self.rewrite.squeeze(now, first.timestamp, last.timestamp, frames as u32, SQUEEZED_FRAME_TICKS);
        self.cursor = at;
        self.phase = Phase::CatchUp { edge: log.end(), skip };
    }

    fn fell_behind(&mut self, track: &Track) -> bool {
        let behind = self.cursor < track.log().start();
        if behind {
            self.counters.fell_behind += 1;
            self.phase = Phase::Waiting;
        }
        behind
    }

    /// Sends one packet of the log; returns the bytes it took.
    fn forward(&mut self, now: Instant, track: &Track, position: u64, packet: &Packet, link: &mut Link<'_>) -> i64 {
        let chosen = self.choose(track, packet);
        let Some(payload_type) = chosen.payload_type else {
            self.counters.undecodable += 1;
            return 0;
        };
        if !self.rewrite.takes(packet) {
            return 0;
        }
        let mut form = Form {
            payload_type,
            encoding: self.encoding,
            with_red: chosen.with_red,
            with_capture_time: self.capture_time_is_due(link.transport.now_us(), packet),
            transport_seq: self.header.has_transport_seq().then(|| link.transport.next()),
            with_marker: packet.marker,
            playout: self.playout,
            ..Form::default()
        };
        let is_kept = self.keep(track, position, packet);
        let shift = is_kept.and_then(|_| self.pictures.shift(&packet.layers.numbers));
        let (Some(with_marker), Some(shift)) = (is_kept, shift) else {
            self.pictures.leave_out(packet.codec, &packet.layers.numbers);
            self.counters.left_out += 1;
            // Later ones were sent already: a gap would be asked for again and again.
            let Some(numbers) = self.rewrite.leave_out(packet) else { return 0 };
            form = Form { is_empty: true, with_marker: false, with_capture_time: false, ..form };
            return self.send_as(position, packet, numbers, form, link);
        };
        (form.with_marker, form.shift) = (with_marker, shift);
        let Some(numbers) = self.rewrite.rewrite(now, packet) else { return 0 };
        if let Some(descriptors) = &mut self.descriptors {
            let within = self.layers.as_ref().map(|layers| layers.layers());
            form.descriptor = descriptors.number(packet, numbers.index, within);
        }
        let written = self.send_as(position, packet, numbers, form, link);
        if written > 0 && packet.starts_frame {
            self.newest = Some(Newest {
                timestamp: numbers.timestamp,
                captured_at: packet.captured_at,
                arrived_at: packet.arrived_at,
            });
        }
        written
    }

    /// Whether the viewer gets this packet of its encoding, and with which marker bit.
    fn keep(&mut self, track: &Track, position: u64, packet: &Packet) -> Option<bool> {
        let Some(layers) = &mut self.layers else { return Some(packet.marker) };
        let next = if layers.depends_on_next(packet) { track.log().get(position + 1) } else { None };
        let behind = next.map_or(Behind::Unknown, |next| Behind::of(packet, next));
        layers.forward(packet.timestamp, &packet.layers, packet.marker, behind, self.within)
    }

    /// Whether the packet at the cursor is the newest, and must be sent as the last of its picture if the next one says so. Of a
    /// picture that has all layers nothing is shown later for that: its next layer is the next to come.
    fn waits_for_next(&self, track: &Track, packet: &Packet) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.depends_on_next(packet))
            && self.cursor + 1 >= track.log().end()
    }

    /// Sends a packet for the first time; returns the bytes it took.
    fn send_as(&mut self, position: u64, packet: &Packet, numbers: Rewritten, form: Form, link: &mut Link<'_>) -> i64 {
        if !self.history.is_new(numbers.index) {
            self.counters.repeated += 1;
            return 0;
        }
        let written = self.write(packet, numbers, form, link);
        if written == 0 {
            return 0;
        }
        if form.transport_seq.is_some() {
            link.transport.sent(written, None);
        }
        let now_us = link.transport.now_us();
        if form.with_capture_time {
            self.capture_written_us = Some(now_us);
        }
        self.history.sent(now_us, numbers, position, form);
        self.counters.packets += 1;
        self.counters.bytes += payload_of(packet, form).len() as u64;
        self.repair_budget = (self.repair_budget + written as i64 / 5).min(REPAIR_BUDGET_BYTES);
        written as i64
    }

    fn capture_time_is_due(&self, now_us: u64, packet: &Packet) -> bool {
        // What most packets fail first.
        packet.starts_frame
            && packet.captured_at.is_some()
            && self.capture_written_us.is_none_or(|us| now_us.saturating_sub(us) >= CAPTURE_TIME_INTERVAL_US)
            && self.facts.extensions.abs_capture_time.is_some()
            && self.facts.rtx_ssrc.is_some()
    }

    /// The packet's Dependency Descriptor as this viewer gets it, empty if it has none; `None` if it is not known any more what
    /// was changed in it under this index.
    fn descriptor_of(&self, packet: &Packet, form: Form, index: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        if let (Some(descriptors), Some(described), 1..) = (&self.descriptors, &packet.descriptor, form.descriptor) {
            let changes = descriptors.changes(form.descriptor, index)?;
            bytes.resize(dependency::MAX_BYTES, 0);
            let len = described.write(changes, &mut bytes);
            bytes.truncate(len);
        }
        Some(bytes)
    }

    /// Writes a packet. The same packet, numbers and form make the same bytes at any time.
    fn write(&mut self, packet: &Packet, numbers: Rewritten, form: Form, link: &mut Link<'_>) -> usize {
        let payload = payload_of(packet, form);
        let (beginning, len) = form.shift.beginning(packet.codec, &packet.layers.numbers, payload);
        let Some(descriptor) = self.descriptor_of(packet, form, numbers.index) else { return 0 };
        let fields = Fields {
            payload_type: form.payload_type,
            marker: form.with_marker,
            numbers,
            transport_seq: form.transport_seq.unwrap_or_default(),
            extensions: extensions_of(packet, form),
            captured_at: packet.captured_at.filter(|_| form.with_capture_time),
            descriptor: &descriptor,
        };
        let writer = &mut self.header;
        let mut written = 0;
        link.batch.push_with(link.destination, link.source, |out| {
            let header = writer.write(out, &fields);
            written = if header == 0 {
                0
            } else {
                link.seal.rtp(out, header, &beginning[..len], &payload[len..], writer.ssrc(), numbers.index)
            };
            written
        });
        written
    }

    /// The viewer misses `seq`: sends it again if that is allowed and possible.
    pub fn resend(&mut self, source: &Encodings, seq: u16, link: &mut Link<'_>) {
        self.counters.nacks += 1;
        // Before the first report a guess that suits most of the internet.
        let rtt = self.counters.rtt.unwrap_or(Duration::from_millis(50)).max(Duration::from_millis(10));
        if let Some(Carried { bps: carried, .. }) = self.carried {
            let most = i64::try_from(carried / 8 / REPAIR_SHARE).unwrap_or(i64::MAX);
            self.repair_budget = self.repair_budget.min(most.max(REPAIR_OF_A_START));
        }
        if self.repair_budget <= 0 {
            return;
        }
        let Some(sent) =
            self.history.missing(link.transport.now_us(), seq, rtt, |encoding| source.of(encoding).log().end())
        else {
            return;
        };
        // A decoder that gets the key frame of another encoding has no use for what came before it.
        if sent.form.encoding != self.encoding {
            return;
        }
        let Some(packet) = source.of(sent.form.encoding).log().get(sent.position) else { return };
        let accepted = self.facts.formats.0.iter().find(|a| a.payload_type == sent.form.payload_type);
        let rtx = accepted.and_then(|a| a.rtx_payload_type).filter(|_| self.rtx_header.is_some());
        for copy in 0..self.copies {
            if copy > 0 && self.repair_budget <= 0 {
                break;
            }
            let written = match rtx {
                Some(payload_type) => self.retransmit(packet, &sent, payload_type, None, link),
                // Without RTX the same packet goes out again under the same index. That is safe only because it is the
                // same to the byte, and so is its form (threat T3).
                None => self.write(packet, sent.numbers, sent.form, link),
            };
            self.counters.resent += u64::from(written > 0);
            self.repair_budget -= written as i64;
        }
    }

    /// Sends a packet again as RTX (RFC 4588). Returns its bytes. `probe`: the train that it belongs to.
    fn retransmit(
        &mut self,
        packet: &Packet,
        sent: &Sent,
        payload_type: u8,
        probe: Option<u8>,
        link: &mut Link<'_>,
    ) -> usize {
        let Some(descriptor) = self.descriptor_of(packet, sent.form, sent.numbers.index) else { return 0 };
        let Some(writer) = &mut self.rtx_header else { return 0 };
        let numbers = Rewritten { index: self.rtx_index, timestamp: sent.numbers.timestamp };
        self.rtx_index += 1;
        let fields = Fields {
            payload_type,
            marker: sent.form.with_marker,
            numbers,
            transport_seq: link.transport.next(),
            extensions: extensions_of(packet, sent.form),
            captured_at: None,
            descriptor: &descriptor,
        };
        let payload = payload_of(packet, sent.form);
        let (beginning, len) = sent.form.shift.beginning(packet.codec, &packet.layers.numbers, payload);
        // RFC 4588 §4: the original sequence number stands before the payload.
        let mut prefix = [0; 2 + MAX_DESCRIPTOR_BYTES];
        prefix[..2].copy_from_slice(&(sent.numbers.index as u16).to_be_bytes());
        prefix[2..].copy_from_slice(&beginning);
        let mut written = 0;
        link.batch.push_with(link.destination, link.source, |out| {
            let header = writer.write(out, &fields);
            written = if header == 0 {
                0
            } else {
                link.seal.rtp(out, header, &prefix[..2 + len], &payload[len..], writer.ssrc(), numbers.index)
            };
            written
        });
        if writer.has_transport_seq() {
            link.transport.sent(written, probe);
        }
        written
    }

    /// Sends some of the newest packets once more, to find out whether the network carries more: useful if they were lost,
    /// and thrown away otherwise. Returns the bytes; 0 if there is nothing that may be sent again so.
    pub fn pad(&mut self, source: &Encodings, bytes: usize, probe: u8, link: &mut Link<'_>) -> usize {
        let mut padded = 0;
        for back in 0..MAX_PADDING_PACKETS {
            if padded >= bytes {
                break;
            }
            let Some(sent) = self.history.newest(back, |encoding| source.of(encoding).log().end()) else { break };
            let Some(packet) = source.of(sent.form.encoding).log().get(sent.position) else { break };
            let accepted = self.facts.formats.0.iter().find(|a| a.payload_type == sent.form.payload_type);
            let Some(payload_type) = accepted.and_then(|a| a.rtx_payload_type) else { break };
            padded += self.retransmit(packet, &sent, payload_type, Some(probe), link);
        }
        padded
    }

    /// The viewer asks for a key frame. Returns of which encoding the publisher must be asked for one.
    pub fn key_frame_requested(&mut self, now: Instant, source: &Encodings) -> Option<u8> {
        self.counters.key_frame_requests += 1;
        let restart_due = self.restarted_at.is_none_or(|at| now.saturating_duration_since(at) >= RESTART_INTERVAL);
        let can_restart = source.of(self.encoding).log().key_at().is_some();
        if source.is_deaf() && restart_due && self.is_flowing() && can_restart {
            self.restarted_at = Some(now);
            self.phase = Phase::Waiting;
            return None;
        }
        Some(self.encoding)
    }

    /// Looks up, once per publisher and codec, which payload type to use.
    fn choose(&mut self, track: &Track, packet: &Packet) -> Chosen {
        match self.chosen {
            Some(chosen) if chosen.epoch == packet.epoch && chosen.codec == packet.codec => chosen,
            _ => self.choose_anew(track, packet),
        }
    }

    #[cold]
    fn choose_anew(&mut self, track: &Track, packet: &Packet) -> Chosen {
        let format = track.format(packet.codec);
        let formats = &self.facts.formats;
        let mut accepted = formats.pick(format);
        let mut with_red = accepted.is_some();
        if packet.codec == Codec::Red {
            // RFC 2198 blocks carry the publisher's payload type of Opus: RED is passed on only to a viewer that uses
            // the same. Everyone else gets the primary block.
            let opus = formats.0.iter().find(|a| a.format.codec == Codec::Opus).copied();
            if opus.map(|o| u32::from(o.payload_type)) != Some(format.profile) {
                with_red = false;
            }
            if !with_red {
                accepted = opus;
            }
        }
        let payload_type = accepted.map(|accepted| accepted.payload_type);
        let chosen = Chosen { epoch: packet.epoch, codec: packet.codec, payload_type, with_red };
        self.chosen = Some(chosen);
        chosen
    }
}

/// What stands behind the header, before its picture's numbers are moved.
fn payload_of(packet: &Packet, form: Form) -> &[u8] {
    if form.is_empty { &[] } else { packet.payload(form.with_red) }
}

/// What the publisher wrote, unless it is changed for this viewer.
fn extensions_of(packet: &Packet, form: Form) -> Extensions {
    match form.playout {
        None => packet.extensions,
        Some(playout) => {
            Extensions { playout_delay: Some(playout.over(packet.extensions.playout_delay)), ..packet.extensions }
        }
    }
}

/// Where a key frame starts that came just now.
fn fresh_key(now: Instant, track: &Track) -> Option<u64> {
    let at = track.log().key_at()?;
    let age = now.saturating_duration_since(track.log().get(at)?.arrived_at);
    (age <= FRESH).then_some(at)
}
