//! What does a VP8 payload say? RFC 7741.

use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    parse(payload).unwrap_or_default()
}

fn parse(payload: &[u8]) -> Option<Description> {
    // RFC 7741 §4.2: X, R, N, S, R and three bits of partition index.
    let (first, rest) = payload.split_first()?;
    let frame = if first & 0x80 != 0 { skip_extension(rest)? } else { rest };
    let discardable = first & 0x20 != 0;
    // RFC 7741 §4.2: the first packet of a picture has S set and partition index 0.
    let starts_frame = first & 0x10 != 0 && first & 0x07 == 0;
    if !starts_frame {
        return Some(Description { discardable, ..Description::default() });
    }
    // RFC 7741 §4.3: the inverse key frame flag is the lowest bit of the first payload byte.
    let key = frame.first()? & 0x01 == 0;
    let resolution = if key { resolution(frame) } else { None };
    Some(Description { starts_frame, key, resolution, discardable, ..Description::default() })
}

/// Returns what follows the X octet and the fields it announces.
fn skip_extension(bytes: &[u8]) -> Option<&[u8]> {
    let (fields, rest) = bytes.split_first()?;
    let has_picture_id = fields & 0x80 != 0;
    let has_tl0_picture_index = fields & 0x40 != 0;
    let has_layer_or_key_index = fields & 0x30 != 0;
    // RFC 7741 §4.2: the picture id has 7 bits, or 15 if its top bit (M) is set.
    let rest = match (has_picture_id, rest.first()) {
        (false, _) => rest,
        (true, Some(id)) => rest.get(if id & 0x80 != 0 { 2 } else { 1 }..)?,
        (true, None) => return None,
    };
    rest.get(usize::from(has_tl0_picture_index)..)?.get(usize::from(has_layer_or_key_index)..)
}

/// Returns the size that a key frame's header tells.
fn resolution(frame: &[u8]) -> Option<Resolution> {
    // RFC 6386 §9.1: a frame tag of three bytes, the start code, then width and height in 14 bits
    // each, little endian, below two bits of scaling that no WebRTC decoder applies.
    let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = frame.first_chunk()? else {
        return None;
    };
    let size = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Resolution::checked(size(w0, w1), size(h0, h1))
}

#[cfg(test)]
mod tests {
    use super::super::bits::tests::unhex;
    use super::*;

    /// A key frame's header: 640x360.
    const KEY: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];

    #[test]
    fn payloads_say_what_rfc_7741_says() {
        let start = Description { starts_frame: true, ..Description::default() };
        let key = Description { key: true, resolution: Some(Resolution { width: 640, height: 360 }), ..start };
        let rows: [(&[u8], &[u8], Description); 16] = [
            (&[0x10], &KEY, key),
            (&[0x10], &[0x11, 0, 0], start),
            (&[0x30], &[0x11, 0, 0], Description { discardable: true, ..start }),
            // Inside of a picture, and the start of another partition.
            (&[0x00], &KEY, Description::default()),
            (&[0x11], &KEY, Description::default()),
            (&[0x20], &KEY, Description { discardable: true, ..Description::default() }),
            // Picture id of 7 and of 15 bits, TL0PICIDX, TID, KEYIDX, and all of them.
            (&[0x90, 0x80, 0x12], &KEY, key),
            (&[0x90, 0x80, 0x92, 0x34], &KEY, key),
            (&[0x90, 0x40, 0x01], &KEY, key),
            (&[0x90, 0x20, 0x01], &KEY, key),
            (&[0x90, 0x10, 0x01], &KEY, key),
            (&[0x90, 0xf0, 0x92, 0x34, 5, 6], &KEY, key),
            // Nothing after X.
            (&[0x90, 0x00], &KEY, key),
            // A key frame whose header is cut off or has no start code tells no size.
            (&[0x10], &KEY[..9], Description { resolution: None, ..key }),
            (&[0x10], &[0x10, 2, 0, 9, 9, 9, 9, 9, 9, 9], Description { resolution: None, ..key }),
            // A size of zero is none.
            (&[0x10], &[0x10, 2, 0, 0x9d, 1, 0x2a, 0, 0xc0, 1, 0], Description { resolution: None, ..key }),
        ];
        for (descriptor, frame, expected) in rows {
            let payload = [descriptor, frame].concat();
            assert_eq!(describe(&payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn pictures_of_libvpx_are_told_apart() {
        let key = describe(&unhex("107035009d012a82026a010207"));
        assert_eq!(key.resolution, Some(Resolution { width: 642, height: 362 }));
        assert!(key.key && key.starts_frame);
        let predicted = describe(&unhex("107103000f11fc0018074ff81a"));
        assert!(!predicted.key && predicted.starts_frame);
    }

    #[test]
    fn scaling_bits_are_not_part_of_the_size() {
        let mut frame = KEY;
        frame[7] |= 0xc0;
        frame[9] |= 0x40;
        let payload = [&[0x10], &frame[..]].concat();
        assert_eq!(describe(&payload).resolution, Some(Resolution { width: 640, height: 360 }));
    }

    #[test]
    fn a_descriptor_that_is_cut_off_says_nothing() {
        let whole = [0x90, 0xf0, 0x92, 0x34, 5, 6];
        for end in 0..=whole.len() {
            assert_eq!(describe(&whole[..end]), Description::default(), "{end}");
        }
    }
}
