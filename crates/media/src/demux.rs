//! Which protocol does a datagram on a shared port belong to?

/// What a datagram carries, as far as its first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A STUN message (RFC 8489).
    Stun,
    /// A DTLS record.
    Dtls,
    /// RTP or RTCP, protected or not; [`crate::rtp::is_rtcp`] tells the two apart.
    Rtp,
    /// ZRTP, TURN channel data or nothing we know: drop it.
    Other,
}

/// Returns the class that a datagram with this first byte belongs to.
///
/// # Examples
///
/// ```
/// assert_eq!(media::demux::first_byte(0x80), media::demux::Class::Rtp);
/// ```
pub const fn first_byte(byte: u8) -> Class {
    // RFC 7983 §7, Figure 3.
    match byte {
        0..=3 => Class::Stun,
        20..=63 => Class::Dtls,
        128..=191 => Class::Rtp,
        _ => Class::Other,
    }
}

/// Returns the class of a datagram; an empty one is [`Class::Other`].
pub fn classify(datagram: &[u8]) -> Class {
    datagram.first().map_or(Class::Other, |byte| first_byte(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_rfc_7983() {
        let rows = [
            (0, 3, Class::Stun),
            (4, 15, Class::Other),
            (16, 19, Class::Other), // ZRTP
            (20, 63, Class::Dtls),
            (64, 79, Class::Other), // TURN channel data: we are no TURN client
            (80, 127, Class::Other),
            (128, 191, Class::Rtp),
            (192, 255, Class::Other),
        ];
        for (first, last, class) in rows {
            for byte in first..=last {
                assert_eq!(first_byte(byte), class, "{byte}");
                assert_eq!(classify(&[byte, 1, 2]), class, "{byte}");
            }
        }
    }

    #[test]
    fn an_empty_datagram_has_no_protocol() {
        assert_eq!(classify(&[]), Class::Other);
    }
}
