//! How do counters that wrap on the wire become counters that do not?
//!
//! RTP sequence numbers have 16 bits and timestamps 32. Here they are extended to 64, so that order
//! is `<` and distance is `-` everywhere else. The first value lies one whole cycle above zero, so
//! packets that are older than the first one still have a place, and nothing goes below zero.

/// Extends 16-bit RTP sequence numbers to 64 bits that do not wrap.
///
/// One for each RTP flow. It tolerates loss and reordering of up to half a cycle (32 768 packets).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeqUnwrapper {
    highest: Option<u64>,
}

impl SeqUnwrapper {
    /// Creates an unwrapper that takes the first number it sees for the start.
    pub const fn new() -> SeqUnwrapper {
        SeqUnwrapper { highest: None }
    }

    /// Returns the extended number of a packet, and remembers it if it is the highest so far.
    pub fn extend(&mut self, seq: u16) -> u64 {
        let extended = self.guess(seq);
        self.highest = self.highest.max(Some(extended));
        extended
    }

    /// Returns what [`extend`](Self::extend) would, and remembers nothing.
    ///
    /// For numbers that are only spoken about (a NACK) or not yet authenticated.
    pub fn guess(&self, seq: u16) -> u64 {
        extend(self.highest, u64::from(seq), 16)
    }

    /// Returns the highest extended number seen.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends 32-bit RTP timestamps to 64 bits that do not wrap.
///
/// One for each RTP flow. A timestamp may lie up to half a cycle (2^31 ticks, 6.6 hours at 90 kHz)
/// from the highest one seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimestampUnwrapper {
    highest: Option<u64>,
}

impl TimestampUnwrapper {
    /// Creates an unwrapper that takes the first timestamp it sees for the start.
    pub const fn new() -> TimestampUnwrapper {
        TimestampUnwrapper { highest: None }
    }

    /// Returns the extended timestamp, and remembers it if it is the highest so far.
    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let extended = self.guess(timestamp);
        self.highest = self.highest.max(Some(extended));
        extended
    }

    /// Returns what [`extend`](Self::extend) would, and remembers nothing.
    pub fn guess(&self, timestamp: u32) -> u64 {
        extend(self.highest, u64::from(timestamp), 32)
    }

    /// Returns the highest extended timestamp seen.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Returns whether RTP timestamp `a` is later than `b`, by the shorter way around.
pub const fn timestamp_is_later(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// Returns the value with the given low bits that lies nearest to `highest`.
fn extend(highest: Option<u64>, low: u64, bits: u32) -> u64 {
    let cycle = 1u64.wrapping_shl(bits);
    let half = cycle / 2;
    let Some(highest) = highest else {
        return cycle.saturating_add(low);
    };
    let mask = cycle.wrapping_sub(1);
    let reference = highest & mask;
    let ahead = low.wrapping_sub(reference) & mask;
    // RFC 3711 appendix A. Half a cycle away is ambiguous, and the RFC then stays in the cycle of
    // the reference.
    if ahead < half || (ahead == half && reference < half) {
        highest.saturating_add(ahead)
    } else {
        // `highest` is at least `cycle`, because that is where the first value was put.
        highest.saturating_sub(cycle.wrapping_sub(ahead))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_extended_by_the_shorter_way() {
        let rows: [(&[u16], &[u64]); 8] = [
            (&[0], &[65_536]),
            (&[65_535], &[131_071]),
            (&[7, 8, 10, 9], &[65_543, 65_544, 65_546, 65_545]),
            (&[65_534, 65_535, 0, 1], &[131_070, 131_071, 131_072, 131_073]),
            (&[65_535, 1, 0, 65_534, 2], &[131_071, 131_073, 131_072, 131_070, 131_074]),
            (&[0, 65_535, 1], &[65_536, 65_535, 65_537]),
            // Half a cycle: stays in the cycle of the reference (RFC 3711 appendix A).
            (&[0, 32_768], &[65_536, 98_304]),
            (&[32_768, 0], &[98_304, 65_536]),
        ];
        for (input, expected) in rows {
            let mut unwrapper = SeqUnwrapper::new();
            let extended: Vec<u64> = input.iter().map(|seq| unwrapper.extend(*seq)).collect();
            assert_eq!(extended, expected, "{input:?}");
        }
    }

    #[test]
    fn timestamps_are_extended_by_the_shorter_way() {
        let mut unwrapper = TimestampUnwrapper::new();
        let cycle = 1u64 << 32;
        assert_eq!(unwrapper.extend(u32::MAX), cycle + u64::from(u32::MAX));
        assert_eq!(unwrapper.extend(2_999), 2 * cycle + 2_999);
        assert_eq!(unwrapper.extend(u32::MAX - 1), cycle + u64::from(u32::MAX) - 1);
        assert_eq!(unwrapper.highest(), Some(2 * cycle + 2_999));
    }

    #[test]
    fn later_is_decided_by_the_shorter_way() {
        assert!(timestamp_is_later(1, 0));
        assert!(!timestamp_is_later(0, 1));
        assert!(!timestamp_is_later(5, 5));
        assert!(timestamp_is_later(10, u32::MAX));
        assert!(!timestamp_is_later(u32::MAX, 10));
    }

    #[test]
    fn the_highest_value_of_all_does_not_overflow() {
        assert_eq!(extend(Some(u64::MAX), 0, 16), u64::MAX);
        assert_eq!(extend(Some(u64::MAX), 0, 32), u64::MAX);
    }

    /// RFC 3711 appendix A, word for word, with `s_l` and `ROC` apart.
    fn rfc_3711_index(s_l: u64, roc: u64, seq: u64) -> u64 {
        let v = if s_l < 32_768 {
            if seq as i64 - s_l as i64 > 32_768 { roc - 1 } else { roc }
        } else if s_l as i64 - 32_768 > seq as i64 {
            roc + 1
        } else {
            roc
        };
        v * 65_536 + seq
    }

    proptest! {
        #[test]
        fn any_numbers_are_extended_as_rfc_3711_does(
            start in any::<u16>(),
            numbers in proptest::collection::vec(any::<u16>(), 0..200),
        ) {
            let mut unwrapper = SeqUnwrapper::new();
            let mut highest = unwrapper.extend(start);
            prop_assert_eq!(highest, 65_536 + u64::from(start));
            for seq in numbers {
                let expected = rfc_3711_index(highest % 65_536, highest / 65_536, u64::from(seq));
                prop_assert_eq!(unwrapper.guess(seq), expected);
                prop_assert_eq!(unwrapper.extend(seq), expected);
                highest = highest.max(expected);
                prop_assert_eq!(unwrapper.highest(), Some(highest));
            }
        }

        #[test]
        fn a_walk_with_loss_and_reordering_is_followed_through_wraps(
            start in any::<u16>(),
            steps in proptest::collection::vec(-30_000i64..30_000, 1..300),
        ) {
            let mut unwrapper = SeqUnwrapper::new();
            unwrapper.extend(start);
            let mut highest = 65_536 + i64::from(start);
            for step in steps {
                let at = highest + step;
                highest = highest.max(at);
                prop_assert_eq!(unwrapper.extend(at as u16), at as u64);
            }
        }

        #[test]
        fn a_walk_of_timestamps_is_followed_through_wraps(
            start in any::<u32>(),
            steps in proptest::collection::vec(-90_000i64..2_000_000_000, 1..100),
        ) {
            let mut unwrapper = TimestampUnwrapper::new();
            unwrapper.extend(start);
            let mut highest = (1i64 << 32) + i64::from(start);
            for step in steps {
                let at = highest + step;
                highest = highest.max(at);
                prop_assert_eq!(unwrapper.extend(at as u32), at as u64);
            }
        }
    }
}
