//! A bad network for tests, in user space: rate with a queue, delay, jitter, loss, bursts, reordering, duplication.
//!
//! Kernels for development often have no `netem`, and browsers do not run in the virtual world of `sim`. What a bad
//! network does to datagrams is decided here, without sockets and without a clock of its own:
//!
//! - [`Settings`]: what one direction of a link is like at one moment; [`Script`]: how that changes over time.
//! - [`Link`]: one direction in use. Hand it datagrams, poll what has arrived and when to come again.
//! - [`counts::Report`]: what has happened, with a sample for each 100 ms.
//!
//! Deliberately not here: what queues other than tail drop do, and anything that nowcast itself would need. Nothing of the
//! server links to this crate. Start reading at [`Link`].

mod bottleneck;
pub mod counts;
pub mod histogram;
mod link;
mod random;
mod script;
mod settings;

pub use link::{Datagram, Delivery, Link};
pub use script::{Script, ScriptError};
pub use settings::{Burst, Order, QueueLimit, Reorder, Settings, Shape};
