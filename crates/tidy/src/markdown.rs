//! Which headings, links and prose does a Markdown document have?

use crate::scan::{Comment, Scan};

/// A link of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The target as written: a path, an anchor, or both.
    pub target: String,
}

/// Returns the paragraphs, list items and table rows of a document as comments.
///
/// Blocks between ``` are left out: they are commands and output.
pub fn scan(text: &str) -> Scan {
    let mut comments: Vec<Comment> = Vec::new();
    let mut continues = false;
    for (line, text) in prose(text) {
        let text = text.trim();
        let is_new = text.starts_with(['|', '-', '#', '*']) || !continues;
        continues = !text.is_empty();
        if text.is_empty() {
            continue;
        }
        match comments.last_mut() {
            Some(last) if !is_new => last.lines.push(text.to_string()),
            _ => comments.push(Comment {
                line,
                of_module: false,
                lines: vec![text.to_string()],
            }),
        }
    }
    Scan {
        comments,
        code: String::new(),
    }
}

/// Returns the anchors of a document's headings, as GitHub forms them.
pub fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for heading in headings(text) {
        let anchor = anchor(heading);
        let same = |known: &&String| **known == anchor || known.starts_with(&format!("{anchor}-"));
        match anchors.iter().filter(same).count() {
            0 => anchors.push(anchor),
            count => anchors.push(format!("{anchor}-{count}")),
        }
    }
    anchors
}

/// Returns whether a heading carries this section number, as in `## 3. Limits` or `### 3.1 Limits`.
pub fn has_section(text: &str, number: &str) -> bool {
    headings(text).any(|heading| {
        let first = heading.split_whitespace().next().unwrap_or_default();
        first.trim_start_matches('§').trim_end_matches('.') == number
    })
}

/// Returns the links of a document: `[text](target)` and `[name]: target`.
pub fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in prose(text) {
        let mut rest = text;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find(')').unwrap_or(rest.len());
            links.push(Link {
                line,
                target: rest[..end].trim().to_string(),
            });
            rest = &rest[end..];
        }
        if text.starts_with('[')
            && let Some((_, target)) = text.split_once("]: ")
        {
            links.push(Link {
                line,
                target: target.trim().to_string(),
            });
        }
    }
    links
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    let is_heading = |text: &str| text.trim_start_matches('#').starts_with(' ');
    prose(text)
        .filter(move |(_, text)| text.starts_with('#') && is_heading(text))
        .map(|(_, text)| text.trim_start_matches('#').trim())
}

/// Returns the lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        (!in_block && !is_fence).then_some((at + 1, line))
    })
}

fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let text =
            "# One idea, or two?\n```\n# no heading\n```\n## `a` & b\n## Same\n## Same\n#no\n";
        assert_eq!(anchors(text), ["one-idea-or-two", "a--b", "same", "same-1"]);
    }

    #[test]
    fn links_of_code_blocks_are_left_out() {
        let text = "see [a](b.md#c) and ![d](e.svg)\n```\n[f](g)\n```\n[h]: i.md\n";
        let targets: Vec<String> = links(text).into_iter().map(|link| link.target).collect();
        assert_eq!(targets, ["b.md#c", "e.svg", "i.md"]);
    }

    #[test]
    fn section_is_found_by_its_number() {
        let text = "## 3. Limits\n### 3.1 More\n";
        assert!(has_section(text, "3") && has_section(text, "3.1"));
        assert!(!has_section(text, "1"));
    }

    #[test]
    fn rows_and_items_are_paragraphs_of_their_own() {
        let scan = scan("# A\nb\nc\n\n- d\n  e\n- f\n| g |\n");
        let joined: Vec<String> = scan.comments.iter().map(Comment::joined).collect();
        assert_eq!(joined, ["# A b c", "- d e", "- f", "| g |"]);
    }
}
