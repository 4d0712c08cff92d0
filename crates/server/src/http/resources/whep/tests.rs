//! Watching over HTTP.

use crate::engine::Role;
use crate::http::tests::{House, ID, SDP};

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
async fn viewers_can_ask_what_they_are_sent() {
    let house = House::open();
    house.engine.has_session(Role::Viewer);
    let reply = house.ask("GET", &format!("/whep/demo/{ID}"), &[], "").await;
    reply.is(200);
    let report: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&report["stream"], &report["state"]), (&"demo".into(), &"live".into()));
}
