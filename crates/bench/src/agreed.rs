//! Which packets follow from the offer and the answer?
//!
//! The server's description gives the SSRCs, if it names them. The answer, made by either side,
//! gives payload types with their codecs, and the header extension of transport-wide congestion
//! control. Without SSRCs, payload types identify packets.

use media::Codec;

/// What comes on which payload types and SSRCs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) video_ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) audio_ssrc: Option<u32>,
    video_types: u128,
    rtx_types: u128,
    audio_types: u128,
    /// What pictures are coded with, by payload type.
    codecs: Vec<(u8, Codec)>,
    /// Payload types of retransmissions, and what they retransmit.
    originals: Vec<(u8, u8)>,
    /// Id of the header extension with transport-wide sequence numbers.
    pub(crate) transport_cc: Option<u8>,
}

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Video,
    /// Retransmissions of video.
    Rtx,
    Audio,
}

const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

impl Agreed {
    /// Reads the server's description and the answer, which may be the same.
    pub(crate) fn read(of_server: &str, answer: &str) -> Agreed {
        let mut agreed = Agreed::default();
        each_line(of_server, |is_video, line| {
            if let Some(group) = line.strip_prefix("a=ssrc-group:FID ") {
                // RFC 5576 §4.2: first the media, then its retransmission.
                let mut ssrcs = group.split_ascii_whitespace().map_while(|ssrc| ssrc.parse().ok());
                (agreed.video_ssrc, agreed.rtx_ssrc) = (ssrcs.next(), ssrcs.next());
            } else if let Some(ssrc) = line.strip_prefix("a=ssrc:") {
                let ssrc = ssrc.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
                let place = if is_video { &mut agreed.video_ssrc } else { &mut agreed.audio_ssrc };
                *place = place.or(ssrc);
            }
        });
        each_line(answer, |is_video, line| {
            if let Some((payload_type, codec)) = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' ')) {
                let Some(bit) = payload_type.parse().ok().and_then(|n: u32| 1u128.checked_shl(n)) else { return };
                let name = codec.split('/').next().unwrap_or_default().to_ascii_lowercase();
                match name.as_str() {
                    "rtx" => agreed.rtx_types |= bit,
                    "ulpfec" | "flexfec-03" | "telephone-event" => {}
                    "red" if is_video => {}
                    _ if is_video => {
                        agreed.video_types |= bit;
                        agreed.codecs.extend(payload_type.parse().ok().zip(codec_named(&name)));
                    }
                    _ => agreed.audio_types |= bit,
                }
            } else if let Some((rtx, parameters)) = line.strip_prefix("a=fmtp:").and_then(|line| line.split_once(' ')) {
                // RFC 4588 §8.6.
                let original = parameters.split(';').find_map(|one| one.trim().strip_prefix("apt=")?.parse().ok());
                agreed.originals.extend(rtx.parse().ok().zip(original));
            } else if let Some(map) = line.strip_prefix("a=extmap:")
                && let Some((id, uri)) = map.split_once(' ')
                && uri.split(' ').next() == Some(TRANSPORT_CC)
            {
                // RFC 8285 §5: a direction may stand behind the id.
                agreed.transport_cc = id.split('/').next().and_then(|id| id.parse().ok());
            }
        });
        agreed
    }

    /// Returns whether the session has sound.
    pub(crate) fn has_audio(&self) -> bool {
        self.audio_types != 0
    }

    /// Returns whether retransmissions have a flow of their own (RFC 4588). Otherwise the same
    /// packet is sent again.
    pub(crate) fn has_rtx(&self) -> bool {
        self.rtx_types != 0
    }

    /// Returns the codec of a video packet; `None` if the packet is unknown.
    pub(crate) fn codec(&self, payload_type: u8) -> Option<Codec> {
        self.codecs.iter().find(|(of, _)| *of == payload_type).map(|(_, codec)| *codec)
    }

    /// Returns the payload type of the packet that a retransmission repeats.
    pub(crate) fn original(&self, payload_type: u8) -> Option<u8> {
        self.originals.iter().find(|(rtx, _)| *rtx == payload_type).map(|(_, original)| *original)
    }

    /// Returns what a packet is by its SSRC; one that is new is learned by its payload type.
    pub(crate) fn flow(&mut self, ssrc: u32, payload_type: u8) -> Option<Flow> {
        let ssrc = Some(ssrc);
        if ssrc == self.video_ssrc {
            // Some servers send both on one SSRC.
            return Some(if self.rtx_types & (1 << payload_type) != 0 { Flow::Rtx } else { Flow::Video });
        } else if ssrc == self.rtx_ssrc {
            return Some(Flow::Rtx);
        } else if ssrc == self.audio_ssrc {
            return Some(Flow::Audio);
        }
        let bit = 1u128.checked_shl(payload_type.into())?;
        let (place, flow) = match () {
            () if self.rtx_types & bit != 0 => (&mut self.rtx_ssrc, Flow::Rtx),
            () if self.video_types & bit != 0 => (&mut self.video_ssrc, Flow::Video),
            () if self.audio_types & bit != 0 => (&mut self.audio_ssrc, Flow::Audio),
            () => return None,
        };
        // Only for SSRCs that the description does not name: its own assignments stay.
        if place.is_some() {
            return None;
        }
        *place = ssrc;
        Some(flow)
    }
}

/// As `a=rtpmap` spells it, in small letters.
fn codec_named(name: &str) -> Option<Codec> {
    const VIDEO: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264, Codec::H265];
    VIDEO.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name))
}

/// Calls with every line of a media section, and whether that is video.
fn each_line<'a>(sdp: &'a str, mut look: impl FnMut(bool, &'a str)) {
    let mut is_video = None;
    for line in sdp.lines().map(str::trim) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ');
            let kind = words.next().unwrap_or_default();
            let is_rejected = words.next() == Some("0");
            is_video = match kind {
                "video" if !is_rejected => Some(true),
                "audio" if !is_rejected => Some(false),
                _ => None,
            };
        } else if let Some(is_video) = is_video {
            look(is_video, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\na=extmap-allow-mixed\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        a=ssrc:30 cname:x\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\na=extmap:3/sendonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=ssrc-group:FID 10 20\r\na=ssrc:10 cname:x\r\na=ssrc:20 cname:x\r\n";

    #[test]
    fn ssrcs_that_are_named_are_believed() {
        let mut agreed = Agreed::read(SDP, SDP);
        assert_eq!(agreed.transport_cc, Some(3));
        assert!(agreed.has_audio() && agreed.has_rtx());
        assert_eq!([96, 97, 111].map(|of| agreed.codec(of)), [Some(Codec::Vp8), None, None]);
        assert_eq!([96, 97].map(|of| agreed.original(of)), [None, Some(96)]);
        assert_eq!(agreed.flow(10, 96), Some(Flow::Video));
        assert_eq!(agreed.flow(20, 97), Some(Flow::Rtx));
        assert_eq!(agreed.flow(30, 111), Some(Flow::Audio));
        assert_eq!(agreed.flow(40, 96), None, "the stream has its SSRC");
        assert_eq!(agreed.flow(40, 50), None);
    }

    #[test]
    fn ssrcs_that_are_not_named_are_learned() {
        let silent: String =
            SDP.lines().filter(|line| !line.contains("ssrc")).map(|line| format!("{line}\n")).collect();
        let mut agreed = Agreed::read(&silent, SDP);
        assert_eq!(agreed.flow(77, 97), Some(Flow::Rtx));
        assert_eq!(agreed.flow(66, 96), Some(Flow::Video));
        assert_eq!(agreed.flow(66, 97), Some(Flow::Rtx));
        assert_eq!(agreed.flow(88, 96), None);
        assert_eq!((agreed.video_ssrc, agreed.rtx_ssrc, agreed.audio_ssrc), (Some(66), Some(77), None));
    }

    #[test]
    fn rejected_sections_say_nothing() {
        let sdp = SDP.replace("m=video 9", "m=video 0");
        let agreed = Agreed::read(&sdp, &sdp);
        assert_eq!((agreed.video_ssrc, agreed.transport_cc), (None, None));
        assert!(agreed.has_audio());
    }
}
