//! Plays a publisher and many viewers against a running server, and measures delay, loss, joins and
//! cost.
//!
//! Everything goes the way of real clients: WHIP and WHEP over HTTP, then ICE, DTLS, SRTP and SRTCP
//! over UDP, each viewer from a socket of its own. Handshakes are str0m's; a viewer's media is
//! received by a path of our own, because a load generator must be far cheaper than the server it
//! measures.
//!
//! - [`cli`]: the command line
//! - `settings`: the plan of a run; `seen`: its counters
//! - `load`: the loop that plays all peers, on one thread
//! - `peer`: one WebRTC connection over one socket; `publisher` and `viewer` stand on it
//! - `frames`, `codecs`, `payload`: the publisher's packets: sizes, codec headers, and a stamp from
//!   which a viewer derives the delay and whether the payload is complete
//! - `recut`: verifies payloads that the server has cut into packets of its own
//! - `agreed`, `reception`, `feedback`, `loss`: the packets that one viewer gets, misses, requests
//!   and reports
//! - `url`, `tls`, `http`, `pool`: requests to the server and its answers
//! - `histogram`, `process`, `memory`: durations, CPU time and memory
//! - `server`: starts a server to measure
//! - `table`: the measurements that the documents cite
//! - `record`: every row of "One core, many viewers" in `docs/performance.md`
//! - `bare`: the same packets without a server, the kernel's own limit; `core_time`: the CPU time
//!   of a thread and its core
//! - `sendside`: the send side into a device that discards everything, to a simulated `audience`
//! - `tick`: the cost of sending to this audience without a kernel
//!
//! Measured delays include both ways through the kernel, the generator's own sending and its
//! wake-ups; `baseline` measures one such way without a server.
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
