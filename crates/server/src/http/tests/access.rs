//! Tokens and rates of all resources.

use http_body_util::BodyExt;

use crate::auth::{Anonymous, TokenError, VideoGrant};
use crate::engine::Role;
use crate::http::limits;
use crate::http::problem::Problem;
use crate::http::tests::house::LOG;
use crate::http::tests::{FRAGMENT, House, ID, SDP, SECRET, token};

/// Which token allows which request; the rules of grants themselves have their matrix in
/// `auth/grants.rs`.
#[tokio::test]
async fn every_resource_checks_tokens() {
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
async fn errors_of_tokens_name_the_fault_and_the_fix() {
    for (error, detail, fix) in [
        (TokenError::NotBearer, "not of the form “Bearer <token>”", "Authorization: Bearer <token>"),
        (TokenError::NotGenuine, "not signed with a key of this server", "HS256"),
        (TokenError::BadClaims, "a claim of it is missing", "iss, exp, sub (at most 256 bytes)"),
        (TokenError::Expired, "has expired", "get a new token"),
        (TokenError::NotYet, "not valid yet", "clocks"),
        (TokenError::LivesTooLong, "longer than 24 hours", "“exp”"),
    ] {
        let anonymous = Anonymous { publish: false, watch: false };
        let reply = Problem::wrong_token(error, anonymous).into_reply();
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
