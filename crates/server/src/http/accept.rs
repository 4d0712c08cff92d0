//! How do connections come in, and when do they have to go?
//!
//! Our own accept loop around hyper, because a server on the internet needs deadlines for every stage (threat T22): the
//! TLS handshake, the head of a request, its body ([`super::body`]), idleness, and a reader that does not read. The
//! number of connections is bounded, in all and per address; one that has shown a valid token does not count there.
//! Frames of HTTP/2 are counted ([`super::frames`]), and no connection is read for longer than its turn.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::App;
use super::backend::Backend;
use super::body::Body;
use super::counters::Counters;
use super::frames::{Incoming, Walker};
use super::limits::{
    CONNECTION_PERCENT, H2_LOCAL_RESETS, H2_PENDING_RESETS, H2_PING_INTERVAL, H2_STREAMS, HEADER_BYTES, HEADER_FIELDS,
    HEADER_TIMEOUT, IDLE_TIMEOUT, TLS_TIMEOUT, TURN_BYTES, WRITE_BYTES_PER_SECOND, WRITE_TIMEOUT,
};
use super::rate::AddressKey;
use super::remote::Remote;
use super::tls::Certificates;
use crate::config::{Cidr, HttpConfig};

/// Connections that the kernel completes and keeps until the server accepts them. The kernel caps
/// it at `net.core.somaxconn`, 4,096 since Linux 5.4. With 1,024, a burst of 1,000 connections
/// filled the queue, and the client whose SYN was dropped waited 1 s for its retransmission.
const BACKLOG: i32 = 4096;
/// After `accept` has failed (no descriptors left, mostly), wait this long. A guess.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often a busy connection is looked at for a reader that does not read.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Binds a listener. An IPv6 one is for IPv6 alone, so that both wildcards can stand side by side.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restarted server finds its port free although old connections linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts and serves until `stopping`; then lets requests that have begun end, and returns.
pub async fn serve<E: Backend>(
    listeners: Vec<TcpListener>,
    app: Arc<App<E>>,
    certificates: Option<Arc<Certificates>>,
    config: &HttpConfig,
    stopping: watch::Receiver<bool>,
) {
    let counters = Arc::clone(&app.counters);
    let connections = Arc::new(Connections::new(config, counters));
    let mut loops = JoinSet::new();
    for listener in listeners {
        let (app, certificates) = (Arc::clone(&app), certificates.clone());
        loops.spawn(accept_loop(listener, app, certificates, Arc::clone(&connections), stopping.clone()));
    }
    while loops.join_next().await.is_some() {}
}

async fn accept_loop<E: Backend>(
    listener: TcpListener,
    app: Arc<App<E>>,
    certificates: Option<Arc<Certificates>>,
    connections: Arc<Connections>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Forgets those that have ended.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                connections.accept_failed(&error);
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(slot) = connections.take(peer.ip()) else {
            continue;
        };
        let remote = Remote { peer, slot: Some(Arc::new(slot)) };
        tasks.spawn(connection(stream, remote, Arc::clone(&app), certificates.clone(), stopping.clone()));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn connection<E: Backend>(
    stream: TcpStream,
    remote: Remote,
    app: Arc<App<E>>,
    certificates: Option<Arc<Certificates>>,
    stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(certificates) = certificates else {
        return drive(stream, remote, app, stopping).await;
    };
    match timeout(TLS_TIMEOUT, certificates.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => drive(stream, remote, app, stopping).await,
        Ok(Err(_)) | Err(_) => app.counters.tls_failed(),
    }
}

/// Drives one connection until it ends or has to.
async fn drive<E, IO>(io: IO, remote: Remote, app: Arc<App<E>>, mut stopping: watch::Receiver<bool>)
where
    E: Backend,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let now = Instant::now();
    let activity = Arc::new(Activity::new(now));
    // A trusted proxy puts all its clients into few connections.
    let is_proxy = app.trusted_proxies.iter().any(|network| network.contains(remote.peer.ip()));
    let counters = Arc::clone(&app.counters);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let busy = activity.request_began();
        let (app, remote) = (Arc::clone(&app), remote.clone());
        async move { Ok::<_, Infallible>(app.respond(request, &remote).await.map(|body| Tracked { body, _busy: busy })) }
    });
    let builder = builder();
    let watched = Watched {
        io,
        activity: Arc::clone(&activity),
        incoming: Incoming::new(now.into_std()),
        outgoing: Walker::default(),
        budget: if is_proxy { Frames::Unlimited } else { Frames::Counted(Arc::clone(&counters)) },
    };
    let io = TokioIo::new(watched);
    let connection = builder.serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    loop {
        let turn = poll_fn(|context| {
            activity.turn_begins();
            connection.as_mut().poll(context)
        });
        tokio::select! {
            _ = turn => return,
            _ = stopping.wait_for(|stopping| *stopping), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.hurried.notified() => {}
            () = sleep_until(activity.check_at(Instant::now())) => match activity.verdict(Instant::now()) {
                Verdict::Stay => {}
                Verdict::Leave if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Leave | Verdict::Cut => return,
                Verdict::CutSlowReader => return counters.slow_reader_cut(),
            },
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // A second line: the clock starts with idleness here. The first line is `Activity`.
        .header_read_timeout(IDLE_TIMEOUT + HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS)
        .max_header_list_size(HEADER_BYTES as u32)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_INTERVAL);
    builder
}

/// All connections that are open.
struct Connections {
    most: usize,
    most_per_address: usize,
    trusted: Vec<Cidr>,
    open: Mutex<Open>,
    counters: Arc<Counters>,
    said_full: AtomicBool,
}

#[derive(Default)]
struct Open {
    all: usize,
    unauthenticated: HashMap<AddressKey, usize>,
}

/// A connection's place.
pub struct Slot {
    connections: Arc<Connections>,
    /// Its address, while it counts there.
    counted: Mutex<Option<AddressKey>>,
}

impl Connections {
    fn new(config: &HttpConfig, counters: Arc<Counters>) -> Self {
        Self {
            most: most_connections(),
            most_per_address: config.limits.connections_per_ip,
            trusted: config.trusted_proxies.clone(),
            open: Mutex::default(),
            counters,
            said_full: AtomicBool::new(false),
        }
    }

    /// Takes a place, or none where a limit is reached: then the connection is closed unheard.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        // All clients of a proxy share its address.
        let counts = self.most_per_address > 0 && !self.trusted.iter().any(|network| network.contains(address));
        let key = counts.then(|| AddressKey::of(address));
        let mut open = lock(&self.open);
        let of_address = key.and_then(|key| open.unauthenticated.get(&key).copied()).unwrap_or(0);
        if open.all >= self.most || (counts && of_address >= self.most_per_address) {
            self.counters.connection_refused();
            if open.all >= self.most && !self.said_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    connections = open.all,
                    "too many connections; raise the limit of open files (ulimit -n)"
                );
            }
            return None;
        }
        open.all += 1;
        if let Some(key) = key {
            *open.unauthenticated.entry(key).or_default() += 1;
        }
        drop(open);
        self.counters.connected();
        Some(Slot { connections: Arc::clone(self), counted: Mutex::new(key) })
    }

    fn accept_failed(&self, error: &io::Error) {
        if !self.said_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot accept connections");
        }
    }

    fn uncount(&self, key: AddressKey) {
        let mut open = lock(&self.open);
        if let Some(count) = open.unauthenticated.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.unauthenticated.remove(&key);
            }
        }
    }
}

impl Slot {
    /// A valid token was shown: the connection no longer counts at its address.
    pub fn authenticated(&self) {
        if let Some(key) = lock(&self.counted).take() {
            self.connections.uncount(key);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.authenticated();
        let mut open = lock(&self.connections.open);
        open.all -= 1;
        if open.all < self.connections.most / 2 {
            self.connections.said_full.store(false, Ordering::Relaxed);
        }
        drop(open);
        self.connections.counters.disconnected();
    }
}

/// What a connection has been doing, as far as its deadlines need to know.
struct Activity {
    state: Mutex<State>,
    /// Bytes that were read in this turn of the connection's task.
    turn_bytes: AtomicUsize,
    /// The next deadline has come nearer.
    hurried: Notify,
}

struct State {
    /// Requests that are being answered.
    busy: usize,
    /// When it last fell idle.
    idle_since: Instant,
    /// When the first byte of a head arrived that is not whole yet. HTTP/1 only: HTTP/2 has other frames too.
    head_began_at: Option<Instant>,
    /// Since when the peer has not taken all that it is sent.
    write_stalled_since: Option<Instant>,
    /// What it took meanwhile.
    written_bytes: u64,
    is_http2: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Stay,
    /// Idle for too long.
    Leave,
    /// A deadline has passed in the middle of something.
    Cut,
    /// Its reader does not read, or too slowly.
    CutSlowReader,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    /// All of it is on its way.
    All,
    /// So many bytes of it.
    Part(usize),
    /// The peer takes nothing now.
    Nothing,
}

impl Activity {
    fn new(now: Instant) -> Self {
        let state = State {
            busy: 0,
            idle_since: now,
            head_began_at: None,
            write_stalled_since: None,
            written_bytes: 0,
            is_http2: false,
        };
        Self { state: Mutex::new(state), turn_bytes: AtomicUsize::new(0), hurried: Notify::new() }
    }

    /// The connection's task is polled.
    fn turn_begins(&self) {
        self.turn_bytes.store(0, Ordering::Relaxed);
    }

    /// Returns how many bytes may be read in this turn.
    fn turn_left(&self) -> usize {
        TURN_BYTES.saturating_sub(self.turn_bytes.load(Ordering::Relaxed))
    }

    fn request_began(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        state.busy += 1;
        state.head_began_at = None;
        Busy(Arc::clone(self))
    }

    /// Bytes came. Until its preface is whole, HTTP/2 cannot be told from a head of HTTP/1, and has the same time.
    fn read(&self, count: usize, is_http2: bool, now: Instant) {
        self.turn_bytes.fetch_add(count, Ordering::Relaxed);
        let mut state = lock(&self.state);
        if is_http2 && !state.is_http2 {
            state.is_http2 = true;
            state.head_began_at = None;
        }
        if state.busy == 0 && !state.is_http2 && state.head_began_at.is_none() {
            state.head_began_at = Some(now);
            self.hurried.notify_one();
        }
    }

    fn wrote(&self, outcome: Wrote, now: Instant) {
        let mut state = lock(&self.state);
        match outcome {
            Wrote::All => state.write_stalled_since = None,
            Wrote::Part(count) => state.written_bytes = state.written_bytes.saturating_add(count as u64),
            Wrote::Nothing if state.write_stalled_since.is_none() => {
                state.write_stalled_since = Some(now);
                state.written_bytes = 0;
                self.hurried.notify_one();
            }
            Wrote::Nothing => {}
        }
    }

    /// When to look again.
    fn check_at(&self, now: Instant) -> Instant {
        let state = lock(&self.state);
        if state.busy > 0 || state.write_stalled_since.is_some() {
            return now + CHECK_INTERVAL;
        }
        let at = match state.head_began_at {
            Some(began_at) => began_at + HEADER_TIMEOUT,
            None => state.idle_since + IDLE_TIMEOUT,
        };
        // Once it is on its way out, do not spin.
        at.max(now + Duration::from_millis(100))
    }

    fn verdict(&self, now: Instant) -> Verdict {
        let state = lock(&self.state);
        let is_slow = state.write_stalled_since.is_some_and(|since| {
            let stalled = now.saturating_duration_since(since);
            let least = stalled.as_secs().saturating_mul(WRITE_BYTES_PER_SECOND);
            stalled >= WRITE_TIMEOUT && state.written_bytes < least
        });
        if is_slow {
            Verdict::CutSlowReader
        } else if state.busy > 0 {
            Verdict::Stay
        } else if state.head_began_at.is_some_and(|began_at| now >= began_at + HEADER_TIMEOUT) {
            Verdict::Cut
        } else if state.head_began_at.is_none() && now >= state.idle_since + IDLE_TIMEOUT {
            Verdict::Leave
        } else {
            Verdict::Stay
        }
    }
}

/// A request is being answered while this lives: until the last byte of the answer has been handed over.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.busy -= 1;
        if state.busy == 0 {
            state.idle_since = Instant::now();
        }
    }
}

/// An answer's body that keeps its connection busy.
struct Tracked {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Tracked {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose reads and writes are noted and bounded.
struct Watched<IO> {
    io: IO,
    activity: Arc<Activity>,
    incoming: Incoming,
    /// What went out, if it is HTTP/2.
    outgoing: Walker,
    budget: Frames,
}

/// Whether frames of HTTP/2 are counted.
enum Frames {
    /// They are, and connections that end by it are counted here.
    Counted(Arc<Counters>),
    /// They are not: it is a proxy that we trust.
    Unlimited,
    /// There were too many: nothing more is read or written.
    UsedUp,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Watched<IO> {
    /// Notes what was read, and ends the connection if it is a flood.
    fn note_read(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let counted = self.incoming.read(bytes, now.into_std());
        self.activity.read(bytes.len(), self.incoming.is_http2(), now);
        if counted.is_err()
            && let Frames::Counted(counters) = &self.budget
        {
            counters.flood_cut();
            self.say_go_away(cx);
            self.budget = Frames::UsedUp;
            return Err(is_over());
        }
        Ok(())
    }

    /// Says why, if the peer takes it at once: it is closed in any case.
    fn say_go_away(&mut self, cx: &mut Context<'_>) {
        if !self.outgoing.is_between_frames() {
            return;
        }
        let frame = self.incoming.go_away();
        if Pin::new(&mut self.io).poll_write(cx, &frame).is_ready() {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
    }

    fn check_open(&self) -> io::Result<()> {
        if matches!(self.budget, Frames::UsedUp) { Err(is_over()) } else { Ok(()) }
    }

    /// Notes what was written of how much.
    fn note_write(&mut self, result: &Poll<io::Result<usize>>, whole: usize) {
        let outcome = match result {
            Poll::Pending => Wrote::Nothing,
            Poll::Ready(Ok(count)) if *count < whole => Wrote::Part(*count),
            Poll::Ready(_) => Wrote::All,
        };
        self.activity.wrote(outcome, Instant::now());
    }
}

fn is_over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "too many frames")
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_open()?;
        let room = buffer.remaining().min(self.activity.turn_left());
        if room == 0 && buffer.remaining() > 0 {
            // There may be more; the others' turns come first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        if Pin::new(&mut self.io).poll_read(cx, &mut part)?.is_pending() {
            return Poll::Pending;
        }
        let filled = part.filled();
        let count = filled.len();
        if count > 0 {
            self.note_read(cx, filled)?;
        }
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_write(&result, bytes.len());
        if let (Poll::Ready(Ok(count)), true) = (&result, self.incoming.is_http2()) {
            self.outgoing.walk(bytes.get(..*count).unwrap_or_default(), |_| {});
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.note_write(&result, parts.iter().map(|part| part.len()).sum());
        if let (Poll::Ready(Ok(count)), true) = (&result, self.incoming.is_http2()) {
            let mut left = *count;
            for part in parts {
                let written = part.get(..left.min(part.len())).unwrap_or_default();
                self.outgoing.walk(written, |_| {});
                left = left.saturating_sub(written.len());
            }
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.activity.wrote(if result.is_pending() { Wrote::Nothing } else { Wrote::All }, Instant::now());
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Returns how many connections the limit of open files lets us have; media's sockets and files need the rest.
fn most_connections() -> usize {
    // RLIMIT_NOFILE as Linux shows it; asking the system itself needs `unsafe`.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next());
    // Where it cannot be read, POSIX systems' usual limit.
    let files: usize = soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024);
    files.saturating_mul(CONNECTION_PERCENT) / 100
}

/// No code panics while it holds these; if it did, the numbers would still be numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::limits::H2_CONTROL_BURST;
    use crate::http::tests::House;

    #[test]
    fn deadlines_depend_on_what_a_connection_is_doing() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let activity = Arc::new(Activity::new(start));
        assert_eq!(activity.verdict(at(29)), Verdict::Stay);
        assert_eq!(activity.verdict(at(30)), Verdict::Leave, "idle from the start");

        activity.read(2, false, at(10));
        activity.read(1, false, at(14));
        assert_eq!(activity.verdict(at(14)), Verdict::Stay);
        assert_eq!(activity.check_at(at(14)), at(15));
        assert_eq!(activity.verdict(at(15)), Verdict::Cut, "a slow head");

        let busy = activity.request_began();
        assert_eq!(activity.verdict(at(1000)), Verdict::Stay, "an open answer has no deadline");
        activity.read(4, false, at(1000));
        drop(busy);
        assert_eq!(activity.verdict(Instant::now()), Verdict::Stay);

        activity.wrote(Wrote::Nothing, at(2000));
        activity.wrote(Wrote::Nothing, at(2020));
        assert_eq!(activity.verdict(at(2030)), Verdict::CutSlowReader, "the peer does not read");
        activity.wrote(Wrote::All, at(2030));
        assert_ne!(activity.verdict(at(2030)), Verdict::CutSlowReader);
    }

    #[test]
    fn a_reader_has_to_take_a_least_rate_once_it_has_been_slow_for_long() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let activity = Arc::new(Activity::new(start));
        let _busy = activity.request_began();
        let verdict_after = |bytes: usize| {
            activity.wrote(Wrote::All, start);
            activity.wrote(Wrote::Nothing, start);
            for second in 1..=60 {
                activity.wrote(Wrote::Part(bytes), at(second));
                activity.wrote(Wrote::Nothing, at(second));
            }
            activity.verdict(at(60))
        };
        let least = WRITE_BYTES_PER_SECOND as usize;
        assert_eq!(verdict_after(1), Verdict::CutSlowReader, "a byte a second is no reading");
        assert_eq!(verdict_after(least - 1), Verdict::CutSlowReader);
        assert_eq!(verdict_after(least), Verdict::Stay);
    }

    #[test]
    fn frames_of_http2_are_not_a_slow_head() {
        let start = Instant::now();
        let activity = Arc::new(Activity::new(start));
        activity.read(1, false, start);
        activity.read(23, true, start);
        activity.read(17, true, start + Duration::from_secs(20));
        assert_eq!(activity.verdict(start + Duration::from_secs(29)), Verdict::Stay);
        assert_eq!(activity.verdict(start + Duration::from_secs(30)), Verdict::Leave);
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let connections = Arc::new(Connections {
            most: 3,
            most_per_address: 2,
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            open: Mutex::default(),
            counters: Arc::default(),
            said_full: AtomicBool::new(false),
        });
        let take = |address: &str| connections.take(address.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none(), "two of one address");
        first.authenticated();
        first.authenticated();
        let third = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.2").is_none(), "three in all");
        drop((first, second, third));
        let proxied: Vec<_> = (0..3).map(|_| take("10.0.0.1").unwrap()).collect();
        drop(proxied);
        let open = lock(&connections.open);
        assert_eq!((open.all, open.unauthenticated.len()), (0, 0));
    }

    #[test]
    fn the_limit_of_open_files_is_known() {
        assert!(most_connections() >= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_serves_several_requests_and_leaves_when_idle() {
        let mut wire = Wire::new(1 << 20);
        for _ in 0..3 {
            wire.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(wire.read_until("ok\n").await.starts_with("HTTP/1.1 200"));
            sleep(Duration::from_secs(29)).await;
        }
        assert_eq!(wire.read_to_end().await, "");
        assert_eq!(wire.seconds(), 2 * 29 + 29 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_cut_after_five_seconds_however_it_drips() {
        let mut wire = Wire::new(1 << 20);
        for byte in "GET /".chars() {
            wire.write(&byte.to_string()).await;
            sleep(Duration::from_millis(900)).await;
        }
        wire.read_to_end().await;
        assert_eq!(wire.seconds(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_told_so_after_ten_seconds() {
        let mut wire = Wire::new(1 << 20);
        wire.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
        wire.write("content-length: 100\r\n\r\nv=0").await;
        let answer = wire.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("within 10 seconds"), "{answer}");
        assert!((10..=11).contains(&wire.seconds()), "{}", wire.seconds());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_announces_too_much_is_refused_at_once() {
        let mut wire = Wire::new(1 << 20);
        wire.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
        wire.write("content-length: 1000000000\r\n\r\nv=0").await;
        assert!(wire.read_until("}").await.starts_with("HTTP/1.1 413"));
        assert_eq!(wire.seconds(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn heads_are_bounded() {
        let mut wire = Wire::new(1 << 20);
        wire.write(&format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(HEADER_BYTES))).await;
        assert!(wire.read_to_end().await.starts_with("HTTP/1.1 431"));
        let mut wire = Wire::new(1 << 20);
        wire.write(&format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(HEADER_FIELDS + 1))).await;
        assert!(wire.read_to_end().await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_on_for_long_and_end_when_the_server_stops() {
        let mut wire = Wire::new(1 << 20);
        wire.write("GET /api/v1/streams/demo/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
        for _ in 0..100 {
            wire.read_until("}\n\n").await;
        }
        assert_eq!(wire.seconds(), 2 * 99);
        wire.house.stop.send_replace(true);
        wire.read_to_end().await;
        assert!(wire.seconds() <= 2 * 99 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_is_cut() {
        let mut wire = Wire::new(512);
        wire.write("GET /api/v1/streams/demo/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
        (&mut wire.task).await.unwrap();
        assert!(
            (WRITE_TIMEOUT.as_secs()..WRITE_TIMEOUT.as_secs() + 15).contains(&wire.seconds()),
            "{}",
            wire.seconds()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_pings_is_told_to_be_calm_and_ends() {
        let mut wire = Wire::new(1 << 20);
        wire.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
        wire.io.write_all(&ping.repeat(H2_CONTROL_BURST as usize)).await.unwrap();
        (&mut wire.task).await.unwrap();
        let mut answer = Vec::new();
        wire.io.read_to_end(&mut answer).await.unwrap();
        let go_away = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
        assert!(answer.ends_with(go_away), "{:?}", &answer[answer.len().saturating_sub(64)..]);
        assert_eq!(wire.seconds(), 0);
        let metrics = wire.house.app.counters.text();
        assert!(metrics.contains("nowcast_http_floods_total 1\n"), "{metrics}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_may_send_as_many_frames_as_it_likes() {
        let mut wire = Wire::to(House::with(&[("NOWCAST_HTTP_TRUSTED_PROXIES", "192.0.2.1")], true), 1 << 20);
        wire.io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong";
        wire.io.write_all(&ping.repeat(3 * H2_CONTROL_BURST as usize)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert!(!wire.task.is_finished());
    }

    /// What a connection brings in is handled in parts: other tasks have their turns in between.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_read_for_no_longer_than_its_turn() {
        let (mut far, io) = tokio::io::duplex(1 << 20);
        far.write_all(&vec![b'x'; 3 * TURN_BYTES + 100]).await.unwrap();
        let now = Instant::now();
        let activity = Arc::new(Activity::new(now));
        let mut watched = Watched {
            io,
            activity: Arc::clone(&activity),
            incoming: Incoming::new(now.into_std()),
            outgoing: Walker::default(),
            budget: Frames::Unlimited,
        };
        let mut turns = Vec::new();
        while turns.iter().sum::<usize>() < 3 * TURN_BYTES + 100 {
            activity.turn_begins();
            let mut read = 0;
            let mut buffer = [0; 1_000];
            let mut one = async || poll_fn(|cx| Poll::Ready(poll_once(&mut watched, cx, &mut buffer))).await;
            while let Some(count) = one().await {
                read += count;
            }
            turns.push(read);
        }
        assert_eq!(turns, [TURN_BYTES, TURN_BYTES, TURN_BYTES, 100]);
    }

    /// Reads once; `None` where there is nothing now.
    fn poll_once(io: &mut Watched<DuplexStream>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Option<usize> {
        let mut part = ReadBuf::new(buffer);
        match Pin::new(io).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => Some(part.filled().len()),
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_lets_a_request_end_and_closes_the_idle() {
        let mut idle = Wire::new(1 << 20);
        idle.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        idle.read_until("ok\n").await;
        idle.house.stop.send_replace(true);
        idle.read_to_end().await;
        assert_eq!(idle.seconds(), 0);

        let mut busy = Wire::new(1 << 20);
        busy.write("POST /whip/demo HTTP/1.1\r\nhost: x\r\ncontent-type: application/sdp\r\n").await;
        busy.write("content-length: 3\r\n\r\n").await;
        sleep(Duration::from_secs(1)).await;
        busy.house.stop.send_replace(true);
        sleep(Duration::from_secs(1)).await;
        busy.write("v=0").await;
        assert!(busy.read_to_end().await.starts_with("HTTP/1.1 201"));
    }

    /// One connection to the whole of HTTP, without a network.
    struct Wire {
        io: DuplexStream,
        task: tokio::task::JoinHandle<()>,
        house: House,
        began_at: Instant,
    }

    impl Wire {
        fn new(buffer: usize) -> Self {
            Self::to(House::open(), buffer)
        }

        fn to(house: House, buffer: usize) -> Self {
            let (io, theirs) = tokio::io::duplex(buffer);
            let remote = Remote { peer: "192.0.2.1:5000".parse().unwrap(), slot: None };
            let task = tokio::spawn(drive(theirs, remote, Arc::clone(&house.app), house.stop.subscribe()));
            Self { io, task, house, began_at: Instant::now() }
        }

        async fn write(&mut self, text: &str) {
            self.io.write_all(text.as_bytes()).await.unwrap();
        }

        async fn read_until(&mut self, end: &str) -> String {
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.contains(end) {
                let count = self.io.read(&mut buffer).await.unwrap();
                assert!(count > 0, "closed after {text:?}");
                text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
            text
        }

        async fn read_to_end(&mut self) -> String {
            let mut text = String::new();
            self.io.read_to_string(&mut text).await.unwrap();
            text
        }

        fn seconds(&self) -> u64 {
            self.began_at.elapsed().as_secs()
        }
    }
}
