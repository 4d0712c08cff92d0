//! Which encoding, and which of its layers, does a viewer get?
//!
//! The largest picture that the viewer prefers and its network carries. An upgrade needs a network
//! with clearly more room than the layer takes, and waits after a failed attempt, so that a viewer
//! at the border does not alternate ([`UpgradeBackoff`]).

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use crate::layers::LayerId;

/// A viewer's preferences for a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preferences {
    /// Only this encoding, while it is sent.
    pub encoding: Option<u8>,
    /// No picture with more lines, if there is a smaller one.
    pub max_height: Option<u16>,
    /// No picture with more columns, if there is a smaller one.
    pub max_width: Option<u16>,
    /// No higher frame rate, if the publisher sends layers to choose from.
    pub max_frame_rate: Option<u16>,
    /// No higher spatial layer, if the encoding has several.
    pub max_spatial: Option<u8>,
    /// No higher temporal layer, if the encoding has several.
    pub max_temporal: Option<u8>,
    /// No picture: the viewer's page is hidden.
    pub is_hidden: bool,
}

impl Preferences {
    /// Returns `true` if a picture has more columns or lines than preferred.
    pub fn is_exceeded(&self, (width, height): (u16, u16)) -> bool {
        self.max_width.is_some_and(|most| width > most) || self.max_height.is_some_and(|most| height > most)
    }

    /// Returns `true` if a frame rate is clearly above the preferred one.
    pub fn is_outrun(&self, frame_rate: u16) -> bool {
        self.max_frame_rate.is_some_and(|most| frame_rate > most.saturating_add(FRAME_RATE_TOLERANCE))
    }

    /// Returns `true` if fewer layers within an encoding are preferred than up to `top`.
    pub fn has_fewer_layers(&self, top: (u8, u8)) -> bool {
        self.max_spatial.is_some_and(|most| top.0 > most) || self.max_temporal.is_some_and(|most| top.1 > most)
    }

    /// Returns `true` if an offer has more layers within its encoding than preferred.
    fn is_beyond(&self, offered: &Offered) -> bool {
        self.has_fewer_layers(offered.top)
    }

    /// Returns a layer, reduced to the preferred layers of its encoding.
    fn bound(&self, layer: LayerId) -> LayerId {
        let most = |wished: Option<u8>| wished.unwrap_or(u8::MAX);
        let (spatial, temporal) = (most(self.max_spatial), most(self.max_temporal));
        LayerId::new(layer.encoding, layer.spatial.min(spatial), layer.temporal.min(temporal))
    }
}

/// The reason for the layer that a viewer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reason {
    /// It is the best one offered.
    #[default]
    Best,
    /// The viewer prefers it.
    Wished,
    /// The viewer's network carries no more.
    Network,
    /// The viewer's page is hidden.
    Hidden,
    /// The viewer did not negotiate the published codec, and is sent nothing.
    Codec,
    /// The server's core cannot send more to each of its viewers.
    Load,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 6] =
        [Reason::Best, Reason::Wished, Reason::Network, Reason::Hidden, Reason::Codec, Reason::Load];

    /// Returns the word for the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Best => "best",
            Reason::Wished => "wished",
            Reason::Network => "network",
            Reason::Hidden => "hidden",
            Reason::Codec => "codec",
            Reason::Load => "load",
        }
    }
}

/// An encoding that is being received, with all or some of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// The encoding and the layers.
    pub layer: LayerId,
    /// The highest layers within the encoding that the offer has; for a whole encoding, the highest
    /// ones received.
    pub top: (u8, u8),
    /// Columns of the picture; 0 if unknown.
    pub width: u16,
    /// Lines of the picture; 0 if unknown.
    pub height: u16,
    /// Frames per second; 0 if not yet known.
    pub frame_rate: u16,
    /// Bits per second; 0 if not yet known.
    pub bits_per_second: u64,
}

/// The bit rate that a viewer's network has for the video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvailableBitrate {
    /// Bits per second.
    pub bps: u64,
    /// Other viewers, which get the same layer, share the bottleneck.
    pub is_shared: bool,
}

/// The layer for a viewer, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The layer; `None`: no video.
    pub layer: Option<LayerId>,
    /// The reason.
    pub reason: Reason,
}

/// Bit rate that a viewer's network must carry before the viewer is moved up to an encoding, in
/// percent of the encoding's bit rate. Encoders exceed their target by about a tenth.
/// `control::ladder` asks publishers for bit rates that leave this room.
pub const ROOM_PERCENT: u64 = 110;

/// A layer stays while the network carries this percentage of its rate: estimates change by a
/// twentieth from moment to moment, and a rate that is really too high causes a queue.
const KEPT_PERCENT: u64 = 95;

/// The percentage for viewers of a shared bottleneck. An encoder that exceeds its rate for some
/// seconds does so for all members: all would move down at once, and up again at once.
const KEPT_PERCENT_OF_SHARED: u64 = 82;

/// Frames per second above a preferred rate that are tolerated, because cameras do not keep their
/// rates exactly.
const FRAME_RATE_TOLERANCE: u16 = 2;

/// Chooses among `offered` (best first). `available`: bit rate of the viewer's network for the
/// video, if known; `current`: the layer that the viewer gets now; `may_upgrade`: whether a higher
/// one may be tried.
pub fn choose(
    offered: &[Offered],
    preferences: &Preferences,
    available: Option<AvailableBitrate>,
    current: LayerId,
    may_upgrade: bool,
) -> Choice {
    if preferences.is_hidden {
        return Choice { layer: None, reason: Reason::Hidden };
    }
    let Some(last) = offered.last() else { return Choice { layer: Some(current), reason: Reason::Best } };
    // If every entry of an encoding is beyond the preferences, the encoding itself is reduced.
    let fulfils = |encoding: u8| offered.iter().any(|o| o.layer.encoding == encoding && !preferences.is_beyond(o));
    let bounded = |o: &Offered| Some(if preferences.is_beyond(o) { preferences.bound(o.layer) } else { o.layer });
    let is_whole = |o: &&Offered| o.layer == LayerId::whole(o.layer.encoding);
    if let Some(wished) = offered.iter().filter(is_whole).find(|o| Some(o.layer.encoding) == preferences.encoding) {
        return Choice { layer: bounded(wished), reason: Reason::Wished };
    }
    let same = |o: &Offered| o.layer == current;
    let akin = |o: &Offered| o.layer.encoding == current.encoding;
    let place_of_current = offered.iter().position(same).or_else(|| offered.iter().position(akin));
    let place_of_current = place_of_current.unwrap_or(usize::MAX);
    let mut reason = Reason::Best;
    for (place, candidate) in offered.iter().enumerate() {
        let is_larger = preferences.is_exceeded((candidate.width, candidate.height));
        let is_faster = preferences.is_outrun(candidate.frame_rate);
        let is_beyond = preferences.is_beyond(candidate);
        if is_larger || is_faster || (is_beyond && fulfils(candidate.layer.encoding)) {
            if reason == Reason::Best {
                reason = Reason::Wished;
            }
            continue;
        }
        let is_up = place < place_of_current;
        let percent = match place.cmp(&place_of_current) {
            Ordering::Less => ROOM_PERCENT,
            Ordering::Equal if available.is_some_and(|available| available.is_shared) => KEPT_PERCENT_OF_SHARED,
            Ordering::Equal => KEPT_PERCENT,
            Ordering::Greater => 100,
        };
        let needed = candidate.bits_per_second * percent / 100;
        if available.is_some_and(|available| available.bps < needed || (is_up && !may_upgrade)) {
            reason = Reason::Network;
            continue;
        }
        if is_beyond && reason == Reason::Best {
            reason = Reason::Wished;
        }
        return Choice { layer: bounded(candidate), reason };
    }
    Choice { layer: bounded(last), reason }
}

/// Leaves out the entries of `offered` (best first) above `max_bps`, the bit rate to which a loaded
/// shard bounds each viewer's video; the last entry always stays. Returns the rest, and what counts
/// as `current` within it.
pub fn within_load(offered: &[Offered], max_bps: Option<u64>, current: LayerId) -> (&[Offered], LayerId) {
    let Some(max_bps) = max_bps.filter(|_| !offered.is_empty()) else { return (offered, current) };
    let first = offered.iter().position(|o| o.bits_per_second <= max_bps).unwrap_or(offered.len() - 1);
    let (left_out, rest) = offered.split_at(first);
    let is_left_out = left_out.iter().any(|o| o.layer == current);
    (rest, rest.first().filter(|_| is_left_out).map_or(current, |best| best.layer))
}

/// Decides when a viewer may be tried with a higher layer: at once, until an attempt has failed;
/// then after a wait that doubles with each failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpgradeBackoff {
    went_up_at: Option<Instant>,
    not_before: Option<Instant>,
    patience: Duration,
}

/// Wait after the first failed attempt: the estimator has settled by then, and the climb to the top
/// takes 10 s at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait. A guess.
const MAX_PATIENCE: Duration = Duration::from_secs(8);
/// An upgrade that is taken back within this time has failed; one that lasts longer clears the
/// record.
const FAILED_WITHIN: Duration = Duration::from_secs(5);

impl UpgradeBackoff {
    /// Returns `true` if a higher layer may be tried now.
    pub fn allows_upgrade(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// Records that the viewer gets a higher layer.
    pub fn on_upgrade(&mut self, now: Instant) {
        if self.went_up_at.is_some_and(|at| now.saturating_duration_since(at) > FAILED_WITHIN) {
            self.patience = Duration::ZERO;
        }
        self.went_up_at = Some(now);
    }

    /// Records that the viewer's network carries less than its layer takes.
    pub fn on_downgrade(&mut self, now: Instant) {
        let Some(at) = self.went_up_at.take() else { return };
        if now.saturating_duration_since(at) > FAILED_WITHIN {
            self.patience = Duration::ZERO;
            return;
        }
        self.patience = (self.patience * 2).clamp(FIRST_PATIENCE, MAX_PATIENCE);
        self.not_before = Some(now + self.patience);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(encoding: u8, height: u16, frame_rate: u16, bits_per_second: u64) -> Offered {
        let width = height / 9 * 16;
        Offered { layer: LayerId::whole(encoding), top: (0, 0), width, height, frame_rate, bits_per_second }
    }

    const THREE: [Offered; 3] = [of(2, 720, 30, 2_500_000), of(1, 360, 30, 500_000), of(0, 180, 30, 150_000)];

    const fn alone(bps: u64) -> AvailableBitrate {
        AvailableBitrate { bps, is_shared: false }
    }

    fn chosen(preferences: Preferences, carried: Option<u64>, current: u8) -> (Option<u8>, Reason) {
        let choice = choose(&THREE, &preferences, carried.map(alone), LayerId::whole(current), true);
        (choice.layer.map(|layer| layer.encoding), choice.reason)
    }

    #[test]
    fn the_largest_that_the_network_carries() {
        let any = Preferences::default();
        assert_eq!(chosen(any, None, 0), (Some(2), Reason::Best));
        assert_eq!(chosen(any, Some(3_000_000), 0), (Some(2), Reason::Best));
        assert_eq!(chosen(any, Some(1_000_000), 2), (Some(1), Reason::Network));
        assert_eq!(chosen(any, Some(200_000), 2), (Some(0), Reason::Network));
        assert_eq!(chosen(any, Some(10_000), 2), (Some(0), Reason::Network), "a small picture is better than none");
    }

    #[test]
    fn at_the_border_it_stays_what_it_was() {
        let any = Preferences::default();
        for carried in [2_500_000, 2_700_000, 2_749_999] {
            assert_eq!(chosen(any, Some(carried), 1).0, Some(1));
            assert_eq!(chosen(any, Some(carried), 2).0, Some(2));
        }
        let shared = |bps: u64| {
            choose(&THREE, &any, Some(AvailableBitrate { bps, is_shared: true }), LayerId::whole(2), true).layer
        };
        assert_eq!([2_050_000, 2_049_999].map(shared), [Some(LayerId::whole(2)), Some(LayerId::whole(1))]);
        assert_eq!(chosen(any, Some(2_750_000), 1).0, Some(2));
        assert_eq!(chosen(any, Some(2_374_999), 2).0, Some(1));
    }

    #[test]
    fn a_wish_is_fulfilled_as_long_as_it_can_be() {
        let preferences = |encoding, max_height| Preferences { encoding, max_height, ..Preferences::default() };
        assert_eq!(chosen(preferences(Some(0), None), Some(9_000_000), 2), (Some(0), Reason::Wished));
        assert_eq!(chosen(preferences(Some(2), None), Some(100_000), 0), (Some(2), Reason::Wished));
        assert_eq!(chosen(preferences(Some(7), None), None, 0), (Some(2), Reason::Best));
        assert_eq!(chosen(preferences(None, Some(480)), None, 2), (Some(1), Reason::Wished));
        assert_eq!(chosen(preferences(None, Some(480)), Some(200_000), 2), (Some(0), Reason::Network));
        assert_eq!(chosen(preferences(None, Some(100)), None, 2), (Some(0), Reason::Wished), "the smallest there is");
        assert_eq!(chosen(Preferences { is_hidden: true, ..Preferences::default() }, None, 2), (None, Reason::Hidden));
        let wide = |max_width, max_height| Preferences { max_width, max_height, ..Preferences::default() };
        assert_eq!(chosen(wide(Some(640), None), None, 2), (Some(1), Reason::Wished));
        assert_eq!(chosen(wide(Some(639), Some(720)), None, 2), (Some(0), Reason::Wished), "whichever is less");
        assert_eq!(chosen(wide(Some(1_280), Some(360)), None, 2), (Some(1), Reason::Wished));
        assert_eq!(chosen(wide(Some(u16::MAX), None), None, 0), (Some(2), Reason::Best));
    }

    #[test]
    fn more_network_never_means_a_smaller_picture() {
        for current in 0..3 {
            let mut last = 0;
            for carried in (0..4_000_000).step_by(10_000) {
                let chosen = chosen(Preferences::default(), Some(carried), current).0.unwrap_or_default();
                assert!(chosen >= last, "{carried} from {current}");
                last = chosen;
            }
        }
    }

    /// The offer of Chromium's VP8 with three temporal layers.
    const LAYERED: [Offered; 4] = [
        Offered { top: (0, 2), ..of(1, 360, 30, 500_000) },
        Offered { layer: LayerId::new(1, 0, 1), top: (0, 1), ..of(1, 360, 15, 300_000) },
        Offered { top: (0, 2), ..of(0, 180, 30, 150_000) },
        Offered { layer: LayerId::new(0, 0, 0), ..of(0, 180, 8, 60_000) },
    ];

    #[test]
    fn a_loaded_core_leaves_out_pictures_first_and_then_sizes() {
        let shown = |max_bps, current| {
            let (offered, current) = within_load(&LAYERED, max_bps, current);
            choose(offered, &Preferences::default(), None, current, true).layer
        };
        let whole = LayerId::whole(1);
        assert_eq!(shown(None, whole), Some(whole));
        assert_eq!(shown(Some(500_000), whole), Some(whole));
        assert_eq!(shown(Some(400_000), whole), Some(LayerId::new(1, 0, 1)));
        assert_eq!(shown(Some(200_000), LayerId::new(1, 0, 1)), Some(LayerId::whole(0)));
        assert_eq!(shown(Some(1), LayerId::whole(0)), Some(LayerId::new(0, 0, 0)));
        assert_eq!(shown(Some(600_000), LayerId::new(0, 0, 0)), Some(whole), "and back");
        let (rest, current) = within_load(&LAYERED, Some(200_000), whole);
        assert_eq!((rest, current), (&LAYERED[2..], LayerId::whole(0)));
        assert_eq!(within_load(&[], Some(1), whole), (&[][..], whole));
        // A viewer that prefers an encoding above the bound gets the best one below it.
        let preferences = Preferences { encoding: Some(1), ..Preferences::default() };
        assert_eq!(choose(rest, &preferences, None, current, true).layer, Some(LayerId::whole(0)));
    }

    #[test]
    fn fewer_pictures_are_better_than_smaller_ones_until_they_hardly_move() {
        let choose =
            |carried, current| choose(&LAYERED, &Preferences::default(), Some(alone(carried)), current, true).layer;
        assert_eq!(choose(400_000, LayerId::whole(1)), Some(LayerId::new(1, 0, 1)));
        assert_eq!(choose(540_000, LayerId::new(1, 0, 1)), Some(LayerId::new(1, 0, 1)), "up needs room");
        assert_eq!(choose(550_000, LayerId::new(1, 0, 1)), Some(LayerId::whole(1)));
        assert_eq!(choose(200_000, LayerId::whole(1)), Some(LayerId::whole(0)));
        assert_eq!(choose(1_000, LayerId::whole(1)), Some(LayerId::new(0, 0, 0)));
    }

    #[test]
    fn fewer_pictures_may_be_wished() {
        let preferences = Preferences { max_frame_rate: Some(15), ..Preferences::default() };
        let choice = choose(&LAYERED, &preferences, None, LayerId::whole(1), true);
        assert_eq!((choice.layer, choice.reason), (Some(LayerId::new(1, 0, 1)), Reason::Wished));
    }

    #[test]
    fn layers_may_be_wished_by_number() {
        let temporal = |most, encoding| Preferences { max_temporal: Some(most), encoding, ..Preferences::default() };
        let chosen = |preferences: Preferences, carried: Option<u64>| {
            let choice = choose(&LAYERED, &preferences, carried.map(alone), LayerId::whole(1), true);
            (choice.layer, choice.reason)
        };
        assert_eq!(chosen(temporal(2, None), None), (Some(LayerId::whole(1)), Reason::Best), "there are no more");
        assert_eq!(chosen(temporal(1, None), None), (Some(LayerId::new(1, 0, 1)), Reason::Wished));
        assert_eq!(chosen(temporal(1, None), Some(200_000)).1, Reason::Network);
        assert_eq!(chosen(temporal(0, Some(1)), None), (Some(LayerId::new(1, u8::MAX, 0)), Reason::Wished));
        assert_eq!(chosen(temporal(0, None), None), (Some(LayerId::new(1, u8::MAX, 0)), Reason::Wished));
        let spatial = Preferences { max_spatial: Some(0), ..Preferences::default() };
        assert_eq!(chosen(spatial, None), (Some(LayerId::whole(1)), Reason::Best), "there is one");
        let svc = [Offered { top: (2, 2), ..of(0, 720, 30, 900_000) }];
        let choice = choose(&svc, &spatial, None, LayerId::whole(0), true);
        assert_eq!((choice.layer, choice.reason), (Some(LayerId::new(0, 0, u8::MAX)), Reason::Wished));
        let choice = choose(&svc, &spatial, Some(alone(1_000)), LayerId::whole(0), true);
        assert_eq!((choice.layer, choice.reason), (Some(LayerId::new(0, 0, u8::MAX)), Reason::Network));
    }

    #[test]
    fn after_an_attempt_that_failed_the_next_one_waits_longer_and_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut backoff = UpgradeBackoff::default();
        assert!(backoff.allows_upgrade(start));
        backoff.on_upgrade(start);
        backoff.on_downgrade(at(1));
        assert!(!backoff.allows_upgrade(at(2)) && backoff.allows_upgrade(at(3)));
        backoff.on_upgrade(at(3));
        backoff.on_downgrade(at(4));
        assert!(!backoff.allows_upgrade(at(7)) && backoff.allows_upgrade(at(8)));
        backoff.on_downgrade(at(9));
        assert!(backoff.allows_upgrade(at(9)), "a further step down is no failed attempt");
        backoff.on_upgrade(at(9));
        backoff.on_downgrade(at(30));
        assert!(backoff.allows_upgrade(at(30)), "that one lasted");
        backoff.on_upgrade(at(31));
        backoff.on_downgrade(at(32));
        assert!(backoff.allows_upgrade(at(34)), "and cleared the record");
        assert_eq!(
            choose(&LAYERED, &Preferences::default(), Some(alone(9_000_000)), LayerId::whole(0), false).layer,
            Some(LayerId::whole(0))
        );
    }
}
