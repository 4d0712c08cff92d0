//! Scripts and control lines of `impair`. They come from tests and not from attackers, but their
//! errors have to be sentences, not panics.

use std::time::{Duration, Instant};

use impair::control::{Command, parse_file};
use impair::{Datagram, Link, Script};

/// Datagrams for each script, 10 ms apart.
const DATAGRAMS: u32 = 50;

/// A script is refused with a reason, or a link follows it to the end and every datagram leaves it.
pub fn script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let script = match Script::parse(&text) {
        Ok(script) => script,
        Err(error) => {
            assert!(error.number > 0 && !error.reason.is_empty());
            return;
        }
    };
    let start = Instant::now();
    let mut link = Link::new(script, 1, start);
    for flow in 0..DATAGRAMS {
        link.handle_datagram(start + Duration::from_millis(10) * flow, Datagram { flow, bytes: vec![0; 1_000] });
    }
    let mut polls = 0;
    while let Some(at) = link.poll_timeout() {
        let _ = link.poll_delivery(at);
        polls += 1;
        // Each poll delivers one, releases one, or passes a step.
        assert!(polls < 20_000, "a link comes to rest");
    }
    let report = link.report();
    let gone = report.lost_random + report.lost_burst + report.dropped_queue + report.dropped_overflow;
    assert_eq!(report.delivered.datagrams + gone, u64::from(DATAGRAMS) + report.duplicated);
}

/// A line is a command, nothing, or refused with a reason.
pub fn control(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        match Command::parse(line) {
            Ok(Some(Command::Follow { up, down, script })) => assert!((up || down) && !script.is_empty()),
            Ok(_) => {}
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
    let _ = parse_file(&text);
}

/// Scripts that use every word.
pub fn scripts() -> Vec<Vec<u8>> {
    let all = "rate=2.5M queue=64kB delay=25ms jitter=10ms shape=spikes order=free loss=1% burst=3%/8 reorder=2%/3 \
               duplicate=0.1%";
    [all, "rate=3M delay=25ms; 0.2s rate=500k # a cliff\n0.4s reset", "rate=1k queue=60s; 86000s rate=off burst=off"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Lines that use every command.
pub fn lines() -> Vec<Vec<u8>> {
    vec![b"both delay=25ms\ndown 20s rate=500k\nup loss=1%\nstats\nreset\nquit\n".to_vec()]
}

/// What may be inserted.
pub const WORDS: &[&str] = &[
    "rate=",
    "queue=",
    "delay=",
    "jitter=",
    "shape=bell",
    "order=keep",
    "loss=100%",
    "burst=50%/1",
    "reorder=100%/9999",
    "duplicate=",
    "reset",
    "off",
    "kB",
    "ms",
    "s ",
    ";",
    "\n",
    "#",
    "up ",
    "down ",
    "both ",
    "1k",
    "60s",
];
