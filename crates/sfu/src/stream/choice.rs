//! Which encoding is a viewer to be shown?
//!
//! The largest picture that it wishes and its network carries. Up only when the network carries clearly more
//! than the next encoding takes, so that a viewer at the border does not change to and fro.

use media::packet::MAX_ENCODINGS;

/// What a viewer wishes of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// This encoding and no other, as long as it is sent.
    pub encoding: Option<u8>,
    /// No picture with more lines, if there is a smaller one.
    pub max_height: Option<u16>,
    /// No picture at all: nobody looks.
    pub is_hidden: bool,
}

/// Why a viewer is shown what it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reason {
    /// It is the best that there is.
    #[default]
    Best,
    /// The viewer wished it.
    Wished,
    /// Its network carries no more.
    Network,
    /// Nobody looks.
    Hidden,
}

impl Reason {
    /// The word for the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Best => "best",
            Reason::Wished => "wished",
            Reason::Network => "network",
            Reason::Hidden => "hidden",
        }
    }
}

/// An encoding that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offered {
    /// Its number.
    pub encoding: u8,
    /// Lines of its picture; 0 if not known.
    pub height: u16,
    /// Bits a second; 0 if not known yet.
    pub bits_per_second: u64,
}

/// What is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Which encoding; `None`: none.
    pub encoding: Option<u8>,
    /// Why.
    pub reason: Reason,
}

/// An encoding must fit this many times over, in percent, before a viewer is moved up to it. Encoders vary by about so much.
const ROOM_PERCENT: u64 = 115;

/// Chooses among `offered` (best first). `carried`: bits a second that the viewer's network carries for the video, if known;
/// `current`: what it is shown now.
pub fn choose(offered: &[Offered], wish: &Wish, carried: Option<u64>, current: u8) -> Choice {
    if wish.is_hidden {
        return Choice { encoding: None, reason: Reason::Hidden };
    }
    let Some(last) = offered.last() else { return Choice { encoding: Some(current), reason: Reason::Best } };
    if let Some(wished) = offered.iter().find(|o| Some(o.encoding) == wish.encoding) {
        return Choice { encoding: Some(wished.encoding), reason: Reason::Wished };
    }
    let place_of_current = offered.iter().position(|o| o.encoding == current).unwrap_or(MAX_ENCODINGS);
    let mut reason = Reason::Best;
    for (place, candidate) in offered.iter().enumerate() {
        if wish.max_height.is_some_and(|most| candidate.height > most) {
            reason = Reason::Wished;
            continue;
        }
        let is_up = place < place_of_current;
        let needed = if is_up { candidate.bits_per_second * ROOM_PERCENT / 100 } else { candidate.bits_per_second };
        if carried.is_some_and(|carried| carried < needed) {
            reason = Reason::Network;
            continue;
        }
        return Choice { encoding: Some(candidate.encoding), reason };
    }
    Choice { encoding: Some(last.encoding), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: [Offered; 3] = [
        Offered { encoding: 2, height: 720, bits_per_second: 2_500_000 },
        Offered { encoding: 1, height: 360, bits_per_second: 500_000 },
        Offered { encoding: 0, height: 180, bits_per_second: 150_000 },
    ];

    fn chosen(wish: Wish, carried: Option<u64>, current: u8) -> (Option<u8>, Reason) {
        let choice = choose(&THREE, &wish, carried, current);
        (choice.encoding, choice.reason)
    }

    #[test]
    fn the_largest_that_the_network_carries() {
        let any = Wish::default();
        assert_eq!(chosen(any, None, 0), (Some(2), Reason::Best));
        assert_eq!(chosen(any, Some(3_000_000), 0), (Some(2), Reason::Best));
        assert_eq!(chosen(any, Some(1_000_000), 2), (Some(1), Reason::Network));
        assert_eq!(chosen(any, Some(200_000), 2), (Some(0), Reason::Network));
        assert_eq!(chosen(any, Some(10_000), 2), (Some(0), Reason::Network), "a small picture is better than none");
    }

    #[test]
    fn at_the_border_it_stays_what_it_was() {
        let any = Wish::default();
        for carried in [2_500_000, 2_700_000, 2_874_999] {
            assert_eq!(chosen(any, Some(carried), 1).0, Some(1));
            assert_eq!(chosen(any, Some(carried), 2).0, Some(2));
        }
        assert_eq!(chosen(any, Some(2_875_000), 1).0, Some(2));
        assert_eq!(chosen(any, Some(2_499_999), 2).0, Some(1));
    }

    #[test]
    fn a_wish_is_fulfilled_as_long_as_it_can_be() {
        let wish = |encoding, max_height| Wish { encoding, max_height, is_hidden: false };
        assert_eq!(chosen(wish(Some(0), None), Some(9_000_000), 2), (Some(0), Reason::Wished));
        assert_eq!(chosen(wish(Some(2), None), Some(100_000), 0), (Some(2), Reason::Wished));
        assert_eq!(chosen(wish(Some(7), None), None, 0), (Some(2), Reason::Best));
        assert_eq!(chosen(wish(None, Some(480)), None, 2), (Some(1), Reason::Wished));
        assert_eq!(chosen(wish(None, Some(480)), Some(200_000), 2), (Some(0), Reason::Network));
        assert_eq!(chosen(wish(None, Some(100)), None, 2), (Some(0), Reason::Wished), "the smallest there is");
        assert_eq!(choose(&THREE, &Wish { is_hidden: true, ..Wish::default() }, None, 2).encoding, None);
    }

    #[test]
    fn more_network_never_means_a_smaller_picture() {
        for current in 0..3 {
            let mut last = 0;
            for carried in (0..4_000_000).step_by(10_000) {
                let chosen = chosen(Wish::default(), Some(carried), current).0.unwrap_or_default();
                assert!(chosen >= last, "{carried} from {current}");
                last = chosen;
            }
        }
    }
}
