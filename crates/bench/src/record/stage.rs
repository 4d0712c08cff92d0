//! A server on its core and a generator on another: what every measurement is played on.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use shards::udp::affinity::pin_current_thread;

use crate::core_time::{CoreTime, all_cores};
use crate::load::{JoinPlan, Load};
use crate::process::{Spent, Usage};
use crate::report;
use crate::seen::{Joined, Seen};
use crate::server::Server;
use crate::settings::Settings;

/// Where it is played.
pub(super) struct Stage {
    binary: PathBuf,
    server_cores: String,
    /// The server's core, if it has only one.
    pub(super) server_core: Option<usize>,
    /// The generator's.
    pub(super) core: usize,
    is_quick: bool,
}

/// A server with its publishers and viewers. Sessions are not closed: the server ends with the
/// play.
pub(super) struct Play {
    server: Server,
    pub(super) load: Load,
    server_core: Option<usize>,
}

/// What was seen while viewers watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) seen: Seen,
    pub(super) spent: Spent,
    /// Of the server's core, for whomever: the kernel does part of the work in threads of its own.
    core: Option<Duration>,
    /// Cores used by programs other than the server and the generator.
    pub(super) others_cores: f64,
    /// Packets to all viewers, those included that are not looked at.
    pub(super) packets: u64,
    /// Microseconds of the server's CPU a packet, in each part of the time.
    parts_us: Vec<f64>,
    /// Datagrams that the server's sockets had no room for.
    socket_drops: u64,
    pub(super) rss_kib: u64,
}

/// How long viewers watch where nothing else is said: enough for several key frames.
const WINDOW: Duration = Duration::from_secs(9);
/// Number of parts of a measurement; CPU per packet is their median.
const PARTS: u32 = 3;
/// Lets key frames that were asked for, first reports and the allocator come to rest.
const SETTLE: Duration = Duration::from_millis(2_500);
/// Wait after the joins before a measurement that is not about joins. New viewers may be served
/// after others for 10 s (`sfu/src/shard/send_queue.rs`); the rest is for the backlog.
const RUSH: Duration = Duration::from_secs(13);
/// Shortest CPU time from which shares are computed: the kernel samples the core's time every
/// hundredth of a second.
const LEAST_CORE_TIME: Duration = Duration::from_secs(1);
/// After something that kept the generator from its work.
const CATCH_UP: Duration = Duration::from_millis(200);
/// By what a quick run is shorter.
const QUICK: u32 = 10;
/// A share of viewers may fail to join before a measurement is not worth making.
const MAY_FAIL: f64 = 0.01;
/// Joins a second in measurements that are not about joins. A guess.
const JOIN_RATE: f64 = 400.0;

impl Stage {
    pub(super) fn new(binary: PathBuf, server_cores: &str, core: usize, is_quick: bool) -> anyhow::Result<Stage> {
        let is_list =
            !server_cores.is_empty() && server_cores.bytes().all(|b| b.is_ascii_digit() || b",-".contains(&b));
        ensure!(is_list, "--server-cores {server_cores} is no list of cores, such as 0 or 0,2-3");
        Ok(Stage {
            binary,
            server_cores: server_cores.to_owned(),
            server_core: server_cores.parse().ok(),
            core,
            is_quick,
        })
    }

    /// Puts the generator on its core, wherever the last measurement left it.
    pub(super) fn enter(&self) -> anyhow::Result<()> {
        pin_current_thread(self.core).with_context(|| format!("--core {}", self.core))
    }

    /// Returns this number of viewers, or fewer in a quick run.
    pub(super) fn viewers(&self, viewers: usize) -> usize {
        if self.is_quick { (viewers / QUICK as usize).max(20) } else { viewers }
    }

    /// Returns this time, or a shorter one in a quick run.
    pub(super) fn time(&self, time: Duration) -> Duration {
        if self.is_quick { time / QUICK } else { time }
    }

    /// Returns how long viewers watch.
    pub(super) fn window(&self) -> Duration {
        self.time(WINDOW)
    }

    /// Starts a server with one shard, and publishes.
    pub(super) fn open(&self, change: impl FnOnce(&mut Settings)) -> anyhow::Result<Play> {
        self.open_shards(1, change)
    }

    /// Opens a play with this number of shards.
    pub(super) fn open_shards(&self, shards: usize, change: impl FnOnce(&mut Settings)) -> anyhow::Result<Play> {
        let server = Server::start_on(&self.binary, Some(&self.server_cores), shards)?;
        let mut settings = Settings::new(&server.url(), None);
        change(&mut settings);
        let load = Load::start(&settings)?;
        Ok(Play { server, load, server_core: self.server_core })
    }
}

impl Play {
    /// Lets viewers join, and waits until they have settled.
    pub(super) fn join(&mut self, viewers: usize, verify: f64) -> anyhow::Result<Joined> {
        let joined = self.load.join(JoinPlan { viewers, rate: JOIN_RATE, verify })?;
        ensure!(
            joined.failed as f64 <= viewers as f64 * MAY_FAIL,
            "{} of {viewers} viewers did not join, the first: {}",
            joined.failed,
            joined.failure.clone().unwrap_or_default()
        );
        self.load.run_for(SETTLE)?;
        Ok(joined)
    }

    /// Waits until no viewer counts as new.
    pub(super) fn let_rush_pass(&mut self, stage: &Stage) -> anyhow::Result<()> {
        self.load.run_for(stage.time(RUSH))
    }

    /// Lets these viewers watch.
    pub(super) fn watch(&mut self, viewers: Range<usize>, time: Duration) -> anyhow::Result<Watched> {
        self.watch_while(viewers, |load, part| {
            part(load)?;
            for _ in 0..PARTS {
                load.run_for(time / PARTS)?;
                part(load)?;
            }
            Ok(())
        })
    }

    /// Measures these viewers during an action. The action calls its argument at the end of each
    /// part with equal conditions.
    pub(super) fn watch_while(
        &mut self,
        viewers: Range<usize>,
        happens: impl FnOnce(&mut Load, &mut dyn FnMut(&Load) -> anyhow::Result<()>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Watched> {
        let pid = self.server.pid();
        let mut parts = Vec::new();
        let mut part = |load: &Load| {
            parts.push((Usage::of(pid)?, load.arrived()));
            Ok(())
        };
        // Takes milliseconds with thousands of sockets, in which nothing is published.
        let drops = self.server.socket_drops();
        self.load.run_for(CATCH_UP)?;
        self.load.open_window(viewers)?;
        let (begun, arrived) = (Usage::of(pid)?, self.load.arrived());
        let core = CoreTime::now(self.server_core)?;
        let all = all_cores();
        happens(&mut self.load, &mut part)?;
        let all = all_cores().zip(all).map(|(now, before)| now.saturating_sub(before));
        let core = CoreTime::now(self.server_core)?.since(&core).core;
        let (ended, packets) = (Usage::of(pid)?, self.load.arrived() - arrived);
        let seen = self.load.close_window()?;
        let socket_drops = self.server.socket_drops() - drops;
        let cost = |pair: &[(Usage, u64)]| match pair {
            [(before, from), (after, to)] => Some(after.since(before).us_per(to - from)),
            _ => None,
        };
        let parts_us = parts.windows(2).filter_map(cost).collect();
        let spent = ended.since(&begun);
        let all_cores = all.map_or(0.0, |all| all.as_secs_f64() / spent.wall_s.max(1e-9));
        let others_cores = (all_cores - spent.cores() - seen.generator.cores()).max(0.0);
        Ok(Watched { seen, spent, core, others_cores, packets, parts_us, socket_drops, rss_kib: ended.rss_kib })
    }

    /// Returns the server's memory now.
    pub(super) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.server.pid())
    }
}

impl Watched {
    /// Microseconds of the server's CPU a packet: the median of the parts.
    pub(super) fn us(&self) -> f64 {
        let mut parts = self.parts_us.clone();
        parts.sort_by(f64::total_cmp);
        parts.get(parts.len() / 2).copied().unwrap_or_else(|| self.spent.us_per(self.packets))
    }

    /// Returns the mean CPU time per packet over several measurements.
    pub(super) fn mean_us(looks: &[Watched]) -> f64 {
        looks.iter().map(Watched::us).sum::<f64>() / looks.len() as f64
    }

    /// Returns the microseconds per packet in user space and in the kernel; `None` if the time was
    /// too short.
    pub(super) fn user_and_kernel_us(&self) -> Option<(f64, f64)> {
        let (us, user) = (self.us(), self.spent.user_share?);
        Some((us * user, us * (1.0 - user)))
    }

    /// Returns the microseconds of the server's core per packet, spent by any program; `None` if
    /// the time was too short.
    pub(super) fn core_us(&self) -> Option<f64> {
        let core = self.core.filter(|core| *core >= LEAST_CORE_TIME)?;
        Some(core.as_secs_f64() * 1e6 / self.packets.max(1) as f64)
    }

    pub(super) fn p99(&self) -> f64 {
        self.seen.delay.ms(0.99)
    }

    pub(super) fn gigabits(&self) -> f64 {
        self.seen.total.bytes as f64 * 8.0 / self.seen.seconds / 1e9
    }

    pub(super) fn json(&self) -> Value {
        let seen = &self.seen;
        let split = self.user_and_kernel_us();
        json!({
            "viewers": seen.viewers,
            "seconds": seen.seconds,
            "packets_per_second": seen.packets_per_second(),
            "bitrate_bps": self.gigabits() * 1e9,
            "loss_before_repair": seen.loss_before_repair(),
            "loss_after_repair": seen.loss_after_repair(),
            "repaired_in_200_ms": seen.repaired_in_time(),
            "starved": seen.starved,
            "failed": seen.failed,
            "longest_silence_ms": seen.total.longest_silence.as_secs_f64() * 1e3,
            "damaged": seen.damaged,
            "rejected": seen.rejected,
            "published_late_ms": seen.sent.latest.as_secs_f64() * 1e3,
            "key_frames": seen.sent.key_frames,
            "delay_ms": report::json_of(&seen.delay.percentiles()),
            "key_frame_delay_ms": report::json_of(&seen.key_frame_delay.percentiles()),
            "delay_quantiles_ms": QUANTILES.map(|share| [share, seen.delay.ms(share)]),
            "server": {
                "cpu_us_per_packet": self.us(),
                "parts_us_per_packet": self.parts_us,
                "user_us_per_packet": split.map(|(user, _)| user),
                "kernel_us_per_packet": split.map(|(_, kernel)| kernel),
                "core_us_per_packet": self.core_us(),
                "cpu_cores": self.spent.cores(),
                "by_thread_s": self.spent.by_name.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
                "rss_kib": self.rss_kib,
                "socket_drops": self.socket_drops,
            },
            "generator": {
                "cpu_cores": seen.generator.cores(),
                "bottleneck": seen.bottleneck().map(|why| why.to_string()),
            },
            "others_cpu_cores": self.others_cores,
        })
    }
}

/// Where the distribution of delay is read off, for its plot.
const QUANTILES: [f64; 16] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];
