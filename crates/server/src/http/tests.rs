//! Every answer of HTTP, from a double in the engine's place.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use media::SessionId;

/// Below a path of a reverse proxy.
mod below;
/// What clients mean.
mod meant;

use super::*;
use crate::auth::{Claims, Secret, VideoGrant, sign};
use crate::config::{self, Flags};
use crate::engine::{
    FailedSession, IceFragment, LayerWish, Opened, Owner, Publish, PublishFailure, PublisherStatus, Readiness, Refusal,
    Role, SentReport, StreamState, StreamStatus, Trickled, ViewerReport, WantedLayer, Watch,
};

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER_ID: &str = "ffffffffffffffffffffffffffffffff";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SDP: &[(&str, &str)] = &[("content-type", "application/sdp")];
const FRAGMENT: &[(&str, &str)] = &[("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "\"tag\"")];

#[tokio::test]
async fn a_viewer_wishes_a_layer() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let path = format!("/whep/demo/{ID}/layers");
    let wish = async |body: &str| house.ask("POST", &path, &[("content-type", "application/json")], body).await;
    wish(r#"{"encodingId":"h","maxHeight":360,"paused":true}"#).await.is(200);
    wish("{}").await.is(200);
    for body in ["", "[]", "7", "{", r#"{"maxHeight":-1}"#, r#"{"encodingId":7}"#] {
        wish(body).await.is_problem(400, "the wish cannot be read");
    }
    let refused = wish(r#"{"encodingId":"unknown"}"#).await;
    refused.is_problem(400, "no layer called unknown");
    assert!(refused.body.contains("wish one of q, f"), "{}", refused.body);
    house.ask("GET", &path, &[], "").await.is(200);
    house.ask("DELETE", &path, &[], "").await.is(405);
    assert_eq!(house.said(), [format!("wish {ID} Some(\"h\") Some(360) true"), format!("wish {ID} None None false")]);
}

#[tokio::test]
async fn watching_opens_a_session_that_can_do_more() {
    let reply = House::open().ask("POST", "/whep/demo", SDP, "v=0").await;
    reply.is(201);
    let links: Vec<_> = reply.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let base = format!("/whep/demo/{ID}");
    assert_eq!(links.len(), 4, "two ICE servers, events, layers");
    let events = "events=\"active inactive layers viewercount failed\"";
    let relation = "rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"";
    assert_eq!(links[2], format!("<{base}/sse>; {relation}; {events}"));
    assert_eq!(links[3], format!("<{base}/layers>; rel=\"urn:ietf:params:whep:ext:core:layer\""));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_hears_of_its_session() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let sse = format!("/whep/demo/{ID}/sse");
    let reply = house.ask("POST", &sse, &[], "[\"active\",\"inactive\",\"layers\"]").await;
    reply.is(201);
    assert_eq!(reply.header("location"), format!("{sse}/1"));
    let mut reader = house.listen(&reply.header("location")).await;
    let first = reader.chunk().await;
    assert!(first.starts_with("event: active\ndata: {}\n\nevent: layers\ndata: {\"0\":{"), "{first}");
    assert!(!first.contains("viewercount"), "{first}");

    let began_at = tokio::time::Instant::now();
    assert_eq!(reader.chunk().await, ":\n\n", "nothing happens");
    assert!((5..7).contains(&began_at.elapsed().as_secs()));
    house.engine.ends("demo");
    assert_eq!(reader.chunk().await, "event: inactive\ndata: {}\n\n");
    house.engine.begins("demo");
    assert_eq!(reader.chunk().await, "event: active\ndata: {}\n\n");

    // Whoever reads it anew takes over, and is told everything.
    let mut other = house.listen(&format!("{sse}/1")).await;
    assert!(reader.body.frame().await.is_none());
    assert_eq!(other.chunk().await, first);
    house.ask("DELETE", &format!("{sse}/1"), &[], "").await.is(200);
    assert!(other.body.frame().await.is_none());
    for method in ["GET", "DELETE"] {
        house.ask(method, &format!("{sse}/1"), &[], "").await.is_problem(404, "no such subscription");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_heard_of() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let path = format!("/whep/demo/{ID}");
    let location = house.ask("POST", &format!("{path}/sse"), &[], "[\"layers\"]").await.header("location");
    let mut reader = house.listen(&location).await;
    assert!(reader.chunk().await.contains("\"encodingId\":null,\"maxHeight\":null"));
    house.ask("POST", &format!("{path}/layers"), &[], "{\"rid\":\"h\",\"maxHeight\":360}").await.is(200);
    let event = reader.chunk().await;
    assert!(
        event.starts_with("event: layers\n") && event.contains("\"encodingId\":\"h\",\"maxHeight\":360"),
        "{event}"
    );
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_few_and_end() {
    let house =
        House::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0"), ("NOWCAST_LIMITS_EVENT_STREAMS", "3")], true);
    house.engine.has_session(Role::Viewer);
    let sse = format!("/whep/demo/{ID}/sse");
    let subscribe = async || house.ask("POST", &sse, &[], "").await;
    for body in ["[]", "{}", "[\"reconnect\"]"] {
        house.ask("POST", &sse, &[], body).await.is_problem(400, "list");
    }
    let mut readers = Vec::new();
    for id in 1..=3 {
        let location = subscribe().await.header("location");
        assert_eq!(location, format!("{sse}/{id}"));
        readers.push(house.listen(&location).await);
        readers[id - 1].chunk().await;
    }
    assert!(readers[0].body.frame().await.is_none(), "a session has two");
    subscribe().await.is(201);
    assert!(readers[1].body.frame().await.is_none());
    // All places of the server are taken while one more asks.
    let mut stream = house.listen("/api/v1/streams/demo/events").await;
    stream.event().await;
    subscribe().await.is_problem(503, "too many event streams");
    drop(stream);

    // The last one was never read, the third is; then the session ends.
    tokio::time::sleep(Duration::from_secs(31)).await;
    house.ask("GET", &format!("{sse}/4"), &[], "").await.is_problem(404, "no such subscription");
    house.ask("DELETE", &format!("/whep/demo/{ID}"), &[], "").await.is(200);
    while readers[2].body.frame().await.is_some() {}
    house.ask("GET", &format!("{sse}/3"), &[], "").await.is_problem(404, "no such session");
    subscribe().await.is_problem(404, "no such session");

    house.engine.has_session(Role::Viewer);
    let mut reader = house.listen(&subscribe().await.header("location")).await;
    reader.chunk().await;
    house.stop.send_replace(true);
    assert!(reader.body.frame().await.is_none(), "ends when the server stops");
    subscribe().await.is_problem(503, "shutting down");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_the_newest() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let location =
        house.ask("POST", &format!("/whep/demo/{ID}/sse"), &[], "[\"viewercount\"]").await.header("location");
    let mut reader = house.listen(&location).await;
    for viewers in 1..=100 {
        house.engine.has_viewers(viewers);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut told = vec![reader.chunk().await];
    while !told.last().unwrap().contains("100") {
        told.push(reader.chunk().await);
    }
    assert!(told.len() <= 3, "{told:?}");
}

#[tokio::test]
async fn publishing_opens_a_session() {
    let house = House::open();
    let reply = house.ask("POST", "/whip/demo/cam", SDP, "v=0").await;
    reply.is(201);
    assert_eq!(reply.header("location"), format!("/whip/demo/cam/{ID}"));
    assert_eq!(reply.header("etag"), "\"tag\"");
    assert_eq!(reply.header("content-type"), "application/sdp");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("access-control-expose-headers"), "Location, ETag, Link, Retry-After");
    let links: Vec<_> = reply.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let base = format!("/whip/demo/cam/{ID}");
    assert_eq!(
        links,
        [
            "<stun:stun.example>; rel=\"ice-server\"",
            "<turn:turn.example>; rel=\"ice-server\"; username=\"u\"; credential=\"p\"; credential-type=\"password\"",
            &format!(
                "<{base}/sse>; rel=\"urn:nowcast:whip:ext:server-sent-events\"; events=\"wantedlayers viewercount failed\""
            ),
            &format!("<{base}/layers>; rel=\"urn:nowcast:whip:ext:wanted-layers\""),
        ]
    );
    assert_eq!(reply.body, "answer");
    assert_eq!(house.said(), ["publish demo/cam v=0 192.0.2.1:5000 None"]);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_hears_what_is_wanted_of_it() {
    let house = House::open();
    house.engine.has_session(Role::Publisher);
    let path = format!("/whip/demo/{ID}");
    house.ask("GET", &format!("{path}/layers"), &[], "").await.is(200);
    house.ask("POST", &format!("{path}/sse"), &[], "[\"active\"]").await.is_problem(400, "names no event");
    let location = house.ask("POST", &format!("{path}/sse"), &[], "[\"wantedlayers\"]").await.header("location");
    assert_eq!(location, format!("{path}/sse/1"));
    let mut reader = house.listen(&location).await;
    assert_eq!(reader.chunk().await, "event: wantedlayers\ndata: {\"wanted_layers\":[]}\n\n");
    let began_at = tokio::time::Instant::now();
    assert_eq!(reader.chunk().await, ":\n\n", "nothing happens");
    assert!((5..7).contains(&began_at.elapsed().as_secs()));

    let wanted = WantedLayer {
        rid: Some("f".into()),
        active: true,
        max_bitrate_bps: Some(7),
        max_framerate: None,
        max_spatial_layer: Some(1),
        max_temporal_layer: None,
    };
    house.engine.wants(wanted);
    let expected = "{\"wanted_layers\":[{\"rid\":\"f\",\"active\":true,\"max_bitrate_bps\":7,\"max_framerate\":null,\
                    \"max_spatial_layer\":1,\"max_temporal_layer\":null}]}";
    let event = format!("event: wantedlayers\ndata: {expected}\n\n");
    assert_eq!(reader.chunk().await, event);
    assert_eq!(house.ask("GET", &format!("{path}/layers"), &[], "").await.body, expected);
    house.engine.has_viewers(3);
    // Whoever reads it anew takes over, and is told everything that it asked for.
    let mut other = house.listen(&location).await;
    assert!(reader.body.frame().await.is_none());
    assert_eq!(other.chunk().await, event);
    house.ask("DELETE", &path, &[], "").await.is(200);
    while other.body.frame().await.is_some() {}
    house.ask("GET", &location, &[], "").await.is_problem(404, "no such session");

    // A viewer's session hears nothing of it, nor the other way round.
    house.engine.has_session(Role::Viewer);
    house.ask("POST", &format!("{path}/sse"), &[], "").await.is_problem(404, "no such session");
    house.ask("GET", &format!("{path}/layers"), &[], "").await.is_problem(404, "no such session");
    house.engine.has_session(Role::Publisher);
    house.ask("POST", &format!("/whep/demo/{ID}/sse"), &[], "").await.is_problem(404, "no such session");
}

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
async fn a_token_can_name_the_stream() {
    let house = House::locked();
    let token = token(VideoGrant { room: Some("demo".into()), room_join: true, ..VideoGrant::default() });
    let reply = house.ask_as(&token, "POST", "/whip", SDP, "v=0").await;
    reply.is(201);
    assert_eq!(reply.header("location"), format!("/whip/demo/{ID}"));
    assert_eq!(house.said(), ["publish demo v=0 192.0.2.1:5000 Some(\"alice\")"]);
    House::open().ask("POST", "/whip", SDP, "v=0").await.is_problem(400, "no stream is named");
}

#[tokio::test]
async fn what_cannot_be_an_offer_is_refused() {
    let house = House::open();
    let json = &[("content-type", "application/json")];
    house
        .ask("POST", "/whip/demo", json, "v=0")
        .await
        .is_problem(415, "another type")
        .has("accept-post", "application/sdp");
    house.ask("POST", "/whip/demo", &[], "v=0").await.is_problem(415, "another type");
    house.ask("POST", "/whep/demo", &[("content-type", "text/plain")], "v=0").await.is_problem(415, "another type");
    house.ask("POST", "/whep/demo", json, "{\"sdp\":1}").await.is_problem(415, "another type");
    house.ask("POST", "/whip/demo", SDP, " \r\n").await.is_problem(400, "empty");
    house.ask("POST", "/whip/a.b", SDP, "v=0").await.is_problem(400, "a stream name has");
    let long = "x".repeat(limits::SDP_BYTES + 1);
    house.ask("POST", "/whip/demo", SDP, &long).await.is_problem(413, "65536");
    house.ask("POST", "/whep/demo", SDP, &long).await.is_problem(413, "65536");
    house.ask_bytes("POST", "/whip/demo", SDP, b"v=\xff").await.is_problem(400, "UTF-8");
    assert_eq!(house.said(), Vec::<String>::new(), "nothing reached the engine");
    house.ask("POST", "/whip/demo", &[("content-type", "Application/SDP; charset=utf-8")], "v=0").await.is(201);
}

#[tokio::test]
async fn a_session_whose_handshake_failed_is_told_why_it_is_gone() {
    let house = House::open();
    let why = "the peer sent the fatal alert 40 (handshake_failure)";
    house.engine.state.lock().unwrap().failed = Some((Role::Viewer, why.to_owned()));
    let reply = house.ask("GET", &format!("/whep/demo/{ID}"), SDP, "").await;
    reply.is_problem(404, why);
    assert!(reply.body.contains(r#""handshake":"signature""#), "{}", reply.body);
    house.ask("DELETE", &format!("/whep/demo/{ID}"), SDP, "").await.is_problem(404, why);
    // Only to those who could have asked before: the stream and the role are part of the address.
    house.ask("DELETE", &format!("/whep/other/{ID}"), SDP, "").await.is_problem(404, "no such session");
    house.ask("DELETE", &format!("/whip/demo/{ID}"), SDP, "").await.is_problem(404, "no such session");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_session_whose_handshake_fails_end_with_the_reason() {
    for (protocol, role) in [("whep", Role::Viewer), ("whip", Role::Publisher)] {
        let house = House::open();
        house.engine.has_session(role);
        let sse = format!("/{protocol}/demo/{ID}/sse");
        let location = house.ask("POST", &sse, &[], "[\"failed\"]").await.header("location");
        let mut reader = house.listen(&location).await;
        // The first look has found nothing to tell.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut state = house.engine.state.lock().unwrap();
        (state.session, state.failed) = (None, Some((role, "no common curve".to_owned())));
        drop(state);
        let told = "event: failed\ndata: {\"reason\":\"signature\",\"detail\":\"no common curve\"}\n\n";
        assert_eq!(reader.chunk().await, told, "{protocol}");
        assert!(reader.body.frame().await.is_none(), "nothing follows");
    }
}

#[tokio::test]
async fn a_stream_that_only_failed_to_be_published_has_a_status() {
    let house = House::open();
    house.ask("GET", "/api/v1/streams/failed", &[], "").await.is(404);
    let failure =
        PublishFailure { session: "01234567".into(), reason: "cipher", detail: "why".into(), failed_at_ms: 7 };
    house.engine.state.lock().unwrap().publish_failure = Some(failure);
    let reply = house.ask("GET", "/api/v1/streams/failed", &[], "").await;
    reply.is(200);
    let told = r#""publish_failure":{"session":"01234567","reason":"cipher","detail":"why","failed_at_ms":7}"#;
    assert!(reply.body.contains(told), "{}", reply.body);
}

#[tokio::test]
async fn errors_of_tokens_name_the_fault_and_the_fix() {
    use crate::auth::TokenError;
    for (error, detail, fix) in [
        (TokenError::NotBearer, "not of the form “Bearer <token>”", "Authorization: Bearer <token>"),
        (TokenError::NotGenuine, "not signed with a key of this server", "HS256"),
        (TokenError::BadClaims, "a claim of it is missing", "iss, exp, sub (at most 256 bytes)"),
        (TokenError::Expired, "has expired", "get a new token"),
        (TokenError::NotYet, "not valid yet", "clocks"),
        (TokenError::LivesTooLong, "longer than 24 hours", "“exp”"),
    ] {
        let anonymous = crate::auth::Anonymous { publish: false, watch: false };
        let reply = super::problem::Problem::wrong_token(error, anonymous).into_reply();
        assert_eq!(reply.status().as_u16(), 401);
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let text = |member: &str| problem[member].as_str().unwrap().to_owned();
        assert!(text("detail").contains(detail) && text("fix").contains(fix), "{problem}");
        for word in ["::", "0x", "serde", "missing field", "line 1", "Error"] {
            assert!(!text("detail").contains(word) && !text("fix").contains(word), "{problem}");
        }
    }
}

#[tokio::test]
async fn refusals_of_the_engine_become_problems() {
    let check = async |refusal: fn() -> Refusal, status: u16, detail: &str| {
        let house = House::open();
        house.engine.refuse(refusal);
        house.ask("POST", "/whip/demo", SDP, "v=0").await.is_problem(status, detail);
        let reply = house.ask("POST", "/whep/demo", SDP, "v=0").await;
        reply.is_problem(status, detail);
        reply
    };
    check(|| Refusal::BadSdp { reason: "no m-line".into() }, 400, "no m-line").await;
    for (retry_after, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (10_000, "10")] {
        let house = House::open();
        house.engine.refuse_busy(Duration::from_millis(retry_after));
        let reply = house.ask("POST", "/whip/demo", SDP, "v=0").await;
        reply.is_problem(409, "already has a publisher").has("retry-after", seconds);
    }
    check(|| Refusal::NoSuchSession, 404, "no such session").await;
    let full = check(|| Refusal::Full { limit: "limits.sessions" }, 503, "limits.sessions").await;
    full.has("retry-after", "10");
    check(|| Refusal::Overloaded, 503, "too busy").await.has("retry-after", "5");
    check(|| Refusal::ShuttingDown, 503, "shutting down").await;
    let unsupported = || Refusal::UnsupportedCodec { published: "H265".into(), offered: vec!["VP8".into()] };
    let reply = check(unsupported, 406, "published as H265").await;
    let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(problem["codec"], "H265");
    assert_eq!(problem["offered"], serde_json::json!(["VP8"]));
}

#[tokio::test]
async fn the_server_offers_where_the_viewer_does_not() {
    let form: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
    for headers in [&[][..], &[("content-type", "application/json")][..], SDP, form] {
        let house = House::open();
        let reply = house.ask("POST", "/whep/demo", headers, "").await;
        reply.is(201);
        assert_eq!((reply.body.as_str(), reply.header("content-type")), ("offer", "application/sdp".into()));
        let session = reply.header("location");
        house.ask("PATCH", &session, SDP, "v=0 answer").await.is(204);
        assert_eq!(house.said(), ["watch demo None", &format!("answer {ID} v=0 answer")]);
        house.ask("PATCH", &session, SDP, "").await.is_problem(400, "empty");
    }
}

#[tokio::test]
async fn candidates_trickle_and_ice_restarts() {
    for (session, role) in [(format!("/whip/demo/{ID}"), Role::Publisher), (format!("/whep/demo/{ID}"), Role::Viewer)] {
        let house = House::open();
        house.engine.has_session(role);
        let reply = house.ask("PATCH", &session, FRAGMENT, "a=end-of-candidates\r\n").await;
        reply.is(204);
        assert!(reply.headers.get("etag").is_none() && reply.body.is_empty(), "RFC 9725 §4.3.2");
        let restart = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
        let headers = &[FRAGMENT[0], ("if-match", "*")];
        let reply = house.ask("PATCH", &session, headers, restart).await;
        reply.is(200);
        assert_eq!(reply.header("etag"), "\"tag2\"");
        assert_eq!(reply.header("content-type"), "application/trickle-ice-sdpfrag");
        assert_eq!(reply.body, "a=ice-ufrag:new\r\n");
    }
}

#[tokio::test]
async fn patches_that_break_the_rules_are_refused() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let session = &format!("/whep/demo/{ID}");
    let candidates = "a=end-of-candidates\r\n";
    house.ask("PATCH", session, &FRAGMENT[..1], candidates).await.is_problem(428, "no If-Match");
    let stale = &[FRAGMENT[0], ("if-match", "\"old\"")];
    house.ask("PATCH", session, stale, candidates).await.is_problem(412, "entity tag").has("etag", "\"tag\"");
    let list = &[FRAGMENT[0], ("if-match", "\"old\", \"tag\"")];
    house.ask("PATCH", session, list, candidates).await.is(204);
    house.ask("PATCH", session, FRAGMENT, "{}").await.is_problem(400, "line 1");
    house.ask("PATCH", session, FRAGMENT, &"a=mid:0\n".repeat(2000)).await.is_problem(413, "8192");
    let json = &[("content-type", "application/json")];
    house
        .ask("PATCH", session, json, "{}")
        .await
        .is_problem(415, "another type")
        .has("accept-patch", "application/trickle-ice-sdpfrag, application/sdp");
    house.ask("PATCH", session, &[], "").await.is_problem(415, "another type");
    let gone = &format!("/whep/demo/{OTHER_ID}");
    house.ask("PATCH", gone, FRAGMENT, candidates).await.is_problem(404, "no such session");

    house.engine.has_session(Role::Publisher);
    let session = &format!("/whip/demo/{ID}");
    house
        .ask("PATCH", session, SDP, "v=0")
        .await
        .is_problem(415, "another")
        .has("accept-patch", "application/trickle-ice-sdpfrag");
}

#[tokio::test]
async fn a_session_is_found_only_under_its_own_address() {
    let house = House::open();
    house.engine.has_session(Role::Publisher);
    for address in [format!("/whep/demo/{ID}"), format!("/whip/other/{ID}"), format!("/whip/demo/{OTHER_ID}")] {
        house.ask("DELETE", &address, &[], "").await.is_problem(404, "no such session");
        house.ask("GET", &address, &[], "").await.is_problem(404, "no such session");
    }
    house.ask("GET", &format!("/whip/demo/{ID}"), &[], "").await.is(204);
    house.ask("DELETE", &format!("/whip/demo/{ID}"), &[("if-match", "\"nonsense\"")], "").await.is(200);
    assert_eq!(house.said(), [format!("close {ID}")]);
    house.ask("DELETE", &format!("/whip/demo/{ID}"), &[], "").await.is_problem(404, "no such session");
}

#[tokio::test]
async fn viewers_can_ask_what_they_are_sent() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let reply = house.ask("GET", &format!("/whep/demo/{ID}"), &[], "").await;
    reply.is(200);
    let report: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&report["stream"], &report["state"]), (&"demo".into(), &"live".into()));
}

#[tokio::test]
async fn methods_that_are_not_there_are_refused_with_those_that_are() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let rows = [
        ("PUT", "/whip/demo".to_owned(), "POST, GET, HEAD, OPTIONS"),
        ("DELETE", "/whip/demo".to_owned(), "POST, GET, HEAD, OPTIONS"),
        ("PATCH", "/whep/demo".to_owned(), "POST, GET, HEAD, OPTIONS"),
        ("POST", format!("/whep/demo/{ID}"), "PATCH, DELETE, GET, HEAD, OPTIONS"),
        ("PUT", format!("/whep/demo/{ID}"), "PATCH, DELETE, GET, HEAD, OPTIONS"),
        ("POST", "/api/v1/streams".to_owned(), "GET, HEAD, OPTIONS"),
        ("POST", "/api/v1/streams/demo".to_owned(), "GET, HEAD, DELETE, OPTIONS"),
        ("DELETE", "/api/v1/streams/demo/events".to_owned(), "GET, HEAD, OPTIONS"),
        ("GET", format!("/whep/demo/{ID}/sse"), "POST, OPTIONS"),
        ("POST", format!("/whep/demo/{ID}/sse/1"), "GET, HEAD, DELETE, OPTIONS"),
        ("POST", format!("/whip/demo/{ID}/layers"), "GET, HEAD, OPTIONS"),
        ("GET", format!("/whip/demo/{ID}/sse"), "POST, OPTIONS"),
        ("POST", format!("/whip/demo/{ID}/sse/1"), "GET, HEAD, DELETE, OPTIONS"),
        ("POST", "/".to_owned(), "GET, HEAD, OPTIONS"),
        ("POST", "/watch/demo".to_owned(), "GET, HEAD, OPTIONS"),
        ("POST", "/metrics".to_owned(), "GET, HEAD, OPTIONS"),
    ];
    for (method, address, allow) in rows {
        house.ask(method, &address, &[], "").await.is_problem(405, "method").has("allow", allow);
    }
    // RFC 9725 §4.1: success without content.
    for address in ["/whip/demo", "/whep/demo"] {
        house.ask("GET", address, &[], "").await.is(204);
        house.ask("HEAD", address, &[], "").await.is(204);
    }
    house.ask("GET", "/nothing", &[], "").await.is_problem(404, "nothing at this address");
}

#[tokio::test]
async fn options_needs_no_token_and_tells_what_is_taken() {
    let house = House::locked();
    let preflight = &[("origin", "https://a.example"), ("access-control-request-method", "POST")];
    for address in ["/whip/demo", "/whep/demo"] {
        let reply = house.ask("OPTIONS", address, preflight, "").await;
        reply.is(200);
        reply.has("accept-post", "application/sdp").has("access-control-allow-origin", "*");
        reply.has("access-control-allow-headers", "Authorization, Content-Type, If-Match");
        reply.has("access-control-allow-methods", "POST, GET, HEAD, OPTIONS");
        assert!(reply.headers.get("access-control-allow-credentials").is_none());
    }
    let reply = house.ask("OPTIONS", &format!("/whip/demo/{ID}"), preflight, "").await;
    reply.is(200);
    reply
        .has("accept-patch", "application/trickle-ice-sdpfrag")
        .has("access-control-allow-methods", "PATCH, DELETE, POST, GET, HEAD, OPTIONS");
}

#[tokio::test]
async fn ending_streams_is_for_named_origins_only() {
    let delete = |origin: &'static str| [("origin", origin), ("access-control-request-method", "DELETE")];
    let get = |origin: &'static str| [("origin", origin), ("access-control-request-method", "GET")];
    let stream = "/api/v1/streams/demo";
    let any = House::open();
    assert_eq!(
        any.ask("OPTIONS", stream, &delete("https://a.example"), "").await.header("access-control-allow-origin"),
        ""
    );
    assert_eq!(
        any.ask("OPTIONS", stream, &get("https://a.example"), "").await.header("access-control-allow-origin"),
        "*"
    );
    assert_eq!(
        any.ask("GET", "/metrics", &get("https://a.example"), "").await.header("access-control-allow-origin"),
        ""
    );
    assert_eq!(any.ask("GET", "/", &get("https://a.example"), "").await.header("access-control-allow-origin"), "");

    let named = House::with(&[("NOWCAST_HTTP_CORS_ORIGINS", "https://a.example")], true);
    for headers in [delete("https://a.example"), get("https://a.example")] {
        let reply = named.ask("OPTIONS", stream, &headers, "").await;
        reply.has("access-control-allow-origin", "https://a.example").has("vary", "Origin");
    }
    for headers in [delete("https://b.example"), get("https://b.example"), get("null")] {
        let reply = named.ask("OPTIONS", stream, &headers, "").await;
        assert_eq!(reply.header("access-control-allow-origin"), "");
        reply.has("vary", "Origin");
    }
}

/// Who may do what over HTTP; the rules of grants themselves have their matrix in `auth/grants.rs`.
#[tokio::test]
async fn every_resource_asks_who_may() {
    let room = |room: &str| VideoGrant { room: Some(room.into()), room_join: true, ..VideoGrant::default() };
    let tokens = [
        ("none", None),
        ("publisher", Some(VideoGrant { can_subscribe: Some(false), ..room("demo") })),
        ("viewer", Some(VideoGrant { can_publish: Some(false), ..room("demo") })),
        ("stranger", Some(room("other"))),
        ("lister", Some(VideoGrant { room_list: true, ..VideoGrant::default() })),
        ("steward", Some(VideoGrant { room: Some("demo".into()), room_admin: true, ..VideoGrant::default() })),
        ("admin", Some(VideoGrant { room_admin: true, ..VideoGrant::default() })),
    ];
    let whip = &format!("/whip/demo/{ID}");
    let whep = &format!("/whep/demo/{ID}");
    // In the order of `tokens`: y may, n may not (401 without a token, 403 with one).
    const NONE: &[(&str, &str)] = &[];
    let rows = [
        ("POST", "/whip/demo", SDP, "nynnnnn"),
        ("POST", "/whep/demo", SDP, "nnynnyy"),
        ("PATCH", whip, FRAGMENT, "nynnnnn"),
        ("GET", whip, NONE, "nynnnnn"),
        ("DELETE", whip, NONE, "nynnnyy"),
        ("PATCH", whep, FRAGMENT, "nnynnyy"),
        ("GET", whep, NONE, "nnynnyy"),
        ("DELETE", whep, NONE, "nnynnyy"),
        ("POST", &format!("{whep}/layers"), NONE, "nnynnyy"),
        ("POST", &format!("{whep}/sse"), NONE, "nnynnyy"),
        ("GET", &format!("{whep}/sse/1"), NONE, "nnynnyy"),
        ("DELETE", &format!("{whep}/sse/1"), NONE, "nnynnyy"),
        ("GET", &format!("{whip}/layers"), NONE, "nynnnnn"),
        ("POST", &format!("{whip}/sse"), NONE, "nynnnnn"),
        ("GET", &format!("{whip}/sse/1"), NONE, "nynnnnn"),
        ("DELETE", &format!("{whip}/sse/1"), NONE, "nynnnnn"),
        ("GET", "/api/v1/streams", NONE, "nnnnyny"),
        ("GET", "/api/v1/streams/demo", NONE, "nyynnyy"),
        ("GET", "/api/v1/streams/demo/events", NONE, "nyynnyy"),
        ("DELETE", "/api/v1/streams/demo", NONE, "nnnnnyy"),
        ("GET", "/metrics", NONE, "nnnnnny"),
        ("GET", "/api/v1/time", NONE, "yyyyyyy"),
    ];
    for (method, address, headers, expected) in rows {
        for ((name, grant), expected) in tokens.iter().zip(expected.chars()) {
            let house = House::locked();
            house.engine.has_session(if address.starts_with("/whip") { Role::Publisher } else { Role::Viewer });
            let body = match (method, address) {
                ("PATCH", _) => "a=end-of-candidates",
                (_, address) if address.ends_with("/layers") => "{}",
                (_, address) if address.ends_with("/sse") => "",
                _ => "v=0",
            };
            if address.contains("/sse/") {
                let owner = token(room("demo"));
                let (sse, _) = address.rsplit_once('/').unwrap();
                house.ask_as(&owner, "POST", sse, NONE, "").await.is(201);
            }
            let reply = match grant {
                None => house.ask(method, address, headers, body).await,
                Some(grant) => house.ask_as(&token(grant.clone()), method, address, headers, body).await,
            };
            let row = format!("{method} {address} by {name}: {}", reply.body);
            match (expected, grant) {
                ('y', _) => assert!(reply.status < 300, "{} {row}", reply.status),
                (_, None) => {
                    assert_eq!(reply.status, 401, "{row}");
                    reply.has("www-authenticate", "Bearer realm=\"nowcast\"");
                }
                (_, Some(_)) => assert_eq!(reply.status, 403, "{row}"),
            }
        }
    }
    for address in ["/healthz", "/readyz", "/", "/publish/demo", "/watch/demo", "/api/openapi.json"] {
        House::locked().ask("GET", address, &[], "").await.is(200);
    }
}

#[tokio::test]
async fn wrong_tokens_are_told_and_then_slowed_down() {
    let house = House::locked();
    for _ in 0..limits::WRONG_TOKENS_PER_MINUTE {
        let reply = house.ask_as("nonsense", "POST", "/whip/demo", SDP, "v=0").await;
        reply.is_problem(401, "not signed with a key of this server");
        reply.has("www-authenticate", "Bearer realm=\"nowcast\", error=\"invalid_token\"");
    }
    let reply = house.ask_as("nonsense", "GET", "/api/v1/streams", &[], "").await;
    assert!(!reply.is_problem(429, "wrong tokens").header("retry-after").is_empty());
    let right = token(VideoGrant { room: Some("demo".into()), room_join: true, ..VideoGrant::default() });
    house.ask_as(&right, "POST", "/whip/demo", SDP, "v=0").await.is(201);
    house
        .ask("POST", "/whip/demo", &[SDP[0], ("authorization", "Basic eA==")], "v=0")
        .await
        .is_problem(429, "wrong tokens");
    // Even where no token is needed, a wrong one is told.
    House::open().ask_as("nonsense", "POST", "/whip/demo", SDP, "v=0").await.is_problem(401, "not signed");
}

#[tokio::test]
async fn addresses_that_ask_too_often_are_slowed_down() {
    let house = House::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "5")], true);
    for _ in 0..20 {
        house.ask("POST", "/whip/demo", SDP, "v=0").await.is(201);
    }
    house.ask("POST", "/whep/demo", SDP, "v=0").await.is_problem(429, "new sessions").has("retry-after", "1");
    house.engine.has_session(Role::Viewer);
    let session = &format!("/whep/demo/{ID}");
    for _ in 0..limits::PATCH_PER_SECOND {
        house.ask("PATCH", session, FRAGMENT, "a=end-of-candidates").await.is(204);
    }
    house.ask("PATCH", session, FRAGMENT, "a=end-of-candidates").await.is_problem(429, "PATCH");
    house.ask("DELETE", session, &[], "").await.is(200);
}

#[tokio::test]
async fn streams_are_shown_and_ended() {
    let house = House::locked();
    let admin = token(VideoGrant { room_admin: true, ..VideoGrant::default() });
    let reply = house.ask_as(&admin, "GET", "/api/v1/streams", &[], "").await;
    reply.is(200);
    let list: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(list["streams"][0]["stream"], "demo");
    let reply = house.ask_as(&admin, "GET", "/api/v1/streams/demo", &[], "").await;
    reply.is(200);
    reply.has("content-type", "application/json").has("cache-control", "no-store");
    house.ask_as(&admin, "GET", "/api/v1/streams/nobody", &[], "").await.is_problem(404, "nobody publishes");
    house.ask_as(&admin, "DELETE", "/api/v1/streams/demo", &[], "").await.is(204);
    house.ask_as(&admin, "DELETE", "/api/v1/streams/nobody", &[], "").await.is_problem(404, "nobody publishes");
    assert_eq!(house.said(), ["kick demo", "kick nobody"]);
}

#[tokio::test]
async fn a_request_that_panics_is_answered_with_500_and_the_next_one_as_ever() {
    let house = House::locked();
    let admin = token(VideoGrant { room_admin: true, ..VideoGrant::default() });
    let panicked = house.ask_as(&admin, "DELETE", "/api/v1/streams/panics", &[], "").await;
    panicked.is_problem(500, "the server panicked with this request");
    house.ask_as(&admin, "DELETE", "/api/v1/streams/demo", &[], "").await.is(204);
}

#[tokio::test]
async fn operators_learn_how_it_is() {
    let house = House::locked();
    house.ask("GET", "/healthz", &[], "").await.is(200);
    house.ask("GET", "/readyz", &[], "").await.is(200);
    let local = Remote { peer: "127.0.0.1:5000".parse().unwrap(), slot: None };
    let metrics = house.send(&local, "GET", "/metrics", &[], b"").await;
    metrics.is(200);
    assert!(
        metrics.body.contains("nowcast_http_answers_total{route=\"/healthz\",status=\"2xx\"} 1"),
        "{}",
        metrics.body
    );
    assert!(metrics.body.ends_with("engine_metrics 1\n"));
    let forwarded = house.send(&local, "GET", "/metrics", &[("x-forwarded-for", "192.0.2.9")], b"").await;
    forwarded.is_problem(401, "metrics from another machine");

    let dead = House::open();
    dead.engine.state.lock().unwrap().is_dead = true;
    dead.ask("GET", "/healthz", &[], "").await.is(503);

    let head = house.ask("HEAD", "/healthz", &[], "").await;
    head.is(200);
    assert_eq!((head.header("content-length").as_str(), head.body.as_str()), ("3", ""));

    house.stop.send_replace(true);
    house.ask("GET", "/healthz", &[], "").await.is(200);
    house.ask("GET", "/readyz", &[], "").await.is(503);
    let open = House::open();
    open.stop.send_replace(true);
    open.ask("POST", "/whip/demo", SDP, "v=0").await.is_problem(503, "shutting down").has("retry-after", "5");
    let stuck = House::open();
    stuck.engine.state.lock().unwrap().is_stuck = true;
    stuck.ask("GET", "/readyz", &[], "").await.is(503);
    let busy = House::open();
    busy.engine.state.lock().unwrap().is_overloaded = true;
    let reply = busy.ask("GET", "/readyz", &[], "").await;
    reply.is(503);
    assert!(reply.body.contains("new viewers are refused"), "{}", reply.body);
    busy.ask("GET", "/healthz", &[], "").await.is(200);
}

#[tokio::test(start_paused = true)]
async fn events_tell_at_once_on_change_and_every_two_seconds() {
    let house = House::with(&[("NOWCAST_LIMITS_EVENT_STREAMS", "1")], true);
    let mut reader = house.listen("/api/v1/streams/soon/events").await;
    let began_at = tokio::time::Instant::now();
    assert!(reader.event().await.contains("\"state\":\"waiting\""));
    assert_eq!(began_at.elapsed().as_millis(), 0);
    reader.event().await;
    assert_eq!(began_at.elapsed().as_secs(), 2);

    house.engine.begins("soon");
    assert!(reader.event().await.contains("\"state\":\"live\""));
    assert_eq!(began_at.elapsed().as_millis(), 2100);

    let asked = house.engine.state.lock().unwrap().asked;
    assert!(asked <= 4, "{asked}");
    house.ask("GET", "/api/v1/streams/soon/events", &[], "").await.is_problem(503, "too many event streams");
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut reader = house.listen("/api/v1/streams/soon/events").await;
    reader.event().await;
    house.stop.send_replace(true);
    assert!(reader.body.frame().await.is_none(), "ends when the server stops");
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_a_stream_are_one_question() {
    let house = House::open();
    let mut readers = Vec::new();
    for _ in 0..100 {
        readers.push(house.listen("/api/v1/streams/demo/events").await);
    }
    for _ in 0..3 {
        for reader in &mut readers {
            reader.event().await;
        }
    }
    assert_eq!(house.engine.state.lock().unwrap().asked, 3);
    drop(readers);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(house.engine.state.lock().unwrap().asked <= 4, "nobody asks for nobody");
}

#[tokio::test]
async fn pages_say_what_they_may_do() {
    let house = House::open();
    for (address, ancestors) in [("/", "'none'"), ("/publish/demo", "'none'"), ("/watch/a/b", "*")] {
        let reply = house.ask("GET", address, &[], "").await;
        reply.is(200);
        reply.has("x-content-type-options", "nosniff").has("referrer-policy", "no-referrer");
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && policy.ends_with(&format!("frame-ancestors {ancestors}")),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(reply.header("permissions-policy").contains("camera=(self)"));
    }
    for address in ["/assets/nothing.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html"] {
        house.ask("GET", address, &[], "").await.is(404);
    }
}

/// The description follows the code: every path of it is there, with its methods.
#[tokio::test]
async fn the_description_describes_what_there_is() {
    let house = House::open();
    let description: serde_json::Value =
        serde_json::from_str(&house.ask("GET", "/api/openapi.json", &[], "").await.body).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let mut described: Vec<_> = paths.keys().map(String::as_str).collect();
    described.sort_unstable();
    let mut templates: Vec<_> = route::TEMPLATES
        .iter()
        .copied()
        .filter(|path| !["/", "/publish/{stream}", "/watch/{stream}", "/assets/{file}", "other"].contains(path))
        .collect();
    templates.sort_unstable();
    assert_eq!(described, templates);
    for (path, methods) in paths {
        // Subscriptions are numbered as they are made.
        let subscription = if path.starts_with("/whip") { "2" } else { "1" };
        let path = path.replace("{stream}", "demo").replace("{session}", ID).replace("{subscription}", subscription);
        // Backwards: what is there is read before it is deleted.
        for method in methods.as_object().unwrap().keys().rev().filter(|method| *method != "parameters") {
            house.engine.has_session(if path.starts_with("/whip") { Role::Publisher } else { Role::Viewer });
            let reply = house.ask(&method.to_uppercase(), &path, &[], "").await;
            assert_ne!(reply.status, 405, "{method} {path}");
            assert!(reply.status != 404, "{method} {path}");
        }
    }
}

/// Threat T18: neither tokens nor secrets reach the log, at any level.
#[tokio::test]
async fn tokens_stay_out_of_the_log() {
    let house = House::locked();
    let right = token(VideoGrant { room: Some("demo".into()), room_join: true, ..VideoGrant::default() });
    for token in [right.as_str(), "canary-token", "eyJh.canary.x"] {
        for (method, address) in
            [("POST", "/whip/demo"), ("GET", "/api/v1/streams"), ("GET", "/whip/demo?token=canary")]
        {
            house.ask_as(token, method, address, SDP, "v=0").await;
        }
    }
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/whip/{stream}") && log.contains("192.0.2.1"), "{log}");
    for secret in ["canary", SECRET, &right, right.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    assert!(!log.lines().any(|line| line.contains(" INFO ") && line.contains("demo")), "{log}");
}

/// What all tests have logged, at every level. One log for all, because `tracing` remembers across threads whether
/// anyone listens.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An app with a double for an engine.
pub(super) struct House {
    pub(super) app: Arc<App<Double>>,
    pub(super) engine: Double,
    pub(super) stop: watch::Sender<bool>,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

/// A reader of events.
struct Reader {
    body: Body,
}

impl House {
    /// Everybody may do everything but administer.
    pub(super) fn open() -> Self {
        Self::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")], true)
    }

    /// Nobody may do anything without a token.
    pub(super) fn locked() -> Self {
        Self::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")], false)
    }

    pub(super) fn with(options: &[(&str, &str)], open: bool) -> Self {
        Self::start(options, open, false)
    }

    fn start(options: &[(&str, &str)], open: bool, dev: bool) -> Self {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log);
        // The second house finds it there.
        let _ = log.with_ansi(false).try_init();
        let open = open.to_string();
        let keys = format!("key: {SECRET}");
        let ice = "[{ urls = [\"stun:stun.example\", \"turn:turn.example\"], username = \"u\", credential = \"p\" }]";
        let common = [
            ("NOWCAST_KEYS", keys.as_str()),
            ("NOWCAST_AUTH_ANONYMOUS_WATCH", &open),
            ("NOWCAST_AUTH_ANONYMOUS_PUBLISH", &open),
            ("NOWCAST_MEDIA_ICE_SERVERS", ice),
        ];
        let environment = common.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (config, remarks) = config::load(None, environment, &Flags { dev, ..Flags::default() }).unwrap();
        assert!(remarks.is_empty());
        let engine = Double::default();
        let (stop, stopping) = watch::channel(false);
        Self { app: Arc::new(App::new(engine.clone(), &config, stopping)), engine, stop }
    }

    async fn ask(&self, method: &str, address: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask_bytes(method, address, headers, body.as_bytes()).await
    }

    async fn ask_as(&self, token: &str, method: &str, address: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", authorization.as_str())]).collect();
        self.ask_bytes(method, address, &headers, body.as_bytes()).await
    }

    async fn ask_bytes(&self, method: &str, address: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
        self.send(&remote, method, address, headers, body).await
    }

    async fn send(
        &self,
        remote: &Remote,
        method: &str,
        address: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (head, body) = self.app.respond(request, remote).await.into_parts();
        let body = match body {
            Body::Whole(bytes) => String::from_utf8(bytes.into()).unwrap(),
            Body::Stream(_) => String::new(),
        };
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn listen(&self, address: &str) -> Reader {
        let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
        let request = Request::get(address).body(Full::new(Bytes::new())).unwrap();
        let reply = self.app.respond(request, &remote).await;
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Reader { body: reply.into_body() }
    }

    /// What reached the engine.
    fn said(&self) -> Vec<String> {
        self.engine.state.lock().unwrap().said.clone()
    }
}

impl Answer {
    #[track_caller]
    fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
    }

    #[track_caller]
    fn is_problem(&self, status: u16, detail: &str) -> &Self {
        self.is(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["fix"].as_str().unwrap().is_empty());
        self
    }

    #[track_caller]
    fn has(&self, name: &str, value: &str) -> &Self {
        assert_eq!(self.header(name), value, "{name}");
        self
    }

    fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

impl Reader {
    async fn chunk(&mut self) -> String {
        let bytes = self.body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(bytes.into()).unwrap()
    }

    async fn event(&mut self) -> String {
        let text = self.chunk().await;
        assert!(text.starts_with("event: status\ndata: {") && text.ends_with("}\n\n"), "{text}");
        text
    }
}

fn token(video: VideoGrant) -> String {
    token_of(Some("alice"), 60, video)
}

/// A token that expires so many seconds from now.
fn token_of(identity: Option<&str>, expires: i64, video: VideoGrant) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let exp = now.saturating_add_signed(expires);
    let claims = Claims { iss: "key".into(), sub: identity.map(str::to_owned), exp, nbf: None, video };
    sign(&claims, &Secret::new(SECRET.to_owned())).unwrap()
}

/// Stands in for the engine: one session, the stream `demo`, and a memory of what it was asked.
#[derive(Clone)]
pub(super) struct Double {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    said: Vec<String>,
    refusal: Option<fn() -> Refusal>,
    busy: Option<Duration>,
    /// The identity that opened the session.
    identity: Option<String>,
    session: Option<Role>,
    /// The session is over: whose it was, and why.
    failed: Option<(Role, String)>,
    publish_failure: Option<PublishFailure>,
    live: Vec<String>,
    viewers: u32,
    wanted: Vec<WantedLayer>,
    wish: LayerWish,
    is_stuck: bool,
    is_dead: bool,
    is_overloaded: bool,
    /// How often somebody asked for a stream's status.
    asked: usize,
}

impl Default for Double {
    fn default() -> Self {
        let state = State { live: vec!["demo".into()], ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::channel(0).0 }
    }
}

impl Double {
    fn refuse(&self, refusal: fn() -> Refusal) {
        self.state.lock().unwrap().refusal = Some(refusal);
    }

    fn refuse_busy(&self, retry_after: Duration) {
        self.state.lock().unwrap().busy = Some(retry_after);
    }

    /// A session that a token of this identity opened.
    fn has_session_of(&self, role: Role, identity: Option<&str>) {
        let mut state = self.state.lock().unwrap();
        (state.session, state.identity) = (Some(role), identity.map(str::to_owned));
    }

    fn has_session(&self, role: Role) {
        self.state.lock().unwrap().session = Some(role);
    }

    fn begins(&self, stream: &str) {
        self.state.lock().unwrap().live.push(stream.to_owned());
        self.changes.send_modify(|count| *count += 1);
    }

    fn ends(&self, stream: &str) {
        self.state.lock().unwrap().live.retain(|live| live != stream);
        self.changes.send_modify(|count| *count += 1);
    }

    fn has_viewers(&self, viewers: u32) {
        self.state.lock().unwrap().viewers = viewers;
        self.changes.send_modify(|count| *count += 1);
    }

    fn wants(&self, layer: WantedLayer) {
        self.state.lock().unwrap().wanted = vec![layer];
        self.changes.send_modify(|count| *count += 1);
    }

    fn hears(&self, what: String) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if let Some(refusal) = state.refusal {
            return Err(refusal());
        }
        if let Some(retry_after) = state.busy {
            return Err(Refusal::StreamBusy { retry_after });
        }
        state.said.push(what);
        Ok(())
    }
}

impl Backend for Double {
    async fn publish(&self, request: Publish) -> Result<Opened, Refusal> {
        self.hears(format!("publish {} {} {} {:?}", request.stream, request.offer, request.remote, request.identity))?;
        self.has_session(Role::Publisher);
        Ok(opened("answer"))
    }

    async fn watch(&self, request: Watch) -> Result<Opened, Refusal> {
        self.hears(format!("watch {} {:?}", request.stream, request.offer))?;
        self.has_session(Role::Viewer);
        Ok(opened(if request.offer.is_some() { "answer" } else { "offer" }))
    }

    async fn accept_answer(&self, session: SessionId, answer: String) -> Result<(), Refusal> {
        self.hears(format!("answer {session} {answer}"))
    }

    async fn trickle(
        &self,
        _session: SessionId,
        fragment: IceFragment,
        if_match: Option<String>,
    ) -> Result<Trickled, Refusal> {
        if !matches!(if_match.as_deref(), Some("tag" | "*")) {
            return Err(Refusal::StaleEtag { current: "tag".into() });
        }
        Ok(match fragment.ufrag {
            Some(_) => Trickled::Restarted { fragment: "a=ice-ufrag:new\r\n".into(), etag: "tag2".into() },
            None => Trickled::Accepted,
        })
    }

    async fn owner(&self, session: SessionId) -> Option<Owner> {
        let state = self.state.lock().unwrap();
        let (role, identity) = (state.session?, state.identity.clone());
        (session.to_string() == ID).then(|| Owner { stream: StreamName::parse("demo").unwrap(), role, identity })
    }

    async fn why_failed(&self, session: SessionId) -> Option<FailedSession> {
        let (role, detail) = self.state.lock().unwrap().failed.clone()?;
        let stream = StreamName::parse("demo").unwrap();
        (session.to_string() == ID).then_some(FailedSession { session, stream, role, reason: "signature", detail })
    }

    async fn close(&self, session: SessionId) -> bool {
        let mut state = self.state.lock().unwrap();
        state.said.push(format!("close {session}"));
        state.session.take().is_some()
    }

    async fn report(&self, session: SessionId) -> Option<ViewerReport> {
        self.owner(session).await?;
        let video = SentReport {
            codec: "VP8".into(),
            packets_sent: 0,
            bytes_sent: 0,
            nacks: 0,
            retransmitted: 0,
            key_frame_requests: 0,
            rtt_ms: None,
            loss_percent: None,
            rtp_timestamp: 0,
            captured_at_ms: None,
            capture_clock: "untold",
            clock_rate: 90_000,
            layer: None,
            temporal_layer: None,
            spatial_layer: None,
            reason: "best",
            detail: None,
            switches: 0,
            wish: self.state.lock().unwrap().wish.clone(),
        };
        Some(ViewerReport {
            session: "short".into(),
            stream: "demo".into(),
            state: StreamState::Live,
            connected: true,
            video_line: Some(0),
            video: Some(video),
            audio: None,
            transport: None,
        })
    }

    async fn wish(&self, session: SessionId, wish: LayerWish) -> Result<(), Refusal> {
        if wish.encoding_id.as_deref() == Some("unknown") {
            return Err(Refusal::NoSuchLayer { wished: "unknown".into(), known: vec!["q".into(), "f".into()] });
        }
        self.state.lock().unwrap().wish = wish.clone();
        self.hears(format!("wish {session} {:?} {:?} {}", wish.encoding_id, wish.max_height, wish.paused))
    }

    async fn streams(&self) -> Vec<StreamStatus> {
        vec![self.stream(&StreamName::parse("demo").unwrap()).await]
    }

    async fn stream(&self, name: &StreamName) -> StreamStatus {
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        let is_live = state.live.iter().any(|live| live == name.as_str());
        let publisher = PublisherStatus {
            session: "short".into(),
            connected_at_ms: 1,
            rtt_ms: None,
            loss_percent: None,
            wanted_layers: state.wanted.clone(),
        };
        StreamStatus {
            stream: name.to_string(),
            state: if is_live { StreamState::Live } else { StreamState::Waiting },
            live_since_ms: is_live.then_some(1),
            viewers: state.viewers,
            publisher: is_live.then_some(publisher),
            video: None,
            audio: None,
            warnings: Vec::new(),
            publish_failure: state.publish_failure.clone(),
            bitrate_in_bps: 0,
            bitrate_out_bps: 0,
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn kick(&self, stream: &StreamName) -> bool {
        assert!(stream.as_str() != "panics", "injected");
        let mut state = self.state.lock().unwrap();
        state.said.push(format!("kick {stream}"));
        state.live.iter().any(|live| live == stream.as_str())
    }

    async fn metrics(&self) -> String {
        "engine_metrics 1\n".into()
    }

    fn is_alive(&self) -> bool {
        !self.state.lock().unwrap().is_dead
    }

    async fn readiness(&self) -> Readiness {
        let state = self.state.lock().unwrap();
        match (state.is_stuck, state.is_overloaded) {
            (true, _) => Readiness::Stuck,
            (false, true) => Readiness::Overloaded,
            (false, false) => Readiness::Ready,
        }
    }
}

fn opened(sdp: &str) -> Opened {
    Opened { session: SessionId::parse(ID).unwrap(), sdp: sdp.into(), etag: "tag".into() }
}
