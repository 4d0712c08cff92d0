//! Which rate does a short train of packets prove that is sent faster than the current estimate?
//!
//! The bottleneck spreads the train, and the spread gives the bottleneck's rate. libwebrtc calls
//! such trains probe clusters; the bounds are libwebrtc's.

/// A train to be sent: its size and its rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Number of the train, given to each of its packets; never 0.
    pub id: u8,
    /// Rate in bits per second.
    pub bps: f32,
    /// Least size in bytes.
    pub bytes: u32,
}

/// A train that is being sent or reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Train {
    pub(super) probe: Probe,
    pub(super) began_us: u64,
    /// Bytes of the train that are still to be sent.
    to_send: u32,
    packets: u32,
    bytes: u32,
    first_sent_us: u32,
    last_sent_us: u32,
    last_sent_bytes: u16,
    first_arrived_us: i64,
    last_arrived_us: i64,
    first_arrived_bytes: u16,
}

/// Least number of packets and least duration of a train that counts (libwebrtc: 5 packets;
/// libwebrtc takes 15 ms, this code a bit more).
pub(super) const LEAST_PACKETS: u32 = 5;
pub(super) const LENGTH_MS: f32 = 20.0;
/// Ours: duration of a train in a shared bottleneck. It must exceed the pauses between the pictures
/// of the other viewers.
pub(super) const SHARED_LENGTH_MS: f32 = 100.0;
/// Approximate size of the packets of a probe.
pub(super) const PACKET_BYTES: u32 = 1_200;
/// Least share of the train that must have arrived (libwebrtc: 80 %).
const LEAST_SHARE: f32 = 0.8;
/// If the train arrives at less than this share of its rate, it was limited by the bottleneck, and
/// the received rate is the bottleneck's.
const SATURATED: f32 = 0.9;
/// Share of a saturated bottleneck that is used (libwebrtc: 0.95).
const USED: f32 = 0.95;

impl Train {
    pub(super) fn new(probe: Probe, now_us: u64) -> Train {
        Train {
            probe,
            began_us: now_us,
            to_send: probe.bytes,
            packets: 0,
            bytes: 0,
            first_sent_us: 0,
            last_sent_us: 0,
            last_sent_bytes: 0,
            first_arrived_us: 0,
            last_arrived_us: 0,
            first_arrived_bytes: 0,
        }
    }

    /// Counts a packet that was sent. Returns the train's number if the packet counts to it, or 0.
    pub(super) fn on_sent(&mut self, is_of_train: bool, bytes: u16) -> u8 {
        if self.to_send == 0 {
            return 0;
        }
        if is_of_train {
            self.to_send = self.to_send.saturating_sub(u32::from(bytes));
        }
        self.probe.id
    }

    /// Counts a packet of the train that arrived.
    pub(super) fn on_arrival(&mut self, sent_us: u32, arrived_us: i64, bytes: u16) {
        if self.packets == 0 {
            (self.first_sent_us, self.last_sent_us, self.last_sent_bytes) = (sent_us, sent_us, bytes);
            (self.first_arrived_us, self.last_arrived_us, self.first_arrived_bytes) = (arrived_us, arrived_us, bytes);
        }
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(u32::from(bytes));
        if sent_us.wrapping_sub(self.last_sent_us).cast_signed() > 0 {
            (self.last_sent_us, self.last_sent_bytes) = (sent_us, bytes);
        }
        if arrived_us < self.first_arrived_us {
            (self.first_arrived_us, self.first_arrived_bytes) = (arrived_us, bytes);
        }
        self.last_arrived_us = self.last_arrived_us.max(arrived_us);
    }

    /// Returns the rate that the train proves, once enough of it has arrived.
    pub(super) fn bps(&self) -> Option<f32> {
        if self.packets < LEAST_PACKETS || (self.bytes as f32) < self.probe.bytes as f32 * LEAST_SHARE {
            return None;
        }
        let sent_us = self.last_sent_us.wrapping_sub(self.first_sent_us) as f32;
        let arrived_us = (self.last_arrived_us - self.first_arrived_us) as f32;
        // Two packets at one time: neither clocks nor the report (0.25 ms) are that fine.
        if sent_us < 1_000.0 || arrived_us < 1_000.0 {
            return None;
        }
        let sent = (self.bytes - u32::from(self.last_sent_bytes)) as f32 * 8e6 / sent_us;
        let arrived = (self.bytes - u32::from(self.first_arrived_bytes)) as f32 * 8e6 / arrived_us;
        // libwebrtc: a train that seems to arrive twice as fast as it was sent was held up on the
        // path.
        if arrived > 2.0 * sent {
            return None;
        }
        Some(if arrived < SATURATED * sent { arrived * USED } else { sent.min(arrived) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends six packets of 1,200 bytes at `bps` through a bottleneck of `carries`.
    fn measured(bps: f32, carries: f32) -> Option<f32> {
        let mut train = Train::new(Probe { id: 1, bps, bytes: 6_000 }, 0);
        let each = 1_200.0 * 8e6;
        let mut free_at = 0.0_f32;
        for n in 0..6 {
            let sent = n as f32 * each / bps;
            free_at = sent.max(free_at) + each / carries;
            train.on_arrival(sent as u32, free_at as i64 + 90_000, 1_200);
        }
        train.bps()
    }

    #[test]
    fn train_proves_the_rate_of_the_bottleneck_or_its_own() {
        let slow = measured(2e6, 1e6).unwrap();
        assert!((0.9e6..1.0e6).contains(&slow), "{slow}");
        let free = measured(2e6, 50e6).unwrap();
        assert!((1.9e6..2.1e6).contains(&free), "{free}");
    }

    #[test]
    fn half_a_train_proves_no_rate() {
        let mut train = Train::new(Probe { id: 1, bps: 1e6, bytes: 6_000 }, 0);
        for n in 0..4 {
            train.on_arrival(n * 9_600, i64::from(n) * 9_600, 1_200);
        }
        assert_eq!(train.bps(), None);
    }
}
