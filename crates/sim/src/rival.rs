//! Who else fills a bottleneck?
//!
//! A [`Rival`] downloads something over the same bottleneck as viewers do, as TCP Reno would (RFC 5681): it sends as much as
//! its window allows, which grows with what arrives and halves when something is lost. It fills whatever queue there is.

use std::time::{Duration, Instant};

/// A download.
#[derive(Debug)]
pub(crate) struct Rival {
    /// Which bottleneck it goes through.
    pub(crate) bottleneck: usize,
    one_way: Duration,
    /// Packets that may be under way.
    window: f64,
    threshold: f64,
    under_way: u32,
    halved_at: Option<Instant>,
    /// Bytes that arrived.
    pub(crate) bytes: u64,
}

/// A full packet, with headers of IP and TCP.
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
            halved_at: None,
            bytes: 0,
        }
    }

    /// Whether a packet may be sent now; if so it counts as sent.
    pub(crate) fn sends(&mut self) -> bool {
        let may = f64::from(self.under_way) < self.window;
        self.under_way += u32::from(may);
        may
    }

    /// When the sender learns what became of a packet that left the bottleneck at `left`, or was lost there.
    pub(crate) fn learns_at(&self, now: Instant, left: Option<Instant>) -> Instant {
        left.unwrap_or(now) + self.one_way * 2
    }

    /// A packet arrived, and its acknowledgement too.
    pub(crate) fn arrived(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.bytes += PACKET_BYTES as u64;
        // RFC 5681 §3.1: slow start, then congestion avoidance.
        self.window += if self.window < self.threshold { 1.0 } else { 1.0 / self.window };
    }

    /// A packet was lost; more losses of the same round trip count once.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let round_trip = self.one_way * 2;
        if self.halved_at.is_some_and(|at| now.saturating_duration_since(at) < round_trip * 2) {
            return;
        }
        self.halved_at = Some(now);
        self.threshold = (self.window / 2.0).max(LEAST_WINDOW);
        self.window = self.threshold;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_then_creeps_and_halves_at_a_loss() {
        let mut rival = Rival::new(0, Duration::from_millis(20));
        let now = Instant::now();
        let round = |rival: &mut Rival| {
            let sent = std::iter::repeat_with(|| rival.sends()).take_while(|sent| *sent).count();
            (0..sent).for_each(|_| rival.arrived());
            sent
        };
        assert_eq!([round(&mut rival), round(&mut rival), round(&mut rival)], [10, 20, 40]);
        rival.lost(now);
        rival.lost(now);
        assert_eq!([round(&mut rival), round(&mut rival), round(&mut rival)], [40, 41, 42]);
        assert_eq!(rival.bytes, 193 * PACKET_BYTES as u64);
    }
}
