//! What changes for a way whose bottleneck others are behind as well, to whom we send too?
//!
//! Each of them sees a part of what the bottleneck carries, and takes what the others leave: whoever came first keeps more, whoever
//! sends little is taken to carry little, and a train that meets a moment in which the others are silent finds room that is not there.
//! So they agree once a second on one [`Share`] (RFC 8699 couples the rates of such flows in this way; `shard::bottleneck` finds out
//! who they are and adds up), and each keeps to it until the next.

/// What those who share a bottleneck agree on, for each of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many they are.
    pub count: u16,
    /// Bits a second that each may take.
    pub bps: f32,
    /// Bits a second that the bottleneck carries for each.
    pub ceiling_bps: f32,
    /// Whether this one looks for more, for all of them.
    pub is_scout: bool,
}

/// What one of them has found out since they agreed last.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Found {
    /// Bits a second that it takes itself to carry.
    pub bps: f32,
    /// Bits a second that came through to it when its way was full last.
    pub through_bps: f32,
    /// … and that come through now.
    pub now_bps: f32,
    /// Bits a second that came through to it as a train, and its media beside that; 0 if none did.
    pub proved_bps: f32,
}

impl Share {
    /// What `bps` have become after `seconds` in which nothing queued; alone it would have grown by `step` near the limit. Never
    /// beyond the ceiling: more is found out by one for all of them.
    pub(super) fn grown(&self, bps: f32, step: f32, seconds: f32) -> f32 {
        let near = bps > self.ceiling_bps * NEAR;
        let grown = if near { bps + step / f32::from(self.count) } else { bps * RETURN_PER_SECOND.powf(seconds) };
        grown.min(self.ceiling_bps)
    }

    /// How fast a train must be that finds out, if each of the others is sent as much as this one (`sending`).
    pub(super) fn probed(&self, sending: f32) -> f32 {
        let others = f32::from(self.count) - 1.0;
        let all = f32::from(self.count) * self.ceiling_bps * PROBED;
        (all - others * sending).max(self.bps * 2.0)
    }
}

/// What an estimator knows of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shared {
    agreed: Option<(Share, u64)>,
    /// When the way was found full, the first and the last time of one trouble.
    trouble_us: (u64, u64),
    pub(super) through_bps: f32,
    pub(super) proved_bps: f32,
}

/// From this part of what is carried on it goes up in small steps.
const NEAR: f32 = 0.97;
/// … and below that it comes back soon: that so much is carried is known. A guess.
const RETURN_PER_SECOND: f32 = 1.15;
/// After so long without a full way, the next one is a trouble of its own; what lasts no longer than a burst is no sign that less is
/// carried. Guesses: a key frame is sent within 200 ms, and its queue is gone after as long.
const CALM_US: u64 = 4_000_000;
const BURST_US: u64 = 500_000;
const AFTER_BURST: f32 = 0.93;
/// libwebrtc: what is left of a rate at a time.
const LOWERED: f32 = 0.85;
/// Of what all of them are known to be carried together, what a train and all else that is sent beside it come to.
const PROBED: f32 = 1.25;
/// They agree every second; whoever was left out twice is alone.
const LASTS_US: u64 = 3_000_000;

impl Shared {
    pub(super) fn set_share(&mut self, now_us: u64, share: Share) {
        *self = Shared { agreed: Some((share, now_us)), proved_bps: 0.0, ..*self };
    }

    /// The way was found full when so much came through.
    pub(super) fn on_congestion(&mut self, now_us: u64, through_bps: f32) {
        self.through_bps = through_bps;
        let (first, last) = &mut self.trouble_us;
        if now_us.saturating_sub(*last) > CALM_US {
            *first = now_us;
        }
        *last = now_us;
    }

    /// What it has in any case while the way is full. Whoever is sent less than its share at the moment has that share all the same; and
    /// a key frame for each of them fills the way for some tenths of a second.
    pub(super) fn least(&self, now_us: u64) -> f32 {
        let is_burst = now_us.saturating_sub(self.trouble_us.0) < BURST_US;
        let part = if is_burst { AFTER_BURST } else { LOWERED };
        self.share(now_us).map_or(0.0, |share| part * share.bps.min(share.ceiling_bps))
    }

    /// The share that is agreed on.
    pub(super) fn share(&self, now_us: u64) -> Option<Share> {
        self.agreed.filter(|(_, at)| now_us.saturating_sub(*at) < LASTS_US).map(|(share, _)| share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share { count: 5, bps: 0.9e6, ceiling_bps: 1e6, is_scout: false };

    #[test]
    fn a_share_comes_back_to_what_is_carried_and_no_further() {
        let mut bps = 0.5e6;
        for _ in 0..60 {
            bps = SHARE.grown(bps, 6.4e3, 0.1);
        }
        assert!((0.97e6..1e6).contains(&bps), "{bps}");
        assert_eq!((0..100).fold(bps, |bps, _| SHARE.grown(bps, 6.4e3, 0.1)), 1e6);
    }

    #[test]
    fn a_burst_costs_little_and_trouble_that_lasts_as_much_as_alone() {
        let mut shared = Shared::default();
        assert_eq!(shared.least(10_000_000), 0.0);
        shared.set_share(10_000_000, SHARE);
        shared.on_congestion(11_000_000, 0.4e6);
        assert_eq!(shared.least(11_000_000), AFTER_BURST * 0.9e6);
        shared.on_congestion(11_600_000, 0.4e6);
        assert_eq!(shared.least(11_600_000), LOWERED * 0.9e6);
        assert_eq!(shared.share(13_100_000), None, "nobody has agreed for long");
        assert_eq!(shared.least(13_100_000), 0.0);
    }
}
