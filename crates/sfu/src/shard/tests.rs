//! A shard driven by hand: panics that belong to no session, and what its slots and routes keep.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use media::{NtpTime, SessionId, StreamId, WallClock};

use super::timers::Due;
use super::*;
use crate::inject::{Fault, Point};
use crate::negotiate::Identity;
use crate::srtp::{self, DtlsRole, Profile};
use crate::viewer::ViewerSetup;

const STREAM: StreamId = StreamId(1);

fn shard(now: Instant) -> Shard {
    let clock = WallClock::new(now, NtpTime::from_unix_ms(1_800_000_000_000));
    Shard::new(0, 2, Identity::new(vec![here()]), clock)
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
    shard.handle_command(now, Command::Feedback { session: session(1), bytes: bytes.clone() });
    shard.handle_command(now, Command::Feedback { session: session(2), bytes });
    assert_eq!((shard.counters.feedback, shard.counters.panics), (1, 0));
}

#[test]
fn feedback_for_another_shard_is_passed_on_with_its_session() {
    let now = Instant::now();
    let mut shard = shard(now);
    shard.handle_command(now, Command::Bind { source: address(1), session: session(1), desk: 0, serving: Some(1) });
    shard.handle_datagram(now, address(1), here(), &mut [0x80, 201, 0, 1, 0, 0, 0, 1]);
    let told = shard.poll_event();
    assert!(
        matches!(&told, Some(Event::ToShard { shard: 1, command: Command::Feedback { session: s, .. } }) if *s == session(1)),
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
            shard.handle_command(now, Command::RemoveViewer { session: session(n) });
        }
    }
    now += Duration::from_secs(3);
    shard.handle_timeout(now);
    let left = std::iter::from_fn(|| shard.timers.pop_due(now + Duration::from_secs(60))).count();
    assert_eq!(left, 1);
}
