//! Runs the machines of `sfu` on threads: sockets, cores and the clock live here, and all `unsafe`.
//!
//! - [`plane::Plane`] starts everything and is the one handle on it.
//! - `shard_thread`: one media shard, its two sockets, its mailbox. Waits in one system call.
//! - `desk_thread`: one desk; sends through the shards' port, receives through their mailboxes.
//! - [`mailbox`]: the bounded queues between threads, and the only seam to tokio.
//! - [`udp`]: the system calls; [`prefetch`]: requests for cache lines.
//!
//! The loops decide nothing: they hand in a batch, drain the polls and sleep until the timeout.

mod desk_thread;
pub mod mailbox;
pub mod plane;
pub mod prefetch;
mod shard_thread;
pub mod udp;

pub use desk_thread::NICENESS;
pub use plane::{Plane, PlaneEvent, Setup, StartError};
