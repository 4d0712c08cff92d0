//! How many panics that belong to no session may a thread survive?
//!
//! A panic in a session's step removes the session, which bounds the number of such panics. A panic
//! in code that all sessions share removes nothing and may repeat at once. After a few of them the
//! thread ends, and the process with it, so that a supervisor starts a new one.

use std::time::{Duration, Instant};

/// Counts panics that cannot be attributed to a session.
#[derive(Debug, Default)]
pub struct Strikes {
    count: u32,
    since: Option<Instant>,
}

/// Number of panics within [`WITHIN`] that are survived. A guess: more than chance, fewer than an
/// operator would miss.
const MOST: u32 = 8;

/// Window in which panics count. A guess: a fault that repeats at once reaches [`MOST`] within
/// milliseconds.
const WITHIN: Duration = Duration::from_secs(10);

impl Strikes {
    /// Counts a panic. Returns `true` if the thread may continue.
    pub fn survives(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WITHIN) {
            *self = Strikes { count: 0, since: Some(now) };
        }
        self.count = self.count.saturating_add(1);
        self.count <= MOST
    }
}

/// Panics at a named place if a test has armed it; expands to nothing in the product. See `inject`.
macro_rules! fault {
    ($point:ident, $session:expr) => {
        #[cfg(any(test, feature = "inject"))]
        crate::inject::at(crate::inject::Point::$point, $session);
    };
}
pub(crate) use fault;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ninth_panic_within_ten_seconds_ends_the_thread_and_rare_ones_do_not() {
        let start = Instant::now();
        let mut strikes = Strikes::default();
        let fast: Vec<_> = (0..9).map(|n| strikes.survives(start + Duration::from_secs(n))).collect();
        assert_eq!(fast, [true, true, true, true, true, true, true, true, false]);
        let mut strikes = Strikes::default();
        assert!((0..100).all(|n| strikes.survives(start + Duration::from_secs(n * 2))));
    }
}
