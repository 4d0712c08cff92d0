//! Several shards: publisher and viewers reach different ones.

use sim::{Filming, Peer, Setup, Story, ms, secs};

fn is_watched(story: &mut Story, viewer: Peer) {
    let came = story.came_at(viewer);
    let screen = story.screen(viewer);
    let first = screen.pictures.first().expect("pictures").at - came;
    assert!(first < ms(400), "first picture after {first:?}");
    assert!(screen.longest_freeze(came + secs(2)) < ms(100));
    assert!(screen.pictures.last().is_some_and(|p| p.age() < ms(60)));
    assert_eq!(screen.video().missing(story.instant(), ms(500)), 0);
    assert!(story.screen(viewer).sounds.last().is_some_and(|p| p.age() < ms(100)));
}

#[test]
fn every_pair_of_shards_is_bridged() {
    for shards in [2, 4] {
        for publisher in 0..shards {
            let mut story = Story::with(Setup { shards, desks: 2, ..Setup::default() });
            let alice = story.on_shard(publisher).publishes("demo", Filming::default());
            story.runs(secs(4));
            let viewers: Vec<_> = (0..shards).map(|shard| story.on_shard(shard).watches("demo")).collect();
            story.runs(secs(4));
            for viewer in viewers {
                is_watched(&mut story, viewer);
            }
            let asked = story.camera(alice).asked_at.len();
            assert!(asked <= 2, "{asked} requests");
            story.holds();
        }
    }
}

#[test]
fn viewers_on_all_shards_wait_for_a_publisher_and_stay_when_it_reloads() {
    for shard in 0..4 {
        let mut story = Story::with(Setup { shards: 4, desks: 2, ..Setup::default() });
        let viewers: Vec<_> = (0..4).map(|shard| story.on_shard(shard).watches("demo")).collect();
        story.runs(secs(2));
        let alice = story.on_shard(shard).publishes("demo", Filming::default());
        story.runs(secs(4));
        for &viewer in &viewers {
            assert!(story.screen(viewer).pictures.len() > 90);
        }
        story.leaves(alice);
        story.runs(secs(2));
        let returned = story.now();
        story.on_shard((shard + 1) % 4).publishes("demo", Filming { codec: media::Codec::H264, ..Filming::default() });
        story.runs(secs(4));
        for &viewer in &viewers {
            let screen = story.screen(viewer);
            let back = screen.pictures.iter().find(|p| p.at > returned).expect("back").at - returned;
            assert!(back < ms(500), "back after {back:?}");
            assert!(screen.longest_freeze(returned + back) < ms(100));
            assert_eq!(screen.video().missing(story.instant(), ms(500)), 0);
        }
        story.holds();
    }
}

#[test]
fn viewer_that_moves_to_the_address_of_another_shard_continues() {
    let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
    story.on_shard(0).publishes("demo", Filming::default());
    let bob = story.on_shard(0).watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.on_shard(1).moves(bob);
    story.runs(secs(30));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}");
    assert!(story.gone(bob).is_none());
    assert!(freeze < secs(5), "{freeze:?}");
    // Its feedback arrives: a key frame that it requests is sent.
    story.holds();
}

#[test]
fn feedback_reaches_a_viewers_shard_from_another() {
    use sim::{Link, Path};
    let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
    story.on_shard(0).publishes("demo", Filming::default());
    let bob = story.on_shard(0).watches("demo");
    story.runs(secs(2));
    story.on_shard(1).moves(bob);
    story.runs(secs(6));
    story.link(bob, Path::both(Link::good().loss(0.05)));
    story.runs(secs(10));
    story.link(bob, Path::both(Link::good()));
    story.runs(secs(2));
    let screen = story.screen(bob);
    println!("{} late, {} missing", screen.video().late, screen.video().missing(story.instant(), ms(1_000)));
    assert!(screen.video().late > 20, "repairs come");
    story.holds();
}

#[test]
fn publisher_that_moves_to_the_address_of_another_shard_continues() {
    let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
    let alice = story.on_shard(0).publishes("demo", Filming::default());
    let bob = story.on_shard(1).watches("demo");
    story.runs(secs(3));
    let from = story.now();
    story.on_shard(1).moves(alice);
    story.runs(secs(30));
    let freeze = story.screen(bob).longest_freeze(from);
    println!("longest freeze {freeze:?}, gone {:?}", story.gone(alice));
    assert!(story.gone(alice).is_none());
    assert!(freeze < secs(6), "{freeze:?}");
    story.holds();
}

#[test]
fn a_replaced_publishers_pictures_are_not_relayed_a_second_time() {
    let mut story = Story::with(Setup { shards: 4, takeover: control::Takeover::Replace, ..Setup::default() });
    let alice = story.on_shard(1).publishes("demo", Filming { tells_capture_time: true, ..Filming::default() });
    let bob = story.on_shard(0).watches("demo");
    story.runs(secs(6));
    // The second session starts on shard 2 (of its epoch) and is moved to the shard that has
    // alice's pictures.
    let again = story.on_shard(1).publishes("demo", Filming::default());
    story.runs(secs(3));
    let mut seen: Vec<_> = story.screen(bob).pictures.iter().map(|p| p.stamp.source).collect();
    seen.dedup();
    assert_eq!(seen, [story.source(alice), story.source(again)]);
    assert_eq!(story.ledger.identical, 0, "nothing was lost, nothing is sent again");
    story.holds();
}

#[test]
fn ice_restarts_work_from_every_shard() {
    for shard in 0..2 {
        let mut story = Story::with(Setup { shards: 2, ..Setup::default() });
        let alice = story.on_shard(shard).publishes("demo", Filming::default());
        let bob = story.on_shard(1 - shard).watches("demo");
        story.runs(secs(3));
        let from = story.now();
        assert!(story.restarts_ice(alice));
        assert!(story.restarts_ice(bob));
        story.runs(secs(30));
        assert!(story.gone(alice).is_none() && story.gone(bob).is_none());
        let freeze = story.screen(bob).longest_freeze(from);
        assert!(freeze < ms(300), "{freeze:?}");
        story.holds();
    }
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
