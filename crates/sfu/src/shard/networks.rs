//! Which properties do the networks of a shard's viewers have?

use media::MediaKind;

use crate::stream::choice::Reason;
use crate::viewer::Viewer;

/// Counts of the networks of all viewers of a shard, for a dashboard.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// Viewers by the reason for their layer ([`Reason::ALL`]).
    pub by_reason: [u32; Reason::ALL.len()],
    /// Viewers with feedback by estimate: the number of viewers with at most each of
    /// [`ESTIMATES_BPS`], and at the end of all.
    pub estimates: [u32; ESTIMATES_BPS.len() + 1],
    /// Sum of the estimates.
    pub estimates_sum: f64,
    /// Viewers with a noticeable queue in their network: over 100 ms.
    pub queued: u32,
    /// Viewers whose network loses more than one packet in fifty.
    pub lossy: u32,
    /// Changes of encoding, of the viewers that are present.
    pub switches: u64,
}

/// Upper bounds of the classes of estimates, in bits per second.
pub const ESTIMATES_BPS: [u32; 7] = [100_000, 250_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000];
const QUEUED_MS: f32 = 100.0;
const MANY_LOST: f32 = 0.02;

impl Networks {
    pub(super) fn count(&mut self, viewer: &Viewer) {
        if let Some(video) =
            viewer.subscriptions().find(|subscription| subscription.negotiated().kind == MediaKind::Video)
        {
            self.by_reason[video.reason() as usize] += 1;
            self.switches += video.counters.switches;
        }
        let estimator = &viewer.transport().estimator;
        if !estimator.has_feedback() {
            return;
        }
        let estimate = estimator.estimate();
        let bounds = self.estimates.iter_mut().zip(ESTIMATES_BPS.map(f64::from).into_iter().chain([f64::INFINITY]));
        bounds.filter(|(_, most)| f64::from(estimate.bps) <= *most).for_each(|(count, _)| *count += 1);
        self.estimates_sum += f64::from(estimate.bps);
        self.queued += u32::from(estimate.queue_ms > QUEUED_MS);
        self.lossy += u32::from(estimate.loss > MANY_LOST);
    }
}
