//! How do many datagrams come out of the kernel with one system call?
//!
//! A [`ReceiveBatch`] has room for 64 datagrams, is filled by `recvmmsg(2)` and read by iterating. The
//! bytes are handed out mutable, since SRTP is decrypted where it lies.
//!
//! Pointers into the batch's own memory are written anew before each call and read by nobody
//! afterwards, so the batch may move between calls, and between threads.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;

use super::ancillary::{self, CONTROL_BYTES, Control};
use super::socket::Socket;

/// Datagrams received together, and the memory they lie in.
pub struct ReceiveBatch {
    /// `slots` pieces of `slot_bytes`.
    memory: Box<[u8]>,
    slot_bytes: usize,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    /// What lies in each of the first slots. Never more than there are slots, and never longer than one.
    received: Vec<Slot>,
    truncated: u64,
    errors: u64,
}

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The local address it was sent to; answer from there.
    pub destination_ip: Option<IpAddr>,
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
}

/// Enough to spread a system call (a measured 0.3 µs) thinly; more would only hurt the caches.
const SLOTS: usize = 64;
/// What we send at most ourselves, and more than an Ethernet frame holds.
const SLOT_BYTES: usize = 2_048;
/// With `UDP_GRO` each slot may take many datagrams, so fewer do.
const OFFLOAD_SLOTS: usize = 16;
/// The most the kernel joins (`GRO_LEGACY_MAX_SIZE`).
const OFFLOAD_SLOT_BYTES: usize = 65_536;
/// How many errors in a row one call takes off the socket before it leaves the rest to the next.
const MAX_ERRORS: usize = 16;

// SAFETY: only the pointers in `headers` and `vectors` stand in the way. They point into this
// batch's own boxes, are written at the start of `Socket::receive`, which has `&mut`, and are not
// read outside of it.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Room for 64 datagrams of 2048 bytes: 128 KiB.
    pub fn new() -> ReceiveBatch {
        ReceiveBatch::with_slots(SLOTS, SLOT_BYTES)
    }

    /// Room as `socket` needs it: where the kernel joins datagrams, 16 times 64 KiB.
    pub fn for_socket(socket: &Socket) -> ReceiveBatch {
        if socket.has_receive_offload() {
            ReceiveBatch::with_slots(OFFLOAD_SLOTS, OFFLOAD_SLOT_BYTES)
        } else {
            ReceiveBatch::new()
        }
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

    /// The datagrams, in the order of their arrival.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        self.memory
            .chunks_exact_mut(self.slot_bytes)
            .zip(&self.received)
            .flat_map(|(memory, slot)| {
                memory[..slot.len_bytes]
                    .chunks_mut(slot.segment_bytes)
                    .map(|bytes| Datagram {
                        source: slot.source,
                        destination_ip: slot.destination_ip,
                        bytes,
                    })
            })
    }

    /// How many datagrams [`ReceiveBatch::datagrams`] yields.
    pub fn len(&self) -> usize {
        let datagrams = |slot: &Slot| slot.len_bytes.div_ceil(slot.segment_bytes);
        self.received.iter().map(datagrams).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many datagrams were dropped so far because they were longer than a slot.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// How many errors were taken off the socket so far, such as a peer's "port unreachable".
    pub fn errors(&self) -> u64 {
        self.errors
    }

    fn fill(&mut self, socket: &Socket) -> io::Result<usize> {
        self.received.clear();
        self.point();
        let mut errors = 0;
        let count = loop {
            // SAFETY: there are that many headers, and `point` has just made each of them point to a
            // slot, a name and a control buffer of the lengths it says, all exclusively ours.
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
                // We called it wrongly.
                Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL) => {
                    return Err(error);
                }
                // One peer's trouble, or short memory. Asking takes it away.
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
        let places = slots
            .zip(&mut self.headers)
            .zip(&mut self.vectors)
            .zip(&mut self.names)
            .zip(&mut self.controls);
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
            len_bytes: if is_whole && source.is_some() {
                len_bytes
            } else {
                0
            },
            segment_bytes: beside.segment_bytes.unwrap_or(len_bytes).max(1),
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
    /// Returns how many messages the kernel gave; 0 means that none are waiting. The batch may yield
    /// fewer datagrams (too long ones are dropped) or more (see
    /// [`Options::receive_offload`](super::Options::receive_offload)). What goes wrong with one
    /// peer is counted, and never an error.
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
            // The flow label is dropped: it is no part of who a peer is, and would break comparison.
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
