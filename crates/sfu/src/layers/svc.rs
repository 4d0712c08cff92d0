//! Which packets of one encoding does a viewer get, according to the layers in payloads?
//!
//! Holds the number of spatial and temporal layers that are sent. It changes at the beginning of a
//! picture: down at once, up at a key picture or where the codec permits it. Spatial layers below
//! the shown one are still sent, so that a step down needs no key frame. In K-SVC modes the shown
//! pictures do not need them between key pictures; only their pictures of the lowest temporal layer
//! are sent then, and the step down begins with the next of these.
//!
//! Encoders leave out layers of single pictures as well, in K-SVC modes any layer (libvpx, which
//! then writes no marker if the highest one is missing). The last packet sent of a picture ends it:
//! see [`Behind`].

use std::collections::VecDeque;

use media::Packet;
use media::codec::FrameLayers;
use media::codec::layers::TemporalSwitch;

/// The layers sent of one encoding.
#[derive(Debug, Clone, Default)]
pub(crate) struct Svc {
    spatial: u8,
    temporal: u8,
    /// The highest spatial layer received since the key picture.
    top: u8,
    /// Pictures of layers below the shown one were left out since the key picture.
    is_sparse: bool,
    /// The last pictures, the newest at the back.
    pictures: VecDeque<Picture>,
}

#[derive(Debug, Clone, Copy)]
struct Picture {
    timestamp: u32,
    /// The highest spatial layer sent of this picture so far.
    spatial: u8,
    temporal: u8,
    is_kept: bool,
    /// It is of a lower spatial layer than before, which cannot be shown yet.
    is_early: bool,
    /// All sent packets of the picture permit higher temporal layers to follow.
    is_switch_up: bool,
}

/// The publisher's packet directly after a packet that ends a layer's frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Not examined, or not received.
    #[default]
    Unknown,
    /// A packet of the same picture, of this spatial layer. Layers come lowest first.
    Layer(u8),
    /// A packet of a later picture.
    Picture,
}

impl Behind {
    /// Reads it from the next packet received.
    pub(crate) fn of(packet: &Packet, next: &Packet) -> Behind {
        // With a gap between the two the missing packet is unknown: it may be a layer that comes
        // late.
        if next.seq != packet.seq + 1 || next.epoch != packet.epoch {
            Behind::Unknown
        } else if next.timestamp == packet.timestamp {
            Behind::Layer(next.layers.spatial)
        } else {
            Behind::Picture
        }
    }

    /// Returns `true` if no further packet of the picture is sent, given layers up to `spatial`.
    fn is_beyond(self, spatial: u8) -> bool {
        match self {
            Behind::Unknown => false,
            Behind::Layer(next) => next > spatial,
            Behind::Picture => true,
        }
    }
}

/// Number of pictures kept for packets that come late: 266 ms at 60 per second, as in
/// `media::codec::start`.
const REMEMBERED: usize = 16;

impl Svc {
    /// Makes a state in which all layers were sent. `begun`: the timestamp of the picture that was
    /// being sent; all its layers are sent to its end, because otherwise neither its packets nor
    /// pictures that refer to it could be decoded.
    pub(crate) fn whole(begun: Option<u32>) -> Svc {
        let begun = begun.map(|timestamp| Picture {
            timestamp,
            spatial: u8::MAX,
            temporal: u8::MAX,
            is_kept: true,
            is_early: false,
            is_switch_up: false,
        });
        Svc { spatial: u8::MAX, temporal: u8::MAX, pictures: begun.into_iter().collect(), ..Svc::default() }
    }

    /// Returns the layers that are sent.
    pub(crate) fn layers(&self) -> (u8, u8) {
        (self.spatial, self.temporal)
    }

    /// Returns `true` if the next packet is needed to know whether this one, without a marker, is
    /// the last one sent of its picture.
    pub(crate) fn depends_on_next(&self, packet: &Packet) -> bool {
        packet.layers.ends_frame && !packet.marker && packet.layers.spatial < self.spatial
    }

    /// Decides about a packet; `target` are the layers for the viewer. Returns the marker bit if
    /// the packet is to be forwarded.
    pub(crate) fn forward(
        &mut self,
        timestamp: u32,
        layers: &FrameLayers,
        marker: bool,
        behind: Behind,
        target: (u8, u8),
    ) -> Option<bool> {
        let newest = self.pictures.back().copied();
        let is_new = newest.is_none_or(|newest| media::seq::timestamp_is_later(timestamp, newest.timestamp));
        let mut is_early = false;
        if is_new {
            if newest.is_some_and(|newest| newest.is_kept && newest.is_switch_up) {
                self.temporal = target.1;
            }
            if self.is_sparse && target.0 < self.spatial.min(self.top) {
                is_early = layers.temporal > 0;
                self.is_sparse = is_early;
                self.temporal = 0;
            }
            if !is_early {
                self.spatial = self.spatial.min(target.0);
            }
            self.temporal = self.temporal.min(target.1);
        }
        let found = self.pictures.iter().position(|picture| picture.timestamp == timestamp);
        let at = found.unwrap_or_else(|| self.insert(timestamp, is_new));
        let is_newest = at + 1 == self.pictures.len();
        if is_newest && layers.is_key && layers.spatial == 0 {
            (self.spatial, self.temporal) = target;
            (self.top, self.is_sparse, is_early) = (0, false, false);
            self.pictures[at].spatial = target.0;
        }
        self.top = self.top.max(layers.spatial);
        self.pictures[at].is_early |= is_early;
        let picture = &mut self.pictures[at];
        // The layer of a picture may be known only from its second packet (H.264: delimiters,
        // parameter sets and the like come first).
        if found.is_none() || layers.temporal > picture.temporal {
            picture.temporal = layers.temporal;
            if is_newest && layers.temporal == self.temporal.saturating_add(1) && layers.temporal <= target.1 {
                self.temporal = match layers.switch {
                    TemporalSwitch::ToThis => layers.temporal,
                    TemporalSwitch::ToThisAndAbove => target.1,
                    TemporalSwitch::No | TemporalSwitch::AboveThis => self.temporal,
                };
            }
            picture.is_kept = layers.temporal <= self.temporal && !picture.is_early;
        }
        if !picture.is_kept {
            return None;
        }
        if layers.is_unneeded_above && picture.temporal > 0 && layers.spatial < picture.spatial.min(self.top) {
            self.is_sparse = true;
            return None;
        }
        if layers.spatial > picture.spatial {
            let is_next = layers.spatial == picture.spatial.saturating_add(1) && layers.spatial <= target.0;
            if !(is_newest && is_next && layers.is_key && layers.starts_frame) {
                return None;
            }
            // The layer below ended with a marker already. This one ends the picture a second time,
            // which receivers take for two pictures of one time, as when layers come with a delay.
            (picture.spatial, self.spatial) = (layers.spatial, layers.spatial);
        }
        picture.is_switch_up &= layers.switch == TemporalSwitch::AboveThis;
        let is_last = layers.spatial == picture.spatial || behind.is_beyond(picture.spatial);
        Some(marker || (layers.ends_frame && is_last))
    }

    /// Adds a picture, a late one at its place.
    fn insert(&mut self, timestamp: u32, is_new: bool) -> usize {
        if self.pictures.len() >= REMEMBERED {
            self.pictures.pop_front();
        }
        let (spatial, temporal) = (self.spatial, 0);
        let picture = Picture { timestamp, spatial, temporal, is_kept: false, is_early: false, is_switch_up: true };
        let later = |known: &Picture| media::seq::timestamp_is_later(known.timestamp, timestamp);
        let at = if is_new { None } else { self.pictures.iter().position(later) };
        let at = at.unwrap_or(self.pictures.len());
        self.pictures.insert(at, picture);
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// A frame by picture and spatial layer.
    type Frame = (usize, u8);

    /// Temporal layers of pictures: 0 2 1 2.
    fn temporal(picture: usize) -> u8 {
        [0, 2, 1, 2][picture % 4]
    }

    /// Returns the references of a frame: the last picture of a lower temporal layer (or of the
    /// lowest) since the last one of the lowest, and the layer below in its own picture; in K-SVC
    /// modes the latter of key pictures only. `is_coded`: frames that the encoder did not leave
    /// out.
    fn references(
        (picture, spatial): Frame,
        key_at: usize,
        is_key_only: bool,
        is_coded: impl Fn(Frame) -> bool,
    ) -> Vec<Frame> {
        let below = spatial.checked_sub(1).map(|below| (picture, below));
        let below = below.filter(|_| !is_key_only || picture == key_at);
        let before = (key_at..picture).rev().find(|other| {
            let is_near = temporal(*other) == 0 || other / 4 == picture / 4;
            temporal(*other) < temporal(picture).max(1) && is_near && is_coded((*other, spatial))
        });
        before.map(|other| (other, spatial)).into_iter().chain(below).collect()
    }

    proptest! {
        /// A decoder of the forwarded packets has every frame that they refer to, for any sequence
        /// of targets and for any layers that the encoder leaves out; and each picture ends once,
        /// with its last packet.
        #[test]
        fn all_that_a_frame_refers_to_was_forwarded(
            targets in proptest::collection::vec((0usize..30, 0u8..3, 0u8..3), 1..12),
            is_vp9 in any::<bool>(),
            is_key_only in any::<bool>(),
            gaps in proptest::collection::vec(0u8..8, 1..40),
        ) {
            let mut svc = Svc::default();
            let mut decoded: HashSet<Frame> = HashSet::new();
            let mut coded: HashSet<Frame> = HashSet::new();
            let (mut picture, mut key_at) = (0, 0);
            let spatial_layers = if is_vp9 { 3 } else { 1 };
            for (count, spatial, temporal_target) in targets {
                let target = (spatial.min(spatial_layers - 1), temporal_target);
                for at in 0..count {
                    // A key frame in the middle of some targets.
                    let is_key = picture == 0 || (at == 8 && picture % 4 == 0);
                    key_at = if is_key { picture } else { key_at };
                    let has_gaps = is_vp9 && is_key_only && !is_key;
                    let gaps = if has_gaps { gaps[picture % gaps.len()] } else { 0 };
                    let come: Vec<u8> = (0..spatial_layers).filter(|spatial| gaps >> spatial & 1 == 0).collect();
                    coded.extend(come.iter().map(|spatial| (picture, *spatial)));
                    let mut markers = Vec::new();
                    for (place, &spatial) in come.iter().enumerate() {
                        let frame = (picture, spatial);
                        let references = references(frame, key_at, is_key_only, |other| coded.contains(&other));
                        let is_sync = references.iter().all(|(other, _)| temporal(*other) == 0);
                        let switch = match is_vp9 {
                            true => TemporalSwitch::AboveThis,
                            false if is_sync => TemporalSwitch::ToThis,
                            false => TemporalSwitch::No,
                        };
                        let layers = FrameLayers {
                            spatial,
                            temporal: temporal(picture),
                            starts_frame: true,
                            ends_frame: is_vp9,
                            is_key,
                            switch,
                            needs_lower_spatial: spatial > 0 && (is_key || !is_key_only),
                            is_unneeded_above: is_key_only && !is_key,
                            ..FrameLayers::default()
                        };
                        // An encoder that leaves out the highest forgets the marker.
                        let is_top = spatial + 1 == spatial_layers;
                        let behind = come.get(place + 1).map_or(Behind::Picture, |next| Behind::Layer(*next));
                        let sent = svc.forward(picture as u32 * 3_000, &layers, is_top, behind, target);
                        let Some(marker) = sent else { continue };
                        prop_assert!(references.iter().all(|frame| decoded.contains(frame)), "{picture} {spatial}");
                        prop_assert!(spatial <= target.0 && layers.temporal <= target.1);
                        decoded.insert(frame);
                        markers.push(marker);
                    }
                    let kept = markers.len();
                    prop_assert!(markers.iter().rev().skip(1).all(|marker| !marker), "{picture} ended before its end");
                    prop_assert!(markers.last() != Some(&false), "{picture} did not end");
                    prop_assert!(kept <= 1 || !is_key_only || temporal(picture) == 0 || !is_vp9, "nothing in vain");
                    if is_key {
                        prop_assert_eq!(svc.layers(), target);
                        prop_assert_eq!(kept, usize::from(target.0) + 1);
                    }
                    picture += 1;
                }
            }
        }
    }

    #[test]
    fn packet_behind_a_gap_does_not_end_a_picture() {
        let of = |seq, timestamp, spatial| {
            let mut packet = crate::testing::packet(seq).at(timestamp).build();
            packet.layers.spatial = spatial;
            packet
        };
        let last = of(7, 3_000, 1);
        assert_eq!(Behind::of(&last, &of(8, 3_000, 2)), Behind::Layer(2));
        assert_eq!(Behind::of(&last, &of(8, 6_000, 0)), Behind::Picture);
        assert_eq!(Behind::of(&last, &of(9, 6_000, 0)), Behind::Unknown, "the missing one may be of layer 2");
    }

    #[test]
    fn without_the_highest_layer_the_one_below_ends_the_picture() {
        let of = |spatial| FrameLayers {
            spatial,
            ends_frame: true,
            starts_frame: true,
            is_unneeded_above: true,
            ..FrameLayers::default()
        };
        // The target has three layers, and layer 1 is the only one that was coded.
        for (behind, ends) in [(Behind::Picture, true), (Behind::Layer(2), false), (Behind::Unknown, false)] {
            let mut svc = Svc::whole(None);
            assert_eq!(svc.forward(3_000, &of(1), false, behind, (2, 2)), Some(ends), "{behind:?}");
        }
        // The target has two layers: a packet of a third one is not for this viewer.
        let mut svc = Svc::whole(None);
        assert_eq!(svc.forward(3_000, &of(0), false, Behind::Layer(2), (1, 2)), Some(true));
    }

    #[test]
    fn every_packet_of_a_picture_follows_its_first_even_if_late() {
        let mut svc = Svc::default();
        let key = FrameLayers { is_key: true, starts_frame: true, ..FrameLayers::default() };
        let fast = FrameLayers { temporal: 1, starts_frame: true, ..FrameLayers::default() };
        let inside = |layers| FrameLayers { starts_frame: false, ..layers };
        assert_eq!(svc.forward(0, &key, true, Behind::Unknown, (0, 1)), Some(true));
        assert_eq!(svc.forward(3_000, &fast, false, Behind::Unknown, (0, 1)), Some(false));
        // A lower target: the picture that has begun is finished.
        assert_eq!(svc.forward(3_000, &inside(fast), false, Behind::Unknown, (0, 0)), Some(false));
        assert_eq!(svc.forward(6_000, &inside(key), true, Behind::Unknown, (0, 0)), Some(true));
        assert_eq!(
            svc.forward(3_000, &inside(fast), true, Behind::Unknown, (0, 0)),
            Some(true),
            "its last packet is late"
        );
        assert_eq!(svc.forward(9_000, &fast, true, Behind::Unknown, (0, 0)), None);
        assert_eq!(
            svc.forward(9_000, &inside(fast), true, Behind::Unknown, (0, 1)),
            None,
            "more is wanted, but it has not begun"
        );
    }

    #[test]
    fn a_picture_that_was_begun_whole_is_finished_whole() {
        let of = |spatial, temporal| FrameLayers { spatial, temporal, ..FrameLayers::default() };
        for begun in [Some(3_000), None] {
            let mut svc = Svc::whole(begun);
            let is_finished = svc.forward(3_000, &of(2, 2), true, Behind::Unknown, (1, 0)) == Some(true);
            assert_eq!(is_finished, begun.is_some());
            assert_eq!(svc.forward(6_000, &of(0, 0), false, Behind::Unknown, (1, 0)), Some(false));
            assert_eq!(svc.forward(6_000, &of(1, 0), false, Behind::Unknown, (1, 0)), Some(false));
            assert_eq!(svc.forward(6_000, &of(2, 0), true, Behind::Unknown, (1, 0)), None);
            assert_eq!(svc.forward(9_000, &of(0, 1), true, Behind::Unknown, (1, 0)), None);
        }
    }

    #[test]
    fn unneeded_lower_layers_are_sent_as_far_as_a_step_down_needs_them() {
        let mut svc = Svc::whole(None);
        // Pictures 0 2 1 2 of three spatial layers; the target, and the layers that are sent.
        let rows: [(u32, u8, &[u8]); 11] = [
            (0, 2, &[0, 1, 2]),
            (1, 2, &[2]),
            (2, 2, &[2]),
            (3, 2, &[2]),
            (4, 2, &[0, 1, 2]),
            (5, 2, &[2]),
            (6, 1, &[]),
            (7, 1, &[]),
            (8, 1, &[0, 1]),
            (9, 1, &[1]),
            (10, 2, &[1]),
        ];
        for (picture, target, expected) in rows {
            let layers = |spatial| FrameLayers {
                spatial,
                temporal: temporal(picture as usize),
                starts_frame: true,
                ends_frame: true,
                is_key: picture == 0,
                is_unneeded_above: picture > 0,
                switch: TemporalSwitch::AboveThis,
                ..FrameLayers::default()
            };
            let mut sent = |spatial| {
                svc.forward(picture * 3_000, &layers(spatial), spatial == 2, Behind::Unknown, (target, u8::MAX))
            };
            let sent: Vec<_> = (0..3).filter_map(|spatial| sent(spatial).map(|marker| (spatial, marker))).collect();
            let last = expected.last();
            let expected: Vec<_> = expected.iter().map(|spatial| (*spatial, Some(spatial) == last)).collect();
            assert_eq!(sent, expected, "{picture}");
        }
    }

    #[test]
    fn a_spatial_layer_that_needs_nothing_of_before_is_a_switch_point() {
        let mut svc = Svc::default();
        let of = |spatial, is_key| FrameLayers {
            spatial,
            is_key,
            starts_frame: true,
            ends_frame: true,
            ..FrameLayers::default()
        };
        assert_eq!(svc.forward(0, &of(0, true), false, Behind::Unknown, (0, 0)), Some(true));
        assert_eq!(svc.forward(0, &of(1, true), true, Behind::Unknown, (0, 0)), None);
        assert_eq!(svc.forward(3_000, &of(0, false), false, Behind::Unknown, (1, 0)), Some(true));
        assert_eq!(svc.forward(3_000, &of(1, false), true, Behind::Unknown, (1, 0)), None);
        assert_eq!(svc.forward(6_000, &of(0, false), false, Behind::Unknown, (1, 0)), Some(true));
        assert_eq!(svc.forward(6_000, &of(1, true), true, Behind::Unknown, (1, 0)), Some(true));
        assert_eq!(svc.forward(9_000, &of(0, false), false, Behind::Unknown, (1, 0)), Some(false));
        assert_eq!(svc.forward(9_000, &of(1, false), true, Behind::Unknown, (1, 0)), Some(true));
    }
}
