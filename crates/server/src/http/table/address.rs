//! Which stream does a part of an address name?
//!
//! In a path a name stands percent-encoded or plain, with or without slashes. In a query it is the
//! parameter `stream`, with the `app` of SRS before it.

use std::borrow::Cow;

use media::StreamName;

/// Why an address names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// There is no such resource.
    NotFound,
    /// The address would name a stream, but not by a legal name.
    IllegalName {
        /// The rule that the name breaks.
        rule: String,
        /// The template of the resource that the address would name.
        template: String,
    },
}

/// Reads a stream's name as it stands in a path. An error is the rule that the name breaks.
pub(super) fn stream(name: &str) -> Result<StreamName, String> {
    let name = decode(name, false).ok_or_else(illegal)?;
    StreamName::parse(&name).map_err(|error| error.to_string())
}

/// Reads `stream`, and SRS's `app` before it, from a query. An error is the rule that the name
/// breaks.
pub(super) fn queried_stream(query: Option<&str>) -> Result<Option<StreamName>, String> {
    let value = |name: &str| {
        let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let Some(name) = value("stream") else {
        return Ok(None);
    };
    let name = decode(name, true).ok_or_else(illegal)?;
    let name = match value("app").filter(|app| !app.is_empty()) {
        Some(app) => Cow::Owned(format!("{}/{name}", decode(app, true).ok_or_else(illegal)?)),
        None => name,
    };
    StreamName::parse(&name).map(Some).map_err(|error| error.to_string())
}

fn illegal() -> String {
    "the name is not properly percent-encoded".into()
}

/// Decodes percent-encoding, in queries (`form`) also `+`.
fn decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if form => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
