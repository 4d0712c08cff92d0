//! Which encoding is a viewer shown, and which of its layers?
//!
//! What is wanted is decided elsewhere ([`choice`](crate::stream::choice)); here it is brought about, at the next moment that
//! a decoder allows.

use std::time::{Duration, Instant};

use media::{Codec, Packet};

use super::{Phase, Subscription};
use crate::layers::LayerId;
use crate::layers::svc::{Behind, Svc};
use crate::stream::Encoding;
use crate::stream::choice::{AvailableBitrate, Preferences, Reason};
use crate::stream::track::Track;

/// A key frame is changed over to up to this age: what came since is then caught up with unnoticed.
const FRESH: Duration = Duration::from_millis(250);

/// All layers of an encoding.
pub(super) const WHOLE: (u8, u8) = (u8::MAX, u8::MAX);

impl Subscription {
    /// The encoding that is being sent.
    pub fn encoding(&self) -> u8 {
        self.encoding
    }

    /// The highest spatial and temporal layer of it that is sent; `None` if all are.
    pub fn within(&self) -> Option<(u8, u8)> {
        self.layers.as_ref().map(|layers| layers.layers())
    }

    /// Why it is shown this encoding.
    pub fn reason(&self) -> Reason {
        let is_lacking = self.chosen.is_some_and(|chosen| chosen.payload_type.is_none());
        if is_lacking && self.reason != Reason::Hidden { Reason::Codec } else { self.reason }
    }

    /// What the viewer wishes from now on.
    pub fn set_preferences(&mut self, preferences: Preferences) {
        self.preferences = preferences;
    }

    /// What it wishes.
    pub fn preferences(&self) -> Preferences {
        self.preferences
    }

    /// What the network carries for this track, if known.
    pub fn set_available_bitrate(&mut self, available: Option<AvailableBitrate>) {
        self.available = available;
    }

    /// Something else is wanted from now on.
    pub(super) fn aim(&mut self, now: Instant, track: &Track, wanted: LayerId) {
        let offered = track.offered();
        let place = |layer: LayerId| offered.iter().position(|o| o.layer == layer).unwrap_or(usize::MAX);
        if place(wanted) < place(self.target) {
            self.upgrade_backoff.on_upgrade(now);
        } else if self.reason == Reason::Network {
            self.upgrade_backoff.on_downgrade(now);
        }
        self.target = wanted;
    }

    /// Changes over to the encoding that the viewer is to be shown: at once while it is shown nothing, else at a fresh key
    /// frame. Returns of which encoding that key frame is missing.
    pub(super) fn change_over(&mut self, now: Instant, track: &Track, wanted: u8) -> Option<u8> {
        if wanted == self.encoding {
            return None;
        }
        match self.phase {
            Phase::Waiting | Phase::Between { .. } => self.encoding = wanted,
            Phase::Holding { .. } | Phase::CatchUp { .. } => {}
            Phase::Live => match fresh_key(now, track.of(wanted)).filter(|_| self.put_off(now).is_none()) {
                Some(at) => {
                    self.encoding = wanted;
                    self.counters.switches += 1;
                    self.start_from(now, track, at);
                }
                // What the network does not carry would only wait in somebody's queue, and delay the way out.
                None if self.reason == Reason::Network => {
                    self.encoding = wanted;
                    self.counters.switches += 1;
                    self.phase = Phase::Between { since: now };
                }
                None => return Some(wanted),
            },
        }
        None
    }

    /// Sends as many layers of the encoding as are wanted, from its next picture on that allows it. Returns the encoding if it
    /// takes a key frame.
    pub(super) fn thin(&mut self, track: &Track) -> Option<u8> {
        if self.target.encoding != self.encoding {
            return None;
        }
        self.within = self.allowed(track);
        let is_sparse = track.is_sparse(self.encoding);
        if self.layers.is_none() && (self.within != WHOLE || is_sparse) {
            let sent = track.of(self.encoding).log().get(self.cursor.wrapping_sub(1));
            self.layers = Some(Box::new(Svc::whole(sent.map(|packet| packet.timestamp))));
        }
        let sent = self.layers.as_ref()?.layers();
        if self.within == WHOLE && track.is_all(self.encoding, sent) {
            self.layers = self.layers.take().filter(|_| is_sparse);
            return None;
        }
        (sent.0 < self.within.0 && !track.is_all(self.encoding, (sent.0, u8::MAX))).then_some(self.encoding)
    }

    /// The layers that the viewer may get of the encoding that is being sent.
    pub(super) fn allowed(&self, track: &Track) -> (u8, u8) {
        let wanted = if self.target.encoding == self.encoding { self.target.within() } else { WHOLE };
        let is_av1 = track.of(self.encoding).log().last().is_some_and(|packet| packet.codec == Codec::Av1);
        let understands_layers = !is_av1 || self.negotiated.extensions.dependency_descriptor.is_some();
        // Without descriptors libwebrtc takes every spatial layer for a picture of its own, and can decode none.
        if understands_layers || track.is_all(self.encoding, (0, u8::MAX)) { wanted } else { (0, wanted.1) }
    }

    /// Whether the viewer gets this packet of its encoding, and with which marker bit.
    pub(super) fn keep(&mut self, encoding: &Encoding, position: u64, packet: &Packet) -> Option<bool> {
        let Some(layers) = &mut self.layers else { return Some(packet.marker) };
        let next = if layers.depends_on_next(packet) { encoding.log().get(position + 1) } else { None };
        let behind = next.map_or(Behind::Unknown, |next| Behind::of(packet, next));
        layers.forward(packet.timestamp, &packet.layers, packet.marker, behind, self.within)
    }

    /// Whether the packet at the cursor is the newest, and must be sent as the last of its picture if the next one says so. Of a
    /// picture that has all layers nothing is shown later for that: its next layer is the next to come.
    pub(super) fn waits_for_next(&self, encoding: &Encoding, packet: &Packet) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.depends_on_next(packet))
            && self.cursor + 1 >= encoding.log().end()
    }
}

/// Where a key frame starts that came just now.
pub(super) fn fresh_key(now: Instant, encoding: &Encoding) -> Option<u64> {
    let at = encoding.log().key_at()?;
    let age = now.saturating_duration_since(encoding.log().get(at)?.arrived_at);
    (age <= FRESH).then_some(at)
}
