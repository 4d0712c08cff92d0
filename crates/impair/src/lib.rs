//! A bad network for tests, in user space: rate with a queue, delay, jitter, loss, bursts,
//! reordering, duplication.
//!
//! Kernels for development often have no `netem`, and browsers do not run in the virtual world of
//! `sim`. The `impair` binary is a UDP relay that clients use in place of the server. The decisions
//! about datagrams use neither sockets nor a clock:
//!
//! - [`Settings`]: the properties of one direction of a link at one moment; [`Script`]: their
//!   changes over time.
//! - [`Link`]: one direction in use. Hand in datagrams, poll those that have arrived, and the next
//!   timeout.
//! - [`counts::Report`]: the counters of a link, with a sample for each 100 ms.
//! - [`control`]: the lines by which a test changes links while they run.
//! - [`relay`]: flows, sockets and threads around links. [`check`]: measures whether the relay
//!   keeps its promises.
//!
//! Deliberately not here: queue disciplines other than tail drop, and anything that the server
//! needs. The server does not link to this crate. User's guide: `docs/impair.md`. Start reading at
//! [`Link`].

mod bottleneck;
pub mod check;
pub mod control;
pub mod counts;
pub mod histogram;
mod link;
mod random;
pub mod relay;
mod script;
mod settings;

pub use link::{Datagram, Delivery, Link};
pub use script::{Script, ScriptError};
pub use settings::{Burst, Order, QueueLimit, Reorder, Settings, Shape};
