//! A shard driven by hand: panics that belong to no session, and what its slots and routes keep.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use media::{NtpTime, SessionId, StreamId, WallClock};

use super::timers::Due;
use super::*;
use crate::desk::Handed;
use crate::format::Format;
use crate::inject::{Fault, Point};
use crate::publisher::{PublisherSetup, SILENCE};
use crate::receive::{NamedSsrc, Negotiated, Section};
use crate::srtp::{self, DtlsRole, Profile};
use crate::viewer::ViewerSetup;

const STREAM: StreamId = StreamId(1);

fn shard(now: Instant) -> Shard {
    let clock = WallClock::new(now, NtpTime::from_unix_ms(1_800_000_000_000));
    Shard::new(0, 2, clock)
}

fn here() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7_882))
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 40_000))
}

fn protected(n: u8, bytes: Vec<u8>) -> Command {
    let handed = Handed { shard: 1, source: address(n), destination: here(), bytes };
    Command::Protected { session: session(n), handed }
}

/// A viewer without tracks, and the keys of its player.
fn viewer(n: u8) -> (ViewerSetup, srtp::Seal) {
    let profile = Profile::AeadAes128Gcm;
    let exporter = vec![n; profile.exporter_bytes()];
    let (seal, open) = srtp::split(profile, &exporter, DtlsRole::Server).expect("keys");
    let (theirs, _) = srtp::split(profile, &exporter, DtlsRole::Client).expect("keys");
    let setup = ViewerSetup {
        session: session(n),
        stream: STREAM,
        desk: 0,
        address: address(n),
        source: None,
        seal,
        open,
        tracks: Vec::new(),
        seed: 7,
    };
    (setup, theirs)
}

/// A publisher of VP8, and the keys of its sender.
fn publisher(n: u8) -> (PublisherSetup, srtp::Seal) {
    let profile = Profile::AeadAes128Gcm;
    let exporter = vec![n; profile.exporter_bytes()];
    let (seal, open) = srtp::split(profile, &exporter, DtlsRole::Server).expect("keys");
    let (theirs, _) = srtp::split(profile, &exporter, DtlsRole::Client).expect("keys");
    let video = Section {
        mid: "0".to_owned(),
        kind: media::MediaKind::Video,
        formats: vec![(96, Format { codec: media::Codec::Vp8, profile: 0 })],
        repairs: Vec::new(),
        nacks: Vec::new(),
        rids: Vec::new(),
        ssrcs: vec![NamedSsrc { ssrc: 7, is_repair: false }],
    };
    let setup = PublisherSetup {
        session: session(n),
        stream: STREAM,
        epoch: 1,
        desk: 3,
        address: address(n),
        source: None,
        seal,
        open,
        negotiated: Negotiated { sections: vec![video], ..Negotiated::default() },
        offer: String::new(),
        seed: 7,
    };
    (setup, theirs)
}

fn sealed_rtp(seal: &srtp::Seal, seq: u64) -> Vec<u8> {
    let mut out = vec![0; 100];
    let header = media::rtp::write_header(&mut out, 96, true, seq as u16, 3_000 * seq as u32, 7, &[]);
    let len = seal.rtp(&mut out, header, &[], &[0x10, 1, 2, 3], 7, seq);
    out.truncate(len);
    out
}

/// Video packets of the stream that came.
fn came(now: Instant, shard: &mut Shard) -> u64 {
    shard.handle_command(now, Command::Snapshot);
    let snapshot = std::iter::from_fn(|| shard.poll_event()).find_map(|event| match event {
        Event::Snapshot(snapshot) => Some(snapshot),
        _ => None,
    });
    snapshot.and_then(|snapshot| snapshot.streams.first().map(|stream| stream.video.packets)).unwrap_or_default()
}

#[test]
fn media_that_comes_before_its_keys_reaches_the_stream_when_they_come() {
    let now = Instant::now();
    let mut shard = shard(now);
    let (setup, theirs) = publisher(1);
    let bind = |n| Command::Bind { source: address(n), session: session(n), desk: 3, serving: None, is_sender: n == 1 };
    shard.handle_command(now, bind(1));
    shard.handle_command(now, bind(2));
    for seq in 1..=3 {
        shard.handle_datagram(now, address(1), here(), &mut sealed_rtp(&theirs, seq));
        shard.handle_datagram(now, address(2), here(), &mut sealed_rtp(&theirs, 10 + seq));
    }
    assert_eq!((came(now, &mut shard), shard.counters.unexpected), (0, 3), "a viewer sends no RTP");
    shard.handle_command(now, Command::AddPublisher(Box::new(setup)));
    assert_eq!(came(now, &mut shard), 3);
    shard.handle_datagram(now, address(1), here(), &mut sealed_rtp(&theirs, 4));
    assert_eq!((came(now, &mut shard), shard.counters.panics), (4, 0));
}

#[test]
fn media_that_another_shard_received_reaches_its_publisher_and_no_viewer() {
    let now = Instant::now();
    let mut shard = shard(now);
    let (setup, theirs) = publisher(1);
    shard.handle_command(now, Command::AddPublisher(Box::new(setup)));
    shard.handle_command(now, Command::AddViewer(Box::new(viewer(2).0)));
    shard.handle_command(now, protected(1, sealed_rtp(&theirs, 1)));
    shard.handle_command(now, protected(2, sealed_rtp(&theirs, 2)));
    assert_eq!((came(now, &mut shard), shard.counters.unexpected), (1, 1));
}

#[test]
fn a_publisher_without_media_and_checks_is_told_to_its_desk_every_second() {
    let start = Instant::now();
    let mut shard = shard(start);
    let (setup, theirs) = publisher(1);
    shard.handle_command(start, Command::AddPublisher(Box::new(setup)));
    let mut told = Vec::new();
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for second in 1..=40 {
        let now = start + Duration::from_secs(second);
        match second {
            5 => shard.handle_datagram(now, address(1), here(), &mut sealed_rtp(&theirs, 1)),
            // Forged media of its address.
            12 => shard.handle_datagram(now, address(1), here(), &mut sealed_rtp(&viewer(9).1, 2)),
            18 => shard.handle_datagram(now, address(1), here(), &mut stun.clone()),
            _ => {}
        }
        shard.handle_timeout(now);
        let is_told = |event: &Event| matches!(event, Event::PublisherSilent { desk: 3, .. });
        if std::iter::from_fn(|| shard.poll_event()).any(|event| is_told(&event)) {
            told.push(second);
        }
    }
    let silence = SILENCE.as_secs();
    let expected: Vec<_> = (5 + silence..18).chain(18 + silence..=40).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_panic_of_no_session_is_survived_eight_times_and_then_ends_the_thread() {
    let now = Instant::now();
    let mut shard = shard(now);
    let fault = Fault { point: Point::Command, session: None, times: 1 };
    for _ in 0..8 {
        shard.handle_command(now, Command::Inject(fault));
    }
    assert_eq!(shard.counters.panics, 8);
    let ended = catch_unwind(AssertUnwindSafe(|| shard.handle_command(now, Command::Inject(fault))));
    assert!(ended.is_err(), "a supervisor is to start a sound process");
}

#[test]
fn a_timer_of_no_session_that_panics_is_not_due_again() {
    let now = Instant::now();
    let mut shard = shard(now);
    crate::inject::arm(Fault { point: Point::Timer, session: None, times: 1 });
    shard.timers.set(now, Due::KeyFrame(STREAM));
    shard.timers.set(now, Due::KeyFrame(StreamId(2)));
    shard.handle_timeout(now);
    assert_eq!((shard.counters.panics, crate::inject::left(), shard.poll_timeout()), (1, 0, None));
}

#[test]
fn feedback_that_another_shard_received_finds_its_viewer_by_session() {
    let now = Instant::now();
    let mut shard = shard(now);
    let (setup, mut theirs) = viewer(1);
    shard.handle_command(now, Command::AddViewer(Box::new(setup)));
    let mut bytes = vec![0; 256];
    let mut writer = crate::rtcp::Writer::new(&mut bytes);
    writer.receiver_report(1, &[]);
    let len = writer.finish();
    let len = theirs.rtcp(&mut bytes, len);
    bytes.truncate(len);
    // The address that it came from is none that this shard knows.
    shard.handle_command(now, protected(1, bytes.clone()));
    shard.handle_command(now, protected(2, bytes));
    assert_eq!((shard.counters.feedback, shard.counters.panics), (1, 0));
}

#[test]
fn feedback_for_another_shard_is_passed_on_with_its_session() {
    let now = Instant::now();
    let mut shard = shard(now);
    shard.handle_command(
        now,
        Command::Bind { source: address(1), session: session(1), desk: 0, serving: Some(1), is_sender: false },
    );
    shard.handle_datagram(now, address(1), here(), &mut [0x80, 201, 0, 1, 0, 0, 0, 1]);
    let told = shard.poll_event();
    assert!(
        matches!(&told, Some(Event::ToShard { shard: 1, command: Command::Protected { session: s, .. } }) if *s == session(1)),
        "{told:?}"
    );
}

#[test]
fn viewers_that_come_and_go_leave_one_report_timer_a_seat() {
    let mut now = Instant::now();
    let mut shard = shard(now);
    for n in 0..200 {
        let (setup, _) = viewer(n);
        shard.handle_command(now, Command::AddViewer(Box::new(setup)));
        now += Duration::from_millis(90);
        shard.handle_timeout(now);
        if n < 199 {
            shard.handle_command(now, Command::Remove { session: session(n) });
        }
    }
    now += Duration::from_secs(3);
    shard.handle_timeout(now);
    let left = std::iter::from_fn(|| shard.timers.pop_due(now + Duration::from_secs(60))).count();
    assert_eq!(left, 1);
}
