//! Does the tool keep its promises on this machine, now?
//!
//! Sends datagrams through relays on loopback and compares the output with the settings. The seed
//! is fixed: differences between runs come from the machine.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::counts::Report;
use crate::histogram::Histogram;
use crate::relay::{Options, Plan, Relay};
use crate::script::Script;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What.
    pub what: &'static str,
    /// The expected value, as text.
    pub wanted: String,
    /// The measured value, as text.
    pub seen: String,
    /// Whether that is good enough.
    pub is_ok: bool,
}

/// Of what leaves the relay, and of what arrives outside of it.
const LATEST: Duration = Duration::from_millis(1);
/// Points between the loss that was asked for and that was seen.
const LOSS_POINTS: f64 = 0.3;
/// Share that a rate may be off.
const RATE_SHARE: f64 = 0.01;
/// Enough that chance alone moves 5 % of loss by a third of [`LOSS_POINTS`] (one standard
/// deviation).
const LOSS_DATAGRAMS: u32 = 40_000;
/// Five seconds, one each millisecond: 50 of them make the last percent.
const TIMER_DATAGRAMS: u32 = 5_000;
/// Datagrams that the test of loss sends each millisecond, far below what a socket's buffer holds.
const LOSS_BURST: u32 = 8;

/// Looks at everything; takes about 14 s.
///
/// # Errors
///
/// Sockets or threads cannot be had.
pub fn run() -> anyhow::Result<Vec<Row>> {
    let mut rows = timers()?;
    rows.extend(loss()?);
    rows.extend(bursts()?);
    rows.extend(rate()?);
    Ok(rows)
}

/// Returns the rows as a table for people.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<44} {:>16} {:>16}\n", "", "wanted", "seen");
    for Row { what, wanted, seen, is_ok } in rows {
        text += &format!("{what:<44} {wanted:>16} {seen:>16}  {}\n", if *is_ok { "ok" } else { "OFF" });
    }
    text
}

fn timers() -> anyhow::Result<Vec<Row>> {
    let delay = Duration::from_millis(20);
    let run = Run::through("delay=20ms", TIMER_DATAGRAMS, 1, 1_200)?;
    let outside = run.delays_beyond(delay);
    let timer = run.timer_p99;
    let row = |what, seen: Duration| Row {
        what,
        wanted: format!("≤ {} ms", LATEST.as_millis()),
        seen: format!("{:.3} ms", seen.as_secs_f64() * 1e3),
        is_ok: seen <= LATEST,
    };
    Ok(vec![row("timer error p99", timer), row("delay beyond 20 ms p99, client to server", outside)])
}

fn loss() -> anyhow::Result<Vec<Row>> {
    let run = Run::through("loss=5% delay=5ms", LOSS_DATAGRAMS, LOSS_BURST, 100)?;
    let lost = 100.0 * (1.0 - run.arrived.len() as f64 / f64::from(LOSS_DATAGRAMS));
    let is_ok = (lost - 5.0).abs() <= LOSS_POINTS;
    let what = "loss of 5 %, client to server";
    Ok(vec![Row { what, wanted: format!("5 ± {LOSS_POINTS} %"), seen: format!("{lost:.2} %"), is_ok }])
}

fn bursts() -> anyhow::Result<Vec<Row>> {
    let run = Run::through("burst=5%/6 delay=5ms", LOSS_DATAGRAMS / 2, LOSS_BURST, 100)?;
    let mut numbers: Vec<u32> = run.arrived.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let gaps: Vec<u32> = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    let length = f64::from(gaps.iter().sum::<u32>()) / gaps.len().max(1) as f64;
    // About 160 bursts: chance alone moves their mean by 7 %.
    let is_ok = (length - 6.0).abs() <= 1.2;
    let what = "datagrams in a burst of 6, mean";
    Ok(vec![Row { what, wanted: "6 ± 1.2".to_owned(), seen: format!("{length:.2}"), is_ok }])
}

fn rate() -> anyhow::Result<Vec<Row>> {
    // 972 and 28 bytes of headers each half of a millisecond would be 16 Mb/s; the link carries 4.
    let run = Run::through("rate=4M queue=100ms", 4_000, 2, 972)?;
    let (first, last) =
        (run.arrived.first().context("nothing arrived")?.1, run.arrived.last().context("nothing arrived")?.1);
    let bits = (run.arrived.len() - 1) as f64 * 8_000.0;
    let megabits = bits / last.duration_since(first).as_secs_f64() / 1e6;
    let queue = run.link.queue_ms.p50;
    Ok(vec![
        Row {
            what: "rate of 4 Mb/s",
            wanted: "4 ± 0.04 Mb/s".to_owned(),
            seen: format!("{megabits:.3} Mb/s"),
            is_ok: (megabits / 4.0 - 1.0).abs() <= RATE_SHARE,
        },
        Row {
            what: "queue of 100 ms, median",
            wanted: "100 ± 4 ms".to_owned(),
            seen: format!("{queue:.1} ms"),
            is_ok: (queue - 100.0).abs() <= 4.0,
        },
    ])
}

/// Numbered datagrams that went through a relay of their own.
struct Run {
    sent: Vec<Instant>,
    arrived: Vec<(u32, Instant)>,
    timer_p99: Duration,
    link: Report,
}

impl Run {
    /// Sends `count` datagrams of `bytes`, `together` at a time each millisecond, up through a link
    /// of this script.
    fn through(script: &str, count: u32, together: u32, bytes: usize) -> anyhow::Result<Run> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        server.set_read_timeout(Some(Duration::from_millis(50)))?;
        let plan = Plan {
            up: Script::parse(script)?,
            down: Script::default(),
            is_shared: true,
            seed: 1,
            idle: Duration::from_secs(60),
        };
        let relay =
            Relay::start(Options { listen: (Ipv4Addr::LOCALHOST, 0).into(), server: server.local_addr()?, plan })?;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect(relay.local_address())?;

        let arrived = Arc::new(Mutex::new(Vec::with_capacity(count as usize)));
        let is_over = Arc::new(AtomicBool::new(false));
        let (notes, over) = (arrived.clone(), is_over.clone());
        let receiver = std::thread::Builder::new().name("server".into()).spawn(move || {
            let mut buffer = [0; 2_048];
            loop {
                match server.recv(&mut buffer) {
                    Ok(_) => {
                        let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                        notes.lock().unwrap_or_else(PoisonError::into_inner).push((number, Instant::now()));
                    }
                    // Nothing more for a while.
                    Err(_) if over.load(Ordering::Relaxed) => return,
                    Err(_) => {}
                }
            }
        })?;
        let mut sent = Vec::with_capacity(count as usize);
        let mut bytes = vec![0; bytes];
        let begins = Instant::now();
        for number in 0..count {
            if number % together == 0 {
                let due = begins + Duration::from_millis(u64::from(number / together));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            sent.push(Instant::now());
            client.send(&bytes)?;
        }
        // Datagrams are still under way: the wait covers the longest queue and delay above.
        std::thread::sleep(Duration::from_millis(300));
        is_over.store(true, Ordering::Relaxed);
        let _ = receiver.join();
        let report = relay.report();
        relay.stop();
        let arrived = std::mem::take(&mut *arrived.lock().unwrap_or_else(PoisonError::into_inner));
        let link = report.shared.context("the relay was asked to share one link")?.up;
        Ok(Run { sent, arrived, timer_p99: Duration::from_secs_f64(report.timer_ms.p99 / 1e3), link })
    }

    /// Returns the p99 of the delay beyond `delay`.
    fn delays_beyond(&self, delay: Duration) -> Duration {
        let mut beyond = Histogram::default();
        for (number, at) in &self.arrived {
            if let Some(sent_at) = self.sent.get(*number as usize) {
                beyond.add(at.saturating_duration_since(*sent_at + delay));
            }
        }
        beyond.quantile(0.99)
    }
}
