//! Which packet does a retransmission repeat (RFC 4588 §4)?
//!
//! Its payload begins with the original sequence number; the rest is the original payload. The
//! number is extended by the newest packet of the encoding. What may be missing lies behind that
//! packet, or at most [`MAX_AHEAD`] numbers in front of it.

/// Packets whose retransmission may come before they do: those at the end of a burst that got lost.
/// A guess.
const MAX_AHEAD: i16 = 1_024;

/// RFC 3711 §3.3.1: a packet index has 48 bits.
const MAX_SEQ: u64 = (1 << 48) - 1;

/// Splits the payload of a retransmission into the extended original number and the original
/// payload.
///
/// `newest` is the highest number of the encoding. `None`: it is padding, or names no packet that
/// may be missing.
pub(super) fn original(newest: u64, payload: &[u8]) -> Option<(u64, &[u8])> {
    let (seq, payload) = payload.split_first_chunk()?;
    let [.., high, low] = newest.to_be_bytes();
    let step = u16::from_be_bytes(*seq).wrapping_sub(u16::from_be_bytes([high, low])).cast_signed();
    let seq = newest.checked_add_signed(i64::from(step)).filter(|seq| *seq <= MAX_SEQ)?;
    (step <= MAX_AHEAD).then_some((seq, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_original_number_lies_behind_the_newest_or_a_little_in_front_and_never_below_zero() {
        for (newest, number, expected) in [
            (1_000_u64, 999_u16, Some(999_u64)),
            (1_000, 1_000, Some(1_000)),
            (1_000, 2_024, Some(2_024)),
            (1_000, 2_025, None),
            (1_000, 0, Some(0)),
            (1_000, 65_535, None),
            (5, 40_000, None),
            (65_536 + 5, 65_535, Some(65_535)),
            (65_535, 3, Some(65_539)),
            (MAX_SEQ, 0, None),
        ] {
            let payload = [&number.to_be_bytes()[..], b"abc"].concat();
            let found = original(newest, &payload);
            assert_eq!(found, expected.map(|seq| (seq, &b"abc"[..])), "{newest}, {number}");
        }
    }

    #[test]
    fn padding_repeats_nothing() {
        assert_eq!(original(7, &[]), None);
        assert_eq!(original(7, &[0]), None);
        assert_eq!(original(7, &[0, 6]), Some((6, &[][..])));
    }
}
