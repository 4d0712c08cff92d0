//! What does the header of an authenticated packet say?
//!
//! One pass over the elements of the header extension (RFC 8285) reads all of them. An element that
//! is malformed is left out; a second element of the same id replaces the first.

use media::NtpTime;
use media::packet::Extensions;
use media::rtp::Header;

use super::negotiated::ExtensionIds;

/// Values of header extension elements, borrowed from the packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Elements<'a> {
    pub(super) mid: Option<&'a [u8]>,
    pub(super) rid: Option<&'a [u8]>,
    pub(super) repaired_rid: Option<&'a [u8]>,
    pub(super) transport_number: Option<u16>,
    /// The sender's wall clock at capture.
    pub(super) captured_at: Option<NtpTime>,
    /// Values that viewers get as they came.
    pub(super) carried: Extensions,
    pub(super) descriptor: Option<&'a [u8]>,
}

/// Two low bits are the rotation (3GPP TS 26.114 §7.4.5); the camera and flip bits are not passed
/// on, as they are not by str0m.
const ROTATION: u8 = 0b11;

impl<'a> Elements<'a> {
    /// Reads the elements of a parsed header.
    pub(super) fn of(header: &Header<'a>, ids: &ExtensionIds) -> Elements<'a> {
        let mut all = Elements::default();
        for (id, value) in header.extensions() {
            all.take(Some(id), value, ids);
        }
        all
    }

    /// Takes one element. `id` is never `None`, which stands for extensions that were not agreed
    /// on.
    fn take(&mut self, id: Option<u8>, value: &'a [u8], ids: &ExtensionIds) {
        if id == ids.transport_number {
            self.transport_number = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        } else if id == ids.mid {
            self.mid = Some(value);
        } else if id == ids.rid {
            self.rid = Some(value);
        } else if id == ids.repaired_rid {
            self.repaired_rid = Some(value);
        } else if id == ids.capture_time {
            // 8 bytes of NTP time; an offset of the capturing system's clock may follow.
            self.captured_at = value.first_chunk().map(|bytes| NtpTime(u64::from_be_bytes(*bytes)));
        } else if id == ids.playout_delay {
            self.carried.playout_delay = value.first_chunk().copied();
        } else if id == ids.orientation {
            self.carried.video_orientation = value.first().map(|byte| byte & ROTATION);
        } else if id == ids.color_space {
            // HDR metadata may follow the four bytes.
            self.carried.color_space = value.first_chunk().copied();
        } else if id == ids.audio_level {
            self.carried.audio_level = value.first().copied();
        } else if id == ids.descriptor {
            self.descriptor = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        transport_number: Some(4),
        capture_time: Some(5),
        playout_delay: Some(6),
        orientation: Some(7),
        color_space: Some(8),
        audio_level: Some(9),
        descriptor: Some(10),
    };

    fn packet(elements: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 400];
        let len = media::rtp::write_header(&mut bytes, 96, false, 1, 2, 3, elements);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn every_element_is_read_whole() {
        let bytes = packet(&[
            (1, b"video"),
            (2, b"h"),
            (3, b"q"),
            (4, &[0x12, 0x34]),
            (5, &[1, 2, 3, 4, 5, 6, 7, 8]),
            (6, &[0, 0x0a, 0xff]),
            (7, &[0b1111]),
            (8, &[1, 13, 0, 32]),
            (9, &[0x8a]),
            (10, &[9, 8, 7, 6]),
        ]);
        let header = Header::parse(&bytes).unwrap();
        let carried = Extensions {
            playout_delay: Some([0, 0x0a, 0xff]),
            video_orientation: Some(3),
            color_space: Some([1, 13, 0, 32]),
            audio_level: Some(0x8a),
        };
        let expected = Elements {
            mid: Some(b"video"),
            rid: Some(b"h"),
            repaired_rid: Some(b"q"),
            transport_number: Some(0x1234),
            captured_at: Some(NtpTime(0x0102_0304_0506_0708)),
            carried,
            descriptor: Some(&[9, 8, 7, 6]),
        };
        assert_eq!(Elements::of(&header, &IDS), expected);
        assert_eq!(Elements::of(&header, &ExtensionIds::default()), Elements::default(), "nothing was agreed on");
    }

    #[test]
    fn elements_that_are_too_short_are_left_out() {
        let bytes = packet(&[(4, &[1]), (5, &[1; 7]), (6, &[1, 2]), (8, &[1, 2, 3])]);
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(Elements::of(&header, &IDS), Elements::default());
    }
}
