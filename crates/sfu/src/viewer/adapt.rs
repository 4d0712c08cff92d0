//! What is made of the estimate: what a viewer's network carries for the video, and trains of packets that find out
//! whether it carries more.

use std::time::{Duration, Instant};

use super::transport::Transport;
use crate::bwe::Estimate;
use crate::stream::Tracks;
use crate::stream::choice::{AvailableBitrate, Preferences};

/// Trains under way, and what is known of the way otherwise.
#[derive(Debug, Default)]
pub struct Adapt {
    train: Option<Train>,
    /// The viewer has said how much it can take, or has lost so much that it matters.
    is_bounded: bool,
}

/// A train that is being sent.
#[derive(Debug, Clone, Copy)]
struct Train {
    id: u8,
    bytes_per_us: f32,
    /// Bytes to send.
    left: f32,
    sent: f32,
    began_us: u64,
}

/// What is to be sent of a train now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueProbe {
    /// To be named with each packet.
    pub id: u8,
    /// So many bytes.
    pub bytes: usize,
}

/// Headers, tags and extensions: so many bytes are sent for each of payload.
const OVERHEAD: f32 = 1.05;
/// Sound comes first. As long as it is not measured: Opus of browsers.
const AUDIO_BPS: f32 = 40_000.0;
/// A layer is moved up to with this much room ([`crate::stream::choice`] asks for 10 %); more is wanted of the network for it.
const ROOM: f32 = 1.2;
/// Between two parts of a train: shorter than the shard's other timers, longer than a wake-up.
const TRAIN_STEP: Duration = Duration::from_millis(2);

impl Adapt {
    /// What the network carries for the video's payload; `None` if nothing bounds it so far as is known.
    pub fn available_bitrate(
        &self,
        transport: &Transport,
        estimate: &Estimate,
        tracks: &Tracks,
    ) -> Option<AvailableBitrate> {
        if !transport.is_numbered() && !self.is_bounded {
            return None;
        }
        Some(AvailableBitrate { bps: Self::for_video(estimate.bps, tracks), is_shared: estimate.is_shared })
    }

    /// Of so many bits a second, what is left for the video's payload.
    pub fn for_video(bps: f32, tracks: &Tracks) -> u64 {
        ((bps - audio_bps(tracks) * OVERHEAD) / OVERHEAD).max(0.0) as u64
    }

    /// The viewer bounds what it can take, or loses much.
    pub fn set_bounded(&mut self) {
        self.is_bounded = true;
    }

    /// Says what could be used at most.
    pub fn want(transport: &mut Transport, tracks: &Tracks, preferences: &Preferences) {
        let video = &tracks.video;
        // One thing is sent whatever the network carries: to know more would change nothing.
        let is_choice = video.offered().len().max(video.sizes_sent()) > 1
            && preferences.encoding.is_none()
            && !preferences.is_hidden;
        let useful = if is_choice { video.peak(preferences) } else { 0 };
        let bps = if useful > 0 { (useful as f32 * ROOM + audio_bps(tracks)) * OVERHEAD } else { 0.0 };
        transport.estimator.set_wanted(bps);
    }

    /// What of a train is to be sent now, and when to come again.
    pub fn poll(&mut self, now: Instant, transport: &mut Transport) -> (Option<DueProbe>, Option<Instant>) {
        let now_us = transport.now_us();
        if self.train.is_none() {
            let Some(probe) = transport.estimator.poll_probe(now_us) else { return (None, None) };
            self.train = Some(Train {
                id: probe.id,
                bytes_per_us: probe.bps / 8e6,
                left: probe.bytes as f32,
                sent: 0.0,
                began_us: now_us,
            });
        }
        let Some(train) = &mut self.train else { return (None, None) };
        // What should have been sent by the end of this step.
        let until_us = now_us.saturating_sub(train.began_us) as f32 + TRAIN_STEP.as_micros() as f32 / 2.0;
        let bytes = (until_us * train.bytes_per_us - train.sent).clamp(0.0, train.left);
        (Some(DueProbe { id: train.id, bytes: bytes as usize }), Some(now + TRAIN_STEP))
    }

    /// Bytes of the train were sent; 0: there is nothing to send it with.
    pub fn on_train_sent(&mut self, bytes: usize) {
        let Some(train) = &mut self.train else { return };
        train.sent += bytes as f32;
        train.left -= bytes as f32;
        if train.left <= 0.0 || bytes == 0 {
            self.train = None;
        }
    }
}

fn audio_bps(tracks: &Tracks) -> f32 {
    let audio = tracks.audio.of(0);
    match (audio.arrived_at(), audio.bits_per_second()) {
        (None, _) => 0.0,
        (_, 0) => AUDIO_BPS,
        (_, measured) => measured as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Tracks;

    #[test]
    fn a_train_is_sent_at_its_rate_and_ends() {
        let mut transport = Transport::new(Instant::now(), true);
        let start = Instant::now() + Duration::from_secs(1);
        transport.estimator.set_wanted(3e6);
        let mut adapt = Adapt::default();
        let (mut now, mut total, mut steps) = (start, 0, 0);
        loop {
            transport.turn(now);
            let (due, next) = adapt.poll(now, &mut transport);
            let (Some(due), Some(next)) = (due, next) else { break };
            // Whole packets.
            let bytes = due.bytes.div_ceil(1_200) * 1_200;
            if bytes > 0 {
                adapt.on_train_sent(bytes);
                total += bytes;
            }
            (now, steps) = (next, steps + 1);
            assert!(steps < 1_000);
        }
        let bps = total as f32 * 8.0 / (now - start).as_secs_f32();
        assert!((2.5e6..4.5e6).contains(&bps), "{bps}");
        assert!((7_200..12_000).contains(&total), "{total}");
    }

    #[test]
    fn a_single_encoding_is_not_probed_for() {
        let mut transport = Transport::new(Instant::now(), true);
        transport.turn(Instant::now() + Duration::from_secs(1));
        Adapt::want(&mut transport, &Tracks::default(), &Preferences::default());
        assert_eq!(Adapt::default().poll(Instant::now(), &mut transport), (None, None));
    }
}
