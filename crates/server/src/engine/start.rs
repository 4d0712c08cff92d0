//! How do the media plane and the control task begin?

use std::time::Instant;

use control::{Limits, Takeover};
use shards::plane::everywhere;
use shards::{Plane, Setup};
use tokio::sync::{mpsc, watch};

use super::driver::Driver;
use super::events::event_queues;
use super::{Engine, addresses};
use crate::config::{self, MediaConfig};

/// Requests that wait for the control task; beyond that HTTP handlers wait (backpressure).
const ASKS: usize = 1_024;

/// 4 MiB: a shard that is away for 20 ms at 1.6 Gb/s loses nothing. The kernel grants twice that where
/// it allows it.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 << 20;

pub(super) fn start(config: &MediaConfig) -> anyhow::Result<Engine> {
    let (sink, events) = event_queues();
    let dropped = events.dropped.clone();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let listen = match (config.loopback_only, config.listen.is_empty()) {
        (true, _) => vec![std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()],
        (false, true) => everywhere(),
        (false, false) => config.listen.clone(),
    };
    let plane = Plane::start(Setup {
        port: config.udp_port,
        listen: addresses::bindable(listen),
        candidates: addresses::candidates(config)?,
        // The kernel, HTTP and handshakes want cores too: half of them for media, at least one.
        shards: config.shards.unwrap_or(cores / 2).clamp(1, 64) as u8,
        desks: (cores / 4).clamp(1, 8) as u8,
        handshakes: config.limits.handshakes,
        pin: config.pin_cores,
        socket_buffer_bytes: SOCKET_BUFFER_BYTES,
        random,
        events: sink,
    })?;
    tracing::info!(
        port = plane.port(),
        shards = plane.shard_count(),
        desks = plane.desk_count(),
        candidates = ?plane.identity().candidates(),
        "media plane is up"
    );
    let (asks, questions) = mpsc::channel(ASKS);
    let (changed, changes) = watch::channel(0);
    let engine = control::Engine::new(Instant::now(), engine_setup(config, &plane));
    let liveness = plane.liveness();
    let driver = Driver::new(engine, plane, dropped, changed);
    let running = tokio::spawn(driver.run(questions, events));
    tokio::spawn(async move {
        // The task returns when all handles are gone; a runtime that shuts down cancels it.
        if running.await.is_err_and(|error| error.is_panic()) {
            shards::plane::abort("control");
        }
    });
    Ok(Engine { asks, changes, liveness })
}

fn engine_setup(config: &MediaConfig, plane: &Plane) -> control::engine::Setup {
    let limits = &config.limits;
    control::engine::Setup {
        limits: Limits {
            streams: limits.streams,
            sessions: limits.sessions,
            viewers: limits.viewers,
            sessions_per_ip: limits.sessions_per_ip.unwrap_or(usize::MAX),
        },
        takeover: match config.takeover {
            config::Takeover::Refuse => Takeover::Refuse,
            config::Takeover::Replace => Takeover::Replace,
        },
        busy_percent: limits.busy_percent,
        shards: plane.shard_count(),
        desks: plane.desk_count(),
        random: Box::new(random),
    }
}

/// The operating system's generator: its bits become ids and passwords that outsiders must not guess.
fn random() -> u64 {
    getrandom::u64().expect("the operating system has a random number generator")
}
