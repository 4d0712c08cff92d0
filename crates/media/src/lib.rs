//! Plain values that every floor above speaks in: codecs, packets, time, sequence numbers, names.
//!
//! Nothing here reads a socket, a clock or a random number, and nothing allocates by a length that
//! came from the network.
//!
//! Start reading at [`packet`]; what fills its fields is in [`rtp`] (header), [`codec`] (payload),
//! [`seq`] (numbers that do not wrap) and [`time`].

// Everything here may be handed bytes of a stranger: a slip must not compile.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub mod codec;
pub mod demux;
pub mod id;
pub mod packet;
pub mod rtp;
pub mod seq;
pub mod time;

pub use codec::{Codec, Description, MediaKind, Resolution};
pub use id::{SessionId, StreamId, StreamName, StreamNameError};
pub use packet::{Epoch, Packet};
pub use seq::{SeqUnwrapper, TimestampUnwrapper};
pub use time::{NtpTime, WallClock};
