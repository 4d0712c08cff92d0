//! What holds for sessions of publishers and of viewers.

use super::links;
use crate::auth::{Secret, VideoGrant};
use crate::config::IceServer;
use crate::engine::Role;
use crate::http::tests::{FRAGMENT, House, ID, ORIGIN, OTHER_ID, SDP, token, token_of};

#[tokio::test]
async fn a_session_whose_handshake_failed_is_told_why_it_is_gone() {
    let house = House::open();
    let why = "the peer sent the fatal alert 40 (handshake_failure)";
    house.engine.state.lock().unwrap().failed = Some((Role::Viewer, why.to_owned()));
    let reply = house.ask("GET", &format!("/whep/demo/{ID}"), SDP, "").await;
    reply.is_problem(404, why);
    assert!(reply.body.contains(r#""handshake":"signature""#), "{}", reply.body);
    house.ask("DELETE", &format!("/whep/demo/{ID}"), SDP, "").await.is_problem(404, why);
    // Only at the address that named the session before: the stream and the role are part of the
    // address.
    house.ask("DELETE", &format!("/whep/other/{ID}"), SDP, "").await.is_problem(404, "no such session");
    house.ask("DELETE", &format!("/whip/demo/{ID}"), SDP, "").await.is_problem(404, "no such session");
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

/// A session outlives its token. Which expired token allows what: `y` may, `n` may not
/// (401).
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
                    // A token of the opener that never allowed it is told so; another one is as
                    // expired as it is.
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

#[test]
fn ice_servers_become_link_headers() {
    let server = IceServer {
        urls: vec!["stun:stun.example.net".into(), "turn:turn.example.net?transport=udp".into()],
        username: Some("user".into()),
        credential: Some(Secret::new("my\"Password".into())),
    };
    let expected = [
        "<stun:stun.example.net>; rel=\"ice-server\"",
        "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"user\"; \
         credential=\"my\\\"Password\"; credential-type=\"password\"",
    ];
    assert_eq!(links(&server), expected);
}
