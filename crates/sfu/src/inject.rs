//! Makes a named place panic, so that tests can check the consequences of a panic.
//!
//! Exists only in unit tests and under the feature `inject`, which only dev-dependencies enable; in
//! the product `guard::fault!` expands to nothing. Faults are kept per thread, so that tests in one
//! process do not affect each other, and a thread of the media plane is armed by `Command::Inject`.

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
    /// A viewer's preferences are set.
    SetPreferences,
    /// A viewer is being added.
    Add,
    /// A viewer gets its share of its bottleneck group.
    SetShare,
    /// A viewer is counted for a snapshot.
    Snapshot,
    /// A publisher's packet is put into the log.
    Arrived,
    /// A timer of a shard that belongs to no session.
    Timer,
    /// A desk binds an address to a session on a shard.
    Bind,
    /// A desk opens a session.
    Open,
    /// The command that arms the fault, which belongs to no session.
    Command,
}

/// A panic to be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The place of the panic.
    pub point: Point,
    /// The session in whose turn it happens; `None`: any session, or a place without one.
    pub session: Option<SessionId>,
    /// Number of panics.
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

/// Returns the number of panics of this thread that are still to come.
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
