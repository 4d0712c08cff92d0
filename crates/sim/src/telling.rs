//! How is one story played with many seeds?
//!
//! Figures differ from seed to seed, and single seeds are unlucky. A figure therefore has two
//! bounds: one for every seed, and a tighter one for half of the seeds, which detects a general
//! regression.

use crate::story::seeds;

/// The bounds of a figure.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    what: &'static str,
    is_most: bool,
    every: f64,
    half: f64,
}

impl Bound {
    fn is_kept(&self, value: f64, bound: f64) -> bool {
        if self.is_most { value <= bound } else { value >= bound }
    }

    fn word(&self) -> &'static str {
        if self.is_most { "at most" } else { "at least" }
    }
}

/// A figure that is at most `every` for every seed, and at most `half` for half of the seeds.
pub const fn at_most(what: &'static str, half: f64, every: f64) -> Bound {
    Bound { what, is_most: true, every, half }
}

/// A figure that is at least `every` for every seed, and at least `half` for half of the seeds.
pub const fn at_least(what: &'static str, half: f64, every: f64) -> Bound {
    Bound { what, is_most: false, every, half }
}

/// Plays a story with `usually` seeds, unless the environment sets one (`SIM_SEED`) or their number
/// (`SIM_SEEDS`). The story returns a figure for each bound. Prints of each figure the minimum, the
/// 5th, 50th and 95th percentile, the maximum, and the seed of the worst.
///
/// # Panics
///
/// If bounds are not kept; the message has the lines that replay it.
pub fn told<const N: usize>(usually: u64, bounds: [Bound; N], story: impl Fn(u64) -> [f64; N]) {
    let name = std::thread::current().name().unwrap_or("story").to_owned();
    let seeds = seeds(usually);
    let figures: Vec<(u64, [f64; N])> = seeds.iter().map(|seed| (*seed, story(*seed))).collect();
    let mut broken = Vec::new();
    for (n, bound) in bounds.iter().enumerate() {
        let values = figures.iter().map(|(seed, figures)| (figures[n], *seed)).collect();
        // Half of a few seeds is chance.
        broken.append(&mut judged(&name, bound, values, seeds.len() as u64 >= usually));
    }
    assert!(broken.is_empty(), "{name}:\n{}", broken.join("\n"));
}

/// Prints the values of a figure with the worst seed. Returns the bounds that are not kept, in
/// words.
fn judged(name: &str, bound: &Bound, mut values: Vec<(f64, u64)>, are_many: bool) -> Vec<String> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (what, word) = (bound.what, bound.word());
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    let worst = at(if bound.is_most { 1.0 } else { 0.0 }).1;
    let [least, few, half, many, most] = [0.0, 0.05, 0.5, 0.95, 1.0].map(|share| at(share).0);
    let seeds = values.len();
    println!("{name}, {seeds} seeds: {what}: {least:.3} {few:.3} {half:.3} {many:.3} {most:.3} (seed {worst})");
    let mut broken = Vec::new();
    for (value, seed) in values.iter().filter(|(value, _)| !bound.is_kept(*value, bound.every)) {
        broken.push(format!("{what} is {value:.3} and should be {word} {}; to replay it:", bound.every));
        broken.push(format!("    SIM_SEED={seed} cargo test --release -p sim {name} -- --nocapture"));
    }
    if are_many && !bound.is_kept(half, bound.half) {
        broken.push(format!("{what} is {half:.3} for half of {seeds} seeds and should be {word} {}", bound.half));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(bound: Bound, are_many: bool) -> String {
        judged("a_story", &bound, (0..10).map(|seed| (f64::from(seed as u32), seed)).collect(), are_many).join("\n")
    }

    #[test]
    fn every_seed_and_half_of_them_keep_to_their_bounds() {
        assert_eq!(complaint(at_most("it", 4.0, 9.0), true), "");
        assert_eq!(complaint(at_least("it", 4.0, 0.0), true), "");
        assert_eq!(
            complaint(at_most("it", 4.0, 8.0), true),
            "it is 9.000 and should be at most 8; to replay it:\n    \
             SIM_SEED=9 cargo test --release -p sim a_story -- --nocapture"
        );
        let half = "it is 4.000 for half of 10 seeds and should be at least 5";
        assert_eq!(complaint(at_least("it", 5.0, 0.0), true), half);
        assert_eq!(complaint(at_least("it", 5.0, 0.0), false), "");
    }

    #[test]
    fn figure_that_is_not_a_number_keeps_to_no_bound() {
        assert!(!judged("a_story", &at_most("it", 1.0, 1.0), vec![(f64::NAN, 3)], false).is_empty());
        assert!(!judged("a_story", &at_least("it", 0.0, 0.0), vec![(f64::NAN, 3)], false).is_empty());
    }
}
