//! Whose time has come?

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// When each of many is to be driven again; they are named by numbers from 0.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The earliest entry of each in the heap; later ones are left there and skipped.
    earliest: Vec<Option<Instant>>,
}

impl Alarms {
    /// `number` wants to be driven at `at`, or earlier if it said so before.
    pub(crate) fn set(&mut self, number: usize, at: Instant) {
        if self.earliest.len() <= number {
            self.earliest.resize(number + 1, None);
        }
        let earliest = &mut self.earliest[number];
        if earliest.is_none_or(|earliest| at < earliest) {
            *earliest = Some(at);
            self.heap.push(Reverse((at, number)));
        }
    }

    /// Returns one whose time has come, and when that was. It must be [set](Self::set) again.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(usize, Instant)> {
        while let Some(&Reverse((at, number))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            if self.earliest[number] == Some(at) {
                self.earliest[number] = None;
                return Some((number, at));
            }
        }
        None
    }

    /// Returns when to come again, at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_called_once_at_the_earliest_time_it_named() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let mut alarms = Alarms::default();
        alarms.set(1, after(30));
        alarms.set(1, after(10));
        alarms.set(1, after(20));
        alarms.set(0, after(15));
        assert_eq!(alarms.poll_timeout(), Some(after(10)));
        assert_eq!(alarms.poll(after(9)), None);
        assert_eq!(alarms.poll(after(100)), Some((1, after(10))));
        assert_eq!(alarms.poll(after(100)), Some((0, after(15))));
        assert_eq!(alarms.poll(after(100)), None);
        alarms.set(1, after(40));
        assert_eq!(alarms.poll(after(100)), Some((1, after(40))));
    }
}
