//! Sessions end: do the peers learn it, and is all their state freed?

use sim::{Filming, Gone, Goodbye, Habits, Link, Path, Setup, Story, ms, secs};

const ATTENTIVE: Habits = Habits {
    without_rtx: false,
    rtx_for_vp8_only: false,
    opus_payload_type: None,
    with_red: false,
    waits_for_offer: false,
    answers_after: std::time::Duration::ZERO,
    only: None,
    notes_rtcp: true,
    with_channel: false,
};

fn is_empty(story: &mut Story) {
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((0, 0), 0));
    let now = story.instant();
    for snapshot in story.server.snapshots(now) {
        assert_eq!((snapshot.publishers, snapshot.viewers, snapshot.streams.len()), (0, 0, 0));
    }
}

#[test]
fn kick_ends_all_sessions_of_a_stream_and_no_others() {
    let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches_with("demo", ATTENTIVE);
    let other = story.publishes("other", Filming::default());
    let carol = story.watches("other");
    story.runs(secs(3));
    let from = story.now();
    assert!(story.kicks("demo"));
    story.runs(secs(1));
    for peer in [alice, bob] {
        assert_eq!(story.gone(peer), Some(Gone::Closed(control::CloseReason::Kicked)));
        assert_eq!(story.goodbye(peer), Some(Goodbye::Said));
    }
    assert!(story.gone(other).is_none());
    assert!(story.screen(carol).longest_freeze(from) < ms(60));
    assert!(!story.kicks("demo"), "gone already");
    story.holds();
}

#[test]
fn a_shutdown_says_goodbye_to_all() {
    let mut story = Story::with(Setup { shards: 2, desks: 2, ..Setup::default() });
    let alice = story.tries_to_publish("demo", Filming::default(), ATTENTIVE).expect("admitted");
    let viewers: Vec<_> = (0..6).map(|_| story.watches_with("demo", ATTENTIVE)).collect();
    story.runs(secs(3));
    story.shuts_down();
    story.runs(secs(1));
    assert_eq!(story.goodbye(alice), Some(Goodbye::Said));
    for viewer in viewers {
        assert_eq!(story.goodbye(viewer), Some(Goodbye::Said), "close_notify");
        println!("BYE for {} SSRCs", story.byes(viewer));
    }
    assert_eq!(story.server.stopped, 2);
    let refused = story.tries_to_watch("demo", Habits::default()).expect_err("shutting down");
    assert_eq!(refused, control::engine::Refusal::ShuttingDown);
    story.holds();
}

#[test]
fn leaving_sessions_leave_no_state_behind() {
    let mut story = Story::with(Setup { shards: 2, desks: 2, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let viewers: Vec<_> = (0..10).map(|_| story.watches("demo")).collect();
    story.runs(secs(2));
    for viewer in viewers {
        assert!(story.leaves(viewer));
        assert!(!story.leaves(viewer), "once");
    }
    assert!(story.leaves(alice));
    story.runs(secs(1));
    is_empty(&mut story);
    story.holds();
}

#[test]
fn viewer_that_hangs_up_is_removed_at_once() {
    for with_channel in [false, true] {
        let mut story = Story::new();
        story.publishes("demo", Filming::default());
        let bob = story.watches_with("demo", Habits { with_channel, ..Habits::default() });
        story.runs(secs(30));
        assert!(story.gone(bob).is_none() && !story.screen(bob).pictures.is_empty());
        story.hangs_up(bob);
        story.runs(ms(200));
        assert_eq!(story.gone(bob), Some(Gone::Ended(sfu::publisher::Ended::PeerLeft)), "its close_notify said so");
        assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((1, 0), 1));
        story.holds();
    }
}

#[test]
fn a_goodbye_that_is_lost_leaves_nothing_behind_either() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(2));
    for peer in [alice, bob] {
        story.link(peer, Path { up: Link::good(), down: Link::cut() });
        story.leaves(peer);
    }
    story.runs(secs(30));
    is_empty(&mut story);
    assert!(story.goodbye(bob).is_some(), "bob noticed by himself");
    story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
