//! How do figures become a picture in a page?
//!
//! SVG without colours of its own: lines and bands have classes (`s0`, `s1`, …), and the page's
//! style sheet says what they look like in light and in dark. Nothing is drawn that is not a line,
//! an area or a word.
//!
//! - [`axis`]: where a value lies, and which round numbers stand beside it

mod axis;

use std::fmt::Write;

use self::axis::Axis;

/// A picture.
#[derive(Debug, Default)]
pub(crate) struct Plot {
    /// What stands under and beside it, with units.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// How far the axes reach at least.
    pub(crate) least: (f64, f64),
    pub(crate) is_x_logarithmic: bool,
    /// Times or numbers at which something happened, as upright lines.
    pub(crate) marks: Vec<(f64, &'static str)>,
    /// A level that is to be kept; drawn if it is in reach of the values.
    pub(crate) bound: Option<(f64, &'static str)>,
    pub(crate) lines: Vec<Line>,
}

/// One line of it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Line,
    /// The area below it is filled.
    Area,
    /// Its points are what was measured; the line between them is a guess.
    Points,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 264.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 14.0;
/// Room for the name of the upright axis, which stands above it: beside it, it would touch the
/// numbers on a telephone.
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;
/// A bound above this multiple of the largest value is not drawn: it would press the lines onto the
/// axis. A guess.
const IN_REACH: f64 = 3.0;

impl Plot {
    /// Returns whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.points.is_empty())
    }

    /// Returns the picture. `title` is its text for screen readers.
    pub(crate) fn svg(&self, title: &str) -> String {
        let mut svg = String::new();
        self.write(&mut svg, title).expect("writing to a string does not fail");
        svg
    }

    /// Returns the names of its lines, for the page to put where there is room.
    pub(crate) fn legend(&self) -> String {
        let entry = |(n, line): (usize, &Line)| format!("<li class=\"s{n}\"><i></i>{}</li>", escaped(line.name));
        let entries: String = self.lines.iter().enumerate().map(entry).collect();
        if self.lines.len() > 1 { format!("<ul class=\"legend\">{entries}</ul>") } else { String::new() }
    }

    fn write(&self, svg: &mut String, title: &str) -> std::fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let largest = |values: &mut dyn Iterator<Item = f64>| values.filter(|v| v.is_finite()).fold(0.0, f64::max);
        let (most_x, most_y) = (largest(&mut points().map(|p| p.0)), largest(&mut points().map(|p| p.1)));
        let bound = self.bound.filter(|(level, _)| *level <= most_y * IN_REACH);
        let most_y = bound.map_or(most_y, |(level, _)| most_y.max(level)).max(self.least.1);
        let y = Axis::linear(most_y * 1.04, HEIGHT - BOTTOM, TOP);
        let x = if self.is_x_logarithmic {
            let least = points().map(|p| p.0).filter(|x| *x > 0.0).fold(f64::INFINITY, f64::min);
            Axis::logarithmic(least, most_x, LEFT, WIDTH - RIGHT)
        } else {
            Axis::linear(most_x.max(self.least.0), LEFT, WIDTH - RIGHT)
        };
        writeln!(svg, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>", escaped(title))?;
        self.write_axes(svg, &x, &y)?;
        for (at, name) in self.marks.iter().filter(|(at, _)| (x.from()..=x.to()).contains(at)) {
            let at = x.at(*at);
            writeln!(svg, "<path class=\"mark\" d=\"M{at:.1} {} V{TOP}\"/>", HEIGHT - BOTTOM)?;
            writeln!(svg, "<text class=\"mark\" x=\"{:.1}\" y=\"{}\">{}</text>", at + 4.0, TOP + 8.0, escaped(name))?;
        }
        if let Some((level, name)) = bound {
            let at = y.at(level);
            writeln!(svg, "<path class=\"bound\" d=\"M{LEFT} {at:.1} H{}\"/>", WIDTH - RIGHT)?;
            let (right, above) = (WIDTH - RIGHT - 4.0, at - 4.0);
            writeln!(svg, "<text class=\"bound\" x=\"{right}\" y=\"{above:.1}\">{}</text>", escaped(name))?;
        }
        // The first line lies on top of the others.
        for (n, line) in self.lines.iter().enumerate().rev() {
            line.write(svg, n, &x, &y)?;
        }
        svg.write_str("</svg>\n")
    }

    fn write_axes(&self, svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
        let floor = HEIGHT - BOTTOM;
        for mark in y.marks() {
            let at = y.at(mark);
            writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1} H{}\"/>", WIDTH - RIGHT)?;
            let (left, below) = (LEFT - 6.0, at + 4.0);
            writeln!(svg, "<text class=\"y\" x=\"{left}\" y=\"{below:.1}\">{}</text>", axis::number(mark))?;
        }
        writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {floor} H{}\"/>", WIDTH - RIGHT)?;
        for mark in x.marks() {
            let (at, below) = (x.at(mark), floor + 18.0);
            writeln!(svg, "<path class=\"axis\" d=\"M{at:.1} {floor} v4\"/>")?;
            writeln!(svg, "<text class=\"x\" x=\"{at:.1}\" y=\"{below}\">{}</text>", axis::number(mark))?;
        }
        let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 6.0);
        writeln!(svg, "<text class=\"x name\" x=\"{middle}\" y=\"{bottom}\">{}</text>", escaped(self.x))?;
        writeln!(svg, "<text class=\"name\" x=\"0\" y=\"15\">{}</text>", escaped(self.y))
    }
}

impl Line {
    fn write(&self, svg: &mut String, n: usize, x: &Axis, y: &Axis) -> std::fmt::Result {
        let place = |(px, py): &(f64, f64)| format!("{:.1} {:.1}", x.at(*px), y.at(*py));
        let places: Vec<_> = self.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(place).collect();
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return Ok(()) };
        let path = places.join(" L");
        if self.style == Style::Area {
            let (from, to, floor) = (x.at(first.0), x.at(last.0), y.at(0.0));
            writeln!(svg, "<path class=\"area s{n}\" d=\"M{from:.1} {floor:.1} L{path} L{to:.1} {floor:.1} Z\"/>")?;
        }
        writeln!(svg, "<path class=\"line s{n}\" d=\"M{path}\"/>")?;
        if self.style == Style::Points {
            for (px, py) in &self.points {
                writeln!(svg, "<circle class=\"s{n}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", x.at(*px), y.at(*py))?;
            }
        }
        Ok(())
    }
}

/// Text that cannot be taken for markup, between tags and in quoted attributes.
pub(crate) fn escaped(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> Plot {
        let line = Line { name: "a < b", points: points.to_vec(), style: Style::Points };
        Plot { x: "seconds", y: "ms", bound: Some((50.0, "bound")), lines: vec![line], ..Plot::default() }
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let mut plot = plot(&[(1.0, 2.0)]);
        plot.lines.push(Line { name: "<c>", points: Vec::new(), style: Style::Line });
        let all = plot.svg("<script>\"&") + &plot.legend();
        assert!(
            all.contains("&lt;script&gt;&quot;&amp;") && all.contains("&lt;c&gt;") && !all.contains("<c>"),
            "{all}"
        );
    }

    #[test]
    fn a_bound_far_away_is_left_out() {
        assert!(!plot(&[(1.0, 2.0)]).svg("").contains("bound"));
        assert!(plot(&[(1.0, 20.0)]).svg("").contains("bound"));
    }

    #[test]
    fn nothing_and_nonsense_are_drawn_without_harm() {
        for points in [&[][..], &[(0.0, 0.0)], &[(f64::NAN, 1.0), (1.0, f64::INFINITY)]] {
            for is_x_logarithmic in [false, true] {
                let svg = Plot { is_x_logarithmic, ..plot(points) }.svg("x");
                assert!(!svg.contains("inf"), "{svg}");
            }
        }
        assert!(plot(&[]).is_empty());
    }
}
