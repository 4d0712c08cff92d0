//! Methods, preflights and CORS of all resources.

use crate::engine::Role;
use crate::http::limits;
use crate::http::tests::{House, ID, ORIGIN, OTHER_ID, SDP};

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
async fn options_needs_no_token_and_lists_methods_and_types() {
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

/// Answers that are no success are read by pages of other origins, too.
#[tokio::test]
async fn every_refusal_of_whip_whep_and_the_api_can_be_read_by_other_origins() {
    let house = House::with(&[("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "1")], true);
    let long = "x".repeat(limits::SDP_BYTES + 1);
    let (gone, hex) = (format!("/whep/demo/{OTHER_ID}"), "a".repeat(200));
    let rows: &[(u16, &str, &str, &str, &str)] = &[
        (400, "POST", "/whip/a.b", "application/sdp", "v=0"),
        (400, "POST", "/whep/a%20b", "application/sdp", "v=0"),
        (400, "POST", &format!("/whip/{hex}"), "application/sdp", "v=0"),
        (400, "GET", "/api/v1/streams/%zz", "", ""),
        (400, "POST", "/whip/demo", "application/sdp", ""),
        (404, "POST", "/whop/demo", "application/sdp", "v=0"),
        (404, "GET", "/api/v2/streams", "", ""),
        (404, "DELETE", &gone, "", ""),
        (405, "PUT", "/whip/demo", "application/sdp", "v=0"),
        (405, "PATCH", "/whep/demo", "application/sdp", "v=0"),
        (413, "POST", "/whip/demo", "application/sdp", &long),
        (415, "POST", "/whip/demo", "text/plain", "v=0"),
    ];
    for (status, method, address, kind, body) in rows {
        let headers = [ORIGIN, ("content-type", *kind)];
        let reply = house.ask(method, address, &headers, body).await;
        reply.is(*status);
        reply.has("access-control-allow-origin", "*");
        assert!(reply.header("access-control-expose-headers").contains("Retry-After"), "{method} {address}");
    }
    house.ask_as("nonsense", "POST", "/whip/demo", SDP, "v=0").await.is_problem(401, "not signed");
    for _ in 0..limits::SESSION_BURST {
        house.ask("POST", "/whip/demo", SDP, "v=0").await;
    }
    let often = house.ask("POST", "/whip/demo", &[ORIGIN, SDP[0]], "v=0").await;
    often.is_problem(429, "new sessions").has("access-control-allow-origin", "*");
    house.stop.send_replace(true);
    let stopped = house.ask("POST", "/whip/demo", &[ORIGIN, SDP[0]], "v=0").await;
    stopped.is_problem(503, "shutting down").has("access-control-allow-origin", "*");
}

#[tokio::test]
async fn a_preflight_of_what_names_nothing_lets_the_request_pass_that_is_then_told_why() {
    let house = House::locked();
    for address in ["/whip/a.b", "/whep/a%20b", "/nothing", "/api/v1/streams/a.b", "/whip/live/a.b/whip"] {
        for method in ["POST", "PATCH", "DELETE"] {
            let preflight = [ORIGIN, ("access-control-request-method", method)];
            let reply = house.ask("OPTIONS", address, &preflight, "").await;
            reply.is(200);
            reply.has("access-control-allow-origin", "*");
            assert!(reply.header("access-control-allow-methods").contains(method), "{method} {address}");
            reply.has("access-control-allow-headers", "Authorization, Content-Type, If-Match");
        }
    }
    house.ask("OPTIONS", "/whip/a.b", &[], "").await.is_problem(400, "a stream name has");
    house.ask("OPTIONS", "/nothing", &[], "").await.is_problem(404, "nothing at this address");
    house.ask("OPTIONS", "*", &[], "").await.is(200);

    let named = House::with(&[("NOWCAST_HTTP_CORS_ORIGINS", "https://a.example")], true);
    let reply = named.ask("GET", "/nothing", &[ORIGIN], "").await;
    reply.has("access-control-allow-origin", "https://a.example").has("vary", "Origin");
    let reply = named.ask("GET", "/nothing", &[("origin", "https://b.example")], "").await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
}
