//! A core that cannot send everything sheds load instead of serving every viewer late.

use std::time::Duration;

use media::Codec;
use sfu::stream::choice::Preferences;
use sim::{Filming, Peer, Story, ms, secs};

/// Returns the age of the oldest picture that a viewer was shown after `from`.
fn oldest(story: &Story, viewer: Peer, from: Duration) -> Duration {
    let shown = story.screen(viewer).pictures.iter().filter(|shown| shown.at >= from);
    shown.map(sim::Shown::age).max().expect("pictures were shown")
}

fn pictures(story: &Story, viewer: Peer, from: Duration) -> usize {
    story.screen(viewer).pictures.iter().filter(|shown| shown.at >= from).count()
}

#[test]
fn a_full_core_leaves_out_layers_until_viewers_are_in_time_and_sends_them_again_later() {
    let mut story = Story::new();
    let filming = Filming { sizes: 3, bits_per_second: 2_000_000, ..Filming::default() };
    let alice = story.publishes("demo", filming);
    story.runs(secs(2));
    let viewers: Vec<_> = (0..6).map(|_| story.watches("demo")).collect();
    // For 10 s after they joined, viewers are served after others.
    story.runs(secs(12));
    for viewer in &viewers {
        assert_eq!(story.size(alice, *viewer), Some(2));
    }
    // Full rates need about 6 x 270 datagrams a second.
    story.server.set_core(Some(1_000));
    story.runs(secs(10));
    assert!(story.server.load(0).max_bps.is_some());
    let from = story.now();
    story.runs(secs(5));
    for viewer in &viewers {
        let oldest = oldest(&story, *viewer, from);
        assert!(oldest < ms(400), "{oldest:?}");
        assert!(pictures(&story, *viewer, from) > 5 * 10);
        assert!(story.size(alice, *viewer) < Some(2));
    }
    story.server.set_core(None);
    story.runs(secs(30));
    assert_eq!(story.server.load(0).max_bps, None);
    for viewer in &viewers {
        assert_eq!(story.size(alice, *viewer), Some(2));
    }
    story.holds();
}

#[test]
fn a_full_core_leaves_out_pictures_before_it_leaves_out_sizes() {
    let mut story = Story::new();
    let filming =
        Filming { codec: Codec::Vp8, sizes: 2, temporal_layers: 3, bits_per_second: 2_000_000, ..Filming::default() };
    let alice = story.publishes("demo", filming);
    story.runs(secs(2));
    let viewers: Vec<_> = (0..6).map(|_| story.watches("demo")).collect();
    story.runs(secs(12));
    let from = story.now();
    story.runs(secs(3));
    let before = pictures(&story, viewers[0], from);
    // A little less than the full rates need.
    story.server.set_core(Some(1_400));
    story.runs(secs(10));
    let from = story.now();
    story.runs(secs(3));
    for viewer in &viewers {
        let oldest = oldest(&story, *viewer, from);
        assert!(oldest < ms(400), "{oldest:?}");
    }
    let largest = viewers.iter().filter(|viewer| story.size(alice, **viewer) == Some(1)).count();
    assert_eq!(largest, viewers.len(), "the size stays");
    assert!(pictures(&story, viewers[0], from) < before * 3 / 4, "fewer pictures");
    story.holds();
}

#[test]
fn without_layers_viewers_that_are_too_late_go_to_the_live_edge() {
    let mut story = Story::new();
    story.publishes("demo", Filming { bits_per_second: 1_500_000, ..Filming::default() });
    story.runs(secs(2));
    let viewers: Vec<_> = (0..6).map(|_| story.watches("demo")).collect();
    story.runs(secs(12));
    story.server.set_core(Some(700));
    story.runs(secs(10));
    let from = story.now();
    story.runs(secs(10));
    for viewer in &viewers {
        let oldest = oldest(&story, *viewer, from);
        // 1.5 to 4.4 s, by the moment at which the core becomes slow.
        assert!(oldest < ms(4_500), "{oldest:?}");
        assert!(pictures(&story, *viewer, from) > 0);
    }
    // No backlog is left once the core has time.
    story.server.set_core(None);
    story.runs(secs(2));
    let from = story.now();
    story.runs(secs(3));
    for viewer in &viewers {
        let oldest = oldest(&story, *viewer, from);
        assert!(oldest < ms(200), "{oldest:?}");
    }
    story.holds();
}

#[test]
fn a_viewer_that_wishes_a_size_is_shed_like_others() {
    let mut story = Story::new();
    let filming = Filming { sizes: 3, bits_per_second: 2_000_000, ..Filming::default() };
    let alice = story.publishes("demo", filming);
    story.runs(secs(2));
    let viewers: Vec<_> = (0..6).map(|_| story.watches("demo")).collect();
    for viewer in &viewers {
        story.prefers(*viewer, Preferences { encoding: Some(2), ..Preferences::default() });
    }
    story.runs(secs(12));
    story.server.set_core(Some(1_000));
    story.runs(secs(13));
    let from = story.now();
    story.runs(secs(3));
    for viewer in &viewers {
        let oldest = oldest(&story, *viewer, from);
        assert!(oldest < ms(400), "{oldest:?}");
        assert!(story.size(alice, *viewer) < Some(2));
    }
    story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
