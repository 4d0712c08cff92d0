//! How long is each function of a file?
//!
//! Works on code without comments and strings ([`crate::scan`]), by matching brackets.

use crate::scan::is_word;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// The name, or `(anonymous)`.
    pub name: String,
    /// The number of its first line, counted from 1.
    pub line: usize,
    /// The number of lines from the name to the closing brace.
    pub lines: usize,
}

/// Returns the functions of Rust code, outer ones before those inside them.
pub fn rust(code: &str) -> Vec<Function> {
    let text = Text::new(code);
    let starts = text.words("fn").filter_map(|at| {
        let name = text.word_at(text.skip_spaces(at + 2));
        if name.is_empty() {
            return None;
        }
        Some((name, at, text.rust_body(at)?))
    });
    text.functions(starts.collect())
}

/// Returns the functions, methods and arrow functions of TypeScript code.
pub fn script(code: &str) -> Vec<Function> {
    let text = Text::new(code);
    let mut starts = Vec::new();
    for at in 0..text.chars.len() {
        if text.chars[at] == '{'
            && let Some((name, start)) = text.script_head(at)
        {
            starts.push((name, start, at));
        }
    }
    text.functions(starts)
}

struct Text {
    chars: Vec<char>,
    /// For each character: the number of its line.
    lines: Vec<usize>,
}

impl Text {
    fn new(code: &str) -> Self {
        let chars: Vec<char> = code.chars().collect();
        let mut line = 1;
        let lines = chars.iter().map(|character| {
            let here = line;
            line += usize::from(*character == '\n');
            here
        });
        let lines = lines.collect();
        Self { chars, lines }
    }

    /// Returns functions from (name, position of the head, position of the opening brace).
    fn functions(&self, starts: Vec<(String, usize, usize)>) -> Vec<Function> {
        let function = |(name, head, open): (String, usize, usize)| {
            let end = self.closing(open)?;
            let line = self.lines[head];
            Some(Function {
                name,
                line,
                lines: self.lines[end] + 1 - line,
            })
        };
        starts.into_iter().filter_map(function).collect()
    }

    /// Returns the positions of a word that stands alone.
    fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        (0..self.chars.len()).filter(move |at| {
            let before = at.checked_sub(1).map(|before| self.chars[before]);
            !before.is_some_and(is_word) && self.word_at(*at) == word
        })
    }

    fn word_at(&self, at: usize) -> String {
        self.chars[at.min(self.chars.len())..]
            .iter()
            .take_while(|c| is_word(**c))
            .collect()
    }

    fn skip_spaces(&self, at: usize) -> usize {
        (at..self.chars.len())
            .find(|at| !self.chars[*at].is_whitespace())
            .unwrap_or(self.chars.len())
    }

    /// Returns the last character before `at` that is no space.
    fn before(&self, at: usize) -> Option<usize> {
        (0..at).rev().find(|at| !self.chars[*at].is_whitespace())
    }

    /// Returns the brace that opens the body of the Rust function at `at`.
    fn rust_body(&self, at: usize) -> Option<usize> {
        let mut depth = 0;
        for at in at..self.chars.len() {
            match self.chars[at] {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                ';' if depth == 0 => return None,
                '{' if depth == 0 => return Some(at),
                _ => {}
            }
        }
        None
    }

    /// Returns the bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        for at in open..self.chars.len() {
            match self.chars[at] {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    /// Returns the bracket that opens the one closed at `close`.
    fn opening(&self, close: usize) -> Option<usize> {
        let mut depth = 0;
        for at in (0..=close).rev() {
            match self.chars[at] {
                '}' | ')' | ']' => depth += 1,
                '{' | '(' | '[' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    /// Returns name and beginning of the function whose body opens at `brace`, if it is a function.
    fn script_head(&self, brace: usize) -> Option<(String, usize)> {
        let before = self.before(brace)?;
        if self.chars[before] == '>'
            && self
                .before(before)
                .is_some_and(|at| self.chars[at] == '=' && at + 1 == before)
        {
            return Some(self.arrow(before - 1));
        }
        if matches!(
            self.chars[before],
            '<' | '|' | '&' | ':' | ',' | '=' | '.' | '?'
        ) {
            return None;
        }
        // The parameters are the last brackets on the way back before any type of the result.
        let mut at = before;
        loop {
            match self.chars[at] {
                ')' => break,
                ']' => at = self.opening(at)?,
                // An object type; behind the end of a block a statement would follow.
                '}' if !is_word(self.chars[self.skip_spaces(at + 1)]) => at = self.opening(at)?,
                '>' | '<' | '|' | '&' | ',' | ':' | '.' | '?' | '"' => {}
                c if is_word(c) || c.is_whitespace() => {}
                _ => return None,
            }
            at = at.checked_sub(1)?;
        }
        let after = self.skip_spaces(at + 1);
        if after != brace && self.chars[after] != ':' {
            return None;
        }
        let open = self.opening(at)?;
        let mut name_end = self.before(open)?;
        if self.chars[name_end] == '>' {
            name_end = self.before((0..name_end).rev().find(|at| self.chars[*at] == '<')?)?;
        }
        let start = (0..=name_end)
            .rev()
            .take_while(|at| is_word(self.chars[*at]))
            .last()?;
        let name = self.word_at(start);
        match name.as_str() {
            "if" | "for" | "while" | "switch" | "catch" | "with" | "" => None,
            "function" => Some(("(anonymous)".into(), start)),
            _ => Some((name, start)),
        }
    }

    /// Returns name and beginning of the arrow function with its `=>` at `arrow`.
    fn arrow(&self, arrow: usize) -> (String, usize) {
        let anonymous = |at| ("(anonymous)".to_string(), at);
        // `const name = (…): Type => {`, all within one statement.
        let statement = (0..arrow)
            .rev()
            .find(|at| matches!(self.chars[*at], ';' | '{' | '}'))
            .map_or(0, |at| at + 1);
        let head: String = self.chars[statement..arrow].iter().collect();
        let Some((left, right)) = head.split_once('=') else {
            return anonymous(arrow);
        };
        if !right
            .trim_start()
            .trim_start_matches("async")
            .trim_start()
            .starts_with('(')
        {
            return anonymous(arrow);
        }
        let left = left
            .trim()
            .trim_start_matches("export ")
            .trim_start_matches("const ");
        let name: String = left.chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            anonymous(arrow)
        } else {
            (name, self.skip_spaces(statement))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(functions: Vec<Function>) -> Vec<(String, usize, usize)> {
        functions
            .into_iter()
            .map(|f| (f.name, f.line, f.lines))
            .collect()
    }

    #[test]
    fn rust_functions_are_measured_from_their_name_to_their_end() {
        let code = "trait A { fn a(&self, x: [u8; 4]); }\n\
            fn b<T>(x: [u8; 4]) -> T\nwhere\n T: C,\n{\n fn c() {}\n}\n";
        assert_eq!(names(rust(code)), [("b".into(), 2, 6), ("c".into(), 6, 1)]);
    }

    #[test]
    fn pointers_to_functions_are_no_functions() {
        assert_eq!(names(rust("struct A { f: fn(u8) -> u8 }")), []);
    }

    #[test]
    fn script_functions_methods_and_arrows_are_found() {
        let code = "function a(x: number): Promise<{ b: string }> {\n if (x) {\n }\n}\n\
            class C { d<T>(y: T) { for (;;) { } } }\n\
            const e = async (z: number) => {\n};\nf(() => {\n});\n";
        let expected = [
            ("a".to_string(), 1, 4),
            ("d".to_string(), 5, 1),
            ("e".to_string(), 6, 2),
            ("(anonymous)".to_string(), 8, 2),
        ];
        assert_eq!(names(script(code)), expected);
    }
}
