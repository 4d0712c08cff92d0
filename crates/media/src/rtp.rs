//! What does the header of an RTP packet say, and how is one written?
//!
//! [`Header`] is a view: it borrows the datagram and copies nothing. Parsing checks every length in
//! it, so [`Header::payload`] is always inside the datagram.

use std::ops::Range;

/// The fixed part of an RTP header: RFC 3550 §5.1.
pub const FIXED_HEADER_BYTES: usize = 12;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The datagram ends inside of the header.
    #[error("the datagram ends inside of the RTP header")]
    Truncated,
    /// The version is not 2.
    #[error("the RTP version is not 2")]
    Version,
    /// The padding is longer than what follows the header, or zero bytes long.
    #[error("the RTP padding does not fit")]
    Padding,
}

/// The header of an RTP packet, borrowed from its datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Marker bit; for video the last packet of a picture.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp in ticks of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload lies in the datagram, without padding. Empty for a pure padding packet.
    pub payload_range: Range<usize>,
    datagram: &'a [u8],
    csrcs: &'a [u8],
    extension: Extension<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extension<'a> {
    form: Form,
    elements: &'a [u8],
}

/// How the elements of a header extension are written: RFC 8285 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    /// No extension, or one of another kind.
    Unknown,
}

impl<'a> Header<'a> {
    /// Parses the header of a plain (unprotected) RTP packet.
    ///
    /// Padding is counted at the very end of the datagram, so an SRTP packet must be unprotected
    /// first; for protected ones there is [`header_bytes`].
    pub fn parse(datagram: &'a [u8]) -> Result<Header<'a>, Error> {
        let (fixed, rest) = datagram.split_first_chunk::<FIXED_HEADER_BYTES>().ok_or(Error::Truncated)?;
        // RFC 3550 §5.1: V, P, X, CC; M, PT; sequence number; timestamp; SSRC.
        let &[flags, marker_and_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = fixed;
        if flags >> 6 != 2 {
            return Err(Error::Version);
        }
        let csrc_bytes = usize::from(flags & 0x0f).saturating_mul(4);
        let (csrcs, rest) = rest.split_at_checked(csrc_bytes).ok_or(Error::Truncated)?;
        let (extension, rest) = if flags & 0x10 != 0 {
            Extension::parse(rest)?
        } else {
            (Extension { form: Form::Unknown, elements: &[] }, rest)
        };
        let padding = if flags & 0x20 != 0 {
            // RFC 3550 §5.1: the last byte counts the padding, itself included.
            let count = usize::from(*rest.last().ok_or(Error::Padding)?);
            if count == 0 || count > rest.len() {
                return Err(Error::Padding);
            }
            count
        } else {
            0
        };
        let start = datagram.len().saturating_sub(rest.len());
        let end = datagram.len().saturating_sub(padding);
        Ok(Header {
            marker: marker_and_type & 0x80 != 0,
            payload_type: marker_and_type & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload_range: start..end,
            datagram,
            csrcs,
            extension,
        })
    }

    /// Returns the payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.datagram.get(self.payload_range.clone()).unwrap_or_default()
    }

    /// Returns how many bytes of padding follow the payload.
    pub fn padding_bytes(&self) -> usize {
        self.datagram.len().saturating_sub(self.payload_range.end)
    }

    /// Returns the contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.csrcs.chunks_exact(4).filter_map(|csrc| csrc.try_into().ok().map(u32::from_be_bytes))
    }

    /// Returns the header extension elements, in the order they were written.
    ///
    /// Ends early at an element that does not fit; the elements before it are good.
    pub fn extensions(&self) -> Elements<'a> {
        Elements { form: self.extension.form, rest: self.extension.elements }
    }

    /// Returns the value of the first element with this id.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|(found, _)| *found == id).map(|(_, value)| value)
    }
}

impl<'a> Extension<'a> {
    /// Splits the extension off what follows the CSRCs.
    fn parse(bytes: &'a [u8]) -> Result<(Extension<'a>, &'a [u8]), Error> {
        // RFC 3550 §5.3.1: 16 bits of the profile's, then a length in 32-bit words.
        let (&[p0, p1, l0, l1], rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let length = usize::from(u16::from_be_bytes([l0, l1])).saturating_mul(4);
        let (elements, rest) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
        let form = match u16::from_be_bytes([p0, p1]) {
            // RFC 8285 §4.2
            0xbede => Form::OneByte,
            // RFC 8285 §4.3: the low four bits are the application's.
            0x1000..=0x100f => Form::TwoByte,
            _ => Form::Unknown,
        };
        Ok((Extension { form, elements }, rest))
    }
}

/// The elements of a header extension as (id, value): RFC 8285.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let element = match self.form {
            Form::OneByte => self.next_one_byte(),
            Form::TwoByte => self.next_two_byte(),
            Form::Unknown => None,
        };
        if element.is_none() {
            self.rest = &[];
        }
        element
    }
}

impl<'a> Elements<'a> {
    fn next_one_byte(&mut self) -> Option<(u8, &'a [u8])> {
        let (head, rest) = self.after_padding()?;
        let id = head >> 4;
        // RFC 8285 §4.2: processing ends at id 15, and at id 0 with a length.
        if id == 15 || id == 0 {
            return None;
        }
        // RFC 8285 §4.2: the length field is one less than the length.
        let (value, rest) = rest.split_at_checked(usize::from(head & 0x0f).saturating_add(1))?;
        self.rest = rest;
        Some((id, value))
    }

    fn next_two_byte(&mut self) -> Option<(u8, &'a [u8])> {
        let (id, rest) = self.after_padding()?;
        // RFC 8285 §4.3: the length may be zero.
        let (length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some((id, value))
    }

    /// Skips padding (RFC 8285 §4.1.2) and splits off the byte after it.
    fn after_padding(&mut self) -> Option<(u8, &'a [u8])> {
        let at = self.rest.iter().position(|byte| *byte != 0)?;
        let (head, rest) = self.rest.get(at..)?.split_first()?;
        Some((*head, rest))
    }
}

/// Returns how many bytes the header has, CSRCs and extension included, and looks no further.
///
/// This is what SRTP leaves in the clear (RFC 3711 §3.1), so it works for protected packets too.
pub fn header_bytes(datagram: &[u8]) -> Result<usize, Error> {
    let (&[flags, ..], rest) = datagram.split_first_chunk::<FIXED_HEADER_BYTES>().ok_or(Error::Truncated)?;
    if flags >> 6 != 2 {
        return Err(Error::Version);
    }
    let csrc_bytes = usize::from(flags & 0x0f).saturating_mul(4);
    let (_, mut rest) = rest.split_at_checked(csrc_bytes).ok_or(Error::Truncated)?;
    if flags & 0x10 != 0 {
        (_, rest) = Extension::parse(rest)?;
    }
    Ok(datagram.len().saturating_sub(rest.len()))
}

/// Returns whether a datagram of class [`Rtp`](crate::demux::Class::Rtp) is RTCP.
pub fn is_rtcp(datagram: &[u8]) -> bool {
    // RFC 5761 §4: RTP payload types 64..=95 are not used where both share a port, so that the
    // second byte 192..=223 always means RTCP.
    matches!(datagram, [0x80..=0xbf, 192..=223, ..])
}

/// Writes an RTP header with extension elements at the start of `out`: with heads of one byte if
/// all values fit them, else of two (RFC 8285 §4.1.2).
///
/// Returns its length, or 0 and leaves `out` as it was if it does not fit, the payload type is
/// above 127, an id is not in 1..=14 or a value is not 1 to 255 bytes long.
pub fn write_header(
    out: &mut [u8],
    payload_type: u8,
    marker: bool,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
) -> usize {
    let is_legal = |(id, value): &(u8, &[u8])| matches!(id, 1..=14) && matches!(value.len(), 1..=255);
    if payload_type > 127 || !extensions.iter().all(is_legal) {
        return 0;
    }
    let is_long = extensions.iter().any(|(_, value)| value.len() > 16);
    let head_bytes = if is_long { 2 } else { 1 };
    let element_bytes =
        extensions.iter().fold(0usize, |sum, (_, value)| sum.saturating_add(value.len()).saturating_add(head_bytes));
    let words = element_bytes.div_ceil(4);
    let Ok(length) = u16::try_from(words) else {
        return 0;
    };
    let extension_bytes = if extensions.is_empty() { 0 } else { words.saturating_mul(4).saturating_add(4) };
    let total = FIXED_HEADER_BYTES.saturating_add(extension_bytes);
    let Some((fixed, rest)) = out.get_mut(..total).and_then(<[u8]>::split_first_chunk_mut::<FIXED_HEADER_BYTES>) else {
        return 0;
    };

    let [s0, s1] = seq.to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = ssrc.to_be_bytes();
    // RFC 3550 §5.1: version 2, X if there is an extension.
    let flags = if extensions.is_empty() { 0x80 } else { 0x90 };
    let marker_and_type = payload_type | if marker { 0x80 } else { 0 };
    *fixed = [flags, marker_and_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];

    if let Some((head, elements)) = rest.split_first_chunk_mut::<4>() {
        let [l0, l1] = length.to_be_bytes();
        // RFC 8285 §4.2, §4.3
        let [f0, f1] = if is_long { [0x10, 0x00] } else { [0xbe, 0xde] };
        *head = [f0, f1, l0, l1];
        write_elements(elements, extensions, is_long);
    }
    total
}

/// Fills `out` with elements, with heads of one byte or two, and pads the rest with zeros.
fn write_elements(out: &mut [u8], extensions: &[(u8, &[u8])], has_long_heads: bool) {
    let bytes = extensions.iter().flat_map(|(id, value)| {
        let length = u8::try_from(value.len()).unwrap_or_default();
        let (first, second) =
            if has_long_heads { (*id, Some(length)) } else { ((id << 4) | length.saturating_sub(1), None) };
        std::iter::once(first).chain(second).chain(value.iter().copied())
    });
    // RFC 8285 §4.1.2: padding bytes are zero.
    for (to, from) in out.iter_mut().zip(bytes.chain(std::iter::repeat(0))) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_header_is_read() {
        let datagram = [0x80, 0xe0, 0x12, 0x34, 1, 2, 3, 4, 0xaa, 0xbb, 0xcc, 0xdd, 9, 8, 7];
        let header = Header::parse(&datagram).unwrap();
        assert!(header.marker);
        assert_eq!(header.payload_type, 96);
        assert_eq!(header.seq, 0x1234);
        assert_eq!(header.timestamp, 0x0102_0304);
        assert_eq!(header.ssrc, 0xaabb_ccdd);
        assert_eq!(header.payload(), [9, 8, 7]);
        assert_eq!(header.padding_bytes(), 0);
        assert_eq!(header.csrcs().count(), 0);
        assert_eq!(header.extensions().count(), 0);
    }

    #[test]
    fn csrcs_extension_and_padding_are_told_from_the_payload() {
        let mut datagram = fixed(0xb2);
        datagram.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        datagram.extend([0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0]);
        datagram.extend([7, 7, 0, 0, 3]);
        let header = Header::parse(&datagram).unwrap();
        assert_eq!(header.csrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(header.extension(1), Some(&[0x55][..]));
        assert_eq!(header.payload(), [7, 7]);
        assert_eq!(header.padding_bytes(), 3);
        assert_eq!(header_bytes(&datagram), Ok(28));
    }

    #[test]
    fn a_packet_of_nothing_but_padding_has_an_empty_payload() {
        let mut datagram = fixed(0xa0);
        datagram.extend([0, 0, 0, 4]);
        let header = Header::parse(&datagram).unwrap();
        assert_eq!(header.payload(), []);
        assert_eq!(header.padding_bytes(), 4);
    }

    #[test]
    fn datagram_other_than_rtp_is_an_error() {
        let with = |flags: u8, rest: &[u8]| [&fixed(flags), rest].concat();
        let rows = [
            (vec![], Error::Truncated),
            (fixed(0x80)[..11].to_vec(), Error::Truncated),
            (fixed(0x00), Error::Version),
            (fixed(0x40), Error::Version),
            (fixed(0xc0), Error::Version),
            (with(0x81, &[1, 2, 3]), Error::Truncated),
            (with(0x90, &[0xbe, 0xde, 0]), Error::Truncated),
            (with(0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3]), Error::Truncated),
            (with(0x90, &[0xbe, 0xde, 0xff, 0xff]), Error::Truncated),
            (fixed(0xa0), Error::Padding),
            (with(0xa0, &[1, 2, 0]), Error::Padding),
            (with(0xa0, &[1, 2, 4]), Error::Padding),
        ];
        for (datagram, error) in rows {
            assert_eq!(Header::parse(&datagram), Err(error), "{datagram:x?}");
        }
    }

    #[test]
    fn extension_elements_are_read_in_both_forms() {
        type Row = (u16, &'static [u8], &'static [(u8, &'static [u8])]);
        let rows: [Row; 13] = [
            (0xbede, &[0x10, 1, 0x21, 2, 3, 0, 0, 0], &[(1, &[1]), (2, &[2, 3])]),
            // Padding between elements.
            (0xbede, &[0x10, 1, 0, 0, 0x20, 2, 0, 0], &[(1, &[1]), (2, &[2])]),
            // Id 15, and id 0 with a length, end it.
            (0xbede, &[0x10, 1, 0xf0, 2, 0x20, 3, 0, 0], &[(1, &[1])]),
            (0xbede, &[0x10, 1, 0x03, 2, 0x20, 3, 0, 0], &[(1, &[1])]),
            // An element that runs over the end is not there.
            (0xbede, &[0x10, 1, 0x2f, 2], &[(1, &[1])]),
            (0xbede, &[], &[]),
            (0xbede, &[0, 0, 0, 0], &[]),
            (0x1000, &[1, 0, 2, 1, 9, 0, 0, 0], &[(1, &[]), (2, &[9])]),
            (0x100f, &[200, 2, 8, 9], &[(200, &[8, 9])]),
            (0x1000, &[1, 1, 5, 7], &[(1, &[5])]),
            (0x1000, &[1, 200, 5, 7], &[]),
            // Forms of others.
            (0x1010, &[1, 1, 5, 0], &[]),
            (0xabcd, &[0x10, 1, 0, 0], &[]),
        ];
        for (profile, elements, expected) in rows {
            let mut datagram = fixed(0x90);
            datagram.extend(profile.to_be_bytes());
            datagram.extend(((elements.len() / 4) as u16).to_be_bytes());
            datagram.extend(elements);
            let header = Header::parse(&datagram).unwrap();
            assert_eq!(header.extensions().collect::<Vec<_>>(), expected, "{profile:x} {elements:x?}");
            assert_eq!(header.payload(), []);
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_the_second_byte() {
        for second in 0..=255 {
            assert_eq!(is_rtcp(&[0x80, second, 0, 0]), (192..=223).contains(&second), "{second}");
        }
        assert!(!is_rtcp(&[0x80]));
        assert!(!is_rtcp(&[]));
        assert!(!is_rtcp(&[0x00, 200]));
    }

    #[test]
    fn a_header_is_written_as_rfc_8285_says() {
        let mut out = [0xff; 32];
        let extensions: [(u8, &[u8]); 2] = [(3, &[0xaa]), (5, &[1, 2, 3])];
        let length = write_header(&mut out, 111, true, 0x1234, 5, 6, &extensions);
        assert_eq!(
            out[..length],
            [
                0x90, 0xef, 0x12, 0x34, 0, 0, 0, 5, 0, 0, 0, 6, // fixed
                0xbe, 0xde, 0, 2, 0x30, 0xaa, 0x52, 1, 2, 3, 0, 0
            ]
        );
        assert_eq!(out[length..], [0xff; 8]);
    }

    #[test]
    fn a_header_that_cannot_be_written_leaves_the_buffer_alone() {
        let long = [0; 256];
        type Row<'a> = (usize, u8, &'a [(u8, &'a [u8])]);
        let rows: [Row; 7] = [
            (11, 96, &[]),
            (19, 96, &[(1, &[1])]),
            (64, 128, &[]),
            (64, 96, &[(0, &[1])]),
            (64, 96, &[(15, &[1])]),
            (64, 96, &[(1, &[])]),
            (300, 96, &[(1, &long)]),
        ];
        for (size, payload_type, extensions) in rows {
            let mut out = vec![0xff; size];
            assert_eq!(write_header(&mut out, payload_type, false, 0, 0, 0, extensions), 0);
            assert!(out.iter().all(|byte| *byte == 0xff), "{size} {payload_type} {extensions:?}");
        }
    }

    fn fixed(flags: u8) -> Vec<u8> {
        vec![flags, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_reach_outside(bytes: Vec<u8>, first in 0x80u8..=0xbf) {
            let mut datagram = vec![first];
            datagram.extend(bytes);
            if let Ok(header) = Header::parse(&datagram) {
                prop_assert!(header.payload_range.start <= header.payload_range.end);
                prop_assert!(header.payload_range.end <= datagram.len());
                prop_assert_eq!(header_bytes(&datagram), Ok(header.payload_range.start));
                prop_assert_eq!(header.payload().len() + header.padding_bytes() + header.payload_range.start, datagram.len());
                let elements: usize = header.extensions().map(|(_, value)| value.len() + 1).sum();
                prop_assert!(elements <= header.payload_range.start);
            }
        }

        #[test]
        fn what_was_written_is_read(
            payload_type in 0u8..=127, marker: bool, seq: u16, timestamp: u32, ssrc: u32,
            extensions in proptest::collection::vec((1u8..=14, proptest::collection::vec(any::<u8>(), 1..=16)), 0..6),
            payload: Vec<u8>,
        ) {
            let extensions: Vec<(u8, &[u8])> = extensions.iter().map(|(id, value)| (*id, value.as_slice())).collect();
            let mut out = [0xff; 160];
            let length = write_header(&mut out, payload_type, marker, seq, timestamp, ssrc, &extensions);
            prop_assert!(length >= FIXED_HEADER_BYTES);
            prop_assert_eq!(length % 4, 0);
            let datagram = [&out[..length], &payload].concat();
            let header = Header::parse(&datagram).unwrap();
            prop_assert_eq!(
                (header.payload_type, header.marker, header.seq, header.timestamp, header.ssrc),
                (payload_type, marker, seq, timestamp, ssrc)
            );
            prop_assert_eq!(header.extensions().collect::<Vec<_>>(), extensions);
            prop_assert_eq!(header.payload(), payload);
        }
    }
}
