//! How busy is a shard, and what bit rate may each viewer still be sent?
//!
//! The shard thread reports how long it slept, and the send queue how long it takes to serve all
//! viewers of a stream once. Time for which the pace of a viewer's own network holds packets back
//! is not part of that. While a round takes too long, the shard lowers the bit rate at which it
//! forwards the video of any viewer: of each stream the layers above that rate are left out, first
//! temporal ones, then larger pictures, in the order in which the stream offers them. The rate is
//! raised again in steps while the core has time to spare.

use std::time::{Duration, Instant};

/// Measures the load of one shard and decides how much of it is shed.
#[derive(Debug)]
pub(super) struct Load {
    began_at: Option<Instant>,
    slept: Duration,
    /// Rounds that ended within the window: the sum of their times in seconds, and their number.
    rounds: (f64, u32),
    status: LoadStatus,
    /// Windows in a row that were late and in which the queues did not shorten.
    late_windows: u32,
    /// The last raise, for the back-off.
    raised_at: Option<Instant>,
    lowered_at: Option<Instant>,
    back_off: Duration,
}

/// The load of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadStatus {
    /// Share of the time in which the shard's thread was not asleep, 0 to 1, over about a second.
    pub busy: f32,
    /// Mean time from new packets of a stream until all its viewers were served, over the last 250 ms.
    pub wait: Duration,
    /// Video above this bit rate is not forwarded to any viewer; `None` while nothing is shed.
    pub max_bps: Option<u64>,
}

/// The measuring window: eight pictures at 30 a second, so that one key frame does not decide.
const WINDOW: Duration = Duration::from_millis(250);

/// Weight of a new window in the busy share, which then covers about a second.
const BUSY_WEIGHT: f32 = 0.25;

/// A round that takes longer than this is late because of the core: one over 5,000 viewers of a
/// stream, on a core that is full with them, takes about 65 ms: half of them wait longer than 33 ms
/// (docs/performance.md). Where more waits, the pace of each viewer bounds a round to 32 packets
/// each, which are 200 ms for 5,000.
const LATE: Duration = Duration::from_millis(100);

/// Late windows before a step: a key frame of 100 kB for 5,000 viewers makes one or two windows late
/// (docs/performance.md), and passes by itself.
const LATE_WINDOWS: u32 = 3;

/// Queues that are this much shorter than a window ago are being worked off.
const SHORTENS: f64 = 0.7;

/// Each step of shedding leaves four fifths of the bit rate: less than one temporal layer of three.
const LOWER: f64 = 0.8;

/// The busy share that a raise aims at, assuming that the cost is in proportion to the bit rate.
const AIM: f64 = 0.85;

/// The largest raise at once.
const RAISE: f64 = 2.0;

/// No stream is shed below this bit rate: 180 lines need about as much (a guess).
const LEAST_BPS: f64 = 150_000.0;

/// A raise that is followed by lateness within this time failed; the next one waits twice as long.
const FAILED_WITHIN: Duration = Duration::from_secs(5);
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const MAX_BACK_OFF: Duration = Duration::from_secs(16);

impl Default for Load {
    fn default() -> Load {
        Load {
            began_at: None,
            slept: Duration::ZERO,
            rounds: (0.0, 0),
            status: LoadStatus::default(),
            late_windows: 0,
            raised_at: None,
            lowered_at: None,
            back_off: FIRST_BACK_OFF,
        }
    }
}

impl Load {
    /// Adds time in which the shard's thread slept.
    pub(super) fn add_sleep(&mut self, span: Duration) {
        self.slept += span;
    }

    /// Adds the time of a round over all viewers of a stream.
    pub(super) fn add_round(&mut self, time: Duration) {
        self.rounds.0 += time.as_secs_f64();
        self.rounds.1 = self.rounds.1.saturating_add(1);
    }

    /// Returns the load as measured last.
    pub(super) fn status(&self) -> LoadStatus {
        self.status
    }

    /// Returns `true` if a measuring window is over, so that [`Load::look`] has something to
    /// decide.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.began_at.is_none_or(|at| now.saturating_duration_since(at) >= WINDOW)
    }

    /// Ends a measuring window. `offered`: the highest bit rates of one viewer's video that any
    /// watched stream offers, with and without the bound. Returns whether [`LoadStatus::max_bps`]
    /// has changed.
    pub(super) fn look(&mut self, now: Instant, offered: OfferedRates) -> bool {
        let Some(began_at) = self.began_at.replace(now) else { return false };
        let span = now.saturating_duration_since(began_at).as_secs_f32().max(1e-3);
        let slept = std::mem::take(&mut self.slept).as_secs_f32();
        let busy = (1.0 - slept / span).clamp(0.0, 1.0);
        // A window that was stretched by a long sleep counts for all of its length.
        let weight = (BUSY_WEIGHT * span / WINDOW.as_secs_f32()).min(1.0);
        self.status.busy += (busy - self.status.busy) * weight;
        let (sum, count) = std::mem::take(&mut self.rounds);
        let wait = Duration::from_secs_f64(if count > 0 { sum / f64::from(count) } else { 0.0 });
        let waited = std::mem::replace(&mut self.status.wait, wait);

        let before = self.status.max_bps;
        if wait < LATE {
            self.late_windows = 0;
            self.raise(now, offered);
        } else if wait >= waited.mul_f64(SHORTENS) {
            self.late_windows += 1;
            if self.late_windows >= LATE_WINDOWS {
                // The next step is judged by the two windows that follow.
                self.late_windows = 1;
                self.lower(now, offered);
            }
        }
        before != self.status.max_bps
    }

    fn lower(&mut self, now: Instant, offered: OfferedRates) {
        if offered.largest_bps == 0 {
            return;
        }
        if let Some(raised_at) = self.raised_at.take() {
            let failed = now.saturating_duration_since(raised_at) < FAILED_WITHIN;
            self.back_off = if failed { (self.back_off * 2).min(MAX_BACK_OFF) } else { FIRST_BACK_OFF };
        }
        let from = self.status.max_bps.unwrap_or(u64::MAX).min(offered.largest_bps) as f64;
        self.status.max_bps = Some((from * LOWER).max(LEAST_BPS) as u64);
        self.lowered_at = Some(now);
    }

    fn raise(&mut self, now: Instant, offered: OfferedRates) {
        let Some(max_bps) = self.status.max_bps else { return };
        let since = self.raised_at.max(self.lowered_at);
        if since.is_some_and(|at| now.saturating_duration_since(at) < self.back_off) {
            return;
        }
        let fitting = offered.shown_bps as f64 * AIM / f64::from(self.status.busy.max(0.01));
        let raised = fitting.min(max_bps as f64 * RAISE) as u64;
        if raised > max_bps {
            // Encoders exceed their mean rate by about a tenth for a while.
            self.status.max_bps = Some(raised).filter(|bps| *bps <= offered.largest_bps / 10 * 11);
            self.raised_at = Some(now);
        }
    }
}

/// Measures the time until all viewers of a stream were served.
#[derive(Debug, Default)]
pub(super) struct RoundTimer {
    began_at: Option<Instant>,
    served: usize,
}

impl RoundTimer {
    /// Starts a round: new packets arrived, and no viewer was waiting.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = RoundTimer { began_at: Some(now), served: 0 };
    }

    /// Counts one of `viewers` as served. Returns the time of the round if it was the last one; the
    /// next round then begins.
    pub(super) fn on_served(&mut self, now: Instant, viewers: usize) -> Option<Duration> {
        self.served += 1;
        if self.served < viewers {
            return None;
        }
        self.served = 0;
        Some(now.saturating_duration_since(self.began_at.replace(now)?))
    }
}

/// The highest bit rates of one viewer's video that any watched stream offers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OfferedRates {
    /// The rate of all layers offered.
    pub(super) largest_bps: u64,
    /// The rate of the layers that the bound lets through.
    pub(super) shown_bps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [u64; 4] = [2_000_000, 1_200_000, 500_000, 150_000];

    /// A shard whose time is driven by hand.
    struct Driven {
        load: Load,
        now: Instant,
    }

    impl Driven {
        fn new() -> Driven {
            let mut load = Load::default();
            let now = Instant::now();
            load.look(now, OfferedRates::default());
            Driven { load, now }
        }

        fn shown(&self) -> u64 {
            let max_bps = self.load.status().max_bps.unwrap_or(u64::MAX);
            *LAYERS.iter().find(|bps| **bps <= max_bps).unwrap_or(&LAYERS[3])
        }

        /// Passes windows in which the thread is `busy` and packets wait for `wait_ms`.
        fn windows(&mut self, count: u32, busy: f32, wait_ms: u64) -> Option<u64> {
            for _ in 0..count {
                self.now += WINDOW;
                self.load.add_sleep(WINDOW.mul_f32(1.0 - busy));
                self.load.add_round(Duration::from_millis(wait_ms));
                assert!(self.load.is_due(self.now));
                let offered = OfferedRates { largest_bps: LAYERS[0], shown_bps: self.shown() };
                self.load.look(self.now, offered);
            }
            self.load.status().max_bps
        }

        /// Passes time on a core that `capacity_bps` of one viewer's video fill.
        fn runs(&mut self, windows: u32, capacity_bps: u64) -> u32 {
            let mut steps = 0;
            for _ in 0..windows {
                let (demand, before) = (self.shown() as f32 / capacity_bps as f32, self.load.status().max_bps);
                let wait_ms = if demand > 1.0 { 400 } else { 10 };
                steps += u32::from(self.windows(1, demand.min(1.0), wait_ms) != before);
            }
            steps
        }
    }

    #[test]
    fn a_core_that_is_busy_but_in_time_sheds_nothing() {
        let mut driven = Driven::new();
        assert_eq!(driven.windows(40, 1.0, 60), None);
        let status = driven.load.status();
        assert!(status.busy > 0.99, "{status:?}");
        assert_eq!(status.wait, Duration::from_millis(60));
    }

    #[test]
    fn the_busy_share_follows_within_about_a_second() {
        let mut driven = Driven::new();
        driven.windows(20, 0.5, 0);
        assert!((driven.load.status().busy - 0.5).abs() < 0.01);
        driven.windows(6, 1.0, 0);
        assert!(driven.load.status().busy > 0.9);
    }

    #[test]
    fn one_large_key_frame_sheds_nothing_and_neither_do_queues_that_shorten() {
        let mut driven = Driven::new();
        for _ in 0..10 {
            driven.windows(2, 1.0, 300);
            assert_eq!(driven.windows(1, 0.9, 20), None);
        }
        for wait_ms in [1_800, 1_200, 800, 520, 340, 220] {
            assert_eq!(driven.windows(1, 1.0, wait_ms), None);
        }
    }

    #[test]
    fn a_late_core_sheds_step_by_step_and_not_below_the_least() {
        let mut driven = Driven::new();
        assert_eq!(driven.windows(2, 1.0, 300), None);
        assert_eq!(driven.windows(1, 1.0, 300), Some(1_600_000));
        assert_eq!(driven.windows(1, 1.0, 300), Some(1_600_000), "the queues may shorten first");
        assert_eq!(driven.windows(1, 1.0, 300), Some(1_280_000));
        assert_eq!(driven.windows(80, 1.0, 300), Some(LEAST_BPS as u64));
    }

    #[test]
    fn a_core_settles_at_the_largest_layer_that_fits_and_stays_there() {
        for (capacity, shown) in [(1_300_000, 1_200_000), (1_000_000, 500_000), (160_000, 150_000)] {
            let mut driven = Driven::new();
            driven.runs(200, capacity);
            assert_eq!(driven.shown(), shown);
            // A minute more.
            let steps = driven.runs(240, capacity);
            assert!(steps <= 8, "{steps} steps at {capacity}");
        }
    }

    #[test]
    fn a_core_with_time_to_spare_forwards_everything_again() {
        let mut driven = Driven::new();
        driven.runs(100, 300_000);
        assert_eq!(driven.shown(), 150_000);
        driven.runs(40, 100_000_000);
        assert_eq!(driven.load.status().max_bps, None);
    }

    #[test]
    fn a_round_lasts_until_all_viewers_were_served() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timer = RoundTimer::default();
        assert_eq!(timer.on_served(at(0), 1), None, "nothing has begun");
        timer.begin(at(10));
        assert_eq!(timer.on_served(at(20), 3), None);
        assert_eq!(timer.on_served(at(30), 3), None);
        assert_eq!(timer.on_served(at(50), 3), Some(Duration::from_millis(40)));
        // Packets arrived meanwhile: the round goes on.
        assert_eq!(timer.on_served(at(60), 2), None);
        assert_eq!(timer.on_served(at(70), 2), Some(Duration::from_millis(20)));
        timer.begin(at(500));
        assert_eq!(timer.on_served(at(510), 1), Some(Duration::from_millis(10)));
    }

    #[test]
    fn without_video_there_is_nothing_to_shed() {
        let mut load = Load::default();
        let start = Instant::now();
        for n in 0..10 {
            load.add_round(Duration::from_secs(1));
            assert!(!load.look(start + WINDOW * n, OfferedRates::default()));
        }
        assert_eq!(load.status().max_bps, None);
    }
}
