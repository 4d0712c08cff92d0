//! Which quality did a viewer get over some time?
//!
//! [`Story::marks`] starts a measurement, [`Story::seen`] returns its figures.

use std::time::Duration;

use crate::camera::SIZE_STEP;
use crate::story::{Peer, Story};

/// A viewer, and the start of the measurement.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    viewer: Peer,
    from: Duration,
    bytes: u64,
}

/// The figures of a viewer over some time.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The longest time without a new picture.
    pub longest_freeze: Duration,
    /// Share of the time in which the picture stood still: the gaps between pictures that are longer
    /// than [`FREEZE`].
    pub frozen: f64,
    /// Pictures shown, as a share of the pictures filmed. Late pictures may raise it slightly above
    /// 1.
    pub pictures: f64,
    /// Sounds received, as a share of the sounds sent.
    pub sounds: f64,
    /// The longest time without sound.
    pub silence: Duration,
    /// Median of the additional delay of sounds over the one-way delay: mostly queues that the
    /// server fills.
    pub queue: Duration,
    /// The additional delay that the slowest twentieth of the sounds exceeds.
    pub long_queue: Duration,
    /// Share of the pictures in the largest size.
    pub top: f64,
    /// Received bits per second, with headers of IP and UDP.
    pub bits_per_second: f64,
}

/// Shortest gap that counts as a freeze. webrtc-stats counts gaps that are 150 ms longer than
/// usual.
const FREEZE: Duration = Duration::from_millis(200);

impl Story {
    /// Starts a measurement of a viewer.
    pub fn marks(&self, viewer: Peer) -> Mark {
        Mark { viewer, from: self.now(), bytes: self.wires(viewer).1.bytes }
    }

    /// Returns the figures of a viewer of a publisher since the mark.
    pub fn seen(&self, publisher: Peer, mark: Mark) -> Seen {
        let Mark { viewer, from, bytes } = mark;
        let seconds = (self.now() - from).as_secs_f64();
        let screen = self.screen(viewer);
        let pictures: Vec<_> = screen.pictures.iter().filter(|shown| shown.at >= from).collect();
        let sounds: Vec<_> = screen.sounds.iter().filter(|shown| shown.at >= from).collect();
        let moments: Vec<Duration> = pictures.iter().map(|shown| shown.at).collect();
        let heard: Vec<Duration> = sounds.iter().map(|shown| shown.at).collect();
        let freezes = gaps(from, &moments, self.now());
        let frozen: Duration = freezes.iter().filter(|gap| **gap > FREEZE).sum();
        let mut ages: Vec<Duration> = sounds.iter().map(|shown| shown.age()).collect();
        ages.sort();
        let way = screen.sounds.iter().map(|shown| shown.age()).min().unwrap_or_default();
        let waited = |share: f64| {
            let at = (ages.len() as f64 * share) as usize;
            ages.get(at).copied().unwrap_or_default().saturating_sub(way)
        };
        let filming = self.films(publisher);
        let top = self.source(publisher) + SIZE_STEP * u32::from(filming.sizes - 1);
        let of_top = pictures.iter().filter(|shown| shown.stamp.source == top).count();
        Seen {
            longest_freeze: freezes.into_iter().max().unwrap_or_default(),
            frozen: frozen.as_secs_f64() / seconds,
            pictures: pictures.len() as f64 / (seconds * filming.frame_rate),
            sounds: filming.sound.map_or(0.0, |each| sounds.len() as f64 * each.as_secs_f64() / seconds),
            silence: gaps(from, &heard, self.now()).into_iter().max().unwrap_or_default(),
            queue: waited(0.5),
            long_queue: waited(0.95),
            top: of_top as f64 / pictures.len().max(1) as f64,
            bits_per_second: (self.wires(viewer).1.bytes - bytes) as f64 * 8.0 / seconds,
        }
    }
}

/// Returns the times between consecutive moments, including both ends.
fn gaps(from: Duration, moments: &[Duration], to: Duration) -> Vec<Duration> {
    let ends = [from].into_iter().chain(moments.iter().copied());
    ends.zip(moments.iter().copied().chain([to])).map(|(one, next)| next.saturating_sub(one)).collect()
}

/// Returns the fairness of rates (Jain et al. 1984): 1 if all are equal, `1 / n` if one has all.
pub fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    sum * sum / (rates.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_reach_from_the_beginning_to_the_end() {
        let ms = Duration::from_millis;
        assert_eq!(gaps(ms(5), &[], ms(12)), [ms(7)]);
        assert_eq!(gaps(ms(5), &[ms(6), ms(9)], ms(10)), [ms(1), ms(3), ms(1)]);
    }

    #[test]
    fn one_rate_of_all_is_not_fair() {
        assert_eq!(jain(&[2.0, 2.0, 2.0, 2.0]), 1.0);
        assert_eq!(jain(&[8.0, 0.0, 0.0, 0.0]), 0.25);
    }
}
