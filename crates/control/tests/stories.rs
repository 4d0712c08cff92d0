//! What happens when people come, reload, drop out and come back? Do this, expect these effects.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use control::{Admitted, Caller, CloseReason, Control, Effect, Limits, Refused, Role, State, StreamView, Takeover};
use media::{SessionId, StreamId, StreamName};

#[test]
fn a_publisher_comes_and_goes() {
    let mut story = Story::new(Takeover::Refuse);
    let alice = session(1);
    let admitted = story.publishes(alice, "demo").unwrap();
    let stream = admitted.stream;
    assert_eq!(story.effects(), [opened(stream), publisher_is(admitted, alice), changed(stream)]);
    assert_eq!(story.state("demo"), State::Waiting);
    assert_eq!(story.control.session_count(), (1, 0));
    let owner = story.control.owner(&alice);
    assert_eq!(owner, Some((&name("demo"), Role::Publisher)));

    story.runs(secs(1));
    story.connects(alice);
    assert_eq!(story.effects(), [changed(stream)]);
    assert_eq!(story.state("demo"), State::Live);
    assert_eq!(story.view("demo").live_since, Some(story.now));
    assert_eq!(story.control.poll_timeout(), None);

    story.drops(alice);
    assert_eq!(story.effects(), [gone(admitted), closed(stream)]);
    assert_eq!(story.control.stream(&name("demo")), None);
    assert_eq!(story.control.stream_by_id(stream), None);
    assert_eq!(story.control.owner(&alice), None);
    assert_eq!(story.control.session_count(), (0, 0));
}

#[test]
fn viewers_may_come_before_the_publisher() {
    let mut story = Story::new(Takeover::Refuse);
    let (bob, alice) = (session(1), session(2));
    let admitted = story.watches(bob, "demo").unwrap();
    let stream = admitted.stream;
    assert_eq!(admitted.epoch, 0);
    assert_eq!(story.effects(), [opened(stream)]);
    let view = story.view("demo");
    assert_eq!((view.viewers, view.viewers_connecting), (0, 1));

    story.connects(bob);
    assert_eq!(story.effects(), [changed(stream)]);
    let view = story.view("demo");
    assert_eq!((view.viewers, view.viewers_connecting), (1, 0));
    assert_eq!(story.state("demo"), State::Waiting);

    let admitted = story.publishes(alice, "demo").unwrap();
    assert_eq!(admitted.stream, stream);
    assert_eq!(story.effects(), [publisher_is(admitted, alice), changed(stream)]);
    assert_eq!(story.state("demo"), State::Waiting);
    story.connects(alice);
    assert_eq!(story.state("demo"), State::Live);
}

#[test]
fn a_publisher_reloads_while_viewers_watch() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob) = (session(1), session(2));
    let first = story.publishes(alice, "demo").unwrap();
    story.connects(alice);
    story.watches(bob, "demo").unwrap();
    story.connects(bob);
    story.effects();

    // The page says goodbye (DTLS close_notify), and the floor below reports it.
    story.runs(secs(60));
    story.drops(alice);
    assert_eq!(story.effects(), [gone(first), changed(first.stream)]);
    assert_eq!(story.state("demo"), State::Paused);
    assert_eq!(story.view("demo").live_since, None);
    assert_eq!(story.view("demo").viewers, 1);

    story.runs(secs(1));
    let again = session(3);
    let second = story.publishes(again, "demo").unwrap();
    assert_eq!(second.stream, first.stream);
    assert!(second.epoch > first.epoch);
    assert_eq!(story.effects(), [publisher_is(second, again), changed(first.stream)]);
    assert_eq!(story.state("demo"), State::Paused);

    story.runs(secs(1));
    story.connects(again);
    assert_eq!(story.effects(), [changed(first.stream)]);
    assert_eq!(story.state("demo"), State::Live);
    assert_eq!(story.view("demo").live_since, Some(story.now));
}

#[test]
fn a_publisher_that_reloads_while_connecting_is_let_in_after_the_grace() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, again) = (session(1), session(2));
    let first = story.publishes(alice, "demo").unwrap();
    story.effects();

    // Another address waits for longer than the page that was reloaded.
    story.runs(Duration::from_millis(1_999));
    assert_eq!(story.publishes(again, "demo"), busy(Duration::from_millis(1)));
    assert_eq!(story.publishes_from(OFFICE, None, again, "demo"), busy(Duration::from_millis(3_001)));
    assert_eq!(story.effects(), []);

    story.runs(Duration::from_millis(1));
    let second = story.publishes(again, "demo").unwrap();
    let stream = first.stream;
    assert_eq!(
        story.effects(),
        [
            close(alice, Role::Publisher, stream, CloseReason::Replaced),
            gone(first),
            publisher_is(second, again),
            changed(stream),
        ]
    );
}

#[test]
fn a_connected_publisher_is_not_replaced_unless_takeover_is_on() {
    let mut story = Story::new(Takeover::Refuse);
    story.publishes(session(1), "demo").unwrap();
    story.connects(session(1));
    story.runs(secs(3600));
    assert_eq!(story.publishes(session(2), "demo"), busy(secs(2)));
    assert_eq!(story.publishes_from(OFFICE, None, session(2), "demo"), busy(secs(10)));
    assert!(story.publishes(session(2), "other").is_ok());

    let mut story = Story::new(Takeover::Replace);
    let first = story.publishes(session(1), "demo").unwrap();
    story.connects(session(1));
    story.effects();
    let second = story.publishes(session(2), "demo").unwrap();
    let stream = first.stream;
    assert_eq!(
        story.effects(),
        [
            close(session(1), Role::Publisher, stream, CloseReason::Replaced),
            gone(first),
            publisher_is(second, session(2)),
            changed(stream),
        ]
    );
}

#[test]
fn late_reports_about_a_replaced_publisher_change_nothing() {
    let mut story = Story::new(Takeover::Replace);
    let (old, new) = (session(1), session(2));
    story.publishes(old, "demo").unwrap();
    let second = story.publishes(new, "demo").unwrap();
    story.effects();

    story.connects(old);
    assert_eq!(story.state("demo"), State::Waiting);
    story.drops(old);
    assert!(!story.asks_to_end(old));
    assert_eq!(story.effects(), []);

    let publisher = story.view("demo").publisher.unwrap();
    assert_eq!((publisher.session, publisher.epoch), (new, second.epoch));
    story.connects(new);
    story.drops(old);
    assert_eq!(story.state("demo"), State::Live);
}

#[test]
fn a_session_that_does_not_connect_is_closed_in_time() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob) = (session(1), session(2));
    let admitted = story.publishes(alice, "demo").unwrap();
    let stream = admitted.stream;
    story.runs(secs(1));
    story.watches(bob, "demo").unwrap();
    story.effects();

    story.runs(Duration::from_millis(13_999));
    assert_eq!(story.effects(), []);
    story.runs(Duration::from_millis(1));
    assert_eq!(
        story.effects(),
        [close(alice, Role::Publisher, stream, CloseReason::ConnectTimeout), gone(admitted), changed(stream),]
    );
    story.runs(secs(1));
    assert_eq!(story.effects(), [close(bob, Role::Viewer, stream, CloseReason::ConnectTimeout), closed(stream),]);
    assert_eq!(story.control.poll_timeout(), None);
}

#[test]
fn a_stream_whose_sessions_run_out_of_time_together_says_so_once() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob) = (session(1), session(2));
    let admitted = story.publishes(alice, "demo").unwrap();
    story.watches(bob, "demo").unwrap();
    story.effects();

    story.runs(secs(15));
    let (stream, reason) = (admitted.stream, CloseReason::ConnectTimeout);
    assert_eq!(
        story.effects(),
        [
            close(alice, Role::Publisher, stream, reason),
            gone(admitted),
            close(bob, Role::Viewer, stream, reason),
            closed(stream),
        ]
    );
}

#[test]
fn a_connected_session_has_no_deadline_and_connects_once() {
    let mut story = Story::new(Takeover::Refuse);
    let alice = session(1);
    story.publishes(alice, "demo").unwrap();
    story.connects(alice);
    let live_since = story.view("demo").live_since;
    story.effects();

    story.runs(secs(20));
    story.connects(alice);
    assert_eq!(story.effects(), []);
    assert_eq!(story.view("demo").live_since, live_since);
}

#[test]
fn a_session_that_could_not_be_opened_leaves_no_trace() {
    let mut story = Story::new(Takeover::Refuse);
    let admitted = story.watches(session(1), "demo").unwrap();
    story.drops(session(1));
    assert_eq!(story.effects(), [opened(admitted.stream), closed(admitted.stream)]);
    assert_eq!(story.control.poll_timeout(), None);
}

#[test]
fn a_delete_closes_one_session_once() {
    let mut story = Story::new(Takeover::Refuse);
    let (bob, carol) = (session(1), session(2));
    let stream = story.watches(bob, "demo").unwrap().stream;
    story.connects(bob);
    story.watches(carol, "demo").unwrap();
    story.effects();

    assert!(story.asks_to_end(bob));
    assert!(!story.asks_to_end(bob));
    story.drops(bob);
    assert_eq!(story.effects(), [close(bob, Role::Viewer, stream, CloseReason::Asked), changed(stream),]);
    assert_eq!(story.control.session_count(), (0, 1));
}

#[test]
fn a_kick_empties_one_stream_and_no_other() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob, carol) = (session(1), session(2), session(3));
    let admitted = story.publishes(alice, "demo").unwrap();
    story.watches(bob, "demo").unwrap();
    story.watches(carol, "other").unwrap();
    story.effects();

    let now = story.now;
    assert!(!story.control.kick(now, &name("nothing")));
    assert!(story.control.kick(now, &name("demo")));
    let stream = admitted.stream;
    assert_eq!(
        story.effects(),
        [
            close(alice, Role::Publisher, stream, CloseReason::Kicked),
            gone(admitted),
            close(bob, Role::Viewer, stream, CloseReason::Kicked),
            closed(stream),
        ]
    );
    assert!(!story.control.kick(now, &name("demo")));
    assert_eq!(story.names(), ["other"]);

    // Kicked is not banned: the name is free, under a new id and a higher epoch.
    let again = story.publishes(session(4), "demo").unwrap();
    assert_ne!(again.stream, stream);
    assert!(again.epoch > admitted.epoch);
}

#[test]
fn a_shutdown_closes_everyone_and_refuses_the_next() {
    let mut story = Story::new(Takeover::Replace);
    let (alice, bob) = (session(1), session(2));
    let demo = story.publishes(alice, "demo").unwrap();
    let other = story.watches(bob, "a-stream").unwrap();
    story.effects();

    story.control.shut_down(story.now);
    let reason = CloseReason::ShuttingDown;
    assert_eq!(
        story.effects(),
        [
            close(bob, Role::Viewer, other.stream, reason),
            closed(other.stream),
            close(alice, Role::Publisher, demo.stream, reason),
            gone(demo),
            closed(demo.stream),
        ]
    );
    let refused = Err(Refused::ShuttingDown);
    assert_eq!(story.publishes(session(3), "demo"), refused);
    assert_eq!(story.watches(session(3), "demo"), refused);
    story.control.shut_down(story.now);
    assert_eq!(story.effects(), []);
}

#[test]
fn each_limit_refuses_by_its_name_and_each_session_that_leaves_frees_room() {
    #[track_caller]
    fn check(limits: Limits, limit: &'static str) {
        let mut story = Story::with(limits, Takeover::Refuse);
        story.watches(session(1), "demo").unwrap();
        story.effects();
        let refused = Err(Refused::Full { limit });
        let second = if limit == "streams.max" { "other" } else { "demo" };
        assert_eq!(story.watches(session(2), second), refused);
        assert_eq!(story.effects(), [], "a refusal changes nothing");
        assert_eq!(story.control.session_count(), (0, 1));

        story.drops(session(1));
        assert!(story.watches(session(2), second).is_ok());
    }
    let roomy = ROOMY;
    check(Limits { streams: 1, ..roomy }, "streams.max");
    check(Limits { sessions: 1, ..roomy }, "limits.sessions");
    check(Limits { viewers: 1, ..roomy }, "limits.viewers");
    let per_ip = Limits { sessions_per_ip: 1, ..roomy };
    check(per_ip, "limits.sessions_per_ip");
}

#[test]
fn viewers_are_counted_per_stream_and_leave_room_for_the_publisher() {
    let limits = Limits { viewers: 1, ..ROOMY };
    let mut story = Story::with(limits, Takeover::Refuse);
    story.watches(session(1), "demo").unwrap();
    assert!(story.watches(session(2), "other").is_ok());
    assert!(story.publishes(session(3), "demo").is_ok());
    let limit = "limits.viewers";
    assert_eq!(story.watches(session(4), "demo"), Err(Refused::Full { limit }));
}

#[test]
fn the_limit_per_address_counts_ipv6_by_its_64_and_unwraps_ipv4() {
    #[track_caller]
    fn check(first: &str, second: &str, fits: bool) {
        let limits = Limits { sessions_per_ip: 1, ..ROOMY };
        let mut control = Control::new(limits, Takeover::Refuse);
        let now = Instant::now();
        let mut watch = |n, ip: &str| control.watch(now, session(n), name("demo"), ip.parse::<IpAddr>().unwrap());
        watch(1, first).unwrap();
        assert_eq!(watch(2, second).is_ok(), fits, "{first} then {second}");
    }
    check("192.0.2.1", "192.0.2.2", true);
    check("192.0.2.1", "::ffff:192.0.2.1", false);
    check("::ffff:192.0.2.1", "::ffff:192.0.2.2", true);
    check("2001:db8::1", "2001:db8::ffff:1", false);
    check("2001:db8::1", "2001:db8:0:1::1", true);
}

#[test]
fn no_limit_per_address_is_written_as_zero() {
    let limits = Limits { sessions_per_ip: 0, ..ROOMY };
    let mut story = Story::with(limits, Takeover::Refuse);
    for n in 1..100 {
        assert!(story.watches(session(n), "demo").is_ok());
    }
}

#[test]
fn a_publisher_replaces_itself_in_a_full_house() {
    let limits = Limits { streams: 1, sessions: 1, viewers: 1, sessions_per_ip: 1 };
    let mut story = Story::with(limits, Takeover::Replace);
    story.publishes(session(1), "demo").unwrap();
    assert!(story.publishes(session(2), "demo").is_ok());
    assert_eq!(story.control.session_count(), (1, 0));
}

#[test]
fn a_refused_takeover_leaves_the_publisher_alone() {
    let limits = Limits { sessions_per_ip: 1, ..ROOMY };
    let mut control = Control::new(limits, Takeover::Replace);
    let now = Instant::now();
    let [home, office]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
    control.publish(now, session(1), name("demo"), home).unwrap();
    control.watch(now, session(2), name("demo"), office).unwrap();
    while control.poll_effect().is_some() {}

    let limit = "limits.sessions_per_ip";
    let refused = control.publish(now, session(3), name("demo"), office);
    assert_eq!(refused, Err(Refused::Full { limit }));
    assert_eq!(control.poll_effect(), None);
    let publisher = control.stream(&name("demo")).and_then(|view| view.publisher);
    assert_eq!(publisher.map(|publisher| publisher.session), Some(session(1)));
}

#[test]
fn a_stream_is_paused_only_as_long_as_viewers_stay() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob) = (session(1), session(2));
    let first = story.publishes(alice, "demo").unwrap();
    story.connects(alice);
    story.watches(bob, "demo").unwrap();
    story.drops(alice);
    assert_eq!(story.state("demo"), State::Paused, "a connecting viewer stays, too");
    story.effects();
    story.drops(bob);
    assert_eq!(story.effects(), [closed(first.stream)]);

    // A viewer that comes now finds a new stream.
    let again = story.watches(session(3), "demo").unwrap();
    assert_ne!(again.stream, first.stream);
    assert_eq!(story.state("demo"), State::Waiting);
}

#[test]
fn a_stream_is_paused_while_its_publisher_is_quiet() {
    let mut story = Story::new(Takeover::Refuse);
    let (alice, bob) = (session(1), session(2));
    let stream = story.publishes(alice, "demo").unwrap().stream;
    story.watches(bob, "demo").unwrap();
    story.connects(bob);
    story.effects();
    story.flows(alice, false);
    assert_eq!((story.effects(), story.state("demo")), (vec![], State::Waiting), "it is not connected yet");
    story.connects(alice);
    story.runs(secs(2));
    story.effects();

    story.flows(alice, false);
    assert_eq!(story.effects(), [changed(stream)]);
    assert_eq!((story.state("demo"), story.view("demo").live_since), (State::Paused, None));
    let stranger = story.publishes_from(OFFICE, Some("bob"), session(3), "demo");
    assert_eq!(stranger, busy(secs(8)), "it may come again");
    story.runs(secs(1));
    story.flows(alice, false);
    story.flows(bob, false);
    story.flows(session(9), false);
    assert_eq!(story.effects(), [], "nothing new, and nobody who publishes");

    story.flows(alice, true);
    assert_eq!(story.effects(), [changed(stream)]);
    assert_eq!((story.state("demo"), story.view("demo").live_since), (State::Live, Some(story.now)));
    let since = story.view("demo").live_since;
    story.runs(secs(1));
    story.flows(alice, true);
    assert_eq!((story.effects(), story.view("demo").live_since), (vec![], since));

    story.flows(alice, false);
    story.drops(bob);
    assert_eq!(story.state("demo"), State::Paused, "also when nobody watches: somebody is there to go on");
    story.drops(alice);
    assert_eq!(story.control.stream(&name("demo")), None);
}

#[test]
fn a_quiet_publisher_is_replaced_by_its_owner_and_by_no_other() {
    let (old, new) = (session(1), session(2));
    let rows = [
        // Subject and address of the newcomer; the publisher is "alice" at HOME.
        (Some("alice"), OFFICE, true),
        (Some("bob"), HOME, true),
        (None, HOME, true),
        (Some("bob"), OFFICE, false),
        (None, OFFICE, false),
    ];
    for (subject, ip, takes_over) in rows {
        let mut story = Story::new(Takeover::Refuse);
        let first = story.publishes_from(HOME, Some("alice"), old, "demo").unwrap();
        assert_eq!(story.control.identity(&old), Some("alice"));
        story.connects(old);
        story.runs(secs(60));
        assert!(story.publishes_from(ip, subject, new, "demo").is_err(), "media comes of the first");
        story.flows(old, false);
        story.effects();
        let second = story.publishes_from(ip, subject, new, "demo");
        if !takes_over {
            assert_eq!(second, busy(secs(8)));
            assert_eq!(story.effects(), []);
            continue;
        }
        let (second, stream) = (second.unwrap(), first.stream);
        let replaced = close(old, Role::Publisher, stream, CloseReason::Replaced);
        assert_eq!(story.effects(), [replaced, gone(first), publisher_is(second, new), changed(stream)]);
        // The new one is on its way: the one that it replaced cannot take the stream back at once.
        assert!(story.publishes_from(HOME, Some("alice"), session(3), "demo").is_err());
    }
}

#[test]
fn a_publisher_whose_media_comes_again_keeps_its_stream() {
    let mut story = Story::new(Takeover::Refuse);
    story.publishes(session(1), "demo").unwrap();
    story.connects(session(1));
    story.flows(session(1), false);
    story.runs(secs(1));
    story.flows(session(1), true);
    assert_eq!(story.publishes(session(2), "demo"), busy(secs(2)));
}

#[test]
fn epochs_grow_over_all_streams_and_over_forgotten_ones() {
    let mut story = Story::new(Takeover::Replace);
    let mut epochs = Vec::new();
    for n in 1..=6 {
        let admitted = story.publishes(session(n), ["a", "b", "a"][usize::from(n) % 3]).unwrap();
        epochs.push(admitted.epoch);
        if n == 3 {
            story.control.kick(story.now, &name("a"));
        }
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    assert!(epochs[0] > 0, "0 is what viewers get");
}

#[test]
fn streams_are_listed_by_name() {
    let mut story = Story::new(Takeover::Refuse);
    for (n, name) in ["b", "a/c", "c", "a"].into_iter().enumerate() {
        story.watches(session(n as u8), name).unwrap();
    }
    assert_eq!(story.names(), ["a", "a/c", "b", "c"]);
}

#[test]
#[should_panic(expected = "a session is admitted once")]
fn a_session_is_admitted_once() {
    let mut story = Story::new(Takeover::Refuse);
    story.watches(session(1), "demo").unwrap();
    let _ = story.watches(session(1), "other");
}

/// A control plane, its clock, and one address for all callers.
struct Story {
    control: Control,
    now: Instant,
}

impl Story {
    fn new(takeover: Takeover) -> Story {
        Story::with(ROOMY, takeover)
    }

    fn with(limits: Limits, takeover: Takeover) -> Story {
        Story { control: Control::new(limits, takeover), now: Instant::now() }
    }

    fn publishes(&mut self, session: SessionId, stream: &str) -> Result<Admitted, Refused> {
        self.control.publish(self.now, session, name(stream), HOME)
    }

    fn publishes_from(
        &mut self,
        ip: IpAddr,
        subject: Option<&str>,
        session: SessionId,
        stream: &str,
    ) -> Result<Admitted, Refused> {
        let caller = Caller { ip, identity: subject.map(str::to_owned) };
        self.control.publish(self.now, session, name(stream), caller)
    }

    fn watches(&mut self, session: SessionId, stream: &str) -> Result<Admitted, Refused> {
        self.control.watch(self.now, session, name(stream), HOME)
    }

    fn connects(&mut self, session: SessionId) {
        self.control.connected(self.now, session);
    }

    fn flows(&mut self, session: SessionId, flows: bool) {
        self.control.flows(self.now, session, flows);
    }

    fn drops(&mut self, session: SessionId) {
        self.control.closed(self.now, session);
    }

    fn asks_to_end(&mut self, session: SessionId) -> bool {
        self.control.close(self.now, session, CloseReason::Asked)
    }

    fn runs(&mut self, time: Duration) {
        self.now += time;
        self.control.handle_timeout(self.now);
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.control.poll_effect()).collect()
    }

    #[track_caller]
    fn view(&self, stream: &str) -> StreamView<'_> {
        self.control.stream(&name(stream)).expect("the stream is there")
    }

    #[track_caller]
    fn state(&self, stream: &str) -> State {
        self.view(stream).state
    }

    fn names(&self) -> Vec<String> {
        self.control.streams().map(|view| view.name.to_string()).collect()
    }
}

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const OFFICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

const ROOMY: Limits = Limits { streams: 100, sessions: 100, viewers: 100, sessions_per_ip: 100 };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

fn name(name: &str) -> StreamName {
    StreamName::parse(name).unwrap()
}

fn busy(retry_after: Duration) -> Result<Admitted, Refused> {
    Err(Refused::StreamBusy { retry_after })
}

fn opened(stream: StreamId) -> Effect {
    Effect::StreamOpened { stream }
}

fn closed(stream: StreamId) -> Effect {
    Effect::StreamClosed { stream }
}

fn changed(stream: StreamId) -> Effect {
    Effect::Changed { stream }
}

fn publisher_is(Admitted { stream, epoch }: Admitted, session: SessionId) -> Effect {
    Effect::PublisherIs { stream, session, epoch }
}

fn gone(Admitted { stream, epoch }: Admitted) -> Effect {
    Effect::PublisherGone { stream, epoch }
}

fn close(session: SessionId, role: Role, stream: StreamId, reason: CloseReason) -> Effect {
    Effect::Close { session, role, stream, reason }
}
