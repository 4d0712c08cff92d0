//! Which packet does a picture begin with, and which one can a late viewer start from?
//!
//! A payload alone does not always say. A key picture of H.264 or H.265 usually is a packet of
//! parameter sets, then packets of IDR slices, all with one timestamp; a decoder needs all of them,
//! so a viewer must start at the parameter sets. But they prove nothing: some encoders repeat them
//! before *every* picture, and a viewer started there would sit before pictures it cannot decode.
//! Only the IDR slice proves it, when the parameter sets have long been forwarded.
//!
//! So [`KeyFrameStart`] believes in a key picture when its first IDR slice arrives, and then answers
//! with the sequence number of the picture's *first* packet. For VP8, VP9 and AV1 the two are the
//! same packet.
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
//! let start = key_frames.observe(seq, timestamp, &description);
//! let starts_key_frame = start == Some(seq);
//! if let Some(first) = start {
//!     // The log's packet number `first` is where late viewers start from now on. It is this packet
//!     // or one shortly before it, which the log already has: mark that one.
//! }
//! ```

use super::Description;

/// How many pictures the deciders remember. A guess: at 60 pictures per second this is 266 ms, more
/// than a retransmission takes on most paths.
pub const REMEMBERED: usize = 16;

/// Decides which packet a decoder can start from. See the [module](self) for how to use it.
#[derive(Debug, Clone, Default)]
pub struct KeyFrameStart {
    pictures: Recent<Picture>,
}

/// What is known of one picture.
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
    /// Usually there is one answer per key picture. A second one, lower than the first, corrects it:
    /// the parameter sets arrived after the slice they belong to.
    pub fn observe(&mut self, seq: u64, timestamp: u32, description: &Description) -> Option<u64> {
        // Padding and the inside of a picture begin nothing.
        if !description.starts_frame && !description.key && !description.parameter_sets {
            return None;
        }
        let fresh = Picture {
            first: seq,
            is_key: false,
        };
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

/// The last few pictures by timestamp; a new one takes the place of the oldest.
#[derive(Debug, Clone)]
struct Recent<T> {
    pictures: [Option<(u32, T)>; REMEMBERED],
    /// Where the newest is.
    newest: usize,
}

impl<T: Copy> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent {
            pictures: [None; REMEMBERED],
            newest: 0,
        }
    }
}

impl<T: Copy> Recent<T> {
    /// Returns what is known of the picture, and whether it was put there by this call.
    fn find_or_insert(&mut self, timestamp: u32, fresh: T) -> (&mut T, bool) {
        let is_it =
            |picture: &Option<(u32, T)>| matches!(picture, Some((at, _)) if *at == timestamp);
        let found = self.pictures.iter().position(is_it);
        let index = found.unwrap_or_else(|| {
            self.newest = self.newest.wrapping_add(1) % REMEMBERED;
            self.newest
        });
        // `index` is below REMEMBERED in both cases; the remainder lets the compiler see it.
        #[allow(clippy::indexing_slicing)]
        let slot = &mut self.pictures[index % REMEMBERED];
        if found.is_none() {
            *slot = None;
        }
        (
            &mut slot.get_or_insert((timestamp, fresh)).1,
            found.is_none(),
        )
    }
}
