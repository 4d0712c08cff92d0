//! A small simulated network for the estimator, and the scenarios that the estimator has to pass.
//!
//! One bottleneck with a queue, a delay, loss and jitter; several senders may share it. Steps of a
//! millisecond; random numbers from a seed, which a failure prints.

use std::collections::VecDeque;

use super::{Estimator, Settings};
use crate::rtcp::{self, Packet, Writer};

/// The properties of the path at a time in seconds.
type Script = Box<dyn Fn(f32) -> Path>;

#[derive(Clone, Copy)]
struct Path {
    bps: f32,
    /// Round trip time.
    rtt_ms: f32,
    loss: f32,
    jitter_ms: f32,
    /// The longest queue.
    queue_ms: f32,
}

const GOOD: Path = Path { bps: 50e6, rtt_ms: 50.0, loss: 0.0, jitter_ms: 0.0, queue_ms: 300.0 };

/// Rates of the layers; a sender sends the largest one that fits.
const LAYERS: [f32; 3] = [150e3, 500e3, 2.5e6];
const SOUND: f32 = 32e3;

struct Sender {
    estimator: Estimator,
    layers: Vec<f32>,
    layer: usize,
    seq: u16,
    debt: f32,
    waiting: VecDeque<(u16, Option<u8>)>,
    train: Option<(u8, f32, f32, f32)>,
    /// Sequence number, and arrival time by the receiver's clock.
    arrived: Vec<(u16, i64)>,
    told: u16,
    reports: VecDeque<(u64, Vec<u8>)>,
    log: Vec<Second>,
    second: Second,
}

/// Averages of one second of a sender.
#[derive(Clone, Copy, Default)]
struct Second {
    received: f32,
    probed: f32,
    sent: f32,
    queue_ms: f32,
    estimate: f32,
    layer: usize,
}

impl std::fmt::Debug for Second {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Second { received, probed, sent, queue_ms, estimate, layer } = self;
        let [received, probed, sent, estimate] = [received, probed, sent, estimate].map(|bits| *bits as u32 / 1_000);
        write!(f, "{layer}: {received} of {sent} kb/s, {probed} probed, estimate {estimate}, queue {queue_ms:.0} ms")
    }
}

struct Network {
    script: Script,
    senders: Vec<Sender>,
    free_at_us: f32,
    now_us: u64,
    random: u64,
    on_way: Vec<(u64, usize, u16, u16)>,
    last_at: u64,
}

fn sender(layers: &[f32]) -> Sender {
    Sender {
        estimator: Estimator::new(Settings::default()),
        layers: layers.to_vec(),
        layer: 0,
        seq: 65_000,
        debt: 0.0,
        waiting: VecDeque::new(),
        train: None,
        arrived: Vec::new(),
        told: 65_000,
        reports: VecDeque::new(),
        log: Vec::new(),
        second: Second::default(),
    }
}

impl Network {
    fn new(seed: u64, senders: usize, script: impl Fn(f32) -> Path + 'static) -> Network {
        Network {
            script: Box::new(script),
            senders: (0..senders).map(|_| sender(&LAYERS)).collect(),
            free_at_us: 0.0,
            now_us: 1_000_000,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            on_way: Vec::new(),
            last_at: 0,
        }
    }

    /// Returns a number between 0 and 1.
    fn random(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1u64 << 24) as f32
    }

    fn runs(&mut self, seconds: u32) -> &mut Network {
        for _ in 0..seconds * 1_000 {
            self.step();
        }
        self
    }

    fn step(&mut self) {
        self.now_us += 1_000;
        let (now, ms) = (self.now_us, self.now_us / 1_000);
        let path = (self.script)((now - 1_000_000) as f32 / 1e6);
        for n in 0..self.senders.len() {
            self.receive(n, now, path);
            self.film(n, now, ms);
            while let Some((bytes, probe)) = self.senders[n].waiting.pop_front() {
                self.send(n, now, bytes, probe, path);
            }
            if ms.is_multiple_of(1_000) {
                let sender = &mut self.senders[n];
                sender.estimator.handle_timeout(now);
                let estimate = sender.estimator.estimate().bps;
                let second = Second { estimate, layer: sender.layer, ..std::mem::take(&mut sender.second) };
                sender.log.push(second);
            }
        }
    }

    fn film(&mut self, n: usize, now: u64, ms: u64) {
        let noise = 0.7 + 0.6 * self.random();
        let sender = &mut self.senders[n];
        let estimate = sender.estimator.estimate().bps - SOUND;
        // The server's rule: to a higher layer only with room above it, to a lower one at once.
        let fits = |layer: usize, room: f32| sender.layers[layer] * room <= estimate;
        while sender.layer > 0 && !fits(sender.layer, 1.0) {
            sender.layer -= 1;
        }
        while sender.layer + 1 < sender.layers.len() && fits(sender.layer + 1, 1.15) {
            sender.layer += 1;
        }
        let next = sender.layers.get(sender.layer + 1).or(sender.layers.last()).copied().unwrap_or_default();
        sender.estimator.set_wanted((next + SOUND) * 1.2);
        // Each sender sends its pictures at another moment.
        if (ms + n as u64 * 7).is_multiple_of(33) {
            sender.debt += sender.layers[sender.layer] / 8.0 * 0.033 * noise;
            while sender.debt > 0.0 {
                let bytes = sender.debt.clamp(100.0, 1_200.0) as u16;
                sender.debt -= f32::from(bytes);
                sender.waiting.push_back((bytes, None));
            }
        }
        if (ms + n as u64).is_multiple_of(20) {
            sender.waiting.push_back((80, None));
        }
        if let Some(probe) = sender.estimator.poll_probe(now) {
            sender.train = Some((probe.id, probe.bps, probe.bytes as f32, 0.0));
        }
        if let Some((id, bps, left, due)) = &mut sender.train {
            *due += *bps / 8.0 / 1e3;
            while *due > 0.0 && *left > 0.0 {
                sender.waiting.push_back((1_200, Some(*id)));
                *due -= 1_200.0;
                *left -= 1_200.0;
            }
            if *left <= 0.0 {
                sender.train = None;
            }
        }
    }

    fn send(&mut self, n: usize, now: u64, bytes: u16, probe: Option<u8>, path: Path) {
        let sender = &mut self.senders[n];
        let seq = sender.seq;
        sender.seq = seq.wrapping_add(1);
        sender.estimator.on_packet_sent(now, seq, bytes, probe);
        sender.second.sent += f32::from(bytes) * 8.0;
        if probe.is_some() {
            sender.second.probed += f32::from(bytes) * 8.0;
        }
        let queue_us = (self.free_at_us - now as f32).max(0.0);
        sender.second.queue_ms = sender.second.queue_ms.max(queue_us / 1e3);
        if queue_us / 1e3 > path.queue_ms || self.random() < path.loss {
            return;
        }
        self.free_at_us = self.free_at_us.max(now as f32) + f32::from(bytes) * 8e6 / path.bps;
        let jitter = self.random() * path.jitter_ms * 1e3;
        let at = (self.free_at_us + path.rtt_ms * 500.0 + jitter) as u64;
        // Jitter delays packets and does not reorder them.
        let at = at.max(self.last_at);
        self.last_at = at;
        self.on_way.push((at, n, seq, bytes));
    }

    fn receive(&mut self, n: usize, now: u64, path: Path) {
        let mut came = Vec::new();
        self.on_way.retain(|(at, whose, seq, bytes)| {
            let is_here = *whose == n && *at <= now;
            if is_here {
                came.push((*at, *seq, *bytes));
            }
            !is_here
        });
        let sender = &mut self.senders[n];
        for (at, seq, bytes) in came {
            sender.second.received += f32::from(bytes) * 8.0;
            // The receiver's clock has an offset.
            sender.arrived.push((seq, at.cast_signed() + 77_000_000));
        }
        if now.is_multiple_of(50_000) && !sender.arrived.is_empty() {
            let report = report(&mut sender.told, std::mem::take(&mut sender.arrived));
            sender.reports.push_back((now + (path.rtt_ms * 500.0) as u64, report));
        }
        while sender.reports.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = sender.reports.pop_front() else { break };
            for packet in rtcp::packets(&bytes) {
                let Ok(Packet::TransportFeedback(report)) = packet else { panic!("{packet:?}") };
                sender.estimator.on_feedback(now, &report);
            }
        }
    }

    /// Returns the mean of a value over seconds of one sender.
    fn mean(&self, n: usize, from: usize, to: usize, value: impl Fn(&Second) -> f32) -> f32 {
        let seconds = &self.senders[n].log[from..to];
        seconds.iter().map(value).sum::<f32>() / seconds.len() as f32
    }
}

/// Writes a report on all packets since `told`.
fn report(told: &mut u16, mut arrived: Vec<(u16, i64)>) -> Vec<u8> {
    arrived.sort_by_key(|(seq, _)| seq.wrapping_sub(*told).cast_signed());
    let first = arrived[0].0;
    // Packets that arrived late were reported lost before.
    let base = if first.wrapping_sub(*told) < 2_000 { *told } else { first };
    let earliest = arrived.iter().map(|(_, at)| *at).min().unwrap_or_default();
    let list: Vec<(u16, Option<i64>)> = arrived.iter().map(|(seq, at)| (*seq, Some(*at))).collect();
    *told = arrived[arrived.len() - 1].0.wrapping_add(1);
    let mut buffer = [0; 16_384];
    let mut writer = Writer::new(&mut buffer);
    assert!(writer.transport_feedback(1, 2, 0, base, (earliest / 64_000) as i32, &list), "{base} {list:?}");
    let len = writer.finish();
    buffer[..len].to_vec()
}

fn at(bps: f32) -> impl Fn(f32) -> Path + 'static {
    move |_| Path { bps, ..GOOD }
}

#[test]
fn on_a_wide_path_the_top_layer_is_sent_within_three_seconds() {
    for seed in 0..100 {
        let mut network = Network::new(seed, 1, at(5e6));
        network.runs(10);
        assert_eq!(network.senders[0].log[2].layer, 2, "seed {seed}: {:#?}", network.senders[0].log);
        assert!(network.senders[0].log[3..].iter().all(|second| second.layer == 2), "seed {seed}: it stays");
    }
}

#[test]
fn rate_of_a_steady_bottleneck_is_found_without_a_standing_queue() {
    for bps in [1e6, 2e6] {
        for seed in 0..50 {
            let mut network = Network::new(seed, 1, at(bps));
            // Layers in fine steps, so that the layer does not limit the use of the estimate.
            network.senders[0].layers = (1..60).map(|n| n as f32 * 50e3).collect();
            network.runs(40);
            let used = network.mean(0, 20, 40, |second| second.received) / bps;
            assert!(used >= 0.8, "seed {seed}: {used} of {bps}: {:#?}", network.senders[0].log);
            let mut queues: Vec<f32> = network.senders[0].log[20..].iter().map(|second| second.queue_ms).collect();
            queues.sort_by(f32::total_cmp);
            assert!(queues[queues.len() / 2] <= 100.0, "seed {seed}: {queues:?}");
        }
    }
}

#[test]
fn a_cliff_is_followed_down_at_once_and_back_up() {
    for seed in 0..100 {
        let script = |seconds| Path { bps: if (20.0..40.0).contains(&seconds) { 500e3 } else { 3.5e6 }, ..GOOD };
        let mut network = Network::new(seed, 1, script);
        network.runs(60);
        let log = &network.senders[0].log;
        assert!(log[10..20].iter().all(|second| second.layer == 2), "seed {seed}: {log:#?}");
        assert!(log[22..40].iter().all(|second| second.layer <= 1), "seed {seed}: {log:#?}");
        assert!(log[22..40].iter().filter(|second| second.queue_ms > 200.0).count() <= 3, "seed {seed}: {log:#?}");
        assert!(log[50..].iter().all(|second| second.layer == 2), "seed {seed}: {log:#?}");
    }
}

#[test]
fn loss_without_congestion_lowers_the_rate_little() {
    for seed in 0..100 {
        let mut network = Network::new(seed, 1, |_| Path { bps: 5e6, loss: 0.10, ..GOOD });
        network.runs(30);
        let top = network.senders[0].log[10..].iter().filter(|second| second.layer == 2).count();
        assert!(top >= 16, "seed {seed}: {top} of 20 s: {:#?}", network.senders[0].log);
    }
}

#[test]
fn jitter_is_not_congestion() {
    for seed in 0..50 {
        let mut network = Network::new(seed, 1, |_| Path { bps: 6e6, jitter_ms: 100.0, ..GOOD });
        network.runs(30);
        let good = network.senders[0].log[5..].iter().filter(|second| second.layer >= 1).count();
        assert!(good >= 15, "seed {seed}: {good} of 25 s: {:#?}", network.senders[0].log);
    }
}

#[test]
fn rate_is_found_on_paths_of_every_length() {
    for rtt_ms in [20.0, 100.0, 300.0] {
        for seed in 0..30 {
            let mut network = Network::new(seed, 1, move |_| Path { bps: 4e6, rtt_ms, ..GOOD });
            network.runs(20);
            let log = &network.senders[0].log;
            assert!(log[8..].iter().all(|second| second.layer == 2), "seed {seed}, {rtt_ms} ms: {log:#?}");
        }
    }
}

#[test]
fn five_viewers_behind_one_bottleneck_share_it() {
    for seed in 0..30 {
        let mut network = Network::new(seed, 5, at(5e6));
        for sender in &mut network.senders {
            sender.layers = (1..50).map(|n| n as f32 * 50e3).collect();
        }
        network.runs(60);
        let rates: Vec<f32> = (0..5).map(|n| network.mean(n, 30, 60, |second| second.received)).collect();
        let (sum, squares) = rates.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
        let jain = sum * sum / (5.0 * squares);
        assert!(jain >= 0.9, "seed {seed}: {jain} {rates:?}");
        assert!(sum >= 0.7 * 5e6, "seed {seed}: {sum}");
    }
}

#[test]
fn probing_takes_at_most_a_seventh_of_what_is_sent() {
    for (seed, bps) in (0..30).flat_map(|seed| [300e3, 800e3, 2e6, 5e6].map(|bps| (seed, bps))) {
        let mut network = Network::new(seed, 1, at(bps));
        network.runs(60);
        let (probed, sent) = (network.mean(0, 5, 60, |s| s.probed), network.mean(0, 5, 60, |s| s.sent));
        assert!(probed <= 0.15 * sent, "seed {seed}, {bps}: {probed} of {sent}");
    }
}

#[test]
fn dead_path_is_not_flooded_when_it_returns() {
    let script = |seconds| Path { loss: if (10.0..20.0).contains(&seconds) { 1.0 } else { 0.0 }, bps: 4e6, ..GOOD };
    let mut network = Network::new(1, 1, script);
    network.runs(40);
    let log = &network.senders[0].log;
    assert!(log[18].estimate < 200e3, "{log:#?}");
    assert!(log[32..].iter().all(|second| second.layer == 2), "{log:#?}");
}
