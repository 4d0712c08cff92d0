//! Plain values that every floor above speaks in: codecs, packets, time, sequence numbers, names.
//!
//! Nothing here reads a socket, a clock or a random number, and nothing allocates by a length that
//! came from the network.

pub mod codec;
pub mod id;
pub mod packet;
pub mod rtp;
pub mod seq;
pub mod time;

pub use codec::{Codec, MediaKind};
pub use id::{SessionId, StreamId, StreamName};
pub use packet::Packet;
pub use time::NtpTime;
