//! Publishing over HTTP.

use std::time::Duration;

use crate::auth::VideoGrant;
use crate::engine::Refusal;
use crate::http::limits;
use crate::http::tests::{House, ID, SDP, token};

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
                "<{base}/sse>; rel=\"urn:nowcast:whip:ext:server-sent-events\"; \
                 events=\"wantedlayers viewercount failed\""
            ),
            &format!("<{base}/layers>; rel=\"urn:nowcast:whip:ext:wanted-layers\""),
        ]
    );
    assert_eq!(reply.body, "answer");
    assert_eq!(house.said(), ["publish demo/cam v=0 192.0.2.1:5000 None"]);
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
