//! At which bit and frame rates does a stream come in and go out?
//!
//! Shards count bytes and pictures; rates are the differences between two of their snapshots.

use std::collections::BTreeMap;
use std::time::Instant;

use media::packet::MAX_ENCODINGS;
use sfu::shard::StreamSnapshot;

/// Rates of one stream over the last interval between snapshots.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Bits a second of the audio that comes in.
    pub(super) audio_bps: f64,
    /// Bits a second of the video that comes in, all encodings together.
    pub(super) video_bps: f64,
    /// Pictures a second that come in, of all encodings.
    pub(super) frame_rate: f64,
    /// Pictures a second that come in, by encoding.
    pub(super) frame_rates: [f64; MAX_ENCODINGS],
    /// The last snapshot of the publisher's shard.
    home: Option<(Instant, StreamSnapshot)>,
    /// Traffic to viewers, by shard.
    out: BTreeMap<u8, Out>,
}

/// Traffic from one shard to viewers.
#[derive(Debug)]
struct Out {
    at: Instant,
    bytes: u64,
    bps: f64,
}

impl Rates {
    /// A shard told how the stream is there.
    pub(super) fn measured(&mut self, now: Instant, shard: u8, stream: &StreamSnapshot) {
        let bytes = stream.sent.bytes;
        let out = self.out.entry(shard).or_insert(Out { at: now, bytes, bps: 0.0 });
        if out.at < now {
            out.bps = 8.0 * rate(bytes, out.bytes, now, out.at);
        }
        (out.at, out.bytes) = (now, bytes);
        if !stream.is_home {
            return;
        }
        if let Some((at, before)) = &self.home {
            self.audio_bps = 8.0 * rate(stream.audio.bytes, before.audio.bytes, now, *at);
            self.video_bps = 8.0 * rate(stream.video.bytes, before.video.bytes, now, *at);
            self.frame_rate = rate(stream.video.frames, before.video.frames, now, *at);
            let frames = stream.encodings.iter().zip(&before.encodings);
            for (known, (new, old)) in self.frame_rates.iter_mut().zip(frames) {
                *known = rate(new.frames, old.frames, now, *at);
            }
        }
        self.home = Some((now, *stream));
    }

    /// Returns bits a second to all viewers together.
    pub(super) fn out_bps(&self) -> f64 {
        self.out.values().map(|out| out.bps).sum()
    }
}

/// Returns how much a counter grows in a second. A counter that went back began anew.
fn rate(new: u64, old: u64, now: Instant, since: Instant) -> f64 {
    let seconds = now.saturating_duration_since(since).as_secs_f64();
    if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
}
