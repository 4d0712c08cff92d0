//! How are packets of one encoding assigned to runs and counted?
//!
//! Packets are assigned to [`Runs`]. Of the current SSRC it is known which packets came
//! ([`Replay`]), how well they arrive ([`Reception`]) and which are missing ([`Missing`]). All of
//! that begins anew with each run.

use std::time::Instant;

use super::Received;
use super::missing::Missing;
use super::reception::Reception;
use super::runs::{Runs, Verdict};
use crate::format::Format;
use crate::rtcp::ReportBlock;
use crate::srtp::Replay;
use crate::stream::keyframe::MIN_INTERVAL;

/// One encoding of a section.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    runs: Runs,
    /// Packets of the current run, restored ones included.
    seen: Replay,
    pub(super) missing: Missing,
    reception: Option<Reception>,
    /// A packet that may begin the next run ([`Verdict::Held`]).
    held: Option<Box<Received>>,
    /// NACK was agreed on for the payload type of the newest packet.
    is_repaired: bool,
    pub(super) key_frame: KeyFrame,
}

/// When the sender is asked for a key frame. Wishes are merged and spaced before they come here
/// ([`crate::stream::keyframe`]); one that had to wait for the first packet must not leave right
/// before the next.
#[derive(Debug, Default)]
pub(super) struct KeyFrame {
    /// Since when one is wanted.
    wanted_at: Option<Instant>,
    asked_at: Option<Instant>,
}

impl KeyFrame {
    /// A key frame is wanted.
    pub(super) fn request(&mut self, now: Instant) {
        self.wanted_at.get_or_insert(now);
    }

    /// Returns when to ask, if one is wanted.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let spaced_at = self.asked_at.map(|at| at + MIN_INTERVAL);
        self.wanted_at.max(spaced_at.filter(|_| self.wanted_at.is_some()))
    }

    /// The sender was asked.
    pub(super) fn on_asked(&mut self, now: Instant) {
        (self.wanted_at, self.asked_at) = (None, Some(now));
    }
}

/// What an encoding needs to know of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) now: Instant,
    pub(super) ssrc: u32,
    pub(super) seq: u64,
    pub(super) timestamp: u32,
    pub(super) format: Format,
    /// `None` for audio, where formats may change from packet to packet.
    pub(super) of_video: Option<Format>,
    pub(super) is_restored: bool,
    /// NACK was agreed on for its payload type.
    pub(super) is_repaired: bool,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It came before, or it is too old to tell.
    Again,
    /// It is of a flow that was replaced, or its flow may not begin now.
    Drop,
    /// Keep it with [`Encoding::hold`].
    Hold,
    /// Forward it.
    Forward,
    /// Forward it: a run begins with it.
    Begin,
    /// Forward [`Encoding::take_held`] and then this one: a run began with the former.
    BeginWithHeld,
}

impl Encoding {
    /// Assigns a packet to a run, and counts it.
    pub(super) fn arrived(&mut self, arrival: Arrival) -> Step {
        let Arrival { now, ssrc, seq, .. } = arrival;
        if self.runs.ssrc() == Some(ssrc) && !self.seen.is_new(seq) {
            return Step::Again;
        }
        match self.runs.observe(now, ssrc, arrival.of_video, seq) {
            Verdict::Dropped => return Step::Drop,
            Verdict::Held => return Step::Hold,
            Verdict::Goes => {
                self.count(arrival);
                return Step::Forward;
            }
            Verdict::Begins => self.begin(),
            Verdict::HeldBegins => {
                self.begin();
                if let Some(held) = &self.held {
                    let (seq, timestamp) = (held.seq, held.timestamp);
                    self.count(Arrival { seq, timestamp, ..arrival });
                    self.count(arrival);
                    return Step::BeginWithHeld;
                }
            }
        }
        self.count(arrival);
        Step::Begin
    }

    /// Keeps a packet in place of one that was kept before.
    pub(super) fn hold(&mut self, packet: Received) {
        self.held = Some(Box::new(packet));
    }

    /// Takes the kept packet out: it belongs to the run that began.
    pub(super) fn take_held(&mut self) -> Option<Box<Received>> {
        let mut held = self.held.take()?;
        held.run = self.runs.run();
        Some(held)
    }

    /// Returns the number of the current run.
    pub(super) fn run(&self) -> u32 {
        self.runs.run()
    }

    /// Returns the SSRC of the current run.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.runs.ssrc()
    }

    /// Returns the highest sequence number of the current run.
    pub(super) fn newest(&self) -> Option<u64> {
        self.seen.highest()
    }

    /// Returns the reception of the current SSRC.
    pub(super) fn reception(&mut self, ssrc: u32) -> Option<&mut Reception> {
        let is_current = self.runs.ssrc() == Some(ssrc);
        self.reception.as_mut().filter(|_| is_current)
    }

    /// Returns the block of the next report.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        self.reception.as_mut().map(|reception| reception.report(now))
    }

    /// Returns when the sender is to be asked for a key frame: not before its SSRC is known.
    pub(super) fn key_frame_at(&self) -> Option<Instant> {
        self.key_frame.due_at().filter(|_| self.runs.ssrc().is_some())
    }

    /// Returns when missing packets are to be asked for.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.missing.due_at().filter(|_| self.is_repaired)
    }

    fn begin(&mut self) {
        self.seen = Replay::default();
        self.missing.reset();
        self.reception = None;
    }

    fn count(&mut self, arrival: Arrival) {
        let Arrival { now, ssrc, seq, timestamp, .. } = arrival;
        self.is_repaired = arrival.is_repaired;
        self.missing.arrived(now, self.seen.highest(), seq);
        if self.seen.is_new(seq) {
            self.seen.record(seq);
        }
        if !arrival.is_restored {
            let clock_rate = arrival.format.codec.clock_rate();
            let reception = self.reception.get_or_insert_with(|| Reception::new(now, ssrc, clock_rate, seq));
            reception.arrived(now, seq, timestamp);
        }
    }
}
