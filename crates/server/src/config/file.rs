//! Which options does the configuration file have, and with which defaults?
//!
//! One struct per section of `nowcast.toml`, with plain types and the defaults. [`super::checked`]
//! converts them to their meaning. Numbers are wide here, so that a wrong one is refused with its
//! option's name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::auth::Secret;

/// The whole file.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The longest time of an orderly end.
    pub shutdown_timeout: String,
    /// `[http]`
    pub http: Http,
    /// `[media]`
    pub media: Media,
    /// `[auth]`
    pub auth: Auth,
    /// `[streams]`
    pub streams: Streams,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
}

/// `[http]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Addresses to listen on.
    pub listen: Vec<String>,
    /// PEM file of the certificate chain.
    pub tls_certificate: String,
    /// PEM file of the private key.
    pub tls_key: String,
    /// HTTPS with a certificate made at start.
    pub self_signed: bool,
    /// Origins whose pages may use the server.
    pub cors_origins: Vec<String>,
    /// Networks whose `X-Forwarded-For` and `X-Forwarded-Prefix` are believed.
    pub trusted_proxies: Vec<String>,
    /// The path below which a reverse proxy shows the server.
    pub base_path: String,
}

/// `[media]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// The one port of all media.
    pub udp_port: i64,
    /// Media threads.
    pub shards: i64,
    /// Pin each media thread to a core.
    pub pin_cores: bool,
    /// Addresses to bind.
    pub listen: Vec<String>,
    /// Addresses to offer instead of the machine's own, with a port where another one is forwarded.
    pub advertised_addresses: Vec<String>,
    /// Which interfaces' addresses are offered.
    pub interfaces: Filter,
    /// Which addresses are offered.
    pub candidates: Filter,
    /// STUN and TURN servers for clients.
    pub ice_servers: Vec<IceServer>,
}

/// An allow list and a deny list.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// If not empty, only these pass.
    pub allow: Vec<String>,
    /// These never pass.
    pub deny: Vec<String>,
}

/// One of `media.ice_servers`.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default)]
    pub username: String,
    /// For TURN.
    #[serde(default = "empty_secret", skip_serializing)]
    pub credential: Secret<String>,
}

/// `[auth]`
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Keys and their secrets.
    #[serde(serialize_with = "names_only")]
    pub keys: BTreeMap<String, Secret<String>>,
    /// Watching needs no token.
    pub anonymous_watch: bool,
    /// Publishing needs no token.
    pub anonymous_publish: bool,
}

/// `[streams]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// The rule for a second publisher of a stream.
    pub takeover: String,
    /// Streams at once.
    pub max: i64,
}

/// `[limits]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// WebRTC sessions at once.
    pub sessions: i64,
    /// WebRTC sessions of one address at once.
    pub sessions_per_ip: i64,
    /// New WebRTC sessions of one address a second.
    pub new_sessions_per_ip: i64,
    /// Viewers of one stream at once.
    pub viewers: i64,
    /// Viewers' handshakes under way at once.
    pub handshakes: i64,
    /// Percent of a media thread's time from which on viewers are refused.
    pub busy_percent: i64,
    /// Open event streams.
    pub event_streams: i64,
    /// HTTP connections of one address that have not shown a token.
    pub connections_per_ip: i64,
}

/// `[log]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The level, or a filter.
    pub level: String,
    /// The format of lines.
    pub format: String,
}

impl Default for File {
    fn default() -> Self {
        Self {
            // Supervisors kill a process some time after SIGTERM: Docker after 10 s, systemd after
            // 90 s.
            shutdown_timeout: "10s".into(),
            http: Http::default(),
            media: Media::default(),
            auth: Auth::default(),
            streams: Streams::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0:7880".into(), "[::]:7880".into()],
            tls_certificate: String::new(),
            tls_key: String::new(),
            self_signed: false,
            cors_origins: vec!["*".into()],
            trusted_proxies: Vec::new(),
            base_path: String::new(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            udp_port: 7882,
            shards: 0,
            pin_cores: false,
            listen: vec!["0.0.0.0".into(), "::".into()],
            advertised_addresses: Vec::new(),
            interfaces: Filter::default(),
            candidates: Filter::default(),
            ice_servers: Vec::new(),
        }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { takeover: "refuse".into(), max: 10_000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // `docs/threats.md`, T17 and T30. `sessions` and `event_streams` are guesses; `sfu::desk`
        // explains `handshakes`.
        Self {
            sessions: 20_000,
            sessions_per_ip: 200,
            new_sessions_per_ip: 5,
            viewers: 10_000,
            handshakes: 1_000,
            // A tenth is left for publishers, rejoins and key frames (a guess, checked by hand).
            busy_percent: 90,
            event_streams: 5_000,
            connections_per_ip: 64,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

fn empty_secret() -> Secret<String> {
    Secret::new(String::new())
}

/// Serialization serves only to list the options; it leaves secrets out.
fn names_only<S: Serializer>(keys: &BTreeMap<String, Secret<String>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keys.keys().map(|name| (name, "")))
}
