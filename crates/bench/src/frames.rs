//! How large is the next frame, and into which packets is it cut?
//!
//! The bitrate must be the requested one, however large key frames are. Each key frame sets the
//! budget until the next one from all bytes sent before; the bytes left after the key frame are
//! spread evenly.

use std::time::Duration;

use crate::settings::{Cut, Video};

/// Decides frame after frame.
#[derive(Debug)]
pub(crate) struct Frames {
    video: Video,
    /// Frames between key frames.
    group: u32,
    frame: u32,
    key_frame_at: u32,
    /// Bytes of datagrams so far, and what each frame but key frames may have, on average.
    spent: f64,
    share: f64,
    /// What frames since the key frame may have had in all.
    due: f64,
    spent_since_key: f64,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) number: u32,
    pub(crate) is_key: bool,
    /// Lengths of its datagrams.
    pub(crate) packets: Vec<usize>,
}

/// A guess: key frames of talking heads are 3 to 8 times as large as what follows them.
const KEY_FRAME_WEIGHT: f64 = 4.0;
/// Smallest size of other frames when key frames take too much, as a share of an average frame. A
/// guess.
const LEAST_SHARE: f64 = 0.2;
/// A packet shorter than this has no room for its stamp.
const SHORTEST_BYTES: usize = 200;

impl Frames {
    pub(crate) fn new(video: Video) -> Frames {
        let group = (video.group.as_secs_f64() * video.frame_rate).round().clamp(1.0, 1e6) as u32;
        Frames { video, group, frame: 0, key_frame_at: 0, spent: 0.0, share: 0.0, due: 0.0, spent_since_key: 0.0 }
    }

    /// The next frame is to be a key frame.
    pub(crate) fn ask_for_key_frame(&mut self) {
        self.next_key_frame_in(0);
    }

    /// Makes the frame `frames` from now a key frame, unless one is due earlier.
    pub(crate) fn next_key_frame_in(&mut self, frames: u32) {
        self.key_frame_at = self.key_frame_at.min(self.frame.saturating_add(frames));
    }

    /// Frames between two key frames.
    pub(crate) fn group(&self) -> u32 {
        self.group
    }

    /// Returns when the next frame is due, counted from the first.
    pub(crate) fn due(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.frame) / self.video.frame_rate)
    }

    /// Returns the next frame.
    pub(crate) fn next(&mut self) -> Frame {
        let is_key = self.frame >= self.key_frame_at;
        let average = self.video.bitrate_bps / 8.0 / self.video.frame_rate;
        let packets = if is_key {
            let group = f64::from(self.group);
            self.key_frame_at = self.frame + self.group;
            let budget = average * f64::from(self.key_frame_at) - self.spent;
            let weighed = average * group * KEY_FRAME_WEIGHT / (group - 1.0 + KEY_FRAME_WEIGHT);
            let packets = self.cut(self.video.key_frame_bytes.map_or(weighed, |bytes| bytes as f64));
            let bytes: usize = packets.iter().sum();
            self.share = ((budget - bytes as f64) / (group - 1.0).max(1.0)).max(average * LEAST_SHARE);
            (self.due, self.spent_since_key) = (0.0, 0.0);
            packets
        } else {
            self.due += self.share;
            let packets = self.cut(self.due - self.spent_since_key);
            self.spent_since_key += packets.iter().sum::<usize>() as f64;
            packets
        };
        self.spent += packets.iter().sum::<usize>() as f64;
        self.frame += 1;
        Frame { number: self.frame - 1, is_key, packets }
    }

    /// Cuts about `bytes` bytes into packets; the remainder goes to the next frame.
    fn cut(&self, bytes: f64) -> Vec<usize> {
        let full = self.video.packet_bytes;
        let bytes = bytes.max(SHORTEST_BYTES as f64).round() as usize;
        let average = self.video.bitrate_bps / 8.0 / self.video.frame_rate;
        match self.video.cut {
            // A stream so thin has no full packets.
            Cut::Full if average < full as f64 && bytes < full => vec![bytes],
            Cut::Full => vec![full; (bytes as f64 / full as f64).round().max(1.0) as usize],
            Cut::Equal => {
                let packets = bytes.div_ceil(full);
                // libwebrtc's `RtpPacketizer::SplitAboutEqually`: the longer ones come last.
                let (least, longer) = (bytes / packets, bytes % packets);
                (0..packets).map(|n| (least + usize::from(n >= packets - longer)).max(SHORTEST_BYTES)).collect()
            }
            Cut::Tail => {
                let mut packets = vec![full; bytes / full];
                let rest = bytes % full;
                if rest >= SHORTEST_BYTES || packets.is_empty() {
                    packets.push(rest.max(SHORTEST_BYTES));
                }
                packets
            }
        }
    }
}

/// Returns the RTP timestamp of a frame: 90 kHz (RFC 7741 §4.1 and its like), counted from 0 and
/// wrapping.
pub(crate) fn timestamp(frame: u32, frame_rate: f64) -> u32 {
    ((f64::from(frame) * 90_000.0 / frame_rate).round() as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitrate_is_exact_however_frames_are_cut() {
        for cut in [Cut::Full, Cut::Equal, Cut::Tail] {
            for (bitrate_bps, key_frame_bytes) in
                [(1_500_000.0, None), (1_500_000.0, Some(100_000)), (800_000.0, None), (100_000.0, None)]
            {
                let mut frames = Frames::new(Video { cut, bitrate_bps, key_frame_bytes, ..Video::default() });
                let sent: usize = (0..600).flat_map(|_| frames.next().packets).sum();
                let bps = sent as f64 * 8.0 / 20.0;
                assert!((bps / bitrate_bps - 1.0).abs() < 0.002, "{cut:?} {bitrate_bps}: {bps}");
            }
        }
    }

    #[test]
    fn one_and_a_half_megabit_are_156_full_packets_a_second() {
        let mut frames = Frames::new(Video::default());
        let packets: Vec<_> = (0..1_800).map(|_| frames.next().packets.len()).collect();
        assert_eq!(packets.iter().sum::<usize>() * 2 / 120, 156);
        // Frames vary by one packet, and are not bunched.
        assert!(packets.iter().skip(1).take(59).all(|packets| (4..=6).contains(packets)), "{:?}", &packets[..60]);
    }

    #[test]
    fn key_frames_that_were_asked_for_do_not_raise_the_bitrate() {
        let mut frames = Frames::new(Video::default());
        let mut sent = 0;
        for n in 0..3_000 {
            if n % 47 == 0 {
                frames.ask_for_key_frame();
            }
            let frame = frames.next();
            assert_eq!((frame.number, frame.is_key), (n, n % 47 == 0));
            sent += frame.packets.iter().sum::<usize>();
        }
        let bps = sent as f64 * 8.0 / 100.0;
        assert!((bps / 1_500_000.0 - 1.0).abs() < 0.02, "{bps}");
    }

    #[test]
    fn frames_are_cut_as_libwebrtc_and_ffmpeg_do() {
        let cut = |cut, bytes| Frames::new(Video { cut, ..Video::default() }).cut(bytes);
        assert_eq!(cut(Cut::Equal, 3_001.0), [1_000, 1_000, 1_001]);
        assert_eq!(cut(Cut::Tail, 3_001.0), [1_200, 1_200, 601]);
        assert_eq!(cut(Cut::Tail, 2_401.0), [1_200, 1_200], "too short for a stamp");
        assert_eq!(cut(Cut::Full, 3_001.0), [1_200; 3]);
        assert_eq!(cut(Cut::Full, 1.0), [1_200]);
        let thin = Frames::new(Video { bitrate_bps: 100_000.0, ..Video::default() });
        assert_eq!(thin.cut(417.0), [417]);
    }

    #[test]
    fn timestamps_do_not_drift() {
        assert_eq!(timestamp(30, 30.0), 90_000);
        assert_eq!(timestamp(30_000, 30_000.0 / 1_001.0), 90_090_000);
    }
}
