//! How many bits per second does the path to a viewer carry?
//!
//! The estimator works on the sending side: the viewer reports arrival times (transport-wide
//! feedback). The estimate is bounded by delay ([`trend`], [`queue`]), by loss ([`loss`]), and by
//! the viewer's own limit (REMB). It rises slowly while nearly all of it is used (AIMD), and in
//! jumps by probing ([`probe`]), because layers make the sent rate rise in steps, and an unused
//! network cannot be measured.
//!
//! Sources: draft-ietf-rmcat-gcc-02, and libwebrtc where it has developed since. Every rule names
//! its source; "ours" marks rules of this project. Times are microseconds of one monotonic clock,
//! passed in once per turn.

mod loss;
#[cfg(test)]
mod network;
mod probe;
mod queue;
mod sent;
mod shared;
mod throughput;
mod trend;

pub use probe::Probe;
pub use shared::{Found, Share};

use loss::Loss;
use probe::{LEAST_PACKETS, LENGTH_MS, PACKET_BYTES, SHARED_LENGTH_MS, Train};
use queue::Queue;
use sent::{Receipt, SentRing};
use shared::Shared;
use throughput::Throughput;
use trend::{Trend, Usage};

use crate::prefetch::Prefetch;
use crate::rtcp::TransportFeedback;

/// Bounds of an estimate, in bits per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Lower limit.
    pub min_bps: f32,
    /// First estimate, before any report.
    pub start_bps: f32,
    /// Upper limit.
    pub max_bps: f32,
}

impl Default for Settings {
    /// Minimum: sound and the smallest picture. Start: a rate that most connections of today carry.
    /// Maximum: more than any publisher sends.
    fn default() -> Settings {
        Settings { min_bps: 64_000.0, start_bps: 1_000_000.0, max_bps: 50_000_000.0 }
    }
}

/// Estimates the rate that one path carries.
#[derive(Debug)]
pub struct Estimator {
    settings: Settings,
    sent: SentRing,
    trend: Trend,
    queue: Queue,
    acked: Throughput,
    sending: Throughput,
    loss: Loss,
    /// The bound by delay.
    delay_bps: f32,
    remb_bps: f32,
    state: State,
    capacity: Capacity,
    updated_us: u64,
    decreased_us: u64,
    /// The last moments at which the path was found full; 0 if there were fewer.
    congested_us: [u64; 4],
    shared: Shared,
    rtt_ms: f32,
    feedback_us: Option<u64>,
    sent_us: u64,
    /// Bytes sent in that turn that are not yet in `sending`.
    sent_bytes: u32,
    wanted_bps: f32,
    probing: Probing,
    standing: Standing,
    /// The rate that arrived when the path was last full, until a higher one arrives.
    ceiling_bps: Option<f32>,
    proved_us: u64,
}

/// The direction in which the estimate moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// The estimate grows.
    #[default]
    Increase,
    /// The estimate waits until a queue has drained.
    Hold,
    /// The estimate was lowered.
    Decrease,
}

/// The estimate of a path, and its grounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Bits per second that the path carries.
    pub bps: f32,
    /// Bits per second above which packets recently queued or were lost: proof that the path does
    /// not carry more.
    pub ceiling_bps: Option<f32>,
    /// The sender sends less than the path carries, so the path may carry more.
    pub is_app_limited: bool,
    /// The direction in which the estimate moves.
    pub state: State,
    /// Share of packets lost recently, 0 to 1.
    pub loss: f32,
    /// Share of packets that the network loses at any rate, 0 to 1.
    pub own_loss: f32,
    /// Round trip time in milliseconds; 0 if unknown.
    pub rtt_ms: f32,
    /// Milliseconds that every packet waits in queues.
    pub queue_ms: f32,
    /// Other viewers share the bottleneck.
    pub is_shared: bool,
}

/// The rate that arrived when the queue began to grow (libwebrtc's link capacity estimator).
#[derive(Debug, Default, Clone, Copy)]
struct Capacity {
    mean_bps: Option<f32>,
    /// Variance, normalised by the mean, kb/s.
    variance: f32,
}

#[derive(Debug)]
struct Probing {
    train: Option<Train>,
    next_id: u8,
    due_us: u64,
    interval_us: u64,
    /// Bytes that probes may still use.
    allowance: f32,
    is_first: bool,
}

/// Whether a standing queue is caused by other traffic: such a queue stays when the rate is
/// lowered.
#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    checked_us: u64,
    at_decrease_ms: f32,
    in_vain: u8,
    /// Number of times that lowering the rate had no effect, since the last time that it had one.
    not_ours: u8,
}

/// gcc-02 §5.5: factor of the received rate after over-use.
const BETA: f32 = 0.85;
/// gcc-02 §5.5: growth factor per second far from the capacity.
const GROWTH_PER_SECOND: f32 = 1.08;
/// gcc-02 §5.5: the estimate is at most this factor above the received rate.
const MOST_OVER_ACKED: f32 = 1.5;
/// libwebrtc: 10 kb/s. Ours: 60 kb/s, enough for the step from a picture of 180 lines to the next
/// size.
const MOST_OVER_ACKED_BPS: f32 = 60_000.0;
/// libwebrtc: below this share of the estimate the sender is application-limited.
const APP_LIMITED: f32 = 0.65;
/// Ours: least room above the sent rate. With less, a sender of small pictures would never get the
/// next layer.
const APP_LIMITED_BPS: f32 = 150_000.0;
/// Highest share of all sent bytes that probes may take. A guess: viewers pay for this traffic.
const PROBE_SHARE: f32 = 0.15;
/// Ours: bytes that probes may use before media is sent, and most that they can save up. Two trains
/// at 6 Mb/s.
const PROBE_ALLOWANCE: f32 = 40_000.0;
/// Ours: interval between probes while a higher rate could be used; doubles after each failure.
/// libwebrtc's interval is 5 s.
const PROBE_INTERVAL_US: u64 = 2_000_000;
const MOST_PROBE_INTERVAL_US: u64 = 5_000_000;
/// Ours: no probes while a larger share of the estimate is used.
const PROBED_BELOW: f32 = 0.8;
/// Ours: a train without a report for this time plus a round trip is lost.
const TRAIN_LOST_US: u64 = 700_000;
/// libwebrtc: the first probe has three times the start rate, further ones double.
const FIRST_PROBE: f32 = 3.0;
const FURTHER_PROBE: f32 = 2.0;
/// libwebrtc: the next probe follows at once if the result reached this share of the probed rate.
const PROBE_WON: f32 = 0.7;
/// Ours: a train that arrived below this share of its rate was slowed by the bottleneck; [`probe`]
/// explains the factors 0.9 and 0.95 in it.
const PROBE_HELD_UP: f32 = 0.88;
/// Ours: the same share for a shared bottleneck, of which the other viewers take a part of each
/// train.
const SHARED_HELD_UP: f32 = 0.93;
/// Ours: waiting time of every packet from which a queue counts as standing; see [`queue`].
const STANDING_MS: f32 = 45.0;
const STANDING_EVERY_US: u64 = 700_000;
/// Ours: after this many decreases without effect the queue counts as other traffic's, for the time
/// below.
const IN_VAIN: u8 = 3;
const NOT_OURS_US: u64 = 10_000_000;
/// The time doubles at most this often: jitter of a phone looks like a queue for hours.
const MOST_NOT_OURS: u8 = 3;
/// Ours: time for which the last proof of a full path keeps its limit known.
const PROOF_LASTS_US: u64 = 10_000_000;
/// Ours: for this time after a decrease, a probe raises the estimate by the factor below at most,
/// so that viewers with a low rate catch up with others.
const CONGESTED_US: u64 = 8_000_000;
const CONGESTED_STEP_BPS: f32 = 500_000.0;
/// Ours: longest interval between probes of viewers that share a bottleneck without free capacity.
const MOST_SHARED_INTERVAL_US: u64 = 40_000_000;
/// Ours: decreases closer together than this count as one congestion event.
const CONGESTED_ONCE_US: u64 = 1_000_000;
/// gcc-02 §4: time without feedback after which the estimate is lowered. Feedback comes every 50 to
/// 250 ms.
const SILENT_US: u64 = 1_500_000;
/// Most packet statuses in one report; a longer report is ignored (threat T13).
const MAX_STATUSES: u16 = 4_096;

impl Estimator {
    /// Makes an estimator without measurements.
    pub fn new(settings: Settings) -> Estimator {
        Estimator {
            settings,
            sent: SentRing::new(),
            trend: Trend::new(),
            queue: Queue::default(),
            acked: Throughput::default(),
            sending: Throughput::default(),
            loss: Loss::new(settings.max_bps),
            delay_bps: settings.start_bps,
            remb_bps: settings.max_bps,
            state: State::Increase,
            capacity: Capacity::default(),
            updated_us: 0,
            decreased_us: 0,
            congested_us: [0; 4],
            shared: Shared::default(),
            rtt_ms: 0.0,
            feedback_us: None,
            sent_us: 0,
            sent_bytes: 0,
            wanted_bps: 0.0,
            probing: Probing {
                train: None,
                next_id: 1,
                due_us: 0,
                interval_us: PROBE_INTERVAL_US,
                allowance: PROBE_ALLOWANCE,
                is_first: true,
            },
            standing: Standing::default(),
            ceiling_bps: None,
            proved_us: 0,
        }
    }

    /// Prefetches the memory of packets from this number on, which will be sent soon.
    pub fn prefetch(&self, seq: u16, prefetch: Prefetch) {
        self.sent.prefetch(seq, prefetch);
    }

    /// Prefetches the memory of packets before this number, which will be reported soon.
    pub fn prefetch_before(&self, seq: u16, prefetch: Prefetch) {
        self.sent.prefetch_before(seq, prefetch);
    }

    /// Records a packet that was sent under a transport-wide sequence number.
    pub fn on_packet_sent(&mut self, now_us: u64, seq: u16, bytes: u16, probe: Option<u8>) {
        // Media sent during a train fills the bottleneck too (libwebrtc counts it to the cluster as
        // well).
        let of_train = self.probing.train.as_mut().map_or(0, |train| train.on_sent(probe.is_some(), bytes));
        self.sent.push(seq, now_us as u32, bytes, of_train);
        if self.sent_us != now_us {
            if self.sent_bytes > 0 {
                self.sending.on_arrival(self.sent_us.cast_signed(), std::mem::take(&mut self.sent_bytes));
            }
            self.sent_us = now_us;
        }
        self.sent_bytes += u32::from(bytes);
        let worth = if probe.is_some() { -f32::from(bytes) } else { f32::from(bytes) * PROBE_SHARE };
        self.probing.allowance = (self.probing.allowance + worth).min(PROBE_ALLOWANCE);
    }

    /// Reads a viewer's report on arrived packets and their times.
    pub fn on_feedback(&mut self, now_us: u64, report: &TransportFeedback<'_>) {
        if report.status_count > MAX_STATUSES {
            return;
        }
        let (mut lost, mut received, mut recovered) = (0, 0, 0);
        let mut newest_sent = None;
        for (seq, arrived_us) in report.arrivals() {
            match (self.sent.on_report(seq, arrived_us.is_some()), arrived_us) {
                (Some(Receipt::Lost(_)), _) => lost += 1,
                (Some(Receipt::Received(sent, was_lost)), Some(arrived_us)) => {
                    received += 1;
                    recovered += u32::from(was_lost);
                    newest_sent = Some(sent.at_us);
                    self.acked.on_arrival(arrived_us, sent.bytes.into());
                    // The low half of the clock, and the age of the packet, which is less than 71
                    // minutes.
                    let ago_us = u64::from((now_us as u32).wrapping_sub(sent.at_us));
                    let sent_us = now_us.saturating_sub(ago_us).cast_signed();
                    self.queue.on_arrival(now_us, arrived_us - sent_us);
                    match &mut self.probing.train {
                        Some(train) if sent.probe == train.probe.id => {
                            train.on_arrival(sent.at_us, arrived_us, sent.bytes);
                        }
                        _ if sent.probe != 0 => {}
                        // The queue caused by a probe says nothing about media.
                        _ => self.trend.on_arrival(sent.at_us, arrived_us),
                    }
                }
                _ => {}
            }
        }
        if lost + received == 0 {
            return;
        }
        if let Some(sent_us) = newest_sent {
            let ms = (now_us as u32).wrapping_sub(sent_us) as f32 / 1e3;
            // The shortest sample is nearest to the truth: reports wait up to their interval.
            self.rtt_ms = if self.rtt_ms == 0.0 { ms } else { ms.min(self.rtt_ms * 1.02) };
        }
        self.feedback_us = Some(now_us);
        self.loss.on_report(lost, received, recovered);
        self.update(now_us);
    }

    /// Sets the viewer's own limit (draft-alvestrand-rmcat-remb).
    pub fn set_remb_limit(&mut self, bps: f32) {
        self.remb_bps = bps.clamp(self.settings.min_bps, self.settings.max_bps);
    }

    /// Reads a receiver report. It counts only without transport-wide feedback (then gcc-02 §6
    /// alone decides).
    pub fn on_receiver_report(&mut self, now_us: u64, fraction_lost: u8, rtt_ms: Option<f32>) {
        if let Some(rtt_ms) = rtt_ms {
            self.rtt_ms = rtt_ms;
        }
        if self.feedback_us.is_some() {
            return;
        }
        let lost = f32::from(fraction_lost) / 256.0;
        let seconds = (now_us.saturating_sub(self.updated_us) as f32 / 1e6).min(2.0);
        self.updated_us = now_us;
        if lost > 0.10 {
            self.delay_bps *= 1.0 - 0.5 * lost;
            self.state = State::Decrease;
        } else if lost < 0.02 && self.delay_bps < self.wanted_bps * 1.2 {
            self.delay_bps *= GROWTH_PER_SECOND.powf(seconds);
            self.state = State::Increase;
        }
        self.delay_bps = self.delay_bps.clamp(self.settings.min_bps, self.settings.max_bps);
    }

    /// Sets the rate that the sender could use, in bits per second. No probe goes above it.
    pub fn set_wanted(&mut self, bps: f32) {
        self.wanted_bps = bps;
    }

    /// Returns the last four moments at which the path was found full; 0 if there were fewer.
    pub fn congested_us(&self) -> [u64; 4] {
        self.congested_us
    }

    /// Returns this viewer's measurements for the group that shares the bottleneck.
    pub fn found(&self) -> Found {
        let now_bps = self.acked.bps().unwrap_or(0.0);
        Found { bps: self.bps(), through_bps: self.shared.through_bps, now_bps, proved_bps: self.shared.proved_bps }
    }

    /// Sets the share that the viewers of a bottleneck have agreed on.
    pub fn set_share(&mut self, now_us: u64, share: Share) {
        self.shared.set_share(now_us, share);
        self.delay_bps = share.bps.clamp(self.settings.min_bps, self.settings.max_bps);
        self.loss.set_proved(self.delay_bps);
        self.ceiling_bps = Some(share.ceiling_bps);
    }

    /// Returns the estimate.
    pub fn estimate(&self) -> Estimate {
        Estimate {
            bps: self.bps(),
            ceiling_bps: self.ceiling_in_the_way(),
            is_app_limited: self.is_app_limited(),
            state: self.state,
            loss: self.loss.share(),
            own_loss: self.loss.inherent(),
            rtt_ms: self.rtt_ms,
            queue_ms: self.queue.standing_ms(),
            is_shared: self.shared.share(self.updated_us).is_some(),
        }
    }

    /// Returns `true` if the viewer sends transport-wide feedback.
    pub fn has_feedback(&self) -> bool {
        self.feedback_us.is_some()
    }

    /// Handles the passing of time; call about once a second. Without feedback the path may be
    /// dead.
    pub fn handle_timeout(&mut self, now_us: u64) {
        let Some(heard_us) = self.feedback_us else { return };
        let silent = now_us.saturating_sub(heard_us) > SILENT_US;
        if silent && self.sent_us > heard_us && now_us.saturating_sub(self.decreased_us) > SILENT_US / 2 {
            self.delay_bps = (self.bps() * 0.5).max(self.settings.min_bps);
            self.decreased_us = now_us;
            self.state = State::Decrease;
        }
    }

    /// Returns a train that is due now, each one once.
    pub fn poll_probe(&mut self, now_us: u64) -> Option<Probe> {
        if let Some(train) = &self.probing.train {
            if now_us.saturating_sub(train.began_us) < TRAIN_LOST_US + (self.rtt_ms * 1e3) as u64 {
                return None;
            }
            // No complete train arrived.
            self.probing.on_failure(now_us);
        }
        let is_first = self.probing.is_first;
        // Without feedback a second train would measure nothing.
        if now_us < self.probing.due_us || !(is_first || self.has_feedback()) || self.state == State::Hold {
            return None;
        }
        let bps = self.bps();
        // If nearly the whole estimate is used, step-wise growth finds more capacity without a
        // train in front of media. A limit that was proved long ago is probed at any use, because
        // it may be gone.
        let is_stale = now_us.saturating_sub(self.proved_us) > PROOF_LASTS_US;
        let looks_again = is_stale && self.ceiling_in_the_way().is_some();
        let share = self.shared.share(now_us);
        if share.is_some_and(|share| !share.is_scout || !looks_again) {
            return None;
        }
        if !looks_again && ((!is_first && self.is_used()) || bps >= self.wanted_bps || bps >= self.settings.max_bps) {
            return None;
        }
        let factor = if is_first { FIRST_PROBE } else { FURTHER_PROBE };
        // A little more than the wanted rate: a part of a saturated bottleneck stays free.
        let sending = self.sending.bps().unwrap_or(0.0);
        let faster = share.map_or(bps * factor, |share| share.probed(sending));
        let rate = faster.min(self.wanted_bps * 1.15).min(self.settings.max_bps);
        let length_ms = if share.is_some() { SHARED_LENGTH_MS } else { LENGTH_MS };
        let bytes = (rate / 8.0 * length_ms / 1e3).min(PROBE_ALLOWANCE * PROBED_BELOW) as u32;
        let bytes = bytes.max((LEAST_PACKETS + 1) * PACKET_BYTES);
        let probing = &mut self.probing;
        if probing.allowance < bytes as f32 {
            return None;
        }
        let probe = Probe { id: probing.next_id, bps: rate, bytes };
        probing.next_id = probing.next_id.checked_add(1).unwrap_or(1);
        probing.train = Some(Train::new(probe, now_us));
        probing.is_first = false;
        Some(probe)
    }

    fn bps(&self) -> f32 {
        let bps = self.delay_bps.min(self.loss.bps()).min(self.remb_bps);
        bps.clamp(self.settings.min_bps, self.settings.max_bps)
    }

    /// Returns the proved limit if the sender could use more than it.
    fn ceiling_in_the_way(&self) -> Option<f32> {
        self.ceiling_bps.filter(|ceiling| *ceiling < self.wanted_bps)
    }

    fn is_used(&self) -> bool {
        self.sending.bps().is_some_and(|sending| sending > self.bps() * PROBED_BELOW)
    }

    fn is_app_limited(&self) -> bool {
        let bps = self.bps();
        self.sending.bps().is_none_or(|sending| sending < bps * APP_LIMITED && bps - sending > APP_LIMITED_BPS)
    }

    fn update(&mut self, now_us: u64) {
        let seconds = (now_us.saturating_sub(self.updated_us) as f32 / 1e6).min(1.0);
        self.updated_us = now_us;
        let acked = self.acked.bps();
        let is_over = self.trend.usage() == Usage::Over && self.queue.is_there() || self.stands(now_us);
        match (is_over, self.trend.usage()) {
            (true, _) => self.decrease(now_us, acked),
            (false, Usage::Under) => self.state = State::Hold,
            (false, _) => {
                self.state = State::Increase;
                self.increase(now_us, seconds, acked);
            }
        }
        let target = self.delay_bps.min(self.loss.bps());
        self.loss.update(now_us, target, acked, self.queue.standing_ms(), self.settings.max_bps);
        self.judge_probe(now_us);
    }

    /// Lowers the estimate (gcc-02 §5.5, "decrease").
    fn decrease(&mut self, now_us: u64, acked: Option<f32>) {
        let wait_us = (self.rtt_ms.clamp(50.0, 300.0) * 1e3) as u64;
        if now_us.saturating_sub(self.decreased_us) < wait_us {
            return;
        }
        let through = acked.unwrap_or(self.delay_bps).min(self.delay_bps * 1.1);
        self.capacity.add(through);
        self.proved_us = now_us;
        self.shared.on_congestion(now_us, through);
        let share = self.shared.share(now_us);
        if share.is_none() {
            self.ceiling_bps = Some(through);
        }
        // Ours: a sender that sends much less than its estimate has hardly filled the queue. Layers
        // change its rate in steps, so a decrease by a seventh could halve it.
        let factor = if self.is_used() { BETA } else { 1.0 };
        // A viewer that uses less than its share at the moment keeps the share.
        let lowered = (factor * through).max(self.shared.least(now_us));
        self.delay_bps = self.delay_bps.min(lowered).max(self.settings.min_bps);
        if self.congested_us.iter().all(|at| now_us.saturating_sub(*at) >= CONGESTED_ONCE_US) {
            self.congested_us.rotate_right(1);
            self.congested_us[0] = now_us;
        }
        self.decreased_us = now_us;
        self.state = State::Decrease;
        self.probing.train = None;
        let pause_us = if share.is_some() { PROOF_LASTS_US } else { PROBE_INTERVAL_US };
        self.probing.due_us = self.probing.due_us.max(now_us + pause_us);
    }

    /// Raises the estimate (gcc-02 §5.5, "increase"): a little near the capacity, by a factor far
    /// from it.
    fn increase(&mut self, now_us: u64, seconds: f32, acked: Option<f32>) {
        let Some(acked) = acked else { return };
        // Ours: a rate that arrives without a queue is carried; after a dead path the estimate may
        // be below it. Rates measured before a decrease do not count.
        if now_us.saturating_sub(self.decreased_us) > 1_000_000 && self.shared.share(now_us).is_none() {
            self.delay_bps = self.delay_bps.max(acked.min(self.settings.max_bps));
        }
        if let Some(share) = self.shared.share(now_us) {
            self.delay_bps = self.delay_bps.max(share.grown(self.delay_bps, self.step_per_second() * seconds, seconds));
            return;
        }
        if self.is_app_limited() {
            return;
        }
        if self.capacity.is_exceeded_by(acked) {
            self.capacity = Capacity::default();
        }
        let grown = if self.capacity.mean_bps.is_some() {
            self.delay_bps + self.step_per_second() * seconds
        } else {
            self.delay_bps * GROWTH_PER_SECOND.powf(seconds)
        };
        let most = acked * MOST_OVER_ACKED + MOST_OVER_ACKED_BPS;
        self.delay_bps = grown.min(most).max(self.delay_bps).min(self.settings.max_bps);
    }

    /// Returns the growth near the capacity. libwebrtc: one packet per response time, at least 4
    /// kb/s.
    fn step_per_second(&self) -> f32 {
        let response_s = (self.rtt_ms + 100.0) / 1e3;
        (PACKET_BYTES as f32 * 8.0 / response_s).max(4_000.0)
    }

    /// Returns `true` if a queue stands that a lower rate can drain (ours, see [`queue`]).
    fn stands(&mut self, now_us: u64) -> bool {
        let queue_ms = self.queue.standing_ms();
        let standing = &mut self.standing;
        if queue_ms < STANDING_MS {
            standing.in_vain = 0;
            return false;
        }
        let not_ours_us = NOT_OURS_US << standing.not_ours.saturating_sub(1).min(MOST_NOT_OURS);
        let pause_us = if standing.in_vain >= IN_VAIN { not_ours_us } else { STANDING_EVERY_US };
        if now_us.saturating_sub(standing.checked_us) < pause_us {
            return false;
        }
        let helped = queue_ms < standing.at_decrease_ms * 0.9;
        standing.in_vain = if helped || standing.in_vain >= IN_VAIN { 0 } else { standing.in_vain + 1 };
        standing.not_ours = match () {
            () if helped => 0,
            () if standing.in_vain == IN_VAIN => standing.not_ours.saturating_add(1),
            () => standing.not_ours,
        };
        standing.checked_us = now_us;
        standing.at_decrease_ms = queue_ms;
        standing.in_vain < IN_VAIN
    }

    fn judge_probe(&mut self, now_us: u64) {
        let Some(measured) = self.probing.train.and_then(|train| Some((train.probe, train.bps()?))) else { return };
        let (probe, bps) = measured;
        if self.shared.share(now_us).is_some() {
            self.judge_for_all(now_us, probe, bps);
            return;
        }
        // The train arrived slower than it was sent: a queue slowed it.
        if bps < PROBE_HELD_UP * probe.bps {
            (self.ceiling_bps, self.proved_us) = (Some(bps), now_us);
        } else if now_us.saturating_sub(self.proved_us) > PROOF_LASTS_US {
            self.ceiling_bps = None;
        } else {
            // The path carries more now; the group measures how much more.
            self.ceiling_bps = self.ceiling_bps.map(|ceiling| ceiling.max(bps));
        }
        // Ours: shortly after congestion, a train may have met a moment at which other senders were
        // silent.
        let was_congested = self.decreased_us > 0 && now_us.saturating_sub(self.decreased_us) < CONGESTED_US;
        let bps = if was_congested { bps.min(self.bps() + CONGESTED_STEP_BPS) } else { bps };
        if bps > self.bps() && self.state != State::Decrease {
            self.delay_bps = self.delay_bps.max(bps).min(self.settings.max_bps);
            self.loss.set_proved(bps);
            self.probing.train = None;
            self.probing.interval_us = PROBE_INTERVAL_US;
            let goes_on = bps >= PROBE_WON * probe.bps && !was_congested;
            self.probing.due_us = if goes_on { now_us } else { now_us + PROBE_INTERVAL_US };
        } else {
            self.probing.on_failure(now_us);
        }
    }

    /// Judges a probe of a shared bottleneck: the other viewers were sent their shares beside the
    /// train, so the result counts for the whole group.
    fn judge_for_all(&mut self, now_us: u64, probe: Probe, bps: f32) {
        if bps < SHARED_HELD_UP * probe.bps {
            self.proved_us = now_us;
            self.probing.train = None;
            self.probing.interval_us = (self.probing.interval_us * 2).clamp(PROOF_LASTS_US, MOST_SHARED_INTERVAL_US);
            self.probing.due_us = now_us + self.probing.interval_us;
        } else {
            self.shared.proved_bps = bps;
            self.probing.train = None;
            self.probing.interval_us = PROBE_INTERVAL_US;
            self.probing.due_us = now_us + PROBE_INTERVAL_US;
        }
    }
}

impl Probing {
    fn on_failure(&mut self, now_us: u64) {
        self.train = None;
        self.due_us = now_us + self.interval_us;
        self.interval_us = (self.interval_us * 2).min(MOST_PROBE_INTERVAL_US);
    }
}

impl Capacity {
    /// libwebrtc: exponential smoothing with a factor of a twentieth; variance in kb/s, between 0.4
    /// and 2.5.
    fn add(&mut self, bps: f32) {
        let mean = self.mean_bps.map_or(bps, |mean| 0.95 * mean + 0.05 * bps);
        let error = (mean - bps) / 1e3;
        let norm = (mean / 1e3).max(1.0);
        self.variance = (0.95 * self.variance + 0.05 * error * error / norm).clamp(0.4, 2.5);
        self.mean_bps = Some(mean);
    }

    /// Returns `true` for a rate more than three deviations above the mean: the capacity has
    /// changed.
    fn is_exceeded_by(&self, bps: f32) -> bool {
        self.mean_bps.is_some_and(|mean| {
            let deviation = (self.variance * mean / 1e3).sqrt() * 1e3;
            bps > mean + 3.0 * deviation
        })
    }
}
