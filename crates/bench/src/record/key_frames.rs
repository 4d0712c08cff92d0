//! Does a large key frame cost anyone more when five thousand get it instead of a hundred?
//!
//! 100 kB every 2 s are 0.4 Mb/s of the 1.5; the size of other frames keeps the average.
//! `sfu::viewer::pace` paces the packets to each viewer.

use serde_json::json;

use super::row::{self, Row, percent};
use super::stage::{Stage, Watched};
use super::{Known, Outcome};
use crate::units::count;

const KEY_FRAME_BYTES: usize = 100_000;
const AUDIENCES: [usize; 2] = [100, 5_000];

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|settings| settings.video.key_frame_bytes = Some(KEY_FRAME_BYTES))?;
    let mut looks = Vec::new();
    for viewers in AUDIENCES.map(|viewers| stage.viewers(viewers)) {
        let more = viewers - play.load.viewer_count();
        play.join(more, if viewers <= stage.viewers(100) { 0.2 } else { 0.02 })?;
        play.let_rush_pass(stage)?;
        looks.push(play.watch(0..viewers, stage.window())?);
    }
    let [few, all] = looks.as_slice() else { unreachable!("there are as many looks as audiences") };
    let said = |look: &Watched| {
        format!(
            "loss {} ({} before repair), its packets' delay p50 {:.0} ms, p99 {:.0} ms, all packets' p99 {:.0} ms",
            percent(look.seen.loss_after_repair()),
            percent(look.seen.loss_before_repair()),
            look.seen.key_frame_delay.ms(0.5),
            look.seen.key_frame_delay.ms(0.99),
            look.p99()
        )
    };
    let row = Row {
        what: format!(
            "key frame of 100 kB every 2 s to {} / {} viewers",
            count(few.seen.viewers),
            count(all.seen.viewers)
        ),
        goal: "paced; no viewer loses more than with 100".to_owned(),
        measured: format!("{} / {}", said(few), said(all)),
        is_met: Some(all.seen.loss_after_repair() <= few.seen.loss_after_repair()),
        generator: row::generator(&[few, all]),
    };
    Ok(Outcome { rows: vec![row], figures: json!(looks.iter().map(Watched::json).collect::<Vec<_>>()) })
}
