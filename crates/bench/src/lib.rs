//! Plays a publisher and many viewers against a running server, and measures what they get.
//!
//! Everything goes the way of real clients: WHIP and WHEP over HTTP, then ICE, DTLS, SRTP and SRTCP over UDP, each
//! viewer from a socket of its own. Handshakes are str0m's; a viewer's media is received by a path of our own, because
//! a load generator must be far cheaper than what it measures.
//!
//! - [`cli`]: the command line
//! - `settings`: what is played; `seen`: what came of it
//! - `load`: the loop that plays everybody, on one thread
//! - `peer`: one WebRTC connection over one socket; `publisher` and `viewer` stand on it
//! - `frames`, `codecs`, `payload`: what the publisher sends: how much, what a server sees in it, and a stamp by which a
//!   viewer knows when it was sent and whether it is whole
//! - `recut`: whether it is whole though the server has cut it into packets of its own
//! - `agreed`, `reception`, `feedback`, `loss`: what one viewer gets, misses, asks for and tells
//! - `url`, `tls`, `http`, `pool`: how requests get to the server and what its answers mean
//! - `histogram`, `process`, `memory`: how long, and at what cost
//! - `server`: starts a server to measure
//! - `table`: the measurements that the documents cite
//! - `record`: every row of "One core, many viewers" in `docs/performance.md`
//! - `bare`: the same packets without a server, the kernel's own limit; `core_time`: what a thread and its core did
//! - `sendside`: the send side into a device that throws everything away, to a made-up `audience`
//! - `tick`: what sending costs without a kernel, to the same
//!
//! What is said of delay includes both ways through the kernel, the generator's own sending and its own waking up;
//! `baseline` measures one such way without a server.
//!
//! Start reading at `load`.

mod agreed;
mod alarms;
mod audience;
mod bare;
mod baseline;
mod capacity;
pub mod cli;
mod clock;
mod codecs;
mod core_time;
mod feedback;
mod frames;
mod histogram;
mod http;
mod listening;
mod load;
mod loss;
mod memory;
#[cfg(test)]
mod modes;
mod options;
mod payload;
mod peer;
mod plot;
mod pool;
mod process;
mod progress;
mod publisher;
mod reception;
mod record;
mod recut;
mod report;
mod run;
mod seen;
mod sendside;
mod series;
mod server;
mod settings;
mod table;
mod tick;
mod tls;
mod tool;
mod units;
mod url;
mod viewer;

pub use options::Options;
pub use run::Stop;
pub use tool::run;
