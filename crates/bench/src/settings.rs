//! Which streams and viewers does a run play, and against which server?
//!
//! All settings of the command line, except how many viewers join and how fast
//! ([`JoinPlan`](crate::load::JoinPlan)): one run may let several groups join.

use std::time::Duration;

use anyhow::ensure;
use media::Codec;

use crate::feedback;
use crate::tls::Trust;

/// The plan of a run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where to publish: a URL in which `{stream}` stands for the stream's name and `{n}` for its
    /// number, from 1.
    pub(crate) whip: String,
    /// Where to watch, in the same way.
    pub(crate) whep: String,
    pub(crate) whip_token: Option<String>,
    pub(crate) whep_token: Option<String>,
    /// Whose certificates are taken.
    pub(crate) trust: Trust,
    pub(crate) offers: Offers,
    pub(crate) source: Source,
    /// The stream's name; of several, `{n}` in it is the number, or `-1`, `-2`, … are put behind
    /// it.
    pub(crate) stream: String,
    /// How many streams there are. Viewers are spread over them in turn.
    pub(crate) streams: usize,
    pub(crate) video: Video,
    /// Publishes sound too: Opus, 50 packets a second.
    pub(crate) audio: bool,
    /// Share of received media that is thrown away before anybody has seen it, 0 to 1.
    pub(crate) loss: f64,
    /// Makes the loss of a run the same as that of another.
    pub(crate) seed: u64,
    /// How often viewers tell when packets arrived, if the server agrees to transport-wide
    /// congestion control; `None`: they do not offer it.
    pub(crate) feedback: Option<Duration>,
}

/// The side that makes the SDP offer of a viewer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Offers {
    /// The viewer, as WHEP says now.
    #[default]
    Viewer,
    /// The server: an empty POST is answered with the offer, and the answer follows by PATCH.
    Server,
}

/// Where the streams come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Source {
    /// We publish them.
    #[default]
    Publish,
    /// They are there; nothing of them is known, so that delay and payloads cannot be checked.
    Attach,
}

/// The pictures that are published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Video {
    pub(crate) codec: Codec,
    /// Of the datagrams' payloads that the network sees, SRTP included.
    pub(crate) bitrate_bps: f64,
    pub(crate) frame_rate: f64,
    /// Time between key frames.
    pub(crate) group: Duration,
    /// Size of a full packet as a UDP payload: RTP header, extensions and SRTP tag included.
    pub(crate) packet_bytes: usize,
    /// Size of a key frame; `None`: a few times that of another frame.
    pub(crate) key_frame_bytes: Option<usize>,
    pub(crate) cut: Cut,
}

/// How frames are cut into packets. Matters to a server that sends several with one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cut {
    /// Every packet is full, and the number of packets varies from frame to frame so that the
    /// bitrate comes out exactly.
    #[default]
    Full,
    /// All packets of a frame are equally long to a byte, as libwebrtc cuts.
    Equal,
    /// All are full but the last of each frame, as ffmpeg and OBS cut.
    Tail,
}

/// More streams than this need more than one generator.
const MAX_STREAMS: usize = 1_000;
/// Smallest and largest datagram: a stamp must fit in, and an Ethernet frame around it.
const PACKET_BYTES: std::ops::RangeInclusive<usize> = 200..=1_472;

impl Default for Video {
    fn default() -> Video {
        Video {
            codec: Codec::Vp8,
            bitrate_bps: 1_500_000.0,
            frame_rate: 30.0,
            group: Duration::from_secs(2),
            packet_bytes: 1_200,
            key_frame_bytes: None,
            cut: Cut::Full,
        }
    }
}

impl Settings {
    /// One stream of the default kind to a server with paths like ours: `<url>/whip/{stream}` and
    /// `<url>/whep/{stream}`.
    pub(crate) fn new(url: &str, token: Option<String>) -> Settings {
        let url = url.trim_end_matches('/');
        Settings {
            whip: format!("{url}/whip/{{stream}}"),
            whep: format!("{url}/whep/{{stream}}"),
            whip_token: token.clone(),
            whep_token: token,
            trust: Trust::default(),
            offers: Offers::default(),
            source: Source::default(),
            stream: "bench".to_owned(),
            streams: 1,
            video: Video::default(),
            audio: false,
            loss: 0.0,
            seed: 1,
            feedback: Some(feedback::INTERVAL),
        }
    }

    /// Says what makes no sense.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Video { codec, bitrate_bps, frame_rate, packet_bytes, .. } = self.video;
        ensure!(codec.kind() == media::MediaKind::Video, "{codec} codes no pictures");
        ensure!((1.0..=1_000.0).contains(&frame_rate), "{frame_rate} frames a second is not within 1 to 1000");
        ensure!(bitrate_bps >= 10_000.0, "{bitrate_bps:.0} b/s is less than the 10 kb/s that are needed at least");
        let (least, most) = (PACKET_BYTES.start(), PACKET_BYTES.end());
        ensure!(PACKET_BYTES.contains(&packet_bytes), "packets of {packet_bytes} bytes: not within {least} to {most}");
        ensure!((1..=MAX_STREAMS).contains(&self.streams), "{} streams: not within 1 to {MAX_STREAMS}", self.streams);
        ensure!((0.0..1.0).contains(&self.loss), "a loss of {} is not a share from 0 to 1", self.loss);
        for (name, template) in [("publish", &self.whip), ("watch", &self.whep)] {
            let varies = ["{stream}", "{n}"].iter().any(|part| template.contains(part));
            ensure!(
                varies || self.streams == 1,
                "the URL to {name}, {template}, is the same for all {} streams; put {{stream}} or {{n}} into it",
                self.streams
            );
        }
        Ok(())
    }

    /// Name of stream `n`, counted from 0.
    pub(crate) fn stream_name(&self, n: usize) -> String {
        match () {
            () if self.stream.contains("{n}") => self.stream.replace("{n}", &(n + 1).to_string()),
            () if self.streams == 1 => self.stream.clone(),
            () => format!("{}-{}", self.stream, n + 1),
        }
    }

    /// Returns the URL to publish stream `n`.
    pub(crate) fn whip_url(&self, n: usize) -> String {
        self.fill(&self.whip, n)
    }

    /// Returns the URL to watch stream `n`.
    pub(crate) fn whep_url(&self, n: usize) -> String {
        self.fill(&self.whep, n)
    }

    fn fill(&self, template: &str, n: usize) -> String {
        template.replace("{stream}", &self.stream_name(n)).replace("{n}", &(n + 1).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_the_stream_or_its_number() {
        let mut settings = Settings::new("http://host:7880/", None);
        assert_eq!(settings.whip_url(0), "http://host:7880/whip/bench");
        settings.streams = 2;
        assert_eq!(settings.whep_url(1), "http://host:7880/whep/bench-2");
        settings.stream = "s{n}x".to_owned();
        settings.whep = "http://host/{n}/whep?stream={stream}".to_owned();
        assert_eq!(settings.whep_url(1), "http://host/2/whep?stream=s2x");
        assert!(settings.check().is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let check = |change: &dyn Fn(&mut Settings), word: &str| {
            let mut settings = Settings::new("http://host", None);
            change(&mut settings);
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check(&|s| s.video.codec = Codec::Opus, "Opus");
        check(&|s| s.video.frame_rate = 0.0, "frames");
        check(&|s| s.video.bitrate_bps = 1.0, "kb/s");
        check(&|s| s.video.packet_bytes = 9_000, "9000");
        check(&|s| s.loss = 1.0, "loss");
        check(&|s| s.streams = 0, "streams");
        check(
            &|s| {
                s.streams = 2;
                s.whip = "http://host/whip".to_owned();
            },
            "{stream}",
        );
    }
}
