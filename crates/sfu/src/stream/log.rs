//! What has a track brought lately, in the order in which it came?
//!
//! One log per track and shard. It is the queue of every viewer (each holds a position, nothing
//! more), the cache that retransmissions are answered from, and what a late viewer is started from.
//! Packets stand in order of arrival, not of sequence: one that came late (a retransmission to us)
//! is passed on when it comes, under its own number.

use std::collections::VecDeque;
use std::sync::Arc;

use media::{Epoch, Packet};

/// The last packets of one track. Positions grow by one per packet and are never used again.
#[derive(Debug)]
pub struct PacketLog {
    packets: VecDeque<Arc<Packet>>,
    /// Position of `packets[0]`.
    base: u64,
    bytes: usize,
    /// The last picture that a decoder can start from.
    key: Option<Key>,
    /// The newest epoch that came: what is older is never started from.
    epoch: Epoch,
    limits: LogLimits,
}

/// Where a key frame stands.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// Position of its first packet by sequence number.
    first: u64,
    /// Lowest position of any packet of its group. Below `first` if the first packet was lost and
    /// repaired: the packets behind it arrived before it.
    from: u64,
}

/// How much a log keeps.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Kept for retransmission, whatever came after.
    pub repair_packets: usize,
    /// The most that is kept since the last key frame.
    pub start_packets: usize,
    /// The most payload bytes that are kept since the last key frame.
    pub start_bytes: usize,
}

impl LogLimits {
    /// For video: 2,048 packets repair about 2 s at 10 Mb/s. 10 s of 10 Mb/s between key frames are
    /// 12.5 MB in about 10,400 packets; beyond that a viewer waits for a key frame instead.
    pub const VIDEO: LogLimits =
        LogLimits { repair_packets: 2_048, start_packets: 16_384, start_bytes: 16 * 1024 * 1024 };
    /// For audio: 256 packets of 20 ms are 5 s; every packet can be started from.
    pub const AUDIO: LogLimits = LogLimits { repair_packets: 256, start_packets: 256, start_bytes: 1024 * 1024 };
}

/// Packets searched backwards for the first packet of a key frame when a later one proves it.
/// 250 ms of 20 Mb/s: a repair takes one round trip or two. A guess.
const KEY_FRAME_REACH: usize = 512;

/// The search for packets of a group that arrived before its first one ends after so many older
/// packets in a row: reordering does not reach further. A guess.
const REORDERED: usize = 32;

impl PacketLog {
    /// An empty log.
    pub fn new(limits: LogLimits) -> PacketLog {
        PacketLog { packets: VecDeque::new(), base: 0, bytes: 0, key: None, epoch: Epoch::default(), limits }
    }

    /// Appends a packet; returns its position.
    pub fn push(&mut self, packet: Arc<Packet>) -> u64 {
        let position = self.end();
        self.bytes += packet.payload.len();
        if packet.epoch > self.epoch {
            // What came before belongs to another run: a viewer that has seen this one cannot follow it.
            self.epoch = packet.epoch;
            self.key = None;
        }
        let key = packet.key_frame_from.map(|seq| (packet.epoch, seq));
        self.packets.push_back(packet);
        if let Some((epoch, seq)) = key {
            self.mark_key(epoch, seq);
        }
        self.trim();
        position
    }

    /// The position that the next packet will get.
    pub fn end(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// The oldest position still there.
    pub fn start(&self) -> u64 {
        self.base
    }

    /// The packet at a position, if it is still there.
    pub fn get(&self, position: u64) -> Option<&Arc<Packet>> {
        self.packets.get(usize::try_from(position.checked_sub(self.base)?).ok()?)
    }

    /// The packet that came last.
    pub fn last(&self) -> Option<&Arc<Packet>> {
        self.packets.back()
    }

    /// Where the last key frame starts, if all that came since is still there.
    pub fn key_at(&self) -> Option<u64> {
        self.key.map(|key| key.first)
    }

    /// Where to begin to send the group of the key frame at `at`. This is `at`, or an earlier
    /// position if the key frame's first packet arrived behind other packets of the group.
    pub fn group_from(&self, at: u64) -> u64 {
        self.key.filter(|key| key.first == at).map_or(at, |key| key.from)
    }

    /// Notes that the picture whose first packet is `seq` is a key frame. An older key frame than
    /// the known one, proved by a retransmission, is ignored. An earlier first packet of the known
    /// one (late parameter sets) replaces it.
    fn mark_key(&mut self, epoch: Epoch, seq: u64) {
        if epoch != self.epoch {
            return;
        }
        let found = self.packets.iter().rev().take(KEY_FRAME_REACH).position(|p| p.epoch == epoch && p.seq == seq);
        let Some(back) = found else { return };
        let index = self.packets.len() - 1 - back;
        let timestamp = self.packets.get(index).map(|packet| packet.timestamp);
        let known = self.key_at().and_then(|at| self.get(at));
        let is_newest = known.is_none_or(|known| known.seq <= seq || Some(known.timestamp) == timestamp);
        if !is_newest {
            return;
        }
        let (mut from, mut older) = (index, 0);
        for (at, packet) in self.packets.range(..index).enumerate().rev().take(KEY_FRAME_REACH) {
            if packet.epoch == epoch && packet.seq >= seq {
                (from, older) = (at, 0);
            } else {
                older += 1;
            }
            if older >= REORDERED {
                break;
            }
        }
        self.key = Some(Key { first: self.base + index as u64, from: self.base + from as u64 });
    }

    /// Forgets where to start: what is there belongs to a publisher who is gone.
    pub fn forget_key(&mut self) {
        self.key = None;
    }

    /// Payload bytes held.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    fn trim(&mut self) {
        if let Some(Key { from, .. }) = self.key {
            let since = self.end() - from;
            if since > self.limits.start_packets as u64 || (self.bytes > self.limits.start_bytes && from == self.base) {
                self.key = None;
            }
        }
        loop {
            let over = self.packets.len() > self.limits.repair_packets;
            let needed = self.key.is_some_and(|key| key.from <= self.base);
            if !over || needed {
                break;
            }
            if let Some(gone) = self.packets.pop_front() {
                self.bytes -= gone.payload.len();
                self.base += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::packet;

    fn limits() -> LogLimits {
        LogLimits { repair_packets: 4, start_packets: 8, start_bytes: 1_000_000 }
    }

    #[test]
    fn everything_since_the_key_frame_stays_however_old() {
        let mut log = PacketLog::new(limits());
        log.push(Arc::new(packet(1).key().build()));
        for seq in 2..=8 {
            log.push(Arc::new(packet(seq).build()));
        }
        assert_eq!(log.key_at(), Some(0));
        assert_eq!(log.get(0).map(|p| p.seq), Some(1));
    }

    #[test]
    fn a_picture_group_that_grows_past_its_limit_is_given_up() {
        let mut log = PacketLog::new(limits());
        log.push(Arc::new(packet(1).key().build()));
        for seq in 2..=9 {
            log.push(Arc::new(packet(seq).build()));
        }
        assert_eq!(log.key_at(), None);
        assert_eq!(log.start(), 5, "only what repair needs is left");
    }

    #[test]
    fn a_new_key_frame_lets_the_old_one_go() {
        let mut log = PacketLog::new(limits());
        log.push(Arc::new(packet(1).key().build()));
        for seq in 2..=6 {
            log.push(Arc::new(packet(seq).build()));
        }
        let at = log.push(Arc::new(packet(7).key().build()));
        assert_eq!(log.key_at(), Some(at));
        assert_eq!(log.end() - log.start(), 4);
        assert!(log.get(0).is_none());
    }

    #[test]
    fn a_key_frame_can_be_proved_after_its_first_packet() {
        let mut log = PacketLog::new(limits());
        let at = log.push(Arc::new(packet(1).build()));
        log.push(Arc::new(packet(2).continues().proves(1).build()));
        assert_eq!(log.key_at(), Some(at));
        log.push(Arc::new(packet(3).proves(77).build()));
        assert_eq!(log.key_at(), Some(at), "a packet that never came cannot be started from");
    }

    #[test]
    fn a_key_frame_whose_first_packet_was_repaired_is_walked_from_its_earliest_arrival() {
        let mut log = PacketLog::new(LogLimits { repair_packets: 4, ..limits() });
        log.push(Arc::new(packet(4).build()));
        let second = log.push(Arc::new(packet(6).continues().build()));
        log.push(Arc::new(packet(7).continues().build()));
        let first = log.push(Arc::new(packet(5).key().build()));
        assert_eq!((log.key_at(), log.group_from(first)), (Some(first), second));
        for seq in 8..=11 {
            log.push(Arc::new(packet(seq).build()));
        }
        assert_eq!(log.start(), second, "what arrived before the first packet is kept as well");
        let next = log.push(Arc::new(packet(12).key().build()));
        assert_eq!((log.key_at(), log.group_from(next)), (Some(next), next));
        assert_eq!(log.group_from(first), first, "the group of another key frame is not known");
    }

    #[test]
    fn parameter_sets_that_arrive_late_move_the_start_of_their_key_frame() {
        let mut log = PacketLog::new(limits());
        let slice = log.push(Arc::new(packet(8).at(3_000).key().build()));
        assert_eq!(log.key_at(), Some(slice));
        let sets = log.push(Arc::new(packet(7).at(3_000).proves(7).build()));
        assert_eq!((log.key_at(), log.group_from(sets)), (Some(sets), slice));
    }

    #[test]
    fn a_new_run_forgets_the_key_frame_of_the_run_before() {
        let mut log = PacketLog::new(limits());
        log.push(Arc::new(packet(70).key().build()));
        log.push(Arc::new(packet(71).build()));
        log.push(Arc::new(packet(5).run(1).build()));
        assert_eq!(log.key_at(), None);
        log.push(Arc::new(packet(72).key().build()));
        assert_eq!(log.key_at(), None, "a late key frame of the run before");
        let at = log.push(Arc::new(packet(6).run(1).key().build()));
        assert_eq!(log.key_at(), Some(at));
        log.push(Arc::new(packet(7).epoch(2).build()));
        assert_eq!(log.key_at(), None, "another publisher");
    }

    #[test]
    fn an_older_key_frame_that_is_proved_late_does_not_replace_a_newer_one() {
        let mut log = PacketLog::new(limits());
        log.push(Arc::new(packet(1).build()));
        let newer = log.push(Arc::new(packet(5).key().build()));
        log.push(Arc::new(packet(2).continues().proves(1).build()));
        assert_eq!(log.key_at(), Some(newer));
    }
}
