//! What can be learned from a short train of packets that is sent faster than the network is known to be?
//!
//! The bottleneck spreads the train: how far tells its rate. libwebrtc calls these trains probe clusters; the
//! bounds are those that it uses.

/// A train to be sent: so many bytes at such a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// To be named with each of its packets; never 0.
    pub id: u8,
    /// Bits a second.
    pub bps: f32,
    /// At least so many.
    pub bytes: u32,
}

/// A train on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Train {
    pub(super) probe: Probe,
    pub(super) began_us: u64,
    /// Bytes of it that are still to be sent.
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

/// A train shorter than this says nothing: packets and time (libwebrtc: 5 packets; it takes 15 ms, we a bit more).
pub(super) const LEAST_PACKETS: u32 = 5;
pub(super) const LENGTH_MS: f32 = 20.0;
/// Ours: where others are sent something beside it, it must last longer than the pauses between their pictures.
pub(super) const SHARED_LENGTH_MS: f32 = 100.0;
/// Packets that a probe is made of are about so large.
pub(super) const PACKET_BYTES: u32 = 1_200;
/// A part of this size must have come (libwebrtc: 80 %).
const LEAST_SHARE: f32 = 0.8;
/// Received slower than sent by this much, the train met the bottleneck, and what came is what it carries.
const SATURATED: f32 = 0.9;
/// Of a saturated bottleneck a little is left free (libwebrtc: 0.95).
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

    /// A packet was sent. Returns the probe's number if the packet counts to it.
    pub(super) fn on_sent(&mut self, is_of_train: bool, bytes: u16) -> u8 {
        if self.to_send == 0 {
            return 0;
        }
        if is_of_train {
            self.to_send = self.to_send.saturating_sub(u32::from(bytes));
        }
        self.probe.id
    }

    /// One of its packets came.
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

    /// The rate that it proves, once enough of it came.
    pub(super) fn bps(&self) -> Option<f32> {
        if self.packets < LEAST_PACKETS || (self.bytes as f32) < self.probe.bytes as f32 * LEAST_SHARE {
            return None;
        }
        let sent_us = self.last_sent_us.wrapping_sub(self.first_sent_us) as f32;
        let arrived_us = (self.last_arrived_us - self.first_arrived_us) as f32;
        // Two packets at one time: clocks are not that fine, and neither is the report (0.25 ms).
        if sent_us < 1_000.0 || arrived_us < 1_000.0 {
            return None;
        }
        let sent = (self.bytes - u32::from(self.last_sent_bytes)) as f32 * 8e6 / sent_us;
        let arrived = (self.bytes - u32::from(self.first_arrived_bytes)) as f32 * 8e6 / arrived_us;
        // libwebrtc: a train that seems to have arrived twice as fast as it was sent was held up on the way.
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
    fn a_train_tells_the_rate_of_the_bottleneck_or_its_own() {
        let slow = measured(2e6, 1e6).unwrap();
        assert!((0.9e6..1.0e6).contains(&slow), "{slow}");
        let free = measured(2e6, 50e6).unwrap();
        assert!((1.9e6..2.1e6).contains(&free), "{free}");
    }

    #[test]
    fn half_a_train_tells_nothing() {
        let mut train = Train::new(Probe { id: 1, bps: 1e6, bytes: 6_000 }, 0);
        for n in 0..4 {
            train.on_arrival(n * 9_600, i64::from(n) * 9_600, 1_200);
        }
        assert_eq!(train.bps(), None);
    }
}
