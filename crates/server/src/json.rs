//! How does the server describe faults of a client's JSON to this client?
//!
//! The parser's own messages name its types. These messages name the place and the expected form.

use serde_json::error::Category;
use serde_json::{Map, Value};

/// Reads an object. Refuses an array, which serde would read as a structure's fields in order.
///
/// # Errors
///
/// Returns the fault as the end of a sentence: `it is not JSON at line 1, column 5`.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| fault(&error, "a JSON object"))
}

/// Reads an array of strings.
///
/// # Errors
///
/// Returns the fault in the same form as [`object`].
pub(crate) fn strings(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| fault(&error, "a JSON array of strings"))
}

fn fault(error: &serde_json::Error, expected: &str) -> String {
    match error.classify() {
        Category::Data | Category::Io => format!("it is not {expected}"),
        Category::Eof if error.column() == 0 => format!("it is empty, and should be {expected}"),
        Category::Eof => "it breaks off before its end".to_owned(),
        Category::Syntax => format!("it is not JSON at line {}, column {}", error.line(), error.column()),
    }
}

/// The form of a field of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string, or `null`.
    Text,
    /// A whole number from 0 to this one, or `null`.
    UpTo(u64),
    /// `true` or `false`.
    Switch,
}

impl Form {
    /// Checks a value.
    ///
    /// # Errors
    ///
    /// Returns the expected form in words.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Form::Text, Value::String(_)) | (Form::Text | Form::UpTo(_), Value::Null) => Ok(()),
            (Form::UpTo(most), value) if value.as_u64().is_some_and(|number| number <= most) => Ok(()),
            (Form::Switch, Value::Bool(_)) => Ok(()),
            (Form::Text, _) => Err("a string".to_owned()),
            (Form::UpTo(most), _) => Err(format!("a whole number from 0 to {most}")),
            (Form::Switch, _) => Err("true or false".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LayerWish;

    /// Words of parsers that do not help a sender, or that reveal the inside of this process.
    pub(crate) const OF_PARSERS: [&str; 14] = [
        "::",
        "0x",
        "serde",
        "invalid type",
        "missing field",
        "unknown field",
        "duplicate field",
        "expected ",
        "u16",
        "Some(",
        "Error",
        "Mismatch",
        "JSON error",
        "trailing",
    ];

    #[test]
    fn faults_of_json_are_described_without_words_of_the_parser() {
        let wish = |text: &str| LayerWish::read(text).expect_err(text);
        let list = |text: &str| strings(text).expect_err(text);
        for (said, words) in [
            (wish(""), "the wish cannot be read: it is empty, and should be a JSON object"),
            (wish("{"), "the wish cannot be read: it breaks off before its end"),
            (wish("{\"a\":1,}"), "the wish cannot be read: it is not JSON at line 1, column 8"),
            (wish("{} {}"), "the wish cannot be read: it is not JSON at line 1, column 4"),
            (wish("[]"), "the wish cannot be read: it is not a JSON object"),
            (wish("7"), "the wish cannot be read: it is not a JSON object"),
            (wish(r#"{"maxHeight":-1}"#), "the wish cannot be read: maxHeight is not a whole number from 0 to 65535"),
            (wish(r#"{"maxWidth":65536}"#), "maxWidth is not a whole number from 0 to 65535"),
            (wish(r#"{"maxFrameRate":29.97}"#), "maxFrameRate is not a whole number from 0 to 65535"),
            (wish(r#"{"maxTemporalLayerId":256}"#), "maxTemporalLayerId is not a whole number from 0 to 255"),
            (wish(r#"{"spatialLayerId":"1"}"#), "spatialLayerId is not a whole number from 0 to 255"),
            (wish(r#"{"encodingId":7}"#), "encodingId is not a string"),
            (wish(r#"{"rid":["h"]}"#), "rid is not a string"),
            (wish(r#"{"paused":null}"#), "paused is not true or false"),
            (wish(r#"{"rid":"h","encodingId":"h"}"#), "two of its fields mean the same"),
            (list(""), "it is empty, and should be a JSON array of strings"),
            (list("[\"layers\""), "it breaks off before its end"),
            (list("[layers]"), "it is not JSON at line 1, column 2"),
            (list("{}"), "it is not a JSON array of strings"),
            (list("[7]"), "it is not a JSON array of strings"),
        ] {
            assert!(said.contains(words), "{said}");
            assert!(OF_PARSERS.iter().all(|word| !said.contains(word)), "{said}");
        }
        assert!(LayerWish::read(r#"{"encodingId":null,"maxHeight":null,"later":{}}"#).is_ok());
    }
}
