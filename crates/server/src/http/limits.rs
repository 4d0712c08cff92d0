//! How much may an HTTP client make us hold or wait?
//!
//! Bounds that no operator would set are constants here; the others are `limits.*` options.

use std::time::Duration;

/// Longest SDP. Threat T15.
pub const SDP_BYTES: usize = 64 * 1024;
/// Longest trickle-ICE fragment: 32 candidates of at most 200 bytes and their frame fit.
pub const FRAGMENT_BYTES: usize = 8 * 1024;
/// Longest header section. Threat T22. Hyper's HTTP/1 buffer has to hold it.
pub const HEADER_BYTES: usize = 64 * 1024;
/// Most header fields. Browsers behind two proxies send about 40.
pub const HEADER_FIELDS: usize = 100;
/// Time for the header section, counted from its first byte. Threat T22.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the body. Threat T22.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the TLS handshake. Threat T22.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without a request after which a connection is closed. Threat T22.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a client may leave what we write unread.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 streams at once on one connection. Threat T22.
pub const H2_STREAMS: u32 = 64;
/// HTTP/2 streams that a client may reset before we looked at them (rapid reset, CVE-2023-44487);
/// h2's own default.
pub const H2_PENDING_RESETS: usize = 20;
/// HTTP/2 streams that we may have to reset for a client's errors before we hang up.
pub const H2_LOCAL_RESETS: usize = 64;
/// Frames of HTTP/2 without data that a connection may send at once (see [`super::frames`]): a page
/// with twenty assets comes with about 200 of them.
pub const H2_CONTROL_BURST: u32 = 1_000;
/// The same a second. A guess: a page sends a few, a player that reads a fast stream of events some
/// tens.
pub const H2_CONTROL_PER_SECOND: u32 = 100;
/// Requests that a connection of HTTP/2 may send at once. A guess: far above what a page or a
/// player sends.
pub const H2_REQUEST_BURST: u32 = 1_000;
/// The same a second. A page sends a few.
pub const H2_REQUESTS_PER_SECOND: u32 = 100;
/// DATA frames shorter than this are counted like frames without data. Bodies here are descriptions
/// of some kilobytes.
pub const H2_SMALL_DATA_BYTES: u32 = 256;
/// Bytes that a connection may bring in before others have their turn. A guess: handled in well
/// under a millisecond, whatever they are, and the offer of a browser (5 to 10 KiB) takes three
/// turns.
pub const TURN_BYTES: usize = 4 * 1024;
/// Bytes a second that a reader has to take of an answer, once it has been slow for
/// [`WRITE_TIMEOUT`]. A guess: the largest asset (40 KB) then takes 40 s; a phone on 2G is five
/// times as fast.
pub const WRITE_BYTES_PER_SECOND: u64 = 1024;
/// HTTP/2 pings that find out whether a silent client is still there.
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// Share of the process's file descriptors that connections may take, in percent. Threats, section
/// D.
pub const CONNECTION_PERCENT: usize = 70;
/// New sessions above the rate that are let through at once, as a multiple of the rate: 5/s and 20
/// (T17).
pub const SESSION_BURST: u32 = 4;
/// `PATCH` of one address a second. Threat T17.
pub const PATCH_PER_SECOND: u32 = 10;
/// Wrong tokens of one address a minute before the answer is 429. Threats, section D.
pub const WRONG_TOKENS_PER_MINUTE: u32 = 10;
/// Addresses that a rate limit remembers at once, twice: see [`super::rate`].
pub const REMEMBERED_ADDRESSES: usize = 16_384;
