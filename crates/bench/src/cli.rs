//! What does the command line of the developers' binary say?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};

use crate::server::Server;
use crate::settings::Video;
use crate::table::{self, Sizes};
use crate::units;

/// Measures what the documents say of nowcast. For any server and audience of your own: `nowcast
/// bench`.
#[derive(Parser)]
#[command(name = "bench", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server and measure the first rows of docs/performance.md about it: delay, memory,
    /// joins
    Table(Table),
    /// Measure the send tick by itself: nanoseconds a packet, or instructions
    /// (scripts/instructions)
    Tick(crate::tick::Tick),
    /// Measure a bare send loop of the same packets: what the kernel takes on this machine
    Bare(crate::bare::Bare),
    /// Start servers and measure every row of "One core, many viewers" in docs/performance.md
    Record(crate::record::Record),
    /// Measure sending into a device that throws everything away (scripts/sendside makes one)
    Sendside(crate::sendside::Sendside),
}

#[derive(Args)]
struct Picture {
    /// Bitrate of the stream, in bits a second; k and M are understood
    #[arg(long, default_value = "1.5M", value_parser = units::bitrate)]
    bitrate: f64,
    /// Frames a second
    #[arg(long, default_value_t = 30.0)]
    fps: f64,
    /// Time between key frames
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    gop: Duration,
}

#[derive(Args)]
struct Table {
    /// The server [default: target/release/nowcast]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// How long each measurement lasts
    #[arg(long, default_value = "10s", value_parser = units::duration)]
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

/// Runs the command of the command line.
///
/// # Errors
///
/// The reason why the measurement failed, as text.
pub fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
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
        Command::Tick(tick) => tick.run(),
        Command::Bare(bare) => bare.run(),
        Command::Sendside(sendside) => sendside.run(),
        Command::Record(record) => record.run(),
    }
}

fn video(picture: &Picture) -> anyhow::Result<Video> {
    ensure!((1.0..=1_000.0).contains(&picture.fps), "--fps must be 1 to 1000");
    ensure!(picture.bitrate >= 10_000.0, "--bitrate must be at least 10k");
    Ok(Video { bitrate_bps: picture.bitrate, frame_rate: picture.fps, group: picture.gop, ..Video::default() })
}
