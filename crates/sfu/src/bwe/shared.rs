//! How does the estimate change for a path whose bottleneck is shared with other viewers of this
//! server?
//!
//! Each viewer's estimator sees only a part of the bottleneck's rate, and takes the rest that the
//! others leave: the first viewer keeps more, a viewer that is sent little is measured too low, and
//! a train that meets a pause of the others finds capacity that does not exist. The viewers of a
//! bottleneck therefore agree once a second on one [`Share`] each (RFC 8699 couples the rates of
//! such flows in this way). `shard::bottleneck` finds the members and computes the shares; each
//! estimator keeps to its share until the next.

/// The share of one member of a bottleneck group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Number of members.
    pub count: u16,
    /// Bits per second that each member may take.
    pub bps: f32,
    /// Bits per second that the bottleneck carries for each member.
    pub ceiling_bps: f32,
    /// Whether this member probes for more, for the whole group.
    pub is_scout: bool,
}

/// Measurements of one member since the last agreement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Found {
    /// Bits per second of its own estimate.
    pub bps: f32,
    /// Bits per second that arrived when its path was last full.
    pub through_bps: f32,
    /// Bits per second that arrive now.
    pub now_bps: f32,
    /// Bits per second of a probe and of the media beside it that arrived; 0 if there was no probe.
    pub proved_bps: f32,
}

impl Share {
    /// Returns the estimate after `seconds` without a queue, grown from `bps`. Alone it would grow
    /// by `step` per second near the limit. The result never exceeds the ceiling, because only the
    /// scout probes for more.
    pub(super) fn grown(&self, bps: f32, step: f32, seconds: f32) -> f32 {
        let near = bps > self.ceiling_bps * NEAR;
        let grown = if near { bps + step / f32::from(self.count) } else { bps * RETURN_PER_SECOND.powf(seconds) };
        grown.min(self.ceiling_bps)
    }

    /// Returns the rate of a probe if each other member is sent as much as this one (`sending`).
    pub(super) fn probed(&self, sending: f32) -> f32 {
        let others = f32::from(self.count) - 1.0;
        let all = f32::from(self.count) * self.ceiling_bps * PROBED;
        (all - others * sending).max(self.bps * 2.0)
    }
}

/// The estimator's state of a shared bottleneck.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shared {
    agreed: Option<(Share, u64)>,
    /// The first and the last moment of one congestion event at which the path was full.
    trouble_us: (u64, u64),
    pub(super) through_bps: f32,
    pub(super) proved_bps: f32,
}

/// Part of the ceiling from which the rate grows in small steps.
const NEAR: f32 = 0.97;
/// Growth factor per second below [`NEAR`]: that the bottleneck carries this rate is known. A
/// guess.
const RETURN_PER_SECOND: f32 = 1.15;
/// Time without a full path after which the next full moment is a new event, and longest duration
/// of a burst, which does not lower the ceiling. Guesses: a key frame is sent within 200 ms, and
/// its queue is gone after the same time.
const CALM_US: u64 = 4_000_000;
const BURST_US: u64 = 500_000;
const AFTER_BURST: f32 = 0.93;
/// libwebrtc: remaining part of a rate after one decrease.
const LOWERED: f32 = 0.85;
/// Rate of a probe and of all media beside it, relative to the group's known rate.
const PROBED: f32 = 1.25;
/// Validity of a share. Shares come every second, so a viewer that was left out twice counts as
/// alone.
const LASTS_US: u64 = 3_000_000;

impl Shared {
    pub(super) fn set_share(&mut self, now_us: u64, share: Share) {
        *self = Shared { agreed: Some((share, now_us)), proved_bps: 0.0, ..*self };
    }

    /// Records that the path was full while `through_bps` arrived.
    pub(super) fn on_congestion(&mut self, now_us: u64, through_bps: f32) {
        self.through_bps = through_bps;
        let (first, last) = &mut self.trouble_us;
        if now_us.saturating_sub(*last) > CALM_US {
            *first = now_us;
        }
        *last = now_us;
    }

    /// Returns the rate that the viewer keeps while the path is full. A viewer that is sent less
    /// than its share at the moment keeps the share, and a key frame for each member fills the path
    /// for some tenths of a second.
    pub(super) fn least(&self, now_us: u64) -> f32 {
        let is_burst = now_us.saturating_sub(self.trouble_us.0) < BURST_US;
        let part = if is_burst { AFTER_BURST } else { LOWERED };
        self.share(now_us).map_or(0.0, |share| part * share.bps.min(share.ceiling_bps))
    }

    /// Returns the agreed share, if it is still valid.
    pub(super) fn share(&self, now_us: u64) -> Option<Share> {
        self.agreed.filter(|(_, at)| now_us.saturating_sub(*at) < LASTS_US).map(|(share, _)| share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share { count: 5, bps: 0.9e6, ceiling_bps: 1e6, is_scout: false };

    #[test]
    fn share_returns_to_the_carried_rate_and_no_further() {
        let mut bps = 0.5e6;
        for _ in 0..60 {
            bps = SHARE.grown(bps, 6.4e3, 0.1);
        }
        assert!((0.97e6..1e6).contains(&bps), "{bps}");
        assert_eq!((0..100).fold(bps, |bps, _| SHARE.grown(bps, 6.4e3, 0.1)), 1e6);
    }

    #[test]
    fn burst_costs_little_and_lasting_congestion_as_much_as_alone() {
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
