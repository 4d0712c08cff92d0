//! What comes to the server's door: addresses, fragments, tokens; and what its operator writes.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use server::auth::{Anonymous, Authority, Claims, LONGEST_LIFE_SECONDS, Secret, VideoGrant, sign};
use server::config::{self, Flags};
use server::http::connections::frames::{Head, Incoming, Walker};
use server::http::limits::{H2_CONTROL_BURST, H2_REQUEST_BURST};
use server::http::prefix::Prefix;
use server::http::{NoRoute, resource_of, sdpfrag};

/// A path and a query name a resource, or there is a rule that says why not.
pub fn route(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*text, None),
    };
    match resource_of(path, query) {
        Ok((template, stream)) => {
            assert!(template.starts_with('/'), "what has a route has a name");
            if let Some(stream) = stream {
                assert!(media::StreamName::parse(stream.as_str()).is_ok());
            }
        }
        Err(NoRoute::IllegalName { rule, template }) => {
            assert!(!rule.is_empty() && template.contains("{stream}"));
        }
        Err(NoRoute::NotFound) => {}
    }
}

/// A forwarded prefix is a path of this host and can stand in headers, pages and JSON; or it is
/// none.
pub fn prefix(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for part in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(part) {
            headers.append("x-forwarded-prefix", value);
        }
    }
    let Some(prefix) = Prefix::forwarded(&headers) else { return };
    let text = prefix.as_str();
    assert!(text.starts_with('/') && !text.ends_with('/') && !text.contains("//") && text.len() <= 200);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte)));
    assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
    assert_eq!(Prefix::parse(text), Ok(prefix.clone()), "what was read is read again");
}

/// Frames of HTTP/2 are counted alike in whatever pieces they come, and never more of them than
/// there are bytes for.
pub fn frames(data: &[u8]) {
    let now = Instant::now();
    let whole = walked(std::iter::once(data));
    let size = 1 + data.first().copied().map_or(0, usize::from) % 32;
    assert_eq!(whole, walked(data.chunks(size)), "in pieces of {size}");
    assert!(whole.0.len() <= data.len() / 9);
    let mut incoming = Incoming::new(now);
    let flood = [PREFACE, data].concat().chunks(size).any(|piece| incoming.read(piece, now).is_err());
    assert!(!flood || data.len() > 9 * H2_CONTROL_BURST.min(H2_REQUEST_BURST) as usize);
    let _ = Incoming::new(now).read(data, now);
}

fn walked<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Head>, bool) {
    let mut walker = Walker::default();
    let mut heads = Vec::new();
    pieces.for_each(|piece| walker.walk(piece, |head| heads.push(head)));
    (heads, walker.is_between_frames())
}

/// A trickle-ICE fragment is parsed or refused, and the parsed result is bounded.
pub fn sdpfrag(data: &[u8]) {
    if let Ok(fragment) = sdpfrag::parse(&String::from_utf8_lossy(data)) {
        assert_eq!(fragment.ufrag.is_some(), fragment.password.is_some());
        assert!(fragment.candidates.len() <= 32);
        assert!(fragment.candidates.iter().all(|candidate| !candidate.contains(['\r', '\n'])));
    }
}

/// A token without a valid signature is refused, and the claims of a genuine token are read without
/// harm.
pub fn token(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    if let Ok(grants) = authority().grants(&headers, NOW) {
        let genuine = genuine_tokens().iter().any(|token| data.ends_with(token.as_bytes()));
        assert!(!grants.has_token() || genuine || has_signature_of_ours(data), "a forged token was believed");
    }
    // The same bytes as claims, genuinely signed.
    let text = String::from_utf8_lossy(data).into_owned();
    let claims = Claims {
        iss: "key".into(),
        sub: Some(text.clone()),
        exp: NOW + data.len() as u64 * 997,
        video: VideoGrant { room: Some(text), ..VideoGrant::default() },
        ..Claims::default()
    };
    let Ok(token) = sign(&claims, &secret()) else { return };
    let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) else { return };
    headers.insert(AUTHORIZATION, value);
    if let Ok(grants) = authority().grants(&headers, NOW) {
        assert!(claims.exp <= NOW + LONGEST_LIFE_SECONDS + 60 && grants.has_token());
        assert!(grants.identity().is_none_or(|name| name.len() <= 256));
    }
}

/// A file of options is taken, or refused with an option's name.
pub fn config_file(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("nowcast-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, data).expect("the folder for temporary files can be written");
    let result = config::load(Some(&path), [], &Flags::default());
    let _ = std::fs::remove_file(&path);
    if let Err(error) = result {
        assert!(!error.option.is_empty() && !error.reason.is_empty());
    }
}

/// An environment is taken, or refused with an option's name.
pub fn environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (format!("NOWCAST_{name}"), value.to_owned()));
    for dev in [false, true] {
        if let Err(error) = config::load(None, variables.clone(), &Flags { dev, ..Flags::default() }) {
            assert!(!error.option.is_empty() && !error.reason.is_empty());
        }
    }
}

/// Addresses to begin with.
pub fn routes() -> Vec<Vec<u8>> {
    let session = "0123456789abcdef0123456789abcdef";
    [
        "/",
        "/whip/demo",
        "/whip?stream=demo",
        "/demo/whip",
        "/rtc/v1/whip/?app=live&stream=demo",
        "/whep/a/b/c",
        &format!("/whip/demo/{session}"),
        &format!("/a/b/whep/{session}"),
        "/api/v1/streams/a/b/events",
        "/api/v1/time",
        "/watch/demo",
        "/publish/demo",
        "/assets/watch-ABC.js",
        "/metrics",
        "/favicon.ico",
        "/whip/%2e%2e/x",
    ]
    .map(|path| path.as_bytes().to_vec())
    .into()
}

/// Prefixes to begin with.
pub fn prefixes() -> Vec<Vec<u8>> {
    ["/live", "/a/b/", "/a, /b", "/a\n/b", "//evil.example", "https://evil.example", "/../x"]
        .map(|text| text.as_bytes().to_vec())
        .into()
}

/// Connections to begin with: a request with a body, and a flood.
pub fn connections() -> Vec<Vec<u8>> {
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let headers = b"\0\0\x03\x01\x04\0\0\0\x01\x82\x84\x86";
    let data = b"\0\0\x04\0\x01\0\0\0\x01v=0\n";
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    vec![[&settings[..], headers, data].concat(), ping.repeat(H2_CONTROL_BURST as usize + 1), PREFACE.to_vec()]
}

/// Fragments to begin with.
pub fn fragments() -> Vec<Vec<u8>> {
    let text = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\n\
        a=end-of-candidates\r\n";
    vec![text.as_bytes().to_vec()]
}

/// Headers to begin with.
pub fn tokens() -> Vec<Vec<u8>> {
    genuine_tokens().iter().map(|token| format!("Bearer {token}").into_bytes()).collect()
}

/// Files to begin with: the documented one, as delivered and with every option set.
pub fn config_files() -> Vec<Vec<u8>> {
    let options = config::DOCUMENTED.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if !option.starts_with(' ') => option,
        _ => line,
    });
    let all: String = options.flat_map(|line| [line, "\n"]).collect();
    vec![config::DOCUMENTED.as_bytes().to_vec(), all.into_bytes()]
}

/// Environments to begin with.
pub fn environments() -> Vec<Vec<u8>> {
    vec![
        b"KEYS=mykey: 0123456789abcdef0123456789abcdef\nMEDIA_UDP_PORT=7882\nHTTP_LISTEN=7880,localhost:1\n\
          MEDIA_INTERFACES_DENY=docker*\nLIMITS_SESSIONS=5\nLOG_LEVEL=debug\nSHUTDOWN_TIMEOUT=10s\n"
            .to_vec(),
        b"AUTH_ANONYMOUS_WATCH=true\nMEDIA_ICE_SERVERS=[{urls=[\"stun:x\"]}]\nSTREAMS_TAKEOVER=replace\n".to_vec(),
    ]
}

/// Parts of addresses.
pub const ROUTE_WORDS: &[&str] = &[
    "/",
    "//",
    "/whip",
    "/whep",
    "/api/v1/streams",
    "/events",
    "?stream=",
    "&app=",
    "%2f",
    "%00",
    "%",
    "..",
    "ä",
    "0123456789abcdef0123456789abcdef",
    "+",
    "#",
    ";",
];

/// Parts of prefixes.
pub const PREFIX_WORDS: &[&str] = &["/", "//", "..", ".", ",", "\n", "%2f", "\\", "@", "live", "https://", "ä"];

/// Parts of tokens.
pub const TOKEN_WORDS: &[&str] =
    &["Bearer ", ".", "..", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9", "e30", "=", "bearer"];

/// Parts of options.
pub const CONFIG_WORDS: &[&str] = &[
    "[http]\n",
    "[media]\n",
    "[auth]\n",
    "listen = [\"[::]:0\"]\n",
    "udp_port = 65536\n",
    "shards = -1\n",
    "keys = { a = \"0123456789abcdef0123456789abcdef\" }\n",
    "trusted_proxies = [\"0.0.0.0/33\"]\n",
    "shutdown_timeout = \"1e9h\"\n",
    "18446744073709551615h",
    "MEDIA_UDP_PORT=-1\n",
    "LIMITS_SESSIONS=99999999999999999999\n",
    "KEYS=a: b, c\n",
    "[[",
    "\"",
    "=",
    "{",
    "::/129",
];

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const NOW: u64 = 1_763_930_000;

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        Authority::new(BTreeMap::from([("key".to_owned(), secret())]), Anonymous { watch: true, publish: false })
    })
}

fn secret() -> Secret<String> {
    Secret::new("a-secret-of-at-least-thirty-two-bytes".to_owned())
}

fn genuine_tokens() -> &'static [String] {
    static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let grant = VideoGrant { room: Some("demo".into()), room_join: true, ..VideoGrant::default() };
        let claims = Claims {
            iss: "key".into(),
            sub: Some("alice".into()),
            exp: NOW + 3_600,
            video: grant,
            ..Claims::default()
        };
        sign(&claims, &secret()).into_iter().collect()
    })
}

/// Returns whether the signed parts are those of a genuine token, written a little differently
/// (base64's last letter has bits to spare, and blanks around are cut).
fn has_signature_of_ours(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    genuine_tokens().iter().any(|token| token.rsplit_once('.').is_some_and(|(signed, _)| text.contains(signed)))
}
