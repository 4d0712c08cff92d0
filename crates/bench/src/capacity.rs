//! How large an audience does a server carry?
//!
//! Decides which size to try next: doubles until a try fails, then halves the distance between the
//! largest carried size and the smallest failed one. It has no contact with servers; the caller
//! reports the result of each try.

/// The search.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    first: usize,
    most: usize,
    carried: usize,
    missed: Option<Miss>,
}

/// How a try went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Within the bounds.
    Carried,
    /// The server did not do it, for this reason.
    Missed { why: String },
    /// It was not done, but the generator was at its end, so that nothing is known of the server.
    Unknown { why: String },
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Try this many.
    Try { viewers: usize },
    /// The search is over.
    Found(Capacity),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// The largest audience that was carried; 0: none was.
    pub(crate) viewers: usize,
    /// What keeps it from being more.
    pub(crate) bound: Bound,
}

/// What ends the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The server: this many were too many, for this reason.
    Server { viewers: usize, why: String },
    /// The generator, at this many: the capacity is at least what was carried.
    Generator { viewers: usize, why: String },
    /// The largest permitted size was carried: the capacity is at least this size.
    Most,
}

#[derive(Debug, Clone)]
struct Miss {
    viewers: usize,
    why: String,
    is_known: bool,
}

/// Closer than this share of what was carried is close enough: runs of the same size differ by
/// more.
const CLOSE: f64 = 0.05;

impl Search {
    /// Begins with `first` viewers, and never tries more than `most`.
    pub(crate) fn new(first: usize, most: usize) -> Search {
        let most = most.max(1);
        Search { first: first.clamp(1, most), most, carried: 0, missed: None }
    }

    /// Returns what to do now.
    pub(crate) fn poll(&self) -> Step {
        let Some(missed) = &self.missed else {
            return match self.carried {
                0 => Step::Try { viewers: self.first },
                carried if carried >= self.most => Step::Found(Capacity { viewers: carried, bound: Bound::Most }),
                carried => Step::Try { viewers: carried.saturating_mul(2).min(self.most) },
            };
        };
        let between = missed.viewers - self.carried;
        // If no size was carried yet, one viewer is the last try.
        if between <= ((self.carried as f64 * CLOSE) as usize).max(1) {
            let Miss { viewers, why, is_known } = missed.clone();
            let bound = if is_known { Bound::Server { viewers, why } } else { Bound::Generator { viewers, why } };
            return Step::Found(Capacity { viewers: self.carried, bound });
        }
        Step::Try { viewers: self.carried + between / 2 }
    }

    /// Takes what came of a try.
    pub(crate) fn tried(&mut self, viewers: usize, outcome: Outcome) {
        let (why, is_known) = match outcome {
            Outcome::Carried => {
                self.carried = self.carried.max(viewers);
                return;
            }
            Outcome::Missed { why } => (why, true),
            Outcome::Unknown { why } => (why, false),
        };
        if viewers > self.carried && self.missed.as_ref().is_none_or(|missed| viewers < missed.viewers) {
            self.missed = Some(Miss { viewers, why, is_known });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a server of our making. Returns what was tried, and what was found.
    fn search(first: usize, most: usize, server: impl Fn(usize) -> Outcome) -> (Vec<usize>, Capacity) {
        let mut search = Search::new(first, most);
        let mut tried = Vec::new();
        loop {
            match search.poll() {
                Step::Try { viewers } => {
                    assert!(!tried.contains(&viewers), "{viewers} a second time, after {tried:?}");
                    assert!((1..=most).contains(&viewers), "{viewers} of at most {most}");
                    tried.push(viewers);
                    search.tried(viewers, server(viewers));
                }
                Step::Found(capacity) => return (tried, capacity),
            }
        }
    }

    fn carries(most: usize) -> impl Fn(usize) -> Outcome {
        move |viewers| match viewers <= most {
            true => Outcome::Carried,
            false => Outcome::Missed { why: "p99 delay 60 ms".to_owned() },
        }
    }

    #[test]
    fn it_doubles_and_then_closes_in() {
        let (tried, found) = search(500, 100_000, carries(3_400));
        assert_eq!(tried, [500, 1_000, 2_000, 4_000, 3_000, 3_500, 3_250, 3_375]);
        assert_eq!(found.viewers, 3_375);
        assert_eq!(found.bound, Bound::Server { viewers: 3_500, why: "p99 delay 60 ms".to_owned() });
    }

    #[test]
    fn whatever_the_capacity_it_is_found_within_five_percent_and_few_tries() {
        for first in [1, 7, 100, 5_000] {
            for capacity in (1..40).chain([99, 100, 101, 777, 5_000, 12_345]) {
                let (tried, found) = search(first, 50_000, carries(capacity));
                assert!(found.viewers <= capacity, "{capacity}: {found:?}");
                assert!(found.viewers as f64 >= capacity as f64 * 0.95 - 1.0, "{capacity}: {found:?}");
                assert!(tried.len() <= 24, "{capacity}: {tried:?}");
            }
        }
    }

    #[test]
    fn a_server_that_carries_no_viewer_has_capacity_zero() {
        let (tried, found) = search(8, 100, carries(0));
        assert_eq!(tried, [8, 4, 2, 1]);
        assert_eq!(found.viewers, 0);
    }

    #[test]
    fn the_search_stops_at_the_largest_permitted_size() {
        assert_eq!(search(300, 1_000, carries(1_000_000)).0, [300, 600, 1_000]);
        assert_eq!(search(300, 1_000, carries(1_000_000)).1, Capacity { viewers: 1_000, bound: Bound::Most });
        assert_eq!(search(300, 100, carries(1_000_000)).0, [100]);
    }

    #[test]
    fn where_the_generator_ends_the_capacity_is_at_least_what_was_carried() {
        let server = |viewers| match viewers <= 1_100 {
            true => Outcome::Carried,
            false => Outcome::Unknown { why: "the generator used 0.98 cores".to_owned() },
        };
        let (_, found) = search(500, 100_000, server);
        assert!((1_050..=1_100).contains(&found.viewers), "{found:?}");
        assert!(matches!(found.bound, Bound::Generator { .. }), "{found:?}");
    }

    #[test]
    fn a_lucky_large_run_is_believed_and_a_later_miss_below_it_is_not() {
        let mut search = Search::new(100, 1_000);
        search.tried(400, Outcome::Carried);
        search.tried(200, Outcome::Missed { why: "a hiccup".to_owned() });
        assert_eq!(search.poll(), Step::Try { viewers: 800 });
        assert_eq!(search.carried, 400);
    }
}
