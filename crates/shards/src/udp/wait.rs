//! How does a shard sleep until a datagram, a neighbour or the clock wants it?
//!
//! With `ppoll(2)`: for three descriptors it needs no set-up, its timeout is in nanoseconds, and a
//! thread that is busy costs the kernel nothing. With `epoll` every arriving datagram would run
//! a callback under a lock, asleep or not, to spare us handing over 24 bytes.
//!
//! Both round timeouts up by the thread's timer slack, 50 µs by default, which is what we want: our
//! deadlines are milliseconds apart and a common wake-up is cheaper than two.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::Duration;

/// Waits for a handful of descriptors to become readable.
#[derive(Debug)]
pub struct Poller {
    fds: Vec<libc::pollfd>,
}

/// Which descriptors have something to read, by their place in [`Poller::new`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ready(u32);

impl Poller {
    /// Watches `fds`, at most 32.
    ///
    /// They are borrowed by number: keep their owners open for as long as the poller is used.
    pub fn new(fds: &[RawFd]) -> Poller {
        assert!(fds.len() <= 32, "`Ready` has 32 bits");
        let watch = |fd: &RawFd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 };
        Poller { fds: fds.iter().map(watch).collect() }
    }

    /// Sleeps until something can be read or `timeout` is over; `None` means without end, zero
    /// means not at all.
    ///
    /// May return early with nothing ready (a signal). Fails only when a descriptor was closed or
    /// the kernel is out of memory.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        let count = poll(&mut self.fds, timeout)?;
        let mut ready = Ready::default();
        if count == 0 {
            return Ok(ready);
        }
        for (place, fd) in self.fds.iter().enumerate() {
            if fd.revents & libc::POLLNVAL != 0 {
                return Err(io::Error::from_raw_os_error(libc::EBADF));
            }
            // An error (POLLERR) counts as readable: reading is what takes it away.
            if fd.revents != 0 {
                ready.0 |= 1 << place;
            }
        }
        Ok(ready)
    }
}

impl Ready {
    /// Returns whether the descriptor at `place` can be read.
    pub fn contains(self, place: usize) -> bool {
        place < 32 && self.0 & (1 << place) != 0
    }

    /// Returns whether no descriptor can be read: the timeout has passed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Wakes the one thread that polls it, from any other.
///
/// Clones wake the same thread. A thousand calls before it gets up cost one system call.
///
/// # Why no wake-up is lost
///
/// The waker puts its message into the mailbox *before* [`Waker::wake`]; the sleeper empties the
/// mailbox *after* [`Waker::drain`]. Both then swap `is_woken`, and swaps of one atomic have an
/// order:
///
/// - The waker's swap comes first: the sleeper's swap reads from it, or from a later one in an
///   unbroken row of swaps, so by release and acquire it sees all that came before: the message is
///   in the mailbox that it empties next. The sleeper does wake: while `is_woken` is `true`, the
///   waker that set it has written to the eventfd or is about to.
/// - The sleeper's swap comes first: the first waker behind it reads `false` and writes. The
///   sleeper's read is over by then, as it precedes its swap, so the next poll returns at once.
///
/// The read must precede the swap. In the other order a write could fall between them and be
/// consumed with `is_woken` left `true`: no waker would ever write again.
///
/// A waker that is held up between its swap and its write wakes the sleeper for nothing, once.
#[derive(Debug, Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    /// A waker has written or is about to, and the sleeper has not drained the eventfd yet.
    is_woken: AtomicBool,
}

impl Waker {
    /// Opens an `eventfd(2)`.
    pub fn new() -> io::Result<Waker> {
        // SAFETY: takes two integers; a result that is not negative is a new descriptor, which has
        // no other owner.
        let event = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Waker { shared: Arc::new(Shared { event, is_woken: AtomicBool::new(false) }) })
    }

    /// Makes the sleeper's next or present [`Poller::wait`] return. Call it after the message is in
    /// its mailbox.
    pub fn wake(&self) {
        if self.shared.is_woken.swap(true, AcqRel) {
            return;
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the kernel reads 8 bytes of `one`. It cannot fail: the descriptor is open and
        // the counter, of 64 bits, is never near its end.
        unsafe { libc::write(self.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes the next [`Waker::wake`] count again. Only for the thread that polls; call it before
    /// emptying the mailbox, when [`Poller::wait`] says that it is ready.
    pub fn drain(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: the kernel writes 8 bytes into `count`, or none if no waker has written (EAGAIN).
        unsafe { libc::read(self.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        self.shared.is_woken.swap(false, AcqRel);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.event.as_raw_fd()
    }
}

/// Waits until a datagram can be sent, at most for `timeout`. Returns whether it can.
pub(super) fn writable(fd: RawFd, timeout: Duration) -> bool {
    let mut fds = [libc::pollfd { fd, events: libc::POLLOUT, revents: 0 }];
    matches!(poll(&mut fds, Some(timeout)), Ok(count) if count > 0)
}

/// `ppoll(2)`. A signal counts as nothing ready.
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos() as _,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is that long and exclusively ours; `timeout` is null or lives across the call;
    // a null signal mask means to leave signals alone.
    let count = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, std::ptr::null()) };
    if count >= 0 {
        return Ok(count as usize);
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{PATIENCE, v4, v6};
    use super::*;
    use std::sync::mpsc;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn time_passes_and_nothing_comes() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(&[waker.as_raw_fd()]);
        assert!(poller.wait(NOW).unwrap().is_empty());
        let (before, timeout) = (std::time::Instant::now(), Duration::from_nanos(300_500));
        assert!(poller.wait(Some(timeout)).unwrap().is_empty());
        assert!(before.elapsed() >= timeout);
    }

    #[test]
    fn it_tells_which_one_is_ready() {
        let (four, six, waker) = (v4(), v6(), Waker::new().unwrap());
        let mut poller = Poller::new(&[four.as_raw_fd(), six.as_raw_fd(), waker.as_raw_fd()]);
        six.send_to(b"x", six.local_address()).unwrap();
        let ready = poller.wait(Some(PATIENCE)).unwrap();
        assert_eq!([0, 1, 2, 3, 99].map(|n| ready.contains(n)), [false, true, false, false, false]);
        waker.wake();
        let ready = poller.wait(None).unwrap();
        assert_eq!([0, 1, 2].map(|n| ready.contains(n)), [false, true, true]);
    }

    #[test]
    fn a_closed_descriptor_is_an_error_and_no_busy_loop() {
        // The last number a process could have, so that no other test opens it meanwhile.
        let mut poller = Poller::new(&[RawFd::MAX]);
        let error = poller.wait(Some(PATIENCE)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn many_wakes_are_one_and_count_again_after_draining() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(&[waker.as_raw_fd()]);
        for _ in 0..3 {
            waker.clone().wake();
            waker.wake();
            assert!(poller.wait(NOW).unwrap().contains(0));
            assert_eq!(writes(&waker), 1);
            waker.drain();
            assert!(poller.wait(NOW).unwrap().is_empty());
        }
        waker.drain(); // for nothing
        waker.wake();
        assert!(poller.wait(NOW).unwrap().contains(0));
    }

    /// Each thread waits until its message is read before it sends the next: one lost wake-up, and
    /// all stop.
    #[test]
    fn no_wake_is_lost_among_threads_that_wait_for_an_answer() {
        const THREADS: usize = 4;
        const MESSAGES: usize = 5_000;
        let waker = Waker::new().unwrap();
        let (mailbox, messages) = mpsc::channel();
        let mut answers = Vec::new();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (answer, answered) = mpsc::channel();
                answers.push(answer);
                let (waker, mailbox) = (waker.clone(), mailbox.clone());
                std::thread::spawn(move || {
                    for _ in 0..MESSAGES {
                        mailbox.send(thread).unwrap();
                        waker.wake();
                        answered.recv().unwrap();
                    }
                })
            })
            .collect();
        let mut poller = Poller::new(&[waker.as_raw_fd()]);
        let mut seen = 0;
        while seen < THREADS * MESSAGES {
            let ready = poller.wait(Some(PATIENCE)).unwrap();
            assert!(ready.contains(0), "asleep with {seen} messages seen");
            waker.drain();
            for thread in messages.try_iter() {
                seen += 1;
                answers[thread].send(()).unwrap();
            }
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
    }

    /// No answers here, so threads run into each other, and into a sleeper that is just getting up.
    #[test]
    fn no_wake_is_lost_among_threads_in_a_hurry() {
        const THREADS: usize = 8;
        const MESSAGES: usize = 20_000;
        let waker = Waker::new().unwrap();
        let (mailbox, messages) = mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (waker, mailbox) = (waker.clone(), mailbox.clone());
                std::thread::spawn(move || {
                    for _ in 0..MESSAGES {
                        mailbox.send(()).unwrap();
                        waker.wake();
                    }
                })
            })
            .collect();
        let mut poller = Poller::new(&[waker.as_raw_fd()]);
        let mut seen = 0;
        while seen < THREADS * MESSAGES {
            let ready = poller.wait(Some(PATIENCE)).unwrap();
            assert!(ready.contains(0), "asleep with {seen} messages seen");
            waker.drain();
            seen += messages.try_iter().count();
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
    }

    /// Returns the number of writes to the eventfd, and resets it.
    fn writes(waker: &Waker) -> u64 {
        let mut count = [0_u8; 8];
        // SAFETY: the kernel writes 8 bytes into `count`.
        unsafe { libc::read(waker.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        u64::from_ne_bytes(count)
    }
}
