//! Which packets does a bad network lose?
//!
//! Every viewer has one of its own: a series of random numbers that depends on the run's seed and
//! the viewer alone, so that a run can be repeated.

/// A network that loses packets independently of each other.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    state: u64,
    /// Numbers below this mean loss.
    threshold: u64,
}

impl Loss {
    /// Loses a `share`, 0 to 1, of all packets.
    pub(crate) fn new(share: f64, seed: u64, viewer: usize) -> Loss {
        // The product of a share below 1 fits; a share of 1 saturates.
        let threshold = (share * 2f64.powi(64)) as u64;
        Loss { state: seed ^ (viewer as u64).wrapping_mul(0xd134_2543_de82_ef95), threshold }
    }

    /// Returns whether the next packet is lost.
    pub(crate) fn takes(&mut self) -> bool {
        if self.threshold == 0 {
            return false;
        }
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) < self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_be_repeated_and_viewers_differ() {
        let run = |seed, viewer| {
            let mut loss = Loss::new(0.02, seed, viewer);
            (0..10_000).filter(|_| loss.takes()).collect::<Vec<u32>>()
        };
        assert_eq!(run(1, 7), run(1, 7));
        assert_ne!(run(1, 7), run(1, 8));
        assert_ne!(run(1, 7), run(2, 7));
        assert!((150..=250).contains(&run(1, 0).len()), "{}", run(1, 0).len());
    }

    #[test]
    fn none_and_all_are_exact() {
        let mut none = Loss::new(0.0, 1, 1);
        let mut all = Loss::new(1.0, 1, 1);
        assert!((0..1_000).all(|_| !none.takes() && all.takes()));
    }
}
