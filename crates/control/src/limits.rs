//! How many sessions, streams and viewers may there be, and how is a newcomer refused?

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Bounds on what peers can make [`Control`](crate::Control) remember.
///
/// The overflow policy is the same for all: the newcomer is refused ([`Refused::Full`], which names
/// the option), and admitted sessions stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams at once, those that are only awaited included (`streams.max`).
    pub streams: usize,
    /// Sessions at once, publishers and viewers (`limits.sessions`).
    pub sessions: usize,
    /// Viewers of one stream at once (`limits.viewers`).
    pub viewers: usize,
    /// Sessions of one address at once; IPv6 counts by /64. 0 is no limit, as in `nowcast.toml`
    /// (`limits.sessions_per_ip`).
    pub sessions_per_ip: usize,
}

impl Limits {
    pub(crate) const STREAMS: &str = "streams.max";
    pub(crate) const SESSIONS: &str = "limits.sessions";
    pub(crate) const VIEWERS: &str = "limits.viewers";
    pub(crate) const SESSIONS_PER_IP: &str = "limits.sessions_per_ip";
}

/// Why a session is not admitted. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The stream has a publisher, and [`Takeover`](crate::Takeover) protects it.
    #[error("the stream already has a publisher")]
    StreamBusy {
        /// The earliest time after which that publisher may be given up.
        retry_after: Duration,
    },
    /// A limit is reached.
    #[error("the server is full: {limit}")]
    Full {
        /// The limit's option name, for example `limits.viewers`.
        limit: &'static str,
    },
    /// The media threads have no time left for one more session.
    #[error("the server is too busy")]
    Overloaded,
    /// [`Control::shut_down`](crate::Control::shut_down) has been called.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address.
///
/// A household or a rented machine has a whole /64 to choose addresses from, so a limit on single
/// IPv6 addresses would have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    V4(Ipv4Addr),
    V6Net([u16; 4]),
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d. Without unwrapping, all of them
        // would share one /64.
        match ip.to_canonical() {
            IpAddr::V4(ip) => Address::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Address::V6Net([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_count_together_when_one_peer_can_choose_among_them() {
        #[track_caller]
        fn check(a: &str, b: &str, together: bool) {
            let address = |ip: &str| Address::from(ip.parse::<IpAddr>().unwrap());
            assert_eq!(address(a) == address(b), together, "{a} and {b}");
        }
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("::ffff:192.0.2.1", "::ffff:192.0.2.2", false);
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
        check("::1", "127.0.0.1", false);
    }
}
