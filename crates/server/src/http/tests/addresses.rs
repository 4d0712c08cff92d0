//! Every style of address.

use media::{SessionId, StreamName};

use crate::http::NoRoute;
use crate::http::resources;
use crate::http::tests::{House, ID, SDP};

#[tokio::test]
async fn every_style_of_address_publishes_and_watches() {
    for address in ["/whip/a/b", "/whip?stream=a/b", "/a/b/whip", "/rtc/v1/whip/?app=a&stream=b"] {
        let house = House::open();
        let reply = house.ask("POST", address, SDP, "v=0").await;
        reply.is(201);
        assert_eq!(reply.header("location"), format!("/whip/a/b/{ID}"), "{address}");
    }
    for address in ["/whep/a/b", "/whep?stream=a/b", "/a/b/whep", "/rtc/v1/whep/?app=a&stream=b"] {
        let house = House::open();
        let reply = house.ask("POST", address, SDP, "v=0").await;
        reply.is(201);
        assert_eq!(reply.header("location"), format!("/whep/a/b/{ID}"), "{address}");
    }
}

#[tokio::test]
async fn slashes_too_many_at_either_end_are_left_out() {
    for address in ["//whip/demo", "/whip/demo/", "/whip/demo//", "///whip/demo"] {
        let reply = House::open().ask("POST", address, SDP, "v=0").await;
        reply.is(201);
        reply.has("location", &format!("/whip/demo/{ID}"));
    }
    House::open().ask("POST", "/whip/a//b", SDP, "v=0").await.is_problem(400, "a stream name has");
}

/// Some clients split a `Link` header at every comma and semicolon, also inside of quotes.
#[tokio::test]
async fn no_parameter_of_our_links_has_a_comma_or_a_semicolon() {
    for address in ["/whip/demo", "/whep/demo"] {
        let reply = House::open().ask("POST", address, SDP, "v=0").await;
        for link in reply.headers.get_all("link") {
            let link = link.to_str().unwrap();
            let mut quoted = link.split('"').skip(1).step_by(2);
            assert!(!quoted.any(|value| value.contains([',', ';'])), "{link}");
        }
    }
}

const WHIP: &str = "/whip/{stream}";
const WHEP: &str = "/whep/{stream}";

#[test]
fn every_style_finds_its_resource() {
    let index = resources::table().index;
    let check = |address: &str, template: &str, name: Option<&str>| {
        let (path, query) = split(address);
        let place = index.find(path, query).expect(address);
        let named = place.stream.as_ref().map(StreamName::as_str).or(place.file.as_deref());
        assert_eq!((place.row.template.as_str(), named), (template, name), "{address}");
        let session = template.contains("{session}").then(|| SessionId::parse(ID).unwrap());
        let number = template.contains("{subscription}").then_some(7);
        assert_eq!((place.session, place.number), (session, number), "{address}");
        let canonical = place.path();
        let again = index.find(&canonical, None).expect(&canonical);
        assert_eq!((again.row.template.as_str(), again.stream), (template, place.stream), "{canonical}");
    };
    check("/", "/", None);
    check("/publish/demo", "/publish/{stream}", Some("demo"));
    check("/publish/a/b", "/publish/{stream}", Some("a/b"));
    check("/watch/demo/", "/watch/{stream}", Some("demo"));
    check("/assets/main-1a2b.js", "/assets/{file}", Some("assets/main-1a2b.js"));
    check("/favicon.ico", "/assets/{file}", Some("favicon.ico"));
    check("/whip/demo", WHIP, Some("demo"));
    check("/whip/demo/", WHIP, Some("demo"));
    check("/whip/a/b", WHIP, Some("a/b"));
    check("/whip/a%2Fb", WHIP, Some("a/b"));
    check("/whip", WHIP, None);
    check("/whip/", WHIP, None);
    check("//whip", WHIP, None);
    check("//whip/demo", WHIP, Some("demo"));
    check("/whip/demo//", WHIP, Some("demo"));
    check("//", "/", None);
    check("/whip?stream=a/b", WHIP, Some("a/b"));
    check("/whip?x=1&stream=a%2fb", WHIP, Some("a/b"));
    check("/whip/?stream=demo", WHIP, Some("demo"));
    check("/demo/whip", WHIP, Some("demo"));
    check("/a/b/whip", WHIP, Some("a/b"));
    check("/rtc/v1/whip/?app=live&stream=demo", WHIP, Some("live/demo"));
    check("/rtc/v1/whip/?stream=demo", WHIP, Some("demo"));
    check("/whep/demo", WHEP, Some("demo"));
    check("/demo/whep", WHEP, Some("demo"));
    check("/rtc/v1/whep/?app=live&stream=demo", WHEP, Some("live/demo"));
    check("/rtc/v1/whip-play/?app=live&stream=demo", WHEP, Some("live/demo"));
    check(&format!("/whip/demo/{ID}"), "/whip/{stream}/{session}", Some("demo"));
    check(&format!("/whip/a/b/{ID}"), "/whip/{stream}/{session}", Some("a/b"));
    check(&format!("/whep/a/b/{ID}"), "/whep/{stream}/{session}", Some("a/b"));
    check(&format!("/whep/a/b/{ID}/layers"), "/whep/{stream}/{session}/layers", Some("a/b"));
    check(&format!("/whep/a/b/{ID}/sse"), "/whep/{stream}/{session}/sse", Some("a/b"));
    check(&format!("/whep/a/b/{ID}/sse/7"), "/whep/{stream}/{session}/sse/{subscription}", Some("a/b"));
    check(&format!("/whip/a/b/{ID}/layers"), "/whip/{stream}/{session}/layers", Some("a/b"));
    check(&format!("/whip/a/b/{ID}/sse"), "/whip/{stream}/{session}/sse", Some("a/b"));
    check(&format!("/whip/a/b/{ID}/sse/7"), "/whip/{stream}/{session}/sse/{subscription}", Some("a/b"));
    check("/whip/a/layers", WHIP, Some("a/layers"));
    check("/whep/a/sse/7", WHEP, Some("a/sse/7"));
    check("/whep/a/layers", WHEP, Some("a/layers"));
    let upper = ID.to_uppercase();
    check(&format!("/whip/live/{upper}"), WHIP, Some(&format!("live/{upper}")));
    check(&format!("/whip/{ID}"), WHIP, Some(ID));
    check(&format!("/whip/demo/{}", &ID[1..]), WHIP, Some(&format!("demo/{}", &ID[1..])));
    check("/api/v1/streams", "/api/v1/streams", None);
    check("/api/v1/streams/a/b", "/api/v1/streams/{stream}", Some("a/b"));
    check("/api/v1/streams/a/b/events", "/api/v1/streams/{stream}/events", Some("a/b"));
    check("/api/v1/streams/events", "/api/v1/streams/{stream}", Some("events"));
    check("/api/v1/time", "/api/v1/time", None);
    check("/api/openapi.json", "/api/openapi.json", None);
    check("/metrics", "/metrics", None);
    check("/healthz", "/healthz", None);
    check("/readyz", "/readyz", None);
}

#[test]
fn illegal_names_are_told_the_rule_and_other_paths_nothing() {
    let check = |address: &str, illegal: bool| {
        let (path, query) = split(address);
        match resources::name(path, query) {
            Err(NoRoute::IllegalName { rule, template }) => {
                assert!(illegal && !rule.is_empty(), "{address}");
                let first = |path: &str| path.split(['/', '?']).nth(1).map(str::to_owned);
                assert_eq!(first(&template), first(address), "{address}");
            }
            Err(NoRoute::NotFound) => assert!(!illegal, "{address}"),
            Ok(named) => panic!("{address} is {named:?}"),
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
    for path in
        ["", "*", "/x", "/api", "/api/v2/streams", "/publish", "/watch", "/.env", "/demo/whip/x", "/rtc/v1/publish/"]
    {
        check(path, false);
    }
}

fn split(address: &str) -> (&str, Option<&str>) {
    match address.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (address, None),
    }
}
