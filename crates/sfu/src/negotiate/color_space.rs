//! How does a publisher's colour space reach viewers?
//!
//! str0m knows the extension by name and drops its value. So in a publisher's offer it is given another name,
//! under which our own reader is registered, and gets its name back in our answer.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// What everyone calls it.
const URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/color-space";
/// What it is called towards str0m.
const HIDDEN_URI: &str = "urn:nowcast:color-space";

/// The value, without HDR metadata; see [`media::packet::Extensions::color_space`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColorSpace(pub [u8; 4]);

/// The extension as str0m is to know it.
pub fn extension() -> Extension {
    Extension::with_serializer(HIDDEN_URI, Reader)
}

/// An `a=extmap` line in which str0m does not recognise the extension.
pub(super) fn hidden(line: &str) -> String {
    renamed(line, URI, HIDDEN_URI)
}

/// An `a=extmap` line with the extension's own name.
pub(super) fn shown(line: &str) -> String {
    renamed(line, HIDDEN_URI, URI)
}

fn renamed(line: &str, from: &str, to: &str) -> String {
    match line.strip_suffix(from).filter(|head| head.ends_with(' ')) {
        Some(head) => format!("{head}{to}"),
        None => line.to_owned(),
    }
}

#[derive(Debug)]
struct Reader;

impl ExtensionSerializer for Reader {
    /// Publishers are never sent RTP.
    fn write_to(&self, _: &mut [u8], _: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, value: &[u8], values: &mut ExtensionValues) -> bool {
        let Some(first) = value.first_chunk() else { return false };
        values.user_values.set(ColorSpace(*first));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_bytes_are_taken_and_fewer_are_none() {
        let read = |bytes: &[u8]| {
            let mut values = ExtensionValues::default();
            Reader.parse_value(bytes, &mut values).then(|| values.user_values.get::<ColorSpace>().copied()).flatten()
        };
        assert_eq!(read(&[1, 13, 0, 32]), Some(ColorSpace([1, 13, 0, 32])));
        assert_eq!(read(&[9; 28]), Some(ColorSpace([9; 4])), "HDR metadata stays behind");
        assert_eq!(read(&[1, 2, 3]), None);
    }

    #[test]
    fn the_name_is_hidden_and_shown() {
        let line = format!("a=extmap:8 {URI}");
        assert!(!hidden(&line).contains(URI));
        assert_eq!(shown(&hidden(&line)), line);
        assert_eq!(hidden(&format!("{line}-2")), format!("{line}-2"));
    }
}
