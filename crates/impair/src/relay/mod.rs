//! A UDP relay that clients use in place of the server.
//!
//! Datagrams of a client go up to the server, from a socket of the flow; datagrams of the server go
//! down. [`flows`] decides, [`threads`] reads, writes and waits.

pub mod flows;
mod threads;

pub use flows::{Flows, Plan};
pub use threads::{Options, Relay, Report};
