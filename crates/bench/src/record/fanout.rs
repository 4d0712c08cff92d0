//! One stream, ever more viewers: what arrives, how late, and at what cost?

use serde_json::json;

use super::row::{self, Row, percent};
use super::stage::{Stage, Watched};
use super::{Known, Outcome};
use crate::process::Usage;
use crate::units::count;

/// Viewers at each look. The first pay for what all share, so that memory is counted from there;
/// the third is half the load.
const AUDIENCES: [usize; 4] = [100, 1_000, HALF, 5_000];
/// Half the load.
pub(super) const HALF: usize = 2_500;

pub(super) fn measure(stage: &Stage, known: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|_| ())?;
    let mut looks = Vec::new();
    let mut resting = Vec::new();
    for viewers in AUDIENCES.map(|viewers| stage.viewers(viewers)) {
        let more = viewers - play.load.viewer_count();
        // Of few viewers more are looked into, for their delay.
        play.join(more, if viewers <= stage.viewers(100) { 0.2 } else { 0.02 })?;
        if viewers >= stage.viewers(HALF) {
            play.let_rush_pass(stage)?;
        }
        resting.push(play.usage()?);
        looks.push(play.watch(0..viewers, stage.window())?);
    }
    let [few, _, half, full] = looks.as_slice() else { unreachable!("there are as many looks as audiences") };
    known.full = Some((full.core_us().unwrap_or_else(|| full.us()), full.seen.packets_per_second()));
    known.few_us = Some(few.us());
    known.user_us = full.user_and_kernel_us().map(|(user, _)| user);
    let rows = vec![arrives(full, "a key frame every 2 s"), cost(few, full), half_load(half), memory(&looks)];
    let kib: Vec<_> = looks[1..].iter().map(|look| (look.seen.viewers, kib_a_viewer(few, look))).collect();
    let figures = json!({
        "looks": looks.iter().map(Watched::json).collect::<Vec<_>>(),
        "rss_kib_at_rest": resting.iter().map(|usage: &Usage| usage.rss_kib).collect::<Vec<_>>(),
        "rss_kib_per_viewer": kib,
    });
    Ok(Outcome { rows, figures })
}

/// Returns the row for 5,000 viewers, for a given key-frame interval.
pub(super) fn arrives(full: &Watched, rhythm: &str) -> Row {
    let seen = &full.seen;
    let (loss, p99) = (seen.loss_after_repair(), full.p99());
    Row {
        what: format!("{} viewers, one stream of 1.5 Mb/s, {rhythm}", count(seen.viewers)),
        goal: "loss ≤ 0.1 %, p99 delay ≤ 50 ms".to_owned(),
        measured: format!(
            "loss {} after repair ({} before), delay p50 {:.1} ms, p99 {p99:.1} ms, {} packets/s, {:.2} Gb/s, {} starved",
            percent(loss),
            percent(seen.loss_before_repair()),
            seen.delay.ms(0.5),
            count(seen.packets_per_second() as u64),
            full.gigabits(),
            seen.starved,
        ),
        is_met: Some(loss <= 0.001 && p99 <= 50.0 && seen.starved == 0),
        generator: row::generator(&[full]),
    }
}

fn cost(few: &Watched, full: &Watched) -> Row {
    Row {
        what: format!("server CPU per packet at {} / {} viewers", count(few.seen.viewers), count(full.seen.viewers)),
        goal: "≤ 1.3 µs / ≤ 1.3 µs".to_owned(),
        measured: format!("{} / {}", split(few), split(full)),
        is_met: Some(few.us() <= 1.3 && full.us() <= 1.3),
        generator: row::generator(&[few, full]),
    }
}

/// "1.31 µs (0.42 user, 0.89 kernel; 1.35 of the core)"
pub(super) fn split(look: &Watched) -> String {
    let split = look.user_and_kernel_us().map(|(user, kernel)| format!("{user:.2} user, {kernel:.2} kernel"));
    let core = look.core_us().map(|us| format!("{us:.2} of the core"));
    let parts: Vec<String> = [split, core].into_iter().flatten().collect();
    let us = format!("{:.2} µs", look.us());
    if parts.is_empty() { us } else { format!("{us} ({})", parts.join("; ")) }
}

fn half_load(half: &Watched) -> Row {
    Row {
        what: format!("p99 delay at half the load, one stream, {} viewers", count(half.seen.viewers)),
        goal: "≤ 5 ms".to_owned(),
        measured: format!(
            "p50 {:.1} ms, p99 {:.1} ms; loss {}; {:.0} % of the core",
            half.seen.delay.ms(0.5),
            half.p99(),
            percent(half.seen.loss_after_repair()),
            half.spent.cores() * 100.0
        ),
        is_met: Some(half.p99() <= 5.0),
        generator: row::generator(&[half]),
    }
}

fn kib_a_viewer(few: &Watched, look: &Watched) -> f64 {
    let more = look.seen.viewers.saturating_sub(few.seen.viewers).max(1);
    (look.rss_kib as f64 - few.rss_kib as f64) / more as f64
}

fn memory(looks: &[Watched]) -> Row {
    let at =
        |look: &Watched| format!("{:.0} KiB ({} viewers)", kib_a_viewer(&looks[0], look), count(look.seen.viewers));
    let [_, some, _, all] = looks else { unreachable!("there are as many looks as audiences") };
    Row {
        what: "memory per viewer, media flowing".to_owned(),
        goal: "≤ 64 KiB".to_owned(),
        measured: format!("{}, {}", at(some), at(all)),
        is_met: Some([some, all].iter().all(|look| kib_a_viewer(&looks[0], look) <= 64.0)),
        generator: row::generator(&[some, all]),
    }
}
