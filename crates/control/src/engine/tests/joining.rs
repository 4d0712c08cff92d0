//! Sessions begin, are described, and restart ICE.

use sfu::negotiate::Unusable;

use super::*;

#[test]
fn publishers_and_viewers_go_to_the_next_desk() {
    let mut bench = Bench::new();
    let rows = [
        (1, publish("a", OFFER), "desk 1: Publish"),
        (2, publish("b", OFFER), "desk 0: Publish"),
        (3, watch("a"), "desk 1: Open"),
        (4, watch("a"), "desk 0: Open"),
        (5, watch("a"), "desk 1: Open"),
    ];
    for (n, request, command) in rows {
        bench.ask(request);
        assert_eq!(bench.said(), [command]);
        let session = bench.newest();
        bench.desk(desk::Event::Opened { session, result: Ok(String::new()) });
        assert_eq!(bench.said(), [format!("{n}: opened")]);
    }
    assert_eq!(bench.engine.control().session_count(), (2, 3));
}

#[test]
fn a_session_that_is_not_admitted_costs_no_command() {
    let full = |n| format!("{n}: Full(limits.viewers)");
    let mut bench = Bench::with(Takeover::Refuse, 1);
    bench.watches("a");
    bench.ask(watch("a"));
    assert_eq!(bench.said(), [full(2)]);

    let load = Load { busy_permille: 950 };
    bench.engine.set_media(Media { load, ..Media::default() });
    bench.ask(watch("b"));
    assert_eq!(bench.said(), ["3: Overloaded"]);
    assert_eq!(bench.engine.readiness(), Readiness::Overloaded);

    bench.engine.set_media(Media { is_behind: true, ..Media::default() });
    let session = bench.newest();
    let (answer, rid) = (String::new(), None);
    for request in [
        publish("b", OFFER),
        watch("b"),
        Request::Accept { session, answer },
        trickle(session, "new", None),
        wish(session, rid),
    ] {
        let n = bench.ask(request);
        assert_eq!(bench.said(), [format!("{n}: Full({BEHIND})")]);
    }
    assert_eq!(bench.engine.control().session_count(), (0, 1), "and those that are in stay");
    let n = bench.ask(Request::Close { session });
    assert_eq!(bench.said()[0], format!("{n}: closed true"), "ending a session takes load away");
}

#[test]
fn an_offer_that_cannot_be_used_leaves_no_session() {
    let mut bench = Bench::new();
    bench.ask(publish("a", "v=1"));
    let session = bench.newest();
    bench.said();
    bench.desk(desk::Event::Opened { session, result: Err(Unusable::Malformed("line 1".to_owned())) });
    assert_eq!(bench.said()[0], "1: BadSdp");
    bench.ask(watch("a"));
    let session = bench.newest();
    let offered = vec!["VP8".to_owned()];
    let result = Err(Unusable::CannotDecode { published: "H264", offered });
    bench.desk(desk::Event::Opened { session, result });
    assert_eq!(bench.said()[1], "2: UnsupportedCodec");
    assert_eq!(bench.engine.control().session_count(), (0, 0));
    assert!(bench.engine.connections.is_empty() && bench.engine.streams.is_empty());
}

#[test]
fn a_desk_that_does_not_answer_within_five_seconds_is_not_waited_for() {
    let mut bench = Bench::new();
    bench.ask(watch("a"));
    let session = bench.newest();
    bench.outputs.clear();
    assert_eq!(bench.engine.waiting.next(), Some(bench.now + ANSWER_WITHIN));
    bench.passes(ANSWER_WITHIN - Duration::from_millis(1));
    assert_eq!(bench.said(), [""; 0]);
    bench.passes(Duration::from_millis(1));
    let said = bench.said();
    assert!(said.contains(&format!("1: Full({BEHIND})")), "{said:?}");
    assert!(said.contains(&"desk 1: Close".to_owned()), "no client knows the session: {said:?}");
    bench.desk(desk::Event::Opened { session, result: Ok(String::new()) });
    assert_eq!(bench.said(), [""; 0], "it comes too late");
}

#[test]
fn a_late_answer_of_a_desk_answers_no_request_behind_it() {
    let mut bench = Bench::new();
    let session = bench.watches("a").session;
    bench.desk(desk::Event::Connected { session, shard: 0 });
    bench.ask(trickle(session, "first", None));
    bench.passes(ANSWER_WITHIN);
    bench.ask(trickle(session, "second", None));
    let behind = format!("2: Full({BEHIND})");
    assert_eq!(bench.said(), ["desk 1: Restart".to_owned(), behind, "desk 1: Restart".to_owned()]);
    let restarted = |fragment: &str| desk::Event::Restarted { session, result: Some(Ok(fragment.to_owned())) };
    bench.desk(restarted("of the first"));
    assert_eq!(bench.said(), [""; 0]);
    bench.desk(restarted("of the second"));
    match bench.answer() {
        Answer::Trickled(Ok(Trickled::Restarted { fragment, .. })) => {
            assert_eq!(fragment, "of the second");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_viewers_answer_is_its_desks_work_and_a_publisher_has_none() {
    let mut bench = Bench::new();
    let (publisher, viewer) = (bench.publishes("a").session, bench.watches("a").session);
    let accept = |session| Request::Accept { session, answer: String::new() };
    bench.ask(accept(publisher));
    bench.ask(accept(of(99)));
    assert_eq!(bench.said(), ["3: NoSuchSession", "4: NoSuchSession"]);
    for (n, result, said) in
        [(5, Some(Ok(())), "accepted"), (6, Some(Err(Unusable::Busy)), "Full(limits.handshakes)"), (7, None, "BadSdp")]
    {
        bench.ask(accept(viewer));
        bench.desk(desk::Event::Answered { session: viewer, result });
        assert_eq!(bench.said(), ["desk 0: Answer".to_owned(), format!("{n}: {said}")]);
    }
}

#[test]
fn an_entity_tag_must_be_the_current_one_or_any() {
    let mut bench = Bench::new();
    let Opened { session, etag, .. } = bench.publishes("a");
    for (tag, said) in
        [(None, "trickled"), (Some("*"), "trickled"), (Some(&*etag), "trickled"), (Some("0"), "StaleEtag")]
    {
        let n = bench.ask(trickle(session, "abcd", tag));
        assert_eq!(bench.said(), [format!("{n}: {said}")], "{tag:?}: the ufrag of the offer");
    }
    bench.ask(trickle(session, "other", Some(&etag)));
    assert_eq!(bench.said(), ["desk 1: Restart"]);
    bench.desk(desk::Event::Restarted { session, result: Some(Ok("new".to_owned())) });
    let Answer::Trickled(Ok(Trickled::Restarted { etag: new, .. })) = bench.answer() else {
        panic!("it is restarted");
    };
    assert_ne!(new, etag);
    bench.ask(trickle(session, "other", Some(&etag)));
    match bench.answer() {
        Answer::Trickled(Err(Refusal::StaleEtag { current })) => assert_eq!(current, new),
        other => panic!("{other:?}"),
    }
    let n = bench.ask(trickle(session, "other", Some(&new)));
    assert_eq!(bench.said(), [format!("{n}: trickled")], "the ufrag is known by now");
    let n = bench.ask(trickle(of(99), "other", None));
    assert_eq!(bench.said(), [format!("{n}: NoSuchSession")]);
}

#[test]
fn candidates_and_a_ufrag_without_password_restart_nothing() {
    let mut bench = Bench::new();
    let session = bench.watches("a").session;
    let candidates = vec!["1 1 udp 1 192.0.2.9 9 typ host".to_owned()];
    for ufrag in [None, Some("other".to_owned())] {
        let fragment = IceFragment { ufrag, candidates: candidates.clone(), ..IceFragment::default() };
        let n = bench.ask(Request::Trickle { session, fragment, if_match: None });
        assert_eq!(bench.said(), [format!("{n}: trickled")]);
    }
}

#[test]
fn a_publisher_that_replaces_another_is_opened_and_the_other_closed() {
    let mut bench = Bench::with(Takeover::Replace, 10);
    let old = bench.publisher("a");
    bench.ask(publish("a", OFFER));
    let said = bench.said();
    assert!(said.contains(&"desk 0: Publish".to_owned()) && said.contains(&"desk 1: Close".to_owned()), "{said:?}");
    assert!(bench.engine.owner(old).is_none());
    let mut bench = Bench::new();
    bench.publisher("a");
    bench.ask(publish("a", OFFER));
    assert_eq!(bench.said(), ["2: StreamBusy"]);
}

#[test]
fn a_session_has_the_role_that_it_asked_for() {
    let mut bench = Bench::new();
    let (publisher, viewer) = (bench.publishes("a").session, bench.watches("a").session);
    let role = |session| bench.engine.owner(session).map(|owner| owner.role);
    assert_eq!(role(publisher), Some(Role::Publisher));
    assert_eq!(role(viewer), Some(Role::Viewer));
    assert_eq!(role(of(99)), None);
}
