//! Which bit rate and frame rate does each layer of a track have?
//!
//! The rates are measured over the last two seconds, because signalling does not have them:
//! publishers state a maximum, and encoders send as much as the picture needs.

use std::time::{Duration, Instant};

use super::LayerId;

/// Counts over a sliding window.
#[derive(Debug, Clone)]
pub struct Meter {
    slots: [u64; SLOTS],
    /// The slot that is being filled, in slots since `began_at`.
    current: u64,
    began_at: Instant,
}

/// Number of slots in the window of two seconds. A key frame of six times the usual size raises the
/// rate by a twelfth in this window, which moves no viewer to another layer.
const SLOTS: usize = 20;
/// Duration of one slot; twenty are the window. A picture every 66 ms (15 a second) leaves none
/// empty for long.
const SLOT: Duration = Duration::from_millis(100);
/// Number of slots before the first rate: half a second.
const FIRST_AFTER: u64 = 5;

impl Meter {
    /// Makes an empty meter.
    pub fn new(now: Instant) -> Meter {
        Meter { slots: [0; SLOTS], current: 0, began_at: now }
    }

    /// Counts bytes or pictures.
    pub fn add(&mut self, now: Instant, amount: usize) {
        self.advance(now);
        self.slots[(self.current % SLOTS as u64) as usize] += amount as u64;
    }

    /// Returns the amount per second, over the window or since the beginning; `None` in the first
    /// half second.
    pub fn per_second(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        // In a full window the slot that is being filled counts as a whole one: it is a twentieth
        // at most.
        let slots = (self.current + 1).min(SLOTS as u64);
        (self.current >= FIRST_AFTER).then(|| self.slots.iter().sum::<u64>() * 1_000 / (slots * SLOT_MS))
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
    layers: Vec<Layer>,
}

#[derive(Debug, Clone)]
struct Layer {
    id: LayerId,
    bytes: Meter,
    pictures: Meter,
}

/// Number of layers that are measured: four encodings of three temporal layers are twelve, L3T3 in
/// one encoding is nine. Further layers are not measured.
pub const MAX_LAYERS: usize = 32;

impl Rates {
    /// Counts a packet of `bytes`. `starts_picture`: it is the first one of a picture.
    pub fn add(&mut self, now: Instant, layer: LayerId, bytes: usize, starts_picture: bool) {
        let place = self.layers.iter().position(|known| known.id >= layer).unwrap_or(self.layers.len());
        if self.layers.get(place).is_none_or(|known| known.id != layer) {
            if self.layers.len() >= MAX_LAYERS {
                return;
            }
            self.layers.insert(place, Layer { id: layer, bytes: Meter::new(now), pictures: Meter::new(now) });
        }
        let known = &mut self.layers[place];
        known.bytes.add(now, bytes);
        known.pictures.add(now, usize::from(starts_picture));
    }

    /// Drops the counts of an encoding that begins anew.
    pub fn forget(&mut self, encoding: u8) {
        self.layers.retain(|layer| layer.id.encoding != encoding);
    }

    /// Returns the highest spatial and temporal layer of an encoding in the last two seconds.
    pub fn top(&mut self, now: Instant, encoding: u8) -> (u8, u8) {
        let of_encoding = self.layers.iter_mut().filter(|layer| layer.id.encoding == encoding);
        let came = of_encoding.filter_map(|layer| (layer.bytes.per_second(now)? > 0).then_some(layer.id));
        came.fold((0, 0), |top, id| (top.0.max(id.spatial), top.1.max(id.temporal)))
    }

    /// Returns the bits and pictures per second of a layer with the lower ones of its encoding that
    /// it needs; `None` if it is not being sent, or not known yet.
    pub fn cost(&mut self, now: Instant, layer: LayerId) -> Option<(u64, u64)> {
        let (mut bits, mut pictures, mut is_sent) = (0, 0, false);
        for known in &mut self.layers {
            let id = known.id;
            if id.encoding != layer.encoding || id.spatial > layer.spatial || id.temporal > layer.temporal {
                continue;
            }
            let bytes = known.bytes.per_second(now)?;
            is_sent |= id == layer && bytes > 0;
            bits += bytes * 8;
            // A picture of several spatial layers is one picture.
            if id.spatial == 0 {
                pictures += known.pictures.per_second(now)?;
            }
        }
        is_sent.then_some((bits, pictures))
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
                rates.add(from + ms(at), *layer, *bytes, at % 40 == 0);
            }
        }
    }

    #[test]
    fn rate_is_known_after_half_a_second_and_dropped_one_second_after_the_end() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for at in (0..2_000).step_by(10) {
            meter.add(start + ms(at), 125);
            let bytes = meter.per_second(start + ms(at));
            assert_eq!(bytes.is_some(), at >= 500, "{at}");
            assert!(bytes.is_none_or(|bytes| (10_000..=12_500).contains(&bytes)), "{at}: {bytes:?}");
        }
        assert_eq!(meter.per_second(start + ms(4_100)), Some(0));
        assert_eq!(meter.per_second(start + ms(900_000)), Some(0));
    }

    #[test]
    fn cost_of_a_layer_includes_the_layers_that_it_needs() {
        let start = Instant::now();
        let [low, fast, large] = [LayerId::new(0, 0, 0), LayerId::new(0, 0, 1), LayerId::new(1, 0, 0)];
        let mut rates = Rates::default();
        send(&mut rates, start, 1_000, &[(low, 125), (fast, 125), (large, 1_250)]);
        let now = start + ms(999);
        assert_eq!(rates.cost(now, low), Some((100_000, 25)));
        assert_eq!(rates.cost(now, fast), Some((200_000, 50)));
        assert_eq!(rates.cost(now, large), Some((1_000_000, 25)));
        assert_eq!(rates.cost(now, LayerId::new(2, 0, 0)), None);
        assert_eq!((rates.top(now, 0), rates.top(now, 1), rates.top(now, 2)), ((0, 1), (0, 0), (0, 0)));
        assert_eq!(rates.cost(now + ms(3_000), low), None, "nothing is being sent");
    }

    #[test]
    fn publisher_cannot_make_the_table_grow() {
        let mut rates = Rates::default();
        for layer in 0..=255 {
            rates.add(Instant::now(), LayerId::new(layer, layer, layer), 1, true);
        }
        assert_eq!(rates.layers.len(), MAX_LAYERS);
    }
}
