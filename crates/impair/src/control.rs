//! Which commands does a running relay accept?
//!
//! One line each, on standard input or in a file that is read at the start:
//!
//! ```text
//! down rate=500k               # that direction changes now …
//! both 0s loss=2%; 10s loss=0% # … or by a script whose times count from now
//! stats                        # answers with a report
//! reset                        # begins to count anew
//! quit
//! ```

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `up`, `down`, `both`: a script for these directions.
    Follow {
        /// From clients to the server.
        up: bool,
        /// From the server to clients.
        down: bool,
        /// The text of the script, parsed later because it depends on the present settings of the
        /// link.
        script: String,
    },
    /// `stats`
    Stats,
    /// `reset`
    Reset,
    /// `quit`
    Quit,
}

/// Number of characters of a line that an error quotes.
const REPEATED: usize = 40;

impl Command {
    /// Parses a line; `None` for an empty line or a comment.
    ///
    /// # Errors
    ///
    /// A sentence with the correct form.
    pub fn parse(line: &str) -> Result<Option<Command>, String> {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let alone = |command| {
            if rest.is_empty() { Ok(Some(command)) } else { Err(format!("{word:?} stands alone on its line")) }
        };
        match word {
            "" => Ok(None),
            "up" | "down" | "both" if rest.is_empty() => {
                Err(format!("{word:?} says nothing; write what changes, like \"{word} rate=500k\""))
            }
            "up" | "down" | "both" => {
                Ok(Some(Command::Follow { up: word != "down", down: word != "up", script: rest.to_owned() }))
            }
            "stats" => alone(Command::Stats),
            "reset" => alone(Command::Reset),
            "quit" => alone(Command::Quit),
            _ => {
                let word: String = word.chars().take(REPEATED).collect();
                Err(format!("{word:?} is unknown; begin with up, down, both, stats, reset or quit"))
            }
        }
    }
}

/// Reads a file of such lines: the scripts for up and down, each with the lines that name it as its
/// steps.
///
/// # Errors
///
/// A sentence with the number of the line.
pub fn parse_file(text: &str) -> Result<(String, String), String> {
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let place = |reason: String| format!("line {}: {reason}", index + 1);
        match Command::parse(line).map_err(place)? {
            None => {}
            Some(Command::Follow { up, down, script }) => {
                if up {
                    ups.push(script.clone());
                }
                if down {
                    downs.push(script);
                }
            }
            Some(_) => return Err(place("only up, down and both are said in a file".to_owned())),
        }
    }
    Ok((ups.join("\n"), downs.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let follow = |up, down, script: &str| Ok(Some(Command::Follow { up, down, script: script.to_owned() }));
        let rows = [
            ("down rate=500k # now", follow(false, true, "rate=500k")),
            ("up\t0s loss=2%; 5s loss=0%", follow(true, false, "0s loss=2%; 5s loss=0%")),
            (" both delay=3ms ", follow(true, true, "delay=3ms")),
            ("stats", Ok(Some(Command::Stats))),
            ("reset\r", Ok(Some(Command::Reset))),
            ("quit", Ok(Some(Command::Quit))),
            ("# only a comment", Ok(None)),
            ("", Ok(None)),
            ("stats now", Err("\"stats\" stands alone on its line".to_owned())),
            ("down", Err("\"down\" says nothing; write what changes, like \"down rate=500k\"".to_owned())),
            ("rate=3M", Err("\"rate=3M\" is unknown; begin with up, down, both, stats, reset or quit".to_owned())),
        ];
        for (line, expected) in rows {
            assert_eq!(Command::parse(line), expected, "{line}");
        }
    }

    #[test]
    fn files() {
        let text = "both delay=25ms\ndown 20s rate=500k\n\n# the end\n";
        assert_eq!(parse_file(text), Ok(("delay=25ms".to_owned(), "delay=25ms\n20s rate=500k".to_owned())));
        assert!(parse_file("up loss=1%\nreset").unwrap_err().starts_with("line 2: only up"));
        assert!(parse_file("up loss=1%\nsideways").unwrap_err().starts_with("line 2: \"sideways\" is unknown"));
    }
}
