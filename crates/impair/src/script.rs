//! How does a link change over time?
//!
//! A script is a row of steps, apart by `;` or line ends. A step is a time since the start and what
//! changes then; what a step does not name stays as it was. The time of the first step may be left
//! out. `#` begins a comment.
//!
//! ```text
//! rate=3M delay=25ms     # from the start
//! 20s rate=500k; 40s rate=3M
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::settings::{Settings, positive, time};

/// Steps in order of their times.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    steps: VecDeque<Step>,
}

/// From one time on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    at: Duration,
    settings: Settings,
}

/// An error in a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {number}, \"{step}\": {reason}")]
pub struct ScriptError {
    /// Which step, from one.
    pub number: usize,
    /// The text of the step.
    pub step: String,
    /// The fault, and the correct form.
    pub reason: String,
}

/// Longer ones are made by a program that had better use the control lines.
const MOST_STEPS: usize = 10_000;
/// What an error repeats of a step, in characters.
const REPEATED: usize = 80;

impl Script {
    /// Reads a script for a link that does nothing before.
    ///
    /// # Errors
    ///
    /// [`ScriptError`], which names the step.
    pub fn parse(text: &str) -> Result<Script, ScriptError> {
        Script::parse_from(text, Settings::default())
    }

    /// Reads a script for a link that is like `before` until then.
    ///
    /// # Errors
    ///
    /// [`ScriptError`], which names the step.
    pub fn parse_from(text: &str, before: Settings) -> Result<Script, ScriptError> {
        let mut steps: VecDeque<Step> = VecDeque::new();
        let mut settings = before;
        let parts = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split(';'));
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let number = steps.len() + 1;
            let complain = |reason: String| ScriptError { number, step: part.chars().take(REPEATED).collect(), reason };
            if number > MOST_STEPS {
                return Err(complain(format!("a script has at most {MOST_STEPS} steps")));
            }
            let mut words = part.split_whitespace().peekable();
            let is_time = words.peek().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            let at = match words.next_if(|_| is_time) {
                Some(word) => step_time(word).map_err(complain)?,
                None if number == 1 => Duration::ZERO,
                None => return Err(complain("begins without a time; write when it happens, like 20s".into())),
            };
            if let Some(last) = steps.back().filter(|last| last.at >= at) {
                return Err(complain(format!("is not later than the step before it ({:?})", last.at)));
            }
            if words.peek().is_none() {
                return Err(complain("changes nothing; write what becomes different, like rate=500k".into()));
            }
            for word in words {
                settings.set(word).map_err(complain)?;
            }
            steps.push_back(Step { at, settings });
        }
        Ok(Script { steps })
    }

    /// Returns when the next step is due, since the start.
    pub fn next_at(&self) -> Option<Duration> {
        self.steps.front().map(|step| step.at)
    }

    /// Takes the next step.
    pub fn poll_step(&mut self) -> Option<Settings> {
        self.steps.pop_front().map(|step| step.settings)
    }
}

/// Times of steps may be longer than those of datagrams: a day.
fn step_time(word: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    if let Some(seconds) = word.strip_suffix('s').and_then(positive)
        && (60.0..=DAY).contains(&seconds)
    {
        return Ok(Duration::from_secs_f64(seconds));
    }
    time(word).map_err(|_| format!("{word:?} is not a time; write it like 500ms or 20s, at most {DAY}s"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_step_keeps_settings_that_it_does_not_name() {
        let text = "rate=3M delay=25ms # from the start\n20s rate=500k; 90.5s rate=off loss=1%\n\n;# end";
        let mut script = Script::parse(text).unwrap();
        let mut seen = Vec::new();
        while let Some(at) = script.next_at() {
            let settings = script.poll_step().unwrap();
            seen.push((at.as_millis(), settings.rate, settings.delay.as_millis(), settings.loss));
        }
        assert_eq!(seen, [(0, Some(3_000_000), 25, 0.0), (20_000, Some(500_000), 25, 0.0), (90_500, None, 25, 0.01)]);
        let before = Settings { delay: Duration::from_millis(7), ..Settings::default() };
        let mut later = Script::parse_from("1s loss=2%", before).unwrap();
        assert_eq!(later.poll_step(), Some(Settings { loss: 0.02, ..before }));
        assert_eq!(Script::parse(" \n # nothing\n").unwrap(), Script::default());
    }

    #[test]
    fn a_wrong_step_is_named() {
        let rows = [
            ("rate=3M; rate=2M", "step 2, \"rate=2M\": begins without a time"),
            ("5s rate=3M; 5s rate=2M", "step 2, \"5s rate=2M\": is not later than the step before it (5s)"),
            ("0s rate=3M; 20s", "step 2, \"20s\": changes nothing"),
            ("20x rate=3M", "step 1, \"20x rate=3M\": \"20x\" is not a time; write it like 500ms or 20s"),
            ("100000s loss=1%", "\"100000s\" is not a time"),
            ("0s rate=3M loss=x", "step 1, \"0s rate=3M loss=x\": \"x\" is not a share"),
        ];
        for (text, said) in rows {
            let error = Script::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said) || error.contains(said), "{text}: {error}");
        }
        let long = (0..=MOST_STEPS).map(|n| format!("{n}s loss=1%")).collect::<Vec<_>>().join("\n");
        assert!(Script::parse(&long).unwrap_err().reason.contains("at most 10000 steps"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "([0-9]{1,3}(s|ms) |;|\n|#|rate=|loss=|burst=|[0-9.]{1,4}|k|M|%|/|é| ){0,30}") {
            if let Err(error) = Script::parse(&text) {
                prop_assert!(!error.reason.is_empty() && error.number >= 1);
            }
        }
    }
}
