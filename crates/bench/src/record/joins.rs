//! Do those who watch notice when five times as many come within ten seconds?
//!
//! Twice. With the 1.5 Mb/s the newcomers bring more media than the core can send (6,000 × 1.5 Mb/s are 936,000 packets a
//! second), so that the row shows an overload as well as joins. With a tenth of the bitrate it is joins alone.

use std::time::Duration;

use serde_json::{Value, json};

use super::row::{self, Row, count, percent};
use super::stage::{Stage, Watched};
use super::{Known, Outcome};
use crate::load::JoinPlan;
use crate::process::{Spent, Usage};
use crate::report;
use crate::seen::Joined;

const WATCHERS: usize = 1_000;
const JOINERS: usize = 5_000;
const WITHIN: Duration = Duration::from_secs(10);
const BITRATES: [f64; 2] = [1_500_000.0, 150_000.0];

/// What a join costs each side, in milliseconds of CPU.
struct Costs {
    /// Beside media: threads that are no shards.
    server_ms: f64,
    /// Its offer and socket, made ahead.
    prepared_ms: f64,
    /// All that it did meanwhile, receiving for everybody included.
    generator_ms: f64,
}

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome { rows: Vec::new(), figures: Value::Null };
    let mut figures = Vec::new();
    for bitrate_bps in BITRATES {
        eprintln!("        at {} kb/s", bitrate_bps / 1e3);
        let (row, figure) = at(stage, bitrate_bps)?;
        outcome.rows.push(row);
        figures.push(figure);
    }
    outcome.figures = Value::Array(figures);
    Ok(outcome)
}

fn at(stage: &Stage, bitrate_bps: f64) -> anyhow::Result<(Row, Value)> {
    let (watchers, joiners) = (stage.viewers(WATCHERS), stage.viewers(JOINERS));
    let rate = joiners as f64 / WITHIN.as_secs_f64();
    let mut play = stage.open(|settings| settings.video.bitrate_bps = bitrate_bps)?;
    play.join(watchers, 0.1)?;
    let before = play.watch(0..watchers, stage.window() / 2)?;
    // Those who come are looked into by counting alone, and are made ahead: the generator has one core for them, too.
    let plan = JoinPlan { viewers: joiners, rate, verify: 0.0 };
    let idle = Usage::of(std::process::id())?;
    play.load.prepare(plan)?;
    let preparing = Usage::of(std::process::id())?.since(&idle);
    let mut joined = Joined::default();
    let during = play.watch_while(0..watchers, |load, _| {
        joined = load.join(plan)?;
        Ok(())
    })?;
    let after = play.watch(0..watchers, stage.window() / 2)?;
    let in_time = joined.pictured_after.partition_point(|after| *after <= WITHIN);
    let costs = costs(&preparing, &during, joined.joined);
    let (loss, p99) = (during.seen.loss_after_repair(), during.p99());
    let row = Row {
        what: format!(
            "{} viewers join within 10 s while {} watch, {:.2} Mb/s",
            count(joiners),
            count(watchers),
            bitrate_bps / 1e6
        ),
        goal: "the watchers lose nothing, their p99 delay ≤ 20 ms".to_owned(),
        measured: format!(
            "watchers lose {} ({} before repair), {} starve, p99 {p99:.1} ms ({:.1} before); {} of {} saw a picture within 10 s, all {} \
             after {:.1} s; POST to picture p50 {:.0} ms, p99 {:.0} ms; a join costs the server {:.2} ms beside media",
            percent(loss),
            percent(during.seen.loss_before_repair()),
            during.seen.starved,
            before.p99(),
            count(in_time),
            count(joiners),
            count(joined.joined),
            joined.pictured_after.last().copied().unwrap_or_default().as_secs_f64(),
            joined.first_picture.ms(0.5),
            joined.first_picture.ms(0.99),
            costs.server_ms,
        ),
        is_met: Some(loss == 0.0 && during.seen.starved == 0 && p99 <= 20.0 && in_time == joiners),
        generator: format!(
            "{}; a join costs it {:.2} ms ahead and {:.2} ms then, everybody's packets included: {:.0} a second of a core",
            row::generator(&[&during]),
            costs.prepared_ms,
            costs.generator_ms,
            1e3 / costs.generator_ms.max(1e-9)
        ),
    };
    let figures = json!({
        "bitrate_bps": bitrate_bps,
        "before": before.json(), "during": during.json(), "after": after.json(),
        "joined": joined.joined, "failed": joined.failed, "failure": joined.failure,
        "within_10_s": in_time,
        "pictured_after_s": every(&joined.pictured_after, 100),
        "join_ms": {
            "answer": report::json_of(&joined.answer.percentiles()),
            "first_packet": report::json_of(&joined.first_packet.percentiles()),
            "first_keyframe": report::json_of(&joined.first_picture.percentiles()),
        },
        "server_ms_per_join": costs.server_ms,
        "generator_ms_per_join_ahead": costs.prepared_ms,
        "generator_ms_per_join_with_media": costs.generator_ms,
    });
    Ok((row, figures))
}

fn costs(preparing: &Spent, during: &Watched, joined: usize) -> Costs {
    let ms_each = |seconds: f64| seconds * 1e3 / joined.max(1) as f64;
    Costs {
        server_ms: ms_each(during.spent.cpu_s - during.spent.of("shard")),
        prepared_ms: ms_each(preparing.cpu_s),
        generator_ms: ms_each(during.seen.generator.cpu_s),
    }
}

/// So many of the moments, evenly: how many had joined, and after how many seconds.
fn every(moments: &[Duration], points: usize) -> Vec<(usize, f64)> {
    let step = moments.len().div_ceil(points).max(1);
    moments.iter().enumerate().skip(step - 1).step_by(step).map(|(n, at)| (n + 1, at.as_secs_f64())).collect()
}
