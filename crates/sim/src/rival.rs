//! Which other traffic fills a bottleneck?
//!
//! A [`Rival`] downloads over the same bottleneck as viewers, like TCP Reno (RFC 5681): it sends as
//! much as its window allows. The window grows with each arrival and halves after a loss, so a
//! download fills any queue.

use std::time::{Duration, Instant};

/// A download.
#[derive(Debug)]
pub(crate) struct Rival {
    /// Number of its bottleneck.
    pub(crate) bottleneck: usize,
    one_way: Duration,
    /// Number of packets that may be under way.
    window: f64,
    threshold: f64,
    under_way: u32,
    /// Number of the next packet.
    next: u64,
    /// Losses of packets before this one were already answered.
    recovers_until: u64,
    /// Time at which the last packet that was not lost left the bottleneck.
    left_at: Option<Instant>,
    /// Bytes that arrived.
    pub(crate) bytes: u64,
}

/// Size of a full packet, with headers of IP and TCP.
pub(crate) const PACKET_BYTES: usize = 1_448;
/// RFC 6928
const FIRST_WINDOW: f64 = 10.0;
/// RFC 5681 §3.1
const LEAST_WINDOW: f64 = 2.0;

impl Rival {
    pub(crate) fn new(bottleneck: usize, one_way: Duration) -> Rival {
        Rival {
            bottleneck,
            one_way,
            window: FIRST_WINDOW,
            threshold: f64::INFINITY,
            under_way: 0,
            next: 0,
            recovers_until: 0,
            left_at: None,
            bytes: 0,
        }
    }

    /// Returns the number of a packet that may be sent now, and counts it as sent.
    pub(crate) fn poll_packet(&mut self) -> Option<u64> {
        if f64::from(self.under_way) >= self.window {
            return None;
        }
        self.under_way += 1;
        self.next += 1;
        Some(self.next - 1)
    }

    /// Returns when the sender learns the fate of a packet that leaves the bottleneck at `left` or
    /// is lost there. A loss is known when later packets arrive, which wait for the whole queue.
    pub(crate) fn learns_at(&mut self, now: Instant, left: Option<Instant>) -> Instant {
        self.left_at = left.or(self.left_at);
        self.left_at.unwrap_or(now).max(now) + self.one_way * 2
    }

    /// Counts a packet that arrived and was acknowledged.
    pub(crate) fn arrived(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.bytes += PACKET_BYTES as u64;
        // RFC 5681 §3.1: slow start, then congestion avoidance.
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
    }

    /// Counts a lost packet. RFC 6582: all losses of one window are one event.
    pub(crate) fn lost(&mut self, number: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if number < self.recovers_until {
            return;
        }
        self.recovers_until = self.next;
        self.threshold = (self.window / 2.0).max(LEAST_WINDOW);
        self.window = self.threshold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_doubles_then_creeps_and_halves_once_for_its_losses() {
        let mut rival = Rival::new(0, Duration::from_millis(20));
        let round = |rival: &mut Rival| {
            let sent = std::iter::from_fn(|| rival.poll_packet()).count();
            (0..sent).for_each(|_| rival.arrived());
            sent
        };
        assert_eq!([round(&mut rival), round(&mut rival), round(&mut rival)], [10, 20, 40]);
        let sent: Vec<u64> = std::iter::from_fn(|| rival.poll_packet()).collect();
        assert_eq!(sent.len(), 80);
        for number in &sent {
            rival.lost(*number);
        }
        assert_eq!([round(&mut rival), round(&mut rival), round(&mut rival)], [40, 41, 42]);
        assert_eq!(rival.bytes, 193 * PACKET_BYTES as u64);
        rival.lost(rival.next);
        assert_eq!(round(&mut rival), 22);
    }

    #[test]
    fn a_loss_is_known_when_the_queue_before_it_has_gone() {
        let mut rival = Rival::new(0, Duration::from_millis(20));
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(rival.learns_at(now, None), now + ms(40), "the way there and back");
        assert_eq!(rival.learns_at(now, Some(now + ms(100))), now + ms(140));
        assert_eq!(rival.learns_at(now + ms(1), None), now + ms(140));
        assert_eq!(rival.learns_at(now + ms(200), None), now + ms(240));
    }
}
