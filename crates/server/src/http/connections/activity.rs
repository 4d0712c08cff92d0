//! Which deadline does a connection have now?
//!
//! [`Activity`] notes what a connection does: heads of requests, answers under way, writes that its
//! peer does not take. It says when to look again and what to do then; the connection's task does
//! it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::limits::{HEADER_TIMEOUT, IDLE_TIMEOUT, TURN_BYTES, WRITE_BYTES_PER_SECOND, WRITE_TIMEOUT};

/// How often a busy connection is looked at for a reader that does not read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What a connection has been doing, as far as its deadlines need to know.
pub(super) struct Activity {
    state: Mutex<State>,
    /// Bytes that were read in this turn of the connection's task.
    turn_bytes: AtomicUsize,
    /// Whether a handler has taken the connection over: its own task reads then, and has turns of
    /// its own.
    is_taken_over: AtomicBool,
    /// The next deadline has come nearer.
    pub(super) hurried: Notify,
}

struct State {
    /// Requests that are being answered.
    busy: usize,
    /// When it last fell idle.
    idle_since: Instant,
    /// When the first byte of a head arrived that is not whole yet. HTTP/1 only: HTTP/2 has other
    /// frames too.
    head_began_at: Option<Instant>,
    /// Time since which the peer has not taken all bytes that it is sent.
    write_stalled_since: Option<Instant>,
    /// Bytes that the peer took since then.
    written_bytes: u64,
    is_http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    /// Idle for too long.
    Leave,
    /// A deadline has passed in the middle of something.
    Cut,
    /// Its reader does not read, or too slowly.
    CutSlowReader,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All bytes of it are on their way.
    All,
    /// This number of its bytes is on the way.
    Part(usize),
    /// The peer takes nothing now.
    Nothing,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            busy: 0,
            idle_since: now,
            head_began_at: None,
            write_stalled_since: None,
            written_bytes: 0,
            is_http2: false,
        };
        Self {
            state: Mutex::new(state),
            turn_bytes: AtomicUsize::new(0),
            is_taken_over: AtomicBool::new(false),
            hurried: Notify::new(),
        }
    }

    /// The connection's task is polled.
    pub(super) fn turn_begins(&self) {
        self.turn_bytes.store(0, Ordering::Relaxed);
    }

    /// Returns how many bytes may be read in this turn.
    pub(super) fn turn_left(&self) -> usize {
        if self.is_taken_over.load(Ordering::Relaxed) {
            return usize::MAX;
        }
        TURN_BYTES.saturating_sub(self.turn_bytes.load(Ordering::Relaxed))
    }

    /// The connection's task has ended. If a handler took the connection over, it is read without
    /// turns from now on.
    pub(super) fn taken_over(&self) {
        self.is_taken_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn request_began(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        state.busy += 1;
        state.head_began_at = None;
        Busy(Arc::clone(self))
    }

    /// Bytes came. Until its preface is whole, HTTP/2 cannot be told from a head of HTTP/1, and has
    /// the same time.
    pub(super) fn read(&self, count: usize, is_http2: bool, now: Instant) {
        self.turn_bytes.fetch_add(count, Ordering::Relaxed);
        let mut state = lock(&self.state);
        if is_http2 && !state.is_http2 {
            state.is_http2 = true;
            state.head_began_at = None;
        }
        if state.busy == 0 && !state.is_http2 && state.head_began_at.is_none() {
            state.head_began_at = Some(now);
            self.hurried.notify_one();
        }
    }

    pub(super) fn wrote(&self, outcome: Wrote, now: Instant) {
        let mut state = lock(&self.state);
        match outcome {
            Wrote::All => state.write_stalled_since = None,
            Wrote::Part(count) => state.written_bytes = state.written_bytes.saturating_add(count as u64),
            Wrote::Nothing if state.write_stalled_since.is_none() => {
                state.write_stalled_since = Some(now);
                state.written_bytes = 0;
                self.hurried.notify_one();
            }
            Wrote::Nothing => {}
        }
    }

    /// When to look again.
    pub(super) fn check_at(&self, now: Instant) -> Instant {
        let state = lock(&self.state);
        if state.busy > 0 || state.write_stalled_since.is_some() {
            return now + CHECK_INTERVAL;
        }
        let at = match state.head_began_at {
            Some(began_at) => began_at + HEADER_TIMEOUT,
            None => state.idle_since + IDLE_TIMEOUT,
        };
        // Once it is on its way out, do not spin.
        at.max(now + Duration::from_millis(100))
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let state = lock(&self.state);
        let is_slow = state.write_stalled_since.is_some_and(|since| {
            let stalled = now.saturating_duration_since(since);
            let least = stalled.as_secs().saturating_mul(WRITE_BYTES_PER_SECOND);
            stalled >= WRITE_TIMEOUT && state.written_bytes < least
        });
        if is_slow {
            Verdict::CutSlowReader
        } else if state.busy > 0 {
            Verdict::Stay
        } else if state.head_began_at.is_some_and(|began_at| now >= began_at + HEADER_TIMEOUT) {
            Verdict::Cut
        } else if state.head_began_at.is_none() && now >= state.idle_since + IDLE_TIMEOUT {
            Verdict::Leave
        } else {
            Verdict::Stay
        }
    }
}

/// A request is being answered while this lives: until the last byte of the answer has been handed
/// over.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.busy -= 1;
        if state.busy == 0 {
            state.idle_since = Instant::now();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock; if it did, the numbers would still be numbers.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_depend_on_what_a_connection_is_doing() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let activity = Arc::new(Activity::new(start));
        assert_eq!(activity.verdict(at(29)), Verdict::Stay);
        assert_eq!(activity.verdict(at(30)), Verdict::Leave, "idle from the start");

        activity.read(2, false, at(10));
        activity.read(1, false, at(14));
        assert_eq!(activity.verdict(at(14)), Verdict::Stay);
        assert_eq!(activity.check_at(at(14)), at(15));
        assert_eq!(activity.verdict(at(15)), Verdict::Cut, "a slow head");

        let busy = activity.request_began();
        assert_eq!(activity.verdict(at(1000)), Verdict::Stay, "an open answer has no deadline");
        activity.read(4, false, at(1000));
        drop(busy);
        assert_eq!(activity.verdict(Instant::now()), Verdict::Stay);

        activity.wrote(Wrote::Nothing, at(2000));
        activity.wrote(Wrote::Nothing, at(2020));
        assert_eq!(activity.verdict(at(2030)), Verdict::CutSlowReader, "the peer does not read");
        activity.wrote(Wrote::All, at(2030));
        assert_ne!(activity.verdict(at(2030)), Verdict::CutSlowReader);
    }

    #[test]
    fn a_reader_has_to_take_a_least_rate_once_it_has_been_slow_for_long() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let activity = Arc::new(Activity::new(start));
        let _busy = activity.request_began();
        let verdict_after = |bytes: usize| {
            activity.wrote(Wrote::All, start);
            activity.wrote(Wrote::Nothing, start);
            for second in 1..=60 {
                activity.wrote(Wrote::Part(bytes), at(second));
                activity.wrote(Wrote::Nothing, at(second));
            }
            activity.verdict(at(60))
        };
        let least = WRITE_BYTES_PER_SECOND as usize;
        assert_eq!(verdict_after(1), Verdict::CutSlowReader, "a byte a second is no reading");
        assert_eq!(verdict_after(least - 1), Verdict::CutSlowReader);
        assert_eq!(verdict_after(least), Verdict::Stay);
    }

    #[test]
    fn frames_of_http2_are_not_a_slow_head() {
        let start = Instant::now();
        let activity = Arc::new(Activity::new(start));
        activity.read(1, false, start);
        activity.read(23, true, start);
        activity.read(17, true, start + Duration::from_secs(20));
        assert_eq!(activity.verdict(start + Duration::from_secs(29)), Verdict::Stay);
        assert_eq!(activity.verdict(start + Duration::from_secs(30)), Verdict::Leave);
    }
}
