//! Which encodings, rates and layers does the server want of a publisher?
//!
//! Once a second each shard counts the encodings and layers that its viewers can use
//! ([`Audience`]). Together with the viewers that are connecting and those that have just sent a
//! wish, this decides which encodings are to be sent, at which bit rate ([`Ladder`]), and how much
//! of each ([`Bound`]).

use std::collections::BTreeMap;
use std::time::Instant;

use media::packet::MAX_ENCODINGS;
use sfu::format::Published;
use sfu::shard::StreamSnapshot;
use sfu::stream::audience::{Audience, Need};
use sfu::stream::choice::Preferences;

use crate::bound::Bound;
use crate::ladder::{self, DesiredEncoding, Ladder, Rung};

/// What the viewers of one stream have use for.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// By encoding: pixels of a picture, also of an encoding that is not sent at the moment.
    pixels: [Option<u32>; MAX_ENCODINGS],
    /// Viewers, by shard.
    audiences: BTreeMap<u8, Audience>,
    /// Viewers that wished something since the last snapshot.
    wishers: Audience,
    /// What each encoding has, by the publisher's shard.
    extents: Option<Audience>,
    ladder: Ladder,
    /// By encoding: how much of it is needed.
    needed: [Needed; MAX_ENCODINGS],
    wanted: Vec<WantedEncoding>,
}

/// The server's demand for one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedEncoding {
    /// The publisher's name for it; `None` where there is one encoding only.
    pub rid: Option<String>,
    /// Whether it is to be sent.
    pub is_active: bool,
    /// The most bits a second; `None` where there is one encoding only, whose rate is the
    /// publisher's choice.
    pub max_bps: Option<u64>,
    /// The most pictures a second that a viewer has use for, where each wishes fewer than may come.
    pub max_frame_rate: Option<u16>,
    /// The highest spatial layer that a viewer has use for, where there are higher ones.
    pub max_spatial: Option<u8>,
    /// The highest temporal layer that a viewer has use for, where there are higher ones.
    pub max_temporal: Option<u8>,
}

/// How much of one encoding is to be sent: raised at once, lowered after a while.
#[derive(Debug, Clone, Copy)]
struct Needed {
    spatial: Bound<u8>,
    temporal: Bound<u8>,
    frame_rate: Bound<u16>,
}

impl Default for Needed {
    fn default() -> Needed {
        let Need { spatial, temporal, frame_rate } = Need::ALL;
        Needed { spatial: Bound::new(spatial), temporal: Bound::new(temporal), frame_rate: Bound::new(frame_rate) }
    }
}

impl Needed {
    fn look(&mut self, now: Instant, need: Need) -> Need {
        Need {
            spatial: self.spatial.look(now, need.spatial),
            temporal: self.temporal.look(now, need.temporal),
            frame_rate: self.frame_rate.look(now, need.frame_rate),
        }
    }
}

impl Demand {
    /// A shard is about to tell which streams have viewers there; this one may not be among them.
    pub(super) fn forget_shard(&mut self, shard: u8) {
        self.audiences.remove(&shard);
    }

    /// A shard told which viewers it has.
    pub(super) fn measured(&mut self, shard: u8, stream: &StreamSnapshot) {
        self.audiences.insert(shard, stream.audience);
        self.wishers = self.wishers.emptied();
        if !stream.is_home {
            return;
        }
        self.extents = Some(stream.audience);
        for (pixels, encoding) in self.pixels.iter_mut().zip(&stream.encodings) {
            let size = encoding.resolution.map(|r| u32::from(r.width) * u32::from(r.height));
            *pixels = size.or(*pixels);
        }
    }

    /// A viewer has these preferences from now on.
    pub(super) fn wished(&mut self, preferences: &Preferences) {
        if self.wishers.viewers() == 0 {
            self.wishers = self.extents.unwrap_or_default().emptied();
        }
        self.wishers.add_viewer(None, preferences);
    }

    /// Other formats or encodings are published: what was wanted of the old ones holds no more.
    pub(super) fn publisher_changed(&mut self) {
        self.ladder = Ladder::default();
        self.pixels = [None; MAX_ENCODINGS];
        self.needed = Default::default();
        self.wanted.clear();
    }

    /// Decides anew. `unknown` is the number of viewers that are connecting. Returns whether
    /// something else is wanted than before.
    pub(super) fn look(&mut self, now: Instant, published: &Published, unknown: u32) -> bool {
        let audience = self.audiences.values().fold(Audience::default(), |all, one| all.with(one));
        // Viewers that have just wished something are counted in a snapshot already, or will be in
        // the next. Until then nothing is known of their networks.
        let unknown = unknown + self.wishers.places().map(|(_, viewers)| viewers).sum::<u32>();
        let named = published.rids.iter().flatten().count();
        let steps = if named > 1 {
            self.steps(now, published, &audience, unknown)
        } else {
            // A single encoding is always sent, at the rate that its publisher chose.
            vec![DesiredEncoding { encoding: 0, is_active: true, max_bps: 0 }]
        };
        let extents = self.extents.unwrap_or_default();
        let mut wanted = Vec::with_capacity(steps.len());
        for step in steps {
            let encoding = usize::from(step.encoding).min(MAX_ENCODINGS - 1);
            let need = audience.need(encoding).or(self.wishers.need(encoding));
            let need = if unknown > 0 { Need::ALL } else { need };
            let need = self.needed[encoding].look(now, need);
            let top = extents.limits(encoding).top();
            wanted.push(WantedEncoding {
                rid: published.rids[encoding].map(|rid| rid.to_string()),
                is_active: step.is_active,
                max_bps: (named > 1).then_some(step.max_bps),
                // 0: no viewer was counted, so nothing is known.
                max_frame_rate: Some(need.frame_rate).filter(|most| (1..u16::MAX).contains(most)),
                max_spatial: Some(need.spatial).filter(|most| *most < top.0),
                max_temporal: Some(need.temporal).filter(|most| *most < top.1),
            });
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        before != self.wanted
    }

    /// Returns the demand for each encoding, smallest first.
    pub(super) fn wanted(&self) -> &[WantedEncoding] {
        &self.wanted
    }

    /// Returns which encodings are to be sent, and at how many bits a second.
    fn steps(
        &mut self,
        now: Instant,
        published: &Published,
        audience: &Audience,
        unknown: u32,
    ) -> Vec<DesiredEncoding> {
        let bps = Audience::bits_per_second;
        let carried: Vec<_> = audience.places().map(|(place, viewers)| (bps(place), viewers)).collect();
        let mut bounded = Vec::new();
        for encoding in 0..MAX_ENCODINGS {
            let places = audience.places_within(encoding);
            bounded.extend(places.map(|(place, viewers)| (bps(place), encoding as u8, viewers)));
        }
        // A wish that no snapshot has counted yet keeps its encoding, and decides nothing about
        // rates.
        let asked = |encoding: usize| {
            let within = self.wishers.places_within(encoding).map(|(_, viewers)| viewers);
            self.wishers.pinned(encoding) + within.sum::<u32>()
        };
        let wished = std::array::from_fn(|encoding| audience.pinned(encoding) + asked(encoding));
        let named = (0..MAX_ENCODINGS).filter(|n| published.rids[*n].is_some());
        let rungs: Vec<_> = named.map(|n| Rung { encoding: n as u8, pixels: self.pixels[n] }).collect();
        let audience = ladder::Audience { carried: &carried, bounded: &bounded, wished, unknown };
        self.ladder.look(now, &rungs, &audience)
    }
}
