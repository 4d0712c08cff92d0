//! Which layers of a publisher's video does each viewer get?
//!
//! Four values, none of which knows a session, a clock or the others. How they are to be wired stands in
//! `docs/design/0005-layers.md`.
//!
//! - [`rates::Rates`]: how many bits per second each layer has.
//! - [`allocation::Allocation`]: what a viewer can afford, over all its tracks.
//! - [`selector::Selector`]: which packets that means, and where it may change.
//! - [`continuity`]: the numbers of what is left, so that no decoder notices.

pub mod allocation;
pub mod continuity;
pub mod rates;
pub mod selector;
pub(crate) mod svc;
mod targets;

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
}
