//! A publisher and its viewers: which pictures do viewers see, and when?

use control::engine::Refusal;
use media::Codec;
use sim::{Filming, Habits, Link, Path, Story, ms, secs};

#[test]
fn a_viewer_sees_and_hears_what_a_publisher_films() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    story.runs(secs(1));
    let bob = story.watches("demo");
    story.runs(secs(5));

    assert!(story.connected_after(alice).is_some() && story.connected_after(bob).is_some());
    let screen = story.screen(bob);
    assert!(screen.pictures.len() > 130, "{}", screen.pictures.len());
    assert!(screen.sounds.len() > 200);
    assert!(screen.video().began_with_a_key_frame());
    assert!(screen.longest_freeze(secs(2)) < ms(60));
    assert!(screen.pictures.last().is_some_and(|p| p.age() < ms(60)));
    assert_eq!(screen.asked, 0, "nothing was missing");
    story.holds();
}

#[test]
fn every_codec_goes_through() {
    for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1] {
        let mut story = Story::new();
        story.publishes("demo", Filming { codec, ..Filming::default() });
        story.runs(secs(3));
        let bob = story.watches("demo");
        story.runs(secs(3));
        let screen = story.screen(bob);
        assert!(screen.pictures.len() > 70, "{codec}: {} pictures", screen.pictures.len());
        assert!(screen.pictures[0].at - story.came_at(bob) < ms(300), "{codec}");
        assert!(screen.video().began_with_a_key_frame(), "{codec}");
        assert_eq!(screen.video().missing(story.instant(), ms(500)), 0, "{codec}");
        story.holds();
    }
}

#[test]
fn a_late_viewer_has_a_picture_at_once_and_is_live_within_a_second() {
    for one_way in [ms(5), ms(50), ms(100)] {
        let mut story = Story::new();
        story.path(Path::both(Link::of(one_way)));
        let alice = story.publishes("demo", Filming { key_frame_interval: secs(10), ..Filming::default() });
        story.runs(secs(8));
        let bob = story.watches("demo");
        story.runs(secs(5));

        let came = story.came_at(bob);
        let screen = story.screen(bob);
        let first = screen.pictures[0].at - came;
        let live = screen.first_younger_than(one_way * 2 + ms(60)).expect("live at all").at - came;
        println!("one way {one_way:?}: first picture after {first:?}, live after {live:?}");
        // Checks, DTLS and media take up to five round trips.
        assert!(first < ms(300).max(one_way * 11), "{first:?}");
        assert!(live < ms(1_000) + one_way * 8, "{live:?}");
        assert!(screen.longest_freeze(came + live) < ms(100));
        assert_eq!(screen.given_up + screen.repeated, 0);
        let asked = story.camera(alice).asked_at.len();
        assert!(asked <= 2, "one viewer, {asked} requests");
        story.holds();
    }
}

#[test]
fn a_publisher_that_answers_no_request_keeps_no_viewer_waiting() {
    let mut story = Story::new();
    let filming = Filming { is_unresponsive: true, key_frame_interval: secs(10), ..Filming::default() };
    let alice = story.publishes("demo", filming);
    story.runs(secs(8));
    let bob = story.watches("demo");
    story.runs(ms(1_500));
    let carol = story.watches("demo");
    story.runs(secs(3));

    for (viewer, name, live_within) in [(bob, "bob", ms(1_200)), (carol, "carol", ms(400))] {
        let came = story.came_at(viewer);
        let screen = story.screen(viewer);
        let first = screen.pictures[0].at - came;
        let live = screen.first_younger_than(ms(100)).expect("live at all").at - came;
        println!("{name}: first picture after {first:?}, live after {live:?}");
        assert!(first < ms(300), "{name} saw the first picture after {first:?}");
        assert!(live < live_within, "{name} was live after {live:?}");
        assert_eq!(screen.given_up, 0);
        assert_eq!(screen.repeated, 0, "no picture twice");
        // From then on time is undistorted: a tick of the timestamp is a tick of capture.
        let after: Vec<_> = screen.pictures.iter().filter(|p| p.at > came + live + ms(100)).collect();
        for pair in after.windows(2) {
            let shown = pair[1].timestamp.wrapping_sub(pair[0].timestamp) / 90;
            let filmed = (pair[1].stamp.captured - pair[0].stamp.captured).as_millis() as u32;
            assert!(shown.abs_diff(filmed) <= 1, "{shown} ms for {filmed} ms");
        }
    }
    assert!(story.camera(alice).asked_at.len() <= 4, "{:?}", story.camera(alice).asked_at.len());
    story.holds();
}

#[test]
fn fifty_viewers_in_one_second_cause_one_request_per_half_second() {
    let mut story = Story::new();
    let alice = story.publishes("demo", Filming::default());
    story.runs(secs(6));
    let viewers: Vec<_> = (0..50)
        .map(|_| {
            story.runs(ms(20));
            story.watches("demo")
        })
        .collect();
    story.runs(secs(2));

    let asked = story.camera(alice).asked_at.len();
    println!("{asked} requests for 50 viewers");
    assert!((1..=4).contains(&asked), "{asked} requests");
    for viewer in viewers {
        let first = story.screen(viewer).pictures[0].at - story.came_at(viewer);
        assert!(first < ms(300), "{first:?}");
    }
    story.holds();
}

#[test]
fn early_viewer_waits_and_starts_with_the_publisher() {
    let mut story = Story::new();
    let bob = story.watches("demo");
    story.runs(secs(40));
    assert!(story.connected_after(bob).is_some());
    assert!(story.screen(bob).pictures.is_empty());
    assert!(story.gone(bob).is_none(), "waiting is allowed");

    let began = story.now();
    story.publishes("demo", Filming::default());
    story.runs(secs(2));
    let first = story.screen(bob).pictures[0].at - began;
    assert!(first < ms(300), "{first:?}");
    assert!(!story.screen(bob).sounds.is_empty());
    story.holds();
}

#[test]
fn viewer_of_a_server_offer_sees_the_same() {
    let mut story = Story::new();
    story.publishes("demo", Filming { codec: Codec::H264, ..Filming::default() });
    story.runs(secs(4));
    let bob = story.watches_with("demo", Habits { waits_for_offer: true, ..Habits::default() });
    story.runs(secs(3));
    let screen = story.screen(bob);
    assert!(screen.pictures.len() > 70 && screen.sounds.len() > 120);
    assert!(screen.pictures[0].at - story.came_at(bob) < ms(300));
    story.holds();
}

#[test]
fn dtls_that_overtakes_the_answer_is_not_lost() {
    let mut story = Story::new();
    story.publishes("demo", Filming::default());
    story.runs(secs(2));
    let habits = Habits { waits_for_offer: true, answers_after: ms(200), ..Habits::default() };
    let bob = story.watches_with("demo", habits);
    story.runs(secs(3));
    let first = story.screen(bob).pictures[0].at - story.came_at(bob);
    // A flight is sent again after a second at the earliest.
    assert!(first < ms(500), "{first:?}");
    story.holds();
}

#[test]
fn viewer_that_cannot_decode_learns_the_published_codec() {
    let mut story = Story::new();
    story.publishes("demo", Filming { codec: Codec::H264, ..Filming::default() });
    story.runs(secs(2));
    let habits = Habits { only: Some(Codec::Vp8), ..Habits::default() };
    let refused = story.tries_to_watch("demo", habits).expect_err("VP8 only");
    assert!(matches!(&refused, Refusal::UnsupportedCodec { published, .. } if published == "H264"), "{refused:?}");
    assert_eq!(story.server.sessions(), (1, 0));
    story.holds();
}

#[test]
fn lips_match_whether_or_not_the_publisher_tells_capture_times() {
    for tells_capture_time in [false, true] {
        let mut story = Story::new();
        story.path(Path::both(Link::of(ms(40)).jitter(ms(10))));
        story.publishes("demo", Filming { tells_capture_time, ..Filming::default() });
        story.runs(secs(5));
        let bob = story.watches("demo");
        story.runs(secs(10));
        let errors = &story.screen(bob).lip_sync_ms;
        assert!(errors.len() >= 8, "{} reports", errors.len());
        let worst = |list: &[f64]| list.iter().fold(0.0f64, |worst, e| worst.max(e.abs()));
        println!("capture times told: {tells_capture_time}; first {:.1} ms, worst {:.1} ms", errors[0], worst(errors));
        assert!(worst(errors) < 45.0, "{errors:?}");
        story.holds();
    }
}

#[test]
fn sound_goes_on_when_there_are_no_pictures_yet() {
    let mut story = Story::new();
    story.publishes("demo", Filming { frame_rate: 0.05, bits_per_second: 1_000, ..Filming::default() });
    story.runs(secs(3));
    let bob = story.watches("demo");
    story.runs(secs(3));
    assert!(story.screen(bob).sounds.len() > 120);
    story.holds();
}

/// Capacity of a default socket of Linux: 212,992 bytes of memory, of which a datagram of 1,200
/// takes 2,304.
const SOCKETS: [(u32, usize); 1] = [(92, usize::MAX)];

#[test]
fn what_came_since_an_old_key_frame_fits_a_default_socket_that_is_read_every_10_ms() {
    for (datagrams, bytes) in SOCKETS {
        for (is_unresponsive, age) in [(true, secs(7)), (true, ms(900)), (false, secs(7)), (false, ms(100))] {
            let mut story = Story::new();
            let filming = Filming {
                is_unresponsive,
                key_frame_interval: secs(8),
                bits_per_second: 6_000_000,
                ..Filming::default()
            };
            story.publishes("demo", filming);
            story.runs(secs(8) + age);
            story.path(Path { up: Link::good(), down: Link::good().socket(datagrams, bytes, ms(10)) });
            let bob = story.watches("demo");
            story.runs(secs(12));
            let lost = story.wires(bob).1.lost;
            let began = story.screen(bob).pictures.first().expect("pictures").at;
            let connected = story.came_at(bob) + story.connected_after(bob).expect("connected");
            println!("{age:?} old: {lost} lost, first picture {:?} after connecting", began - connected);
            assert_eq!(lost, 0, "of {datagrams} datagrams or {bytes} bytes, {age:?} after the key frame");
            story.holds();
        }
    }
}

#[test]
fn what_a_publisher_sends_at_once_fits_a_default_socket_that_is_read_every_10_ms() {
    for (datagrams, bytes) in SOCKETS {
        let mut story = Story::new();
        let alice = story.publishes("demo", Filming { bits_per_second: 2_000_000, ..Filming::default() });
        story.runs(secs(1));
        story.path(Path { up: Link::good(), down: Link::good().socket(datagrams, bytes, ms(10)) });
        let bob = story.watches("demo");
        story.runs(secs(2));
        // The publisher's network holds back half a second of media, and delivers it at once.
        story.link(alice, Path { up: Link::of(ms(500)), down: Link::good() }).runs(ms(400));
        story.link(alice, Path::both(Link::good())).runs(secs(4));
        assert_eq!(story.wires(bob).1.lost, 0, "of {datagrams} datagrams or {bytes} bytes");
        story.holds();
    }
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
