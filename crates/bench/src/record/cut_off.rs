//! Do other viewers notice when a tenth of the audience disappears at once?
//!
//! The networks of these viewers die without a goodbye; the server continues to send to them until
//! their timeout.

use serde_json::json;

use super::row::{self, Row, percent};
use super::stage::Stage;
use super::{Known, Outcome};
use crate::units::count;

const VIEWERS: usize = 220;
const CUT_OFF: usize = 20;

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|_| ())?;
    let viewers = stage.viewers(VIEWERS);
    let others = viewers - CUT_OFF.min(viewers / 2);
    play.join(viewers, 0.2)?;
    let before = play.watch(0..others, stage.window())?;
    play.load.cut_off(others..viewers);
    let after = play.watch(0..others, stage.window())?;
    let (p99_before, p99_after) = (before.p99(), after.p99());
    let row = Row {
        what: format!("the networks of {} of {} viewers die", count(viewers - others), count(viewers)),
        goal: "others lose nothing, their p99 delay within 1 ms; memory bounded".to_owned(),
        measured: format!(
            "others lose {}, p99 {p99_before:.1} ms before and {p99_after:.1} ms after; {:.1} and {:.1} MiB resident",
            percent(after.seen.loss_after_repair()),
            before.rss_kib as f64 / 1024.0,
            after.rss_kib as f64 / 1024.0,
        ),
        is_met: Some(after.seen.loss_after_repair() == 0.0 && p99_after <= p99_before + 1.0),
        generator: row::generator(&[&before, &after]),
    };
    Ok(Outcome { rows: vec![row], figures: json!({ "before": before.json(), "after": after.json() }) })
}
