//! Does the queue on the way to the viewer grow?
//!
//! draft-ietf-rmcat-gcc-02 §5.2 to §5.4, with the filter that libwebrtc has used since: not a Kalman filter but the slope
//! of a line through the last delays ("trendline").

/// What the delays say of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// The queue grows.
    Over,
    /// It drains.
    Under,
}

/// Reads the trend out of send and arrival times.
#[derive(Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    before: Option<Group>,
    points: [(f32, f32); POINTS],
    count: u32,
    began_us: i64,
    accumulated_ms: f32,
    smoothed_ms: f32,
    threshold: f32,
    last_slope: f32,
    over_ms: f32,
    overs: u32,
    usage: Usage,
}

/// Packets sent together, and when the last of them left and came.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent_us: u32,
    last_sent_us: u32,
    last_arrived_us: i64,
}

/// Packets sent within this time are one group (gcc-02 §5.2: "burst_time").
const GROUP_US: u32 = 5_000;
/// libwebrtc's window of the line.
const POINTS: usize = 20;
/// Of the exponential smoothing of accumulated delays (libwebrtc).
const SMOOTHING: f32 = 0.9;
/// The slope is scaled so that it can be compared with the threshold in ms (libwebrtc: gain 4, up to 60 deltas).
const GAIN: f32 = 4.0;
const MOST_DELTAS: u32 = 60;
/// gcc-02 §5.4: where the adaptive threshold begins, and how fast it follows, up and down.
const THRESHOLD_MS: f32 = 12.5;
const K_UP: f32 = 0.0087;
const K_DOWN: f32 = 0.039;
/// gcc-02 §5.4: the queue must grow this long to count.
const OVER_MS: f32 = 10.0;
/// A gap in arrivals or departures this long begins everything anew: the line's points would be of another time.
const GAP_US: i64 = 3_000_000;

impl Trend {
    pub(super) fn new() -> Trend {
        Trend {
            group: None,
            before: None,
            points: [(0.0, 0.0); POINTS],
            count: 0,
            began_us: 0,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            threshold: THRESHOLD_MS,
            last_slope: 0.0,
            over_ms: 0.0,
            overs: 0,
            usage: Usage::Normal,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// A packet came. In order of sending, as far as that goes.
    pub(super) fn on_arrival(&mut self, sent_us: u32, arrived_us: i64) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::of(sent_us, arrived_us));
            return;
        };
        let since_first = sent_us.wrapping_sub(group.first_sent_us).cast_signed();
        let gap = arrived_us - group.last_arrived_us;
        if gap.abs() > GAP_US || i64::from(since_first) > GAP_US {
            let threshold = self.threshold;
            *self = Trend { group: Some(Group::of(sent_us, arrived_us)), threshold, ..Trend::new() };
            return;
        }
        if since_first < 0 {
            // Sent before the group: reordered, and too late to say anything.
            return;
        }
        if since_first.cast_unsigned() <= GROUP_US || group.is_burst(sent_us, arrived_us) {
            group.last_sent_us = sent_us;
            group.last_arrived_us = group.last_arrived_us.max(arrived_us);
            return;
        }
        let done = std::mem::replace(group, Group::of(sent_us, arrived_us));
        if let Some(before) = self.before.replace(done) {
            let sent_ms = done.last_sent_us.wrapping_sub(before.last_sent_us).cast_signed() as f32 / 1e3;
            let arrived_ms = (done.last_arrived_us - before.last_arrived_us) as f32 / 1e3;
            self.delta(sent_ms, arrived_ms - sent_ms, done.last_arrived_us);
        }
    }

    /// Between two groups the way took `later_ms` longer.
    fn delta(&mut self, sent_ms: f32, later_ms: f32, arrived_us: i64) {
        if self.count == 0 {
            self.began_us = arrived_us;
        }
        self.accumulated_ms += later_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        let at_ms = (arrived_us - self.began_us) as f32 / 1e3;
        self.points[self.count as usize % POINTS] = (at_ms, self.smoothed_ms);
        self.count = self.count.saturating_add(1);
        let slope = if self.count as usize >= POINTS { slope(&self.points) } else { 0.0 };
        self.detect(slope, sent_ms, later_ms);
    }

    fn detect(&mut self, slope: f32, sent_ms: f32, _later_ms: f32) {
        let trend = self.count.min(MOST_DELTAS) as f32 * slope * GAIN;
        if trend > self.threshold {
            self.over_ms += if self.overs == 0 { sent_ms / 2.0 } else { sent_ms };
            self.overs += 1;
            // It must have grown for a while, and not be shrinking again.
            if self.over_ms > OVER_MS && self.overs > 1 && slope >= self.last_slope {
                self.over_ms = 0.0;
                self.overs = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_ms = 0.0;
            self.overs = 0;
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = slope;
        // gcc-02 §5.4: a peak, a Wi-Fi burst for example, is not learned from.
        if trend.abs() <= self.threshold + 15.0 {
            let k = if trend.abs() < self.threshold { K_DOWN } else { K_UP };
            let step = k * (trend.abs() - self.threshold) * sent_ms.clamp(0.0, 100.0);
            self.threshold = (self.threshold + step).clamp(6.0, 600.0);
        }
    }
}

impl Group {
    fn of(sent_us: u32, arrived_us: i64) -> Group {
        Group { first_sent_us: sent_us, last_sent_us: sent_us, last_arrived_us: arrived_us }
    }

    /// What piled up behind a short blockage comes all at once: one group, however far apart it was sent
    /// (gcc-02 §5.2: "bursts").
    fn is_burst(&self, sent_us: u32, arrived_us: i64) -> bool {
        let sent = i64::from(sent_us.wrapping_sub(self.last_sent_us).cast_signed());
        let arrived = arrived_us - self.last_arrived_us;
        arrived <= 5_000 && arrived < sent && i64::from(sent_us.wrapping_sub(self.first_sent_us)) < 100_000
    }
}

/// Least squares.
fn slope(points: &[(f32, f32); POINTS]) -> f32 {
    let n = points.len() as f32;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (mean_x, mean_y) = (sum_x / n, sum_y / n);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of two packets 33 ms apart; the way of each takes `way_ms` of its number. Returns what was seen.
    fn play(pictures: u32, way_ms: impl Fn(u32) -> f64) -> Vec<Usage> {
        let mut trend = Trend::new();
        let mut seen = Vec::new();
        for n in 0..pictures {
            for part in 0..2 {
                let sent = (n * 33_000 + part * 300).wrapping_add(u32::MAX - 500_000);
                let arrived = i64::from(n * 33_000 + part * 300) + (way_ms(n) * 1e3) as i64 - 7_000_000;
                trend.on_arrival(sent, arrived);
            }
            seen.push(trend.usage());
        }
        seen
    }

    #[test]
    fn a_steady_way_is_normal_and_so_is_a_jittery_one() {
        assert!(play(300, |_| 20.0).iter().all(|usage| *usage == Usage::Normal));
        assert!(play(300, |n| 20.0 + f64::from(n * 7 % 5)).iter().all(|usage| *usage == Usage::Normal));
    }

    #[test]
    fn a_queue_that_grows_is_noticed_soon_and_one_that_drains_too() {
        let seen = play(200, |n| 20.0 + 8.0 * f64::from(n.saturating_sub(100)));
        let first = seen.iter().position(|usage| *usage == Usage::Over).expect("it is noticed");
        assert!((101..115).contains(&first), "{first}");
        let seen = play(200, |n| 20.0 + 8.0 * f64::from(100_u32.saturating_sub(n)));
        assert!(seen.contains(&Usage::Under) && !seen.contains(&Usage::Over));
    }

    #[test]
    fn times_that_jump_begin_anew() {
        let seen = play(200, |n| if n < 100 { 20.0 } else { 9_000_000.0 });
        assert!(!seen.contains(&Usage::Over));
    }
}
