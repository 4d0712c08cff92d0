//! Sockets on this machine for the tests of this folder. They wait for the kernel, never for the
//! clock.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Options, Poller, ReceiveBatch, Socket};

/// Longer than a loaded machine needs; a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn v4() -> Socket {
    v4_with(&Options::default())
}

pub(super) fn v4_with(options: &Options) -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

pub(super) fn v6() -> Socket {
    Socket::bind("[::1]:0".parse().unwrap(), &Options::default()).unwrap()
}

/// What a datagram was when it arrived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrived {
    pub(super) bytes: Vec<u8>,
    pub(super) source: SocketAddr,
    pub(super) destination_ip: Option<IpAddr>,
}

/// Waits for exactly `count` datagrams, and sees that no more are there.
pub(super) fn arrivals(socket: &Socket, count: usize) -> Vec<Arrived> {
    let mut batch = ReceiveBatch::for_socket(socket);
    let mut poller = Poller::new(&[socket.as_raw_fd()]);
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let ready = poller.wait(Some(PATIENCE)).unwrap();
        assert!(ready.contains(0), "{} of {count} came", arrived.len());
        while socket.receive(&mut batch).unwrap() > 0 {
            let len = batch.len();
            arrived.extend(batch.datagrams().map(|datagram| Arrived {
                bytes: datagram.bytes.to_vec(),
                source: datagram.source,
                destination_ip: datagram.destination_ip,
            }));
            assert!(arrived.len() >= len);
        }
    }
    assert_eq!(arrived.len(), count);
    arrived
}

/// Returns the lengths of the next `count` datagrams.
pub(super) fn lengths(socket: &Socket, count: usize) -> Vec<usize> {
    let arrived = arrivals(socket, count);
    arrived.iter().map(|datagram| datagram.bytes.len()).collect()
}
