//! Are new sessions admitted while the media threads are this busy?
//!
//! A core that has no time left makes every viewer late, so new viewers are refused before that. A
//! viewer that is admitted costs nothing until its handshake is done; connecting viewers therefore
//! count with the present cost of one viewer.

/// The load of the media threads: of the busiest of them, since the kernel's hash of addresses
/// decides which one serves a viewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Share of its time in which the thread was not asleep, in thousandths.
    pub busy_permille: u16,
}

/// Decides by load whether sessions are admitted.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Load from which viewers are refused, in thousandths; `None`: never.
    limit: Option<u16>,
    load: Load,
    is_closed: bool,
    refused: u64,
}

/// Viewers are admitted again this far below the limit, so that the answer does not change with
/// every viewer that leaves. A guess.
const REOPENS_BELOW: u16 = 50;

/// Share, in tenths, of the capacity above the viewers' limit that publishers may use: nine tenths.
/// The audience of a stream that is about to begin is waiting, and one publisher costs about as
/// much as one viewer.
const PUBLISHERS_SHARE: u16 = 9;

/// Least number of connected viewers that shows the cost of one of them: with fewer, a thread is a
/// few percent busy with publishers and timers alone.
const LEAST_SAMPLE: usize = 200;

/// One more viewer costs less than the mean of those present, in percent: messages to many viewers
/// are longer (1.78 µs a packet at 1,000 viewers, 1.26 at 5,000: docs/performance.md).
const COST_PERCENT: u64 = 70;

impl Admission {
    /// Refuses viewers while a media thread is busy for `percent` of its time; 100 and more: never.
    pub(crate) fn set_limit(&mut self, percent: u8) {
        self.limit = (percent < 100).then_some(u16::from(percent) * 10);
    }

    /// Takes a new measurement of the load.
    pub(crate) fn measured(&mut self, load: Load) {
        self.load = load;
    }

    /// Whether one more viewer is admitted, beside `connected` and `connecting` ones.
    pub(crate) fn takes_viewer(&mut self, connected: usize, connecting: usize) -> bool {
        let Some(limit) = self.limit else { return true };
        let threshold = if self.is_closed { limit.saturating_sub(REOPENS_BELOW) } else { limit };
        self.is_closed = self.expected(connected, connecting) >= u64::from(threshold);
        self.refused += u64::from(self.is_closed);
        !self.is_closed
    }

    /// Whether one more publisher is admitted.
    pub(crate) fn takes_publisher(&mut self) -> bool {
        let Some(limit) = self.limit else { return true };
        let reserved = (1_000 - limit) / 10 * PUBLISHERS_SHARE;
        let takes = self.load.busy_permille < limit + reserved;
        self.refused += u64::from(!takes);
        takes
    }

    /// Whether viewers are refused at the moment, by the load alone.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.limit.is_some_and(|limit| self.load.busy_permille >= limit)
    }

    /// Sessions refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// How busy the thread will be with those on their way, in thousandths.
    fn expected(&self, connected: usize, connecting: usize) -> u64 {
        let busy = u64::from(self.load.busy_permille);
        if connected < LEAST_SAMPLE {
            return busy;
        }
        busy + busy * connecting as u64 * COST_PERCENT / (100 * connected as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(percent: u8, busy_permille: u16) -> Admission {
        let mut admission = Admission::default();
        admission.set_limit(percent);
        admission.measured(Load { busy_permille });
        admission
    }

    #[test]
    fn viewers_are_refused_from_the_limit_on_and_admitted_again_below_it() {
        let mut admission = admission(90, 899);
        assert!(admission.takes_viewer(1_000, 0));
        for (busy, takes) in [(900, false), (870, false), (849, true), (899, true), (1_000, false)] {
            admission.measured(Load { busy_permille: busy });
            assert_eq!(admission.takes_viewer(1_000, 0), takes, "{busy}");
        }
        assert_eq!(admission.refused(), 3);
    }

    #[test]
    fn viewers_on_their_way_are_counted_with_what_one_costs() {
        let takes = |busy, connected, connecting| admission(90, busy).takes_viewer(connected, connecting);
        assert!(takes(500, 1_000, 1_000), "500 + 350");
        assert!(!takes(500, 1_000, 1_200), "500 + 420");
        assert!(takes(100, 199, 100_000), "too few to tell what one costs");
        assert!(takes(0, 1_000, 100_000));
    }

    #[test]
    fn publishers_are_admitted_beyond_the_viewers_limit() {
        for (busy, takes) in [(900, true), (989, true), (990, false), (1_000, false)] {
            assert_eq!(admission(90, busy).takes_publisher(), takes, "{busy}");
        }
        assert!(admission(90, 950).is_overloaded() && !admission(90, 899).is_overloaded());
    }

    #[test]
    fn a_limit_of_100_percent_refuses_no_session() {
        let mut admission = admission(100, 1_000);
        assert!(admission.takes_viewer(1_000, 1_000) && admission.takes_publisher());
        assert!(!admission.is_overloaded());
        assert_eq!(admission.refused(), 0);
    }
}
