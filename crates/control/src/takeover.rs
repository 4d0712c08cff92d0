//! May a second publisher have the stream, and if not, when is it worth asking again?

use std::time::{Duration, Instant};

use sfu::flow::QUIET_AFTER;
use sfu::publisher::SILENCE as GONE_AFTER;

use crate::limits::Address;
use crate::session::Session;

/// The rule for a second publisher of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// The second publisher is refused while the first one is connected, or has been connecting for
    /// less than [`CONNECTING_GRACE`].
    ///
    /// A newcomer that is the first one's owner (the same token subject, or the same address) is
    /// admitted earlier: as soon as the first one is quiet, or has been connecting for
    /// [`OWN_GRACE`]. In this way a crashed encoder that is started again takes its stream back.
    Refuse,
    /// The second publisher takes the stream over; the first one is closed and fenced.
    Replace,
}

/// The publisher that holds a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) session: &'a Session,
    /// Time since which no media of it comes, if it is connected and quiet.
    pub(crate) quiet_since: Option<Instant>,
}

/// The publisher that asks for a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimant<'a> {
    pub(crate) address: Address,
    pub(crate) identity: Option<&'a str>,
}

impl Takeover {
    /// Decides whether a newcomer may take the stream. The error is the earliest time after which
    /// the holder may be given up.
    pub(crate) fn check(self, now: Instant, holder: Holder<'_>, claimant: Claimant<'_>) -> Result<(), Duration> {
        let session = holder.session;
        let owns = claimant.owns(session);
        let wait = match (self, session.connected_at, holder.quiet_since) {
            (Takeover::Replace, _, _) => return Ok(()),
            (Takeover::Refuse, None, _) => {
                let grace = if owns { OWN_GRACE } else { CONNECTING_GRACE };
                grace.saturating_sub(now.saturating_duration_since(session.admitted_at))
            }
            (Takeover::Refuse, Some(_), Some(_)) if owns => return Ok(()),
            (Takeover::Refuse, Some(_), None) if owns => QUIET_AFTER,
            (Takeover::Refuse, Some(_), quiet_since) => {
                // Silence is counted from the last packet, which is QUIET_AFTER older than the
                // quiet.
                let quiet_for = quiet_since.map(|since| now.saturating_duration_since(since) + QUIET_AFTER);
                let left = GONE_AFTER.saturating_sub(quiet_for.unwrap_or_default());
                // Media has stopped and ICE goes on: nothing tells when the session ends.
                if left.is_zero() { GONE_AFTER } else { left }
            }
        };
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }
}

impl Claimant<'_> {
    /// Returns whether the claimant and the holder count as one publisher. Both may publish this
    /// stream. Without a token there is no subject, and the address decides alone.
    fn owns(&self, session: &Session) -> bool {
        let same_identity = self.identity.is_some() && self.identity == session.identity.as_deref();
        same_identity || self.address == session.address
    }
}

/// Time for which a connecting publisher keeps others out under [`Takeover::Refuse`].
///
/// A page that is reloaded while connecting leaves a session behind that will never connect; it
/// must not keep others out until its deadline. A guess: ICE and DTLS are up within 2 s on
/// most networks, and a retry after 5 s is bearable.
pub const CONNECTING_GRACE: Duration = Duration::from_secs(5);

/// Time for which a connecting publisher keeps its own owner out. A guess, as [`CONNECTING_GRACE`]:
/// after 2 s the session that an owner left behind is more likely than a slow handshake.
pub const OWN_GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use media::StreamId;

    use super::*;
    use crate::session::Role;

    const HOME: Address = Address::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OFFICE: Address = Address::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// State of the holder, and the time for which it has lasted.
    #[derive(Clone, Copy)]
    enum Holds {
        Connecting(u64),
        Flowing(u64),
        Quiet(u64),
    }
    use Holds::{Connecting, Flowing, Quiet};

    #[track_caller]
    fn check(takeover: Takeover, holds: Holds, claimant: (Address, Option<&str>), expected: Result<(), u64>) {
        let start = Instant::now();
        let (Connecting(ms) | Flowing(ms) | Quiet(ms)) = holds;
        let session = Session {
            stream: StreamId(1),
            role: Role::Publisher,
            address: HOME,
            identity: Some("alice".into()),
            admitted_at: start,
            connected_at: (!matches!(holds, Connecting(_))).then_some(start),
        };
        let quiet_since = matches!(holds, Quiet(_)).then_some(start);
        let claimant = Claimant { address: claimant.0, identity: claimant.1 };
        let now = start + Duration::from_millis(ms);
        let verdict = takeover.check(now, Holder { session: &session, quiet_since }, claimant);
        assert_eq!(verdict.map_err(|wait| wait.as_millis() as u64), expected);
    }

    #[test]
    fn a_stranger_waits_for_the_connecting_grace_and_never_gets_a_connected_publisher() {
        for stranger in [(OFFICE, None), (OFFICE, Some("bob"))] {
            let check = |holds, expected| check(Takeover::Refuse, holds, stranger, expected);
            check(Connecting(0), Err(5_000));
            check(Connecting(4_999), Err(1));
            check(Connecting(5_000), Ok(()));
            check(Flowing(0), Err(10_000));
            check(Flowing(3_600_000), Err(10_000));
            check(Quiet(0), Err(8_000));
            check(Quiet(7_500), Err(500));
            check(Quiet(8_000), Err(10_000));
            check(Quiet(3_600_000), Err(10_000));
        }
    }

    #[test]
    fn the_owner_by_subject_or_address_gets_a_quiet_publisher_at_once() {
        for owner in [(HOME, None), (HOME, Some("bob")), (HOME, Some("alice")), (OFFICE, Some("alice"))] {
            let check = |holds, expected| check(Takeover::Refuse, holds, owner, expected);
            check(Connecting(0), Err(2_000));
            check(Connecting(1_999), Err(1));
            check(Connecting(2_000), Ok(()));
            check(Flowing(0), Err(2_000));
            check(Flowing(3_600_000), Err(2_000));
            check(Quiet(0), Ok(()));
            check(Quiet(3_600_000), Ok(()));
        }
    }

    #[test]
    fn two_publishers_without_a_subject_are_not_one_by_that() {
        let session = Session {
            stream: StreamId(1),
            role: Role::Publisher,
            address: HOME,
            identity: None,
            admitted_at: Instant::now(),
            connected_at: None,
        };
        assert!(!Claimant { address: OFFICE, identity: None }.owns(&session));
        assert!(Claimant { address: HOME, identity: None }.owns(&session));
    }

    #[test]
    fn replace_lets_the_newest_win() {
        for holds in [Connecting(0), Flowing(0), Quiet(0)] {
            check(Takeover::Replace, holds, (OFFICE, None), Ok(()));
        }
    }
}
