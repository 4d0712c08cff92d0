//! Which citations of comments and documents lead nowhere?

use crate::markdown;
use crate::scan::{Comment, Language, Scan, is_word};
use crate::tree::{File, SKIPPED, Tree};

/// A citation that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file that cites.
    pub file: String,
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The fault, and its remedy.
    pub message: String,
}

/// Returns the citations of one file that lead nowhere.
pub fn check(tree: &Tree, file: &File, scan: &Scan) -> Vec<Broken> {
    let mut messages = Vec::new();
    for comment in &scan.comments {
        for (at, text) in comment.lines.iter().enumerate() {
            let line = comment.line + at;
            for message in files_of(text).filter_map(|path| check_path(tree, file, &path)) {
                messages.push((line, message));
            }
            messages.extend(
                threats_of(text)
                    .filter_map(|threat| check_threat(tree, &threat))
                    .map(|m| (line, m)),
            );
        }
        messages.extend(check_sections(tree, scan, comment));
    }
    for (at, text) in file.text.lines().enumerate() {
        messages.extend(tracker_of(text).map(|message| (at + 1, message)));
    }
    if file.language == Some(Language::Markdown) {
        messages.extend(check_links(tree, file));
    }
    let broken = |(line, message)| Broken {
        file: file.path.clone(),
        line,
        message,
    };
    messages.into_iter().map(broken).collect()
}

/// Returns the numbers of the first column of the tables in `docs/threats.md`.
pub fn known_threats(tree: &Tree) -> Vec<String> {
    let text = tree.file(THREATS).map_or("", |file| file.text.as_str());
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells
        .flat_map(|cell| threats_of(cell).collect::<Vec<_>>())
        .collect()
}

/// Returns the names of files, and of folders between backticks, in a text.
///
/// A folder ends with `/`. Addresses, absolute paths and names with placeholders such as `{name}`
/// are no names of files of the tree.
pub fn files_of(text: &str) -> impl Iterator<Item = String> {
    let is_part = |c: char| is_word(c) || "./*<>{}$:@%~-".contains(c);
    let tokens = text.split(move |c: char| !is_part(c));
    let named = tokens.filter_map(|token| {
        let name = token.trim_end_matches(['.', ':']).trim_start_matches("./");
        let (stem, extension) = name.rsplit_once('.')?;
        let stem_ends_a_name = stem.ends_with(|c: char| is_word(c) || c == '*' || c == '>');
        (EXTENSIONS.contains(&extension) && stem_ends_a_name).then(|| name.to_string())
    });
    let folders = text.split('`').skip(1).step_by(2).filter(|code| {
        let inner = code.trim_end_matches('/');
        code.ends_with('/')
            && inner.contains('/')
            && inner.chars().all(|c| is_word(c) || "./-<>".contains(c))
    });
    let found: Vec<String> = named.chain(folders.map(str::to_string)).collect();
    found
        .into_iter()
        .filter(|name| !name.starts_with('/') && !name.contains(['{', '$', ':', '@', '%', '~']))
}

/// Returns the threat numbers in a text: `T` and one or two digits, standing alone.
pub fn threats_of(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !is_word(c));
    words.filter_map(|word| {
        let digits = word.strip_prefix('T')?;
        let is_number = matches!(digits.len(), 1 | 2) && digits.chars().all(|c| c.is_ascii_digit());
        is_number.then(|| word.to_string())
    })
}

fn check_path(tree: &Tree, file: &File, path: &str) -> Option<String> {
    let found = if path.starts_with("../") {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        tree.file(&joined(folder, path)).is_some()
    } else {
        tree.names_something(path)
    };
    // Folders of other projects are in the tree but not read; generated ones are not in it.
    let is_skipped = path
        .split('/')
        .rev()
        .skip(1)
        .any(|segment| SKIPPED.contains(&segment));
    if found || is_skipped {
        return None;
    }
    Some(format!(
        "no file {path}: write the path below the root, the crate or the folder, or delete it"
    ))
}

fn check_threat(tree: &Tree, threat: &str) -> Option<String> {
    let known = known_threats(tree);
    (!known.iter().any(|known| known == threat))
        .then(|| format!("no row of {THREATS} has {threat}: add the row, or correct the number"))
}

/// Checks the `§` of one comment: one of our own pages has the section, any other has its source.
fn check_sections(tree: &Tree, scan: &Scan, comment: &Comment) -> Vec<(usize, String)> {
    let mut messages = Vec::new();
    let text = comment.joined();
    if !text.contains('§') {
        return messages;
    }
    let opening = scan
        .comments
        .iter()
        .filter(|comment| comment.of_module)
        .map(Comment::joined);
    let context: String = opening.chain([text.clone()]).collect();
    if !SPECIFICATIONS.iter().any(|name| context.contains(name)) {
        messages.push((
            comment.line,
            "§ without its document: name the RFC, the draft or the page".into(),
        ));
    }
    for (at, _) in text.match_indices('§') {
        let number: String = text[at + '§'.len_utf8()..]
            .chars()
            .take_while(|c| is_word(*c) || *c == '.')
            .collect();
        let number = number.trim_end_matches('.');
        // The word before: `docs/design/0006-adapting.md §3`.
        let before = text[..at].trim_end().trim_end_matches('`');
        let cited = before
            .rsplit([' ', '`', '(', '['])
            .next()
            .unwrap_or_default();
        let is_page = cited.ends_with(".md") || cited.contains("design/");
        if !is_page {
            continue;
        }
        let has = |page: &&File| {
            let below = format!("/{}", cited.trim_start_matches("docs/"));
            format!("/{}", page.path).contains(&below) && markdown::has_section(&page.text, number)
        };
        let mut pages = tree
            .files
            .iter()
            .filter(|page| page.language == Some(Language::Markdown));
        if !pages.any(|page| has(&page)) {
            messages.push((
                comment.line,
                format!("{cited} has no section {number}: correct number or page"),
            ));
        }
    }
    messages
}

/// Returns a message if a line cites a tracker that readers of the tree cannot open.
fn tracker_of(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let cites_one = lower.match_indices(TRACKER).any(|(at, _)| {
        let after = lower[at + TRACKER.len()..]
            .trim_start_matches('s')
            .trim_start();
        let begins = !lower[..at].ends_with(is_word);
        let is_cited = lower[..at].ends_with("the ")
            || after.starts_with(|c: char| c.is_ascii_digit() || c == '"');
        let ends = !lower[at + TRACKER.len()..].starts_with(|c: char| is_word(c) && c != 's');
        begins && ends && is_cited
    });
    cites_one.then(|| {
        format!("cites an {TRACKER} outside of the tree: write the reason of the figure instead")
    })
}

fn check_links(tree: &Tree, file: &File) -> Vec<(usize, String)> {
    let mut messages = Vec::new();
    for link in markdown::links(&file.text) {
        if ["http://", "https://", "mailto:"]
            .iter()
            .any(|scheme| link.target.starts_with(scheme))
        {
            continue;
        }
        let (path, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = if path.is_empty() {
            file.path.clone()
        } else {
            joined(folder, path)
        };
        let Some(page) = tree.file(&target) else {
            let is_folder = tree
                .files
                .iter()
                .any(|file| file.path.starts_with(&format!("{target}/")));
            if !is_folder {
                messages.push((
                    link.line,
                    format!("link to {target}, which does not exist: correct the path"),
                ));
            }
            continue;
        };
        if !anchor.is_empty()
            && !markdown::anchors(&page.text)
                .iter()
                .any(|known| known == anchor)
        {
            messages.push((
                link.line,
                format!("{target} has no heading for #{anchor}: correct the anchor"),
            ));
        }
    }
    messages
}

/// Returns a path relative to a folder, without `.` and `..`.
fn joined(folder: &str, path: &str) -> String {
    let mut segments: Vec<&str> = folder
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.join("/")
}

const THREATS: &str = "docs/threats.md";

/// The word for an entry of a bug tracker.
const TRACKER: &str = concat!("iss", "ue");

/// Files that exist, or not, by their ending.
///
/// JSON, HTML and JavaScript are left out: comments name answers of the server, reports and pages.
const EXTENSIONS: [&str; 8] = ["rs", "md", "ts", "mjs", "sh", "toml", "py", "go"];

/// A comment with a `§` names one of these, or the comment at the top of its file does.
const SPECIFICATIONS: [&str; 10] = [
    "RFC", "draft-", "H.26", "AV1", "VP8", "VP9", "gcc-02", "Fetch", "WHATWG", ".md",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            language: Language::of(path, text),
            text: text.into(),
        }
    }

    fn messages(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut files = vec![
            file("crates/sfu/src/stream/log.rs", ""),
            file("docs/design/0006-adapting.md", "## 2. Limits\n"),
            file("docs/threats.md", "| T4, T7 | a |\n| T12 | b |\n"),
            file(path, text),
        ];
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tree = Tree { files };
        let file = tree.file(path).expect("just added");
        let scan = scan(file.language.expect("known"), text);
        check(&tree, file, &scan)
            .into_iter()
            .map(|broken| (broken.line, broken.message))
            .collect()
    }

    #[test]
    fn names_of_files_and_folders_are_found() {
        let names = |text| files_of(text).collect::<Vec<_>>();
        assert_eq!(
            names("see `stream/log.rs`, a.md. and `sfu/src/bwe/`"),
            ["stream/log.rs", "a.md", "sfu/src/bwe/"]
        );
        assert_eq!(
            names("https://a.rs /etc/a.toml x-{n}.toml Node.js 1.rs/s `/whip/` and/or a. md"),
            [""; 0]
        );
    }

    #[test]
    fn citations_that_resolve_are_no_errors() {
        let text = "// Threat T7 and T12, `stream/log.rs`, RFC 8285 §4.2,\n\
            // docs/design/0006-adapting.md §2.\n";
        assert_eq!(messages("a.rs", text), []);
        assert_eq!(
            messages(
                "docs/a.md",
                "[x](design/0006-adapting.md#2-limits) [y](threats.md) [z](design)\n"
            ),
            []
        );
    }

    #[test]
    fn citations_that_lead_nowhere_name_line_and_repair() {
        let rows = [
            (
                "a.rs",
                "\n// Threat T9.\n",
                "no row of docs/threats.md has T9: add the row, or correct the number",
            ),
            (
                "a.rs",
                "\n// See `stream/gone.rs`.\n",
                "no file stream/gone.rs: ",
            ),
            (
                "a.rs",
                "\n// See docs/design/0006-adapting.md §3.\n",
                "docs/design/0006-adapting.md has no section 3",
            ),
            ("a.rs", "\n// As §3.1 says.\n", "§ without its document"),
            (
                "a.rs",
                "\nlet a = \"the %s wants it\";\n",
                "cites an %s outside of the tree",
            ),
            (
                "a.rs",
                "\n// As %s 2 says.\n",
                "cites an %s outside of the tree",
            ),
            (
                "docs/a.md",
                "\n[x](gone.md)\n",
                "link to docs/gone.md, which does not exist",
            ),
            (
                "docs/a.md",
                "\n[x](threats.md#gone)\n",
                "docs/threats.md has no heading for #gone",
            ),
        ];
        for (path, text, expected) in rows {
            let found = messages(path, &text.replace("%s", TRACKER));
            let expected = expected.replace("%s", TRACKER);
            // A link to a Markdown file is a name of a file, too.
            assert!(
                !found.is_empty() && found.iter().all(|(line, _)| *line == 2),
                "{text}: {found:?}"
            );
            assert!(
                found
                    .iter()
                    .any(|(_, message)| message.starts_with(&expected)),
                "{text}: {found:?}"
            );
        }
    }
}
