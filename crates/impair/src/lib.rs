//! A bad network for tests, in user space: rate with a queue, delay, jitter, loss, bursts, reordering, duplication.
//!
//! Kernels for development often have no `netem`, and browsers do not run in the virtual world of `sim`. The `impair`
//! binary is a UDP relay that clients take for the server; what it does to datagrams is decided without sockets and without a
//! clock of its own:
//!
//! - [`Settings`]: what one direction of a link is like at one moment; [`Script`]: how that changes over time.
//! - [`Link`]: one direction in use. Hand it datagrams, poll what has arrived and when to come again.
//! - [`counts::Report`]: what has happened, with a sample for each 100 ms.
//! - [`control`]: the lines by which a test changes links while they run.
//! - [`relay`]: flows, sockets and threads around links. [`check`]: whether all of it keeps what it promises.
//!
//! Deliberately not here: what queues other than tail drop do, and anything that nowcast itself would need. Nothing of the
//! server links to this crate. User's guide: `docs/impair.md`. Start reading at [`Link`].

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
