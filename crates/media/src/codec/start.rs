//! Which packet does a picture begin with, and which one can a late viewer start from?
//!
//! A payload alone does not always say. A key picture of H.264 or H.265 usually is a packet of
//! parameter sets, then packets of IDR slices, all with one timestamp; a decoder needs all of them,
//! so a viewer must start at the parameter sets. But they prove nothing: some encoders repeat them
//! before *every* picture, and a viewer started there would sit before pictures it cannot decode.
//! Only the IDR slice proves it, when the parameter sets have long been forwarded.
//!
//! So [`KeyFrameStart`] believes in a key picture when its first IDR slice arrives, and then
//! answers with the sequence number of the picture's *first* packet. For VP8, VP9 and AV1 the two
//! are the same packet. A slice that comes without parameter sets is believed too: some senders
//! send them once, and if they were only late, a second answer corrects the first.
//!
//! Both deciders remember the last [`REMEMBERED`] pictures, because a retransmission may bring a
//! picture's deciding packet when later pictures have begun.
//!
//! # For ingest
//!
//! One decider per RTP flow (per layer of simulcast), fed with every packet once, in any order:
//!
//! ```
//! # use media::codec::{describe, Codec, FrameStart, KeyFrameStart};
//! # let (seq, timestamp, payload) = (65_536 + 7, 1234, &[0x65, 0x88][..]);
//! # let (mut frames, mut key_frames) = (FrameStart::new(), KeyFrameStart::new());
//! let description = describe(Codec::H264, payload);
//! let starts_frame = frames.observe(timestamp, &description);
//! let key_frame_from = key_frames.observe(seq, timestamp, &description);
//! ```
//!
//! When there is an answer, late viewers start from that sequence number from now on: it is this
//! packet's, or one shortly before it that the log already has. A viewer that waits for a key frame
//! is sent the log from there, so nothing has to be held back until the proof arrives.

use super::Description;

/// How many pictures the deciders remember. A guess: at 60 pictures per second this is 266 ms, more
/// than a retransmission takes on most paths.
pub const REMEMBERED: usize = 16;

/// Decides which packet a decoder can start from. See the [module](self) for how to use it.
#[derive(Debug, Clone, Default)]
pub struct KeyFrameStart {
    pictures: Recent<Picture>,
}

/// The state of one picture.
#[derive(Debug, Clone, Copy)]
struct Picture {
    /// The lowest sequence number of a packet that begins something.
    first: u64,
    /// Whether one of its packets proved that a decoder can start here.
    is_key: bool,
}

impl KeyFrameStart {
    /// Creates a decider for one RTP flow.
    pub fn new() -> KeyFrameStart {
        KeyFrameStart::default()
    }

    /// Takes note of a packet, and returns the (extended) sequence number of the first packet of a
    /// picture that a decoder can start from, when this packet proves it.
    ///
    /// Usually there is one answer per key picture. A second one, lower than the first, corrects
    /// it: the parameter sets arrived after the slice they belong to.
    pub fn observe(&mut self, seq: u64, timestamp: u32, description: &Description) -> Option<u64> {
        // Padding and the inside of a picture begin nothing.
        if !description.starts_frame && !description.key && !description.parameter_sets {
            return None;
        }
        let fresh = Picture { first: seq, is_key: false };
        let (picture, _) = self.pictures.find_or_insert(timestamp, fresh);
        let before = *picture;
        picture.first = picture.first.min(seq);
        picture.is_key |= description.key;
        let is_news = !before.is_key || picture.first < before.first;
        (picture.is_key && is_news).then_some(picture.first)
    }
}

/// Decides which packet a picture begins with.
#[derive(Debug, Clone, Default)]
pub struct FrameStart {
    pictures: Recent<()>,
}

impl FrameStart {
    /// Creates a decider for one RTP flow.
    pub fn new() -> FrameStart {
        FrameStart::default()
    }

    /// Takes note of a packet, and returns whether its picture begins with it.
    ///
    /// True once for each timestamp: for the packet that arrived first of those that may begin a
    /// picture.
    pub fn observe(&mut self, timestamp: u32, description: &Description) -> bool {
        description.starts_frame && self.pictures.find_or_insert(timestamp, ()).1
    }
}

/// The last few pictures by timestamp, the one spoken of last in front.
///
/// A new one takes the place of the one that was not spoken of for longest.
#[derive(Debug, Clone)]
pub(super) struct Recent<T> {
    pictures: [Option<(u32, T)>; REMEMBERED],
}

impl<T: Copy> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent { pictures: [None; REMEMBERED] }
    }
}

impl<T: Copy> Recent<T> {
    /// Returns the state of the picture, and whether this call inserted it.
    pub(super) fn find_or_insert(&mut self, timestamp: u32, fresh: T) -> (&mut T, bool) {
        let is_it = |picture: &Option<(u32, T)>| picture.is_some_and(|(at, _)| at == timestamp);
        let found = self.pictures.iter().position(is_it);
        // Nearly always the picture is in front already.
        let to_front = self.pictures.get_mut(..=found.unwrap_or(REMEMBERED - 1));
        to_front.unwrap_or_default().rotate_right(1);
        let [front, ..] = &mut self.pictures;
        if found.is_none() {
            *front = None;
        }
        let (_, picture) = front.get_or_insert((timestamp, fresh));
        (picture, found.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const NOTHING: Description =
        Description { starts_frame: false, key: false, parameter_sets: false, resolution: None, discardable: false };
    /// A predicted picture's first packet, or SEI.
    const START: Description = Description { starts_frame: true, ..NOTHING };
    const SETS: Description = Description { parameter_sets: true, ..START };
    const KEY: Description = Description { key: true, ..START };
    const ALL_IN_ONE: Description = Description { parameter_sets: true, ..KEY };

    #[test]
    fn a_picture_to_start_from_is_known_by_its_first_packet() {
        // Sequence number, timestamp and description of a packet; the expected answer.
        type Row = (u64, u32, Description, Option<u64>);
        let rows: [(&str, &[Row]); 12] = [
            ("one packet", &[(1, 10, KEY, Some(1)), (2, 10, NOTHING, None), (3, 20, START, None)]),
            ("parameter sets and slice in one", &[(1, 10, ALL_IN_ONE, Some(1)), (2, 10, NOTHING, None)]),
            (
                "parameter sets, SEI, slice",
                &[(1, 10, SETS, None), (2, 10, SETS, None), (3, 10, START, None), (4, 10, KEY, Some(1))],
            ),
            ("two slices", &[(1, 10, SETS, None), (2, 10, KEY, Some(1)), (3, 10, KEY, None)]),
            (
                "parameter sets before a predicted picture",
                &[(1, 10, SETS, None), (2, 10, START, None), (3, 20, KEY, Some(3))],
            ),
            ("sent twice", &[(1, 10, KEY, Some(1)), (1, 10, KEY, None)]),
            ("late parameter sets", &[(2, 10, KEY, Some(2)), (1, 10, SETS, Some(1)), (1, 10, SETS, None)]),
            ("late middle", &[(1, 10, SETS, None), (3, 10, KEY, Some(1)), (2, 10, SETS, None)]),
            (
                "late slice, after the next picture began",
                &[(1, 10, SETS, None), (3, 20, START, None), (2, 10, KEY, Some(1))],
            ),
            (
                "padding between pictures carries the old timestamp",
                &[(1, 10, START, None), (2, 10, NOTHING, None), (3, 20, KEY, Some(3))],
            ),
            ("timestamps wrap", &[(1, u32::MAX, KEY, Some(1)), (2, 5, SETS, None), (3, 5, KEY, Some(2))]),
            ("every picture a key", &[(1, 10, KEY, Some(1)), (2, 20, KEY, Some(2)), (3, 30, KEY, Some(3))]),
        ];
        for (story, packets) in rows {
            let mut decider = KeyFrameStart::new();
            for (seq, timestamp, description, expected) in packets {
                let answer = decider.observe(*seq, *timestamp, description);
                assert_eq!(answer, *expected, "{story}: {seq}");
            }
        }
    }

    #[test]
    fn each_picture_begins_once() {
        let mut decider = FrameStart::new();
        let rows = [
            (10, SETS, true),
            (10, KEY, false),
            (10, NOTHING, false),
            (20, NOTHING, false), // its first packet is lost
            (30, START, true),
            (20, START, true), // and comes late
            (20, START, false),
            (30, START, false),
        ];
        for (timestamp, description, expected) in rows {
            assert_eq!(decider.observe(timestamp, &description), expected, "{timestamp}");
        }
    }

    #[test]
    fn a_picture_is_forgotten_after_some_others() {
        let mut decider = FrameStart::new();
        for timestamp in 0..REMEMBERED as u32 {
            assert!(decider.observe(timestamp, &START));
        }
        for timestamp in 0..REMEMBERED as u32 {
            assert!(!decider.observe(timestamp, &START), "{timestamp}");
        }
        assert!(decider.observe(100, &START));
        assert!(decider.observe(0, &START));
    }

    proptest! {
        #[test]
        fn answers_are_those_of_a_decider_with_endless_memory(
            packets in proptest::collection::vec((0u64..1000, 0u32..REMEMBERED as u32, any::<[bool; 3]>()), 0..200),
        ) {
            let mut decider = KeyFrameStart::new();
            let mut frames = FrameStart::new();
            let mut pictures: HashMap<u32, (u64, bool)> = HashMap::new();
            let mut started: HashMap<u32, ()> = HashMap::new();
            for (seq, timestamp, [starts_frame, key, parameter_sets]) in packets {
                let description = Description { starts_frame, key, parameter_sets, ..NOTHING };
                let mut expected = None;
                if starts_frame || key || parameter_sets {
                    let before = pictures.get(&timestamp).copied();
                    let (first, was_key) = before.unwrap_or((seq, false));
                    let after = (first.min(seq), was_key || key);
                    pictures.insert(timestamp, after);
                    if after.1 && (!was_key || after.0 < first) {
                        expected = Some(after.0);
                    }
                }
                prop_assert_eq!(decider.observe(seq, timestamp, &description), expected);
                let starts = starts_frame && started.insert(timestamp, ()).is_none();
                prop_assert_eq!(frames.observe(timestamp, &description), starts);
            }
        }

        #[test]
        fn an_answer_is_never_above_the_packet_it_is_given_for(
            packets in proptest::collection::vec((any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>()), 0..100),
        ) {
            let mut decider = KeyFrameStart::new();
            for (seq, timestamp, key, parameter_sets) in packets {
                let description = Description { key, parameter_sets, ..START };
                if let Some(first) = decider.observe(seq, timestamp, &description) {
                    prop_assert!(first <= seq);
                }
            }
        }
    }
}
