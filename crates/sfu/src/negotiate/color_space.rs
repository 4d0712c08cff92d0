//! How does a publisher's colour space reach viewers?
//!
//! str0m knows the extension by name and drops its value. So in a publisher's offer it is given another name,
//! under which our own reader is registered, and gets its name back in our answer.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use super::text;

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

/// An offer in which str0m does not recognise the extension.
pub fn hidden(offer: &str) -> String {
    text::with_extension_renamed(offer, URI, HIDDEN_URI)
}

/// An answer with the extension's own name.
pub fn shown(answer: &str) -> String {
    text::with_extension_renamed(answer, HIDDEN_URI, URI)
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
        let offer = format!("v=0\r\na=extmap:8 {URI}\r\n");
        assert!(!hidden(&offer).contains(URI));
        assert_eq!(shown(&hidden(&offer)), offer);
    }
}
