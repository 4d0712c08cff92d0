//! Which memory will be needed soon, so that the processor can fetch it meanwhile?
//!
//! A round over thousands of viewers finds none of them in a cache: each needs about forty cache
//! lines, and waits for one after another. If they are prefetched some viewers ahead, they arrive
//! while others are served.
//!
//! A prefetch is an instruction without effect on the results of a program, but not a safe one, so
//! floor 3 passes it in.

/// Prefetches memory; by default it does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Prefetch {
    at: fn(*const u8, usize),
    behind: fn(*const u8, usize, usize),
}

impl Prefetch {
    /// `at` gets the start of a memory range and the number of bytes that will be needed. `behind`
    /// gets the address of a value, its size in bytes, and the number of bytes that are needed at
    /// each address that the value contains.
    pub fn new(at: fn(*const u8, usize), behind: fn(*const u8, usize, usize)) -> Prefetch {
        Prefetch { at, behind }
    }

    /// Prefetches this value.
    pub fn ask<T: ?Sized>(self, value: &T) {
        (self.at)(std::ptr::from_ref(value).cast(), size_of_val(value));
    }

    /// Prefetches `bytes` bytes behind each address in this value: for values of other crates whose
    /// pointers are private. The value itself should be in the cache by now.
    pub fn ask_behind<T>(self, value: &T, bytes: usize) {
        (self.behind)(std::ptr::from_ref(value).cast(), size_of::<T>(), bytes);
    }
}

impl Default for Prefetch {
    fn default() -> Prefetch {
        Prefetch::new(|_, _| {}, |_, _, _| {})
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static ASKED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }

    #[test]
    fn prefetch_gets_the_address_of_the_value() {
        let prefetch = Prefetch::new(
            |at, len| ASKED.set((at.addr(), len)),
            |at, len, bytes| ASKED.set((at.addr(), 1_000 * len + bytes)),
        );
        let values = [1_u32, 2, 3, 4];
        prefetch.ask(&values[1..3]);
        assert_eq!(ASKED.get(), (std::ptr::from_ref(&values[1]).addr(), 8));
        prefetch.ask_behind(&values, 64);
        assert_eq!(ASKED.get(), (values.as_ptr().addr(), 16_064));
        Prefetch::default().ask(&values[..]);
        Prefetch::default().ask_behind(&values, 1);
        assert_eq!(ASKED.get().1, 16_064, "nobody is asked");
    }
}
