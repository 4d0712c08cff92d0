//! Which numbers does a packet get after others before it were left out?
//!
//! There are three kinds of numbers, each with its own rule, and all with the same parts: a *run*,
//! which begins where a viewer is switched to another encoding (at a key frame), and the numbers
//! left out within a run.
//!
//! - [`Gapless`]: RTP sequence numbers, and VP8's picture ids. Numbers that are left out leave no
//!   gap, because a receiver takes a gap for loss: it requests the packet again, or waits for the
//!   picture (libwebrtc holds back a VP8 frame above temporal layer 0 while a picture id before it
//!   is missing).
//! - [`PictureRun`]: VP8's and VP9's picture numbers. VP9's are only shifted: its references are
//!   differences of picture ids, so a picture that is left out must leave its gap.
//! - [`DescriptorRun`]: the Dependency Descriptor's frame numbers, only shifted for the same
//!   reason, and its mask of decode targets, by which the decoder knows the frames that will not
//!   come.

use std::collections::VecDeque;

use media::Codec;
use media::codec::dependency::{Changes, Described};
use media::codec::layers::{PictureId, PictureNumbers, write_numbers};

/// Numbers packets or pictures without gaps for those that are left out.
///
/// Input numbers are extended, so that they do not wrap. Each output number is given to at most one
/// input number.
#[derive(Debug, Clone, Default)]
pub struct Gapless {
    /// `out = in - first_in + first_out - left out before it`.
    run: Option<Run>,
    /// Ranges of numbers that were left out, oldest first.
    cuts: VecDeque<Cut>,
    /// One above the highest input number so far.
    next_in: u64,
    /// One above the highest output number so far.
    next_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first_in: u64,
    first_out: u64,
}

/// A range of consecutive numbers that were left out.
#[derive(Debug, Clone, Copy)]
struct Cut {
    first: u64,
    last: u64,
    /// Numbers left out in this run up to `last`.
    total: u64,
}

/// Number of ranges that are kept, for packets that come late. If every second picture is left out,
/// these are 128 pictures: 2 s at 60 per second, longer than any wait for a retransmission.
const MAX_CUTS: usize = 64;

impl Gapless {
    /// Starts with this output number.
    pub fn new(next_out: u64) -> Gapless {
        Gapless { next_out, ..Gapless::default() }
    }

    /// Begins a run: `first_in` gets the number after the last one given out.
    pub fn start(&mut self, first_in: u64) {
        self.run = Some(Run { first_in, first_out: self.next_out });
        self.cuts.clear();
        self.next_in = first_in;
    }

    /// Gives out `count` numbers for packets that are sent before the next run. Returns the first.
    /// Ends the run.
    pub fn reserve(&mut self, count: u64) -> u64 {
        self.run = None;
        let first = self.next_out;
        self.next_out += count;
        first
    }

    /// Returns the number of a forwarded packet. `None` if it lies before the run, was left out, or
    /// is too old to be known.
    pub fn forward(&mut self, number: u64) -> Option<u64> {
        let out = self.of(number)?;
        self.next_in = self.next_in.max(number + 1);
        self.next_out = self.next_out.max(out + 1);
        Some(out)
    }

    /// Leaves a number out. Returns the output number that was kept for it, if later ones were
    /// already forwarded: a gap remains then, which the caller should fill (with an empty packet).
    pub fn leave_out(&mut self, number: u64) -> Option<u64> {
        let run = self.run?;
        if number < self.next_in {
            return self.of(number);
        }
        let total = self.cuts.back().map_or(0, |cut| cut.total) + 1;
        self.next_in = number + 1;
        match self.cuts.back_mut() {
            Some(cut) if cut.last + 1 == number => (cut.last, cut.total) = (number, total),
            _ => {
                if self.cuts.len() >= MAX_CUTS
                    && let Some(oldest) = self.cuts.pop_front()
                {
                    // Numbers before this one are too old to be known from now on.
                    self.run = Some(Run {
                        first_in: oldest.last + 1,
                        first_out: run.first_out + (oldest.last + 1 - run.first_in) - oldest.total,
                    });
                    for cut in &mut self.cuts {
                        cut.total -= oldest.total;
                    }
                    let total = total - oldest.total;
                    self.cuts.push_back(Cut { first: number, last: number, total });
                    return None;
                }
                self.cuts.push_back(Cut { first: number, last: number, total });
            }
        }
        None
    }

    /// Returns the output number that an input number has or would have.
    fn of(&self, number: u64) -> Option<u64> {
        let run = self.run?;
        let since = number.checked_sub(run.first_in)?;
        if self.cuts.is_empty() {
            return Some(run.first_out + since);
        }
        let before = self.cuts.iter().rev().find(|cut| cut.first <= number);
        if before.is_some_and(|cut| number <= cut.last) {
            return None;
        }
        Some(run.first_out + since - before.map_or(0, |cut| cut.total))
    }
}

/// The change of the numbers of a packet's picture for one viewer, kept so that the packet can be
/// written again identically.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shift {
    /// Added to the picture id, modulo its size.
    pub picture_id: u16,
    /// Added to `TL0PICIDX`.
    pub base_index: u8,
    /// Added to `KEYIDX`, modulo 32.
    pub key_index: u8,
}

/// More than the bytes of any payload descriptor up to the last number that is written: VP8's has
/// six bytes, VP9's five.
pub const MAX_DESCRIPTOR_BYTES: usize = 8;

impl Shift {
    fn between(from: &PictureNumbers, to: &PictureNumbers) -> Shift {
        let id = |numbers: &PictureNumbers| numbers.picture_id.map_or(0, PictureId::value);
        let of = |number: Option<u8>| number.unwrap_or(0);
        Shift {
            picture_id: id(to).wrapping_sub(id(from)) & 0x7fff,
            base_index: of(to.base_index).wrapping_sub(of(from.base_index)),
            key_index: of(to.key_index).wrapping_sub(of(from.key_index)) & 0x1f,
        }
    }

    /// Returns the beginning of a payload with changed numbers, and its length; the rest of the
    /// payload stays as it is. Empty if nothing changes.
    pub fn beginning(
        &self,
        codec: Codec,
        numbers: &PictureNumbers,
        payload: &[u8],
    ) -> ([u8; MAX_DESCRIPTOR_BYTES], usize) {
        let mut bytes = [0; MAX_DESCRIPTOR_BYTES];
        if *self == Shift::default() || *numbers == PictureNumbers::default() {
            return (bytes, 0);
        }
        let len = payload.len().min(MAX_DESCRIPTOR_BYTES);
        bytes[..len].copy_from_slice(&payload[..len]);
        let moved = PictureNumbers {
            picture_id: numbers.picture_id.map(|id| id.with(id.value().wrapping_add(self.picture_id))),
            base_index: numbers.base_index.map(|index| index.wrapping_add(self.base_index)),
            key_index: numbers.key_index.map(|index| index.wrapping_add(self.key_index) & 0x1f),
        };
        write_numbers(codec, &mut bytes[..len], &moved);
        (bytes, len)
    }
}

/// Numbers the pictures of VP8 and VP9 for one viewer.
#[derive(Debug, Clone)]
pub struct PictureRun {
    /// Extends the incoming picture ids, from the run's first picture on.
    highest_in: u64,
    ids: Gapless,
    /// Added to `TL0PICIDX` and `KEYIDX`.
    base_delta: u8,
    key_delta: u8,
    /// The last numbers given out.
    base_out: u8,
    key_out: u8,
    is_started: bool,
}

impl Default for PictureRun {
    fn default() -> PictureRun {
        PictureRun {
            highest_in: 0,
            ids: Gapless::new(0),
            base_delta: 0,
            key_delta: 0,
            base_out: 0,
            key_out: 0,
            is_started: false,
        }
    }
}

impl PictureRun {
    /// Begins a run with a key frame of another encoding (or publisher), that has these numbers.
    pub fn start(&mut self, first: &PictureNumbers) {
        let id = first.picture_id.map_or(0, |id| u64::from(id.value()));
        // A viewer's first run has the publisher's own numbers.
        if !self.is_started {
            self.ids = Gapless::new(id + CYCLE);
            self.base_out = first.base_index.unwrap_or(0).wrapping_sub(1);
            self.key_out = first.key_index.unwrap_or(0).wrapping_sub(1);
            self.is_started = true;
        }
        self.highest_in = id + CYCLE;
        self.ids.start(self.highest_in);
        self.base_delta = self.base_out.wrapping_add(1).wrapping_sub(first.base_index.unwrap_or(0));
        self.key_delta = self.key_out.wrapping_add(1).wrapping_sub(first.key_index.unwrap_or(0));
    }

    /// Returns the numbers of a forwarded packet; `None` if its picture was left out or lies before
    /// the run.
    pub fn forward(&mut self, numbers: &PictureNumbers) -> Option<PictureNumbers> {
        let picture_id = match numbers.picture_id {
            Some(id) => {
                let extended = self.extend(id.value(), id.with(u16::MAX).value());
                Some(id.with((self.ids.forward(extended)? & 0x7fff) as u16))
            }
            None => None,
        };
        let newest =
            |last: u8, new: u8, half: u8| if new.wrapping_sub(last) & (2 * half - 1) < half { new } else { last };
        let base_index = numbers.base_index.map(|index| index.wrapping_add(self.base_delta));
        if let Some(index) = base_index {
            let ahead = index.wrapping_sub(self.base_out);
            self.base_out = if ahead < 0x80 { index } else { self.base_out };
        }
        let key_index = numbers.key_index.map(|index| index.wrapping_add(self.key_delta) & 0x1f);
        if let Some(index) = key_index {
            self.key_out = newest(self.key_out & 0x1f, index, 16);
        }
        Some(PictureNumbers { picture_id, base_index, key_index })
    }

    /// Returns the same numbers as [`PictureRun::forward`], as differences.
    pub fn shift(&mut self, numbers: &PictureNumbers) -> Option<Shift> {
        if *numbers == PictureNumbers::default() {
            return Some(Shift::default());
        }
        Some(Shift::between(numbers, &self.forward(numbers)?))
    }

    /// Leaves out the picture that this packet belongs to.
    pub fn leave_out(&mut self, codec: Codec, numbers: &PictureNumbers) {
        if codec == Codec::Vp8
            && let Some(id) = numbers.picture_id
        {
            let extended = self.extend(id.value(), id.with(u16::MAX).value());
            // All packets of a picture have one number.
            if extended >= self.ids.next_in {
                self.ids.leave_out(extended);
            }
        }
    }

    /// Extends a number of as many bits as `mask` has, in the direction of the smaller difference.
    fn extend(&mut self, value: u16, mask: u16) -> u64 {
        let (cycle, half) = (u64::from(mask) + 1, u64::from(mask).div_ceil(2));
        let ahead = u64::from(value).wrapping_sub(self.highest_in) & u64::from(mask);
        let extended = self.highest_in + ahead - if ahead < half { 0 } else { cycle };
        self.highest_in = self.highest_in.max(extended);
        extended
    }
}

/// Keeps extended picture ids above zero for late packets.
const CYCLE: u64 = 1 << 15;

/// Numbers the frames of Dependency Descriptors for one viewer.
#[derive(Debug, Clone, Default)]
pub struct DescriptorRun {
    frame_delta: u16,
    template_delta: u8,
    /// The last numbers given out: the frame number, and the template id that the next structure
    /// begins with.
    frame_out: Option<u16>,
    /// A mask was sent since the last structure.
    is_told: bool,
}

impl DescriptorRun {
    /// Begins a run with a key frame of another encoding (or publisher) with this frame number.
    /// Templates of consecutive runs are `32` apart, and no encoder has more (L3T3 has 15).
    pub fn start(&mut self, first: u16) {
        let Some(last) = self.frame_out else { return };
        self.frame_delta = last.wrapping_add(1).wrapping_sub(first);
        self.template_delta = (self.template_delta + 32) & 0x3f;
        self.is_told = false;
    }

    /// Returns the changes to the descriptor of a forwarded packet. `within`: the highest spatial
    /// and temporal layer that this viewer gets; `None`: all.
    ///
    /// While the mask differs from that of the structure, and after it was sent once until the next
    /// structure, every packet carries it: the receiver then knows it whichever packets are lost.
    /// It costs two bytes.
    pub fn forward(&mut self, described: &Described, within: Option<(u8, u8)>) -> Changes {
        let number = described.frame_number().wrapping_add(self.frame_delta);
        let is_newer = self.frame_out.is_none_or(|last| number.wrapping_sub(last) < 1 << 15);
        self.frame_out = if is_newer { Some(number) } else { self.frame_out };
        let mut active_targets = None;
        if let Some((descriptor, structure)) = &described.read {
            let got = within.map_or(u32::MAX, |layers| structure.targets_within(layers)) & descriptor.active_targets;
            let is_told = got != structure.all_targets() || (self.is_told && !descriptor.has_structure);
            self.is_told = is_told;
            active_targets = is_told.then_some(got);
        }
        Changes { frame_number: self.frame_delta, template_id: self.template_delta, active_targets }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use media::codec::dependency::Reader;
    use media::codec::layers::PictureId;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_are_left_out_leave_no_gap() {
        let mut numbers = Gapless::new(7);
        assert_eq!(numbers.forward(100), None, "no run has begun");
        numbers.start(100);
        assert_eq!(numbers.forward(100), Some(7));
        assert_eq!(numbers.leave_out(101), None);
        assert_eq!(numbers.leave_out(102), None);
        assert_eq!(numbers.forward(104), Some(9));
        assert_eq!(numbers.forward(102), None, "left out is left out, whenever it comes again");
        assert_eq!(numbers.leave_out(103), Some(8), "its number was kept for it");
        numbers.start(5_000);
        assert_eq!(numbers.forward(5_000), Some(10));
        assert_eq!(numbers.forward(104), None, "of the run before");
        assert_eq!(numbers.reserve(2), 11);
        assert_eq!(numbers.forward(5_001), None, "the run has ended");
        numbers.start(90);
        assert_eq!(numbers.forward(90), Some(13));
    }

    fn numbers(id: u16, base: u8) -> PictureNumbers {
        PictureNumbers { picture_id: Some(PictureId::Long(id & 0x7fff)), base_index: Some(base), key_index: None }
    }

    #[test]
    fn vp9_pictures_keep_their_distances() {
        let mut run = PictureRun::default();
        run.start(&numbers(0x7fff, 9));
        assert_eq!(run.forward(&numbers(0x7fff, 9)), Some(numbers(0x7fff, 9)));
        run.leave_out(Codec::Vp9, &numbers(0, 9));
        assert_eq!(run.forward(&numbers(1, 10)), Some(numbers(1, 10)));
        run.start(&numbers(500, 77));
        assert_eq!(run.forward(&numbers(500, 77)), Some(numbers(2, 11)));
        run.leave_out(Codec::Vp9, &numbers(501, 77));
        assert_eq!(run.forward(&numbers(502, 78)), Some(numbers(4, 12)));
    }

    proptest! {
        #[test]
        fn a_payload_of_which_the_beginning_was_moved_has_the_numbers_that_were_given(
            payload in proptest::collection::vec(any::<u8>(), 0..24),
            is_vp8 in any::<bool>(),
            (first, id, base) in any::<(bool, u16, u8)>(),
        ) {
            let codec = if is_vp8 { Codec::Vp8 } else { Codec::Vp9 };
            let Some(before) = media::codec::layers::read(codec, &payload) else { return Ok(()) };
            let mut run = PictureRun::default();
            run.start(&numbers(id, base));
            run.forward(&numbers(id, base));
            if first {
                run.start(&before.numbers);
            }
            let mut same = run.clone();
            let (Some(shift), Some(expected)) = (run.shift(&before.numbers), same.forward(&before.numbers)) else {
                return Ok(());
            };
            let (bytes, len) = shift.beginning(codec, &before.numbers, &payload);
            let sent = [&bytes[..len], &payload[len..]].concat();
            let after = media::codec::layers::read(codec, &sent).map(|layers| layers.numbers);
            prop_assert_eq!(after, Some(expected));
        }
    }

    /// A frame of three temporal layers and decode targets, or the key frame that all follow from.
    fn described(reader: &mut Reader, frame_number: u16, is_key: bool) -> Described {
        let [high, low] = frame_number.to_be_bytes();
        // Three targets; a template of each layer (next_layer_idc 1, 1, 3), which those above can switch with; no references,
        // chains, or sizes.
        let key = [0xc0, high, low, 0x80, 0x02, 0x5e, 0xa2, 0x82, 0x00];
        let bytes = if is_key { &key[..] } else { &key[..3] };
        reader.take(bytes).expect("it is well formed")
    }

    #[test]
    fn frames_of_a_new_run_follow_and_the_mask_is_told_while_it_matters() {
        let (mut run, mut reader) = (DescriptorRun::default(), Reader::default());
        let of_publisher = |reader: &mut Reader, number, is_key| described(reader, number, is_key);
        let key = of_publisher(&mut reader, 65_535, true);
        assert_eq!(key.read.as_ref().map(|(_, structure)| structure.all_targets()), Some(0b111));
        run.start(key.frame_number());
        let told = |changes: Changes| (changes.frame_number, changes.active_targets);
        assert_eq!(told(run.forward(&key, None)), (0, None));
        let delta = of_publisher(&mut reader, 1, false);
        assert_eq!(told(run.forward(&delta, Some((0, 1)))), (0, Some(0b011)));
        assert_eq!(told(run.forward(&delta, None)), (0, Some(0b111)), "it must learn that too");
        let first = of_publisher(&mut Reader::default(), 40_000, true);
        run.start(first.frame_number());
        let changes = run.forward(&first, None);
        assert_eq!(40_000u16.wrapping_add(changes.frame_number), 2);
        assert_eq!((changes.template_id, changes.active_targets), (32, None));
    }

    #[test]
    fn a_frame_whose_structure_is_late_is_numbered_all_the_same() {
        let mut run = DescriptorRun::default();
        let key = described(&mut Reader::default(), 10, true);
        run.forward(&key, None);
        run.start(500);
        let unread = described(&mut Reader::default(), 501, false);
        assert!(unread.read.is_none());
        let mut out = [0; 8];
        let len = unread.write(&run.forward(&unread, Some((0, 0))), &mut out);
        assert_eq!(&out[..len], [0xc0 | 32, 0, 12]);
    }

    proptest! {
        #[test]
        fn no_number_is_given_twice_and_late_ones_fit(
            packets in proptest::collection::vec((0u64..12, any::<bool>(), 0u8..20), 1..400),
        ) {
            let mut numbers = Gapless::new(1);
            numbers.start(1_000);
            let mut given: HashMap<u64, u64> = HashMap::new();
            let mut gone: HashSet<u64> = HashSet::new();
            let mut newest = 1_000;
            for (back, is_wanted, _) in packets {
                newest += 1;
                let number = (newest - back).max(1_000);
                if given.contains_key(&number) || gone.contains(&number) {
                    continue;
                }
                if is_wanted {
                    let Some(out) = numbers.forward(number) else { continue };
                    prop_assert!(given.values().all(|other| *other != out), "{out} twice");
                    let wrong = given.iter().find(|(other, of)| (**other < number) != (**of < out));
                    prop_assert_eq!(wrong, None, "order is kept");
                    given.insert(number, out);
                } else {
                    numbers.leave_out(number);
                    gone.insert(number);
                }
            }
        }

        /// A receiver of VP8 as libwebrtc's: picture ids without gaps, and each base picture's index one above the last.
        #[test]
        fn a_vp8_receiver_sees_one_stream_through_switches_and_drops(
            steps in proptest::collection::vec((any::<bool>(), 0u8..3), 1..300),
            starts in any::<[(u16, u8); 3]>(),
        ) {
            let mut ids = starts.map(|(id, base)| (id & 0x7fff, base));
            let mut run = PictureRun::default();
            let mut encoding = 0;
            let mut last: Option<PictureNumbers> = None;
            for (at, (is_kept, other)) in steps.into_iter().enumerate() {
                // A picture of each encoding: base, then one above, in turns; each tenth a key frame.
                let is_base = at % 2 == 0;
                for (id, base) in &mut ids {
                    *id = id.wrapping_add(1) & 0x7fff;
                    *base = base.wrapping_add(u8::from(is_base));
                }
                let switches = at == 0 || (at % 10 == 0 && usize::from(other) != encoding);
                encoding = if switches { usize::from(other) } else { encoding };
                let (id, base) = ids[encoding];
                let of_picture = numbers(id, base);
                if switches {
                    run.start(&of_picture);
                }
                if !is_base && !is_kept {
                    run.leave_out(Codec::Vp8, &of_picture);
                    run.leave_out(Codec::Vp8, &of_picture);
                    continue;
                }
                let out = run.forward(&of_picture).expect("it belongs to the run");
                prop_assert_eq!(run.forward(&of_picture), Some(out), "all packets of a picture have its numbers");
                if let Some(PictureNumbers { picture_id: Some(id), base_index: Some(base), .. }) = last {
                    let expected = numbers(id.value().wrapping_add(1), base.wrapping_add(u8::from(is_base)));
                    prop_assert_eq!(out, expected);
                }
                last = Some(out);
            }
        }
    }
}
