//! What does a VP8 payload say? RFC 7741.

use super::layers::{FrameLayers, PictureId, PictureNumbers, TemporalSwitch};
use super::{Description, Resolution};

pub(super) fn describe(payload: &[u8]) -> Description {
    parse(payload).unwrap_or_default()
}

fn parse(payload: &[u8]) -> Option<Description> {
    let (descriptor, frame) = Descriptor::parse(payload)?;
    let Descriptor { discardable, starts_frame, .. } = descriptor;
    if !starts_frame {
        return Some(Description { discardable, ..Description::default() });
    }
    let key = is_key(frame)?;
    let resolution = if key { resolution(frame) } else { None };
    Some(Description { starts_frame, key, resolution, discardable, ..Description::default() })
}

/// Returns what the payload says of its layer.
pub(super) fn layers(payload: &[u8]) -> Option<FrameLayers> {
    let (descriptor, frame) = Descriptor::parse(payload)?;
    let Descriptor { discardable, starts_frame, temporal, numbers, .. } = descriptor;
    let switch = match temporal {
        Some(_) if descriptor.is_layer_sync => TemporalSwitch::ToThis,
        // A picture without references to it can be left out at any time, like a layer of its own.
        None if discardable => TemporalSwitch::ToThis,
        _ => TemporalSwitch::No,
    };
    Some(FrameLayers {
        temporal: temporal.unwrap_or(u8::from(discardable)),
        starts_frame,
        is_key: starts_frame && is_key(frame)?,
        switch,
        discardable,
        numbers,
        ..FrameLayers::default()
    })
}

/// Writes other numbers over those that are there.
pub(super) fn write_numbers(payload: &mut [u8], numbers: &PictureNumbers) -> Option<()> {
    let [first, fields, rest @ ..] = payload else { return None };
    if *first & 0x80 == 0 {
        return None;
    }
    let mut rest = rest;
    if *fields & 0x80 != 0 {
        rest = match numbers.picture_id {
            Some(id) => id.write(rest)?,
            None => return None,
        };
    }
    if *fields & 0x40 != 0 {
        let (index, after) = rest.split_first_mut()?;
        *index = numbers.base_index.unwrap_or(*index);
        rest = after;
    }
    if *fields & 0x10 != 0 {
        let byte = rest.first_mut()?;
        *byte = (*byte & 0xe0) | (numbers.key_index.unwrap_or(*byte) & 0x1f);
    }
    Some(())
}

/// The payload descriptor: RFC 7741 §4.2.
struct Descriptor {
    /// N: no other picture refers to this one.
    discardable: bool,
    /// The first packet of a picture: S is set, and the partition index is 0.
    starts_frame: bool,
    /// TID, if there is one.
    temporal: Option<u8>,
    /// Y: refers to nothing but the last picture of temporal layer 0.
    is_layer_sync: bool,
    numbers: PictureNumbers,
}

impl Descriptor {
    /// Parses a descriptor, and returns what follows it too.
    fn parse(payload: &[u8]) -> Option<(Descriptor, &[u8])> {
        // X, R, N, S, R and three bits of partition index.
        let (first, mut rest) = payload.split_first()?;
        let mut descriptor = Descriptor {
            discardable: first & 0x20 != 0,
            starts_frame: first & 0x10 != 0 && first & 0x07 == 0,
            temporal: None,
            is_layer_sync: false,
            numbers: PictureNumbers::default(),
        };
        if first & 0x80 == 0 {
            return Some((descriptor, rest));
        }
        // I, L, T, K.
        let (fields, after) = rest.split_first()?;
        rest = after;
        if fields & 0x80 != 0 {
            let (id, after) = PictureId::read(rest)?;
            descriptor.numbers.picture_id = Some(id);
            rest = after;
        }
        if fields & 0x40 != 0 {
            let (index, after) = rest.split_first()?;
            descriptor.numbers.base_index = Some(*index);
            rest = after;
        }
        if fields & 0x30 != 0 {
            // TID (2), Y, KEYIDX (5): one byte for both.
            let (byte, after) = rest.split_first()?;
            if fields & 0x20 != 0 {
                descriptor.temporal = Some(byte >> 6);
                descriptor.is_layer_sync = byte & 0x20 != 0;
            }
            descriptor.numbers.key_index = (fields & 0x10 != 0).then_some(byte & 0x1f);
            rest = after;
        }
        Some((descriptor, rest))
    }
}

/// Returns whether a picture is a key frame. RFC 7741 §4.3: the inverse key frame flag is the
/// lowest bit of the first payload byte.
fn is_key(frame: &[u8]) -> Option<bool> {
    Some(frame.first()? & 0x01 == 0)
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

    #[test]
    fn layers_are_those_of_the_descriptor() {
        let inter = FrameLayers { starts_frame: true, ..FrameLayers::default() };
        let long = |id| PictureNumbers { picture_id: Some(PictureId::Long(id)), ..PictureNumbers::default() };
        let rows: [(&[u8], FrameLayers); 8] = [
            (&[0x10, 0x11], inter),
            (&[0x10, 0x10], FrameLayers { is_key: true, ..inter }),
            (&[0x00, 0x10], FrameLayers { starts_frame: false, ..inter }),
            // No picture refers to this one, and it names no layer.
            (&[0x30, 0x11], FrameLayers { temporal: 1, discardable: true, switch: TemporalSwitch::ToThis, ..inter }),
            (&[0x90, 0x80, 0x92, 0x34, 0x11], FrameLayers { numbers: long(0x1234), ..inter }),
            (
                &[0x90, 0x80, 0x12, 0x11],
                FrameLayers {
                    numbers: PictureNumbers { picture_id: Some(PictureId::Short(0x12)), ..PictureNumbers::default() },
                    ..inter
                },
            ),
            // As Chromium sends them: all fields; TID 2 with Y, and TID 1 without.
            (
                &[0x90, 0xf0, 0x80, 0x07, 0x09, 0xa3, 0x11],
                FrameLayers {
                    temporal: 2,
                    switch: TemporalSwitch::ToThis,
                    numbers: PictureNumbers { base_index: Some(9), key_index: Some(3), ..long(7) },
                    ..inter
                },
            ),
            (
                &[0xb0, 0xe0, 0x80, 0x08, 0x0a, 0x5f, 0x11],
                FrameLayers {
                    temporal: 1,
                    discardable: true,
                    numbers: PictureNumbers { base_index: Some(10), ..long(8) },
                    ..inter
                },
            ),
        ];
        for (payload, expected) in rows {
            assert_eq!(layers(payload), Some(expected), "{payload:x?}");
        }
        assert_eq!(layers(&[0x90, 0x80, 0x80]), None, "cut off");
    }
}
