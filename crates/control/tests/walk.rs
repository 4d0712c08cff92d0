//! Does the state machine agree with a naive twin, whatever happens in whatever order?
//!
//! Two witnesses: [`Twin`] keeps a plain list of sessions and computes every answer by looking at all
//! of them; [`Ledger`] believes effects only, as the shards do, and is compared with the twin after each
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use control::{
    Admitted, CONNECT_DEADLINE, CONNECTING_GRACE, Caller, CloseReason, Control, Effect, Limits, OWN_GRACE,
    PublisherView, Refused, Role, State, Takeover,
};
use media::{SessionId, StreamId, StreamName};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        // A failure is written down in `walk.regressions` and replayed first from then on.
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn control_and_its_twin_agree(
        limits in limits(),
        takeover in prop_oneof![Just(Takeover::Refuse), Just(Takeover::Replace)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut walk = Walk::new(limits, takeover);
        for step in steps {
            walk.take(step);
        }
        walk.ends();
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        name: usize,
        ip: usize,
        subject: usize,
    },
    Watch {
        name: usize,
        ip: usize,
    },
    /// `who` picks among all sessions that ever asked: also refused, fenced and forgotten ones.
    Connected {
        who: prop::sample::Index,
    },
    Flows {
        who: prop::sample::Index,
        flows: bool,
    },
    Closed {
        who: prop::sample::Index,
    },
    Close {
        who: prop::sample::Index,
    },
    Kick {
        name: usize,
    },
    /// Time passes, and the driver oversleeps if `called` is false.
    Time {
        ms: u64,
        called: bool,
    },
    ShutDown,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, ip) = (0..NAMES.len(), 0..IPS.len());
    let who = any::<prop::sample::Index>;
    prop_oneof![
        8 => (name.clone(), ip.clone(), 0..SUBJECTS.len())
            .prop_map(|(name, ip, subject)| Step::Publish { name, ip, subject }),
        10 => (name.clone(), ip).prop_map(|(name, ip)| Step::Watch { name, ip }),
        14 => who().prop_map(|who| Step::Connected { who }),
        8 => (who(), any::<bool>()).prop_map(|(who, flows)| Step::Flows { who, flows }),
        8 => who().prop_map(|who| Step::Closed { who }),
        4 => who().prop_map(|who| Step::Close { who }),
        1 => name.prop_map(|name| Step::Kick { name }),
        // Often exactly on the edges where a rule turns.
        8 => (prop_oneof![0..6_000_u64, Just(2_000), Just(5_000), Just(10_000), Just(15_000)], any::<bool>())
            .prop_map(|(ms, called)| Step::Time { ms, called }),
        // Once in some walks; everything after it is refused.
        1 => prop::bool::weighted(0.05).prop_map(|now| if now {
            Step::ShutDown
        } else {
            Step::Time { ms: 1, called: true }
        }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..4_usize, 1..12_usize, 1..5_usize, 0..6_usize).prop_map(|(streams, sessions, viewers, sessions_per_ip)| Limits {
        streams,
        sessions,
        viewers,
        sessions_per_ip,
    })
}

/// The state machine, both witnesses and the clock.
struct Walk {
    control: Control,
    twin: Twin,
    ledger: Ledger,
    now: Instant,
    /// Every session that ever asked.
    asked: Vec<SessionId>,
}

impl Walk {
    fn new(limits: Limits, takeover: Takeover) -> Walk {
        Walk {
            control: Control::new(limits, takeover),
            twin: Twin::new(limits, takeover),
            ledger: Ledger::default(),
            now: Instant::now(),
            asked: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        let before = self.shown();
        // The session that ends in this step by a report of the floor below, and without an effect.
        let mut left = None;
        match step {
            Step::Publish { name, ip, subject } => self.comes(Role::Publisher, name, ip, subject),
            Step::Watch { name, ip } => self.comes(Role::Viewer, name, ip, 0),
            Step::Connected { who } => {
                let session = self.pick(who);
                self.control.connected(now, session);
                self.twin.connected(now, session);
            }
            Step::Flows { who, flows } => {
                let session = self.pick(who);
                self.control.flows(now, session, flows);
                self.twin.flows(now, session, flows);
            }
            Step::Closed { who } => {
                let session = self.pick(who);
                self.control.closed(now, session);
                left = self.twin.remove(session).then_some(session);
            }
            Step::Close { who } => {
                let session = self.pick(who);
                let was_there = self.twin.close(session, CloseReason::Asked);
                let answer = self.control.close(now, session, CloseReason::Asked);
                assert_eq!(answer, was_there);
            }
            Step::Kick { name } => {
                let was_there = self.twin.kick(NAMES[name]);
                assert_eq!(self.control.kick(now, &stream_name(name)), was_there);
            }
            Step::Time { ms, called } => {
                self.now += Duration::from_millis(ms);
                if called {
                    self.control.handle_timeout(self.now);
                    self.twin.handle_timeout(self.now);
                }
            }
            Step::ShutDown => {
                self.control.shut_down(now);
                self.twin.shut_down();
            }
        }
        self.compare(before, left);
    }

    fn comes(&mut self, role: Role, name: usize, ip: usize, subject: usize) {
        let session = SessionId::from_bytes((self.asked.len() as u128).to_be_bytes());
        self.asked.push(session);
        let ip_address: IpAddr = IPS[ip].0.parse().unwrap();
        let caller = Caller { ip: ip_address, identity: SUBJECTS[subject].map(str::to_owned) };
        let answer = match role {
            Role::Publisher => self.control.publish(self.now, session, stream_name(name), caller),
            Role::Viewer => self.control.watch(self.now, session, stream_name(name), caller),
        };
        let expected = self.twin.comes(self.now, session, role, NAMES[name], IPS[ip].1, SUBJECTS[subject]);
        // How long to wait has its own table, in `takeover.rs`.
        let answer = answer.map_err(|refused| match refused {
            Refused::StreamBusy { retry_after } => {
                assert!(!retry_after.is_zero());
                Refused::StreamBusy { retry_after: Duration::ZERO }
            }
            other => other,
        });
        assert_eq!(answer.map(|_| ()), expected);
        if let Ok(admitted) = answer {
            self.ledger.admitted(session, role, admitted);
        }
    }

    /// Picks a session that ever asked, or a stranger before anybody did.
    fn pick(&self, who: prop::sample::Index) -> SessionId {
        if self.asked.is_empty() {
            return SessionId::from_bytes([0xff; 16]);
        }
        *who.get(&self.asked)
    }

    /// Everyone is sent home, and nothing may remain.
    fn ends(mut self) {
        self.take(Step::ShutDown);
        assert_eq!(self.control.poll_timeout(), None);
        assert_eq!(self.control.streams().count(), 0);
        assert_eq!(self.control.session_count(), (0, 0));
        assert!(self.ledger.open.is_empty() && self.ledger.inside.is_empty());
    }

    /// What the API shows, by stream.
    fn shown(&self) -> BTreeMap<StreamId, Shown> {
        let view = |view: control::StreamView<'_>| (view.id, (view.state, view.publisher, view.viewers));
        self.control.streams().map(view).collect()
    }

    fn compare(&mut self, before: BTreeMap<StreamId, Shown>, left: Option<SessionId>) {
        let mut changed = BTreeSet::new();
        if let Some(session) = left {
            self.ledger.ends(session);
        }
        while let Some(effect) = self.control.poll_effect() {
            self.ledger.believe(effect);
            match effect {
                Effect::Changed { stream } => {
                    assert!(changed.insert(stream), "{stream} changed twice in one step");
                }
                Effect::Close { session, reason, .. } => {
                    let expected = self.twin.closing.remove(&session);
                    assert_eq!(Some(reason), expected, "{session:?} is closed");
                }
                _ => {}
            }
        }
        assert!(self.twin.closing.is_empty(), "not closed: {:?}", self.twin.closing);
        self.compare_answers();
        self.compare_ledger();

        // `Changed` is said of what has changed and still is there, and of nothing else.
        let nothing = (State::Waiting, None, 0);
        for (stream, after) in self.shown() {
            let before = before.get(&stream).copied().unwrap_or(nothing);
            assert_eq!(changed.remove(&stream), before != after, "{stream} changed");
        }
        assert!(changed.is_empty(), "changed and gone: {changed:?}");
    }

    /// The state machine answers what the twin knows.
    fn compare_answers(&self) {
        let (control, twin) = (&self.control, &self.twin);
        assert_eq!(control.poll_timeout(), twin.poll_timeout());
        let count = |role| twin.sessions.iter().filter(|s| s.role == role).count();
        let expected = (count(Role::Publisher), count(Role::Viewer));
        assert_eq!(control.session_count(), expected);
        let names: Vec<&str> = control.streams().map(|view| view.name.as_str()).collect();
        assert_eq!(names, Vec::from_iter(twin.names()));

        for (index, name) in NAMES.into_iter().enumerate() {
            let view = control.stream(&stream_name(index));
            let publisher = twin.publisher(name);
            let connected = twin.in_stream(name).filter(|s| s.connected_at.is_some());
            let viewers = connected.filter(|s| s.role == Role::Viewer).count();
            let all_viewers = twin.in_stream(name).filter(|s| s.role == Role::Viewer).count();
            let Some(view) = view else {
                assert_eq!(twin.in_stream(name).count(), 0);
                continue;
            };
            assert_eq!(control.stream_by_id(view.id), Some(view));
            assert_eq!(view.name.as_str(), name);
            assert_eq!(view.state, twin.state(name));
            let publisher_view = view.publisher.map(|p| (p.session, p.connected_at));
            assert_eq!(publisher_view, publisher.map(|p| (p.id, p.connected_at)));
            assert_eq!(view.viewers as usize, viewers);
            assert_eq!((view.viewers + view.viewers_connecting) as usize, all_viewers);
            assert_eq!(view.live_since, publisher.and_then(|p| p.flows_since));
        }
        for session in &self.asked {
            let owner = control.owner(session).map(|(name, role)| (name.as_str(), role));
            let expected = twin.sessions.iter().find(|s| s.id == *session);
            assert_eq!(owner, expected.map(|s| (s.name, s.role)));
        }
    }

    /// Checks that the effects alone give the same streams, publishers and sessions.
    fn compare_ledger(&self) {
        let views: Vec<_> = self.control.streams().collect();
        let open: BTreeSet<StreamId> = views.iter().map(|view| view.id).collect();
        assert_eq!(self.ledger.open, open);
        let publishers = views.iter().filter_map(|view| {
            let publisher = view.publisher?;
            Some((view.id, (publisher.session, publisher.epoch)))
        });
        assert_eq!(self.ledger.publishers, publishers.collect());
        let inside: BTreeSet<SessionId> = self.ledger.inside.keys().copied().collect();
        assert_eq!(inside, self.twin.sessions.iter().map(|s| s.id).collect());
    }
}

type Shown = (State, Option<PublisherView>, u32);

/// Knowledge of an observer that sees answers and effects only, as the shards do.
#[derive(Default)]
struct Ledger {
    open: BTreeSet<StreamId>,
    ever_opened: BTreeSet<StreamId>,
    publishers: BTreeMap<StreamId, (SessionId, u32)>,
    last_epoch: u32,
    /// The epoch that the answer to a publisher named, until the effect confirms it.
    promised: BTreeMap<SessionId, Admitted>,
    /// Admitted, and not ended by a `Close` or by the floor below.
    inside: BTreeMap<SessionId, (Role, StreamId)>,
}

impl Ledger {
    fn admitted(&mut self, session: SessionId, role: Role, admitted: Admitted) {
        self.inside.insert(session, (role, admitted.stream));
        match role {
            Role::Viewer => assert_eq!(admitted.epoch, 0),
            Role::Publisher => {
                self.promised.insert(session, admitted);
            }
        }
    }

    fn ends(&mut self, session: SessionId) {
        let was_inside = self.inside.remove(&session).is_some();
        assert!(was_inside, "{session:?} ends twice");
    }

    fn believe(&mut self, effect: Effect) {
        let stream = match effect {
            Effect::StreamOpened { stream } => {
                assert!(self.ever_opened.insert(stream), "{stream} is used again");
                self.open.insert(stream);
                stream
            }
            Effect::Close { stream, .. }
            | Effect::StreamClosed { stream }
            | Effect::PublisherIs { stream, .. }
            | Effect::PublisherGone { stream, .. }
            | Effect::Changed { stream } => stream,
        };
        assert!(self.open.contains(&stream), "{effect:?} of a forgotten stream");
        match effect {
            Effect::StreamOpened { .. } | Effect::Changed { .. } => {}
            Effect::StreamClosed { stream } => {
                self.open.remove(&stream);
                assert!(!self.publishers.contains_key(&stream), "closed while published");
                let somebody = self.inside.values().any(|(_, inside)| *inside == stream);
                assert!(!somebody, "closed with somebody inside");
            }
            Effect::Close { session, role, stream, .. } => {
                assert_eq!(self.inside.get(&session), Some(&(role, stream)));
                self.ends(session);
            }
            Effect::PublisherIs { stream, session, epoch } => {
                assert!(epoch > self.last_epoch, "epochs grow strictly");
                self.last_epoch = epoch;
                let promised = self.promised.remove(&session);
                assert_eq!(promised, Some(Admitted { stream, epoch }));
                let before = self.publishers.insert(stream, (session, epoch));
                assert_eq!(before, None, "two publishers that are not fenced");
            }
            Effect::PublisherGone { stream, epoch } => {
                let gone = self.publishers.remove(&stream);
                assert_eq!(gone.map(|(_, epoch)| epoch), Some(epoch));
            }
        }
    }
}

/// The rules again, written down as plainly as possible: one list, looked through for everything.
struct Twin {
    limits: Limits,
    takeover: Takeover,
    sessions: Vec<TwinSession>,
    /// Names of streams that have had a connected publisher.
    was_live: BTreeSet<&'static str>,
    shut_down: bool,
    /// Sessions that must be closed in this step, and why.
    closing: BTreeMap<SessionId, CloseReason>,
}

#[derive(Clone)]
struct TwinSession {
    id: SessionId,
    role: Role,
    name: &'static str,
    /// Addresses with the same number count together.
    household: u8,
    subject: Option<&'static str>,
    admitted_at: Instant,
    connected_at: Option<Instant>,
    flows_since: Option<Instant>,
}

impl Twin {
    fn new(limits: Limits, takeover: Takeover) -> Twin {
        Twin {
            limits,
            takeover,
            sessions: Vec::new(),
            was_live: BTreeSet::new(),
            shut_down: false,
            closing: BTreeMap::new(),
        }
    }

    fn comes(
        &mut self,
        now: Instant,
        id: SessionId,
        role: Role,
        name: &'static str,
        household: u8,
        subject: Option<&'static str>,
    ) -> Result<(), Refused> {
        if self.shut_down {
            return Err(Refused::ShuttingDown);
        }
        let current = self.publisher(name).filter(|_| role == Role::Publisher).cloned();
        if let Some(current) = &current
            && self.takeover == Takeover::Refuse
        {
            let owns = current.household == household || (subject.is_some() && current.subject == subject);
            let gives_way = match current.connected_at {
                Some(_) => owns && current.flows_since.is_none(),
                None => now - current.admitted_at >= if owns { OWN_GRACE } else { CONNECTING_GRACE },
            };
            if !gives_way {
                return Err(Refused::StreamBusy { retry_after: Duration::ZERO });
            }
        }
        // The limits apply without the session that is replaced.
        let staying = |s: &&TwinSession| current.as_ref().is_none_or(|c| c.id != s.id);
        let limits = self.limits;
        let neighbours = self.sessions.iter().filter(staying).filter(|s| s.household == household);
        let is_new = self.in_stream(name).count() == 0;
        let viewers = self.in_stream(name).filter(|s| s.role == Role::Viewer).count();
        let limit = if limits.sessions_per_ip > 0 && neighbours.count() >= limits.sessions_per_ip {
            Some("limits.sessions_per_ip")
        } else if self.sessions.iter().filter(staying).count() >= limits.sessions {
            Some("limits.sessions")
        } else if is_new && self.names().len() >= limits.streams {
            Some("streams.max")
        } else if role == Role::Viewer && viewers >= limits.viewers {
            Some("limits.viewers")
        } else {
            None
        };
        if let Some(limit) = limit {
            return Err(Refused::Full { limit });
        }
        // First in, then out: the stream is remembered meanwhile.
        let connected_at = None;
        let admitted_at = now;
        let flows_since = None;
        self.sessions.push(TwinSession { id, role, name, household, subject, admitted_at, connected_at, flows_since });
        if let Some(current) = current {
            self.close(current.id, CloseReason::Replaced);
        }
        Ok(())
    }

    fn connected(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.iter_mut().find(|s| s.id == id) {
            if session.role == Role::Publisher {
                if session.connected_at.is_none() {
                    session.flows_since = Some(now);
                }
                self.was_live.insert(session.name);
            }
            session.connected_at = session.connected_at.or(Some(now));
        }
    }

    fn flows(&mut self, now: Instant, id: SessionId, flows: bool) {
        let is_it = |s: &&mut TwinSession| s.id == id && s.role == Role::Publisher && s.connected_at.is_some();
        if let Some(session) = self.sessions.iter_mut().find(is_it) {
            match (session.flows_since, flows) {
                (None, true) => session.flows_since = Some(now),
                (Some(_), true) => {}
                (_, false) => session.flows_since = None,
            }
        }
    }

    fn remove(&mut self, id: SessionId) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|s| s.id != id);
        let names = self.names();
        self.was_live.retain(|name| names.contains(name));
        self.sessions.len() < before
    }

    fn close(&mut self, id: SessionId, reason: CloseReason) -> bool {
        let was_there = self.remove(id);
        if was_there {
            self.closing.insert(id, reason);
        }
        was_there
    }

    fn close_all(&mut self, reason: CloseReason, which: impl Fn(&TwinSession) -> bool) -> bool {
        let chosen = self.sessions.iter().filter(|s| which(s)).map(|s| s.id);
        let chosen: Vec<SessionId> = chosen.collect();
        for id in &chosen {
            self.close(*id, reason);
        }
        !chosen.is_empty()
    }

    fn kick(&mut self, name: &str) -> bool {
        self.close_all(CloseReason::Kicked, |s| s.name == name)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.close_all(CloseReason::ConnectTimeout, |s| {
            s.connected_at.is_none() && now - s.admitted_at >= CONNECT_DEADLINE
        });
    }

    fn shut_down(&mut self) {
        self.shut_down = true;
        self.close_all(CloseReason::ShuttingDown, |_| true);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let connecting = self.sessions.iter().filter(|s| s.connected_at.is_none());
        connecting.map(|s| s.admitted_at + CONNECT_DEADLINE).min()
    }

    fn state(&self, name: &'static str) -> State {
        if let Some(publisher) = self.publisher(name).filter(|p| p.connected_at.is_some()) {
            return if publisher.flows_since.is_some() { State::Live } else { State::Paused };
        }
        let viewers = self.in_stream(name).any(|s| s.role == Role::Viewer);
        match viewers && self.was_live.contains(name) {
            true => State::Paused,
            false => State::Waiting,
        }
    }

    fn publisher(&self, name: &'static str) -> Option<&TwinSession> {
        let mut publishers = self.in_stream(name).filter(|s| s.role == Role::Publisher);
        let publisher = publishers.next();
        assert!(publishers.next().is_none(), "the twin itself admits one publisher");
        publisher
    }

    fn in_stream(&self, name: &'static str) -> impl Iterator<Item = &TwinSession> {
        self.sessions.iter().filter(move |s| s.name == name)
    }

    fn names(&self) -> BTreeSet<&'static str> {
        self.sessions.iter().map(|s| s.name).collect()
    }
}

const NAMES: [&str; 4] = ["demo", "demo/2", "a", "z"];

/// Subjects of tokens.
const SUBJECTS: [Option<&str>; 3] = [None, Some("alice"), Some("bob")];

/// Addresses, and which of them count together.
const IPS: [(&str, u8); 6] = [
    ("192.0.2.1", 0),
    ("::ffff:192.0.2.1", 0),
    ("192.0.2.2", 1),
    ("2001:db8::1", 2),
    ("2001:db8::ffff:0:0:1", 2),
    ("2001:db8:0:1::1", 3),
];

fn stream_name(index: usize) -> StreamName {
    StreamName::parse(NAMES[index]).unwrap()
}
