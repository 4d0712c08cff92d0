//! How do lines become a picture? SVG that can be read and changed by hand, with nothing but text
//! and lines in it.

use std::fmt::Write;

/// A picture of some lines over one axis.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What stands under and beside it, with units.
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A goal, and its label.
    pub(super) goal: Option<(f64, &'static str)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) scale: Scale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// Each step as far as the next at equal factors; values are above 0.
    Logarithmic,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Room for what stands around the plot: left, right (names of lines), top, bottom.
const MARGINS: (f64, f64, f64, f64) = (60.0, 190.0, 36.0, 46.0);
/// Colours that people with colour vision deficiency can distinguish (Okabe and Ito's palette).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// The approximate number of marks beside an axis. A guess.
const MARKS: f64 = 6.0;

/// Where values of an axis lie: from `from` at `start` to `to` at `end`.
#[derive(Debug, Clone, Copy)]
struct Place {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Chart {
    /// Returns the picture.
    pub(super) fn svg(&self) -> String {
        let (left, right, top, bottom) = MARGINS;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Place::new(self.x.scale, points().map(|p| p.0), (left, WIDTH - right));
        let levels = points().map(|p| p.1).chain(self.goal.map(|(level, _)| level));
        let y = Place::new(self.y.scale, levels, (HEIGHT - bottom, top));
        let mut svg = String::new();
        self.frame(&mut svg, x, y).expect("writing to a string does not fail");
        self.draw(&mut svg, x, y).expect("writing to a string does not fail");
        svg + "</svg>\n"
    }

    fn frame(&self, svg: &mut String, x: Place, y: Place) -> std::fmt::Result {
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
        )?;
        writeln!(svg, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#)?;
        writeln!(svg, r#"<text x="{}" y="20" font-size="14" font-weight="bold">{}</text>"#, x.start, text(self.title))?;
        writeln!(svg, r##"<g stroke="#ddd" fill="none">"##)?;
        for mark in x.marks() {
            writeln!(svg, r#"<path d="M{0:.1} {1} V{2}"/>"#, x.at(mark), y.start, y.end)?;
        }
        for mark in y.marks() {
            writeln!(svg, r#"<path d="M{0} {1:.1} H{2}"/>"#, x.start, y.at(mark), x.end)?;
        }
        writeln!(svg, "</g>\n<g text-anchor=\"middle\">")?;
        for mark in x.marks() {
            writeln!(svg, r#"<text x="{:.1}" y="{}">{}</text>"#, x.at(mark), y.start + 16.0, number(mark))?;
        }
        let middle = (x.start + x.end) / 2.0;
        writeln!(svg, r#"<text x="{middle}" y="{}">{}</text>"#, HEIGHT - 10.0, text(self.x.name))?;
        let middle = (y.start + y.end) / 2.0;
        let name = text(self.y.name);
        writeln!(svg, r#"<text x="16" y="{middle}" transform="rotate(-90 16 {middle})">{name}</text>"#)?;
        writeln!(svg, "</g>\n<g text-anchor=\"end\">")?;
        for mark in y.marks() {
            writeln!(svg, r#"<text x="{}" y="{:.1}">{}</text>"#, x.start - 6.0, y.at(mark) + 4.0, number(mark))?;
        }
        writeln!(svg, "</g>")
    }

    fn draw(&self, svg: &mut String, x: Place, y: Place) -> std::fmt::Result {
        if let Some((level, name)) = self.goal {
            let at = y.at(level);
            writeln!(svg, r#"<path d="M{} {at:.1} H{}" stroke="black" stroke-dasharray="5 4"/>"#, x.start, x.end)?;
            writeln!(svg, r#"<text x="{}" y="{:.1}">{}</text>"#, x.end + 8.0, at + 4.0, text(name))?;
        }
        for (n, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let points: Vec<_> = line.points.iter().map(|p| format!("{:.1},{:.1}", x.at(p.0), y.at(p.1))).collect();
            writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                points.join(" ")
            )?;
            // Where there are few they are what was measured, and the line between them a guess.
            if line.points.len() < 10 {
                for (px, py) in &line.points {
                    writeln!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x.at(*px), y.at(*py))?;
                }
            }
            let (at_x, at_y) = (x.end + 8.0, y.start - 6.0 - 18.0 * (self.lines.len() - 1 - n) as f64);
            writeln!(svg, r#"<text x="{at_x}" y="{at_y:.1}" fill="{colour}">{}</text>"#, text(&line.name))?;
        }
        Ok(())
    }
}

impl Place {
    fn new(scale: Scale, values: impl Iterator<Item = f64>, (start, end): (f64, f64)) -> Place {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (from, to) = (from.min(value), to.max(value));
        }
        match scale {
            Scale::Linear => Place { scale, from: 0.0, to: if to > 0.0 { to * 1.05 } else { 1.0 }, start, end },
            Scale::Logarithmic => {
                let from = if from.is_finite() { from.max(1e-9) } else { 1.0 };
                Place { scale, from, to: to.max(from * 2.0), start, end }
            }
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        self.start + (self.end - self.start) * share
    }

    /// Round numbers within.
    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / MARKS;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0) * power;
                (0..).map(|n| f64::from(n) * step).take_while(|mark| *mark <= self.to).collect()
            }
            Scale::Logarithmic => {
                let powers = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
                let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)));
                all.filter(|mark| (self.from..=self.to).contains(mark)).collect()
            }
        }
    }
}

fn number(value: f64) -> String {
    if value >= 1_000.0 {
        crate::units::count(value.round() as u64)
    } else {
        // As many digits as say something, without zeroes at the end.
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_within() {
        let place = |scale, values: &[f64]| Place::new(scale, values.iter().copied(), (0.0, 100.0));
        assert_eq!(place(Scale::Linear, &[3.0, 5_000.0]).marks(), [0.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0, 5_000.0]);
        assert_eq!(place(Scale::Logarithmic, &[0.4, 30.0]).marks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(place(Scale::Linear, &[]).marks().len(), 6);
        assert_eq!([0.0, 0.25, 2_000.0, 10.0].map(number), ["0", "0.25", "2,000", "10"]);
    }

    #[test]
    fn values_lie_where_the_marks_say() {
        let place = Place::new(Scale::Logarithmic, [1.0, 100.0].into_iter(), (60.0, 260.0));
        assert_eq!([1.0, 10.0, 100.0].map(|value| place.at(value).round()), [60.0, 160.0, 260.0]);
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let chart = Chart {
            title: "a < b & c",
            x: Axis { name: "x", scale: Scale::Linear },
            y: Axis { name: "y", scale: Scale::Linear },
            lines: vec![Line { name: "<line>".to_owned(), points: vec![(1.0, 2.0)] }],
            goal: Some((3.0, "goal")),
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&lt;line>") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
