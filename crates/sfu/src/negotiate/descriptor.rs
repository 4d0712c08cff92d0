//! How does a publisher's Dependency Descriptor reach us?
//!
//! str0m does not know the extension, so it is registered with a reader of ours. It is agreed upon only with publishers whose
//! first choice is AV1: browsers that may send it do so for every codec, and of VP8, VP9 and H.264 the payload says all.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use super::text;

/// RTP Payload Format For AV1, v1.0, appendix A.
const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// What it is called where it is not wanted: nobody knows it.
const HIDDEN_URI: &str = "urn:nowcast:dependency-descriptor";

/// The value as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorBytes(pub Box<[u8]>);

/// The extension as str0m is to know it.
pub fn extension() -> Extension {
    Extension::with_serializer(URI, Reader)
}

/// A publisher's offer, without the extension unless AV1 is what it would send.
pub fn if_wanted(offer: &str) -> String {
    let prefers_av1 = text::sections(offer)
        .iter()
        .filter(|section| section.kind == "video")
        .any(|section| section.codecs.first().is_some_and(|codec| codec.eq_ignore_ascii_case("AV1")));
    if prefers_av1 { offer.to_owned() } else { text::with_extension_renamed(offer, URI, HIDDEN_URI) }
}

#[derive(Debug)]
struct Reader;

impl ExtensionSerializer for Reader {
    /// Shards write it themselves.
    fn write_to(&self, _: &mut [u8], _: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, value: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(DescriptorBytes(value.into()));
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
    fn only_who_prefers_av1_is_asked_for_descriptors() {
        let offer = |first: &str, second: &str| {
            format!(
                "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 45 96\r\na=extmap:8 {URI}\r\n\
                 a=rtpmap:45 {first}/90000\r\na=rtpmap:46 rtx/90000\r\na=rtpmap:96 {second}/90000\r\n"
            )
        };
        assert!(if_wanted(&offer("AV1", "VP8")).contains(URI));
        assert!(!if_wanted(&offer("VP8", "AV1")).contains(URI));
    }
}
