//! What does the task of one subscription do?
//!
//! It looks at the session while a client reads, and lets [`News`] or [`Demand`] decide what to
//! tell. It ends with its session, and when no client has read it for [`UNREAD`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::{SessionId, StreamName};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::demand::Demand;
use super::hub::{Hub, Newest};
use super::news::News;
use super::sse::has_stopped;
use super::subscriptions::{Orders, Reader, Subscriptions};
use crate::engine::{Engine, Role, ViewerReport};
use crate::http::ownership::is_of;

/// A reader whose connection broke is back sooner. A guess.
const UNREAD: Duration = Duration::from_secs(30);
/// How often a session is looked at. Measured: 50 µs a look, so twenty thousand readers would take
/// a core.
const LOOK: Duration = Duration::from_secs(1);
/// Time after a wish in which the session is looked at every [`REST`]: another encoding begins at a
/// key frame.
const ALERT: Duration = Duration::from_secs(2);
/// Changes that follow one another faster are told together: four times a second at most.
const REST: Duration = Duration::from_millis(250);
/// Longest silence towards a reader. A longer one would look like a dead line; some proxies close
/// one after 10 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What the readers of a subscription were told, and are to be.
pub(in crate::http) enum Told {
    Viewer(News),
    Publisher(Demand),
}

/// Tells the readers of one subscription, one after the other.
pub(in crate::http) struct Teller {
    pub(in crate::http) engine: Engine,
    pub(in crate::http) hub: Arc<Hub>,
    pub(in crate::http) subscriptions: Arc<Subscriptions>,
    pub(in crate::http) stopping: watch::Receiver<bool>,
    pub(in crate::http) stream: StreamName,
    pub(in crate::http) session: SessionId,
}

impl Teller {
    /// Returns when the subscription is over.
    pub(in crate::http) async fn run(&self, told: &mut Told, orders: Orders) {
        let Orders { mut readers, wishes, .. } = orders;
        while let Ok(Some(mut reader)) = timeout(UNREAD, readers.recv()).await {
            let mut stream = self.hub.newest(&self.engine, &self.stream);
            let mut stopping = self.stopping.clone();
            loop {
                tokio::select! {
                    end = self.tell(told, &reader, &mut stream, &wishes) => match end {
                        End::OfReader => break,
                        End::OfSession => return self.tell_failure(told, &reader).await,
                    },
                    next = readers.recv() => match next {
                        Some(next) => reader = next,
                        None => return,
                    },
                    () = has_stopped(&mut stopping) => return,
                }
            }
        }
    }

    async fn tell(
        &self,
        told: &mut Told,
        reader: &Reader,
        stream: &mut watch::Receiver<Newest>,
        wishes: &Notify,
    ) -> End {
        match told {
            Told::Viewer(news) => {
                news.restart();
                self.tell_viewer(news, reader, stream, wishes).await
            }
            Told::Publisher(demand) => {
                demand.restart();
                self.tell_publisher(demand, reader, stream).await
            }
        }
    }

    /// Tells the reader of a session that is over the reason, if its handshake failed.
    async fn tell_failure(&self, told: &Told, reader: &Reader) {
        let Some(failed) = self.engine.why_failed(self.session).await else { return };
        let text = match told {
            Told::Viewer(news) => news.failed(&failed),
            Told::Publisher(demand) => demand.failed(&failed),
        };
        // A reader that is gone needs no reason.
        let _ = say(reader, text, &mut Instant::now()).await;
    }

    async fn tell_publisher(&self, demand: &mut Demand, reader: &Reader, stream: &mut watch::Receiver<Newest>) -> End {
        let mut told_at = Instant::now();
        loop {
            let Ok(Some(newest)) = stream.wait_for(Option::is_some).await.map(|told| told.clone()) else {
                return End::OfReader;
            };
            if !is_of(&self.engine, &self.stream, self.session, Role::Publisher).await {
                return End::OfSession;
            }
            match say(reader, demand.poll(&newest.status), &mut told_at).await {
                Some(false) => {}
                Some(true) => sleep(REST).await,
                None => return End::OfReader,
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Ok(()) = stream.changed() => {}
            }
            if reader.reserve().await.is_err() {
                return End::OfReader;
            }
        }
    }

    async fn tell_viewer(
        &self,
        news: &mut News,
        reader: &Reader,
        stream: &mut watch::Receiver<Newest>,
        wishes: &Notify,
    ) -> End {
        let mut told_at = Instant::now();
        let mut alert_until = told_at;
        let mut known: Option<(Instant, ViewerReport)> = None;
        loop {
            let Ok(Some(told)) = stream.wait_for(Option::is_some).await.map(|told| told.clone()) else {
                return End::OfReader;
            };
            let now = Instant::now();
            let interval = if now < alert_until { REST } else { LOOK };
            let (looked_at, report) = match known.take() {
                Some((looked_at, report)) if looked_at + interval > now => (looked_at, report),
                _ => match self.report().await {
                    Some(report) => (now, report),
                    None => return End::OfSession,
                },
            };
            let text = news.poll(now, &told.status, &report);
            known = Some((looked_at, report));
            if say(reader, text, &mut told_at).await.is_none() {
                return End::OfReader;
            }
            sleep(REST).await;
            tokio::select! {
                () = sleep_until(looked_at + interval) => {}
                Ok(()) = stream.changed() => {}
                () = wishes.notified() => alert_until = Instant::now() + ALERT,
            }
            // A slow reader is waited for, so that it is told the newest; its connection does not
            // wait for ever.
            if reader.reserve().await.is_err() {
                return End::OfReader;
            }
        }
    }

    async fn report(&self) -> Option<ViewerReport> {
        let _permit = self.subscriptions.questions.acquire().await.ok()?;
        self.engine.report(self.session).await
    }
}

/// Sends the pending events, or a sign of life after [`KEEP_ALIVE`] without events. Returns whether
/// bytes were sent; `None` if the reader is gone.
async fn say(reader: &Reader, mut text: String, told_at: &mut Instant) -> Option<bool> {
    if text.is_empty() && told_at.elapsed() >= KEEP_ALIVE {
        text = ":\n\n".into();
    }
    if text.is_empty() {
        return Some(false);
    }
    *told_at = Instant::now();
    reader.send(Bytes::from(text)).await.ok().map(|()| true)
}

/// Why a task stops telling its reader.
enum End {
    OfReader,
    OfSession,
}
