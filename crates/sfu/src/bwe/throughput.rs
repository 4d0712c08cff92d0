//! Which rate arrives at the viewer?

/// Received bits per second from the viewer's reports, over about half a second of the viewer's
/// clock.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    buckets: [u32; BUCKETS],
    /// The number of the newest bucket, counted from the clock's origin.
    newest: Option<i64>,
    /// The number of the first bucket.
    first: i64,
}

const BUCKETS: usize = 10;
const BUCKET_US: i64 = 50_000;
/// Least number of full buckets for a result: the first pictures come as a burst.
const LEAST_BUCKETS: i64 = 4;

impl Throughput {
    pub(super) fn on_arrival(&mut self, arrived_us: i64, bytes: u32) {
        let bucket = arrived_us.div_euclid(BUCKET_US);
        let Some(newest) = self.newest.filter(|newest| (bucket - newest).abs() < 100) else {
            *self = Throughput { newest: Some(bucket), first: bucket, ..Throughput::default() };
            self.buckets[Self::slot(bucket)] = bytes;
            return;
        };
        if bucket > newest {
            for passed in newest + 1..=bucket.min(newest + BUCKETS as i64) {
                self.buckets[Self::slot(passed)] = 0;
            }
            self.buckets[Self::slot(bucket)] = 0;
            self.newest = Some(bucket);
        } else if newest - bucket >= BUCKETS as i64 {
            return;
        }
        let slot = &mut self.buckets[Self::slot(bucket)];
        *slot = slot.saturating_add(bytes);
    }

    /// Returns the rate, or `None` before there are [`LEAST_BUCKETS`].
    pub(super) fn bps(&self) -> Option<f32> {
        let newest = self.newest?;
        // The newest bucket is still being filled.
        let whole = (newest - self.first).min(BUCKETS as i64 - 1);
        if whole < LEAST_BUCKETS {
            return None;
        }
        let bytes: u32 = (newest - whole..newest).map(|bucket| self.buckets[Self::slot(bucket)]).sum();
        Some(bytes as f32 * 8.0 * 1e6 / (whole * BUCKET_US) as f32)
    }

    fn slot(bucket: i64) -> usize {
        bucket.rem_euclid(BUCKETS as i64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_rate_is_measured_and_a_pause_lowers_it() {
        let mut throughput = Throughput::default();
        for n in 0..300_i64 {
            throughput.on_arrival(-3_000_000 + n * 10_000, 1_250);
            let bps = throughput.bps();
            assert_eq!(bps.is_some(), n >= 20, "{n}");
            assert!(bps.is_none_or(|bps| (bps - 1e6).abs() < 1.0), "{bps:?}");
        }
        throughput.on_arrival(400_000, 1_250);
        assert!(throughput.bps().unwrap() < 300_000.0);
        throughput.on_arrival(900_000_000, 1_250);
        assert_eq!(throughput.bps(), None, "another time");
    }
}
