//! A panic in one session ends that session; all others continue without losing a packet.

use sfu::inject::{self, Fault, Point};
use sfu::publisher::Ended;
use sfu::stream::choice::Preferences;
use sim::{Filming, Gone, Peer, Setup, Story, ms, secs};

const FAILED: Option<Gone> = Some(Gone::Ended(Ended::Failed));

/// Two streams on two shards, each watched on both; the first viewer is the one to fail.
struct House {
    story: Story,
    publishers: Vec<Peer>,
    viewers: Vec<Peer>,
}

fn house() -> House {
    let mut story = Story::with(Setup { shards: 2, desks: 2, ..Setup::default() });
    let publishers =
        (0..2).map(|shard| story.on_shard(shard).publishes(["demo", "other"][usize::from(shard)], Filming::default()));
    let publishers: Vec<_> = publishers.collect();
    story.runs(secs(2));
    let viewers = [(0, "demo"), (0, "demo"), (0, "demo"), (1, "demo"), (0, "other"), (1, "other")];
    let viewers: Vec<_> = viewers.into_iter().map(|(shard, name)| story.on_shard(shard).watches(name)).collect();
    story.runs(secs(4));
    House { story, publishers, viewers }
}

impl House {
    fn panics(&mut self) -> u64 {
        let now = self.story.instant();
        let on_shards: u64 = self.story.server.snapshots(now).iter().map(|s| s.counters.panics).sum();
        on_shards + self.story.server.desk_counters().panics
    }

    /// Makes the session at fault panic at `point`, and lets three seconds pass. Checks that all
    /// other sessions continue, and that nothing of the session at fault is left.
    fn survives(mut self, point: Point, at_fault: Peer, meanwhile: impl Fn(&mut Story)) {
        let session = self.story.session(at_fault);
        let (from, was) = (self.story.now(), self.story.server.sessions());
        inject::arm(Fault { point, session: Some(session), times: 1 });
        meanwhile(&mut self.story);
        self.story.runs(secs(3));
        assert_eq!(inject::left(), 0, "{point:?}: it panicked");
        assert_eq!(self.panics(), 1, "{point:?}: it is counted, once");
        assert_eq!(self.story.gone(at_fault), FAILED, "{point:?}");
        // If the panic happens on the way to a new address, the goodbye goes to the old one.
        let is_told = self.story.goodbye(at_fault).is_some();
        assert!(is_told || point == Point::Bind, "{point:?}: its player is told");
        let is_viewer = self.viewers.contains(&at_fault);
        assert_eq!(self.story.server.sessions(), (was.0 - usize::from(!is_viewer), was.1 - usize::from(is_viewer)));
        for other in self.publishers.iter().chain(&self.viewers).filter(|other| **other != at_fault) {
            assert!(self.story.gone(*other).is_none(), "{point:?}");
        }
        if is_viewer {
            self.all_but(at_fault, from, point);
        }
        self.story.injected = 1;
        // The slot is free: the next session in it is served normally.
        let next = self.story.on_shard(0).watches("other");
        self.story.runs(secs(2));
        assert!(self.story.screen(next).pictures.len() > 40, "{point:?}");
        self.story.holds();
    }

    fn all_but(&self, at_fault: Peer, from: std::time::Duration, point: Point) {
        for &other in self.viewers.iter().filter(|other| **other != at_fault) {
            let screen = self.story.screen(other);
            let freeze = screen.longest_freeze(from);
            assert!(freeze < ms(60), "{point:?}: a freeze of {freeze:?}");
            let missing = screen.video().missing(self.story.instant(), ms(300));
            assert_eq!((missing, screen.video().late), (0, 0), "{point:?}");
        }
    }
}

#[test]
fn a_viewer_that_panics_while_it_is_sent_to_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::Send, at_fault, |_| {});
}

#[test]
fn viewers_that_panic_one_after_the_other_in_one_round_end_alone() {
    let mut house = house();
    let from = house.story.now();
    for &viewer in &house.viewers[..2] {
        inject::arm(Fault { point: Point::Send, session: Some(house.story.session(viewer)), times: 1 });
    }
    house.story.runs(secs(3));
    assert_eq!((inject::left(), house.panics()), (0, 2));
    for (n, &viewer) in house.viewers.iter().enumerate() {
        assert_eq!(house.story.gone(viewer), FAILED.filter(|_| n < 2));
    }
    house.viewers.remove(0);
    house.all_but(house.viewers[0], from, Point::Send);
    house.story.injected = 2;
    house.story.holds();
}

#[test]
fn a_viewer_whose_feedback_panics_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::Feedback, at_fault, |_| {});
}

#[test]
fn a_viewer_whose_report_panics_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::Report, at_fault, |_| {});
}

#[test]
fn a_viewer_whose_wish_panics_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::SetPreferences, at_fault, |story| story.prefers(at_fault, Preferences::default()));
}

#[test]
fn a_viewer_that_panics_in_a_snapshot_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::Snapshot, at_fault, |story| {
        let now = story.instant();
        story.server.snapshots(now);
    });
}

#[test]
fn a_viewer_whose_address_panics_ends_alone() {
    let house = house();
    let at_fault = house.viewers[0];
    house.survives(Point::Bind, at_fault, |story| {
        story.on_shard(0).moves(at_fault);
    });
}

#[test]
fn a_viewer_that_panics_while_it_is_added_is_told() {
    let House { mut story, publishers, mut viewers } = house();
    let last = story.on_shard(0).watches("demo");
    viewers.push(last);
    House { story, publishers, viewers }.survives(Point::Add, last, |_| {});
}

#[test]
fn a_publisher_whose_packet_panics_ends_alone_and_its_stream_is_free() {
    let mut house = house();
    let from = house.story.now();
    // The next packet may be of either publisher.
    inject::arm(Fault { point: Point::Arrived, session: None, times: 1 });
    house.story.runs(secs(2));
    assert_eq!((inject::left(), house.panics()), (0, 1));
    let failed: Vec<_> = house.publishers.iter().filter(|one| house.story.gone(**one) == FAILED).collect();
    assert_eq!(failed.len(), 1);
    let (name, viewers) = if *failed[0] == house.publishers[0] { ("demo", 4..6) } else { ("other", 0..4) };
    for &viewer in &house.viewers[viewers] {
        assert!(house.story.screen(viewer).longest_freeze(from) < ms(60));
    }
    house.story.publishes(name, Filming::default());
    house.story.runs(secs(3));
    for &viewer in &house.viewers {
        assert!(house.story.gone(viewer).is_none());
        assert!(house.story.screen(viewer).pictures.last().is_some_and(|picture| picture.age() < ms(60)));
    }
    house.story.injected = 1;
    house.story.holds();
}

#[test]
fn a_session_that_panics_while_a_desk_opens_it_is_refused() {
    let mut house = house();
    let from = house.story.now();
    inject::arm(Fault { point: Point::Open, session: None, times: 1 });
    let was = house.story.server.sessions_on_desks();
    assert!(house.story.tries_to_watch("demo", sim::Habits::default()).is_err());
    assert_eq!((inject::left(), house.panics(), house.story.server.sessions_on_desks()), (0, 1, was));
    house.story.runs(secs(2));
    house.all_but(house.publishers[0], from, Point::Open);
    house.story.injected = 1;
    house.story.holds();
}

#[test]
fn every_story_replays() {
    sim::every_story_replays();
}
