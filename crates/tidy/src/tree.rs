//! Which files does the source tree have, and which crate does each belong to?

use std::fs;
use std::path::{Path, PathBuf};

use crate::scan::Language;

/// One text file of the tree.
#[derive(Debug)]
pub struct File {
    /// The path below the root, with `/` between folders.
    pub path: String,
    /// The language of the file, if its comments can be read.
    pub language: Option<Language>,
    /// The whole text.
    pub text: String,
}

/// The source tree: every text file below the root of the repository.
#[derive(Debug)]
pub struct Tree {
    /// The files, sorted by path.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the tree that contains this crate.
    ///
    /// Skips the folders in [`SKIPPED`], hidden folders, and files that are not UTF-8.
    pub fn read() -> Self {
        let mut files = Vec::new();
        read_folder(&root(), "", &mut files);
        files.sort_by(|a: &File, b: &File| a.path.cmp(&b.path));
        assert!(
            files.len() > 100,
            "only {} files below {}",
            files.len(),
            root().display()
        );
        Self { files }
    }

    /// Returns the file with this path below the root.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files
            .binary_search_by(|file| file.path.as_str().cmp(path))
            .ok()
            .map(|at| &self.files[at])
    }

    /// Returns whether a path, or the end of one, names a file or a folder of the tree.
    ///
    /// `stream/log.rs` names `crates/sfu/src/stream/log.rs`. A segment such as `<page>` stands for
    /// any segment, and `*` within a segment for any characters.
    pub fn names_something(&self, path: &str) -> bool {
        let wanted: Vec<&str> = path.trim_matches('/').split('/').collect();
        let is_folder = path.ends_with('/');
        self.files.iter().any(|file| {
            let segments: Vec<&str> = file.path.split('/').collect();
            let mut runs = segments.windows(wanted.len()).enumerate();
            runs.any(|(at, run)| {
                let ends = at + wanted.len() == segments.len();
                (is_folder != ends) && run.iter().zip(&wanted).all(|(have, want)| fits(have, want))
            })
        })
    }
}

impl File {
    /// Returns the unit that counts of this file belong to: the crate, or the top folder.
    pub fn unit(&self) -> &str {
        let mut segments = self.path.split('/');
        match (segments.next(), segments.next(), segments.next()) {
            (Some("crates"), Some(name), Some(_)) => name,
            (Some(folder), Some(_), _) => folder,
            _ => ".",
        }
    }

    /// Returns the text of one line, counted from 1.
    pub fn line(&self, number: usize) -> &str {
        self.text
            .lines()
            .nth(number.saturating_sub(1))
            .unwrap_or_default()
    }
}

/// Returns the root of the repository: two folders above this crate.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("this crate lies in crates/")
        .to_path_buf()
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                read_folder(&entry.path(), &path, files);
            }
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            let language = Language::of(&path, &text);
            files.push(File {
                path,
                language,
                text,
            });
        }
    }
}

/// Returns whether a segment of a path fits a segment of a pattern.
fn fits(segment: &str, pattern: &str) -> bool {
    if pattern.starts_with('<') && pattern.ends_with('>') {
        return true;
    }
    match pattern.split_once('*') {
        Some((start, end)) => {
            segment.len() >= start.len() + end.len()
                && segment.starts_with(start)
                && segment.ends_with(end)
        }
        None => segment == pattern,
    }
}

/// Folders with generated files, or with files of other projects.
pub const SKIPPED: [&str; 7] = [
    "target",
    "node_modules",
    "vendor",
    "dist",
    "out",
    "artifacts",
    "corpus",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let file = |path: &&str| File {
            path: path.to_string(),
            language: None,
            text: String::new(),
        };
        Tree {
            files: paths.iter().map(file).collect(),
        }
    }

    #[test]
    fn path_is_named_by_its_end_by_a_folder_and_by_a_pattern() {
        let tree = tree(&["crates/sfu/src/stream/log.rs", "web/src/watch/main.ts"]);
        for path in [
            "stream/log.rs",
            "log.rs",
            "sfu/src/stream/",
            "web/src/<page>/main.ts",
            "watch/*.ts",
            "web/",
        ] {
            assert!(tree.names_something(path), "{path}");
        }
        for path in [
            "og.rs",
            "stream/log",
            "sfu/stream/",
            "log.rs/",
            "src/",
            "web/<page>/main.ts",
            "stream",
        ] {
            let expected = path == "src/";
            assert_eq!(tree.names_something(path), expected, "{path}");
        }
    }

    #[test]
    fn unit_is_the_crate_or_the_top_folder() {
        let units = [
            ("crates/sfu/src/lib.rs", "sfu"),
            ("web/src/ui/dom.ts", "web"),
            ("README.md", "."),
        ];
        for (path, unit) in units {
            assert_eq!(tree(&[path]).files[0].unit(), unit);
        }
    }
}
