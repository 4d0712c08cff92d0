//! Which viewers share a bottleneck, and how much of it may each use?
//!
//! The viewers of one home or office have one address and one access link. Each of their estimators
//! measures only a part of the link, and the first viewer keeps more. Viewers at one address that
//! find their paths full at the same moments, again and again, therefore form a bottleneck group
//! (after RFC 8382, which detects shared bottlenecks from common features of delays). The group
//! agrees once a second (as RFC 8699 couples the rates of such flows): the sum of the rates that
//! arrived when the path was full is its capacity, each member has an equal share, and one member,
//! the scout, probes for more.
//!
//! The same address alone proves nothing: a carrier's NAT has thousands of viewers behind one
//! address, each with its own path. Only a new viewer counts as a member for some seconds, so that
//! it does not take the members' share before its membership is known.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::guard::Turn;
use super::{Command, Shard};
use crate::bwe::{Found, Share};

/// Moments at which a viewer's path was found full, in any order.
pub type CongestionTimes = [Option<Instant>; 4];

/// The state of a viewer that its bottleneck group needs.
#[derive(Debug, Clone, Copy)]
pub struct BottleneckMember {
    /// The viewer's shard, and its key there.
    pub who: (u8, usize),
    /// Moments at which its path was found full.
    pub congested_at: CongestionTimes,
    /// Its measurements.
    pub found: Found,
}

/// Viewers by address.
#[derive(Debug, Default)]
pub(super) struct BottleneckGroups {
    groups: HashMap<IpAddr, BottleneckGroup>,
}

#[derive(Debug, Default)]
struct BottleneckGroup {
    viewers: Vec<Candidate>,
    agreed_at: Option<Instant>,
    /// Start of the group; `None` without members.
    formed_at: Option<Instant>,
    /// The highest recent sum of the members' received rates, fading.
    most_bps: f32,
    /// The capacity of the path for all members; `None` without members.
    capacity: Option<Capacity>,
}

#[derive(Debug, Clone, Copy)]
struct Capacity {
    bps: f32,
    /// The capacity when the path was last full, and that moment. Probes have raised `bps` since.
    full_bps: f32,
    full_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    member: BottleneckMember,
    came_at: Instant,
    heard_at: Instant,
    /// The last moment at which the viewer was known to share a bottleneck with others here.
    shared_at: Option<Instant>,
    /// Number of consecutive congestion events of the others that this viewer did not share.
    missed: u8,
}

/// Most viewers of a group. More viewers behind one address are not a household, and are not
/// compared.
const MAX_MEMBERS: usize = 16;
/// Interval of the agreement.
const AGREE_EVERY: Duration = Duration::from_secs(1);
/// A viewer without a report for this time is removed. Viewers report every second.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(2_500);
/// Age up to which a congestion event counts.
const LATELY: Duration = Duration::from_secs(30);
/// Time for which a member stays without a common event: the more careful the members are, the
/// rarer events become.
const MEMBERS_FOR: Duration = Duration::from_secs(600);
/// Time for which a viewer counts as a member after it came, or after the group was formed.
const NEW_FOR: Duration = Duration::from_secs(60);
/// A viewer leaves the group after this many consecutive congestion events that it did not share.
const MISSED: u8 = 4;
/// Events of two viewers within this time are one event: a full queue is noticed by all viewers
/// behind it within a feedback interval and a round trip. A guess.
const SAME_MOMENT: Duration = Duration::from_millis(500);
/// Number of common events that make a member. One may be chance.
const LEAST_MOMENTS: usize = 2;
/// Number of events without others after which a viewer has a bottleneck of its own.
const OWN_MOMENTS: usize = 3;
/// Share of the capacity that may be sent after a full moment. libwebrtc lowers each flow to 0.85;
/// here the first member that noticed has already lowered the sum.
const USED_OF_FULL: f32 = 0.93;
/// The rate at a full moment is measured over half a second, and the path was full for a part of it
/// only. The capacity therefore moves by this part of the difference: the first towards a higher
/// rate, the second towards a lower one.
const BELIEVED_MORE: f32 = 0.5;
const BELIEVED_LESS: f32 = 0.25;
/// A lower rate counts only if the path was full within this time before. Otherwise key frames for
/// all members may have filled it for a moment.
const AGAIN: Duration = Duration::from_secs(4);
/// Largest increase of the capacity by one probe, as a part of it.
const STEP: f32 = 0.15;
/// Weight of the received rate of a second ago: half of it after seven seconds. A machine that
/// stalls for a moment looks like a network that carries nothing.
const FADING: f32 = 0.9;
/// Weight of the same rate in a second full moment within [`AGAIN`].
const BELIEVED_OF_MOST: f32 = 0.8;
/// Part of a probe's result that counts. The rest of a train of a tenth of a second was a pause of
/// others, or a queue that it filled. A guess.
const CERTAIN: f32 = 0.9;

impl BottleneckGroups {
    /// Records the report of a viewer at this address, on this shard or another one.
    pub(super) fn note(&mut self, now: Instant, address: IpAddr, member: BottleneckMember) {
        let group = self.groups.entry(network_of(address)).or_default();
        if let Some(known) = group.viewers.iter_mut().find(|known| known.member.who == member.who) {
            (known.member, known.heard_at) = (member, now);
        } else if group.viewers.len() < MAX_MEMBERS {
            group.viewers.push(Candidate { member, came_at: now, heard_at: now, shared_at: None, missed: 0 });
        }
    }

    /// Returns the keys of a shard's viewers at this address, if the agreement is due.
    fn due(&self, now: Instant, address: IpAddr, shard: u8) -> Vec<usize> {
        let here = self.groups.get(&network_of(address)).filter(|group| group.viewers.len() > 1);
        let here =
            here.filter(|group| group.agreed_at.is_none_or(|at| now.saturating_duration_since(at) >= AGREE_EVERY));
        let whos = here.into_iter().flat_map(|group| &group.viewers).map(|known| known.member.who);
        whos.filter(|who| who.0 == shard).map(|who| who.1).collect()
    }

    /// Computes the shares of all members.
    fn compute_shares(&mut self, now: Instant, address: IpAddr) -> Vec<((u8, usize), Share)> {
        let Some(group) = self.groups.get_mut(&network_of(address)) else { return Vec::new() };
        group.agreed_at = Some(now);
        group.viewers.retain(|known| now.saturating_duration_since(known.heard_at) < FORGOTTEN_AFTER);
        // There may be further viewers, which are not in this list.
        if group.viewers.len() >= MAX_MEMBERS {
            return Vec::new();
        }
        let through: f32 = group.viewers.iter().map(|known| known.member.found.now_bps).sum();
        group.most_bps = through.max(group.most_bps * FADING);
        group.find_members(now);
        let is_formed = group.viewers.iter().filter(|known| known.is_member(now)).count() > 1;
        group.formed_at = if is_formed { group.formed_at.or(Some(now)) } else { None };
        let members = group.members(now);
        let Some(share) = group.share(now, &members) else {
            group.capacity = None;
            return Vec::new();
        };
        let scout = members.iter().map(|member| member.who).min();
        members.iter().map(|one| (one.who, Share { is_scout: Some(one.who) == scout, ..share })).collect()
    }

    /// Drops the state of an address, which a panic may have left half changed.
    pub(super) fn forget(&mut self, address: IpAddr) {
        self.groups.remove(&network_of(address));
    }

    /// Removes viewers without a recent report.
    pub(super) fn clean(&mut self, now: Instant) {
        self.groups.retain(|_, group| {
            group.viewers.iter().any(|known| now.saturating_duration_since(known.heard_at) < FORGOTTEN_AFTER)
        });
    }
}

impl Candidate {
    fn is_member(&self, now: Instant) -> bool {
        self.missed < MISSED && self.shared_at.is_some_and(|at| now.saturating_duration_since(at) < MEMBERS_FOR)
    }
}

impl BottleneckGroup {
    fn find_members(&mut self, now: Instant) {
        let is_formed = self.formed_at.is_some();
        for n in 0..self.viewers.len() {
            let ours = self.viewers[n].member.congested_at;
            let others = self.viewers.iter().enumerate().filter(|(other, _)| *other != n);
            let others: Vec<CongestionTimes> = others.map(|(_, known)| known.member.congested_at).collect();
            let is_common = |at: &Instant| others.iter().any(|theirs| is_among(*at, theirs));
            let lonely = lately(now, &ours).filter(|at| !is_common(at)).count();
            // In a group that already has members, one common event proves as much as two do
            // elsewhere.
            let moments = if self.viewers[n].shared_at.is_none() && is_formed { 1 } else { LEAST_MOMENTS };
            let shares =
                others.iter().any(|theirs| lately(now, &ours).filter(|at| is_among(*at, theirs)).count() >= moments);
            let known = &mut self.viewers[n];
            if shares {
                known.shared_at = Some(now);
            } else if lonely >= OWN_MOMENTS {
                known.shared_at = None;
            }
        }
    }

    /// Returns the viewers that share the bottleneck; empty if there are fewer than two.
    fn members(&self, now: Instant) -> Vec<BottleneckMember> {
        let Some(formed_at) = self.formed_at else { return Vec::new() };
        let is_new = |known: &Candidate| {
            known.missed < MISSED && now.saturating_duration_since(known.came_at.max(formed_at)) < NEW_FOR
        };
        let members = self.viewers.iter().filter(|known| known.is_member(now) || is_new(known));
        members.map(|known| known.member).collect()
    }

    /// Counts a moment at which the path of some viewers was full.
    fn on_congestion(&mut self, at: Instant) {
        let noticed = |known: &Candidate| is_among(at, &known.member.congested_at);
        if self.viewers.iter().filter(|known| noticed(known)).count() > 1 {
            for known in &mut self.viewers {
                known.missed = if noticed(known) { 0 } else { known.missed.saturating_add(1) };
            }
        }
    }

    fn share(&mut self, now: Instant, members: &[BottleneckMember]) -> Option<Share> {
        let count = u16::try_from(members.len()).ok().filter(|count| *count > 1)?;
        let each = f32::from(count);
        let latest = members.iter().flat_map(|one| lately(now, &one.congested_at)).max();
        let through = |one: &BottleneckMember| {
            let noticed = latest.is_some_and(|latest| is_among(latest, &one.congested_at));
            if noticed { one.found.through_bps } else { one.found.now_bps }
        };
        let all: f32 = members.iter().map(through).sum();
        let mut bps = members.iter().map(|one| one.found.bps).sum::<f32>() / each;
        let mut capacity = match (self.capacity, latest) {
            (Some(mut known), Some(latest)) if latest > known.full_at + SAME_MOMENT => {
                let is_again = latest.saturating_duration_since(known.full_at) < AGAIN;
                // Capacity found by probes that media did not reach does not exist.
                let limit = known.bps.min(known.full_bps.max(all));
                let carried = if all > limit { limit + (all - limit) * BELIEVED_MORE } else { limit };
                let least = self.most_bps * if is_again { BELIEVED_OF_MOST } else { 1.0 };
                known.bps = if is_again && all < limit { limit + (all - limit) * BELIEVED_LESS } else { carried };
                known.bps = known.bps.max(least.min(limit));
                (known.full_bps, known.full_at) = (known.bps, latest);
                bps = bps.min(USED_OF_FULL * known.bps / each);
                self.on_congestion(latest);
                known
            }
            (Some(known), _) => known,
            (None, latest) => {
                let carried = all.max(self.most_bps);
                Capacity { bps: carried, full_bps: carried, full_at: latest? }
            }
        };
        let room = room(members, capacity.bps);
        capacity.bps += room;
        let carried = capacity.bps;
        bps = (bps + room / each).min(carried / each);
        self.capacity = Some(capacity);
        Some(Share { count, bps, ceiling_bps: carried / each, is_scout: false })
    }
}

/// Returns the additional capacity that a probe found beside the media of all others.
fn room(members: &[BottleneckMember], carried: f32) -> f32 {
    let Some(scout) = members.iter().find(|one| one.found.proved_bps > 0.0) else { return 0.0 };
    let others = members.iter().filter(|one| one.who != scout.who).map(|one| one.found.now_bps);
    (others.sum::<f32>() + scout.found.proved_bps * CERTAIN - carried).clamp(0.0, STEP * carried)
}

impl Shard {
    /// Updates the group of a viewer; called once a second.
    pub(super) fn update_bottleneck_group(&mut self, now: Instant, key: usize) {
        let Some((address, member)) = self.bottleneck_member(key) else { return };
        self.bottlenecks.note(now, address, member);
        let keys = self.bottlenecks.due(now, address, self.number);
        if keys.is_empty() {
            return;
        }
        let fresh: Vec<BottleneckMember> =
            keys.iter().filter_map(|key| self.bottleneck_member(*key)).map(|(_, one)| one).collect();
        for one in &fresh {
            self.bottlenecks.note(now, address, *one);
        }
        for ((shard, key), share) in self.bottlenecks.compute_shares(now, address) {
            if let Some(slot) = self.viewers.get_mut(key).filter(|_| shard == self.number) {
                self.turn.set(Turn::Viewer(key));
                crate::guard::fault!(SetShare, Some(slot.viewer.session));
                slot.viewer.set_share(share);
            }
        }
        if fresh.iter().any(|one| lately(now, &one.congested_at).next().is_some()) {
            self.tell_others(|| Command::BottleneckMembers { address, members: fresh.clone() });
        }
    }

    fn bottleneck_member(&self, key: usize) -> Option<(IpAddr, BottleneckMember)> {
        let viewer = &self.viewers.get(key)?.viewer;
        let transport = viewer.transport();
        let (congested_at, found) = (transport.congested_at(), transport.estimator.found());
        let member = BottleneckMember { who: (self.number, key), congested_at, found };
        transport.estimator.has_feedback().then_some((viewer.address().ip(), member))
    }
}

/// Returns the network of an address: one address of IPv4, 64 bits of IPv6 (RFC 6177).
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

fn lately(now: Instant, congested_at: &CongestionTimes) -> impl Iterator<Item = Instant> {
    congested_at.iter().flatten().copied().filter(move |at| now.saturating_duration_since(*at) < LATELY)
}

/// Returns `true` if another viewer's path was full at this moment.
fn is_among(at: Instant, theirs: &CongestionTimes) -> bool {
    let apart = |a: Instant, b: Instant| a.saturating_duration_since(b).max(b.saturating_duration_since(a));
    theirs.iter().flatten().any(|other| apart(at, *other) < SAME_MOMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the time some seconds after the start.
    fn after(start: Instant, seconds: f32) -> Instant {
        start + Duration::from_secs_f32(seconds)
    }

    fn member(start: Instant, key: usize, bps: f32, moments: [f32; 4]) -> BottleneckMember {
        let found = Found { bps, through_bps: bps, now_bps: bps, proved_bps: 0.0 };
        BottleneckMember { who: (0, key), congested_at: moments.map(|at| (at > 0.0).then(|| after(start, at))), found }
    }

    /// Returns the shares by key, computed after the reports `told` at `seconds`.
    fn agree(
        groups: &mut BottleneckGroups,
        start: Instant,
        seconds: f32,
        told: &[BottleneckMember],
    ) -> Vec<(usize, Share)> {
        let (now, address) = (after(start, seconds), "192.0.2.7".parse().expect("an address"));
        told.iter().for_each(|one| groups.note(now, address, *one));
        groups.compute_shares(now, address).into_iter().map(|(who, share)| (who.1, share)).collect()
    }

    const OFTEN: [f32; 4] = [8.0, 6.0, 4.0, 2.0];
    const WITH_THEM: [f32; 4] = [8.3, 5.5, 4.2, 1.5];

    #[test]
    fn viewers_congested_at_the_same_moments_get_equal_shares() {
        let start = Instant::now();
        let [a, b] = [member(start, 1, 3e6, OFTEN), member(start, 2, 1e6, WITH_THEM)];
        let mut groups = BottleneckGroups::default();
        let shares = agree(&mut groups, start, 10.0, &[a, b]);
        assert_eq!(
            shares.iter().map(|(key, share)| (*key, share.is_scout)).collect::<Vec<_>>(),
            [(1, true), (2, false)]
        );
        assert!(shares.iter().all(|(_, share)| (share.bps, share.ceiling_bps, share.count) == (2e6, 2e6, 2)));
        let apart = [member(start, 1, 3e6, OFTEN), member(start, 2, 1e6, [7.0, 5.0, 3.0, 1.0])];
        assert_eq!(agree(&mut BottleneckGroups::default(), start, 10.0, &apart), [], "other moments");
        let once = [member(start, 1, 3e6, OFTEN), member(start, 2, 1e6, [9.5, 8.0, 3.0, 1.0])];
        assert_eq!(agree(&mut BottleneckGroups::default(), start, 10.0, &once), [], "once is chance");
        let mut elsewhere = BottleneckGroups::default();
        elsewhere.note(after(start, 10.0), "192.0.2.8".parse().expect("an address"), b);
        assert_eq!(agree(&mut elsewhere, start, 10.0, &[a]), [], "another address");
    }

    #[test]
    fn new_viewer_counts_as_a_member_until_it_has_missed_common_moments() {
        let start = Instant::now();
        let mut groups = BottleneckGroups::default();
        let [a, b] = [member(start, 1, 2e6, OFTEN), member(start, 2, 2e6, WITH_THEM)];
        assert_eq!(agree(&mut groups, start, 10.0, &[a, b]).len(), 2);
        let quiet = member(start, 3, 1e6, [0.0; 4]);
        let shares = agree(&mut groups, start, 11.0, &[a, b, quiet]);
        assert_eq!(shares.len(), 3);
        assert!((shares[2].1.ceiling_bps - 4e6 / 3.0).abs() < 1.0, "what is there is divided by three: {shares:?}");
        for n in 1..=4_u8 {
            let at = 10.0 + 5.0 * f32::from(n);
            let full = [at, at - 5.0, at - 10.0, at - 15.0];
            let told = [member(start, 1, 2e6, full), member(start, 2, 2e6, full), quiet];
            let expected = if n < 4 { [3, 3] } else { [3, 2] };
            let count = agree(&mut groups, start, at + 0.3, &told).len();
            let then = agree(&mut groups, start, at + 1.3, &told).len();
            assert_eq!([count, then], expected, "it did not notice {n} times");
        }
    }

    #[test]
    fn burst_keeps_the_capacity_and_lasting_congestion_lowers_it() {
        let start = Instant::now();
        let mut groups = BottleneckGroups::default();
        let told = |bps: f32, at: f32| {
            let full = [at, 6.0, 4.0, 2.0];
            [member(start, 1, bps, full), member(start, 2, bps, full)]
        };
        let mut ceiling =
            |seconds: f32, told: &[BottleneckMember]| agree(&mut groups, start, seconds, told)[0].1.ceiling_bps;
        assert_eq!(ceiling(10.0, &told(2e6, 8.0)), 2e6);
        assert_eq!(ceiling(20.5, &told(1e6, 20.0)), 2e6, "half came through for a moment");
        assert_eq!(ceiling(22.5, &told(1e6, 22.0)), 1.75e6);
        assert_eq!(ceiling(24.5, &told(1e6, 24.0)), 1.5625e6);
    }

    #[test]
    fn capacity_found_by_a_probe_is_shared_and_taken_back_if_media_do_not_reach_it() {
        let start = Instant::now();
        let mut groups = BottleneckGroups::default();
        let [mut a, b] = [member(start, 1, 2e6, OFTEN), member(start, 2, 2e6, OFTEN)];
        assert_eq!(agree(&mut groups, start, 10.0, &[a, b])[1].1.ceiling_bps, 2e6);
        a.found.proved_bps = 4e6;
        let found = agree(&mut groups, start, 11.0, &[a, b])[1].1;
        assert!((found.ceiling_bps / 2.3e6 - 1.0).abs() < 1e-3 && (found.bps / 2.3e6 - 1.0).abs() < 1e-3, "{found:?}");
        let full = [30.0, 8.0, 6.0, 4.0];
        let told = [member(start, 1, 1.9e6, full), member(start, 2, 1.9e6, full)];
        assert_eq!(agree(&mut groups, start, 30.5, &told)[1].1.ceiling_bps, 2e6);
    }

    #[test]
    fn crowd_behind_one_address_forms_no_group_and_silent_viewers_are_removed() {
        let start = Instant::now();
        let mut groups = BottleneckGroups::default();
        let crowd: Vec<BottleneckMember> = (0..1_000).map(|key| member(start, key, 1e6, OFTEN)).collect();
        assert_eq!(agree(&mut groups, start, 10.0, &crowd), []);
        assert_eq!(groups.groups.values().map(|group| group.viewers.len()).max(), Some(MAX_MEMBERS));
        groups.clean(after(start, 20.0));
        assert!(groups.groups.is_empty());
    }

    #[test]
    fn ipv6_members_share_a_64() {
        let of = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
