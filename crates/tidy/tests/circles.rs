//! Files of a crate that use each other in a circle may only become fewer.

use std::collections::BTreeSet;

use tidy::allowed::compare_lines;
use tidy::circles::Crate;
use tidy::tree::Tree;

#[test]
fn files_of_a_crate_form_no_new_circle() {
    let tree = Tree::read();
    let manifests = tree
        .files
        .iter()
        .filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    let mut found = Vec::new();
    for folder in manifests {
        let sources = Crate::read(&tree, folder);
        for circle in sources.circles() {
            println!("{folder}: {}", circle.join(" "));
            for (file, line, target) in sources.imports_within(&circle) {
                println!("  {folder}/src/{file}:{line} uses {target}");
            }
            found.push(format!("{folder}: {}", circle.join(" ")));
        }
    }
    let errors = compare_lines("circles", &found, allows);
    assert!(
        errors.is_empty(),
        "move what both files use into a third one:\n{}",
        errors.join("\n")
    );
}

/// Returns whether a line of the table allows a circle: it names every file of it, or more.
fn allows(line: &str, circle: &str) -> bool {
    let files = |text: &str| {
        text.split_whitespace()
            .map(str::to_string)
            .collect::<BTreeSet<String>>()
    };
    files(circle).is_subset(&files(line))
}
