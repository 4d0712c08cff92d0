//! Every citation of the tree leads somewhere: files, links, sections and threat numbers.

use tidy::references::{check, files_of};
use tidy::scan::scan;
use tidy::tree::Tree;

#[test]
fn citations_in_comments_and_documents_resolve() {
    let tree = Tree::read();
    let mut broken = Vec::new();
    for file in &tree.files {
        // A changelog names what was; the tests of this crate cite what does not exist.
        if file.path == "CHANGELOG.md" || file.path == "crates/tidy/src/references.rs" {
            continue;
        }
        if let Some(language) = file.language {
            broken.extend(check(&tree, file, &scan(language, &file.text)));
        }
    }
    let lines: Vec<String> = broken
        .iter()
        .map(|b| format!("{}:{}: {}", b.file, b.line, b.message))
        .collect();
    assert!(
        lines.is_empty(),
        "{} citations lead nowhere:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

#[test]
fn every_row_of_where_do_i_change_names_files_of_the_tree() {
    let tree = Tree::read();
    let page = tree.file("ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let rows = page
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| |"));
    let mut wrong = Vec::new();
    for (at, row) in rows {
        let place = row.split('|').nth(2).unwrap_or_default();
        // A single folder, such as `control/src/`, is no more than one name.
        let folders = place
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.ends_with('/'));
        let names: Vec<String> = files_of(place).chain(folders.map(str::to_string)).collect();
        if names.is_empty() {
            wrong.push(format!(
                "ARCHITECTURE.md:{}: names no file: name the one to open first",
                at + 1
            ));
        }
        for name in names.iter().filter(|name| !tree.names_something(name)) {
            wrong.push(format!(
                "ARCHITECTURE.md:{}: no file {name}: correct the path",
                at + 1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
