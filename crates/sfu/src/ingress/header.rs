//! What does the header of an authenticated packet say that has to be known before str0m reads it?

use media::rtp::{FIXED_HEADER_BYTES, Header};

use super::Extensions;

/// An authenticated RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    /// The transport-wide sequence number, which str0m does not see.
    pub(crate) transport_number: Option<u16>,
    /// It names the stream that it repairs (RFC 8852 §2.2).
    pub(crate) names_repaired: bool,
    /// The first two bytes of its payload: an original sequence number if it repairs (RFC 4588 §4).
    pub(crate) original_seq: Option<u16>,
    /// It has no payload but padding.
    pub(crate) is_empty: bool,
    /// With CSRCs and extensions.
    pub(crate) header_bytes: usize,
}

/// Reads a decrypted packet and blanks its transport-wide number. `None` if it is malformed.
pub(super) fn read(packet: &mut [u8], header_bytes: usize, extensions: Extensions) -> Option<Admitted> {
    // A padding of zero bytes is taken for none, as str0m does.
    let has_no_padding = packet.len() == header_bytes || packet.last() == Some(&0);
    let flags = *packet.first()?;
    if has_no_padding && flags & PADDING != 0 {
        *packet.first_mut()? = flags & !PADDING;
    }
    let header = Header::parse(packet).ok()?;
    let mut admitted = Admitted {
        ssrc: header.ssrc,
        payload_type: header.payload_type,
        transport_number: None,
        names_repaired: extensions.repaired_rid.is_some_and(|id| header.extension(id).is_some()),
        original_seq: header.payload().first_chunk().map(|seq| u16::from_be_bytes(*seq)),
        is_empty: header.payload().is_empty(),
        header_bytes,
    };
    if let Some(id) = extensions.transport_number {
        admitted.transport_number = blank(packet.get_mut(..header_bytes)?, id);
    }
    Some(admitted)
}

/// Overwrites all elements of an extension with padding (RFC 8285 §4.1: zero bytes). Returns the last value.
fn blank(header: &mut [u8], id: u8) -> Option<u16> {
    let (fixed, rest) = header.split_first_chunk_mut::<FIXED_HEADER_BYTES>()?;
    if fixed.first()? & EXTENSION == 0 {
        return None;
    }
    let csrc_bytes = usize::from(fixed.first()? & 0x0f).checked_mul(4)?;
    let (profile, mut rest) = rest.get_mut(csrc_bytes..)?.split_first_chunk_mut::<4>()?;
    // RFC 8285 §4.2 and §4.3; anything else has no elements.
    let [high, low, ..] = *profile;
    let two_byte = match u16::from_be_bytes([high, low]) {
        0xbede => false,
        0x1000..=0x100f => true,
        _ => return None,
    };
    let mut value = None;
    while let Some(first) = rest.first().copied() {
        let (found, head, len) = match (first, two_byte) {
            (0, _) => (0, 1, 0),
            (first, true) => (first, 2, usize::from(*rest.get(1)?)),
            // RFC 8285 §4.2: 15 ends the list.
            (first, false) if first >> 4 == 15 => return value,
            (first, false) => (first >> 4, 1, usize::from(first & 0x0f).saturating_add(1)),
        };
        let (element, after) = rest.split_at_mut_checked(len.checked_add(head)?)?;
        if found == id && found != 0 {
            if let Some(number) = element.get(head..).and_then(|bytes| bytes.first_chunk()) {
                value = Some(u16::from_be_bytes(*number));
            }
            element.fill(0);
        }
        rest = after;
    }
    value
}

/// RFC 3550 §5.1.
const PADDING: u8 = 1 << 5;
/// RFC 3550 §5.1.
const EXTENSION: u8 = 1 << 4;

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Extensions = Extensions { transport_number: Some(3), repaired_rid: Some(5) };

    fn packet(profile: u16, elements: &[u8], payload: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = vec![0x91, 96, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, 1, 1];
        bytes.extend(profile.to_be_bytes());
        bytes.extend((elements.len() as u16 / 4).to_be_bytes());
        bytes.extend(elements);
        let header = bytes.len();
        bytes.extend(payload);
        (bytes, header)
    }

    #[test]
    fn the_transport_number_is_read_and_str0m_sees_padding_in_its_place() {
        for (profile, elements, blanked) in [
            (0xbede, [0x10, 7, 0x31, 0x12, 0x34, 0, 0x50, 8], [0x10, 7, 0, 0, 0, 0, 0x50, 8]),
            (0x1000, [3, 2, 0x12, 0x34, 5, 1, 8, 0], [0, 0, 0, 0, 5, 1, 8, 0]),
        ] {
            let (mut bytes, header) = packet(profile, &elements, &[0xab, 0xcd, 1]);
            let admitted = read(&mut bytes, header, IDS).unwrap();
            assert_eq!(admitted.transport_number, Some(0x1234));
            assert!(admitted.names_repaired);
            assert_eq!(admitted.original_seq, Some(0xabcd));
            assert_eq!(bytes[20..28], blanked);
        }
    }

    #[test]
    fn every_copy_of_the_transport_number_is_blanked() {
        let (mut bytes, header) = packet(0xbede, &[0x31, 0, 1, 0x31, 0, 2, 0, 0], &[]);
        assert_eq!(read(&mut bytes, header, IDS).unwrap().transport_number, Some(2));
        assert_eq!(bytes[20..28], [0; 8]);
    }

    #[test]
    fn elements_that_do_not_fit_end_the_list() {
        for (profile, elements) in [(0xbede, [0x3f, 1, 1, 1]), (0x1000, [3, 200, 1, 1]), (0x1000, [0, 0, 0, 3])] {
            let (mut bytes, header) = packet(profile, &elements, &[]);
            let admitted = read(&mut bytes, header, IDS).unwrap();
            assert_eq!((admitted.transport_number, admitted.is_empty), (None, true));
        }
    }

    #[test]
    fn padding_longer_than_the_payload_is_malformed() {
        let (mut bytes, header) = packet(0xbede, &[0; 4], &[1, 9]);
        bytes[0] |= PADDING;
        assert_eq!(read(&mut bytes, header, IDS), None);
        let (mut bytes, header) = packet(0xbede, &[0; 4], &[1, 2]);
        bytes[0] |= PADDING;
        assert!(read(&mut bytes, header, IDS).unwrap().is_empty);
        let (mut bytes, header) = packet(0xbede, &[0; 4], &[1, 0]);
        bytes[0] |= PADDING;
        assert_eq!(read(&mut bytes, header, IDS).unwrap().original_seq, Some(0x100));
    }
}
