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
    /// Where the last picture of the newest epoch starts that a decoder can start from.
    key_at: Option<u64>,
    /// The newest epoch that came: what is older is never started from.
    epoch: Epoch,
    limits: LogLimits,
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

/// How far back the first packet of a key frame is looked for when a later one proves it. Parameter sets
/// are one or two packets; the rest is room for retransmissions in between. A guess.
const KEY_FRAME_REACH: usize = 64;

impl PacketLog {
    /// An empty log.
    pub fn new(limits: LogLimits) -> PacketLog {
        PacketLog { packets: VecDeque::new(), base: 0, bytes: 0, key_at: None, epoch: Epoch::default(), limits }
    }

    /// Appends a packet; returns its position.
    pub fn push(&mut self, packet: Arc<Packet>) -> u64 {
        let position = self.end();
        self.bytes += packet.payload.len();
        if packet.epoch > self.epoch {
            // What came before belongs to another run: a viewer that has seen this one cannot follow it.
            self.epoch = packet.epoch;
            self.key_at = None;
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
        self.key_at
    }

    /// The picture that starts with `seq` is a key frame: its packet came lately. A retransmission may have
    /// brought an older key frame than the one known; the newer one stays.
    fn mark_key(&mut self, epoch: Epoch, seq: u64) {
        if epoch != self.epoch {
            return;
        }
        let found = self.packets.iter().rev().take(KEY_FRAME_REACH).position(|p| p.epoch == epoch && p.seq == seq);
        let Some(back) = found else { return };
        let position = self.end() - 1 - back as u64;
        let known = self.key_at.and_then(|at| self.get(at));
        if known.is_none_or(|known| known.seq <= seq) {
            self.key_at = Some(position);
        }
    }

    /// Forgets where to start: what is there belongs to a publisher who is gone.
    pub fn forget_key(&mut self) {
        self.key_at = None;
    }

    /// Payload bytes held.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    fn trim(&mut self) {
        if let Some(at) = self.key_at {
            let since = self.end() - at;
            if since > self.limits.start_packets as u64 || (self.bytes > self.limits.start_bytes && at == self.base) {
                self.key_at = None;
            }
        }
        loop {
            let over = self.packets.len() > self.limits.repair_packets;
            let needed = self.key_at.is_some_and(|at| at <= self.base);
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
