//! How much do the same packets cost without a server, at the limit of the kernel?
//!
//! A loop on one core seals packets and gives them to the kernel in the largest accepted pieces,
//! and does nothing else. On the other core one thread receives them on as many sockets as the
//! server would have viewers, joined by the kernel (`UDP_GRO`), and discards them. Over loopback
//! the sender also pays for the receiving side of the kernel, as the server does in every
//! measurement on one machine. The server's figures are therefore compared with this loop ("share
//! of the bare kernel limit"), and not with the limit of a network card.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use sfu::srtp::{self, DtlsRole, Profile, Seal};
use sfu::transmit::Batch;
use shards::udp::affinity::pin_current_thread;
use shards::udp::{Options, ReceiveBatch, SendState, Socket};

use crate::audience::{FRAME_INTERVAL, noise};
use crate::core_time::{CoreTime, Used};
use crate::report;

/// Options of the measurement.
#[derive(Args)]
pub(crate) struct Bare {
    /// Sockets that receive
    #[arg(long, default_value_t = 5_000)]
    destinations: usize,
    /// How long each row lasts, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only the row of this name
    #[arg(long)]
    only: Option<String>,
    /// The core that sends
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core that receives
    #[arg(long, default_value_t = 1)]
    receive_core: usize,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One way to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Packets that one message holds.
    segments: Segments,
    is_sealed: bool,
    /// All to one socket, which stays in the caches.
    is_hot: bool,
    /// Sends a burst to all sockets every 33 ms instead of without a pause.
    is_paced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Segments {
    Always(u64),
    /// 5 or 6: a frame of 1.5 Mb/s.
    Frame,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) way: Way,
    pub(crate) packets: u64,
    /// Packets given to the kernel that no socket received.
    pub(crate) lost: u64,
    pub(crate) used: Used,
}

/// The row that others are held against.
pub(crate) const REFERENCE: Way =
    Way { name: "gso-8", segments: Segments::Always(8), is_sealed: true, is_hot: false, is_paced: false };

/// Packets as they come: a frame of 1.5 Mb/s has 5 or 6.
pub(crate) const FRAMES: Way = Way { name: "frames", segments: Segments::Frame, ..REFERENCE };

/// [`FRAMES`] 30 times a second: measures a core whose caches and clock cool down in between.
pub(crate) const FRAMES_PACED: Way = Way { name: "frames-paced", is_paced: true, ..FRAMES };

/// All rows. Two ways that differ in one thing tell what that thing costs.
const WAYS: [Way; 8] = [
    REFERENCE,
    Way { name: "gso-6", segments: Segments::Always(6), ..REFERENCE },
    Way { name: "gso-5", segments: Segments::Always(5), ..REFERENCE },
    Way { name: "gso-32", segments: Segments::Always(32), ..REFERENCE },
    Way { name: "gso-8-plain", is_sealed: false, ..REFERENCE },
    Way { name: "gso-8-one-peer", is_hot: true, ..REFERENCE },
    FRAMES,
    FRAMES_PACED,
];

/// UDP payload of a packet: header, payload and tag.
const PACKET_BYTES: usize = 1_200;
const HEADER_BYTES: usize = media::rtp::FIXED_HEADER_BYTES;
const PAYLOAD_BYTES: usize = PACKET_BYTES - HEADER_BYTES - Profile::AeadAes128Gcm.rtp_overhead();
/// Messages that one system call takes (`shards::udp` never gives it more).
const MESSAGES: usize = 64;
/// Sockets looked at in one turn of the receiver. A guess; more only makes the list longer.
const EVENTS: usize = 256;

impl Bare {
    /// Measures and prints.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!((1..=60_000).contains(&self.destinations), "--destinations must be 1 to 60000");
        ensure!(self.seconds >= 0.1, "--seconds must be at least 0.1");
        let ways: Vec<Way> =
            WAYS.into_iter().filter(|w| self.only.as_deref().is_none_or(|name| name == w.name)).collect();
        let names = || WAYS.map(|w| w.name).join(", ");
        ensure!(!ways.is_empty(), "--only: there is no such row; choose one of {}", names());
        let mut range = Range::open(self.destinations, self.core, self.receive_core)?;
        println!("{} sockets, packets of {PACKET_BYTES} bytes, one core sends, the other receives", self.destinations);
        println!(
            "{:<16}{:>9}{:>9}{:>9}{:>9}{:>9}{:>11}{:>8}{:>9}",
            "ns a packet", "wall", "thread", "user", "kernel", "core", "packets/s", "Gb/s", "lost"
        );
        let mut rows = Vec::new();
        for way in ways {
            let reached = range.measure(way, Duration::from_secs_f64(self.seconds))?;
            reached.print();
            rows.push(reached.json());
        }
        report::write(self.json.as_deref(), &json!({ "destinations": self.destinations, "rows": rows }))
    }
}

impl Reached {
    pub(crate) fn ns(&self, time: Duration) -> f64 {
        time.as_nanos() as f64 / self.packets.max(1) as f64
    }

    pub(crate) fn packets_per_second(&self) -> f64 {
        self.packets as f64 / self.used.wall.as_secs_f64()
    }

    fn print(&self) {
        let Used { wall, thread, user, core } = self.used;
        let rate = self.packets_per_second();
        println!(
            "{:<16}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>9}{:>11.0}{:>8.2}{:>9}",
            self.way.name,
            self.ns(wall),
            self.ns(thread),
            self.ns(thread) * user,
            self.ns(thread) * (1.0 - user),
            core.map_or("-".to_owned(), |core| format!("{:.0}", self.ns(core))),
            rate,
            rate * PACKET_BYTES as f64 * 8.0 / 1e9,
            report::percent(self.lost as f64 / self.packets.max(1) as f64),
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "way": self.way.name,
            "packets": self.packets,
            "lost": self.lost,
            "packets_per_second": self.packets_per_second(),
            "wall_ns_per_packet": self.ns(self.used.wall),
            "thread_ns_per_packet": self.ns(self.used.thread),
            "user_share": self.used.user,
            "core_ns_per_packet": self.used.core.map(|core| self.ns(core)),
        })
    }
}

/// A socket that sends, and those that receive.
pub(crate) struct Range {
    core: usize,
    from: Socket,
    targets: Targets,
    batch: Batch,
    sending: SendState,
    receiver: Receiver,
}

/// The destinations, in turn.
struct Targets {
    all: Vec<Target>,
    next: usize,
}

/// What a server would keep of a viewer, and no more.
struct Target {
    address: SocketAddr,
    seal: Seal,
    /// The next packet's index.
    index: u64,
}

impl Range {
    /// Opens all sockets, pins the calling thread to `core`, and starts the thread that receives on
    /// `receive_core`.
    pub(crate) fn open(destinations: usize, core: usize, receive_core: usize) -> anyhow::Result<Range> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = Options { receive_offload: true, ..Options::default() };
        let mut sockets = Vec::new();
        let mut targets = Vec::new();
        for number in 0..destinations {
            let hint = "5,000 sockets need `ulimit -n` above 5,100";
            let socket = Socket::bind(local, &options).with_context(|| format!("socket {number} ({hint})"))?;
            let profile = Profile::AeadAes128Gcm;
            let (seal, _) = srtp::split(profile, &noise(number as u64, profile.exporter_bytes()), DtlsRole::Server)?;
            targets.push(Target { address: socket.local_address(), seal, index: 1 });
            sockets.push(socket);
        }
        let receiver = Receiver::start(sockets, receive_core)?;
        pin_current_thread(core).with_context(|| format!("--core {core}"))?;
        Ok(Range {
            core,
            from: Socket::bind(local, &Options::default())?,
            targets: Targets { all: targets, next: 0 },
            batch: Batch::new(),
            sending: SendState::new(),
            receiver,
        })
    }

    /// Sends in one way for `duration`.
    pub(crate) fn measure(&mut self, way: Way, duration: Duration) -> anyhow::Result<Reached> {
        let received_before = self.receiver.settled();
        let before = CoreTime::now(Some(self.core))?;
        let begun_at = Instant::now();
        let mut packets = 0;
        let mut rounds = 0;
        while begun_at.elapsed() < duration {
            if way.is_paced {
                std::thread::sleep((begun_at + FRAME_INTERVAL * rounds).saturating_duration_since(Instant::now()));
                for _ in 0..self.targets.all.len().div_ceil(MESSAGES) {
                    packets += self.send(way, u64::from(rounds));
                }
            } else {
                packets += self.send(way, u64::from(rounds));
            }
            rounds += 1;
        }
        let used = CoreTime::now(Some(self.core))?.since(&before);
        let received = self.receiver.settled() - received_before;
        Ok(Reached { way, packets, lost: packets.saturating_sub(received), used })
    }

    /// One system call's worth of messages; returns how many packets the kernel took.
    fn send(&mut self, way: Way, round: u64) -> u64 {
        self.targets.write(way, round, &mut self.batch);
        let report = self.from.send(&self.batch, &mut self.sending);
        self.batch.clear();
        report.datagrams
    }
}

impl Targets {
    /// Writes one system call's worth of messages.
    fn write(&mut self, way: Way, round: u64, batch: &mut Batch) {
        let payload = [0x5a; PAYLOAD_BYTES];
        for _ in 0..MESSAGES {
            let segments = match way.segments {
                Segments::Always(segments) => segments,
                Segments::Frame if round.is_multiple_of(3) => 6,
                Segments::Frame => 5,
            };
            let target = &mut self.all[self.next];
            for _ in 0..segments {
                batch.push_with(target.address, None, |out| target.write(out, &payload, way.is_sealed));
            }
            if !way.is_hot {
                self.next = (self.next + 1) % self.all.len();
            }
        }
    }
}

impl Target {
    fn write(&mut self, out: &mut [u8], payload: &[u8], is_sealed: bool) -> usize {
        let index = self.index;
        self.index += 1;
        let header = media::rtp::write_header(out, 96, false, index as u16, 0, 1, &[]);
        if is_sealed {
            return self.seal.rtp(out, header, &[], payload, 1, index);
        }
        out[header..header + payload.len()].copy_from_slice(payload);
        PACKET_BYTES
    }
}

/// The thread that receives for all sockets, as cheaply as the load generator does.
struct Receiver {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(sockets: Vec<Socket>, core: usize) -> anyhow::Result<Receiver> {
        let mut poll = Poll::new()?;
        for (number, socket) in sockets.iter().enumerate() {
            poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(number), Interest::READABLE)?;
        }
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, is_over) = (received.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            if let Err(error) = pin_current_thread(core) {
                eprintln!("bench: --receive-core {core}: {error}; whatever core is free receives");
            }
            let mut events = Events::with_capacity(EVENTS);
            let mut batch = ReceiveBatch::for_socket(&sockets[0]);
            while !is_over.load(Relaxed) {
                // A signal ends the wait early, and no more than that.
                let _ = poll.poll(&mut events, Some(Duration::from_millis(100)));
                for event in &events {
                    let socket = &sockets[event.token().0];
                    while socket.receive(&mut batch).is_ok() {
                        count.fetch_add(batch.len() as u64, Relaxed);
                        if !batch.is_full() {
                            break;
                        }
                    }
                }
            }
        })?;
        Ok(Receiver { received, stop, thread: Some(thread) })
    }

    /// Returns the number of packets received, once no more arrive.
    fn settled(&self) -> u64 {
        let mut last = self.received.load(Relaxed);
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.received.load(Relaxed);
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_makes_full_messages_of_full_packets() {
        let all = (0..3u16).map(|port| {
            let (seal, _) = srtp::split(Profile::AeadAes128Gcm, &[7; 56], DtlsRole::Server).expect("a key");
            Target { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1_000 + port)), seal, index: 1 }
        });
        let mut targets = Targets { all: all.collect(), next: 0 };
        for way in WAYS {
            let mut batch = Batch::new();
            targets.write(way, 0, &mut batch);
            let per_message = match way.segments {
                Segments::Always(segments) => segments,
                Segments::Frame => 6,
            };
            assert_eq!(batch.datagrams().count() as u64, per_message * MESSAGES as u64, "{}", way.name);
            assert!(batch.datagrams().all(|(_, datagram)| datagram.len() == PACKET_BYTES), "{}", way.name);
            let first = batch.messages()[0].destination;
            assert_eq!(batch.messages().iter().all(|m| m.destination == first), way.is_hot, "{}", way.name);
        }
    }
}
