//! Do viewers notice when five times as many viewers join within ten seconds?
//!
//! Measured twice: the new viewers join the stream of the others, and another stream. In the end
//! there is more media than the core can send (6,000 × 1.5 Mb/s are 936,000 packets a second), and
//! one sweep over 6,000 viewers takes longer than the goal in any case. The first measurement shows
//! when this begins, the second its effect on another stream.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::row::{self, Row, percent};
use super::stage::{Stage, Watched};
use super::{Known, Outcome};
use crate::load::{JoinPlan, Load};
use crate::process::{Spent, Usage};
use crate::report;
use crate::seen::Joined;
use crate::units::count;

/// For the watchers' p99.
const GOAL_MS: f64 = 20.0;
const WATCHERS: usize = 1_000;
const JOINERS: usize = 5_000;
const WITHIN: Duration = Duration::from_secs(10);
/// The last to come has some time to see a picture.
const BEGUN_WITHIN: Duration = Duration::from_millis(9_700);

/// Where the newcomers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newcomers {
    ToTheSameStream,
    ToAnother,
}

/// One sample: seconds since the first join began, viewers that had joined, and the watchers' delay
/// in ms (p50 and p99).
type Moment = (f64, usize, f64, f64);

/// What a join costs each side, in milliseconds of CPU.
struct Costs {
    /// Beside media: threads that are no shards.
    server_ms: f64,
    /// Its offer and socket, made ahead.
    prepared_ms: f64,
    /// CPU time of the generator per join, without its cost of receiving as many packets.
    generator_ms: f64,
}

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome { rows: Vec::new(), figures: Value::Null };
    let mut figures = Vec::new();
    for newcomers in [Newcomers::ToTheSameStream, Newcomers::ToAnother] {
        let (row, figure) = at(stage, newcomers)?;
        outcome.rows.push(row);
        figures.push(figure);
    }
    outcome.figures = Value::Array(figures);
    Ok(outcome)
}

fn at(stage: &Stage, newcomers: Newcomers) -> anyhow::Result<(Row, Value)> {
    let (watchers, joiners) = (stage.viewers(WATCHERS), stage.viewers(JOINERS));
    let rate = joiners as f64 / BEGUN_WITHIN.as_secs_f64();
    let mut play = stage.open(|settings| settings.streams = 2)?;
    play.load.offer_streams(0..1)?;
    play.join(watchers, 0.1)?;
    let before = play.watch(0..watchers, stage.window() / 2)?;
    // The packets of new viewers are only counted, and their offers are made ahead: the generator
    // has one core.
    if newcomers == Newcomers::ToAnother {
        play.load.offer_streams(1..2)?;
    }
    let plan = JoinPlan { viewers: joiners, rate, verify: 0.0 };
    let idle = Usage::of(std::process::id())?;
    play.load.prepare(plan)?;
    let preparing = Usage::of(std::process::id())?.since(&idle);
    let mut joined = Joined::default();
    let moments = watch_moments(&mut play.load, watchers);
    let during = play.watch_while(0..watchers, |load, _| {
        joined = load.join(plan)?;
        Ok(())
    })?;
    let after = play.watch(0..watchers, stage.window() / 2)?;
    let moments: Vec<Moment> = moments.try_iter().collect();
    let in_time = joined.pictured_after.partition_point(|after| *after <= WITHIN);
    let costs = costs(&preparing, &during, &after, joined.joined);
    let (loss, p99) = (during.seen.loss_after_repair(), during.p99());
    let row = Row {
        what: format!(
            "{} viewers join within 10 s while {} watch {}",
            count(joiners),
            count(watchers),
            match newcomers {
                Newcomers::ToTheSameStream => "the same stream",
                Newcomers::ToAnother => "another stream",
            }
        ),
        goal: "the watchers lose nothing, their p99 delay ≤ 20 ms".to_owned(),
        measured: format!(
            "watchers lose {} ({} before repair), {} starve, p99 {p99:.1} ms ({:.1} before; {}); {} of {} saw a picture within 10 s, all {} \
             after {:.1} s; POST to picture p50 {:.0} ms, p99 {:.0} ms; a join costs the server {:.2} ms beside media",
            percent(loss),
            percent(during.seen.loss_before_repair()),
            during.seen.starved,
            before.p99(),
            until_late(&moments),
            count(in_time),
            count(joiners),
            count(joined.joined),
            joined.pictured_after.last().copied().unwrap_or_default().as_secs_f64(),
            joined.first_picture.ms(0.5),
            joined.first_picture.ms(0.99),
            costs.server_ms,
        ),
        is_met: Some(loss == 0.0 && during.seen.starved == 0 && p99 <= GOAL_MS && in_time == joiners),
        generator: format!(
            "{}; a join costs it {:.2} ms ahead and {:.2} ms then, beside packets: alone it makes {:.0} a second",
            row::generator(&[&during]),
            costs.prepared_ms,
            costs.generator_ms,
            1e3 / costs.generator_ms.max(1e-9)
        ),
    };
    let figures = json!({
        "newcomers": if newcomers == Newcomers::ToAnother { "another stream" } else { "the same stream" },
        "moments_s_joined_p50_p99_ms": moments,
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
        "generator_ms_per_join": costs.generator_ms,
    });
    Ok((row, figures))
}

fn costs(preparing: &Spent, during: &Watched, after: &Watched, joined: usize) -> Costs {
    let ms_each = |seconds: f64| seconds * 1e3 / joined.max(1) as f64;
    let receiving = after.seen.generator.cpu_s / after.packets.max(1) as f64;
    Costs {
        server_ms: ms_each(during.spent.cpu_s - during.spent.of("shard")),
        prepared_ms: ms_each(preparing.cpu_s),
        generator_ms: ms_each((during.seen.generator.cpu_s - receiving * during.packets as f64).max(0.0)),
    }
}

/// Lets the watchers' delay be noted while the others join.
fn watch_moments(load: &mut Load, watchers: usize) -> Receiver<Moment> {
    let (note, moments) = channel();
    let begun_at = Instant::now();
    load.observe(Box::new(move |progress| {
        let joined = progress.joined.saturating_sub(watchers);
        let (p50, p99) = (progress.delay.ms(0.5), progress.delay.ms(0.99));
        // The receiver is gone after the measurement.
        let _ = note.send((begun_at.elapsed().as_secs_f64(), joined, p50, p99));
        ControlFlow::Continue(())
    }));
    moments
}

/// Until when the watchers' delay was within the goal.
fn until_late(moments: &[Moment]) -> String {
    let late = moments.iter().find(|(_, _, _, p99)| *p99 > GOAL_MS);
    late.map_or_else(
        || format!("never above {GOAL_MS} ms for 0.2 s"),
        |(_, joined, ..)| format!("above {GOAL_MS} ms for the first time when {} had joined", count(*joined)),
    )
}

/// Returns `points` evenly spaced samples: viewers that had joined, and the seconds since the
/// start.
fn every(moments: &[Duration], points: usize) -> Vec<(usize, f64)> {
    let step = moments.len().div_ceil(points).max(1);
    moments.iter().enumerate().skip(step - 1).step_by(step).map(|(n, at)| (n + 1, at.as_secs_f64())).collect()
}
