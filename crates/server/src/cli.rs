//! Which commands and flags does the command line have?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use media::StreamName;

use crate::auth::{self, Claims, Secret, VideoGrant};
use crate::config::{self, Flags};
use crate::doctor;
use crate::serve;

/// Live video for everyone, in under half a second.
#[derive(Parser)]
#[command(name = "nowcast", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(Serve),
    /// Print an access token
    Token(Token),
    /// Print the documented configuration file with all defaults
    Config,
    /// Check this machine: print problems, hints, and how to fix them
    Doctor(Doctor),
    /// Measure this or another server with simulated publishers and many viewers
    Bench(Box<bench::Options>),
}

#[derive(Args)]
#[command(after_help = "Every option of the configuration file can also be set by an environment variable: \
    udp_port in [media] is NOWCAST_MEDIA_UDP_PORT. `nowcast config` lists them all.")]
struct Serve {
    /// For trying on this machine: HTTP on loopback, key "devkey", secret "secret", no token needed
    #[arg(long)]
    dev: bool,
    /// Media on 127.0.0.1 and ::1 only, which Firefox and GStreamer leave out: they get no media
    #[arg(long)]
    loopback: bool,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "NOWCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port for HTTP; may be given several times [option http.listen]
    #[arg(long, visible_alias = "listen", value_name = "ADDRESS:PORT")]
    http: Vec<String>,
    /// UDP port of all media [option media.udp_port]
    #[arg(long, value_name = "PORT")]
    udp_port: Option<u16>,
    /// "text" or "json" [option log.format]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

#[derive(Args)]
struct Doctor {
    /// Check the settings of `serve --dev`
    #[arg(long)]
    dev: bool,
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "NOWCAST_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Token {
    /// Name of the key (with --dev: devkey)
    #[arg(long)]
    key: String,
    /// Secret of the key (with --dev: secret)
    #[arg(long, env = "NOWCAST_SECRET", hide_env_values = true)]
    secret: String,
    /// Stream that the token is for
    #[arg(long)]
    stream: Option<String>,
    /// Allow publishing
    #[arg(long)]
    publish: bool,
    /// Allow watching
    #[arg(long)]
    watch: bool,
    /// Allow ending the stream; without --stream: everything on the server
    #[arg(long)]
    admin: bool,
    /// Validity, at most 24h
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    ttl: String,
    /// Identity of the bearer (claim `sub`)
    #[arg(long)]
    identity: Option<String>,
}

/// Runs the command of the command line. Returns the exit code.
pub fn run() -> anyhow::Result<ExitCode> {
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    match Cli::parse().command {
        Command::Serve(arguments) => done(serve(arguments)),
        Command::Token(arguments) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
            println!("{}", token(arguments, now)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Config => {
            print!("{}", config::DOCUMENTED);
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(Doctor { dev, config, json }) => {
            let flags = Flags { dev, ..Flags::default() };
            done(doctor::run(config.as_deref(), environment(), &flags, json))
        }
        Command::Bench(options) => bench::run(&options, &stop_on_interrupt()?),
    }
}

/// Lowers the priority of this thread below that of media threads: viewers come before requests.
fn behind_media() {
    if let Err(error) = shards::udp::affinity::step_back(shards::NICENESS) {
        tracing::debug!(%error, "HTTP competes with media for its cores");
    }
}

fn serve(arguments: Serve) -> anyhow::Result<()> {
    let flags = Flags {
        dev: arguments.dev,
        loopback: arguments.loopback,
        http: arguments.http,
        udp_port: arguments.udp_port,
        log_format: arguments.log_format,
    };
    let (config, remarks) = config::load(arguments.config.as_deref(), environment(), &flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(behind_media)
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(serve::run(config, remarks));
    // Tasks that still run have had their time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Returns a flag that the first Ctrl-C sets. The second one ends the process at once.
fn stop_on_interrupt() -> anyhow::Result<bench::Stop> {
    let stop = bench::Stop::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot listen for SIGINT")?;
    let stopped = stop.clone();
    let listen = move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stopped.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).context("cannot start a thread")?;
    Ok(stop)
}

/// The exit code that shells use for a process ended by SIGINT: 128 plus its number.
const INTERRUPTED: i32 = 130;

/// Returns the environment without `NOWCAST_` variables that are not options.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).filter(
        |(name, _)| {
            !["NOWCAST_CONFIG", "NOWCAST_SECRET"].contains(&name.as_str()) && !name.starts_with("NOWCAST_BENCH_")
        },
    )
}

fn token(arguments: Token, now: Duration) -> anyhow::Result<String> {
    if !arguments.publish && !arguments.watch && !arguments.admin {
        bail!("the token would allow nothing; add --publish, --watch or --admin");
    }
    if arguments.stream.is_none() && (arguments.publish || arguments.watch) {
        bail!("--stream is missing: which stream may be published or watched?");
    }
    if let Some(stream) = &arguments.stream {
        StreamName::parse(stream).context("--stream")?;
    }
    let ttl = config::parse_duration(&arguments.ttl).with_context(|| {
        format!("--ttl: {:?} is not a duration; write it like \"90s\", \"5m\" or \"1h\"", arguments.ttl)
    })?;
    if ttl.as_secs() == 0 || ttl.as_secs() > auth::LONGEST_LIFE_SECONDS {
        bail!("--ttl: a token lives between one second and 24 hours");
    }
    let joins = arguments.publish || arguments.watch;
    let claims = Claims {
        iss: arguments.key,
        sub: arguments.identity,
        exp: now.as_secs() + ttl.as_secs(),
        nbf: None,
        video: VideoGrant {
            room: arguments.stream,
            room_join: joins,
            room_admin: arguments.admin,
            room_list: arguments.admin,
            room_create: false,
            can_publish: joins.then_some(arguments.publish),
            can_subscribe: joins.then_some(arguments.watch),
        },
    };
    auth::sign(&claims, &Secret::new(arguments.secret)).context("cannot sign")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn tokens_allow_what_was_asked_for() {
        let check = |line: &str, publish: bool, watch: bool, administer: bool, list: bool| {
            let token = token(parse(line), Duration::from_secs(1_763_930_000)).unwrap();
            let authority = auth::Authority::new(
                [("devkey".to_owned(), Secret::new("secret".to_owned()))].into(),
                auth::Anonymous::default(),
            );
            let mut headers = hyper::HeaderMap::new();
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
            let grants = authority.grants(&headers, 1_763_930_000).unwrap();
            let demo = StreamName::parse("demo").unwrap();
            assert_eq!(grants.may_publish(&demo), publish, "publish: {line}");
            assert_eq!(grants.may_watch(&demo), watch, "watch: {line}");
            assert_eq!(grants.may_administer(&demo), administer, "administer: {line}");
            assert_eq!(grants.may_list(), list, "list: {line}");
        };
        check("--stream demo --publish", true, false, false, false);
        check("--stream demo --watch", false, true, false, false);
        check("--stream demo --publish --watch", true, true, false, false);
        check("--stream other --publish --watch", false, false, false, false);
        check("--stream demo --admin", false, true, true, true);
        check("--admin", false, true, true, true);
    }

    #[test]
    fn tokens_that_make_no_sense_are_refused() {
        let check = |line: &str, expected: &str| {
            let error = format!("{:#}", token(parse(line), Duration::from_secs(1)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check("--stream demo", "allow nothing");
        check("--publish", "--stream is missing");
        check("--stream a.b --publish", "--stream");
        check("--stream demo --publish --ttl 25h", "24 hours");
        check("--stream demo --publish --ttl 0s", "24 hours");
        check("--stream demo --publish --ttl soon", "not a duration");
    }

    fn parse(line: &str) -> Token {
        let words = "nowcast token --key devkey --secret secret".split(' ').chain(line.split(' '));
        match Cli::parse_from(words).command {
            Command::Token(arguments) => arguments,
            _ => unreachable!("it says token"),
        }
    }
}
