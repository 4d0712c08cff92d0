//! Who goes first when not everybody can be served at once?
//!
//! Whoever has waited longest; only that those who have just come wait [`HANDICAP`] longer than those who watch, once they
//! have their first picture. A thousand who join at once may, together with everybody else, want more than a core can send.
//! What is late then is late for those who bring it about, for [`NEW_FOR`] at most, and by no more than the handicap: where a
//! core cannot carry all for longer, all are late, and nobody is left without for the sake of others.
//!
//! Everybody who waits is in one of five queues: those who begin; and by rank those who have something of their own, and
//! those whose stream has something new. For each queue counts how long its first has waited.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

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

/// So much later may those who have just come be served: what 5,000 who join 1,000 on a core for 5,000 come to within ten
/// seconds. With 150 ms those who watch were late as well, by 0.6 s. Rounds by turns instead, one in two to eight for those
/// who have just come, left 2,500 of them without for seconds when 2,500 watched on a full core.
pub(super) const HANDICAP: Duration = Duration::from_secs(1);

/// Who waits for a turn.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// Viewers that begin, or begin anew, each once, and since when.
    pub(super) starts: VecDeque<(usize, Instant)>,
    queues: [RankQueue; RANKS],
}

/// Who waits within one rank.
#[derive(Debug, Default)]
pub(super) struct RankQueue {
    /// Viewers that may have something to send of their own (the rest of a large picture, say), each once, and since when.
    pub(super) turns: VecDeque<(usize, Instant)>,
    /// Streams with new packets, each once.
    pub(super) rounds: VecDeque<StreamId>,
}

/// Who is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextTurn {
    /// Viewers that begin.
    Starts,
    /// Viewers of this rank with something of their own.
    Turns(Rank),
    /// Viewers of this rank of a stream with something new.
    Round(Rank),
}

impl SendQueue {
    /// Those who wait within a rank.
    pub(super) fn of(&mut self, rank: Rank) -> &mut RankQueue {
        &mut self.queues[rank as usize]
    }

    /// Who is next. `since`: how long the next viewer of a stream has waited; `None`: there is none any more, and the stream goes
    /// out of the way.
    pub(super) fn next(&self, since: impl Fn(Rank, StreamId) -> Option<Instant>) -> Option<NextTurn> {
        let starts = self.starts.front().map(|(_, since)| (Some(*since), NextTurn::Starts));
        let mut first: Option<(Option<Instant>, NextTurn)> = starts;
        for (rank, handicap) in [(Rank::Watching, Duration::ZERO), (Rank::New, HANDICAP)] {
            let queue = &self.queues[rank as usize];
            let turns = queue.turns.front().map(|(_, since)| (Some(*since), NextTurn::Turns(rank)));
            let round = queue.rounds.front().map(|stream| (since(rank, *stream), NextTurn::Round(rank)));
            for (since, next) in turns.into_iter().chain(round) {
                let at = since.map(|since| since + handicap);
                if first.is_none_or(|(earliest, _)| at < earliest) {
                    first = Some((at, next));
                }
            }
        }
        first.map(|(_, next)| next)
    }

    /// The next viewer of those that have something of their own.
    pub(super) fn pop_turn(&mut self, of: NextTurn) -> Option<usize> {
        let queue = match of {
            NextTurn::Starts => &mut self.starts,
            NextTurn::Turns(rank) => &mut self.of(rank).turns,
            NextTurn::Round(_) => return None,
        };
        queue.pop_front().map(|(viewer, _)| viewer)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty() && self.queues.iter().all(|queue| queue.turns.is_empty() && queue.rounds.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(1);
    const GONE: u64 = u64::MAX;

    #[test]
    fn who_has_waited_longest_is_next_and_newcomers_wait_longer() {
        let now = Instant::now();
        let ms = |ms| now - Duration::from_millis(ms);
        let check = |turns: [Option<u64>; RANKS], rounds: [Option<u64>; RANKS], expected| {
            let mut send_queue = SendQueue::default();
            for rank in [Rank::Watching, Rank::New] {
                let queue = send_queue.of(rank);
                queue.turns.extend(turns[rank as usize].map(|since| (7, ms(since))));
                queue.rounds.extend(rounds[rank as usize].map(|_| STREAM));
            }
            let since = |rank, _| rounds[rank as usize].filter(|since| *since != GONE).map(ms);
            assert_eq!(send_queue.next(since), expected, "{turns:?}, {rounds:?}");
            assert_eq!(send_queue.is_empty(), expected.is_none());
        };
        check([None, None], [None, None], None);
        check([None, Some(0)], [None, None], Some(NextTurn::Turns(Rank::New)));
        check([None, None], [None, Some(0)], Some(NextTurn::Round(Rank::New)));
        check([Some(5), None], [Some(9), None], Some(NextTurn::Round(Rank::Watching)));
        check([Some(9), None], [Some(5), None], Some(NextTurn::Turns(Rank::Watching)));
        // A newcomer has waited longer, but not by so much.
        check([Some(10), Some(1_000)], [None, None], Some(NextTurn::Turns(Rank::Watching)));
        check([Some(10), None], [None, Some(1_011)], Some(NextTurn::Round(Rank::New)));
        // Where all are late, all are equally late: nobody is left without.
        check([None, None], [Some(900), Some(1_950)], Some(NextTurn::Round(Rank::New)));
        check([None, None], [Some(900), Some(1_850)], Some(NextTurn::Round(Rank::Watching)));
        check([None, None], [Some(0), Some(0)], Some(NextTurn::Round(Rank::Watching)));
        check([Some(900), None], [None, Some(GONE)], Some(NextTurn::Round(Rank::New)));
    }

    #[test]
    fn who_begins_has_no_handicap_whoever_it_is() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        send_queue.of(Rank::New).turns.push_back((1, now - Duration::from_millis(500)));
        send_queue.of(Rank::Watching).turns.push_back((2, now - Duration::from_millis(20)));
        send_queue.starts.push_back((3, now - Duration::from_millis(30)));
        let order: Vec<_> =
            std::iter::from_fn(|| send_queue.next(|_, _| None).and_then(|next| send_queue.pop_turn(next))).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(send_queue.is_empty());
    }
}
