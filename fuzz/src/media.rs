//! What must hold for any bytes that reach the parsers of `media`.

use std::collections::HashSet;

use ::media::codec::dependency::{Changes, MAX_BYTES, MAX_REFERENCES, Reader, rewrite};
use ::media::codec::layers::{self, LayerTracker};
use ::media::codec::parameter_sets::{MAX_SET_BYTES, MAX_SETS, lacks};
use ::media::codec::red::{Blocks, primary_at};
use ::media::codec::{Codec, FrameStart, KeyFrameStart, MediaKind, ParameterSets, describe};
use ::media::demux::{Class, classify};
use ::media::rtp::{FIXED_HEADER_BYTES, Header, header_bytes, is_rtcp, write_header};
use ::media::{NtpTime, SeqUnwrapper, SessionId, StreamName, TimestampUnwrapper};

/// A payload is described by every codec, whatever it is.
pub fn codec_descriptions(data: &[u8]) {
    for codec in Codec::ALL {
        let description = describe(codec, data);
        assert_eq!(description, describe(codec, data), "the same payload says the same");
        if let Some(resolution) = description.resolution {
            assert!(resolution.width > 0 && resolution.height > 0);
        }
        assert!(!data.is_empty() || description == Default::default());
        if description.key && matches!(codec, Codec::Vp8 | Codec::Vp9 | Codec::Av1) {
            assert!(description.starts_frame, "{codec}: a key frame's first packet begins it");
        }
        if codec.kind() == MediaKind::Audio {
            assert_eq!(description.starts_frame, description.key);
        }
        let mut sets = ParameterSets::default();
        sets.observe(codec, data);
        if let Some(units) = sets.current(codec) {
            assert!((1..=MAX_SETS).contains(&units.len()));
            assert!((0..units.len()).all(|place| (1..=MAX_SET_BYTES).contains(&units.payload(place).len())));
            assert!(!lacks(units, [data]), "a picture that brings all sets lacks none");
        }
    }
}

/// Layers are read, numbers are written over the old ones in place, and a tracker remembers what
/// was said.
pub fn codec_layers(data: &[u8]) {
    for codec in Codec::ALL {
        let mut tracker = LayerTracker::default();
        let said = layers::read(codec, data);
        assert_eq!(tracker.observe(7, said), said.unwrap_or_else(|| tracker.observe(7, None)));
        let Some(before) = said else { continue };
        assert!(before.temporal < 8);
        assert!(before.starts_frame || !before.is_key || matches!(codec, Codec::H264 | Codec::H265));
        let mut numbers = before.numbers;
        numbers.picture_id = numbers.picture_id.map(|id| id.with(id.value().wrapping_add(77)));
        numbers.base_index = numbers.base_index.map(|index| index.wrapping_add(3));
        let mut changed = data.to_vec();
        layers::write_numbers(codec, &mut changed, &numbers);
        assert_eq!(layers::read(codec, &changed).map(|after| after.numbers), Some(numbers));
        layers::write_numbers(codec, &mut changed, &before.numbers);
        assert_eq!(changed, data);
    }
}

/// Dependency descriptors, each after a byte of length, are read with the last structure; a
/// descriptor rewritten without changes has the same fields.
pub fn dependency_descriptors(data: &[u8]) {
    // Others' corpora have one descriptor a file.
    let _ = Reader::default().read(data);
    let (mut reader, mut receiver) = (Reader::default(), Reader::default());
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        let Ok(before) = reader.read(bytes) else { continue };
        let Some(structure) = reader.structure() else { panic!("what was read has a structure") };
        assert!(before.dependencies.references().len() <= MAX_REFERENCES);
        assert!((1..=32).contains(&structure.target_count()));
        let changes = Changes { frame_number: 1_000, template_id: 40, active_targets: Some(1) };
        let mut out = [0; MAX_BYTES + 8];
        let len = rewrite(bytes, structure, &changes, &mut out);
        assert!(len >= 3, "what was read can be written");
        if len <= MAX_BYTES {
            let after = receiver.read(&out[..len]).expect("what was written can be read");
            assert_eq!(after.dependencies, before.dependencies);
            assert_eq!(after.frame_number, before.frame_number.wrapping_add(1_000));
            assert_eq!(after.active_targets, 1);
        }
    }
}

/// The deciders of key frames and frames, fed with packets of two bytes of head and up to 15 of
/// payload.
pub fn key_frame_starts(data: &[u8]) {
    let Some((codec, mut rest)) = data.split_first() else {
        return;
    };
    let Some(codec) = Codec::ALL.get(usize::from(*codec) % Codec::ALL.len()) else {
        return;
    };
    let (mut frames, mut key_frames) = (FrameStart::new(), KeyFrameStart::new());
    let mut seqs = HashSet::new();
    while let Some(([head, length], after)) = rest.split_first_chunk::<2>().map(|(head, after)| (*head, after)) {
        let (payload, after) = after.split_at(after.len().min(usize::from(length & 0x0f)));
        rest = after;
        let (seq, timestamp) = (65_536 + u64::from(head), u32::from(length >> 4));
        seqs.insert(seq);
        let description = describe(*codec, payload);
        let starts_frame = frames.observe(timestamp, &description);
        assert!(!starts_frame || description.starts_frame);
        if let Some(first) = key_frames.observe(seq, timestamp, &description) {
            assert!(first <= seq, "a viewer starts at the proof or before it");
            assert!(seqs.contains(&first), "a viewer starts from a packet that was there");
        }
    }
}

/// An RTP header, its ranges, and its extension elements written again.
pub fn rtp_header(data: &[u8]) {
    let Ok(header) = Header::parse(data) else {
        return;
    };
    let start = header.payload_range.start;
    assert!(FIXED_HEADER_BYTES <= start && start <= header.payload_range.end);
    assert!(header.payload_range.end <= data.len());
    assert_eq!(header_bytes(data), Ok(start));
    assert_eq!(Some(header.payload()), data.get(header.payload_range.clone()));
    assert_eq!(start + header.payload().len() + header.padding_bytes(), data.len());
    assert!(header.csrcs().count() <= 15);
    assert_eq!(classify(data), Class::Rtp);

    let elements: Vec<_> = header.extensions().collect();
    let in_elements: usize = elements.iter().map(|(_, value)| value.len() + 1).sum();
    assert!(in_elements + FIXED_HEADER_BYTES <= start || elements.is_empty());
    let mut out = [0; 2048];
    let length = write_header(
        &mut out,
        header.payload_type,
        header.marker,
        header.seq,
        header.timestamp,
        header.ssrc,
        &elements,
    );
    if length > 0 {
        let again = Header::parse(&out[..length]).expect("what was written is RTP");
        assert_eq!(again.extensions().collect::<Vec<_>>(), elements);
        assert_eq!((again.seq, again.timestamp, again.ssrc), (header.seq, header.timestamp, header.ssrc));
    }
}

/// A datagram is classified, and only RTP's class can be RTCP.
pub fn demux(data: &[u8]) {
    assert!(!is_rtcp(data) || classify(data) == Class::Rtp);
    if let Ok(bytes) = header_bytes(data) {
        assert!(bytes <= data.len());
    }
}

/// A RED payload's blocks lie one after another, and the primary one ends it.
pub fn red(data: &[u8]) {
    let Some(blocks) = Blocks::parse(data) else {
        assert_eq!(primary_at(data), None);
        return;
    };
    let blocks: Vec<_> = blocks.collect();
    let (primary, copies) = blocks.split_last().expect("there is a primary block");
    assert!(primary.is_primary && !primary.payload.is_empty());
    assert!(data.ends_with(primary.payload));
    assert!(copies.iter().all(|block| !block.is_primary && block.payload.len() < 1024));
    let in_copies: usize = copies.iter().map(|block| block.payload.len() + 4).sum();
    assert_eq!(in_copies + 1 + primary.payload.len(), data.len());
    if let Some(at) = primary_at(data) {
        assert_eq!(data.get(usize::from(at)..), Some(primary.payload));
    }
}

/// Sequence numbers and timestamps are extended without losing their low bits, and never far.
pub fn counters(data: &[u8]) {
    let (mut seqs, mut timestamps) = (SeqUnwrapper::new(), TimestampUnwrapper::new());
    for chunk in data.chunks_exact(4) {
        let &[a, b, c, d] = chunk else { continue };
        let (seq, timestamp) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([a, b, c, d]));
        let highest = seqs.highest();
        let extended = seqs.extend(seq);
        assert_eq!(extended & 0xffff, u64::from(seq));
        assert!(highest.is_none_or(|highest| extended.abs_diff(highest) <= 1 << 15));
        let highest = timestamps.highest();
        let extended = timestamps.extend(timestamp);
        assert_eq!(extended & 0xffff_ffff, u64::from(timestamp));
        assert!(highest.is_none_or(|highest| extended.abs_diff(highest) <= 1 << 31));
    }
}

/// Moments survive conversions to a millisecond, whatever a peer's sender report says.
pub fn moments(data: &[u8]) {
    let Some((bits, _)) = data.split_first_chunk::<8>() else {
        return;
    };
    let moment = NtpTime(u64::from_be_bytes(*bits));
    let _ = moment.to_system_time();
    let ms = moment.to_unix_ms();
    if ms > 0 {
        assert!(NtpTime::from_unix_ms(ms).difference_ms(moment).abs() <= 0.5 + 1e-3);
        assert!((moment.to_unix_ms_f64() - ms as f64).abs() <= 0.5 + 1e-3);
    }
}

/// Names that are taken need no escaping and come out as they went in.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match StreamName::parse(&text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(!name.as_str().split('/').any(|segment| segment.is_empty() || segment == ".."));
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
    if let Some(session) = SessionId::parse(&text) {
        assert_eq!(session.to_string(), text.to_lowercase());
        assert!(!format!("{session:?}").contains(&session.to_string()));
    }
}

/// A fuzz target: takes any bytes and panics when something does not hold.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("media_codec_descriptions", codec_descriptions),
    ("media_codec_layers", codec_layers),
    ("media_counters", counters),
    ("media_demux", demux),
    ("media_dependency_descriptors", dependency_descriptors),
    ("media_key_frame_starts", key_frame_starts),
    ("media_moments", moments),
    ("media_names", names),
    ("media_red", red),
    ("media_rtp_header", rtp_header),
];

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn inputs_of_others_and_all_their_beginnings_are_survived() {
        for path in files_below(Path::new(CORPORA)) {
            let data = std::fs::read(&path).unwrap_or_default();
            for (_, target) in TARGETS {
                target(&data);
            }
            // Beginnings cost the square of the length; what matters stands in the first bytes.
            for end in 0..data.len().min(200) {
                for (_, target) in TARGETS {
                    target(&data[..end]);
                }
            }
        }
    }

    #[test]
    fn every_pair_of_first_bytes_is_survived() {
        for first in 0..=u16::MAX {
            let [a, b] = first.to_be_bytes();
            for (_, target) in TARGETS {
                target(&[a, b]);
                target(&[a, b, 0x80, 0, 1, 0xff, 0xff, 3, 0, 0, 3, 0, 9, 8, 7, 6]);
            }
        }
    }

    /// Captured datagrams as seeds. The folder is not part of the repository; without it the list
    /// is empty.
    const CORPORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora");

    fn files_below(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
            .collect()
    }
}
