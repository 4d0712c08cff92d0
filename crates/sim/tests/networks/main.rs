//! Which quality does a viewer get over which network?
//!
//! A publisher sends three sizes with three temporal layers each; the server chooses. Every story
//! is played with twenty seeds, with the number in `SIM_SEEDS`, or with `SIM_SEED` alone; `--
//! --nocapture` prints the figures. A figure has two bounds, a little beyond the worst of some
//! hundred seeds and a little beyond their median: single seeds are unlucky, and one bad second of
//! them must not hide a general regression.

mod alone;
mod together;

use std::time::Duration;

use sim::{Filming, Link, Mark, Path, Peer, Seen, Setup, Story, ms, secs};

const SEEDS: u64 = 20;

/// 2 Mb/s, 500 and 125 kb/s, and sound.
fn three() -> Filming {
    Filming { sizes: 3, temporal_layers: 3, bits_per_second: 2_000_000, ..Filming::default() }
}

/// Returns a link with a little jitter, as every real path has.
fn way(one_way: u64) -> Link {
    Link::of(ms(one_way)).jitter(ms(2))
}

/// Returns a path whose uplink is undisturbed.
fn path(down: Link) -> Path {
    Path { up: way(down.one_way().as_millis() as u64), down }
}

/// Makes a server and a publisher that has been sending for two to three seconds.
fn on_air(seed: u64) -> (Story, Peer) {
    let mut story = Story::seeded(Setup::default(), seed);
    let publisher = story.publishes("demo", three());
    let moment = story.random().below(1_000);
    story.runs(ms(2_000 + moment));
    (story, publisher)
}

/// Makes the same with a publisher that sends up to 2.5 Mb/s, as its audience needs, in pictures of
/// varying numbers of bits.
fn filmed(seed: u64) -> (Story, Peer) {
    let mut story = Story::seeded(Setup::default(), seed);
    let publisher = story.publishes("demo", Filming { varies: true, bits_per_second: 2_500_000, ..three() });
    story.follows_audience(publisher);
    let moment = story.random().below(1_000);
    story.runs(ms(4_000 + moment));
    (story, publisher)
}

/// Returns the figures of a viewer over the next `span`.
fn watched(story: &mut Story, publisher: Peer, viewer: Peer, span: Duration) -> Seen {
    let from: Mark = story.marks(viewer);
    story.runs(span);
    story.seen(publisher, from)
}

/// Returns the time until a viewer gets the largest size; 20 s if it does not.
fn until_top(story: &mut Story, publisher: Peer, viewer: Peer) -> Duration {
    story.runs_until(secs(20), |story| story.size(publisher, viewer) == Some(2)).unwrap_or(secs(20))
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
