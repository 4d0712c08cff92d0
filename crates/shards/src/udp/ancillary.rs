//! How do the little values beside a datagram (`cmsg(3)`) get in and out of a control buffer?
//!
//! Headers are copied in and out by value at offsets that are checked against the buffer, so
//! a strange buffer gives missing values, never a stray read.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libc::{c_int, cmsghdr};

/// Room for the values of one datagram: at most the 40 bytes of `in6_pktinfo`, 32 for
/// `SO_TIMESTAMPNS`, and 24 each for `SO_RXQ_OVFL` and `UDP_GRO`.
pub(super) const CONTROL_BYTES: usize = 160;

/// A control buffer. Aligned like the `cmsghdr` it begins with.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Control = Control([0; CONTROL_BYTES]);
}

/// Values that are plain C data: every bit pattern is a value and there is no padding.
///
/// # Safety
///
/// Implement it only for types that are so; they are read from and written to raw bytes.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: integers without padding.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for c_int {}
// SAFETY: three 4-byte integers.
unsafe impl Plain for libc::in_pktinfo {}
// SAFETY: two integers; it is only ever read, where padding (on some libcs) does not matter.
unsafe impl Plain for libc::timespec {}
// SAFETY: 16 bytes and a 4-byte integer.
unsafe impl Plain for libc::in6_pktinfo {}

/// Writes values into a control buffer, one behind the other.
pub(super) struct Writer<'a> {
    control: &'a mut Control,
    used: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(control: &'a mut Control) -> Writer<'a> {
        Writer { control, used: 0 }
    }

    /// Adds one value.
    pub(super) fn push<T: Plain>(&mut self, level: c_int, kind: c_int, value: T) {
        let space = space(size_of::<T>());
        let out = &mut self.control.0[self.used..self.used + space];
        out.fill(0);
        // SAFETY: `cmsghdr` is integers only, so all zeroes is one (some libcs have padding in it).
        let mut header: cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = len(size_of::<T>()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: `out` is `CMSG_SPACE` of the value: a header, then the value at `CMSG_LEN(0)`.
        // Both writes are unaligned-safe and stay inside.
        unsafe {
            out.as_mut_ptr().cast::<cmsghdr>().write_unaligned(header);
            out.as_mut_ptr().add(len(0)).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }

    /// The local address a datagram is to leave from.
    pub(super) fn push_source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(ip) => self.push(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                },
            ),
            IpAddr::V6(ip) => self.push(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 },
            ),
        }
    }

    /// Returns how many bytes are written.
    pub(super) fn used_bytes(&self) -> usize {
        self.used
    }
}

/// What the kernel said about a received datagram.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    /// The local address it was sent to.
    pub(super) destination_ip: Option<IpAddr>,
    /// How many datagrams this socket has lost so far.
    pub(super) drops: Option<u32>,
    /// Into what pieces the bytes are to be cut (`UDP_GRO`).
    pub(super) segment_bytes: Option<usize>,
    /// When it arrived, since the epoch (`SO_TIMESTAMPNS`).
    pub(super) arrived: Option<Duration>,
}

/// Reads the values in the filled part of a control buffer. Unknown ones are skipped.
pub(super) fn read(control: &[u8]) -> Received {
    let mut received = Received::default();
    let mut rest = control;
    while let Some(header) = take::<CmsgHeader>(rest) {
        let total: usize = header.0.cmsg_len as _; // its type differs among libcs
        if total < len(0) || total > rest.len() {
            break;
        }
        let value = &rest[len(0)..total];
        match (header.0.cmsg_level, header.0.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // `ipi_spec_dst` and not `ipi_addr`: for a broadcast they differ, and only the
                // first can be answered from.
                received.destination_ip =
                    take::<libc::in_pktinfo>(value).map(|i| Ipv4Addr::from(i.ipi_spec_dst.s_addr.to_ne_bytes()).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                received.destination_ip =
                    take::<libc::in6_pktinfo>(value).map(|i| Ipv6Addr::from(i.ipi6_addr.s6_addr).into());
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => received.drops = take::<u32>(value),
            (libc::SOL_UDP, libc::UDP_GRO) => {
                received.segment_bytes = take::<c_int>(value).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                received.arrived = take::<libc::timespec>(value).and_then(|time| {
                    let (seconds, ns) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
                    (ns < 1_000_000_000).then(|| Duration::new(seconds, ns))
                });
            }
            _ => {}
        }
        let step = space(total - len(0));
        rest = rest.get(step..).unwrap_or_default();
    }
    received
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct CmsgHeader(cmsghdr);

// SAFETY: integers only; it is only ever read, where padding (on some libcs) does not matter.
unsafe impl Plain for CmsgHeader {}

fn take<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: there are enough bytes, `T: Plain` takes any of them, and the read may be unaligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// `CMSG_LEN`: the length of a header and a value of `value_bytes` bytes.
const fn len(value_bytes: usize) -> usize {
    // SAFETY: arithmetic.
    unsafe { libc::CMSG_LEN(value_bytes as u32) as usize }
}

/// `CMSG_SPACE`: the same, and the padding behind it.
const fn space(value_bytes: usize) -> usize {
    // SAFETY: arithmetic.
    unsafe { libc::CMSG_SPACE(value_bytes as u32) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for ip in ["192.0.2.7", "2001:db8::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            let mut control = Control::EMPTY;
            let mut writer = Writer::new(&mut control);
            writer.push(libc::SOL_UDP, libc::UDP_SEGMENT, 1_200_u16); // unknown to the reader
            writer.push_source(ip);
            writer.push(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 9_u32);
            writer.push(libc::SOL_UDP, libc::UDP_GRO, 1_100 as c_int);
            writer.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, libc::timespec { tv_sec: 7, tv_nsec: 5 });
            let used = writer.used_bytes();
            assert!(used <= CONTROL_BYTES);
            let expected = Received {
                destination_ip: Some(ip),
                drops: Some(9),
                segment_bytes: Some(1_100),
                arrived: Some(Duration::new(7, 5)),
            };
            assert_eq!(read(&control.0[..used]), expected);
        }
    }

    #[test]
    fn a_cut_or_senseless_buffer_gives_missing_values() {
        let mut control = Control::EMPTY;
        let mut writer = Writer::new(&mut control);
        writer.push_source(IpAddr::V6(Ipv6Addr::LOCALHOST));
        let used = writer.used_bytes();
        for end in 0..used - 4 {
            assert_eq!(read(&control.0[..end]), Received::default(), "{end} bytes");
        }
        for byte in [0, 1, 15, 17, 0x7f, 0xff] {
            assert_eq!(read(&[byte; CONTROL_BYTES]), Received::default());
        }
    }
}
