//! Which facts do the payloads of one encoding give?
//!
//! Pictures, key frames and layers are read anew with each run ([`crate::receive::runs`]).
//! Parameter sets and warnings outlast a run: an encoder that is restarted often sends the same
//! sets.

use media::codec::dependency::{DescribedLayers, Reader};
use media::codec::layers::{self, LayerTracker};
use media::codec::parameter_sets::Units;
use media::codec::{FrameLayers, FrameStart, KeyFrameStart, ParameterSets, ReorderTracker, describe};
use media::{Codec, NtpTime, Resolution};
use std::sync::Arc;
use str0m::media::Rid;

use super::warnings::{Warning, Warnings};
use crate::clock::CaptureClock;

/// One encoding.
#[derive(Debug, Default)]
pub(super) struct EncodingIn {
    /// `None` without simulcast.
    pub(super) rid: Option<Rid>,
    pub(super) capture_clock: CaptureClock,
    pub(super) descriptors: Reader,
    pub(super) described_layers: DescribedLayers,
    /// The last sender report: NTP time and RTP timestamp of one moment.
    pub(super) report: Option<(NtpTime, u32)>,
    key_frames: KeyFrameStart,
    frames: FrameStart,
    layers: LayerTracker,
    order: ReorderTracker,
    pub(super) sets: ParameterSets,
    lacks_sets: bool,
}

/// What a packet of video is.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) starts_frame: bool,
    pub(super) key_frame_from: Option<u64>,
    pub(super) layers: FrameLayers,
    pub(super) resolution: Option<Resolution>,
    pub(super) sets: Option<Arc<Units>>,
}

impl EncodingIn {
    /// An encoding of this name.
    pub(super) fn named(rid: Option<Rid>) -> EncodingIn {
        EncodingIn { rid, ..EncodingIn::default() }
    }

    /// A run begins: its numbers and pictures have nothing to do with those before.
    pub(super) fn begin(&mut self) {
        self.key_frames = KeyFrameStart::default();
        self.frames = FrameStart::default();
        self.layers = LayerTracker::default();
        self.order = ReorderTracker::default();
        self.descriptors = Reader::default();
        self.described_layers = DescribedLayers::default();
        self.report = None;
        self.capture_clock = CaptureClock::default();
    }

    /// Reads a packet of video.
    pub(super) fn read(&mut self, codec: Codec, seq: u64, timestamp: u32, payload: &[u8]) -> Read {
        let description = describe(codec, payload);
        let said = layers::read(codec, payload);
        if description.parameter_sets {
            self.sets.observe(codec, payload);
        }
        let is_reorderable = matches!(codec, Codec::H264 | Codec::H265);
        // Parameter sets and padding may carry any timestamp.
        if is_reorderable && (description.starts_frame || description.key) && !description.parameter_sets {
            self.order.observe(seq, timestamp);
        }
        let key_frame_from = self.key_frames.observe(seq, timestamp, &description);
        if key_frame_from.is_some() {
            self.lacks_sets = !self.sets.is_complete(codec);
        } else if description.parameter_sets {
            self.lacks_sets &= !self.sets.is_complete(codec);
        }
        let may_begin = description.starts_frame || description.key || description.parameter_sets;
        let sets = self.sets.current(codec).filter(|_| may_begin);
        Read {
            starts_frame: self.frames.observe(timestamp, &description),
            key_frame_from,
            layers: self.layers.observe(timestamp, said),
            // A sender that writes its sets into its description alone tells the size there.
            resolution: description
                .resolution
                .or_else(|| sets.filter(|_| key_frame_from.is_some()).and_then(|sets| sets.resolution)),
            sets: sets.cloned(),
        }
    }

    /// Returns the faults of this encoding.
    pub(super) fn warnings(&self) -> Warnings {
        let reordered = if self.order.is_reordered() { Warnings::of(Warning::BFrames) } else { Warnings::default() };
        let lacking = if self.lacks_sets { Warnings::of(Warning::NoParameterSets) } else { Warnings::default() };
        reordered | lacking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPS: [u8; 23] = [
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xb2, 0x00, 0xa0, 0x0b, 0x74, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00,
        0x07, 0x91, 0xe3, 0x06, 0x49,
    ];
    const PPS: [u8; 4] = [0x68, 0xeb, 0xc3, 0xcb];
    const IDR: [u8; 3] = [0x65, 0x88, 0x84];
    const SLICE: [u8; 3] = [0x41, 0x9a, 0x38];

    #[test]
    fn a_key_frame_without_sets_carries_those_of_before_also_after_the_run_has_changed() {
        let mut encoding = EncodingIn::default();
        assert_eq!(encoding.read(Codec::H264, 1, 0, &IDR).sets, None);
        assert_eq!(encoding.warnings(), Warnings::of(Warning::NoParameterSets));
        encoding.read(Codec::H264, 2, 3_000, &SPS);
        assert_eq!(encoding.warnings(), Warnings::of(Warning::NoParameterSets), "a picture parameter set is missing");
        encoding.read(Codec::H264, 3, 3_000, &PPS);
        assert_eq!(encoding.warnings(), Warnings::default());
        encoding.begin();
        let read = encoding.read(Codec::H264, 70_000, 9_000, &IDR);
        assert_eq!(read.sets.map(|sets| sets.len()), Some(2));
        assert_eq!(read.resolution, Some(Resolution { width: 1_280, height: 720 }));
        assert_eq!(encoding.read(Codec::H264, 70_001, 12_000, &SLICE[..1]).sets, None, "the inside of a picture");
    }

    #[test]
    fn pictures_out_of_order_are_a_warning_of_the_run_in_which_they_came() {
        let mut encoding = EncodingIn::default();
        for (seq, shown) in (0..).zip([0, 3, 1, 2, 6, 4, 5, 9, 7, 8]) {
            encoding.read(Codec::H264, seq, shown * 3_600, &SLICE);
            encoding.read(Codec::H264, seq, 0, &PPS);
        }
        assert_eq!(encoding.warnings(), Warnings::of(Warning::BFrames));
        encoding.begin();
        assert_eq!(encoding.warnings(), Warnings::default());
        for (seq, shown) in (0..).zip([0, 3, 1, 2, 6, 4, 5, 9, 7, 8]) {
            encoding.read(Codec::Vp8, seq, shown * 3_600, &[0x10, 0x01]);
        }
        assert_eq!(encoding.warnings(), Warnings::default(), "VP8 has no B-frames");
    }
}
