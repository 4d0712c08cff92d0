//! Which flow does a datagram belong to, and which links does it take?
//!
//! Each client address is a flow, as behind a NAT. Flows have links of their own, or share one pair
//! (a bottleneck for a household). Holds no socket: [`super::threads`] keeps one for each flow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::counts::{Report, Volume};
use crate::link::{Datagram, Delivery, Link};
use crate::script::{Script, ScriptError};

/// The most flows at once. Tests have few, and each flow adds two links to every poll. A guess.
pub const MOST_FLOWS: usize = 64;

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From clients to the server.
    Up,
    /// From the server to clients.
    Down,
}

/// Both directions.
#[derive(Debug)]
struct Pair {
    up: Link,
    down: Link,
}

#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    last_at: Instant,
    /// `None` if the flow shares the common pair.
    own: Option<Pair>,
    up: Volume,
    down: Volume,
}

/// All flows of a relay.
#[derive(Debug)]
pub struct Flows {
    flows: HashMap<u32, Flow>,
    ids: HashMap<SocketAddr, u32>,
    next_id: u32,
    /// The pair that all flows share, or that new flows copy.
    common: Pair,
    is_shared: bool,
    seed: u64,
    idle: Duration,
    refused: u64,
}

/// The flow of a client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// An existing flow.
    Known(u32),
    /// A new flow.
    New(u32),
    /// There are [`MOST_FLOWS`] already.
    Refused,
}

/// The report of both directions.
#[derive(Debug, Clone, Serialize)]
pub struct PairReport {
    /// From clients to the server.
    pub up: Report,
    /// From the server to clients.
    pub down: Report,
}

/// The report of a flow.
#[derive(Debug, Clone, Serialize)]
pub struct FlowReport {
    /// The address of the client.
    pub client: SocketAddr,
    /// Time since the last datagram of the client, in milliseconds.
    pub idle_ms: u64,
    /// Datagrams sent to the server since the last reset.
    pub up: Volume,
    /// Datagrams sent to the client since the last reset.
    pub down: Volume,
    /// The flow's own links, if it has any.
    pub links: Option<PairReport>,
}

/// The settings of a relay for its flows.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Script of the direction from clients to the server.
    pub up: Script,
    /// Script of the direction to clients.
    pub down: Script,
    /// Whether all flows go through one pair of links.
    pub is_shared: bool,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Time of silence after which a flow is forgotten.
    pub idle: Duration,
}

impl Flows {
    /// Creates a relay without flows, whose scripts begin `now`.
    pub fn new(plan: Plan, now: Instant) -> Flows {
        let Plan { up, down, is_shared, seed, idle } = plan;
        let common = Pair { up: Link::new(up, seed, now), down: Link::new(down, !seed, now) };
        let (flows, ids) = (HashMap::new(), HashMap::new());
        Flows { flows, ids, next_id: 0, common, is_shared, seed, idle, refused: 0 }
    }

    /// Finds or begins the flow of a client.
    pub fn enter(&mut self, now: Instant, client: SocketAddr) -> Entry {
        if let Some(id) = self.ids.get(&client) {
            return Entry::Known(*id);
        }
        if self.flows.len() >= MOST_FLOWS {
            self.refused += 1;
            return Entry::Refused;
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        // Neighbouring seeds are no trouble for splitmix64, but equal ones for up and down would
        // be.
        let seed = self.seed.wrapping_add(u64::from(id) << 32);
        let own = (!self.is_shared).then(|| Pair { up: self.common.up.fork(seed), down: self.common.down.fork(!seed) });
        let (up, down) = Default::default();
        self.flows.insert(id, Flow { client, last_at: now, own, up, down });
        self.ids.insert(client, id);
        Entry::New(id)
    }

    /// Passes a datagram of a flow to its link. Datagrams of forgotten flows are dropped.
    pub fn handle_datagram(&mut self, now: Instant, direction: Direction, id: u32, bytes: &[u8]) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        // Only the client keeps a flow alive, as with most NATs.
        if direction == Direction::Up {
            flow.last_at = now;
        }
        let pair = flow.own.as_mut().unwrap_or(&mut self.common);
        pair.of(direction).handle_datagram(now, Datagram { flow: id, bytes: bytes.to_vec() });
    }

    /// Returns the next datagram that goes out by `now`, with its direction and the client.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<(Direction, SocketAddr, Delivery)> {
        loop {
            let pairs = std::iter::once(&mut self.common).chain(self.flows.values_mut().filter_map(|f| f.own.as_mut()));
            let (direction, delivery) = pairs
                .flat_map(Pair::both)
                .find_map(|(direction, link)| link.poll_delivery(now).map(|delivery| (direction, delivery)))?;
            // Its flow may have been forgotten while it was under way.
            let Some(flow) = self.flows.get_mut(&delivery.datagram.flow) else { continue };
            let volume = if direction == Direction::Up { &mut flow.up } else { &mut flow.down };
            volume.add(delivery.datagram.bytes.len());
            return Some((direction, flow.client, delivery));
        }
    }

    /// Returns when to poll again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pairs = std::iter::once(&self.common).chain(self.flows.values().filter_map(|flow| flow.own.as_ref()));
        pairs.flat_map(|pair| [pair.up.poll_timeout(), pair.down.poll_timeout()]).flatten().min()
    }

    /// Forgets flows that have been silent for too long. Returns them.
    pub fn expire(&mut self, now: Instant) -> Vec<u32> {
        let is_idle = |flow: &Flow| now.saturating_duration_since(flow.last_at) > self.idle;
        let idle: Vec<u32> = self.flows.iter().filter(|(_, flow)| is_idle(flow)).map(|(id, _)| *id).collect();
        for flow in idle.iter().filter_map(|id| self.flows.remove(id)) {
            self.ids.remove(&flow.client);
        }
        idle
    }

    /// Sets another script for the links of these directions. Its times count from `now`.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the script cannot be read; the links are not changed then.
    pub fn follow(&mut self, now: Instant, up: bool, down: bool, text: &str) -> Result<(), ScriptError> {
        let wanted = |direction| if direction == Direction::Up { up } else { down };
        let mut scripts = Vec::new();
        for (direction, link) in self.common.both().into_iter().filter(|(direction, _)| wanted(*direction)) {
            // Due steps are applied before the present settings are read.
            scripts.push((direction, Script::parse_from(text, link.settings_at(now))?));
        }
        let pairs = std::iter::once(&mut self.common).chain(self.flows.values_mut().filter_map(|f| f.own.as_mut()));
        for pair in pairs {
            for (direction, script) in &scripts {
                pair.of(*direction).follow(now, script.clone());
            }
        }
        Ok(())
    }

    /// Resets all counters.
    pub fn reset_counts(&mut self, now: Instant) {
        let pairs = std::iter::once(&mut self.common).chain(self.flows.values_mut().filter_map(|f| f.own.as_mut()));
        pairs.flat_map(Pair::both).for_each(|(_, link)| link.reset_counts(now));
        for flow in self.flows.values_mut() {
            (flow.up, flow.down) = Default::default();
        }
        self.refused = 0;
    }

    /// Returns the number of datagrams refused because of [`MOST_FLOWS`].
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the common links, if flows share them.
    pub fn shared_report(&self) -> Option<PairReport> {
        self.is_shared.then(|| self.common.report())
    }

    /// Returns the reports of all flows, the oldest first.
    pub fn reports(&self, now: Instant) -> Vec<FlowReport> {
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_by_key(|(id, _)| **id);
        let report = |(_, flow): (&u32, &Flow)| FlowReport {
            client: flow.client,
            idle_ms: now.saturating_duration_since(flow.last_at).as_millis() as u64,
            up: flow.up,
            down: flow.down,
            links: flow.own.as_ref().map(Pair::report),
        };
        flows.into_iter().map(report).collect()
    }
}

impl Pair {
    fn of(&mut self, direction: Direction) -> &mut Link {
        if direction == Direction::Up { &mut self.up } else { &mut self.down }
    }

    fn both(&mut self) -> [(Direction, &mut Link); 2] {
        [(Direction::Up, &mut self.up), (Direction::Down, &mut self.down)]
    }

    fn report(&self) -> PairReport {
        PairReport { up: self.up.report(), down: self.down.report() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(up: &str, down: &str, is_shared: bool) -> Plan {
        let parse = |text| Script::parse(text).unwrap();
        Plan { up: parse(up), down: parse(down), is_shared, seed: 1, idle: 60 * SECOND }
    }

    fn client(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn drain(flows: &mut Flows, until: Instant) -> Vec<(Direction, u16)> {
        std::iter::from_fn(|| flows.poll_delivery(until)).map(|(direction, to, _)| (direction, to.port())).collect()
    }

    #[test]
    fn each_client_is_a_flow_until_it_is_silent() {
        let start = Instant::now();
        let mut flows = Flows::new(plan("", "delay=1s", false), start);
        assert_eq!(flows.enter(start, client(1)), Entry::New(0));
        assert_eq!(flows.enter(start, client(2)), Entry::New(1));
        assert_eq!(flows.enter(start, client(1)), Entry::Known(0));
        flows.handle_datagram(start, Direction::Up, 0, b"ask");
        flows.handle_datagram(start, Direction::Down, 1, b"answer");
        assert_eq!(drain(&mut flows, start), [(Direction::Up, 1)]);
        assert_eq!(flows.poll_timeout(), Some(start + SECOND));
        assert_eq!(drain(&mut flows, start + SECOND), [(Direction::Down, 2)]);

        // Datagrams of the server do not keep the flow alive.
        flows.handle_datagram(start + 50 * SECOND, Direction::Up, 0, b"ask");
        flows.handle_datagram(start + 60 * SECOND, Direction::Down, 1, b"answer");
        assert_eq!(flows.expire(start + 61 * SECOND), [1]);
        assert_eq!(drain(&mut flows, start + 70 * SECOND), [(Direction::Up, 1)]);
        assert_eq!(flows.enter(start + 70 * SECOND, client(2)), Entry::New(2));
    }

    #[test]
    fn flows_are_bounded() {
        let start = Instant::now();
        let mut flows = Flows::new(plan("", "", true), start);
        for port in 0..MOST_FLOWS as u16 {
            assert!(matches!(flows.enter(start, client(port)), Entry::New(_)));
        }
        assert_eq!((flows.enter(start, client(9_999)), flows.refused()), (Entry::Refused, 1));
    }

    #[test]
    fn a_shared_link_is_one_bottleneck_and_own_links_are_many() {
        let start = Instant::now();
        for (is_shared, in_time) in [(true, 10), (false, 40)] {
            let mut flows = Flows::new(plan("", "rate=80k queue=10s", is_shared), start);
            for port in 0..4 {
                flows.enter(start, client(port));
            }
            for index in 0..80 {
                flows.handle_datagram(start, Direction::Down, index % 4, &[0; 972]);
            }
            // A datagram takes 100 ms.
            assert_eq!(drain(&mut flows, start + SECOND).len(), in_time);
            assert_eq!(flows.shared_report().is_some(), is_shared);
            assert_eq!(
                flows.reports(start).iter().filter(|flow| flow.links.is_some()).count(),
                if is_shared { 0 } else { 4 }
            );
        }
    }

    #[test]
    fn a_new_script_is_for_flows_of_today_and_of_tomorrow() {
        let start = Instant::now();
        let mut flows = Flows::new(plan("", "delay=1s; 5s delay=2s", false), start);
        flows.enter(start, client(1));
        let now = start + 6 * SECOND;
        flows.follow(now, false, true, "10s loss=100%").unwrap();
        flows.enter(now, client(2));
        for id in [0, 1] {
            flows.handle_datagram(now, Direction::Down, id, b"x");
        }
        assert_eq!(flows.poll_timeout(), Some(now + 2 * SECOND));
        assert_eq!(drain(&mut flows, now + 2 * SECOND).len(), 2);
        flows.handle_datagram(now + 10 * SECOND, Direction::Down, 1, b"x");
        assert_eq!(flows.poll_timeout(), None, "all is lost");
        assert!(flows.follow(now, true, true, "rate=x").is_err());
        flows.reset_counts(now + 11 * SECOND);
        assert_eq!(flows.reports(now)[0].down, Volume::default());
    }
}
