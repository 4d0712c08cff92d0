//! One connection after another to the whole of HTTP, without a network.

use std::time::Duration;

use hyper::{StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use super::*;
use crate::http::body::{self, Reply};
use crate::http::connections::places::Slot;
use crate::http::exchange::refuse_method;
use crate::http::limits::{H2_CONTROL_BURST, TURN_BYTES, WRITE_TIMEOUT};
use crate::http::table::{Resource, Table};
use crate::http::tests::House;

#[tokio::test(start_paused = true)]
async fn a_connection_serves_several_requests_and_leaves_when_idle() {
    let mut wire = Wire::new(1 << 20);
    for _ in 0..3 {
        wire.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(wire.read_until("ok\n").await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_secs(29)).await;
    }
    assert_eq!(wire.read_to_end().await, "");
    assert_eq!(wire.seconds(), 2 * 29 + 29 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_cut_after_five_seconds_however_it_drips() {
    let mut wire = Wire::new(1 << 20);
    for byte in "GET /".chars() {
        wire.write(&byte.to_string()).await;
        sleep(Duration::from_millis(900)).await;
    }
    wire.read_to_end().await;
    assert_eq!(wire.seconds(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_told_so_after_ten_seconds() {
    let mut wire = Wire::new(1 << 20);
    wire.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
    wire.write("content-length: 100\r\n\r\nv=0").await;
    let answer = wire.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("within 10 seconds"), "{answer}");
    assert!((10..=11).contains(&wire.seconds()), "{}", wire.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_announces_too_much_is_refused_at_once() {
    let mut wire = Wire::new(1 << 20);
    wire.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
    wire.write("content-length: 1000000000\r\n\r\nv=0").await;
    assert!(wire.read_until("}").await.starts_with("HTTP/1.1 413"));
    assert_eq!(wire.seconds(), 0);
}

#[tokio::test(start_paused = true)]
async fn heads_are_bounded() {
    let mut wire = Wire::new(1 << 20);
    wire.write(&format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(HEADER_BYTES))).await;
    assert!(wire.read_to_end().await.starts_with("HTTP/1.1 431"));
    let mut wire = Wire::new(1 << 20);
    wire.write(&format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(HEADER_FIELDS + 1))).await;
    assert!(wire.read_to_end().await.starts_with("HTTP/1.1 431"));
}

#[tokio::test(start_paused = true)]
async fn events_go_on_for_long_and_end_when_the_server_stops() {
    let mut wire = Wire::new(1 << 20);
    wire.write("GET /api/v1/streams/demo/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for _ in 0..100 {
        wire.read_until("}\n\n").await;
    }
    assert_eq!(wire.seconds(), 2 * 99);
    wire.house.stop.send_replace(true);
    wire.read_to_end().await;
    assert!(wire.seconds() <= 2 * 99 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_is_cut() {
    let mut wire = Wire::new(512);
    wire.write("GET /api/v1/streams/demo/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    (&mut wire.task).await.unwrap();
    assert!((WRITE_TIMEOUT.as_secs()..WRITE_TIMEOUT.as_secs() + 15).contains(&wire.seconds()), "{}", wire.seconds());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_told_to_be_calm_and_ends() {
    let mut wire = Wire::new(1 << 20);
    wire.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    wire.io.write_all(&ping.repeat(H2_CONTROL_BURST as usize)).await.unwrap();
    (&mut wire.task).await.unwrap();
    let mut answer = Vec::new();
    wire.io.read_to_end(&mut answer).await.unwrap();
    let go_away = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
    assert!(answer.ends_with(go_away), "{:?}", &answer[answer.len().saturating_sub(64)..]);
    assert_eq!(wire.seconds(), 0);
    let metrics = wire.house.front.counters().text();
    assert!(metrics.contains("nowcast_http_floods_total 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_may_send_as_many_frames_as_it_likes() {
    let mut wire = Wire::to(House::with(&[("NOWCAST_HTTP_TRUSTED_PROXIES", "192.0.2.1")], true), 1 << 20);
    wire.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    wire.io.write_all(&ping.repeat(3 * H2_CONTROL_BURST as usize)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(!wire.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_a_request_end_and_closes_the_idle() {
    let mut idle = Wire::new(1 << 20);
    idle.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    idle.read_until("ok\n").await;
    idle.house.stop.send_replace(true);
    idle.read_to_end().await;
    assert_eq!(idle.seconds(), 0);

    let mut busy = Wire::new(1 << 20);
    busy.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
    busy.write("content-length: 3\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    busy.house.stop.send_replace(true);
    sleep(Duration::from_secs(1)).await;
    busy.write("v=0").await;
    assert!(busy.read_to_end().await.starts_with("HTTP/1.1 201"));
}

/// A resource whose handler takes the connection over, as WebSockets do, and sends back what comes.
async fn echo(mut request: axum::extract::Request) -> Reply {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.expect("a connection of HTTP/1.1 can be upgraded"));
        let mut bytes = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(count) => stream.write_all(&bytes[..count]).await.unwrap(),
            }
        }
    });
    let mut reply = body::empty(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")] {
        reply.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    reply
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_the_connection_over_gets_its_stream_and_keeps_its_place() {
    let table = Table::new(vec![Resource::page("/echo", axum::routing::get(echo))], refuse_method);
    let house = House::of(table, &[], true, false);
    let slot = Arc::new(Slot::alone());
    let mut wire = Wire::with(house, 1 << 20, Some(Arc::clone(&slot)));
    wire.write("GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst").await;
    let answer = wire.read_until("first").await;
    assert!(answer.starts_with("HTTP/1.1 101") && !answer.contains("content-length"), "{answer}");
    (&mut wire.task).await.unwrap();

    // It has no turns, and no deadline of a request: both are the handler's own.
    sleep(2 * IDLE_TIMEOUT).await;
    let long = format!("{}.", "x".repeat(3 * TURN_BYTES));
    wire.write(&long).await;
    assert_eq!(wire.read_until(".").await, long);
    assert_eq!(Arc::strong_count(&slot), 2, "the stream keeps the connection's place");
    drop(wire);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&slot), 1);
}

/// One connection to the whole of HTTP, without a network.
struct Wire {
    io: DuplexStream,
    task: tokio::task::JoinHandle<()>,
    house: House,
    began_at: Instant,
}

impl Wire {
    fn new(buffer: usize) -> Self {
        Self::to(House::open(), buffer)
    }

    fn to(house: House, buffer: usize) -> Self {
        Self::with(house, buffer, None)
    }

    fn with(house: House, buffer: usize, slot: Option<Arc<Slot>>) -> Self {
        let (io, theirs) = tokio::io::duplex(buffer);
        let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot };
        let task = tokio::spawn(drive(theirs, remote, Arc::clone(&house.front), house.stop.subscribe()));
        Self { io, task, house, began_at: Instant::now() }
    }

    async fn write(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    async fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains(end) {
            let count = self.io.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        text
    }

    async fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        self.io.read_to_string(&mut text).await.unwrap();
        text
    }

    fn seconds(&self) -> u64 {
        self.began_at.elapsed().as_secs()
    }
}
