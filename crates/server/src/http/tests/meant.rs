//! Requests that are not quite as they should be: each gets what its sender meant, or words that say what to change.

use super::*;

const ORIGIN: (&str, &str) = ("origin", "https://a.example");

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

#[tokio::test]
async fn a_scheme_that_is_written_twice_is_read_once() {
    let house = House::locked();
    let right = token(VideoGrant { room: Some("demo".into()), room_join: true, ..VideoGrant::default() });
    for value in [format!("Bearer Bearer {right}"), format!("bearer BEARER  {right} "), format!("Bearer\t{right}")] {
        house.ask("POST", "/whip/demo", &[SDP[0], ("authorization", &value)], "v=0").await.is(201);
    }
}

#[tokio::test]
async fn with_dev_a_stream_key_in_the_tokens_place_is_ignored() {
    let dev = House::start(&[], true, true);
    for value in ["Bearer my-stream-key", "Bearer live_123_abc.def.ghi", "Basic dTpw", "my-stream-key"] {
        for address in ["/whip/demo", "/whep/demo"] {
            dev.ask("POST", address, &[SDP[0], ("authorization", value)], "v=0").await.is(201);
        }
        let session = format!("/whep/demo/{ID}");
        dev.ask("DELETE", &session, &[("authorization", value)], "").await.is(200);
        // What needs a token is as closed as without one.
        let kick = dev.ask("DELETE", "/api/v1/streams/demo", &[("authorization", value)], "").await;
        kick.is_problem(401, "ending this stream");
    }
    let admin = token(VideoGrant { room_admin: true, ..VideoGrant::default() });
    dev.ask_as(&admin, "DELETE", "/api/v1/streams/demo", &[], "").await.is(204);

    // Elsewhere a wrong token is told, and that none is needed.
    let open = House::open().ask_as("my-stream-key", "POST", "/whip/demo", SDP, "v=0").await;
    open.is_problem(401, "not signed");
    assert!(open.body.contains("send none") && open.body.contains("stream key"), "{}", open.body);
}

#[tokio::test]
async fn tags_that_a_compressing_proxy_changed_match() {
    for (address, role) in [(format!("/whip/demo/{ID}"), Role::Publisher), (format!("/whep/demo/{ID}"), Role::Viewer)] {
        let house = House::open();
        house.engine.has_session(role);
        for tag in ["W/\"tag\"", "\"tag-gzip\"", "W/\"tag--gzip\"", "W/\"old\", W/\"tag\""] {
            let headers = [FRAGMENT[0], ("if-match", tag)];
            house.ask("PATCH", &address, &headers, "a=end-of-candidates").await.is(204);
        }
        let stale = [FRAGMENT[0], ("if-match", "W/\"old\"")];
        house.ask("PATCH", &address, &stale, "a=end-of-candidates").await.is_problem(412, "entity tag");
        house.ask("DELETE", &address, &[("if-match", "W/\"tag\"")], "").await.is(200);
    }
}

/// A session outlives its token. Who may do what with which expired token: `y` may, `n` may not (401).
#[tokio::test]
async fn the_token_that_opened_a_session_stays_good_for_it_when_it_has_expired() {
    let room = |room: &str| VideoGrant { room: Some(room.into()), room_join: true, ..VideoGrant::default() };
    let watches = || VideoGrant { can_publish: Some(false), ..room("demo") };
    let publishes = || VideoGrant { can_subscribe: Some(false), ..room("demo") };
    let hour = 3_600;
    let forged = {
        let good = token_of(Some("alice"), -hour, room("demo"));
        format!("{}x", good.rsplit_once('.').unwrap().0)
    };
    let tokens = [
        ("the opener's", token_of(Some("alice"), -hour, room("demo")), "yy"),
        ("the opener's, of a year ago", token_of(Some("alice"), -365 * 24 * hour, room("demo")), "yy"),
        ("the opener's, to publish", token_of(Some("alice"), -hour, publishes()), "yn"),
        ("the opener's, to watch", token_of(Some("alice"), -hour, watches()), "ny"),
        ("another's", token_of(Some("mallory"), -hour, room("demo")), "nn"),
        ("nobody's", token_of(None, -hour, room("demo")), "nn"),
        ("of another room", token_of(Some("alice"), -hour, room("other")), "nn"),
        ("one that lives too long", token_of(Some("alice"), 25 * hour, room("demo")), "nn"),
        ("a forged one", forged, "nn"),
    ];
    let restart = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
    for (name, token, expected) in &tokens {
        for ((protocol, role), expected) in
            [("whip", Role::Publisher), ("whep", Role::Viewer)].into_iter().zip(expected.chars())
        {
            let session = format!("/{protocol}/demo/{ID}");
            let house = House::locked();
            house.engine.has_session_of(role, Some("alice"));
            let requests = [
                ("PATCH", session.clone(), restart),
                ("GET", session.clone(), ""),
                ("POST", format!("{session}/sse"), ""),
                ("DELETE", session.clone(), ""),
            ];
            for (method, address, body) in requests {
                let reply = house.ask_as(token, method, &address, FRAGMENT, body).await;
                match expected {
                    'y' => assert!(reply.status < 300, "{method} {address} {name}: {} {}", reply.status, reply.body),
                    // A token of the opener that never allowed it is told so; another one is as expired as it is.
                    _ => assert!([401, 403].contains(&reply.status), "{method} {address} {name}: {}", reply.status),
                }
            }
            // For nothing else, and for no other session.
            for address in [format!("/{protocol}/demo"), format!("/{protocol}/demo/{OTHER_ID}")] {
                let method = if address.ends_with("demo") { "POST" } else { "DELETE" };
                let reply = house.ask_as(token, method, &address, SDP, "v=0").await;
                reply.is(401);
            }
        }
    }
}

#[tokio::test]
async fn the_last_part_of_a_streams_name_may_look_like_a_session() {
    for (protocol, role) in [("whip", Role::Publisher), ("whep", Role::Viewer)] {
        let house = House::open();
        let stream = format!("/{protocol}/live/{OTHER_ID}");
        let reply = house.ask("POST", &stream, SDP, "v=0").await;
        reply.is(201);
        reply.has("location", &format!("{stream}/{ID}"));
        assert!(house.said()[0].contains(&format!(" live/{OTHER_ID} ")), "{:?}", house.said());
        let preflight = [ORIGIN, ("access-control-request-method", "POST")];
        let reply = house.ask("OPTIONS", &stream, &preflight, "").await;
        assert!(reply.header("access-control-allow-methods").contains("POST"));

        // A session that is there knows no POST, and one that is gone is gone.
        house.engine.has_session(role);
        house.ask("POST", &format!("/{protocol}/demo/{ID}"), SDP, "v=0").await.is_problem(405, "method");
        house.ask("PATCH", &stream, FRAGMENT, "a=end-of-candidates").await.is_problem(404, "no such session");
        house.ask("DELETE", &stream, &[], "").await.is_problem(404, "no such session");
    }
    // The token is asked for the stream's own name.
    let house = House::locked();
    let grant = VideoGrant { room: Some("live".into()), room_join: true, ..VideoGrant::default() };
    house.ask_as(&token(grant), "POST", &format!("/whip/live/{OTHER_ID}"), SDP, "v=0").await.is(403);
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
