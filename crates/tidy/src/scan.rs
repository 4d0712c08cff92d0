//! Which parts of a source file are comments, and which are code?
//!
//! A scanner of characters, not a parser: it knows comments, strings, character literals and the
//! regular expressions of JavaScript, because each of them can hold the marks of the others.

/// A language, by the way it writes comments and strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// TypeScript and JavaScript.
    Script,
    /// Languages with `#` to the end of the line: shell, Python, TOML.
    Hash,
    /// Markdown: all of it is text.
    Markdown,
}

/// Consecutive comment lines, or one block comment.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment {
    /// The number of the first line, counted from 1.
    pub line: usize,
    /// Whether the comment belongs to the file as a whole: `//!`.
    pub of_module: bool,
    /// The text of each line without the marks.
    pub lines: Vec<String>,
}

/// A source file in two parts.
#[derive(Debug)]
pub struct Scan {
    /// All comments, in order.
    pub comments: Vec<Comment>,
    /// The source with comments and the contents of strings replaced by spaces.
    ///
    /// Every other character keeps its line.
    pub code: String,
}

impl Language {
    /// Returns the language of a file by its name, or by its first line.
    pub fn of(path: &str, text: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("rs") => Some(Self::Rust),
            Some("ts" | "mjs") => Some(Self::Script),
            Some("toml" | "py" | "sh") => Some(Self::Hash),
            Some("md") => Some(Self::Markdown),
            None if text.starts_with("#!/usr/bin/env bash") => Some(Self::Hash),
            _ => None,
        }
    }
}

impl Comment {
    /// Returns the whole comment on one line.
    pub fn joined(&self) -> String {
        self.lines.join(" ")
    }
}

/// Separates a source file into comments and code.
///
/// A Markdown document has no code: its paragraphs are comments.
pub fn scan(language: Language, text: &str) -> Scan {
    let mut scanner = Scanner {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        code: String::with_capacity(text.len()),
        comments: Vec::new(),
        templates: Vec::new(),
    };
    match language {
        Language::Rust => scanner.run(Scanner::step_rust),
        Language::Script => scanner.run(Scanner::step_script),
        Language::Hash => scanner.run(Scanner::step_hash),
        Language::Markdown => return crate::markdown::scan(text),
    }
    Scan {
        comments: scanner.comments,
        code: scanner.code,
    }
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    comments: Vec<Comment>,
    /// For each open `${` of a template literal: how many braces are open inside it.
    templates: Vec<usize>,
}

impl Scanner {
    fn run(&mut self, step: fn(&mut Self)) {
        while self.at < self.chars.len() {
            step(self);
        }
    }

    fn step_rust(&mut self) {
        match self.peek(0) {
            '/' if self.peek(1) == '/' => self.line_comment(2),
            '/' if self.peek(1) == '*' => self.block_comment(true),
            '"' => self.string('"'),
            '\'' => self.character_or_lifetime(),
            'r' if !self.follows_a_word() => match self.raw_string_hashes() {
                Some(hashes) => self.raw_string(hashes),
                None => self.keep(),
            },
            _ => self.keep(),
        }
    }

    fn step_script(&mut self) {
        match self.peek(0) {
            '/' if self.peek(1) == '/' => self.line_comment(2),
            '/' if self.peek(1) == '*' => self.block_comment(false),
            '/' if self.begins_an_expression() => self.regular_expression(),
            quote @ ('"' | '\'') => self.string(quote),
            '`' => {
                self.keep();
                self.template();
            }
            '{' => {
                if let Some(open) = self.templates.last_mut() {
                    *open += 1;
                }
                self.keep();
            }
            '}' => match self.templates.last_mut() {
                Some(0) => {
                    self.templates.pop();
                    self.blank();
                    self.template();
                }
                Some(open) => {
                    *open -= 1;
                    self.keep();
                }
                None => self.keep(),
            },
            _ => self.keep(),
        }
    }

    fn step_hash(&mut self) {
        match self.peek(0) {
            // In a shell, `$#` and `${x#y}` are no comments: a comment follows a space.
            '#' if self.at == 0 || self.chars[self.at - 1].is_whitespace() => self.line_comment(1),
            quote @ ('"' | '\'') if self.closes_on_this_line(quote) => self.string(quote),
            _ => self.keep(),
        }
    }

    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Copies one character to the code.
    fn keep(&mut self) {
        let character = self.peek(0);
        self.code.push(character);
        self.line += usize::from(character == '\n');
        self.at += 1;
    }

    /// Replaces one character by a space; a line's end stays.
    fn blank(&mut self) {
        let ends = self.peek(0) == '\n';
        self.code.push(if ends { '\n' } else { ' ' });
        self.line += usize::from(ends);
        self.at += 1;
    }

    fn follows_a_word(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| self.chars[at]);
        match before(1) {
            // `br"…"` and `cr"…"`.
            Some('b' | 'c') => before(2).is_some_and(is_word),
            Some(character) => is_word(character),
            None => false,
        }
    }

    fn line_comment(&mut self, marks: usize) {
        let line = self.line;
        let mut text = String::new();
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            text.push(self.peek(0));
            self.blank();
        }
        let text: String = text.chars().skip(marks).collect();
        let of_module = text.starts_with('!');
        let is_doc = of_module || text.starts_with('/');
        let text = text.trim_start_matches(['/', '!', '#']).trim().to_string();
        let alone = self
            .code
            .lines()
            .last()
            .is_none_or(|code| code.trim().is_empty());
        if let Some(last) = self.comments.last_mut()
            && last.line + last.lines.len() == line
            && last.of_module == of_module
            && alone
            && !(is_doc && last.lines.is_empty())
        {
            last.lines.push(text);
        } else {
            self.comments.push(Comment {
                line,
                of_module,
                lines: vec![text],
            });
        }
    }

    fn block_comment(&mut self, nests: bool) {
        let line = self.line;
        let mut depth = 0;
        let mut text = String::new();
        loop {
            let pair = (self.peek(0), self.peek(1));
            if pair == ('/', '*') && (nests || depth == 0) {
                depth += 1;
            } else if pair == ('*', '/') {
                depth -= 1;
            } else {
                if self.at >= self.chars.len() {
                    break;
                }
                text.push(self.peek(0));
                self.blank();
                continue;
            }
            self.blank();
            self.blank();
            if depth == 0 {
                break;
            }
        }
        let lines = text
            .lines()
            .map(|line| line.trim().trim_start_matches('*').trim().to_string())
            .collect();
        self.comments.push(Comment {
            line,
            of_module: false,
            lines,
        });
    }

    fn string(&mut self, quote: char) {
        self.keep();
        while self.at < self.chars.len() && self.peek(0) != quote {
            if self.peek(0) == '\\' {
                self.blank();
            }
            if self.at < self.chars.len() {
                self.blank();
            }
        }
        if self.at < self.chars.len() {
            self.keep();
        }
    }

    /// Returns the number of `#` if a raw string begins here.
    fn raw_string_hashes(&self) -> Option<usize> {
        let hashes = (1..).take_while(|ahead| self.peek(*ahead) == '#').count();
        (self.peek(1 + hashes) == '"').then_some(hashes)
    }

    fn raw_string(&mut self, hashes: usize) {
        for _ in 0..hashes + 2 {
            self.blank();
        }
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            self.blank();
            if closes {
                for _ in 0..hashes {
                    self.blank();
                }
                break;
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        if self.peek(1) == '\\' || self.peek(2) == '\'' {
            self.string('\'');
        } else {
            self.keep();
        }
    }

    /// Reads a template literal from behind its opening mark to its end or to the next `${`.
    fn template(&mut self) {
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('`', _) => return self.keep(),
                ('$', '{') => {
                    self.blank();
                    self.blank();
                    self.templates.push(0);
                    return;
                }
                ('\\', _) => {
                    self.blank();
                    self.blank();
                }
                _ => self.blank(),
            }
        }
    }

    /// Returns whether a `/` here begins a regular expression, and is no division.
    fn begins_an_expression(&self) -> bool {
        let before = self.code.trim_end();
        before.ends_with([
            '(', ',', '=', ':', '[', '!', '&', '|', '?', '{', '}', ';', '>',
        ]) || before.ends_with("return")
            || before.is_empty()
    }

    fn regular_expression(&mut self) {
        self.keep();
        let mut in_class = false;
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            match self.peek(0) {
                '\\' => self.blank(),
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => return self.keep(),
                _ => {}
            }
            self.blank();
        }
    }

    fn closes_on_this_line(&self, quote: char) -> bool {
        let rest = self.chars[self.at + 1..]
            .iter()
            .take_while(|character| **character != '\n');
        rest.into_iter().any(|character| *character == quote)
    }
}

/// Returns whether a character can be part of a name.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(language: Language, text: &str) -> Vec<String> {
        scan(language, text)
            .comments
            .iter()
            .map(Comment::joined)
            .collect()
    }

    #[test]
    fn consecutive_comment_lines_of_rust_are_one_comment() {
        let text = "//! a\n//! b\n\n/// c\n/// d\nfn x() {} // e\n// f\n/* g /* h */\n i */";
        assert_eq!(
            comments(Language::Rust, text),
            ["a b", "c d", "e f", "g  h i"]
        );
    }

    #[test]
    fn marks_inside_strings_and_characters_are_no_comments() {
        let rows = [
            (
                Language::Rust,
                r##"let a = "// no"; let b = r#"/* no" */"#; let c = '"'; // yes"##,
            ),
            (
                Language::Rust,
                r#"let a = '\''; let b: &'static str = "\"// no"; // yes"#,
            ),
            (Language::Rust, r#"let a = b"//"; let b = br"\"; // yes"#),
            (
                Language::Script,
                "const a = `// ${b + `//` + {c: 1}.c} no`; // yes",
            ),
            (
                Language::Script,
                r#"const a = text.replace(/["'`\/]/g, "//"); // yes"#,
            ),
            (Language::Script, "const a = b / c; // yes"),
            (Language::Hash, "a=\"$# # no\" # yes"),
            (Language::Hash, "key = \"# no\" # yes"),
        ];
        for (language, text) in rows {
            assert_eq!(comments(language, text), ["yes"], "{text}");
        }
    }

    #[test]
    fn code_keeps_its_lines_and_loses_strings() {
        let code = scan(Language::Rust, "a(\"{\n\") /* {\n */ b { c('{') }").code;
        let lines: Vec<&str> = code.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["a(\"", "\")", "    b { c(' ') }"]);
    }
}
