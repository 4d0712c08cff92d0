//! Writes the page of a report: one file without references, so that it can be sent. Readable in
//! light and in dark, and on a telephone.

use super::plots::{self, Figure};
use super::rows::{self, Tone};
use super::{Kind, Report, Run, text};
use crate::plot::escaped;
use crate::units::digits;

const STYLE: &str = include_str!("page.css");

/// All of it.
pub(super) fn page(report: &Report) -> String {
    let mut body = String::new();
    match (&report.kind, report.runs.as_slice()) {
        (Kind::Single, [run]) => {
            body += &format!("<h1>{}</h1>\n", escaped(&rows::headline(run)));
            body += &whole(run);
        }
        (kind, runs) => {
            body += &format!("<h1>{}</h1>\n", if *kind == Kind::Sweep { "Sweep" } else { "Capacity" });
            if let Kind::Capacity { found } = kind {
                body += &format!("<p class=\"found\">{}</p>\n", escaped(&text::capacity(found.as_ref(), report)));
            }
            if let Some(why) = &report.broken_off {
                body += &format!("<p class=\"warning\">It ended early: {}.</p>\n", escaped(why));
            }
            body += &figures(&plots::of_runs(runs));
            body += &comparison(runs);
            for run in runs {
                let headline = escaped(&rows::headline(run));
                body += &format!("<details><summary>{headline}</summary>\n{}</details>\n", whole(run));
            }
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>nowcast bench</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n{body}<footer>nowcast bench {}. What each figure means: docs/bench.md.</footer>\n\
         </main>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn whole(run: &Run) -> String {
    let warnings = rows::warnings(run);
    let warnings: String =
        warnings.iter().map(|warning| format!("<p class=\"warning\">{}</p>\n", escaped(warning))).collect();
    let sections: String = rows::sections(run).iter().map(section).collect();
    format!("{warnings}{}<div class=\"tables\">\n{sections}</div>\n{}", figures(&plots::of_run(run)), spreads(run))
}

fn figures(figures: &[Figure]) -> String {
    let figure = |figure: &Figure| {
        let (title, plot) = (figure.title, &figure.plot);
        format!("<figure><figcaption>{title}</figcaption>{}{}</figure>\n", plot.legend(), plot.svg(title))
    };
    let all: String = figures.iter().filter(|figure| !figure.plot.is_empty()).map(figure).collect();
    format!("<div class=\"figures\">\n{all}</div>\n")
}

fn section(section: &rows::Section) -> String {
    let row = |row: &rows::Row| {
        let class = match row.tone {
            Tone::Plain => "",
            Tone::Good => " class=\"good\"",
            Tone::Bad => " class=\"bad\"",
        };
        format!("<tr><th>{}</th><td{class}>{}</td></tr>\n", row.name, escaped(&row.value))
    };
    let all: String = section.rows.iter().map(row).collect();
    format!("<section><h2>{}</h2><table>\n{all}</table></section>\n", section.title)
}

fn spreads(run: &Run) -> String {
    let row = |spread: rows::Spread| {
        let cells = match spread.ms {
            Some(p) => [p.p50, p.p90, p.p99, p.p999, p.max].map(|ms| format!("<td>{}</td>", digits(ms))).concat(),
            None => "<td colspan=\"5\">not known</td>".to_owned(),
        };
        format!("<tr><th>{}</th>{cells}</tr>\n", spread.name)
    };
    let all: String = rows::spreads(run).into_iter().map(row).collect();
    let head = ["median", "p90", "p99", "p99.9", "max"].map(|name| format!("<th>{name}</th>")).concat();
    wide("Milliseconds", &format!("<tr><th></th>{head}</tr>\n{all}"))
}

fn comparison(runs: &[Run]) -> String {
    let head: String = text::COLUMNS.iter().map(|(name, _)| format!("<th>{name}</th>")).collect();
    let row = |run: &Run| {
        let cells: String = text::cells(run).iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        let missed = run.missed();
        let why = missed.map(|why| format!("<tr><td colspan=\"11\" class=\"bad\">{}</td></tr>\n", escaped(&why)));
        format!("<tr>{cells}</tr>\n{}", why.unwrap_or_default())
    };
    let all: String = runs.iter().map(row).collect();
    wide("Runs", &format!("<tr>{head}</tr>\n{all}"))
}

fn wide(title: &str, rows: &str) -> String {
    format!("<section class=\"wide\"><h2>{title}</h2><div><table class=\"numbers\">\n{rows}</table></div></section>\n")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_gives_no_token_away() {
        let page = page(&Report::single(testing::run(5_000)));
        for outside in ["<script", "<link", "src=", "@import", "url(", "s3cret"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(
            page.contains("5,000 viewers") && page.contains("&lt;b&gt;full") && !page.contains("<b>full"),
            "{page}"
        );
        assert_eq!(page.matches("<svg").count(), 6);
    }

    #[test]
    fn several_runs_are_compared() {
        let runs = vec![testing::run(100), testing::run(5_000)];
        let page = page(&Report { runs, ..Report::of(Kind::Sweep) });
        assert!(page.contains("<h1>Sweep</h1>") && page.matches("<details>").count() == 2, "{page}");
    }
}
