//! How much does sending cost when the receivers are not on the same machine?
//!
//! Over loopback the sender pays for the receiving half of the kernel and shares its caches with
//! the receivers. Here the real shard and the real socket send to simulated viewers whose addresses
//! lie behind a device that discards everything (`scripts/sendside` makes one), as they would lie
//! behind a network card. The loop is that of `shards::shard_thread`, without anything to receive.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use sfu::srtp::Profile;
use sfu::transmit::Batch;
use shards::udp::affinity::pin_current_thread;
use shards::udp::{Options, SendReport, SendState, Socket};

use crate::audience::{Audience, FRAME_INTERVAL, in_network};
use crate::core_time::{CoreTime, Used};
use crate::report;

/// Options of the measurement.
#[derive(Args)]
pub(crate) struct Sendside {
    /// How many are sent to
    #[arg(long, default_value_t = 5_000)]
    viewers: u32,
    /// The first viewer's address; the others follow. It must be routed to a device that throws
    /// everything away
    #[arg(long, value_name = "ADDRESS")]
    network: Ipv4Addr,
    /// Frame after frame, instead of 30 a second
    #[arg(long)]
    flat_out: bool,
    /// How long, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The core that sends
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// What the line of the result begins with
    #[arg(long, default_value = "")]
    label: String,
    /// Also write the result here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A shard, its socket and what became of its packets.
struct Sending {
    audience: Audience,
    socket: Socket,
    batch: Batch,
    state: SendState,
    report: SendReport,
    next_frame_at: Instant,
}

/// Frames before those that count: viewers start, memory grows to its size.
const WARM_UP_FRAMES: u32 = 45;

impl Sendside {
    /// Measures and prints.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!((1..=65_000).contains(&self.viewers), "--viewers must be 1 to 65000");
        ensure!(
            !self.network.is_loopback(),
            "--network: loopback receives; see scripts/sendside for a device that does not"
        );
        pin_current_thread(self.core).with_context(|| format!("--core {}", self.core))?;
        let now = Instant::now();
        let mut sending = Sending {
            audience: Audience::new(now, self.viewers, Profile::AeadAes128Gcm, |n| in_network(self.network, n))?,
            socket: Socket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), &Options::default())?,
            batch: Batch::new(),
            state: SendState::new(),
            report: SendReport::default(),
            next_frame_at: now,
        };
        for _ in 0..WARM_UP_FRAMES {
            sending.frame(FRAME_INTERVAL);
        }
        ensure!(
            sending.report.errors == 0,
            "{} of {} packets were refused by the kernel: is {} routed to a device?",
            sending.report.errors,
            sending.report.errors + sending.report.datagrams,
            self.network
        );
        sending.report = SendReport::default();
        let interval = if self.flat_out { Duration::ZERO } else { FRAME_INTERVAL };
        let begun_at = Instant::now();
        sending.next_frame_at = begun_at;
        let before = CoreTime::now(Some(self.core))?;
        while begun_at.elapsed() < Duration::from_secs_f64(self.seconds) {
            sending.frame(interval);
        }
        let used = CoreTime::now(Some(self.core))?.since(&before);
        self.print(&sending.report, used)
    }

    fn print(&self, report: &SendReport, used: Used) -> anyhow::Result<()> {
        let packets = report.datagrams.max(1) as f64;
        let ns = |time: Duration| time.as_nanos() as f64 / packets;
        let core = used.core.unwrap_or_default();
        let (seconds, thread) = (used.wall.as_secs_f64(), ns(used.thread));
        let rhythm = if self.flat_out { "flat out" } else { "30 frames/s" };
        let dropped = report.would_block + report.errors;
        println!(
            "{:<22} {:>5} viewers {rhythm:<11}  {thread:>5.0} ns a packet ({:.0} user, {:.0} kernel; core {:.0})  {:>9.0} packets/s  \
             {:>5.2} Gb/s  {:>4.0} % of the core  {dropped} dropped",
            self.label,
            self.viewers,
            thread * used.user,
            thread * (1.0 - used.user),
            ns(core),
            packets / seconds,
            report.bytes as f64 * 8.0 / seconds / 1e9,
            used.thread.as_secs_f64() / seconds * 100.0,
        );
        report::write(
            self.json.as_deref(),
            &json!({
                "label": self.label,
                "viewers": self.viewers,
                "flat_out": self.flat_out,
                "packets": report.datagrams,
                "dropped": dropped,
                "packets_per_second": packets / seconds,
                "thread_ns_per_packet": thread,
                "user_share": used.user,
                "core_ns_per_packet": used.core.map(ns),
            }),
        )
    }
}

impl Sending {
    /// Waits for the next frame, doing meanwhile what the shard wants done, and sends it.
    fn frame(&mut self, interval: Duration) {
        loop {
            let now = Instant::now();
            if now >= self.next_frame_at {
                break;
            }
            let until = self.audience.shard.poll_timeout().unwrap_or(self.next_frame_at).min(self.next_frame_at);
            std::thread::sleep(until.saturating_duration_since(now));
            self.turn(Instant::now());
        }
        // A sender that is too slow is late for good, it does not leave frames out.
        self.next_frame_at += interval;
        let now = Instant::now();
        let frame = self.audience.next_frame(now);
        self.audience.shard.handle_command(now, frame);
        self.turn(now);
    }

    fn turn(&mut self, now: Instant) {
        let shard = &mut self.audience.shard;
        shard.handle_timeout(now);
        loop {
            shard.poll_transmit(now, &mut self.batch);
            if self.batch.is_empty() {
                break;
            }
            self.report += self.socket.send(&self.batch, &mut self.state);
            self.batch.clear();
        }
        while shard.poll_event().is_some() {}
    }
}
