//! How are numbers with units read from a command line, and written for people?

use std::time::Duration;

/// Reads bits a second; `k`, `M` and `G` are understood.
pub(crate) fn bitrate(text: &str) -> Result<f64, String> {
    scaled(text, &[("k", 1e3), ("M", 1e6), ("G", 1e9)], "write it like 1.5M or 800k")
}

/// Reads how many a second: 0 or more.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    scaled(text, &[], "write a number such as 500, or 0")
}

/// Reads a share: `2%` or `0.02`.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = scaled(text, &[("%", 0.01)], "write it like 2% or 0.02")?;
    if share <= 1.0 { Ok(share) } else { Err("a share is at most 100%".to_owned()) }
}

/// Reads a duration: `250ms`, `30s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // Longest unit first: "ms" ends in "s" too.
    let seconds = scaled(text, &[("ms", 1e-3), ("s", 1.0), ("m", 60.0)], "write it like 30s, 250ms or 2m")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "that is too long".to_owned())
}

/// Reads cores: `1`, `2,3` or `4-7`, in the order given and each once.
pub(crate) fn cores(text: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < MOST_CORES);
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err("write it like 1 or 2,3 or 4-7".to_owned());
        };
        if first > last {
            return Err(format!("{part} runs backwards"));
        }
        for core in first..=last {
            if !cores.contains(&core) {
                cores.push(core);
            }
        }
    }
    Ok(cores)
}

/// What a `cpu_set_t` holds.
const MOST_CORES: usize = 1_024;

fn scaled(text: &str, units: &[(&str, f64)], hint: &str) -> Result<f64, String> {
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = found.unwrap_or((text, 1.0));
    let number = number.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.map(|number| number * factor).ok_or_else(|| hint.to_owned())
}

/// "4,980"
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits that matter: "0.123", "1.23", "12.3", "1,234".
pub(crate) fn digits(number: f64) -> String {
    let size = number.abs();
    match () {
        () if !number.is_finite() => "–".to_owned(),
        () if size >= 999.5 => format!("{}{}", if number < 0.0 { "-" } else { "" }, count(size.round() as u64)),
        () if size >= 99.95 => format!("{number:.0}"),
        () if size >= 9.995 => format!("{number:.1}"),
        () if size >= 0.995 => format!("{number:.2}"),
        () if size >= 0.0005 => format!("{number:.3}"),
        () if size == 0.0 => "0".to_owned(),
        () => format!("{number:.0e}"),
    }
}

/// "7.49 Gb/s"
pub(crate) fn bits(per_second: f64) -> String {
    match per_second {
        bps if bps >= 0.9995e9 => format!("{} Gb/s", digits(bps / 1e9)),
        bps if bps >= 0.9995e6 => format!("{} Mb/s", digits(bps / 1e6)),
        bps => format!("{} kb/s", digits(bps / 1e3)),
    }
}

/// "0.0123 %"; nothing lost is "0 %", and only that.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0 %".to_owned(),
        p if p < 0.0001 => "< 0.0001 %".to_owned(),
        p if p < 0.1 => format!("{p:.4} %"),
        p if p < 10.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}

/// "2 s", "1 min 5 s"
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds.round() as u64 {
        _ if seconds < 0.9995 => format!("{} ms", digits((seconds * 1e3).round())),
        _ if seconds < 9.95 => {
            format!("{} s", digits((seconds * 10.0).round() / 10.0).trim_end_matches('0').trim_end_matches('.'))
        }
        s if s < 60 => format!("{s} s"),
        s if s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{} min {} s", s / 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_units() {
        assert_eq!(bitrate("1.5M"), Ok(1_500_000.0));
        assert_eq!(bitrate("800k"), Ok(800_000.0));
        assert_eq!(share("2%"), Ok(0.02));
        assert_eq!(share("1"), Ok(1.0));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(cores("3,0-1,1"), Ok(vec![3, 0, 1]));
        for nonsense in ["soon", "", "-1", "NaN", "inf", "s"] {
            assert!(duration(nonsense).is_err(), "{nonsense}");
            assert!(bitrate(nonsense).is_err(), "{nonsense}");
        }
        assert!(share("200%").is_err());
        for nonsense in ["", "a", "2-1", "1,,2", "0-99999999999"] {
            assert!(cores(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [count(0_u64), count(999_u64), count(1_000_u64), count(1_234_567_u64)],
            ["0", "999", "1,000", "1,234,567"]
        );
        let numbers = [0.0, 0.00001, 0.1234, 1.2345, 12.345, 123.45, 999.7, 123_456.0];
        assert_eq!(numbers.map(digits), ["0", "1e-5", "0.123", "1.23", "12.3", "123", "1,000", "123,456"]);
        assert_eq!([7.49e9, 1.5e6, 64e3].map(bits), ["7.49 Gb/s", "1.50 Mb/s", "64.0 kb/s"]);
        assert_eq!(
            [0.0, 1e-9, 0.000_12, 0.02, 0.5].map(percent),
            ["0 %", "< 0.0001 %", "0.0120 %", "2.00 %", "50.0 %"]
        );
        let seconds = [0.25, 1.0, 2.5, 30.0, 60.0, 65.0];
        let spans = seconds.map(|s| span(Duration::from_secs_f64(s)));
        assert_eq!(spans, ["250 ms", "1 s", "2.5 s", "30 s", "1 min", "1 min 5 s"]);
    }
}
