//! Which form do log lines have, and which texts never enter the log?

use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// Libraries that see headers, and so tokens, stay silent below INFO whatever the level (threat
/// T18).
const QUIET: [&str; 4] = ["h2=info", "hyper=info", "hyper_util=info", "rustls=info"];

/// The first panics that are each logged in one line. Later ones are logged one in [`THEN_EVERY`],
/// because panics that a stranger's bytes provoke could fill a disk.
/// `nowcast_media_session_panics_total` counts all. A guess.
const LOGGED_PANICS: u64 = 100;
const THEN_EVERY: u64 = 1_000;

/// Logs panics like all other events. The guard that catches a panic logs which session it ends.
fn log_panics() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    std::panic::set_hook(Box::new(|panic| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        if count < LOGGED_PANICS || count.is_multiple_of(THEN_EVERY) {
            let thread = std::thread::current();
            tracing::error!(thread = thread.name(), "{panic}");
        }
    }));
}

/// Starts logging to standard error. Control characters in texts are escaped by the formatter
/// (threat T30).
pub fn start(config: &LogConfig) {
    let filter = QUIET.iter().fold(EnvFilter::new(&config.level), |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, in tests, changes nothing.
    let started = match config.format {
        LogFormat::Text => {
            log.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if started.is_ok() {
        log_panics();
    }
}
