//! How many frames of HTTP/2 may a connection make us handle?
//!
//! Frames such as PING, SETTINGS or an empty DATA cost the sender 9 bytes and us an answer, and
//! HTTP/2 itself bounds none of them (CVE-2019-9512 and its kin, CVE-2023-44487, CVE-2024-27316).
//! So the heads of frames are counted as the bytes come in, before the HTTP library sees them: a
//! [`Budget`] for requests and one for everything else that carries no data. A connection beyond it
//! gets GOAWAY and is closed.
//!
//! A [`Walker`] holds 9 bytes of a head and a length, whatever the peer sends; payloads are passed
//! over.

use std::time::{Duration, Instant};

use crate::http::limits::{
    H2_CONTROL_BURST, H2_CONTROL_PER_SECOND, H2_REQUEST_BURST, H2_REQUESTS_PER_SECOND, H2_SMALL_DATA_BYTES,
};

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 §4.1.
const HEAD_BYTES: usize = 9;

/// Types of frames that are told apart (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// RFC 9113 §7: ENHANCE_YOUR_CALM.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of its payload.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    fn of(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, _flags, s, t, u, v] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            // RFC 9113 §4.1: the first bit is reserved.
            stream: u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff,
        }
    }
}

/// Finds the heads of frames in a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub struct Walker {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that have come.
    filled: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
}

impl Walker {
    /// Passes over bytes and calls `each` with every head that they complete.
    pub fn walk(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        loop {
            let passed = self.payload.min(bytes.len());
            self.payload = self.payload.saturating_sub(passed);
            bytes = bytes.get(passed..).unwrap_or_default();
            let missing = self.head.get_mut(self.filled..).unwrap_or_default();
            let count = missing.len().min(bytes.len());
            if self.payload > 0 || count == 0 {
                return;
            }
            let (now, later) = bytes.split_at(count);
            missing.iter_mut().zip(now).for_each(|(place, byte)| *place = *byte);
            self.filled = self.filled.saturating_add(count);
            bytes = later;
            if self.filled == HEAD_BYTES {
                let head = Head::of(self.head);
                self.filled = 0;
                self.payload = head.length as usize;
                each(head);
            }
        }
    }

    /// Whether a frame could begin with the next byte.
    pub fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }
}

/// What comes in on a connection, as far as frames are counted.
#[derive(Debug)]
pub struct Incoming {
    protocol: Protocol,
    walker: Walker,
    control: Budget,
    requests: Budget,
    /// The largest stream that the client opened.
    last_stream: u32,
}

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// This number of bytes of the preface has come, and no other byte.
    Unknown(usize),
    Http1,
    Http2,
}

/// A client sent more frames than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood;

impl Incoming {
    /// A new connection has its whole budget.
    pub fn new(now: Instant) -> Self {
        Self {
            protocol: Protocol::Unknown(0),
            walker: Walker::default(),
            control: Budget::new(H2_CONTROL_PER_SECOND, H2_CONTROL_BURST, now),
            requests: Budget::new(H2_REQUESTS_PER_SECOND, H2_REQUEST_BURST, now),
            last_stream: 0,
        }
    }

    /// Counts what has come.
    ///
    /// # Errors
    ///
    /// A budget is used up: the connection is to be closed.
    pub fn read(&mut self, bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let frames = match self.protocol {
            Protocol::Http1 => return Ok(()),
            Protocol::Http2 => bytes,
            Protocol::Unknown(known) => {
                let expected = PREFACE.get(known..).unwrap_or_default();
                let count = expected.len().min(bytes.len());
                let (preface, rest) = bytes.split_at(count);
                if !expected.starts_with(preface) {
                    self.protocol = Protocol::Http1;
                    return Ok(());
                }
                let known = known.saturating_add(count);
                if known < PREFACE.len() {
                    self.protocol = Protocol::Unknown(known);
                    return Ok(());
                }
                self.protocol = Protocol::Http2;
                rest
            }
        };
        let (mut control, mut requests) = (0_u32, 0_u32);
        let mut last_stream = self.last_stream;
        self.walker.walk(frames, |head| match head.kind {
            HEADERS => {
                requests = requests.saturating_add(1);
                last_stream = last_stream.max(head.stream);
            }
            DATA if head.length >= H2_SMALL_DATA_BYTES => {}
            _ => control = control.saturating_add(1),
        });
        self.last_stream = last_stream;
        let in_budget = self.control.take(control, now) & self.requests.take(requests, now);
        if in_budget { Ok(()) } else { Err(Flood) }
    }

    /// Whether the whole preface of HTTP/2 has come.
    pub fn is_http2(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    /// The frame that tells a flooding client why its connection ends (RFC 9113 §6.8).
    pub fn go_away(&self) -> [u8; 17] {
        let mut frame = [0; 17];
        let (head, payload) = frame.split_at_mut(HEAD_BYTES);
        head.copy_from_slice(&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0]);
        let (stream, reason) = payload.split_at_mut(4);
        stream.copy_from_slice(&self.last_stream.to_be_bytes());
        reason.copy_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame
    }
}

/// A token bucket: `burst` at once, and `per_second` for as long as one likes.
#[derive(Debug)]
struct Budget {
    /// Time that one frame takes to come back.
    interval: Duration,
    burst: Duration,
    /// When the bucket is full again.
    full_at: Instant,
}

impl Budget {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, burst: interval.saturating_mul(burst), full_at: now }
    }

    /// Takes `count`. Returns whether there were as many.
    fn take(&mut self, count: u32, now: Instant) -> bool {
        let Some(full_at) = self.full_at.max(now).checked_add(self.interval.saturating_mul(count)) else {
            return false;
        };
        self.full_at = full_at;
        full_at.saturating_duration_since(now) <= self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;

    fn frame(kind: u8, stream: u32, payload: usize) -> Vec<u8> {
        let [_, a, b, c] = (payload as u32).to_be_bytes();
        let mut frame = vec![a, b, c, kind, 0];
        frame.extend(stream.to_be_bytes());
        frame.resize(HEAD_BYTES + payload, 0x55);
        frame
    }

    /// Sends frames at one moment, and returns how many were read before it was a flood.
    fn until_flood(kind: u8, payload: usize, most: u32) -> Option<u32> {
        let now = Instant::now();
        let mut incoming = Incoming::new(now);
        incoming.read(PREFACE, now).unwrap();
        (0..most).find(|n| incoming.read(&frame(kind, 2 * n + 1, payload), now).is_err())
    }

    #[test]
    fn a_flood_of_each_kind_of_frame_ends_with_its_budget() {
        let rows = [
            ("DATA", DATA, 0, H2_CONTROL_BURST),
            ("small DATA", DATA, 1, H2_CONTROL_BURST),
            ("HEADERS", HEADERS, 20, H2_REQUEST_BURST),
            ("PRIORITY", 2, 5, H2_CONTROL_BURST),
            ("RST_STREAM", 3, 4, H2_CONTROL_BURST),
            ("SETTINGS", SETTINGS, 0, H2_CONTROL_BURST),
            ("large SETTINGS", SETTINGS, 6_000, H2_CONTROL_BURST),
            ("PUSH_PROMISE", 5, 4, H2_CONTROL_BURST),
            ("PING", PING, 8, H2_CONTROL_BURST),
            ("GOAWAY", GOAWAY, 8, H2_CONTROL_BURST),
            ("WINDOW_UPDATE", 8, 4, H2_CONTROL_BURST),
            ("CONTINUATION", 9, 0, H2_CONTROL_BURST),
            ("an unknown type", 0xff, 0, H2_CONTROL_BURST),
        ];
        for (name, kind, payload, budget) in rows {
            assert_eq!(until_flood(kind, payload, 2 * budget), Some(budget), "{name}");
        }
        assert_eq!(until_flood(DATA, H2_SMALL_DATA_BYTES as usize, 4 * H2_CONTROL_BURST), None, "data is no control");
    }

    #[test]
    fn a_budget_comes_back_with_time() {
        let mut now = Instant::now();
        let mut incoming = Incoming::new(now);
        incoming.read(PREFACE, now).unwrap();
        for _ in 0..H2_CONTROL_BURST {
            incoming.read(&frame(PING, 0, 8), now).unwrap();
        }
        for _ in 0..10 * H2_CONTROL_BURST {
            now += Duration::from_secs(1) / H2_CONTROL_PER_SECOND;
            incoming.read(&frame(PING, 0, 8), now).expect("as many a second as may be");
        }
        assert_eq!(incoming.read(&frame(PING, 0, 8), now), Err(Flood));
    }

    /// What a page with all its requests sends in an hour, at once: far more than any browser.
    #[test]
    fn ordinary_traffic_stays_within_the_budget() {
        let mut now = Instant::now();
        let mut incoming = Incoming::new(now);
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 24));
        bytes.extend(frame(8, 0, 4));
        // nghttp and older browsers build a tree of priorities first.
        (0..5).for_each(|n| bytes.extend(frame(2, 3 + 2 * n, 5)));
        // A page and its assets, each acknowledged by both windows.
        for stream in 0..20 {
            bytes.extend(frame(HEADERS, 1 + 2 * stream, 300));
            (0..8).for_each(|n| bytes.extend(frame(8, n % 2 * stream, 4)));
        }
        incoming.read(&bytes, now).unwrap();
        for second in 0..3_600_u32 {
            now += Duration::from_secs(1);
            // Reports, events and their windows, a POST of an offer, a ping.
            for request in 0..10 {
                let stream = 101 + 20 * second + 2 * request;
                let mut bytes = frame(HEADERS, stream, 120);
                bytes.extend(frame(DATA, stream, 900));
                bytes.extend(frame(DATA, stream, 0));
                bytes.extend(frame(8, 0, 4));
                incoming.read(&bytes, now).unwrap();
            }
            incoming.read(&frame(PING, 0, 8), now).unwrap();
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_frames() {
        let frames = [frame(SETTINGS, 0, 6), frame(HEADERS, 1, 100), frame(DATA, 1, 0), frame(DATA, 1, 5)].concat();
        let walked = |size: usize| {
            let mut walker = Walker::default();
            let mut heads = Vec::new();
            for piece in frames.chunks(size) {
                walker.walk(piece, |head| heads.push((head.kind, head.length, head.stream)));
            }
            assert!(walker.is_between_frames());
            heads
        };
        let whole = walked(frames.len());
        assert_eq!(whole, [(SETTINGS, 6, 0), (HEADERS, 100, 1), (DATA, 0, 1), (DATA, 5, 1)]);
        (1..frames.len()).for_each(|size| assert_eq!(walked(size), whole, "{size}"));
        let mut walker = Walker::default();
        walker.walk(&frames[..12], |_| {});
        assert!(!walker.is_between_frames());
    }

    #[test]
    fn the_preface_may_come_in_pieces_and_http1_is_not_counted() {
        let now = Instant::now();
        for size in 1..PREFACE.len() {
            let mut incoming = Incoming::new(now);
            PREFACE.chunks(size).for_each(|piece| incoming.read(piece, now).unwrap());
            assert!(incoming.is_http2());
            let flood = frame(PING, 0, 8).repeat(H2_CONTROL_BURST as usize + 1);
            assert_eq!(incoming.read(&flood, now), Err(Flood));
        }
        let mut incoming = Incoming::new(now);
        incoming.read(b"PRI * HTTP/1.1\r\n", now).unwrap();
        assert!(!incoming.is_http2());
        incoming.read(&frame(PING, 0, 8).repeat(100_000), now).unwrap();
    }

    #[test]
    fn go_away_names_the_last_stream_and_the_reason() {
        let now = Instant::now();
        let mut incoming = Incoming::new(now);
        incoming.read(&[PREFACE, &frame(HEADERS, 0x8000_0007, 1)].concat(), now).unwrap();
        assert_eq!(incoming.go_away(), [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0xb]);
    }
}
