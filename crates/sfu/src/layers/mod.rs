//! Which layers of a publisher's video does each viewer get?
//!
//! Values, none of which knows a session, a clock or the others; `docs/design/0005-layers.md` tells more. What a viewer is to
//! get is decided in [`crate::stream::choice`].
//!
//! - [`rates::Rates`]: how many bits per second each layer has.
//! - [`svc`]: which packets that means, and where it may change.
//! - [`continuity`]: the numbers of what is left, so that no decoder notices.

pub mod continuity;
pub mod rates;
pub(crate) mod svc;

/// A layer of a track: what is sent when this encoding, and of it all layers up to these, are sent.
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
    /// Names a layer.
    pub const fn new(encoding: u8, spatial: u8, temporal: u8) -> LayerId {
        LayerId { encoding, spatial, temporal }
    }

    /// All of an encoding, whatever layers it has.
    pub const fn whole(encoding: u8) -> LayerId {
        LayerId { encoding, spatial: u8::MAX, temporal: u8::MAX }
    }

    /// Its layers within the encoding.
    pub const fn within(self) -> (u8, u8) {
        (self.spatial, self.temporal)
    }
}
