//! Which paths does a Rust file import?
//!
//! Reads `use` declarations from code without comments and strings ([`crate::scan`]). Items below
//! `#[cfg(test)]` are left out: a test may use anything.

use crate::scan::is_word;

/// One imported path, without braces: `use a::{b, c as d};` are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The number of the line on which the declaration begins, counted from 1.
    pub line: usize,
    /// The inline modules around the declaration, outermost first.
    pub within: Vec<String>,
    /// The segments, with `*` as the last one of a glob. `self` at the end is left out.
    pub path: Vec<String>,
    /// The name that the path has here: its last segment, or the one behind `as`.
    pub name: String,
    /// Whether the declaration only passes the name on: `pub use`, and no other code of the file
    /// has this name.
    pub passes_on: bool,
}

/// The imports of a file, and its modules that only tests have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Imports outside of tests.
    pub imports: Vec<Import>,
    /// Names of modules in other files that are declared below `#[cfg(test)]`.
    pub test_modules: Vec<String>,
}

/// Reads the imports of a file.
pub fn read(code: &str) -> Uses {
    let mut reader = Reader {
        tokens: tokens(code),
        at: 0,
        within: Vec::new(),
        declared: Vec::new(),
        uses: Uses::default(),
    };
    reader.items();
    reader.finish()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// Splits code into words and single marks, with `::` as one mark.
fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut line = 1;
    let mut in_word = false;
    for character in code.chars() {
        line += usize::from(character == '\n');
        let is_part = is_word(character);
        match tokens.last_mut() {
            Some(last) if is_part && in_word => last.text.push(character),
            Some(last) if character == ':' && last.text == ":" && !in_word => last.text.push(':'),
            _ if character.is_whitespace() => {}
            _ => tokens.push(Token {
                text: character.to_string(),
                line,
            }),
        }
        in_word = is_part;
    }
    tokens
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    within: Vec<String>,
    /// The tokens of `use` declarations, as ranges.
    declared: Vec<std::ops::Range<usize>>,
    uses: Uses,
}

impl Reader {
    /// Returns the imports, once it is known which names the file uses itself.
    fn finish(mut self) -> Uses {
        for import in self
            .uses
            .imports
            .iter_mut()
            .filter(|import| import.passes_on)
        {
            let mut tokens = self
                .tokens
                .iter()
                .enumerate()
                .filter(|(_, token)| token.text == import.name);
            import.passes_on =
                tokens.all(|(at, _)| self.declared.iter().any(|range| range.contains(&at)));
        }
        self.uses
    }

    /// Reads items until the brace that closes the module, or the end of the file.
    fn items(&mut self) {
        let mut of_tests = false;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "#" => of_tests |= self.attribute(),
                "}" => return,
                "use" => {
                    let skips = of_tests;
                    self.declaration(skips);
                    of_tests = false;
                }
                "mod" if self.text(2) == "{" => {
                    self.module(of_tests);
                    of_tests = false;
                }
                "mod" => {
                    if of_tests {
                        self.uses.test_modules.push(self.text(1).to_string());
                    }
                    self.at += 3;
                    of_tests = false;
                }
                "pub" | "crate" | "unsafe" | "in" | "super" => self.at += 1,
                "(" if self.at > 0 && self.tokens[self.at - 1].text == "pub" => {
                    self.skip_brackets()
                }
                _ => {
                    self.item(of_tests);
                    of_tests = false;
                }
            }
        }
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| token.text.as_str())
    }

    /// Skips an attribute, and returns whether it limits the next item to tests.
    fn attribute(&mut self) -> bool {
        self.at += 1;
        let is_inner = self.text(0) == "!";
        self.at += usize::from(is_inner);
        let start = self.at;
        self.skip_brackets();
        let texts: Vec<&str> = self.tokens[start..self.at]
            .iter()
            .map(|token| token.text.as_str())
            .collect();
        !is_inner
            && texts.get(1) == Some(&"cfg")
            && texts.contains(&"test")
            && !texts.contains(&"not")
    }

    /// Skips the brackets that open here, and all inside them.
    fn skip_brackets(&mut self) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn module(&mut self, of_tests: bool) {
        let name = self.text(1).to_string();
        self.at += 2;
        if of_tests {
            return self.skip_brackets();
        }
        self.at += 1;
        self.within.push(name);
        self.items();
        self.within.pop();
        self.at += 1;
    }

    /// Skips another item to its `;` or its body, and reads the declarations inside the body.
    fn item(&mut self, of_tests: bool) {
        while self.at < self.tokens.len() {
            match self.text(0) {
                ";" => {
                    self.at += 1;
                    return;
                }
                "(" | "[" => self.skip_brackets(),
                "{" => return self.body(of_tests),
                "}" => return,
                _ => self.at += 1,
            }
        }
    }

    fn body(&mut self, of_tests: bool) {
        let start = self.at;
        self.skip_brackets();
        let end = self.at;
        if of_tests {
            return;
        }
        self.at = start;
        while self.at < end {
            if self.text(0) == "use" && matches!(self.before(), "{" | "}" | ";") {
                self.declaration(false);
            } else {
                self.at += 1;
            }
        }
        self.at = end;
    }

    fn before(&self) -> &str {
        self.at
            .checked_sub(1)
            .map_or("", |at| self.tokens[at].text.as_str())
    }

    /// Reads a `use` declaration.
    fn declaration(&mut self, skips: bool) {
        let line = self.tokens[self.at].line;
        let passes_on = matches!(self.before(), "pub" | ")");
        let start = self.at;
        self.at += 1;
        let mut paths = Vec::new();
        self.use_tree(&mut Vec::new(), &mut paths);
        self.at += 1;
        self.declared.push(start..self.at);
        if skips {
            return;
        }
        for (path, name) in paths {
            let within = self.within.clone();
            self.uses.imports.push(Import {
                line,
                within,
                path,
                name,
                passes_on,
            });
        }
    }

    /// Reads one branch of a declaration: a path that ends in a name, a glob or braces.
    fn use_tree(&mut self, prefix: &mut Vec<String>, paths: &mut Vec<(Vec<String>, String)>) {
        let depth = prefix.len();
        while self.at < self.tokens.len() {
            match self.text(0) {
                ";" | "," | "}" => break,
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | "") {
                        self.use_tree(prefix, paths);
                        self.at += usize::from(self.text(0) == ",");
                    }
                    self.at += 1;
                    prefix.truncate(depth);
                    return;
                }
                "as" => {
                    let name = self.text(1).to_string();
                    self.at += 2;
                    paths.push((path_of(prefix), name));
                    prefix.truncate(depth);
                    return;
                }
                segment => {
                    prefix.push(segment.to_string());
                    self.at += 1;
                }
            }
        }
        if prefix.len() > depth {
            let path = path_of(prefix);
            let name = path.last().cloned().unwrap_or_default();
            paths.push((path, name));
        }
        prefix.truncate(depth);
    }
}

/// Returns a path without `self` at its end.
fn path_of(segments: &[String]) -> Vec<String> {
    match segments {
        [path @ .., last] if last == "self" && !path.is_empty() => path.to_vec(),
        _ => segments.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        read(code)
            .imports
            .iter()
            .map(|import| import.path.join("::"))
            .collect()
    }

    #[test]
    fn nested_braces_globs_self_and_renames_are_read() {
        let code = "pub(crate) use a::{b::{self, c as d}, e::*, f};\nuse super::g;\nuse ::h as i;";
        assert_eq!(
            paths(code),
            ["a::b", "a::b::c", "a::e::*", "a::f", "super::g", "h"]
        );
        let names: Vec<String> = read(code)
            .imports
            .into_iter()
            .map(|import| import.name)
            .collect();
        assert_eq!(names, ["b", "d", "*", "f", "g", "i"]);
    }

    #[test]
    fn tests_are_left_out_and_what_follows_them_is_not() {
        let code = "#[cfg(test)]\nmod tests { use a::b; fn c() {} }\nuse d::e;\n\
            #[cfg(test)]\nuse f::g;\n#[cfg(test)]\nmod cases;\nmod h;\n\
            #[cfg(test)]\nfn i() { use j::k; }\n#[cfg(not(test))]\nuse l::m;\n";
        assert_eq!(paths(code), ["d::e", "l::m"]);
        assert_eq!(read(code).test_modules, ["cases"]);
    }

    #[test]
    fn inline_modules_and_bodies_are_entered() {
        let code = "mod a { pub mod b { use c::d; } use e::f; }\n\
            impl G { fn h() { use i::j; } }\nstruct K(u8);\nuse l::m;";
        let imports = read(code).imports;
        let within: Vec<String> = imports
            .iter()
            .map(|import| import.within.join("::"))
            .collect();
        assert_eq!(paths(code), ["c::d", "e::f", "i::j", "l::m"]);
        assert_eq!(within, ["a::b", "a", "", ""]);
    }

    #[test]
    fn name_that_is_only_passed_on_is_marked() {
        let code = "pub use a::A;\npub(crate) use b::{B, C};\nuse d::D;\nstruct E(B);";
        let passed: Vec<bool> = read(code)
            .imports
            .iter()
            .map(|import| import.passes_on)
            .collect();
        assert_eq!(passed, [true, false, true, false]);
    }

    #[test]
    fn statement_words_inside_bodies_are_no_declarations() {
        assert_eq!(
            paths("fn a() { let r#use = 1; x.use_it(); } const B: [u8; 2] = [0; 2]; use c::d;"),
            ["c::d"]
        );
    }
}
