//! When does a shard have to look at whom?
//!
//! A heap of wishes. One that has been overtaken is not taken out; whoever it wakes sees that there is nothing to do.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use media::StreamId;

/// Who is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Publisher(usize),
    Report(usize),
    Turn(usize),
    KeyFrame(StreamId),
}

/// Wishes by time.
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
