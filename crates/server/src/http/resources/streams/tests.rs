//! Streams over HTTP.

use crate::auth::VideoGrant;
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
async fn a_request_that_panics_is_answered_with_500_and_the_next_one_as_ever() {
    let house = House::locked();
    let admin = token(VideoGrant { room_admin: true, ..VideoGrant::default() });
    let panicked = house.ask_as(&admin, "DELETE", "/api/v1/streams/panics", &[], "").await;
    panicked.is_problem(500, "the server panicked with this request");
    house.ask_as(&admin, "DELETE", "/api/v1/streams/demo", &[], "").await.is(204);
}
