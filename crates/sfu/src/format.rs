//! Which payload type carries what, for one session?
//!
//! A [`Format`] is what a packet of a track means, independent of any session's payload types. A
//! publisher's session maps payload types to formats; a viewer's maps formats back.

use media::packet::MAX_ENCODINGS;
use media::{Codec, MediaKind};
use str0m::media::Rid;

/// A codec and the profile of it that a decoder must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// H.264: `packetization-mode << 16 | profile_idc << 8 | constraint flags`, one value for each class of profiles that
    /// decoders do not tell apart; VP9 and AV1: the profile; H.265: the profile id; others: 0.
    pub profile: u32,
}

impl Format {
    /// The name of the codec, and of the profile where not each decoder of the codec decodes it.
    pub fn name(self) -> &'static str {
        match (self.codec, self.profile) {
            (Codec::H264, _) if self.is_444() => "H264 High 4:4:4 Predictive",
            (Codec::H265, 2) => "H265 Main 10",
            (Codec::Vp9, 1) => "VP9 profile 1",
            (Codec::Vp9, 2) => "VP9 profile 2",
            (Codec::Vp9, 3) => "VP9 profile 3",
            (Codec::Av1, 1) => "AV1 High",
            (codec, _) => codec.name(),
        }
    }

    /// Whether it is H.264 in 4:4:4 (profile_idc 244).
    fn is_444(self) -> bool {
        self.codec == Codec::H264 && self.profile >> 8 & 0xff == 0xf4
    }
}

/// How one viewer wants one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// What.
    pub format: Format,
    /// Its payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions (RFC 4588), if negotiated.
    pub rtx_payload_type: Option<u8>,
}

/// All that one viewer can decode on one track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcceptedFormats(pub Vec<Accepted>);

impl AcceptedFormats {
    /// The payload type to use for `format`: the exact profile if it was negotiated, else one that decodes it.
    pub fn pick(&self, format: Format) -> Option<Accepted> {
        let exact = self.0.iter().find(|a| a.format == format);
        // H.264: a session of any 4:2:0 profile is sent any other one. An offer of Constrained
        // Baseline does not mean that a client decodes no more: docs/clients.md lists offers and
        // their decoders. The exact profile is taken where it is offered: some hardware decoders
        // are opened for the profile of the payload type. 4:4:4 goes only where it is offered.
        let loose = || match format.codec {
            Codec::H264 => {
                let decodes = |a: &&Accepted| a.format.codec == Codec::H264 && (!format.is_444() || a.format.is_444());
                let same_mode = |a: &&Accepted| decodes(a) && a.format.profile >> 16 == format.profile >> 16;
                self.0.iter().find(same_mode).or_else(|| self.0.iter().find(decodes))
            }
            // A decoder of Main 10 decodes Main (H.265 A.3.3), and one of AV1's High decodes Main (AV1 A.2).
            Codec::H265 | Codec::Av1 => {
                self.0.iter().find(|a| a.format.codec == format.codec && a.format.profile >= format.profile)
            }
            _ => None,
        };
        exact.or_else(loose).copied()
    }

    /// Names of the codecs, each once.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter().map(|a| a.format.codec.name()).collect();
        names.dedup();
        names
    }
}

/// The formats that a stream is published with: at most one per kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// The audio format.
    pub audio: Option<Format>,
    /// The video format.
    pub video: Option<Format>,
    /// What the publisher calls its encodings, in the order of its offer; all `None` without simulcast.
    pub rids: [Option<Rid>; MAX_ENCODINGS],
}

impl Published {
    /// The encoding that the publisher calls `rid`.
    pub fn encoding(&self, rid: &str) -> Option<u8> {
        (0..).zip(self.rids).find(|(_, known)| known.is_some_and(|known| &*known == rid)).map(|(n, _)| n)
    }

    /// The format of a kind.
    pub fn of(&self, kind: MediaKind) -> Option<Format> {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(mode: u32, profile: u32) -> Format {
        Format { codec: Codec::H264, profile: mode << 16 | profile }
    }

    #[test]
    fn the_exact_profile_wins_then_the_packetization_mode() {
        let accepted = |format, payload_type| Accepted { format, payload_type, rtx_payload_type: None };
        let formats = AcceptedFormats(vec![
            accepted(h264(0, 0x42e0), 1),
            accepted(h264(1, 0x42e0), 2),
            accepted(h264(1, 0x6400), 3),
            accepted(Format { codec: Codec::Vp9, profile: 0 }, 4),
        ]);
        let pick = |format| formats.pick(format).map(|a| a.payload_type);
        assert_eq!(pick(h264(1, 0x6400)), Some(3));
        assert_eq!(pick(h264(1, 0x4d00)), Some(2));
        assert_eq!(pick(h264(0, 0x4200)), Some(1));
        assert_eq!(pick(Format { codec: Codec::Vp9, profile: 2 }), None, "another VP9 profile is another format");
        assert_eq!(pick(Format { codec: Codec::Vp8, profile: 0 }), None);
        assert_eq!(pick(h264(1, 0xf400)), None, "4:4:4 needs a decoder of it");
        assert_eq!(formats.names(), ["H264", "VP9"]);
    }

    /// Offers as clients write them (docs/clients.md), each with the payload types that a stream of
    /// Constrained Baseline, Main, High and High 4:4:4 in packetization mode 1 is sent with.
    #[test]
    fn every_offer_of_h264_is_sent_each_profile_of_8_bit_420() {
        const BASELINE: u32 = 0x42_00;
        const CONSTRAINED: u32 = 0x42_e0;
        const MAIN: u32 = 0x4d_00;
        const HIGH: u32 = 0x64_00;
        const HIGH_444: u32 = 0xf4_00;
        type Offer = &'static [(u32, u32)];
        let chromium: Offer = &[
            (1, BASELINE),
            (0, BASELINE),
            (1, CONSTRAINED),
            (0, CONSTRAINED),
            (1, MAIN),
            (0, MAIN),
            (1, HIGH_444),
            (0, HIGH_444),
        ];
        let pion: Offer =
            &[(1, BASELINE), (0, BASELINE), (1, CONSTRAINED), (0, CONSTRAINED), (1, MAIN), (0, MAIN), (1, HIGH)];
        let firefox: Offer = &[(1, CONSTRAINED), (0, CONSTRAINED), (1, BASELINE), (0, BASELINE)];
        let older_firefox: Offer = &[(1, CONSTRAINED), (0, CONSTRAINED)];
        let aiortc: Offer = &[(1, BASELINE), (1, CONSTRAINED)];
        // Without a=fmtp it is Baseline in mode 0 (RFC 6184 §8.1).
        let gstreamer: Offer = &[(0, BASELINE)];
        for (name, offer, expected) in [
            ("Chromium", chromium, [Some(2), Some(4), Some(0), Some(6)]),
            ("Pion", pion, [Some(2), Some(4), Some(6), None]),
            ("Firefox", firefox, [Some(0), Some(0), Some(0), None]),
            ("Firefox before Baseline", older_firefox, [Some(0), Some(0), Some(0), None]),
            ("aiortc", aiortc, [Some(1), Some(0), Some(0), None]),
            ("GStreamer", gstreamer, [Some(0), Some(0), Some(0), None]),
        ] {
            let accepted = (0..).zip(offer).map(|(payload_type, (mode, profile))| Accepted {
                format: h264(*mode, *profile),
                payload_type,
                rtx_payload_type: None,
            });
            let formats = AcceptedFormats(accepted.collect());
            let published = [CONSTRAINED, MAIN, HIGH, HIGH_444];
            let sent = published.map(|profile| formats.pick(h264(1, profile)).map(|a| a.payload_type));
            assert_eq!(sent, expected, "{name}");
        }
    }

    #[test]
    fn a_decoder_of_more_bits_decodes_fewer_and_not_the_other_way_round() {
        let of = |codec, accepted, published| {
            let format = |profile| Format { codec, profile };
            let accepted = Accepted { format: format(accepted), payload_type: 1, rtx_payload_type: None };
            AcceptedFormats(vec![accepted]).pick(format(published)).is_some()
        };
        for codec in [Codec::H265, Codec::Av1] {
            assert!(of(codec, 2, 1) && of(codec, 1, 1) && !of(codec, 1, 2), "{codec:?}");
        }
        assert!(!of(Codec::Vp9, 2, 0), "profiles of VP9 contain none of the others");
    }
}
