//! A publisher sends its pictures in three sizes; each viewer gets one.

use media::Codec;
use sfu::stream::choice::Preferences;
use sim::{Filming, Link, Path, Peer, Setup, Story, ms, secs};

fn three() -> Filming {
    Filming { sizes: 3, bits_per_second: 2_000_000, ..Filming::default() }
}

fn preferences(encoding: u8) -> Preferences {
    Preferences { encoding: Some(encoding), ..Preferences::default() }
}

fn no_freeze(story: &Story, viewer: Peer, from: std::time::Duration) {
    let freeze = story.screen(viewer).longest_freeze(from);
    assert!(freeze < ms(200), "{freeze:?}");
}

#[test]
fn all_viewers_get_the_largest_size_soon_on_a_good_network() {
    for shards in [1, 2] {
        let mut story = Story::with(Setup { shards, ..Setup::default() });
        let alice = story.on_shard(0).publishes("demo", three());
        story.runs(secs(3));
        let viewers: Vec<_> = (0..shards).map(|shard| story.on_shard(shard).watches("demo")).collect();
        story.runs(secs(3));
        for viewer in viewers {
            assert_eq!(story.size(alice, viewer), Some(2));
            no_freeze(&story, viewer, story.now() - secs(2));
        }
        story.holds();
    }
}

#[test]
fn four_sizes_are_all_forwarded() {
    let mut story = Story::new();
    let four = Filming { sizes: 4, bits_per_second: 2_000_000, ..Filming::default() };
    let alice = story.publishes("demo", four);
    story.runs(secs(2));
    let bob = story.watches("demo");
    story.runs(secs(3));
    assert_eq!(story.size(alice, bob), Some(3), "the largest");
    let from = story.now();
    for size in [0, 1, 2, 3] {
        story.prefers(bob, preferences(size));
        story.runs(ms(1_500));
        assert_eq!(story.size(alice, bob), Some(u32::from(size)));
    }
    no_freeze(&story, bob, from);
    story.holds();
}

#[test]
fn a_viewer_goes_from_size_to_size_without_a_gap() {
    for shards in [1, 2] {
        let mut story = Story::with(Setup { shards, ..Setup::default() });
        let alice = story.on_shard(0).publishes("demo", three());
        story.runs(secs(2));
        let bob = story.on_shard(shards - 1).watches("demo");
        let carol = story.watches("demo");
        story.runs(secs(3));
        let from = story.now();
        for size in [0, 2, 1, 0, 1, 2] {
            story.prefers(bob, preferences(size));
            story.runs(ms(1_500));
            assert_eq!(story.size(alice, bob), Some(u32::from(size)));
            assert_eq!(story.size(alice, carol), Some(2), "others see what they saw");
        }
        no_freeze(&story, bob, from);
        no_freeze(&story, carol, from);
        assert_eq!(story.screen(bob).video().missing(story.instant(), ms(500)), 0);
        story.holds();
    }
}

#[test]
fn a_size_that_dries_up_is_replaced_by_the_next_and_taken_again() {
    let mut story = Story::new();
    let alice = story.publishes("demo", three());
    story.runs(secs(2));
    let bob = story.watches("demo");
    story.runs(secs(3));
    story.camera(alice).switch(2, false);
    story.runs(secs(4));
    assert_eq!(story.size(alice, bob), Some(1));
    let from = story.now();
    story.camera(alice).switch(2, true);
    story.runs(secs(4));
    assert_eq!(story.size(alice, bob), Some(2));
    no_freeze(&story, bob, from);
    story.holds();
}

#[test]
fn hidden_viewer_gets_no_video_and_the_largest_size_when_it_is_visible_again() {
    let mut story = Story::new();
    let alice = story.publishes("demo", three());
    story.runs(secs(2));
    let bob = story.watches("demo");
    story.runs(secs(2));
    story.prefers(bob, Preferences { is_hidden: true, ..Preferences::default() });
    story.runs(ms(200));
    let (pictures, sounds) = (story.screen(bob).pictures.len(), story.screen(bob).sounds.len());
    story.runs(secs(5));
    assert_eq!(story.screen(bob).pictures.len(), pictures, "no picture");
    assert!(story.screen(bob).sounds.len() > sounds + 200, "but sound");
    story.prefers(bob, Preferences::default());
    story.runs(secs(2));
    assert_eq!(story.size(alice, bob), Some(2));
    assert!(story.screen(bob).pictures.len() > pictures + 40);
    story.holds();
}

#[test]
fn sizes_go_on_over_a_lossy_network() {
    for seed in 0..20 {
        let mut story = Story::seeded(Setup::default(), seed);
        let alice = story.publishes("demo", three());
        story.runs(secs(2));
        let bob = story.path(Path { up: Link::of(ms(20)), down: Link::of(ms(20)).loss(0.03) }).watches("demo");
        story.runs(secs(3));
        for size in [1, 2, 0, 2] {
            story.prefers(bob, preferences(size));
            story.runs(secs(2));
            assert_eq!(story.size(alice, bob), Some(u32::from(size)), "seed {seed}");
        }
        story.holds();
    }
}

#[test]
fn a_network_that_becomes_narrow_is_followed_down_and_up() {
    let narrow = |rate| Path { up: Link::of(ms(20)), down: Link::of(ms(20)).rate(rate) };
    for seed in 0..20 {
        let mut story = Story::seeded(Setup::default(), seed);
        let alice = story.publishes("demo", three());
        story.runs(secs(2));
        let bob = story.path(narrow(4_000_000)).watches("demo");
        story.runs(secs(4));
        assert_eq!(story.size(alice, bob), Some(2), "seed {seed}");
        let from = story.now();
        story.link(bob, narrow(900_000));
        story.runs(secs(6));
        assert_eq!(story.size(alice, bob), Some(1), "seed {seed}");
        assert!(story.screen(bob).longest_freeze(from) < ms(1_300), "seed {seed}");
        let settled = story.now();
        story.runs(secs(6));
        no_freeze(&story, bob, settled);
        story.link(bob, narrow(4_000_000));
        story.runs(secs(10));
        assert_eq!(story.size(alice, bob), Some(2), "seed {seed}");
        story.holds();
    }
}

#[test]
fn a_network_that_carries_no_more_gets_fewer_pictures_before_smaller_ones() {
    for (codec, seed) in [(Codec::Vp8, 0), (Codec::Vp9, 1), (Codec::Vp8, 2), (Codec::Vp9, 3)] {
        let mut story = Story::seeded(Setup::default(), seed);
        let alice = story.publishes("demo", Filming { codec, temporal_layers: 3, ..three() });
        story.runs(secs(2));
        let narrow = Path { up: Link::of(ms(20)), down: Link::of(ms(20)).rate(480_000) };
        let bob = story.path(narrow).watches("demo");
        story.runs(secs(10));
        assert_eq!(story.size(alice, bob), Some(1), "seed {seed}");
        let (from, before) = (story.now(), story.screen(bob).pictures.len());
        story.runs(secs(4));
        let pictures = story.screen(bob).pictures.len() - before;
        // Half of the frame rate is 60 pictures. The network carries nearly all layers, so up to a
        // second of an attempt at them may fall into this time.
        assert!((50..=80).contains(&pictures), "seed {seed}: {pictures} in 4 s");
        // A key frame in between takes a quarter of a second on this network.
        let freeze = story.screen(bob).longest_freeze(from);
        assert!(freeze < ms(700), "seed {seed}: {freeze:?}");
        story.holds();
    }
}

#[test]
fn a_rate_of_pictures_may_be_wished_and_taken_back() {
    for codec in [Codec::Vp8, Codec::Vp9] {
        let mut story = Story::new();
        story.publishes("demo", Filming { codec, temporal_layers: 3, ..Filming::default() });
        story.runs(secs(2));
        let bob = story.watches("demo");
        story.runs(secs(2));
        let from = story.now();
        for (most, expected) in [(15, 28..=32), (8, 13..=17), (60, 58..=61)] {
            story.prefers(bob, Preferences { max_frame_rate: Some(most), ..Preferences::default() });
            story.runs(ms(500));
            let before = story.screen(bob).pictures.len();
            story.runs(secs(2));
            let pictures = story.screen(bob).pictures.len() - before;
            assert!(expected.contains(&pictures), "{codec}, at most {most}: {pictures} in 2 s");
        }
        no_freeze(&story, bob, from);
        assert_eq!(story.screen(bob).given_up, 0);
        story.holds();
    }
}

#[test]
fn layers_are_left_out_and_taken_again_over_a_lossy_network() {
    for seed in 0..40 {
        let codec = if seed % 2 == 0 { Codec::Vp8 } else { Codec::Vp9 };
        let mut story = Story::seeded(Setup::default(), seed);
        story.publishes("demo", Filming { codec, temporal_layers: 3, ..three() });
        story.runs(secs(2));
        let link = || Link::of(ms(20)).loss(0.03).jitter(ms(8));
        // A handshake over such a link may take seconds, because its timer starts at one second and
        // doubles. The story is about the time after it.
        let bob = story.watches("demo");
        story.runs(secs(1));
        story.link(bob, Path { up: link(), down: link() });
        story.runs(secs(2));
        for (wished, most) in [(360, 15), (720, 60), (180, 15), (720, 8), (720, 60)] {
            story.prefers(
                bob,
                Preferences { max_height: Some(wished), max_frame_rate: Some(most), ..Preferences::default() },
            );
            story.runs(secs(2));
        }
        let shown = story.screen(bob).pictures.len();
        assert!(shown > 150, "seed {seed}: {shown}");
        story.holds();
    }
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
