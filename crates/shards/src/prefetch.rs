//! Requests cache lines from memory before a shard needs them.

use sfu::prefetch::Prefetch;

/// The cache line size of x86-64 and most ARM machines.
const LINE_BYTES: usize = 64;
/// The most cache lines requested at once: a core tracks some dozens of outstanding loads.
const MOST_LINES: usize = 24;

/// Returns the prefetch functions of this machine, which a shard calls.
pub fn of_this_machine() -> Prefetch {
    Prefetch::new(ask, ask_behind)
}

fn ask(start: *const u8, len: usize) {
    let first = start.addr() & !(LINE_BYTES - 1);
    let lines = start.addr().saturating_add(len).saturating_sub(first).div_ceil(LINE_BYTES).min(MOST_LINES);
    for line in 0..lines {
        line_at(start.with_addr(first.wrapping_add(line * LINE_BYTES)));
    }
}

/// Prefetches the memory that the words of a value point to. A word that is no address does no
/// harm.
#[cfg(target_arch = "x86_64")]
fn ask_behind(start: *const u8, len: usize, bytes: usize) {
    for word in 0..len / size_of::<usize>() {
        let at = start.wrapping_add(word * size_of::<usize>());
        let address: usize;
        // SAFETY: the callers hold a reference to a value of `len` bytes, so that these eight may
        // be read. They may be padding, of which Rust would make anything, but a load is a load;
        // and the word only becomes the operand of prefetches.
        unsafe {
            std::arch::asm!("mov {}, qword ptr [{}]", out(reg) address, in(reg) at, options(pure, readonly, nostack, preserves_flags));
        }
        ask(std::ptr::without_provenance(address), bytes);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn ask_behind(_: *const u8, _: usize, _: usize) {}

#[cfg(target_arch = "x86_64")]
fn line_at(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing as far as a program can tell, and faults at no address
    // whatever.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

/// Does nothing: stable Rust has no prefetch instruction for this machine.
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
        prefetch.ask_behind(&values, 128);
        prefetch.ask_behind(&(1_u8, usize::MAX, true), 1 << 20);
        // Nothing is read, so that this is no harm either.
        ask(std::ptr::null(), 1_000);
        ask(std::ptr::without_provenance(usize::MAX - 100), 50);
        assert!(values.iter().all(|value| *value == 7));
    }
}
