//! Which of a stream's viewers is next?
//!
//! New packets are for all viewers of a stream. They take their turns in a circle: a round begins where the one
//! before it stopped, so that nobody is always first, and packets that come while it is under way make it go on until
//! everybody has been asked since. A viewer that is asked late gets more packets at once, which costs less for each.

/// The viewers of one stream, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct SendRound {
    viewers: Vec<usize>,
    next: usize,
    left: usize,
}

impl SendRound {
    /// All viewers, in no order.
    pub(super) fn viewers(&self) -> &[usize] {
        &self.viewers
    }

    /// A viewer came.
    pub(super) fn add(&mut self, viewer: usize) {
        self.viewers.push(viewer);
        // It stands between those who wait and those who had their turn.
        if self.left > 0 {
            self.left += 1;
        }
    }

    /// A viewer left.
    pub(super) fn remove(&mut self, viewer: usize) {
        let Some(place) = self.viewers.iter().position(|v| *v == viewer) else { return };
        let len = self.viewers.len();
        let turns_until = (place + len - self.next % len) % len;
        if turns_until < self.left {
            self.left -= 1;
        }
        self.viewers.remove(place);
        if place < self.next {
            self.next -= 1;
        }
    }

    /// There is something for everybody. Returns whether nobody was waiting for a turn before.
    pub(super) fn begin(&mut self) -> bool {
        let was_over = self.left == 0;
        self.left = self.viewers.len();
        was_over && self.left > 0
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        if self.next >= self.viewers.len() {
            self.next = 0;
        }
        let viewer = self.viewers.get(self.next).copied();
        self.next += 1;
        viewer
    }

    /// Whose turn it is when so many more have had theirs, if the round goes on so long.
    pub(super) fn ahead(&self, distance: usize) -> Option<usize> {
        if distance >= self.left || self.viewers.is_empty() {
            return None;
        }
        let len = self.viewers.len();
        let next = if self.next >= len { 0 } else { self.next };
        let place = next + distance;
        self.viewers.get(if place >= len { place - len } else { place }).copied()
    }

    /// Whether anybody waits for a turn.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(count: usize) -> SendRound {
        let mut round = SendRound::default();
        (0..count).for_each(|viewer| round.add(viewer));
        round
    }

    #[test]
    fn everybody_gets_one_turn_and_the_next_round_begins_with_another() {
        let mut round = of(3);
        assert!(round.begin());
        assert_eq!(round.next(), Some(0));
        assert!(!round.begin(), "it is under way");
        let turns: Vec<_> = std::iter::from_fn(|| round.next()).collect();
        assert_eq!(turns, [1, 2, 0]);
        assert!(round.is_over());
        round.begin();
        assert_eq!(round.next(), Some(1));
    }

    #[test]
    fn who_is_ahead_has_its_turn_then() {
        let mut round = of(5);
        round.begin();
        round.next();
        round.next();
        round.begin();
        for _ in 0..5 {
            let ahead: Vec<_> = (0..7).map(|distance| round.ahead(distance)).collect();
            let mut turns = SendRound { viewers: round.viewers.clone(), ..round };
            let expected: Vec<_> = (0..7).map(|_| turns.next()).collect();
            assert_eq!(ahead, expected);
            round.next();
        }
        assert_eq!(of(0).ahead(0), None);
    }

    #[test]
    fn round_without_viewers_asks_none() {
        let mut round = of(0);
        assert!(!round.begin());
        assert_eq!(round.next(), None);
    }

    proptest! {
        /// Whoever comes and goes: everybody who stays is asked after the last packet came.
        #[test]
        fn nobody_is_left_out(actions in proptest::collection::vec((0..4_u8, 0..20_usize), 1..200)) {
            let mut round = of(5);
            let mut waiting = std::collections::HashSet::new();
            let mut fresh = 100;
            for (action, n) in actions {
                match action {
                    0 => {
                        round.add(fresh);
                        fresh += 1;
                    }
                    1 if !round.viewers().is_empty() => {
                        let gone = round.viewers()[n % round.viewers().len()];
                        round.remove(gone);
                        waiting.remove(&gone);
                    }
                    2 => {
                        round.begin();
                        waiting = round.viewers().iter().copied().collect();
                    }
                    _ => {
                        if let Some(viewer) = round.next() {
                            waiting.remove(&viewer);
                        }
                    }
                }
            }
            while let Some(viewer) = round.next() {
                waiting.remove(&viewer);
            }
            prop_assert!(waiting.is_empty(), "{:?}", waiting);
        }
    }
}
