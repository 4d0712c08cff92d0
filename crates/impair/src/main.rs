//! `impair relay` stands between clients and a server and makes the network bad; `impair check`
//! checks the tool itself. See `docs/impair.md`.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use impair::control::{Command, parse_file};
use impair::relay::{Options, Plan, Relay};
use impair::{Script, check};

/// A bad network for tests: a UDP relay with rate, queue, delay, jitter, loss, bursts, reordering
/// and duplication.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Relay UDP between clients and a server
    Relay(RelayArguments),
    /// Check this tool on this machine: timers, loss, bursts, rate (14 s)
    Check,
}

#[derive(Args)]
struct RelayArguments {
    /// Address that clients send to; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server
    #[arg(long)]
    to: SocketAddr,
    /// Script for datagrams of clients, such as "delay=25ms loss=1%; 20s loss=5%"
    #[arg(long, default_value = "", conflicts_with = "script")]
    up: String,
    /// Script for datagrams to clients
    #[arg(long, default_value = "", conflicts_with = "script")]
    down: String,
    /// File with both scripts: lines that begin with up, down or both
    #[arg(long)]
    script: Option<PathBuf>,
    /// Seed of the random numbers: the same seed loses the same datagrams
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// All clients share one link each way, instead of having their own
    #[arg(long)]
    shared: bool,
    /// Forget clients that were silent for this many seconds
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Write a report into this file every second
    #[arg(long)]
    stats: Option<PathBuf>,
    /// Read commands from standard input and answer each by a line of JSON; its end ends the relay
    #[arg(long)]
    control: bool,
}

/// Interval between two writes of the file of `--stats`.
const STATS_EVERY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let done = match Cli::parse().what {
        What::Relay(arguments) => relay(arguments),
        What::Check => check(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("impair: {error:#}");
        ExitCode::from(2)
    })
}

fn check() -> anyhow::Result<ExitCode> {
    let rows = check::run()?;
    print!("{}", check::table(&rows));
    Ok(if rows.iter().all(|row| row.is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An input of the main thread.
enum Input {
    Line(String),
    End,
}

fn relay(arguments: RelayArguments) -> anyhow::Result<ExitCode> {
    let (up, down) = match &arguments.script {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            parse_file(&text).map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?
        }
        None => (arguments.up, arguments.down),
    };
    let plan = Plan {
        up: Script::parse(&up).context("up")?,
        down: Script::parse(&down).context("down")?,
        is_shared: arguments.shared,
        seed: arguments.seed,
        idle: Duration::from_secs(arguments.idle),
    };
    let relay = Relay::start(Options { listen: arguments.listen, server: arguments.to, plan })?;
    say(&json!({ "listening": relay.local_address() }))?;

    let (sender, inputs) = sync_channel(1);
    end_on_signal(sender.clone())?;
    if arguments.control {
        std::thread::Builder::new().name("control".into()).spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(Input::Line(line)).is_err() {
                    return;
                }
            }
            // The main thread may have ended already.
            let _ = sender.send(Input::End);
        })?;
    }
    loop {
        match inputs.recv_timeout(STATS_EVERY) {
            Ok(Input::Line(line)) => {
                if !obey(&relay, &line)? {
                    break;
                }
            }
            Ok(Input::End) => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody is left to end the relay"),
        }
        if let Some(path) = &arguments.stats {
            write_stats(&relay, path)?;
        }
    }
    match &arguments.stats {
        Some(path) => write_stats(&relay, path)?,
        None if !arguments.control => say(&json!(relay.report()))?,
        None => {}
    }
    relay.stop();
    Ok(ExitCode::SUCCESS)
}

/// Runs the command in a line and prints the answer. Returns `false` after `quit`.
fn obey(relay: &Relay, line: &str) -> anyhow::Result<bool> {
    let fine = json!({ "ok": true });
    let answer = match Command::parse(line) {
        Ok(None) => return Ok(true),
        Ok(Some(Command::Quit)) => return Ok(false),
        Ok(Some(Command::Stats)) => json!(relay.report()),
        Ok(Some(Command::Reset)) => {
            relay.reset_counts();
            fine
        }
        Ok(Some(Command::Follow { up, down, script })) => match relay.follow(up, down, &script) {
            Ok(()) => fine,
            Err(error) => json!({ "error": error.to_string() }),
        },
        Err(reason) => json!({ "error": reason }),
    };
    say(&answer)?;
    Ok(true)
}

/// Writes a line to standard output, for the parent process.
fn say(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).context("nobody reads what the relay says")
}

/// Replaces the file at once: a reader never sees a part of it.
fn write_stats(relay: &Relay, path: &Path) -> anyhow::Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push(".new");
    let written = std::fs::write(&half, format!("{}\n", json!(relay.report())));
    written.and_then(|()| std::fs::rename(&half, path)).with_context(|| format!("cannot write {}", path.display()))
}

/// SIGINT and SIGTERM end the relay in order.
fn end_on_signal(sender: SyncSender<Input>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let waited: std::io::Result<()> = runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok(())
        });
        if let Err(error) = waited {
            eprintln!("impair: signals cannot be waited for: {error}");
        }
        let _ = sender.send(Input::End);
    })?;
    Ok(())
}
