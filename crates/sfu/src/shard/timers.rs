//! When is each session of a shard due?
//!
//! A heap of times. An outdated entry stays in the heap; the session that it wakes finds nothing to
//! do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use media::StreamId;

/// The session or the task that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Publisher(usize),
    Report(usize),
    Turn(usize),
    KeyFrame(StreamId),
}

/// Due times in their order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, due))| due)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
