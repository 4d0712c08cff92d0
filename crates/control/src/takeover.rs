//! May a second publisher have the stream?

use std::time::{Duration, Instant};

use crate::session::Session;

/// What a second publisher of a stream meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// It is refused while the first one is connected, or has been connecting for less than
    /// [`CONNECTING_GRACE`].
    Refuse,
    /// It takes the stream over; the first one is closed and fenced.
    Replace,
}

impl Takeover {
    /// Decides whether a newcomer may take the stream from `current`.
    pub(crate) fn allows(self, now: Instant, current: &Session) -> bool {
        match self {
            Takeover::Replace => true,
            Takeover::Refuse => {
                let age = now.saturating_duration_since(current.admitted_at);
                current.connected_at.is_none() && age >= CONNECTING_GRACE
            }
        }
    }
}

/// How long a connecting publisher keeps others out under [`Takeover::Refuse`].
///
/// Somebody who reloads the page while connecting leaves a session behind that will never connect; it
/// must not keep them out until its deadline. A guess: ICE and DTLS are up within 2 s on
/// most networks, and nobody minds a retry after 5 s.
pub const CONNECTING_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use media::StreamId;

    use super::*;
    use crate::limits::Address;
    use crate::session::Role;

    #[test]
    fn who_holds_a_stream() {
        #[track_caller]
        fn check(takeover: Takeover, connected: bool, age_ms: u64, allowed: bool) {
            let start = Instant::now();
            let current = Session {
                stream: StreamId(1),
                role: Role::Publisher,
                address: Address::V4([192, 0, 2, 1].into()),
                admitted_at: start,
                connected_at: connected.then_some(start),
            };
            let now = start + Duration::from_millis(age_ms);
            assert_eq!(takeover.allows(now, &current), allowed);
        }
        check(Takeover::Refuse, false, 0, false);
        check(Takeover::Refuse, false, 4_999, false);
        check(Takeover::Refuse, false, 5_000, true);
        check(Takeover::Refuse, true, 0, false);
        check(Takeover::Refuse, true, 3_600_000, false);
        check(Takeover::Replace, false, 0, true);
        check(Takeover::Replace, true, 0, true);
    }
}
