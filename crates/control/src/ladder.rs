//! Which encodings is a publisher to send, and at how many bits a second?
//!
//! An encoding that no viewer is shown costs the publisher's uplink for nothing. And three bit
//! rates that were chosen before any viewer came fit no viewer's network: a viewer that has 1 Mb/s
//! is given half of it if the rates are 150, 500 and 2,500 kb/s. So the rates follow the audience,
//! within the sensible range for the size of each picture: the ladder chooses the rates with which
//! the viewers together are best off. The benefit of a viewer is the logarithm of its bit rate, so
//! that to double it for one viewer is worth as much as for another.

use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use sfu::stream::{choice, track};

/// An encoding that the publisher can send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Its number.
    pub encoding: u8,
    /// Pixels of a picture, if known.
    pub pixels: Option<u32>,
}

/// The ladder's demand for one encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DesiredEncoding {
    /// Which encoding.
    pub encoding: u8,
    /// Whether it is to be sent.
    pub is_active: bool,
    /// Bits a second, at most.
    pub max_bps: u64,
}

/// The viewers of a stream, by the rate of their networks and by their wishes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Audience<'a> {
    /// Bits a second that networks carry for the video, each with the number of viewers.
    pub carried: &'a [(f64, u32)],
    /// The same of viewers that wish no larger picture than that of an encoding, with its number.
    pub bounded: &'a [(f64, u8, u32)],
    /// Viewers that wish an encoding and no other, by its number.
    pub wished: [u32; MAX_RUNGS],
    /// Viewers of whom nothing is known yet: they are connecting.
    pub unknown: u32,
}

/// Viewers of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Viewers {
    /// Bits a second that their networks carry for the video.
    carried: f64,
    /// The place of the largest encoding that they may be shown.
    at_most: usize,
    count: u32,
}

/// Decides for one publisher.
#[derive(Debug, Default)]
pub struct Ladder {
    rates: Vec<f64>,
    /// When each encoding was needed last.
    needed_at: Vec<Instant>,
    changed_at: Option<Instant>,
    /// What was needed before that.
    needed_before: Vec<bool>,
}

/// The most encodings of one publisher.
pub const MAX_RUNGS: usize = MAX_ENCODINGS;

/// Highest bit rate of a moving picture of 1280x720: browsers need this for a good picture in VP8
/// or H.264. Other sizes are in proportion to pixels^0.75 (the larger a picture, the less each of
/// its pixels needs): 880 kb/s for 640x360, 310 for 320x180.
const MOST_BPS_OF_720P: f64 = 2_500_000.0;
const PIXELS_OF_720P: f64 = 1_280.0 * 720.0;
/// Lowest share of an encoding's highest bit rate. Below it a smaller picture looks better.
const LEAST_SHARE: f64 = 0.32;
/// Rates that are tried for each encoding, at most, by the number of encodings. All their
/// combinations are computed: 2,744 of three encodings and 2,401 of four.
const TRIED: [usize; MAX_RUNGS + 1] = [14, 14, 14, 14, 7];
/// Share of a network's rate that an encoding may take so that a viewer is moved up to it:
/// [`choice::ROOM_PERCENT`], and half a percent for rates that are rounded.
const FITS: f64 = 100.0 / (choice::ROOM_PERCENT as f64 + 0.5);
/// Loss, in logarithms, of a viewer whose network does not carry even the smallest encoding: as if
/// it had an eighth of that encoding's rate.
const MISFIT: f64 = 2.08;
/// Least gain for which rates change, in logarithms: 5 %, as a mean over the viewers whose rates
/// change.
const GAIN: f64 = 0.05;
/// Least factor by which a rate is raised. Smaller raises would follow each tremor of an estimate,
/// to a rate at which the next tremor is too much.
const RAISE: f64 = 1.1;
/// Least gain, in logarithms, for a viewer that has an encoding that fits and changes to another
/// one: a fifth. Such a change costs a key frame for each of these viewers, all at the same moment.
const GAIN_OF_SIZE: f64 = 0.2;
/// Time between two changes of rates: estimates and encoders have to follow.
const REST: Duration = Duration::from_secs(2);
/// Time between a change of rates and the next raise: viewers that share a bottleneck need it to
/// notice each other.
const REST_BEFORE_MORE: Duration = Duration::from_secs(4);
/// An encoding that no viewer needed for this long is switched off. Looks are a second apart, so
/// the publisher hears of it within three seconds. A viewer that reloads its page, or is moved down
/// and up again, finds the encoding still there.
pub(crate) const UNNEEDED: Duration = Duration::from_millis(1_800);
/// As [`UNNEEDED`], for an encoding that is not needed because rates changed. Its viewers change
/// over once the encoding they are to be shown instead has begun and its bit rate is known
/// ([`track::GROWS_FOR`]); the rest is a guess.
const UNNEEDED_AFTER_CHANGE: Duration = track::GROWS_FOR.saturating_add(Duration::from_secs(3));

impl Ladder {
    /// Takes the audience. Returns the demand for each of `rungs`, which may be in any order.
    pub fn look(&mut self, now: Instant, rungs: &[Rung], audience: &Audience<'_>) -> Vec<DesiredEncoding> {
        // Smallest first. What has never come cannot be the one that is always there.
        let mut order: Vec<Rung> = rungs.iter().copied().take(MAX_RUNGS).collect();
        order.sort_by_key(|rung| rung.pixels.unwrap_or(u32::MAX));
        let most: Vec<f64> = order.iter().map(|rung| most_of(rung.pixels)).collect();
        if self.rates.len() != most.len() {
            *self = Ladder {
                rates: most.clone(),
                needed_at: vec![now; most.len()],
                changed_at: None,
                needed_before: Vec::new(),
            };
        }
        // Sizes may have become known.
        self.rates.iter_mut().zip(&most).for_each(|(rate, most)| *rate = rate.min(*most));
        let viewers = viewers(&order, audience);
        self.follow(now, &most, &viewers);
        let needed = needed(&self.rates, &viewers);
        for (place, needed_at) in self.needed_at.iter_mut().enumerate() {
            let is_wished = audience.wished.get(usize::from(order[place].encoding)).is_some_and(|viewers| *viewers > 0);
            // The smallest is always there, for a viewer that joins and for one whose network gets
            // worse.
            let changed = self.changed_at.is_some_and(|at| now.saturating_duration_since(at) < UNNEEDED_AFTER_CHANGE);
            let was_needed = changed && !viewers.is_empty() && self.needed_before.get(place).is_some_and(|was| *was);
            if needed[place] || was_needed || is_wished || place == 0 || audience.unknown > 0 {
                *needed_at = now;
            }
        }
        let wanted =
            order.iter().zip(&self.rates).zip(&self.needed_at).map(|((rung, rate), needed_at)| DesiredEncoding {
                encoding: rung.encoding,
                is_active: now.saturating_duration_since(*needed_at) < UNNEEDED,
                // Whole kilobits: finer changes are none.
                max_bps: (rate / 1_000.0).round() as u64 * 1_000,
            });
        wanted.collect()
    }

    fn follow(&mut self, now: Instant, most: &[f64], viewers: &[Viewers]) {
        let is_resting = self.changed_at.is_some_and(|at| now.saturating_duration_since(at) < REST);
        if viewers.is_empty() || is_resting {
            return;
        }
        let now_worth = worth(&self.rates, viewers);
        let mut best = (now_worth, None);
        let tried: Vec<Vec<f64>> =
            most.iter().map(|rate| tried(*rate, viewers, TRIED[most.len().min(MAX_RUNGS)])).collect();
        let mut rates = vec![0.0; most.len()];
        for combination in 0..tried.iter().map(Vec::len).product() {
            let mut rest: usize = combination;
            for (rate, tried) in rates.iter_mut().zip(&tried) {
                *rate = tried[rest % tried.len()];
                rest /= tried.len();
            }
            if !is_ordered(&rates) {
                continue;
            }
            let worth = worth(&rates, viewers);
            if worth > best.0 {
                best = (worth, Some(rates.clone()));
            }
        }
        let (_, Some(mut rates)) = best else { return };
        let may_rise = self.changed_at.is_none_or(|at| now.saturating_duration_since(at) >= REST_BEFORE_MORE);
        for (rate, known) in rates.iter_mut().zip(&self.rates).filter(|(rate, known)| **rate > **known) {
            *rate = if !may_rise || *rate < known * RAISE { *known } else { *rate };
        }
        self.leave_unneeded(&mut rates, viewers);
        if worth(&rates, viewers) - now_worth > least_gain(&self.rates, &rates, viewers) {
            self.needed_before = needed(&self.rates, viewers);
            self.rates = rates;
            self.changed_at = Some(now);
        }
    }

    /// Keeps the rate of an encoding that no viewer is given: the next look may need it.
    fn leave_unneeded(&self, rates: &mut Vec<f64>, viewers: &[Viewers]) {
        for place in 0..rates.len() {
            if needed(rates, viewers)[place] {
                continue;
            }
            let mut as_before = rates.clone();
            as_before[place] = self.rates[place];
            if is_ordered(&as_before) && worth(&as_before, viewers) >= worth(rates, viewers) {
                *rates = as_before;
            }
        }
    }
}

fn most_of(pixels: Option<u32>) -> f64 {
    pixels.map_or(MOST_BPS_OF_720P, |pixels| MOST_BPS_OF_720P * (f64::from(pixels) / PIXELS_OF_720P).powf(0.75))
}

/// Returns the viewers of `audience` in groups of one network rate and one largest encoding, by its
/// place. Groups without viewers are left out.
fn viewers(order: &[Rung], audience: &Audience<'_>) -> Vec<Viewers> {
    let last = order.len().saturating_sub(1);
    let place = |encoding: u8| order.iter().position(|rung| rung.encoding == encoding).unwrap_or(last);
    let free = audience.carried.iter().map(|&(carried, count)| Viewers { carried, at_most: last, count });
    let bounded = audience.bounded.iter();
    let bounded = bounded.map(|&(carried, encoding, count)| Viewers { carried, at_most: place(encoding), count });
    free.chain(bounded).filter(|viewers| viewers.count > 0).collect()
}

/// Returns the rates that are tried for an encoding: those that just fit a viewer, the least and
/// the most.
fn tried(most: f64, viewers: &[Viewers], at_most: usize) -> Vec<f64> {
    let least = most * LEAST_SHARE;
    let just_fit = viewers.iter().map(|viewers| viewers.carried * FITS).filter(|rate| (least..most).contains(rate));
    let just_fit: Vec<f64> = just_fit.collect();
    let every = just_fit.len().div_ceil(at_most - 2).max(1);
    just_fit.into_iter().step_by(every).chain([least, most]).collect()
}

/// Returns the place of the largest encoding that viewers are given.
fn given(rates: &[f64], viewers: &Viewers) -> Option<usize> {
    rates.iter().take(viewers.at_most + 1).rposition(|rate| *rate <= viewers.carried * FITS)
}

/// Returns whether each larger picture has more bits than the smaller one before it.
fn is_ordered(rates: &[f64]) -> bool {
    rates.windows(2).all(|pair| pair[0] < pair[1])
}

fn worth(rates: &[f64], viewers: &[Viewers]) -> f64 {
    let of_one = |viewers: &Viewers| match given(rates, viewers) {
        Some(place) => rates[place].ln(),
        None => rates.first().map_or(0.0, |smallest| smallest.ln() - MISFIT),
    };
    viewers.iter().map(|viewers| of_one(viewers) * f64::from(viewers.count)).sum()
}

/// Returns the gain of all viewers together above which rates change.
fn least_gain(before: &[f64], after: &[f64], viewers: &[Viewers]) -> f64 {
    let of_one = |viewers: &Viewers| {
        let (was, is) = (given(before, viewers), given(after, viewers));
        let rate = |rates: &[f64], place: Option<usize>| place.map(|place| rates[place]);
        match () {
            () if rate(before, was) == rate(after, is) => 0.0,
            () if was.is_some() && was != is => GAIN_OF_SIZE,
            () => GAIN,
        }
    };
    viewers.iter().map(|viewers| of_one(viewers) * f64::from(viewers.count)).sum()
}

fn needed(rates: &[f64], viewers: &[Viewers]) -> Vec<bool> {
    let mut needed = vec![false; rates.len()];
    for place in viewers.iter().filter_map(|viewers| given(rates, viewers)) {
        needed[place] = true;
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNGS: [Rung; 3] = [
        Rung { encoding: 2, pixels: Some(1_280 * 720) },
        Rung { encoding: 0, pixels: Some(320 * 180) },
        Rung { encoding: 1, pixels: Some(640 * 360) },
    ];

    /// Returns the demand after the same audience was there for ten seconds, smallest first: kb/s,
    /// 0 if switched off.
    fn settled(ladder: &mut Ladder, from: Instant, carried: &[(f64, u32)]) -> [u64; 3] {
        let audience = Audience { carried, ..Audience::default() };
        let mut last = [0; 3];
        for second in 0..10 {
            let wanted = ladder.look(from + Duration::from_secs(second), &RUNGS, &audience);
            assert!(wanted.iter().map(|w| w.encoding).eq(0..3));
            last = [0, 1, 2].map(|n| if wanted[n].is_active { wanted[n].max_bps / 1_000 } else { 0 });
        }
        last
    }

    #[test]
    fn one_viewer_gets_what_its_network_carries() {
        let from = Instant::now();
        for (carried, largest) in [(1.9e6, 2), (0.86e6, 1), (0.5e6, 1), (0.25e6, 0)] {
            let rates = settled(&mut Ladder::default(), from, &[(carried, 1)]);
            let given = rates[largest] as f64 * 1e3;
            assert!((0.78..=0.91).contains(&(given / carried)), "{carried}: {rates:?}");
            assert!(rates[largest + 1..].iter().all(|rate| *rate == 0), "{carried}: {rates:?}");
        }
    }

    #[test]
    fn without_viewers_only_the_smallest_is_sent_and_a_newcomer_finds_all() {
        let from = Instant::now();
        let mut ladder = Ladder::default();
        assert_eq!(settled(&mut ladder, from, &[]), [313, 0, 0]);
        let comes = Audience { unknown: 1, ..Audience::default() };
        let wanted = ladder.look(from + Duration::from_secs(11), &RUNGS, &comes);
        assert!(wanted.iter().all(|wanted| wanted.is_active));
        let wishes = Audience { wished: [0, 0, 1, 0], ..Audience::default() };
        let wanted = ladder.look(from + Duration::from_secs(16), &RUNGS, &wishes);
        assert_eq!(wanted.iter().map(|wanted| wanted.is_active).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn the_many_are_not_worse_off_because_of_one() {
        let rates = settled(&mut Ladder::default(), Instant::now(), &[(8e6, 100), (0.6e6, 1)]);
        assert_eq!(rates[2], 2_500);
        assert!((470..=543).contains(&rates[1]), "{rates:?}");
    }

    #[test]
    fn the_middle_is_put_where_most_of_the_others_are() {
        let rates = settled(&mut Ladder::default(), Instant::now(), &[(8e6, 10), (0.95e6, 10), (0.4e6, 2)]);
        assert_eq!(rates[2], 2_500);
        assert!((750..=860).contains(&rates[1]), "{rates:?}");
        assert!((280..=362).contains(&rates[0]), "{rates:?}");
    }

    #[test]
    fn small_changes_of_the_networks_change_nothing_and_large_ones_after_a_rest() {
        let from = Instant::now();
        let mut ladder = Ladder::default();
        let at = |ladder: &mut Ladder, ms: u64, carried: f64| {
            let audience = Audience { carried: &[(carried, 1)], ..Audience::default() };
            ladder.look(from + Duration::from_millis(ms), &RUNGS, &audience)[2].max_bps
        };
        let first = at(&mut ladder, 0, 2.0e6);
        assert!(first < 1_850_000);
        assert_eq!(at(&mut ladder, 3_000, 2.05e6), first);
        let second = at(&mut ladder, 6_000, 2.6e6);
        assert!(second > 2_000_000);
        assert_eq!(at(&mut ladder, 7_000, 1.5e6), second, "it rests");
        assert!(at(&mut ladder, 8_000, 1.5e6) < 1_400_000);
    }

    #[test]
    fn a_size_is_not_changed_for_a_little_and_the_old_one_goes_on_until_all_have_changed_over() {
        let from = Instant::now();
        let mut ladder = Ladder::default();
        assert_eq!(settled(&mut ladder, from, &[(0.85e6, 5)])[1..], [769, 0]);
        let at = |ladder: &mut Ladder, second: u64, carried: f64| {
            let audience = Audience { carried: &[(carried, 5)], ..Audience::default() };
            let wanted = ladder.look(from + Duration::from_secs(second), &RUNGS, &audience);
            [1, 2].map(|n| wanted[n].is_active)
        };
        assert_eq!((11..20).map(|second| at(&mut ladder, second, 0.95e6)).next_back(), Some([true, false]));
        assert_eq!(at(&mut ladder, 20, 1.3e6), [true, true]);
        assert_eq!(at(&mut ladder, 26, 1.3e6), [true, true]);
        assert_eq!(at(&mut ladder, 29, 1.3e6), [false, true]);
    }

    #[test]
    fn four_encodings_cost_no_more_than_three_and_follow_the_audience_as_well() {
        let rungs: Vec<_> = [160 * 90, 320 * 180, 640 * 360, 1_280 * 720].into_iter().zip(0..).collect();
        let rungs: Vec<_> = rungs.iter().map(|&(pixels, encoding)| Rung { encoding, pixels: Some(pixels) }).collect();
        let carried: Vec<_> = (1..=200).map(|n| (f64::from(n) * 25_000.0, 1)).collect();
        let viewers = viewers(&rungs, &Audience { carried: &carried, ..Audience::default() });
        for encodings in 1..=MAX_RUNGS {
            let of = |rung: &Rung| tried(most_of(rung.pixels), &viewers, TRIED[encodings]).len();
            let combinations: usize = rungs[..encodings].iter().map(of).product();
            assert!(combinations <= 14_usize.pow(3), "{encodings}: {combinations}");
        }
        let mut ladder = Ladder::default();
        let audience = Audience { carried: &[(8e6, 10), (0.7e6, 10)], ..Audience::default() };
        let mut wanted = Vec::new();
        for second in 0..10 {
            wanted = ladder.look(Instant::now() + Duration::from_secs(second), &rungs, &audience);
        }
        assert_eq!(wanted[3].max_bps, 2_500_000);
        assert!((550_000..=640_000).contains(&wanted[2].max_bps), "{wanted:?}");
        assert_eq!(wanted.iter().map(|w| w.is_active).collect::<Vec<_>>(), [true, false, true, true]);
    }

    #[test]
    fn a_single_encoding_is_always_there() {
        let one = [Rung { encoding: 0, pixels: None }];
        let nobody = Audience::default();
        let wanted = Ladder::default().look(Instant::now(), &one, &nobody);
        assert_eq!(wanted, [DesiredEncoding { encoding: 0, is_active: true, max_bps: 2_500_000 }]);
        assert_eq!(Ladder::default().look(Instant::now(), &[], &nobody), []);
    }
}
