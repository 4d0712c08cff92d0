//! What stands before the payload towards one viewer?
//!
//! The headers of one track differ in eleven bytes as long as the publisher's extensions stay as they are, and they do
//! for most packets. So the header is kept, and those bytes are written anew: a fifth of the time that building it takes.

use media::NtpTime;
use media::packet::Extensions;

use super::rewrite::Rewritten;

/// Ids of the header extensions that we write, where the viewer negotiated them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `sdes:mid`
    pub mid: Option<u8>,
    /// `transport-wide-cc`
    pub transport_seq: Option<u8>,
    /// `playout-delay`
    pub playout_delay: Option<u8>,
    /// `abs-capture-time`
    pub abs_capture_time: Option<u8>,
    /// `video-orientation`
    pub video_orientation: Option<u8>,
    /// `ssrc-audio-level`
    pub audio_level: Option<u8>,
    /// `color-space`
    pub color_space: Option<u8>,
    /// Dependency Descriptor
    pub dependency_descriptor: Option<u8>,
}

/// Writes headers of one SSRC.
#[derive(Debug)]
pub struct HeaderWriter {
    ssrc: u32,
    ids: ExtensionIds,
    mid: Box<str>,
    kept: Option<Kept>,
}

/// The header that was written last, of a packet without capture time.
#[derive(Debug)]
struct Kept {
    extensions: Extensions,
    bytes: [u8; MAX_HEADER_BYTES],
    len: u8,
}

/// What a packet's header says.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// RTP payload type.
    pub payload_type: u8,
    /// RTP marker bit.
    pub marker: bool,
    /// Sequence number and timestamp.
    pub numbers: Rewritten,
    /// Transport-wide sequence number; written where its extension was negotiated.
    pub transport_seq: u16,
    /// What the publisher wrote.
    pub extensions: Extensions,
    /// When it was captured, if that is to be written.
    pub captured_at: Option<NtpTime>,
    /// Its Dependency Descriptor; empty if there is none.
    pub descriptor: &'a [u8],
}

/// Fixed header and head of the extensions (12 + 4), and all elements: transport-wide 3, mid 17, playout delay 4,
/// orientation 2, level 2, colour 5, capture time 9.
const MAX_HEADER_BYTES: usize = 16 + 44;
/// RFC 8285 §4.2: what an element of one-byte header can hold.
const MAX_MID_BYTES: usize = 16;
/// Behind the fixed header, the head of the extensions, and the first element's own head.
const TRANSPORT_SEQ_AT: usize = 12 + 4 + 1;

impl HeaderWriter {
    /// A writer for `ssrc` of the m-line `mid`.
    pub fn new(ssrc: u32, ids: ExtensionIds, mid: &str) -> HeaderWriter {
        // One that is too long for an element is known from the SSRC (RFC 8843 §9.2).
        let ids = ExtensionIds { mid: ids.mid.filter(|_| (1..=MAX_MID_BYTES).contains(&mid.len())), ..ids };
        HeaderWriter { ssrc, ids, mid: mid.into(), kept: None }
    }

    /// Whose headers these are.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether packets carry a transport-wide sequence number.
    pub fn has_transport_seq(&self) -> bool {
        self.ids.transport_seq.is_some()
    }

    /// Writes a header at the start of `out`. Returns its length; 0 if it does not fit.
    pub fn write(&mut self, out: &mut [u8], fields: &Fields<'_>) -> usize {
        if fields.captured_at.is_some() || !fields.descriptor.is_empty() {
            return self.build(out, fields);
        }
        if self.kept.as_ref().is_none_or(|kept| kept.extensions != fields.extensions) {
            let mut bytes = [0; MAX_HEADER_BYTES];
            let len = self.build(&mut bytes, fields);
            self.kept = Some(Kept { extensions: fields.extensions, bytes, len: len as u8 });
        }
        let Some(kept) = &self.kept else { return 0 };
        let len = usize::from(kept.len);
        let Some(head) = out.get_mut(..len) else { return 0 };
        head.copy_from_slice(&kept.bytes[..len]);
        if let Some([_, second, seq0, seq1, timestamp @ ..]) = head.first_chunk_mut::<8>() {
            // RFC 3550 §5.1
            *second = fields.payload_type | if fields.marker { 0x80 } else { 0 };
            [*seq0, *seq1] = (fields.numbers.index as u16).to_be_bytes();
            *timestamp = fields.numbers.timestamp.to_be_bytes();
        }
        if self.has_transport_seq()
            && let Some(seq) = head.get_mut(TRANSPORT_SEQ_AT..TRANSPORT_SEQ_AT + 2)
        {
            seq.copy_from_slice(&fields.transport_seq.to_be_bytes());
        }
        len
    }

    fn build(&self, out: &mut [u8], fields: &Fields<'_>) -> usize {
        let Fields { payload_type, marker, numbers, extensions, descriptor, .. } = *fields;
        let transport_seq = fields.transport_seq.to_be_bytes();
        let captured_at = fields.captured_at.map(|at| at.0.to_be_bytes());
        let all: [(Option<u8>, Option<&[u8]>); 8] = [
            // First, so that it always stands at the same place.
            (self.ids.transport_seq, Some(&transport_seq)),
            (self.ids.mid, Some(self.mid.as_bytes())),
            (self.ids.playout_delay, extensions.playout_delay.as_ref().map(|value| &value[..])),
            (self.ids.video_orientation, extensions.video_orientation.as_ref().map(std::slice::from_ref)),
            (self.ids.audio_level, extensions.audio_level.as_ref().map(std::slice::from_ref)),
            (self.ids.color_space, extensions.color_space.as_ref().map(|value| &value[..])),
            (self.ids.abs_capture_time, captured_at.as_ref().map(|value| &value[..])),
            (self.ids.dependency_descriptor, Some(descriptor).filter(|value| !value.is_empty())),
        ];
        let mut list: [(u8, &[u8]); 8] = [(0, &[]); 8];
        let mut count = 0;
        for (id, value) in all {
            if let (Some(id), Some(value)) = (id, value) {
                list[count] = (id, value);
                count += 1;
            }
        }
        let (seq, timestamp) = (numbers.index as u16, numbers.timestamp);
        media::rtp::write_header(out, payload_type, marker, seq, timestamp, self.ssrc, &list[..count])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(4),
        transport_seq: Some(3),
        playout_delay: Some(5),
        abs_capture_time: Some(6),
        video_orientation: Some(7),
        audio_level: Some(1),
        color_space: Some(8),
        dependency_descriptor: Some(9),
    };

    fn fields() -> impl Strategy<Value = Fields<'static>> {
        let values = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(delay, level, colour)| Extensions {
            playout_delay: delay.then_some([1, 2, 3]),
            audio_level: level.then_some(9),
            color_space: colour.then_some([4, 5, 6, 7]),
            video_orientation: None,
        });
        let numbers = (0..1_u64 << 48, any::<u32>()).prop_map(|(index, timestamp)| Rewritten { index, timestamp });
        let captured_at = proptest::option::weighted(0.1, any::<u64>().prop_map(NtpTime));
        let descriptor = proptest::sample::select(vec![&[][..], &[1, 2, 3], &[5; 40]]);
        (0..128_u8, any::<bool>(), numbers, any::<u16>(), values, captured_at, descriptor).prop_map(
            |(payload_type, marker, numbers, transport_seq, extensions, captured_at, descriptor)| Fields {
                payload_type,
                marker,
                numbers,
                transport_seq,
                extensions,
                captured_at,
                descriptor,
            },
        )
    }

    proptest! {
        #[test]
        fn a_kept_header_is_as_one_made_anew(list in proptest::collection::vec(fields(), 1..20), with_seq in any::<bool>()) {
            let ids = ExtensionIds { transport_seq: IDS.transport_seq.filter(|_| with_seq), ..IDS };
            let mut writer = HeaderWriter::new(0x1234_5678, ids, "0");
            for fields in list {
                let (mut kept, mut anew) = ([0xaa; 120], [0xaa; 120]);
                let len = writer.write(&mut kept, &fields);
                let expected = HeaderWriter::new(0x1234_5678, ids, "0").build(&mut anew, &fields);
                prop_assert!(len > 12);
                prop_assert_eq!((len, kept), (expected, anew));
            }
        }
    }

    #[test]
    fn the_longest_header_fits_and_is_read_back() {
        let extensions = Extensions {
            playout_delay: Some([1, 2, 3]),
            video_orientation: Some(1),
            color_space: Some([4, 5, 6, 7]),
            audio_level: Some(9),
        };
        let numbers = Rewritten { index: 70_000, timestamp: 5 };
        let fields = |captured_at, descriptor| Fields {
            payload_type: 96,
            marker: true,
            numbers,
            transport_seq: 0xbeef,
            extensions,
            captured_at,
            descriptor,
        };
        let mut writer = HeaderWriter::new(7, IDS, "sixteen-letters!");
        // A descriptor of a key frame takes the form with heads of two bytes, one more for each element.
        let key = [6; 255];
        for (captured_at, descriptor) in [(None, &[][..]), (Some(NtpTime(3)), &[]), (None, &[1, 2, 3]), (None, &key)] {
            let mut out = [0; MAX_HEADER_BYTES + 8 + 257];
            let len = writer.write(&mut out, &fields(captured_at, descriptor));
            assert!(len > 0);
            let header = media::rtp::Header::parse(&out[..len]).expect("a header");
            assert_eq!((header.seq, header.timestamp, header.ssrc, header.payload_type), (4_464, 5, 7, 96));
            assert_eq!(header.extension(3), Some(&[0xbe, 0xef][..]));
            assert_eq!(header.extension(4), Some(&b"sixteen-letters!"[..]));
            assert_eq!(header.extension(8), Some(&[4, 5, 6, 7][..]));
            assert_eq!(header.extension(6).is_some(), captured_at.is_some());
            assert_eq!(header.extension(9).unwrap_or_default(), descriptor);
        }
        assert_eq!(writer.write(&mut [0; 20], &fields(None, &[])), 0, "too short a buffer");
    }

    #[test]
    fn a_mid_that_no_element_can_hold_is_left_out() {
        let mut writer = HeaderWriter::new(7, IDS, "a name longer than sixteen");
        let mut out = [0; 100];
        let numbers = Rewritten { index: 1, timestamp: 1 };
        let extensions = Extensions::default();
        let fields = Fields {
            payload_type: 96,
            marker: false,
            numbers,
            transport_seq: 1,
            extensions,
            captured_at: None,
            descriptor: &[],
        };
        let len = writer.write(&mut out, &fields);
        let header = media::rtp::Header::parse(&out[..len]).expect("a header");
        assert_eq!((header.extension(4), header.extension(3)), (None, Some(&[0, 1][..])));
    }
}
