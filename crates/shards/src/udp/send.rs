//! How do many datagrams get into the kernel with few system calls?
//!
//! Messages go out 64 at a time (`sendmmsg(2)`), and a message of several datagrams is cut into
//! them by the kernel or the network card (`UDP_SEGMENT`). Measured at a sixth of the CPU time of
//! one `sendto` per datagram; `examples/udp_cost.rs` repeats the measurement.
//!
//! **A peer that fails** (unreachable, forbidden, too long) is counted and stepped over.
//!
//! **A message the kernel will not cut** goes out datagram by datagram. Reasons may lie in the
//! machine (no checksum offload: EIO) or in one path (its MTU is smaller than the datagrams:
//! EINVAL, EMSGSIZE since 6.14), and the error does not say which. So we stop asking to cut after
//! [`REFUSALS_IN_A_ROW`] refusals without a success between, and then still try one message in
//! [`RETRY_EVERY`]: a peer that forges "fragmentation needed" cannot disable cutting for all
//! viewers for good.
//!
//! **A full send buffer** (EAGAIN): a call waits for room, 1 ms in total; datagrams that find no
//! room by then are dropped and counted. The wait exists because an unprivileged process gets a
//! buffer of 208 KiB, less than one batch of key frames, and the card frees it in tens of
//! microseconds: without the wait half a burst would be lost on an idle network. There is no longer
//! wait and no queue, because a buffer that stays full means a saturated card: congestion control
//! has to see the loss, and delay would hide it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::AddAssign;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sfu::transmit::{Batch, Message};

use super::ancillary::{Control, Writer};
use super::socket::Socket;
use super::wait;

/// The memory a call of [`Socket::send`] needs. Keep it; one serves any number of sockets.
pub struct SendState {
    messages: Sheet,
    /// The datagrams of a message the kernel would not cut.
    pieces: Sheet,
}

/// The result of sending a batch. All but `bytes`, `refused` and `waits` count datagrams.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams that the kernel accepted.
    pub datagrams: u64,
    /// Payload bytes of the accepted datagrams.
    pub bytes: u64,
    /// Datagrams that the kernel refused individually: no route, forbidden, too long.
    pub errors: u64,
    /// Datagrams dropped because the send buffer stayed full.
    pub would_block: u64,
    /// Messages that the kernel refused to cut, sent datagram by datagram.
    pub refused: u64,
    /// Number of waits for room in the send buffer.
    pub waits: u64,
}

/// The total time that one call may wait for room in the send buffer; the module comment says why.
/// A guess.
const MAX_WAIT: Duration = Duration::from_millis(1);
/// Refusals without a success between them after which cutting is disabled. A guess: more than the
/// messages of one batch to one peer behind a path with a small MTU.
const REFUSALS_IN_A_ROW: u32 = 32;
/// With cutting disabled, one message in this many still asks for it. A guess: one failed system
/// call among this many messages costs nothing noticeable.
const RETRY_EVERY: u32 = 1_024;
/// How many messages one system call takes. The kernel's bound is 1024; the gain is gone at 64.
const MESSAGES: usize = 64;

impl SendState {
    /// Allocates all there will ever be: 16 KiB.
    pub fn new() -> SendState {
        SendState { messages: Sheet::new(), pieces: Sheet::new() }
    }
}

impl Default for SendState {
    fn default() -> SendState {
        SendState::new()
    }
}

impl AddAssign for SendReport {
    fn add_assign(&mut self, other: SendReport) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.would_block += other.would_block;
        self.refused += other.refused;
        self.waits += other.waits;
    }
}

impl Socket {
    /// Sends the messages of `batch` that are of this socket's address family, in order.
    ///
    /// Never fails as a whole; the report tells. May wait for 1 ms when the send buffer is full.
    pub fn send(&self, batch: &Batch, state: &mut SendState) -> SendReport {
        self.send_through(&mut Kernel(self.as_raw_fd()), batch, state)
    }

    /// Returns whether the kernel cuts messages into datagrams; `false` after [`REFUSALS_IN_A_ROW`]
    /// refusals, when the socket sends datagrams one by one.
    pub fn has_send_offload(&self) -> bool {
        self.offload.is_used()
    }

    fn send_through(&self, exit: &mut impl Exit, batch: &Batch, state: &mut SendState) -> SendReport {
        let SendState { messages, pieces } = state;
        let mut turn = Turn { exit, batch, offload: &self.offload, wait_until: None, report: SendReport::default() };
        let is_ours = |m: &&Message| m.destination.is_ipv4() == self.local_address().is_ipv4();
        for message in batch.messages().iter().filter(is_ours) {
            if message.segments == 1 || self.offload.wants_next() {
                messages.push(*message);
                turn.flush_if_full(messages, pieces);
            } else {
                for datagram in datagrams(message) {
                    messages.push(datagram);
                    turn.flush_if_full(messages, pieces);
                }
            }
        }
        turn.flush(messages, pieces);
        turn.report
    }
}

/// One call of [`Socket::send`].
struct Turn<'a, E> {
    exit: &'a mut E,
    batch: &'a Batch,
    offload: &'a Offload,
    /// Set when we first had to wait.
    wait_until: Option<Instant>,
    report: SendReport,
}

enum Step {
    /// This number of messages is finished, sent or dropped.
    Done(usize),
    /// The kernel refused to cut the next message.
    Refused,
    /// The send buffer has no room.
    Blocked,
}

impl<E: Exit> Turn<'_, E> {
    fn flush_if_full(&mut self, messages: &mut Sheet, pieces: &mut Sheet) {
        if messages.len() == MESSAGES {
            self.flush(messages, pieces);
        }
    }

    /// Sends all of `messages`; `pieces` is scratch.
    fn flush(&mut self, messages: &mut Sheet, pieces: &mut Sheet) {
        let mut next = 0;
        while next < messages.len() {
            match self.step(messages, next) {
                Step::Done(count) => next += count,
                Step::Refused => {
                    self.send_in_pieces(&messages.messages[next], pieces);
                    next += 1;
                }
                Step::Blocked => break,
            }
        }
        messages.clear();
    }

    /// Sends the datagrams of a message that the kernel would not cut.
    fn send_in_pieces(&mut self, message: &Message, pieces: &mut Sheet) {
        let before = self.report.datagrams;
        let mut all = datagrams(message).peekable();
        while all.peek().is_some() {
            for datagram in all.by_ref().take(MESSAGES) {
                pieces.push(datagram);
            }
            let mut next = 0;
            while let Step::Done(count @ 1..) = self.step(pieces, next) {
                next += count;
            }
            pieces.clear();
        }
        // When not even one of them went, it was not about cutting.
        if self.report.datagrams > before {
            self.report.refused += 1;
            self.offload.refused();
        }
    }

    /// One system call that got somewhere, and where.
    fn step(&mut self, sheet: &mut Sheet, next: usize) -> Step {
        if next == sheet.len() {
            return Step::Done(0);
        }
        let segments = sheet.messages[next].segments;
        loop {
            let error = match self.exit.send(sheet, next, self.batch) {
                Ok(count) => {
                    self.count_sent(&sheet.messages[next..next + count]);
                    return Step::Done(count);
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // The last two: the kernel is short of memory, which passes as well.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                    if !self.wait() {
                        let rest = sheet.messages[next..].iter().map(|message| message.segments);
                        self.report.would_block += rest.sum::<usize>() as u64;
                        return Step::Blocked;
                    }
                }
                Some(code) if segments > 1 && is_refusal(code) => return Step::Refused,
                _ => {
                    self.report.errors += segments as u64;
                    return Step::Done(1);
                }
            }
        }
    }

    fn count_sent(&mut self, messages: &[Message]) {
        for message in messages {
            let segments = message.segments;
            self.report.datagrams += segments as u64;
            self.report.bytes += message.len_bytes as u64;
            if segments > 1 {
                self.offload.accepted();
            }
        }
    }

    /// Waits for room in the send buffer for the remaining part of [`MAX_WAIT`]. Returns `true` if
    /// there is room.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let until = *self.wait_until.get_or_insert_with(|| {
            self.report.waits += 1;
            now + MAX_WAIT
        });
        now < until && self.exit.wait(until - now)
    }
}

/// Returns whether the error code may mean that the kernel refused to cut the message.
fn is_refusal(code: i32) -> bool {
    matches!(code, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
}

/// The system call, which tests replace.
trait Exit {
    /// Sends messages of `sheet` from `next` on. Returns how many, at least one, or why not
    /// the first of them.
    fn send(&mut self, sheet: &mut Sheet, next: usize, batch: &Batch) -> io::Result<usize>;

    /// Waits until there is room.
    fn wait(&mut self, timeout: Duration) -> bool;
}

struct Kernel(RawFd);

impl Exit for Kernel {
    fn send(&mut self, sheet: &mut Sheet, next: usize, batch: &Batch) -> io::Result<usize> {
        sheet.send(next, batch, self.0)
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        wait::writable(self.0, timeout)
    }
}

/// The arguments of `sendmmsg` for up to [`MESSAGES`] messages.
///
/// The pointers are written before each call and not read after it, so a sheet may move.
struct Sheet {
    messages: Vec<Message>,
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
}

/// An address of either family; `sockaddr_storage` would be four times as large.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

// SAFETY: only the pointers in `headers` and `vectors` stand in the way. They point into this
// sheet's own boxes and the batch, are written in `send`, which has `&mut`, and not read outside of
// it.
unsafe impl Send for Sheet {}

impl Sheet {
    fn new() -> Sheet {
        // SAFETY: integers and pointers, for which zeroes are 0 and null.
        let (header, vector, name) = unsafe { std::mem::zeroed() };
        Sheet {
            messages: Vec::with_capacity(MESSAGES),
            headers: vec![header; MESSAGES].into(),
            vectors: vec![vector; MESSAGES].into(),
            names: vec![name; MESSAGES].into(),
            controls: vec![Control::EMPTY; MESSAGES].into(),
        }
    }

    /// Adds a message. The caller sees to it that there is room.
    fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn clear(&mut self) {
        self.messages.clear();
    }

    /// Sends messages from `next` on, and returns how many.
    fn send(&mut self, next: usize, batch: &Batch, fd: RawFd) -> io::Result<usize> {
        let places = self.messages[next..]
            .iter()
            .zip(&mut self.headers)
            .zip(&mut self.vectors)
            .zip(&mut self.names)
            .zip(&mut self.controls);
        let mut count: libc::c_uint = 0;
        for ((((message, header), vector), name), control) in places {
            let bytes = batch.bytes(message);
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            let control_bytes = write_control(message, control);
            let header = &mut header.msg_hdr;
            header.msg_namelen = write_name(message.destination, name);
            header.msg_name = (&raw mut *name).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = if control_bytes > 0 { control.0.as_mut_ptr().cast() } else { std::ptr::null_mut() };
            header.msg_controllen = control_bytes as _;
            count += 1;
        }
        // SAFETY: the first `count` headers have just been made to point to a name, a control
        // buffer and bytes of the lengths they say. All outlive the call. The kernel writes only to
        // the headers, which are ours; it does not write to `iov_base`, which may thus be from a
        // `&`.
        let sent = unsafe { libc::sendmmsg(fd, self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
        match sent {
            1.. => Ok(sent as usize),
            // 0 would mean that there was nothing to send.
            0 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Returns the length of the address.
fn write_name(address: SocketAddr, name: &mut Name) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            name.v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            name.v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Returns how many bytes were written.
fn write_control(message: &Message, control: &mut Control) -> usize {
    let mut writer = Writer::new(control);
    if message.segments > 1 {
        // A message is 64,000 bytes at most, and so is a segment.
        let segment = message.segment_bytes as u16;
        writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    // One of the other family would be refused, and cannot have been meant.
    let is_fitting = |source: &IpAddr| source.is_ipv4() == message.destination.is_ipv4();
    if let Some(source) = message.source.filter(is_fitting) {
        writer.push_source(source);
    }
    writer.used_bytes()
}

/// Returns the datagrams of a message as messages of their own.
fn datagrams(message: &Message) -> impl Iterator<Item = Message> {
    let Message { destination, source, start, len_bytes, segment_bytes, segments } = *message;
    (0..segments).map(move |place| {
        let skip = place * segment_bytes;
        Message::single(destination, source, start + skip, segment_bytes.min(len_bytes - skip))
    })
}

/// Whether to ask the kernel to cut messages.
///
/// Atomic so that a [`Socket`] can be shared; only the thread that sends writes here.
#[derive(Debug)]
pub(super) struct Offload {
    /// The kernel knows the option.
    is_known: bool,
    refused_in_a_row: AtomicU32,
    spared: AtomicU32,
}

impl Offload {
    pub(super) fn new(is_known: bool) -> Offload {
        Offload { is_known, refused_in_a_row: AtomicU32::new(0), spared: AtomicU32::new(0) }
    }

    /// Returns whether messages usually go uncut to the kernel.
    pub(super) fn is_used(&self) -> bool {
        self.is_known && self.refused_in_a_row.load(Relaxed) < REFUSALS_IN_A_ROW
    }

    /// Returns whether the next message is to go uncut.
    fn wants_next(&self) -> bool {
        if self.is_used() {
            return true;
        }
        let spared = self.spared.fetch_add(1, Relaxed);
        self.is_known && spared % RETRY_EVERY == RETRY_EVERY - 1
    }

    fn accepted(&self) {
        if self.refused_in_a_row.load(Relaxed) > 0 {
            self.refused_in_a_row.store(0, Relaxed);
        }
    }

    fn refused(&self) {
        let refused = self.refused_in_a_row.load(Relaxed);
        self.refused_in_a_row.store(refused.saturating_add(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::set_option;
    use super::super::testing::{arrivals, lengths, v4, v6};
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn a_message_arrives_as_the_datagrams_it_was_made_of() {
        for (sender, receiver) in [(v4(), v4()), (v6(), v6())] {
            let batch = batch_of(&[1_200, 1_200, 1_200, 1_200, 1_200, 300], &receiver);
            assert_eq!(batch.messages().len(), 1);
            let report = sender.send(&batch, &mut SendState::new());
            assert_eq!((report.datagrams, report.bytes), (6, 6_300));
            assert_eq!((report.errors, report.refused, report.would_block), (0, 0, 0));
            assert_arrived(&receiver, &batch);
        }
    }

    #[test]
    fn everyone_of_many_peers_gets_theirs() {
        let peers: Vec<_> = (0..50).map(|_| v4()).collect();
        let sender = v4();
        let mut batch = Batch::new();
        let mut state = SendState::new();
        for round in 1..=3 {
            batch.clear();
            for (n, peer) in peers.iter().enumerate() {
                for _ in 0..round {
                    batch.push(peer.local_address(), None, &[n as u8; 20]);
                }
                batch.push(peer.local_address(), None, &[n as u8; 30]);
            }
            let report = sender.send(&batch, &mut state);
            assert_eq!(batch.messages().len(), 100, "more than one sheet");
            assert_eq!(report.datagrams, 50 * (round + 1));
            for (n, peer) in peers.iter().enumerate() {
                for datagram in arrivals(peer, round as usize + 1) {
                    assert!(datagram.bytes.iter().all(|byte| *byte == n as u8));
                }
            }
        }
    }

    #[test]
    fn each_socket_takes_its_own_family() {
        let (four, six) = (v4(), v6());
        let mut batch = Batch::new();
        for n in 0..10 {
            batch.push(four.local_address(), None, &[4; 10]);
            batch.push(six.local_address(), None, &vec![6; 20 + n]);
        }
        let mut state = SendState::new();
        assert_eq!(four.send(&batch, &mut state).datagrams, 10);
        assert_eq!(six.send(&batch, &mut state).datagrams, 10);
        assert_eq!(lengths(&four, 10), [10; 10]);
        assert!(lengths(&six, 10).into_iter().eq(20..30));
    }

    #[test]
    fn the_source_address_is_the_one_asked_for() {
        let (sender, receiver) = (v4(), v4());
        let other: IpAddr = "127.0.0.2".parse().unwrap(); // all of 127/8 is this machine
        let mut batch = Batch::new();
        for _ in 0..3 {
            batch.push(receiver.local_address(), Some(other), &[1; 100]);
        }
        batch.push(receiver.local_address(), None, &[1; 10]);
        sender.send(&batch, &mut SendState::new());
        let sources: Vec<_> = arrivals(&receiver, 4).iter().map(|datagram| datagram.source).collect();
        let mut expected = [SocketAddr::new(other, sender.local_address().port()); 4];
        expected[3] = sender.local_address();
        assert_eq!(sources, expected);

        let (sender, receiver) = (v6(), v6());
        let mut batch = Batch::new();
        let here = sender.local_address().ip();
        batch.push(receiver.local_address(), Some(here), &[1; 100]);
        batch.push(receiver.local_address(), Some(here), &[1; 100]);
        batch.push(receiver.local_address(), Some(other), &[1; 50]); // senseless, so not heeded
        sender.send(&batch, &mut SendState::new());
        for datagram in arrivals(&receiver, 3) {
            assert_eq!(datagram.source, sender.local_address());
        }
    }

    #[test]
    fn a_source_that_is_not_ours_fails_alone_and_is_not_held_against_cutting() {
        let (sender, receiver) = (v4(), v4());
        let foreign = Some("192.0.2.1".parse().unwrap());
        let mut batch = Batch::new();
        for _ in 0..REFUSALS_IN_A_ROW + 1 {
            batch.push(receiver.local_address(), foreign, &[1; 100]);
            batch.push(receiver.local_address(), foreign, &[1; 100]);
            batch.push(receiver.local_address(), foreign, &[1; 10]);
        }
        batch.push(receiver.local_address(), None, &[2; 10]);
        let report = sender.send(&batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.errors), (1, 99));
        assert_eq!(report.refused, 0);
        assert!(sender.has_send_offload());
        assert_eq!(lengths(&receiver, 1), [10]);
    }

    #[test]
    fn one_failing_peer_does_not_stop_the_rest() {
        let (sender, receiver) = (v4(), v4());
        let mut batch = Batch::new();
        for n in 0..100 {
            let bad = [
                "127.255.255.255:9", // a broadcast address: EACCES
                "127.0.0.1:0",       // EINVAL
            ];
            batch.push(bad[n % 2].parse().unwrap(), None, &[0; 10]);
            batch.push(receiver.local_address(), None, &[n as u8; 10]);
        }
        let report = sender.send(&batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.errors), (100, 100));
        let arrived = arrivals(&receiver, 100);
        assert!(arrived.iter().map(|d| d.bytes[0]).eq(0..100));
    }

    #[test]
    fn what_the_kernel_will_not_cut_goes_in_pieces_and_in_order() {
        let (sender, receiver) = (v4(), v4());
        refuse_to_cut(&sender, true);
        let batch = batch_of(&[900, 900, 900, 50, 800, 800, 10], &receiver);
        assert_eq!(batch.messages().len(), 2);
        let report = sender.send(&batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.bytes), (7, 4_360));
        assert_eq!((report.errors, report.refused), (0, 2));
        assert_arrived(&receiver, &batch);
        assert!(sender.has_send_offload(), "twice is not always");
    }

    #[test]
    fn after_many_refusals_we_cut_ourselves_and_notice_when_that_has_passed() {
        let (sender, receiver) = (v4(), v4());
        let mut state = SendState::new();
        let mut send = |pairs: u32| {
            let mut batch = Batch::new();
            for n in 0..pairs {
                let peer = SocketAddr::from(([127, 0, 0, 1], receiver.local_address().port()));
                let peer = if n % 2 == 0 { peer } else { sender.local_address() };
                batch.push(peer, None, &[1; 100]);
                batch.push(peer, None, &[1; 100]);
            }
            let report = sender.send(&batch, &mut state);
            assert_eq!(report.datagrams, u64::from(pairs) * 2);
            report.refused
        };
        refuse_to_cut(&sender, true);
        assert_eq!(send(REFUSALS_IN_A_ROW), u64::from(REFUSALS_IN_A_ROW));
        assert!(!sender.has_send_offload());
        assert_eq!(send(RETRY_EVERY - 1), 0);
        assert_eq!(send(1), 1, "a try");
        refuse_to_cut(&sender, false);
        assert_eq!(send(RETRY_EVERY - 1), 0);
        assert!(!sender.has_send_offload());
        assert_eq!(send(1), 0, "a try that succeeds");
        assert!(sender.has_send_offload());
    }

    #[test]
    fn each_error_that_may_mean_a_refusal_is_taken_for_one() {
        for code in [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::ENOPROTOOPT, libc::EOPNOTSUPP] {
            let (sender, receiver) = (v4(), v4());
            let batch = batch_of(&[500, 500, 500], &receiver);
            let mut exit = Obstacles::new(&sender, [code]);
            let report = sender.send_through(&mut exit, &batch, &mut SendState::new());
            assert_eq!((report.datagrams, report.refused), (3, 1));
            assert_arrived(&receiver, &batch);
        }
    }

    #[test]
    fn a_lone_datagram_that_is_too_long_is_an_error() {
        let (sender, receiver) = (v4(), v4());
        let batch = batch_of(&[500, 600], &receiver);
        let mut exit = Obstacles::new(&sender, [libc::EMSGSIZE]);
        let report = sender.send_through(&mut exit, &batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.errors), (1, 1));
        assert_eq!(lengths(&receiver, 1), [600]);
    }

    #[test]
    fn a_full_buffer_is_waited_for() {
        let (sender, receiver) = (v4(), v4());
        let batch = batch_of(&[500, 600], &receiver);
        let mut exit = Obstacles::new(&sender, [libc::EINTR, libc::EAGAIN, libc::EAGAIN]);
        let report = sender.send_through(&mut exit, &batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.would_block), (2, 0));
        assert_eq!((report.waits, exit.waited), (1, 2));
        assert_arrived(&receiver, &batch);
    }

    #[test]
    fn a_buffer_that_stays_full_drops_the_rest_and_nothing_is_kept() {
        let (sender, receiver) = (v4(), v4());
        let mut state = SendState::new();
        let mut exit = Obstacles::new(&sender, [libc::EAGAIN]);
        exit.stays_full = true;
        let batch = batch_of(&[500, 500, 600], &receiver);
        let report = sender.send_through(&mut exit, &batch, &mut state);
        assert_eq!((report.datagrams, report.would_block), (0, 3));
        assert_eq!(exit.waited, 1);

        let batch = batch_of(&[20], &receiver);
        assert_eq!(sender.send(&batch, &mut state).datagrams, 1);
        assert_eq!(lengths(&receiver, 1), [20]);
    }

    #[test]
    fn a_buffer_that_fills_up_within_pieces_drops_the_remaining_pieces() {
        let (sender, receiver) = (v4(), v4());
        let batch = batch_of(&[500, 500, 500], &receiver);
        let mut exit = Obstacles::new(&sender, [libc::EIO, libc::EAGAIN]);
        exit.stays_full = true;
        let report = sender.send_through(&mut exit, &batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.would_block), (0, 3));
        assert_eq!((report.errors, report.refused), (0, 0));
    }

    #[test]
    fn want_of_memory_does_not_hold_us_for_ever() {
        let (sender, receiver) = (v4(), v4());
        let batch = batch_of(&[500], &receiver);
        // More than can be tried in the time there is.
        let mut exit = Obstacles::new(&sender, vec![libc::ENOBUFS; 100_000]);
        let report = sender.send_through(&mut exit, &batch, &mut SendState::new());
        assert_eq!((report.datagrams, report.would_block), (0, 1));
    }

    #[test]
    fn another_handle_sends_from_the_same_port() {
        let (sender, receiver) = (v4(), v4());
        let clone = sender.try_clone().unwrap();
        std::thread::spawn(move || {
            let batch = batch_of(&[30, 30], &receiver);
            clone.send(&batch, &mut SendState::new());
            for datagram in arrivals(&receiver, 2) {
                assert_eq!(datagram.source, clone.local_address());
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn state_may_move_to_another_thread() {
        let (sender, receiver) = (v4(), v4());
        let mut state = SendState::new();
        let batch = batch_of(&[30, 30, 10], &receiver);
        sender.send(&batch, &mut state);
        std::thread::spawn(move || sender.send(&batch, &mut state)).join().unwrap();
        assert_eq!(lengths(&receiver, 6), [30, 30, 10, 30, 30, 10]);
    }

    /// Fails with each error of a script first, and then is the kernel.
    struct Obstacles {
        errors: VecDeque<i32>,
        kernel: Kernel,
        stays_full: bool,
        waited: u32,
    }

    impl Obstacles {
        fn new(socket: &Socket, errors: impl Into<VecDeque<i32>>) -> Obstacles {
            Obstacles { errors: errors.into(), kernel: Kernel(socket.as_raw_fd()), stays_full: false, waited: 0 }
        }
    }

    impl Exit for Obstacles {
        fn send(&mut self, sheet: &mut Sheet, next: usize, batch: &Batch) -> io::Result<usize> {
            match self.errors.pop_front() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => self.kernel.send(sheet, next, batch),
            }
        }

        fn wait(&mut self, timeout: Duration) -> bool {
            assert!(timeout <= MAX_WAIT);
            self.waited += 1;
            !self.stays_full && self.kernel.wait(timeout)
        }
    }

    /// The kernel does not cut where it may not compute checksums (EINVAL).
    fn refuse_to_cut(socket: &Socket, refuse: bool) {
        let value = libc::c_int::from(refuse);
        set_option(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, value).unwrap();
    }

    fn batch_of(lengths: &[usize], receiver: &Socket) -> Batch {
        let mut batch = Batch::new();
        for (n, len) in lengths.iter().enumerate() {
            batch.push(receiver.local_address(), None, &vec![n as u8; *len]);
        }
        batch
    }

    fn assert_arrived(receiver: &Socket, batch: &Batch) {
        let expected: Vec<_> = batch.datagrams().map(|(_, bytes)| bytes.to_vec()).collect();
        let arrived: Vec<_> = arrivals(receiver, expected.len()).into_iter().map(|datagram| datagram.bytes).collect();
        assert_eq!(arrived, expected);
    }
}
