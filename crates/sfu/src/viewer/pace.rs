//! How much may a viewer be sent at once?
//!
//! A picture that is larger than others (a key frame) would reach a viewer's router as one burst, and the last of a
//! thousand viewers after everybody else's. So a viewer's share of each [`INTERVAL`] is bounded; what does not fit
//! comes in the next. Pictures of up to 38 kB pass at once, those of 100 kB are out after 10 ms.
//!
//! The bound is a default socket buffer at the receiver: 212,992 bytes of memory at 2,304 for each
//! datagram of 1,200 (`net.core.rmem_default` of Linux), which is 92 datagrams. A receiver that reads
//! every 10 ms has room for [`SHARE`] and two times [`FOLLOWING`]. What waits because the publisher
//! itself sent a burst is spread the same way.
//!
//! Where it is known that the network carries no more than so much, the share is one and a half times that, and a large
//! picture takes up to 200 ms: its queue need not hold what we can hold.

use std::time::{Duration, Instant};

/// Bounds what one viewer gets in a short time.
#[derive(Debug)]
pub struct Pace {
    share: u32,
    left: u32,
    bounded: Option<Bounded>,
    renewed_at: Instant,
}

/// The pace of a network whose rate is known.
#[derive(Debug, Clone, Copy)]
struct Bounded {
    /// Packets a second in any case.
    least: f32,
    /// … and at the moment.
    rate: f32,
    credit: f32,
    /// Packets that wait, as far as they are known.
    waiting: u64,
}

/// Long enough for a share to fill one system call's message, short enough to be no delay that anybody sees.
const INTERVAL: Duration = Duration::from_millis(5);
/// Packets that pass in one interval in any case: the key frames of most streams of 1.5 Mb/s, and no more than the queue of
/// any router on the way holds (64 kB and up).
const SHARE: u32 = 32;
/// Packets of each interval after the first: 50 Mb/s. With [`SHARE`] it is 84 packets in 10 ms.
const FOLLOWING: u64 = 26;
/// Beyond 50 Mb/s being late is worse than a small buffer: all that waits is out after 200 ms.
const MOST_INTERVALS: u64 = 40;
/// … or, where the network's rate is known, after so many seconds.
const BOUNDED_SECONDS: f32 = 0.2;
/// What is sent in a burst may be this much faster than the network, which is idle between bursts. libwebrtc has 2.5, and a
/// router's queue takes the difference; if it is short, a key frame is lost.
const FACTOR: f32 = 1.5;
/// Who is later than this with its turn is not given more at once for it.
const LATEST: Duration = Duration::from_millis(60);
/// So many packets are no burst.
const NO_BURST: f32 = 2.0;
const PACKET_BITS: f32 = 1_200.0 * 8.0;

impl Pace {
    /// A viewer that has been sent nothing yet.
    pub fn new(now: Instant) -> Pace {
        Pace { share: SHARE, left: SHARE, bounded: None, renewed_at: now }
    }

    /// The network carries no more bits a second than this, if that is known.
    pub fn set_rate(&mut self, bps: Option<f32>) {
        let Some(bps) = bps else {
            self.bounded = None;
            return;
        };
        let least = bps * FACTOR / PACKET_BITS;
        let bounded = self.bounded.get_or_insert(Bounded { least, rate: least, credit: NO_BURST, waiting: 0 });
        (bounded.least, bounded.rate) = (least, bounded.rate.max(least));
    }

    /// How many of `waiting` packets may go now; the first of them came at `since`.
    pub fn share(&mut self, now: Instant, waiting: u64, since: Option<Instant>) -> u32 {
        let elapsed = now.saturating_duration_since(self.renewed_at);
        if let Some(bounded) = &mut self.bounded {
            if waiting > bounded.waiting {
                bounded.rate = bounded.least.max(waiting as f32 / BOUNDED_SECONDS);
            }
            bounded.waiting = waiting;
            if elapsed >= INTERVAL {
                // What we are late with ourselves, the network could have carried meanwhile. Without that, a core that is full
                // would send ever smaller messages, which cost it more.
                let late = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)).min(elapsed);
                let most = NO_BURST.max(bounded.rate * late.clamp(INTERVAL, LATEST).as_secs_f32());
                bounded.credit = (bounded.credit + bounded.rate * elapsed.as_secs_f32()).min(most);
                self.renewed_at = now;
            }
            return bounded.credit as u32;
        }
        if elapsed >= INTERVAL {
            self.renewed_at = now;
            // A picture is still going out if the last interval's share was used up just now.
            self.share = if self.left == 0 && elapsed < INTERVAL * 2 {
                let following = FOLLOWING.max(waiting.div_ceil(MOST_INTERVALS));
                // The pace of a picture is kept until it is out; SHARE was its beginning.
                let kept = if self.share == SHARE { 0 } else { self.share };
                u32::try_from(following).unwrap_or(u32::MAX).max(kept)
            } else {
                SHARE
            };
            self.left = self.share;
        }
        self.left
    }

    /// Packets went out.
    pub fn on_sent(&mut self, packets: u32) {
        self.left = self.left.saturating_sub(packets);
        if let Some(bounded) = &mut self.bounded {
            bounded.credit -= packets as f32;
            bounded.waiting = bounded.waiting.saturating_sub(u64::from(packets));
        }
    }

    /// Packets of a start have just been sent, which fill the receiver's buffer as well: they are
    /// taken from the share of this interval.
    pub fn on_start_sent(&mut self, now: Instant, packets: u32) {
        // A network whose rate is known is given no bursts anyway.
        if self.bounded.is_none() {
            self.share = SHARE;
            self.left = SHARE.saturating_sub(packets);
            self.renewed_at = now;
        }
    }

    /// When more may go.
    pub fn next_at(&self) -> Instant {
        let rest = self.bounded.map_or(0.0, |bounded| (1.0 - bounded.credit) / bounded.rate.max(1.0));
        self.renewed_at + INTERVAL.max(Duration::from_secs_f32(rest.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays pictures of `packets` every 33 ms; returns the largest share and the longest time until one was out.
    fn play(packets: u64) -> (u32, Duration) {
        play_over(packets, None)
    }

    fn play_over(packets: u64, bps: Option<f32>) -> (u32, Duration) {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        pace.set_rate(bps);
        let (mut largest, mut longest) = (0, Duration::ZERO);
        for picture in 0..20 {
            let came_at = begin + Duration::from_millis(333) * picture;
            let (mut now, mut waiting) = (came_at, packets);
            while waiting > 0 {
                let share = pace.share(now, waiting, Some(came_at)).min(waiting as u32);
                pace.on_sent(share);
                waiting -= u64::from(share);
                largest = largest.max(share);
                longest = longest.max(now - came_at);
                now = pace.next_at();
            }
        }
        (largest, longest)
    }

    #[test]
    fn ordinary_pictures_pass_at_once() {
        assert_eq!(play(6), (6, Duration::ZERO));
        assert_eq!(play(32), (32, Duration::ZERO));
    }

    #[test]
    fn a_large_picture_is_spread_and_out_before_the_next() {
        let (largest, longest) = play(84); // 100 kB
        assert_eq!(largest, 32);
        assert_eq!(longest, Duration::from_millis(10));
        let (largest, longest) = play(840); // 1 MB
        assert_eq!(largest, 32);
        assert!(longest <= Duration::from_millis(200), "{longest:?}");
    }

    /// The most packets of any 10 ms, for so many that came at once.
    fn most_in_10_ms(packets: u64) -> u32 {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let (mut now, mut waiting, mut sent) = (begin, packets, Vec::new());
        while waiting > 0 {
            let share = pace.share(now, waiting, Some(begin)).min(waiting as u32);
            pace.on_sent(share);
            sent.push((now, share));
            waiting -= u64::from(share);
            now = pace.next_at();
        }
        let within = |from: Instant| {
            let span = from..=from + Duration::from_millis(10);
            sent.iter().filter(|(at, _)| span.contains(at)).map(|(_, share)| share).sum()
        };
        sent.iter().map(|(at, _)| within(*at)).max().unwrap_or_default()
    }

    #[test]
    fn a_burst_of_the_publisher_fits_a_default_socket_buffer_that_is_read_every_10_ms() {
        // 212,992 bytes at 2,304 each.
        for packets in [84, 200, 900, 1_040] {
            assert!(most_in_10_ms(packets) <= 92, "{packets}: {}", most_in_10_ms(packets));
        }
    }

    #[test]
    fn a_steady_stream_of_40_mbps_is_not_held_up() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        let (mut now, mut waiting) = (begin, 0);
        for picture in 0..300 {
            let came_at = begin + Duration::from_micros(33_333) * picture;
            now = now.max(came_at);
            waiting += 139;
            while waiting > 0 && now < came_at + Duration::from_micros(33_333) {
                let share = pace.share(now, waiting, Some(came_at)).min(waiting as u32);
                pace.on_sent(share);
                waiting -= u64::from(share);
                now = pace.next_at();
            }
            assert!(waiting <= 139, "picture {picture}: {waiting} packets wait");
        }
    }

    #[test]
    fn a_network_whose_rate_is_known_is_not_given_bursts() {
        let (largest, longest) = play_over(4, Some(1e6));
        assert!(largest == 2 && longest <= Duration::from_millis(20), "{largest}, {longest:?}");
        let (largest, longest) = play_over(40, Some(1e6));
        assert!(largest == 2 && longest <= Duration::from_millis(210), "{largest}, {longest:?}");
        let (largest, longest) = play_over(200, Some(1e6));
        assert!(largest <= 6 && longest <= Duration::from_millis(210), "{largest}, {longest:?}");
        let (largest, longest) = play_over(3, Some(1e5));
        assert!(largest <= 2 && longest <= Duration::from_millis(70), "{largest}, {longest:?}");
        assert!(play_over(32, Some(100e6)).1 <= Duration::from_millis(5));
    }

    #[test]
    fn who_had_to_wait_for_us_gets_what_its_network_could_have_carried_meanwhile() {
        let share = |late, since: Option<Duration>| {
            let begin = Instant::now();
            let mut pace = Pace::new(begin);
            pace.set_rate(Some(1e6)); // 156 packets a second at one and a half times that
            pace.share(begin + Duration::from_secs(1), 2, Some(begin + Duration::from_secs(1)));
            pace.on_sent(2);
            let now = begin + Duration::from_secs(1) + Duration::from_millis(late);
            pace.share(now, 20, since.map(|since| now - since))
        };
        assert_eq!(share(33, Some(Duration::ZERO)), 2, "a new picture");
        assert_eq!(share(7, Some(Duration::from_millis(50))), 1, "the rest of a large one, in time");
        assert_eq!(share(40, Some(Duration::from_millis(40))), 6, "everybody was late");
        assert_eq!(share(500, Some(Duration::from_millis(400))), 9, "and very late");
        assert_eq!(share(33, None), 2);
    }
}
