//! Does the queue on the path to the viewer grow?
//!
//! draft-ietf-rmcat-gcc-02 §5.2 to §5.4, with the filter that libwebrtc has used since: not a
//! Kalman filter but the slope of a line through the last delays ("trendline").

/// The state of the queue according to the delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// The queue grows.
    Over,
    /// The queue drains.
    Under,
}

/// Measures the trend of delays from departure and arrival times.
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

/// Packets sent together, and the departure and arrival of the last of them.
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
/// Factor of the exponential smoothing of accumulated delays (libwebrtc).
const SMOOTHING: f32 = 0.9;
/// The slope is scaled so that it can be compared with the threshold in ms (libwebrtc: gain 4, up to 60 deltas).
const GAIN: f32 = 4.0;
const MOST_DELTAS: u32 = 60;
/// gcc-02 §5.4: first value of the adaptive threshold, and its speed upwards and downwards.
const THRESHOLD_MS: f32 = 12.5;
const K_UP: f32 = 0.0087;
const K_DOWN: f32 = 0.039;
/// gcc-02 §5.4: time for which the queue must grow to count.
const OVER_MS: f32 = 10.0;
/// A gap of this length in arrivals or departures resets the filter, because the line's points
/// belong to another time.
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

    /// Measures an arrived packet. Packets should come in the order of sending.
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
            // The packet was sent before the group: reordered, and too late to count.
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

    /// Adds a delay: the path of this group took `later_ms` longer than that of the group before.
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
            // The queue must have grown for a while, and must not be shrinking again.
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
        // gcc-02 §5.4: the threshold does not follow a peak, for example a Wi-Fi burst.
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

    /// Returns `true` for packets that queued behind a short blockage and arrive together: they
    /// form one group, however far apart they were sent (gcc-02 §5.2: "bursts").
    fn is_burst(&self, sent_us: u32, arrived_us: i64) -> bool {
        let sent = i64::from(sent_us.wrapping_sub(self.last_sent_us).cast_signed());
        let arrived = arrived_us - self.last_arrived_us;
        arrived <= 5_000 && arrived < sent && i64::from(sent_us.wrapping_sub(self.first_sent_us)) < 100_000
    }
}

/// Returns the slope of a least-squares line.
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

    /// Simulates pictures of two packets 33 ms apart; `way_ms` is the delay of each picture.
    /// Returns the states seen.
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
    fn steady_path_is_normal_and_so_is_a_jittery_one() {
        assert!(play(300, |_| 20.0).iter().all(|usage| *usage == Usage::Normal));
        assert!(play(300, |n| 20.0 + f64::from(n * 7 % 5)).iter().all(|usage| *usage == Usage::Normal));
    }

    #[test]
    fn growing_queue_is_noticed_soon_and_a_draining_one_too() {
        let seen = play(200, |n| 20.0 + 8.0 * f64::from(n.saturating_sub(100)));
        let first = seen.iter().position(|usage| *usage == Usage::Over).expect("it is noticed");
        assert!((101..115).contains(&first), "{first}");
        let seen = play(200, |n| 20.0 + 8.0 * f64::from(100_u32.saturating_sub(n)));
        assert!(seen.contains(&Usage::Under) && !seen.contains(&Usage::Over));
    }

    #[test]
    fn jump_of_times_resets_the_filter() {
        let seen = play(200, |n| if n < 100 { 20.0 } else { 9_000_000.0 });
        assert!(!seen.contains(&Usage::Over));
    }
}
