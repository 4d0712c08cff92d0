//! What does one datagram cost, by way of sending it?
//!
//! `cargo run --release -p shards --example udp_cost`: one second each over loopback, to 64 peers
//! that read nothing. Delivery is part of the price there (the sender's system call runs it), so
//! the differences say more than the numbers.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use sfu::transmit::Batch;
use shards::udp::{Options, Poller, ReceiveBatch, SendState, Socket, Waker};

/// An SRTP packet of video: header and extensions, 1100 bytes, tag.
const DATAGRAM: [u8; 1_136] = [0x80; 1_136];
const PEERS: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let socket = Socket::bind("127.0.0.1:0".parse()?, &Options::default())?;
    let tiny = Options { receive_buffer_bytes: 2_048, ..Options::default() };
    let peers = (0..PEERS)
        .map(|_| Socket::bind("127.0.0.1:0".parse()?, &tiny).map_err(Into::into))
        .collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()?;

    let plain = UdpSocket::bind("127.0.0.1:0")?;
    measure("sendto, one by one", || {
        for peer in &peers {
            plain.send_to(&DATAGRAM, peer.local_address()).expect("loopback");
        }
        PEERS as u64
    });

    let mut state = SendState::new();
    for (name, per_peer) in [("sendmmsg 64", 1), ("sendmmsg 64 x GSO 8", 8)] {
        let mut batch = Batch::new();
        for peer in &peers {
            for _ in 0..per_peer {
                batch.push(peer.local_address(), None, &DATAGRAM);
            }
        }
        measure(name, || socket.send(&batch, &mut state).datagrams);
    }

    for (name, receive_offload) in [("  and recvmmsg 64", false), ("  and recvmmsg, GRO", true)] {
        let receiver = Socket::bind("127.0.0.1:0".parse()?, &Options { receive_offload, ..Options::default() })?;
        let mut received = ReceiveBatch::for_socket(&receiver);
        let mut batch = Batch::new();
        for _ in 0..64 {
            batch.push(receiver.local_address(), None, &DATAGRAM);
        }
        measure(name, || {
            socket.send(&batch, &mut state);
            let mut count = 0;
            while receiver.receive(&mut received).expect("open") > 0 {
                count += received.datagrams().count() as u64;
            }
            count
        });
    }

    let mut received = ReceiveBatch::new();
    measure("recvmmsg, nothing there", || {
        socket.receive(&mut received).expect("open");
        1
    });
    let waker = Waker::new()?;
    let mut poller = Poller::new(&[socket.as_raw_fd(), waker.as_raw_fd()]);
    measure("ppoll of two, no wait", || {
        poller.wait(Some(Duration::ZERO)).expect("open");
        1
    });
    measure("wake and drain", || {
        waker.wake();
        waker.drain();
        1
    });
    waker.wake();
    measure("wake, already awake", || {
        (0..64).for_each(|_| waker.wake());
        64
    });
    Ok(())
}

/// Does `turn` for a second; it returns how many it did. Prints processor time, so that a busy
/// machine disturbs less.
fn measure(name: &str, mut turn: impl FnMut() -> u64) {
    let (start, used) = (Instant::now(), processor_nanos());
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        count += turn();
    }
    let each = (processor_nanos() - used) as f64 / count.max(1) as f64;
    println!("{name:<26} {each:>7.0} ns");
}

/// Returns how long this thread has run so far (`proc(5)`).
fn processor_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux with /proc");
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).expect("a number")
}
