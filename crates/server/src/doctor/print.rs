//! How are findings read, by people and by machines?

use std::io::IsTerminal;

use serde_json::json;

use super::{Finding, Verdict};

/// Where found things begin: behind the verdict and the longest name of a check.
const INDENT: usize = 29;
/// Longest line, in characters.
const WIDTH: usize = 110;

/// Returns whether the output goes to a terminal with colours (<https://no-color.org>).
pub(super) fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns a table for people.
pub(super) fn text(findings: &[Finding], with_colour: bool) -> String {
    let mut text = String::from("\n");
    for finding in findings {
        let (word, colour) = match finding.verdict {
            Verdict::Ok => ("ok", 32),
            Verdict::Hint => ("hint", 33),
            Verdict::Fail => ("FAIL", 31),
        };
        let word = format!("{word:<5}");
        let word = if with_colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        let found = wrapped(&finding.found);
        text.push_str(&format!("  {word} {:<width$}{found}\n", finding.check, width = INDENT - 8));
        if !finding.meaning.is_empty() {
            text.push_str(&format!("{:INDENT$}{}\n", "", wrapped(finding.meaning)));
        }
        // Never broken: they are to be copied.
        for line in &finding.mend {
            text.push_str(&format!("{:INDENT$}→ {line}\n", ""));
        }
    }
    text.push_str(&format!("\n  {}\n\n", sum(findings)));
    text
}

/// One object for machines.
pub(super) fn json(findings: &[Finding]) -> serde_json::Value {
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    json!({ "verdict": worst, "checks": findings })
}

fn sum(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let hints = match count(Verdict::Hint) {
        0 => "no hints".to_owned(),
        1 => "1 hint".to_owned(),
        hints => format!("{hints} hints"),
    };
    let failing = match count(Verdict::Fail) {
        0 => "nothing will fail",
        1 => "one thing will fail",
        _ => "some things will fail",
    };
    format!("{} ok, {hints}; {failing}.", count(Verdict::Ok))
}

/// Breaks words into lines that fit behind the indentation.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > WIDTH - INDENT {
            out.push_str(&format!("\n{:INDENT$}", ""));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("clock", "tsc"),
            Finding::hint("connection tracking", "12 of them", "It costs. ".repeat(20).leak()).mend("x ".repeat(80)),
            Finding::fail("ports", "taken", "No."),
        ]
    }

    #[test]
    fn words_stay_whole_and_commands_stay_in_one_line() {
        let text = text(&findings(), false);
        assert!(text.lines().filter(|line| !line.contains('→')).all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(&format!("→ {}", "x ".repeat(80))), "{text}");
        assert!(text.contains("1 ok, 1 hint; one thing will fail."), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn columns_begin_where_they_should() {
        let text = text(&findings(), false);
        for (line, word) in [("  ok ", "tsc"), ("  hint ", "12"), ("  FAIL ", "taken")] {
            let line = text.lines().find(|l| l.starts_with(line)).expect("such a line");
            assert_eq!(line.find(word).map(|at| at >= INDENT), Some(true), "{line}");
        }
    }

    #[test]
    fn machines_are_told_the_worst() {
        let value = json(&findings());
        assert_eq!(value["verdict"], "fail");
        assert_eq!(value["checks"][0], json!({ "check": "clock", "verdict": "ok", "found": "tsc" }));
        assert_eq!(value["checks"][1]["mend"].as_array().map(Vec::len), Some(1));
    }
}
