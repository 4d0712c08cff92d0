//! Everything the media threads ask of the kernel: datagrams in, datagrams out, sleep until either.
//!
//! A shard owns two [`Socket`]s, one for IPv4 and one for IPv6, and drives them in batches:
//!
//! ```no_run
//! use sfu::transmit::Batch;
//! use shards::udp::{Options, Poller, ReceiveBatch, SendState, Socket, Waker};
//! use std::os::fd::AsRawFd;
//!
//! let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &Options::default())?;
//! socket.turn_away_junk();
//! let waker = Waker::new()?; // clones go to the threads that fill our mailbox
//! let mut poller = Poller::new(&[socket.as_raw_fd(), waker.as_raw_fd()]);
//! let mut received = ReceiveBatch::for_socket(&socket);
//! let mut batch = Batch::new();
//! let mut sending = SendState::new();
//! loop {
//!     let ready = poller.wait(None)?;
//!     if ready.contains(1) {
//!         waker.drain(); // before looking into the mailbox, never after
//!     }
//!     if ready.contains(0) {
//!         socket.receive(&mut received)?; // and again while it `is_full`, within the turn's budget
//!         for datagram in received.datagrams() {
//!             batch.push(datagram.source, datagram.destination_ip, datagram.bytes);
//!         }
//!     }
//!     socket.send(&batch, &mut sending);
//!     batch.clear();
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All `unsafe` of the program is in this folder. Linux only.
//!
//! Deliberately not here: io_uring and AF_XDP. UDP segmentation offload comes first
//! (`docs/performance.md`). No queue either: datagrams that the kernel does not take within
//! [`SendState`]'s wait of 1 ms are dropped and counted, because late media is worth less than the
//! media behind it.
//!
//! Start reading at `socket.rs`, then `receive.rs` and `send.rs`.

pub mod affinity;
mod ancillary;
pub mod descriptors;
mod gate;
mod receive;
mod send;
mod socket;
#[cfg(test)]
mod testing;
mod wait;

pub use receive::{Datagram, ReceiveBatch};
pub use send::{SendReport, SendState};
pub use socket::{BindError, Options, Socket};
pub use wait::{Poller, Ready, Waker};
