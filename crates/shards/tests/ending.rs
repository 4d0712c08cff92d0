//! What happens when a thread of the media plane panics, or is behind, with real threads and
//! sockets.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, mpsc};

use media::SessionId;
use sfu::inject::{Fault, Point};
use sfu::{desk, shard};
use shards::mailbox::{CAPACITY, MANY};
use shards::plane::EventSink;
use shards::{Plane, PlaneEvent, Setup};

/// Set for the process that is to die.
const CHILD: &str = "NOWCAST_TEST_PANICS";

fn plane(events: EventSink) -> Plane {
    let loopback = Ipv4Addr::LOCALHOST;
    Plane::start(Setup {
        port: 0,
        listen: vec![loopback.into()],
        candidates: vec![(loopback, 0).into()],
        shards: 1,
        desks: 1,
        handshakes: 10,
        pin: false,
        socket_buffer_bytes: 64 * 1024,
        random: || 7,
        events,
    })
    .expect("loopback can be bound")
}

fn fault() -> Fault {
    Fault { point: Point::Command, session: None, times: 1 }
}

/// Runs this test once more in a process of its own, which is to die by SIGABRT.
fn dies(test: &str) {
    use std::os::unix::process::ExitStatusExt;
    let this = std::env::current_exe().expect("this test");
    let child = std::process::Command::new(this).args([test, "--exact", "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("it starts");
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), Some(6), "{}: {said}", child.status);
    assert_eq!(said.matches("injected at Command").count(), 9, "{said}");
}

#[test]
fn a_shard_that_panics_again_and_again_aborts_the_process() {
    if std::env::var_os(CHILD).is_none() {
        return dies("a_shard_that_panics_again_and_again_aborts_the_process");
    }
    let plane = plane(Arc::new(|_| {}));
    assert!((0..9).all(|_| plane.shard(0, shard::Command::Inject(fault()))));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_desk_that_panics_again_and_again_aborts_the_process() {
    if std::env::var_os(CHILD).is_none() {
        return dies("a_desk_that_panics_again_and_again_aborts_the_process");
    }
    let plane = plane(Arc::new(|_| {}));
    assert!((0..9).all(|_| plane.desk(0, desk::Command::Inject(fault()))));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_shard_that_is_told_to_stop_aborts_nothing() {
    let (stopped, was_stopped) = mpsc::channel();
    let stopped = Mutex::new(stopped);
    let plane = plane(Arc::new(move |event| {
        if let PlaneEvent::Shard(shard::Event::Stopped { .. }) = event {
            let _ = stopped.lock().expect("not poisoned").send(());
        }
    }));
    plane.shard(0, shard::Command::Stop);
    was_stopped.recv().expect("it says so");
    assert!(plane.liveness().is_alive());
}

/// The sink blocks, which stops the desk and the shard behind it, until all their queues are full.
#[test]
fn threads_whose_queues_are_full_lose_datagrams_and_obey_every_command() {
    const SESSIONS: usize = MANY + 1;
    let (blocked, is_blocked) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let (told, events) = mpsc::channel();
    let state = Mutex::new((blocked, goes_on, told));
    let plane = plane(Arc::new(move |event| {
        let PlaneEvent::Desk(desk::Event::Answered { session, .. }) = event else { return };
        let (blocked, goes_on, told) = &*state.lock().expect("not poisoned");
        if session == id(0) {
            let _ = blocked.send(());
            let _ = goes_on.recv();
        }
        let _ = told.send(session);
    }));
    let answer = |n| desk::Command::Answer { session: id(n), answer: String::new(), published: Default::default() };
    assert!(plane.desk(0, answer(0)));
    is_blocked.recv().expect("the desk tells that there is no such session");
    let datagram = || {
        let (source, destination) = ((Ipv4Addr::LOCALHOST, 5_000).into(), (Ipv4Addr::LOCALHOST, 5_001).into());
        desk::Command::Datagram(desk::Handed { shard: 0, source, destination, bytes: Vec::new() })
    };
    for n in 1..=SESSIONS {
        plane.desk(0, datagram());
        assert!(plane.desk(0, answer(n)));
    }
    assert_eq!(plane.dropped(), (SESSIONS - CAPACITY) as u64, "datagrams are dropped and counted");
    assert!(plane.is_behind(), "so nothing new is admitted");
    go_on.send(()).expect("it waits");
    for n in 0..=SESSIONS {
        assert_eq!(events.recv().ok(), Some(id(n)), "every command is obeyed, in order");
    }
    assert!(!plane.is_behind());
}

fn id(n: usize) -> SessionId {
    SessionId::from_bytes((n as u128).to_be_bytes())
}
