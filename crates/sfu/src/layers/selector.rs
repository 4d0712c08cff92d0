//! Which packets of a track does this viewer get right now?
//!
//! Holds what is being sent and what is to be. They differ only while a key frame or another switch point is waited for.
//! Another encoding begins at its key frame, never within a picture group; the old one goes on until then, unless the
//! network cannot carry it.

use media::codec::FrameLayers;
use media::codec::dependency::{Descriptor, Structure};

use super::LayerId;
use super::svc::Svc;
use super::targets::Targets;

/// Whether what is being sent may go on until a lower layer can begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Haste {
    /// It may.
    #[default]
    Smooth,
    /// The network cannot carry it: a short freeze is better than a queue.
    AtOnce,
}

/// A packet of any encoding of the track.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a> {
    /// Which encoding.
    pub encoding: u8,
    /// Its RTP timestamp.
    pub timestamp: u32,
    /// The RTP marker bit.
    pub marker: bool,
    /// As in [`media::Packet::key_frame_from`]: it proves a key frame that begins with the packet of this number.
    pub key_frame_from: Option<u64>,
    /// What its payload says.
    pub layers: FrameLayers,
    /// What its Dependency Descriptor says, and the structure that this was read with.
    pub descriptor: Option<(&'a Descriptor, &'a Structure)>,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave it out: `leave_out` of what numbers packets and pictures.
    Drop,
    /// Send it, with this marker bit.
    Forward {
        /// The RTP marker bit.
        marker: bool,
    },
    /// A run of another encoding begins: `start` of what numbers packets, pictures and frames, then send what there is from
    /// the packet `first_seq` of this encoding on, this packet too, asking anew for each of those before it.
    Switch {
        /// Where the key frame begins.
        first_seq: u64,
        /// The RTP marker bit of this packet.
        marker: bool,
    },
}

/// Selects for one viewer and one track.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    target: Option<LayerId>,
    haste: Haste,
    current: Option<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    encoding: u8,
    within: Within,
}

#[derive(Debug, Clone)]
enum Within {
    ByLayers(Svc),
    ByTargets(Targets),
}

impl Selector {
    /// Says what the viewer is to get; `None` pauses.
    pub fn set_target(&mut self, target: Option<LayerId>, haste: Haste) {
        (self.target, self.haste) = (target, haste);
        let stops = match (&self.current, target) {
            (Some(current), Some(target)) => haste == Haste::AtOnce && current.encoding > target.encoding,
            (_, None) => true,
            (None, _) => false,
        };
        if stops {
            self.current = None;
        }
    }

    /// What the viewer is to get.
    pub fn target(&self) -> Option<LayerId> {
        self.target
    }

    /// What the viewer is being sent.
    pub fn current(&self) -> Option<LayerId> {
        let current = self.current.as_ref()?;
        let (spatial, temporal) = match &current.within {
            Within::ByLayers(svc) => svc.layers(),
            Within::ByTargets(targets) => targets.layers(),
        };
        Some(LayerId { encoding: current.encoding, spatial, temporal })
    }

    /// The encoding that a key frame is needed of. To be merged with the wishes of others: one answers all.
    pub fn wanted_key_frame(&self) -> Option<u8> {
        let target = self.target?;
        let Some(current) = self.current.as_ref().filter(|current| current.encoding == target.encoding) else {
            return Some(target.encoding);
        };
        let is_wanted = match &current.within {
            Within::ByLayers(svc) => svc.layers().0 < target.spatial,
            Within::ByTargets(targets) => targets.wants_key_frame(),
        };
        is_wanted.then_some(target.encoding)
    }

    /// The decode targets that the viewer gets all frames of ([`super::continuity::DescriptorRun::forward`]).
    pub fn active_targets(&self, structure: &Structure) -> u32 {
        match self.current.as_ref().map(|current| &current.within) {
            Some(Within::ByTargets(targets)) => targets.active(structure),
            Some(Within::ByLayers(_)) | None => structure.all_targets(),
        }
    }

    /// Decides about a packet. Those of one encoding are to come in the order in which they arrived.
    pub fn handle(&mut self, packet: &Arrived<'_>) -> Verdict {
        let Some(target) = self.target else { return Verdict::Drop };
        let held = self.current.as_ref().map(|current| current.encoding);
        if held == Some(packet.encoding) {
            return self.within(packet, target).map_or(Verdict::Drop, |marker| Verdict::Forward { marker });
        }
        let Some(first_seq) = packet.key_frame_from.filter(|_| is_better(held, packet.encoding, target)) else {
            return Verdict::Drop;
        };
        let within = match packet.descriptor {
            Some(_) => Within::ByTargets(Targets::default()),
            None => Within::ByLayers(Svc::default()),
        };
        self.current = Some(Current { encoding: packet.encoding, within });
        match self.within(packet, target) {
            Some(marker) => Verdict::Switch { first_seq, marker },
            None => Verdict::Drop,
        }
    }

    fn within(&mut self, packet: &Arrived<'_>, target: LayerId) -> Option<bool> {
        let current = self.current.as_mut()?;
        let all = (u8::MAX, u8::MAX);
        let wanted = match current.encoding == target.encoding {
            true => (target.spatial, target.temporal),
            // On the way up the lower encoding is sent whole; on the way down what was sent goes on.
            false if current.encoding < target.encoding => all,
            false => match &current.within {
                Within::ByLayers(svc) => svc.layers(),
                Within::ByTargets(targets) => targets.layers(),
            },
        };
        match &mut current.within {
            Within::ByLayers(svc) => svc.forward(packet.timestamp, &packet.layers, packet.marker, wanted),
            Within::ByTargets(targets) => {
                // Without its descriptor a receiver cannot place a packet either.
                let (descriptor, structure) = packet.descriptor?;
                targets.forward(descriptor, structure, packet.marker, wanted, self.haste)
            }
        }
    }
}

/// Whether a key frame of `encoding` brings the viewer nearer to its target: who has nothing takes whatever is not more
/// than wanted, who has less takes more, and who has more takes only the target itself.
fn is_better(held: Option<u8>, encoding: u8, target: LayerId) -> bool {
    match held {
        Some(held) if held >= target.encoding => encoding == target.encoding,
        Some(held) => (held..=target.encoding).contains(&encoding),
        None => encoding <= target.encoding,
    }
}

#[cfg(test)]
mod tests {
    use media::codec::layers::PictureNumbers;
    use proptest::prelude::*;

    use super::*;
    use crate::layers::continuity::{Gapless, PictureRun};

    fn packet(encoding: u8, picture: u32, temporal: u8, key_frame_from: Option<u64>) -> Arrived<'static> {
        let layers = FrameLayers {
            temporal,
            starts_frame: true,
            is_key: key_frame_from.is_some(),
            switch: media::codec::layers::TemporalSwitch::ToThis,
            ..FrameLayers::default()
        };
        Arrived { encoding, timestamp: picture * 3_000, marker: true, key_frame_from, layers, descriptor: None }
    }

    const FORWARD: Verdict = Verdict::Forward { marker: true };

    fn switch(first_seq: u64) -> Verdict {
        Verdict::Switch { first_seq, marker: true }
    }

    fn to(encoding: u8) -> Option<LayerId> {
        Some(LayerId::new(encoding, 0, 2))
    }

    #[test]
    fn it_goes_up_at_a_key_frame_and_shows_less_until_then() {
        let mut selector = Selector::default();
        assert_eq!(selector.handle(&packet(0, 0, 0, Some(1))), Verdict::Drop, "nothing is wanted");
        selector.set_target(to(2), Haste::Smooth);
        assert_eq!(selector.wanted_key_frame(), Some(2));
        assert_eq!(selector.handle(&packet(0, 1, 0, None)), Verdict::Drop);
        assert_eq!(selector.handle(&packet(0, 2, 0, Some(8))), switch(8), "better than nothing");
        assert_eq!(selector.handle(&packet(2, 2, 0, None)), Verdict::Drop);
        assert_eq!(selector.handle(&packet(0, 3, 0, None)), FORWARD);
        assert_eq!(selector.wanted_key_frame(), Some(2));
        assert_eq!(selector.handle(&packet(2, 4, 0, Some(70))), switch(70));
        assert_eq!(selector.wanted_key_frame(), None);
        assert_eq!(selector.handle(&packet(0, 5, 0, Some(9))), Verdict::Drop);
        assert_eq!(selector.current(), to(2));
    }

    #[test]
    fn it_goes_down_at_a_key_frame_while_the_old_one_goes_on_unless_there_is_haste() {
        for haste in [Haste::Smooth, Haste::AtOnce] {
            let mut selector = Selector::default();
            selector.set_target(to(2), Haste::Smooth);
            assert_eq!(selector.handle(&packet(2, 0, 0, Some(1))), switch(1));
            selector.set_target(to(1), haste);
            assert_eq!(selector.wanted_key_frame(), Some(1));
            let goes_on = if haste == Haste::Smooth { FORWARD } else { Verdict::Drop };
            assert_eq!(selector.handle(&packet(2, 1, 0, None)), goes_on);
            let of_lowest = if haste == Haste::Smooth { Verdict::Drop } else { switch(5) };
            assert_eq!(selector.handle(&packet(0, 1, 0, Some(5))), of_lowest);
            assert_eq!(selector.handle(&packet(1, 2, 0, Some(40))), switch(40));
            assert_eq!(selector.handle(&packet(2, 2, 0, None)), Verdict::Drop);
            selector.set_target(None, Haste::Smooth);
            assert_eq!(selector.handle(&packet(1, 3, 0, Some(41))), Verdict::Drop);
            assert_eq!((selector.current(), selector.wanted_key_frame()), (None, None));
        }
    }

    proptest! {
        /// What a viewer of three VP8 encodings sees, with all values put together: each run begins with a key frame,
        /// sequence numbers and picture ids have no gaps, whatever is asked for and when.
        #[test]
        fn a_viewer_sees_one_stream(
            wishes in proptest::collection::vec((1u32..20, 0u8..4, 0u8..3, any::<bool>()), 1..20),
        ) {
            let mut selector = Selector::default();
            let (mut numbers, mut pictures) = (Gapless::new(1), PictureRun::default());
            let (mut picture, mut asked) = (0u32, [true; 3]);
            let (mut last_seq, mut last_id) = (None, None);
            for (count, encoding, temporal, hurry) in wishes {
                let haste = if hurry { Haste::AtOnce } else { Haste::Smooth };
                let target = (encoding < 3).then(|| LayerId::new(encoding, 0, temporal));
                selector.set_target(target, haste);
                for _ in 0..count {
                    for encoding in 0..3u8 {
                        let is_key = std::mem::take(&mut asked[usize::from(encoding)]);
                        let of_layer = if is_key { 0 } else { [0, 2, 1, 2][picture as usize % 4] };
                        let seq = 70_000 + u64::from(picture) + 1_000 * u64::from(encoding);
                        let arrived = packet(encoding, picture, of_layer, is_key.then_some(seq));
                        let id = picture as u16 + 300 * u16::from(encoding);
                        let in_payload = PictureNumbers {
                            picture_id: Some(media::codec::layers::PictureId::Long(id)),
                            ..PictureNumbers::default()
                        };
                        let held = selector.current().map(|current| current.encoding);
                        match selector.handle(&arrived) {
                            Verdict::Drop if held == Some(encoding) => {
                                numbers.leave_out(seq);
                                pictures.leave_out(media::Codec::Vp8, &in_payload);
                                continue;
                            }
                            Verdict::Drop => continue,
                            Verdict::Forward { .. } => prop_assert_eq!(held, Some(encoding)),
                            Verdict::Switch { first_seq, .. } => {
                                prop_assert!(is_key && first_seq == seq);
                                numbers.start(seq);
                                pictures.start(&in_payload);
                            }
                        }
                        let target = target.expect("nothing comes when paused");
                        prop_assert!(encoding <= target.encoding || !hurry);
                        let seq = numbers.forward(seq).expect("it belongs to the run");
                        let id = pictures.forward(&in_payload).and_then(|numbers| numbers.picture_id).expect("so it does");
                        prop_assert!(last_seq.is_none_or(|last| seq == last + 1));
                        prop_assert!(last_id.is_none_or(|last: u16| id.value() == (last + 1) & 0x7fff));
                        (last_seq, last_id) = (Some(seq), Some(id.value()));
                    }
                    picture += 1;
                    if let Some(wanted) = selector.wanted_key_frame() {
                        asked[usize::from(wanted)] = picture % 3 == 0;
                    }
                }
            }
        }
    }
}
