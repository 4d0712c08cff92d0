//! What do the networks of all who watch a stream carry?
//!
//! Counted once a second, so that a publisher can be asked for pictures of the bit rates that its audience has use for, and
//! for no others.

use media::packet::MAX_ENCODINGS;

use super::choice::Wish;

/// How many viewers there are, by what their networks carry for the video. Of one place 65,535 at most: more weigh no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// Lines of each encoding's picture, once one came.
    heights: [Option<u16>; MAX_ENCODINGS],
    /// Viewers whose network carries at least [`Audience::bits_per_second`] of this place, and less than of the next: those that
    /// may be shown everything, and those that wish no larger picture than an encoding's.
    free: [u16; PLACES],
    bounded: [[u16; PLACES]; MAX_ENCODINGS],
    /// Viewers that wish this encoding and no other.
    wished: [u32; MAX_ENCODINGS],
}

/// From 50 kb/s to 9 Mb/s; whoever has more, or is not known to have less, counts to the last.
pub const PLACES: usize = 181;
const FIRST_BPS: f64 = 50_000.0;
/// So many places double the rate: 3 % from one to the next.
const PLACES_PER_DOUBLING: f64 = 24.0;

impl Default for Audience {
    fn default() -> Audience {
        Audience::new([None; MAX_ENCODINGS])
    }
}

impl Audience {
    /// Nobody watches yet what has pictures of so many lines, by encoding, as far as is known.
    pub fn new(heights: [Option<u16>; MAX_ENCODINGS]) -> Audience {
        let nobody = [0; PLACES];
        Audience { heights, free: nobody, bounded: [nobody; MAX_ENCODINGS], wished: [0; MAX_ENCODINGS] }
    }

    /// The least that viewers of a place have.
    pub fn bits_per_second(place: usize) -> f64 {
        FIRST_BPS * (place as f64 / PLACES_PER_DOUBLING).exp2()
    }

    /// A viewer watches. `carried`: bits a second that its network carries for the video, if that is bounded.
    pub fn watches(&mut self, carried: Option<u64>, wish: &Wish) {
        if wish.is_hidden {
            return;
        }
        if let Some(wished) = wish.encoding.and_then(|encoding| self.wished.get_mut(usize::from(encoding))) {
            *wished += 1;
            return;
        }
        let places = match wish.max_height.and_then(|most| self.largest_within(most)) {
            Some(encoding) => &mut self.bounded[encoding],
            None => &mut self.free,
        };
        let viewers = &mut places[carried.map_or(PLACES - 1, place_of)];
        *viewers = viewers.saturating_add(1);
    }

    /// The largest encoding of no more than so many lines, or else the smallest, as a viewer is given it (`choice`); `None` if no
    /// encoding is known to be larger.
    fn largest_within(&self, lines: u16) -> Option<usize> {
        let known = self.heights.iter().enumerate().filter_map(|(encoding, height)| Some(((*height)?, encoding)));
        let within = known.clone().filter(|(height, _)| *height <= lines).max();
        let is_bounded = known.clone().any(|(height, _)| height > lines);
        within.or(known.min()).filter(|_| is_bounded).map(|(_, encoding)| encoding)
    }

    /// Together with the viewers of another shard.
    #[must_use]
    pub fn with(mut self, other: &Audience) -> Audience {
        let add = |mine: &mut [u16; PLACES], theirs: &[u16; PLACES]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        };
        add(&mut self.free, &other.free);
        self.bounded.iter_mut().zip(&other.bounded).for_each(|(mine, theirs)| add(mine, theirs));
        self.wished.iter_mut().zip(other.wished).for_each(|(mine, theirs)| *mine += theirs);
        self
    }

    /// Viewers by place that may be shown everything.
    pub fn places(&self) -> impl Iterator<Item = (usize, u32)> {
        occupied(&self.free)
    }

    /// Viewers by place that wish no larger picture than that of this encoding.
    pub fn places_within(&self, encoding: usize) -> impl Iterator<Item = (usize, u32)> {
        self.bounded.get(encoding).into_iter().flat_map(occupied)
    }

    /// How many wish this encoding and no other.
    pub fn wish(&self, encoding: usize) -> u32 {
        self.wished.get(encoding).copied().unwrap_or(0)
    }

    /// All who look.
    pub fn viewers(&self) -> u32 {
        let placed = self.free.iter().chain(self.bounded.as_flattened());
        placed.map(|viewers| u32::from(*viewers)).chain(self.wished).sum()
    }
}

fn occupied(places: &[u16; PLACES]) -> impl Iterator<Item = (usize, u32)> {
    places.iter().map(|viewers| u32::from(*viewers)).enumerate().filter(|(_, viewers)| *viewers > 0)
}

fn place_of(bits_per_second: u64) -> usize {
    let place = (bits_per_second.max(1) as f64 / FIRST_BPS).log2() * PLACES_PER_DOUBLING;
    // A hair above, so that the lower end of a place belongs to it.
    (place + 1e-6).clamp(0.0, (PLACES - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_stand_where_their_networks_are() {
        let mut audience = Audience::default();
        for carried in [Some(10), Some(1_000_000), Some(1_050_000), Some(80_000_000), None] {
            audience.watches(carried, &Wish::default());
        }
        audience.watches(None, &Wish { is_hidden: true, ..Wish::default() });
        audience.watches(Some(1), &Wish { encoding: Some(2), ..Wish::default() });
        assert_eq!(audience.places().collect::<Vec<_>>(), [(0, 1), (103, 1), (105, 1), (PLACES - 1, 2)]);
        assert_eq!((audience.viewers(), audience.wish(2), audience.wish(9)), (6, 1, 0));
        assert_eq!(audience.with(&audience).viewers(), 12);
        for place in 0..PLACES {
            assert_eq!(place_of(Audience::bits_per_second(place).ceil() as u64), place);
        }
    }

    #[test]
    fn viewers_that_wish_fewer_lines_are_counted_by_the_largest_that_they_may_see() {
        let within = |heights: [Option<u16>; MAX_ENCODINGS], lines| Audience::new(heights).largest_within(lines);
        let sizes = [Some(720), Some(180), Some(360)];
        assert_eq!([100, 180, 359, 360, 719].map(|lines| within(sizes, lines)), [1, 1, 1, 2, 2].map(Some));
        assert_eq!(within(sizes, 720), None);
        assert_eq!(within([None, Some(180), Some(360)], 360), None, "none is known to be too large");
        assert_eq!(within([None; MAX_ENCODINGS], 1), None);

        let mut audience = Audience::new(sizes);
        let wish = Wish { max_height: Some(400), ..Wish::default() };
        audience.watches(Some(1_000_000), &wish);
        audience.watches(None, &Wish::default());
        assert_eq!(audience.places().collect::<Vec<_>>(), [(PLACES - 1, 1)]);
        let both = Audience::default().with(&audience).with(&audience);
        assert_eq!(both.places_within(2).collect::<Vec<_>>(), [(103, 2)]);
        assert_eq!((both.places_within(0).count(), both.places_within(9).count(), both.viewers()), (0, 0, 4));
    }
}
