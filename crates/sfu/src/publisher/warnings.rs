//! Which faults does a publisher's media have, though it is forwarded?
//!
//! The publisher's shard finds the faults in packets, and reports them with the stream's snapshot.
//! The words are the server's (`server::engine::dialect::warnings`).

use std::ops::BitOr;

/// One fault of a publisher's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// Pictures are sent in another order than they are shown in.
    BFrames,
    /// Key frames come, and no parameter sets to decode them with have come yet.
    NoParameterSets,
}

impl Warning {
    /// All of them, in the order in which they are told.
    pub const ALL: [Warning; 2] = [Warning::BFrames, Warning::NoParameterSets];
}

/// The faults of a publisher's media: a set of [`Warning`]s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings(u8);

impl Warnings {
    /// One warning.
    pub const fn of(warning: Warning) -> Warnings {
        Warnings(1 << warning as u8)
    }

    /// Whether this is among them.
    pub const fn has(self, warning: Warning) -> bool {
        self.0 & Warnings::of(warning).0 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Warning> {
        Warning::ALL.into_iter().filter(move |warning| self.has(*warning))
    }

    /// Those that are not among `others`.
    #[must_use]
    pub const fn without(self, others: Warnings) -> Warnings {
        Warnings(self.0 & !others.0)
    }
}

impl BitOr for Warnings {
    type Output = Warnings;

    fn bitor(self, other: Warnings) -> Warnings {
        Warnings(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let both = Warnings::of(Warning::BFrames) | Warnings::of(Warning::NoParameterSets);
        assert_eq!(both.iter().collect::<Vec<_>>(), Warning::ALL);
        assert_eq!(both.without(Warnings::of(Warning::BFrames)), Warnings::of(Warning::NoParameterSets));
        assert_eq!(Warnings::default().iter().count(), 0);
    }
}
