//! What do two shards cost that one does not?
//!
//! On a machine of two cores, one of which the generator needs, both shards share the server's
//! core: the same viewers once on one shard and once on two, half of them each. If a packet costs
//! no more then, nothing between shards (relaying packets to the other one, smaller batches, a
//! second thread) takes from what a second core would add. What this does not show is what two
//! cores take from each other: caches, memory, locks of the kernel.

use serde_json::json;

use super::fanout::split;
use super::row::{self, Row};
use super::stage::Stage;
use super::{Known, Outcome};
use crate::units::count;

const VIEWERS: usize = 2_500;

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let viewers = stage.viewers(VIEWERS);
    let look = |shards| {
        let mut play = stage.open_shards(shards, |_| ())?;
        play.join(viewers, 0.02)?;
        play.watch(0..viewers, stage.window())
    };
    let (one, two) = (look(1)?, look(2)?);
    let gain = 2.0 * one.us() / two.us();
    let row = Row {
        what: format!(
            "two shards against one: {} viewers on one, or {} on each of two",
            count(viewers),
            count(viewers / 2)
        ),
        goal: "≥ 1.8 × (both shards on one core here: by cost per packet)".to_owned(),
        measured: format!(
            "{} on one, {} on two: two cores would send {gain:.2} × as much; p99 {:.1} / {:.1} ms",
            split(&one),
            split(&two),
            one.p99(),
            two.p99()
        ),
        is_met: Some(gain >= 1.8),
        generator: row::generator(&[&one, &two]),
    };
    Ok(Outcome { rows: vec![row], figures: json!({ "one": one.json(), "two": two.json(), "gain": gain }) })
}
