//! What did a viewer get in some time?
//!
//! [`Story::marks`] begins to look, [`Story::seen`] says what was to be seen since.

use std::time::Duration;

use crate::camera::SIZE_STEP;
use crate::story::{Peer, Story};

/// A viewer, and from when on one looks.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    viewer: Peer,
    from: Duration,
    bytes: u64,
}

/// What somebody saw and heard in some time.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The longest time without a new picture.
    pub longest_freeze: Duration,
    /// Share of the time in which nothing moved: of gaps between pictures, what is longer than [`FREEZE`].
    pub frozen: f64,
    /// Pictures shown, of those that were filmed. What comes late may make it a little more than 1.
    pub pictures: f64,
    /// Sounds that came, of those that were made.
    pub sounds: f64,
    /// The longest time without sound.
    pub silence: Duration,
    /// How much longer than its way half of the sounds took: queues that we fill, mostly.
    pub queue: Duration,
    /// … and the slowest twentieth.
    pub long_queue: Duration,
    /// Share of the pictures that were of the largest size.
    pub top: f64,
    /// Bits a second that came, with headers of IP and UDP.
    pub bits_per_second: f64,
}

/// What a viewer would call a freeze. webrtc-stats counts from 150 ms more than usual on.
const FREEZE: Duration = Duration::from_millis(200);

impl Story {
    /// Looks at a viewer from now on.
    pub fn marks(&self, viewer: Peer) -> Mark {
        Mark { viewer, from: self.now(), bytes: self.wires(viewer).1.bytes }
    }

    /// What a viewer saw of a publisher since the mark.
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

/// Times between neighbours, beginning and end included.
fn gaps(from: Duration, moments: &[Duration], to: Duration) -> Vec<Duration> {
    let ends = [from].into_iter().chain(moments.iter().copied());
    ends.zip(moments.iter().copied().chain([to])).map(|(one, next)| next.saturating_sub(one)).collect()
}

/// Whether so much is shared fairly (Jain et al. 1984): 1 if everybody has the same, `1 / n` if one has all.
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
    fn who_has_all_is_not_fair() {
        assert_eq!(jain(&[2.0, 2.0, 2.0, 2.0]), 1.0);
        assert_eq!(jain(&[8.0, 0.0, 0.0, 0.0]), 0.25);
    }
}
