//! Functions of more than 100 lines and lines of more than 100 columns may only become fewer.

use std::collections::BTreeMap;

use tidy::allowed::{compare_counts, compare_lines};
use tidy::functions::{rust, script};
use tidy::scan::{Language, scan};
use tidy::tree::Tree;

/// The most lines of a function: two screens. A function beyond that holds a second idea.
const MOST_LINES: usize = 100;

/// The most columns of a line: two files fit beside each other on a screen.
const MOST_COLUMNS: usize = 100;

/// Repairs that need not lower the table at once, so that a small change is not two.
const SLACK: usize = 10;

#[test]
fn functions_have_at_most_100_lines() {
    let mut long = Vec::new();
    for file in &Tree::read().files {
        // The browser tests are JavaScript: one function describes many tests.
        let functions = match file.language {
            Some(Language::Rust) => rust(&scan(Language::Rust, &file.text).code),
            Some(Language::Script) if file.path.ends_with(".ts") => {
                script(&scan(Language::Script, &file.text).code)
            }
            _ => continue,
        };
        for function in functions
            .iter()
            .filter(|function| function.lines > MOST_LINES)
        {
            println!(
                "{}:{}: {} has {} lines",
                file.path, function.line, function.name, function.lines
            );
            long.push(format!("{} {}", file.path, function.name));
        }
    }
    let errors = compare_lines("functions", &long, |line, finding| line == finding);
    assert!(
        errors.is_empty(),
        "split functions of more than {MOST_LINES} lines:\n{}",
        errors.join("\n")
    );
}

#[test]
fn lines_over_100_columns_do_not_increase() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for file in &Tree::read().files {
        if matches!(file.language, Some(Language::Rust | Language::Script)) {
            let long = file
                .text
                .lines()
                .filter(|line| line.chars().count() > MOST_COLUMNS)
                .count();
            *counts.entry(file.unit().into()).or_default() += long;
        }
    }
    let errors = compare_counts("columns", &counts, SLACK);
    assert!(
        errors.is_empty(),
        "break lines of more than {MOST_COLUMNS} columns:\n{}",
        errors.join("\n")
    );
}
