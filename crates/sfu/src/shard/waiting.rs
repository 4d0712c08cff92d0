//! Who goes first when not everybody can be served at once?
//!
//! Those who watch, before those who have just come: a thousand who join at once are a thousand bursts, and together with
//! everybody else they may want more than a core can send. What is late then is late for those who bring it about. It lasts
//! for [`NEW_FOR`] at most: from then on one belongs to those who watch. And every second round begins with those who have
//! just come: a few who watch are served soon whatever many newcomers want, and where both are as many, both get the same.

use std::collections::VecDeque;
use std::time::Duration;

use media::StreamId;

/// Whether somebody has watched for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Watching,
    New,
}

/// All ranks.
pub(super) const RANKS: usize = 2;

/// For so long somebody has just come. The rush into a show is taken to last about as long; a guess.
pub(super) const NEW_FOR: Duration = Duration::from_secs(10);

/// Who waits for a turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: [Queue; RANKS],
    /// The round before began with those who watch.
    is_for_new: bool,
}

/// Who waits within one rank.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Viewers that may have something to send of their own (a start, the rest of a large picture), each once.
    pub(super) turns: VecDeque<usize>,
    /// Streams with new packets, each once.
    pub(super) sweeps: VecDeque<StreamId>,
}

impl Waiting {
    /// Those who wait within a rank.
    pub(super) fn of(&mut self, rank: Rank) -> &mut Queue {
        &mut self.queues[rank as usize]
    }

    /// In which order the next round asks. By turns: with one round in eight or in three, 2,500 who joined 2,500 on a full core
    /// waited for seconds.
    pub(super) fn next_round(&mut self) -> [Rank; RANKS] {
        let is_for_new = self.is_for_new;
        self.is_for_new = !is_for_new;
        if is_for_new { [Rank::New, Rank::Watching] } else { [Rank::Watching, Rank::New] }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.turns.is_empty() && queue.sweeps.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_watch_go_first_but_not_always() {
        let mut waiting = Waiting::default();
        let first: Vec<_> = (0..6).map(|_| waiting.next_round()[0]).collect();
        assert_eq!(first, [Rank::Watching, Rank::New, Rank::Watching, Rank::New, Rank::Watching, Rank::New]);
    }

    #[test]
    fn somebody_of_any_rank_waits() {
        for rank in [Rank::Watching, Rank::New] {
            let mut waiting = Waiting::default();
            assert!(waiting.is_empty());
            waiting.of(rank).turns.push_back(7);
            assert!(!waiting.is_empty());
            assert_eq!(waiting.of(rank).turns.pop_front(), Some(7));
            assert!(waiting.is_empty());
        }
    }
}
