//! How does a simulated publisher send a stream?
//!
//! A stock `str0m::Rtc` that writes one frame after another, on time. All packets of a frame leave
//! in as few system calls as their lengths allow. Sound, where there is some, is a packet every 20
//! ms.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use media::Codec;
use str0m::Input;
use str0m::format::Codec as Format;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::RtpWrite;

use crate::clock;
use crate::codecs::Place;
use crate::frames::{self, Frames};
use crate::payload::{self, Stamp};
use crate::peer::{Media, Outgoing, Peer, Plan};
use crate::settings::{Settings, Video};
use crate::url::Url;

/// A simulated publisher.
pub(crate) struct Publisher {
    pub(crate) peer: Peer,
    /// The session, to be ended.
    pub(crate) resource: Option<Url>,
    video: Video,
    frames: Frames,
    video_mid: Mid,
    video_type: Option<Pt>,
    next_seq: u64,
    audio: Option<Audio>,
    begun_at: Option<Instant>,
    beat: Beat,
    pub(crate) sent: Sent,
}

/// When frames may be sent: those of several publishers come evenly one after another, not all at
/// once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) origin: Instant,
    /// How far after it, as a share of the time between two frames, and of the time between two key
    /// frames: 0 to 1.
    pub(crate) phase: f64,
}

struct Audio {
    mid: Mid,
    payload_type: Option<Pt>,
    next: u32,
}

/// What was published.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sent {
    /// Of pictures and sound.
    pub(crate) packets: u64,
    /// Of their datagrams.
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) key_frames: u64,
    /// How late the latest frame was written: the generator's own fault.
    pub(crate) latest: Duration,
}

/// RTP header, one extension header with transport-wide number, time and mid, and AES-GCM's tag:
/// what a datagram has beside its payload.
pub(crate) const OVERHEAD_BYTES: usize = 12 + 12 + 16;
/// RFC 7587 §4.2: 20 ms at 48 kHz.
const AUDIO_TICKS: u32 = 960;
const AUDIO_EVERY: Duration = Duration::from_millis(20);
/// 40 kb/s, which is what browsers send speech at.
const AUDIO_PAYLOAD_BYTES: usize = 100;

impl Publisher {
    /// Opens a socket and makes an offer.
    pub(crate) fn new(
        now: Instant,
        settings: &Settings,
        local_ip: IpAddr,
        beat: Beat,
    ) -> anyhow::Result<(Publisher, String)> {
        let Settings { video, audio: has_audio, .. } = *settings;
        let plan = Plan { local_ip, media: Media::OfRtc, codec: Some(video.codec), has_audio, has_feedback: true };
        let mut peer = Peer::new(now, plan)?;
        let (offer, video_mid, audio_mid) = peer.offer(Direction::SendOnly, has_audio)?;
        let publisher = Publisher {
            peer,
            resource: None,
            video,
            frames: Frames::new(video),
            video_mid,
            video_type: None,
            next_seq: 1_000,
            audio: audio_mid.map(|mid| Audio { mid, payload_type: None, next: 0 }),
            begun_at: None,
            beat,
            sent: Sent::default(),
        };
        Ok((publisher, offer))
    }

    /// Returns the next timeout: of a frame, or of str0m.
    pub(crate) fn poll_timeout(&self) -> Instant {
        [self.frame_due(), self.audio_due()].into_iter().flatten().fold(self.peer.wakes_at, Instant::min)
    }

    /// Sends the frames and sound packets that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        if self.peer.is_connected && self.begun_at.is_none() {
            self.begin(now)?;
        }
        if std::mem::take(&mut self.peer.key_frame_asked) {
            self.frames.ask_for_key_frame();
        }
        while let Some(due) = self.frame_due().filter(|due| *due <= now) {
            self.sent.latest = self.sent.latest.max(now.saturating_duration_since(due));
            self.write_frame(now, out)?;
        }
        while self.audio_due().is_some_and(|due| due <= now) {
            self.write_audio(now, out)?;
        }
        self.peer.drive(now, out);
        Ok(())
    }

    fn begin(&mut self, now: Instant) -> anyhow::Result<()> {
        let format = match self.video.codec {
            Codec::Vp9 => Format::Vp9,
            Codec::Av1 => Format::Av1,
            Codec::H264 => Format::H264,
            Codec::H265 => Format::H265,
            Codec::Vp8 | Codec::Opus | Codec::Red => Format::Vp8,
        };
        self.video_type = Some(self.payload_type(self.video_mid, format)?);
        if let Some(mid) = self.audio.as_ref().map(|audio| audio.mid) {
            let payload_type = self.payload_type(mid, Format::Opus)?;
            if let Some(audio) = &mut self.audio {
                audio.payload_type = Some(payload_type);
            }
        }
        self.begun_at = Some(self.beat.next(now, self.video.frame_rate));
        Ok(())
    }

    /// Moves the next key frame to the publisher's own place among the others, unless it comes
    /// sooner anyway.
    pub(crate) fn stagger_key_frames(&mut self) {
        let frames = f64::from(self.frames.group()) * self.beat.phase;
        self.frames.next_key_frame_in(frames as u32);
    }

    /// Returns the payload type that the server has agreed to; for H.264 one that allows fragments
    /// (RFC 6184 §6.3).
    fn payload_type(&self, mid: Mid, format: Format) -> anyhow::Result<Pt> {
        let refused = || format!("the server takes no {format:?}");
        let agreed = self.peer.rtc.media(mid).with_context(refused)?.remote_pts();
        let fits = |pt: &&Pt| {
            self.peer.rtc.codec_config().params().iter().any(|params| {
                let spec = params.spec();
                params.pt() == **pt
                    && spec.codec == format
                    && (format != Format::H264 || spec.format.packetization_mode == Some(1))
            })
        };
        agreed.iter().find(fits).copied().with_context(refused)
    }

    fn frame_due(&self) -> Option<Instant> {
        Some(self.begun_at? + self.frames.due())
    }

    fn audio_due(&self) -> Option<Instant> {
        Some(self.begun_at? + AUDIO_EVERY * self.audio.as_ref()?.next)
    }

    fn write_frame(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        let frame = self.frames.next();
        let packets = frame.packets.len() as u16;
        let timestamp = frames::timestamp(frame.number, self.video.frame_rate);
        let payload_type = self.video_type.context("no codec was agreed on")?;
        let mut api = self.peer.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.video_mid, None).context("the server took no video")?;
        for (packet, len) in (0..packets).zip(&frame.packets) {
            let place = Place { frame: frame.number, packet, packets, is_key: frame.is_key };
            let stamp = Stamp { sent_at_ns: clock::ns(Instant::now()), place };
            let payload = payload::write(self.video.codec, stamp, len.saturating_sub(OVERHEAD_BYTES));
            let rtp = RtpWrite::new(payload_type, self.next_seq.into(), timestamp, now, payload)
                .marker(packet + 1 == packets)
                .nackable(true);
            stream.write_rtp(rtp);
            self.next_seq += 1;
            self.sent.bytes += *len as u64;
        }
        self.sent.packets += u64::from(packets);
        self.sent.frames += 1;
        self.sent.key_frames += u64::from(frame.is_key);
        self.flush(now, out)
    }

    fn write_audio(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        let Some(audio) = &mut self.audio else { return Ok(()) };
        let payload_type = audio.payload_type.context("no codec was agreed on")?;
        let mut api = self.peer.rtc.direct_api();
        let stream = api.stream_tx_by_mid(audio.mid, None).context("the server took no audio")?;
        let place = Place { frame: audio.next, packet: 0, packets: 1, is_key: true };
        let stamp = Stamp { sent_at_ns: clock::ns(Instant::now()), place };
        let payload = payload::write(Codec::Opus, stamp, AUDIO_PAYLOAD_BYTES);
        let timestamp = audio.next.wrapping_mul(AUDIO_TICKS);
        // RFC 7587 §4.4: the marker says that a talk spurt begins.
        let rtp = RtpWrite::new(payload_type, (1_000 + u64::from(audio.next)).into(), timestamp, now, payload)
            .marker(audio.next == 0);
        stream.write_rtp(rtp);
        audio.next += 1;
        self.sent.packets += 1;
        self.sent.bytes += (AUDIO_PAYLOAD_BYTES + OVERHEAD_BYTES) as u64;
        self.flush(now, out)
    }

    fn flush(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        self.peer.rtc.handle_input(Input::Timeout(now))?;
        self.peer.drive(now, out);
        Ok(())
    }
}

impl Beat {
    /// Returns the first time from `now` on that is a whole number of frame intervals after the
    /// phase.
    fn next(&self, now: Instant, frame_rate: f64) -> Instant {
        let since = now.saturating_duration_since(self.origin).as_secs_f64() * frame_rate;
        let frames = (since - self.phase).ceil().max(0.0) + self.phase;
        self.origin + Duration::from_secs_f64(frames / frame_rate)
    }
}

impl Sent {
    /// Adds what another publisher sent.
    pub(crate) fn add(&mut self, other: &Sent) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.key_frames += other.key_frames;
        self.latest = self.latest.max(other.latest);
    }

    /// Returns the difference of the counters to `before`.
    pub(crate) fn since(&self, before: &Sent) -> Sent {
        Sent {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            frames: self.frames - before.frames,
            key_frames: self.key_frames - before.key_frames,
            latest: self.latest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns_whenever_they_are_connected() {
        let origin = Instant::now();
        for (phase, connected_ms, expected_ms) in
            [(0.0, 0, 0), (0.5, 0, 5), (0.5, 7, 15), (0.0, 7, 10), (0.25, 1_000, 1_002)]
        {
            let beat = Beat { origin, phase };
            let at = beat.next(origin + Duration::from_millis(connected_ms), 100.0);
            assert_eq!(at.duration_since(origin).as_millis(), expected_ms, "{phase} {connected_ms}");
        }
    }
}
