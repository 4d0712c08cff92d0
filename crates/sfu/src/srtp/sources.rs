//! Which state is kept of each SSRC that sends to the server?
//!
//! At most [`MAX_SOURCES`] replay windows, each created by an authentic packet.

use crate::prefetch::Prefetch;

use super::replay::Replay;

/// The replay windows by SSRC.
#[derive(Debug, Default)]
pub(super) struct Sources {
    sources: Vec<Source>,
    /// Grows with every use, to find the source that was unused for longest.
    uses: u64,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    replay: Replay,
    used: u64,
}

impl Sources {
    /// Prefetches the source of a packet that will be looked up soon; most peers send from one
    /// source.
    pub(super) fn prefetch(&self, prefetch: Prefetch) {
        if let Some(first) = self.sources.first() {
            prefetch.ask(first);
        }
    }

    /// Returns the replay window of `ssrc`.
    pub(super) fn find(&self, ssrc: u32) -> Option<&Replay> {
        self.sources.iter().find(|source| source.ssrc == ssrc).map(|source| &source.replay)
    }

    /// Returns `true` if a new source has to replace an old one.
    pub(super) fn is_full(&self) -> bool {
        self.sources.len() >= MAX_SOURCES
    }

    /// Records that an authentic packet of `ssrc` had `index`. Without room, the source that was
    /// silent for longest is dropped.
    pub(super) fn record(&mut self, ssrc: u32, index: u64) {
        self.uses = self.uses.saturating_add(1);
        let used = self.uses;
        if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
            source.replay.record(index);
            source.used = used;
            return;
        }
        let mut replay = Replay::new();
        replay.record(index);
        let new = Source { ssrc, replay, used };
        if !self.is_full() {
            self.sources.push(new);
        } else if let Some(oldest) = self.sources.iter_mut().min_by_key(|source| source.used) {
            *oldest = new;
        }
    }
}

/// Threat T12: SSRCs per transport.
pub(super) const MAX_SOURCES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_that_was_silent_for_longest_makes_room() {
        let mut sources = Sources::default();
        for ssrc in 0..64 {
            assert!(!sources.is_full());
            sources.record(ssrc, 7);
        }
        assert!(sources.is_full());
        sources.record(0, 8);
        sources.record(100, 1);
        assert!(sources.find(1).is_none());
        assert!(sources.find(0).is_some_and(|replay| !replay.is_new(7)));
        assert!(sources.find(100).is_some_and(|replay| !replay.is_new(1)));
        assert_eq!(sources.sources.len(), MAX_SOURCES);
    }
}
