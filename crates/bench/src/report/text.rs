//! How does a report look on a terminal?

use std::fmt::Write;
use std::io::IsTerminal;

use super::rows::{self, Tone};
use super::{Kind, Report, Run};
use crate::capacity::{Bound, Capacity};
use crate::histogram::Histogram;
use crate::process::Spent;
use crate::units::{bits, count, digits, percent};

/// Whether bad figures are written in red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Colours,
}

/// Width of the names; the longest has 32 letters.
const NAME: usize = 36;

/// Of the table of several runs: names, and widths.
pub(super) const COLUMNS: [(&str, usize); 11] = [
    ("viewers", 8),
    ("joined", 8),
    ("packets/s", 11),
    ("bitrate", 11),
    ("loss", 11),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("server", 8),
    ("µs/packet", 10),
    ("KiB/viewer", 11),
    ("generator", 10),
];

impl Style {
    /// Colours on a terminal, unless NO_COLOR is set (no-color.org).
    pub(super) fn of_stdout() -> Style {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() { Style::Colours } else { Style::Plain }
    }

    fn paint(self, tone: Tone, text: &str) -> String {
        match (self, tone) {
            (Style::Colours, Tone::Bad) => format!("\x1b[1;31m{text}\x1b[0m"),
            (Style::Colours, Tone::Good) => format!("\x1b[32m{text}\x1b[0m"),
            // Without colours, a bad figure gets a mark.
            (Style::Plain, Tone::Bad) => format!("{text}  <--"),
            _ => text.to_owned(),
        }
    }

    fn title(self, text: &str) -> String {
        if self == Style::Colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Everything.
pub(super) fn report(report: &Report, style: Style) -> String {
    let mut out = String::new();
    match (&report.kind, report.runs.first()) {
        (Kind::Single, Some(run)) => single(&mut out, run, style),
        (_, None) => out.push_str("There is nothing to report.\n"),
        _ => {
            several(&mut out, report, style);
            if let Kind::Capacity { found } = &report.kind {
                let _ = writeln!(out, "\n{}", style.title(&capacity(found.as_ref(), report)));
            }
        }
    }
    if let Some(why) = &report.broken_off {
        let _ = writeln!(out, "\n! It ended early: {why}.");
    }
    out
}

fn single(out: &mut String, run: &Run, style: Style) {
    let _ = writeln!(out, "{}", style.title(&rows::headline(run)));
    for section in rows::sections(run) {
        let _ = writeln!(out, "\n{}", style.title(section.title));
        for row in section.rows {
            let _ = writeln!(out, "  {:<NAME$}{}", row.name, style.paint(row.tone, &row.value));
        }
    }
    let columns = ["median", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}")).concat();
    let _ = writeln!(out, "\n{}{columns}", style.title(&format!("{:<38}", "Milliseconds")));
    for spread in rows::spreads(run) {
        let values = spread.ms.map_or_else(
            || format!("{:>10}", "–"),
            |p| [p.p50, p.p90, p.p99, p.p999, p.max].map(|ms| format!("{:>10}", digits(ms))).concat(),
        );
        let _ = writeln!(out, "  {:<NAME$}{values}", spread.name);
    }
    let warnings = rows::warnings(run);
    if !warnings.is_empty() {
        out.push('\n');
    }
    for warning in warnings {
        let mark = if style == Style::Colours { style.paint(Tone::Bad, "!") } else { "!".to_owned() };
        let _ = writeln!(out, "{mark} {warning}");
    }
}

/// One line for each run.
fn several(out: &mut String, report: &Report, style: Style) {
    let line = |values: Vec<String>| {
        let cells = values.iter().zip(COLUMNS).map(|(value, (_, width))| format!("{value:>width$}"));
        cells.collect::<String>()
    };
    let head = line(COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect());
    let _ = writeln!(out, "{}", style.title(&head));
    for run in &report.runs {
        let text = line(cells(run).to_vec());
        let missed = run.missed();
        let text = match &missed {
            Some(_) => style.paint(Tone::Bad, &text),
            None => text,
        };
        let _ = writeln!(out, "{text}");
        let generator = run.played.seen.bottleneck().map(|why| format!("the generator's limit: {why}"));
        for remark in missed.into_iter().chain(generator) {
            let _ = writeln!(out, "        {remark}");
        }
    }
    let _ = writeln!(out, "server and generator: cores in use; loss: after repair; delay: publisher to viewer");
    if report.runs.iter().any(Run::reused_memory) {
        let _ = writeln!(out, "KiB/viewer –: {}", rows::REUSED);
    }
    if report.runs.iter().any(Run::memory_is_at_least) {
        let _ = writeln!(out, "KiB/viewer: at least so much; {}", rows::HAD_WORKED);
    }
}

/// Returns the values of [`COLUMNS`] for a run.
pub(super) fn cells(run: &Run) -> [String; COLUMNS.len()] {
    let played = &run.played;
    let server = played.server.as_ref();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    [
        count(run.viewers() as u64),
        count(played.joined.joined as u64),
        count(run.packets_per_second() as u64),
        bits(run.bits_per_second()),
        percent(played.seen.loss_after_repair()),
        or_dash(run.delay_ms().map(|delay| digits(delay.p50))),
        or_dash(run.delay_ms().map(|delay| digits(delay.p99))),
        or_dash(server.map(|server| format!("{:.2}", server.spent.cores()))),
        or_dash(run.us_per_packet().map(|us| format!("{us:.2}"))),
        or_dash(server.and_then(|server| server.memory).map(|memory| digits(memory.kib))),
        format!("{:.2}", played.seen.generator.cores()),
    ]
}

/// One sentence.
pub(super) fn capacity(found: Option<&Capacity>, report: &Report) -> String {
    let carried = |viewers: usize| count(viewers as u64);
    match found {
        None => {
            let most = report.runs.iter().filter(|run| run.missed().is_none()).map(Run::viewers).max().unwrap_or(0);
            format!("The search was cut short; the capacity is at least {} viewers.", carried(most))
        }
        Some(Capacity { viewers: 0, bound: Bound::Server { why, .. } | Bound::Generator { why, .. } }) => {
            format!("Not even one viewer is carried: {why}.")
        }
        Some(Capacity { viewers, bound }) => match bound {
            Bound::Server { viewers: many, why } => {
                format!("Capacity: {} viewers. {} were too many: {why}.", carried(*viewers), carried(*many))
            }
            Bound::Generator { viewers: many, why } => format!(
                "Capacity: at least {} viewers. At {} the generator was the bottleneck: {why}.",
                carried(*viewers),
                carried(*many)
            ),
            Bound::Most => format!("Capacity: at least {} viewers; more were not asked for.", carried(*viewers)),
        },
    }
}

/// "0.31 cores (shard 0.25, desk 0.04, …)"
pub(crate) fn cpu(spent: &Spent) -> String {
    let threads = spent.by_name.iter().take(4).map(|(name, s)| (name, s / spent.wall_s.max(1e-9)));
    let threads: Vec<_> = threads.filter(|(_, s)| *s >= 0.005).map(|(name, s)| format!("{name} {s:.2}")).collect();
    match threads.len() {
        0 | 1 => format!("{:.2} cores", spent.cores()),
        _ => format!("{:.2} cores ({})", spent.cores(), threads.join(", ")),
    }
}

/// "median 0.81 ms, p90 …"
pub(crate) fn durations(histogram: &Histogram) -> String {
    let p = histogram.percentiles();
    format!("median {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}", p.p50, p.p90, p.p99, p.p999, p.max)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_report_contains_no_token_and_marks_bad_figures() {
        let plain = super::report(&Report::single(testing::run(5_000)), Style::Plain);
        assert!(!plain.contains("s3cret"), "{plain}");
        assert!(!plain.contains('\x1b'), "{plain}");
        assert!(plain.contains("4,999 of 5,000  <--"), "{plain}");
        let colours = super::report(&Report::single(testing::run(5_000)), Style::Colours);
        assert!(colours.contains("\x1b[1;31m4,999 of 5,000\x1b[0m"), "{colours}");
    }

    #[test]
    fn a_sweep_is_one_table() {
        let report = Report { runs: vec![testing::run(100), testing::run(5_000)], ..Report::of(Kind::Sweep) };
        let text = super::report(&report, Style::Plain);
        assert!(
            text.lines().any(|line| line.trim_start().starts_with("5,000   4,999    780,000  7.49 Gb/s")),
            "{text}"
        );
    }

    #[test]
    fn a_capacity_is_one_sentence() {
        let report = Report { runs: Vec::new(), ..Report::of(Kind::Capacity { found: None }) };
        let say = |viewers, bound| capacity(Some(&Capacity { viewers, bound }), &report);
        let why = || "p99 delay 60 ms".to_owned();
        assert_eq!(
            say(5_000, Bound::Server { viewers: 5_250, why: why() }),
            "Capacity: 5,000 viewers. 5,250 were too many: p99 delay 60 ms."
        );
        assert!(say(5_000, Bound::Generator { viewers: 5_250, why: why() }).starts_with("Capacity: at least 5,000"));
        assert!(say(0, Bound::Server { viewers: 1, why: why() }).starts_with("Not even one"));
        assert!(say(9, Bound::Most).contains("at least 9"));
    }
}
