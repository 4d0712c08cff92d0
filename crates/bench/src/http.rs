//! How do offers get to the server without stopping the loop that plays everybody?
//!
//! A few threads, each with one kept connection, take jobs from one queue. HTTP/1.1 as this needs it: a POST with a
//! body, an answer with `Content-Length`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Where the server is, and what opens its doors.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `host:port`
    authority: String,
    /// Prefix of all paths, without a slash at its end.
    base: String,
    token: Option<String>,
}

/// An offer to be sent.
#[derive(Debug)]
pub(crate) struct Job {
    /// Names it in the [`Done`].
    pub(crate) number: usize,
    /// Such as `/whep/demo`.
    pub(crate) path: String,
    /// SDP.
    pub(crate) offer: String,
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) number: usize,
    pub(crate) posted_at: Instant,
    pub(crate) answered_at: Instant,
    /// SDP.
    pub(crate) answer: anyhow::Result<String>,
}

/// The threads.
pub(crate) struct Pool {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

/// A server that takes longer than this to answer an offer is not fit to be measured.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections; each has one request under way.
const THREADS: usize = 8;

impl Target {
    pub(crate) fn parse(url: &str, token: Option<String>) -> anyhow::Result<Target> {
        let rest =
            url.strip_prefix("http://").with_context(|| format!("{url}: only http:// can be measured so far"))?;
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        ensure!(!authority.is_empty(), "{url} names no host");
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Target { authority, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// Sends one offer and waits for the answer.
    pub(crate) fn post(&self, path: &str, offer: &str) -> anyhow::Result<String> {
        self.exchange(&mut None, path, offer)
    }

    fn exchange(&self, kept: &mut Option<BufReader<TcpStream>>, path: &str, offer: &str) -> anyhow::Result<String> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.authority)
                    .with_context(|| format!("nobody answers at http://{}", self.authority))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        let authorization = match &self.token {
            Some(token) => format!("authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "POST {}{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/sdp\r\n{authorization}content-length: {}\r\n\r\n{offer}",
            self.base,
            self.authority,
            offer.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let status: u16 = line.split(' ').nth(1).and_then(|s| s.parse().ok()).context("the server speaks no HTTP")?;
        let mut len = 0;
        let mut keep = true;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.trim().parse().context("a Content-Length that is no number")?,
                "connection" => keep = !value.trim().eq_ignore_ascii_case("close"),
                "transfer-encoding" => bail!("the server answers in chunks, which is not understood here"),
                _ => {}
            }
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status == 201, "POST {path} was answered with {status}: {}", body.trim());
        if keep {
            *kept = Some(stream);
        }
        Ok(body)
    }
}

impl Pool {
    /// Starts the threads. `wake` is called after each answer.
    pub(crate) fn new(target: &Target, wake: impl Fn() + Send + Sync + 'static) -> anyhow::Result<Pool> {
        let (jobs, queue) = channel::<Job>();
        let (report, done) = channel();
        let (queue, wake) = (Arc::new(Mutex::new(queue)), Arc::new(wake));
        for _ in 0..THREADS {
            let (queue, report, target, wake) = (queue.clone(), report.clone(), target.clone(), wake.clone());
            std::thread::Builder::new().name("http".to_owned()).spawn(move || {
                let mut kept = None;
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { number, path, offer }) = job else { return };
                    let posted_at = Instant::now();
                    let answer = target.exchange(&mut kept, &path, &offer);
                    let done = Done { number, posted_at, answered_at: Instant::now(), answer };
                    if report.send(done).is_err() {
                        return;
                    }
                    wake();
                }
            })?;
        }
        Ok(Pool { jobs, done })
    }

    pub(crate) fn post(&self, job: Job) {
        // The threads live as long as this does.
        let _ = self.jobs.send(job);
    }

    pub(crate) fn poll(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}
