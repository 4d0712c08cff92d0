//! Which encodings of one source does a publisher send, and which of them is the best at the moment?
//!
//! A simulcast publisher sends the same pictures up to [`MAX_ENCODINGS`] times, small to large (RFC 8853); each is a track of
//! its own with its own log. Without simulcast, and for audio, only the first one is in use. A publisher
//! may stop an encoding at any time (its uplink is short) and begin it again.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{MediaKind, Packet};

use super::Encoding;
use super::choice::{Offered, Preferences};
use super::encoding_limits::EncodingLimits;
use crate::format::Format;
use crate::layers::LayerId;
use crate::layers::rates::Rates;

/// The encodings of one source.
#[derive(Debug)]
pub struct Track {
    encodings: [Encoding; MAX_ENCODINGS],
    /// By encoding: whether packets come.
    live: [bool; MAX_ENCODINGS],
    /// By encoding: its highest spatial and temporal layer.
    tops: [(u8, u8); MAX_ENCODINGS],
    /// By encoding: whether between key pictures higher spatial layers need nothing of lower ones (K-SVC).
    sparse: [bool; MAX_ENCODINGS],
    /// Bits and pictures of the layers of each.
    rates: Rates,
    /// What a viewer can be given, best first.
    offered: Vec<Offered>,
    best: u8,
    /// By encoding: the most that this publisher sent of it.
    limits: [EncodingLimits; MAX_ENCODINGS],
    /// By encoding: the most bits a second that it needed lately; as it was while it pauses.
    lately: [u64; MAX_ENCODINGS],
    /// By encoding: when it began, after the last pause.
    began_at: [Option<Instant>; MAX_ENCODINGS],
    compared_at: Option<Instant>,
    /// The bit rate above which the shard forwards no video to any viewer; `None`: no bound.
    max_bps: Option<u64>,
}

/// An encoding of which nothing came for so long is not being sent. Screens are shared at 1 picture a second and more.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);

/// An encoding of which nothing comes for so long, while others go on, is not offered any more: it is being switched off.
const FALTERS: Duration = Duration::from_millis(400);
/// After so long without it, an encoding begins anew.
const PAUSE: Duration = Duration::from_millis(800);
/// Time after an encoding begins anew in which it is taken to need the bit rate that it had before.
/// An encoder begins far below its target, so a viewer moved up by the measured rate would be moved
/// down again. Chromium's encoder takes some seconds. `control::ladder` keeps the encodings that
/// viewers leave for longer than this.
pub const GROWS_FOR: Duration = Duration::from_secs(4);

/// What it needed fades by a part in so many at each look: to a half in 5 s.
const FADES: u64 = 70;

/// Encodings are compared this often; sooner than a picture at 10 a second nobody can tell.
const COMPARED_EVERY: Duration = Duration::from_millis(100);

impl Track {
    /// Encodings of which nothing has come yet.
    pub fn new(kind: MediaKind) -> Track {
        Track {
            encodings: std::array::from_fn(|_| Encoding::new(kind)),
            live: [false; MAX_ENCODINGS],
            tops: [(0, 0); MAX_ENCODINGS],
            sparse: [false; MAX_ENCODINGS],
            rates: Rates::default(),
            offered: Vec::new(),
            best: 0,
            limits: [EncodingLimits::default(); MAX_ENCODINGS],
            lately: [0; MAX_ENCODINGS],
            began_at: [None; MAX_ENCODINGS],
            compared_at: None,
            max_bps: None,
        }
    }

    /// The encoding of this number; the last one if there is none.
    pub fn of(&self, encoding: u8) -> &Encoding {
        &self.encodings[usize::from(encoding).min(MAX_ENCODINGS - 1)]
    }

    /// The encoding of this number; the last one if there is none.
    pub fn of_mut(&mut self, encoding: u8) -> &mut Encoding {
        &mut self.encodings[usize::from(encoding).min(MAX_ENCODINGS - 1)]
    }

    /// All of them with their numbers, those of which nothing comes included.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Encoding)> {
        (0..).zip(&self.encodings)
    }

    /// A packet came.
    pub fn push(&mut self, now: Instant, packet: std::sync::Arc<Packet>) {
        let encoding = packet.encoding;
        if packet.codec.kind() == MediaKind::Video {
            if self.of(encoding).arrived_at().is_none_or(|at| now.saturating_duration_since(at) >= PAUSE) {
                self.rates.forget(encoding);
                self.began_at[usize::from(encoding).min(MAX_ENCODINGS - 1)] = Some(packet.arrived_at);
            }
            // By the time when it came to the server: a relay begins with some seconds at once.
            let layer = LayerId::new(encoding, packet.layers.spatial, packet.layers.temporal);
            let place = usize::from(encoding).min(MAX_ENCODINGS - 1);
            if layer.spatial < self.tops[place].0 {
                // For good: who forgets what a viewer was not sent leads it to where it cannot follow.
                self.sparse[place] |= packet.layers.is_unneeded_above;
            }
            self.rates.add(packet.arrived_at, layer, packet.payload.len(), packet.starts_frame);
        }
        self.of_mut(encoding).push(now, packet);
        let is_new = !self.live[usize::from(encoding).min(MAX_ENCODINGS - 1)];
        if is_new || self.compared_at.is_none_or(|at| now.saturating_duration_since(at) >= COMPARED_EVERY) {
            self.compare(now);
        }
    }

    /// The largest picture that a viewer can be given at the moment.
    pub fn best(&self) -> u8 {
        self.best
    }

    /// The most that this publisher sent of each, also of one that is switched off at the moment.
    pub fn limits(&self) -> [EncodingLimits; MAX_ENCODINGS] {
        self.limits
    }

    /// Whether packets of this encoding come.
    pub fn is_live(&self, encoding: u8) -> bool {
        self.live.get(usize::from(encoding)).copied().unwrap_or(false)
    }

    /// What comes and what a viewer can be started with, best first: the encodings, and less of them where they have layers. Each
    /// takes fewer bits than the one before.
    pub fn offered(&self) -> &[Offered] {
        &self.offered
    }

    /// The bit rate above which the shard forwards no video to any viewer; `None`: no bound.
    pub fn max_bps(&self) -> Option<u64> {
        self.max_bps
    }

    /// The shard's load bounds the bit rate of each viewer's video; `None`: it does not.
    pub fn set_max_bps(&mut self, max_bps: Option<u64>) {
        self.max_bps = max_bps;
    }

    /// The most bits a second that this publisher has sent, lately or not, of what is of use to one who wishes this. It may
    /// send less at the moment because nobody has use for more.
    pub fn peak(&self, preferences: &Preferences) -> u64 {
        let useful = self.limits.iter().map(|limits| limits.useful(preferences));
        let offered = self.offered.iter().filter(|o| !preferences.is_exceeded((o.width, o.height)));
        useful.chain(offered.map(|o| o.bits_per_second)).max().unwrap_or(0)
    }

    /// Whether this publisher sends more, or did, than one has use for who wishes this.
    pub fn is_spared(&self, preferences: &Preferences) -> bool {
        self.limits.iter().any(|limits| limits.is_beyond(preferences))
    }

    /// In how many sizes this publisher has sent, lately or not.
    pub fn sizes_sent(&self) -> usize {
        self.limits.iter().map(EncodingLimits::sizes).sum()
    }

    /// Whether an encoding has lower spatial layers that those who watch a higher one do not need between key pictures.
    pub fn is_sparse(&self, encoding: u8) -> bool {
        self.sparse.get(usize::from(encoding)).copied().unwrap_or(false)
    }

    /// Whether these layers are all that an encoding has at the moment.
    pub fn is_all(&self, encoding: u8, within: (u8, u8)) -> bool {
        self.tops.get(usize::from(encoding)).is_none_or(|top| within.0 >= top.0 && within.1 >= top.1)
    }

    /// Whether waiting for an answer to a key frame request is in vain. A publisher that answers for one encoding
    /// answers for all that it sends.
    pub fn is_unresponsive(&self) -> bool {
        !self.encodings.iter().any(Encoding::answers) && self.encodings.iter().any(Encoding::is_unresponsive)
    }

    /// The shard that the publisher is on says whether it answers.
    pub fn set_unresponsive_elsewhere(&mut self, unresponsive: bool) {
        self.encodings.iter_mut().for_each(|encoding| encoding.set_unresponsive_elsewhere(unresponsive));
    }

    /// The publisher changed, or told what it sends.
    pub fn set_format(&mut self, format: Option<Format>) {
        self.encodings.iter_mut().for_each(|encoding| encoding.set_format(format));
    }

    /// The publisher is gone: nobody can be started from what it left.
    pub fn on_publisher_left(&mut self) {
        self.encodings.iter_mut().for_each(Encoding::on_publisher_left);
        self.live = [false; MAX_ENCODINGS];
        self.best = 0;
        self.offered.clear();
        self.rates = Rates::default();
        self.limits = [EncodingLimits::default(); MAX_ENCODINGS];
        self.sparse = [false; MAX_ENCODINGS];
        self.lately = [0; MAX_ENCODINGS];
        self.compared_at = None;
    }

    /// The larger picture is the better one, then the faster; where sizes are not known, the one that takes more bits.
    fn compare(&mut self, now: Instant) {
        self.compared_at = Some(now);
        self.offered.clear();
        let newest = self.encodings.iter().filter_map(Encoding::arrived_at).max().unwrap_or(now);
        for (n, encoding) in (0..).zip(&self.encodings) {
            let is_live = encoding.arrived_at().is_some_and(|at| now.saturating_duration_since(at) < SILENT_AFTER);
            self.live[usize::from(n)] = is_live;
            self.tops[usize::from(n)] = self.rates.top(now, n);
            let falters = encoding.arrived_at().is_some_and(|at| newest.saturating_duration_since(at) >= FALTERS);
            // Without a key frame nobody can be shown anything of it.
            if is_live && !falters && encoding.log().key_at().is_some() {
                let (width, height) = encoding.resolution().map_or((0, 0), |size| (size.width, size.height));
                let (spatial, temporal) = self.tops[usize::from(n)];
                let known = self.rates.cost(now, LayerId::new(n, spatial, temporal));
                let began_at = self.began_at[usize::from(n)];
                let grows = began_at.is_some_and(|at| now.saturating_duration_since(at) < GROWS_FOR);
                let bits = known.map_or(0, |(bits, _)| bits);
                let (limits, rates) = (&mut self.limits[usize::from(n)], &mut self.rates);
                let pictures = known.map_or(0, |(_, pictures)| pictures as u16);
                limits.update(encoding.resolution(), (spatial, temporal), pictures, |spatial| {
                    rates.cost(now, LayerId::new(n, spatial, temporal)).map(|(bits, _)| bits)
                });
                let lately = &mut self.lately[usize::from(n)];
                // Its publisher may have been asked to send less of it since.
                let faded = if grows { *lately } else { (*lately * FADES + bits) / (FADES + 1) };
                *lately = bits.max(faded);
                let at_least = if grows { *lately } else { 0 };
                self.offered.push(Offered {
                    layer: LayerId::whole(n),
                    top: (spatial, temporal),
                    width,
                    height,
                    frame_rate: pictures,
                    bits_per_second: known.map_or(0, |(bits, _)| bits).max(at_least),
                });
            }
        }
        let smallest = self.offered.iter().map(|whole| (whole.height, whole.bits_per_second)).min();
        for place in 0..self.offered.len() {
            let whole = self.offered[place];
            self.offer_less(now, whole, Some((whole.height, whole.bits_per_second)) == smallest);
        }
        self.order();
        self.best = self.offered.first().map_or(self.best, |best| best.layer.encoding);
    }

    /// Offers what of an encoding has fewer layers.
    fn offer_less(&mut self, now: Instant, whole: Offered, is_smallest: bool) {
        let encoding = whole.layer.encoding;
        let top = self.tops[usize::from(encoding)];
        // In proportion, as long as the whole is taken to need more than what comes of it.
        let all = self.rates.cost(now, LayerId::new(encoding, top.0, top.1)).map_or(0, |(bits, _)| bits);
        let scale = if all > 0 { (whole.bits_per_second as f64 / all as f64).max(1.0) } else { 1.0 };
        for (spatial, temporal) in (0..=top.0).flat_map(|spatial| (0..=top.1).map(move |t| (spatial, t))) {
            // A large picture that moves less than half as fast as it could is not better than a smaller one.
            let is_slow = temporal + 1 < top.1 && !(is_smallest && spatial == 0);
            if (spatial, temporal) == top || is_slow {
                continue;
            }
            let layer = LayerId::new(encoding, spatial, temporal);
            let Some((bits, pictures)) = self.rates.cost(now, layer) else { continue };
            self.offered.push(Offered {
                layer,
                top: (spatial, temporal),
                // Spatial layers are halves of the next in both directions, with all encoders known to us.
                width: whole.width >> (top.0 - spatial).min(15),
                height: whole.height >> (top.0 - spatial).min(15),
                frame_rate: pictures as u16,
                bits_per_second: (bits as f64 * scale) as u64,
            });
        }
    }

    /// Best first, and nothing that takes more bits than what is better.
    fn order(&mut self) {
        self.offered.sort_by_key(|o| Reverse((o.height, o.layer.temporal, o.bits_per_second)));
        let mut least = u64::MAX;
        self.offered.retain(|o| {
            // What is not measured yet is not left out because of that.
            let is_cheaper = o.bits_per_second < least || o.layer.temporal == u8::MAX;
            if is_cheaper && o.bits_per_second > 0 {
                least = least.min(o.bits_per_second);
            }
            is_cheaper
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::packet;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_largest_that_can_be_started_from_is_the_best() {
        let start = Instant::now();
        let mut video = Track::new(MediaKind::Video);
        video.push(start, Arc::new(packet(1).encoding(0).sized(320, 180).build()));
        assert_eq!(video.best(), 0);
        video.push(after(start, 10), Arc::new(packet(1).encoding(2).build()));
        assert_eq!(video.best(), 0, "no key frame of it came yet");
        video.push(after(start, 120), Arc::new(packet(2).encoding(2).sized(1_280, 720).build()));
        video.push(after(start, 130), Arc::new(packet(1).encoding(1).sized(640, 360).build()));
        assert_eq!(video.best(), 2);
        assert!(video.is_live(1));
    }

    #[test]
    fn one_that_dries_up_is_not_the_best_any_more() {
        let start = Instant::now();
        let mut video = Track::new(MediaKind::Video);
        video.push(start, Arc::new(packet(1).encoding(1).sized(1_280, 720).build()));
        for n in 0..20 {
            video.push(after(start, 100 * n), Arc::new(packet(n).encoding(0).sized(320, 180).build()));
        }
        assert_eq!((video.best(), video.is_live(1)), (0, false));
    }

    #[test]
    fn a_publisher_that_answers_for_one_encoding_is_not_unresponsive_for_another_that_it_does_not_send() {
        let start = Instant::now();
        let mut video = Track::new(MediaKind::Video);
        for n in 0..5 {
            let now = after(start, 600 * n);
            video.of_mut(1).key_frames().request();
            video.of_mut(1).key_frames().poll_request(now);
        }
        assert!(video.is_unresponsive());
        video.of_mut(0).key_frames().request();
        video.of_mut(0).key_frames().poll_request(after(start, 3_000));
        video.push(after(start, 3_050), Arc::new(packet(1).encoding(0).key().build()));
        assert!(!video.is_unresponsive());
    }

    #[test]
    fn one_that_stops_or_begins_again_does_not_look_cheap() {
        let start = Instant::now();
        let mut video = Track::new(MediaKind::Video);
        let cost =
            |video: &Track| video.offered().iter().find(|o| o.layer == LayerId::whole(1)).map(|o| o.bits_per_second);
        for n in 0..1_200_u64 {
            let now = after(start, 10 * n);
            let of = |seq, encoding| Arc::new(packet(seq).encoding(encoding).came(now).sized(1_280, 720).build());
            video.push(now, of(n, 0));
            // Ten packets each time; from 5 s to 7 s none, and then one.
            let count = if n < 500 { 10 } else { u64::from(n >= 700) };
            (0..count).for_each(|k| video.push(now, of(10 * n + k, 1)));
            match n {
                200..500 => assert!(cost(&video).is_some_and(|bits| (760_000..=840_000).contains(&bits)), "{n}"),
                550..700 => assert_eq!(cost(&video), None, "{n}"),
                // It fades a little before it is known to be gone.
                720..1_090 => assert!(cost(&video).is_some_and(|bits| bits >= 740_000), "{n}: {:?}", cost(&video)),
                _ => {}
            }
        }
        assert!(cost(&video).is_some_and(|bits| bits < 100_000), "now it is known to be cheap");
    }

    #[test]
    fn one_that_was_asked_for_less_is_taken_to_need_less_when_it_begins_again() {
        let start = Instant::now();
        let mut video = Track::new(MediaKind::Video);
        for n in 0..3_000_u64 {
            let now = after(start, 10 * n);
            let of = |seq, encoding| Arc::new(packet(seq).encoding(encoding).came(now).sized(1_280, 720).build());
            video.push(now, of(n, 0));
            let count = match n {
                0..600 => 10,
                600..2_600 => 4,
                2_600..2_800 => 0,
                _ => 1,
            };
            (0..count).for_each(|k| video.push(now, of(10 * n + k, 1)));
        }
        let cost = video.offered().iter().find(|o| o.layer == LayerId::whole(1)).map(|o| o.bits_per_second);
        assert!(cost.is_some_and(|bits| (300_000..420_000).contains(&bits)), "{cost:?}");
    }
}
