//! Does everything hold in whatever order requests, answers, losses and time come?
//!
//! Media threads are a list of commands that were given to them. In each step of a walk, one of
//! them is carried out, carried out wrongly or lost, a request is made, an event comes from
//! nowhere, or time passes.

use std::collections::BTreeMap;

use sfu::negotiate::Unusable;
use sfu::publisher::Ended;

use super::super::waiting::MAX_WAITING;
use super::*;

/// Draws lots (splitmix64, Steele et al. 2014).
struct Lots(u64);

impl Lots {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}

enum Command {
    Shard(u8, shard::Command),
    Desk(desk::Command),
}

struct Walk {
    bench: Bench,
    lots: Lots,
    /// Commands that media threads have not looked at.
    given: Vec<Command>,
    /// Every session that ever was.
    sessions: Vec<SessionId>,
    /// How often each request was answered.
    answered: BTreeMap<u64, u32>,
}

#[test]
fn each_request_is_answered_once_and_nothing_is_left_behind() {
    let seeds = match std::env::var("ENGINE_SEED") {
        Ok(seed) => vec![seed.parse().expect("ENGINE_SEED is a number")],
        Err(_) => (0..60).collect(),
    };
    for seed in seeds {
        let walk = std::panic::AssertUnwindSafe(|| Walk::new(seed).runs());
        if let Err(panic) = std::panic::catch_unwind(walk) {
            eprintln!("to replay: ENGINE_SEED={seed} cargo test -p control each_request");
            std::panic::resume_unwind(panic);
        }
    }
}

impl Walk {
    fn new(seed: u64) -> Walk {
        let takeover = if seed.is_multiple_of(2) { Takeover::Refuse } else { Takeover::Replace };
        Walk {
            bench: Bench::with(takeover, 6),
            lots: Lots(seed),
            given: Vec::new(),
            sessions: vec![of(99)],
            answered: BTreeMap::new(),
        }
    }

    fn runs(mut self) {
        for _ in 0..250 {
            match self.lots.below(20) {
                0..=8 => self.thread_works(),
                9..=14 => self.request(),
                15..=16 => self.anything_happens(),
                17 => drop(self.pick_given()),
                _ => {
                    let ms = [1, 200, 1_000, 3_000, 5_000][self.lots.below(5)];
                    self.bench.passes(Duration::from_millis(ms));
                }
            }
            self.look();
        }
        self.bench.ask(Request::ShutDown);
        self.look();
        self.bench.passes(ANSWER_WITHIN);
        self.look();
        let engine = &self.bench.engine;
        assert!((1..=self.bench.last_request).all(|n| self.answered.get(&n) == Some(&1)));
        assert!(engine.connections.is_empty() && engine.streams.is_empty());
        assert_eq!(engine.waiting.sessions().count(), 0);
        assert_eq!(engine.poll_timeout(), None);
    }

    fn look(&mut self) {
        for output in std::mem::take(&mut self.bench.outputs) {
            match output {
                Output::ToShard { shard, command } => self.given.push(Command::Shard(shard, command)),
                Output::ToDesk { command, .. } => self.given.push(Command::Desk(command)),
                Output::Answer { request, .. } => *self.answered.entry(request.0).or_default() += 1,
                Output::Heard { session, text } => self.bench.engine.say(session, text),
                Output::Changed | Output::Notice(_) => {}
            }
        }
        self.bench.drain();
        let engine = &self.bench.engine;
        assert!(engine.outputs.is_empty());
        assert!(self.answered.values().all(|times| *times == 1), "{:?}", self.answered);
        for session in engine.connections.keys() {
            assert!(engine.control.owner(session).is_some(), "a session that control forgot");
            if !self.sessions.contains(session) {
                self.sessions.push(*session);
            }
        }
        let (publishers, viewers) = engine.control.session_count();
        assert_eq!(engine.connections.len(), publishers + viewers);
        assert_eq!(engine.streams.len(), engine.control.streams().count());
        for (session, waiting) in engine.waiting.sessions() {
            assert!(waiting <= MAX_WAITING);
            assert!(engine.connections.contains_key(&session), "a request waits for no session");
        }
        let unanswered = self.bench.last_request as usize - self.answered.len();
        let stopping = engine.stopping.as_ref().and_then(Stopping::next).is_some();
        let waiting = engine.waiting.next().is_some();
        assert!(unanswered == 0 || waiting || stopping, "a request was forgotten");
    }

    fn session(&mut self) -> SessionId {
        // The newest are worth more.
        let newest = self.sessions.len().min(6);
        self.sessions[self.sessions.len() - 1 - self.lots.below(newest)]
    }

    fn request(&mut self) {
        let session = self.session();
        let stream = ["a", "b", "c"][self.lots.below(3)];
        let request = match self.lots.below(16) {
            0..=1 => publish(stream, OFFER),
            2 => publish(stream, "v=0"),
            3..=6 => watch(stream),
            7..=8 => trickle(session, ["x", "y", "z"][self.lots.below(3)], None),
            9 => Request::Accept { session, answer: String::new() },
            10..=11 => wish(session, [None, Some("q"), Some("nothing")][self.lots.below(3)]),
            12..=13 => Request::Report { session },
            14 => Request::Close { session },
            _ => Request::Kick { stream: name(stream) },
        };
        let is_behind = self.lots.below(20) == 0;
        self.bench.engine.set_media(Media { is_behind, ..Media::default() });
        self.bench.ask(request);
    }

    fn pick_given(&mut self) -> Option<Command> {
        if self.given.is_empty() {
            return None;
        }
        // Threads are not in step with each other, and here not even one with itself.
        let first = self.given.len().min(4);
        Some(self.given.remove(self.lots.below(first)))
    }

    /// A media thread carries out a command.
    fn thread_works(&mut self) {
        let shard = self.lots.below(2) as u8;
        let fails = self.lots.below(5) == 0;
        match self.pick_given() {
            Some(Command::Desk(desk::Command::Open { session, .. })) => {
                let result = if fails { Err(Unusable::Busy) } else { Ok(String::new()) };
                self.bench.desk(desk::Event::Opened { session, result });
                if !fails {
                    self.bench.desk(desk::Event::Connected { session, shard });
                }
            }
            Some(Command::Desk(desk::Command::Publish { session, stream, epoch, .. })) => {
                let result = if fails { Err(Unusable::Busy) } else { Ok(String::new()) };
                self.bench.desk(desk::Event::Opened { session, result });
                if !fails {
                    self.bench.desk(desk::Event::Connected { session, shard });
                    let published = two_encodings();
                    self.bench.shard(shard::Event::Published { stream, epoch, published });
                }
            }
            Some(Command::Desk(desk::Command::Answer { session, .. })) => {
                let result = (!fails).then_some(Ok(()));
                self.bench.desk(desk::Event::Answered { session, result });
            }
            Some(Command::Desk(desk::Command::Restart { session, .. })) => {
                let result = (!fails).then(|| Ok(String::new()));
                self.bench.desk(desk::Event::Restarted { session, result });
            }
            Some(Command::Shard(_, shard::Command::Report { session })) => {
                self.bench.shard(shard::Event::Report { session, report: None });
            }
            Some(Command::Shard(shard, shard::Command::Snapshot)) => {
                let views: Vec<_> = self.bench.engine.control.streams().map(|view| view.id).collect();
                let streams = views.into_iter().map(at_home).collect();
                self.bench.shard(snapshot(shard, streams));
            }
            Some(_) | None => {}
        }
    }

    /// Something happens to any session, whether it can happen to it or not.
    fn anything_happens(&mut self) {
        let session = self.session();
        let shard = self.lots.below(2) as u8;
        let why = [Ended::PeerLeft, Ended::IceLost, Ended::Failed][self.lots.below(3)];
        match self.lots.below(8) {
            0 => self.bench.desk(desk::Event::Closed { session, why }),
            1 => self.bench.desk(desk::Event::Answered { session, result: None }),
            2 => self.bench.desk(desk::Event::Opened { session, result: Err(Unusable::Busy) }),
            3 => self.bench.shard(shard::Event::PublisherFlows { session, flows: shard == 0 }),
            4 => self.bench.desk(desk::Event::Heard { session, text: String::new() }),
            5 => self.bench.desk(desk::Event::Restarted { session, result: None }),
            6 => self.bench.desk(desk::Event::Connected { session, shard }),
            _ => {
                let is_known = self.bench.engine.connections.contains_key(&session);
                assert_eq!(self.bench.engine.fail(self.bench.now, session), is_known);
                self.bench.drain();
            }
        }
    }
}
