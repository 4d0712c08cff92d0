//! Forwards packets from publishers to viewers, without a socket, a clock or a thread.
//!
//! Two machines do the work; both are handed datagrams, commands and the time, and are then asked
//! (`poll_*`) what is to be sent and what has happened:
//!
//! - [`shard::Shard`] moves media: publishers come in by the [`receive::Receiver`] of each, each stream has a
//!   [`stream::track::Track`] per kind with its [`stream::log::PacketLog`], and every [`viewer::Viewer`] is sent from
//!   that log under its own keys, numbers and timestamps.
//! - [`desk::Desk`] does viewers' handshakes: SDP, ICE, DTLS. It hands a viewer's keys to a shard when
//!   they are there, and never sends a datagram whose first byte is 128..=191 itself.
//!
//! Start reading at [`viewer::subscription`]: how one track reaches one viewer.
//!
//! Deliberately not here: who may do what (`control`), sockets and threads (`shards`).

mod allowance;
pub mod bwe;
mod clock;
pub mod desk;
pub mod dtls;
pub mod flow;
pub mod format;
pub mod guard;
#[cfg(any(test, feature = "inject"))]
pub mod inject;
pub mod layers;
pub mod negotiate;
pub mod prefetch;
pub mod publisher;
pub mod receive;
pub mod rtcp;
mod sctp;
pub mod shard;
pub mod srtp;
pub mod stream;
pub mod tap;
#[cfg(test)]
mod testing;
pub mod transmit;
pub mod viewer;
