//! A UDP relay that clients take for the server.
//!
//! What comes from a client goes up, from a socket of its own, to the server; what comes back goes down. [`flows`] decides,
//! [`threads`] does.

pub mod flows;
mod threads;

pub use flows::{Flows, Plan};
pub use threads::{Options, Relay, Report};
