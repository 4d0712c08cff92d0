//! Up to which size, layers and rates does a publisher send an encoding?
//!
//! Encodings without need are switched off at the publisher (`control::bound`), and cannot be
//! measured then. The limits that were measured before are therefore kept while the publisher stays
//! the same.

use media::codec::Resolution;

use super::choice::Preferences;

/// The highest size, layers and frame rate received of an encoding, and the rates of its spatial
/// layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodingLimits {
    /// Columns and lines; `None` until a key frame was received.
    size: Option<(u16, u16)>,
    /// The highest spatial and temporal layer.
    top: (u8, u8),
    /// Frames per second.
    frame_rate: u16,
    /// The highest layers received at the moment.
    now: (u8, u8),
    /// Bits per second of each spatial layer with those below it: the maximum, and the recent rate
    /// (of a paused encoding, the rate before the pause).
    most: [u64; MAX_SPATIAL],
    lately: [u64; MAX_SPATIAL],
}

/// Number of spatial layers that are distinguished; no browser's encoder has more.
pub const MAX_SPATIAL: usize = 3;

/// A network must carry this percentage of the rate of a layer that is not sent, before the layer
/// is requested: 10 % more as for a viewer's upgrade (`choice`), and 10 % more because the rate
/// fades a little while the layer ends.
const ROOM_PERCENT: u64 = 120;
/// A layer that is sent is needed while the network carries this percentage of its rate. A viewer
/// keeps it down to 95 %, and must not lose it because it was switched off.
const KEPT_PERCENT: u64 = 90;
/// The rate of a layer fades by one part in this many at each look, like that of a whole encoding
/// (`track`).
const FADES: u64 = 70;

impl EncodingLimits {
    /// Updates the limits from recent packets: a picture size, the highest layers, and a frame
    /// rate. `bits`: bits per second by spatial layer, each with those below it, as far as known.
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

    /// Returns columns and lines of the largest picture received.
    pub fn size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// Returns the pixels of the largest picture received.
    pub(super) fn pixels(&self) -> Option<u32> {
        self.size.map(pixels)
    }

    /// Returns the highest spatial and temporal layer received.
    pub fn top(&self) -> (u8, u8) {
        self.top
    }

    /// Returns columns and lines of a spatial layer: half of the next one in both directions, with
    /// all known encoders.
    fn size_of(&self, spatial: u8) -> Option<(u16, u16)> {
        let halvings = self.top.0.saturating_sub(spatial).min(15);
        self.size.map(|(width, height)| (width >> halvings, height >> halvings))
    }

    /// Returns the highest bit rate of the layers that a viewer with these preferences may get.
    pub(super) fn useful(&self, preferences: &Preferences) -> u64 {
        let within = (0..=self.top.0)
            .take(MAX_SPATIAL)
            .filter(|spatial| self.size_of(*spatial).is_none_or(|size| !preferences.is_exceeded(size)));
        within.map(|spatial| self.most[usize::from(spatial)]).max().unwrap_or(0)
    }

    /// Returns `true` if more was received than a viewer with these preferences may get.
    pub(super) fn is_beyond(&self, preferences: &Preferences) -> bool {
        let is_large = self.size.is_some_and(|size| preferences.is_exceeded(size));
        self.has_come()
            && (is_large || preferences.is_outrun(self.frame_rate) || preferences.has_fewer_layers(self.top))
    }

    /// Returns `true` if countable packets were received.
    pub(super) fn has_come(&self) -> bool {
        self.most[0] > 0
    }

    /// Returns the number of sizes received.
    pub(super) fn sizes(&self) -> usize {
        self.most.iter().filter(|bits| **bits > 0).count()
    }

    /// Returns `true` if a network carries any layer. `carried`: its bits per second for the video,
    /// if bounded.
    pub(super) fn fits(&self, carried: Option<u64>) -> bool {
        self.is_carried(0, carried)
    }

    /// Returns the highest spatial layer for a viewer with these preferences and a network that
    /// carries `carried`; `u8::MAX`: all layers.
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
        // The rate of the lower layer is known to have fallen; that of the layer that is not sent
        // stays.
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
