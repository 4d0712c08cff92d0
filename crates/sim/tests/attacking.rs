//! Datagrams from strangers change no session.

use sim::{Filming, Setup, Story, ms, secs};

/// Returns datagrams that begin like a ClientHello of DTLS 1.2 and continue with random bytes.
fn client_hello(story: &mut Story) -> Vec<u8> {
    let mut bytes =
        vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 1, 0, 0, 88, 0, 0, 0, 0, 0, 0, 0, 88, 0xfe, 0xfd];
    bytes.extend(story.random().bytes(85));
    bytes
}

fn junk(story: &mut Story) -> Vec<u8> {
    let len = story.random().below(1_500) as usize;
    let mut bytes = story.random().bytes(len);
    if let Some(first) = bytes.first_mut() {
        *first = match story.random().below(5) {
            0 => 0x00,
            1 => 22,
            2 => 0x80,
            3 => 0x90,
            _ => *first,
        };
    }
    // Some of it has the payload type of RTCP.
    if bytes.len() > 1 && story.random().happens(0.3) {
        bytes[1] = 192 + story.random().below(32) as u8;
    }
    bytes
}

#[test]
fn junk_from_strangers_and_in_the_name_of_friends_changes_nothing() {
    let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(2));
    let from = story.now();
    let stranger = story.new_address();
    for _ in 0..4_000 {
        let bytes = junk(&mut story);
        let source = match story.random().below(3) {
            0 => stranger,
            1 => story.address(alice),
            _ => story.address(bob),
        };
        story.forges(source, &bytes);
        if story.random().happens(0.5) {
            story.runs(ms(1));
        }
    }
    story.runs(secs(2));
    assert_eq!(story.stray(stranger).bytes, 0, "no answer to strangers");
    let screen = story.screen(bob);
    assert!(screen.longest_freeze(from) < ms(100), "{:?}", screen.longest_freeze(from));
    assert_eq!(screen.video().missing(story.instant(), ms(500)), 0);
    assert!(story.gone(alice).is_none() && story.gone(bob).is_none());
    story.holds();
}

#[test]
fn forged_client_hellos_stop_no_handshake() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    story.runs(secs(2));
    for _ in 0..20 {
        let bob = story.watches("demo");
        let stranger = story.new_address();
        for n in 0..40 {
            let hello = client_hello(&mut story);
            // From a stranger's address, and from bob's.
            let source = if n % 2 == 0 { stranger } else { story.address(bob) };
            story.forges(source, &hello);
            story.runs(ms(5));
        }
        story.runs(secs(2));
        assert!(story.connected_after(bob).is_some(), "threat T1");
        assert!(!story.screen(bob).pictures.is_empty());
        assert_eq!(story.stray(stranger).bytes, 0);
        story.leaves(bob);
    }
    story.holds();
}

#[test]
fn replayed_datagrams_change_nothing() {
    use sim::{Link, Path};
    let mut story = Story::new();
    // Every datagram arrives twice: the second one is a replay.
    story.path(Path::both(Link::good().duplication(1.0)));
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(6));
    let screen = story.screen(bob);
    assert!(screen.pictures.len() > 150);
    assert_eq!(screen.repeated, 0);
    assert_eq!(screen.video().missing(story.instant(), ms(500)), 0);
    story.holds();
}

#[test]
fn viewer_that_requests_without_end_costs_the_publisher_two_key_frames_a_second() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(2));
    let (before, from) = (story.camera(alice).asked_at.len(), story.now());
    let greedy: Vec<_> = (0..5).map(|_| story.watches("demo")).collect();
    for _ in 0..1_000 {
        for &viewer in &greedy {
            story.asks_for_key_frame(viewer);
        }
        story.runs(ms(10));
    }
    let asked = story.camera(alice).asked_at.len() - before;
    println!("{asked} requests in 10 s");
    assert!((15..=21).contains(&asked), "threat T13: {asked}");
    assert!(story.screen(bob).longest_freeze(from) < ms(100));
    story.holds();
}

#[test]
fn a_viewer_whose_packets_never_come_is_resent_a_fifth_and_no_more() {
    use sim::{Link, Path};
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    let bob = story.watches("demo");
    story.runs(secs(2));
    story.link(bob, Path { up: Link::good(), down: Link::good().loss(0.6) });
    story.is_patient(bob).runs(secs(60));
    let session = story.session(bob);
    let now = story.instant();
    let report = story.server.report(now, session).expect("still here");
    for track in report.tracks {
        let counters = track.counters;
        println!(
            "{:?}: {} packets, {} nacks, {} sent again",
            track.kind, counters.packets, counters.nacks, counters.resent
        );
        assert!(counters.resent <= counters.packets / 4 + 200, "threat T13");
    }
    story.holds();
}

#[test]
fn every_byte_of_an_offer_may_be_wrong() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    story.runs(secs(1));
    for _ in 0..300 {
        story.watches_with_damaged_offer("demo");
    }
    story.runs(secs(20));
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((1, 0), 1));
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
