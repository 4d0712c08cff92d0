//! Which session does a datagram belong to?
//!
//! Its source address tells, which ICE proved, or the ICE ufrag in it (threat T1). The kernel gives
//! an address to one shard, whichever session it belongs to: STUN and DTLS are passed on to the
//! session's desk, SRTP and SRTCP to the shard that serves the session.
//!
//! Media of a publisher may overtake its keys, which come from its desk by another way. It is kept
//! for a moment, at most [`MAX_EARLY`] datagrams of all sessions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use media::SessionId;
use media::demux::Class;

use super::{Command, Event, Key, Shard};
use crate::desk::Handed;

/// The session that datagrams from an address belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) session: SessionId,
    /// The desk that holds the session: STUN and DTLS go there.
    pub(super) desk: u8,
    /// The shard that serves it, once one does.
    pub(super) serving: Option<u8>,
    /// It may send RTP.
    pub(super) is_sender: bool,
    /// Its place on this shard, if it has one; another session may have that place now.
    pub(super) key: Option<Key>,
}

/// SRTP and SRTCP of publishers whose keys are not here yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Early(VecDeque<(SessionId, Handed)>);

/// Datagrams that are kept for sessions without keys: the first key frames of a few publishers. The
/// oldest go first. A guess; at most 0.75 MB.
const MAX_EARLY: usize = 512;

/// The most events that wait to be picked up; beyond that STUN for desks is dropped, and peers
/// repeat it.
const MAX_EVENTS: usize = 65_536;

/// The most source addresses that are known; more than the [`crate::desk`] limit of a session times
/// 20,000 sessions.
pub(super) const MAX_ROUTES: usize = 200_000;

impl Early {
    fn keep(&mut self, session: SessionId, handed: Handed) {
        if self.0.len() >= MAX_EARLY {
            self.0.pop_front();
        }
        self.0.push_back((session, handed));
    }

    /// Takes out the datagrams of a session.
    fn take(&mut self, session: SessionId) -> Vec<Handed> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (of_session, others): (VecDeque<_>, _) = all.partition(|(of, _)| *of == session);
        self.0 = others;
        of_session.into_iter().map(|(_, handed)| handed).collect()
    }
}

impl Shard {
    pub(super) fn take_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &mut [u8],
    ) {
        let class = media::demux::classify(bytes);
        let Some(route) = self.routes.get(&source).copied() else {
            // Only STUN names its session.
            match desk_of(bytes).filter(|_| class == Class::Stun) {
                Some(desk) => self.hand_to_desk(desk, source, destination, bytes),
                None => self.counters.unknown_source += 1,
            }
            return;
        };
        match class {
            Class::Stun | Class::Dtls => {
                if let Some(Key::Publisher(key)) = route.key
                    && let Some(publisher) = self.publishers.get_mut(key).filter(|p| p.session == route.session)
                {
                    publisher.on_datagram(now);
                }
                self.hand_to_desk(route.desk, source, destination, bytes);
            }
            Class::Rtp if !route.is_sender && !media::rtp::is_rtcp(bytes) => self.counters.unexpected += 1,
            Class::Rtp => match route.serving {
                Some(shard) if shard != self.number => {
                    self.pass_on(shard, route.session, source, destination, bytes);
                }
                _ => self.protected(now, route, source, destination, bytes),
            },
            Class::Other => self.counters.unexpected += 1,
        }
    }

    /// SRTP or SRTCP came for a session here.
    fn protected(&mut self, now: Instant, route: Route, source: SocketAddr, destination: SocketAddr, bytes: &mut [u8]) {
        match self.place_of(route) {
            Some(Key::Viewer(key)) => self.viewer_feedback(now, key, bytes),
            Some(Key::Publisher(key)) => self.publisher_packet(now, key, source, destination, bytes),
            None if route.is_sender => {
                let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
                self.early.keep(route.session, handed);
            }
            None => {}
        }
    }

    /// SRTP or SRTCP that another shard received for a session that may be here.
    pub(super) fn passed_on(&mut self, now: Instant, session: SessionId, mut handed: Handed) {
        let is_sender = matches!(self.by_session.get(&session), Some(Key::Publisher(_)));
        let is_rtp = !media::rtp::is_rtcp(&handed.bytes);
        if is_rtp && !is_sender {
            self.counters.unexpected += 1;
            return;
        }
        let route = Route { session, desk: 0, serving: None, is_sender: false, key: None };
        self.protected(now, route, handed.source, handed.destination, &mut handed.bytes);
    }

    /// Keys of a publisher came: its media that overtook them is taken.
    pub(super) fn take_early(&mut self, now: Instant, session: SessionId) {
        for mut handed in self.early.take(session) {
            if let Some(Key::Publisher(key)) = self.by_session.get(&session).copied() {
                self.publisher_packet(now, key, handed.source, handed.destination, &mut handed.bytes);
            }
        }
    }

    /// The place of a route's session: the one that it names, if it is still that session's.
    fn place_of(&self, route: Route) -> Option<Key> {
        let is_its = |key: &Key| match *key {
            Key::Viewer(key) => self.viewers.get(key).is_some_and(|slot| slot.viewer.session == route.session),
            Key::Publisher(key) => self.publishers.get(key).is_some_and(|p| p.session == route.session),
        };
        route.key.filter(is_its).or_else(|| self.by_session.get(&route.session).copied())
    }

    fn hand_to_desk(&mut self, desk: u8, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_desk += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToDesk { desk, handed });
    }

    /// Passes SRTP or SRTCP of a session to the shard that serves it.
    fn pass_on(&mut self, shard: u8, session: SessionId, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        if self.events.len() >= MAX_EVENTS {
            self.counters.dropped_for_shard += 1;
            return;
        }
        let handed = Handed { shard: self.number, source, destination, bytes: bytes.to_vec() };
        self.events.push_back(Event::ToShard { shard, command: Command::Protected { session, handed } });
        self.counters.passed_on += 1;
    }

    pub(super) fn tell_others(&mut self, command: impl Fn() -> Command) {
        for shard in (0..self.shards).filter(|s| *s != self.number) {
            self.events.push_back(Event::ToShard { shard, command: command() });
        }
    }

    /// An address passed ICE for a session. `is_sender`: it may send RTP.
    pub(super) fn bind(
        &mut self,
        source: SocketAddr,
        session: SessionId,
        desk: u8,
        serving: Option<u8>,
        is_sender: bool,
    ) {
        crate::guard::fault!(Bind, Some(session));
        if self.routes.len() < MAX_ROUTES {
            let key = self.by_session.get(&session).copied();
            self.routes.insert(source, Route { session, desk, serving, is_sender, key });
        } else {
            self.counters.routes_full += 1;
        }
    }

    /// An address is no session's any more.
    pub(super) fn unbind(&mut self, source: SocketAddr) {
        self.routes.remove(&source);
    }

    /// The address that a session is served at is not its own any more.
    pub(super) fn unbind_from(&mut self, session: SessionId, address: SocketAddr) {
        if self.routes.get(&address).is_some_and(|route| route.session == session) {
            self.routes.remove(&address);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_media_is_bounded_and_taken_out_by_session_in_order() {
        let address = SocketAddr::from(([192, 0, 2, 7], 5_000));
        let handed =
            |n: u16| Handed { shard: 0, source: address, destination: address, bytes: n.to_be_bytes().to_vec() };
        let session = |n: u16| SessionId::from_bytes([n as u8 % 2; 16]);
        let mut early = Early::default();
        (0..600).for_each(|n| early.keep(session(n), handed(n)));
        assert_eq!(early.0.len(), MAX_EARLY);
        let taken: Vec<_> = early.take(session(0)).into_iter().map(|handed| handed.bytes).collect();
        let expected: Vec<_> = (88..600_u16).step_by(2).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(taken, expected);
        assert_eq!(early.0.len(), 256);
    }
}
