//! The task that drives the engine.
//!
//! Requests of HTTP and events of media threads come through here one after the other, so that the
//! engine needs no lock. Nothing here waits for an answer, and nothing here decides: the task carries
//! values between the engine and the channels, and says to the log what happened.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use control::engine::{Answer, Media, Output, Request, RequestId};
use media::SessionId;
use sfu::guard::Strikes;
use sfu::{desk, shard};
use shards::{Plane, PlaneEvent};
use tokio::sync::{mpsc, oneshot, watch};

use super::dialect::wish::channel_answer;
use super::events::Events;
use super::notices;
use super::{Ask, FailedSession, LayerWish, Opened, Refusal, StreamStatus, Trickled, ViewerReport, metrics};

/// What the control task owns.
pub(super) struct Driver {
    engine: control::Engine,
    plane: Plane,
    /// Events of media threads that found their queue full.
    dropped: Arc<AtomicU64>,
    strikes: Strikes,
    /// Requests that the engine has not answered yet: at most as many as HTTP handlers wait, since a
    /// handler that is gone is answered all the same.
    replies: HashMap<RequestId, Reply>,
    /// The number given to a request last.
    last_request: u64,
    changed: watch::Sender<u64>,
    is_stopping: bool,
}

/// The way back to the caller of a request.
enum Reply {
    Opened(oneshot::Sender<Result<Opened, Refusal>>),
    Accepted(oneshot::Sender<Result<(), Refusal>>),
    Trickled(oneshot::Sender<Result<Trickled, Refusal>>),
    Report(oneshot::Sender<Option<ViewerReport>>),
    Closed(oneshot::Sender<bool>),
    Stopped(oneshot::Sender<()>),
    /// The wish came on the viewer's data channel, and is answered there.
    Channel(SessionId, LayerWish),
}

/// The longest sleep: a clock that was set, or a wrong timeout, shows no longer than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn new(
        engine: control::Engine,
        plane: Plane,
        dropped: Arc<AtomicU64>,
        changed: watch::Sender<u64>,
    ) -> Driver {
        Driver {
            engine,
            plane,
            dropped,
            strikes: Strikes::default(),
            replies: HashMap::new(),
            last_request: 0,
            changed,
            is_stopping: false,
        }
    }

    /// Runs until all handles on the engine are gone.
    pub(super) async fn run(mut self, mut questions: mpsc::Receiver<Ask>, mut events: Events) {
        loop {
            let sleep = self.engine.poll_timeout().map(tokio::time::Instant::from_std);
            let longest = tokio::time::Instant::now() + LONGEST_SLEEP;
            let until = sleep.unwrap_or(longest).min(longest);
            // In this order: what has happened is known before anything new is admitted, so a task
            // that is behind makes HTTP wait, and its queue of events does not grow.
            tokio::select! {
                biased;
                event = events.changes.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => return,
                },
                () = tokio::time::sleep_until(until) => {
                    self.guarded(|driver| driver.engine.handle_timeout(Instant::now()));
                }
                ask = questions.recv() => match ask {
                    Some(ask) => self.handle_ask(ask),
                    None => return,
                },
                event = events.answers.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => return,
                },
            }
            while self.guarded(Driver::carry_out).is_none() {}
        }
    }

    /// A panic at an event closes the session that it is about: what the event was to change may be
    /// half done.
    fn handle_event(&mut self, event: PlaneEvent) {
        let session = event.session();
        let handled = self.guarded(|driver| match event {
            PlaneEvent::Desk(event) => driver.engine.handle_desk(Instant::now(), event),
            PlaneEvent::Shard(event) => driver.engine.handle_shard(Instant::now(), event),
        });
        if let (None, Some(session)) = (handled, session) {
            let handle = session.handle();
            tracing::error!(session = handle, "a panic in the control task closes this session");
            self.guarded(|driver| driver.engine.fail(Instant::now(), session));
        }
    }

    /// A panic drops the way back to the caller, which tells the caller of it.
    fn handle_ask(&mut self, ask: Ask) {
        drop(catch_unwind(AssertUnwindSafe(|| self.take(ask))));
    }

    /// Runs a step. Returns `None` after a panic.
    ///
    /// # Panics
    ///
    /// Goes on with a panic that has happened too often ([`Strikes`]): the process aborts then.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Driver) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| step(self))) {
            Ok(done) => Some(done),
            Err(panic) if self.strikes.survives(Instant::now()) => {
                drop(panic);
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    fn take(&mut self, ask: Ask) {
        self.engine.set_media(self.media());
        let (request, reply) = match ask {
            Ask::Publish(request, reply) => (Request::Publish(request), Reply::Opened(reply)),
            Ask::Watch(request, reply) => (Request::Watch(request), Reply::Opened(reply)),
            Ask::Answer(session, answer, reply) => (Request::Accept { session, answer }, Reply::Accepted(reply)),
            Ask::Trickle(session, fragment, if_match, reply) => {
                (Request::Trickle { session, fragment, if_match }, Reply::Trickled(reply))
            }
            Ask::Close(session, reply) => (Request::Close { session }, Reply::Closed(reply)),
            Ask::Report(session, reply) => (Request::Report { session }, Reply::Report(reply)),
            Ask::Wish(session, wish, reply) => {
                let wish = wish.into();
                (Request::Wish { session, wish }, Reply::Accepted(reply))
            }
            Ask::Kick(stream, reply) => (Request::Kick { stream }, Reply::Closed(reply)),
            Ask::ShutDown(reply) => {
                self.is_stopping = true;
                (Request::ShutDown, Reply::Stopped(reply))
            }
            question => return self.look(question),
        };
        self.request(request, reply);
    }

    /// Answers a question that changes nothing.
    fn look(&self, question: Ask) {
        match question {
            Ask::Owner(session, reply) => give(reply, self.engine.owner(session)),
            Ask::WhyFailed(session, reply) => {
                give(reply, self.engine.why_failed(session).map(FailedSession::from));
            }
            Ask::Streams(reply) => {
                let clock = self.plane.clock();
                let streams = self.engine.streams(Instant::now()).into_iter();
                give(reply, streams.map(|one| StreamStatus::new(&clock, one)).collect());
            }
            Ask::Stream(name, reply) => {
                let clock = self.plane.clock();
                let stream = self.engine.stream(Instant::now(), &name);
                give(reply, stream.map(|one| StreamStatus::new(&clock, one)));
            }
            Ask::Metrics(reply) => {
                let text = metrics::text(&self.engine, &self.plane, &self.dropped);
                give(reply, text);
            }
            Ask::IsReady(reply) => give(reply, self.engine.readiness()),
            #[cfg(test)]
            Ask::Panic(_reply) => panic!("injected"),
            // `take` makes requests of these.
            Ask::Publish(..)
            | Ask::Watch(..)
            | Ask::Answer(..)
            | Ask::Trickle(..)
            | Ask::Close(..)
            | Ask::Report(..)
            | Ask::Wish(..)
            | Ask::Kick(..)
            | Ask::ShutDown(_) => {}
        }
    }

    fn request(&mut self, request: Request, reply: Reply) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.replies.insert(id, reply);
        let engine = &mut self.engine;
        let step = AssertUnwindSafe(|| engine.handle_request(Instant::now(), id, request));
        if catch_unwind(step).is_err() {
            self.replies.remove(&id);
        }
    }

    fn media(&self) -> Media {
        let busy = self.plane.highest(|gauges| &gauges.busy_permille);
        Media {
            load: control::Load { busy_permille: u16::try_from(busy).unwrap_or(u16::MAX) },
            is_behind: self.plane.is_behind(),
            is_alive: self.plane.is_alive(),
        }
    }

    /// Does what the engine wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::ToShard { shard, command } => self.to_shard(shard, command),
                Output::ToDesk { desk, command } => self.to_desk(desk, command),
                Output::Answer { request, answer } => self.answer(request, answer),
                Output::Heard { session, text } => self.hear(session, &text),
                Output::Changed => self.changed.send_modify(|count| *count += 1),
                Output::Notice(notice) => notices::log(notice),
            }
        }
    }

    fn to_shard(&self, shard: u8, command: shard::Command) {
        // A shard that has said goodbye takes no more commands; one that ended aborts the process.
        let must_arrive = !command.may_be_lost() && !self.is_stopping;
        if !self.plane.shard(shard, command) && must_arrive {
            tracing::error!(shard, "a media shard takes no commands any more");
        }
    }

    fn to_desk(&self, desk: u8, command: desk::Command) {
        if !self.plane.desk(desk, command) {
            tracing::error!(desk, "a desk takes no commands any more");
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        // None: a panic at the request has dropped the way back.
        let Some(reply) = self.replies.remove(&request) else { return };
        match (reply, answer) {
            (Reply::Opened(reply), Answer::Opened(result)) => give(reply, result),
            (Reply::Accepted(reply), Answer::Accepted(result) | Answer::Wished(result)) => {
                give(reply, result);
            }
            (Reply::Trickled(reply), Answer::Trickled(result)) => give(reply, result),
            (Reply::Report(reply), Answer::Report(status)) => {
                give(reply, status.map(|status| ViewerReport::from(*status)));
            }
            (Reply::Closed(reply), Answer::Closed(closed)) => give(reply, closed),
            (Reply::Stopped(reply), Answer::Stopped) => give(reply, ()),
            (Reply::Channel(session, wish), Answer::Wished(result)) => {
                let result = result.map_err(|refusal| refusal.to_string());
                let wish = result.as_ref().map(|()| &wish).map_err(String::as_str);
                self.engine.say(session, channel_answer(wish));
            }
            (_, answer) => tracing::error!(?answer, "the engine answered another question"),
        }
    }

    /// A viewer said something on its data channel.
    fn hear(&mut self, session: SessionId, text: &str) {
        match LayerWish::read(text) {
            Ok(wish) => {
                self.engine.set_media(self.media());
                let request = Request::Wish { session, wish: wish.clone().into() };
                self.request(request, Reply::Channel(session, wish));
            }
            Err(error) => self.engine.say(session, channel_answer(Err(&error))),
        }
    }
}

/// Answers a caller; one that is gone needs no answer.
fn give<T>(reply: oneshot::Sender<T>, answer: T) {
    let _ = reply.send(answer);
}
