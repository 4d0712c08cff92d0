//! Whose is a datagram?
//!
//! Its source address says so, which ICE proved, or the ICE ufrag in it (threat T1). The kernel gives an address to one
//! shard, whoever it belongs to: what is for a desk or for another shard is passed on, and a publisher moves to the shard
//! that its first datagram reached.

use std::net::SocketAddr;
use std::time::Instant;

use media::SessionId;
use media::demux::Class;

use super::{Command, Event, Shard};
use crate::desk::Handed;

/// Where datagrams from an address belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Publisher(usize),
    /// A viewer's address: STUN and DTLS go to its desk; SRTCP to `slot` here, or to the shard that serves it.
    Viewer {
        session: SessionId,
        desk: u8,
        serving: Option<u8>,
        /// Its place among our viewers, if it has one; whoever comes after it may have that now.
        slot: Option<usize>,
    },
    /// A publisher on another shard.
    Shard(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UfragRoute {
    Here(usize),
    Shard(u8),
}

/// The most events that wait to be picked up; beyond that STUN for desks is dropped, and it is repeated.
const MAX_EVENTS: usize = 65_536;

/// The most source addresses that are known; more than a viewer's [`crate::desk`] limit times 20,000 viewers.
pub(super) const MAX_ROUTES: usize = 200_000;

impl Shard {
    /// A first datagram from an address that nobody knows: only STUN names its session.
    pub(super) fn first_binding(&mut self, now: Instant, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if let Some(desk) = desk_of(bytes) {
            self.hand_to_desk(desk, source, destination, bytes);
            return;
        }
        match self.ufrag_route(bytes) {
            Some(UfragRoute::Here(key)) => {
                self.publisher_datagram(now, key, source, destination, bytes);
                self.bind_publisher(key, source);
            }
            Some(UfragRoute::Shard(shard)) => {
                self.pass_on(shard, source, destination, bytes);
            }
            None => self.counters.unknown_source += 1,
        }
    }

    fn ufrag_route(&self, bytes: &[u8]) -> Option<UfragRoute> {
        let message = str0m::ice::StunMessage::parse(bytes).ok()?;
        let (local, _) = message.split_username()?;
        self.ufrags.get(local).copied()
    }

    /// A datagram that another shard received for a session that lives here.
    pub(super) fn relayed_datagram(&mut self, now: Instant, handed: &Handed) {
        if media::demux::classify(&handed.bytes) == Class::Rtp
            && !matches!(self.routes.get(&handed.source), Some(Route::Publisher(_)))
        {
            self.counters.unknown_source += 1;
            return;
        }
        let Some(UfragRoute::Here(key)) = self.ufrag_route(&handed.bytes) else {
            if let Some(Route::Publisher(key)) = self.routes.get(&handed.source).copied() {
                self.publisher_datagram(now, key, handed.source, handed.destination, &handed.bytes);
            } else {
                self.counters.unknown_source += 1;
            }
            return;
        };
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        let fresh = publisher.sources().is_empty() && !publisher.is_connected();
        if !fresh {
            // It moved to an address that hashes to another shard, which passes its datagrams on.
            self.publisher_datagram(now, key, handed.source, handed.destination, &handed.bytes);
            self.bind_publisher(key, handed.source);
            if self.routes.get(&handed.source) == Some(&Route::Publisher(key)) {
                let command = Command::RouteToShard { source: handed.source, shard: self.number };
                self.events.push_back(Event::ToShard { shard: handed.shard, command });
            }
            return;
        }
        // The shard that receives a session's first binding adopts it.
        let publisher = self.release_publisher(key);
        self.ufrags.insert(publisher.ufrag.clone(), UfragRoute::Shard(handed.shard));
        let first = Some(handed.clone());
        let command = Command::AdoptPublisher { publisher: Box::new(publisher), first };
        self.events.push_back(Event::ToShard { shard: handed.shard, command });
    }

    pub(super) fn hand_to_desk(&mut self, desk: u8, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_desk += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToDesk { desk, handed });
    }

    pub(super) fn pass_on(&mut self, shard: u8, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_shard += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToShard { shard, command: Command::Datagram(handed) });
        self.counters.passed_on += 1;
    }

    /// SRTCP of a viewer that another shard serves, which finds it by its session.
    pub(super) fn pass_feedback_on(&mut self, shard: u8, session: SessionId, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_shard += 1;
            return;
        }
        let command = Command::Feedback { session, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToShard { shard, command });
        self.counters.passed_on += 1;
    }

    pub(super) fn tell_others(&mut self, command: impl Fn() -> Command) {
        for shard in (0..self.shards).filter(|s| *s != self.number) {
            self.events.push_back(Event::ToShard { shard, command: command() });
        }
    }

    /// An address passed ICE for a viewer's session.
    pub(super) fn bind_viewer(&mut self, source: SocketAddr, session: SessionId, desk: u8, serving: Option<u8>) {
        crate::guard::fault!(Bind, Some(session));
        if self.routes.len() < MAX_ROUTES {
            let slot = self.slot_of(session);
            self.routes.insert(source, Route::Viewer { session, desk, serving, slot });
        } else {
            self.counters.routes_full += 1;
        }
    }

    /// An address is no viewer's any more.
    pub(super) fn unbind_viewer(&mut self, source: SocketAddr) {
        if matches!(self.routes.get(&source), Some(Route::Viewer { .. })) {
            self.routes.remove(&source);
        }
    }

    /// An address passed ICE for a publisher on another shard.
    pub(super) fn route_to_shard(&mut self, source: SocketAddr, shard: u8) {
        if self.routes.len() < MAX_ROUTES {
            self.routes.insert(source, Route::Shard(shard));
        }
    }

    /// A publisher on another shard is gone.
    pub(super) fn forget_publisher(&mut self, ufrag: &str, sources: &[SocketAddr]) {
        self.ufrags.remove(ufrag);
        for source in sources {
            if matches!(self.routes.get(source), Some(Route::Shard(_))) {
                self.routes.remove(source);
            }
        }
    }
}

/// Which desk a STUN request's ufrag names: `v` and two hex digits, see [`crate::desk`].
fn desk_of(bytes: &[u8]) -> Option<u8> {
    let message = str0m::ice::StunMessage::parse(bytes).ok()?;
    if !message.is_binding_request() {
        return None;
    }
    let (local, _) = message.split_username()?;
    let digits = local.strip_prefix('v')?.get(..2)?;
    u8::from_str_radix(digits, 16).ok()
}
