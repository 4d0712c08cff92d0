//! Which files of a crate use each other in a circle?
//!
//! A file uses another one if it imports an item that the other one defines. Imports through a
//! re-export count for the file that defines the item, and a module that only passes on the names
//! of its parts (`pub use`) does not use them.

use std::collections::BTreeMap;

use crate::scan::{Language, scan};
use crate::tree::Tree;
use crate::uses::{self, Import, Uses};

/// The modules of one crate.
#[derive(Debug)]
pub struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Debug)]
struct Module {
    file: String,
    uses: Uses,
}

impl Crate {
    /// Reads the modules of the crate in a folder such as `crates/sfu`.
    pub fn read(tree: &Tree, folder: &str) -> Self {
        let prefix = format!("{folder}/src/");
        let files = tree
            .files
            .iter()
            .filter(|file| file.language == Some(Language::Rust));
        let sources =
            files.filter_map(|file| Some((file.path.strip_prefix(&prefix)?, file.text.as_str())));
        Self::new(sources)
    }

    /// Reads modules from pairs of a path below `src/` and the source.
    pub fn new<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let module = |(path, source): (&str, &str)| {
            let uses = uses::read(&scan(Language::Rust, source).code);
            (
                module_path(path),
                Module {
                    file: path.to_string(),
                    uses,
                },
            )
        };
        let mut modules: BTreeMap<Vec<String>, Module> = sources.into_iter().map(module).collect();
        let of_tests = |(path, module): (&Vec<String>, &Module)| {
            let child = |name: &String| [path.as_slice(), std::slice::from_ref(name)].concat();
            module
                .uses
                .test_modules
                .iter()
                .map(child)
                .collect::<Vec<_>>()
        };
        let hidden: Vec<Vec<String>> = modules.iter().flat_map(of_tests).collect();
        modules.retain(|path, _| !hidden.iter().any(|hidden| path.starts_with(hidden)));
        Self { modules }
    }

    /// Returns the groups of files that use each other, directly or through others, sorted.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let edges = self.edges();
        let reached: BTreeMap<&String, Vec<&String>> = edges
            .keys()
            .map(|file| (*file, reach(&edges, file)))
            .collect();
        let mut circles: Vec<Vec<String>> = Vec::new();
        for file in edges.keys() {
            let joins = |other: &&&String| {
                let back = reached
                    .get(**other)
                    .is_some_and(|files| files.contains(file));
                back && reached[*file].contains(other)
            };
            let circle: Vec<String> = edges
                .keys()
                .filter(joins)
                .map(|file| file.to_string())
                .collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    /// Returns the imports that keep a circle together: the file, the line and the file imported.
    pub fn imports_within(&self, circle: &[String]) -> Vec<(String, usize, String)> {
        let mut imports = Vec::new();
        for (path, module) in &self.modules {
            for import in module
                .uses
                .imports
                .iter()
                .filter(|_| circle.contains(&module.file))
            {
                if let Some(target) = self.target(path, import)
                    && !import.passes_on
                    && *target != module.file
                    && circle.contains(target)
                {
                    imports.push((module.file.clone(), import.line, target.clone()));
                }
            }
        }
        imports.dedup();
        imports
    }

    /// Returns for each file the other files that it uses.
    fn edges(&self) -> BTreeMap<&String, Vec<&String>> {
        let mut edges: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (path, module) in &self.modules {
            let used = module
                .uses
                .imports
                .iter()
                .filter(|import| !import.passes_on);
            let targets = used.filter_map(|import| self.target(path, import));
            let others = targets.filter(|target| **target != module.file);
            edges.entry(&module.file).or_default().extend(others);
        }
        edges
    }

    /// Returns the file that defines an imported item, if it is one of this crate.
    fn target(&self, path: &[String], import: &Import) -> Option<&String> {
        let mut module = path.to_vec();
        // An inline module lies in the file around it; `super` there leads back into the file.
        module.extend(import.within.iter().cloned());
        let (start, rest) = self.start(&module, &import.path)?;
        self.follow(start, rest, 8)
    }

    /// Returns the module at which a path begins, and its other segments.
    fn start<'a>(
        &self,
        module: &[String],
        path: &'a [String],
    ) -> Option<(Vec<String>, &'a [String])> {
        let (first, mut rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child = [module, &[name.to_string()]].concat();
                if !self.modules.contains_key(&child) {
                    return None;
                }
                child
            }
        };
        while let Some(("super", more)) = rest
            .split_first()
            .map(|(first, more)| (first.as_str(), more))
        {
            start.pop()?;
            rest = more;
        }
        Some((start, rest))
    }

    /// Walks from a module along segments to the file that defines the item.
    ///
    /// `steps` bounds the re-exports on the way: two modules can re-export each other.
    fn follow(&self, start: Vec<String>, path: &[String], steps: usize) -> Option<&String> {
        let mut module = start;
        for (at, segment) in path.iter().enumerate() {
            let child = [module.as_slice(), std::slice::from_ref(segment)].concat();
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let uses = &self.modules.get(&module)?.uses;
            if let Some(import) = uses
                .imports
                .iter()
                .find(|import| import.name == *segment && import.within.is_empty())
                && steps > 0
                && let Some((start, rest)) = self.start(&module, &import.path)
            {
                let rest = [rest, &path[at + 1..]].concat();
                return self.follow(start, &rest, steps - 1);
            }
            break;
        }
        // An inline module has no file of its own: the one around it defines the item.
        while !self.modules.contains_key(&module) {
            module.pop()?;
        }
        self.modules.get(&module).map(|module| &module.file)
    }
}

/// Returns the files that can be reached from a file in one step or more.
fn reach<'a>(edges: &BTreeMap<&'a String, Vec<&'a String>>, from: &String) -> Vec<&'a String> {
    let mut reached: Vec<&String> = Vec::new();
    let mut open: Vec<&String> = edges.get(from).cloned().unwrap_or_default();
    while let Some(file) = open.pop() {
        if !reached.contains(&file) {
            reached.push(file);
            open.extend(edges.get(file).into_iter().flatten());
        }
    }
    reached
}

/// Returns the path of the module in a file: `stream/log.rs` is `stream::log`.
fn module_path(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let mut path: Vec<String> = stem.split('/').map(str::to_string).collect();
    match path.last().map(String::as_str) {
        Some("mod") => drop(path.pop()),
        Some("lib") if path.len() == 1 => drop(path.pop()),
        // The main file of a crate without a library. Beside a library it uses that and no module.
        Some("main") if path.len() == 1 => path = vec!["main".to_string()],
        _ => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(sources: &[(&str, &str)]) -> Vec<Vec<String>> {
        Crate::new(sources.iter().copied()).circles()
    }

    #[test]
    fn two_files_that_import_each_other_are_a_circle() {
        let sources = [
            ("lib.rs", ""),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use super::a::{A, C};"),
        ];
        assert_eq!(circles(&sources), [["a.rs", "b.rs"]]);
        let imports = Crate::new(sources).imports_within(&["a.rs".into(), "b.rs".into()]);
        assert_eq!(
            imports,
            [
                ("a.rs".into(), 1, "b.rs".into()),
                ("b.rs".into(), 1, "a.rs".into())
            ]
        );
    }

    #[test]
    fn re_export_leads_to_the_file_that_defines_the_item() {
        let facade = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;");
        assert_eq!(
            circles(&[facade, ("a.rs", ""), ("b.rs", "use crate::A;")]),
            Vec::<Vec<String>>::new()
        );
        assert_eq!(
            circles(&[facade, ("a.rs", "use crate::B;"), ("b.rs", "use crate::A;")]),
            [["a.rs", "b.rs"]]
        );
    }

    #[test]
    fn part_that_uses_an_item_of_its_module_is_a_circle() {
        let sources = [
            ("a/mod.rs", "mod b;\nuse b::B;\nstruct A;"),
            ("a/b.rs", "use super::A;"),
        ];
        assert_eq!(circles(&sources), [["a/b.rs", "a/mod.rs"]]);
    }

    #[test]
    fn module_that_passes_on_names_of_its_parts_is_in_no_circle_with_them() {
        let sources = [
            ("a/mod.rs", "mod b;\npub use b::B;\npub struct A;"),
            ("a/b.rs", "use super::A;\npub struct B;"),
        ];
        assert_eq!(circles(&sources), Vec::<Vec<String>>::new());
    }

    #[test]
    fn tests_make_no_circle() {
        let sources = [
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "#[cfg(test)]\nmod tests { use crate::a::A; }\n#[cfg(test)]\nmod cases;",
            ),
            ("b/cases.rs", "use crate::a::A;"),
        ];
        assert_eq!(circles(&sources), Vec::<Vec<String>>::new());
    }

    #[test]
    fn three_files_one_after_another_are_one_circle() {
        let sources = [
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A;"),
        ];
        assert_eq!(circles(&sources), [["a.rs", "b.rs", "c.rs"]]);
    }
}
