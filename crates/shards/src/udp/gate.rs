//! Which datagrams are not worth waking up for?
//!
//! An open UDP port gets scans, stray games and floods. A filter of a dozen instructions inside
//! the kernel (classic BPF, `socket(7)`) accepts a datagram by its first byte (RFC 7983 §7) and its
//! length; other datagrams take neither room in the receive buffer nor CPU time of the shard.
//!
//! | first byte | is | shortest |
//! |---|---|---|
//! | 0..=3 | STUN | 20 bytes: its header (RFC 8489 §5), with the magic cookie |
//! | 20..=63 | DTLS | 13 bytes: the record header of DTLS 1.2; the shorter ones of 1.3 carry a tag |
//! | 128..=191 | RTP, RTCP | 12 bytes: an RTP header; SRTCP has 8 + 4 + tag at least |
//!
//! The filter saves work; it is not a defence. Parsers must expect any input.

use std::io;

use libc::{
    BPF_ABS, BPF_B, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_LEN, BPF_RET, BPF_W, sock_filter, sock_fprog,
};

use super::ancillary::Plain;
use super::socket::{Socket, set_option};

impl Socket {
    /// Has the kernel drop what cannot be STUN, DTLS, RTP or RTCP from now on. What had arrived
    /// before stays.
    ///
    /// Returns whether the kernel agreed; all works without, only junk costs more. Dropped junk
    /// counts in [`Socket::kernel_drops`].
    pub fn turn_away_junk(&self) -> bool {
        attach(self).is_ok()
    }
}

fn attach(socket: &Socket) -> io::Result<()> {
    let mut program = PROGRAM;
    let program = Program(sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() });
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Program(sock_fprog);

// SAFETY: only handed to the kernel, which copies the fields; padding is ignored by it.
unsafe impl Plain for Program {}

/// The filter sees the datagram from its UDP header on.
const UDP_HEADER_BYTES: u32 = 8;
/// RFC 8489 §5.
const STUN_COOKIE: u32 = 0x2112_a442;

const LENGTH: u32 = BPF_LD | BPF_W | BPF_LEN;
const BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const WORD: u32 = BPF_LD | BPF_W | BPF_ABS;
const AT_LEAST: u32 = BPF_JMP | BPF_JGE | BPF_K;
const EQUALS: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;

/// A jump names how many instructions it skips: when true, when false. Reading past the end drops
/// the datagram by itself.
const PROGRAM: [sock_filter; 16] = [
    /* 0 */ load(BYTE, UDP_HEADER_BYTES),
    /* 1 */ jump(AT_LEAST, 192, to(1, DROP), 0),
    /* 2 */ jump(AT_LEAST, 128, to(2, RTP), 0),
    /* 3 */ jump(AT_LEAST, 64, to(3, DROP), 0),
    /* 4 */ jump(AT_LEAST, 20, to(4, DTLS), 0),
    /* 5 */ jump(AT_LEAST, 4, to(5, DROP), to(5, STUN)),
    /* 6 */ load(LENGTH, 0),
    /* 7 */ jump(AT_LEAST, UDP_HEADER_BYTES + 12, to(7, PASS), to(7, DROP)),
    /* 8 */ load(LENGTH, 0),
    /* 9 */ jump(AT_LEAST, UDP_HEADER_BYTES + 13, to(9, PASS), to(9, DROP)),
    /* 10 */ load(LENGTH, 0),
    /* 11 */ jump(AT_LEAST, UDP_HEADER_BYTES + 20, 0, to(11, DROP)),
    /* 12 */ load(WORD, UDP_HEADER_BYTES + 4),
    /* 13 */ jump(EQUALS, STUN_COOKIE, 0, to(13, DROP)),
    /* 14 */ load(RETURN, u32::MAX),
    /* 15 */ load(RETURN, 0),
];

// Places in the program.
const RTP: u8 = 6;
const DTLS: u8 = 8;
const STUN: u8 = 10;
const PASS: u8 = 14;
const DROP: u8 = 15;

const fn load(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

const fn to(from: u8, target: u8) -> u8 {
    target - from - 1
}

#[cfg(test)]
mod tests {
    use super::super::testing::{arrivals, v4, v6};

    /// Returns the verdict of the table above, computed independently.
    fn is_ours(datagram: &[u8]) -> bool {
        match datagram.first() {
            Some(0..=3) => datagram.len() >= 20 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42],
            Some(20..=63) => datagram.len() >= 13,
            Some(128..=191) => datagram.len() >= 12,
            _ => false,
        }
    }

    #[test]
    fn junk_stays_outside_and_all_of_ours_comes_in() {
        for (receiver, sender) in [(v4(), v4()), (v6(), v6())] {
            assert!(receiver.turn_away_junk());
            let mut junk = 1;
            sender.send_to(&[], receiver.local_address()).unwrap();
            for first in 0..=255 {
                let mut expected = Vec::new();
                for len in [1, 11, 12, 13, 19, 20, 21, 1_200] {
                    for cookie in [[0x21, 0x12, 0xa4, 0x42], [0x21, 0x12, 0xa4, 0x43]] {
                        let mut datagram = vec![0; len.max(8)];
                        datagram[0] = first;
                        datagram[4..8].copy_from_slice(&cookie);
                        datagram.truncate(len);
                        sender.send_to(&datagram, receiver.local_address()).unwrap();
                        if is_ours(&datagram) {
                            expected.push(datagram);
                        } else {
                            junk += 1;
                        }
                    }
                }
                let arrived = arrivals(&receiver, expected.len());
                assert!(arrived.iter().map(|d| &d.bytes).eq(&expected), "{first}");
            }
            sender.send_to(&[128; 12], receiver.local_address()).unwrap();
            arrivals(&receiver, 1);
            assert_eq!(receiver.kernel_drops(), junk, "the kernel counts it");
        }
    }

    #[test]
    fn a_message_of_many_datagrams_comes_in_whole() {
        let (receiver, sender) = (v4(), v4());
        receiver.turn_away_junk();
        let mut batch = sfu::transmit::Batch::new();
        for first in [128, 7, 144] {
            batch.push(receiver.local_address(), None, &[first; 100]);
        }
        assert_eq!(batch.messages().len(), 1);
        sender.send(&batch, &mut super::super::SendState::new());
        let arrived = arrivals(&receiver, 2);
        assert!(arrived.iter().map(|d| d.bytes[0]).eq([128, 144]));
    }
}
