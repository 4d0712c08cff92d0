//! How does the log look?

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

/// Libraries that see headers, and so tokens, stay silent below INFO whatever the level (threat T18).
const QUIET: [&str; 4] = ["h2=info", "hyper=info", "hyper_util=info", "rustls=info"];

/// Starts logging to standard error. Control characters in texts are escaped by the formatter (threat T30).
pub fn start(config: &LogConfig) {
    let filter = QUIET.iter().fold(EnvFilter::new(&config.level), |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, in tests, changes nothing.
    let _ = match config.format {
        LogFormat::Text => {
            log.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
