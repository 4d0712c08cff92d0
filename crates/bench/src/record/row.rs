//! What does one line of the table say?

use serde_json::{Value, json};

use super::stage::Watched;

/// One line: what must be reached, and what was.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) goal: String,
    pub(super) measured: String,
    /// Whether the goal was reached; `None` where there is none.
    pub(super) is_met: Option<bool>,
    /// How busy the generator was, and whether it was what limited.
    pub(super) generator: String,
}

impl Row {
    pub(super) fn print(&self) {
        println!("{}", self.what);
        println!("    goal       {}", self.goal);
        println!("    measured   {}", self.measured);
        println!("    generator  {}", self.generator);
        println!("    {}\n", self.verdict());
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.what, "goal": self.goal, "measured": self.measured, "met": self.is_met, "generator": self.generator,
        })
    }

    fn verdict(&self) -> &'static str {
        match self.is_met {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "no goal",
        }
    }
}

/// All lines, as a document wants them.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| | goal | measured | | generator |\n|---|---|---|---|---|\n");
    for row in rows {
        let Row { what, goal, measured, generator, .. } = row;
        text += &format!("| {what} | {goal} | {measured} | {} | {generator} |\n", row.verdict());
    }
    text
}

/// Number of cores used by other programs above which a row is marked as disturbed. Kernel work
/// without a process (interrupts, kernel threads) took up to 0.34 cores with 25 streams; a compiler
/// takes 0.8 and more.
const DISTURBED: f64 = 0.5;

/// "0.71 cores", and why what was seen may be the generator's doing.
pub(super) fn generator(watched: &[&Watched]) -> String {
    let cores = watched.iter().map(|w| w.seen.generator.cores()).fold(0.0, f64::max);
    let why = watched.iter().find_map(|w| w.seen.bottleneck());
    let said = match why {
        Some(why) => format!("{cores:.2} cores; it may have been the limit: {why}"),
        None => format!("{cores:.2} cores, not the limit"),
    };
    let others = watched.iter().map(|w| w.others_cores).fold(0.0, f64::max);
    if others > DISTURBED { format!("{said}; **disturbed**: others used {others:.2} cores") } else { said }
}

/// "0.0012 %"; "0" only if there was none.
pub(super) fn percent(share: f64) -> String {
    if share == 0.0 { "0 %".to_owned() } else { format!("{:.4} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::count;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0_u64, 12, 5_000, 780_000, 1_234_567].map(count), ["0", "12", "5,000", "780,000", "1,234,567"]);
        assert_eq!([0.0, 0.000_012].map(percent), ["0 %", "0.0012 %"]);
    }
}
