//! How much of a quantity is needed, if a need that ends is kept for a while?
//!
//! A viewer that reloads its page, or turns away for a moment, finds everything still there. Each
//! change also has a price: a publisher that changes its layers sends a key frame to all viewers.

use std::time::Instant;

use crate::ladder::UNNEEDED;

/// A bound that rises at once, and falls to what was needed at most for some time.
#[derive(Debug, Clone, Copy)]
pub struct Bound<T> {
    current: T,
    /// Since when less is needed, and the most of it.
    less: Option<(Instant, T)>,
}

impl<T: Copy + Ord> Bound<T> {
    /// Begins with all that there is.
    pub fn new(all: T) -> Bound<T> {
        Bound { current: all, less: None }
    }

    /// Takes the quantity that is needed now. Returns the bound.
    pub fn look(&mut self, now: Instant, needed: T) -> T {
        if needed >= self.current {
            *self = Bound::new(needed);
            return self.current;
        }
        let (since, most) = self.less.map_or((now, needed), |(since, most)| (since, most.max(needed)));
        if now.saturating_duration_since(since) >= UNNEEDED {
            *self = Bound::new(most);
        } else {
            self.less = Some((since, most));
        }
        self.current
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_to_the_most_that_was_needed_meanwhile() {
        let start = Instant::now();
        let mut bound = Bound::new(u8::MAX);
        let mut at = |ms, needed| bound.look(start + Duration::from_millis(ms), needed);
        assert_eq!([at(0, 0), at(1_000, 1), at(1_799, 0)], [u8::MAX; 3]);
        assert_eq!(at(1_800, 0), 1);
        assert_eq!([at(1_900, 0), at(3_000, 1), at(3_100, 0), at(4_899, 0)], [1; 4], "needed again, it begins anew");
        assert_eq!(at(4_900, 0), 0);
        assert_eq!([at(4_950, 3), at(5_000, 2)], [3, 3]);
    }
}
