//! What does the configuration mean?
//!
//! [`check`] turns what the user wrote into values that need no second look: addresses, durations,
//! networks. The first thing that cannot be meant is refused, with the option's name and what to
//! do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::cidr::Cidr;
use super::file::{self, File};
use super::{ConfigError, Flags};
use crate::auth::{Anonymous, Secret};
use crate::http::prefix::Prefix;

/// Shortest secret of a key: as many bytes as HS256's hash yields (RFC 7518 §3.2).
const SECRET_BYTES: usize = 32;

/// Most media threads. A guess: more cores than this want more processes.
const MOST_SHARDS: i64 = 64;

/// Everything this server was told.
#[derive(Clone)]
pub struct Config {
    /// HTTP.
    pub http: HttpConfig,
    /// Media; the engine reads this.
    pub media: MediaConfig,
    /// Keys, and rights without a token.
    pub auth: AuthConfig,
    /// Logs.
    pub log: LogConfig,
    /// The longest time of an orderly end.
    pub shutdown_timeout: Duration,
    /// Whether `--dev` was given.
    pub dev: bool,
}

/// `[http]`, checked.
#[derive(Clone)]
pub struct HttpConfig {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Whether an IPv6 wildcard address may fail to bind, because it is the default and not a
    /// choice of the user.
    pub ipv6_is_optional: bool,
    /// Whether and how HTTP uses TLS.
    pub tls: Tls,
    /// Origins whose pages may use WHIP, WHEP and the reading part of the API; `None` is any.
    pub cors_origins: Option<Vec<String>>,
    /// Networks whose `X-Forwarded-For` and `X-Forwarded-Prefix` are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// The path below which a reverse proxy shows the server.
    pub base_path: Prefix,
    /// STUN and TURN servers that clients get in `Link` headers.
    pub ice_servers: Vec<IceServer>,
    /// Limits for HTTP clients.
    pub limits: HttpLimits,
}

/// Limits for HTTP clients. In a limit per address, 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// New sessions of one address a second; bursts of four times as many are let through.
    pub new_sessions_per_ip: u32,
    /// Open event streams.
    pub event_streams: usize,
    /// Connections of one address that have not shown a valid token.
    pub connections_per_ip: usize,
}

/// How connections are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// No TLS: for loopback, or behind a proxy that terminates TLS.
    Off,
    /// TLS with these PEM files, read again when they change.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// TLS with a certificate made at start.
    SelfSigned,
}

/// A STUN or TURN server for clients.
#[derive(Clone)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:` URLs.
    pub urls: Vec<String>,
    /// For TURN: the username.
    pub username: Option<String>,
    /// For TURN: the password.
    pub credential: Option<Secret<String>>,
}

/// `[media]`, `[streams]` and what concerns media of `[limits]`, checked. The engine reads this.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// The one UDP port of all media; 0 lets the system choose (tests).
    pub udp_port: u16,
    /// Media threads; `None` is as many as fit the machine.
    pub shards: Option<usize>,
    /// Pin each media thread to a core.
    pub pin_cores: bool,
    /// `--loopback`: bind, offer and use nothing but 127.0.0.1 and ::1.
    pub loopback_only: bool,
    /// `--dev` or `--loopback`: offer loopback addresses too, which only clients on this machine
    /// can use.
    pub offer_loopback: bool,
    /// Addresses to bind.
    pub listen: Vec<IpAddr>,
    /// Whether an IPv6 address in `listen` may fail to bind, because it is the default and not a
    /// choice of the user.
    pub ipv6_is_optional: bool,
    /// If not empty, offer these instead of the machine's own addresses; port 0 is `udp_port`.
    pub advertised: Vec<SocketAddr>,
    /// Which network interfaces' addresses may be offered.
    pub interfaces: NameFilter,
    /// Which addresses may be offered.
    pub candidates: NetworkFilter,
    /// The rule for a second publisher of a stream.
    pub takeover: Takeover,
    /// Bounds.
    pub limits: MediaLimits,
}

/// Bounds on sessions and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// `streams.max`: streams at once.
    pub streams: usize,
    /// `limits.sessions`: sessions at once.
    pub sessions: usize,
    /// `limits.sessions_per_ip`: sessions of one address at once (IPv6: of one /64); `None` is no
    /// limit.
    pub sessions_per_ip: Option<usize>,
    /// `limits.viewers`: viewers of one stream at once.
    pub viewers: usize,
    /// `limits.handshakes`: viewers' handshakes under way at once.
    pub handshakes: usize,
    /// `limits.busy_percent`: viewers are refused while a media thread is busy for this share of
    /// its time.
    pub busy_percent: u8,
}

/// The rule for a second publisher of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// The second publisher is refused (409).
    Refuse,
    /// The second publisher replaces the first.
    Replace,
}

/// Which names pass. `*` at the end of a pattern stands for any rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameFilter {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl NameFilter {
    /// Returns whether the name passes: not denied, and allowed where there is an allow list.
    pub fn permits(&self, name: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        !self.deny.iter().any(matches) && (self.allow.is_empty() || self.allow.iter().any(matches))
    }
}

/// Which addresses pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFilter {
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
}

impl NetworkFilter {
    /// Returns whether the address passes: not denied, and allowed where there is an allow list.
    pub fn permits(&self, address: IpAddr) -> bool {
        let matches = |network: &Cidr| network.contains(address);
        !self.deny.iter().any(matches) && (self.allow.is_empty() || self.allow.iter().any(matches))
    }
}

/// `[auth]`, checked.
#[derive(Clone)]
pub struct AuthConfig {
    /// Keys that sign tokens.
    pub keys: BTreeMap<String, Secret<String>>,
    /// The rights of requests without a token.
    pub anonymous: Anonymous,
}

/// `[log]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level or a filter directive of `tracing-subscriber`.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// Converts options to their meaning, or returns the first wrong one.
pub(super) fn check(file: &File, flags: &Flags) -> Result<Config, ConfigError> {
    let log = check_log(&file.log)?;
    let auth = check_auth(&file.auth, flags.dev)?;
    let limits = HttpLimits {
        new_sessions_per_ip: number("limits.new_sessions_per_ip", file.limits.new_sessions_per_ip, 0, 1_000_000)?,
        event_streams: number("limits.event_streams", file.limits.event_streams, 0, 10_000_000)?,
        connections_per_ip: number("limits.connections_per_ip", file.limits.connections_per_ip, 0, 10_000_000)?,
    };
    let ice_servers = check_ice_servers(&file.media.ice_servers)?;
    let http = check_http(&file.http, ice_servers, limits)?;
    let media = check_media(file, flags)?;
    let shutdown_timeout = duration("shutdown_timeout", &file.shutdown_timeout)?;
    Ok(Config { http, media, auth, log, shutdown_timeout, dev: flags.dev })
}

/// Returns remarks on settings that work, but not for all clients.
pub(super) fn remarks(config: &Config) -> Vec<String> {
    let splits = |text: &str| text.contains([',', ';']);
    let is_split = |server: &&IceServer| {
        server.username.as_deref().is_some_and(splits)
            || server.credential.as_ref().is_some_and(|credential| splits(credential.expose()))
    };
    let remark = |server: &IceServer| {
        format!(
            "media.ice_servers: the username or the credential of {} has a comma or a semicolon, at which OBS and others \
             split the Link header; give the TURN user others",
            server.urls.join(" ")
        )
    };
    config.http.ice_servers.iter().filter(is_split).map(remark).collect()
}

fn check_http(http: &file::Http, ice_servers: Vec<IceServer>, limits: HttpLimits) -> Result<HttpConfig, ConfigError> {
    let mut listen = Vec::new();
    for text in &http.listen {
        listen.extend(listen_addresses(text)?);
    }
    if listen.is_empty() {
        return Err(ConfigError::new("http.listen", "is empty; name at least one address, such as \"0.0.0.0:7880\""));
    }
    let tls = match (http.tls_certificate.as_str(), http.tls_key.as_str(), http.self_signed) {
        ("", "", false) => Tls::Off,
        ("", "", true) => Tls::SelfSigned,
        ("", _, _) => {
            return Err(ConfigError::new(
                "http.tls_certificate",
                "is missing while http.tls_key is set; set both or neither",
            ));
        }
        (_, "", _) => {
            return Err(ConfigError::new(
                "http.tls_key",
                "is missing while http.tls_certificate is set; set both or neither",
            ));
        }
        (_, _, true) => {
            return Err(ConfigError::new("http.self_signed", "excludes http.tls_certificate; remove one of them"));
        }
        (certificate, key, false) => Tls::Files { certificate: certificate.into(), key: key.into() },
    };
    let any = http.cors_origins.iter().any(|origin| origin == "*");
    if any && http.cors_origins.len() > 1 {
        return Err(ConfigError::new("http.cors_origins", "\"*\" is every origin; remove the others, or it"));
    }
    for origin in http.cors_origins.iter().filter(|_| !any) {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).unwrap_or_default();
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            let reason = format!("{origin:?} is not an origin; write it like \"https://example.com\", without a path");
            return Err(ConfigError::new("http.cors_origins", reason));
        }
    }
    Ok(HttpConfig {
        listen,
        ipv6_is_optional: http.listen == file::Http::default().listen,
        tls,
        cors_origins: (!any).then(|| http.cors_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect()),
        trusted_proxies: networks("http.trusted_proxies", &http.trusted_proxies)?,
        base_path: Prefix::parse(&http.base_path).map_err(|error| {
            let reason = format!("{:?} {error}; write it like \"/live\", or \"\" for none", http.base_path);
            ConfigError::new("http.base_path", reason)
        })?,
        ice_servers,
        limits,
    })
}

fn check_media(file: &File, flags: &Flags) -> Result<MediaConfig, ConfigError> {
    let media = &file.media;
    let shards: usize = number("media.shards", media.shards, 0, MOST_SHARDS)?;
    let sessions_per_ip: usize = number("limits.sessions_per_ip", file.limits.sessions_per_ip, 0, 10_000_000)?;
    let mut listen = addresses("media.listen", &media.listen)?;
    if listen.is_empty() {
        return Err(ConfigError::new("media.listen", "is empty; name at least one address, such as \"0.0.0.0\""));
    }
    if flags.loopback {
        listen = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let mut advertised = advertised_addresses(&media.advertised_addresses)?;
    if flags.loopback {
        advertised.retain(|address| address.ip().is_loopback());
    }
    Ok(MediaConfig {
        udp_port: number("media.udp_port", media.udp_port, 0, 65_535)?,
        shards: (shards > 0).then_some(shards),
        pin_cores: media.pin_cores,
        loopback_only: flags.loopback,
        offer_loopback: flags.dev || flags.loopback,
        listen,
        ipv6_is_optional: flags.loopback || media.listen == file::Media::default().listen,
        advertised,
        interfaces: NameFilter { allow: media.interfaces.allow.clone(), deny: media.interfaces.deny.clone() },
        candidates: NetworkFilter {
            allow: networks("media.candidates.allow", &media.candidates.allow)?,
            deny: networks("media.candidates.deny", &media.candidates.deny)?,
        },
        takeover: match file.streams.takeover.as_str() {
            "refuse" => Takeover::Refuse,
            "replace" => Takeover::Replace,
            other => {
                let reason = format!("{other:?} is unknown; write \"refuse\" or \"replace\"");
                return Err(ConfigError::new("streams.takeover", reason));
            }
        },
        limits: MediaLimits {
            streams: number("streams.max", file.streams.max, 1, 10_000_000)?,
            sessions: number("limits.sessions", file.limits.sessions, 1, 10_000_000)?,
            sessions_per_ip: (sessions_per_ip > 0).then_some(sessions_per_ip),
            viewers: number("limits.viewers", file.limits.viewers, 1, 10_000_000)?,
            handshakes: number("limits.handshakes", file.limits.handshakes, 1, 10_000_000)?,
            busy_percent: number("limits.busy_percent", file.limits.busy_percent, 1, 100)?,
        },
    })
}

fn check_ice_servers(servers: &[file::IceServer]) -> Result<Vec<IceServer>, ConfigError> {
    const OPTION: &str = "media.ice_servers";
    let mut checked = Vec::new();
    for server in servers {
        if server.urls.is_empty() {
            return Err(ConfigError::new(OPTION, "an entry has no urls; write urls = [\"stun:stun.example.com\"]"));
        }
        for url in &server.urls {
            let known = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme));
            if !known || !url.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\,;".contains(&byte)) {
                let reason =
                    format!("{url:?} is not the URL of a STUN or TURN server, such as \"turn:turn.example.com:3478\"");
                return Err(ConfigError::new(OPTION, reason));
            }
            if url.starts_with("turn") && (server.username.is_empty() || server.credential.expose().is_empty()) {
                let reason = format!("{url:?} needs a username and a credential beside its urls");
                return Err(ConfigError::new(OPTION, reason));
            }
        }
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !printable(&server.username) || !printable(server.credential.expose()) {
            return Err(ConfigError::new(
                OPTION,
                "username and credential must be printable ASCII: they travel in a header",
            ));
        }
        let credential = (!server.credential.expose().is_empty()).then(|| server.credential.clone());
        let username = (!server.username.is_empty()).then(|| server.username.clone());
        checked.push(IceServer { urls: server.urls.clone(), username, credential });
    }
    Ok(checked)
}

fn check_auth(auth: &file::Auth, dev: bool) -> Result<AuthConfig, ConfigError> {
    if auth.keys.is_empty() {
        return Err(ConfigError::new("auth.keys", no_keys()));
    }
    for (name, secret) in &auth.keys {
        if name.is_empty() || name.len() > 128 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(
                "auth.keys",
                format!("the name {name:?} is not 1 to 128 printable characters"),
            ));
        }
        let bytes = secret.expose().len();
        let is_dev_key = dev && name == "devkey";
        if bytes < SECRET_BYTES && !is_dev_key {
            let reason = format!(
                "the secret has {bytes} bytes and needs {SECRET_BYTES}; here is a fresh one: {}",
                random_hex(32)
            );
            return Err(ConfigError::new(format!("auth.keys.{name}"), reason));
        }
    }
    let anonymous = Anonymous { watch: auth.anonymous_watch, publish: auth.anonymous_publish };
    Ok(AuthConfig { keys: auth.keys.clone(), anonymous })
}

fn no_keys() -> String {
    format!(
        "there is no key, so nobody could publish or watch. To try Nowcast on this machine run `nowcast serve --dev`; \
         to run it for others give it a key, for example this one, made just now, in nowcast.toml (or as \
         NOWCAST_KEYS=\"key: secret\"):\n\n[auth.keys]\n{} = \"{}\"\n",
        format_args!("key-{}", random_hex(4)),
        random_hex(32)
    )
}

fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("the system has a random generator");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_log(log: &file::Log) -> Result<LogConfig, ConfigError> {
    let format = match log.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            return Err(ConfigError::new("log.format", format!("{other:?} is unknown; write \"text\" or \"json\"")));
        }
    };
    if log.level.parse::<tracing_subscriber::EnvFilter>().is_err() || log.level.is_empty() {
        let reason = format!("{:?} is unknown; write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"", log.level);
        return Err(ConfigError::new("log.level", reason));
    }
    Ok(LogConfig { level: log.level.clone(), format })
}

/// Reads an address to listen on: `address:port`, or `:port` or `port` for all addresses, or
/// `localhost:port`.
fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let pair = |v4: Ipv4Addr, v6: Ipv6Addr, port: u16| vec![(v4, port).into(), (v6, port).into()];
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(pair(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, port));
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(pair(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, port));
    }
    let reason =
        format!("{text:?} is not an address with a port; write it like \"0.0.0.0:7880\", \"[::]:7880\" or \"7880\"");
    Err(ConfigError::new("http.listen", reason))
}

fn addresses(option: &str, texts: &[String]) -> Result<Vec<IpAddr>, ConfigError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            ConfigError::new(option, format!("{text:?} is not an IP address, such as 203.0.113.5 or 2001:db8::5"))
        })
    };
    texts.iter().map(parse).collect()
}

/// Reads an address that clients get: `203.0.113.5`, or `203.0.113.5:7000` where another port is
/// forwarded to ours.
fn advertised_addresses(texts: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    const OPTION: &str = "media.advertised_addresses";
    let parse = |text: &String| {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, 0));
        }
        let with_port = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        with_port.ok_or_else(|| {
            let reason = "is not an IP address, such as 203.0.113.5, or one with a port, such as 203.0.113.5:7000 or \
                          [2001:db8::5]:7000";
            ConfigError::new(OPTION, format!("{text:?} {reason}"))
        })
    };
    let advertised: Vec<SocketAddr> = texts.iter().map(parse).collect::<Result<_, _>>()?;
    if let Some(ip) = advertised.iter().map(SocketAddr::ip).find(|ip| ip.is_unspecified() || ip.is_multicast()) {
        let reason = format!("{ip} is not an address that a client can send to; name this machine's public one");
        return Err(ConfigError::new(OPTION, reason));
    }
    Ok(advertised)
}

fn networks(option: &str, texts: &[String]) -> Result<Vec<Cidr>, ConfigError> {
    let parse = |text: &String| text.parse().map_err(|error| ConfigError::new(option, format!("{text:?}: {error}")));
    texts.iter().map(parse).collect()
}

fn number<T: TryFrom<i64>>(option: &str, value: i64, least: i64, most: i64) -> Result<T, ConfigError> {
    let out_of_range = || ConfigError::new(option, format!("{value} is out of range; {least} to {most} are possible"));
    if !(least..=most).contains(&value) {
        return Err(out_of_range());
    }
    T::try_from(value).map_err(|_| out_of_range())
}

/// Reads `500ms`, `10s`, `5m` or `1h`.
fn duration(option: &str, text: &str) -> Result<Duration, ConfigError> {
    parse_duration(text).ok_or_else(|| {
        ConfigError::new(
            option,
            format!("{text:?} is not a duration; write it like \"500ms\", \"10s\", \"5m\" or \"1h\""),
        )
    })
}

/// Reads a duration as options and flags write it.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number <= 1_000_000_000)?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Layers;

    const KEY: &str = "[auth.keys]\nkey = \"0123456789abcdef0123456789abcdef\"\n";

    #[test]
    fn defaults_with_a_key_are_a_whole_configuration() {
        let config = checked(KEY, &Flags::default()).unwrap();
        assert_eq!(config.http.listen.len(), 2);
        assert_eq!(config.http.tls, Tls::Off);
        assert_eq!(config.http.cors_origins, None);
        assert_eq!((config.media.udp_port, config.media.shards), (7882, None));
        assert!(!config.media.loopback_only && !config.media.offer_loopback && !config.dev);
        assert_eq!(config.auth.anonymous, Anonymous { watch: false, publish: false });
        assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    }

    #[test]
    fn dev_is_loopback_open_and_has_a_known_key() {
        let config = checked("", &Flags { dev: true, ..Flags::default() }).unwrap();
        assert!(config.http.listen.iter().all(|address| address.ip().is_loopback() && address.port() == 7880));
        assert_eq!(config.auth.keys["devkey"].expose(), "secret");
        assert_eq!(config.auth.anonymous, Anonymous { watch: true, publish: true });
        assert!(config.media.offer_loopback && !config.media.loopback_only);
        assert_eq!(config.media.limits.sessions_per_ip, None);
        let config = checked("", &Flags { dev: true, loopback: true, ..Flags::default() }).unwrap();
        assert!(config.media.loopback_only && config.media.listen.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn without_keys_it_says_what_to_do_with_a_key_that_works() {
        let error = checked("", &Flags::default()).err().unwrap().to_string();
        assert!(error.starts_with("auth.keys: there is no key") && error.contains("nowcast serve --dev"), "{error}");
        let example = error.split("\n\n").nth(1).unwrap();
        assert!(checked(example, &Flags::default()).is_ok(), "{example}");
        assert_ne!(error, checked("", &Flags::default()).err().unwrap().to_string(), "must be random");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let check = |text: &str, expected: &str| {
            let error = checked(&format!("{text}\n{KEY}"), &Flags::default()).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        check("shutdown_timeout = \"10\"", "shutdown_timeout: \"10\" is not a duration");
        check("[http]\nlisten = []", "http.listen: is empty");
        check("[http]\nlisten = [\"example.com:1\"]", "http.listen: \"example.com:1\" is not an address with a port");
        check("[http]\nlisten = [\"127.0.0.1:70000\"]", "http.listen: ");
        check("[http]\ntls_key = \"k\"", "http.tls_certificate: is missing");
        check("[http]\ntls_certificate = \"c\"", "http.tls_key: is missing");
        check("[http]\ntls_certificate = \"c\"\ntls_key = \"k\"\nself_signed = true", "http.self_signed: excludes");
        check("[http]\ncors_origins = [\"*\", \"https://a\"]", "http.cors_origins: \"*\" is every origin");
        check("[http]\ncors_origins = [\"https://a/\"]", "http.cors_origins: \"https://a/\" is not an origin");
        check("[http]\ncors_origins = [\"a.example\"]", "http.cors_origins: ");
        check("[http]\ntrusted_proxies = [\"10.0.0.1/8\"]", "http.trusted_proxies: \"10.0.0.1/8\": has bits set");
        check("[http]\nbase_path = \"live\"", "http.base_path: \"live\" does not begin with");
        check("[http]\nbase_path = \"https://a.example/live\"", "http.base_path: ");
        check("[http]\nbase_path = \"//a\"", "http.base_path: \"//a\" has an empty segment");
        check("[media]\nudp_port = 65536", "media.udp_port: 65536 is out of range");
        check("[media]\nudp_port = -1", "media.udp_port: -1 is out of range");
        check("[media]\nshards = 65", "media.shards: ");
        check("[media]\nlisten = []", "media.listen: is empty");
        check("[media]\nlisten = [\"eth0\"]", "media.listen: \"eth0\" is not an IP address");
        check("[media]\nadvertised_addresses = [\"0.0.0.0\"]", "media.advertised_addresses: 0.0.0.0 is not");
        check("[media]\nadvertised_addresses = [\"[::]:7000\"]", "media.advertised_addresses: :: is not");
        check(
            "[media]\nadvertised_addresses = [\"a.example\"]",
            "media.advertised_addresses: \"a.example\" is not an IP",
        );
        check(
            "[media]\nadvertised_addresses = [\"10.0.0.1:0\"]",
            "media.advertised_addresses: \"10.0.0.1:0\" is not an IP",
        );
        check("[media.candidates]\ndeny = [\"x\"]", "media.candidates.deny: \"x\": not a network");
        check("[media]\nice_servers = [{ urls = [] }]", "media.ice_servers: an entry has no urls");
        check("[media]\nice_servers = [{ urls = [\"http://x\"] }]", "media.ice_servers: \"http://x\" is not the URL");
        check("[media]\nice_servers = [{ urls = [\"turn:x\"] }]", "media.ice_servers: \"turn:x\" needs a username");
        check("[media]\nice_servers = [{ url = \"turn:x\" }]", "configuration: unknown field `url`");
        check("[streams]\ntakeover = \"maybe\"", "streams.takeover: \"maybe\" is unknown");
        check("[streams]\nmax = 0", "streams.max: 0 is out of range");
        check("[limits]\nsessions = 0", "limits.sessions: 0 is out of range");
        check("[log]\nformat = \"xml\"", "log.format: \"xml\" is unknown");
        check("[log]\nlevel = \"a=b=c\"", "log.level: ");
    }

    #[test]
    fn a_turn_credential_at_which_clients_split_the_link_header_is_remarked() {
        let remarks_of = |credential: &str| {
            let server = format!("[{{ urls = [\"turn:x\"], username = \"u\", credential = \"{credential}\" }}]");
            remarks(&checked(&format!("[media]\nice_servers = {server}\n{KEY}"), &Flags::default()).unwrap())
        };
        assert_eq!(remarks_of("aB3+/="), Vec::<String>::new());
        for credential in ["s3cret,1", "s3cret;1"] {
            let remarks = remarks_of(credential);
            assert!(remarks.len() == 1 && remarks[0].starts_with("media.ice_servers: "), "{remarks:?}");
            assert!(!remarks[0].contains("s3cret"), "{remarks:?}");
        }
    }

    #[test]
    fn short_secrets_are_refused_and_not_shown() {
        let error = checked("[auth.keys]\nkey = \"hunter2\"", &Flags::default()).err().unwrap().to_string();
        assert!(error.starts_with("auth.keys.key: the secret has 7 bytes and needs 32"), "{error}");
        assert!(!error.contains("hunter2"));
        let dev = Flags { dev: true, ..Flags::default() };
        assert!(checked("[auth.keys]\nother = \"secret\"", &dev).is_err());
    }

    #[test]
    fn listen_understands_short_forms() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = listen_addresses(text).unwrap().iter().map(SocketAddr::to_string).collect();
            assert_eq!(found, expected);
        };
        check("7880", &["0.0.0.0:7880", "[::]:7880"]);
        check(":7880", &["0.0.0.0:7880", "[::]:7880"]);
        check("localhost:1", &["127.0.0.1:1", "[::1]:1"]);
        check("127.0.0.1:0", &["127.0.0.1:0"]);
        check("[::1]:1", &["[::1]:1"]);
    }

    #[test]
    fn filters_deny_first_and_allow_listed_addresses_only() {
        let names = NameFilter { allow: vec!["eth*".into(), "lo".into()], deny: vec!["eth1".into()] };
        let permitted: Vec<_> =
            ["eth0", "eth1", "lo", "docker0"].into_iter().filter(|name| names.permits(name)).collect();
        assert_eq!(permitted, ["eth0", "lo"]);
        assert!(NameFilter::default().permits("anything"));
        let networks =
            NetworkFilter { allow: vec!["10.0.0.0/8".parse().unwrap()], deny: vec!["10.1.0.0/16".parse().unwrap()] };
        assert!(networks.permits("10.2.0.1".parse().unwrap()));
        assert!(!networks.permits("10.1.0.1".parse().unwrap()));
        assert!(!networks.permits("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text).map(|duration| duration.as_millis() as u64), expected, "{text}");
        };
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("", None);
        check("s", None);
        check("-1s", None);
        check("1.5s", None);
        check("10 s", None);
        check("99999999999999999999s", None);
    }

    fn checked(text: &str, flags: &Flags) -> Result<Config, ConfigError> {
        let mut layers = Layers::new(flags.dev);
        layers.add_file("nowcast.toml", text)?;
        check(&layers.into_file()?, flags)
    }
}
