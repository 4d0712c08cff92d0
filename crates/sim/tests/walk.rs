//! Random steps in any order: all invariants hold.
//!
//! `SIM_SEED=… cargo test --release -p sim walk` runs one walk, `SIM_SEEDS=500 …` this number of
//! walks.

use std::time::Duration;

use control::Takeover;
use media::Codec;
use sim::{Filming, Habits, Link, Path, Peer, Random, Setup, Story, ms, secs, seeds};

/// Number of walks; each takes about 0.3 s. 200 passed when this was written.
const WALKS: u64 = 60;

/// Virtual duration of each walk.
const SPAN: Duration = secs(60);

const STREAMS: [&str; 2] = ["demo", "other"];

#[test]
fn a_random_walk_breaks_nothing() {
    let (mut pictures, mut packets) = (0, 0);
    for seed in seeds(WALKS) {
        let (shown, sent) = walk(seed);
        pictures += shown;
        packets += sent;
    }
    println!("{pictures} pictures shown, {packets} SRTP packets looked at");
    assert!(pictures > 0);
}

fn walk(seed: u64) -> (usize, u64) {
    let mut lots = Random::new(seed);
    let takeover = if lots.happens(0.5) { Takeover::Refuse } else { Takeover::Replace };
    let setup = Setup { shards: [1, 2, 4][lots.below(3) as usize], desks: 1 + lots.below(2) as u8, takeover };
    let mut story = Story::seeded(setup, seed);
    let mut here: Vec<Peer> = Vec::new();
    let end = story.now() + SPAN;
    while story.now() < end {
        step(&mut story, &mut lots, &mut here);
        story.runs(ms(50 + lots.below(1_500)));
        here.retain(|peer| story.gone(*peer).is_none());
        story.holds();
    }
    settles(&mut story, &here);
    let pictures = story.everyone().filter(|p| !story.is_camera(*p)).map(|p| story.screen(p).pictures.len()).sum();
    (pictures, story.ledger.packets)
}

fn step(story: &mut Story, lots: &mut Random, here: &mut Vec<Peer>) {
    let stream = STREAMS[lots.below(2) as usize];
    let any = (!here.is_empty()).then(|| here[lots.below(here.len() as u64) as usize]);
    story.path(path(lots));
    match (lots.below(12), any) {
        (0 | 1, _) => {
            if let Ok(peer) = story.tries_to_publish(stream, filming(lots), Habits::default()) {
                here.push(peer);
            }
        }
        (2..=4, _) if here.len() < 8 => {
            if let Ok(peer) = story.tries_to_watch(stream, habits(lots)) {
                here.push(peer);
            }
        }
        (5, Some(peer)) => drop(story.leaves(peer)),
        (6, Some(peer)) => story.vanishes(peer),
        (7, Some(peer)) => drop(story.moves(peer)),
        (8, Some(peer)) => drop(story.restarts_ice(peer)),
        (9 | 10, Some(peer)) => {
            let path = path(lots);
            story.link(peer, path);
        }
        (11, Some(peer)) if lots.happens(0.2) => {
            let _ = peer;
            story.kicks(stream);
        }
        (_, Some(peer)) if !story.is_camera(peer) => {
            let request = story.binding_request(peer, true);
            let stranger = story.new_address();
            story.forges(stranger, &request);
            let junk = lots.bytes(200);
            let address = story.address(peer);
            story.forges(address, &junk);
        }
        _ => {}
    }
}

/// Lets all peers leave, and checks that no state stays behind.
fn settles(story: &mut Story, here: &[Peer]) {
    for peer in here {
        story.leaves(*peer);
    }
    // Peers that were replaced or kicked are gone already; handshakes have 15 s.
    story.runs(secs(20));
    assert_eq!((story.server.sessions(), story.server.sessions_on_desks()), ((0, 0), 0));
    let now = story.instant();
    for snapshot in story.server.snapshots(now) {
        assert_eq!((snapshot.publishers, snapshot.viewers), (0, 0), "shard {}", snapshot.shard);
        assert!(snapshot.streams.is_empty(), "shard {} keeps {} streams", snapshot.shard, snapshot.streams.len());
    }
    story.holds();
}

fn path(lots: &mut Random) -> Path {
    let mut link = || {
        let mut link = Link::of(ms(1 + lots.below(120)));
        if lots.happens(0.4) {
            link = link.loss(lots.share() * 0.1);
        }
        if lots.happens(0.3) {
            link = link.jitter(ms(lots.below(30)));
        }
        if lots.happens(0.2) {
            link = link.reordering(0.03).duplication(0.03);
        }
        if lots.happens(0.1) {
            link = link.bursts(0.003, 6.0);
        }
        if lots.happens(0.1) {
            link = link.rate(600_000);
        }
        if lots.happens(0.03) { Link::cut() } else { link }
    };
    Path { up: link(), down: link() }
}

fn filming(lots: &mut Random) -> Filming {
    Filming {
        codec: [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1][lots.below(4) as usize],
        frame_rate: 10.0,
        bits_per_second: 150_000 + lots.below(250_000),
        key_frame_interval: secs(1 + lots.below(10)),
        is_unresponsive: lots.happens(0.3),
        with_red: lots.happens(0.3),
        tells_capture_time: lots.happens(0.5),
        last_profile: lots.happens(0.5),
        first_sequence: lots.bits() as u16,
        first_timestamp: lots.bits() as u32,
        first_picture_id: lots.bits() as u16 & 0x7fff,
        ..Filming::default()
    }
}

fn habits(lots: &mut Random) -> Habits {
    Habits {
        without_rtx: lots.happens(0.2),
        rtx_for_vp8_only: lots.happens(0.2),
        opus_payload_type: lots.happens(0.2).then_some(50),
        with_red: lots.happens(0.4),
        waits_for_offer: lots.happens(0.2),
        with_channel: lots.happens(0.2),
        ..Habits::default()
    }
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
