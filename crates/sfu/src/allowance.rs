//! How often may something happen that a peer brings about?
//!
//! A token bucket: [`Allowance::take`] spends one of `most` tokens, and one comes back per `each`.

use std::time::{Duration, Instant};

/// Counts what may still happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    most: u32,
    each: Duration,
    left: u32,
    /// When the next token began to come back; `None` while all are there.
    since: Option<Instant>,
}

impl Allowance {
    /// A full bucket.
    pub(crate) const fn new(most: u32, each: Duration) -> Allowance {
        Allowance { most, each, left: most, since: None }
    }

    /// Spends a token; `false` if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let is_there = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.since.get_or_insert(now);
        is_there
    }

    /// When there will be a token; `None` if there is one now.
    pub(crate) fn refilled_at(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        self.since.filter(|_| self.left == 0).map(|since| since + self.each)
    }

    fn refill(&mut self, now: Instant) {
        let Some(since) = self.since else { return };
        let came = now.saturating_duration_since(since).as_nanos() / self.each.as_nanos().max(1);
        let came = u32::try_from(came).unwrap_or(u32::MAX).min(self.most);
        self.left = self.left.saturating_add(came).min(self.most);
        self.since = if self.left == self.most { None } else { Some(since + self.each * came) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_token_per_interval() {
        let start = Instant::now();
        let mut allowance = Allowance::new(3, Duration::from_secs(1));
        let taken = (0..=50).filter(|tenth| allowance.take(start + Duration::from_millis(100 * tenth)));
        assert_eq!(taken.collect::<Vec<_>>(), [0, 1, 2, 10, 20, 30, 40, 50]);
        assert_eq!(allowance.refilled_at(start + Duration::from_secs(5)), Some(start + Duration::from_secs(6)));
        assert_eq!(allowance.refilled_at(start + Duration::from_secs(60)), None);
        assert_eq!((0..9).filter(|_| allowance.take(start + Duration::from_secs(3_600))).count(), 3);
    }
}
