//! How do many datagrams come out of the kernel with one system call?
//!
//! A [`ReceiveBatch`] has room for 64 datagrams, is filled by `recvmmsg(2)` and read by iterating.
//! The bytes are handed out mutable, since SRTP is decrypted where it lies.
//!
//! The pointers into the batch's own memory are written before each call and not read after it, so
//! the batch may move between calls, and between threads.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::ancillary::{self, CONTROL_BYTES, Control};
use super::socket::Socket;

/// Datagrams received by one system call, and their memory.
pub struct ReceiveBatch {
    /// `slots` pieces of `slot_bytes`.
    memory: Box<[u8]>,
    slot_bytes: usize,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// The contents of the first slots: at most one entry per slot, none longer than a slot.
    received: Vec<Slot>,
    truncated: u64,
    errors: u64,
}

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The address of the sender.
    pub source: SocketAddr,
    /// The local address it was sent to; answer from there.
    pub destination_ip: Option<IpAddr>,
    /// When it arrived, since the epoch; `None` unless the socket was asked for it
    /// ([`Options::receive_timestamps`](super::Options::receive_timestamps)).
    pub arrived: Option<Duration>,
    /// The payload, never empty.
    pub bytes: &'a mut [u8],
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    source: SocketAddr,
    destination_ip: Option<IpAddr>,
    /// 0 when the slot holds nothing of use.
    len_bytes: usize,
    /// Each datagram in it; the last may be shorter.
    segment_bytes: usize,
    arrived: Option<Duration>,
}

/// Enough to spread a system call (0.4 µs here, see
/// `examples/udp_cost.rs`) thinly; more would only hurt the caches.
const SLOTS: usize = 64;
/// What we send at most ourselves, and more than an Ethernet frame holds.
const SLOT_BYTES: usize = 2_048;
/// With `UDP_GRO` each slot may take many datagrams, so fewer do.
const OFFLOAD_SLOTS: usize = 16;
/// The most the kernel joins (`GRO_LEGACY_MAX_SIZE`), and some lines more: whole powers of two
/// apart, the beginnings of all slots would push each other out of the caches.
const OFFLOAD_SLOT_BYTES: usize = 65_536 + 17 * 64;
/// How many errors in a row one call takes off the socket before it leaves the rest to the next.
const MAX_ERRORS: usize = 16;

// SAFETY: only the pointers in `headers` and `vectors` stand in the way. They point into this
// batch's own boxes, are written at the start of `Socket::receive`, which has `&mut`, and are not
// read outside of it.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Creates a batch for 64 datagrams of 2048 bytes: 128 KiB.
    pub fn new() -> ReceiveBatch {
        ReceiveBatch::with_slots(SLOTS, SLOT_BYTES)
    }

    /// Creates a batch as `socket` needs it: 16 times 64 KiB where the kernel joins datagrams.
    pub fn for_socket(socket: &Socket) -> ReceiveBatch {
        if socket.has_receive_offload() { ReceiveBatch::with_offload() } else { ReceiveBatch::new() }
    }

    /// Creates a batch for sockets on which the kernel joins datagrams: 16 times 64 KiB.
    pub fn with_offload() -> ReceiveBatch {
        ReceiveBatch::with_slots(OFFLOAD_SLOTS, OFFLOAD_SLOT_BYTES)
    }

    fn with_slots(slots: usize, slot_bytes: usize) -> ReceiveBatch {
        // SAFETY: integers and pointers, for which zeroes are 0 and null.
        let (header, vector, name) = unsafe { std::mem::zeroed() };
        ReceiveBatch {
            memory: vec![0; slots * slot_bytes].into(),
            slot_bytes,
            headers: vec![header; slots].into(),
            vectors: vec![vector; slots].into(),
            names: vec![name; slots].into(),
            controls: vec![Control::EMPTY; slots].into(),
            received: Vec::with_capacity(slots),
            truncated: 0,
            errors: 0,
        }
    }

    /// Returns the datagrams, in the order of their arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        self.memory.chunks_exact_mut(self.slot_bytes).zip(&self.received).flat_map(|(memory, slot)| {
            memory[..slot.len_bytes].chunks_mut(slot.segment_bytes).map(|bytes| Datagram {
                source: slot.source,
                destination_ip: slot.destination_ip,
                arrived: slot.arrived,
                bytes,
            })
        })
    }

    /// Returns the senders of the datagrams, one for each group that the kernel joined.
    pub fn sources(&self) -> impl Iterator<Item = SocketAddr> {
        self.received.iter().map(|slot| slot.source)
    }

    /// Returns how many datagrams [`ReceiveBatch::datagrams`] yields.
    pub fn len(&self) -> usize {
        let datagrams = |slot: &Slot| slot.len_bytes.div_ceil(slot.segment_bytes);
        self.received.iter().map(datagrams).sum()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether more datagrams may wait. If not, the socket was empty a moment ago, and
    /// another call would cost 0.4 µs for nothing.
    pub fn is_full(&self) -> bool {
        self.received.len() == self.headers.len()
    }

    /// Returns how many datagrams were dropped so far because they were longer than a slot.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Returns how many errors were taken off the socket so far, such as a peer's "port
    /// unreachable".
    pub fn errors(&self) -> u64 {
        self.errors
    }

    fn fill(&mut self, socket: &Socket) -> io::Result<usize> {
        self.received.clear();
        self.point();
        let mut errors = 0;
        let count = loop {
            // SAFETY: there are that many headers, and `point` has just made each of them point to
            // a slot, a name and a control buffer of the lengths it says, all exclusively ours.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    self.headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            if count >= 0 {
                break count as usize;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                Some(libc::EINTR) => {}
                // The call itself was wrong: a bug of ours.
                Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL) => {
                    return Err(error);
                }
                // An error of one peer, or a shortage of memory. This call has cleared it.
                _ => {
                    self.errors += 1;
                    errors += 1;
                    if errors == MAX_ERRORS {
                        return Ok(0);
                    }
                }
            }
        };
        for place in 0..count {
            let slot = self.slot(place, socket);
            self.received.push(slot);
        }
        Ok(count)
    }

    /// Makes each header point to its slot.
    fn point(&mut self) {
        let slots = self.memory.chunks_exact_mut(self.slot_bytes);
        let places = slots.zip(&mut self.headers).zip(&mut self.vectors).zip(&mut self.names).zip(&mut self.controls);
        for ((((slot, header), vector), name), control) in places {
            vector.iov_base = slot.as_mut_ptr().cast();
            vector.iov_len = slot.len();
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
            header.msg_flags = 0;
        }
    }

    /// Reads what the kernel has written beside one datagram.
    fn slot(&mut self, place: usize, socket: &Socket) -> Slot {
        let header = &self.headers[place];
        let control_bytes: usize = header.msg_hdr.msg_controllen as _; // its type differs among libcs
        let beside = ancillary::read(&self.controls[place].0[..control_bytes.min(CONTROL_BYTES)]);
        if let Some(drops) = beside.drops {
            socket.kernel_drops.store(drops, Relaxed);
        }
        let is_whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
        let len_bytes = (header.msg_len as usize).min(self.slot_bytes);
        if !is_whole {
            self.truncated += 1;
        }
        let source = address(&self.names[place]);
        Slot {
            source: source.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))),
            destination_ip: beside.destination_ip,
            len_bytes: if is_whole && source.is_some() { len_bytes } else { 0 },
            segment_bytes: beside.segment_bytes.unwrap_or(len_bytes).max(1),
            arrived: beside.arrived,
        }
    }
}

impl Default for ReceiveBatch {
    fn default() -> ReceiveBatch {
        ReceiveBatch::new()
    }
}

impl Socket {
    /// Takes what has arrived, up to a batch full, in place of what `batch` held before.
    ///
    /// Returns how many messages the kernel gave; 0 means that none are waiting. The batch may
    /// yield fewer datagrams (too long ones are dropped) or more (see
    /// [`Options::receive_offload`](super::Options::receive_offload)). An error of one peer is
    /// counted and not returned.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.fill(self)
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: a `sockaddr_storage` is larger than a `sockaddr_in` and as strictly
            // aligned; the family says that it is one; integers take any bits.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = v4.sin_addr.s_addr.to_ne_bytes().into();
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = v6.sin6_addr.s6_addr.into();
            let port = u16::from_be(v6.sin6_port);
            // The flow label is dropped: it does not identify a peer, and comparisons would include
            // it.
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::set_option;
    use super::super::testing::{arrivals, lengths, v4, v4_with, v6};
    use super::super::{Options, SendState};
    use super::*;
    use sfu::transmit::Batch;

    #[test]
    fn nothing_there_is_no_error() {
        let mut batch = ReceiveBatch::new();
        assert_eq!(v4().receive(&mut batch).unwrap(), 0);
        assert!(batch.is_empty());
        assert_eq!(batch.datagrams().count(), 0);
    }

    #[test]
    fn a_datagram_arrives_with_both_addresses() {
        for (here, there) in [(v4(), v4()), (v6(), v6())] {
            here.send_to(b"hello there!", there.local_address()).unwrap();
            let [arrived] = &arrivals(&there, 1)[..] else { panic!("one was sent") };
            assert_eq!(arrived.bytes, b"hello there!");
            assert_eq!(arrived.source, here.local_address());
            assert_eq!(arrived.destination_ip, Some(there.local_address().ip()));
        }
    }

    #[test]
    fn timestamps_name_the_arrival_of_each_datagram() {
        let told = |receive_timestamps| {
            let there = v4_with(&Options { receive_timestamps, ..Options::default() });
            v4().send_to(b"now", there.local_address()).unwrap();
            let mut batch = ReceiveBatch::new();
            while there.receive(&mut batch).unwrap() == 0 {}
            batch.datagrams().map(|datagram| datagram.arrived).collect::<Vec<_>>()
        };
        assert_eq!(told(false), [None], "nobody else is told");
        let [Some(arrived)] = told(true)[..] else { panic!("one was sent") };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // The same clock, in the same units. The kernel may stamp a first datagram when it is read,
        // and clocks are set.
        assert!(now.abs_diff(arrived) < Duration::from_secs(600), "{now:?} {arrived:?}");
    }

    #[test]
    fn bytes_can_be_changed_in_place() {
        let socket = v4();
        socket.send_to(&[1, 2, 3], socket.local_address()).unwrap();
        socket.send_to(&[4], socket.local_address()).unwrap();
        let mut batch = ReceiveBatch::new();
        let mut left = 2;
        while left > 0 {
            left -= socket.receive(&mut batch).unwrap();
            let before: Vec<_> = batch.datagrams().map(|d| d.bytes.to_vec()).collect();
            batch.datagrams().for_each(|d| d.bytes.fill(9));
            let after: Vec<_> = batch.datagrams().map(|d| d.bytes.to_vec()).collect();
            for (before, after) in before.iter().zip(after) {
                assert_eq!(after, vec![9; before.len()]);
            }
        }
    }

    #[test]
    fn more_than_a_batch_arrives_in_order() {
        let socket = v4();
        for n in 0..150_u8 {
            socket.send_to(&[n], socket.local_address()).unwrap();
        }
        let mut batch = ReceiveBatch::new();
        let mut bytes = Vec::new();
        while bytes.len() < 150 {
            let count = socket.receive(&mut batch).unwrap();
            assert_eq!(batch.is_full(), count == 64);
            bytes.extend(batch.datagrams().map(|d| d.bytes[0]));
        }
        assert!(bytes.into_iter().eq(0..150));
    }

    #[test]
    fn too_long_a_datagram_is_dropped_and_counted_and_the_next_is_not() {
        let socket = v4();
        for len in [SLOT_BYTES + 1, SLOT_BYTES, 60_000, 12] {
            socket.send_to(&vec![7; len], socket.local_address()).unwrap();
        }
        let mut batch = ReceiveBatch::new();
        let (mut messages, mut lengths) = (0, Vec::new());
        while messages < 4 {
            messages += socket.receive(&mut batch).unwrap();
            lengths.extend(batch.datagrams().map(|d| d.bytes.len()));
        }
        assert_eq!(lengths, [SLOT_BYTES, 12]);
        assert_eq!(batch.truncated(), 2);
    }

    #[test]
    fn an_empty_datagram_counts_as_a_message_and_yields_nothing() {
        let socket = v4();
        socket.send_to(&[], socket.local_address()).unwrap();
        let mut batch = ReceiveBatch::new();
        while socket.receive(&mut batch).unwrap() == 0 {}
        assert!(batch.is_empty());
    }

    #[test]
    fn joined_datagrams_are_taken_apart() {
        let receiver = v4_with(&Options { receive_offload: true, ..Options::default() });
        assert!(receiver.has_receive_offload());
        let sender = v4();
        let mut sent = Batch::new();
        let all: Vec<Vec<u8>> =
            [1_200, 1_200, 1_200, 1_200, 1_200, 300].iter().enumerate().map(|(n, len)| vec![n as u8; *len]).collect();
        for datagram in &all {
            sent.push(receiver.local_address(), None, datagram);
        }
        sender.send(&sent, &mut SendState::new());

        let mut batch = ReceiveBatch::for_socket(&receiver);
        let mut messages = 0;
        while messages == 0 {
            messages = receiver.receive(&mut batch).unwrap();
        }
        assert_eq!(messages, 1, "the kernel kept them together");
        assert_eq!(batch.len(), 6);
        for (datagram, expected) in batch.datagrams().zip(&all) {
            assert_eq!(datagram.bytes, expected);
            assert_eq!(datagram.source, sender.local_address());
        }

        // And a lone one is no special case.
        sender.send_to(&[5; 77], receiver.local_address()).unwrap();
        assert_eq!(lengths(&receiver, 1), [77]);
    }

    #[test]
    fn what_the_kernel_dropped_is_told_by_the_next_datagram() {
        let receiver = v4_with(&Options { receive_buffer_bytes: 4_096, ..Options::default() });
        let sender = v4();
        for _ in 0..100 {
            sender.send_to(&[0; 1_000], receiver.local_address()).unwrap();
        }
        let mut batch = ReceiveBatch::new();
        let mut kept = 0;
        while let count @ 1.. = receiver.receive(&mut batch).unwrap() {
            kept += count;
        }
        sender.send_to(&[1], receiver.local_address()).unwrap();
        arrivals(&receiver, 1);
        assert_eq!(kept + receiver.kernel_drops() as usize, 100);
        assert!(kept < 100);
    }

    #[test]
    fn a_port_that_is_closed_does_not_disturb_the_others() {
        let socket = v4();
        // We do not ask for these errors; a test has to, to get one.
        set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1).unwrap();
        let closed = v4().local_address();
        socket.send_to(b"anyone?", closed).unwrap();
        let mut batch = ReceiveBatch::new();
        while batch.errors() == 0 {
            assert_eq!(socket.receive(&mut batch).unwrap(), 0);
        }
        socket.send_to(b"me", socket.local_address()).unwrap();
        assert_eq!(lengths(&socket, 1), [2]);
    }

    #[test]
    fn two_sockets_share_a_port_and_each_peer_stays_with_one() {
        let shared = Options { reuse_port: true, ..Options::default() };
        let first = v4_with(&shared);
        let second = Socket::bind(first.local_address(), &shared).unwrap();
        let peers: Vec<_> = (0..64).map(|_| v4()).collect();
        for _ in 0..2 {
            for peer in &peers {
                peer.send_to(b"x", first.local_address()).unwrap();
            }
        }
        let mut owners = std::collections::HashMap::new();
        let mut counts = [0, 0];
        let mut batch = ReceiveBatch::new();
        while counts[0] + counts[1] < 128 {
            for (place, socket) in [&first, &second].into_iter().enumerate() {
                counts[place] += socket.receive(&mut batch).unwrap();
                for datagram in batch.datagrams() {
                    assert_eq!(*owners.entry(datagram.source).or_insert(place), place);
                }
            }
        }
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    }
}
