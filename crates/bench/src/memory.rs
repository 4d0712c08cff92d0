//! How much memory does a viewer take, of a server that keeps what it has freed?
//!
//! Memory that viewers of an earlier run gave back is used again, so that growth during a later run says too little. So all
//! runs of one call are compared with the moment before the first of them, and only a run at which the server grew beyond what
//! it ever had says anything.

/// What is known of the server's resident memory, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Before the first viewer of the first run.
    empty_kib: Option<u64>,
    highest_kib: u64,
}

impl Memory {
    /// No viewer is there yet.
    pub(crate) fn begins(&mut self, kib: u64) {
        self.empty_kib.get_or_insert(kib);
        self.highest_kib = self.highest_kib.max(kib);
    }

    /// So many viewers are there. Returns KiB for each, if that can be known.
    pub(crate) fn per_viewer(&mut self, kib: u64, viewers: usize) -> Option<f64> {
        let grown = kib.checked_sub(self.empty_kib?).filter(|_| kib > self.highest_kib && viewers > 0);
        self.highest_kib = self.highest_kib.max(kib);
        grown.map(|grown| grown as f64 / viewers as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_grows_beyond_what_it_had_says_anything() {
        let mut memory = Memory::default();
        assert_eq!(memory.per_viewer(9_000, 10), None);
        for (before, after, viewers, expected) in [
            (10_000, 15_000, 100, Some(50.0)),
            // What the first hundred gave back is used again: growth alone would say 41.
            (14_500, 35_000, 500, Some(50.0)),
            (34_000, 34_900, 100, None),
            (34_000, 60_000, 1_000, Some(50.0)),
            (60_000, 61_000, 0, None),
        ] {
            memory.begins(before);
            assert_eq!(memory.per_viewer(after, viewers), expected, "{after}");
        }
    }
}
