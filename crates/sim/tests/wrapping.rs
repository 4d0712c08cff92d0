//! Counters of few bits wrap around while a viewer watches.

use media::Codec;
use sim::{Filming, Habits, Link, Path, Story, ms, secs};

#[test]
fn wrapping_counters_of_the_publisher_are_not_visible_to_viewers() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
        let mut story = Story::new();
        story.path(Path::both(Link::of(ms(15)).loss(0.01)));
        let filming = Filming {
            codec,
            first_sequence: 65_200,
            first_timestamp: u32::MAX - 90_000 * 4,
            first_picture_id: 0x7fff - 100,
            ..Filming::default()
        };
        story.publishes("demo", filming);
        let bob = story.watches("demo");
        story.runs(secs(2));
        let late = story.watches("demo");
        story.runs(secs(8));
        let later = story.watches("demo");
        story.runs(secs(5));
        for (viewer, at_least) in [(bob, 400), (late, 330), (later, 120)] {
            let screen = story.screen(viewer);
            assert!(screen.pictures.len() > at_least, "{codec}: {} pictures", screen.pictures.len());
            assert!(screen.longest_freeze(story.came_at(viewer) + secs(2)) < ms(500), "{codec}");
        }
        story.holds();
    }
}

#[test]
fn an_hour_goes_by_and_the_rollover_counter_with_it() {
    let mut story = Story::new();
    story.path(Path::both(Link::of(ms(15)).loss(0.005)));
    // About 48 packets a second: 173,000 in an hour, two and a half rollovers.
    let filming = Filming {
        frame_rate: 8.0,
        bits_per_second: 390_000,
        sound: Some(secs(1)),
        first_timestamp: u32::MAX - 90_000 * 1_800,
        ..Filming::default()
    };
    story.publishes("demo", filming);
    let bob = story.watches("demo");
    let plain = story.watches_with("demo", Habits { without_rtx: true, ..Habits::default() });
    story.runs(secs(3_000));
    let late = story.watches("demo");
    story.runs(secs(700));

    println!("highest index {}", story.highest_index(bob));
    assert!(story.highest_index(bob) > 2 * 65_536);
    for (viewer, at_least) in [(bob, 29_000), (plain, 29_000), (late, 5_300)] {
        let screen = story.screen(viewer);
        println!("{} pictures, {} given up", screen.pictures.len(), screen.given_up);
        assert!(screen.pictures.len() > at_least, "{} pictures", screen.pictures.len());
        assert!(screen.pictures.last().is_some_and(|p| p.age() < ms(400)));
        assert!(story.gone(viewer).is_none());
    }
    story.holds();
}
