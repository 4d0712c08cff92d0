//! How does a publisher's Dependency Descriptor reach us?
//!
//! str0m does not know the extension, so it is registered with a reader of ours. It is agreed upon only with publishers whose
//! first choice is AV1: browsers that may send it do so for every codec, and of VP8, VP9 and H.264 the payload says all.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// RTP Payload Format For AV1, v1.0, appendix A.
pub(super) const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// The value as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorBytes(pub Box<[u8]>);

/// The extension as str0m is to know it.
pub fn extension() -> Extension {
    Extension::with_serializer(URI, Reader)
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
