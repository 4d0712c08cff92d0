//! Which share of the kernel's largest packet rate does the server reach?
//!
//! The bare loop ([`crate::bare`]) in the same run, on the same cores, to as many sockets. The
//! server's rate is computed from the CPU time per packet: the rate of a core that does nothing but
//! send. At full load it is the measured rate.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::fanout::HALF;
use super::row::Row;
use super::stage::Stage;
use super::{Known, Outcome};
use crate::bare::{FRAMES, FRAMES_PACED, REFERENCE, Range, Reached};
use crate::units::count;

const SOCKETS: usize = 5_000;
const FEW_SOCKETS: usize = 100;
/// Of each way, of which the one in the middle counts.
const RUNS: usize = 3;
const RUN: Duration = Duration::from_millis(1_500);
/// 1.5 Mb/s at 30 frames a second, in packets of 1,200 bytes.
const PACKETS_A_FRAME: f64 = 1.5e6 / 30.0 / 8.0 / 1_200.0;

pub(super) fn measure(stage: &Stage, known: &mut Known) -> anyhow::Result<Outcome> {
    let core = stage.server_core.context("the bare loop runs on one core; give --server-cores one")?;
    let mut range = Range::open(stage.viewers(SOCKETS), core, stage.core)?;
    // The first round through all sockets fills their caches.
    range.measure(REFERENCE, stage.time(RUN))?;
    let middle = |range: &mut Range, way| -> anyhow::Result<Reached> {
        let mut runs = (0..RUNS).map(|_| range.measure(way, stage.time(RUN))).collect::<Result<Vec<_>, _>>()?;
        runs.sort_by(|a, b| a.packets_per_second().total_cmp(&b.packets_per_second()));
        Ok(runs.swap_remove(RUNS / 2))
    };
    let (bare, frames) = (middle(&mut range, REFERENCE)?, middle(&mut range, FRAMES)?);
    drop(range);
    let few = middle(&mut Range::open(stage.viewers(FEW_SOCKETS), core, stage.core)?, FRAMES_PACED)?;
    let few_us = few.ns(few.used.thread) / 1e3;
    let frame_ms = stage.viewers(HALF) as f64 * PACKETS_A_FRAME / frames.packets_per_second() * 1e3;
    let reached = known.full.map(|(us, packets_per_second)| (1e6 / us, packets_per_second));
    let shares = reached.map(|(a_core, _)| [a_core / bare.packets_per_second(), a_core / frames.packets_per_second()]);
    let rate = |reached: &Reached| count(reached.packets_per_second() as u64);
    let row = Row {
        what: "share of the bare kernel limit (GSO 8, sealing, as many sockets)".to_owned(),
        goal: "≥ 75 %".to_owned(),
        measured: match (shares, reached) {
            (Some([of_bare, of_frames]), Some((a_core, sent))) => format!(
                "{:.0} % of {} packets/s; {:.0} % of the {} that the bare loop reaches with the stream's frames of 5 or 6 packets \
                 (server: {} a core-second, {} sent)",
                of_bare * 100.0,
                rate(&bare),
                of_frames * 100.0,
                rate(&frames),
                count(a_core as u64),
                count(sent as u64),
            ),
            _ => format!(
                "bare loop {} packets/s, with the stream's frames {}; the server was not measured in this run (fanout)",
                rate(&bare),
                rate(&frames)
            ),
        },
        is_met: shares.map(|[of_bare, _]| of_bare >= 0.75),
        generator: "takes no part; one thread receives for all sockets".to_owned(),
    };
    let floor = Row {
        what: "the bare loop where the goals ask for more than the core's full speed".to_owned(),
        goal: "—".to_owned(),
        measured: format!(
            "{few_us:.2} µs a packet to {} sockets at the stream's pace{}; one frame to {} sockets takes it {frame_ms:.1} ms",
            count(stage.viewers(FEW_SOCKETS) as u64),
            known.few_us.map_or(String::new(), |us| format!(" (server: {us:.2} µs)")),
            count(stage.viewers(HALF) as u64),
        ),
        is_met: None,
        generator: "takes no part; one thread receives for all sockets".to_owned(),
    };
    let figures = json!({
        "paced_us_to_few": few_us, "frame_ms_to_half": frame_ms,
        "gso_8": bare.json(), "frames": frames.json(),
        "server_packets_per_core_second": reached.map(|(a_core, _)| a_core),
        "share_of_gso_8": shares.map(|shares| shares[0]), "share_of_frames": shares.map(|shares| shares[1]),
    });
    Ok(Outcome { rows: vec![row, floor], figures })
}
