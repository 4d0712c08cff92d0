//! Which bit rates do the networks of a stream's viewers carry?
//!
//! The audience is counted once a second. With the counts a publisher is asked for the bit rates,
//! layers and frame rates that its viewers need, and for no others.

use media::packet::MAX_ENCODINGS;

use super::choice::Preferences;
use super::encoding_limits::EncodingLimits;

/// Numbers of viewers by the bit rate that their networks have for the video. A place counts at
/// most 65,535 viewers; more have no more weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// The limits of each encoding, as far as it was received.
    limits: [EncodingLimits; MAX_ENCODINGS],
    /// Viewers whose network carries at least [`Audience::bits_per_second`] of a place and less
    /// than of the next one: first the viewers that may get everything, then, for each encoding,
    /// the viewers that prefer no larger picture.
    free: [u16; PLACES],
    bounded: [[u16; PLACES]; MAX_ENCODINGS],
    /// Viewers that prefer this encoding and no other.
    pinned: [u32; MAX_ENCODINGS],
    /// The need for each encoding.
    needs: [Need; MAX_ENCODINGS],
}

/// The need for an encoding: that of the most demanding viewer. Without a viewer it is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// The highest spatial layer; `u8::MAX`: all layers.
    pub spatial: u8,
    /// The highest temporal layer; `u8::MAX`: all layers.
    pub temporal: u8,
    /// Frames per second; `u16::MAX`: the full rate.
    pub frame_rate: u16,
}

impl Need {
    /// All layers at the full frame rate.
    pub const ALL: Need = Need { spatial: u8::MAX, temporal: u8::MAX, frame_rate: u16::MAX };

    /// Returns the higher of two needs.
    #[must_use]
    pub fn or(self, other: Need) -> Need {
        Need {
            spatial: self.spatial.max(other.spatial),
            temporal: self.temporal.max(other.temporal),
            frame_rate: self.frame_rate.max(other.frame_rate),
        }
    }
}

/// Lowest frame rate that a publisher is asked for: a pause of 400 ms looks like the end of an
/// encoding (`track`).
const LEAST_FRAME_RATE: u16 = 5;

/// Number of places, from 50 kb/s to 9 Mb/s. Viewers with a higher or an unknown rate count to the
/// last place.
pub const PLACES: usize = 181;
const FIRST_BPS: f64 = 50_000.0;
/// Number of places in which the rate doubles: 3 % from one to the next.
const PLACES_PER_DOUBLING: f64 = 24.0;

impl Default for Audience {
    fn default() -> Audience {
        Audience::new([EncodingLimits::default(); MAX_ENCODINGS])
    }
}

impl Audience {
    /// Makes an audience without viewers, of encodings with these limits.
    pub fn new(limits: [EncodingLimits; MAX_ENCODINGS]) -> Audience {
        let nobody = [0; PLACES];
        Audience {
            limits,
            free: nobody,
            bounded: [nobody; MAX_ENCODINGS],
            pinned: [0; MAX_ENCODINGS],
            needs: [Need::default(); MAX_ENCODINGS],
        }
    }

    /// Returns an audience of the same encodings without viewers.
    #[must_use]
    pub fn emptied(&self) -> Audience {
        Audience::new(self.limits)
    }

    /// Returns the lowest bit rate of a place.
    pub fn bits_per_second(place: usize) -> f64 {
        FIRST_BPS * (place as f64 / PLACES_PER_DOUBLING).exp2()
    }

    /// Adds a viewer. `carried`: bits per second that its network has for the video, if that is
    /// bounded.
    pub fn add_viewer(&mut self, carried: Option<u64>, preferences: &Preferences) {
        if preferences.is_hidden {
            return;
        }
        if let Some(encoding) = preferences.encoding.map(usize::from).filter(|encoding| *encoding < MAX_ENCODINGS) {
            self.pinned[encoding] += 1;
            self.add_need(encoding, preferences, None);
            return;
        }
        let bound = self.largest_within(preferences);
        let places = match bound {
            Some(encoding) => &mut self.bounded[encoding],
            None => &mut self.free,
        };
        let viewers = &mut places[carried.map_or(PLACES - 1, place_of)];
        *viewers = viewers.saturating_add(1);
        // The viewer may get the encodings that fit its preferences and its network, or else the
        // smallest.
        let smallest = self.limits.iter().filter_map(EncodingLimits::pixels).min();
        let most = bound.and_then(|encoding| self.limits[encoding].pixels());
        for encoding in 0..MAX_ENCODINGS {
            let limits = &self.limits[encoding];
            let is_within = most.is_none_or(|most| limits.pixels().is_some_and(|pixels| pixels <= most));
            if is_within && (limits.fits(carried) || limits.pixels() == smallest) {
                self.add_need(encoding, preferences, carried);
            }
        }
    }

    /// Adds the need of a viewer that may get this encoding.
    fn add_need(&mut self, encoding: usize, preferences: &Preferences, carried: Option<u64>) {
        let one = Need {
            spatial: self.limits[encoding].spatial_for(preferences, carried),
            temporal: preferences.max_temporal.unwrap_or(u8::MAX),
            frame_rate: preferences.max_frame_rate.map_or(u16::MAX, |most| most.max(LEAST_FRAME_RATE)),
        };
        self.needs[encoding] = self.needs[encoding].or(one);
    }

    /// Returns the largest encoding that a viewer with these preferences may get, or else the
    /// smallest, as `choice` would choose it; `None` if no encoding is known to be larger.
    fn largest_within(&self, preferences: &Preferences) -> Option<usize> {
        let known = self.limits.iter().enumerate().filter_map(|(encoding, limits)| Some((limits.size()?, encoding)));
        let within = known.clone().filter(|(size, _)| !preferences.is_exceeded(*size)).max();
        let is_bounded = known.clone().any(|(size, _)| preferences.is_exceeded(size));
        within.or(known.min()).filter(|_| is_bounded).map(|(_, encoding)| encoding)
    }

    /// Adds the viewers of another shard.
    #[must_use]
    pub fn with(mut self, other: &Audience) -> Audience {
        let add = |mine: &mut [u16; PLACES], theirs: &[u16; PLACES]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        };
        add(&mut self.free, &other.free);
        self.bounded.iter_mut().zip(&other.bounded).for_each(|(mine, theirs)| add(mine, theirs));
        self.pinned.iter_mut().zip(other.pinned).for_each(|(mine, theirs)| *mine += theirs);
        self.needs.iter_mut().zip(other.needs).for_each(|(mine, theirs)| *mine = mine.or(theirs));
        self
    }

    /// Returns the number of viewers by place that may get everything.
    pub fn places(&self) -> impl Iterator<Item = (usize, u32)> {
        occupied(&self.free)
    }

    /// Returns the number of viewers by place that prefer no larger picture than this encoding's.
    pub fn places_within(&self, encoding: usize) -> impl Iterator<Item = (usize, u32)> {
        self.bounded.get(encoding).into_iter().flat_map(occupied)
    }

    /// Returns the number of viewers that prefer this encoding and no other.
    pub fn pinned(&self, encoding: usize) -> u32 {
        self.pinned.get(encoding).copied().unwrap_or(0)
    }

    /// Returns the need for an encoding.
    pub fn need(&self, encoding: usize) -> Need {
        self.needs.get(encoding).copied().unwrap_or_default()
    }

    /// Returns the limits of an encoding, as far as it was received.
    pub fn limits(&self, encoding: usize) -> EncodingLimits {
        self.limits.get(encoding).copied().unwrap_or_default()
    }

    /// Returns the number of viewers that are not hidden.
    pub fn viewers(&self) -> u32 {
        let placed = self.free.iter().chain(self.bounded.as_flattened());
        placed.map(|viewers| u32::from(*viewers)).chain(self.pinned).sum()
    }
}

fn occupied(places: &[u16; PLACES]) -> impl Iterator<Item = (usize, u32)> {
    places.iter().map(|viewers| u32::from(*viewers)).enumerate().filter(|(_, viewers)| *viewers > 0)
}

fn place_of(bits_per_second: u64) -> usize {
    let place = (bits_per_second.max(1) as f64 / FIRST_BPS).log2() * PLACES_PER_DOUBLING;
    // Slightly above, so that the lower end of a place belongs to the place.
    (place + 1e-6).clamp(0.0, (PLACES - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::encoding_limits::limits;
    use super::*;

    #[test]
    fn viewers_stand_where_their_networks_are() {
        let mut audience = Audience::default();
        for carried in [Some(10), Some(1_000_000), Some(1_050_000), Some(80_000_000), None] {
            audience.add_viewer(carried, &Preferences::default());
        }
        audience.add_viewer(None, &Preferences { is_hidden: true, ..Preferences::default() });
        audience.add_viewer(Some(1), &Preferences { encoding: Some(2), ..Preferences::default() });
        assert_eq!(audience.places().collect::<Vec<_>>(), [(0, 1), (103, 1), (105, 1), (PLACES - 1, 2)]);
        assert_eq!((audience.viewers(), audience.pinned(2), audience.pinned(9)), (6, 1, 0));
        assert_eq!(audience.with(&audience).viewers(), 12);
        for place in 0..PLACES {
            assert_eq!(place_of(Audience::bits_per_second(place).ceil() as u64), place);
        }
    }

    /// Encodings of 720, 180 and 360 lines; the fourth was not received.
    fn sizes() -> [EncodingLimits; MAX_ENCODINGS] {
        let none = EncodingLimits::default();
        [limits(1_280, 720, &[2_000_000]), limits(320, 180, &[150_000]), limits(640, 360, &[500_000]), none]
    }

    #[test]
    fn viewers_that_wish_smaller_pictures_are_counted_by_the_largest_that_they_may_see() {
        let within = |limits: [EncodingLimits; MAX_ENCODINGS], max_width, max_height| {
            Audience::new(limits).largest_within(&Preferences { max_width, max_height, ..Preferences::default() })
        };
        let lines = [100, 180, 359, 360, 719, 720];
        assert_eq!(
            lines.map(|lines| within(sizes(), None, Some(lines))),
            [Some(1), Some(1), Some(1), Some(2), Some(2), None]
        );
        let columns = [100, 320, 639, 640, 1_279, 1_280];
        assert_eq!(
            columns.map(|most| within(sizes(), Some(most), None)),
            [Some(1), Some(1), Some(1), Some(2), Some(2), None]
        );
        assert_eq!(within(sizes(), Some(640), Some(180)), Some(1));
        let [_, smaller, small, none] = sizes();
        assert_eq!(within([none, smaller, small, none], None, Some(360)), None, "none is known to be too large");
        assert_eq!(within([EncodingLimits::default(); MAX_ENCODINGS], Some(1), Some(1)), None);

        let mut audience = Audience::new(sizes());
        let preferences = Preferences { max_height: Some(400), ..Preferences::default() };
        audience.add_viewer(Some(1_000_000), &preferences);
        audience.add_viewer(None, &Preferences::default());
        assert_eq!(audience.places().collect::<Vec<_>>(), [(PLACES - 1, 1)]);
        let both = Audience::default().with(&audience).with(&audience);
        assert_eq!(both.places_within(2).collect::<Vec<_>>(), [(103, 2)]);
        assert_eq!((both.places_within(0).count(), both.places_within(9).count(), both.viewers()), (0, 0, 4));
        assert_eq!(audience.emptied(), Audience::new(sizes()));
    }

    /// Returns the needs for each encoding of viewers with these preferences and networks.
    fn needs(limits: [EncodingLimits; MAX_ENCODINGS], viewers: &[(Preferences, Option<u64>)]) -> [Need; MAX_ENCODINGS] {
        let mut audience = Audience::new(limits);
        viewers.iter().for_each(|(preferences, carried)| audience.add_viewer(*carried, preferences));
        audience.with(&Audience::default()).needs
    }

    #[test]
    fn an_encoding_needs_no_more_pictures_than_the_fastest_of_its_viewers_wishes() {
        let slow = |most| Preferences { max_frame_rate: Some(most), ..Preferences::default() };
        let rates = |viewers: &[(Preferences, Option<u64>)]| {
            let [large, small, middle, _] = needs(sizes(), viewers).map(|need| need.frame_rate);
            [large, small, middle]
        };
        const ANY: u16 = u16::MAX;
        assert_eq!(rates(&[]), [0, 0, 0]);
        assert_eq!(rates(&[(slow(15), None)]), [15, 15, 15]);
        assert_eq!(rates(&[(slow(15), None), (slow(20), None)]), [20, 20, 20]);
        assert_eq!(rates(&[(slow(1), None)]), [5, 5, 5]);
        // A viewer that gets at most the middle encoding leaves the largest one to the other
        // viewer.
        let small = Preferences { max_width: Some(640), ..Preferences::default() };
        assert_eq!(rates(&[(slow(15), None), (small, None)]), [15, ANY, ANY]);
        assert_eq!(rates(&[(slow(15), None), (Preferences::default(), Some(600_000))]), [15, ANY, ANY]);
        assert_eq!(rates(&[(slow(15), None), (Preferences::default(), Some(1_000))]), [15, ANY, 15]);
        assert_eq!(
            rates(&[(slow(15), None), (Preferences { encoding: Some(0), ..Preferences::default() }, Some(1))]),
            [ANY, 15, 15]
        );
        assert_eq!(
            rates(&[(slow(15), None), (Preferences { is_hidden: true, ..Preferences::default() }, None)]),
            [15, 15, 15]
        );
    }

    #[test]
    fn layers_that_nobody_wishes_or_can_be_shown_are_not_needed() {
        let mut svc = [EncodingLimits::default(); MAX_ENCODINGS];
        svc[0] = limits(1_280, 720, &[150_000, 500_000, 1_500_000]);
        let need = |viewers: &[(Preferences, Option<u64>)]| {
            let [need, ..] = needs(svc, viewers);
            (need.spatial, need.temporal)
        };
        let any = Preferences::default();
        let small = Preferences { max_height: Some(400), ..any };
        let slow = Preferences { max_temporal: Some(1), ..any };
        assert_eq!(need(&[]), (0, 0));
        assert_eq!(need(&[(any, None)]), (u8::MAX, u8::MAX));
        assert_eq!(need(&[(small, None)]), (1, u8::MAX));
        assert_eq!(need(&[(small, None), (any, Some(700_000))]), (1, u8::MAX));
        assert_eq!(need(&[(small, None), (any, Some(3_000_000))]), (u8::MAX, u8::MAX));
        assert_eq!(need(&[(slow, Some(1_000))]), (0, 1));
        assert_eq!(need(&[(slow, Some(1_000)), (small, None)]), (1, u8::MAX));
        assert_eq!(need(&[(Preferences { encoding: Some(0), max_spatial: Some(1), ..any }, Some(1))]), (1, u8::MAX));
    }
}
