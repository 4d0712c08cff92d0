//! What does a shard's UDP socket look like to the kernel?
//!
//! One socket is one address family: an IPv6 socket is `IPV6_V6ONLY`, so IPv4-mapped addresses
//! never appear. It never blocks. It reports where each datagram was sent to (a machine has several
//! addresses and must answer from the one it was asked at) and how many the kernel had to drop.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use libc::c_int;
use socket2::{Domain, Protocol, Type};

use super::ancillary::Plain;
use super::send::Offload;

/// One UDP socket of one address family.
///
/// Meant to be read and written by one thread. [`Socket::try_clone`] gives another thread a handle
/// of its own.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    local_address: SocketAddr,
    receive_offload: bool,
    granted_receive_buffer_bytes: usize,
    pub(super) kernel_drops: AtomicU32,
    pub(super) offload: Offload,
}

/// How to set up a socket.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lets other sockets bind the same port; the kernel spreads peers among them by a hash of both
    /// addresses (`SO_REUSEPORT`). All of them have to ask for it.
    pub reuse_port: bool,
    /// Bytes of datagrams the kernel may hold for us; 0 leaves the system's default. Without
    /// `CAP_NET_ADMIN`, `net.core.rmem_max` bounds it.
    pub receive_buffer_bytes: usize,
    /// Bytes of datagrams that may wait for the network card; 0 leaves the system's default.
    /// Without `CAP_NET_ADMIN`, `net.core.wmem_max` bounds it.
    pub send_buffer_bytes: usize,
    /// Lets the kernel hand over several datagrams of one peer as one (`UDP_GRO`). Costs 1 MiB in
    /// the [`ReceiveBatch`](super::ReceiveBatch) and pays when publishers send bursts.
    pub receive_offload: bool,
    /// Asks the kernel for the arrival time of each datagram (`SO_TIMESTAMPNS`). For load
    /// generators, which may read a datagram long after its arrival.
    pub receive_timestamps: bool,
}

/// A guess: 4 MiB is what a shard that is away for 20 ms misses at 1.6 Gbit/s.
const DEFAULT_BUFFER_BYTES: usize = 4 << 20;

impl Default for Options {
    fn default() -> Options {
        Options {
            reuse_port: false,
            receive_buffer_bytes: DEFAULT_BUFFER_BYTES,
            send_buffer_bytes: DEFAULT_BUFFER_BYTES,
            receive_offload: false,
            receive_timestamps: false,
        }
    }
}

/// Why a socket could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program uses the port.
    #[error("UDP {address} is taken by another program; stop that one (`ss -ulpn` shows it) or choose another port")]
    PortInUse {
        /// The address to bind.
        address: SocketAddr,
    },
    /// The process lacks the permission for the port.
    #[error(
        "UDP {address} needs a permission this process lacks; choose a port above 1023 or grant CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The address to bind.
        address: SocketAddr,
    },
    /// The machine does not have the address.
    #[error(
        "UDP {address} is not an address of this machine; choose one that `ip address` lists, or 0.0.0.0 or [::] for all"
    )]
    NotLocal {
        /// The address to bind.
        address: SocketAddr,
    },
    /// The kernel has no such address family.
    #[error(
        "UDP {address} cannot be had: this machine has no {}; enable it or leave that address out",
        family(*.address)
    )]
    NoSuchFamily {
        /// The address to bind.
        address: SocketAddr,
    },
    /// Anything else, such as too many open files.
    #[error("UDP {address} cannot be set up, {step} failed: {source}")]
    Other {
        /// The address to bind.
        address: SocketAddr,
        /// The system call or socket option that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Socket {
    /// Opens a socket at `address`; port 0 lets the kernel choose.
    ///
    /// Buffers may come out smaller than asked for, see [`Socket::granted_receive_buffer_bytes`].
    pub fn bind(address: SocketAddr, options: &Options) -> Result<Socket, BindError> {
        let failed = |step| move |source: io::Error| bind_error(address, step, source);
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(failed("socket"))?;
        socket.set_nonblocking(true).map_err(failed("O_NONBLOCK"))?;
        if options.reuse_port {
            socket.set_reuse_port(true).map_err(failed("SO_REUSEPORT"))?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed("IPV6_V6ONLY"))?;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1).map_err(failed("IPV6_RECVPKTINFO"))?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).map_err(failed("IP_PKTINFO"))?;
        }
        // Only a counter: gVisor has none, and serves nonetheless.
        let _ = set_option(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        let receive_offload = options.receive_offload && set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        if options.receive_timestamps {
            set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).map_err(failed("SO_TIMESTAMPNS"))?;
        }
        set_buffer(&socket, [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF], options.receive_buffer_bytes);
        set_buffer(&socket, [libc::SO_SNDBUFFORCE, libc::SO_SNDBUF], options.send_buffer_bytes);
        socket.bind(&address.into()).map_err(failed("bind"))?;
        let local_address = socket.local_addr().map_err(failed("getsockname"))?.as_socket().unwrap_or(address);
        // The kernel doubles the requested size for its own overhead, and reports the doubled size.
        let granted_receive_buffer_bytes = socket.recv_buffer_size().map_err(failed("SO_RCVBUF"))? / 2;
        // A kernel that does not know the option (before 4.18) would say EINVAL to each message.
        let offload = Offload::new(set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok());
        Ok(Socket {
            socket,
            local_address,
            receive_offload,
            granted_receive_buffer_bytes,
            kernel_drops: AtomicU32::new(0),
            offload,
        })
    }

    /// Returns another handle of the same port, for a thread that sends a few datagrams beside
    /// ours.
    ///
    /// Counters start anew. Reading through it would take datagrams away from the shard.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(Socket {
            socket: self.socket.try_clone()?,
            local_address: self.local_address,
            receive_offload: self.receive_offload,
            granted_receive_buffer_bytes: self.granted_receive_buffer_bytes,
            kernel_drops: AtomicU32::new(0),
            offload: Offload::new(self.offload.is_used()),
        })
    }

    /// Sends one datagram immediately, without a batch.
    pub fn send_to(&self, datagram: &[u8], destination: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, &destination.into()).map(|_| ())
    }

    /// Returns where the socket is bound.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Returns how many bytes the kernel will really hold for us, in the measure of
    /// [`Options::receive_buffer_bytes`].
    ///
    /// Tell the operator when it is less: `net.core.rmem_max` is too small then.
    pub fn granted_receive_buffer_bytes(&self) -> usize {
        self.granted_receive_buffer_bytes
    }

    /// Returns whether the kernel joins datagrams for us (`UDP_GRO`).
    pub fn has_receive_offload(&self) -> bool {
        self.receive_offload
    }

    /// Returns how many datagrams the kernel has dropped here since the socket was opened, as of
    /// the last one received (`SO_RXQ_OVFL`). Wraps around.
    ///
    /// Counts those that found the buffer full, and also those [turned
    /// away](Socket::turn_away_junk) or with a wrong checksum: the kernel has one counter for all.
    pub fn kernel_drops(&self) -> u32 {
        self.kernel_drops.load(Relaxed)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets a socket option that is a plain value.
pub(super) fn set_option<T: Plain>(socket: &impl AsRawFd, level: c_int, name: c_int, value: T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, which lives across the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks beyond the system's bound first, which takes a capability, and then within it, which always
/// succeeds but may give less.
fn set_buffer(socket: &socket2::Socket, options: [c_int; 2], bytes: usize) {
    // Half of what fits: the kernel doubles it.
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX).min(c_int::MAX / 2);
    if bytes > 0 {
        let [beyond, within] = options;
        let _ = set_option(socket, libc::SOL_SOCKET, beyond, bytes)
            .or_else(|_| set_option(socket, libc::SOL_SOCKET, within, bytes));
    }
}

fn bind_error(address: SocketAddr, step: &'static str, source: io::Error) -> BindError {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => BindError::PortInUse { address },
        Some(libc::EACCES | libc::EPERM) if step == "bind" => BindError::NotPermitted { address },
        Some(libc::EADDRNOTAVAIL) => BindError::NotLocal { address },
        Some(libc::EAFNOSUPPORT) => BindError::NoSuchFamily { address },
        _ => BindError::Other { address, step, source },
    }
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn a_taken_port_is_told_apart_and_says_what_to_do() {
        let first = Socket::bind(loopback(), &Options::default()).unwrap();
        let error = Socket::bind(first.local_address(), &Options::default()).unwrap_err();
        assert!(matches!(error, BindError::PortInUse { .. }));
        let text = error.to_string();
        assert!(text.contains(&first.local_address().to_string()), "{text}");
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn a_foreign_address_is_told_apart() {
        // No machine has an address of TEST-NET-1 (RFC 5737). Binding sends nothing.
        let error = Socket::bind("192.0.2.1:0".parse().unwrap(), &Options::default()).unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
    }

    #[test]
    fn every_error_names_its_address() {
        let address = "[::1]:443".parse().unwrap();
        for code in [libc::EADDRINUSE, libc::EACCES, libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EMFILE] {
            let error = bind_error(address, "bind", io::Error::from_raw_os_error(code));
            assert!(error.to_string().contains("[::1]:443"), "{error}");
        }
    }

    #[test]
    fn buffers_are_granted_or_bounded_by_the_system() {
        let ask = |receive_buffer_bytes| {
            let options = Options { receive_buffer_bytes, ..Options::default() };
            Socket::bind(loopback(), &options).unwrap().granted_receive_buffer_bytes()
        };
        assert_eq!(ask(64 * 1024), 64 * 1024);
        assert!(ask(0) > 0, "0 leaves the default");
        assert!(ask(usize::MAX) >= 64 * 1024, "too much is cut, not refused");
    }

    #[test]
    fn an_ipv6_socket_leaves_the_ipv4_port_alone() {
        let six = Socket::bind("[::1]:0".parse().unwrap(), &Options::default()).unwrap();
        let mut four = loopback();
        four.set_port(six.local_address().port());
        // Another program may use the port; the test asks only that this process does not.
        match Socket::bind(four, &Options::default()) {
            Ok(_) | Err(BindError::PortInUse { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(six.local_address().is_ipv6());
    }
}
