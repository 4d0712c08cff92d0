//! Who sends the stream?
//!
//! A stock `str0m::Rtc` that writes one frame after another, on time. All packets of a frame are equally long and
//! leave in one system call; a key frame is [`KEY_FRAME_WEIGHT`] times as large as another.

use std::time::{Duration, Instant};

use anyhow::Context;
use str0m::Input;
use str0m::media::{Direction, Pt};
use str0m::rtp::RtpWrite;

use crate::clock;
use crate::payload::{self, Stamp};
use crate::peer::{Media, Outgoing, Peer};
use crate::settings::Video;

/// The one who publishes.
pub(crate) struct Publisher {
    pub(crate) peer: Peer,
    video: Video,
    payload_type: Option<Pt>,
    next_seq: u64,
    next_frame: u32,
    key_frame_at: u32,
    begun_at: Option<Instant>,
    pub(crate) sent: Sent,
}

/// What was published.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
    /// How late the latest frame was written: the generator's own fault.
    pub(crate) latest: Duration,
}

/// A guess: key frames of talking heads are 3 to 8 times as large as what follows them.
const KEY_FRAME_WEIGHT: f64 = 4.0;
/// What leaves room for headers, extensions and SRTP within 1,200 bytes, as libwebrtc cuts frames.
const MAX_PAYLOAD_BYTES: f64 = 1_130.0;

impl Publisher {
    pub(crate) fn new(now: Instant, video: Video) -> anyhow::Result<(Publisher, String)> {
        let (peer, offer) = Peer::new(now, Direction::SendOnly, Media::OfRtc)?;
        let publisher = Publisher {
            peer,
            video,
            payload_type: None,
            next_seq: 1_000,
            next_frame: 0,
            key_frame_at: 0,
            begun_at: None,
            sent: Sent::default(),
        };
        Ok((publisher, offer))
    }

    /// When the next frame is due, or str0m wants something.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.due().map_or(self.peer.wakes_at, |due| due.min(self.peer.wakes_at))
    }

    /// Sends the frame that is due, if one is.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        if self.peer.is_connected && self.begun_at.is_none() {
            let media = self.peer.rtc.media(self.peer.mid).context("the server took no video")?;
            self.payload_type = media.remote_pts().first().copied();
            self.begun_at = Some(now);
        }
        if std::mem::take(&mut self.peer.key_frame_asked) {
            self.key_frame_at = self.key_frame_at.min(self.next_frame);
        }
        while let Some(due) = self.due().filter(|due| *due <= now) {
            self.sent.latest = self.sent.latest.max(now.saturating_duration_since(due));
            self.write_frame(now, out)?;
        }
        self.peer.drive(now, out);
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        Some(self.begun_at? + Duration::from_secs_f64(f64::from(self.next_frame) / self.video.frame_rate))
    }

    fn write_frame(&mut self, now: Instant, out: &mut Outgoing) -> anyhow::Result<()> {
        let frames_per_group = (self.video.group.as_secs_f64() * self.video.frame_rate).round().max(1.0);
        let is_key = self.next_frame >= self.key_frame_at;
        if is_key {
            self.key_frame_at = self.next_frame + frames_per_group as u32;
        }
        let group_bytes = self.video.bitrate_bps / 8.0 * frames_per_group / self.video.frame_rate;
        let weight = if is_key { KEY_FRAME_WEIGHT } else { 1.0 };
        let frame_bytes = group_bytes * weight / (frames_per_group - 1.0 + KEY_FRAME_WEIGHT);
        let packets = (frame_bytes / MAX_PAYLOAD_BYTES).ceil().max(1.0);
        let len = ((frame_bytes / packets) as usize).max(payload::SHORTEST_BYTES);
        let timestamp = (f64::from(self.next_frame) * 90_000.0 / self.video.frame_rate) as u32;
        let payload_type = self.payload_type.context("no codec was agreed on")?;
        let mut api = self.peer.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.peer.mid, None).context("the server took no video")?;
        let packets = packets as u16;
        for packet in 0..packets {
            let stamp =
                Stamp { sent_at_ns: clock::ns(Instant::now()), frame: self.next_frame, packet, packets, is_key };
            let payload = payload::write(stamp, len);
            let rtp = RtpWrite::new(payload_type, self.next_seq.into(), timestamp, now, payload)
                .marker(packet + 1 == packets)
                .nackable(true);
            stream.write_rtp(rtp);
            self.next_seq += 1;
        }
        self.sent.packets += u64::from(packets);
        self.sent.payload_bytes += u64::from(packets) * len as u64;
        self.next_frame += 1;
        self.peer.rtc.handle_input(Input::Timeout(now))?;
        self.peer.drive(now, out);
        Ok(())
    }
}
