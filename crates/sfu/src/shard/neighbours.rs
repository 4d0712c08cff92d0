//! Which viewers share a bottleneck?
//!
//! Those who watch from one home or office have one address and one way out of it; each of their estimators finds a part of
//! what it carries, and who came first keeps more. So viewers of one address that find their way full at the same moments, again
//! and again, are taken for neighbours (after RFC 8382, which looks for bottlenecks that flows share, by what their delays have
//! in common), and their estimates drawn together (as RFC 8699 couples the rates of such flows). An address alone proves nothing: a
//! carrier's NAT has thousands behind one, each with a way of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Moments at which a viewer's way was found full, the latest in any place.
pub type Crowded = [Option<Instant>; 4];

/// Viewers of a shard that found their way full lately, by address.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    by_address: HashMap<IpAddr, Vec<Neighbour>>,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    key: usize,
    bps: f32,
    crowded: Crowded,
    heard_at: Instant,
}

/// More behind one address are no household: nobody looks who fits whom.
const MAX_NEIGHBOURS: usize = 16;
/// Viewers are looked at every second; who was not is gone, or has room.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(2_500);
/// Moments before that say nothing of now: the more careful neighbours are, the rarer they become.
const LATELY: Duration = Duration::from_secs(30);
/// A full queue is noticed by those behind it within a feedback interval and a round trip. A guess.
const SAME_MOMENT: Duration = Duration::from_millis(500);
/// Once may be chance.
const LEAST_MOMENTS: usize = 2;

impl Neighbours {
    /// A viewer at this address carries `bps`, as far as is known. Returns how many share its bottleneck and what they carry on
    /// average, it included; `None` if nobody does.
    pub(super) fn look(
        &mut self,
        now: Instant,
        key: usize,
        address: IpAddr,
        bps: f32,
        crowded: Crowded,
    ) -> Option<(u16, f32)> {
        let address = home(address);
        if !crowded.iter().any(|at| is_lately(now, at)) {
            return None;
        }
        let here = self.by_address.entry(address).or_default();
        here.retain(|one| one.key != key && now.saturating_duration_since(one.heard_at) < FORGOTTEN_AFTER);
        if here.len() >= MAX_NEIGHBOURS {
            return None;
        }
        let shares = |other: &&Neighbour| share(now, &crowded, &other.crowded);
        let (count, sum) =
            here.iter().filter(shares).fold((1_u16, bps), |(count, sum), one| (count + 1, sum + one.bps));
        here.push(Neighbour { key, bps, crowded, heard_at: now });
        (count > 1).then_some((count, sum / f32::from(count)))
    }

    /// Forgets who was not heard of for long.
    pub(super) fn clean(&mut self, now: Instant) {
        self.by_address
            .retain(|_, here| here.iter().any(|one| now.saturating_duration_since(one.heard_at) < FORGOTTEN_AFTER));
    }
}

/// The network of a home: one address of IPv4, 64 bits of IPv6 (RFC 6177).
fn home(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

fn is_lately(now: Instant, at: &Option<Instant>) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < LATELY)
}

fn share(now: Instant, ours: &Crowded, theirs: &Crowded) -> bool {
    let lately = |at: &&Option<Instant>| is_lately(now, at);
    let apart = |a: Instant, b: Instant| a.saturating_duration_since(b).max(b.saturating_duration_since(a));
    let is_common = |at: &Instant| theirs.iter().flatten().any(|other| apart(*at, *other) < SAME_MOMENT);
    ours.iter().filter(lately).flatten().filter(|at| is_common(at)).count() >= LEAST_MOMENTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(start: Instant, seconds: [f32; 4]) -> Crowded {
        seconds.map(|at| Some(start + Duration::from_secs_f32(at)))
    }

    #[test]
    fn who_finds_its_way_full_when_others_do_gets_the_average() {
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let mut neighbours = Neighbours::default();
        let home = "192.0.2.7".parse().expect("an address");
        let other = "192.0.2.8".parse().expect("an address");
        let crowded = moments(start, [2.0, 4.0, 6.0, 8.0]);
        let shifted = moments(start, [1.5, 4.2, 5.5, 8.3]);
        assert_eq!(neighbours.look(now, 1, home, 2e6, crowded), None);
        assert_eq!(neighbours.look(now, 2, other, 1e6, crowded), None, "another address");
        assert_eq!(neighbours.look(now, 3, home, 1e6, moments(start, [1.0, 3.0, 5.0, 7.0])), None, "other moments");
        assert_eq!(neighbours.look(now, 4, home, 1e6, moments(start, [3.5, 6.5, 9.5, 8.0])), None, "once is chance");
        assert_eq!(neighbours.look(now, 5, home, 1e6, shifted), Some((2, 1.5e6)));
        assert_eq!(neighbours.look(now, 5, home, 1.2e6, shifted), Some((2, 1.6e6)), "counted once");
        let later = now + Duration::from_secs(3);
        assert_eq!(neighbours.look(later, 5, home, 1e6, shifted), None, "nobody was heard of");
        assert_eq!(neighbours.look(later + LATELY, 5, home, 1e6, shifted), None, "long ago");
        neighbours.clean(later + LATELY);
        assert!(neighbours.by_address.is_empty());
    }

    #[test]
    fn a_crowd_behind_one_address_is_left_alone() {
        let start = Instant::now();
        let mut neighbours = Neighbours::default();
        let crowded = moments(start, [0.1, 2.0, 4.0, 6.0]);
        let carrier = "100.64.0.1".parse().expect("an address");
        let now = start + Duration::from_secs(7);
        for key in 0..1_000 {
            neighbours.look(now, key, carrier, 1e6, crowded);
        }
        assert_eq!(neighbours.by_address.values().map(Vec::len).max(), Some(MAX_NEIGHBOURS));
        assert_eq!(neighbours.look(now, 1_000, carrier, 1e6, crowded), None);
    }

    #[test]
    fn ipv6_homes_have_a_network() {
        let of = |text: &str| home(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
