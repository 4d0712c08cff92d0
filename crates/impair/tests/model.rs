//! A link does what its settings say: rows for each setting, and properties for any of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use impair::{Datagram, Link, Script};
use proptest::prelude::*;

/// A flow through a link: one datagram of `bytes` every `every`.
struct Flow {
    script: &'static str,
    count: u32,
    bytes: usize,
    every: Duration,
}

/// Returns when each arrived, milliseconds after the start, and which it was.
fn arrivals(flow: &Flow, seed: u64) -> (Vec<(f64, u32)>, Link) {
    let start = Instant::now();
    let mut link = Link::new(Script::parse(flow.script).unwrap(), seed, start);
    let mut seen = Vec::new();
    let mut take = |link: &mut Link, now| {
        while let Some(delivery) = link.poll_delivery(now) {
            assert!(delivery.due_at <= now);
            let number = u32::from_be_bytes(delivery.datagram.bytes[..4].try_into().unwrap());
            seen.push((delivery.due_at.duration_since(start).as_secs_f64() * 1e3, number));
        }
    };
    for number in 0..flow.count {
        let now = start + flow.every * number;
        take(&mut link, now);
        let mut bytes = vec![0; flow.bytes];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        link.handle_datagram(now, Datagram { flow: 0, bytes });
    }
    while let Some(at) = link.poll_timeout() {
        take(&mut link, at);
    }
    (seen, link)
}

fn flow(script: &'static str) -> Flow {
    Flow { script, count: 20_000, bytes: 972, every: Duration::from_millis(1) }
}

fn is_ordered(seen: &[(f64, u32)]) -> bool {
    seen.windows(2).all(|pair| pair[0].1 <= pair[1].1)
}

#[test]
fn the_share_that_arrives() {
    // 1,000 bytes with headers, each millisecond: 8 Mb/s offered.
    let rows = [
        ("", 1.0, 0.0),
        ("loss=100%", 0.0, 0.0),
        ("loss=10%", 0.9, 0.007),
        ("burst=5%/5", 0.95, 0.012),
        ("burst=5%/5 loss=10%", 0.855, 0.015),
        ("duplicate=10%", 1.1, 0.007),
        ("reorder=10%/3", 1.0, 0.0),
        ("rate=4M", 0.5, 0.006),
        ("rate=2M queue=10ms", 0.25, 0.001),
        ("rate=8M", 1.0, 0.0),
        ("rate=4M; 10s rate=8M", 0.755, 0.006),
    ];
    for (script, share, tolerance) in rows {
        let (seen, _) = arrivals(&flow(script), 7);
        let arrived = seen.len() as f64 / 20_000.0;
        assert!((arrived - share).abs() <= tolerance, "{script}: {arrived}");
    }
}

#[test]
fn a_bottleneck_sends_at_its_rate_and_queues_up_to_its_limit() {
    for (script, queue_ms) in [
        ("rate=4M queue=100ms", 100.0),
        ("rate=4M", 200.0),
        ("rate=4M queue=25kB", 48.0),
        ("rate=4M queue=1s", 1_000.0),
    ] {
        let (seen, link) = arrivals(&flow(script), 1);
        let spacing = (seen.last().unwrap().0 - seen[0].0) / (seen.len() - 1) as f64;
        assert!((spacing - 2.0).abs() < 1e-3, "{script}: a datagram every {spacing} ms");
        let report = link.report();
        assert!((report.queue_ms.max - queue_ms).abs() <= 2.0, "{script}: {:?}", report.queue_ms);
        assert!(report.standing_queue_ms > queue_ms * 0.9, "{script}: {}", report.standing_queue_ms);
        assert_eq!(report.dropped_queue + report.delivered.datagrams, 20_000);
    }
    // Half of the rate: no queue.
    let (_, link) = arrivals(&flow("rate=16M"), 1);
    assert_eq!(link.report().queue_ms.max, 0.0);
}

#[test]
fn a_step_acts_on_what_waits_already() {
    // Two datagrams of 4,000 bits would take 8 s on a slow link, but the link heals after 1 s.
    let burst = Flow { script: "rate=1k queue=10s; 1s rate=8M", count: 2, bytes: 472, every: Duration::ZERO };
    let (seen, _) = arrivals(&burst, 1);
    let at: Vec<_> = seen.iter().map(|(at, _)| (at * 1e3).round() / 1e3).collect();
    // 1,000 bits are sent by then; 3,000 and then 4,000 are left.
    assert_eq!(at, [1_000.375, 1_000.875]);
}

#[test]
fn delay_and_jitter() {
    // Mean and largest delay. What keeps the order is held up by those before it.
    for (script, mean, most) in [
        ("delay=25ms", 25.0, 25.0),
        ("delay=25ms jitter=20ms order=free", 35.0, 45.0),
        ("delay=25ms jitter=20ms order=free shape=bell", 35.0, 45.0),
        ("delay=25ms jitter=90ms order=free shape=spikes", 35.0, 115.0),
    ] {
        let (seen, _) = arrivals(&flow(script), 3);
        let delays: Vec<_> = seen.iter().map(|(at, number)| at - f64::from(*number)).collect();
        let average = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((average - mean).abs() < 0.5, "{script}: {average}");
        let (least, largest) =
            (delays.iter().copied().fold(f64::MAX, f64::min), delays.iter().copied().fold(0.0, f64::max));
        assert!(least >= 24.999 && largest <= most + 0.001, "{script}: {least} to {largest}");
        assert_eq!(is_ordered(&seen), !script.contains("free"), "{script}");
    }
    assert!(is_ordered(&arrivals(&flow("jitter=30ms"), 3).0));
}

#[test]
fn bursts_are_as_long_as_asked() {
    for (script, length) in [("burst=5%/8", 8.0), ("burst=20%/2", 2.0), ("loss=20%", 1.25)] {
        let (seen, link) = arrivals(&Flow { count: 100_000, bytes: 10, ..flow(script) }, 5);
        let gaps: Vec<_> = seen.windows(2).map(|pair| pair[1].1 - pair[0].1 - 1).filter(|gap| *gap > 0).collect();
        let average = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
        assert!((average / length - 1.0).abs() < 0.08, "{script}: {average}");
        let report = link.report();
        assert!((report.lost_burst > 0) != (report.lost_random > 0));
    }
}

#[test]
fn an_overtaken_datagram_comes_after_as_many_as_asked() {
    for (script, distance) in [("reorder=1%/1", 1), ("reorder=1%/3", 3), ("delay=10ms reorder=1%/20", 20)] {
        let (seen, link) = arrivals(&flow(script), 9);
        let place: HashMap<u32, usize> = seen.iter().enumerate().map(|(place, (_, number))| (*number, place)).collect();
        let overtakers = |number: u32| {
            (number + 1..number + 200).filter(|n| place.get(n).is_some_and(|at| *at < place[&number])).count()
        };
        let late: Vec<_> = (0..19_000).map(overtakers).filter(|count| *count > 0).collect();
        assert!((150..250).contains(&late.len()), "{script}: {} of 20,000", late.len());
        // Others that are held do not count as overtaking.
        assert!(late.iter().all(|count| (distance..=distance + 1).contains(count)), "{script}: {late:?}");
        assert_eq!(link.report().delivered.datagrams, 20_000);
    }
    // The flow pauses: the last one is not held for ever.
    let (seen, _) = arrivals(&Flow { script: "reorder=100%/50 delay=5ms", count: 3, ..flow("") }, 1);
    assert_eq!(seen.iter().map(|(at, _)| at.round()).collect::<Vec<_>>(), [205.0, 206.0, 207.0]);
}

#[test]
fn datagrams_under_way_are_not_affected_by_a_step() {
    let start = Instant::now();
    let mut link = Link::new(Script::parse("delay=1s").unwrap(), 1, start);
    link.handle_datagram(start, Datagram { flow: 4, bytes: vec![1; 10] });
    let later = start + Duration::from_millis(10);
    let script = Script::parse_from("loss=100%", link.settings_at(later)).unwrap();
    link.follow(later, script);
    link.handle_datagram(start + Duration::from_millis(11), Datagram { flow: 4, bytes: vec![2; 10] });
    assert_eq!(link.poll_timeout(), Some(start + Duration::from_secs(1)));
    let delivery = link.poll_delivery(start + Duration::from_secs(5)).unwrap();
    assert_eq!((delivery.datagram.flow, delivery.datagram.bytes[0]), (4, 1));
    assert_eq!((link.poll_delivery(start + Duration::from_secs(5)), link.poll_timeout()), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing is made up, nothing vanishes, nothing arrives before its delay, and the rate is
    /// never exceeded.
    #[test]
    fn every_datagram_is_accounted_for(
        loss in 0u32..30, burst in 0u32..20, rate in 100u64..5_000, delay in 0u64..50, jitter in 0u64..50,
        reorder in 0u32..20, double in 0u32..20, free: bool, seed: u64,
        sizes in proptest::collection::vec((1usize..1_400, 0u64..20), 1..300),
    ) {
        let order = if free { "free" } else { "keep" };
        let script = format!(
            "rate={rate}k delay={delay}ms jitter={jitter}ms loss={loss}% burst={burst}%/4 reorder={reorder}%/3 duplicate={double}% order={order}"
        );
        let run = |lazy: bool| {
            let start = Instant::now();
            let mut link = Link::new(Script::parse(&script).unwrap(), seed, start);
            let (mut now, mut seen) = (start, Vec::new());
            for (index, (bytes, gap)) in sizes.iter().enumerate() {
                now += Duration::from_millis(*gap);
                while let Some(delivery) = (!lazy).then(|| link.poll_delivery(now)).flatten() {
                    seen.push((delivery.due_at.duration_since(start), delivery.datagram.flow));
                }
                link.handle_datagram(now, Datagram { flow: index as u32, bytes: vec![0; *bytes] });
            }
            while let Some(at) = link.poll_timeout() {
                while let Some(delivery) = link.poll_delivery(at) {
                    seen.push((delivery.due_at.duration_since(start), delivery.datagram.flow));
                }
            }
            (seen, link.report())
        };
        let (seen, report) = run(false);
        prop_assert_eq!(report.offered.datagrams, sizes.len() as u64);
        let gone = report.lost_random + report.lost_burst + report.dropped_queue + report.dropped_overflow;
        prop_assert_eq!(report.delivered.datagrams + gone, report.offered.datagrams + report.duplicated);
        prop_assert_eq!(seen.len() as u64, report.delivered.datagrams);
        let mut sent_at = Duration::ZERO;
        let sent: Vec<_> = sizes.iter().map(|(_, gap)| { sent_at += Duration::from_millis(*gap); sent_at }).collect();
        for (at, flow) in &seen {
            prop_assert!(*at >= sent[*flow as usize] + Duration::from_millis(delay));
        }
        prop_assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0), "deliveries come in order of time");
        if report.overtaken == 0 && !free {
            prop_assert!(seen.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        }
        // When one asks does not matter.
        let (mut lazily, _) = run(true);
        let mut seen = seen;
        lazily.sort();
        seen.sort();
        prop_assert_eq!(seen, lazily);
    }
}
