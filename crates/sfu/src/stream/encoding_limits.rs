//! How much of an encoding can its publisher send?
//!
//! What nobody needs is switched off at the publisher (`control::bound`), and what is not sent cannot be measured. So what
//! came of an encoding when it was whole is kept, as long as its publisher is the same.

use media::codec::Resolution;

use super::choice::Preferences;

/// The most that came of an encoding, and what its spatial layers took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodingLimits {
    /// Columns and lines; `None` until a key frame came.
    size: Option<(u16, u16)>,
    /// The highest spatial and temporal layer.
    top: (u8, u8),
    /// Pictures a second.
    frame_rate: u16,
    /// The highest layers that come at the moment.
    now: (u8, u8),
    /// Bits a second of each spatial layer with those below it: the most ever, and lately (as it was, while it pauses).
    most: [u64; MAX_SPATIAL],
    lately: [u64; MAX_SPATIAL],
}

/// Spatial layers that are told apart; no encoder of browsers makes more.
pub const MAX_SPATIAL: usize = 3;

/// A layer that is not sent must fit so well, in percent, before it is asked for: 10 % as for a viewer that is moved up (`choice`),
/// and as much again because what it needed fades a little while it ends.
const ROOM_PERCENT: u64 = 120;
/// One that is sent is needed while so much of it is carried: a viewer keeps it at 95 %, and must not lose it to us.
const KEPT_PERCENT: u64 = 90;
/// What a layer needed fades by a part in so many at each look, as that of a whole encoding (`encodings`).
const FADES: u64 = 70;

impl EncodingLimits {
    /// Something of it came lately: a picture of this size, these layers, so many pictures a second. `bits`: bits a second by
    /// spatial layer, each with those below it, as far as they are known.
    pub(super) fn update(
        &mut self,
        size: Option<Resolution>,
        top: (u8, u8),
        frame_rate: u16,
        mut bits: impl FnMut(u8) -> Option<u64>,
    ) {
        if let Some(size) = size.map(|size| (size.width, size.height)) {
            self.size = Some(self.size.map_or(size, |known| if pixels(known) > pixels(size) { known } else { size }));
        }
        self.now = top;
        self.top = (self.top.0.max(top.0), self.top.1.max(top.1));
        self.frame_rate = self.frame_rate.max(frame_rate);
        for spatial in (0..=top.0).take(MAX_SPATIAL) {
            let Some(bits) = bits(spatial) else { continue };
            let (most, lately) = (&mut self.most[usize::from(spatial)], &mut self.lately[usize::from(spatial)]);
            *most = bits.max(*most);
            *lately = bits.max((*lately * FADES + bits) / (FADES + 1));
        }
    }

    /// Columns and lines of the largest picture that came.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// Pixels of the largest picture that came.
    pub(super) fn pixels(&self) -> Option<u32> {
        self.size.map(pixels)
    }

    /// The highest spatial and temporal layer that came.
    pub fn top(&self) -> (u8, u8) {
        self.top
    }

    /// Columns and lines of what a spatial layer shows: each is half of the next in both directions, with all encoders known to us.
    fn size_of(&self, spatial: u8) -> Option<(u16, u16)> {
        let halvings = self.top.0.saturating_sub(spatial).min(15);
        self.size.map(|(width, height)| (width >> halvings, height >> halvings))
    }

    /// The most bits a second that came of what may be of use to one who wishes this.
    pub(super) fn useful(&self, preferences: &Preferences) -> u64 {
        let within = (0..=self.top.0)
            .take(MAX_SPATIAL)
            .filter(|spatial| self.size_of(*spatial).is_none_or(|size| !preferences.is_exceeded(size)));
        within.map(|spatial| self.most[usize::from(spatial)]).max().unwrap_or(0)
    }

    /// Whether more of it came than one who wishes this has use for.
    pub(super) fn is_beyond(&self, preferences: &Preferences) -> bool {
        let is_large = self.size.is_some_and(|size| preferences.is_exceeded(size));
        self.has_come()
            && (is_large || preferences.is_outrun(self.frame_rate) || preferences.has_fewer_layers(self.top))
    }

    /// Whether anything of it came that could be counted.
    pub(super) fn has_come(&self) -> bool {
        self.most[0] > 0
    }

    /// In how many sizes it came.
    pub(super) fn sizes(&self) -> usize {
        self.most.iter().filter(|bits| **bits > 0).count()
    }

    /// Whether a network that carries so many bits a second for the video, if that is bounded, carries anything of it.
    pub(super) fn fits(&self, carried: Option<u64>) -> bool {
        self.is_carried(0, carried)
    }

    /// The highest spatial layer that one has use for who wishes this and whose network carries so much; `u8::MAX`: all.
    pub(super) fn spatial_for(&self, preferences: &Preferences, carried: Option<u64>) -> u8 {
        let is_wished = |spatial: u8| {
            preferences.max_spatial.is_none_or(|most| spatial <= most)
                && self.size_of(spatial).is_none_or(|size| !preferences.is_exceeded(size))
        };
        let highest = (1..=self.top.0).rev().find(|spatial| is_wished(*spatial) && self.is_carried(*spatial, carried));
        let highest = highest.unwrap_or(0);
        if highest == self.top.0 { preferences.max_spatial.unwrap_or(u8::MAX) } else { highest }
    }

    fn is_carried(&self, spatial: u8, carried: Option<u64>) -> bool {
        let percent = if spatial <= self.now.0 { KEPT_PERCENT } else { ROOM_PERCENT };
        let needed = self.lately.get(usize::from(spatial)).map_or(0, |bits| bits * percent / 100);
        carried.is_none_or(|carried| carried >= needed)
    }
}

fn pixels((width, height): (u16, u16)) -> u32 {
    u32::from(width) * u32::from(height)
}

#[cfg(test)]
pub(crate) fn limits(width: u16, height: u16, bits: &[u64]) -> EncodingLimits {
    let mut limits = EncodingLimits::default();
    let size = Some(Resolution { width, height });
    limits.update(size, (bits.len() as u8 - 1, 2), 30, |spatial| bits.get(usize::from(spatial)).copied());
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Option<Resolution> = Some(Resolution { width: 1_280, height: 720 });
    const BITS: [u64; 3] = [150_000, 500_000, 1_500_000];

    #[test]
    fn what_is_switched_off_is_remembered() {
        let mut encoding = limits(1_280, 720, &BITS);
        for _ in 0..1_000 {
            encoding.update(Some(Resolution { width: 640, height: 360 }), (1, 1), 15, |s| (s < 2).then_some(100_000));
        }
        assert_eq!((encoding.size(), encoding.top(), encoding.sizes()), (Some((1_280, 720)), (2, 2), 3));
        let preferences = |max_height| Preferences { max_height, ..Preferences::default() };
        assert_eq!(
            [None, Some(720), Some(400), Some(100)].map(|lines| encoding.useful(&preferences(lines))),
            [1_500_000, 1_500_000, 500_000, 0]
        );
        assert!(encoding.is_beyond(&preferences(Some(400))) && !encoding.is_beyond(&preferences(Some(720))));
        // The one below is known to need less by now; the one that is not sent is not.
        assert!(encoding.fits(Some(100_000)) && !encoding.fits(Some(80_000)));
        assert_eq!(encoding.spatial_for(&preferences(None), Some(1_799_999)), 1);
        assert_eq!(encoding.spatial_for(&preferences(None), Some(1_800_000)), u8::MAX);
    }

    #[test]
    fn the_highest_layer_that_is_wished_and_carried() {
        let encoding = limits(1_280, 720, &BITS);
        let check = |preferences: Preferences, carried, expected| {
            assert_eq!(encoding.spatial_for(&preferences, carried), expected, "{preferences:?}")
        };
        check(Preferences::default(), None, u8::MAX);
        check(Preferences { max_height: Some(500), ..Preferences::default() }, None, 1);
        check(Preferences { max_width: Some(640), ..Preferences::default() }, None, 1);
        check(Preferences { max_height: Some(1), ..Preferences::default() }, None, 0);
        check(Preferences { max_spatial: Some(1), ..Preferences::default() }, None, 1);
        check(Preferences { max_spatial: Some(2), ..Preferences::default() }, None, 2);
        check(Preferences::default(), Some(1_400_000), u8::MAX);
        check(Preferences::default(), Some(1_300_000), 1);
        check(Preferences::default(), Some(1), 0);
        check(Preferences { max_spatial: Some(1), ..Preferences::default() }, Some(200_000), 0);
        let none_known = EncodingLimits::default();
        assert_eq!(
            none_known.spatial_for(&Preferences { max_height: Some(100), ..Preferences::default() }, Some(1)),
            u8::MAX
        );
        assert!(
            !none_known.has_come()
                && !none_known.is_beyond(&Preferences { max_spatial: Some(0), ..Preferences::default() })
        );
    }

    #[test]
    fn more_than_is_wished_came() {
        let encoding = limits(1_280, 720, &BITS);
        let is_beyond = |preferences: Preferences| encoding.is_beyond(&preferences);
        assert!(is_beyond(Preferences { max_frame_rate: Some(15), ..Preferences::default() }));
        assert!(!is_beyond(Preferences { max_frame_rate: Some(29), ..Preferences::default() }));
        assert!(is_beyond(Preferences { max_temporal: Some(1), ..Preferences::default() }));
        assert!(!is_beyond(Preferences { max_temporal: Some(2), max_spatial: Some(2), ..Preferences::default() }));
        let mut same = encoding;
        same.update(SIZE, (0, 0), 15, |_| None);
        assert_eq!((same.top(), same.size()), (encoding.top(), encoding.size()));
    }
}
