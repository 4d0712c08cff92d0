//! Asks the processor for memory before it is needed.

use sfu::prefetch::Prefetch;

/// A cache line of the machines that we run on.
const LINE_BYTES: usize = 64;
/// No more is asked for at once: there are some dozens of places for what is under way.
const MOST_LINES: usize = 24;

/// What a shard asks with.
pub fn of_this_machine() -> Prefetch {
    Prefetch::new(ask)
}

fn ask(start: *const u8, len: usize) {
    let first = start.addr() & !(LINE_BYTES - 1);
    let lines = (start.addr() + len).saturating_sub(first).div_ceil(LINE_BYTES).min(MOST_LINES);
    for line in 0..lines {
        line_at(start.with_addr(first + line * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
fn line_at(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing as far as a program can tell, and faults at no address whatever.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

/// Other machines do without: stable Rust has no instruction for them.
#[cfg(not(target_arch = "x86_64"))]
fn line_at(_: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_be_asked_for() {
        let values = vec![7_u64; 10_000];
        let prefetch = of_this_machine();
        prefetch.ask(&values[..]);
        prefetch.ask(&values[9_999]);
        prefetch.ask(&values[..0]);
        // Nothing is read, so that this is no harm either.
        ask(std::ptr::null(), 1_000);
        ask(std::ptr::without_provenance(usize::MAX - 100), 50);
        assert!(values.iter().all(|value| *value == 7));
    }
}
