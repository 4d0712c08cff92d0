//! How much memory does a viewer take, in a server that keeps freed memory?
//!
//! A later run reuses memory that an earlier run has freed, so the growth during a later run is too
//! small. All runs of one call are therefore compared with the moment before the first run, and
//! only a run with more viewers than any run before gives a figure. For a server that had worked
//! before this moment, the figure is a lower bound.

use crate::process::Usage;

/// Observations of the server's resident memory, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    before: Option<Before>,
    highest_kib: u64,
    most_viewers: usize,
}

/// Before the first viewer of the first run.
#[derive(Debug, Clone, Copy)]
struct Before {
    kib: u64,
    had_worked: bool,
}

/// What a viewer takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PerViewer {
    pub(crate) kib: f64,
    /// It may be more: the server may have used memory again that it had from before the first run.
    pub(crate) is_at_least: bool,
}

/// A server that has just started has used less of a core: nowcast 0.02 s, MediaMTX 0.1 s.
const NEW_CPU_S: f64 = 0.5;

impl Memory {
    /// No viewer is there yet.
    pub(crate) fn begins(&mut self, usage: &Usage) {
        self.begins_with(usage.rss_kib, usage.cpu_s());
    }

    fn begins_with(&mut self, kib: u64, cpu_s: f64) {
        self.before.get_or_insert(Before { kib, had_worked: cpu_s > NEW_CPU_S });
        self.highest_kib = self.highest_kib.max(kib);
    }

    /// Records the memory with this number of viewers. Returns the memory per viewer, if it can be
    /// known.
    pub(crate) fn per_viewer(&mut self, kib: u64, viewers: usize) -> Option<PerViewer> {
        let Before { kib: before_kib, had_worked } = self.before?;
        let is_news = kib > self.highest_kib && viewers > self.most_viewers;
        self.highest_kib = self.highest_kib.max(kib);
        self.most_viewers = self.most_viewers.max(viewers);
        let grown = kib.checked_sub(before_kib).filter(|_| is_news)?;
        Some(PerViewer { kib: grown as f64 / viewers as f64, is_at_least: had_worked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_with_more_viewers_than_before_says_anything() {
        let mut memory = Memory::default();
        assert_eq!(memory.per_viewer(9_000, 10), None);
        for (before, after, viewers, expected) in [
            (10_000, 15_000, 100, Some(50.0)),
            // What the first hundred gave back is used again: growth alone would say 41.
            (14_500, 35_000, 500, Some(50.0)),
            (34_000, 35_100, 100, None),
            (34_000, 60_000, 1_000, Some(50.0)),
            (60_000, 59_000, 2_000, None),
        ] {
            memory.begins_with(before, 0.1);
            let per_viewer = expected.map(|kib| PerViewer { kib, is_at_least: false });
            assert_eq!(memory.per_viewer(after, viewers), per_viewer, "{after}");
        }
    }

    #[test]
    fn of_a_server_that_had_worked_it_is_a_lower_bound() {
        let mut memory = Memory::default();
        memory.begins_with(10_000, 3.0);
        assert_eq!(memory.per_viewer(11_000, 100), Some(PerViewer { kib: 10.0, is_at_least: true }));
    }
}
