//! What time is it, as a number that fits into a packet?

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since this process first asked, by the monotonic clock.
///
/// Publisher and viewers are one process, so the difference of two such numbers is a delay.
pub(crate) fn ns(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    u64::try_from(at.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the current time of the clock with which the kernel stamps datagrams.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
