//! What can a viewer afford, over all its tracks?
//!
//! One budget, the estimate of what its network carries. Sound comes first and is paid in any case; then the pictures,
//! rank by rank. Within a rank everyone first gets its lowest step, in order of priority, and whoever comes when there is
//! no more is paused; then all are raised by a step, again in order, until nothing more fits.
//!
//! Hysteresis: what a track has it keeps as long as the budget pays for it, and gives up at once when not. To go up, the
//! budget must exceed what is then needed by [`MARGIN_PERCENT`] for a while; an attempt that failed makes the next one wait
//! twice as long.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::LayerId;
use super::rates::Step;

/// Who is paid first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Sound; always sent.
    Audio,
    /// The picture that is pinned, or of who speaks.
    Pinned,
    /// All others.
    Other,
}

/// One track that a viewer could be sent.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// Names the track; must not change while it is there.
    pub track: u64,
    /// Who is paid first.
    pub rank: Rank,
    /// Within a rank, higher is paid first; among equals, who stands first.
    pub priority: u8,
    /// What the publisher sends, the cheapest first ([`super::rates::Rates::steps`]).
    pub steps: &'a [Step],
    /// How many of the steps the viewer wants: what is larger or faster than it shows is of no use to it.
    pub useful_steps: usize,
    /// The viewer does not show it.
    pub is_hidden: bool,
}

/// What a track is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The track.
    pub track: u64,
    /// What to send; `None`: paused.
    pub layer: Option<LayerId>,
    /// What that costs.
    pub bps: u64,
    /// Set if it is another one than the last time.
    pub changed: Option<Reason>,
}

/// Why a track is given something else than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is new.
    Started,
    /// The network carries less than what was sent. The lower layer must come at once.
    Narrower,
    /// There has been room for more for a while.
    Wider,
    /// A track of higher rank or priority needs it.
    Outranked,
    /// The viewer wants less, or more, or hides it, or shows it again.
    Wish,
    /// The publisher sends other layers.
    Layers,
}

/// Decides for one viewer.
#[derive(Debug, Default)]
pub struct Allocation {
    tracks: Vec<State>,
    wanted_bps: Option<u64>,
}

#[derive(Debug, Clone)]
struct State {
    track: u64,
    layer: Option<LayerId>,
    useful_steps: usize,
    is_hidden: bool,
    is_new: bool,
    /// The viewer has just asked for more: not a thing to wait with.
    has_asked: bool,
    /// Since when there has been room for the next step.
    room_since: Option<Instant>,
    went_up_at: Option<Instant>,
    /// How long there must be room before the next attempt.
    patience: Duration,
}

/// What the budget must have beyond the cost of a step up. Estimates move by about a tenth around the truth.
pub const MARGIN_PERCENT: u64 = 15;
/// How long there must be room before a step up. Encoders' rates vary over a second; with two steps and the estimator's own
/// climb, the top is reached within the 10 s that issue 4 allows.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Doubled after each attempt that failed, up to this. A guess.
const MAX_PATIENCE: Duration = Duration::from_secs(48);
/// A step up that is taken back this soon was one that failed; one that lasts clears the record.
const FAILED_WITHIN: Duration = Duration::from_secs(10);
/// Tracks of one viewer that are looked at; rooms have fewer. Those beyond are paused.
pub const MAX_TRACKS: usize = 256;

impl Allocation {
    /// Shares the budget out anew. To be asked some ten times a second, and whenever offers change. Grants stand in the
    /// order of the offers.
    pub fn allocate(&mut self, now: Instant, budget_bps: u64, offers: &[Offer<'_>]) -> Vec<Grant> {
        let offers = &offers[..offers.len().min(MAX_TRACKS)];
        self.tracks.retain(|state| offers.iter().any(|offer| offer.track == state.track));
        let mut order: Vec<usize> = (0..offers.len()).collect();
        order.sort_by_key(|at| (offers[*at].rank, std::cmp::Reverse(offers[*at].priority)));

        for offer in offers {
            let state = self.state(offer.track);
            state.has_asked = (state.is_hidden && !offer.is_hidden) || state.useful_steps < offer.useful_steps;
        }
        let before: Vec<usize> = offers.iter().map(|offer| self.steps_held(offer)).collect();
        let mut share = Share { now, budget_bps, used: 0, promised: 0, first_refused: None };
        let mut given = vec![0; offers.len()];
        for rank in [Rank::Audio, Rank::Pinned, Rank::Other] {
            let of_rank: Vec<usize> = order.iter().copied().filter(|at| offers[*at].rank == rank).collect();
            self.share_rank(&mut share, &of_rank, offers, &before, &mut given);
        }
        self.wanted_bps = share.first_refused.map(|needed| with_margin(share.used + needed));
        let kept: u64 = std::iter::zip(offers, &before).map(|(offer, steps)| cost(offer, *steps)).sum();
        let is_narrower = kept > budget_bps;
        std::iter::zip(offers, given).map(|(offer, steps)| self.grant(now, offer, steps, is_narrower)).collect()
    }

    /// How much the network would have to carry for the next step up that anyone waits for: what to probe for. `None` if
    /// everyone has all that is of use.
    pub fn wanted_bps(&self) -> Option<u64> {
        self.wanted_bps
    }

    /// How many steps of its present offer a track holds; what it had and is not offered any more counts as the best
    /// that is not better.
    fn steps_held(&self, offer: &Offer<'_>) -> usize {
        let held = self.tracks.iter().find(|state| state.track == offer.track).and_then(|state| state.layer);
        held.map_or(0, |layer| offer.steps.iter().take_while(|step| step.layer <= layer).count()).min(useful(offer))
    }

    fn share_rank(
        &mut self,
        share: &mut Share,
        of_rank: &[usize],
        offers: &[Offer<'_>],
        before: &[usize],
        given: &mut [usize],
    ) {
        let mut open: Vec<usize> = of_rank.iter().copied().filter(|at| useful(&offers[*at]) > 0).collect();
        for round in 0.. {
            if open.is_empty() {
                return;
            }
            let mut all_fit = true;
            open.retain(|&at| {
                let offer = &offers[at];
                let more = cost(offer, round + 1) - cost(offer, round);
                let place = round.cmp(&before[at]);
                // Without a lowest step for one, none for those of less priority.
                let fits = (round > 0 || all_fit)
                    && (offer.rank == Rank::Audio || share.fits(self.state(offer.track), more, place));
                all_fit &= fits;
                if !fits {
                    share.first_refused = share.first_refused.or(Some(more));
                    return false;
                }
                share.used += more;
                given[at] = round + 1;
                round + 1 < useful(offer)
            });
        }
    }

    fn state(&mut self, track: u64) -> &mut State {
        let at = self.tracks.iter().position(|state| state.track == track).unwrap_or_else(|| {
            self.tracks.push(State {
                track,
                layer: None,
                useful_steps: usize::MAX,
                is_hidden: false,
                is_new: true,
                has_asked: false,
                room_since: None,
                went_up_at: None,
                patience: PATIENCE,
            });
            self.tracks.len() - 1
        });
        &mut self.tracks[at]
    }

    /// Takes note of what a track is given.
    fn grant(&mut self, now: Instant, offer: &Offer<'_>, steps: usize, is_narrower: bool) -> Grant {
        let state = self.state(offer.track);
        let layer = steps.checked_sub(1).and_then(|at| offer.steps.get(at)).map(|step| step.layer);
        let wishes_changed = (state.useful_steps, state.is_hidden) != (offer.useful_steps, offer.is_hidden);
        let is_down = layer < state.layer;
        let changed = (layer != state.layer || (state.is_new && layer.is_some())).then(|| {
            let is_offered = state.layer.is_none_or(|held| offer.steps.iter().any(|step| step.layer == held));
            match () {
                () if state.is_new => Reason::Started,
                () if wishes_changed => Reason::Wish,
                () if is_down && !is_offered => Reason::Layers,
                () if is_down && is_narrower => Reason::Narrower,
                () if is_down => Reason::Outranked,
                () => Reason::Wider,
            }
        });
        match changed {
            Some(Reason::Narrower)
                if state.went_up_at.is_some_and(|at| now.saturating_duration_since(at) < FAILED_WITHIN) =>
            {
                state.patience = (state.patience * 2).min(MAX_PATIENCE);
                state.went_up_at = None;
            }
            Some(Reason::Wider) => state.went_up_at = Some(now),
            _ => {}
        }
        if state.went_up_at.is_some_and(|at| now.saturating_duration_since(at) >= FAILED_WITHIN) {
            state.patience = PATIENCE;
        }
        if changed.is_some() {
            state.room_since = None;
        }
        state.layer = layer;
        state.is_new &= layer.is_none();
        (state.useful_steps, state.is_hidden) = (offer.useful_steps, offer.is_hidden);
        Grant { track: offer.track, layer, bps: cost(offer, steps), changed }
    }
}

/// A budget while it is shared out.
struct Share {
    now: Instant,
    budget_bps: u64,
    used: u64,
    /// Room that someone before is waiting to use: nobody after is to grow into it.
    promised: u64,
    /// What the first step that did not fit would have cost.
    first_refused: Option<u64>,
}

impl Share {
    /// Whether a track may have a step that costs `more`; `place` is where it lies to what the track holds: `Less` is held,
    /// `Equal` the next above.
    fn fits(&mut self, state: &mut State, more: u64, place: Ordering) -> bool {
        if place == Ordering::Less {
            return self.used + more <= self.budget_bps;
        }
        let needed = self.used + self.promised + more;
        // Somebody who sees nothing yet, or asks for it, is shown what there is at once.
        if state.is_new || state.has_asked {
            return needed <= self.budget_bps;
        }
        // One step at a time: only the one right above what is held has a clock.
        if place == Ordering::Greater {
            return false;
        }
        if with_margin(needed) > self.budget_bps {
            state.room_since = None;
            return false;
        }
        let since = *state.room_since.get_or_insert(self.now);
        let was_patient = self.now.saturating_duration_since(since) >= state.patience;
        if !was_patient {
            self.promised += more;
        }
        was_patient
    }
}

/// The steps that may be given at all.
fn useful(offer: &Offer<'_>) -> usize {
    if offer.is_hidden { 0 } else { offer.useful_steps.min(offer.steps.len()) }
}

/// What the first `steps` of an offer cost together.
fn cost(offer: &Offer<'_>, steps: usize) -> u64 {
    // Steps rise in cost; should one not, its own cost is nothing and the sum is that of the dearest.
    offer.steps.iter().take(steps).map(|step| step.bps).max().unwrap_or(0)
}

fn with_margin(bps: u64) -> u64 {
    bps.saturating_mul(100 + MARGIN_PERCENT) / 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Steps of encodings that cost so much.
    fn steps(costs: &[u64]) -> Vec<Step> {
        let layer = |at| LayerId::new(at, 0, 0);
        std::iter::zip(0.., costs).map(|(at, bps)| Step { layer: layer(at), bps: *bps }).collect()
    }

    fn offer(track: u64, rank: Rank, steps: &[Step]) -> Offer<'_> {
        Offer { track, rank, priority: 0, steps, useful_steps: usize::MAX, is_hidden: false }
    }

    fn costs(grants: &[Grant]) -> Vec<u64> {
        grants.iter().map(|grant| grant.bps).collect()
    }

    const VIDEO: [u64; 3] = [150_000, 500_000, 1_500_000];

    /// Asks every 100 ms for `span`, with a budget by time; returns all changes of the last track.
    fn run(
        allocation: &mut Allocation,
        begin: Instant,
        span: std::ops::Range<u64>,
        offers: &[Offer<'_>],
        budget: impl Fn(u64) -> u64,
    ) -> Vec<(u64, Option<u8>, Reason)> {
        let mut changes = Vec::new();
        for ms in span.step_by(100) {
            let grants = allocation.allocate(begin + Duration::from_millis(ms), budget(ms), offers);
            let last = grants.last().expect("there is an offer");
            changes.extend(last.changed.map(|reason| (ms, last.layer.map(|layer| layer.encoding), reason)));
        }
        changes
    }

    #[test]
    fn sound_is_paid_first_then_the_pinned_then_the_rest() {
        let (sound, video) = (steps(&[40_000]), steps(&VIDEO));
        let offers = [
            offer(1, Rank::Other, &video),
            Offer { priority: 9, ..offer(2, Rank::Other, &video) },
            offer(3, Rank::Pinned, &video),
            offer(4, Rank::Audio, &sound),
        ];
        let rows = [
            (0, [0, 0, 0, 40_000]),
            (189_999, [0, 0, 0, 40_000]),
            (190_000, [0, 0, 150_000, 40_000]),
            (540_000, [0, 0, 500_000, 40_000]),
            (690_000, [0, 150_000, 500_000, 40_000]),
            (840_000, [150_000, 150_000, 500_000, 40_000]),
            (1_540_000, [0, 0, 1_500_000, 40_000]),
            (2_300_000, [150_000, 500_000, 1_500_000, 40_000]),
        ];
        for (budget, expected) in rows {
            let grants = Allocation::default().allocate(Instant::now(), budget, &offers);
            assert_eq!(costs(&grants), expected, "{budget}");
        }
    }

    #[test]
    fn it_goes_down_at_once_and_up_when_there_was_room_for_a_while() {
        let (begin, video) = (Instant::now(), steps(&VIDEO));
        let offers = [offer(1, Rank::Pinned, &video)];
        let mut allocation = Allocation::default();
        let budget = |ms| if (5_000..10_000).contains(&ms) { 499_999 } else { 2_000_000 };
        let changes = run(&mut allocation, begin, 0..20_000, &offers, budget);
        assert_eq!(
            changes,
            [
                (0, Some(2), Reason::Started),
                (5_000, Some(0), Reason::Narrower),
                (11_500, Some(1), Reason::Wider),
                (13_000 + 100, Some(2), Reason::Wider),
            ]
        );
        assert_eq!(allocation.wanted_bps(), None);
    }

    #[test]
    fn room_that_is_too_small_is_told_as_what_to_probe_for() {
        let video = steps(&VIDEO);
        let offers = [offer(1, Rank::Pinned, &video)];
        let mut allocation = Allocation::default();
        let begin = Instant::now();
        run(&mut allocation, begin, 0..10_000, &offers, |ms| if ms == 0 { 600_000 } else { 1_700_000 });
        assert_eq!(allocation.wanted_bps(), Some(1_725_000));
    }

    #[test]
    fn an_attempt_that_failed_makes_the_next_one_wait_twice_as_long() {
        let (begin, video) = (Instant::now(), steps(&VIDEO[..2]));
        let offers = [offer(1, Rank::Pinned, &video)];
        let mut allocation = Allocation::default();
        // A network that seems wide until it is used.
        let mut ups = Vec::new();
        let mut is_high = false;
        for ms in (0..60_000).step_by(100) {
            let budget = if is_high || ms == 0 { 400_000 } else { 600_000 };
            let grant = allocation.allocate(begin + Duration::from_millis(ms), budget, &offers)[0];
            is_high = grant.layer == Some(LayerId::new(1, 0, 0));
            if grant.changed == Some(Reason::Wider) {
                ups.push(ms);
            }
        }
        let waits: Vec<u64> = ups.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
        assert_eq!(waits, [3, 6, 12, 24], "{ups:?}");
    }

    #[test]
    fn wishes_and_layers_that_go_are_followed_at_once_and_named() {
        let (begin, video) = (Instant::now(), steps(&VIDEO));
        let mut allocation = Allocation::default();
        let all = offer(1, Rank::Other, &video);
        let mut ask = |ms, offer| {
            let grant = allocation.allocate(begin + Duration::from_millis(ms), 5_000_000, &[offer])[0];
            (grant.layer.map(|layer| layer.encoding), grant.changed)
        };
        assert_eq!(ask(0, all), (Some(2), Some(Reason::Started)));
        assert_eq!(ask(100, Offer { useful_steps: 1, ..all }), (Some(0), Some(Reason::Wish)));
        assert_eq!(ask(200, Offer { is_hidden: true, ..all }), (None, Some(Reason::Wish)));
        assert_eq!(ask(300, Offer { is_hidden: true, ..all }), (None, None));
        assert_eq!(ask(400, all), (Some(2), Some(Reason::Wish)));
        assert_eq!(ask(500, offer(1, Rank::Other, &[])), (None, Some(Reason::Layers)));
    }

    fn a_step_ladder() -> impl Strategy<Value = Vec<Step>> {
        proptest::collection::vec(1_000u64..800_000, 1..5).prop_map(|parts| {
            let sums = parts.iter().scan(0, |sum, part| {
                *sum += part;
                Some(*sum)
            });
            steps(&sums.collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn the_budget_is_never_exceeded_but_for_sound(
            ladders in proptest::collection::vec((a_step_ladder(), 0u8..3, any::<u8>()), 1..6),
            budgets in proptest::collection::vec(0u64..4_000_000, 1..60),
        ) {
            let rank = |at| [Rank::Audio, Rank::Pinned, Rank::Other][usize::from(at)];
            let offers: Vec<Offer<'_>> = std::iter::zip(0.., &ladders)
                .map(|(at, (steps, of, priority))| Offer { priority: *priority, ..offer(at, rank(*of), steps) })
                .collect();
            let sound: u64 = offers.iter().filter(|o| o.rank == Rank::Audio).map(|o| cost(o, usize::MAX)).sum();
            let begin = Instant::now();
            let mut allocation = Allocation::default();
            for (at, budget) in std::iter::zip(0.., budgets) {
                let grants = allocation.allocate(begin + Duration::from_millis(400) * at, budget, &offers);
                prop_assert!(grants.iter().map(|grant| grant.bps).sum::<u64>() <= budget.max(sound));
                // Whoever is paused has no more rank and priority than any who is not.
                for (one, grant) in std::iter::zip(&offers, &grants) {
                    for (other, others) in std::iter::zip(&offers, &grants) {
                        let is_above = one.rank == other.rank && one.priority > other.priority;
                        prop_assert!(!is_above || grant.layer.is_some() || others.layer.is_none());
                    }
                }
            }
        }

        #[test]
        fn more_budget_is_never_worse_for_the_pinned_and_pauses_nobody_of_its_rank(
            ladders in proptest::collection::vec(a_step_ladder(), 1..5),
            low in 0u64..3_000_000,
            more in 0u64..1_000_000,
        ) {
            let pinned = [offer(99, Rank::Pinned, &ladders[0])];
            let offers: Vec<Offer<'_>> = std::iter::zip(0.., &ladders).map(|(at, s)| offer(at, Rank::Other, s)).collect();
            let fresh = |budget, offers: &[Offer<'_>]| Allocation::default().allocate(Instant::now(), budget, offers);
            prop_assert!(fresh(low, &pinned)[0].bps <= fresh(low + more, &pinned)[0].bps);
            let shown = |grants: Vec<Grant>| grants.iter().filter(|grant| grant.layer.is_some()).count();
            prop_assert!(shown(fresh(low, &offers)) <= shown(fresh(low + more, &offers)));
        }

        #[test]
        fn nobody_flaps_when_the_estimate_moves_by_a_tenth(mean in 50_000u64..3_000_000, seed in any::<u64>()) {
            let (begin, video) = (Instant::now(), steps(&VIDEO));
            let offers = [offer(1, Rank::Pinned, &video)];
            let mut allocation = Allocation::default();
            let noisy = |ms: u64| {
                let random = (ms ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 40;
                mean * (900 + random % 201) / 1_000
            };
            let changes = run(&mut allocation, begin, 0..120_000, &offers, noisy);
            // The start is a guess and may be taken back once; after that, each level is reached once.
            let ups = changes.iter().filter(|(.., reason)| *reason == Reason::Wider).count();
            let downs = changes.iter().filter(|(.., reason)| *reason == Reason::Narrower).count();
            prop_assert!(ups <= 2 && downs <= 3, "{changes:?}");
            let late = changes.iter().filter(|(ms, ..)| *ms > 60_000).count();
            prop_assert!(late <= 1, "{changes:?}");
        }
    }
}
