//! Makes a named place panic, so that tests can see what a panic ends.
//!
//! Exists only in unit tests and under the feature `inject`, which dev-dependencies alone switch on; in the product
//! `guard::fault!` expands to nothing. Faults are kept per thread: tests in one process do not meet, and a
//! thread of the media plane is armed by `Command::Inject`.

use std::cell::RefCell;

use media::SessionId;

/// A place that can be made to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A viewer's turn to send: sound is written, video is not.
    Send,
    /// SRTCP of a viewer.
    Feedback,
    /// A viewer's sender report.
    Report,
    /// A viewer's wish.
    SetPreferences,
    /// A viewer is being added.
    Add,
    /// A viewer is told the share that its bottleneck group agreed on.
    SetShare,
    /// A viewer is counted for a snapshot.
    Snapshot,
    /// A publisher's packet is put into the log.
    Arrived,
    /// A timer of a shard that belongs to no session.
    Timer,
    /// A desk tells a shard whose an address is.
    Bind,
    /// A desk opens a session.
    Open,
    /// The command that brings the fault, which belongs to no session.
    Command,
}

/// What is to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub point: Point,
    /// For which session; `None`: any, or a place without one.
    pub session: Option<SessionId>,
    /// How often.
    pub times: u32,
}

thread_local! {
    static FAULTS: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
}

/// Arms a fault on this thread.
///
/// # Panics
///
/// At once, if it is for [`Point::Command`].
pub fn arm(fault: Fault) {
    assert!(fault.point != Point::Command, "injected at Command");
    FAULTS.with_borrow_mut(|faults| faults.push(fault));
}

/// How many panics of this thread's faults are still to come.
pub fn left() -> u32 {
    FAULTS.with_borrow(|faults| faults.iter().map(|fault| fault.times).sum())
}

/// Panics here if a fault is armed for this place.
pub fn at(point: Point, session: Option<SessionId>) {
    let fires = FAULTS.with_borrow_mut(|faults| {
        let is_it = |fault: &&mut Fault| {
            fault.times > 0 && fault.point == point && (fault.session.is_none() || fault.session == session)
        };
        let Some(fault) = faults.iter_mut().find(is_it) else { return false };
        fault.times -= 1;
        true
    });
    if fires {
        panic!("injected at {point:?}");
    }
}
