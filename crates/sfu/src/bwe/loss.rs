//! Which rate does packet loss allow?
//!
//! gcc-02 §6 lowers the rate above 10 % loss and raises it below 2 %. On a radio link that loses 10
//! % at any rate, this rule would lower the rate to nothing. Loss without a standing queue is
//! therefore learned as the network's own loss and subtracted (the idea of libwebrtc's later
//! loss-based estimator: inherent loss).

/// A rate bound derived from loss.
#[derive(Debug)]
pub(super) struct Loss {
    bps: f32,
    lost: u32,
    received: u32,
    window_began_us: u64,
    inherent: f32,
    share: f32,
}

/// Loss above which the rate is lowered, and below which it is raised (gcc-02 §6).
const MUCH: f32 = 0.10;
const LITTLE: f32 = 0.02;
/// Loss of this size is congestion even without a queue: a policer drops packets.
const POLICED: f32 = 0.30;
/// Shortest duration and least number of packets of a measurement window.
const WINDOW_US: u64 = 250_000;
const WINDOW_PACKETS: u32 = 20;
/// Upper limit of the learned inherent loss.
const MOST_INHERENT: f32 = 0.15;
/// Smoothing factor of the inherent loss: each window counts a tenth.
const LEARNING: f32 = 0.1;
/// Waiting time in milliseconds below which a queue counts as empty.
const NO_QUEUE_MS: f32 = 15.0;
const GROWTH_PER_SECOND: f32 = 1.08;

impl Loss {
    pub(super) fn new(max_bps: f32) -> Loss {
        Loss { bps: max_bps, lost: 0, received: 0, window_began_us: 0, inherent: 0.0, share: 0.0 }
    }

    /// Returns the bound in bits per second.
    pub(super) fn bps(&self) -> f32 {
        self.bps
    }

    /// Returns the share of packets lost in the last window, 0 to 1.
    pub(super) fn share(&self) -> f32 {
        self.share
    }

    /// Returns the share of packets that the network loses without a queue, 0 to 1.
    pub(super) fn inherent(&self) -> f32 {
        self.inherent
    }

    /// Counts packets of a report. `recovered` packets were reported lost before and arrived after
    /// all.
    pub(super) fn on_report(&mut self, lost: u32, received: u32, recovered: u32) {
        self.lost = (self.lost + lost).saturating_sub(recovered);
        self.received += received;
    }

    /// Raises the bound to a rate that a probe has proved.
    pub(super) fn set_proved(&mut self, bps: f32) {
        self.bps = self.bps.max(bps);
    }

    /// Updates the bound from the reports of the window. `target`: highest rate that is sent;
    /// `acked`: rate that arrives.
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
            // The rate that arrives is carried, however low the bound has fallen (own rule).
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
    fn loss_is_congestion_with_a_queue_and_inherent_without_one() {
        assert!(after(10, 0.12, 200.0) < 0.6e6);
        assert!(after(10, 0.10, 0.0) > 1.8e6);
        assert!(after(10, 0.01, 200.0) > 9e6);
    }

    #[test]
    fn loss_of_a_policer_lowers_the_rate_without_a_queue() {
        assert!(after(5, 0.5, 0.0) < 0.1e6);
    }
}
