//! Which pictures tell how a run went, and how runs of several sizes differ?

use super::{MOST_DELAY_MS, Run};
use crate::histogram::Histogram;
use crate::plot::{Line, Plot, Style};
use crate::series::Sample;

/// A picture and what stands above it.
pub(super) struct Figure {
    pub(super) title: &'static str,
    pub(super) plot: Plot,
}

/// Number of points drawn of a distribution.
const STEPS: u32 = 100;

/// Of one run.
pub(super) fn of_run(run: &Run) -> Vec<Figure> {
    let all = run.played.joined.joined;
    let joined =
        run.series.iter().find(|sample| all > 0 && sample.joined >= all).map(|sample| (sample.at_s, "all joined"));
    let over_time = |y: &'static str, least: f64, lines: Vec<Line>| Plot {
        x: "seconds",
        y,
        least: (0.0, least),
        marks: joined.into_iter().collect(),
        lines,
        ..Plot::default()
    };
    let of = |name, style, value: &dyn Fn(&Sample) -> Option<f64>| line(&run.series, name, style, value);
    let delay = |value: fn(&Sample) -> Option<f64>, name| of(name, Style::Line, &value);
    let percent = |share: f64| Some(share * 100.0);
    vec![
        Figure {
            title: "Delay over time",
            plot: Plot {
                bound: Some((MOST_DELAY_MS, "50 ms")),
                ..over_time(
                    "ms",
                    0.0,
                    vec![
                        delay(|s| Some(s.delay_ms?.p50), "median"),
                        delay(|s| Some(s.delay_ms?.p99), "p99"),
                        delay(|s| Some(s.delay_ms?.max), "max"),
                    ],
                )
            },
        },
        Figure { title: "Delay: how many packets came within", plot: distribution(&run.played.seen.delay) },
        Figure {
            title: "Packets a second, received by all viewers",
            plot: over_time("packets/s", 1.0, vec![of("received", Style::Area, &|s| Some(s.packets_per_second()))]),
        },
        Figure {
            title: "CPU",
            plot: over_time(
                "cores",
                0.1,
                vec![
                    of("server", Style::Area, &|s| Some(s.server?.cores)),
                    of("generator", Style::Line, &|s| Some(s.generator_cores)),
                ],
            ),
        },
        Figure {
            title: "Loss",
            plot: over_time(
                "%",
                0.1,
                vec![
                    of("after repair", Style::Area, &|s| percent(s.loss_after_repair())),
                    of("before repair", Style::Line, &|s| percent(s.loss_before_repair())),
                ],
            ),
        },
        Figure { title: "Joins: how many viewers had it within", plot: joins(run) },
    ]
}

/// Of several runs: what grows with the audience?
pub(super) fn of_runs(runs: &[Run]) -> Vec<Figure> {
    let over_viewers = |y: &'static str, least: f64, lines: Vec<Line>| Plot {
        x: "viewers",
        y,
        least: (0.0, least),
        is_x_logarithmic: true,
        lines,
        ..Plot::default()
    };
    let of = |name, value: &dyn Fn(&Run) -> Option<f64>| {
        let mut points: Vec<_> = runs.iter().filter_map(|run| Some((run.viewers() as f64, value(run)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name, points, style: Style::Points }
    };
    vec![
        Figure { title: "Server CPU per packet", plot: over_viewers("µs", 1.0, vec![of("µs", &Run::us_per_packet)]) },
        Figure {
            title: "CPU",
            plot: over_viewers(
                "cores",
                0.1,
                vec![
                    of("server", &|run| Some(run.played.server.as_ref()?.spent.cores())),
                    of("generator", &|run| Some(run.played.seen.generator.cores())),
                ],
            ),
        },
        Figure {
            title: "Delay",
            plot: Plot {
                bound: Some((MOST_DELAY_MS, "50 ms")),
                ..over_viewers(
                    "ms",
                    0.0,
                    vec![of("median", &|run| Some(run.delay_ms()?.p50)), of("p99", &|run| Some(run.delay_ms()?.p99))],
                )
            },
        },
        Figure {
            title: "Loss after repair",
            plot: Plot {
                bound: Some((0.1, "0.1 %")),
                ..over_viewers("%", 0.1, vec![of("%", &|run| Some(run.played.seen.loss_after_repair() * 100.0))])
            },
        },
        Figure {
            title: "Server memory per viewer",
            plot: over_viewers("KiB", 0.0, vec![of("KiB", &|run| Some(run.played.server.as_ref()?.memory?.kib))]),
        },
        Figure {
            title: "Packets a second",
            plot: over_viewers("packets/s", 0.0, vec![of("received", &|run| Some(run.packets_per_second()))]),
        },
    ]
}

fn line(series: &[Sample], name: &'static str, style: Style, value: &dyn Fn(&Sample) -> Option<f64>) -> Line {
    Line { name, style, points: series.iter().filter_map(|sample| Some((sample.at_s, value(sample)?))).collect() }
}

/// Returns the percentage of values below each duration, up to p99.9: values beyond it would press
/// the others to the left.
fn within(histogram: &Histogram, name: &'static str) -> Line {
    let shares = (0..=STEPS).map(|n| f64::from(n) / f64::from(STEPS)).map(|share| share.min(0.999));
    let points = shares.map(|share| (histogram.ms(share), share * 100.0));
    Line { name, style: Style::Line, points: if histogram.is_empty() { Vec::new() } else { points.collect() } }
}

fn distribution(delay: &Histogram) -> Plot {
    let lines = vec![Line { style: Style::Area, ..within(delay, "packets") }];
    Plot { x: "milliseconds", y: "% of packets", least: (0.0, 100.0), lines, ..Plot::default() }
}

fn joins(run: &Run) -> Plot {
    let joined = &run.played.joined;
    let lines = vec![
        within(&joined.answer, "answer"),
        within(&joined.first_packet, "first packet"),
        within(&joined.first_picture, "first key frame"),
    ];
    Plot { x: "milliseconds since POST", y: "% of viewers", least: (0.0, 100.0), lines, ..Plot::default() }
}
