//! Somebody publishes and somebody watches: does it look right?

use std::time::Duration;

use sim::{Filming, Story};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_viewer_sees_and_hears_what_a_publisher_films() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    story.runs(secs(1));
    let bob = story.watches("demo");
    story.runs(secs(5));

    assert!(story.connected_after(alice).is_some() && story.connected_after(bob).is_some());
    let screen = story.screen(bob);
    println!(
        "{} pictures, {} sounds, first {:?} after coming, problems {:?}",
        screen.pictures.len(),
        screen.sounds.len(),
        screen.pictures.first().map(|p| p.at - secs(1)),
        screen.problems
    );
    assert!(screen.pictures.len() > 130, "{}", screen.pictures.len());
    assert!(screen.sounds.len() > 200);
    assert!(screen.video().began_with_a_key_frame());
    assert!(screen.longest_freeze(secs(2)) < ms(60));
    assert!(screen.pictures.last().is_some_and(|p| p.age() < ms(60)));
    story.holds();
}
