//! Where are datagrams between the machine that makes them and the system call that sends them?
//!
//! A [`Batch`] is one contiguous arena plus a list of messages into it. A message is one or more
//! datagrams to the same peer: all of [`Message::segment_bytes`], the last possibly shorter, so
//! that the kernel can cut it (`UDP_SEGMENT`). Nothing is allocated per packet once the arena has
//! grown.

use std::net::{IpAddr, SocketAddr};

/// Datagrams to send, in order.
#[derive(Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    used: usize,
    messages: Vec<Message>,
}

/// One or more datagrams to one peer, contiguous in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The destination address.
    pub destination: SocketAddr,
    /// The local address to send from, where it matters (several addresses on one machine).
    pub source: Option<IpAddr>,
    /// First byte in the arena.
    pub start: usize,
    /// Bytes of all datagrams together.
    pub len_bytes: usize,
    /// Size of each datagram; only the last may be shorter.
    pub segment_bytes: usize,
    /// Number of datagrams that the kernel cuts it into.
    pub segments: usize,
}

impl Message {
    /// One datagram.
    pub fn single(destination: SocketAddr, source: Option<IpAddr>, start: usize, len_bytes: usize) -> Message {
        Message { destination, source, start, len_bytes, segment_bytes: len_bytes, segments: 1 }
    }

    /// Whether a datagram of `len` bytes that stands behind it can go with it: a shorter one closes a message.
    fn can_take(&self, len: usize) -> bool {
        len <= self.segment_bytes
            && self.len_bytes == self.segments * self.segment_bytes
            && self.segments < MAX_SEGMENTS
            && self.len_bytes + len <= MAX_MESSAGE_BYTES
    }
}

/// The most datagrams in one message. Linux accepts 64 (`UDP_MAX_SEGMENTS`, 128 since 6.9), and 64
/// KiB in total.
pub const MAX_SEGMENTS: usize = 32;
/// The most bytes in one message: an IPv4 datagram's 65,507, rounded down.
pub const MAX_MESSAGE_BYTES: usize = 64_000;
/// The largest datagram that may be written by [`Batch::push_with`].
pub const MAX_DATAGRAM_BYTES: usize = 2_048;

/// The local address to send from; an unspecified one leaves the choice to the routes.
pub(crate) fn local_source(destination: SocketAddr) -> Option<IpAddr> {
    Some(destination.ip()).filter(|ip| !ip.is_unspecified())
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Writes one datagram to `destination` in place: `write` gets a buffer of [`MAX_DATAGRAM_BYTES`]
    /// and returns how many it used (0: nothing is sent). Joins the previous message when the
    /// peer is the same and the sizes allow.
    pub fn push_with(
        &mut self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let start = self.used;
        if self.arena.len() < start + MAX_DATAGRAM_BYTES {
            self.grow();
        }
        let len = write(&mut self.arena[start..start + MAX_DATAGRAM_BYTES]);
        if len == 0 {
            return;
        }
        self.used = start + len;
        if let Some(last) = self.messages.last_mut()
            && last.can_take(len)
            && last.destination == destination
            && last.source == source
        {
            last.len_bytes += len;
            last.segments += 1;
            return;
        }
        self.messages.push(Message::single(destination, source, start, len));
    }

    #[cold]
    fn grow(&mut self) {
        let grown = (self.used + MAX_DATAGRAM_BYTES).max(self.arena.len() * 2).max(64 * 1024);
        self.arena.resize(grown, 0);
    }

    /// Copies one datagram in. Longer ones than [`MAX_DATAGRAM_BYTES`] are refused.
    ///
    /// Returns whether it was taken.
    pub fn push(&mut self, destination: SocketAddr, source: Option<IpAddr>, datagram: &[u8]) -> bool {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return false;
        }
        self.push_with(destination, source, |out| {
            out[..datagram.len()].copy_from_slice(datagram);
            datagram.len()
        });
        true
    }

    /// The messages in order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The bytes of one message.
    pub fn bytes(&self, message: &Message) -> &[u8] {
        &self.arena[message.start..message.start + message.len_bytes]
    }

    /// The datagrams one by one, as a kernel without `UDP_SEGMENT` has to be given them.
    pub fn datagrams(&self) -> impl Iterator<Item = (&Message, &[u8])> {
        self.messages.iter().flat_map(|m| self.bytes(m).chunks(m.segment_bytes).map(move |d| (m, d)))
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes wait.
    pub fn len_bytes(&self) -> usize {
        self.used
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn equal_datagrams_to_one_peer_become_one_message_and_a_shorter_one_closes_it() {
        let mut batch = Batch::new();
        for len in [100, 100, 40, 100] {
            assert!(batch.push(peer(1), None, &vec![7; len]));
        }
        let segments: Vec<_> = batch.messages().iter().map(|m| m.segments).collect();
        assert_eq!(segments, [3, 1]);
        let sizes: Vec<_> = batch.datagrams().map(|(_, d)| d.len()).collect();
        assert_eq!(sizes, [100, 100, 40, 100]);
    }

    #[test]
    fn another_peer_or_a_larger_datagram_starts_a_message() {
        let mut batch = Batch::new();
        batch.push(peer(1), None, &[0; 10]);
        batch.push(peer(2), None, &[0; 10]);
        batch.push(peer(2), None, &[0; 11]);
        assert_eq!(batch.messages().len(), 3);
    }

    #[test]
    fn a_message_never_exceeds_what_the_kernel_cuts() {
        let mut batch = Batch::new();
        for _ in 0..100 {
            batch.push(peer(1), None, &[0; 2_048]);
        }
        assert!(batch.messages().iter().all(|m| m.segments <= MAX_SEGMENTS && m.len_bytes <= MAX_MESSAGE_BYTES));
        assert_eq!(batch.datagrams().count(), 100);
        assert!(!batch.push(peer(1), None, &[0; 2_049]));
    }
}
