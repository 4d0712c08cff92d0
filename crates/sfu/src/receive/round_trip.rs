//! How long does a round trip to a sender take (RFC 3611 §4.4, §4.5)?
//!
//! A receiver that sends no media has no sender reports to be answered. Its wall clock goes out as
//! an RRTR block, and comes back in a DLRR block with the time that the sender kept it.

use std::time::Duration;

use media::NtpTime;

use crate::rtcp::DlrrBlock;

/// A longer one is an error of the sender's clock. A guess.
const LONGEST: u32 = 10 << 16;

/// Returns the round trip that a DLRR block tells at `now`; `None` if the sender has heard nothing,
/// or if it cannot be.
pub(super) fn told_by(now: NtpTime, block: &DlrrBlock) -> Option<Duration> {
    if block.last_receiver_report == 0 {
        return None;
    }
    let kept = block.delay_since_last_receiver_report;
    let since = now.middle_32().wrapping_sub(block.last_receiver_report);
    let took = since.wrapping_sub(kept);
    // Rounding on either side may make a very short one negative.
    let took = if took > u32::MAX - 256 { 0 } else { took };
    (took <= LONGEST).then(|| Duration::from_micros(u64::from(took).saturating_mul(1_000_000) >> 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_the_time_since_the_reference_less_the_time_it_was_kept() {
        let now = NtpTime(0x0000_b710_8000_0000);
        // RFC 3550 figure 2, without the sender's second line: 6.125 s.
        let check = |last, kept, expected: Option<u64>| {
            let block = DlrrBlock { ssrc: 1, last_receiver_report: last, delay_since_last_receiver_report: kept };
            assert_eq!(told_by(now, &block), expected.map(Duration::from_micros), "{last:x} {kept:x}");
        };
        check(0xb705_2000, 0x0005_4000, Some(6_125_000));
        check(0xb710_8000, 0, Some(0));
        check(0xb710_8000, 3, Some(0));
        check(0, 0, None);
        check(0xb710_8000, 0x0001_0000, None);
        check(0xb700_0000, 0, None);
    }
}
