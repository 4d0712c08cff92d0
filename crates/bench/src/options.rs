//! Which options does `nowcast bench` have?
//!
//! This module parses and checks them; [`crate::tool`] acts on them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use media::Codec;

use crate::load::JoinPlan;
use crate::settings::{Cut, Offers, Settings, Source, Video};
use crate::tls::Trust;
use crate::units;

/// The command line of `nowcast bench`.
#[derive(Args, Debug, Clone)]
#[command(after_long_help = EXAMPLES)]
pub struct Options {
    /// Where the server is; paths are those of nowcast: <URL>/whip/{stream} and <URL>/whep/{stream}
    #[arg(long, help_heading = SERVER)]
    url: Option<String>,
    /// Where to publish on another server, such as http://host:8889/{stream}/whip
    #[arg(long, value_name = "TEMPLATE", help_heading = SERVER)]
    whip_url: Option<String>,
    /// Where to watch on another server, such as http://host:8889/{stream}/whep
    #[arg(long, value_name = "TEMPLATE", help_heading = SERVER)]
    whep_url: Option<String>,
    /// Bearer token to publish with
    #[arg(long, env = "NOWCAST_BENCH_WHIP_TOKEN", hide_env_values = true, value_name = "TOKEN", help_heading = SERVER)]
    whip_token: Option<String>,
    /// Bearer token to watch with
    #[arg(long, env = "NOWCAST_BENCH_WHEP_TOKEN", hide_env_values = true, value_name = "TOKEN", help_heading = SERVER)]
    whep_token: Option<String>,
    /// The server makes the offers to viewers: POST without a body, answer by PATCH
    #[arg(long, help_heading = SERVER)]
    server_offers: bool,
    /// Trust the certificates of this PEM file instead of the system's: an authority's, or a
    /// server's own
    #[arg(long, value_name = "FILE", help_heading = SERVER)]
    ca: Option<PathBuf>,
    /// Accept any certificate of an https server: any machine that answers is trusted, and gets the
    /// tokens
    #[arg(long, conflicts_with = "ca", help_heading = SERVER)]
    insecure: bool,
    /// The server's process, for its CPU and memory [default: the process that listens at the URL,
    /// on this machine]
    #[arg(long, help_heading = SERVER)]
    pid: Option<u32>,

    /// How many watch
    #[arg(long, default_value_t = 100, help_heading = AUDIENCE)]
    viewers: usize,
    /// How many join a second; 0: as fast as they go
    #[arg(long, default_value_t = 100.0, value_parser = units::rate, value_name = "PER SECOND", help_heading = AUDIENCE)]
    join_rate: f64,
    /// How long they watch when all have joined
    #[arg(long, default_value = "10s", value_parser = units::duration, help_heading = AUDIENCE)]
    duration: Duration,
    /// Share of viewers that decrypt and check all they get, and by which delay is measured
    #[arg(long, default_value = "2%", value_parser = units::share, value_name = "SHARE", help_heading = AUDIENCE)]
    verify: f64,
    /// Share of received media that is thrown away, as a bad network does
    #[arg(long, default_value = "0%", value_parser = units::share, value_name = "SHARE", help_heading = AUDIENCE)]
    loss: f64,
    /// Makes the loss of a run the same as that of another
    #[arg(long, default_value_t = 1, help_heading = AUDIENCE)]
    seed: u64,

    /// Publish nothing: watch a stream that is there
    #[arg(long, help_heading = STREAMS)]
    attach: bool,
    /// The stream's name; of several, {n} in it is the number, or -1, -2, … are put behind it
    #[arg(long, default_value = "bench", value_name = "NAME", help_heading = STREAMS)]
    stream: String,
    /// How many streams there are; viewers are spread over them
    #[arg(long, default_value_t = 1, value_name = "STREAMS", help_heading = STREAMS)]
    publishers: usize,
    /// What pictures are coded with
    #[arg(long, value_enum, default_value_t = VideoCodec::H264, help_heading = STREAMS)]
    codec: VideoCodec,
    /// Of each stream, as the network sees it, in bits a second
    #[arg(long, default_value = "1.5M", value_parser = units::bitrate, help_heading = STREAMS)]
    bitrate: f64,
    /// Frames a second
    #[arg(long, default_value_t = 30.0, help_heading = STREAMS)]
    fps: f64,
    /// Time between key frames
    #[arg(long, default_value = "2s", value_parser = units::duration, value_name = "DURATION", help_heading = STREAMS)]
    gop: Duration,
    /// Publish sound, too: Opus, 50 packets a second
    #[arg(long, help_heading = STREAMS)]
    audio: bool,
    /// Size of a full packet, as a UDP payload
    #[arg(long, default_value_t = 1_200, value_name = "BYTES", help_heading = STREAMS)]
    packet_bytes: usize,
    /// Size of a key frame [default: a few times that of another frame]
    #[arg(long, value_name = "BYTES", help_heading = STREAMS)]
    key_frame_bytes: Option<usize>,
    /// How frames are cut into packets
    #[arg(long, value_enum, default_value_t = Packets::Full, help_heading = STREAMS)]
    cut: Packets,

    /// One run for each of these audiences, such as 100,500,1000: how does cost grow?
    #[arg(long, value_delimiter = ',', value_name = "VIEWERS", conflicts_with = "viewers", help_heading = RUNS)]
    sweep: Vec<usize>,
    /// Search for the largest audience with loss of at most 0.1 % and a p99 delay of at most 50 ms
    #[arg(long, conflicts_with_all = ["viewers", "sweep"], help_heading = RUNS)]
    find_capacity: bool,
    /// Where the search begins
    #[arg(long, default_value_t = 100, requires = "find_capacity", value_name = "VIEWERS", help_heading = RUNS)]
    first: usize,
    /// What the search never exceeds
    #[arg(long, default_value_t = 20_000, requires = "find_capacity", value_name = "VIEWERS", help_heading = RUNS)]
    most: usize,
    /// Does it work? 50 viewers for 3 s, all verified; without a URL against a server of its own
    #[arg(long, conflicts_with_all = ["viewers", "duration", "sweep", "find_capacity"], help_heading = RUNS)]
    smoke: bool,
    /// Keep the generator on these cores, such as 1 or 2-3
    #[arg(long, value_parser = units::cores, value_name = "CORES", help_heading = RUNS)]
    cores: Option<Cores>,

    /// Also write everything here, for programs
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub(crate) json: Option<PathBuf>,
    /// Also write a page with plots here
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    pub(crate) html: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long, help_heading = REPORT)]
    pub(crate) quiet: bool,
}

const SERVER: &str = "Server";
const AUDIENCE: &str = "Audience";
const STREAMS: &str = "Streams";
const RUNS: &str = "Runs";
const REPORT: &str = "Report";

const EXAMPLES: &str = "\
Examples:
  nowcast bench --smoke
      Does it work on this machine? Starts a server of its own.
  nowcast bench --url http://127.0.0.1:7880 --viewers 500 --html report.html
      500 viewers of one stream for 10 s, and a page with plots.
  nowcast bench --url http://127.0.0.1:7880 --sweep 100,500,1000 --json sweep.json
      How does cost grow with the audience?
  nowcast bench --url http://127.0.0.1:7880 --find-capacity --cores 1
      How many viewers does it carry? The generator stays on core 1.
  nowcast bench --url https://live.example.com --whip-token $T --whep-token $T --viewers 50 --loss 2%
      A server elsewhere that wants tokens, over a network that loses packets.
  nowcast bench --whep-url 'http://host:8889/{stream}/whep' --stream cam --attach
      Another server, and a stream that is already there.

Exit codes:
  0    everything was played as planned
  1    nothing was measured: the server was not reached, it refused, or a file cannot be written
  2    the command line makes no sense
  3    the server broke off; what was seen until then is reported
  4    played to its end, but not every viewer joined and stayed (with --smoke: or not everything came)
  130  ended by Ctrl-C; what was seen until then is reported";

/// The default URL of the server.
const URL: &str = "http://127.0.0.1:7880";
const SMOKE_VIEWERS: usize = 50;
const SMOKE_WATCH: Duration = Duration::from_secs(3);
/// More viewers than there are ports towards one server (2^16, less those below 1,024) need more
/// than one generator.
const MOST_VIEWERS: usize = 64_000;

/// Codecs of pictures.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum VideoCodec {
    H264,
    Vp8,
    Vp9,
    Av1,
    H265,
}

/// How frames are cut.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Packets {
    /// Every packet is full, and the bitrate is exact
    Full,
    /// All packets of a frame are equally long, as browsers cut
    Equal,
    /// All are full but the last of a frame, as ffmpeg and OBS cut
    Tail,
}

/// A list of cores; one value of the command line.
pub(crate) type Cores = Vec<usize>;

/// How many runs there are, and of which sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runs {
    One { viewers: usize },
    Sweep { viewers: Vec<usize> },
    FindCapacity { first: usize, most: usize },
}

impl Options {
    /// Returns whether bench starts a server of its own, because the options name none.
    pub(crate) fn wants_a_server(&self) -> bool {
        self.smoke && self.url.is_none() && self.whep_url.is_none()
    }

    pub(crate) fn is_smoke(&self) -> bool {
        self.smoke
    }

    pub(crate) fn cores(&self) -> Option<&[usize]> {
        self.cores.as_deref()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Returns the plan of the run, against the server at `own` if bench started one.
    pub(crate) fn settings(&self, own: Option<&str>) -> anyhow::Result<Settings> {
        ensure!(
            self.url.is_some() || self.attach || self.whip_url.is_some() == self.whep_url.is_some(),
            "--whip-url and --whep-url belong together; with --attach the latter is enough"
        );
        let url = own.or(self.url.as_deref()).unwrap_or(URL);
        let ours = Settings::new(url, None);
        let settings = Settings {
            whip: self.whip_url.clone().unwrap_or(ours.whip),
            whep: self.whep_url.clone().unwrap_or(ours.whep),
            whip_token: self.whip_token.clone().filter(|token| !token.is_empty()),
            whep_token: self.whep_token.clone().filter(|token| !token.is_empty()),
            trust: match &self.ca {
                Some(file) => Trust::File(file.clone()),
                None if self.insecure => Trust::Anybody,
                None => Trust::System,
            },
            offers: if self.server_offers { Offers::Server } else { Offers::Viewer },
            source: if self.attach { Source::Attach } else { Source::Publish },
            stream: self.stream.clone(),
            streams: self.publishers,
            video: Video {
                codec: self.codec.into(),
                bitrate_bps: self.bitrate,
                frame_rate: self.fps,
                group: self.gop,
                packet_bytes: self.packet_bytes,
                key_frame_bytes: self.key_frame_bytes,
                cut: self.cut.into(),
            },
            audio: self.audio,
            loss: self.loss,
            seed: self.seed,
            feedback: ours.feedback,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Returns the runs: their number and sizes.
    pub(crate) fn runs(&self) -> anyhow::Result<Runs> {
        let runs = match () {
            () if self.smoke => Runs::One { viewers: SMOKE_VIEWERS },
            () if self.find_capacity => Runs::FindCapacity { first: self.first, most: self.most },
            () if !self.sweep.is_empty() => Runs::Sweep { viewers: self.sweep.clone() },
            () => Runs::One { viewers: self.viewers },
        };
        let (least, most) = match &runs {
            Runs::One { viewers } => (*viewers, *viewers),
            Runs::Sweep { viewers } => {
                (viewers.iter().copied().min().unwrap_or(0), viewers.iter().copied().max().unwrap_or(0))
            }
            Runs::FindCapacity { first, most } => (*first.min(most), *most),
        };
        ensure!(least > 0, "without viewers there is nothing to measure; ask for at least 1");
        ensure!(
            most <= MOST_VIEWERS,
            "{most} viewers are more than the {MOST_VIEWERS} that one generator can play; run several"
        );
        Ok(runs)
    }

    /// Returns the plan by which this number of viewers joins.
    pub(crate) fn join(&self, viewers: usize) -> JoinPlan {
        let verify = if self.smoke { 1.0 } else { self.verify };
        JoinPlan { viewers, rate: self.join_rate, verify }
    }

    /// Returns the time that viewers watch.
    pub(crate) fn duration(&self) -> Duration {
        if self.smoke { SMOKE_WATCH } else { self.duration }
    }
}

impl From<VideoCodec> for Codec {
    fn from(codec: VideoCodec) -> Codec {
        match codec {
            VideoCodec::H264 => Codec::H264,
            VideoCodec::Vp8 => Codec::Vp8,
            VideoCodec::Vp9 => Codec::Vp9,
            VideoCodec::Av1 => Codec::Av1,
            VideoCodec::H265 => Codec::H265,
        }
    }
}

impl From<Packets> for Cut {
    fn from(packets: Packets) -> Cut {
        match packets {
            Packets::Full => Cut::Full,
            Packets::Equal => Cut::Equal,
            Packets::Tail => Cut::Tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn the_issues_own_command_is_understood() {
        let line = "--url http://host:7880 --viewers 5000 --bitrate 1.5M --fps 30 --duration 30s --join-rate 500 \
                    --publishers 1 --codec vp8 --gop 2s --loss 2% --cores 1";
        let options = parse(line).unwrap();
        let settings = options.settings(None).unwrap();
        assert_eq!((settings.video.codec, settings.loss), (Codec::Vp8, 0.02));
        assert_eq!(settings.whip_url(0), "http://host:7880/whip/bench");
        assert_eq!(options.runs().unwrap(), Runs::One { viewers: 5_000 });
        assert_eq!(options.duration(), Duration::from_secs(30));
        assert_eq!(options.cores(), Some(&[1][..]));
    }

    #[test]
    fn other_servers_have_templates() {
        let options = parse("--whip-url http://h/{stream}/whip --whep-url http://h/{stream}/whep --stream a").unwrap();
        assert_eq!(options.settings(None).unwrap().whep_url(0), "http://h/a/whep");
        assert!(parse("--whep-url http://h/{stream}").unwrap().settings(None).is_err());
        assert!(parse("--whep-url http://h/{stream} --attach").unwrap().settings(None).is_ok());
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for line in ["--viewers 0", "--sweep 100,0", "--viewers 70000", "--find-capacity --most 0"] {
            assert!(parse(line).unwrap().runs().is_err(), "{line}");
        }
        for line in ["--most 5", "--sweep 1,2 --viewers 3", "--sweep 1 --find-capacity", "--smoke --viewers 3"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn ca_and_insecure_exclude_each_other() {
        let trust = |line| parse(line).unwrap().settings(None).unwrap().trust;
        assert_eq!(trust("--insecure"), Trust::Anybody);
        assert_eq!(trust("--ca own.pem"), Trust::File("own.pem".into()));
        assert_eq!(trust(""), Trust::System);
        assert!(parse("--insecure --ca own.pem").is_err());
    }

    #[test]
    fn smoke_needs_no_server() {
        assert!(parse("--smoke").unwrap().wants_a_server());
        assert!(!parse("--smoke --url http://h").unwrap().wants_a_server());
    }
}
