//! What time is it, in the words of RTCP and in the words of the operating system?
//!
//! [`NtpTime`] is the wall clock of sender reports and of abs-capture-time. [`WallClock`] ties it
//! to the monotonic clock by one pair of readings, so that a step of the system clock cannot tear a
//! running stream.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970): RFC 5905 Figure 4.
const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;

/// Where era 1 begins (7 February 2036), in seconds since 1900.
const ERA_SECONDS: u64 = 1 << 32;

/// A moment of the wall clock: seconds since 1900 as a fixed-point number, 32 bits before and 32
/// after the point (RFC 3550 §4).
///
/// The seconds wrap in February 2036. Conversions read values from 1968 up to 2104, and differences
/// are right across the wrap; for that reason there is no `Ord`: compare by
/// [`difference_ms`](Self::difference_ms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Creates the moment that lies `ms` milliseconds after the Unix epoch.
    pub const fn from_unix_ms(ms: u64) -> NtpTime {
        NtpTime::from_unix(Duration::from_millis(ms))
    }

    /// Creates the moment that lies `ms` milliseconds, with fractions, after the Unix epoch.
    ///
    /// Anything that is not a number, or lies before the Unix epoch, becomes the Unix epoch.
    pub fn from_unix_ms_f64(ms: f64) -> NtpTime {
        NtpTime::from_unix(Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default())
    }

    /// Creates a moment from the system clock; what lies before the Unix epoch becomes the epoch.
    pub fn from_system_time(time: SystemTime) -> NtpTime {
        NtpTime::from_unix(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Returns whole milliseconds since the Unix epoch, rounded; 0 for moments before it.
    pub fn to_unix_ms(self) -> u64 {
        let (seconds, fraction) = self.unix_parts();
        if seconds < 0 {
            return 0;
        }
        let ms = (fraction.saturating_mul(1000).saturating_add(1 << 31)) >> 32;
        seconds.unsigned_abs().saturating_mul(1000).saturating_add(ms)
    }

    /// Returns milliseconds since the Unix epoch with fractions (good to about 0.2 µs).
    pub fn to_unix_ms_f64(self) -> f64 {
        let (seconds, fraction) = self.unix_parts();
        seconds as f64 * 1000.0 + fraction as f64 * (1000.0 / ERA_SECONDS as f64)
    }

    /// Returns the moment as the system clock would tell it, to the nanosecond.
    pub fn to_system_time(self) -> SystemTime {
        let (seconds, fraction) = self.unix_parts();
        // Moments before 1970 do not occur outside of broken peers.
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        UNIX_EPOCH.checked_add(since.saturating_add(fraction_to_duration(fraction))).unwrap_or(UNIX_EPOCH)
    }

    /// Returns `self - earlier` in milliseconds; negative if `earlier` is later.
    ///
    /// Right as long as the two are less than 68 years apart.
    pub fn difference_ms(self, earlier: NtpTime) -> f64 {
        self.since(earlier) as f64 * (1000.0 / ERA_SECONDS as f64)
    }

    /// Returns the time that passed since `earlier`; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: NtpTime) -> Duration {
        u64::try_from(self.since(earlier)).map_or(Duration::ZERO, q32_to_duration)
    }

    /// Returns the middle 32 bits, the form of "last SR" in a report block (RFC 3550 §6.4.1).
    pub const fn middle_32(self) -> u32 {
        ((self.0 >> 16) & 0xffff_ffff) as u32
    }

    /// Returns the signed distance to `earlier` in units of 2^-32 s.
    const fn since(self, earlier: NtpTime) -> i64 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    const fn from_unix(since: Duration) -> NtpTime {
        NtpTime(duration_to_q32(since).wrapping_add(UNIX_EPOCH_SECONDS << 32))
    }

    /// Returns seconds since the Unix epoch, and the fraction of a second in units of 2^-32.
    fn unix_parts(self) -> (i64, u64) {
        let mut seconds = self.0 >> 32;
        // RFC 4330 §3: with the top bit clear, the time is in 2036..2104.
        if seconds < ERA_SECONDS / 2 {
            seconds = seconds.wrapping_add(ERA_SECONDS);
        }
        (seconds.wrapping_sub(UNIX_EPOCH_SECONDS).cast_signed(), self.0 & 0xffff_ffff)
    }
}

impl Add<Duration> for NtpTime {
    type Output = NtpTime;

    fn add(self, duration: Duration) -> NtpTime {
        NtpTime(self.0.wrapping_add(duration_to_q32(duration)))
    }
}

impl Sub<Duration> for NtpTime {
    type Output = NtpTime;

    fn sub(self, duration: Duration) -> NtpTime {
        NtpTime(self.0.wrapping_sub(duration_to_q32(duration)))
    }
}

impl From<SystemTime> for NtpTime {
    fn from(time: SystemTime) -> NtpTime {
        NtpTime::from_system_time(time)
    }
}

/// A wall clock that runs on the monotonic clock from one pair of readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    instant: Instant,
    ntp: NtpTime,
}

impl WallClock {
    /// Creates a clock from two readings of the same moment.
    pub const fn new(instant: Instant, ntp: NtpTime) -> WallClock {
        WallClock { instant, ntp }
    }

    /// Returns the wall-clock time of a moment of the monotonic clock.
    pub fn at(&self, instant: Instant) -> NtpTime {
        match instant.checked_duration_since(self.instant) {
            Some(after) => NtpTime(self.ntp.0.wrapping_add(duration_to_q32(after))),
            None => {
                let before = self.instant.saturating_duration_since(instant);
                NtpTime(self.ntp.0.wrapping_sub(duration_to_q32(before)))
            }
        }
    }

    /// Returns the monotonic moment of a wall-clock time, unless the operating system's clock
    /// cannot express it (a time from before the machine started, say).
    pub fn instant_of(&self, ntp: NtpTime) -> Option<Instant> {
        let since = ntp.since(self.ntp);
        let distance = q32_to_duration(since.unsigned_abs());
        if since < 0 { self.instant.checked_sub(distance) } else { self.instant.checked_add(distance) }
    }
}

/// Returns a duration in units of 2^-32 s, rounded; the seconds wrap.
const fn duration_to_q32(duration: Duration) -> u64 {
    let fraction = (((duration.subsec_nanos() as u64) << 32).wrapping_add(NANOS / 2)) / NANOS;
    (duration.as_secs() << 32).wrapping_add(fraction)
}

fn q32_to_duration(q32: u64) -> Duration {
    Duration::from_secs(q32 >> 32).saturating_add(fraction_to_duration(q32 & 0xffff_ffff))
}

/// Returns a fraction of a second, in units of 2^-32, rounded to nanoseconds.
fn fraction_to_duration(fraction: u64) -> Duration {
    Duration::from_nanos((fraction.saturating_mul(NANOS).saturating_add(1 << 31)) >> 32)
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_moments_are_told_as_others_tell_them() {
        let rows = [
            (0, 0x83aa_7e80_0000_0000),
            (1, 0x83aa_7e80_0041_8937),
            (500, 0x83aa_7e80_8000_0000),
            (1_763_930_000_123, 0xeccd_ee10_1f7c_ed91),
            // The last whole second of era 0, and the first two of era 1.
            (2_085_978_495_000, 0xffff_ffff_0000_0000),
            (2_085_978_496_000, 0x0000_0000_0000_0000),
            (2_085_978_497_000, 0x0000_0001_0000_0000),
        ];
        for (unix_ms, ntp) in rows {
            assert_eq!(NtpTime::from_unix_ms(unix_ms), NtpTime(ntp), "{unix_ms}");
            assert_eq!(NtpTime(ntp).to_unix_ms(), unix_ms, "{ntp:#x}");
        }
    }

    #[test]
    fn invalid_ntp_time_becomes_the_unix_epoch() {
        for ms in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(NtpTime::from_unix_ms_f64(ms), NtpTime::from_unix_ms(0), "{ms}");
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(NtpTime::from_system_time(before), NtpTime::from_unix_ms(0));
    }

    #[test]
    fn a_moment_before_1970_does_not_go_below_zero() {
        let in_1968 = NtpTime(1 << 63);
        assert_eq!(in_1968.to_unix_ms(), 0);
        assert!(in_1968.to_unix_ms_f64() < 0.0);
        assert!(in_1968.to_system_time() < UNIX_EPOCH + Duration::from_secs(1));
    }

    #[test]
    fn the_middle_bits_are_those_of_a_report_block() {
        assert_eq!(NtpTime(0x0123_4567_89ab_cdef).middle_32(), 0x4567_89ab);
    }

    #[test]
    fn differences_are_right_across_the_wrap_of_2036() {
        let before = NtpTime::from_unix_ms(2_085_978_495_500);
        let after = before + Duration::from_secs(1);
        assert_eq!(after.difference_ms(before), 1000.0);
        assert_eq!(before.difference_ms(after), -1000.0);
        assert_eq!(after.saturating_since(before), Duration::from_secs(1));
        assert_eq!(before.saturating_since(after), Duration::ZERO);
        assert_eq!(after - Duration::from_secs(1), before);
    }

    #[test]
    fn a_clock_tells_moments_before_and_after_its_anchor() {
        let instant = Instant::now() + Duration::from_secs(1000);
        let ntp = NtpTime::from_unix_ms(1_763_930_000_123);
        let clock = WallClock::new(instant, ntp);
        let second = Duration::from_secs(1);
        assert_eq!(clock.at(instant), ntp);
        assert_eq!(clock.at(instant + second), ntp + second);
        assert_eq!(clock.at(instant - second), ntp - second);
        assert_eq!(clock.instant_of(ntp + second), Some(instant + second));
        assert_eq!(clock.instant_of(ntp - second), Some(instant - second));
    }

    proptest! {
        #[test]
        fn milliseconds_survive_the_round_trip(ms in 0u64..4_200_000_000_000) {
            prop_assert_eq!(NtpTime::from_unix_ms(ms).to_unix_ms(), ms);
            let float = NtpTime::from_unix_ms(ms).to_unix_ms_f64();
            prop_assert!((float - ms as f64).abs() < 0.001);
            prop_assert_eq!(NtpTime::from_unix_ms_f64(ms as f64).to_unix_ms(), ms);
        }

        #[test]
        fn system_time_survives_the_round_trip(seconds in 0u64..4_200_000_000, nanos in 0u32..1_000_000_000) {
            let time = UNIX_EPOCH + Duration::new(seconds, nanos);
            prop_assert_eq!(NtpTime::from(time).to_system_time(), time);
        }

        #[test]
        fn nothing_panics_on_any_bits(a: u64, b: u64) {
            let (a, b) = (NtpTime(a), NtpTime(b));
            let _ = (a.to_unix_ms(), a.to_unix_ms_f64(), a.to_system_time(), a.middle_32());
            let _ = (a.difference_ms(b), a.saturating_since(b), a + Duration::MAX, a - Duration::MAX);
            let _ = WallClock::new(Instant::now(), a).instant_of(b);
        }

        #[test]
        fn a_clock_and_its_inverse_agree(offset_us in -100_000_000i64..100_000_000) {
            let anchor = Instant::now() + Duration::from_secs(1000);
            let offset = Duration::from_micros(offset_us.unsigned_abs());
            let instant = if offset_us < 0 { anchor - offset } else { anchor + offset };
            let clock = WallClock::new(anchor, NtpTime::from_unix_ms(2_085_978_495_500));
            prop_assert_eq!(clock.instant_of(clock.at(instant)), Some(instant));
        }
    }
}
