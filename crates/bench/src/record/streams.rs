//! How late are packets at half the load with many streams instead of one?
//!
//! With one stream, each sweep covers 2,500 viewers. With 25 streams whose frames come evenly one
//! after another, each sweep covers 100.

use std::time::Duration;

use super::row::{self, Row, percent};
use super::stage::Stage;
use super::{Known, Outcome};
use crate::units::count;

const STREAMS: usize = 25;
const VIEWERS: usize = 2_500;
/// Key frames have found their places after the group that is under way.
const GROUP: Duration = Duration::from_secs(2);

pub(super) fn measure(stage: &Stage, _: &mut Known) -> anyhow::Result<Outcome> {
    let mut play = stage.open(|settings| {
        settings.streams = STREAMS;
        settings.video.group = GROUP;
    })?;
    let viewers = stage.viewers(VIEWERS);
    play.join(viewers, 0.05)?;
    play.let_rush_pass(stage)?;
    play.load.stagger_key_frames();
    play.load.run_for(GROUP + GROUP / 4)?;
    let look = play.watch(0..viewers, stage.window())?;
    let row = Row {
        what: format!("p99 delay at half the load, {STREAMS} streams of {} viewers each", viewers / STREAMS),
        goal: "≤ 5 ms".to_owned(),
        measured: format!(
            "p50 {:.1} ms, p99 {:.1} ms; loss {}; {} packets/s with {:.0} % of the core",
            look.seen.delay.ms(0.5),
            look.p99(),
            percent(look.seen.loss_after_repair()),
            count(look.seen.packets_per_second() as u64),
            look.spent.cores() * 100.0
        ),
        is_met: Some(look.p99() <= 5.0),
        generator: row::generator(&[&look]),
    };
    Ok(Outcome { rows: vec![row], figures: look.json() })
}
