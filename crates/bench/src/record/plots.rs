//! Which pictures does the record have? They are drawn from the figures as the JSON has them.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::chart::{Axis, Chart, Line, Scale};

/// Draws what there are figures for.
pub(super) fn draw(figures: &Value, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let charts = [
        ("cost-by-viewers", cost_by_viewers(figures)),
        ("delay-by-viewers", delay_by_viewers(figures)),
        ("delay-distribution", delay_distribution(figures)),
        ("delay-while-joining", delay_while_joining(figures)),
    ];
    for (name, mut chart) in charts {
        chart.lines.retain(|line| !line.points.is_empty());
        if !chart.lines.is_empty() {
            let file = folder.join(name).with_extension("svg");
            std::fs::write(&file, chart.svg()).with_context(|| format!("{} cannot be written", file.display()))?;
        }
    }
    Ok(())
}

fn cost_by_viewers(figures: &Value) -> Chart {
    let of =
        |name: &str, path: &str| line(name, looks(figures).filter_map(|look| Some((viewers(look)?, at(look, path)?))));
    Chart {
        title: "Server CPU per packet, one stream of 1.5 Mb/s",
        x: Axis { name: "viewers", scale: Scale::Linear },
        y: Axis { name: "µs a packet", scale: Scale::Linear },
        lines: vec![
            of("all of the server", "/server/cpu_us_per_packet"),
            of("of this the kernel", "/server/kernel_us_per_packet"),
            of("of this user space", "/server/user_us_per_packet"),
        ],
        goal: Some((1.3, "goal: 1.3 µs")),
    }
}

fn delay_by_viewers(figures: &Value) -> Chart {
    let of =
        |name: &str, path: &str| line(name, looks(figures).filter_map(|look| Some((viewers(look)?, at(look, path)?))));
    Chart {
        title: "Delay from publisher to viewer, one stream of 1.5 Mb/s",
        x: Axis { name: "viewers", scale: Scale::Linear },
        y: Axis { name: "ms", scale: Scale::Linear },
        lines: vec![of("p99", "/delay_ms/p99"), of("p90", "/delay_ms/p90"), of("median", "/delay_ms/p50")],
        goal: Some((50.0, "goal for p99: 50 ms")),
    }
}

fn delay_distribution(figures: &Value) -> Chart {
    let of = |name: &str, look: Option<&Value>| {
        let quantiles = look.and_then(|look| look.get("delay_quantiles_ms")).and_then(Value::as_array);
        line(
            name,
            quantiles
                .into_iter()
                .flatten()
                .filter_map(|pair| Some((pair.get(1)?.as_f64()?, 100.0 * pair.get(0)?.as_f64()?))),
        )
    };
    let look = |n: usize| looks(figures).nth(n);
    Chart {
        title: "How many packets have come after how long",
        x: Axis { name: "delay from publisher to viewer, ms", scale: Scale::Logarithmic },
        y: Axis { name: "% of all packets", scale: Scale::Linear },
        lines: vec![
            of("100 viewers", look(0)),
            of("25 streams of 100", figures.get("streams")),
            of("1,000 viewers", look(1)),
            of("2,500 viewers", look(2)),
            of("5,000 viewers", look(3)),
            of("5,000, key frame a minute", figures.get("long-group")),
        ],
        goal: None,
    }
}

fn delay_while_joining(figures: &Value) -> Chart {
    let of = |name: &str, which: &str| {
        let all = figures.get("joins").and_then(Value::as_array).into_iter().flatten();
        let moments = all.filter(|f| f.get("newcomers").and_then(Value::as_str) == Some(which));
        let moments = moments.filter_map(|f| f.get("moments_s_joined_p50_p99_ms")?.as_array()).flatten();
        line(name, moments.filter_map(|m| Some((m.get(0)?.as_f64()?, m.get(3)?.as_f64()?))))
    };
    Chart {
        title: "1,000 watch, and in the first 10 s 5,000 more join",
        x: Axis { name: "seconds", scale: Scale::Linear },
        y: Axis { name: "p99 delay of the 1,000, ms", scale: Scale::Linear },
        lines: vec![
            of("they join the same stream", "the same stream"),
            of("they join another stream", "another stream"),
        ],
        goal: Some((20.0, "goal: 20 ms")),
    }
}

/// One stream and ever more viewers.
fn looks(figures: &Value) -> impl Iterator<Item = &Value> {
    figures.pointer("/fanout/looks").and_then(Value::as_array).into_iter().flatten()
}

fn line(name: &str, points: impl Iterator<Item = (f64, f64)>) -> Line {
    Line { name: name.to_owned(), points: points.collect() }
}

fn viewers(look: &Value) -> Option<f64> {
    at(look, "/viewers")
}

fn at(look: &Value, path: &str) -> Option<f64> {
    look.pointer(path)?.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_measured_is_left_out() {
        let look = json!({
            "viewers": 100, "delay_ms": { "p99": 2.0, "p90": 1.0, "p50": 0.5 },
            "server": { "cpu_us_per_packet": 2.2, "kernel_us_per_packet": null },
        });
        let chart = cost_by_viewers(&json!({ "fanout": { "looks": [look] } }));
        assert_eq!(chart.lines[0].points, [(100.0, 2.2)]);
        assert!(chart.lines[1].points.is_empty());
        assert!(delay_while_joining(&json!({})).lines.iter().all(|line| line.points.is_empty()));
        let joins = json!({ "joins": [{ "newcomers": "another stream", "moments_s_joined_p50_p99_ms": [[0.2, 5, 1.0, 2.0]] }] });
        assert_eq!(delay_while_joining(&joins).lines[1].points, [(0.2, 2.0)]);
    }
}
