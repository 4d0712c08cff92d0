//! What does it cost to know each viewer's network?
//!
//! The same audience with transport-wide feedback and without it, in turns, each on a server of its
//! own: with it every viewer reports ten times a second, and the server estimates from that what
//! its network carries. All that comes with it counts: the numbers in the packets, the reports
//! themselves, the arithmetic.

use serde_json::json;

use super::fanout::split;
use super::row::{self, Row};
use super::stage::{Stage, Watched};
use super::{Known, Outcome};
use crate::units::count;

const VIEWERS: usize = 1_000;
const TURNS: usize = 2;

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let viewers = stage.viewers(VIEWERS);
    let look = |is_estimated: bool| -> anyhow::Result<Watched> {
        let mut play = stage.open(|settings| settings.feedback = settings.feedback.filter(|_| is_estimated))?;
        play.join(viewers, 0.02)?;
        play.watch(0..viewers, stage.window())
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.push(look(false)?);
        with.push(look(true)?);
    }
    let factor = Watched::mean_us(&with) / Watched::mean_us(&without);
    let all = |looks: &[Watched]| looks.iter().map(split).collect::<Vec<_>>().join(", ");
    let row = Row {
        what: format!("CPU per packet with feedback and estimation against without, {} viewers", count(viewers)),
        goal: "≤ 1.25 ×".to_owned(),
        measured: format!("{factor:.2} ×: {} against {}", all(&with), all(&without)),
        is_met: Some(factor <= 1.25),
        generator: row::generator(&with.iter().chain(&without).collect::<Vec<_>>()),
    };
    let json = |looks: &[Watched]| looks.iter().map(Watched::json).collect::<Vec<_>>();
    Ok(Outcome {
        rows: vec![row],
        figures: json!({ "without": json(&without), "with": json(&with), "factor": factor }),
    })
}
