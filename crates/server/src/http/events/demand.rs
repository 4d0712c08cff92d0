//! Which events of its audience does a publisher's subscription get?
//!
//! Which encodings and which layers of them are of use to viewers: the `wanted_layers` of the
//! stream's status; how many watch; and that the session is over because its DTLS handshake failed.
//! A reader that is new is told everything; after that only what differs.

use serde::Serialize;
use utoipa::ToSchema;

use super::news::Failed;
use super::sse;
use crate::engine::{FailedSession, StreamStatus, WantedLayer};

/// An event of a publisher's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// What its viewers have use for.
    WantedLayers,
    /// How many watch.
    ViewerCount,
    /// The session is over because its DTLS handshake failed: the last event.
    Failed,
}

impl Kind {
    /// All that there are.
    pub(in crate::http) const ALL: [Self; 3] = [Self::WantedLayers, Self::ViewerCount, Self::Failed];

    /// Its name on the wire.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Self::WantedLayers => "wantedlayers",
            Self::ViewerCount => "viewercount",
            Self::Failed => "failed",
        }
    }
}

/// What a publisher's audience has use for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct Wanted {
    /// One for each encoding of the video, smallest first; none until something comes.
    wanted_layers: Vec<WantedLayer>,
}

/// Decides what a publisher's subscription is told.
#[derive(Debug)]
pub(in crate::http) struct Demand {
    kinds: Vec<Kind>,
    /// What the reader knows.
    layers: Option<Vec<WantedLayer>>,
    viewers: Option<u32>,
}

impl Demand {
    /// Begins with what of it all is to be told.
    pub(in crate::http) fn new(kinds: Vec<Kind>) -> Self {
        Self { kinds, layers: None, viewers: None }
    }

    /// A new reader begins, which knows nothing.
    pub(in crate::http) fn restart(&mut self) {
        (self.layers, self.viewers) = (None, None);
    }

    /// Returns the events that are due, as they go over the wire; nothing if nothing has changed.
    pub(in crate::http) fn poll(&mut self, stream: &StreamStatus) -> String {
        let mut text = String::new();
        let Wanted { wanted_layers } = wanted_of(stream);
        if self.kinds.contains(&Kind::WantedLayers) && self.layers.as_ref() != Some(&wanted_layers) {
            let data = serde_json::to_string(&Wanted { wanted_layers: wanted_layers.clone() }).unwrap_or_default();
            text.push_str(&sse::written(Kind::WantedLayers.name(), &data));
            self.layers = Some(wanted_layers);
        }
        if self.kinds.contains(&Kind::ViewerCount) && self.viewers != Some(stream.viewers) {
            let data = format!("{{\"viewercount\":{}}}", stream.viewers);
            text.push_str(&sse::written(Kind::ViewerCount.name(), &data));
            self.viewers = Some(stream.viewers);
        }
        text
    }

    /// Returns the event that ends the events of a session whose handshake failed.
    pub(super) fn failed(&self, failed: &FailedSession) -> String {
        if !self.kinds.contains(&Kind::Failed) {
            return String::new();
        }
        sse::written(Kind::Failed.name(), &Failed::of(failed))
    }
}

/// Returns what the audience of a stream has use for.
pub(in crate::http) fn wanted_of(stream: &StreamStatus) -> Wanted {
    let known = stream.publisher.as_ref().map(|publisher| publisher.wanted_layers.clone());
    Wanted { wanted_layers: known.unwrap_or_default() }
}
