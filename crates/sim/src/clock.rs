//! When does the world begin?
//!
//! The world begins at one moment of the wall clock, whenever a story is told. `str0m` writes the
//! wall clock into sender reports and computes round trips from it in units of 15 µs, so the
//! position of a moment between two such units decides when a missing packet is asked for again.
//! `str0m` reads the machine's clocks once for each process and takes all later moments from the
//! distance to that. A first small world finds out this reading; the world of every story begins
//! where the reading gives [`BEGINNING`] to the nanosecond.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::Story;

/// 1 January 2035, 0:00:00 UTC, since the Unix epoch. Later than any day on which tests run, because an `Instant` of
/// the past need not exist, and before NTP's seconds overflow (7 February 2036).
const BEGINNING: Duration = Duration::from_secs(2_051_222_400);

/// The moment at which all worlds of this process begin.
pub(crate) fn beginning() -> Instant {
    static BEGINS: OnceLock<Instant> = OnceLock::new();
    *BEGINS.get_or_init(|| {
        let (at, said) = Story::reading(Instant::now() + Duration::from_secs(60));
        let later = (SystemTime::UNIX_EPOCH + BEGINNING).duration_since(said);
        at + later.expect("this machine's clock is before 2035; if it is right, choose a later beginning")
    })
}

/// What a clock on the wall of the world says.
pub(crate) fn wall_clock(at: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + BEGINNING + at.saturating_duration_since(beginning())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn str0m_reads_the_same_wall_clock_at_the_beginning_of_every_world() {
        let (at, said) = Story::reading(beginning());
        assert_eq!(said, wall_clock(at));
    }
}
