//! Streams over HTTP.

use crate::auth::VideoGrant;
use crate::engine::PublishFailure;
use crate::http::tests::{House, token};

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
async fn a_request_that_panics_is_answered_with_500_and_the_next_one_as_ever() {
    let house = House::locked();
    let admin = token(VideoGrant { room_admin: true, ..VideoGrant::default() });
    let panicked = house.ask_as(&admin, "DELETE", "/api/v1/streams/panics", &[], "").await;
    panicked.is_problem(500, "the server panicked with this request");
    house.ask_as(&admin, "DELETE", "/api/v1/streams/demo", &[], "").await.is(204);
}
