//! The publisher changes: what do its viewers see?

use std::time::Duration;

use control::engine::Refusal;
use control::{State, Takeover};
use media::Codec;
use sfu::flow::QUIET_AFTER;
use sim::{Filming, Gone, Habits, Link, Path, Peer, Setup, Story, ms, secs};

/// Checks that sequence numbers and timestamps of a viewer continue over a change of publisher.
/// `holds` checks that timestamps grow.
fn goes_on(story: &mut Story, viewer: Peer, publishers: &[Peer]) {
    let sources: Vec<_> = publishers.iter().map(|p| story.source(*p)).collect();
    let screen = story.screen(viewer);
    let mut seen: Vec<_> = screen.pictures.iter().map(|p| p.stamp.source).collect();
    seen.dedup();
    assert_eq!(seen, sources, "one publisher after the other");
    assert_eq!(screen.video().missing(story.instant(), ms(500)), 0, "sequence numbers have no gap");
    assert_eq!(screen.audio().missing(story.instant(), ms(500)), 0);
    // The gap in timestamps is the gap in time.
    let last = screen.pictures.iter().rposition(|p| p.stamp.source == sources[0]).expect("seen");
    let (before, after) = (screen.pictures[last], screen.pictures[last + 1]);
    let shown = f64::from(after.timestamp.wrapping_sub(before.timestamp)) / 90.0;
    let passed = (after.at - before.at).as_secs_f64() * 1_000.0;
    assert!((shown - passed).abs() < 120.0, "{shown} ms on the clock of RTP, {passed} ms on the wall");
}

#[test]
fn a_publisher_reloads_and_its_viewers_stay() {
    for (first, second) in [(Codec::Vp8, Codec::Vp8), (Codec::Vp8, Codec::H264), (Codec::H264, Codec::Av1)] {
        let mut story = Story::new();
        let alice = story.publishes("demo", Filming { codec: first, ..Filming::default() });
        let bob = story.watches("demo");
        let carol = story.watches("demo");
        story.runs(secs(4));
        story.leaves(alice);
        story.runs(secs(3));
        let returned = story.now();
        let again = story.publishes("demo", Filming { codec: second, first_sequence: 40_000, ..Filming::default() });
        story.runs(secs(4));

        for viewer in [bob, carol] {
            assert!(story.gone(viewer).is_none() && story.goodbye(viewer).is_none());
            goes_on(&mut story, viewer, &[alice, again]);
            let screen = story.screen(viewer);
            let back = screen.pictures.iter().find(|p| p.at > returned).expect("back").at - returned;
            assert!(back < ms(400), "{first} to {second}: back after {back:?}");
            assert!(screen.longest_freeze(returned + back) < ms(100));
        }
        story.holds();
    }
}

#[test]
fn a_publisher_whose_network_dies_can_be_replaced_by_itself() {
    let mut story = Story::with(Setup { takeover: Takeover::Replace, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.vanishes(alice);
    story.runs(secs(1));
    let again = story.publishes("demo", Filming::default());
    story.runs(secs(3));
    assert_eq!(story.gone(alice), Some(Gone::Closed(control::CloseReason::Replaced)));
    goes_on(&mut story, bob, &[alice, again]);
    story.holds();
}

#[test]
fn a_publisher_whose_network_dies_is_gone_after_a_while_and_makes_room() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.vanishes(alice);
    let gone = story.runs_until(secs(60), |story| story.gone(alice).is_some());
    println!("noticed after {gone:?}");
    assert!(gone.is_some_and(|after| after <= secs(30)), "threat T5: {gone:?}");
    let again = story.publishes("demo", Filming::default());
    story.runs(secs(3));
    goes_on(&mut story, bob, &[alice, again]);
    story.holds();
}

#[test]
fn a_crashed_publisher_that_comes_again_takes_its_stream_back_when_the_old_session_is_quiet() {
    let mut story = Story::new();
    let home = story.bottleneck(Link::good());
    let bob = story.watches("demo");
    story.behind(home);
    let alice = story.publishes("demo", Filming::default());
    story.runs(secs(3));
    story.vanishes(alice);
    let tries = |story: &mut Story| story.tries_to_publish("demo", Filming::default(), Habits::default());
    let retry_after = match tries(&mut story).expect_err("media came a moment ago") {
        Refusal::StreamBusy { retry_after } => retry_after,
        other => panic!("{other:?}"),
    };
    assert_eq!(retry_after, QUIET_AFTER);
    // A shard checks its publishers for silence in its own turns.
    story.runs(retry_after + ms(100));
    let again = tries(&mut story).expect("the old session is quiet");
    story.runs(secs(3));
    assert_eq!(story.gone(alice), Some(Gone::Closed(control::CloseReason::Replaced)));
    goes_on(&mut story, bob, &[alice, again]);
    story.holds();
}

#[test]
fn a_crashed_publisher_is_not_replaced_from_another_address_while_it_may_come_again() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    story.runs(secs(3));
    story.vanishes(alice);
    until(&mut story, State::Paused);
    let refused = story.tries_to_publish("demo", Filming::default(), Habits::default()).expect_err("busy");
    assert!(matches!(refused, Refusal::StreamBusy { .. }), "{refused:?}");
    assert!(story.gone(alice).is_none());
}

/// Lets time pass until a stream is in this state, and returns how long it took.
fn until(story: &mut Story, state: State) -> Duration {
    story.runs_until(secs(60), |story| story.state("demo") == Some(state)).expect("it does become so")
}

#[test]
fn vanished_publisher_pauses_the_stream_long_before_it_is_given_up() {
    for shards in [1, 2] {
        let mut story = Story::with(Setup { shards, ..Setup::default() });
        let alice = story.publishes("demo", Filming::default());
        story.watches("demo");
        story.runs(secs(5));
        assert_eq!(story.state("demo"), Some(State::Live));
        story.vanishes(alice);
        let paused = until(&mut story, State::Paused);
        assert!(paused >= QUIET_AFTER - ms(50) && paused <= QUIET_AFTER + ms(100), "paused after {paused:?}");
        assert!(story.gone(alice).is_none(), "it may come back");
        story.runs(secs(20));
        assert!(story.gone(alice).is_some());
        assert_eq!(story.state("demo"), Some(State::Paused));
        story.holds();
    }
}

#[test]
fn a_publisher_whose_network_stalls_goes_on_in_its_session() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.link(alice, Path { up: Link::cut(), down: Link::good() });
    until(&mut story, State::Paused);
    story.runs(secs(2));
    story.link(alice, Path::both(Link::good()));
    let (from, live) = (story.now(), until(&mut story, State::Live));
    println!("live again after {live:?}");
    story.runs(secs(2));
    assert!(story.gone(alice).is_none());
    assert!(story.screen(bob).pictures.last().is_some_and(|last| last.at > from + secs(1)));
    story.holds();
}

#[test]
fn a_viewer_whose_network_stalls_pauses_nothing() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.link(bob, Path::both(Link::cut()));
    let paused = story.runs_until(secs(5), |story| story.state("demo") != Some(State::Live));
    assert_eq!(paused, None);
    story.holds();
}

#[test]
fn a_still_screen_and_a_lone_sound_are_not_quiet() {
    // Pictures of 5 kB, at any rate.
    let films = |frame_rate: f64, sound| {
        let bits_per_second = (frame_rate * 40_000.0) as u64;
        Filming { frame_rate, bits_per_second, sound, ..Filming::default() }
    };
    for (what, filming) in [
        ("a picture every 5 s, and sender reports", films(0.2, None)),
        ("four pictures a second", films(3.75, None)),
        ("sound every 400 ms", films(0.001, Some(ms(400)))),
    ] {
        let mut story = Story::new();
        story.publishes("demo", filming);
        story.watches("demo");
        until(&mut story, State::Live);
        let paused = story.runs_until(secs(30), |story| story.state("demo") != Some(State::Live));
        assert_eq!(paused, None, "{what}");
        story.holds();
    }
}

#[test]
fn second_publisher_is_refused_and_disturbs_no_session() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let refused = story.tries_to_publish("demo", Filming::default(), Habits::default()).expect_err("busy");
    assert!(matches!(refused, Refusal::StreamBusy { .. }), "{refused:?}");
    let from = story.now();
    story.runs(secs(3));
    assert!(story.screen(bob).longest_freeze(from) < ms(60));
    story.holds();
}

#[test]
fn replaced_publisher_is_fenced_even_if_it_continues_to_send() {
    let mut story = Story::with(Setup { takeover: Takeover::Replace, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    // The goodbye to alice is lost: she films on.
    story.link(alice, Path { up: Link::good(), down: Link::cut() });
    let mallory = story.publishes("demo", Filming { codec: Codec::H264, ..Filming::default() });
    story.runs(secs(5));
    goes_on(&mut story, bob, &[alice, mallory]);
    assert_eq!(story.gone(alice), Some(Gone::Closed(control::CloseReason::Replaced)));
    story.holds();
}

#[test]
fn a_replacement_that_never_connects_pauses_the_stream_and_no_more() {
    let mut story = Story::with(Setup { takeover: Takeover::Replace, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.path(Path::both(Link::cut()));
    let ghost = story.publishes("demo", Filming::default());
    story.runs(secs(20));
    assert_eq!(story.gone(ghost), Some(Gone::Closed(control::CloseReason::ConnectTimeout)));
    story.path(Path::both(Link::good()));
    let again = story.publishes("demo", Filming::default());
    story.runs(secs(3));
    goes_on(&mut story, bob, &[alice, again]);
    story.holds();
}

#[test]
fn ice_restart_of_a_publisher_is_not_visible_to_viewers() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    assert!(story.restarts_ice(alice));
    story.runs(secs(40));
    assert!(story.gone(alice).is_none(), "{:?}", story.gone(alice));
    assert_eq!(story.goodbye(alice), None);
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}");
    assert!(freeze < ms(300), "{freeze:?}");
    story.holds();
}

#[test]
fn a_publisher_changes_its_network_and_restarts_ice() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.moves(alice);
    story.runs(secs(2));
    assert!(story.restarts_ice(alice));
    story.runs(secs(40));
    assert!(story.gone(alice).is_none(), "{:?}", story.gone(alice));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}");
    assert!(freeze < secs(5), "{freeze:?}");
    assert!(story.screen(bob).pictures.last().is_some_and(|p| p.age() < ms(100)));
    story.holds();
}

#[test]
fn a_publisher_behind_a_nat_that_forgets_goes_on_from_its_new_address() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.moves(alice);
    story.runs(secs(40));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}, gone {:?}", story.gone(alice));
    assert!(story.gone(alice).is_none());
    assert!(freeze < secs(6), "{freeze:?}");
    story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
