//! What is a camera asked to send, as its audience is?
//!
//! Does what `server::engine` and our publish page do: once a second shards are asked who watches, [`control::ladder`] decides, and the
//! camera keeps to it.

use std::time::{Duration, Instant};

use control::ladder::{self, Ladder, Rung};
use media::StreamName;
use media::packet::MAX_ENCODINGS;
use sfu::stream::audience::Audience;

use crate::server::Server;

/// Asks one camera.
#[derive(Debug)]
pub(crate) struct Asking {
    ladder: Ladder,
    /// Pixels of each size, also of one that is not sent at the moment.
    pixels: [Option<u32>; MAX_ENCODINGS],
    pub(crate) next_at: Instant,
}

const EVERY: Duration = Duration::from_secs(1);

impl Asking {
    pub(crate) fn new(now: Instant) -> Asking {
        Asking { ladder: Ladder::default(), pixels: [None; MAX_ENCODINGS], next_at: now }
    }

    /// Returns bits a second for each size; `None`: nothing of it.
    pub(crate) fn look(&mut self, now: Instant, server: &mut Server, stream: &StreamName) -> Vec<(u8, Option<u64>)> {
        self.next_at = now + EVERY;
        let Some((snapshots, unknown)) = server.audience_of(now, stream) else { return Vec::new() };
        if let Some(home) = snapshots.iter().find(|snapshot| snapshot.is_home) {
            for (pixels, encoding) in self.pixels.iter_mut().zip(&home.encodings) {
                *pixels = encoding.resolution.map(|r| u32::from(r.width) * u32::from(r.height)).or(*pixels);
            }
        }
        let audience = snapshots.iter().fold(Audience::default(), |all, shard| all.with(&shard.audience));
        let bps = Audience::bits_per_second;
        let carried: Vec<_> = audience.places().map(|(place, viewers)| (bps(place), viewers)).collect();
        let within = |encoding: usize| {
            let viewers = audience.places_within(encoding);
            viewers.map(move |(place, viewers)| (bps(place), encoding as u8, viewers))
        };
        let bounded: Vec<_> = (0..MAX_ENCODINGS).flat_map(within).collect();
        let rungs = self.pixels.iter().enumerate().filter(|(_, pixels)| pixels.is_some());
        let rungs: Vec<_> = rungs.map(|(n, pixels)| Rung { encoding: n as u8, pixels: *pixels }).collect();
        let wished = std::array::from_fn(|encoding| audience.pinned(encoding));
        let audience = ladder::Audience { carried: &carried, bounded: &bounded, wished, unknown };
        let wanted = self.ladder.look(now, &rungs, &audience);
        wanted.iter().map(|wanted| (wanted.encoding, wanted.is_active.then_some(wanted.max_bps))).collect()
    }
}
