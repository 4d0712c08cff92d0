//! What will be needed soon, so that the processor fetches it meanwhile?
//!
//! A round over thousands of viewers finds none of them in a cache: each brings some forty lines of memory, one wait after
//! another. Asked for some viewers ahead they come while others are served.
//!
//! To ask is an instruction without effect on what a program computes, but no safe one: the floor above hands it in.

/// Asks for memory; by default nobody is asked.
#[derive(Debug, Clone, Copy)]
pub struct Prefetch {
    at: fn(*const u8, usize),
    behind: fn(*const u8, usize, usize),
}

impl Prefetch {
    /// `at` is told where memory begins and how many bytes of it will be needed. `behind` is told where a value stands,
    /// its bytes, and how many bytes are needed at each address that stands in it.
    pub fn new(at: fn(*const u8, usize), behind: fn(*const u8, usize, usize)) -> Prefetch {
        Prefetch { at, behind }
    }

    /// This value will be needed.
    pub fn ask<T: ?Sized>(self, value: &T) {
        (self.at)(std::ptr::from_ref(value).cast(), size_of_val(value));
    }

    /// What this value leads to will be needed, so many bytes of it: for values of other crates that keep to themselves where
    /// that is. The value itself should be near by now.
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
    fn what_is_asked_for_is_where_the_value_stands() {
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
