//! What are streams and sessions called?

use std::fmt;
use std::sync::Arc;

/// The longest [`StreamName`], in bytes. A guess: it fits a log line and a NATS subject.
pub const MAX_STREAM_NAME_BYTES: usize = 128;

/// The name of a stream, as it stands in URLs: `demo`, or `acme/stage-1/main`.
///
/// Segments of `A`–`Z`, `a`–`z`, `0`–`9`, `_` and `-`, separated by single slashes; at most
/// [`MAX_STREAM_NAME_BYTES`] in all. Such a name needs no escaping in a path, a file name or a log.
/// A clone shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Parses a name.
    pub fn parse(name: &str) -> Result<StreamName, StreamNameError> {
        if name.is_empty() {
            return Err(StreamNameError::Empty);
        }
        if name.len() > MAX_STREAM_NAME_BYTES {
            return Err(StreamNameError::TooLong { bytes: name.len() });
        }
        let illegal = |c: &char| !c.is_ascii_alphanumeric() && *c != '_' && *c != '-' && *c != '/';
        if let Some(character) = name.chars().find(illegal) {
            return Err(StreamNameError::Character { character });
        }
        if name.split('/').any(str::is_empty) {
            return Err(StreamNameError::EmptySegment);
        }
        Ok(StreamName(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(name: &str) -> Result<StreamName, StreamNameError> {
        StreamName::parse(name)
    }
}

impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`StreamName`]. Its `Display` states the rule and what was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamNameError {
    /// The name has no characters.
    Empty,
    /// The name has more than [`MAX_STREAM_NAME_BYTES`].
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A segment between slashes is empty.
    EmptySegment,
    /// A character is not allowed.
    Character {
        /// The first such character.
        character: char,
    },
}

impl fmt::Display for StreamNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a stream name has 1 to {MAX_STREAM_NAME_BYTES} letters, digits, '_' and '-', \
             in segments separated by single '/'; "
        )?;
        match self {
            StreamNameError::Empty => f.write_str("this one is empty"),
            StreamNameError::TooLong { bytes } => write!(f, "this one has {bytes} bytes"),
            StreamNameError::EmptySegment => f.write_str("this one begins or ends with '/' or has two in a row"),
            // `Debug` of a character escapes what would garble a terminal.
            StreamNameError::Character { character } => write!(f, "this one has {character:?}"),
        }
    }
}

impl std::error::Error for StreamNameError {}

/// The name of a session: 128 random bits. A client that knows them may close the session.
///
/// `Display` writes all of it and belongs in URLs only; for logs and pages there is
/// [`handle`](Self::handle), and `Debug` shows a stub.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Creates an id from 16 random bytes. They must come from a secure generator.
    pub const fn from_bytes(bytes: [u8; 16]) -> SessionId {
        SessionId(bytes)
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses what `Display` writes: 32 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<SessionId> {
        if hex.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            *byte = (hex_digit(high)? << 4) | hex_digit(low)?;
        }
        Some(SessionId(bytes))
    }

    /// Returns 8 hexadecimal digits that tell sessions apart in logs and pages.
    ///
    /// They are FNV-1a (64 bits, folded to 32). That is no cryptographic hash, and need not be one:
    /// of 128 random bits, 32 are published, which leaves a reader 2^96 ids to
    /// try. Two sessions may share a handle; never look one up by it.
    pub fn handle(&self) -> String {
        // Offset basis and prime of FNV-1a 64, by Fowler, Noll and Vo.
        let hash = self.0.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    /// Writes the first 8 digits: enough to find a session in a test's output, too little to use
    /// it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

/// The number of a stream inside this process; never reused, never seen outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_segments_of_letters_digits_dashes_and_underscores() {
        let longest = "x".repeat(128);
        for name in ["demo", "a", "a/b", "acme/stage-1/Main_Feed", "-", "_", "0", &longest] {
            assert_eq!(StreamName::parse(name).map(|name| name.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        let too_long = "x".repeat(129);
        let rows = [
            ("", StreamNameError::Empty),
            (&too_long, StreamNameError::TooLong { bytes: 129 }),
            ("/", StreamNameError::EmptySegment),
            ("/a", StreamNameError::EmptySegment),
            ("a/", StreamNameError::EmptySegment),
            ("a//b", StreamNameError::EmptySegment),
            ("a b", StreamNameError::Character { character: ' ' }),
            ("a/../b", StreamNameError::Character { character: '.' }),
            ("a%2f", StreamNameError::Character { character: '%' }),
            ("späti", StreamNameError::Character { character: 'ä' }),
            ("a\n", StreamNameError::Character { character: '\n' }),
        ];
        for (name, error) in rows {
            assert_eq!(StreamName::parse(name), Err(error), "{name:?}");
        }
    }

    #[test]
    fn a_refusal_states_the_rule_and_what_was_wrong() {
        let error = StreamName::parse("a b").unwrap_err().to_string();
        assert_eq!(
            error,
            "a stream name has 1 to 128 letters, digits, '_' and '-', in segments separated by \
             single '/'; this one has ' '"
        );
        let error = StreamName::parse("a\u{1b}[2J").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[test]
    fn debug_of_a_session_does_not_give_it_away() {
        let id = SessionId::parse("00112233445566778899aabbccddeeff").unwrap();
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(format!("{id:?}"), "00112233…");
        assert!(!id.to_string().contains(&id.handle()));
    }

    #[test]
    fn the_handle_is_fnv_1a() {
        assert_eq!(SessionId::from_bytes([0; 16]).handle(), {
            // FNV-1a of zeros is the offset basis times the prime to the 16th.
            let hash = (0..16).fold(0xcbf2_9ce4_8422_2325_u64, |h, _| h.wrapping_mul(0x100_0000_01b3));
            format!("{:08x}", (hash >> 32) as u32 ^ hash as u32)
        });
        assert_ne!(SessionId::from_bytes([0; 16]).handle(), SessionId::from_bytes([1; 16]).handle());
    }

    #[test]
    fn text_other_than_32_hexadecimal_digits_is_no_session_id() {
        let rows = [
            "",
            "0011",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeeff0",
            "00112233445566778899aabbccddeefg",
            "0011223344556677-899aabbccddeeff",
            "ä0112233445566778899aabbccddeef",
        ];
        for hex in rows {
            assert_eq!(SessionId::parse(hex), None, "{hex:?}");
        }
    }

    proptest! {
        #[test]
        fn a_session_survives_the_round_trip(bytes: [u8; 16]) {
            let id = SessionId::from_bytes(bytes);
            prop_assert_eq!(SessionId::parse(&id.to_string()), Some(id));
            prop_assert_eq!(SessionId::parse(&id.to_string().to_uppercase()), Some(id));
            prop_assert_eq!(id.handle().len(), 8);
        }

        #[test]
        fn every_name_that_follows_the_rule_is_taken(name in "[A-Za-z0-9_-]{1,20}(/[A-Za-z0-9_-]{1,20}){0,4}") {
            let parsed = StreamName::parse(&name).unwrap();
            prop_assert_eq!(parsed.as_str(), name);
        }

        #[test]
        fn no_text_makes_a_name_that_needs_escaping(text: String) {
            if let Ok(name) = StreamName::parse(&text) {
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/".contains(&b)));
            }
        }
    }
}
