//! How many more addresses may a session bring?

use std::time::{Duration, Instant};

/// The budget of one session.
///
/// str0m's ICE keeps a candidate and a pair for each address that a valid check came from, forever, and walks all of them.
/// A check's source can be forged by a peer that knows the password.
#[derive(Debug, Default)]
pub(crate) struct NewSources {
    taken: u32,
    refilled_at: Option<Instant>,
}

/// Addresses that may come at once: all interfaces of a computer behind NATs. A guess.
const SOURCE_BURST: u32 = 32;
/// One more after this; a phone changes its network less often. A day of it is 8,640 candidates.
const SOURCE_INTERVAL: Duration = Duration::from_secs(10);

impl NewSources {
    /// Whether there may be one more now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let refilled_at = *self.refilled_at.get_or_insert(now);
        let refills = now.saturating_duration_since(refilled_at).as_secs() / SOURCE_INTERVAL.as_secs();
        if refills > 0 {
            self.taken = self.taken.saturating_sub(u32::try_from(refills).unwrap_or(u32::MAX));
            self.refilled_at = Some(now);
        }
        let is_allowed = self.taken < SOURCE_BURST;
        self.taken += u32::from(is_allowed);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_brings_32_addresses_and_one_more_every_10_s() {
        let start = Instant::now();
        let mut sources = NewSources::default();
        let mut taken = |at: Duration| (0..100).filter(|_| sources.take(start + at)).count();
        assert_eq!(taken(Duration::ZERO), 32);
        assert_eq!(taken(Duration::from_secs(9)), 0);
        assert_eq!(taken(Duration::from_secs(35)), 3);
        assert_eq!(taken(Duration::from_secs(100_000)), 32);
    }
}
