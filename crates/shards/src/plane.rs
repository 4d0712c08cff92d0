//! The media plane as a whole: all shards, all desks, one port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use media::{NtpTime, SessionId, WallClock};
use sfu::desk::{self, Desk};
use sfu::negotiate::Identity;
use sfu::shard::{self, LoadStatus, Shard};

use crate::desk_thread::DeskThread;
use crate::mailbox::{MANY, Mailbox};
use crate::shard_thread::ShardThread;
use crate::udp::affinity::pin_current_thread;
use crate::udp::{BindError, Options, SendReport, Socket, Waker};

/// How to set the media plane up.
pub struct Setup {
    /// The UDP port; 0 lets the system choose.
    pub port: u16,
    /// The addresses to bind; usually both unspecified ones. Those of a family that the machine
    /// lacks are skipped.
    pub listen: Vec<IpAddr>,
    /// The addresses that peers are told to send to; port 0 is the one that is bound, another one
    /// is forwarded to it.
    pub candidates: Vec<SocketAddr>,
    /// Number of shards.
    pub shards: u8,
    /// Number of desks.
    pub desks: u8,
    /// The most handshakes of viewers under way at once, on all desks together.
    pub handshakes: usize,
    /// Pin shard *n* to core *n*.
    pub pin: bool,
    /// Kernel buffers of each socket.
    pub socket_buffer_bytes: usize,
    /// 64 random bits at a time, from the operating system.
    pub random: fn() -> u64,
    /// Receives all events. Called on media threads: must not block.
    pub events: EventSink,
}

/// Receives the events of all threads; see [`Setup::events`].
pub type EventSink = Arc<dyn Fn(PlaneEvent) + Send + Sync>;

/// An event of a shard or a desk.
#[derive(Debug)]
pub enum PlaneEvent {
    /// An event of a shard.
    Shard(shard::Event),
    /// An event of a desk.
    Desk(desk::Event),
}

impl PlaneEvent {
    /// Returns whether the event may be dropped while the control task is behind.
    pub fn may_be_lost(&self) -> bool {
        match self {
            PlaneEvent::Shard(event) => event.may_be_lost(),
            PlaneEvent::Desk(event) => event.may_be_lost(),
        }
    }

    /// Returns the session that the event concerns, if any.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            PlaneEvent::Shard(event) => event.session(),
            PlaneEvent::Desk(event) => event.session(),
        }
    }
}

/// Why the media plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error("media.udp_port: {0}")]
    Bind(#[from] BindError),
    /// No address could be bound at all.
    #[error("media.listen: none of the addresses could be bound; name at least one that this machine has")]
    NoAddress,
    /// No candidate is left to tell peers.
    #[error(
        "media: no address is left to tell clients; set media.advertised_addresses, or relax media.interfaces and media.candidates"
    )]
    NoCandidate,
    /// A thread could not be started.
    #[error("a media thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Counters and gauges of the media threads.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Datagrams given to the kernel.
    pub datagrams_sent: AtomicU64,
    /// Bytes given to the kernel.
    pub bytes_sent: AtomicU64,
    /// Datagrams lost because the send buffer was full.
    pub send_buffer_drops: AtomicU64,
    /// Datagrams that the kernel refused individually: no route, forbidden, too long.
    pub send_errors: AtomicU64,
    /// Datagrams lost because a receive buffer was full.
    pub kernel_drops: AtomicU64,
    /// Share of the last second in which the thread was not asleep, in thousandths.
    pub busy_permille: AtomicU64,
    /// Panics on a desk.
    pub desk_panics: AtomicU64,
}

/// Reports whether all media threads run. Clones share one state.
#[derive(Debug, Clone)]
pub struct Liveness(Arc<AtomicBool>);

impl Liveness {
    /// Creates the liveness of threads that have not ended.
    #[expect(clippy::new_without_default, reason = "a default would not say that it is alive")]
    pub fn new() -> Liveness {
        Liveness(Arc::new(AtomicBool::new(true)))
    }

    /// Returns `false` once a thread has ended unasked; the process then aborts.
    pub fn is_alive(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauges {
    pub(crate) fn loaded(&self, load: &LoadStatus) {
        self.busy_permille.store((load.busy * 1_000.0) as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, report: &SendReport) {
        self.datagrams_sent.fetch_add(report.datagrams, Ordering::Relaxed);
        self.bytes_sent.fetch_add(report.bytes, Ordering::Relaxed);
        if report.would_block + report.errors > 0 {
            self.send_buffer_drops.fetch_add(report.would_block, Ordering::Relaxed);
            self.send_errors.fetch_add(report.errors, Ordering::Relaxed);
        }
    }
}

/// The one handle on all media threads.
pub struct Plane {
    shards: Vec<Mailbox<shard::Command>>,
    desks: Vec<Mailbox<desk::Command>>,
    gauges: Vec<Arc<Gauges>>,
    threads: Vec<JoinHandle<()>>,
    liveness: Liveness,
    identity: Identity,
    port: u16,
    clock: WallClock,
}

impl Plane {
    /// Binds the port and starts the threads.
    ///
    /// # Errors
    ///
    /// [`StartError`], which names the option to change.
    pub fn start(setup: Setup) -> Result<Plane, StartError> {
        let clock = WallClock::new(Instant::now(), NtpTime::from_system_time(std::time::SystemTime::now()));
        let options = Options {
            reuse_port: setup.shards > 1,
            receive_buffer_bytes: setup.socket_buffer_bytes,
            send_buffer_bytes: setup.socket_buffer_bytes,
            ..Options::default()
        };
        let mut port = setup.port;
        let mut sockets: Vec<Vec<Socket>> = Vec::new();
        for _ in 0..setup.shards {
            let mut own = Vec::new();
            for ip in &setup.listen {
                match Socket::bind(SocketAddr::new(*ip, port), &options) {
                    Ok(socket) => {
                        port = socket.local_address().port();
                        socket.turn_away_junk();
                        own.push(socket);
                    }
                    // A machine without IPv6 is common; without IPv4 it is not.
                    Err(error) if ip.is_ipv6() && ip.is_unspecified() => {
                        tracing::debug!(%error, "IPv6 is not used for media");
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if own.is_empty() {
                return Err(StartError::NoAddress);
            }
            sockets.push(own);
        }
        let bound: Vec<_> = sockets[0].iter().map(Socket::local_address).collect();
        let reachable = |candidate: &SocketAddr| bound.iter().any(|b| b.is_ipv4() == candidate.is_ipv4());
        let mut candidates = setup.candidates;
        candidates.retain(reachable);
        candidates.iter_mut().filter(|candidate| candidate.port() == 0).for_each(|candidate| candidate.set_port(port));
        if candidates.is_empty() {
            return Err(StartError::NoCandidate);
        }
        let identity = Identity::new(candidates);

        let mut shard_ends = Vec::new();
        let mut shards = Vec::new();
        for _ in 0..setup.shards {
            let waker = Waker::new()?;
            let (mailbox, receiver) = Mailbox::new(Some(waker.clone()));
            shards.push(mailbox);
            shard_ends.push((receiver, waker));
        }
        let (desks, desk_ends): (Vec<_>, Vec<_>) = (0..setup.desks).map(|_| Mailbox::new(None)).unzip();

        let mut threads = Vec::new();
        let mut gauges = Vec::new();
        let liveness = Liveness::new();
        for (number, inbox) in (0..setup.desks).zip(desk_ends) {
            let counted = Arc::new(Gauges::default());
            gauges.push(counted.clone());
            let thread = DeskThread {
                desk: Desk::new(number, identity.clone(), Box::new(setup.random))
                    .with_handshakes(setup.handshakes.div_ceil(usize::from(setup.desks))),
                sockets: sockets[0].iter().map(Socket::try_clone).collect::<Result<_, _>>()?,
                inbox,
                shards: shards.clone(),
                sink: setup.events.clone(),
                gauges: counted,
                ready: Vec::new(),
            };
            threads.push(start(format!("desk-{number}"), liveness.clone(), move || {
                thread.run();
                true
            })?);
        }
        for ((number, own), (inbox, waker)) in (0..setup.shards).zip(sockets).zip(shard_ends) {
            let counted = Arc::new(Gauges::default());
            gauges.push(counted.clone());
            let thread = ShardThread {
                shard: Shard::new(number, setup.shards, clock).with_prefetch(crate::prefetch::of_this_machine()),
                sockets: own,
                waker,
                inbox,
                shards: shards.clone(),
                desks: desks.clone(),
                sink: setup.events.clone(),
                gauges: counted,
            };
            let pin = setup.pin;
            threads.push(start(format!("shard-{number}"), liveness.clone(), move || {
                if pin && let Err(error) = pin_current_thread(usize::from(number)) {
                    tracing::warn!(%error, shard = number, "media.pin_cores: this shard is not pinned");
                }
                thread.run()
            })?);
        }
        Ok(Plane { shards, desks, gauges, threads, liveness, identity, port, clock })
    }

    /// Returns the certificate and key that all sessions share.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Maps the monotonic clock to the wall clock.
    pub fn clock(&self) -> WallClock {
        self.clock
    }

    /// Returns the UDP port in use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many shards run.
    pub fn shard_count(&self) -> u8 {
        self.shards.len() as u8
    }

    /// Returns how many desks run.
    pub fn desk_count(&self) -> u8 {
        self.desks.len() as u8
    }

    /// Sends a command to a shard. Returns whether its mailbox took the command.
    pub fn shard(&self, number: u8, command: shard::Command) -> bool {
        self.shards.get(usize::from(number)).is_some_and(|shard| shard.send(command))
    }

    /// Sends a command to a desk. Returns whether its mailbox took the command.
    pub fn desk(&self, number: u8, command: desk::Command) -> bool {
        self.desks.get(usize::from(number)).is_some_and(|desk| desk.send(command))
    }

    /// Returns the highest value of a gauge among the shards.
    pub fn highest(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        self.gauges.iter().map(|g| of(g).load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Returns the sum of a counter over all shards.
    pub fn gauge(&self, of: impl Fn(&Gauges) -> &AtomicU64) -> u64 {
        self.gauges.iter().map(|g| of(g).load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of datagrams, relayed packets and queries that were dropped because a
    /// queue was full.
    pub fn dropped(&self) -> u64 {
        self.shards.iter().map(Mailbox::dropped).sum::<u64>() + self.desks.iter().map(Mailbox::dropped).sum::<u64>()
    }

    /// Returns the largest number of commands that wait for one thread.
    pub fn waiting(&self) -> usize {
        let shards = self.shards.iter().map(Mailbox::waiting);
        shards.chain(self.desks.iter().map(Mailbox::waiting)).max().unwrap_or(0)
    }

    /// Returns whether a thread is so far behind that no new session should be admitted.
    pub fn is_behind(&self) -> bool {
        self.waiting() >= MANY
    }

    /// Returns a handle that reports from any thread whether all media threads run.
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Returns whether all threads run.
    pub fn is_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }
}

/// Starts a thread that the process cannot do without. `run` returns whether the thread was asked
/// to end.
///
/// If it was not, or if it panics, the process aborts: to all other threads the sessions of the
/// lost thread would look alive, and a supervisor can start a sound process.
fn start(
    name: String,
    liveness: Liveness,
    run: impl FnOnce() -> bool + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        if !catch_unwind(AssertUnwindSafe(run)).unwrap_or(false) {
            liveness.0.store(false, Ordering::Relaxed);
            abort(&name);
        }
    })
}

/// Logs one error line and aborts the process (SIGABRT) because an essential `part` has ended.
pub fn abort(part: &str) -> ! {
    tracing::error!(part, "a part of the server ended that nothing asked to end; the process aborts");
    std::process::abort()
}

/// Returns the unspecified addresses of both families, which bind all addresses of the machine.
pub fn everywhere() -> Vec<IpAddr> {
    vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)]
}
