//! What is done for a viewer whose network loses packets all by itself, not because too much is sent?
//!
//! Two things. What is missing is sent twice: the second time it would be lost as well is then once in four hundred at 5 %,
//! and nobody waits for another request, which libwebrtc sends after 100 ms where it knows no round trip. And pictures are
//! shown as much later as a repair takes: by itself a player takes that into account for pictures that others
//! are made from, and skips those that nobody needs (the upper temporal layers), a third of all at 5 % loss.
//! Repairs of such losses take what they cost: a bound below that leaves losses unrepaired.

use std::time::Duration;

use crate::bwe::Estimate;

/// What is known of a viewer's losses, and done about them.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lossy {
    is_lossy: bool,
    /// Looks in a row at which it was not what it is held for.
    contrary: u8,
    playout: Option<Playout>,
    /// Share of sent bytes that may be sent again for the network's own loss, in 1/256.
    own_share: i64,
}

/// Shows pictures later than the publisher wants: the least delay, in units of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playout(pub u8);

/// Below that a player gets by with requests.
const LOSSY: f32 = 0.012;
/// Gone when it is below this.
const CLEAN: f32 = 0.006;
/// Looks, one a second, before a network counts as lossy, or no more.
const LOOKS_TO_LOSSY: u8 = 2;
const LOOKS_TO_CLEAN: u8 = 20;
/// A loss is noticed with the next picture (33 ms) and told by the player's next round (20 ms): libwebrtc.
const NOTICED_AFTER: Duration = Duration::from_millis(60);
/// Within the half second that we promise.
const MOST: Duration = Duration::from_millis(300);
/// Of what is sent, in 1/256, that may be sent again to any viewer (threat T13): a fifth.
pub const LEAST_REPAIR_SHARE: i64 = 51;
/// ... and to a viewer whose network loses by itself: a half.
const MOST_REPAIR_SHARE: i64 = 128;
/// Repairs of random losses come unevenly, and are lost as well. With 10 % loss in two copies the
/// mean is 20.2 %; a budget of exactly that runs dry half of the time.
const REPAIR_MARGIN: f32 = 1.5;
/// A loss beyond this is not repaired with more bytes: `bwe::loss` takes it for congestion.
const POLICED: f32 = 0.30;
/// Changes by less are not worth a player's trouble.
const STEP: u8 = 3;

impl Lossy {
    /// Looks, once a second.
    pub fn look(&mut self, estimate: &Estimate) {
        let seems = estimate.own_loss > if self.is_lossy { CLEAN } else { LOSSY };
        self.contrary = if seems == self.is_lossy { 0 } else { self.contrary + 1 };
        if self.contrary >= if self.is_lossy { LOOKS_TO_CLEAN } else { LOOKS_TO_LOSSY } {
            (self.is_lossy, self.contrary) = (seems, 0);
        }
        self.own_share = if self.is_lossy && estimate.loss <= POLICED {
            (estimate.own_loss.clamp(0.0, 1.0) * self.copies() as f32 * REPAIR_MARGIN * 256.0) as i64
        } else {
            0
        };
        let wanted = if self.is_lossy {
            let repair = NOTICED_AFTER + Duration::from_secs_f32(estimate.rtt_ms.clamp(0.0, 1e4) / 1e3);
            (repair.min(MOST).as_millis() / 10) as u8
        } else {
            0
        };
        match self.playout {
            // A player that was never told otherwise does as the publisher wants.
            None if wanted == 0 => {}
            Some(Playout(told)) if wanted != 0 && told.abs_diff(wanted) < STEP => {}
            _ => self.playout = Some(Playout(wanted)),
        }
    }

    /// How often what is missing is sent.
    pub fn copies(&self) -> usize {
        if self.is_lossy { 2 } else { 1 }
    }

    /// Share of sent bytes that may be sent again, in 1/256.
    pub fn repair_share(&self) -> i64 {
        (LEAST_REPAIR_SHARE + self.own_share).min(MOST_REPAIR_SHARE)
    }

    /// The least delay to tell, if any was ever told.
    pub fn playout(&self) -> Option<Playout> {
        self.playout
    }
}

/// The most that 12 bits say: no bound.
const UNBOUNDED: u32 = 0xfff;

impl Playout {
    /// The `playout-delay` extension with this least delay, for a publisher's: 12 bits each in units of 10 ms.
    pub fn over(self, published: Option<[u8; 3]>) -> [u8; 3] {
        let bits = published.map_or(UNBOUNDED, |[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        let least = (bits >> 12).max(u32::from(self.0));
        let bytes = (least << 12 | (bits & UNBOUNDED).max(least)).to_be_bytes();
        [bytes[1], bytes[2], bytes[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bwe::State;

    fn estimate(own_loss: f32, rtt_ms: f32) -> Estimate {
        let state = State::Increase;
        Estimate {
            bps: 1e6,
            ceiling_bps: None,
            is_app_limited: false,
            state,
            loss: own_loss,
            own_loss,
            rtt_ms,
            queue_ms: 0.0,
            is_shared: false,
        }
    }

    #[test]
    fn a_lossy_network_gets_time_for_repairs_and_a_clean_one_has_it_taken_back() {
        let mut lossy = Lossy::default();
        lossy.look(&estimate(0.05, 50.0));
        assert_eq!((lossy.copies(), lossy.playout()), (1, None), "once is chance");
        lossy.look(&estimate(0.05, 50.0));
        assert_eq!((lossy.copies(), lossy.playout()), (2, Some(Playout(11))));
        lossy.look(&estimate(0.05, 60.0));
        assert_eq!(lossy.playout(), Some(Playout(11)), "a little more is no reason");
        lossy.look(&estimate(0.05, 900.0));
        assert_eq!(lossy.playout(), Some(Playout(30)));
        (0..19).for_each(|_| lossy.look(&estimate(0.001, 50.0)));
        assert_eq!(lossy.copies(), 2);
        lossy.look(&estimate(0.001, 50.0));
        assert_eq!((lossy.copies(), lossy.playout()), (1, Some(Playout(0))));
    }

    #[test]
    fn repairs_may_take_more_than_random_loss_costs_and_a_fifth_of_congested_networks() {
        let share = |own_loss, loss| {
            let mut lossy = Lossy::default();
            let estimate = Estimate { loss, ..estimate(own_loss, 50.0) };
            (0..2).for_each(|_| lossy.look(&estimate));
            lossy.repair_share() as f32 / 256.0
        };
        for own_loss in [0.02, 0.05, 0.1, 0.15] {
            // Two copies of each lost packet, and two more where both are lost.
            let cost = 2.0 * own_loss / (1.0 - own_loss * own_loss);
            assert!(share(own_loss, own_loss) > 1.4 * cost, "{own_loss}");
        }
        assert!(share(0.15, 0.15) <= 0.5);
        assert!(share(0.0, 0.0) <= 0.2);
        assert!(share(0.15, 0.5) <= 0.2, "congestion, or a viewer that says so");
    }

    #[test]
    fn the_publishers_delay_is_lengthened_and_never_shortened() {
        assert_eq!(Playout(11).over(Some([0, 0, 40])), [0, 0xb0, 40]);
        assert_eq!(Playout(11).over(Some([0, 0, 0])), [0, 0xb0, 11]);
        assert_eq!(Playout(11).over(Some([0x01, 0x40, 40])), [0x01, 0x40, 40]);
        assert_eq!(Playout(0).over(Some([0, 0, 40])), [0, 0, 40]);
        assert_eq!(Playout(0).over(None), [0, 0x0f, 0xff]);
    }
}
