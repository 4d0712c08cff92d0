//! What do the networks of all who watch a stream carry?
//!
//! Counted once a second, so that a publisher can be asked for pictures of the bit rates that its audience has use for, and
//! for no others.

use media::packet::MAX_ENCODINGS;

use super::choice::Wish;

/// How many viewers there are, by what their networks carry for the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// Viewers whose network carries at least [`Audience::bits_per_second`] of this place, and less than of the next.
    carried: [u32; PLACES],
    /// Viewers that wish this encoding and no other.
    wished: [u32; MAX_ENCODINGS],
}

/// From 50 kb/s to 9 Mb/s; whoever has more, or is not known to have less, counts to the last.
pub const PLACES: usize = 91;
const FIRST_BPS: f64 = 50_000.0;
/// So many places double the rate: 6 % from one to the next.
const PLACES_PER_DOUBLING: f64 = 12.0;

impl Default for Audience {
    fn default() -> Audience {
        Audience { carried: [0; PLACES], wished: [0; MAX_ENCODINGS] }
    }
}

impl Audience {
    /// The least that viewers of a place have.
    pub fn bits_per_second(place: usize) -> f64 {
        FIRST_BPS * (place as f64 / PLACES_PER_DOUBLING).exp2()
    }

    /// A viewer watches. `carried`: bits a second that its network carries for the video, if that is bounded.
    pub fn watches(&mut self, carried: Option<u64>, wish: &Wish) {
        if wish.is_hidden {
            return;
        }
        match wish.encoding.and_then(|encoding| self.wished.get_mut(usize::from(encoding))) {
            Some(wished) => *wished += 1,
            None => self.carried[carried.map_or(PLACES - 1, place_of)] += 1,
        }
    }

    /// Together with the viewers of another shard.
    #[must_use]
    pub fn with(mut self, other: &Audience) -> Audience {
        self.carried.iter_mut().zip(other.carried).for_each(|(mine, theirs)| *mine += theirs);
        self.wished.iter_mut().zip(other.wished).for_each(|(mine, theirs)| *mine += theirs);
        self
    }

    /// Viewers by place, those that have a wish left out.
    pub fn places(&self) -> impl Iterator<Item = (usize, u32)> {
        self.carried.iter().copied().enumerate().filter(|(_, viewers)| *viewers > 0)
    }

    /// How many wish this encoding and no other.
    pub fn wish(&self, encoding: usize) -> u32 {
        self.wished.get(encoding).copied().unwrap_or(0)
    }

    /// All who look.
    pub fn viewers(&self) -> u32 {
        self.carried.iter().chain(&self.wished).sum()
    }
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
        assert_eq!(audience.places().collect::<Vec<_>>(), [(0, 1), (51, 1), (52, 1), (PLACES - 1, 2)]);
        assert_eq!((audience.viewers(), audience.wish(2), audience.wish(9)), (6, 1, 0));
        assert_eq!(audience.with(&audience).viewers(), 12);
        for place in 0..PLACES {
            assert_eq!(place_of(Audience::bits_per_second(place).ceil() as u64), place);
        }
    }
}
