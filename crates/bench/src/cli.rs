//! What does the command line say?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Parser, Subcommand};

use crate::baseline;
use crate::load::{JoinPlan, Load};
use crate::process::Usage;
use crate::report::{self, Run, ServerCost};
use crate::server::Server;
use crate::settings::{Settings, Video};
use crate::table::{self, Sizes};

/// Plays a publisher and many viewers against a live-video server, and measures what they get.
#[derive(Parser)]
#[command(name = "bench", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish one stream to a running server and let viewers watch it
    FirstStream(FirstStream),
    /// Start a server and measure the three rows about it of the issue "The first live stream"
    Table(Table),
    /// Start a server, let 20 viewers watch for 2 s, and fail unless each gets everything
    Smoke(Smoke),
    /// Measure the send tick by itself: nanoseconds a packet, or instructions (scripts/instructions)
    Tick(crate::tick::Tick),
    /// Measure a bare send loop of the same packets: what the kernel takes on this machine
    Bare(crate::bare::Bare),
    /// Start servers and measure every row of the issue "One core, five thousand viewers"
    Record(crate::record::Record),
    /// Measure sending into a device that throws everything away (scripts/sendside makes one)
    Sendside(crate::sendside::Sendside),
}

#[derive(Args)]
struct Picture {
    /// Bitrate of the stream, in bits a second; k and M are understood
    #[arg(long, default_value = "1.5M", value_parser = bitrate)]
    bitrate: f64,
    /// Frames a second
    #[arg(long, default_value_t = 30.0)]
    fps: f64,
    /// Time between key frames
    #[arg(long, default_value = "2s", value_parser = duration)]
    gop: Duration,
}

#[derive(Args)]
struct FirstStream {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:7880")]
    url: String,
    /// An access token, for a server that wants one
    #[arg(long)]
    token: Option<String>,
    /// The server's process, for its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Name of the stream
    #[arg(long, default_value = "bench")]
    stream: String,
    /// How many watch
    #[arg(long, default_value_t = 100)]
    viewers: usize,
    /// How many join a second; 0: as fast as they can
    #[arg(long, default_value_t = 100.0)]
    join_rate: f64,
    /// How long they watch
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Share of viewers whose packets are decrypted and checked, and by which delay is measured
    #[arg(long, default_value = "2%", value_parser = share)]
    verify: f64,
    /// Pin the generator to this core
    #[arg(long)]
    core: Option<usize>,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    picture: Picture,
}

#[derive(Args)]
struct Table {
    /// The server [default: target/release/nowcast]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// How long each measurement lasts
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Viewers in the memory row
    #[arg(long, default_value_t = 1_000)]
    viewers: usize,
    /// Viewers in the row about joins
    #[arg(long, default_value_t = 2_000)]
    joiners: usize,
    /// How many of these join a second; 0: as fast as they can
    #[arg(long, default_value_t = 0.0)]
    join_rate: f64,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    picture: Picture,
}

#[derive(Args)]
struct Smoke {
    /// The server [default: target/release/nowcast]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// Says what went wrong, for the one who called it.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::FirstStream(arguments) => first_stream(&arguments),
        Command::Table(arguments) => {
            let sizes = Sizes {
                watch: arguments.duration,
                crowd: arguments.viewers,
                joiners: arguments.joiners,
                rate: arguments.join_rate,
            };
            let server = arguments.server.unwrap_or_else(Server::default_binary);
            table::run(&server, video(&arguments.picture)?, sizes, arguments.json.as_deref())
        }
        Command::Smoke(arguments) => smoke(arguments),
        Command::Tick(tick) => tick.run(),
        Command::Bare(bare) => bare.run(),
        Command::Sendside(sendside) => sendside.run(),
        Command::Record(record) => record.run(),
    }
}

fn first_stream(arguments: &FirstStream) -> anyhow::Result<()> {
    if let Some(core) = arguments.core {
        shards::udp::affinity::pin_current_thread(core).with_context(|| format!("--core {core}"))?;
    }
    let settings = Settings {
        stream: arguments.stream.clone(),
        video: video(&arguments.picture)?,
        ..Settings::new(&arguments.url, arguments.token.clone())
    };
    let plan = JoinPlan { viewers: arguments.viewers, rate: arguments.join_rate, verify: arguments.verify };
    let run = watch(&settings, plan, arguments.duration, arguments.pid)?;
    run.print();
    report::write(arguments.json.as_deref(), &run.json())?;
    ensure!(run.joined.joined > 0, "no viewer could join: {}", run.joined.failure.unwrap_or_default());
    Ok(())
}

fn watch(settings: &Settings, plan: JoinPlan, duration: Duration, pid: Option<u32>) -> anyhow::Result<Run> {
    let baseline = baseline::measure()?;
    let usage = || pid.map(Usage::of).transpose();
    let mut load = Load::start(settings)?;
    load.run_for(Duration::from_millis(200))?;
    let empty = usage()?;
    let joined = load.join(plan)?;
    load.run_for(Duration::from_millis(500))?;
    load.open_window(0..load.viewer_count())?;
    let begun = usage()?;
    load.run_for(duration)?;
    let seen = load.close_window()?;
    let server = match (empty, begun, usage()?) {
        (Some(empty), Some(begun), Some(after)) => Some(ServerCost {
            spent: after.since(&begun),
            rss_kib_per_viewer: (after.rss_kib as f64 - empty.rss_kib as f64) / plan.viewers.max(1) as f64,
        }),
        _ => None,
    };
    load.close();
    Ok(Run { joined, seen, server, baseline })
}

fn smoke(arguments: Smoke) -> anyhow::Result<()> {
    let server = Server::start(&arguments.server.unwrap_or_else(Server::default_binary), None)?;
    let settings = Settings::new(&server.url(), None);
    let plan = JoinPlan { viewers: 20, rate: 50.0, verify: 1.0 };
    let run = watch(&settings, plan, Duration::from_secs(2), Some(server.pid()))?;
    run.print();
    let Run { joined, seen, .. } = run;
    ensure!(joined.failed == 0, "{} viewers did not join: {}", joined.failed, joined.failure.unwrap_or_default());
    ensure!(seen.failed == 0, "{} sessions ended early", seen.failed);
    ensure!(seen.total.lost == 0, "{} packets were lost for good", seen.total.lost);
    ensure!(seen.damaged + seen.rejected == 0, "{} packets damaged, {} rejected", seen.damaged, seen.rejected);
    // Nothing of the timing: only that nobody was left out.
    let least = seen.sent.packets * seen.viewers as u64 / 2;
    ensure!(seen.verified_packets >= least, "only {} packets came of at least {least}", seen.verified_packets);
    Ok(())
}

fn video(picture: &Picture) -> anyhow::Result<Video> {
    ensure!((1.0..=1_000.0).contains(&picture.fps), "--fps must be 1 to 1000");
    ensure!(picture.bitrate >= 10_000.0, "--bitrate must be at least 10k");
    Ok(Video { bitrate_bps: picture.bitrate, frame_rate: picture.fps, group: picture.gop, ..Video::default() })
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = unit.map_or((text, 1.0), |(unit, factor)| (text.trim_end_matches(unit), *factor));
    let number: f64 = number.parse().map_err(|_| format!("{text} is not understood"))?;
    if number.is_finite() && number >= 0.0 { Ok(number * factor) } else { Err(format!("{text} is out of range")) }
}

fn bitrate(text: &str) -> Result<f64, String> {
    scaled(text, &[("k", 1e3), ("M", 1e6)])
}

fn share(text: &str) -> Result<f64, String> {
    scaled(text, &[("%", 0.01)]).map(|share| share.min(1.0))
}

fn duration(text: &str) -> Result<Duration, String> {
    // Longest unit first: "ms" ends in "s" too.
    let seconds = scaled(text, &[("ms", 1e-3), ("s", 1.0), ("m", 60.0)])?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!(bitrate("1.5M"), Ok(1_500_000.0));
        assert_eq!(bitrate("800k"), Ok(800_000.0));
        assert_eq!(share("2%"), Ok(0.02));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("soon").is_err());
        assert!(bitrate("-1").is_err());
    }
}
