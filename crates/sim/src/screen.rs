//! Which pictures and sounds does a viewer get, and are they correct?
//!
//! A screen plays like a browser: it orders packets, shows a picture when the picture is complete
//! and the one before it was shown (or it is a key frame), gives up on packets that stay missing,
//! and requests a key frame when it cannot continue. It records every [`Shown`] picture, and as a
//! `problem` every event that must not happen on any network.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use media::Codec;
use media::codec::layers::{self, PictureNumbers};
use str0m::rtp::RtpPacket;

use crate::picture::{Stamp, is_parameter_set};

/// A picture that was shown, or a sound that was played.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Time since the world began.
    pub at: Duration,
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// The stamp of its packets.
    pub stamp: Stamp,
}

impl Shown {
    /// Returns its age when it was shown.
    pub fn age(&self) -> Duration {
        self.at.saturating_sub(self.stamp.captured)
    }
}

/// A screen with a loudspeaker.
#[derive(Debug)]
pub struct Screen {
    base: Instant,
    pub(crate) video: Intake,
    pub(crate) audio: Intake,
    /// Pictures, in the order in which they were shown.
    pub pictures: Vec<Shown>,
    /// Sounds, in the order of arrival.
    pub sounds: Vec<Shown>,
    /// Number of pictures shown a second time.
    pub repeated: u32,
    /// Number of pictures given up because packets stayed missing.
    pub given_up: u32,
    /// Number of key frames requested.
    pub asked: u32,
    /// Events that must never happen.
    pub problems: Vec<String>,
    /// Differences between picture and sound according to the sender reports, in milliseconds.
    pub lip_sync_ms: Vec<f64>,
    video_report: Option<(SystemTime, u32)>,
    audio_report: Option<(SystemTime, u32)>,
    /// A report arrived after the last picture: it is about the pictures that follow.
    report_is_new: bool,
    next: Option<u64>,
    /// The numbers of the picture shown last, and the number of the packet after it.
    numbers: Option<(PictureNumbers, u64)>,
    /// Time since which the next picture cannot be shown.
    stuck_at: Option<Instant>,
    asked_at: Option<Instant>,
    /// It shows all media and requests nothing.
    pub(crate) is_patient: bool,
}

/// The packets of one kind of media.
#[derive(Debug, Default)]
pub struct Intake {
    held: BTreeMap<u64, Held>,
    missing: BTreeMap<u64, Instant>,
    first: Option<u64>,
    highest: Option<u64>,
    /// Number of packets received.
    pub packets: u64,
    /// Number of packets that arrived after later ones: retransmitted, or overtaken.
    pub late: u64,
    first_was_key: Option<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    timestamp: u32,
    stamp: Option<Stamp>,
    numbers: PictureNumbers,
    temporal: u8,
    came_at: Instant,
}

/// Longest wait for a missing packet. libwebrtc waits about as long before it requests a key frame.
const PATIENCE: Duration = Duration::from_millis(1_000);

/// Interval of requests for a key frame.
const ASK_INTERVAL: Duration = Duration::from_millis(300);

impl Intake {
    /// Returns the number of packets that have been missing for longer than `since`.
    pub fn missing(&self, now: Instant, since: Duration) -> usize {
        self.missing.values().filter(|at| now.saturating_duration_since(**at) >= since).count()
    }

    /// Returns `true` if the packet with the lowest number began a key frame.
    pub fn began_with_a_key_frame(&self) -> bool {
        self.first_was_key == Some(true)
    }

    /// Returns the highest extended sequence number.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    fn came(&mut self, now: Instant, seq: u64, stamp: Option<Stamp>) {
        self.packets += 1;
        if self.first.is_none_or(|first| seq < first) {
            self.first = Some(seq);
            self.first_was_key = Some(stamp.is_some_and(|s| s.is_key && s.part == 0));
        }
        match self.highest {
            Some(highest) if seq <= highest => {
                self.late += 1;
                self.missing.remove(&seq);
            }
            Some(highest) => {
                for gone in highest + 1..seq {
                    self.missing.insert(gone, now);
                }
                self.highest = Some(seq);
            }
            None => self.highest = Some(seq),
        }
    }
}

impl Screen {
    pub(crate) fn new(base: Instant) -> Screen {
        Screen {
            base,
            video: Intake::default(),
            audio: Intake::default(),
            pictures: Vec::new(),
            sounds: Vec::new(),
            repeated: 0,
            given_up: 0,
            asked: 0,
            problems: Vec::new(),
            lip_sync_ms: Vec::new(),
            video_report: None,
            audio_report: None,
            report_is_new: false,
            next: None,
            numbers: None,
            stuck_at: None,
            asked_at: None,
            is_patient: false,
        }
    }

    /// Returns the received packets of pictures.
    pub fn video(&self) -> &Intake {
        &self.video
    }

    /// Returns the received packets of sound.
    pub fn audio(&self) -> &Intake {
        &self.audio
    }

    /// Returns the longest time between two pictures after `from`.
    pub fn longest_freeze(&self, from: Duration) -> Duration {
        let after: Vec<_> = self.pictures.iter().filter(|p| p.at >= from).collect();
        after.windows(2).map(|w| w[1].at - w[0].at).max().unwrap_or_default()
    }

    /// Returns the first picture that was no older than `age` when it was shown.
    pub fn first_younger_than(&self, age: Duration) -> Option<&Shown> {
        self.pictures.iter().find(|p| p.age() <= age)
    }

    pub(crate) fn problem(&mut self, now: Instant, what: impl std::fmt::Display) {
        if self.problems.len() < 20 {
            self.problems.push(format!("at {:?}: {what}", now - self.base));
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, packet: &RtpPacket, is_audio: bool, is_red: bool) {
        let seq = *packet.seq_no;
        let mut payload = &packet.payload[..];
        if is_red {
            let Some(at) = media::codec::red::primary_at(payload) else {
                self.problem(now, "RED that cannot be read");
                return;
            };
            payload = &payload[usize::from(at)..];
        }
        let stamp = Stamp::read(payload);
        if stamp.is_none() && !payload.is_empty() && !is_parameter_set(payload) {
            self.problem(now, format!("a damaged payload, number {seq}"));
        }
        if is_audio {
            self.audio.came(now, seq, stamp);
            if let Some(stamp) = stamp {
                self.sounds.push(Shown { at: now - self.base, timestamp: packet.header.timestamp, stamp });
            }
            return;
        }
        self.video.came(now, seq, stamp);
        let said = stamp.and_then(|stamp| layers::read(stamp.codec, payload)).unwrap_or_default();
        let held = Held {
            timestamp: packet.header.timestamp,
            stamp,
            numbers: said.numbers,
            temporal: said.temporal,
            came_at: now,
        };
        if self.next.is_none_or(|next| seq >= next) && self.video.held.insert(seq, held).is_some() {
            self.problem(now, format!("number {seq} came twice"));
        }
        self.play(now);
    }

    /// Shows all pictures that can be shown.
    fn play(&mut self, now: Instant) {
        loop {
            let Some(next) = self.next.or_else(|| self.key_frame_after(0)) else {
                self.stuck_at.get_or_insert(now);
                return;
            };
            self.next = Some(next);
            match self.picture_at(next) {
                Look::Filler => {
                    let is_padding = self.video.held.remove(&next).is_some_and(|held| held.stamp.is_none());
                    if is_padding
                        && let Some((_, follows)) = &mut self.numbers
                        && *follows == next
                    {
                        *follows += 1;
                    }
                    self.next = Some(next + 1);
                }
                Look::Whole { stamp, timestamp, end } => {
                    // The picture that it refers to was shown recently, and no picture of another
                    // source since.
                    let lately = self.pictures.iter().rev().take(16);
                    let follows = lately
                        .take_while(|shown| shown.stamp.source == stamp.source)
                        .any(|shown| shown.stamp.number == stamp.refers_to);
                    if stamp.is_key || follows {
                        self.compare_numbers(now, next, end, stamp.codec);
                        self.show(now, stamp, timestamp);
                        self.stuck_at = None;
                    } else {
                        self.given_up += 1;
                        self.stuck_at.get_or_insert(now);
                    }
                    self.video.held.retain(|seq, _| *seq >= end);
                    self.next = Some(end);
                }
                Look::Incomplete => {
                    // A later packet is there: for how long?
                    let waited = self.video.held.range(next..).find(|(seq, _)| self.is_after_gap(next, **seq));
                    let is_lost = waited.is_some_and(|(_, h)| now.saturating_duration_since(h.came_at) > PATIENCE);
                    let later_key = self.key_frame_after(next + 1);
                    // A decoder needs no picture before a complete key frame, and does not wait for
                    // one (libwebrtc).
                    let is_whole = later_key.is_some_and(|key| matches!(self.picture_at(key), Look::Whole { .. }));
                    match later_key {
                        Some(key) if is_lost || is_whole => {
                            self.given_up += 1;
                            self.video.held.retain(|seq, _| *seq >= key);
                            self.next = Some(key);
                        }
                        _ => {
                            if is_lost {
                                self.stuck_at.get_or_insert(now);
                            }
                            return;
                        }
                    }
                }
                Look::Wrong(what) => {
                    self.problem(now, what);
                    self.video.held.remove(&next);
                    self.next = Some(next + 1);
                }
            }
        }
    }

    fn is_after_gap(&self, next: u64, seq: u64) -> bool {
        let before = self.video.held.range(next..seq).count() as u64;
        before < seq - next
    }

    fn picture_at(&self, next: u64) -> Look {
        let Some(first) = self.video.held.get(&next) else { return Look::Incomplete };
        let Some(stamp) = first.stamp else { return Look::Filler };
        if stamp.part != 0 {
            // The beginning of the picture was not sent to this viewer: it cannot be shown.
            return match self.video.held.get(&(next + 1)) {
                Some(_) => Look::Filler,
                None => Look::Incomplete,
            };
        }
        for part in 0..u64::from(stamp.parts) {
            let Some(held) = self.video.held.get(&(next + part)) else { return Look::Incomplete };
            let expected = Stamp { part: part as u16, ..stamp };
            if held.timestamp != first.timestamp && held.stamp.is_none_or(|s| s.part == 0) {
                // The publisher ended in the middle of a picture.
                return Look::Filler;
            }
            if held.stamp != Some(expected) || held.timestamp != first.timestamp {
                return Look::Wrong(format!(
                    "number {}: {:?} at {} where {expected:?} at {} belongs",
                    next + part,
                    held.stamp,
                    held.timestamp,
                    first.timestamp
                ));
            }
        }
        Look::Whole { stamp, timestamp: first.timestamp, end: next + u64::from(stamp.parts) }
    }

    /// A decoder takes pictures in the order of their numbers, and waits for missing numbers
    /// (libwebrtc: VP8).
    fn compare_numbers(&mut self, now: Instant, next: u64, end: u64, codec: Codec) {
        let Some(held) = self.video.held.get(&next) else { return };
        let (numbers, temporal) = (held.numbers, held.temporal);
        if let Some((before, follows)) = self.numbers.replace((numbers, end))
            && let (Some(was), Some(is)) = (before.picture_id, numbers.picture_id)
        {
            let step = is.value().wrapping_sub(was.value()) & 0x7fff;
            let is_continuous = follows == next && codec == Codec::Vp8;
            if step == 0 || step >= 0x4000 || (is_continuous && step != 1) {
                self.problem(now, format!("picture ids go from {was:?} to {is:?}"));
            }
            if let (Some(was), Some(is), true) = (before.base_index, numbers.base_index, is_continuous)
                && is.wrapping_sub(was) != u8::from(temporal == 0)
            {
                self.problem(now, format!("TL0PICIDX goes from {was} to {is} with temporal layer {temporal}"));
            }
        }
    }

    fn show(&mut self, now: Instant, stamp: Stamp, timestamp: u32) {
        if let Some(before) = self.pictures.last().copied() {
            let step = timestamp.wrapping_sub(before.timestamp) as i32;
            if step <= 0 {
                self.problem(now, format!("timestamps go from {} to {timestamp}", before.timestamp));
            }
            if before.stamp.source == stamp.source && stamp.number <= before.stamp.number {
                self.repeated += 1;
            }
        }
        self.pictures.push(Shown { at: now - self.base, timestamp, stamp });
        if std::mem::take(&mut self.report_is_new) {
            self.compare_lips();
        }
    }

    fn key_frame_after(&self, from: u64) -> Option<u64> {
        let begins = |held: &Held| held.stamp.is_some_and(|s| s.is_key && s.part == 0);
        self.video.held.range(from..).find(|(_, held)| begins(held)).map(|(seq, _)| *seq)
    }

    /// Checks the clock. Returns `true` if a key frame is to be requested.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if self.video.packets == 0 {
            return false;
        }
        self.play(now);
        let stuck = self.stuck_at.is_some_and(|at| now.saturating_duration_since(at) >= ASK_INTERVAL);
        let may = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ASK_INTERVAL);
        if stuck && may && !self.is_patient {
            self.asked_at = Some(now);
            self.asked += 1;
            return true;
        }
        false
    }

    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        (self.video.packets > 0).then(|| now + Duration::from_millis(100))
    }

    pub(crate) fn report(&mut self, ntp: SystemTime, rtp: u32, is_audio: bool) {
        if is_audio {
            self.audio_report = Some((ntp, rtp));
        } else {
            self.video_report = Some((ntp, rtp));
        }
        self.report_is_new = true;
    }

    fn compare_lips(&mut self) {
        let error = |report: Option<(SystemTime, u32)>, shown: Option<&Shown>, rate: f64| {
            let ((ntp, rtp), shown) = (report?, shown?);
            let ticks = f64::from(shown.timestamp.wrapping_sub(rtp) as i32);
            let said =
                ntp.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64() * 1_000.0 + ticks * 1_000.0 / rate;
            Some(said - shown.stamp.captured.as_secs_f64() * 1_000.0)
        };
        let video = error(self.video_report, self.pictures.last(), 90_000.0);
        let audio = error(self.audio_report, self.sounds.last(), 48_000.0);
        if let (Some(video), Some(audio)) = (video, audio) {
            self.lip_sync_ms.push(video - audio);
        }
    }
}

enum Look {
    /// A packet that belongs to no picture that can be shown.
    Filler,
    Whole {
        stamp: Stamp,
        timestamp: u32,
        end: u64,
    },
    Incomplete,
    Wrong(String),
}
