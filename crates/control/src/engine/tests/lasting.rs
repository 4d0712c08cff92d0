//! Sessions end, and the server stops.

use sfu::dtls::{Failure, Reason};
use sfu::publisher::Ended;

use super::*;
use crate::CloseReason;

#[test]
fn the_end_of_a_session_answers_the_requests_that_wait_for_it() {
    let ends: [fn(&mut Bench, SessionId); 4] = [
        |bench, session| bench.desk(desk::Event::Closed { session, why: Ended::IceLost }),
        |bench, session| {
            bench.ask(Request::Close { session });
        },
        |bench, _| {
            bench.ask(Request::Kick { stream: name("a") });
        },
        |bench, session| {
            assert!(bench.engine.fail(bench.now, session));
            bench.drain();
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut bench = Bench::new();
        let (session, other) = (bench.viewer("a"), bench.viewer("b"));
        bench.ask(Request::Report { session });
        bench.ask(trickle(session, "other", None));
        bench.ask(Request::Report { session: other });
        bench.outputs.clear();
        end(&mut bench, session);
        let said = bench.said();
        for answer in ["3: report false", "4: NoSuchSession"] {
            assert!(said.iter().any(|one| one == answer), "{n}: {said:?}");
        }
        let is_told = said.iter().any(|one| one == "desk 1: Close");
        assert_eq!(is_told, n != 0, "{n}: a desk that ended the session knows of it");
        assert!(bench.engine.owner(session).is_none() && bench.engine.owner(other).is_some());
        assert_eq!(bench.engine.waiting.sessions().collect::<Vec<_>>(), [(other, 1)]);
    }
}

#[test]
fn events_of_sessions_that_are_gone_change_nothing() {
    let mut bench = Bench::new();
    let session = of(99);
    let busy = || sfu::negotiate::Unusable::Busy;
    bench.desk(desk::Event::Opened { session, result: Ok(String::new()) });
    bench.desk(desk::Event::Opened { session, result: Err(busy()) });
    bench.desk(desk::Event::Answered { session, result: None });
    bench.desk(desk::Event::Restarted { session, result: Some(Ok(String::new())) });
    bench.desk(desk::Event::Closed { session, why: Ended::PeerLeft });
    bench.shard(shard::Event::PublisherFlows { session, flows: true });
    bench.desk(desk::Event::Connected { session, shard: 0 });
    bench.shard(shard::Event::Report { session, report: None });
    assert!(bench.outputs.is_empty(), "{:?}", bench.outputs);
    assert!(bench.engine.connections.is_empty() && bench.engine.streams.is_empty());
    assert!(!bench.engine.fail(bench.now, session));
}

#[test]
fn a_session_that_does_not_connect_in_time_is_closed() {
    let mut bench = Bench::new();
    let (publisher, viewer) = (bench.publishes("a").session, bench.watches("a").session);
    bench.said();
    bench.passes(crate::CONNECT_DEADLINE);
    let closing = |session, role| Notice::Closing { session, role, reason: CloseReason::ConnectTimeout };
    let said: Vec<_> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::ToDesk { desk, command: desk::Command::Close { .. } } => Some(*desk),
            _ => None,
        })
        .collect();
    assert_eq!(said, [1, 0], "the desk of each");
    let notices = bench.notices();
    assert!(notices.contains(&closing(publisher, Role::Publisher)));
    assert!(notices.contains(&closing(viewer, Role::Viewer)));
}

#[test]
fn failed_handshakes_are_counted_and_the_newest_are_remembered() {
    let mut bench = Bench::new();
    let failure = Failure { reason: Reason::Alert, alert: Some(42), certificate: None };
    let mut sessions = Vec::new();
    for _ in 0..MAX_FAILED + 1 {
        let session = bench.watches("a").session;
        bench.desk(desk::Event::Closed { session, why: Ended::Handshake(failure) });
        sessions.push(session);
    }
    let last = Notice::HandshakeFailed { session: *sessions.last().expect("a session"), role: Role::Viewer, failure };
    assert!(bench.notices().contains(&last));
    assert!(bench.engine.why_failed(sessions[0]).is_none(), "the oldest is forgotten");
    for session in &sessions[1..] {
        let failed = bench.engine.why_failed(*session).expect("it is remembered");
        assert_eq!((&failed.stream, failed.role), (&name("a"), Role::Viewer));
        assert_eq!(failed.failure, failure);
    }
    assert_eq!(bench.engine.dtls_failures()[Reason::Alert as usize], MAX_FAILED as u64 + 1);
    assert!(bench.engine.why_failed(of(99)).is_none());
}

#[test]
fn a_stop_says_goodbye_to_all_and_is_answered_when_all_shards_have() {
    let mut bench = Bench::new();
    bench.publisher("a");
    bench.viewer("a");
    let n = bench.ask(Request::ShutDown);
    let said = bench.said();
    let stops = ["shard 0: Stop", "shard 1: Stop"];
    assert_eq!(said[said.len() - 2..], stops, "after all goodbyes: {said:?}");
    assert_eq!(said.iter().filter(|said| said.ends_with(": Close")).count(), 2);
    assert_eq!(bench.engine.readiness(), Readiness::Stuck);
    bench.ask(watch("a"));
    assert_eq!(bench.said(), [format!("{}: ShuttingDown", n + 1)]);
    bench.shard(shard::Event::Stopped { shard: 1 });
    bench.passes(Duration::from_secs(1));
    assert_eq!(bench.said(), [""; 0]);
    bench.shard(shard::Event::Stopped { shard: 0 });
    let at = bench.engine.poll_timeout().expect("a farewell");
    bench.passes(at - bench.now - Duration::from_millis(1));
    assert_eq!(bench.said(), [""; 0]);
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.said(), [format!("{n}: stopped")]);
    assert_eq!(bench.engine.poll_timeout(), None);
    let again = bench.ask(Request::ShutDown);
    bench.passes(Duration::ZERO);
    assert_eq!(bench.said(), [format!("{again}: stopped")], "it is over already");
}

#[test]
fn a_stop_does_not_wait_longer_than_five_seconds_for_a_shard() {
    let mut bench = Bench::new();
    let n = bench.ask(Request::ShutDown);
    bench.said();
    bench.passes(ANSWER_WITHIN);
    assert_eq!(bench.said(), [format!("{n}: stopped")]);
}

#[test]
fn shards_are_asked_for_snapshots_every_second_until_the_stop() {
    let mut bench = Bench::new();
    let asked = |bench: &mut Bench| {
        let outputs = std::mem::take(&mut bench.outputs);
        let is_question =
            |output: &&Output| matches!(output, Output::ToShard { command: shard::Command::Snapshot, .. });
        outputs.iter().filter(is_question).count()
    };
    bench.passes(Duration::from_millis(999));
    assert_eq!(asked(&mut bench), 0);
    bench.passes(Duration::from_millis(1));
    assert_eq!(asked(&mut bench), 2);
    bench.shard(snapshot(1, Vec::new()));
    assert_eq!(bench.engine.snapshots().map(|one| one.shard).collect::<Vec<_>>(), [1]);
    bench.ask(Request::ShutDown);
    bench.outputs.clear();
    bench.passes(Duration::from_secs(2));
    assert_eq!(asked(&mut bench), 0);
}
