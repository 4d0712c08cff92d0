//! Which faults of the tree are tolerated until they are repaired?
//!
//! Each table is a text file in `allowed/` with one crate, file or circle a line, so that branches
//! that repair different parts change different lines. A table may only get smaller. `TIDY_LOWER=1`
//! in the environment makes the tests write the smaller table; it never writes a larger one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Compares counts with the table `name`, and returns the errors.
///
/// A count above its line is an error, and so is one below it by more than `slack`, which would let
/// later changes raise it again unseen. A unit without a line is allowed 0.
pub fn compare_counts(name: &str, counts: &BTreeMap<String, usize>, slack: usize) -> Vec<String> {
    let table = read_counts(name);
    if lowers() {
        write_counts(name, &table, counts);
        return compare(name, &read_counts(name), counts, slack);
    }
    compare(name, &table, counts, slack)
}

/// Compares findings with the lines of the table `name`, and returns the errors.
///
/// `covers` says whether a line of the table allows a finding. A line that allows none is an error.
pub fn compare_lines(
    name: &str,
    findings: &[String],
    covers: fn(&str, &str) -> bool,
) -> Vec<String> {
    let lines = read_lines(name);
    if lowers() {
        let kept: Vec<&String> = findings
            .iter()
            .filter(|f| lines.iter().any(|line| covers(line, f)))
            .collect();
        write(name, kept.into_iter().cloned().collect());
    }
    let lines = read_lines(name);
    let mut errors = Vec::new();
    for finding in findings {
        if !lines.iter().any(|line| covers(line, finding)) {
            errors.push(format!("new: {finding}"));
        }
    }
    for line in &lines {
        if !findings.iter().any(|finding| covers(line, finding)) {
            errors.push(format!("gone, delete its line in {}: {line}", shown(name)));
        }
    }
    errors
}

fn compare(
    name: &str,
    table: &BTreeMap<String, usize>,
    counts: &BTreeMap<String, usize>,
    slack: usize,
) -> Vec<String> {
    let mut errors = Vec::new();
    let units: std::collections::BTreeSet<&String> = table.keys().chain(counts.keys()).collect();
    for unit in units {
        let allowed = table.get(unit).copied().unwrap_or(0);
        let count = counts.get(unit).copied().unwrap_or(0);
        if count > allowed {
            errors.push(format!(
                "{unit}: {count}, but {allowed} are allowed by {}",
                shown(name)
            ));
        } else if count + slack < allowed {
            errors.push(format!(
                "{unit}: only {count} are left; write `{unit} {count}` into {}",
                shown(name)
            ));
        }
    }
    errors
}

fn lowers() -> bool {
    std::env::var_os("TIDY_LOWER").is_some()
}

fn shown(name: &str) -> String {
    format!("crates/tidy/allowed/{name}.txt (or set TIDY_LOWER=1)")
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("allowed")
        .join(format!("{name}.txt"))
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name))
        .unwrap_or_else(|error| panic!("{}: {error}", path(name).display()))
}

/// Returns the lines of a table without its remarks, which begin with `#`.
fn read_lines(name: &str) -> Vec<String> {
    let text = read(name);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_string).collect()
}

fn read_counts(name: &str) -> BTreeMap<String, usize> {
    let parse = |line: String| {
        let (unit, count) = line.split_once(' ')?;
        Some((unit.to_string(), count.trim().parse().ok()?))
    };
    let lines = read_lines(name).into_iter();
    lines
        .map(|line| {
            parse(line.clone())
                .unwrap_or_else(|| panic!("{}: not `unit count`: {line}", shown(name)))
        })
        .collect()
}

fn write_counts(name: &str, table: &BTreeMap<String, usize>, counts: &BTreeMap<String, usize>) {
    let lower = |(unit, allowed): (&String, &usize)| {
        let count = counts.get(unit).copied().unwrap_or(0).min(*allowed);
        (count > 0).then(|| format!("{unit} {count}"))
    };
    write(name, table.iter().filter_map(lower).collect());
}

fn write(name: &str, mut lines: Vec<String>) {
    let text = read(name);
    let mut all: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(str::to_string)
        .collect();
    lines.sort();
    all.extend(lines);
    fs::write(path(name), all.join("\n") + "\n")
        .unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, usize)]) -> BTreeMap<String, usize> {
        rows.iter()
            .map(|(unit, count)| (unit.to_string(), *count))
            .collect()
    }

    #[test]
    fn count_above_its_line_and_far_below_it_are_errors() {
        let table = counts(&[("a", 10), ("b", 10), ("c", 10)]);
        let found = counts(&[("a", 11), ("b", 8), ("c", 5), ("d", 1)]);
        let errors = compare("x", &table, &found, 3);
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(
            errors[0].starts_with("a: 11, but 10") && errors[1].starts_with("c: only 5"),
            "{errors:?}"
        );
        assert!(errors[2].starts_with("d: 1, but 0"), "{errors:?}");
    }
}
