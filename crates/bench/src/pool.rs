//! How do requests get to the server without stopping the loop of the load?
//!
//! A few threads, each with one kept connection, take jobs from one queue.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustls::ClientConfig;

use crate::http::{Client, Reply, Request};

/// The threads.
pub(crate) struct Pool {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    under_way: usize,
}

/// A request to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    /// Names it in the [`Done`].
    pub(crate) number: usize,
    pub(crate) request: Request,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) number: usize,
    pub(crate) method: &'static str,
    pub(crate) sent_at: Instant,
    pub(crate) answered_at: Instant,
    pub(crate) reply: anyhow::Result<Reply>,
}

/// Connections; each has one request under way. A guess: enough for 1,000 a second when each takes
/// 8 ms.
const THREADS: usize = 8;

impl Pool {
    /// Starts the threads. `wake` is called after each answer.
    pub(crate) fn new(tls: &Arc<ClientConfig>, wake: impl Fn() + Send + Sync + 'static) -> anyhow::Result<Pool> {
        let (jobs, queue) = channel::<Job>();
        let (report, done) = channel();
        let (queue, wake) = (Arc::new(Mutex::new(queue)), Arc::new(wake));
        for _ in 0..THREADS {
            let (queue, report, tls, wake) = (queue.clone(), report.clone(), tls.clone(), wake.clone());
            std::thread::Builder::new().name("http".to_owned()).spawn(move || {
                let mut client = Client::new(tls);
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { number, request }) = job else { return };
                    let sent_at = Instant::now();
                    let reply = client.send(&request);
                    let done = Done { number, method: request.method, sent_at, answered_at: Instant::now(), reply };
                    if report.send(done).is_err() {
                        return;
                    }
                    wake();
                }
            })?;
        }
        Ok(Pool { jobs, done, under_way: 0 })
    }

    pub(crate) fn send(&mut self, job: Job) {
        // The threads live as long as this does.
        if self.jobs.send(job).is_ok() {
            self.under_way += 1;
        }
    }

    /// Returns an answer that has come.
    pub(crate) fn poll(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(done)
    }

    /// Waits for the answers to all that was sent, but not longer than `until`. Returns how many
    /// are left.
    pub(crate) fn finish(&mut self, until: Instant) -> usize {
        while self.under_way > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if self.done.recv_timeout(left).is_err() {
                break;
            }
            self.under_way -= 1;
        }
        self.under_way
    }
}
