//! How often does a file use words that make technical English hard to read?
//!
//! Packets, sessions, encodings and networks are things: a comment names the component, the verb,
//! the object, the unit and the source. CONTRIBUTING.md shows pairs of sentences.

use crate::scan::{Comment, Language, Scan, is_word};
use crate::tree::File;

/// Words of comments, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All words.
    pub words: usize,
    /// Words in [`FLAGGED`], and phrases in [`FLAGGED_PAIRS`].
    pub flagged: usize,
}

/// One use of a flagged word.
#[derive(Debug, PartialEq, Eq)]
pub struct Flagged {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The word or phrase.
    pub word: String,
}

/// Pronouns for people, which comments have used for things.
pub const FLAGGED: [&str; 5] = ["who", "whoever", "nobody", "somebody", "everybody"];

/// Two words that hide the subject, the quantity or the unit.
pub const FLAGGED_PAIRS: [(&str, &str); 5] = [
    ("what", "is"),
    ("what", "it"),
    ("so", "many"),
    ("so", "long"),
    ("so", "much"),
];

/// Counts the words of a file's comments, and lists those that are flagged.
pub fn of_comments(scan: &Scan) -> (Count, Vec<Flagged>) {
    let mut count = Count::default();
    let mut flagged = Vec::new();
    for comment in &scan.comments {
        let words = words_of(comment);
        count.words += words.len();
        let is_pair = |a: &str, b: &str| FLAGGED_PAIRS.contains(&(a, b));
        for (at, (line, word)) in words.iter().enumerate() {
            let next = words.get(at + 1).map_or("", |(_, next)| next.as_str());
            if FLAGGED.contains(&word.as_str()) {
                flagged.push(Flagged {
                    line: *line,
                    word: word.clone(),
                });
            } else if is_pair(word, next) {
                flagged.push(Flagged {
                    line: *line,
                    word: format!("{word} {next}"),
                });
            }
        }
    }
    count.flagged = flagged.len();
    (count, flagged)
}

/// Lists flagged words in names of Rust functions, tests above all.
pub fn of_function_names(file: &File, scan: &Scan) -> Vec<Flagged> {
    if file.language != Some(Language::Rust) {
        return Vec::new();
    }
    let mut flagged = Vec::new();
    for function in crate::functions::rust(&scan.code) {
        let words: Vec<&str> = function.name.split('_').collect();
        for (at, word) in words.iter().enumerate() {
            let next = words.get(at + 1).copied().unwrap_or_default();
            if FLAGGED.contains(word) || FLAGGED_PAIRS.contains(&(word, next)) {
                flagged.push(Flagged {
                    line: function.line,
                    word: function.name.clone(),
                });
                break;
            }
        }
    }
    flagged
}

/// Returns the words of a comment in lower case, each with its line. Code between backticks is
/// left out.
fn words_of(comment: &Comment) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    let mut in_code = false;
    for (at, text) in comment.lines.iter().enumerate() {
        let mut word = String::new();
        for character in text.chars().chain([' ']) {
            if character == '`' {
                in_code = !in_code;
            }
            if is_word(character) && !in_code {
                word.extend(character.to_lowercase());
            } else if !word.is_empty() {
                let word = std::mem::take(&mut word);
                if word.chars().any(char::is_alphabetic) {
                    words.push((comment.line + at, word));
                }
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    #[test]
    fn words_and_phrases_are_counted_over_the_ends_of_lines() {
        let text = "/// Who knows what\n/// is sent? `who` does, so much is known.\nlet who = 1;\n";
        let (count, flagged) = of_comments(&scan(Language::Rust, text));
        assert_eq!(
            count,
            Count {
                words: 10,
                flagged: 3
            }
        );
        let found: Vec<(usize, &str)> = flagged.iter().map(|f| (f.line, f.word.as_str())).collect();
        assert_eq!(found, [(1, "who"), (1, "what is"), (2, "so much")]);
    }

    #[test]
    fn words_inside_other_words_are_not_flagged() {
        let text = "// whole, whose, whatever is, also much\n";
        assert!(of_comments(&scan(Language::Rust, text)).1.is_empty());
    }

    #[test]
    fn name_of_a_function_is_flagged_once() {
        let text = "fn nobody_who_asks() {}\nfn whole() {}\n".to_string();
        let file = File {
            path: "a.rs".into(),
            language: Some(Language::Rust),
            text: text.clone(),
        };
        let flagged = of_function_names(&file, &scan(Language::Rust, &text));
        assert_eq!(
            flagged,
            [Flagged {
                line: 1,
                word: "nobody_who_asks".into()
            }]
        );
    }
}
