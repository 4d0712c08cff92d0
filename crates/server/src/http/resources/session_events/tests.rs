//! Events of sessions over HTTP.

use std::time::Duration;

use http_body_util::BodyExt;

use super::wanted;
use crate::engine::{Role, WantedLayer};
use crate::http::events::news::Kind;
use crate::http::tests::{House, ID};

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

    // A new reader takes over, and is told everything.
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

#[tokio::test(start_paused = true)]
async fn a_publisher_is_told_the_demand_for_its_encodings() {
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
    // A new reader takes over, and is told everything that it asked for.
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
        house.engine.fails(role, "no common curve");
        let told = "event: failed\ndata: {\"reason\":\"signature\",\"detail\":\"no common curve\"}\n\n";
        assert_eq!(reader.chunk().await, told, "{protocol}");
        assert!(reader.body.frame().await.is_none(), "nothing follows");
    }
}

#[tokio::test]
async fn a_list_of_events_may_be_what_a_link_names_as_a_whole() {
    for body in [r#"["active inactive layers"]"#, r#"["active,inactive,layers"]"#, r#"["layers", "active inactive"]"#] {
        let house = House::open();
        house.engine.has_session(Role::Viewer);
        let location = house.ask("POST", &format!("/whep/demo/{ID}/sse"), &[], body).await.header("location");
        let first = house.listen(&location).await.chunk().await;
        assert!(first.contains("event: active\n") && first.contains("event: layers\n"), "{first}");
        assert!(!first.contains("viewercount"), "{first}");
    }
}

#[test]
fn a_list_names_events() {
    let check = |text: &str, expected: Option<&[Kind]>| {
        assert_eq!(wanted(text, Kind::ALL, Kind::name).ok().as_deref(), expected, "{text}")
    };
    check("", Some(&Kind::ALL));
    check(" \n", Some(&Kind::ALL));
    check("[\"layers\"]", Some(&[Kind::Layers]));
    check("[\"viewercount\",\"reconnect\",\"active\"]", Some(&[Kind::Active, Kind::ViewerCount]));
    for text in ["[]", "[\"reconnect\"]", "{}", "[1]", "\"layers\"", "["] {
        check(text, None);
    }
}
