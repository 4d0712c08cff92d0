//! What is being published under one name, as one shard sees it?
//!
//! A stream has at most one audio and one video source, and of each one or several encodings. Where they come from (a publisher on this
//! shard, or a relay from another) makes no difference to those who send them on.

pub mod audience;
pub mod choice;
pub mod encoding_limits;
pub mod keyframe;
pub mod log;
pub mod rate;
pub mod track;

use std::sync::Arc;
use std::time::Instant;

use media::codec::Resolution;
use media::{Codec, MediaKind, Packet};

use crate::format::{Format, Published};
use keyframe::KeyFrameRequests;
use log::{LogLimits, PacketLog};
use rate::Rate;
use track::Track;

/// One published encoding.
#[derive(Debug)]
pub struct Encoding {
    log: PacketLog,
    key_frames: KeyFrameRequests,
    format: Option<Format>,
    rate: Rate,
    resolution: Option<Resolution>,
    arrived_at: Option<Instant>,
    /// Set when another shard says that its publisher does not answer key frame requests.
    unresponsive_elsewhere: bool,
}

impl Encoding {
    /// An encoding of which nothing has come yet.
    pub fn new(kind: MediaKind) -> Encoding {
        let limits = match kind {
            MediaKind::Audio => LogLimits::AUDIO,
            MediaKind::Video => LogLimits::VIDEO,
        };
        Encoding {
            log: PacketLog::new(limits),
            key_frames: KeyFrameRequests::default(),
            format: None,
            rate: Rate::default(),
            resolution: None,
            arrived_at: None,
            unresponsive_elsewhere: false,
        }
    }

    /// A packet came.
    pub fn push(&mut self, now: Instant, packet: Arc<Packet>) {
        self.rate.add(now, packet.payload.len());
        self.arrived_at = Some(now);
        self.resolution = packet.resolution.or(self.resolution);
        let before = self.log.key_at();
        self.log.push(packet);
        if self.log.key_at() != before && self.log.key_at().is_some() {
            self.key_frames.on_key_frame(now);
        }
    }

    /// What came lately.
    pub fn log(&self) -> &PacketLog {
        &self.log
    }

    /// Who asks the publisher, and when.
    pub fn key_frames(&mut self) -> &mut KeyFrameRequests {
        &mut self.key_frames
    }

    /// Whether waiting for an answer to a key frame request is in vain.
    pub fn is_unresponsive(&self) -> bool {
        self.unresponsive_elsewhere || self.key_frames.is_unresponsive()
    }

    /// Whether the publisher ever answered a request for a key frame.
    pub fn answers(&self) -> bool {
        self.key_frames.answers()
    }

    /// The picture's size, as its last key frame told.
    pub fn resolution(&self) -> Option<Resolution> {
        self.resolution
    }

    /// Payload bits a second, over the last half second and more.
    pub fn bits_per_second(&self) -> u64 {
        self.rate.bits_per_second()
    }

    /// When its newest packet came.
    pub fn arrived_at(&self) -> Option<Instant> {
        self.arrived_at
    }

    /// The shard that the publisher is on says whether it answers.
    pub fn set_unresponsive_elsewhere(&mut self, unresponsive: bool) {
        self.unresponsive_elsewhere = unresponsive;
    }

    /// The format of packets of `codec`.
    pub fn format(&self, codec: Codec) -> Format {
        self.format.filter(|f| f.codec == codec).unwrap_or(Format { codec, profile: 0 })
    }

    /// The publisher changed, or told what it sends.
    pub fn set_format(&mut self, format: Option<Format>) {
        self.format = format;
    }

    /// The publisher is gone: nobody can be started from what it left.
    pub fn on_publisher_left(&mut self) {
        self.log.forget_key();
        self.key_frames = KeyFrameRequests::default();
        self.rate = Rate::default();
        self.resolution = None;
        self.arrived_at = None;
        self.unresponsive_elsewhere = false;
    }
}

/// The tracks of a stream.
#[derive(Debug)]
pub struct Tracks {
    /// The audio source.
    pub audio: Track,
    /// The video source.
    pub video: Track,
}

impl Default for Tracks {
    fn default() -> Tracks {
        Tracks { audio: Track::new(MediaKind::Audio), video: Track::new(MediaKind::Video) }
    }
}

impl Tracks {
    /// The source of a kind.
    pub fn of(&self, kind: MediaKind) -> &Track {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }

    /// The source of a kind.
    pub fn of_mut(&mut self, kind: MediaKind) -> &mut Track {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    /// What is published.
    pub fn set_published(&mut self, published: &Published) {
        self.audio.set_format(published.audio);
        self.video.set_format(published.video);
    }

    /// The publisher is gone.
    pub fn on_publisher_left(&mut self) {
        self.audio.on_publisher_left();
        self.video.on_publisher_left();
    }
}
