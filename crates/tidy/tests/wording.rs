//! Flagged words in comments, documents and names of functions may only become fewer.
//!
//! `cargo test -p tidy --test wording -- --nocapture` prints the rate of each crate. The rule with
//! examples is in CONTRIBUTING.md.

use std::collections::BTreeMap;

use tidy::allowed::compare_counts;
use tidy::scan::{Language, scan};
use tidy::tree::{File, Tree};
use tidy::wording::{Count, Flagged, of_comments, of_function_names};

/// Repairs that need not lower the table at once, so that a small change is not two.
const SLACK: usize = 3;

#[test]
fn flagged_words_per_crate_do_not_increase() {
    let mut totals: BTreeMap<String, Count> = BTreeMap::new();
    let mut places = Vec::new();
    for_each(|file, scan| {
        let (count, flagged) = of_comments(scan);
        let total = totals.entry(unit(file)).or_default();
        total.words += count.words;
        total.flagged += count.flagged;
        places.extend(
            flagged
                .into_iter()
                .map(|flagged| (unit(file), place(file, &flagged))),
        );
    });
    let mut all = Count::default();
    for (unit, count) in &totals {
        println!(
            "{unit}: {} flagged of {} words, {:.1} per 1,000",
            count.flagged,
            count.words,
            rate(*count)
        );
        all.words += count.words;
        all.flagged += count.flagged;
    }
    println!(
        "all: {} flagged of {} words, {:.2} per 1,000",
        all.flagged,
        all.words,
        rate(all)
    );
    let counts = totals
        .iter()
        .map(|(unit, count)| (unit.clone(), count.flagged))
        .collect();
    fail_with(compare_counts("words", &counts, SLACK), &places);
}

#[test]
fn flagged_words_in_names_of_functions_do_not_increase() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut places = Vec::new();
    for_each(|file, scan| {
        let flagged = of_function_names(file, scan);
        *counts.entry(unit(file)).or_default() += flagged.len();
        places.extend(
            flagged
                .into_iter()
                .map(|flagged| (unit(file), place(file, &flagged))),
        );
    });
    fail_with(compare_counts("names", &counts, SLACK), &places);
}

fn for_each(mut look: impl FnMut(&File, &tidy::scan::Scan)) {
    for file in &Tree::read().files {
        // The words themselves are listed there.
        if file.path == "CHANGELOG.md" || file.path == "crates/tidy/src/wording.rs" {
            continue;
        }
        if let Some(language) = file.language {
            look(file, &scan(language, &file.text));
        }
    }
}

/// Returns the line of the table for a file. Documents have one together.
fn unit(file: &File) -> String {
    if file.language == Some(Language::Markdown) {
        "documents".into()
    } else {
        file.unit().into()
    }
}

fn place(file: &File, flagged: &Flagged) -> String {
    format!(
        "{}:{}: {}: {}",
        file.path,
        flagged.line,
        flagged.word,
        file.line(flagged.line).trim()
    )
}

fn rate(count: Count) -> f64 {
    count.flagged as f64 * 1_000.0 / count.words.max(1) as f64
}

/// Fails with the errors, and with the places of every unit that has too many.
fn fail_with(errors: Vec<String>, places: &[(String, String)]) {
    let mut lines = errors.clone();
    for error in errors.iter().filter(|error| error.contains("are allowed")) {
        let unit = error.split(':').next().unwrap_or_default();
        lines.extend(
            places
                .iter()
                .filter(|(of, _)| of == unit)
                .map(|(_, place)| format!("  {place}")),
        );
    }
    assert!(
        errors.is_empty(),
        "reword as CONTRIBUTING.md says:\n{}",
        lines.join("\n")
    );
}
