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
//!    └── another run began, or the viewer fell behind the log
//!
//! Live ──another encoding, whose key frame is there──► CatchUp
//! Live ──a smaller encoding, at once──► Between ──its key frame──► CatchUp
//! ```
//!
//! Of a source that comes in several encodings the viewer is shown one; it changes over at a key frame of the other,
//! and looks at the old one until then.
//!
//! Each way into CatchUp or Holding is a start: the log is sent from a key frame on. Starts are bounded ([`MAX_STARTS`]), so that
//! whatever a publisher does, what it sends goes to a viewer about once.
//!
//! Audio knows only Waiting and Live: any packet can be started from, and it starts at the live edge.
//!
//! Here are the phases. What is shown is changed in `shown`, packets are written in `write`, and sent again in `resend`.

mod late;
mod resend;
mod shown;
mod write;

pub use super::header::ExtensionIds;
pub use write::Link;

use std::time::{Duration, Instant};

use media::codec::parameter_sets::lacks;
use media::{Codec, MediaKind, NtpTime, Packet};

use super::descriptors::Descriptors;
use super::header::HeaderWriter;
use super::history::History;
use super::lossy::{LEAST_REPAIR_SHARE, Lossy, Playout};
use super::pace::Pace;
use super::rewrite::Rewrite;
use crate::allowance::Allowance;
use crate::format::AcceptedFormats;
use crate::layers::LayerId;
use crate::layers::continuity::PictureRun;
use crate::layers::svc::Svc;
use crate::prefetch::Prefetch;
use crate::stream::Encoding;
use crate::stream::choice::{self, AvailableBitrate, Preferences, Reason, UpgradeBackoff};
use crate::stream::log::PacketLog;
use crate::stream::track::Track;
use late::Late;
use resend::{REPAIR_BUDGET_BYTES, REPAIR_OF_A_START};
use shown::{WHOLE, fresh_key};
use write::{BeforeRun, Chosen};

/// What was negotiated for one track of one viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedTrack {
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
pub struct Subscription {
    negotiated: NegotiatedTrack,
    phase: Phase,
    /// The encoding that is being sent.
    encoding: u8,
    /// What the viewer is to get.
    target: LayerId,
    upgrade_backoff: UpgradeBackoff,
    /// How many spatial and temporal layers of the encoding the viewer is to get: these and those below.
    within: (u8, u8),
    /// Which of them it gets; `None`: all that there are.
    layers: Option<Box<Svc>>,
    pictures: PictureRun,
    /// If the publisher describes its frames, and the viewer understands that.
    descriptors: Option<Box<Descriptors>>,
    preferences: Preferences,
    /// What the network carries for this track, if known.
    available: Option<AvailableBitrate>,
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
    /// Share of sent bytes that may be sent again, in 1/256.
    repair_share: i64,
    playout: Option<Playout>,
    restarted_at: Option<Instant>,
    starts: Allowance,
    /// A start was put off, and has been counted.
    is_put_off: bool,
    /// Parameter sets to be sent before the key frame that the run began with.
    before_run: Option<BeforeRun>,
    late: Late,
    /// When a capture time was written last, in microseconds since the viewer came.
    capture_written_us: Option<u64>,
    /// Outgoing timestamp of the newest picture or sound, when it was captured, and when it was sent.
    newest: Option<Newest>,
    /// What has happened so far.
    pub counters: SubscriptionCounters,
}

/// The newest picture or sound that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Newest {
    /// Its outgoing RTP timestamp.
    pub timestamp: u32,
    /// When it was captured, server wall clock, if known.
    pub captured_at: Option<NtpTime>,
    /// The publisher's clock cannot be right: `captured_at` says nothing about delay.
    pub has_wrong_clock: bool,
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

/// What has been sent, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionCounters {
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
    /// Starts that were put off because there were [`MAX_STARTS`] before.
    pub starts_refused: u64,
    /// Times the viewer fell behind what the log keeps.
    pub fell_behind: u64,
    /// Times packets were left out to take the viewer to the live edge.
    pub skips: u64,
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

/// What a round of sending leaves to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendOutcome {
    /// Come again then.
    pub at: Option<Instant>,
    /// The viewer cannot go on, or not change over, without a key frame of this encoding.
    pub wants_key_frame: Option<u8>,
}

/// What came since the key frame is sent at once up to this age; older, a new key frame is cheaper for everyone
/// and shows no fast-forward. A second of 720p decodes in about 0.2 s.
const SHORT_GROUP: Duration = Duration::from_millis(1_000);

/// Between two parts of the past: longer than a wake-up, shorter than the shard's other timers, and
/// as many packets as a system call's message is worth (7 at 36 Mb/s).
const BUDGET_STEP: Duration = Duration::from_millis(2);

/// How long a viewer looks at a held picture before it is given all that came since. Longer than a
/// request, its answer and a round trip of 100 ms need, with one lost.
const HOLD: Duration = Duration::from_millis(700);

/// Starts of a viewer at once, and how fast more are allowed: at most 6 within any second. Each may send all that the log keeps,
/// and a publisher decides when runs begin. A viewer that joins takes one or two, a change of encoding one. A guess.
pub const MAX_STARTS: u32 = 4;
/// See [`MAX_STARTS`].
pub const START_EVERY: Duration = Duration::from_millis(500);

/// How far behind the first packet of a key frame its parameter sets are looked for: as far as the log looks for a key frame's
/// beginning.
const SETS_REACH: usize = 64;

/// Timestamps of the past lie 1 ms apart: the shortest that no renderer takes for one picture.
const SQUEEZED_FRAME_TICKS: u32 = 90;

/// A viewer that asks for a key frame nobody will send is started again from the last one, this often at most.
const RESTART_INTERVAL: Duration = Duration::from_secs(2);

/// The most packets remembered for retransmission: a second of 20 Mb/s; audio: 1.3 s of 20 ms.
const VIDEO_HISTORY: usize = 2_048;
const AUDIO_HISTORY: usize = 64;

impl Subscription {
    /// A track that starts at the live edge of `encoding`. `seed`: 64 random bits.
    pub fn new(negotiated: NegotiatedTrack, now: Instant, seed: u64) -> Subscription {
        let (clock_rate, history) = match negotiated.kind {
            MediaKind::Audio => (48_000, AUDIO_HISTORY),
            MediaKind::Video => (90_000, VIDEO_HISTORY),
        };
        Subscription {
            phase: Phase::Waiting,
            encoding: 0,
            target: LayerId::whole(0),
            upgrade_backoff: UpgradeBackoff::default(),
            within: WHOLE,
            layers: None,
            pictures: PictureRun::default(),
            descriptors: None,
            preferences: Preferences::default(),
            available: None,
            reason: Reason::default(),
            cursor: u64::MAX,
            rewrite: Rewrite::new(clock_rate, seed),
            header: HeaderWriter::new(negotiated.ssrc, negotiated.extensions, &negotiated.mid),
            rtx_header: negotiated.rtx_ssrc.map(|ssrc| HeaderWriter::new(ssrc, negotiated.extensions, &negotiated.mid)),
            pace: Pace::new(now),
            history: History::new(history),
            chosen: None,
            rtx_index: 1 + (seed >> 16 & 0x7ffe),
            repair_budget: REPAIR_BUDGET_BYTES / 4,
            copies: 1,
            repair_share: LEAST_REPAIR_SHARE,
            playout: None,
            restarted_at: None,
            starts: Allowance::new(MAX_STARTS, START_EVERY),
            is_put_off: false,
            before_run: None,
            late: Late::default(),
            capture_written_us: None,
            newest: None,
            counters: SubscriptionCounters::default(),
            negotiated,
        }
    }

    /// What was negotiated.
    pub fn negotiated(&self) -> &NegotiatedTrack {
        &self.negotiated
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

    /// The network carries no more bits a second than this, if that is known: nothing is sent in bursts.
    pub fn set_pace(&mut self, bps: Option<f32>) {
        self.pace.set_rate(bps);
    }

    /// Sets how losses are repaired, by what is known of the viewer's network.
    pub fn set_repair(&mut self, lossy: &Lossy) {
        self.copies = lossy.copies();
        self.repair_share = lossy.repair_share();
        self.playout = lossy.playout();
    }

    /// Something will be sent soon, and the memory of the track itself is there.
    pub fn prefetch(&self, prefetch: Prefetch) {
        self.history.prefetch(prefetch);
    }

    /// Since when what is sent next has been there; `None` if there is nothing, or if it is of the past.
    pub fn waits_since(&self, track: &Track) -> Option<Instant> {
        let next = track.of(self.encoding).log().get(self.cursor)?;
        (self.phase == Phase::Live).then_some(next.arrived_at)
    }

    /// Sends what there is to send.
    pub fn send(&mut self, now: Instant, track: &Track, link: &mut Link<'_>) -> SendOutcome {
        match self.negotiated.kind {
            MediaKind::Audio => self.send_audio(now, track.of(0), link),
            MediaKind::Video => {
                let may_upgrade = self.upgrade_backoff.allows_upgrade(now);
                let (offered, current) = choice::within_load(track.offered(), track.max_bps(), self.target);
                let choice = choice::choose(offered, &self.preferences, self.available, current, may_upgrade);
                self.reason = match choice.reason {
                    Reason::Best if offered.len() < track.offered().len() => Reason::Load,
                    // It is the best that comes, because nobody has use for more than this viewer wishes.
                    Reason::Best if track.is_spared(&self.preferences) => Reason::Wished,
                    reason => reason,
                };
                let Some(wanted) = choice.layer else {
                    self.phase = Phase::Waiting;
                    return SendOutcome::default();
                };
                if wanted != self.target {
                    self.aim(now, track, wanted);
                }
                let key_frame_of = self.change_over(now, track, wanted.encoding).or_else(|| self.thin(track));
                let mut next = self.send_video(now, track, link);
                next.wants_key_frame = next.wants_key_frame.or(key_frame_of);
                next
            }
        }
    }

    fn send_audio(&mut self, now: Instant, encoding: &Encoding, link: &mut Link<'_>) -> SendOutcome {
        let log = encoding.log();
        if self.cursor == u64::MAX {
            // A viewer that joins starts with the newest packet, if it is still news.
            self.cursor = log.end().saturating_sub(1).max(log.start());
        }
        if self.cursor < log.start() {
            self.counters.fell_behind += 1;
            self.cursor = log.start();
        }
        if late::is_too_late(now, log, self.cursor) {
            // Any sound can be started from: the newest one, with numbers that go on.
            self.counters.skips += 1;
            self.cursor = log.end() - 1;
            if let Some(packet) = log.last() {
                self.rewrite.start(now, packet);
            }
        }
        while let Some(packet) = log.get(self.cursor) {
            let newer = self.rewrite.epoch().is_none_or(|epoch| epoch < packet.epoch);
            if newer {
                self.rewrite.start(now, packet);
                self.phase = Phase::Live;
            }
            self.forward(now, encoding, self.cursor, packet, link);
            self.cursor += 1;
        }
        SendOutcome::default()
    }

    fn send_video(&mut self, now: Instant, track: &Track, link: &mut Link<'_>) -> SendOutcome {
        let encoding = track.of(self.encoding);
        let log = encoding.log();
        loop {
            if let Some(sets) = self.before_run.take() {
                self.send_sets(encoding, sets, link);
            }
            match self.phase {
                Phase::Waiting => {
                    if self.cannot_decode(encoding) {
                        return SendOutcome::default();
                    }
                    let Some(at) = log.key_at() else {
                        self.cursor = log.end();
                        return SendOutcome { at: None, wants_key_frame: log.last().map(|_| self.encoding) };
                    };
                    if let Some(again_at) = self.put_off(now) {
                        return SendOutcome { at: Some(again_at), wants_key_frame: None };
                    }
                    self.start_from(now, track, at);
                }
                Phase::Holding { key_at, key_timestamp, since } => {
                    if log.key_at().is_some_and(|at| at > key_at) {
                        self.phase = Phase::Waiting;
                        continue;
                    }
                    while let Some(packet) = log.get(self.cursor) {
                        if packet.timestamp == key_timestamp {
                            if *link.budget <= 0 {
                                return SendOutcome {
                                    at: Some(now + BUDGET_STEP),
                                    wants_key_frame: Some(self.encoding),
                                };
                            }
                            *link.budget -= self.forward(now, encoding, self.cursor, packet, link);
                        }
                        self.cursor += 1;
                    }
                    if now < since + HOLD && !track.is_unresponsive() {
                        return SendOutcome { at: Some(since + HOLD), wants_key_frame: Some(self.encoding) };
                    }
                    if log.key_at() != Some(key_at) {
                        // The group grew past what the log keeps: only a key frame helps.
                        self.phase = Phase::Waiting;
                        return SendOutcome { at: None, wants_key_frame: Some(self.encoding) };
                    }
                    self.catch_up(now, track, key_at, Some(key_timestamp));
                }
                Phase::Between { since } => {
                    if let Some(at) = fresh_key(now, encoding).filter(|_| self.put_off(now).is_none()) {
                        self.start_from(now, track, at);
                    } else if now < since + HOLD && !track.is_unresponsive() {
                        return SendOutcome { at: Some(since + HOLD), wants_key_frame: Some(self.encoding) };
                    } else {
                        self.phase = Phase::Waiting;
                    }
                }
                Phase::CatchUp { edge, skip } => {
                    if self.fell_behind(encoding) {
                        continue;
                    }
                    let begun = self.cursor;
                    while self.cursor < edge {
                        if *link.budget <= 0 {
                            return SendOutcome { at: Some(now + BUDGET_STEP), wants_key_frame: None };
                        }
                        let Some(packet) = log.get(self.cursor) else { break };
                        if self.waits_for_next(encoding, packet) {
                            break;
                        }
                        if skip != Some(packet.timestamp) {
                            *link.budget -= self.forward(now, encoding, self.cursor, packet, link);
                        }
                        self.cursor += 1;
                    }
                    self.pace.on_start_sent(now, (self.cursor - begun) as u32);
                    self.phase = Phase::Live;
                }
                Phase::Live => {
                    if self.fell_behind(encoding) {
                        continue;
                    }
                    if late::is_too_late(now, log, self.cursor) {
                        match self.late.next(now, log, self.cursor, track.is_unresponsive()) {
                            late::Step::StartFrom(at) => {
                                if let Some(again_at) = self.put_off(now) {
                                    return SendOutcome { at: Some(again_at), wants_key_frame: None };
                                }
                                self.counters.skips += 1;
                                self.start_from(now, track, at);
                                continue;
                            }
                            late::Step::Hold(until) => {
                                return SendOutcome { at: Some(until), wants_key_frame: Some(self.encoding) };
                            }
                            late::Step::GoOn => {}
                        }
                    }
                    let share = self.pace.share(
                        now,
                        log.end().saturating_sub(self.cursor),
                        log.get(self.cursor).map(|next| next.arrived_at),
                    );
                    let stop = self.cursor + u64::from(share);
                    let begun = self.cursor;
                    let mut waits = false;
                    while let Some(packet) = log.get(self.cursor).filter(|_| self.cursor < stop) {
                        if self.rewrite.epoch().is_some_and(|epoch| epoch < packet.epoch) {
                            self.phase = Phase::Waiting;
                            break;
                        }
                        if self.waits_for_next(encoding, packet) {
                            waits = true;
                            break;
                        }
                        self.forward(now, encoding, self.cursor, packet, link);
                        self.cursor += 1;
                    }
                    self.pace.on_sent((self.cursor - begun) as u32);
                    if self.phase == Phase::Live {
                        let at = (self.cursor < log.end() && !waits).then(|| self.pace.next_at());
                        return SendOutcome { at, wants_key_frame: None };
                    }
                }
            }
        }
    }

    /// Whether what comes is coded with something that the viewer did not negotiate: then it is passed over.
    fn cannot_decode(&mut self, encoding: &Encoding) -> bool {
        let log = encoding.log();
        let next = log.key_at().and_then(|at| log.get(at)).or_else(|| log.last());
        let is_lacking = next.is_some_and(|packet| self.choose(encoding, packet).payload_type.is_none());
        if is_lacking {
            self.counters.undecodable += log.end().saturating_sub(self.cursor.max(log.start()));
            self.cursor = log.end();
        }
        is_lacking
    }

    /// Until when the next start is put off, if it is.
    pub(super) fn put_off(&mut self, now: Instant) -> Option<Instant> {
        let again_at = self.starts.refilled_at(now);
        self.counters.starts_refused += u64::from(again_at.is_some() && !self.is_put_off);
        self.is_put_off = again_at.is_some();
        again_at
    }

    /// Reserves numbers for the parameter sets that the key frame at `at` lacks. All that are known are sent then: which ones
    /// does not depend on packets of the picture that come later, so they are the same when they are sent again.
    fn reserve_sets(&mut self, log: &PacketLog, at: u64, first: &Packet) -> Option<BeforeRun> {
        let sets = first.sets.as_ref()?;
        let picture = (at..log.end()).take(SETS_REACH).filter_map(|position| log.get(position));
        let picture = picture.filter(|p| p.timestamp == first.timestamp && p.epoch == first.epoch);
        if !lacks(sets, picture.map(|packet| &*packet.payload)) {
            return None;
        }
        let first_index = self.rewrite.reserve(sets.len() as u64);
        Some(BeforeRun { key_at: at, first_index, count: sets.len() as u8 })
    }

    /// Begins a run at the key frame at `at`.
    fn start_from(&mut self, now: Instant, track: &Track, at: u64) {
        let log = track.of(self.encoding).log();
        let (Some(first), Some(last)) = (log.get(at), log.last()) else {
            self.cursor = log.end();
            return;
        };
        self.starts.take(now);
        self.before_run = self.reserve_sets(log, at, first);
        self.rewrite.start(now, first);
        self.pictures.start(&first.layers.numbers);
        if first.descriptor.is_some() && self.negotiated.extensions.dependency_descriptor.is_some() {
            self.descriptors.get_or_insert_default().start(first);
        }
        self.within = self.allowed(track);
        self.layers = (self.within != WHOLE).then(Box::default);
        // Whatever was sent again of the run before: the key frame is worth more.
        self.repair_budget = self.repair_budget.max(REPAIR_OF_A_START);
        self.counters.starts += 1;
        let age = last.arrived_at.saturating_duration_since(first.arrived_at);
        if age <= SHORT_GROUP || track.is_unresponsive() {
            self.catch_up(now, track, at, None);
        } else {
            self.cursor = log.group_from(at);
            self.phase = Phase::Holding { key_at: at, key_timestamp: first.timestamp, since: now };
        }
    }

    fn catch_up(&mut self, now: Instant, track: &Track, at: u64, skip: Option<u32>) {
        let log = track.of(self.encoding).log();
        let (Some(first), Some(last)) = (log.get(at), log.last()) else { return };
        let frames = (at..log.end()).filter_map(|p| log.get(p)).filter(|p| p.starts_frame).count();
        self.rewrite.squeeze(now, first.timestamp, last.timestamp, frames as u32, SQUEEZED_FRAME_TICKS);
        self.cursor = log.group_from(at);
        self.phase = Phase::CatchUp { edge: log.end(), skip };
    }

    fn fell_behind(&mut self, encoding: &Encoding) -> bool {
        let behind = self.cursor < encoding.log().start();
        if behind {
            self.counters.fell_behind += 1;
            self.phase = Phase::Waiting;
        }
        behind
    }

    /// The viewer asks for a key frame. Returns of which encoding the publisher must be asked for one.
    pub fn on_key_frame_request(&mut self, now: Instant, track: &Track) -> Option<u8> {
        self.counters.key_frame_requests += 1;
        let restart_due = self.restarted_at.is_none_or(|at| now.saturating_duration_since(at) >= RESTART_INTERVAL);
        let can_restart = track.of(self.encoding).log().key_at().is_some();
        if track.is_unresponsive() && restart_due && self.is_flowing() && can_restart {
            self.restarted_at = Some(now);
            self.phase = Phase::Waiting;
            return None;
        }
        Some(self.encoding)
    }
}
