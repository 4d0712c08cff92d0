//! What stands before the noise in a packet, so that a server sees frames, key frames and parameter
//! sets of a codec?
//!
//! Descriptors, NAL units and OBUs are right, and the headers inside are those of a 1280x720
//! stream; what follows them is noise. The headers of a codec are equally long in all packets
//! (filled up with [`FILL`]), so that what stands behind them is always in the same place.

use std::ops::Range;

use media::Codec;

/// Which packet of which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) frame: u32,
    pub(crate) packet: u16,
    /// How many packets the frame has.
    pub(crate) packets: u16,
    pub(crate) is_key: bool,
}

/// No zero byte, so that nothing looks like a start code; its first bit is clear, so that a slice
/// behind it is not the first of its picture.
const FILL: u8 = 0x55;

/// Returns how long the headers of a codec are.
pub(crate) fn header_bytes(codec: Codec) -> usize {
    match codec {
        Codec::Vp8 => 14,
        Codec::Vp9 => 12,
        Codec::Av1 => 4 + AV1_SEQUENCE.len(),
        Codec::H264 => 9 + H264_SPS.len() + H264_PPS.len(),
        Codec::H265 => 13 + H265_VPS.len() + H265_SPS.len() + H265_PPS.len(),
        Codec::Opus | Codec::Red => 1,
    }
}

/// Returns which of these bytes are the server's to change: VP8's and VP9's picture ids.
pub(crate) fn mutable(codec: Codec) -> Range<usize> {
    match codec {
        Codec::Vp8 => 2..4,
        Codec::Vp9 => 1..3,
        _ => 0..0,
    }
}

/// Writes the headers of a packet whose payload is `len_bytes` long in all.
pub(crate) fn write_header(codec: Codec, place: Place, len_bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    match codec {
        Codec::Vp8 => vp8(place, out),
        Codec::Vp9 => vp9(place, out),
        Codec::Av1 => av1(place, out),
        Codec::H264 => h264(place, len_bytes, out),
        Codec::H265 => h265(place, len_bytes, out),
        // RFC 6716 §3.1: CELT, fullband, 20 ms, mono, one frame.
        Codec::Opus | Codec::Red => out.push(0xf8),
    }
    out.resize(start + header_bytes(codec), FILL);
}

impl Place {
    fn is_first(self) -> bool {
        self.packet == 0
    }

    fn is_last(self) -> bool {
        self.packet + 1 >= self.packets
    }

    /// RFC 7741 §4.2, RFC 9628 §4.2: 15 bits, with M.
    fn picture_id(self) -> [u8; 2] {
        ((self.frame as u16 & 0x7fff) | 0x8000).to_be_bytes()
    }
}

fn vp8(place: Place, out: &mut Vec<u8>) {
    // RFC 7741 §4.2: X, and S for the first packet; then I; then the picture id.
    out.extend([if place.is_first() { 0x90 } else { 0x80 }, 0x80]);
    out.extend(place.picture_id());
    // RFC 6386 §9.1: a key frame of 1280x720, or the tag of another.
    match (place.is_first(), place.is_key) {
        (true, true) => out.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]),
        (true, false) => out.extend([0x11, 0x02, 0x00]),
        (false, _) => {}
    }
}

fn vp9(place: Place, out: &mut Vec<u8>) {
    // RFC 9628 §4.2: I; P if predicted; B and E at the ends of the frame.
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    out.push(0x80 | flag(!place.is_key, 0x40) | flag(place.is_first(), 0x08) | flag(place.is_last(), 0x04));
    out.extend(place.picture_id());
    // VP9 §6.2: marker, profile 0, key frame, shown; sync code; colour space; 1279 and 719 with 16
    // bits each.
    match (place.is_first(), place.is_key) {
        (true, true) => out.extend([0x82, 0x49, 0x83, 0x42, 0x20, 0x4f, 0xf0, 0x2c, 0xf0]),
        (true, false) => out.push(0x86),
        (false, _) => {}
    }
}

/// AV1 §5.5: main profile, level 3.1, 1280x720, no tools.
const AV1_SEQUENCE: [u8; 12] = [0x08, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xc0, 0x18, 0x00, 0x80];

fn av1(place: Place, out: &mut Vec<u8>) {
    // AV1 RTP §4.4: Z if the first element continues, Y if the last one goes on, W elements, N for
    // a new sequence.
    let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    let ends = flag(!place.is_first(), 0x80) | flag(!place.is_last(), 0x40);
    // AV1 §5.3.2 and §5.9: an OBU of a frame without a size, and the first bits of its header:
    // shown, key or not.
    match (place.is_first(), place.is_key) {
        (true, true) => {
            out.extend([ends | 0x28, AV1_SEQUENCE.len() as u8]);
            out.extend(AV1_SEQUENCE);
            out.extend([0x30, 0x10]);
        }
        (true, false) => out.extend([ends | 0x10, 0x30, 0x30]),
        (false, _) => out.push(ends | 0x10),
    }
}

/// H.264 §7.3.2.1: constrained baseline, level 3.1, 1280x720.
const H264_SPS: [u8; 9] = [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xe4];
/// H.264 §7.3.2.2: all that can be 0 is.
const H264_PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];

fn h264(place: Place, len_bytes: usize, out: &mut Vec<u8>) {
    // RFC 6184 §5.8: S and E of a fragment; its indicator keeps nal_ref_idc.
    let ends = |first: u16| (if place.packet == first { 0x80 } else { 0 }) | (if place.is_last() { 0x40 } else { 0 });
    match (place.is_key, place.packet, place.packets) {
        // RFC 6184 §5.7.1: parameter sets and the first slice in one STAP-A.
        (true, 0, _) => {
            out.push(0x78);
            unit(&H264_SPS, out);
            unit(&H264_PPS, out);
            let rest = len_bytes.saturating_sub(header_bytes(Codec::H264) - 2);
            out.extend((rest as u16).to_be_bytes());
            out.extend([0x65, 0x88]);
        }
        // The second slice, whole or in fragments.
        (true, _, 2) => out.push(0x65),
        (true, ..) => out.extend([0x7c, ends(1) | 5]),
        (false, 0, 1) => out.extend([0x41, 0x9a]),
        (false, 0, _) => out.extend([0x5c, ends(0) | 1, 0x9a]),
        (false, ..) => out.extend([0x5c, ends(0) | 1]),
    }
}

/// H.265 §7.3.2.1 to 7.3.2.3: what x265 writes for main profile, level 3.1, 1280x720.
const H265_VPS: [u8; 24] = [
    0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
    0x00, 0x5d, 0x95, 0x98, 0x09,
];
const H265_SPS: [u8; 42] = [
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0xa0,
    0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0xa4, 0x93, 0x2b, 0x9a, 0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00,
    0x03, 0x00, 0x3c, 0x10,
];
const H265_PPS: [u8; 7] = [0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40];

fn h265(place: Place, len_bytes: usize, out: &mut Vec<u8>) {
    // RFC 7798 §4.4.3: S and E of a fragment.
    let ends = |first: u16| (if place.packet == first { 0x80 } else { 0 }) | (if place.is_last() { 0x40 } else { 0 });
    match (place.is_key, place.packet, place.packets) {
        // RFC 7798 §4.4.2: parameter sets and the first slice in one aggregation packet.
        (true, 0, _) => {
            out.extend([0x60, 0x01]);
            unit(&H265_VPS, out);
            unit(&H265_SPS, out);
            unit(&H265_PPS, out);
            let rest = len_bytes.saturating_sub(header_bytes(Codec::H265) - 3);
            out.extend((rest as u16).to_be_bytes());
            out.extend([0x26, 0x01, 0xaf]);
        }
        (true, _, 2) => out.extend([0x26, 0x01]),
        (true, ..) => out.extend([0x62, 0x01, ends(1) | 19]),
        (false, 0, 1) => out.extend([0x02, 0x01, 0xd0]),
        (false, 0, _) => out.extend([0x62, 0x01, ends(0) | 1, 0xd0]),
        (false, ..) => out.extend([0x62, 0x01, ends(0) | 1]),
    }
}

/// A NAL unit behind its length, as aggregation packets have them.
fn unit(unit: &[u8], out: &mut Vec<u8>) {
    out.extend((unit.len() as u16).to_be_bytes());
    out.extend(unit);
}

#[cfg(test)]
mod tests {
    use media::codec::{FrameStart, KeyFrameStart, describe};

    use super::*;

    const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];

    #[test]
    fn frames_and_key_frames_begin_where_a_server_finds_them() {
        for codec in VIDEO {
            let (mut frames, mut key_frames) = (FrameStart::new(), KeyFrameStart::new());
            let mut seq = 65_536;
            for (frame, (is_key, packets)) in
                [(true, 5), (false, 1), (false, 2), (false, 3), (true, 1), (true, 2), (false, 4)]
                    .into_iter()
                    .enumerate()
            {
                let first = seq;
                for packet in 0..packets {
                    let payload = payload(codec, Place { frame: frame as u32, packet, packets, is_key });
                    let described = describe(codec, &payload);
                    let timestamp = frame as u32 * 3_000;
                    assert_eq!(frames.observe(timestamp, &described), packet == 0, "{codec} {frame} {packet}");
                    let key_frame_from = key_frames.observe(seq, timestamp, &described);
                    assert_eq!(key_frame_from, (is_key && packet == 0).then_some(first), "{codec} {frame} {packet}");
                    if is_key && packet == 0 {
                        let size = described.resolution.map(|size| (size.width, size.height));
                        assert_eq!(size, Some((1_280, 720)), "{codec}");
                    }
                    seq += 1;
                }
            }
        }
    }

    #[test]
    fn aggregated_units_fill_their_packet_to_the_end() {
        for (codec, mut at) in [(Codec::H264, 1), (Codec::H265, 2)] {
            let payload = payload(codec, Place { frame: 0, packet: 0, packets: 4, is_key: true });
            while at < payload.len() {
                at += 2 + usize::from(u16::from_be_bytes([payload[at], payload[at + 1]]));
            }
            assert_eq!(at, payload.len(), "{codec}");
        }
    }

    #[test]
    fn headers_are_equally_long() {
        for codec in VIDEO.into_iter().chain([Codec::Opus]) {
            for (packet, is_key) in [(0, true), (0, false), (1, true), (1, false), (3, true)] {
                let mut out = Vec::new();
                write_header(codec, Place { frame: 7, packet, packets: 4, is_key }, 1_000, &mut out);
                assert_eq!(out.len(), header_bytes(codec), "{codec}");
            }
        }
    }

    fn payload(codec: Codec, place: Place) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(codec, place, 900, &mut out);
        out.resize(900, FILL);
        out
    }
}
