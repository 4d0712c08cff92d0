//! Does a publisher still send media?
//!
//! A publisher that is killed sends nothing: no DELETE, no BYE, no close_notify. Viewers should
//! learn that the stream has paused long before ICE times out.
//!
//! RTP and sender reports count, because they show that media is being sent. A still screen without
//! sound may cause no RTP for any time; its sender continues with sender reports, while a client
//! that has stopped sending changes to receiver reports (RFC 3550 §6.4). ICE checks and receiver
//! reports show that the client exists, not that it sends media.
//!
//! A publisher with muted tracks stays live: muted tracks send silence and black pictures, and
//! Chromium continues with sender reports also when tracks are removed or switched off
//! (`replaceTrack(null)`, `active: false`). Viewers keep the last picture, and the server does not
//! know whether more will come.

use std::time::{Duration, Instant};

/// Time without RTP and sender reports after which a publisher is quiet.
///
/// Sound comes every 20 ms, with discontinuous transmission every 400 ms; pictures of the lowest
/// layer come a few times a second. Without both there are sender reports: libwebrtc's for video
/// are 0.5 to 1.5 s apart. A shorter time would pause streams of still screens; a longer one would
/// show a frozen picture as live. The loss of one more report pauses the stream for a moment, like
/// a stall of the network, in which the picture stands still for all viewers.
pub const QUIET_AFTER: Duration = Duration::from_secs(2);

/// A check that is late by more than this means that the server itself was stalled, and that media
/// of this time may still wait in its socket. A guess: many times the usual delay of a busy shard.
const AWAY: Duration = Duration::from_millis(250);

/// Whether a publisher sends media.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It is not connected yet.
    #[default]
    Connecting,
    /// Media is received, or expected.
    Flowing {
        /// Time at which the publisher becomes quiet, unless media arrives.
        quiet_at: Instant,
    },
    /// No media has arrived for [`QUIET_AFTER`].
    Quiet,
}

impl Flow {
    /// Starts the measurement when ICE and DTLS are established. Only the first call counts.
    pub fn begin(&mut self, now: Instant) {
        if *self == Flow::Connecting {
            *self = Flow::Flowing { quiet_at: now + QUIET_AFTER };
        }
    }

    /// Records RTP or a sender report. Returns `true` if the publisher was quiet before.
    pub fn on_media(&mut self, at: Instant) -> bool {
        let was_quiet = *self == Flow::Quiet;
        if *self != Flow::Connecting {
            *self = Flow::Flowing { quiet_at: at + QUIET_AFTER };
        }
        was_quiet
    }

    /// Handles the passing of time. Returns `true` if the publisher becomes quiet now.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Flow::Flowing { quiet_at } = *self else { return false };
        if now < quiet_at {
            return false;
        }
        let was_away = now > quiet_at + AWAY;
        *self = if was_away { Flow::Flowing { quiet_at: now + AWAY } } else { Flow::Quiet };
        !was_away
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        match *self {
            Flow::Flowing { quiet_at } => Some(quiet_at),
            Flow::Connecting | Flow::Quiet => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays media at the times `comes` and all timeouts up to `until`, in ms after the connection.
    /// Returns the times at which the publisher became quiet (`false`) and at which media returned
    /// (`true`).
    fn told(comes: &[u64], until: u64) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut flow = Flow::default();
        flow.begin(start);
        let mut told = Vec::new();
        for at in comes.iter().copied().chain([until]) {
            while let Some(due) = flow.poll_timeout().filter(|due| *due <= start + Duration::from_millis(at)) {
                if flow.handle_timeout(due) {
                    told.push(((due - start).as_millis() as u64, false));
                }
            }
            if at < until && flow.on_media(start + Duration::from_millis(at)) {
                told.push((at, true));
            }
        }
        told
    }

    #[test]
    fn publisher_without_media_and_sender_reports_becomes_quiet() {
        #[track_caller]
        fn check(what: &str, comes: impl IntoIterator<Item = u64>, until: u64, expected: &[(u64, bool)]) {
            let comes: Vec<u64> = comes.into_iter().take_while(|at| *at < until).collect();
            assert_eq!(told(&comes, until), expected, "{what}");
        }
        check("sound", (0..).step_by(20), 60_000, &[]);
        check("sound, with discontinuous transmission", (0..).step_by(400), 60_000, &[]);
        check("pictures of the lowest temporal layer", (0..).step_by(286), 60_000, &[]);
        check("a still screen that the browser repeats", (0..).step_by(1_000), 60_000, &[]);
        check("sender reports alone, as far apart as they may be", (0..).step_by(1_500), 60_000, &[]);
        check("a stall that is short enough", [0, 1_900, 1_920], 3_000, &[]);
        check("killed", (0..5_000).step_by(20), 60_000, &[(6_980, false)]);
        check("connected, and nothing ever came", [], 60_000, &[(2_000, false)]);
        check("it came late", [3_500, 3_520], 4_000, &[(2_000, false), (3_500, true)]);
        check("stalls", [0, 3_000, 6_000], 7_000, &[(2_000, false), (3_000, true), (5_000, false), (6_000, true)]);
    }

    #[test]
    fn before_the_connection_nothing_is_expected() {
        let start = Instant::now();
        let mut flow = Flow::default();
        assert!(!flow.on_media(start) && !flow.handle_timeout(start + 10 * QUIET_AFTER));
        assert_eq!(flow.poll_timeout(), None);
    }

    #[test]
    fn late_check_waits_for_media_before_the_publisher_is_quiet() {
        let start = Instant::now();
        let woken = start + QUIET_AFTER + 4 * AWAY;
        let mut flow = Flow::default();
        flow.begin(start);
        assert!(!flow.handle_timeout(woken), "what came meanwhile may not have been read yet");
        let mut waits = flow;
        assert!(!waits.on_media(woken) && waits.poll_timeout() == Some(woken + QUIET_AFTER));
        assert!(flow.handle_timeout(woken + AWAY), "there was nothing");
        assert!(!flow.handle_timeout(woken + 2 * AWAY), "it is told once");
    }
}
