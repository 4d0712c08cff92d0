//! Does this address ask too often?
//!
//! A token bucket per address (IPv6: per /64). Memory is bounded without a sweep: buckets live in
//! two generations; when the young one is full it becomes the old one, and the old one is
//! forgotten. An attacker with very many addresses can so make us forget their own buckets, which
//! is worth one burst per address, not more.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::limits::REMEMBERED_ADDRESSES;

/// An address as far as limits tell addresses apart: IPv4 whole, IPv6 by its /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// Returns the key of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }
}

/// A rate limit for each address.
pub struct RateLimit {
    /// Time that one token takes to come back; `None` is no limit.
    interval: Option<Duration>,
    burst: u32,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<AddressKey, Bucket>,
    old: HashMap<AddressKey, Bucket>,
}

/// A bucket is told by the moment at which it will be full again.
#[derive(Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

impl RateLimit {
    /// Creates a limit of `count` each `period`, with bursts of `burst`. A `count` of 0 is no
    /// limit.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        Self { interval: period.checked_div(count), burst: burst.max(1), generations: Mutex::default() }
    }

    /// Takes a token. Returns how long to wait where there is none.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(interval) = self.interval else {
            return Ok(());
        };
        let key = AddressKey::of(address);
        let mut generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let bucket = generations.bucket(key, now);
        let full_at = bucket.full_at.max(now) + interval;
        let latest = now + interval * self.burst;
        if full_at > latest {
            return Err(full_at - latest);
        }
        bucket.full_at = full_at;
        Ok(())
    }
}

impl Generations {
    fn bucket(&mut self, key: AddressKey, now: Instant) -> &mut Bucket {
        if !self.young.contains_key(&key) {
            let bucket = self.old.remove(&key).unwrap_or(Bucket { full_at: now });
            if self.young.len() >= REMEMBERED_ADDRESSES {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, bucket);
        }
        self.young.entry(key).or_insert(Bucket { full_at: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let limit = RateLimit::new(5, Duration::from_secs(1), 20);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| limit.take(address, start).is_ok()).count(), 20);
        assert_eq!(limit.take(address, start), Err(Duration::from_millis(200)));
        let passed = (0..10_000).filter(|i| limit.take(address, start + Duration::from_millis(*i)).is_ok()).count();
        assert_eq!(passed, 49, "10 s at 5/s, less the moment 0");
        assert!(limit.take("192.0.2.2".parse().unwrap(), start).is_ok(), "others are not touched");
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = RateLimit::new(0, Duration::from_secs(1), 0);
        let now = Instant::now();
        assert!((0..1000).all(|_| limit.take("::1".parse().unwrap(), now).is_ok()));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let key = |text: &str| AddressKey::of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.2"), key("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_recent_addresses_are_remembered() {
        let limit = RateLimit::new(1, Duration::from_secs(60), 1);
        let now = Instant::now();
        let address = |i: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(i));
        for i in 0..REMEMBERED_ADDRESSES as u32 * 5 {
            limit.take(address(i), now).unwrap();
            assert!(limit.take(address(i), now).is_err());
        }
        let generations = limit.generations.lock().unwrap();
        assert!(generations.young.len() <= REMEMBERED_ADDRESSES && generations.old.len() <= REMEMBERED_ADDRESSES);
    }
}
