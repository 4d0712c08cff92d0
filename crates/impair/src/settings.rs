//! Which properties does one direction of a link have at one moment?
//!
//! Each field has a word in the script language (`rate=3M`), read by [`Settings::set`].

use std::time::Duration;

/// One direction of a link at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Bits a second, with 28 bytes of IP and UDP for each datagram; `None` is no limit.
    pub rate: Option<u64>,
    /// Length of the queue in front of the rate; datagrams beyond it are dropped (tail drop).
    pub queue: QueueLimit,
    /// Delay of every datagram.
    pub delay: Duration,
    /// Largest additional delay, drawn for every datagram.
    pub jitter: Duration,
    /// Distribution of the additional delay between zero and `jitter`.
    pub shape: Shape,
    /// Whether jitter keeps the order, as a queue in a router does.
    pub order: Order,
    /// Share of datagrams lost independently of each other, 0 to 1.
    pub loss: f64,
    /// Additional loss in bursts.
    pub burst: Option<Burst>,
    /// Datagrams that others overtake.
    pub reorder: Option<Reorder>,
    /// Share of datagrams that arrive twice, 0 to 1.
    pub duplicate: f64,
}

/// Length of the queue in front of a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLimit {
    /// The bytes that the present rate sends in this time.
    Time(Duration),
    /// This many bytes.
    Bytes(u64),
}

/// Distribution of jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All values are equally likely.
    Uniform,
    /// Values around the half are most likely: the mean of four uniform values.
    Bell,
    /// Values near zero are most likely and large ones rare: the eighth power of a uniform value, a
    /// ninth on average. A guess at mobile networks.
    Spikes,
}

/// Effect of jitter on the order of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Datagrams arrive in the order in which they were sent.
    Keep,
    /// A datagram with less delay overtakes others.
    Free,
}

/// Gilbert–Elliott: the link is good or bad, and loses everything while it is bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Share of all datagrams lost in bursts, 0 to 1.
    pub share: f64,
    /// Average number of consecutive losses.
    pub length: f64,
}

impl Burst {
    /// Returns the probability that a datagram is the first of a burst.
    pub(crate) fn begins(self) -> f64 {
        // The share of bad ones is begins / (begins + ends).
        (self.share * self.ends() / (1.0 - self.share)).min(1.0)
    }

    /// Returns the probability that a datagram in a burst is the first good one.
    pub(crate) fn ends(self) -> f64 {
        1.0 / self.length
    }
}

/// Datagrams that others overtake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// Share of all datagrams that are overtaken, 0 to 1.
    pub share: f64,
    /// Number of datagrams that overtake one.
    pub distance: u32,
}

impl Default for Settings {
    /// Returns the settings of an unimpaired link.
    fn default() -> Settings {
        Settings {
            rate: None,
            queue: QueueLimit::Time(DEFAULT_QUEUE),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            shape: Shape::Uniform,
            order: Order::Keep,
            loss: 0.0,
            burst: None,
            reorder: None,
            duplicate: 0.0,
        }
    }
}

/// The default queue, that of a home router. A guess, the same as in `sim`.
const DEFAULT_QUEUE: Duration = Duration::from_millis(200);
/// The lowest rate in bits a second. A guess: below it, one datagram would take minutes.
const LOWEST_RATE: u64 = 1_000;
/// The highest rate in bits a second, more than the relay can carry.
const HIGHEST_RATE: u64 = 10_000_000_000;
/// The longest delay, longer than on any path on Earth or to the Moon; limits the datagrams under
/// way.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest burst, and the most datagrams that overtake one. A guess.
const FARTHEST: u32 = 10_000;

/// The words of the language, for error messages.
const WORDS: &str = "rate, queue, delay, jitter, shape, order, loss, burst, reorder, duplicate, reset";

impl Settings {
    /// Applies one word of a step, such as `rate=3M`.
    ///
    /// # Errors
    ///
    /// A sentence that names the fault of the word and its correct form.
    pub fn set(&mut self, word: &str) -> Result<(), String> {
        if word == "reset" {
            *self = Settings::default();
            return Ok(());
        }
        let Some((name, value)) = word.split_once('=') else {
            return Err(format!("{word:?} is not a setting; write name=value, with one of {WORDS}"));
        };
        match name {
            "rate" => self.rate = if value == "off" { None } else { Some(rate(value)?) },
            "queue" => self.queue = queue(value)?,
            "delay" => self.delay = time(value)?,
            "jitter" => self.jitter = time(value)?,
            "shape" => {
                self.shape = match value {
                    "uniform" => Shape::Uniform,
                    "bell" => Shape::Bell,
                    "spikes" => Shape::Spikes,
                    _ => return Err(format!("{value:?} is not a shape; write uniform, bell or spikes")),
                }
            }
            "order" => {
                self.order = match value {
                    "keep" => Order::Keep,
                    "free" => Order::Free,
                    _ => return Err(format!("{value:?} is not an order; write keep or free")),
                }
            }
            "loss" => self.loss = share(value)?,
            "burst" => self.burst = if value == "off" { None } else { Some(burst(value)?) },
            "reorder" => self.reorder = if value == "off" { None } else { Some(reorder(value)?) },
            "duplicate" => self.duplicate = share(value)?,
            _ => return Err(format!("{name:?} is not a setting; there are {WORDS}")),
        }
        Ok(())
    }
}

/// Reads a duration: a number with `ms` or `s`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let complaint = || format!("{text:?} is not a time; write it like 25ms or 1.5s");
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => return Err(complaint()),
    };
    let seconds = positive(number).ok_or_else(complaint)? * unit;
    if seconds > LONGEST.as_secs_f64() {
        return Err(format!("{text:?} is longer than {} s", LONGEST.as_secs()));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn rate(text: &str) -> Result<u64, String> {
    let complaint = || format!("{text:?} is not a rate; write bits a second like 500k, 2.5M or off");
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k') => (text.strip_suffix('k'), 1e3),
        Some(b'M') => (text.strip_suffix('M'), 1e6),
        Some(b'G') => (text.strip_suffix('G'), 1e9),
        _ => (Some(text), 1.0),
    };
    let bits = number.and_then(positive).ok_or_else(complaint)? * unit;
    if bits < LOWEST_RATE as f64 {
        return Err(format!("{text:?} is below 1k; to cut a link write loss=100%"));
    }
    if bits > HIGHEST_RATE as f64 {
        return Err(format!("{text:?} is above 10G; for no limit write rate=off"));
    }
    Ok(bits as u64)
}

fn queue(text: &str) -> Result<QueueLimit, String> {
    if let Some(number) = text.strip_suffix("kB") {
        let complaint = || format!("{text:?} is not a queue; write it like 200ms or 64kB");
        let bytes = positive(number).ok_or_else(complaint)? * 1e3;
        // More than that of one link is dropped anyway.
        return Ok(QueueLimit::Bytes(bytes.min(crate::link::MOST_BYTES as f64) as u64));
    }
    match time(text) {
        Ok(limit) => Ok(QueueLimit::Time(limit)),
        Err(_) => Err(format!("{text:?} is not a queue; write it like 200ms or 64kB, at most 60s")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let complaint = || format!("{text:?} is not a share; write it like 0.5% or 100%");
    let percent = text.strip_suffix('%').and_then(positive).ok_or_else(complaint)?;
    if percent > 100.0 { Err(format!("{text:?} is more than all of them (100%)")) } else { Ok(percent / 100.0) }
}

fn burst(text: &str) -> Result<Burst, String> {
    let complaint = || format!("{text:?} is not a burst; write the share that is lost and how many in a row: 3%/8");
    let (left, right) = text.split_once('/').ok_or_else(complaint)?;
    let (share, length) = (share(left)?, positive(right).ok_or_else(complaint)?);
    if share > 0.9 {
        return Err(format!("{text:?} loses more than 90% in bursts; write loss={left}"));
    }
    if !(1.0..=f64::from(FARTHEST)).contains(&length) {
        return Err(format!("{text:?}: a burst is 1 to {FARTHEST} datagrams long"));
    }
    // Bursts this short cannot follow each other closely enough.
    if share > length / (length + 1.0) {
        return Err(format!("{text:?}: bursts of {length} lose at most {:.0}%", 100.0 * length / (length + 1.0)));
    }
    Ok(Burst { share, length })
}

fn reorder(text: &str) -> Result<Reorder, String> {
    let complaint = || format!("{text:?} is not a reordering; write the share and by how many it is overtaken: 2%/3");
    let (left, right) = text.split_once('/').ok_or_else(complaint)?;
    let (share, distance) = (share(left)?, right.parse().map_err(|_| complaint())?);
    if !(1..=FARTHEST).contains(&distance) {
        return Err(format!("{text:?}: a datagram is overtaken by 1 to {FARTHEST}"));
    }
    Ok(Reorder { share, distance })
}

/// Returns a plain decimal number that is not negative.
pub(crate) fn positive(text: &str) -> Option<f64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_sets_its_field() {
        let mut settings = Settings::default();
        for word in [
            "rate=2.5M",
            "queue=64kB",
            "delay=25ms",
            "jitter=0.1s",
            "shape=spikes",
            "order=free",
            "loss=1.5%",
            "burst=3%/8",
            "reorder=2%/3",
            "duplicate=0.1%",
        ] {
            settings.set(word).unwrap();
        }
        let expected = Settings {
            rate: Some(2_500_000),
            queue: QueueLimit::Bytes(64_000),
            delay: Duration::from_millis(25),
            jitter: Duration::from_millis(100),
            shape: Shape::Spikes,
            order: Order::Free,
            loss: 0.015,
            burst: Some(Burst { share: 0.03, length: 8.0 }),
            reorder: Some(Reorder { share: 0.02, distance: 3 }),
            duplicate: 0.001,
        };
        assert_eq!(settings, expected);
        for word in ["rate=off", "burst=off", "reorder=off", "queue=1s"] {
            settings.set(word).unwrap();
        }
        assert_eq!((settings.rate, settings.burst, settings.reorder), (None, None, None));
        settings.set("reset").unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn a_wrong_word_is_answered_by_a_sentence() {
        let rows = [
            ("fast", "\"fast\" is not a setting; write name=value"),
            ("speed=3M", "\"speed\" is not a setting; there are rate, queue"),
            ("rate=", "\"\" is not a rate; write bits a second like 500k"),
            ("rate=-3M", "\"-3M\" is not a rate"),
            ("rate=1e9", "\"1e9\" is not a rate"),
            ("rate=0", "\"0\" is below 1k; to cut a link write loss=100%"),
            ("rate=20G", "\"20G\" is above 10G"),
            ("queue=64", "\"64\" is not a queue; write it like 200ms or 64kB"),
            ("delay=25", "\"25\" is not a time; write it like 25ms or 1.5s"),
            ("delay=2000s", "\"2000s\" is longer than 60 s"),
            ("loss=1", "\"1\" is not a share; write it like 0.5%"),
            ("loss=101%", "\"101%\" is more than all"),
            ("burst=3%", "\"3%\" is not a burst"),
            ("burst=95%/50", "loses more than 90% in bursts"),
            ("burst=80%/1", "bursts of 1 lose at most 50%"),
            ("burst=3%/0.5", "a burst is 1 to 10000 datagrams long"),
            ("reorder=2%/0", "is overtaken by 1 to"),
            ("reorder=2%/x", "is not a reordering"),
            ("shape=round", "\"round\" is not a shape; write uniform, bell or spikes"),
            ("order=none", "\"none\" is not an order; write keep or free"),
        ];
        for (word, reason) in rows {
            let mut settings = Settings::default();
            let said = settings.set(word).unwrap_err();
            assert!(said.contains(reason), "{word}: {said}");
            assert_eq!(settings, Settings::default(), "{word}");
        }
    }
}
