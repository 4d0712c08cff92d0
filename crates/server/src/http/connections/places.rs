//! How many connections may there be, and how many of one address?
//!
//! Every connection has a [`Slot`] from the moment it is accepted. The number of slots is bounded
//! by the limit of open files, and per address by `limits.connections_per_ip`. A connection that
//! has shown a valid token does not count at its address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Cidr, HttpConfig};
use crate::http::counters::Counters;
use crate::http::limits::CONNECTION_PERCENT;
use crate::http::rate::AddressKey;

/// All connections that are open.
pub(super) struct Connections {
    most: usize,
    most_per_address: usize,
    trusted: Vec<Cidr>,
    open: Mutex<Open>,
    counters: Arc<Counters>,
    said_full: AtomicBool,
}

#[derive(Default)]
struct Open {
    all: usize,
    unauthenticated: HashMap<AddressKey, usize>,
}

/// A connection's place.
pub struct Slot {
    connections: Arc<Connections>,
    /// Its address, while it counts there.
    counted: Mutex<Option<AddressKey>>,
}

impl Connections {
    pub(super) fn new(config: &HttpConfig, counters: Arc<Counters>) -> Self {
        Self {
            most: most_connections(),
            most_per_address: config.limits.connections_per_ip,
            trusted: config.trusted_proxies.clone(),
            open: Mutex::default(),
            counters,
            said_full: AtomicBool::new(false),
        }
    }

    /// Takes a place, or none where a limit is reached: then the connection is closed unheard.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        // All clients of a proxy share its address.
        let counts = self.most_per_address > 0 && !self.trusted.iter().any(|network| network.contains(address));
        let key = counts.then(|| AddressKey::of(address));
        let mut open = lock(&self.open);
        let of_address = key.and_then(|key| open.unauthenticated.get(&key).copied()).unwrap_or(0);
        if open.all >= self.most || (counts && of_address >= self.most_per_address) {
            self.counters.connection_refused();
            if open.all >= self.most && !self.said_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    connections = open.all,
                    "too many connections; raise the limit of open files (ulimit -n)"
                );
            }
            return None;
        }
        open.all += 1;
        if let Some(key) = key {
            *open.unauthenticated.entry(key).or_default() += 1;
        }
        drop(open);
        self.counters.connected();
        Some(Slot { connections: Arc::clone(self), counted: Mutex::new(key) })
    }

    pub(super) fn accept_failed(&self, error: &io::Error) {
        if !self.said_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot accept connections");
        }
    }

    fn uncount(&self, key: AddressKey) {
        let mut open = lock(&self.open);
        if let Some(count) = open.unauthenticated.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.unauthenticated.remove(&key);
            }
        }
    }
}

impl Slot {
    /// Creates the place of the one connection that there is.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        let connections = Arc::new(Connections {
            most: 1,
            most_per_address: 0,
            trusted: Vec::new(),
            open: Mutex::default(),
            counters: Arc::default(),
            said_full: AtomicBool::new(false),
        });
        connections.take(IpAddr::from([192, 0, 2, 1])).expect("a place is free")
    }

    /// A valid token was shown: the connection no longer counts at its address.
    pub fn authenticated(&self) {
        if let Some(key) = lock(&self.counted).take() {
            self.connections.uncount(key);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.authenticated();
        let mut open = lock(&self.connections.open);
        open.all -= 1;
        if open.all < self.connections.most / 2 {
            self.connections.said_full.store(false, Ordering::Relaxed);
        }
        drop(open);
        self.connections.counters.disconnected();
    }
}

/// Returns how many connections the limit of open files lets us have; media's sockets and files
/// need the rest.
fn most_connections() -> usize {
    // RLIMIT_NOFILE as Linux shows it; asking the system itself needs `unsafe`.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next());
    // Where it cannot be read, POSIX systems' usual limit.
    let files: usize = soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024);
    files.saturating_mul(CONNECTION_PERCENT) / 100
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock; if it did, the numbers would still be numbers.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let connections = Arc::new(Connections {
            most: 3,
            most_per_address: 2,
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            open: Mutex::default(),
            counters: Arc::default(),
            said_full: AtomicBool::new(false),
        });
        let take = |address: &str| connections.take(address.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none(), "two of one address");
        first.authenticated();
        first.authenticated();
        let third = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.2").is_none(), "three in all");
        drop((first, second, third));
        let proxied: Vec<_> = (0..3).map(|_| take("10.0.0.1").unwrap()).collect();
        drop(proxied);
        let open = lock(&connections.open);
        assert_eq!((open.all, open.unauthenticated.len()), (0, 0));
    }

    #[test]
    fn the_limit_of_open_files_is_known() {
        assert!(most_connections() >= 100);
    }
}
