//! Threads that are behind lose datagrams, relayed packets and questions, and never a change of
//! state.

use sim::{Filming, Gone, Setup, Story, ms, secs};

fn house() -> (Story, sim::Peer, Vec<sim::Peer>) {
    let mut story = Story::with(Setup { shards: 2, desks: 2, ..Setup::default() });
    let alice = story.on_shard(0).publishes("demo", Filming::default());
    story.runs(secs(2));
    let viewers: Vec<_> = (0..4).map(|n| story.on_shard(n % 2).watches("demo")).collect();
    story.runs(secs(3));
    (story, alice, viewers)
}

#[test]
fn viewers_that_leave_while_all_threads_are_behind_are_sent_nothing_any_more() {
    let (mut story, _, viewers) = house();
    story.server.set_overloaded(true);
    story.runs(ms(200));
    assert!(story.server.dropped() > 0, "packets for the other shard");
    for &viewer in &viewers {
        assert!(story.leaves(viewer));
    }
    story.runs(ms(200));
    let sent: Vec<_> = viewers.iter().map(|viewer| story.wires(*viewer).1.sent).collect();
    story.runs(secs(2));
    for (viewer, sent) in viewers.iter().zip(sent) {
        assert_eq!(story.wires(*viewer).1.sent, sent, "media for one who is gone");
    }
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((1, 0), 1));
    story.server.set_overloaded(false);
    story.holds();
}

#[test]
fn a_publisher_that_ends_while_all_threads_are_behind_leaves_its_stream_free() {
    let (mut story, alice, viewers) = house();
    story.server.set_overloaded(true);
    assert!(story.leaves(alice));
    story.runs(ms(200));
    // No handshake gets through threads that lose every datagram.
    story.server.set_overloaded(false);
    let carol = story.on_shard(0).publishes("demo", Filming::default());
    story.runs(secs(3));
    assert!(story.connected_after(carol).is_some());
    story.server.set_overloaded(true);
    story.vanishes(carol);
    story.runs(secs(12));
    assert!(matches!(story.gone(carol), Some(Gone::Ended(_))), "its end was told");
    story.server.set_overloaded(false);
    // Its stream is relayed to viewers on the other shard.
    let back = story.now();
    story.on_shard(1).publishes("demo", Filming::default());
    story.runs(secs(4));
    for &viewer in viewers.iter().filter(|viewer| story.gone(**viewer).is_none()) {
        assert!(story.screen(viewer).pictures.iter().any(|picture| picture.at > back));
    }
    story.holds();
}

#[test]
fn relayed_packets_that_are_lost_are_a_gap_and_the_next_key_frame_heals_it() {
    let (mut story, _, viewers) = house();
    let from = story.now();
    story.runs(ms(100));
    story.server.set_overloaded(true);
    story.runs(secs(1));
    story.server.set_overloaded(false);
    story.runs(secs(4));
    for (n, &viewer) in viewers.iter().enumerate() {
        assert!(story.gone(viewer).is_none());
        let screen = story.screen(viewer);
        let is_home = n % 2 == 0;
        let freeze = screen.longest_freeze(from);
        println!("viewer {n}: {freeze:?}");
        assert_eq!(freeze < ms(100), is_home);
        assert!(screen.pictures.last().is_some_and(|picture| picture.age() < ms(60)));
    }
    story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
