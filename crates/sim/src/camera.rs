//! Which media does a publisher send, and when?
//!
//! A camera sends pictures of one codec and sounds of Opus, and counts the requests for key frames.

use std::time::{Duration, Instant, SystemTime};

use media::{Codec, MediaKind};
use str0m::media::{MediaTime, Pt};
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite, SeqNo};

use crate::clock::wall_clock;
use crate::picture::{Place, Stamp, payloads, redundant_sound, sound};
use crate::random::Random;

/// The settings of a camera.
#[derive(Debug, Clone, Copy)]
pub struct Filming {
    /// The codec of its pictures.
    pub codec: Codec,
    /// Frames per second; fractions are allowed.
    pub frame_rate: f64,
    /// Bit rate of the pictures; with several sizes, of the largest one.
    pub bits_per_second: u64,
    /// Number of sizes of each picture, at most four: each has a quarter of the bit rate of the
    /// next (simulcast). Size 0 is the smallest.
    pub sizes: u8,
    /// Number of temporal layers of each size, one to three: the frame rate doubles from one to the
    /// next (VP8, VP9).
    pub temporal_layers: u8,
    /// Pictures differ in bits as those of an encoder do: those of layer 0 have twice as many bits
    /// as others, with random variation.
    pub varies: bool,
    /// Interval of key frames without requests.
    pub key_frame_interval: Duration,
    /// It does not answer requests for key frames.
    pub is_unresponsive: bool,
    /// Time between capture and sending.
    pub encoding: Duration,
    /// Duration of one packet of sound; `None`: no sound.
    pub sound: Option<Duration>,
    /// Sounds are sent as RED.
    pub with_red: bool,
    /// It sends capture times (abs-capture-time).
    pub tells_capture_time: bool,
    /// It uses the last of the codec's negotiated profiles, not the first.
    pub last_profile: bool,
    /// The first sequence number of both.
    pub first_sequence: u16,
    /// The first timestamp of both.
    pub first_timestamp: u32,
    /// The first picture id (VP8, VP9), 15 bits.
    pub first_picture_id: u16,
}

impl Default for Filming {
    fn default() -> Filming {
        Filming {
            codec: Codec::Vp8,
            frame_rate: 30.0,
            bits_per_second: 1_000_000,
            sizes: 1,
            temporal_layers: 1,
            varies: false,
            key_frame_interval: Duration::from_secs(10),
            is_unresponsive: false,
            encoding: Duration::from_millis(8),
            sound: Some(Duration::from_millis(20)),
            with_red: false,
            tells_capture_time: false,
            last_profile: false,
            first_sequence: 1_000,
            first_timestamp: 90_000,
            first_picture_id: 5,
        }
    }
}

/// A camera with a microphone.
#[derive(Debug)]
pub struct Camera {
    filming: Filming,
    source: u32,
    base: Instant,
    random: Random,
    video: Clockwork,
    audio: Clockwork,
    sound_before: Vec<u8>,
    /// The state by size.
    sized: [Sized; MAX_SIZES],
    /// Times of requests for a key frame, of any size.
    pub asked_at: Vec<Instant>,
    shortest: Option<Duration>,
    /// Pictures sent.
    pub pictures: u32,
    /// Key frames among them.
    pub key_frames: u32,
    /// Packets sent, pictures only.
    pub packets: u64,
}

/// The state of one size.
#[derive(Debug, Clone, Copy, Default)]
struct Sized {
    sequence: u64,
    key_frame_at: Option<Instant>,
    key_frame_wanted: bool,
    /// Time of a request for a key frame.
    asked_at: Option<Instant>,
    /// This size is switched off.
    is_off: bool,
    /// Highest requested bit rate, and current bit rate: an encoder takes a while to reach a new
    /// one.
    asked_bps: Option<f64>,
    sent_bps: f64,
    /// Pictures sent; of these, pictures of layer 0; the number of the last picture of each layer;
    /// and pictures since the key frame.
    pictures: u16,
    bases: u8,
    last_of_layer: [u32; 3],
    since_key: u32,
}

impl Sized {
    /// Returns the bit rate of the next picture; `usual` without a request for another one.
    fn bits_per_second(&mut self, usual: u64) -> f64 {
        let Some(asked) = self.asked_bps else { return usual as f64 };
        self.sent_bps += (asked - self.sent_bps) / if asked > self.sent_bps { FOLLOWS_UP } else { FOLLOWS_DOWN };
        self.sent_bps
    }

    /// Returns the place of a picture among the others of its size, and the number of the picture
    /// that it refers to.
    fn place(&mut self, number: u32, is_key: bool, filming: &Filming, size: u8) -> (Place, u32) {
        self.since_key = if is_key { 0 } else { self.since_key + 1 };
        let pattern: &[(u8, bool)] = match filming.temporal_layers {
            0 | 1 => &[(0, false)],
            2 => &[(0, false), (1, true)],
            _ => &[(0, false), (2, true), (1, true), (2, false)],
        };
        let (layer, is_sync) = pattern[self.since_key as usize % pattern.len()];
        let of_layer = |layer: u8| self.last_of_layer[usize::from(layer)];
        let refers_to = match layer {
            0 => of_layer(0),
            _ => (0..layer).map(of_layer).max().unwrap_or_default(),
        };
        self.last_of_layer[usize::from(layer)] = number;
        if is_key {
            self.last_of_layer = [number; 3];
        }
        self.bases = self.bases.wrapping_add(u8::from(layer == 0));
        self.pictures = self.pictures.wrapping_add(1);
        // Encoders of different sizes start at different picture ids.
        let id = filming.first_picture_id.wrapping_add(u16::from(size) * 9_000).wrapping_add(self.pictures) & 0x7fff;
        let base = self.bases.wrapping_add(size * 77);
        let layer = (filming.temporal_layers > 1).then_some((layer, base, is_sync));
        (Place { id, halvings: filming.sizes - 1 - size, layer }, refers_to)
    }
}

const MAX_SIZES: usize = 4;
/// Number of pictures in which an encoder comes most of the way to another bit rate, up and down. A
/// guess: Chromium's takes some seconds.
const FOLLOWS_UP: f64 = 30.0;
const FOLLOWS_DOWN: f64 = 8.0;
/// Bits of pictures of each of three temporal layers, relative to the mean: libvpx gives layer 0 40
/// % of all bits for a quarter of the pictures, and 20 and 40 % to the others.
const OF_LAYERS: [f64; 3] = [1.6, 0.8, 0.8];
/// Difference of the source numbers in the stamps of one size and the next.
pub(crate) const SIZE_STEP: u32 = 1_000;

/// The time of the next picture or sound.
#[derive(Debug)]
struct Clockwork {
    began_at: Option<Instant>,
    number: u32,
    sequence: u64,
}

/// A packet to send.
pub(crate) struct Filmed {
    pub(crate) kind: MediaKind,
    pub(crate) size: u8,
    sequence: u64,
    timestamp: u32,
    captured_at: Instant,
    capture_time: Option<SystemTime>,
    marker: bool,
    payload: Vec<u8>,
}

impl Filmed {
    pub(crate) fn write(self, payload_type: Pt) -> RtpWrite {
        let is_audio = self.kind == MediaKind::Audio;
        let zero = MediaTime::from_seconds(0.0);
        let values = ExtensionValues {
            abs_capture_time: self.capture_time.map(|capture_time| AbsCaptureTime { capture_time, clock_offset: None }),
            audio_level: is_audio.then_some(-30),
            voice_activity: is_audio.then_some(true),
            play_delay_min: (!is_audio).then_some(zero),
            play_delay_max: (!is_audio).then_some(MediaTime::from_seconds(0.4)),
            ..ExtensionValues::default()
        };
        RtpWrite::new(payload_type, SeqNo::from(self.sequence), self.timestamp, self.captured_at, self.payload)
            .marker(self.marker)
            .nackable(!is_audio)
            .ext_vals(values)
    }
}

impl Camera {
    pub(crate) fn new(filming: Filming, source: u32, base: Instant, random: Random) -> Camera {
        let clockwork = || Clockwork { began_at: None, number: 0, sequence: u64::from(filming.first_sequence) };
        Camera {
            filming,
            source,
            base,
            random,
            video: clockwork(),
            audio: clockwork(),
            sound_before: Vec::new(),
            sized: [Sized { sequence: u64::from(filming.first_sequence), ..Sized::default() }; MAX_SIZES],
            asked_at: Vec::new(),
            shortest: None,
            pictures: 0,
            key_frames: 0,
            packets: 0,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.filming.codec
    }

    pub(crate) fn uses_red(&self) -> bool {
        self.filming.with_red
    }

    pub(crate) fn uses_last_profile(&self) -> bool {
        self.filming.last_profile
    }

    pub(crate) fn sizes(&self) -> u8 {
        self.filming.sizes
    }

    /// Stops one size, as an encoder does when its uplink is too narrow, or starts it again.
    pub fn switch(&mut self, size: u8, is_on: bool) {
        self.sized[usize::from(size)].is_off = !is_on;
        self.sized[usize::from(size)].key_frame_wanted = is_on;
    }

    /// Sets the highest bit rate of a size; `None` switches it off.
    pub(crate) fn sends(&mut self, size: u8, most_bps: Option<u64>) {
        let smaller = 1 << (self.filming.sizes - 1 - size.min(self.filming.sizes - 1));
        // The rule of the publish page: half the lines need about a third of the bits.
        let most = self.filming.bits_per_second as f64 / f64::from(smaller).powf(1.5);
        let Some(sized) = self.sized.get_mut(usize::from(size)) else { return };
        let was_off = std::mem::replace(&mut sized.is_off, most_bps.is_none());
        let Some(bps) = most_bps else { return };
        let asked = most.min(bps as f64);
        sized.asked_bps = Some(asked);
        if was_off || sized.sent_bps == 0.0 {
            sized.key_frame_wanted |= was_off;
            sized.sent_bps = asked / 2.0;
        }
    }

    /// Requests a key frame of a size.
    pub(crate) fn asked(&mut self, now: Instant, size: u8) {
        let sized = &mut self.sized[usize::from(size)];
        // str0m also accepts the second copy of SRTCP that a link has duplicated.
        if sized.asked_at.is_some_and(|at| now < at + Duration::from_millis(2)) {
            return;
        }
        if let Some(before) = sized.asked_at.replace(now) {
            let between = now - before;
            self.shortest = Some(self.shortest.map_or(between, |shortest| shortest.min(between)));
        }
        self.asked_at.push(now);
        self.sized[usize::from(size)].key_frame_wanted |= !self.filming.is_unresponsive;
    }

    /// Returns the settings.
    pub(crate) fn films(&self) -> &Filming {
        &self.filming
    }

    /// Returns the settings for changes.
    pub fn filming(&mut self) -> &mut Filming {
        &mut self.filming
    }

    /// Returns the shortest time between two requests for a key frame of one size.
    pub fn shortest_between_requests(&self) -> Option<Duration> {
        self.shortest
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        let video = self.captured_at(&self.video, self.filming.frame_rate).map(|at| at + self.filming.encoding);
        let audio = self.filming.sound.and_then(|each| self.captured_at(&self.audio, 1.0 / each.as_secs_f64()));
        video.into_iter().chain(audio).min()
    }

    fn captured_at(&self, clockwork: &Clockwork, rate: f64) -> Option<Instant> {
        Some(clockwork.began_at? + Duration::from_secs_f64(f64::from(clockwork.number) / rate))
    }

    /// Returns the packets that are due.
    pub(crate) fn film(&mut self, now: Instant) -> Vec<Filmed> {
        self.video.began_at.get_or_insert(now);
        self.audio.began_at.get_or_insert(now);
        let mut due = Vec::new();
        while let Some(at) = self.captured_at(&self.video, self.filming.frame_rate) {
            if at + self.filming.encoding > now {
                break;
            }
            self.picture(at, &mut due);
        }
        while let Some(each) = self.filming.sound {
            let Some(at) = self.captured_at(&self.audio, 1.0 / each.as_secs_f64()) else { break };
            if at > now {
                break;
            }
            self.sound(at, each, &mut due);
        }
        due
    }

    fn picture(&mut self, captured_at: Instant, due: &mut Vec<Filmed>) {
        for size in 0..self.filming.sizes {
            if !self.sized[usize::from(size)].is_off {
                self.sized_picture(captured_at, size, due);
            }
        }
        self.video.number += 1;
        self.pictures += 1;
    }

    fn sized_picture(&mut self, captured_at: Instant, size: u8, due: &mut Vec<Filmed>) {
        let filming = self.filming;
        let interval = filming.key_frame_interval;
        let sized = &mut self.sized[usize::from(size)];
        let is_key = sized.key_frame_at.is_none_or(|at| captured_at >= at + interval) || sized.key_frame_wanted;
        if is_key {
            sized.key_frame_at = Some(captured_at);
            sized.key_frame_wanted = false;
            self.key_frames += 1;
        }
        // A key frame has the bits of about six other pictures.
        let usual = filming.bits_per_second >> (2 * (filming.sizes - 1 - size));
        let bits_per_second = self.sized[usize::from(size)].bits_per_second(usual);
        let mut each = (bits_per_second / 8.0 / filming.frame_rate) as usize;
        let mut stamp = self.stamp(self.video.number, is_key, captured_at);
        stamp.source += SIZE_STEP * u32::from(size);
        stamp.codec = filming.codec;
        let sized = &mut self.sized[usize::from(size)];
        let (place, refers_to) = sized.place(self.video.number, is_key, &filming, size);
        stamp.refers_to = refers_to;
        if let (true, Some((layer, ..))) = (filming.varies, place.layer) {
            let chance = 0.7 + self.random.below(600) as f64 / 1_000.0;
            each = (each as f64 * OF_LAYERS[usize::from(layer)] * chance) as usize;
        }
        let list = payloads(stamp, place, if is_key { each * 6 } else { each }, &mut self.random);
        let count = list.len();
        // The timestamps of encodings start anywhere, as those of browsers do.
        let timestamp = self.timestamp(&self.video, captured_at, 90_000).wrapping_add(u32::from(size) * 77_777);
        for (part, payload) in list.into_iter().enumerate() {
            let sequence = &mut self.sized[usize::from(size)].sequence;
            due.push(Filmed {
                kind: MediaKind::Video,
                size,
                sequence: *sequence,
                timestamp,
                captured_at,
                capture_time: filming.tells_capture_time.then(|| wall_clock(captured_at)),
                marker: part + 1 == count,
                payload,
            });
            *sequence += 1;
            self.packets += 1;
        }
    }

    fn sound(&mut self, captured_at: Instant, each: Duration, due: &mut Vec<Filmed>) {
        let fresh = sound(self.stamp(self.audio.number, true, captured_at), 40);
        let payload = if self.filming.with_red {
            let offset = (each.as_secs_f64() * 48_000.0) as u16;
            redundant_sound(111, &self.sound_before, offset, &fresh)
        } else {
            fresh.clone()
        };
        self.sound_before = fresh;
        due.push(Filmed {
            kind: MediaKind::Audio,
            size: 0,
            sequence: self.audio.sequence,
            timestamp: self.timestamp(&self.audio, captured_at, 48_000),
            captured_at,
            capture_time: self.capture_time(captured_at),
            marker: self.audio.number == 0,
            payload,
        });
        self.audio.sequence += 1;
        self.audio.number += 1;
    }

    /// Returns the stamp of a sound.
    fn stamp(&self, number: u32, is_key: bool, captured_at: Instant) -> Stamp {
        Stamp {
            source: self.source,
            number,
            part: 0,
            parts: 1,
            is_key,
            codec: Codec::Opus,
            refers_to: number.wrapping_sub(1),
            captured: captured_at - self.base,
        }
    }

    fn timestamp(&self, clockwork: &Clockwork, captured_at: Instant, rate: u64) -> u32 {
        let since = captured_at - clockwork.began_at.unwrap_or(captured_at);
        let ticks = (since.as_micros() as u64 * rate + 500_000) / 1_000_000;
        self.filming.first_timestamp.wrapping_add(ticks as u32)
    }

    fn capture_time(&self, captured_at: Instant) -> Option<SystemTime> {
        self.filming.tells_capture_time.then(|| wall_clock(captured_at))
    }
}
