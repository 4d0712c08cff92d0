//! Where does a value lie, and which round numbers stand beside it?

use crate::units;

/// One direction of a plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    is_logarithmic: bool,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

/// The approximate number of marks on an axis. A guess.
const MARKS: f64 = 5.5;

impl Axis {
    /// From 0 to `most`, drawn between `start` and `end`.
    pub(super) fn linear(most: f64, start: f64, end: f64) -> Axis {
        let to = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        Axis { is_logarithmic: false, from: 0.0, to, start, end }
    }

    /// Equal factors are equally far apart.
    pub(super) fn logarithmic(least: f64, most: f64, start: f64, end: f64) -> Axis {
        let from = if least.is_finite() && least > 0.0 { least } else { 1.0 };
        Axis { is_logarithmic: true, from, to: most.max(from * 2.0), start, end }
    }

    pub(super) fn from(&self) -> f64 {
        self.from
    }

    pub(super) fn to(&self) -> f64 {
        self.to
    }

    /// Returns the position of `value`. A value beyond an end is placed at this end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        let share = if self.is_logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.start + (self.end - self.start) * share
    }

    /// Round numbers on it.
    pub(super) fn marks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
            let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
            return all.filter(|mark| (self.from..=self.to).contains(mark)).collect();
        }
        let rough = self.to / MARKS;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|n| n * power >= rough).unwrap_or(10.0) * power;
        (0..=MARKS as u32 * 2).map(|n| f64::from(n) * step).take_while(|mark| *mark <= self.to).collect()
    }
}

/// "250", "1.5", "40 k", "1.2 M"
pub(super) fn number(value: f64) -> String {
    let plain = |value: f64| format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned();
    match value {
        v if v >= 1e6 => format!("{} M", plain(v / 1e6)),
        v if v >= 1e4 => format!("{} k", plain(v / 1e3)),
        v if v >= 1e3 => units::count(v.round() as u64),
        v => plain(v),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        assert_eq!(Axis::linear(30.0, 0.0, 1.0).marks(), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(Axis::linear(0.9, 0.0, 1.0).marks().len(), 5);
        assert_eq!(
            Axis::logarithmic(100.0, 5_000.0, 0.0, 1.0).marks(),
            [100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]
        );
        for most in [0.0, f64::NAN, f64::INFINITY, 1e-12, 1e12] {
            assert!((2..=11).contains(&Axis::linear(most, 0.0, 1.0).marks().len()), "{most}");
        }
    }

    #[test]
    fn values_lie_where_the_marks_say() {
        let axis = Axis::logarithmic(1.0, 100.0, 60.0, 260.0);
        assert_eq!([0.0, 1.0, 10.0, 100.0, 1e9].map(|value| axis.at(value).round()), [60.0, 60.0, 160.0, 260.0, 260.0]);
        assert_eq!(Axis::linear(10.0, 200.0, 0.0).at(2.5), 150.0);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.25, 15.0, 2_000.0, 40_000.0, 1_200_000.0].map(number);
        assert_eq!(numbers, ["0", "0.25", "15", "2,000", "40 k", "1.2 M"]);
    }
}
