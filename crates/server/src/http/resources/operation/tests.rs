//! What operators are told.

use crate::http::remote::Remote;
use crate::http::tests::{House, SDP};

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
    dead.engine.dies().await;
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
