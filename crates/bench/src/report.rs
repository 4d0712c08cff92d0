//! How is a run told, to people and to programs?

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::histogram::{Histogram, Percentiles};
use crate::process::Spent;
use crate::seen::{Joined, Seen};

/// What the server used up while a window was open.
#[derive(Debug, Clone)]
pub(crate) struct ServerCost {
    pub(crate) spent: Spent,
    /// Growth of its memory by each viewer.
    pub(crate) rss_kib_per_viewer: f64,
}

/// One run: viewers join, then watch.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) joined: Joined,
    pub(crate) seen: Seen,
    pub(crate) server: Option<ServerCost>,
    pub(crate) baseline: Percentiles,
}

impl Run {
    pub(crate) fn print(&self) {
        let Run { joined, seen, server, baseline } = self;
        let row = |name: &str, value: String| println!("  {name:<38}{value}");
        println!();
        row("viewers joined", format!("{} of {}", joined.joined, joined.joined + joined.failed));
        if let Some(failure) = &joined.failure {
            row("  the first that did not", failure.clone());
        }
        row("joins a second", format!("{:.0}", joined.joined as f64 / joined.seconds.max(1e-9)));
        row("join: POST to answer", ms(&joined.answer));
        row("join: POST to first packet", ms(&joined.first_packet));
        row("join: POST to first whole key frame", ms(&joined.first_picture));
        println!();
        row("watched for", format!("{:.1} s", seen.seconds));
        row("published", {
            let bps = seen.sent.bytes as f64 * 8.0 / seen.seconds;
            format!("{:.2} Mb/s, {:.0} packets/s", bps / 1e6, seen.sent.packets as f64 / seen.seconds)
        });
        let bps = seen.total.bytes as f64 * 8.0 / seen.seconds;
        row("received", format!("{:.0} packets/s, {:.1} Mb/s", seen.packets_per_second(), bps / 1e6));
        row("delay, publisher to viewer", ms(&seen.delay));
        row("  of this one way through loopback", percentiles(baseline));
        row("loss before repair", percent(seen.loss_before_repair()));
        row("loss after repair", percent(seen.loss_after_repair()));
        row("viewers that starved", seen.starved.to_string());
        row("longest silence of any viewer", format!("{:.0} ms", seen.total.longest_silence.as_secs_f64() * 1e3));
        let whole = seen.verified_packets;
        row("verified", format!("{whole} packets whole, {} damaged, {} rejected", seen.damaged, seen.rejected));
        println!();
        if let Some(server) = server {
            row("server CPU", cpu(&server.spent));
            row("server CPU per packet", format!("{:.2} µs", self.us_per_packet(server)));
            row("server memory per viewer", format!("{:.0} KiB", server.rss_kib_per_viewer));
        }
        row("generator CPU", cpu(&seen.generator));
        row("bottleneck", seen.bottleneck().map_or_else(|| "not the generator".to_owned(), |why| why.to_string()));
    }

    pub(crate) fn json(&self) -> Value {
        let Run { joined, seen, server, baseline } = self;
        json!({
            "viewers": joined.joined + joined.failed,
            "joined": joined.joined,
            "publishers": 1,
            "duration_s": seen.seconds,
            "packets": seen.total.packets,
            "packets_per_second": seen.packets_per_second(),
            "bitrate_bps": seen.total.bytes as f64 * 8.0 / seen.seconds,
            "loss_before_repair": seen.loss_before_repair(),
            "loss_after_repair": seen.loss_after_repair(),
            "delay_ms": json_of(&seen.delay.percentiles()),
            "baseline_ms": json_of(baseline),
            "join_ms": {
                "answer": json_of(&joined.answer.percentiles()),
                "first_packet": json_of(&joined.first_packet.percentiles()),
                "first_keyframe": json_of(&joined.first_picture.percentiles()),
            },
            "joins_per_second": joined.joined as f64 / joined.seconds.max(1e-9),
            "starved": seen.starved,
            "verified": { "packets": seen.verified_packets, "damaged": seen.damaged, "rejected": seen.rejected },
            "generator": { "cpu_cores": seen.generator.cores(), "bottleneck": seen.bottleneck().map(|why| why.to_string()) },
            "server": server.as_ref().map(|server| json!({
                "cpu_cores": server.spent.cores(),
                "cpu_us_per_packet": self.us_per_packet(server),
                "rss_kib_per_viewer": server.rss_kib_per_viewer,
            })),
        })
    }

    fn us_per_packet(&self, server: &ServerCost) -> f64 {
        server.spent.cpu_s * 1e6 / self.seen.total.packets.max(1) as f64
    }
}

/// Writes JSON where it is wanted.
pub(crate) fn write(file: Option<&Path>, value: &Value) -> anyhow::Result<()> {
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(value)? + "\n";
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// "0.31 cores (shard 0.25, desk 0.04, …)"
pub(crate) fn cpu(spent: &Spent) -> String {
    let threads = spent.by_name.iter().take(4).map(|(name, s)| format!("{name} {:.2}", s / spent.wall_s.max(1e-9)));
    format!("{:.2} cores ({})", spent.cores(), threads.collect::<Vec<_>>().join(", "))
}

pub(crate) fn ms(histogram: &Histogram) -> String {
    percentiles(&histogram.percentiles())
}

fn percentiles(p: &Percentiles) -> String {
    format!("median {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}", p.p50, p.p90, p.p99, p.p999, p.max)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.4} %", share * 100.0)
}

pub(crate) fn json_of(p: &Percentiles) -> Value {
    json!({ "p50": p.p50, "p90": p.p90, "p99": p.p99, "p999": p.p999, "max": p.max })
}
