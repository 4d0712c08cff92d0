//! What does a program get of a report? Names end in their unit; `docs/bench.md` lists them.

use serde_json::{Value, json};

use super::{Ended, Kind, Played, Report, Run, rows};
use crate::capacity::Bound;
use crate::histogram::{Histogram, Percentiles};
use crate::series::Sample;
use crate::settings::{Offers, Source};
use crate::tls::Trust;

/// One run is an object; several are in `runs`.
pub(super) fn report(report: &Report) -> Value {
    let runs = || Value::from(report.runs.iter().map(run).collect::<Vec<_>>());
    match &report.kind {
        Kind::Single => report.runs.first().map_or(Value::Null, run),
        Kind::Sweep => json!({ "version": version(), "broken_off": report.broken_off, "runs": runs() }),
        Kind::Capacity { found } => json!({
            "version": version(),
            "capacity": found.as_ref().map(|found| {
                let (is_at_least, too_many, why) = match &found.bound {
                    Bound::Server { viewers, why } => (false, Some(viewers), Some(why)),
                    Bound::Generator { viewers, why } => (true, Some(viewers), Some(why)),
                    Bound::Most => (true, None, None),
                };
                json!({ "viewers": found.viewers, "is_at_least": is_at_least, "too_many": too_many, "why": why })
            }),
            "broken_off": report.broken_off,
            "runs": runs(),
        }),
    }
}

/// One run.
pub(crate) fn run(run: &Run) -> Value {
    let Played { joined, seen, server, ended } = &run.played;
    json!({
        "version": version(),
        "viewers": run.viewers(),
        "joined": joined.joined,
        "join_failure": joined.failure,
        "publishers": run.plan.settings.streams,
        "duration_s": seen.seconds,
        "cut_short": match ended {
            Ended::AsPlanned => None,
            Ended::ByUser => Some("on request"),
            Ended::ByServer { why } => Some(why.as_str()),
        },
        "packets": seen.total.packets,
        "packets_per_second": run.packets_per_second(),
        "bitrate_bps": run.bits_per_second(),
        "loss_before_repair": seen.loss_before_repair(),
        "loss_after_repair": seen.loss_after_repair(),
        "passed_on": run.passed_on(),
        "repair": {
            "repaired": seen.total.repaired,
            "repaired_in_200_ms": seen.repaired_in_time(),
            "late": seen.total.late,
            "lost": seen.total.lost,
            "nacks": seen.total.nacks,
            "plis": seen.total.plis,
        },
        "thrown_away": seen.total.dropped,
        "duplicates": seen.total.duplicates,
        "feedbacks": seen.total.feedbacks,
        "delay_ms": histogram(&seen.delay),
        "key_frame_delay_ms": histogram(&seen.key_frame_delay),
        "baseline_ms": percentiles(&run.baseline),
        "join_ms": {
            "answer": histogram(&joined.answer),
            "first_packet": histogram(&joined.first_packet),
            "first_keyframe": histogram(&joined.first_picture),
        },
        "joins_per_second": run.joins_per_second(),
        "starved": seen.starved,
        "ended_early": seen.failed,
        "longest_silence_ms": seen.total.longest_silence.as_secs_f64() * 1e3,
        "verified": {
            "packets": seen.verified_packets,
            "damaged": seen.damaged,
            "recut": seen.recut,
            "rejected": seen.rejected,
            "wrong_timestamps": seen.wrong_timestamps,
        },
        "generator": {
            "cpu_cores": seen.generator.cores(),
            "bottleneck": seen.bottleneck().map(|why| why.to_string()),
            "kernel_drops": seen.kernel_drops,
            "latest_frame_ms": seen.sent.latest.as_secs_f64() * 1e3,
            "latest_timer_ms": seen.timers_latest.as_secs_f64() * 1e3,
        },
        "server": server.as_ref().map(|server| json!({
            "cpu_cores": server.spent.cores(),
            "cpu_cores_by_thread": server.spent.by_name.iter()
                .map(|(name, s)| (name.clone(), json!(s / server.spent.wall_s.max(1e-9))))
                .collect::<serde_json::Map<_, _>>(),
            "cpu_us_per_packet": run.us_per_packet(),
            "cpu_user_share": server.spent.user_share,
            "packets_per_second_per_core": run.packets_per_second_per_core(),
            "rss_kib_per_viewer": server.memory.map(|memory| memory.kib),
            "rss_is_at_least": run.memory_is_at_least(),
            "rss_kib": server.rss_kib,
        })),
        "settings": settings(run),
        "series": run.series.iter().map(sample).collect::<Vec<_>>(),
    })
}

/// Returns the five percentiles of a report.
pub(crate) fn percentiles(p: &Percentiles) -> Value {
    json!({ "p50": p.p50, "p90": p.p90, "p99": p.p99, "p999": p.p999, "max": p.max })
}

/// `null` where nothing was measured: a zero would be read as very fast.
fn histogram(histogram: &Histogram) -> Value {
    if histogram.is_empty() { Value::Null } else { percentiles(&histogram.percentiles()) }
}

/// Returns the settings of the run without tokens.
fn settings(run: &Run) -> Value {
    let (settings, join) = (&run.plan.settings, run.plan.join);
    let video = settings.video;
    let is_ours = settings.source == Source::Publish;
    json!({
        "whip": is_ours.then(|| settings.whip_url(0)),
        "whep": settings.whep_url(0),
        "attached": !is_ours,
        "insecure": settings.trust == Trust::Anybody,
        "server_offers": settings.offers == Offers::Server,
        "codec": is_ours.then(|| video.codec.to_string()),
        "bitrate_bps": is_ours.then_some(video.bitrate_bps),
        "fps": is_ours.then_some(video.frame_rate),
        "gop_s": is_ours.then_some(video.group.as_secs_f64()),
        "packet_bytes": is_ours.then_some(video.packet_bytes),
        "key_frame_bytes": video.key_frame_bytes.filter(|_| is_ours),
        "packets": is_ours.then(|| rows::cut(video.cut)),
        "audio": is_ours && settings.audio,
        "made_up_loss": settings.loss,
        "join_rate": join.rate,
        "verify": join.verify,
        "duration_s": run.plan.duration.as_secs_f64(),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "at_s": sample.at_s,
        "started": sample.started,
        "joined": sample.joined,
        "failed": sample.failed,
        "published_packets": sample.sent,
        "packets_per_second": sample.packets_per_second(),
        "bitrate_bps": sample.bits_per_second(),
        "loss_before_repair": sample.loss_before_repair(),
        "loss_after_repair": sample.loss_after_repair(),
        "delay_ms": sample.delay_ms.as_ref().map(percentiles),
        "server_cpu_cores": sample.server.map(|server| server.cores),
        "server_rss_kib": sample.server.map(|server| server.rss_kib),
        "generator_cpu_cores": sample.generator_cores,
        "kernel_drops": sample.kernel_drops,
    })
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn everything_that_was_promised_is_there() {
        let value = super::report(&Report::single(testing::run(5_000)));
        for path in [
            "/viewers",
            "/joined",
            "/publishers",
            "/duration_s",
            "/packets",
            "/packets_per_second",
            "/bitrate_bps",
            "/loss_before_repair",
            "/loss_after_repair",
            "/delay_ms/p50",
            "/delay_ms/p90",
            "/delay_ms/p99",
            "/delay_ms/p999",
            "/delay_ms/max",
            "/join_ms/first_packet/p50",
            "/join_ms/first_keyframe/p999",
            "/starved",
            "/generator/cpu_cores",
            "/server/cpu_cores",
            "/server/cpu_us_per_packet",
            "/server/rss_kib_per_viewer",
        ] {
            assert!(value.pointer(path).is_some_and(Value::is_number), "{path} in {value:#}");
        }
        assert!(value.pointer("/generator/bottleneck").is_some());
        assert!(!value.to_string().contains("s3cret"), "{value:#}");
    }

    #[test]
    fn several_runs_are_a_list() {
        let report = Report { runs: vec![testing::run(100), testing::run(5_000)], ..Report::of(Kind::Sweep) };
        assert_eq!(super::report(&report).pointer("/runs/1/viewers"), Some(&json!(5_000)));
    }
}
