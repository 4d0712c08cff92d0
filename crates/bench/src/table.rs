//! Measures the first rows about the server in `docs/performance.md`: delay, memory and joins.
//!
//! The server gets core 0 and the generator core 1. Every row has a server of its own, so that one
//! row's memory is not another's.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use shards::udp::affinity::pin_current_thread;

use crate::baseline;
use crate::load::{JoinPlan, Load};
use crate::process::Usage;
use crate::report::{self, cpu, ms, percent};
use crate::server::Server;
use crate::settings::{Settings, Video};

/// How long and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Length of each measurement.
    pub(crate) watch: Duration,
    /// Viewers for the memory row.
    pub(crate) crowd: usize,
    /// Viewers that join while [`WATCHERS`] watch.
    pub(crate) joiners: usize,
    /// Joins a second; 0: as fast as they go.
    pub(crate) rate: f64,
}

const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// Viewers of the rows "100 viewers" in `docs/performance.md`.
const WATCHERS: usize = 100;
/// Lets key frames, first reports and the allocator come to rest.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures and prints all rows.
pub(crate) fn run(binary: &Path, video: Video, sizes: Sizes, file: Option<&Path>) -> anyhow::Result<()> {
    pin_current_thread(GENERATOR_CORE)?;
    let baseline = baseline::measure()?;
    println!("one way through loopback without a server: median {:.3} ms, p99 {:.3} ms\n", baseline.p50, baseline.p99);
    let delay = delay(binary, video, sizes)?;
    let memory = memory(binary, video, sizes)?;
    let joins = joins(binary, video, sizes)?;
    let rows = json!({ "baseline_ms": report::json_of(&baseline), "delay": delay, "memory": memory, "joins": joins });
    report::write(file, &rows)
}

fn start(binary: &Path, video: Video) -> anyhow::Result<(Server, Load)> {
    let server = Server::start(binary, Some(SERVER_CORE))?;
    let settings = Settings { video, ..Settings::new(&server.url(), None) };
    let load = Load::start(&settings)?;
    Ok((server, load))
}

fn join_all(load: &mut Load, viewers: usize, rate: f64, verify: f64) -> anyhow::Result<crate::seen::Joined> {
    let joined = load.join(JoinPlan { viewers, rate, verify })?;
    ensure!(joined.failed == 0, "{} of {viewers} viewers did not join: {:?}", joined.failed, joined.failure);
    Ok(joined)
}

fn delay(binary: &Path, video: Video, sizes: Sizes) -> anyhow::Result<Value> {
    let (server, mut load) = start(binary, video)?;
    join_all(&mut load, WATCHERS, 100.0, 0.2)?;
    load.run_for(SETTLE)?;
    let before = Usage::of(server.pid())?;
    load.open_window(0..WATCHERS)?;
    load.run_for(sizes.watch)?;
    let seen = load.close_window()?;
    let spent = Usage::of(server.pid())?.since(&before);
    let us = spent.cpu_s * 1e6 / seen.total.packets.max(1) as f64;
    println!("delay added by the server, packet in to packet out, {WATCHERS} viewers");
    println!("    {} (both ways through the kernel included)", ms(&seen.delay));
    println!("    {:.0} packets/s, {us:.2} µs of server CPU each; {}", seen.packets_per_second(), cpu(&spent));
    println!("    loss after repair {}, {} damaged", percent(seen.loss_after_repair()), seen.damaged);
    tell_bottleneck(&seen);
    load.close();
    Ok(json!({
        "viewers": WATCHERS, "delay_ms": report::json_of(&seen.delay.percentiles()), "cpu_us_per_packet": us,
        "packets_per_second": seen.packets_per_second(), "loss_after_repair": seen.loss_after_repair(),
        "generator_cores": seen.generator.cores(), "bottleneck": seen.bottleneck().map(|why| why.to_string()),
    }))
}

fn memory(binary: &Path, video: Video, sizes: Sizes) -> anyhow::Result<Value> {
    let (server, mut load) = start(binary, video)?;
    // The first viewers pay for what all share.
    join_all(&mut load, 10, 10.0, 0.0)?;
    load.run_for(SETTLE)?;
    let before = Usage::of(server.pid())?;
    join_all(&mut load, sizes.crowd, 200.0, 0.02)?;
    load.run_for(SETTLE)?;
    load.open_window(0..load.viewer_count())?;
    let begun = Usage::of(server.pid())?;
    load.run_for(sizes.watch)?;
    let seen = load.close_window()?;
    let after = Usage::of(server.pid())?;
    let spent = after.since(&begun);
    let kib = (after.rss_kib as f64 - before.rss_kib as f64) / sizes.crowd as f64;
    let us = spent.cpu_s * 1e6 / seen.total.packets.max(1) as f64;
    println!("memory per viewer, {} viewers, media flowing", sizes.crowd);
    println!("    {kib:.0} KiB ({} → {} KiB resident)", before.rss_kib, after.rss_kib);
    println!("    {:.0} packets/s, {us:.2} µs of server CPU each; {}", seen.packets_per_second(), cpu(&spent));
    println!("    delay {}; loss after repair {}", ms(&seen.delay), percent(seen.loss_after_repair()));
    tell_bottleneck(&seen);
    load.close();
    Ok(json!({
        "viewers": sizes.crowd, "rss_kib_per_viewer": kib, "cpu_us_per_packet": us,
        "packets_per_second": seen.packets_per_second(), "delay_ms": report::json_of(&seen.delay.percentiles()),
        "loss_after_repair": seen.loss_after_repair(), "bottleneck": seen.bottleneck().map(|why| why.to_string()),
    }))
}

fn joins(binary: &Path, video: Video, sizes: Sizes) -> anyhow::Result<Value> {
    let (server, mut load) = start(binary, video)?;
    join_all(&mut load, WATCHERS, 100.0, 0.2)?;
    load.run_for(SETTLE)?;
    load.open_window(0..WATCHERS)?;
    let idle = Usage::of(server.pid())?;
    load.run_for(sizes.watch)?;
    let before = load.close_window()?;
    let begun = Usage::of(server.pid())?;
    let quiet = begun.since(&idle);
    load.open_window(0..WATCHERS)?;
    let joined = load.join(JoinPlan { viewers: sizes.joiners, rate: sizes.rate, verify: 0.02 })?;
    let during = load.close_window()?;
    let spent = Usage::of(server.pid())?.since(&begun);
    ensure!(joined.joined > 0, "nobody could join: {:?}", joined.failure);
    let wall = joined.joined as f64 / joined.seconds;
    let of = |name: &str| spent.by_name.iter().find(|(n, _)| n.starts_with(name)).map_or(0.0, |(_, s)| *s);
    // Serving media is no part of joining: what shards do is left out, what 100 watchers cost
    // before is taken off.
    let quiet_rest: f64 = quiet.by_name.iter().filter(|(n, _)| !n.starts_with("shard")).map(|(_, s)| s).sum();
    let rest = spent.cpu_s - of("shard") - quiet_rest / quiet.wall_s.max(1e-9) * spent.wall_s;
    let ms_per_join = rest * 1e3 / joined.joined as f64;
    let all_ms = (spent.cpu_s - quiet.cores() * spent.wall_s) * 1e3 / joined.joined as f64;
    println!("viewer joins a second a core, {} join while {WATCHERS} watch", sizes.joiners);
    println!(
        "    {wall:.0} a second by the clock ({} joined, {} failed{})",
        joined.joined,
        joined.failed,
        joined.failure.as_ref().map_or(String::new(), |why| format!(", the first: {why}"))
    );
    println!(
        "    {:.0} a second a core by server CPU: {ms_per_join:.2} ms each for HTTP, SDP, ICE and DTLS; \
         {all_ms:.2} ms with the media that the new ones get meanwhile",
        1e3 / ms_per_join.max(1e-9)
    );
    println!("    server {}; generator {}", cpu(&spent), cpu(&during.generator));
    println!("    POST to answer       {}", ms(&joined.answer));
    println!("    POST to first packet {}", ms(&joined.first_packet));
    println!("    POST to key frame    {}", ms(&joined.first_picture));
    for (name, seen) in [("before", &before), ("during", &during)] {
        println!(
            "    watchers {name}: delay {}; loss {} before repair, {} after; longest silence {:.0} ms",
            ms(&seen.delay),
            percent(seen.loss_before_repair()),
            percent(seen.loss_after_repair()),
            seen.total.longest_silence.as_secs_f64() * 1e3
        );
        tell_bottleneck(seen);
    }
    load.close();
    let watchers = |seen: &crate::seen::Seen| {
        json!({
            "delay_ms": report::json_of(&seen.delay.percentiles()),
            "loss_before_repair": seen.loss_before_repair(), "loss_after_repair": seen.loss_after_repair(),
            "starved": seen.starved,
        })
    };
    Ok(json!({
        "joined": joined.joined, "failed": joined.failed, "joins_per_second": wall,
        "server_cpu_ms_per_join": ms_per_join, "server_cpu_ms_per_join_with_media": all_ms,
        "joins_per_second_per_core": 1e3 / ms_per_join.max(1e-9),
        "server_cores": spent.cores(), "generator_cores": during.generator.cores(),
        "join_ms": {
            "answer": report::json_of(&joined.answer.percentiles()),
            "first_packet": report::json_of(&joined.first_packet.percentiles()),
            "first_keyframe": report::json_of(&joined.first_picture.percentiles()),
        },
        "watchers_before": watchers(&before), "watchers_during": watchers(&during),
    }))
}

fn tell_bottleneck(seen: &crate::seen::Seen) {
    if let Some(why) = seen.bottleneck() {
        println!("    the generator was the bottleneck: {why}");
    }
}
