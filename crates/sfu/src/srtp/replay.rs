//! Was this packet seen before?
//!
//! A sliding window over packet indices (RFC 3711 §3.3.2). Asked before a packet is decrypted and
//! told only of those that proved authentic, so that a forger cannot move it.

/// Which of the last [`WINDOW`] indices have been seen.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// The highest index seen.
    highest: Option<u64>,
    /// A bit per index, at its remainder by [`WINDOW`]; those above the highest are stale.
    seen: [u64; WORDS],
}

impl Default for Replay {
    fn default() -> Replay {
        Replay::new()
    }
}

impl Replay {
    /// Nothing has been seen.
    pub(crate) fn new() -> Replay {
        Replay { highest: None, seen: [0; WORDS] }
    }

    /// Returns whether `index` may be new: not seen, and not too old to tell.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        match self.highest {
            Some(highest) if index <= highest => {
                let in_window = highest.wrapping_sub(index) < WINDOW;
                let (word, bit) = place(index);
                in_window && self.seen.get(word).is_some_and(|seen| seen & bit == 0)
            }
            _ => true,
        }
    }

    /// An authentic packet had `index`, which [`Replay::is_new`].
    pub(crate) fn record(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {}
            Some(highest) if index.wrapping_sub(highest) < WINDOW => {
                for skipped in highest.saturating_add(1)..index {
                    let (word, bit) = place(skipped);
                    if let Some(seen) = self.seen.get_mut(word) {
                        *seen &= !bit;
                    }
                }
                self.highest = Some(index);
            }
            _ => {
                self.seen = [0; WORDS];
                self.highest = Some(index);
            }
        }
        let (word, bit) = place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    /// Returns the highest index seen.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// The word and the bit in it that stand for `index`.
fn place(index: u64) -> (usize, u64) {
    let at = index % WINDOW;
    let word = usize::try_from(at / 64).unwrap_or_default(); // below 16
    (word, 1 << (at % 64))
}

/// Threat T11: 1,024 packets. RFC 3711 §3.3.2 asks for 64 at least; a key frame of a fast
/// stream may be reordered by more.
const WINDOW: u64 = 1_024;
const WORDS: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_index_is_new_once_while_it_is_in_the_window() {
        let mut replay = Replay::new();
        for (index, is_new) in [
            (5_000, true),
            (5_000, false),
            (4_999, true),
            (4_999, false),
            (5_000 - 1_023, true),
            (5_000 - 1_024, false),
            (0, false),
            (6_023, true),
            (5_000, false),
            (5_001, true),
            (4_999, false),
            (6_024, true),
            (1_000_000, true),
            (1_000_000 - 1_023, true),
            (6_024, false),
        ] {
            assert_eq!(replay.is_new(index), is_new, "{index}");
            if is_new {
                replay.record(index);
            }
        }
    }

    /// Remembers everything.
    #[derive(Default)]
    struct Twin {
        seen: BTreeSet<u64>,
    }

    impl Twin {
        fn is_new(&self, index: u64) -> bool {
            let too_old = self.seen.last().is_some_and(|highest| index + 1_024 <= *highest);
            !too_old && !self.seen.contains(&index)
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_twin_that_remembers_everything(
            steps in prop::collection::vec(
                prop_oneof![6 => -40i64..40, 2 => -1_100i64..1_100, 1 => -5_000i64..5_000],
                1..600,
            ),
        ) {
            let (mut replay, mut twin) = (Replay::new(), Twin::default());
            let mut index = 3_000u64;
            for step in steps {
                index = index.saturating_add_signed(step);
                prop_assert_eq!(replay.is_new(index), twin.is_new(index));
                if replay.is_new(index) {
                    replay.record(index);
                    twin.seen.insert(index);
                    prop_assert_eq!(replay.highest(), twin.seen.last().copied());
                }
            }
        }
    }
}
