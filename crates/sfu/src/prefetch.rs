//! What will be needed soon, so that the processor fetches it meanwhile?
//!
//! A sweep over thousands of viewers finds none of them in a cache: each brings some forty lines of memory, one wait after
//! another. Asked for some viewers ahead they come while others are served.
//!
//! To ask is an instruction without effect on what a program computes, but no safe one: the floor above hands it in.

/// Asks for memory; by default nobody is asked.
#[derive(Debug, Clone, Copy)]
pub struct Prefetch(fn(*const u8, usize));

impl Prefetch {
    /// `ask` is told where memory begins and how many bytes of it will be needed; it must not read them.
    pub fn new(ask: fn(*const u8, usize)) -> Prefetch {
        Prefetch(ask)
    }

    /// This value will be needed.
    pub fn ask<T: ?Sized>(self, value: &T) {
        (self.0)(std::ptr::from_ref(value).cast(), size_of_val(value));
    }
}

impl Default for Prefetch {
    fn default() -> Prefetch {
        Prefetch(|_, _| {})
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
        let prefetch = Prefetch::new(|at, len| ASKED.set((at.addr(), len)));
        let values = [1_u32, 2, 3, 4];
        prefetch.ask(&values[1..3]);
        assert_eq!(ASKED.get(), (std::ptr::from_ref(&values[1]).addr(), 8));
        Prefetch::default().ask(&values);
        assert_eq!(ASKED.get().1, 8, "nobody is asked");
    }
}
