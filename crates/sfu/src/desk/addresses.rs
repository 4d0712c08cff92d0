//! Which of a viewer's addresses does media go to?
//!
//! Addresses are learned from authentic binding requests. A viewer says which one it wants by nominating it
//! (USE-CANDIDATE, RFC 8445 §8.1.1). Clients that nominate once and never again are followed too, once the address that
//! serves them has fallen silent. This value only says what is wanted; whether somebody is there is asked first
//! ([`super::Desk`], threat T4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The addresses of one viewer, in the order in which they were first heard of.
#[derive(Default)]
pub(super) struct Addresses(Vec<Address>);

/// Where a viewer's datagrams come from, and how they reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Its address.
    pub(super) address: SocketAddr,
    /// The address of ours that it sends to.
    pub(super) destination: SocketAddr,
    /// The shard that its datagrams arrive at.
    pub(super) shard: u8,
}

struct Address {
    way: Way,
    heard_at: Instant,
    is_nominated: bool,
}

/// What a request from an address changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Known,
    /// It is new, or comes by another shard now. Too many are not remembered.
    New { forgotten: Option<Way> },
}

/// The most addresses of one viewer that are remembered.
const MAX_ADDRESSES: usize = 8;

/// An address that the viewer does not check any more is given up for one that it does. Longer than any client waits
/// between two checks (RFC 7675 §5.1: 5 s, up to 20 % more), shorter than consent lasts.
const SILENCE: Duration = Duration::from_secs(7);

impl Addresses {
    /// An authentic request came by `way`. What `serves` is never forgotten.
    pub(super) fn heard(&mut self, now: Instant, way: Way, nominates: bool, serves: Option<SocketAddr>) -> Heard {
        if let Some(known) = self.0.iter_mut().find(|a| a.way.address == way.address) {
            known.heard_at = now;
            known.is_nominated |= nominates;
            if known.way.shard == way.shard {
                return Heard::Known;
            }
            known.way = way;
            return Heard::New { forgotten: None };
        }
        let oldest = self.0.iter().position(|a| Some(a.way.address) != serves);
        let forgotten = oldest.filter(|_| self.0.len() >= MAX_ADDRESSES).map(|at| self.0.remove(at).way);
        self.0.push(Address { way, heard_at: now, is_nominated: nominates });
        Heard::New { forgotten }
    }

    /// Where media should go instead of `serving`, if anywhere.
    pub(super) fn wanted(&self, now: Instant, serving: SocketAddr) -> Option<Way> {
        let at = self.0.iter().position(|a| a.way.address == serving);
        // A nominated address that came later: the viewer's network changed.
        let later = self.0.iter().skip(at.map_or(0, |at| at + 1)).rfind(|a| a.is_nominated);
        if let Some(later) = later {
            return Some(later.way);
        }
        let silent_since = at.and_then(|at| self.0.get(at)).map(|a| a.heard_at);
        if silent_since.is_some_and(|since| now.saturating_duration_since(since) < SILENCE) {
            return None;
        }
        let others = self.0.iter().filter(|a| a.way.address != serving && Some(a.heard_at) > silent_since);
        others.max_by_key(|a| a.heard_at).map(|a| a.way)
    }

    /// How datagrams reach us from `address`.
    pub(super) fn way(&self, address: SocketAddr) -> Option<Way> {
        self.0.iter().map(|a| a.way).find(|way| way.address == address)
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<Way> {
        self.0.last().map(|a| a.way)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Way> {
        self.0.iter().map(|a| a.way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(port: u16) -> Way {
        let address = SocketAddr::from(([192, 0, 2, 7], port));
        Way { address, destination: SocketAddr::from(([192, 0, 2, 1], 7_882)), shard: 0 }
    }

    fn port(wanted: Option<Way>) -> Option<u16> {
        wanted.map(|way| way.address.port())
    }

    #[test]
    fn a_later_nominated_address_is_wanted_at_once_and_an_unnominated_one_is_not() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let serving = way(1).address;
        assert_eq!(addresses.heard(now, way(1), true, None), Heard::New { forgotten: None });
        assert_eq!(addresses.heard(now, way(1), false, None), Heard::Known);
        assert_eq!(port(addresses.wanted(now, serving)), None);
        addresses.heard(now, way(2), false, Some(serving));
        assert_eq!(port(addresses.wanted(now, serving)), None);
        addresses.heard(now, way(3), true, Some(serving));
        assert_eq!(port(addresses.wanted(now, serving)), Some(3));
        assert_eq!(port(addresses.wanted(now, way(3).address)), None, "and not back to an older one");
    }

    #[test]
    fn an_address_that_fell_silent_is_given_up_for_one_that_speaks() {
        let began = Instant::now();
        let mut addresses = Addresses::default();
        addresses.heard(began, way(1), true, None);
        addresses.heard(began, way(2), false, None);
        let later = began + SILENCE;
        assert_eq!(port(addresses.wanted(later, way(1).address)), None, "nobody speaks");
        addresses.heard(later, way(2), false, None);
        assert_eq!(port(addresses.wanted(later, way(1).address)), Some(2));
        addresses.heard(later, way(1), false, None);
        assert_eq!(port(addresses.wanted(later, way(1).address)), None, "both speak");
    }

    #[test]
    fn the_oldest_is_forgotten_but_not_the_one_that_serves() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let serving = Some(way(0).address);
        for n in 0..MAX_ADDRESSES as u16 {
            assert_eq!(addresses.heard(now, way(n), true, serving), Heard::New { forgotten: None });
        }
        assert_eq!(addresses.heard(now, way(100), true, serving), Heard::New { forgotten: Some(way(1)) });
        assert_eq!(addresses.iter().count(), MAX_ADDRESSES);
        assert!(addresses.way(way(0).address).is_some() && addresses.newest() == Some(way(100)));
    }

    #[test]
    fn an_address_that_comes_by_another_shard_is_told_again() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        addresses.heard(now, way(1), true, None);
        let moved = Way { shard: 1, ..way(1) };
        assert_eq!(addresses.heard(now, moved, false, None), Heard::New { forgotten: None });
        assert_eq!(addresses.way(moved.address), Some(moved));
    }
}
