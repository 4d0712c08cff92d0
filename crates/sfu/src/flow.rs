//! Does media still come of a publisher?
//!
//! One that is killed says nothing: no DELETE, no BYE, no close_notify. Long before ICE is given up for lost, those who
//! watch should read that the stream has paused.
//!
//! What counts is what says that media is being sent: RTP, and sender reports. A still screen without sound may bring no RTP
//! for as long as it likes; its sender goes on with sender reports, and who has stopped sending changes to receiver reports
//! (RFC 3550 §6.4). ICE checks and receiver reports say that somebody is there, not that there is something to see.
//!
//! Who has muted everything stays live: muted tracks send silence and black pictures, and Chromium goes on with sender
//! reports also when tracks are taken away or switched off (`replaceTrack(null)`, `active: false`). Viewers see what was
//! shown last, and it is not ours to say that there is no more to come.

use std::time::{Duration, Instant};

/// Without RTP and sender reports for so long, a publisher is quiet.
///
/// Sound comes every 20 ms, with discontinuous transmission every 400 ms; pictures of the lowest layer come a few times a
/// second. Where neither comes there are sender reports: libwebrtc's for video are 0.5 to 1.5 s apart. Shorter would call
/// still screens paused; longer leaves viewers before a frozen picture that is called live. A report that is lost on top of
/// that pauses the stream for a moment, as a stall of the network does: then the picture stands still for everybody.
pub const QUIET_AFTER: Duration = Duration::from_secs(2);

/// Who looks later than this after it should have was away itself, and what came meanwhile may still wait in its socket.
/// A guess: many times what a busy shard is late by.
const AWAY: Duration = Duration::from_millis(250);

/// Whether media comes of a publisher.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It is not connected yet.
    #[default]
    Connecting,
    /// Media comes, or is expected.
    Flowing {
        /// When it is quiet, unless something comes.
        quiet_at: Instant,
    },
    /// None has come for [`QUIET_AFTER`].
    Quiet,
}

impl Flow {
    /// ICE and DTLS are up: media should come. Only the first time counts.
    pub fn begin(&mut self, now: Instant) {
        if *self == Flow::Connecting {
            *self = Flow::Flowing { quiet_at: now + QUIET_AFTER };
        }
    }

    /// RTP or a sender report came. Returns whether it was quiet before.
    pub fn on_media(&mut self, at: Instant) -> bool {
        let was_quiet = *self == Flow::Quiet;
        if *self != Flow::Connecting {
            *self = Flow::Flowing { quiet_at: at + QUIET_AFTER };
        }
        was_quiet
    }

    /// Time passed. Returns whether it is quiet from now on.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Flow::Flowing { quiet_at } = *self else { return false };
        if now < quiet_at {
            return false;
        }
        let was_away = now > quiet_at + AWAY;
        *self = if was_away { Flow::Flowing { quiet_at: now + AWAY } } else { Flow::Quiet };
        !was_away
    }

    /// When to [`handle_timeout`](Self::handle_timeout).
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

    /// Told when media comes and when it is looked at, in ms after the connection; returns when it became quiet (`false`) and
    /// when media came again (`true`). It is looked at whenever it asks for it.
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
    fn who_is_quiet() {
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
    fn who_was_away_itself_listens_first() {
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
