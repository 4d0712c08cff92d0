//! Which options does this run of the server have?
//!
//! Options come from four places, the later winning: defaults, the file, the environment, the
//! command line. They are laid over each other as TOML ([`layers`]), read once into plain types
//! ([`file`]), and converted to their meaning ([`checked`]). No other module reads the environment
//! or the file.

mod checked;
mod cidr;
mod file;
mod layers;

use std::path::Path;

pub use checked::{
    AuthConfig, Config, HttpConfig, HttpLimits, IceServer, LogConfig, LogFormat, MediaConfig, MediaLimits, NameFilter,
    NetworkFilter, Takeover, Tls, parse_duration,
};
pub use cidr::Cidr;

use layers::Layers;

/// The documented default file; `nowcast config` prints it.
pub const DOCUMENTED: &str = include_str!("../../../../nowcast.toml");

/// The options of the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--dev`
    pub dev: bool,
    /// `--loopback`
    pub loopback: bool,
    /// `--http`
    pub http: Vec<String>,
    /// `--udp-port`
    pub udp_port: Option<u16>,
    /// `--log-format`
    pub log_format: Option<String>,
}

/// An option that cannot be used: which one, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct ConfigError {
    /// The option's name, such as `media.udp_port`, or the file's.
    pub option: String,
    /// The fault, and its remedy.
    pub reason: String,
}

impl ConfigError {
    fn new(option: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { option: option.into(), reason: reason.into() }
    }
}

/// Reads all options. `environment` is what [`std::env::vars`] yields.
///
/// Returns the configuration and remarks that are worth a warning.
pub fn load(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<(Config, Vec<String>), ConfigError> {
    let mut layers = Layers::new(flags.dev);
    if let Some(path) = path {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new("--config", format!("cannot read {}: {error}", path.display())))?;
        layers.add_file(&path.display().to_string(), &text)?;
    }
    let mut remarks = layers.add_environment(environment)?;
    layers.add_flags(flags)?;
    let config = checked::check(&layers.into_file()?, flags)?;
    remarks.extend(checked::remarks(&config));
    Ok((config, remarks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented file lists every option, each with its default.
    #[test]
    fn documented_file_lists_every_option_with_its_default() {
        let uncommented: String = DOCUMENTED
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(option) if !option.is_empty() && !option.starts_with([' ', '#']) => option,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let written: toml::Table = toml::from_str(&uncommented).unwrap();
        assert_eq!(written, layers::defaults());
    }

    /// The documented file as delivered, with every option commented out, changes nothing.
    #[test]
    fn documented_file_as_delivered_sets_nothing() {
        let table: toml::Table = toml::from_str(DOCUMENTED).unwrap();
        for (name, section) in &table {
            assert!(section.as_table().is_some_and(only_tables), "{name} is set");
        }
    }

    fn only_tables(table: &toml::Table) -> bool {
        table.values().all(|value| value.as_table().is_some_and(only_tables))
    }

    #[test]
    fn every_option_has_a_sentence() {
        let mut previous = "";
        for line in DOCUMENTED.lines() {
            if line.starts_with('#') && !line.starts_with("# ") && line.len() > 1 {
                assert!(previous.starts_with("# "), "no sentence above {line}");
            }
            previous = line;
        }
    }
}
