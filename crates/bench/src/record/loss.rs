//! What does a bad network cost: 2 % of everything to every viewer is lost at random,
//! retransmissions as well?
//!
//! The same viewers of the same server without loss and with it, in turns, so that what else
//! changes changes both.

use std::time::Duration;

use serde_json::json;

use super::row::{self, Row, percent};
use super::stage::{Play, Stage, Watched};
use super::{Known, Outcome};
use crate::units::count;

const VIEWERS: usize = 1_000;
const LOSS: f64 = 0.02;
/// Without, with, without, with.
const TURNS: usize = 2;
/// Wait for repairs after the measurement: a missing packet is repaired or given up within a
/// second. The rest is a reserve.
const REST: Duration = Duration::from_millis(1_200);

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|_| ())?;
    let viewers = stage.viewers(VIEWERS);
    play.join(viewers, 0.02)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(play.watch(0..viewers, stage.window() / 2)?);
        with.push(lossy(&mut play, viewers, stage.window() / 2)?);
    }
    let sum = |of: fn(&Watched) -> u64| with.iter().map(of).sum::<u64>() as f64;
    let missed = sum(|look| look.seen.total.gaps.saturating_sub(look.seen.total.late)).max(1.0);
    let in_time = sum(|look| look.seen.total.repaired_in_time) / missed;
    let lost = sum(|look| look.seen.total.lost) / missed;
    let (us_with, us_without) = (Watched::mean_us(&with), Watched::mean_us(&without));
    let factor = us_with / us_without;
    let row = Row {
        what: format!("2 % random loss towards every viewer, {} viewers", count(viewers)),
        goal: "≥ 99.9 % repaired within 200 ms, CPU per packet ≤ 1.3 ×".to_owned(),
        measured: format!(
            "{:.3} % of {} missed packets repaired within 200 ms, {} never; CPU per packet {us_with:.2} µs against {us_without:.2} µs: {factor:.2} ×",
            in_time * 100.0,
            count(missed as u64),
            percent(lost),
        ),
        is_met: Some(in_time >= 0.999 && factor <= 1.3),
        generator: row::generator(&with.iter().collect::<Vec<_>>()),
    };
    let json = |looks: &[Watched]| looks.iter().map(Watched::json).collect::<Vec<_>>();
    let figures = json!({
        "without": json(&without), "with": json(&with), "repaired_in_200_ms": in_time, "never": lost, "factor": factor,
    });
    Ok(Outcome { rows: vec![row], figures })
}

/// Looks until everything that was lost has been found or given up; the cost is that of the time
/// with loss alone.
fn lossy(play: &mut Play, viewers: usize, time: Duration) -> anyhow::Result<Watched> {
    play.watch_while(0..viewers, |load, part| {
        load.lose(LOSS);
        part(load)?;
        load.run_for(time)?;
        part(load)?;
        load.lose(0.0);
        load.run_for(REST)
    })
}
