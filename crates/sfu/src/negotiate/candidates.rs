//! In which section of our description are the candidates?

use super::text;

/// Moves the candidates out of sections that are rejected into the first that is not.
///
/// str0m writes them into the first section. A peer does not read them in one whose port is 0: the transport of a bundle is
/// described in the section that the bundle begins with (RFC 9143 §7.3).
pub(super) fn in_use(sdp: &str) -> String {
    let sections = text::split_sections(sdp);
    let is_candidate = |line: &&str| line.starts_with("a=candidate:") || *line == "a=end-of-candidates";
    let lost: Vec<&str> = sections
        .iter()
        .filter(|section| text::is_rejected(section))
        .flat_map(|section| section.lines().filter(is_candidate))
        .collect();
    if lost.is_empty() {
        return sdp.to_owned();
    }
    let mut out = String::with_capacity(sdp.len());
    let mut moved = false;
    for section in sections {
        if text::is_rejected(section) {
            out.push_str(&text::rewrite(section, |line| (!is_candidate(&line)).then(|| line.to_owned())));
            continue;
        }
        out.push_str(section);
        if section.starts_with("m=") && !moved {
            moved = true;
            for line in &lost {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: &str = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn candidates_move_to_the_first_section_that_is_not_rejected() {
        let before = format!(
            "v=0\r\nm=audio 0 X 0\r\n{CANDIDATES}a=mid:0\r\nm=video 9 X 96\r\na=mid:1\r\nm=audio 9 X 97\r\na=mid:2\r\n"
        );
        let after = format!(
            "v=0\r\nm=audio 0 X 0\r\na=mid:0\r\nm=video 9 X 96\r\na=mid:1\r\n{CANDIDATES}m=audio 9 X 97\r\na=mid:2\r\n"
        );
        assert_eq!(in_use(&before), after);
    }

    #[test]
    fn candidates_of_a_section_in_use_stay_where_they_are() {
        let sdp = format!("v=0\r\nm=audio 9 X 0\r\n{CANDIDATES}m=video 0 X 96\r\n");
        assert_eq!(in_use(&sdp), sdp);
    }
}
