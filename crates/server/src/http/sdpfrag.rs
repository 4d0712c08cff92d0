//! What does a trickle-ICE fragment say?
//!
//! `application/trickle-ice-sdpfrag` (RFC 8840 §9). We need the credentials and the candidates;
//! what else stands there (`a=group`, `m=`, `a=mid`) is read over, because with BUNDLE there is one
//! transport. Tolerant about line ends and unknown lines; strict about lengths and counts.

use sfu::negotiate::text;

use crate::engine::IceFragment;

use super::limits::FRAGMENT_BYTES;

/// Most candidates in one fragment. Threat T6.
const CANDIDATES: usize = 32;
/// Longest line; a candidate with all its extensions has about 200 bytes.
const LINE_BYTES: usize = 1024;

/// Why a fragment cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// Longer than [`FRAGMENT_BYTES`].
    #[error("the fragment is longer than {FRAGMENT_BYTES} bytes")]
    TooLong,
    /// Not of the form `<letter>=<value>`.
    #[error("line {line} is not of the form “a=…” or “m=…”")]
    NotALine {
        /// Counted from 1.
        line: usize,
    },
    /// `a=ice-ufrag` or `a=ice-pwd` breaks its grammar.
    #[error("line {line}: {}", text::ICE_CREDENTIALS)]
    BadCredentials {
        /// Counted from 1.
        line: usize,
    },
    /// Sections name different credentials; bundled media has one transport.
    #[error("line {line}: the credentials differ from those above, but bundled media has one transport")]
    TwoCredentials {
        /// Counted from 1.
        line: usize,
    },
    /// Only one half of the credentials.
    #[error("ice-ufrag and ice-pwd come together or not at all")]
    HalfCredentials,
    /// `a=candidate` is not made of printable ASCII, or has too few fields.
    #[error("line {line} is not a candidate (RFC 8839 §5.1)")]
    BadCandidate {
        /// Counted from 1.
        line: usize,
    },
    /// Too many candidates.
    #[error("there are more than {CANDIDATES} candidates")]
    TooManyCandidates,
}

/// Parses a fragment.
pub fn parse(fragment_text: &str) -> Result<IceFragment, FragmentError> {
    if fragment_text.len() > FRAGMENT_BYTES {
        return Err(FragmentError::TooLong);
    }
    let mut fragment = IceFragment::default();
    for (index, line) in fragment_text.split('\n').enumerate() {
        let number = index.saturating_add(1);
        let line = line.trim_end_matches('\r').trim_end();
        if line.is_empty() {
            continue;
        }
        let value = match line.as_bytes() {
            [b'a'..=b'z', b'=', ..] if line.len() <= LINE_BYTES => line.get(2..).unwrap_or_default(),
            _ => return Err(FragmentError::NotALine { line: number }),
        };
        if !line.starts_with("a=") {
            continue;
        }
        if let Some(ufrag) = value.strip_prefix("ice-ufrag:") {
            credential(&mut fragment.ufrag, ufrag, text::is_ufrag, number)?;
        } else if let Some(password) = value.strip_prefix("ice-pwd:") {
            credential(&mut fragment.password, password, text::is_password, number)?;
        } else if value.starts_with("candidate:") {
            let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            // foundation, component, transport, priority, address, port, "typ", type.
            if !printable || value.split_ascii_whitespace().count() < 8 {
                return Err(FragmentError::BadCandidate { line: number });
            }
            // Each bundled section may repeat the same ones.
            if !fragment.candidates.iter().any(|known| known == value) {
                if fragment.candidates.len() >= CANDIDATES {
                    return Err(FragmentError::TooManyCandidates);
                }
                fragment.candidates.push(value.to_owned());
            }
        } else if value == "end-of-candidates" {
            fragment.end_of_candidates = true;
        }
    }
    if fragment.ufrag.is_some() != fragment.password.is_some() {
        return Err(FragmentError::HalfCredentials);
    }
    Ok(fragment)
}

/// Takes a credential; the same one again is no news.
fn credential(
    slot: &mut Option<String>,
    value: &str,
    is_one: fn(&str) -> bool,
    line: usize,
) -> Result<(), FragmentError> {
    if !is_one(value) {
        return Err(FragmentError::BadCredentials { line });
    }
    match slot {
        Some(known) if known != value => Err(FragmentError::TwoCredentials { line }),
        _ => {
            *slot = Some(value.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATE: &str = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw";

    #[test]
    fn the_example_of_the_rfc_is_understood() {
        // RFC 9725 §4.3.2, with both kinds of line ends.
        let text = format!(
            "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
             a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na={CANDIDATE}\r\na=end-of-candidates\r\n"
        );
        let expected = IceFragment {
            ufrag: Some("EsAw".into()),
            password: Some("P2uYro0UCOQ4zxjKXaWCBui1".into()),
            candidates: vec![CANDIDATE.into()],
            end_of_candidates: true,
        };
        assert_eq!(parse(&text), Ok(expected.clone()));
        assert_eq!(parse(&text.replace("\r\n", "\n")), Ok(expected.clone()));
        assert_eq!(parse(&text.replace("a=mid:0\r\n", "a=mid:0\r\na=unknown\r\n\r\n")), Ok(expected));
    }

    #[test]
    fn nothing_is_something() {
        assert_eq!(parse(""), Ok(IceFragment::default()));
        assert_eq!(parse("\r\n\r\n"), Ok(IceFragment::default()));
    }

    #[test]
    fn repeated_sections_are_one_transport() {
        let section = format!("m=audio 9 X 0\na=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\na={CANDIDATE}\n");
        let fragment = parse(&format!("{section}{section}")).unwrap();
        assert_eq!(fragment.candidates.len(), 1);
        let other = section.replace("EsAw", "Other");
        assert_eq!(parse(&format!("{section}{other}")), Err(FragmentError::TwoCredentials { line: 6 }));
    }

    #[test]
    fn what_breaks_the_rules_is_told_with_its_line() {
        let check = |text: &str, expected: FragmentError| assert_eq!(parse(text), Err(expected), "{text}");
        check("{}", FragmentError::NotALine { line: 1 });
        check("a=mid:0\n=x", FragmentError::NotALine { line: 2 });
        check("ä=x", FragmentError::NotALine { line: 1 });
        check(&format!("a={}", "x".repeat(1100)), FragmentError::NotALine { line: 1 });
        check("a=ice-ufrag:abc", FragmentError::BadCredentials { line: 1 });
        check("a=ice-ufrag:ab cd", FragmentError::BadCredentials { line: 1 });
        check("a=ice-pwd:short", FragmentError::BadCredentials { line: 1 });
        check(&format!("a=ice-pwd:{}", "x".repeat(257)), FragmentError::BadCredentials { line: 1 });
        check("a=ice-ufrag:abcd", FragmentError::HalfCredentials);
        check(&format!("a=ice-pwd:{}", "x".repeat(22)), FragmentError::HalfCredentials);
        check("a=candidate:1 1 udp", FragmentError::BadCandidate { line: 1 });
        check("a=candidate:1 1 udp 1 192.0.2.1 1 typ h\u{7}st", FragmentError::BadCandidate { line: 1 });
        check(&"a=mid:0\n".repeat(1025), FragmentError::TooLong);
        let candidates: String = (0..33).map(|i| format!("a=candidate:{i} 1 udp 1 192.0.2.1 1 typ host\n")).collect();
        check(&candidates, FragmentError::TooManyCandidates);
    }

    #[test]
    fn thirty_two_candidates_pass() {
        let candidates: String = (0..32).map(|i| format!("a=candidate:{i} 1 udp 1 192.0.2.1 1 typ host\n")).collect();
        assert_eq!(parse(&candidates).unwrap().candidates.len(), 32);
    }

    #[test]
    fn random_cuts_and_flips_never_panic() {
        let text = format!("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na={CANDIDATE}\r\nm=ä\r\n");
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 20) as u8;
                bytes.truncate(at.max(bytes.len() / 2));
            }
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
