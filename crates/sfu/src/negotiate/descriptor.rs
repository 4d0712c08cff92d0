//! How does the server receive a publisher's Dependency Descriptor?
//!
//! str0m does not know the extension, so this file registers a reader for it. It is negotiated only
//! with publishers whose first choice is AV1: browsers that can send it do so for every codec, and
//! the payloads of VP8, VP9 and H.264 already have all of its information.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// RTP Payload Format For AV1, v1.0, appendix A.
pub(super) const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// The value as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorBytes(pub Box<[u8]>);

/// Returns the extension for str0m.
pub fn extension() -> Extension {
    Extension::with_serializer(URI, Reader)
}

#[derive(Debug)]
struct Reader;

impl ExtensionSerializer for Reader {
    /// Writes nothing: shards write the extension themselves.
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
