//! What does loss say of the rate?
//!
//! gcc-02 §6 lowers the rate above 10 % loss and raises it below 2 %. A radio that loses 10 % whatever is sent would be
//! starved by that, so loss that comes while no queue stands is learned as the network's own and left out
//! (the idea of libwebrtc's later loss-based estimator: inherent loss).

/// A rate that loss bounds.
#[derive(Debug)]
pub(super) struct Loss {
    bps: f32,
    lost: u32,
    received: u32,
    window_began_us: u64,
    inherent: f32,
    share: f32,
}

/// gcc-02 §6.
const MUCH: f32 = 0.10;
const LITTLE: f32 = 0.02;
/// Loss of this size is congestion without a queue: something on the way polices.
const POLICED: f32 = 0.30;
/// A window is over after so long, if it has so many packets.
const WINDOW_US: u64 = 250_000;
const WINDOW_PACKETS: u32 = 20;
/// More is never taken for the network's own.
const MOST_INHERENT: f32 = 0.15;
/// How fast the network's own is learned: a quarter of a second counts a tenth.
const LEARNING: f32 = 0.1;
/// A queue below this is none.
const NO_QUEUE_MS: f32 = 15.0;
const GROWTH_PER_SECOND: f32 = 1.08;

impl Loss {
    pub(super) fn new(max_bps: f32) -> Loss {
        Loss { bps: max_bps, lost: 0, received: 0, window_began_us: 0, inherent: 0.0, share: 0.0 }
    }

    /// The bound.
    pub(super) fn bps(&self) -> f32 {
        self.bps
    }

    /// The share of packets lost in the last window, 0 to 1.
    pub(super) fn share(&self) -> f32 {
        self.share
    }

    /// The share of packets that is lost without any queue, 0 to 1.
    pub(super) fn inherent(&self) -> f32 {
        self.inherent
    }

    /// Packets were reported. `recovered` were reported lost before and came after all.
    pub(super) fn on_report(&mut self, lost: u32, received: u32, recovered: u32) {
        self.lost = (self.lost + lost).saturating_sub(recovered);
        self.received += received;
    }

    /// A probe has proved that so much gets through.
    pub(super) fn set_proved(&mut self, bps: f32) {
        self.bps = self.bps.max(bps);
    }

    /// Looks at what was reported. `target`: what is being sent at most; `acked`: what gets through.
    pub(super) fn update(&mut self, now_us: u64, target: f32, acked: Option<f32>, queue_ms: f32, max_bps: f32) {
        let elapsed_us = now_us.saturating_sub(self.window_began_us);
        let count = self.lost + self.received;
        if elapsed_us < WINDOW_US || count < WINDOW_PACKETS {
            return;
        }
        let share = self.lost as f32 / count as f32;
        (self.share, self.lost, self.received, self.window_began_us) = (share, 0, 0, now_us);
        if queue_ms < NO_QUEUE_MS {
            self.inherent = (self.inherent + LEARNING * (share - self.inherent)).clamp(0.0, MOST_INHERENT);
        }
        let congestive = share - self.inherent;
        if share > POLICED {
            self.bps = acked.unwrap_or(target).min(target) * 0.95;
        } else if congestive > MUCH {
            self.bps = self.bps.min(target) * (1.0 - 0.5 * congestive);
        } else if congestive < LITTLE {
            // What gets through is carried, however low the bound had fallen (ours).
            self.bps = self.bps.max(acked.unwrap_or(0.0));
            let seconds = (elapsed_us as f32 / 1e6).min(1.0);
            self.bps = (self.bps * GROWTH_PER_SECOND.powf(seconds)).min(max_bps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64, share: f32, queue_ms: f32) -> f32 {
        let mut loss = Loss::new(10e6);
        for n in 1..=seconds * 4 {
            let lost = (share * 100.0) as u32;
            loss.on_report(lost, 100 - lost, 0);
            let target = loss.bps().min(2e6);
            loss.update(n * 250_000, target, Some(target * (1.0 - share)), queue_ms, 10e6);
        }
        loss.bps()
    }

    #[test]
    fn loss_with_a_queue_is_congestion_and_without_one_the_networks_own() {
        assert!(after(10, 0.12, 200.0) < 0.6e6);
        assert!(after(10, 0.10, 0.0) > 1.8e6);
        assert!(after(10, 0.01, 200.0) > 9e6);
    }

    #[test]
    fn what_is_policed_is_believed_without_a_queue() {
        assert!(after(5, 0.5, 0.0) < 0.1e6);
    }
}
