//! The control task: panics in it, and queues that are full.

use std::sync::atomic::Ordering;

use media::SessionId;
use sfu::publisher::Ended;
use sfu::{desk, shard};
use shards::PlaneEvent;

use super::events::{ANSWERS, event_queues};
use super::{Ask, Engine, Readiness};
use crate::config::{self, Flags};

async fn engine() -> Engine {
    let variables = [("NOWCAST_KEYS", "key: 0123456789abcdef0123456789abcdef"), ("NOWCAST_MEDIA_UDP_PORT", "0")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = Flags { loopback: true, ..Flags::default() };
    let (config, _) = config::load(None, variables, &flags).expect("a configuration");
    Engine::start(&config.media).await.expect("loopback can be bound")
}

#[tokio::test]
async fn a_panic_in_the_control_task_is_its_askers_and_the_task_goes_on() {
    let engine = engine().await;
    for _ in 0..20 {
        let asking = engine.clone();
        let asked = tokio::spawn(async move { asking.ask(Ask::Panic).await });
        assert!(asked.await.is_err_and(|error| error.is_panic()), "HTTP answers 500");
    }
    assert!(engine.is_alive() && engine.readiness().await == Readiness::Ready);
    assert_eq!(engine.streams().await, []);
    engine.shut_down().await;
}

#[test]
fn events_that_change_state_are_told_however_many_answers_wait() {
    let (sink, mut events) = event_queues();
    let session = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
    let many = ANSWERS + 1_000;
    for n in 0..many {
        sink(PlaneEvent::Shard(shard::Event::Report { session: session(n), report: None }));
        sink(PlaneEvent::Shard(shard::Event::PublisherFlows { session: session(n), flows: false }));
        sink(PlaneEvent::Desk(desk::Event::Closed { session: session(n), why: Ended::PeerLeft }));
    }
    for n in 0..many {
        for _ in 0..2 {
            let event = events.changes.try_recv().expect("none is lost");
            assert_eq!((event.session(), event.may_be_lost()), (Some(session(n)), false), "in order");
        }
    }
    let answers = std::iter::from_fn(|| events.answers.try_recv().ok()).count();
    assert_eq!((answers, events.dropped.load(Ordering::Relaxed)), (ANSWERS, 1_000));
}
