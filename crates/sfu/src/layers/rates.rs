//! How many bits per second does each layer of a track have?
//!
//! Measured over the last second, because nobody tells: publishers state a maximum, and encoders send what the picture
//! needs.

use std::time::{Duration, Instant};

use super::LayerId;

/// Counts the bytes of one layer over a sliding window.
#[derive(Debug, Clone)]
pub struct Meter {
    slots: [u64; SLOTS],
    /// Which slot is being filled: slots since `began_at`.
    current: u64,
    began_at: Instant,
}

/// A picture every 66 ms (15 frames per second) leaves no slot empty for long, and a second forgets a key frame.
const SLOTS: usize = 10;
/// One slot; ten are the window.
const SLOT: Duration = Duration::from_millis(100);
/// Before this much was seen there is no rate: half a window.
const FIRST_AFTER: u64 = 5;

impl Meter {
    /// A meter that has seen nothing.
    pub fn new(now: Instant) -> Meter {
        Meter { slots: [0; SLOTS], current: 0, began_at: now }
    }

    /// Bytes came.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        self.slots[(self.current % SLOTS as u64) as usize] += bytes as u64;
    }

    /// Bits per second over the window, or since the beginning; `None` in the first half second.
    pub fn bps(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        // The slot that is being filled counts whole once there is a full window: it is a tenth at most.
        let slots = (self.current + 1).min(SLOTS as u64);
        (self.current >= FIRST_AFTER).then(|| self.slots.iter().sum::<u64>() * 8 * 1_000 / (slots * SLOT_MS))
    }

    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.began_at).as_millis() as u64 / SLOT_MS;
        let passed = since.saturating_sub(self.current).min(SLOTS as u64);
        for slot in 0..passed {
            self.slots[((since - slot) % SLOTS as u64) as usize] = 0;
        }
        self.current = self.current.max(since);
    }
}

const SLOT_MS: u64 = SLOT.as_millis() as u64;

/// The meters of a track's layers.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    meters: Vec<(LayerId, Meter)>,
}

/// Layers that are measured: three encodings of three temporal layers are nine, L3T3 in one encoding too. More are as if
/// they were not there.
pub const MAX_LAYERS: usize = 32;

/// One step of quality that a track offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is sent.
    pub layer: LayerId,
    /// What it costs, with all that it needs.
    pub bps: u64,
}

impl Rates {
    /// A packet came, of `bytes` on the wire.
    pub fn add(&mut self, now: Instant, layer: LayerId, bytes: usize) {
        if let Some((_, meter)) = self.meters.iter_mut().find(|(id, _)| *id == layer) {
            meter.add(now, bytes);
        } else if self.meters.len() < MAX_LAYERS {
            let mut meter = Meter::new(now);
            meter.add(now, bytes);
            self.meters.push((layer, meter));
            self.meters.sort_by_key(|(id, _)| *id);
        }
    }

    /// What a layer costs, with the lower ones of its encoding that it needs; `None` if nothing of it is being sent.
    pub fn bps(&mut self, now: Instant, layer: LayerId) -> Option<u64> {
        let mut sum = 0;
        let mut is_sent = false;
        for (id, meter) in &mut self.meters {
            if id.encoding != layer.encoding || id.spatial > layer.spatial || id.temporal > layer.temporal {
                continue;
            }
            let bps = meter.bps(now)?;
            is_sent |= *id == layer && bps > 0;
            sum += bps;
        }
        is_sent.then_some(sum)
    }

    /// What the track offers now, the cheapest first. Each step is a better picture than the one before and costs more.
    ///
    /// A larger picture counts as better only if it moves at least half as fast as it could: of the upper sizes only the two
    /// highest temporal layers are offered.
    pub fn steps(&mut self, now: Instant) -> Vec<Step> {
        let ids: Vec<LayerId> = self.meters.iter().map(|(id, _)| *id).collect();
        let Some(lowest) = ids.first().copied() else { return Vec::new() };
        let mut steps: Vec<Step> = Vec::new();
        for id in &ids {
            let same_size = |other: &&LayerId| (other.encoding, other.spatial) == (id.encoding, id.spatial);
            let fastest = ids.iter().filter(same_size).map(|other| other.temporal).max().unwrap_or(0);
            let is_lowest_size = (id.encoding, id.spatial) == (lowest.encoding, lowest.spatial);
            if !is_lowest_size && id.temporal + 1 < fastest {
                continue;
            }
            let Some(bps) = self.bps(now, *id) else { continue };
            if steps.last().is_none_or(|last| last.bps < bps) {
                steps.push(Step { layer: *id, bps });
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends `bytes` of each layer every 10 ms for `span`.
    fn send(rates: &mut Rates, from: Instant, span: u64, layers: &[(LayerId, usize)]) {
        for at in (0..span).step_by(10) {
            for (layer, bytes) in layers {
                rates.add(from + ms(at), *layer, *bytes);
            }
        }
    }

    #[test]
    fn a_steady_flow_is_told_after_half_a_second_and_forgotten_after_one() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for at in (0..2_000).step_by(10) {
            meter.add(start + ms(at), 125);
            let bps = meter.bps(start + ms(at));
            assert_eq!(bps.is_some(), at >= 500, "{at}");
            assert!(bps.is_none_or(|bps| (80_000..=100_000).contains(&bps)), "{at}: {bps:?}");
        }
        assert_eq!(meter.bps(start + ms(3_100)), Some(0));
        assert_eq!(meter.bps(start + ms(900_000)), Some(0));
    }

    #[test]
    fn a_layer_costs_what_it_needs_too() {
        let start = Instant::now();
        let [low, fast, large] = [LayerId::new(0, 0, 0), LayerId::new(0, 0, 1), LayerId::new(1, 0, 0)];
        let mut rates = Rates::default();
        send(&mut rates, start, 1_000, &[(low, 125), (fast, 125), (large, 1_250)]);
        let now = start + ms(999);
        assert_eq!(rates.bps(now, low), Some(100_000));
        assert_eq!(rates.bps(now, fast), Some(200_000));
        assert_eq!(rates.bps(now, large), Some(1_000_000));
        assert_eq!(rates.bps(now, LayerId::new(2, 0, 0)), None);
        assert_eq!(rates.bps(now + ms(2_000), low), None, "nothing is being sent");
    }

    #[test]
    fn steps_rise_in_cost_and_leave_out_large_pictures_that_hardly_move() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let of = |encoding, bytes| (0..3).map(move |temporal| (LayerId::new(encoding, 0, temporal), bytes));
        let layers: Vec<_> = of(0, 100).chain(of(1, 300)).chain([(LayerId::new(2, 0, 0), 50)]).collect();
        send(&mut rates, start, 1_000, &layers);
        let steps = rates.steps(start + ms(999));
        let ids: Vec<_> = steps.iter().map(|step| (step.layer.encoding, step.layer.temporal)).collect();
        assert_eq!(ids, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]);
        assert!(steps.windows(2).all(|pair| pair[0].bps < pair[1].bps));
    }

    #[test]
    fn a_publisher_cannot_make_it_grow() {
        let mut rates = Rates::default();
        for layer in 0..=255 {
            rates.add(Instant::now(), LayerId::new(layer, layer, layer), 1);
        }
        assert_eq!(rates.meters.len(), MAX_LAYERS);
    }
}
