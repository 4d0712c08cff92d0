//! What does the delay of all viewers owe to key frames: how is it with one a minute?

use std::time::Duration;

use super::fanout::arrives;
use super::stage::Stage;
use super::{Known, Outcome};

const GROUP: Duration = Duration::from_secs(60);
const VIEWERS: usize = 5_000;

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|settings| settings.video.group = GROUP)?;
    let viewers = stage.viewers(VIEWERS);
    play.join(viewers, 0.02)?;
    play.let_rush_pass(stage)?;
    let full = play.watch(0..viewers, stage.window())?;
    Ok(Outcome { rows: vec![arrives(&full, "a key frame a minute")], figures: full.json() })
}
