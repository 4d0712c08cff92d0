//! Is this machine set up for the server, and if not, which changes does it need?
//!
//! [`Machine`] is the state of the machine, read once. The checks (`host`, `network`) are plain
//! functions of it and return one [`Finding`] each. `nowcast doctor` prints all of them; at start
//! the server logs those that are not in order, one line each.

mod dtls;
mod host;
mod machine;
mod network;
mod print;

use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use crate::config::{self, Config, ConfigError, Flags};

pub use machine::Machine;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What that means for the server; empty if all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub meaning: &'static str,
    /// What to type or to write to mend it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mend: Vec<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and could work better or for more.
    Hint,
    /// The server will not start, or no client will reach it.
    Fail,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Ok, found: found.into(), meaning: "", mend: Vec::new() }
    }

    fn hint(check: &'static str, found: impl Into<String>, meaning: &'static str) -> Finding {
        Finding { verdict: Verdict::Hint, meaning, ..Finding::ok(check, found) }
    }

    fn fail(check: &'static str, found: impl Into<String>, meaning: &'static str) -> Finding {
        Finding { verdict: Verdict::Fail, meaning, ..Finding::ok(check, found) }
    }

    fn mend(mut self, line: impl Into<String>) -> Finding {
        self.mend.push(line.into());
        self
    }

    /// All of it in one line, for a log.
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.check, self.found);
        for (before, part) in [(". ", self.meaning), (" Mend: ", &self.mend.join("; "))] {
            if !part.is_empty() {
                line.push_str(before);
                line.push_str(part);
            }
        }
        line
    }
}

/// Looks at everything and prints it. `environment` is what [`std::env::vars`] yields.
///
/// # Errors
///
/// If something will fail, so that the exit code says so too.
pub fn run(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
    as_json: bool,
) -> anyhow::Result<()> {
    let (config, mut findings) = match config::load(path, environment, flags) {
        Ok((config, remarks)) => (config, vec![configuration(path, &remarks)]),
        // The machine can be looked at all the same, as far as the defaults go.
        Err(error) => {
            let (defaults, _) = config::load(None, [], &Flags { dev: true, ..Flags::default() })?;
            (defaults, vec![unusable(&error)])
        }
    };
    findings.extend(examine(&Machine::look(&config, true), &config));
    if as_json {
        println!("{:#}", print::json(&findings));
    } else {
        print!("{}", print::text(&findings, print::wants_colour()));
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => bail!("one thing will fail"),
        count => bail!("{count} things will fail"),
    }
}

/// Returns the lines that the server logs at start. Ports and addresses are left out, because the
/// server binds them next.
pub fn remarks(config: &Config) -> Vec<String> {
    let machine = Machine::look(config, false);
    let findings = examine(&machine, config);
    let is_news = |f: &&Finding| f.verdict != Verdict::Ok && !(config.dev && f.check == network::ADDRESSES);
    findings.iter().filter(is_news).map(Finding::line).collect()
}

/// All checks, in the order in which they are read.
fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    [network::examine(machine, config), vec![dtls::examine(machine)], host::examine(machine, config)].concat()
}

fn configuration(path: Option<&Path>, remarks: &[String]) -> Finding {
    const CHECK: &str = "configuration";
    let found = path.map_or("defaults and environment".to_owned(), |path| path.display().to_string());
    if remarks.is_empty() {
        return Finding::ok(CHECK, found);
    }
    Finding::hint(CHECK, remarks.join("; "), "The server starts, but not quite as it was told to.")
}

fn unusable(error: &ConfigError) -> Finding {
    // The rest is advice, and may be long.
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().split_inclusive(". ").next().unwrap_or_default();
    let meaning = "The server refuses to start. What follows is said for --dev and the defaults.";
    Finding::fail("configuration", first.trim_end(), meaning).mend("nowcast serve  # says all of it, with an example")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fits_into_a_line_of_the_log() {
        let finding = Finding::hint("open files", "1024", "Too few.").mend("ulimit -n 65536").mend("or so");
        assert_eq!(finding.line(), "open files: 1024. Too few. Mend: ulimit -n 65536; or so");
        assert_eq!(Finding::ok("clock", "tsc").line(), "clock: tsc");
    }

    #[test]
    fn a_healthy_machine_has_nothing_to_remark() {
        let findings = examine(&Machine::healthy(), &config("").0);
        let amiss: Vec<_> = findings.iter().filter(|f| f.verdict != Verdict::Ok).collect();
        assert!(amiss.is_empty(), "{amiss:#?}");
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let (config, _) = config("");
        assert!(!examine(&Machine::look(&config, false), &config).is_empty());
    }

    /// Returns a configuration with this in `[media]`.
    pub(super) fn config(media: &str) -> (Config, Vec<String>) {
        let environment = media.lines().map(|line| line.split_once(" = ").expect("NAME = value"));
        let variables = environment.map(|(name, value)| (format!("NOWCAST_MEDIA_{name}"), value.to_owned()));
        let key = ("NOWCAST_KEYS".to_owned(), "key: 0123456789abcdef0123456789abcdef".to_owned());
        config::load(None, variables.chain([key]), &Flags::default()).expect("a configuration")
    }
}
