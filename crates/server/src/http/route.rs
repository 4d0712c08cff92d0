//! Which resource does this path name?
//!
//! Stream names contain slashes, so the shape decides: below `/whip/` and `/whep/`, a last segment of 32 hexadecimal
//! digits (lower case, as we write them) behind a stream name is a session, everything else is a stream. `POST` to such
//! an address that is no session is meant for the stream ([`super::session`]). Consequence: a stream whose name ends in
//! `/events` has no status of its own.

use std::borrow::Cow;

use media::{SessionId, StreamName};

/// A resource of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The page with what is live.
    Home,
    /// The page that publishes.
    PublishPage,
    /// The page that watches.
    WatchPage,
    /// A file of the pages, by its path in `web/dist`.
    Asset(String),
    /// Where publishers begin; without a name where the token is to name the stream.
    WhipEndpoint(Option<StreamName>),
    /// A publisher's session.
    WhipSession(StreamName, SessionId),
    /// What a publisher's audience has use for.
    WhipLayers(StreamName, SessionId),
    /// Where a publisher subscribes to events of its session.
    WhipEvents(StreamName, SessionId),
    /// One such subscription.
    WhipSubscription(StreamName, SessionId, u64),
    /// Where viewers begin.
    WhepEndpoint(Option<StreamName>),
    /// A viewer's session.
    WhepSession(StreamName, SessionId),
    /// What a viewer may be shown, and what it wishes.
    WhepLayers(StreamName, SessionId),
    /// Where a viewer subscribes to events of its session.
    WhepEvents(StreamName, SessionId),
    /// One such subscription.
    WhepSubscription(StreamName, SessionId, u64),
    /// All streams.
    Streams,
    /// One stream's status.
    Stream(StreamName),
    /// One stream's status as it changes.
    Events(StreamName),
    /// The server's clock.
    Time,
    /// The API's description.
    OpenApi,
    /// Prometheus.
    Metrics,
    /// Is the process alive?
    Healthz,
    /// Does it take sessions?
    Readyz,
}

/// Why a path names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// There is no such thing.
    NotFound,
    /// It would name a stream, but not by a legal name: the rule.
    IllegalName(String),
    /// The page of a stream, but not by a legal name: the page, and the rule.
    IllegalNameOfPage(Route, String),
}

/// Routes as logs and metrics show them: without what clients chose.
pub const TEMPLATES: &[&str] = &[
    "/",
    "/publish/{stream}",
    "/watch/{stream}",
    "/assets/{file}",
    "/whip/{stream}",
    "/whip/{stream}/{session}",
    "/whep/{stream}",
    "/whep/{stream}/{session}",
    "/api/v1/streams",
    "/api/v1/streams/{stream}",
    "/api/v1/streams/{stream}/events",
    "/api/v1/time",
    "/api/openapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
    "/whep/{stream}/{session}/layers",
    "/whep/{stream}/{session}/sse",
    "/whep/{stream}/{session}/sse/{subscription}",
    "/whip/{stream}/{session}/layers",
    "/whip/{stream}/{session}/sse",
    "/whip/{stream}/{session}/sse/{subscription}",
    "other",
];

impl Route {
    /// Finds the resource that path and query name.
    pub fn of(path: &str, query: Option<&str>) -> Result<Self, NoRoute> {
        if !path.starts_with('/') {
            return Err(NoRoute::NotFound);
        }
        // Slashes too many come from a base address that ends in one and a path that begins with one.
        let trimmed = path.trim_matches('/');
        match trimmed {
            "" => return Ok(Self::Home),
            "metrics" => return Ok(Self::Metrics),
            "healthz" => return Ok(Self::Healthz),
            "readyz" => return Ok(Self::Readyz),
            "favicon.ico" | "favicon.svg" | "robots.txt" => {
                return Ok(Self::Asset(trimmed.to_owned()));
            }
            "api/openapi.json" => return Ok(Self::OpenApi),
            "api/v1/time" => return Ok(Self::Time),
            "api/v1/streams" => return Ok(Self::Streams),
            // The styles of a plain endpoint, and of SRS.
            "whip" | "rtc/v1/whip" => return Ok(Self::WhipEndpoint(queried_stream(query)?)),
            "whep" | "rtc/v1/whep" | "rtc/v1/whip-play" => {
                return Ok(Self::WhepEndpoint(queried_stream(query)?));
            }
            _ => {}
        }
        let (first, rest) = trimmed.split_once('/').ok_or(NoRoute::NotFound)?;
        match first {
            "assets" => Ok(Self::Asset(trimmed.to_owned())),
            "publish" => page(Self::PublishPage, rest),
            "watch" => page(Self::WatchPage, rest),
            "whip" => Ok(match below(rest)? {
                Below::Endpoint(stream) => Self::WhipEndpoint(Some(stream)),
                Below::Session(stream, session) => Self::WhipSession(stream, session),
                Below::Layers(stream, session) => Self::WhipLayers(stream, session),
                Below::Events(stream, session) => Self::WhipEvents(stream, session),
                Below::Subscription(stream, session, id) => Self::WhipSubscription(stream, session, id),
            }),
            "whep" => Ok(match below(rest)? {
                Below::Endpoint(stream) => Self::WhepEndpoint(Some(stream)),
                Below::Session(stream, session) => Self::WhepSession(stream, session),
                Below::Layers(stream, session) => Self::WhepLayers(stream, session),
                Below::Events(stream, session) => Self::WhepEvents(stream, session),
                Below::Subscription(stream, session, id) => Self::WhepSubscription(stream, session, id),
            }),
            "api" => {
                let name = rest.strip_prefix("v1/streams/").ok_or(NoRoute::NotFound)?;
                match name.strip_suffix("/events") {
                    Some(name) => stream(name).map(Self::Events),
                    None => stream(name).map(Self::Stream),
                }
            }
            "rtc" | "twirp" | "hls" | "dash" => Err(NoRoute::NotFound),
            // MediaMTX's style: the stream first.
            _ => match trimmed.rsplit_once('/') {
                Some((name, "whip")) => stream(name).map(|stream| Self::WhipEndpoint(Some(stream))),
                Some((name, "whep")) => stream(name).map(|stream| Self::WhepEndpoint(Some(stream))),
                _ => Err(NoRoute::NotFound),
            },
        }
    }

    /// The index of the route's template in [`TEMPLATES`].
    pub fn template(&self) -> usize {
        match self {
            Self::Home => 0,
            Self::PublishPage => 1,
            Self::WatchPage => 2,
            Self::Asset(_) => 3,
            Self::WhipEndpoint(_) => 4,
            Self::WhipSession(..) => 5,
            Self::WhepEndpoint(_) => 6,
            Self::WhepSession(..) => 7,
            Self::Streams => 8,
            Self::Stream(_) => 9,
            Self::Events(_) => 10,
            Self::Time => 11,
            Self::OpenApi => 12,
            Self::Metrics => 13,
            Self::Healthz => 14,
            Self::Readyz => 15,
            Self::WhepLayers(..) => 16,
            Self::WhepEvents(..) => 17,
            Self::WhepSubscription(..) => 18,
            Self::WhipLayers(..) => 19,
            Self::WhipEvents(..) => 20,
            Self::WhipSubscription(..) => 21,
        }
    }

    /// The stream that the route is about, for logs at debug.
    pub fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::WhipEndpoint(stream) | Self::WhepEndpoint(stream) => stream.as_ref(),
            Self::WhipSession(stream, _)
            | Self::WhipLayers(stream, _)
            | Self::WhipEvents(stream, _)
            | Self::WhipSubscription(stream, ..)
            | Self::WhepSession(stream, _)
            | Self::WhepLayers(stream, _)
            | Self::WhepEvents(stream, _)
            | Self::WhepSubscription(stream, ..)
            | Self::Stream(stream)
            | Self::Events(stream) => Some(stream),
            _ => None,
        }
    }
}

/// Reads the name in the address of a page.
fn page(page: Route, name: &str) -> Result<Route, NoRoute> {
    match stream(name) {
        Ok(_) => Ok(page),
        Err(NoRoute::IllegalName(rule)) => Err(NoRoute::IllegalNameOfPage(page, rule)),
        Err(error) => Err(error),
    }
}

/// What is below `/whip/` or `/whep/`.
enum Below {
    Endpoint(StreamName),
    Session(StreamName, SessionId),
    Layers(StreamName, SessionId),
    Events(StreamName, SessionId),
    Subscription(StreamName, SessionId, u64),
}

/// Reads `stream`, `stream/session` and what belongs to a session.
fn below(path: &str) -> Result<Below, NoRoute> {
    if let Some(Ok((stream, Some(session)))) = path.strip_suffix("/layers").map(session) {
        return Ok(Below::Layers(stream, session));
    }
    if let Some(Ok((stream, Some(session)))) = path.strip_suffix("/sse").map(session) {
        return Ok(Below::Events(stream, session));
    }
    if let Some((stream, session, id)) = subscription(path) {
        return Ok(Below::Subscription(stream, session, id));
    }
    Ok(match session(path)? {
        (stream, Some(session)) => Below::Session(stream, session),
        (stream, None) => Below::Endpoint(stream),
    })
}

/// Reads `stream` or `stream/session`.
fn session(path: &str) -> Result<(StreamName, Option<SessionId>), NoRoute> {
    let parse =
        |last: &str| SessionId::parse(last).filter(|_| !last.contains(|digit: char| digit.is_ascii_uppercase()));
    let found = path.rsplit_once('/').and_then(|(name, last)| Some((name, parse(last)?)));
    match found {
        Some((name, session)) => Ok((stream(name)?, Some(session))),
        None => Ok((stream(path)?, None)),
    }
}

/// Reads `stream/session/sse/subscription`.
fn subscription(path: &str) -> Option<(StreamName, SessionId, u64)> {
    let (events, id) = path.rsplit_once('/')?;
    match session(events.strip_suffix("/sse")?) {
        Ok((stream, Some(session))) => Some((stream, session, id.parse().ok()?)),
        _ => None,
    }
}

/// Reads a stream's name as it stands in a path.
fn stream(name: &str) -> Result<StreamName, NoRoute> {
    let name =
        decode(name, false).ok_or_else(|| NoRoute::IllegalName("the name is not properly percent-encoded".into()))?;
    StreamName::parse(&name).map_err(|error| NoRoute::IllegalName(error.to_string()))
}

/// Reads `stream`, and SRS's `app` before it, from a query.
fn queried_stream(query: Option<&str>) -> Result<Option<StreamName>, NoRoute> {
    let value = |name: &str| {
        query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    };
    let Some(name) = value("stream") else {
        return Ok(None);
    };
    let illegal = || NoRoute::IllegalName("the name is not properly percent-encoded".into());
    let name = decode(name, true).ok_or_else(illegal)?;
    let name = match value("app").filter(|app| !app.is_empty()) {
        Some(app) => Cow::Owned(format!("{}/{name}", decode(app, true).ok_or_else(illegal)?)),
        None => name,
    };
    StreamName::parse(&name).map(Some).map_err(|error| NoRoute::IllegalName(error.to_string()))
}

/// Decodes percent-encoding, in queries (`form`) also `+`.
fn decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if form => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn every_style_finds_its_resource() {
        let check = |address: &str, expected: Route| {
            let (path, query) = split(address);
            let route = Route::of(path, query);
            assert_eq!(route.as_ref(), Ok(&expected), "{address}");
            assert!(TEMPLATES.get(expected.template()).is_some_and(|template| *template != "other"));
        };
        let name = |name: &str| StreamName::parse(name).unwrap();
        let id = || SessionId::parse(ID).unwrap();
        check("/", Route::Home);
        check("/publish/demo", Route::PublishPage);
        check("/publish/a/b", Route::PublishPage);
        check("/watch/demo/", Route::WatchPage);
        check("/assets/main-1a2b.js", Route::Asset("assets/main-1a2b.js".into()));
        check("/favicon.ico", Route::Asset("favicon.ico".into()));
        check("/whip/demo", Route::WhipEndpoint(Some(name("demo"))));
        check("/whip/demo/", Route::WhipEndpoint(Some(name("demo"))));
        check("/whip/a/b", Route::WhipEndpoint(Some(name("a/b"))));
        check("/whip/a%2Fb", Route::WhipEndpoint(Some(name("a/b"))));
        check("/whip", Route::WhipEndpoint(None));
        check("/whip/", Route::WhipEndpoint(None));
        check("//whip", Route::WhipEndpoint(None));
        check("//whip/demo", Route::WhipEndpoint(Some(name("demo"))));
        check("/whip/demo//", Route::WhipEndpoint(Some(name("demo"))));
        check("//", Route::Home);
        check("/whip?stream=a/b", Route::WhipEndpoint(Some(name("a/b"))));
        check("/whip?x=1&stream=a%2fb", Route::WhipEndpoint(Some(name("a/b"))));
        check("/whip/?stream=demo", Route::WhipEndpoint(Some(name("demo"))));
        check("/demo/whip", Route::WhipEndpoint(Some(name("demo"))));
        check("/a/b/whip", Route::WhipEndpoint(Some(name("a/b"))));
        check("/rtc/v1/whip/?app=live&stream=demo", Route::WhipEndpoint(Some(name("live/demo"))));
        check("/rtc/v1/whip/?stream=demo", Route::WhipEndpoint(Some(name("demo"))));
        check("/whep/demo", Route::WhepEndpoint(Some(name("demo"))));
        check("/demo/whep", Route::WhepEndpoint(Some(name("demo"))));
        check("/rtc/v1/whep/?app=live&stream=demo", Route::WhepEndpoint(Some(name("live/demo"))));
        check("/rtc/v1/whip-play/?app=live&stream=demo", Route::WhepEndpoint(Some(name("live/demo"))));
        check(&format!("/whip/demo/{ID}"), Route::WhipSession(name("demo"), id()));
        check(&format!("/whip/a/b/{ID}"), Route::WhipSession(name("a/b"), id()));
        check(&format!("/whep/a/b/{ID}"), Route::WhepSession(name("a/b"), id()));
        check(&format!("/whep/a/b/{ID}/layers"), Route::WhepLayers(name("a/b"), id()));
        check(&format!("/whep/a/b/{ID}/sse"), Route::WhepEvents(name("a/b"), id()));
        check(&format!("/whep/a/b/{ID}/sse/7"), Route::WhepSubscription(name("a/b"), id(), 7));
        check(&format!("/whip/a/b/{ID}/layers"), Route::WhipLayers(name("a/b"), id()));
        check(&format!("/whip/a/b/{ID}/sse"), Route::WhipEvents(name("a/b"), id()));
        check(&format!("/whip/a/b/{ID}/sse/7"), Route::WhipSubscription(name("a/b"), id(), 7));
        check("/whip/a/layers", Route::WhipEndpoint(Some(name("a/layers"))));
        check("/whep/a/sse/7", Route::WhepEndpoint(Some(name("a/sse/7"))));
        check("/whep/a/layers", Route::WhepEndpoint(Some(name("a/layers"))));
        let upper = ID.to_uppercase();
        check(&format!("/whip/live/{upper}"), Route::WhipEndpoint(Some(name(&format!("live/{upper}")))));
        check(&format!("/whip/{ID}"), Route::WhipEndpoint(Some(name(ID))));
        check(&format!("/whip/demo/{}", &ID[1..]), Route::WhipEndpoint(Some(name(&format!("demo/{}", &ID[1..])))));
        check("/api/v1/streams", Route::Streams);
        check("/api/v1/streams/a/b", Route::Stream(name("a/b")));
        check("/api/v1/streams/a/b/events", Route::Events(name("a/b")));
        check("/api/v1/streams/events", Route::Stream(name("events")));
        check("/api/v1/time", Route::Time);
        check("/api/openapi.json", Route::OpenApi);
        check("/metrics", Route::Metrics);
        check("/healthz", Route::Healthz);
        check("/readyz", Route::Readyz);
    }

    #[test]
    fn illegal_names_are_told_the_rule_and_other_paths_nothing() {
        let check = |address: &str, illegal: bool| {
            let (path, query) = split(address);
            match Route::of(path, query) {
                Err(NoRoute::IllegalName(rule)) => {
                    assert!(illegal && !rule.is_empty(), "{address}")
                }
                Err(NoRoute::IllegalNameOfPage(page, rule)) => {
                    assert!(illegal && !rule.is_empty(), "{address}");
                    assert_eq!(page == Route::WatchPage, address.starts_with("/watch/"), "{address}");
                }
                Err(NoRoute::NotFound) => assert!(!illegal, "{address}"),
                Ok(route) => panic!("{address} is {route:?}"),
            }
        };
        for name in
            ["a%20b", "a.b", "..", "../etc", "%2e%2e", "a//b", "ä", "%zz", "%", "%ff", "a%00", &"x".repeat(129), "a+b"]
        {
            check(&format!("/whip/{name}"), true);
            check(&format!("/whep/{name}"), true);
            check(&format!("/watch/{name}"), true);
            check(&format!("/publish/{name}"), true);
            check(&format!("/api/v1/streams/{name}"), true);
            check(&format!("/whip?stream={name}"), true);
            check(&format!("/whip/{name}/{ID}"), true);
        }
        check("/whip?stream=", true);
        for path in [
            "",
            "*",
            "/x",
            "/api",
            "/api/v2/streams",
            "/publish",
            "/watch",
            "/.env",
            "/demo/whip/x",
            "/rtc/v1/publish/",
        ] {
            check(path, false);
        }
    }

    fn split(address: &str) -> (&str, Option<&str>) {
        match address.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (address, None),
        }
    }
}
