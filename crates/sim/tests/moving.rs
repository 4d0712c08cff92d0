//! Addresses change, are lost and are forged.

use sim::{Filming, Gone, Habits, Link, Path, Setup, Story, ms, secs};

#[test]
fn a_viewer_whose_network_dies_is_gone_and_others_lose_nothing() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    let carol = story.watches("demo");
    story.runs(secs(3));
    let address = story.address(carol);
    story.vanishes(carol);
    let from = story.now();
    let gone = story.runs_until(secs(60), |story| story.gone(carol).is_some());
    println!("noticed after {gone:?}");
    assert!(gone.is_some_and(|after| after <= secs(30)), "threat T5: {gone:?}");
    assert!(matches!(story.gone(carol), Some(Gone::Ended(sfu::publisher::Ended::IceLost))));
    let sent = story.stray(address);
    story.runs(secs(5));
    assert_eq!(story.stray(address), sent, "nothing is sent to it any more");
    assert!(story.screen(bob).longest_freeze(from) < ms(60));
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((1, 1), 2));
    story.holds();
}

#[test]
fn a_viewer_whose_address_changes_is_followed_after_it_answered() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.moves(bob);
    story.runs(secs(40));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}, {} checks of ours", story.server.desk_counters().address_checks);
    assert!(story.gone(bob).is_none(), "{:?}", story.gone(bob));
    // The server learns the new address at the next check; str0m checks about every 3 s.
    assert!(freeze < secs(5), "{freeze:?}");
    assert!(story.screen(bob).pictures.last().is_some_and(|p| p.age() < ms(100)));
    assert!(story.server.desk_counters().address_checks >= 1);
    story.holds();
}

#[test]
fn a_forged_address_is_sent_no_media_and_no_more_than_it_sent() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    let victim = story.new_address();
    let mut forged_bytes = 0;
    for _ in 0..20 {
        let request = story.binding_request(bob, true);
        forged_bytes += request.len();
        story.forges(victim, &request);
        story.runs(ms(100));
    }
    story.runs(secs(5));
    let stray = story.stray(victim);
    println!("{forged_bytes} bytes forged, {} sent in {} datagrams", stray.bytes, stray.datagrams);
    assert_eq!(stray.media, 0, "threat T4");
    assert!(stray.bytes <= forged_bytes * 3);
    assert!(story.screen(bob).longest_freeze(from) < ms(60), "and bob watches on");
    story.holds();
}

#[test]
fn a_forged_address_during_the_handshake_is_sent_no_media_either() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    story.runs(secs(2));
    let bob = story.watches("demo");
    let victim = story.new_address();
    let mut forged_bytes = 0;
    for _ in 0..30 {
        let request = story.binding_request(bob, true);
        forged_bytes += request.len();
        story.forges(victim, &request);
        story.runs(ms(10));
    }
    story.runs(secs(3));
    let stray = story.stray(victim);
    println!("{forged_bytes} bytes forged, {} sent in {} datagrams", stray.bytes, stray.datagrams);
    assert_eq!(stray.media, 0, "threat T4");
    assert!(stray.bytes <= forged_bytes * 3, "{} bytes for {forged_bytes}", stray.bytes);
    assert!(story.screen(bob).pictures.len() > 30, "{} pictures", story.screen(bob).pictures.len());
    story.holds();
}

#[test]
fn a_viewer_restarts_ice_and_sees_no_gap() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    for _ in 0..3 {
        let from = story.now();
        assert!(story.restarts_ice(bob));
        story.runs(secs(20));
        assert!(story.gone(bob).is_none());
        let freeze = story.screen(bob).longest_freeze(from);
        assert!(freeze < ms(100), "{freeze:?}");
    }
    story.holds();
}

#[test]
fn an_ice_restart_whose_answer_is_lost_changes_nothing() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    for _ in 0..3 {
        story.restarts_ice_in_vain(bob);
        story.runs(secs(20));
    }
    assert!(story.gone(bob).is_none(), "the old credentials are good until the new ones are used");
    assert!(story.restarts_ice(bob));
    story.runs(secs(30));
    assert!(story.gone(bob).is_none());
    let freeze = story.screen(bob).longest_freeze(from);
    assert!(freeze < ms(100), "{freeze:?}");
    story.holds();
}

#[test]
fn a_viewer_with_a_data_channel_moves_and_restarts_ice_too() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches_with("demo", Habits { with_channel: true, ..Habits::default() });
    story.runs(secs(3));
    let from = story.now();
    story.moves(bob);
    story.runs(secs(20));
    assert!(story.restarts_ice(bob));
    story.runs(secs(30));
    assert!(story.gone(bob).is_none(), "{:?}", story.gone(bob));
    let freeze = story.screen(bob).longest_freeze(from);
    assert!(freeze < secs(5), "{freeze:?}");
    assert!(story.screen(bob).pictures.last().is_some_and(|p| p.age() < ms(100)));
    story.holds();
}

#[test]
fn session_cannot_take_the_address_of_another_session() {
    let mut story = Story::with(Setup { shards: 2, desks: 2, ..Setup::default() });
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    // One of them is on bob's desk, the other is not.
    for _ in 0..2 {
        let mallory = story.watches("demo");
        story.runs(secs(2));
        for _ in 0..10 {
            let request = story.binding_request(mallory, true);
            story.forges(story.address(bob), &request);
            story.runs(secs(1));
        }
        // The addresses that the session bound are freed now; bob's address must not be.
        story.leaves(mallory);
        story.runs(secs(20));
    }
    assert!(story.gone(bob).is_none(), "{:?}", story.gone(bob));
    let freeze = story.screen(bob).longest_freeze(from);
    assert!(freeze < ms(100), "{freeze:?}");
    story.hangs_up(bob);
    story.runs(ms(200));
    assert!(story.gone(bob).is_some(), "its DTLS reached its own desk");
    story.holds();
}

#[test]
fn a_flight_of_the_handshake_may_be_lost_at_any_moment() {
    let mut story = Story::new();
    story.path(Path::both(Link::of(ms(30))));
    story.publishes("demo", Filming::default());
    story.runs(secs(2));
    for cut_at in (0..300).step_by(10) {
        let bob = story.watches("demo");
        story.runs(ms(cut_at));
        story.link(bob, Path { up: Link::of(ms(30)), down: Link::cut() });
        story.runs(ms(40));
        story.link(bob, Path::both(Link::of(ms(30))));
        story.runs(secs(8));
        assert!(story.connected_after(bob).is_some(), "cut after {cut_at} ms");
        assert!(story.screen(bob).pictures.last().is_some_and(|p| p.age() < ms(200)), "cut after {cut_at} ms");
        story.leaves(bob);
    }
    story.holds();
}

#[test]
fn a_viewer_changes_its_network_and_restarts_ice() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.moves(bob);
    story.runs(secs(1));
    assert!(story.restarts_ice(bob));
    story.runs(secs(30));
    assert!(story.gone(bob).is_none(), "{:?}", story.gone(bob));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}");
    assert!(freeze < secs(4), "{freeze:?}");
    assert!(story.screen(bob).pictures.last().is_some_and(|p| p.age() < ms(100)));
    story.holds();
}

#[test]
fn a_session_that_never_completes_ice_is_freed_after_15_seconds() {
    let mut story = Story::new();
    story.path(Path::both(Link::cut()));
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(ms(14_900));
    assert_eq!(story.server.sessions(), (1, 1));
    story.runs(ms(200));
    for peer in [alice, bob] {
        assert_eq!(story.gone(peer), Some(Gone::Closed(control::CloseReason::ConnectTimeout)));
    }
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((0, 0), 0));
    let now = story.instant();
    let snapshots = story.server.snapshots(now);
    assert!(snapshots.iter().all(|s| s.publishers == 0 && s.viewers == 0 && s.streams.is_empty()));
    story.holds();
}

#[test]
fn a_handshake_gets_through_a_bad_network() {
    let mut story = Story::new();
    story.path(Path::both(Link::of(ms(50)).loss(0.2).jitter(ms(20))));
    story.publishes("demo", Filming::default());
    let viewers: Vec<_> = (0..10).map(|_| story.watches("demo")).collect();
    story.runs(secs(15));
    let connected: Vec<_> = viewers.iter().filter_map(|v| story.connected_after(*v)).collect();
    println!("{} of 10 connected, the last after {:?}", connected.len(), connected.iter().max());
    assert!(connected.len() >= 9);
    story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
