//! How do datagrams get from sockets into links, and out of them in time?
//!
//! One thread waits for sockets, another for the clock. The second sleeps on a condition until
//! shortly before the next datagram is due (that wakes within some 50 µs on Linux, where `epoll`
//! counts in milliseconds) and spins for the rest.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use serde::Serialize;

use crate::histogram::{Histogram, Percentiles};
use crate::relay::flows::{Direction, Entry, FlowReport, Flows, PairReport, Plan};
use crate::script::ScriptError;

/// The addresses and the plan of a relay.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address that clients send to; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The server.
    pub server: SocketAddr,
    /// The settings for flows.
    pub plan: Plan,
}

/// A relay that runs. Dropping it does not stop it; [`Relay::stop`] does.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    waker: Waker,
    local: SocketAddr,
}

/// The counters of a relay since the last reset.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Milliseconds since the relay began.
    pub at_ms: u64,
    /// Lateness of datagrams against their due time, in milliseconds.
    pub timer_ms: Percentiles,
    /// Datagrams that the kernel did not take.
    pub send_errors: u64,
    /// Datagrams of clients beyond the limit of flows.
    pub refused: u64,
    /// The pair of links that all flows share, if they do.
    pub shared: Option<PairReport>,
    /// Every flow.
    pub flows: Vec<FlowReport>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signals that the next due time is earlier than before.
    sooner: Condvar,
    stopping: AtomicBool,
    send_errors: AtomicU64,
    listener: UdpSocket,
    server: SocketAddr,
    began_at: Instant,
}

#[derive(Debug)]
struct State {
    flows: Flows,
    sockets: HashMap<u32, Arc<UdpSocket>>,
    timer: Histogram,
}

/// Requested socket buffer; the kernel may grant less. A key frame for several viewers arrives as
/// one burst. A guess.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Time before a due datagram at which the thread wakes up and spins, above the usual lateness of a
/// wake-up. Measured on an idle machine: 60 to 90 µs.
const SPIN: Duration = Duration::from_micros(150);
/// Interval between two searches for silent flows.
const EXPIRY: Duration = Duration::from_secs(1);
/// The largest UDP datagram.
const LARGEST: usize = 65_536;
/// The most datagrams sent between two reads of the clock. A guess.
const BATCH: usize = 32;

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);
/// Flow 0 is token 2.
const FIRST_FLOW: usize = 2;

impl Relay {
    /// Binds and starts the threads.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the system has no more threads or descriptors.
    pub fn start(options: Options) -> anyhow::Result<Relay> {
        let began_at = Instant::now();
        let mut listener =
            socket(options.listen).with_context(|| format!("cannot listen on UDP {}", options.listen))?;
        let local = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let flows = Flows::new(options.plan, began_at);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { flows, sockets: HashMap::new(), timer: Histogram::default() }),
            sooner: Condvar::new(),
            stopping: AtomicBool::new(false),
            send_errors: AtomicU64::new(0),
            listener,
            server: options.server,
            began_at,
        });
        let (receiving, sending) = (shared.clone(), shared.clone());
        let threads = vec![
            std::thread::Builder::new().name("receive".into()).spawn(move || receiving.receive(poll))?,
            std::thread::Builder::new().name("send".into()).spawn(move || sending.send())?,
        ];
        Ok(Relay { shared, threads, waker, local })
    }

    /// Returns the address that clients send to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Sets another script for the links of these directions, from now on.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] if the script cannot be read.
    pub fn follow(&self, up: bool, down: bool, script: &str) -> Result<(), ScriptError> {
        let done = self.shared.lock().flows.follow(Instant::now(), up, down, script);
        self.shared.sooner.notify_one();
        done
    }

    /// Resets all counters.
    pub fn reset_counts(&self) {
        let mut state = self.shared.lock();
        state.flows.reset_counts(Instant::now());
        state.timer.clear();
        self.shared.send_errors.store(0, Ordering::Relaxed);
    }

    /// Returns the counters of the relay.
    pub fn report(&self) -> Report {
        let now = Instant::now();
        let state = self.shared.lock();
        Report {
            at_ms: now.duration_since(self.shared.began_at).as_millis() as u64,
            timer_ms: state.timer.percentiles(),
            send_errors: self.shared.send_errors.load(Ordering::Relaxed),
            refused: state.flows.refused(),
            shared: state.flows.shared_report(),
            flows: state.flows.reports(now),
        }
    }

    /// Ends the threads.
    pub fn stop(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Under the lock, so that the sender is either before its look at the flag or waits
        // already.
        drop(self.shared.lock());
        self.shared.sooner.notify_one();
        // Without a wake-up the thread notices within EXPIRY.
        let _ = self.waker.wake();
        for thread in self.threads {
            // A thread that panicked has printed its message.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The thread that waits for sockets.
    fn receive(&self, mut poll: Poll) {
        let mut events = Events::with_capacity(128);
        let mut buffer = vec![0; LARGEST];
        let mut expire_at = Instant::now() + EXPIRY;
        while !self.is_stopping() {
            if let Err(error) = poll.poll(&mut events, Some(EXPIRY))
                && error.kind() != ErrorKind::Interrupted
            {
                eprintln!("impair: waiting for sockets failed: {error}");
                return;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.receive_from_clients(&mut buffer, poll.registry()),
                    STOP => {}
                    Token(token) => self.receive_from_server((token - FIRST_FLOW) as u32, &mut buffer),
                }
            }
            if Instant::now() >= expire_at {
                expire_at = Instant::now() + EXPIRY;
                let mut state = self.lock();
                for id in state.flows.expire(Instant::now()) {
                    // Closing the socket removes it from the poll.
                    state.sockets.remove(&id);
                }
            }
        }
    }

    /// Reads until the socket is empty: mio reports each arrival once.
    fn receive_from_clients(&self, buffer: &mut [u8], registry: &Registry) {
        loop {
            let (length, client) = match self.listener.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The error of an ICMP message for an earlier datagram.
                Err(_) => continue,
            };
            let now = Instant::now();
            let mut state = self.lock();
            let id = match state.flows.enter(now, client) {
                Entry::Known(id) => id,
                Entry::New(id) => match self.open(id, registry) {
                    Ok(socket) => {
                        state.sockets.insert(id, Arc::new(socket));
                        id
                    }
                    Err(error) => {
                        eprintln!("impair: no socket for {client}: {error:#}");
                        continue;
                    }
                },
                Entry::Refused => continue,
            };
            self.hand_in(state, now, Direction::Up, id, &buffer[..length]);
        }
    }

    fn receive_from_server(&self, id: u32, buffer: &mut [u8]) {
        let Some(socket) = self.lock().sockets.get(&id).cloned() else { return };
        loop {
            match socket.recv(buffer) {
                Ok(length) => self.hand_in(self.lock(), Instant::now(), Direction::Down, id, &buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The server's port is closed at the moment.
                Err(_) => {}
            }
        }
    }

    fn hand_in(&self, mut state: MutexGuard<'_, State>, now: Instant, direction: Direction, id: u32, bytes: &[u8]) {
        let before = state.flows.poll_timeout();
        state.flows.handle_datagram(now, direction, id, bytes);
        let after = state.flows.poll_timeout();
        drop(state);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.sooner.notify_one();
        }
    }

    fn open(&self, id: u32, registry: &Registry) -> anyhow::Result<UdpSocket> {
        let any = if self.server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let mut socket = socket(any)?;
        socket.connect(self.server)?;
        registry.register(&mut socket, Token(id as usize + FIRST_FLOW), Interest::READABLE)?;
        Ok(socket)
    }

    /// The thread that waits for the clock.
    fn send(&self) {
        let mut out: Vec<(Option<Arc<UdpSocket>>, SocketAddr, Vec<u8>)> = Vec::with_capacity(BATCH);
        let mut state = self.lock();
        while !self.is_stopping() {
            let now = Instant::now();
            while out.len() < BATCH
                && let Some((direction, client, delivery)) = state.flows.poll_delivery(now)
            {
                state.timer.add(now.saturating_duration_since(delivery.due_at));
                let socket = match direction {
                    Direction::Up => match state.sockets.get(&delivery.datagram.flow) {
                        Some(socket) => Some(socket.clone()),
                        None => continue,
                    },
                    Direction::Down => None,
                };
                out.push((socket, client, delivery.datagram.bytes));
            }
            let due_at = state.flows.poll_timeout();
            if !out.is_empty() {
                drop(state);
                for (socket, client, bytes) in out.drain(..) {
                    let sent = match socket {
                        Some(socket) => socket.send(&bytes),
                        None => self.listener.send_to(&bytes, client),
                    };
                    if sent.is_err() {
                        self.send_errors.fetch_add(1, Ordering::Relaxed);
                    }
                }
                state = self.lock();
                continue;
            }
            let wait = due_at.map(|at| at.saturating_duration_since(Instant::now()));
            match wait {
                None => state = self.sooner.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if wait > SPIN => {
                    let woken = self.sooner.wait_timeout(state, wait - SPIN);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(wait) => {
                    drop(state);
                    let until = Instant::now() + wait;
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                    state = self.lock();
                }
            }
        }
    }
}

fn socket(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    // As much as the kernel grants.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}
