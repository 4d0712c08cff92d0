//! What does a viewer get over which network?
//!
//! A publisher sends three sizes with three temporal layers each; the server chooses. Every story is told with twenty seeds, with as many
//! as `SIM_SEEDS` says, or with `SIM_SEED` alone; `-- --nocapture` shows the figures. Bounds lie a little
//! beyond the worst of some hundred seeds, and beyond what half of them had: chance is hard on a viewer now and then, and its one bad
//! second must not hide that things became worse as a rule.

mod alone;
mod together;

use std::time::Duration;

use sim::{Filming, Link, Mark, Path, Peer, Seen, Setup, Story, ms, secs};

const SEEDS: u64 = 20;

/// 2 Mb/s, 500 and 125 kb/s, and sound.
fn three() -> Filming {
    Filming { sizes: 3, temporal_layers: 3, bits_per_second: 2_000_000, ..Filming::default() }
}

/// No way takes the same time for every packet.
fn way(one_way: u64) -> Link {
    Link::of(ms(one_way)).jitter(ms(2))
}

/// What comes up to the server does so undisturbed.
fn path(down: Link) -> Path {
    Path { up: way(down.one_way().as_millis() as u64), down }
}

/// A server and a publisher that has been there for two to three seconds.
fn on_air(seed: u64) -> (Story, Peer) {
    let mut story = Story::seeded(Setup::default(), seed);
    let publisher = story.publishes("demo", three());
    let moment = story.random().below(1_000);
    story.runs(ms(2_000 + moment));
    (story, publisher)
}

/// … and one that sends up to 2.5 Mb/s, of what its audience has use for, in pictures of all sizes.
fn filmed(seed: u64) -> (Story, Peer) {
    let mut story = Story::seeded(Setup::default(), seed);
    let publisher = story.publishes("demo", Filming { varies: true, bits_per_second: 2_500_000, ..three() });
    story.follows_audience(publisher);
    let moment = story.random().below(1_000);
    story.runs(ms(4_000 + moment));
    (story, publisher)
}

/// What a viewer sees from now on, for so long.
fn watched(story: &mut Story, publisher: Peer, viewer: Peer, span: Duration) -> Seen {
    let from: Mark = story.marks(viewer);
    story.runs(span);
    story.seen(publisher, from)
}

/// How long it takes until a viewer is shown the largest size; 20 s if it is not.
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
