//! Wishes, reports, and the demand that publishers are told.

use media::MediaKind;
use sfu::publisher::warnings::Warning;
use sfu::shard::{SentTrack, ViewerReport};
use sfu::stream::choice::{self, Preferences};

use super::super::waiting::MAX_WAITING;
use super::*;

fn report_of(session: SessionId) -> ViewerReport {
    ViewerReport { session, tracks: Vec::new(), transport: (7, 1), estimate: None }
}

#[test]
fn a_wish_goes_to_the_viewers_shard_alone_and_an_unknown_layer_to_none() {
    let mut bench = Bench::new();
    let publisher = bench.publisher("a");
    let viewer = bench.viewer("a");
    for (session, rid, expected) in [
        (viewer, Some("f"), vec!["shard 1: SetPreferences", "wished"]),
        (viewer, None, vec!["shard 1: SetPreferences", "wished"]),
        (viewer, Some("x"), vec!["NoSuchLayer"]),
        (publisher, None, vec!["NoSuchSession"]),
        (of(99), None, vec!["NoSuchSession"]),
    ] {
        let n = bench.ask(wish(session, rid));
        let expected: Vec<_> = expected
            .iter()
            .map(|said| if said.starts_with("shard") { (*said).to_owned() } else { format!("{n}: {said}") })
            .collect();
        assert_eq!(bench.said(), expected, "{rid:?}");
    }
    bench.ask(wish(viewer, Some("x")));
    match bench.answer() {
        Answer::Wished(Err(Refusal::NoSuchLayer { wished, known })) => {
            assert_eq!((wished.as_str(), known), ("x", vec!["q".to_owned(), "f".to_owned()]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_wish_before_a_viewer_is_connected_is_told_its_shard_then() {
    let mut bench = Bench::new();
    bench.publisher("a");
    let session = bench.watches("a").session;
    bench.ask(wish(session, Some("f")));
    bench.ask(wish(session, Some("q")));
    assert_eq!(bench.said(), ["3: wished", "4: wished"]);
    bench.desk(desk::Event::Connected { session, shard: 1 });
    let outputs = std::mem::take(&mut bench.outputs);
    let wishes: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::ToShard { shard: 1, command: shard::Command::SetPreferences { preferences, .. } } => {
                Some(preferences.encoding)
            }
            _ => None,
        })
        .collect();
    assert_eq!(wishes, [Some(0)]);
}

#[test]
fn one_question_to_the_viewers_shard_answers_all_requests_for_its_report() {
    let mut bench = Bench::new();
    let session = bench.viewer("a");
    for _ in 0..3 {
        bench.ask(Request::Report { session });
    }
    assert_eq!(bench.said(), ["shard 1: Report"]);
    bench.shard(shard::Event::Report { session, report: Some(report_of(session)) });
    assert_eq!(bench.said(), ["2: report true", "3: report true", "4: report true"]);
    bench.ask(Request::Report { session });
    bench.shard(shard::Event::Report { session, report: None });
    let Answer::Report(Some(status)) = bench.answer() else { panic!("the viewer is known") };
    assert!(status.is_connected && status.report.is_none());
    assert_eq!(status.video_line, Some(1));
}

#[test]
fn a_viewer_lacks_no_codec_of_a_stream_that_is_not_published() {
    let mut bench = Bench::new();
    let session = bench.viewer("a");
    let reason_of = |bench: &mut Bench| {
        bench.ask(Request::Report { session });
        let track = SentTrack {
            kind: MediaKind::Video,
            codec: None,
            counters: Default::default(),
            newest: None,
            flowing: false,
            encoding: 0,
            within: None,
            reason: choice::Reason::Codec,
            preferences: Preferences::default(),
            accepted: vec!["VP9"],
        };
        let report = ViewerReport { tracks: vec![track], ..report_of(session) };
        bench.shard(shard::Event::Report { session, report: Some(report) });
        match bench.answer() {
            Answer::Report(Some(status)) => status.report.map(|report| report.tracks[0].reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason_of(&mut bench), Some(choice::Reason::Best));
    bench.publisher("a");
    assert_eq!(reason_of(&mut bench), Some(choice::Reason::Codec));
}

#[test]
fn a_report_that_was_lost_is_asked_for_again_after_five_seconds() {
    let mut bench = Bench::new();
    let session = bench.viewer("a");
    bench.ask(Request::Report { session });
    bench.passes(Duration::from_secs(3));
    bench.ask(Request::Report { session });
    assert_eq!(bench.said(), ["shard 1: Report"]);
    bench.passes(Duration::from_secs(2));
    assert_eq!(bench.said(), ["2: report false"]);
    bench.ask(Request::Report { session });
    assert_eq!(bench.said(), ["shard 1: Report"]);
    bench.shard(shard::Event::Report { session, report: Some(report_of(session)) });
    assert_eq!(bench.said(), ["3: report true", "4: report true"]);
}

#[test]
fn a_viewer_without_a_shard_is_reported_at_once_and_others_are_not() {
    let mut bench = Bench::new();
    let (publisher, viewer) = (bench.publishes("a").session, bench.watches("a").session);
    for (session, known) in [(viewer, true), (publisher, false), (of(99), false)] {
        let n = bench.ask(Request::Report { session });
        assert_eq!(bench.said(), [format!("{n}: report {known}")]);
    }
}

#[test]
fn more_requests_of_one_session_than_the_limit_are_turned_away() {
    let mut bench = Bench::new();
    let session = bench.viewer("a");
    for _ in 0..MAX_WAITING {
        bench.ask(Request::Report { session });
    }
    bench.outputs.clear();
    let n = bench.ask(Request::Report { session });
    assert_eq!(bench.said(), [format!("{n}: report false")]);
    assert_eq!(bench.engine.requests_turned_away(), 1);
    let other = bench.viewer("a");
    bench.ask(Request::Report { session: other });
    assert_eq!(bench.said(), ["shard 1: Report"]);
}

#[test]
fn a_word_on_a_data_channel_is_heard_of_known_sessions_and_answered_by_their_desk() {
    let mut bench = Bench::new();
    let session = bench.viewer("a");
    for session in [session, of(99)] {
        bench.desk(desk::Event::Heard { session, text: "{}".to_owned() });
        bench.engine.say(session, "yes".to_owned());
    }
    bench.drain();
    assert_eq!(bench.said(), ["heard {}", "desk 1: Say"]);
}

/// The demand for each encoding, with the bit rates left out.
fn wanted(bench: &Bench) -> Vec<(Option<String>, bool, Option<u16>)> {
    let stream = bench.engine.stream(bench.now, &name("a")).expect("it is there");
    let wanted = stream.publisher.expect("a publisher").wanted.into_iter();
    wanted.map(|one| (one.rid, one.is_active, one.max_frame_rate)).collect()
}

#[test]
fn what_viewers_have_use_for_is_wanted_of_the_publisher() {
    let mut bench = Bench::new();
    bench.publisher("a");
    let id = bench.stream_id("a");
    let session = bench.viewer("a");
    let (q, f) = (Some("q".to_owned()), Some("f".to_owned()));
    let mut audience = Audience::default();
    let few = choice::Preferences { encoding: Some(0), max_frame_rate: Some(10), ..Default::default() };
    audience.add_viewer(None, &few);
    for _ in 0..5 {
        bench.passes(SNAPSHOT_INTERVAL);
        let there = StreamSnapshot { is_home: false, audience, ..at_home(id) };
        bench.shard(snapshot(0, vec![at_home(id)]));
        bench.shard(snapshot(1, vec![there]));
    }
    assert_eq!(wanted(&bench), [(q.clone(), true, Some(10)), (f.clone(), false, None)]);
    bench.outputs.clear();

    bench.ask(wish(session, Some("f")));
    assert!(matches!(bench.outputs.last(), Some(Output::Changed)), "the publisher hears of it");
    assert_eq!(wanted(&bench)[1], (f.clone(), true, None), "a wish is wanted at once");

    bench.ask(watch("a"));
    assert_eq!(wanted(&bench)[0], (q, true, None), "a viewer that comes may have use for all");
}

#[test]
fn formats_of_an_older_publisher_or_of_a_stream_that_ended_are_not_taken() {
    let mut bench = Bench::with(Takeover::Replace, 10);
    let old = bench.publisher("a");
    let stream = bench.stream_id("a");
    let epoch = |bench: &Bench| {
        let view = bench.engine.control.stream(&name("a")).expect("it is there");
        view.publisher.expect("a publisher").epoch
    };
    let before = epoch(&bench);
    bench.publishes("a");
    assert!(epoch(&bench) > before && bench.engine.owner(old).is_none());
    assert_eq!(bench.engine.published(stream), Published::default(), "what was published is not");
    let published = two_encodings();
    bench.shard(shard::Event::Published { stream, epoch: before, published });
    assert_eq!(bench.engine.published(stream), Published::default());
    bench.shard(shard::Event::Published { stream, epoch: before + 1, published });
    assert_eq!(bench.engine.published(stream), published);
    bench.ask(Request::Kick { stream: name("a") });
    bench.shard(shard::Event::Published { stream, epoch: before + 2, published });
    bench.shard(snapshot(0, vec![at_home(stream)]));
    assert!(bench.engine.streams.is_empty());
}

#[test]
fn rates_are_differences_of_snapshots_and_a_stream_that_is_not_live_shows_none() {
    let mut bench = Bench::new();
    let publisher = bench.publisher("a");
    let stream = bench.stream_id("a");
    for n in 0..2u64 {
        bench.passes(Duration::from_secs(2 * n));
        let mut home = at_home(stream);
        home.video = TrackStats { bytes: 250_000 * n, frames: 60 * n, ..TrackStats::default() };
        home.sent.bytes = 500_000 * n;
        home.encodings[0].frames = 60 * n;
        home.encodings[0].is_live = true;
        bench.shard(snapshot(0, vec![home]));
    }
    let status = bench.engine.stream(bench.now, &name("a")).expect("it is there");
    assert_eq!((status.in_bps, status.out_bps), (1_000_000, 2_000_000));
    let video = status.video.expect("a video");
    assert_eq!((video.bps, video.frame_rate), (1_000_000, 30.0));
    let encodings: Vec<_> = video.encodings.iter().map(|e| (e.rid.as_deref(), e.frame_rate)).collect();
    assert_eq!(encodings, [(Some("q"), 30.0)]);
    bench.shard(shard::Event::PublisherFlows { session: publisher, flows: false });
    let status = bench.engine.stream(bench.now, &name("a")).expect("it is there");
    assert_eq!((status.state, status.in_bps, status.video), (crate::State::Paused, 0, None));
}

#[test]
fn a_fault_of_published_media_is_told_once_for_each_publisher() {
    let mut bench = Bench::with(Takeover::Replace, 10);
    bench.publisher("a");
    let stream = bench.stream_id("a");
    let home = StreamSnapshot { warnings: Warnings::of(Warning::BFrames), ..at_home(stream) };
    let told = |bench: &mut Bench| {
        bench.outputs.clear();
        bench.shard(snapshot(0, vec![home]));
        bench.shard(snapshot(0, vec![home]));
        bench.notices()
    };
    let warning = Notice::Warning { stream: name("a"), warning: Warning::BFrames };
    assert_eq!(told(&mut bench), std::slice::from_ref(&warning));
    assert_eq!(told(&mut bench), []);
    bench.publisher("a");
    assert_eq!(told(&mut bench), [warning]);
}
