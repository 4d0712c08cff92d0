//! What are the networks of a shard's viewers like?

use media::MediaKind;

use crate::stream::choice::Reason;
use crate::viewer::Viewer;

/// The networks of all viewers of a shard, in numbers that fit a dashboard.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// Viewers by why they are shown what they are shown ([`Reason::ALL`]).
    pub by_reason: [u32; Reason::ALL.len()],
    /// Bits a second, of viewers that give feedback: how many have at most that of [`ESTIMATES_BPS`], and in the end all.
    pub estimates: [u32; ESTIMATES_BPS.len() + 1],
    /// Their sum.
    pub estimates_sum: f64,
    /// Viewers in whose network a queue stands that everybody would notice: over 100 ms.
    pub queued: u32,
    /// Viewers whose network loses more than one packet in fifty.
    pub lossy: u32,
    /// Changes from one encoding to another, of viewers that are there.
    pub switches: u64,
}

/// Bounds that estimates are counted by.
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
