//! What does a viewer get over which network?
//!
//! A publisher sends three sizes with three temporal layers each; the server chooses. Every story is told with some seeds, and with
//! as many as `SIM_SEEDS` says: then the figures are printed (`-- --nocapture`), from the best to the worst.

use std::time::Duration;

use sim::{Bottleneck, Filming, Link, Path, Peer, Setup, Story, ms, secs, seeds};

const SEEDS: u64 = 20;

/// 2 Mb/s, 500 and 125 kb/s, and sound.
fn three() -> Filming {
    Filming { sizes: 3, temporal_layers: 3, bits_per_second: 2_000_000, ..Filming::default() }
}

/// No way takes the same time for every packet.
fn way(one_way: u64) -> Link {
    Link::of(ms(one_way)).jitter(ms(2))
}

fn path(down: Link) -> Path {
    Path { up: way(down.one_way().as_millis() as u64), down }
}

/// What somebody saw in some time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    longest_freeze: Duration,
    /// Pictures shown, of those that were filmed.
    pictures: f64,
    /// Sounds that came, of those that were made.
    sounds: f64,
    /// The longest time without sound.
    silence: Duration,
    /// How much longer than its way half of the sounds took: queues that we fill, mostly.
    queue: Duration,
    /// Share of the pictures that were of the largest size.
    top: f64,
    /// Bits a second that came.
    bits_per_second: f64,
}

/// A viewer, and where one begins to look.
#[derive(Clone, Copy)]
struct Mark {
    viewer: Peer,
    from: Duration,
    bytes: u64,
}

fn mark(story: &Story, viewer: Peer) -> Mark {
    Mark { viewer, from: story.now(), bytes: story.wires(viewer).1.bytes }
}

fn seen(story: &Story, publisher: Peer, mark: Mark) -> Seen {
    let Mark { viewer, from, bytes } = mark;
    let seconds = (story.now() - from).as_secs_f64();
    let screen = story.screen(viewer);
    let gaps = |times: &[Duration]| {
        let ends = [from].into_iter().chain(times.iter().copied());
        ends.zip(times.iter().copied().chain([story.now()])).map(|(a, b)| b - a).max().unwrap_or_default()
    };
    let pictures: Vec<_> = screen.pictures.iter().filter(|shown| shown.at >= from).collect();
    let sounds: Vec<_> = screen.sounds.iter().filter(|shown| shown.at >= from).collect();
    let mut ages: Vec<_> = sounds.iter().map(|shown| shown.age()).collect();
    ages.sort();
    let way = screen.sounds.iter().map(|shown| shown.age()).min().unwrap_or_default();
    let top = story.source(publisher) + 2 * sim::SIZE_STEP;
    Seen {
        longest_freeze: gaps(&pictures.iter().map(|shown| shown.at).collect::<Vec<_>>()),
        pictures: pictures.len() as f64 / (seconds * 30.0),
        sounds: sounds.len() as f64 / (seconds * 50.0),
        silence: gaps(&sounds.iter().map(|shown| shown.at).collect::<Vec<_>>()),
        queue: ages.get(ages.len() / 2).copied().unwrap_or_default().saturating_sub(way),
        top: pictures.iter().filter(|shown| shown.stamp.source == top).count() as f64 / pictures.len().max(1) as f64,
        bits_per_second: (story.wires(viewer).1.bytes - bytes) as f64 * 8.0 / seconds,
    }
}

/// A server and a publisher that has been there for two to three seconds.
fn on_air(seed: u64) -> (Story, Peer) {
    let mut story = Story::seeded(Setup::default(), seed);
    let publisher = story.publishes("demo", three());
    let moment = story.random().below(1_000);
    story.runs(ms(2_000 + moment));
    (story, publisher)
}

/// … and a viewer on this network, who came just now.
fn begins(seed: u64, down: Link) -> (Story, Peer, Peer) {
    let (mut story, publisher) = on_air(seed);
    let viewer = story.path(path(down)).watches("demo");
    (story, publisher, viewer)
}

/// What a viewer sees of a network that stays as it is, after `settling`.
fn steady(seed: u64, down: Link, settling: Duration) -> Seen {
    let (mut story, publisher, viewer) = begins(seed, down);
    story.runs(settling);
    let from = mark(&story, viewer);
    story.runs(secs(20));
    story.holds();
    seen(&story, publisher, from)
}

/// A viewer on a network that becomes another after five seconds, and is looked at after ten more. Handshakes take seconds over
/// networks that lose much, and bursts are as many packets long, however few are sent.
fn later(seed: u64, first: Link, then: Link) -> (Story, Peer, Mark) {
    let (mut story, publisher, viewer) = begins(seed, first);
    story.runs(secs(5));
    story.link(viewer, path(then));
    story.runs(secs(10));
    let from = mark(&story, viewer);
    story.runs(secs(20));
    story.holds();
    (story, publisher, from)
}

/// Tells a story with all seeds, each of which has to keep to `bounds`: what is measured, the least and the most of it. They were
/// set beyond the worst of 200 seeds: handshakes are not the same each time. Returns the medians.
fn told(name: &str, story: impl Fn(u64) -> Vec<f64>, bounds: &[(&str, f64, f64)]) -> Vec<f64> {
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); bounds.len()];
    let mut broken = Vec::new();
    let seeds = seeds(SEEDS);
    for seed in &seeds {
        let measured = story(*seed);
        assert_eq!(measured.len(), bounds.len());
        for ((value, (what, least, most)), figures) in measured.into_iter().zip(bounds).zip(&mut figures) {
            figures.push(value);
            if !(*least..=*most).contains(&value) {
                broken.push(format!("seed {seed}: {what} is {value:.3}; {least} to {most} is allowed"));
            }
        }
    }
    for ((what, ..), figures) in bounds.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let at = |share: f64| figures[((figures.len() - 1) as f64 * share) as usize];
        println!(
            "{name}, {} seeds: {what} {:.3} {:.3} {:.3} {:.3} {:.3}",
            seeds.len(),
            at(0.0),
            at(0.05),
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
    let replay = "SIM_SEED=… cargo test --release -p sim --test networks";
    assert!(broken.is_empty(), "{name}; to replay one of them: {replay} {name}\n{}", broken.join("\n"));
    figures.iter().map(|sorted| sorted[(sorted.len() - 1) / 2]).collect()
}

const ALL: f64 = f64::INFINITY;

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[test]
fn a_cliff_is_followed_down_and_up() {
    let story = |seed| {
        let wide = way(25).rate(3_000_000);
        let (mut story, publisher, viewer) = begins(seed, wide);
        story.runs(secs(10));
        let from = mark(&story, viewer);
        story.link(viewer, path(wide.rate(500_000)));
        story.runs(secs(15));
        let narrow = seen(&story, publisher, from);
        story.link(viewer, path(wide));
        let back = story.runs_until(secs(20), |story| story.size(publisher, viewer) == Some(2));
        story.holds();
        vec![seconds(narrow.longest_freeze), seconds(narrow.silence), seconds(back.unwrap_or(secs(20)))]
    };
    told(
        "a_cliff_is_followed_down_and_up",
        story,
        &[("freeze s", 0.0, 1.8), ("silence s", 0.0, 0.3), ("back s", 0.0, 10.0)],
    );
}

#[test]
fn a_ramp_is_followed_down_and_up() {
    let story = |seed| {
        let way = |kbps: u64| way(25).rate(kbps * 1_000);
        let (mut story, publisher, viewer) = begins(seed, way(4_000));
        story.runs(secs(8));
        let from = mark(&story, viewer);
        for kbps in (0..18).map(|step| 3_800 - 200 * step).chain((400..=4_000).step_by(200)) {
            story.link(viewer, path(way(kbps)));
            story.runs(ms(1_000));
        }
        let seen = seen(&story, publisher, from);
        let back = story.runs_until(secs(20), |story| story.size(publisher, viewer) == Some(2));
        story.holds();
        vec![seconds(seen.longest_freeze), seen.pictures, millis(seen.queue), seconds(back.unwrap_or(secs(20)))]
    };
    let bounds = [("freeze s", 0.0, 1.8), ("pictures", 0.7, ALL), ("queue ms", 0.0, 15.0), ("back s", 0.0, 5.0)];
    told("a_ramp_is_followed_down_and_up", story, &bounds);
}

#[test]
fn five_behind_one_bottleneck_share_it() {
    let story = |seed| {
        let (mut story, publisher) = on_air(seed);
        let shared = story.bottleneck(Link::of(ms(0)).rate(5_000_000));
        let viewers: Vec<Peer> = (0..5).map(|_| joins_behind(&mut story, shared)).collect();
        story.runs(secs(20));
        let marks: Vec<Mark> = viewers.iter().map(|viewer| mark(&story, *viewer)).collect();
        story.runs(secs(30));
        story.holds();
        let seen: Vec<Seen> = marks.into_iter().map(|mark| seen(&story, publisher, mark)).collect();
        let sum: f64 = seen.iter().map(|one| one.bits_per_second).sum();
        let squares: f64 = seen.iter().map(|one| one.bits_per_second.powi(2)).sum();
        let freeze = seen.iter().map(|one| one.longest_freeze).max().unwrap_or_default();
        let queue = seen.iter().map(|one| one.queue).max().unwrap_or_default();
        vec![sum * sum / (5.0 * squares), sum / 5e6, seconds(freeze), millis(queue)]
    };
    let bounds = [("Jain", 0.4, 1.0), ("used", 0.4, 1.0), ("freeze s", 0.0, 3.0), ("queue ms", 0.0, 20.0)];
    let medians = told("five_behind_one_bottleneck_share_it", story, &bounds);
    // With a single seed the median is that one.
    assert!(medians[0] >= 0.9 || seeds(SEEDS).len() == 1, "{medians:?}");
}

fn joins_behind(story: &mut Story, shared: Bottleneck) -> Peer {
    let viewer = story.path(path(way(25))).behind(shared).watches("demo");
    story.runs(ms(1_300));
    viewer
}

#[test]
fn a_download_beside_us_takes_its_share_and_leaves_ours() {
    let story = |seed| {
        let (mut story, publisher) = on_air(seed);
        let shared = story.bottleneck(Link::of(ms(0)).rate(4_000_000).queue(ms(100)));
        let viewer = joins_behind(&mut story, shared);
        story.runs(secs(8));
        let download = story.downloads(shared, ms(20));
        story.runs(secs(10));
        let (from, before) = (mark(&story, viewer), story.downloaded(download));
        story.runs(secs(30));
        let theirs = (story.downloaded(download) - before) as f64 * 8.0 / 30.0;
        story.holds();
        let ours = seen(&story, publisher, from);
        vec![ours.bits_per_second / 4e6, theirs / 4e6, seconds(ours.longest_freeze), ours.sounds]
    };
    let bounds = [("ours", 0.02, 0.8), ("theirs", 0.2, 1.0), ("freeze s", 0.0, 3.0), ("sounds", 0.93, ALL)];
    told("a_download_beside_us_takes_its_share_and_leaves_ours", story, &bounds);
}

#[test]
fn bursts_of_loss_as_in_wifi_are_repaired() {
    let story = |seed| {
        let wifi = way(15).rate(20_000_000);
        let (story, publisher, from) = later(seed, wifi, wifi.bursts(0.004, 8.0));
        let seen = seen(&story, publisher, from);
        vec![seconds(seen.longest_freeze), seen.pictures, seen.top]
    };
    told(
        "bursts_of_loss_as_in_wifi_are_repaired",
        story,
        &[("freeze s", 0.0, 3.0), ("pictures", 0.8, ALL), ("top", 0.9, 1.0)],
    );
}

#[test]
fn jitter_of_a_phone_is_no_congestion() {
    let story = |seed| {
        let seen = steady(seed, way(40).rate(10_000_000).jitter(ms(100)), secs(15));
        vec![seconds(seen.longest_freeze), seen.pictures, seen.top]
    };
    told(
        "jitter_of_a_phone_is_no_congestion",
        story,
        &[("freeze s", 0.0, 0.4), ("pictures", 0.45, ALL), ("top", 0.3, 1.0)],
    );
}

#[test]
fn a_queue_of_a_second_is_not_filled() {
    let story = |seed| {
        let seen = steady(seed, way(25).rate(1_000_000).queue(ms(1_000)), secs(20));
        vec![millis(seen.queue), seconds(seen.longest_freeze), seen.bits_per_second / 1e6]
    };
    told(
        "a_queue_of_a_second_is_not_filled",
        story,
        &[("queue ms", 0.0, 10.0), ("freeze s", 0.0, 0.6), ("used", 0.55, 1.0)],
    );
}

#[test]
fn a_tenth_lost_is_no_congestion() {
    let story = |seed| {
        let (story, publisher, from) = later(seed, way(25), way(25).loss(0.1));
        let seen = seen(&story, publisher, from);
        vec![seconds(seen.longest_freeze), seen.pictures, seen.top]
    };
    told("a_tenth_lost_is_no_congestion", story, &[("freeze s", 0.0, 4.0), ("pictures", 0.6, ALL), ("top", 0.9, 1.0)]);
}

#[test]
fn every_length_of_way_works() {
    for one_way in [10, 50, 150] {
        let story = |seed| {
            let seen = steady(seed, way(one_way).rate(3_000_000), secs(12));
            vec![seconds(seen.longest_freeze), seen.pictures, seen.top, millis(seen.queue)]
        };
        let bounds = [("freeze s", 0.0, 0.25), ("pictures", 0.85, ALL), ("top", 0.95, 1.0), ("queue ms", 0.0, 20.0)];
        told("every_length_of_way_works", story, &bounds);
    }
}

#[test]
fn packets_that_overtake_each_other_are_no_loss() {
    let story = |seed| {
        let seen = steady(seed, way(25).rate(5_000_000).reordering(0.05), secs(12));
        vec![seconds(seen.longest_freeze), seen.pictures, seen.top]
    };
    told(
        "packets_that_overtake_each_other_are_no_loss",
        story,
        &[("freeze s", 0.0, 0.2), ("pictures", 0.97, ALL), ("top", 0.95, 1.0)],
    );
}
