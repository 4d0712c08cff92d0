//! Which layers of a publisher's video does each viewer get?
//!
//! The values here know no session, no clock and no other value; [`crate::stream::choice`] decides
//! about the layers of a viewer. `docs/design/0005-layers.md` describes the whole.
//!
//! - [`rates::Rates`]: the bit rate of each layer.
//! - [`svc`]: the packets of the chosen layers, and the points at which they may change.
//! - [`continuity`]: the numbers of forwarded packets, so that decoders see no gap.

pub mod continuity;
pub mod rates;
pub(crate) mod svc;

/// A layer of a track: this encoding with all its layers up to these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId {
    /// Simulcast encoding, the smallest picture first; 0 if there is one only.
    pub encoding: u8,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
}

impl LayerId {
    /// Makes the id of a layer.
    pub const fn new(encoding: u8, spatial: u8, temporal: u8) -> LayerId {
        LayerId { encoding, spatial, temporal }
    }

    /// Returns the id of a whole encoding, with all its layers.
    pub const fn whole(encoding: u8) -> LayerId {
        LayerId { encoding, spatial: u8::MAX, temporal: u8::MAX }
    }

    /// Returns the layers within the encoding.
    pub const fn within(self) -> (u8, u8) {
        (self.spatial, self.temporal)
    }
}
