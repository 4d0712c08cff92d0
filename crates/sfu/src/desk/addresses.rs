//! Which of a viewer's addresses does media go to?
//!
//! Addresses are learned from authentic binding requests. A viewer says which one it wants by
//! nominating it (USE-CANDIDATE, RFC 8445 §8.1.1). Clients that nominate once and never again are
//! followed too, once the address that serves them has fallen silent. This value only names the
//! address that the viewer wants; the desk checks first that the viewer answers there
//! ([`super::Desk`], threat T4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The addresses of one viewer, in the order in which they were first heard of.
#[derive(Default)]
pub(super) struct Addresses(Vec<Address>);

/// Where a viewer's datagrams come from, and how they reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// Its address.
    pub(super) address: SocketAddr,
    /// The address of ours that it sends to.
    pub(super) destination: SocketAddr,
    /// The shard that its datagrams arrive at.
    pub(super) shard: u8,
}

struct Address {
    path: Path,
    heard_at: Instant,
    is_nominated: bool,
}

/// What a request from an address changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Known,
    /// It is new, or comes by another shard now. Too many are not remembered.
    New { forgotten: Option<Path> },
}

/// The most addresses of one viewer that are remembered.
const MAX_ADDRESSES: usize = 8;

/// Silence after which an address that the viewer does not check any more is given up for one that
/// it does. Longer than any client waits between two checks (RFC 7675 §5.1: 5 s, up to 20 % more),
/// shorter than consent lasts.
const SILENCE: Duration = Duration::from_secs(7);

impl Addresses {
    /// Takes an authentic request that came by `path`. The address `serves` is never forgotten.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        path: Path,
        nominates: bool,
        serves: Option<SocketAddr>,
    ) -> Heard {
        if let Some(known) = self.0.iter_mut().find(|a| a.path.address == path.address) {
            known.heard_at = now;
            known.is_nominated |= nominates;
            if known.path.shard == path.shard {
                return Heard::Known;
            }
            known.path = path;
            return Heard::New { forgotten: None };
        }
        let oldest = self.0.iter().position(|a| Some(a.path.address) != serves);
        let forgotten = oldest.filter(|_| self.0.len() >= MAX_ADDRESSES).map(|at| self.0.remove(at).path);
        self.0.push(Address { path, heard_at: now, is_nominated: nominates });
        Heard::New { forgotten }
    }

    /// Where media should go instead of `serving`, if anywhere.
    pub(super) fn better(&self, now: Instant, serving: SocketAddr) -> Option<Path> {
        let at = self.0.iter().position(|a| a.path.address == serving);
        // A nominated address that came later: the viewer's network changed.
        let later = self.0.iter().skip(at.map_or(0, |at| at + 1)).rfind(|a| a.is_nominated);
        if let Some(later) = later {
            return Some(later.path);
        }
        let silent_since = at.and_then(|at| self.0.get(at)).map(|a| a.heard_at);
        if silent_since.is_some_and(|since| now.saturating_duration_since(since) < SILENCE) {
            return None;
        }
        let others = self.0.iter().filter(|a| a.path.address != serving && Some(a.heard_at) > silent_since);
        others.max_by_key(|a| a.heard_at).map(|a| a.path)
    }

    /// How datagrams reach us from `address`.
    pub(super) fn path(&self, address: SocketAddr) -> Option<Path> {
        self.0.iter().map(|a| a.path).find(|path| path.address == address)
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<Path> {
        self.0.last().map(|a| a.path)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Path> {
        self.0.iter().map(|a| a.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        let address = SocketAddr::from(([192, 0, 2, 7], port));
        Path { address, destination: SocketAddr::from(([192, 0, 2, 1], 7_882)), shard: 0 }
    }

    fn port(wanted: Option<Path>) -> Option<u16> {
        wanted.map(|path| path.address.port())
    }

    #[test]
    fn a_later_nominated_address_is_wanted_at_once_and_an_unnominated_one_is_not() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let serving = path(1).address;
        assert_eq!(addresses.on_request(now, path(1), true, None), Heard::New { forgotten: None });
        assert_eq!(addresses.on_request(now, path(1), false, None), Heard::Known);
        assert_eq!(port(addresses.better(now, serving)), None);
        addresses.on_request(now, path(2), false, Some(serving));
        assert_eq!(port(addresses.better(now, serving)), None);
        addresses.on_request(now, path(3), true, Some(serving));
        assert_eq!(port(addresses.better(now, serving)), Some(3));
        assert_eq!(port(addresses.better(now, path(3).address)), None, "and not back to an older one");
    }

    #[test]
    fn an_address_that_fell_silent_is_given_up_for_one_that_speaks() {
        let began = Instant::now();
        let mut addresses = Addresses::default();
        addresses.on_request(began, path(1), true, None);
        addresses.on_request(began, path(2), false, None);
        let later = began + SILENCE;
        assert_eq!(port(addresses.better(later, path(1).address)), None, "nobody speaks");
        addresses.on_request(later, path(2), false, None);
        assert_eq!(port(addresses.better(later, path(1).address)), Some(2));
        addresses.on_request(later, path(1), false, None);
        assert_eq!(port(addresses.better(later, path(1).address)), None, "both speak");
    }

    #[test]
    fn the_oldest_is_forgotten_but_not_the_one_that_serves() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let serving = Some(path(0).address);
        for n in 0..MAX_ADDRESSES as u16 {
            assert_eq!(addresses.on_request(now, path(n), true, serving), Heard::New { forgotten: None });
        }
        assert_eq!(addresses.on_request(now, path(100), true, serving), Heard::New { forgotten: Some(path(1)) });
        assert_eq!(addresses.iter().count(), MAX_ADDRESSES);
        assert!(addresses.path(path(0).address).is_some() && addresses.newest() == Some(path(100)));
    }

    #[test]
    fn an_address_that_comes_by_another_shard_is_told_again() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        addresses.on_request(now, path(1), true, None);
        let moved = Path { shard: 1, ..path(1) };
        assert_eq!(addresses.on_request(now, moved, false, None), Heard::New { forgotten: None });
        assert_eq!(addresses.path(moved.address), Some(moved));
    }
}
