//! How much of a packet's cost is ours in user space?
//!
//! Measured twice: the send tick by itself ([`crate::tick`]), all work of a shard to send, sealing
//! included; and the user time of the whole server while it served all viewers, with feedback and
//! the user half of system calls.

use serde_json::json;

use super::row::Row;
use super::stage::Stage;
use super::{Known, Outcome};
use crate::tick::Tick;
use crate::units::count;

const VIEWERS: usize = 5_000;
/// As many come before them.
const FRAMES: u32 = 60;
/// The one in the middle counts.
const RUNS: usize = 3;

pub(super) fn measure(stage: &Stage, known: &mut Known) -> anyhow::Result<Outcome> {
    let viewers = stage.viewers(VIEWERS);
    let run = |_| anyhow::Ok(Tick::quiet(viewers as u32, FRAMES).measure()?.sending_ns());
    let mut runs = (0..RUNS).map(run).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by(f64::total_cmp);
    let us = runs[RUNS / 2] / 1e3;
    let whole = known.user_us.map_or(String::new(), |us| format!("; all of the server in user space {us:.2} µs"));
    let row = Row {
        what: format!("ours in user space, send tick with sealing, {} viewers", count(viewers)),
        goal: "≤ 0.25 µs".to_owned(),
        measured: format!("{us:.2} µs{whole}"),
        is_met: Some(us <= 0.25),
        generator: "takes no part".to_owned(),
    };
    Ok(Outcome { rows: vec![row], figures: json!({ "runs_ns_per_packet": runs, "server_user_us": known.user_us }) })
}
