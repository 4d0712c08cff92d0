//! How do defaults, file, environment and flags become one set of options?
//!
//! As TOML tables: each layer is checked against the defaults (does the option exist, is it of that
//! type?) and laid over the layers before. So every error can name the option, and the environment
//! needs no list of its own: `media.udp_port` is `NOWCAST_MEDIA_UDP_PORT`.

use toml::{Table, Value};

use super::file::File;
use super::{ConfigError, Flags};

const PREFIX: &str = "NOWCAST_";

/// Options whose value is a table with keys of the user's choice.
const MAPS: &[&str] = &["auth.keys"];

/// Options as far as they have been put together.
pub(super) struct Layers {
    schema: Table,
    options: Table,
}

impl Layers {
    /// Begins with the defaults; those of `--dev` where `dev`.
    pub(super) fn new(dev: bool) -> Self {
        let schema = defaults();
        let mut options = schema.clone();
        if dev {
            for (option, value) in dev_defaults() {
                set(&mut options, option, value);
            }
        }
        Self { schema, options }
    }

    /// Lays a file over the layers before.
    pub(super) fn add_file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let table: Table = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            let place = line.map_or(name.to_owned(), |line| format!("{name} line {line}"));
            ConfigError::new(place, error.message().replace('\n', " "))
        })?;
        check_table(&self.schema, &table, "")?;
        overlay(&mut self.options, table, "");
        Ok(())
    }

    /// Lays `NOWCAST_…` variables over the layers before. Returns remarks on variables that name no
    /// option.
    pub(super) fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let options = leaves(&self.schema);
        let mut remarks = Vec::new();
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            // The short form that LiveKit's users know: NOWCAST_KEYS="key: secret".
            let name = if name == "KEYS" { "AUTH_KEYS" } else { name };
            let Some((option, default)) = options.iter().find(|(option, _)| variable_of(option) == name) else {
                remarks.push(format!("{variable} is set but names no option; `nowcast config` lists them"));
                continue;
            };
            let value = parse_variable(option, default, &text)
                .map_err(|reason| ConfigError::new(option.clone(), format!("{reason} (from {variable})")))?;
            set(&mut self.options, option, value);
        }
        Ok(remarks)
    }

    /// Lays the command line over the layers before.
    pub(super) fn add_flags(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if !flags.http.is_empty() {
            let addresses = flags.http.iter().cloned().map(Value::String).collect();
            set(&mut self.options, "http.listen", Value::Array(addresses));
        }
        if let Some(port) = flags.udp_port {
            set(&mut self.options, "media.udp_port", Value::Integer(port.into()));
        }
        if let Some(format) = &flags.log_format {
            set(&mut self.options, "log.format", Value::String(format.clone()));
        }
        Ok(())
    }

    /// Converts the layers to a [`File`].
    pub(super) fn into_file(self) -> Result<File, ConfigError> {
        self.options
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::new("configuration", error.message().replace('\n', " ")))
    }
}

/// Returns every option with its default.
pub(super) fn defaults() -> Table {
    Table::try_from(File::default()).expect("defaults are plain values")
}

/// Returns the defaults that `--dev` changes: loopback only, a known key, everything allowed, no
/// limits per address.
fn dev_defaults() -> Vec<(&'static str, Value)> {
    let mut listen = vec![Value::from("127.0.0.1:7880")];
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        listen.push(Value::from("[::1]:7880"));
    }
    let keys = Table::from_iter([("devkey".to_owned(), Value::from("secret"))]);
    vec![
        ("http.listen", Value::Array(listen)),
        ("auth.keys", Value::Table(keys)),
        ("auth.anonymous_watch", Value::Boolean(true)),
        ("auth.anonymous_publish", Value::Boolean(true)),
        ("limits.sessions_per_ip", Value::Integer(0)),
        ("limits.new_sessions_per_ip", Value::Integer(0)),
        ("limits.connections_per_ip", Value::Integer(0)),
    ]
}

/// Returns an error for an option that does not exist or has another type.
fn check_table(schema: &Table, table: &Table, path: &str) -> Result<(), ConfigError> {
    for (key, value) in table {
        let option = join(path, key);
        let Some(default) = schema.get(key) else {
            let similar = closest(key, schema.keys().map(String::as_str));
            let hint = similar.map_or(String::new(), |name| format!(" did you mean {}?", join(path, name)));
            let reason = format!("there is no such option;{hint} `nowcast config` lists them all");
            return Err(ConfigError::new(option, reason));
        };
        match (default, value) {
            (Value::Table(_), Value::Table(table)) if MAPS.contains(&option.as_str()) => {
                if let Some((key, _)) = table.iter().find(|(_, secret)| !secret.is_str()) {
                    return Err(ConfigError::new(join(&option, key), "expected a text in quotes"));
                }
            }
            (Value::Table(schema), Value::Table(table)) => check_table(schema, table, &option)?,
            (Value::Array(_), Value::Array(items)) if option != "media.ice_servers" => {
                if items.iter().any(|item| !item.is_str()) {
                    return Err(ConfigError::new(option, "expected a list of texts, like [\"a\", \"b\"]"));
                }
            }
            (default, value) if default.same_type(value) => {}
            (default, value) => {
                let reason = format!("expected {}, found {}", kind(default), kind(value));
                return Err(ConfigError::new(option, reason));
            }
        }
    }
    Ok(())
}

/// Replaces the options that `table` names. Maps are replaced as a whole: a user's keys exclude the
/// default ones.
fn overlay(options: &mut Table, table: Table, path: &str) {
    for (key, value) in table {
        let option = join(path, &key);
        match (options.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if !MAPS.contains(&option.as_str()) => {
                overlay(below, above, &option);
            }
            (_, value) => {
                options.insert(key, value);
            }
        }
    }
}

/// Reads a variable by the type of its option.
fn parse_variable(option: &str, default: &Value, text: &str) -> Result<Value, String> {
    let text = text.trim();
    match default {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| format!("expected a number, found {text:?}")),
        Value::Boolean(_) => match text {
            "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
            "false" | "0" | "no" | "off" | "" => Ok(Value::Boolean(false)),
            _ => Err(format!("expected true or false, found {text:?}")),
        },
        Value::Array(_) if text.starts_with('[') && !text.starts_with("[:") || option == "media.ice_servers" => {
            toml::from_str::<Table>(&format!("value = {text}"))
                .ok()
                .and_then(|mut table| table.remove("value"))
                .filter(Value::is_array)
                .ok_or_else(|| "expected a list as in the file, like [\"a\", \"b\"]".to_owned())
        }
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(Value::from).collect()))
        }
        Value::Table(_) => {
            let mut table = Table::new();
            for pair in text.split([',', '\n']).map(str::trim).filter(|pair| !pair.is_empty()) {
                // The error leaves the value out: it may be a secret.
                let (key, secret) =
                    pair.split_once(':').ok_or("expected \"key: secret\", several separated by commas")?;
                table.insert(key.trim().to_owned(), Value::from(secret.trim()));
            }
            Ok(Value::Table(table))
        }
        Value::Float(_) | Value::Datetime(_) => Err("this option cannot be set by the environment".to_owned()),
    }
}

/// Returns every option with its default, nested names joined by dots.
fn leaves(schema: &Table) -> Vec<(String, Value)> {
    fn walk(table: &Table, path: &str, found: &mut Vec<(String, Value)>) {
        for (key, value) in table {
            let option = join(path, key);
            match value {
                Value::Table(below) if !MAPS.contains(&option.as_str()) => walk(below, &option, found),
                value => found.push((option, value.clone())),
            }
        }
    }
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}

fn variable_of(option: &str) -> String {
    option.replace('.', "_").to_ascii_uppercase()
}

fn set(table: &mut Table, option: &str, value: Value) {
    match option.split_once('.') {
        None => {
            table.insert(option.to_owned(), value);
        }
        Some((section, rest)) => {
            let below = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                set(below, rest, value);
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list in brackets",
        Value::Table(_) => "a section",
    }
}

/// Returns the name that differs least, if it differs little.
fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|other| (distance(name, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, other)| other)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (diagonal + usize::from(left != right)).min(last + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            last = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_can_be_set_by_its_variable() {
        let options = leaves(&defaults());
        assert!(options.len() > 25, "{}", options.len());
        let mut names: Vec<_> = options.iter().map(|(option, _)| variable_of(option)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), options.len(), "two options share a variable");
        for (option, default) in options {
            let (text, expected) = match &default {
                Value::String(_) => ("text", Value::from("text")),
                Value::Integer(_) => (" 42 ", Value::from(42)),
                Value::Boolean(_) => ("true", Value::from(true)),
                Value::Array(_) if option == "media.ice_servers" => ("[]", Value::Array(Vec::new())),
                Value::Array(_) => ("a, b", Value::from(vec!["a", "b"])),
                Value::Table(_) => ("k: s", Value::Table(Table::from_iter([("k".to_owned(), Value::from("s"))]))),
                other => panic!("{option} is {other:?}"),
            };
            let mut layers = Layers::new(false);
            let variable = format!("NOWCAST_{}", variable_of(&option));
            let remarks = layers.add_environment([(variable, text.to_owned())]).unwrap();
            assert_eq!(remarks, Vec::<String>::new());
            let (_, value) = leaves(&layers.options).into_iter().find(|(name, _)| *name == option).unwrap();
            assert_eq!(value, expected, "{option}");
        }
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::new(false);
        layers.add_file("f", "[media]\nudp_port = 1\nshards = 1\npin_cores = true\n[auth.keys]\na = \"1\"").unwrap();
        layers.add_environment([("NOWCAST_MEDIA_UDP_PORT".to_owned(), "2".to_owned())]).unwrap();
        layers.add_environment([("NOWCAST_MEDIA_SHARDS".to_owned(), "2".to_owned())]).unwrap();
        layers.add_environment([("NOWCAST_KEYS".to_owned(), "b: 2".to_owned())]).unwrap();
        layers.add_flags(&Flags { udp_port: Some(3), ..Flags::default() }).unwrap();
        let file = layers.into_file().unwrap();
        assert_eq!((file.media.udp_port, file.media.shards, file.media.pin_cores), (3, 2, true));
        assert_eq!(file.auth.keys.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn wrong_options_are_named_with_what_to_do() {
        let check = |text: &str, expected: &str| {
            let error = Layers::new(false).add_file("nowcast.toml", text).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        check(
            "[media]\nudp_prt = 1",
            "media.udp_prt: there is no such option; did you mean media.udp_port? `nowcast config` lists them all",
        );
        check("[nonsense]\na = 1", "nonsense: there is no such option; `nowcast config` lists them all");
        check("[media]\nudp_port = \"1\"", "media.udp_port: expected a whole number, found a text in quotes");
        check("media = 1", "media: expected a section, found a whole number");
        check("[http]\nlisten = \"x\"", "http.listen: expected a list in brackets, found a text in quotes");
        check("[http]\nlisten = [1]", "http.listen: expected a list of texts, like [\"a\", \"b\"]");
        check("[auth.keys]\na = 1", "auth.keys.a: expected a text in quotes");
        let error = Layers::new(false).add_file("f", "[http]\nlisten = nonsense").unwrap_err();
        assert_eq!(error.option, "f line 2", "{error}");
    }

    #[test]
    fn wrong_variables_are_named_and_secrets_are_not_shown() {
        let check = |variable: &str, text: &str, expected: &str| {
            let error = Layers::new(false).add_environment([(variable.to_owned(), text.to_owned())]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            "NOWCAST_MEDIA_UDP_PORT",
            "x",
            "media.udp_port: expected a number, found \"x\" (from NOWCAST_MEDIA_UDP_PORT)",
        );
        check(
            "NOWCAST_KEYS",
            "hunter2",
            "auth.keys: expected \"key: secret\", several separated by commas (from NOWCAST_KEYS)",
        );
        let remarks = Layers::new(false).add_environment([("NOWCAST_NONE".to_owned(), "1".to_owned())]).unwrap();
        assert!(remarks[0].contains("NOWCAST_NONE"));
    }
}
