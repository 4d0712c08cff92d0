//! Sending a packet, and reading a viewer's feedback, allocates nothing once a viewer has been
//! there for a while.
//!
//! The test is in this crate because a counting allocator needs `unsafe`, which only this crate may
//! use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::codec::dependency::Described;
use media::codec::layers;
use media::packet::Extensions;
use media::{Codec, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use sfu::format::{Accepted, AcceptedFormats, Format, Published};
use sfu::rtcp::{ReportBlock, Writer};
use sfu::shard::{Command, Event, Shard};
use sfu::srtp::{self, DtlsRole, Profile, Seal};
use sfu::stream::choice::Preferences;
use sfu::transmit::Batch;
use sfu::viewer::ViewerSetup;
use sfu::viewer::subscription::{ExtensionIds, NegotiatedTrack};

/// An allocator that counts the allocations of a thread on request.
struct Counting;

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note() {
    // A thread that is being taken down has no counter any more.
    let _ = COUNTS.try_with(|counts| {
        if counts.get() {
            let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        }
    });
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing (its
// thread-locals are constants).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}

/// Returns the number of allocations of this thread during `step`.
fn allocations(step: impl FnOnce()) -> u64 {
    COUNT.set(0);
    COUNTS.set(true);
    step();
    COUNTS.set(false);
    COUNT.get()
}

const STREAM: StreamId = StreamId(1);
const SSRC: u32 = 7;
const TRANSPORT_SEQ_ID: u8 = 3;
const FRAME: Duration = Duration::from_millis(33);
const GROUP: u64 = 60;
/// Frames until rings and arenas have grown to their final size.
const WARM_UP: u64 = 400;
const MEASURED: u64 = 300;

struct Scene {
    shard: Shard,
    now: Instant,
    format: Format,
    is_layered: bool,
    frames: u64,
    packets: u64,
    theirs: Seal,
    batch: Batch,
    /// Sequence numbers of the frame that was sent last: of RTP, and transport-wide.
    sent: Vec<(u16, u16)>,
    feedbacks: u8,
}

/// Allocations while packets went out, feedback came in and timers were due; and how many packets
/// there were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    sending: u64,
    feedback: u64,
    timers: u64,
    packets: u64,
    resent: u64,
    left_out: u64,
}

impl Scene {
    fn new(format: Format, is_layered: bool) -> Scene {
        let now = Instant::now();
        let clock = WallClock::new(now, NtpTime::from_unix_ms(1_800_000_000_000));
        let mut shard = Shard::new(0, 2, clock);
        shard.handle_command(now, Command::StreamHome { stream: STREAM, shard: 1, epoch: 1 });
        let profile = Profile::AeadAes128Gcm;
        let exporter = vec![5; profile.exporter_bytes()];
        let (seal, open) = srtp::split(profile, &exporter, DtlsRole::Server).expect("keys");
        let (theirs, _) = srtp::split(profile, &exporter, DtlsRole::Client).expect("keys");
        let mut formats = vec![Accepted { format, payload_type: 96, rtx_payload_type: Some(97) }];
        if format.codec == Codec::Red {
            let opus = Format { codec: Codec::Opus, profile: 0 };
            formats.push(Accepted { format: opus, payload_type: 111, rtx_payload_type: None });
        }
        let negotiated = NegotiatedTrack {
            kind: format.codec.kind(),
            mid: "0".to_owned(),
            ssrc: SSRC,
            rtx_ssrc: (format.codec.kind() == MediaKind::Video).then_some(8),
            formats: AcceptedFormats(formats),
            extensions: ExtensionIds {
                transport_seq: Some(TRANSPORT_SEQ_ID),
                mid: Some(4),
                abs_capture_time: Some(5),
                audio_level: Some(6),
                dependency_descriptor: Some(7),
                ..ExtensionIds::default()
            },
        };
        let setup = ViewerSetup {
            session: session(),
            stream: STREAM,
            desk: 0,
            address: viewer(),
            source: None,
            seal,
            open,
            tracks: vec![negotiated],
            seed: 0x1234_5678_9abc_def0,
        };
        shard.handle_command(now, Command::AddViewer(Box::new(setup)));
        if is_layered {
            let preferences = Preferences { max_spatial: Some(0), ..Preferences::default() };
            shard.handle_command(now, Command::SetPreferences { session: session(), preferences });
        }
        let (batch, sent) = (Batch::new(), Vec::with_capacity(256));
        Scene { shard, now, format, is_layered, frames: 0, packets: 0, theirs, batch, sent, feedbacks: 0 }
    }

    /// Plays `frames` frames and counts allocations. Those of the publisher's side, the shared log,
    /// are not counted.
    fn play(&mut self, frames: u64) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..frames {
            let frame = self.next_frame();
            self.shard.handle_command(self.now, frame);
            self.sent.clear();
            self.send(&mut counted);
            // The rest of a frame, and reports, wait for timers.
            for _ in 0..6 {
                self.now += FRAME / 6;
                let Scene { shard, now, .. } = self;
                counted.timers += allocations(|| shard.handle_timeout(*now));
                self.send(&mut counted);
            }
            if !self.sent.is_empty() {
                self.hear(&mut counted);
            }
            while self.shard.poll_event().is_some() {}
        }
        counted
    }

    fn send(&mut self, counted: &mut Counted) {
        loop {
            let Scene { shard, now, batch, .. } = self;
            counted.sending += allocations(|| shard.poll_transmit(*now, batch));
            if batch.is_empty() {
                return;
            }
            for (_, datagram) in batch.datagrams() {
                let [first, second, high, low, ..] = *datagram else { continue };
                if (200..=207).contains(&second) {
                    continue;
                }
                assert_eq!(first, 0x90, "RTP with extensions");
                counted.packets += 1;
                let transport_seq = u16::from_be_bytes([datagram[17], datagram[18]]);
                self.sent.push((u16::from_be_bytes([high, low]), transport_seq));
            }
            batch.clear();
        }
    }

    /// The viewer reports on the frame and misses one packet of it.
    fn hear(&mut self, counted: &mut Counted) {
        let mut bytes = vec![0; 512];
        let mut writer = Writer::new(&mut bytes);
        let block = ReportBlock { ssrc: SSRC, ..ReportBlock::default() };
        assert!(writer.receiver_report(1, &[block]));
        assert!(writer.nack(1, SSRC, &[self.sent[0].0]));
        // The reference time counts in 64 ms (draft-holmer-rmcat-transport-wide-cc-extensions-01
        // §3.1).
        let came_us = i64::try_from(self.frames * 33_000).expect("a few minutes");
        let arrived = (0..).zip(&self.sent).map(|(n, (_, seq))| (*seq, Some(came_us + n * 1_000)));
        let arrived: Vec<_> = arrived.collect();
        let reference = (came_us / 64_000) as i32;
        assert!(writer.transport_feedback(1, SSRC, self.feedbacks, arrived[0].0, reference, &arrived));
        self.feedbacks = self.feedbacks.wrapping_add(1);
        let len = writer.finish();
        let len = self.theirs.rtcp(&mut bytes, len);
        let Scene { shard, now, .. } = self;
        let here = SocketAddr::from(([192, 0, 2, 1], 7_882));
        counted.feedback += allocations(|| shard.handle_datagram(*now, viewer(), here, &mut bytes[..len]));
        self.send(counted);
    }

    fn next_frame(&mut self) -> Command {
        let is_key = self.frames.is_multiple_of(GROUP);
        let kind = self.format.codec.kind();
        let count = if kind == MediaKind::Audio { 1 } else { 6 };
        let packets = (0..count).map(|n| {
            let seq = 1_000 + self.packets + n;
            let spatial = u8::from(self.is_layered && n >= count / 2);
            let (payload, layers) = self.payload(is_key, spatial, n % (count / 2).max(1));
            let number = (self.frames as u16).to_be_bytes();
            let described = Described { bytes: [0xc0, number[0], number[1]].into(), read: None };
            Arc::new(Packet {
                codec: self.format.codec,
                epoch: media::Epoch { publisher: 1, run: 0 },
                has_wrong_clock: false,
                sets: None,
                encoding: 0,
                seq,
                timestamp: (self.frames as u32).wrapping_mul(if kind == MediaKind::Audio { 960 } else { 3_000 }),
                marker: n + 1 == count,
                key_frame_from: (is_key && n == 0 && kind == MediaKind::Video).then_some(seq),
                resolution: None,
                starts_frame: n == 0,
                layers,
                arrived_at: self.now,
                captured_at: Some(NtpTime::from_unix_ms(1_800_000_000_000 + self.frames * 33)),
                descriptor: (self.format.codec == Codec::Av1).then(|| Arc::new(described)),
                extensions: Extensions { audio_level: Some(30), ..Extensions::default() },
                payload,
                red_primary_at: if self.format.codec == Codec::Red { 1 } else { 0 },
            })
        });
        let packets: Vec<_> = packets.collect();
        self.frames += 1;
        self.packets += packets.len() as u64;
        let published = match kind {
            MediaKind::Audio => Published { audio: Some(self.format), ..Published::default() },
            MediaKind::Video => Published { video: Some(self.format), ..Published::default() },
        };
        Command::Relayed { stream: STREAM, epoch: 1, published, unresponsive: false, packets }
    }

    fn payload(&self, is_key: bool, spatial: u8, place: u64) -> (Arc<[u8]>, media::codec::FrameLayers) {
        let mut payload = vec![0x55; 1_000];
        let picture = (self.frames as u16).to_be_bytes();
        match self.format.codec {
            // RFC 7741 §4.2: extension, start of partition, picture id of 15 bits.
            Codec::Vp8 => payload[..4].copy_from_slice(&[0x90, 0x80, 0x80 | picture[0], picture[1]]),
            // RFC 9628 §4.2: picture id, predicted, layers, not flexible, begins and ends a frame;
            // TL0PICIDX.
            Codec::Vp9 if self.is_layered => {
                let predicted = if is_key { 0 } else { 0x40 };
                let (begins, ends) = (if place == 0 { 8 } else { 0 }, if place == 2 { 4 } else { 0 });
                let layer = spatial << 1 | u8::from(spatial > 0);
                let head = [0xa0 | predicted | begins | ends, 0x80 | picture[0], picture[1], layer, picture[1]];
                payload[..5].copy_from_slice(&head);
            }
            _ => {}
        }
        let layers = match self.format.codec {
            Codec::Vp8 | Codec::Vp9 => layers::read(self.format.codec, &payload).unwrap_or_default(),
            _ => media::codec::FrameLayers::default(),
        };
        (payload.into(), layers)
    }

    /// Returns the numbers of retransmitted and of left-out packets so far.
    fn report(&mut self) -> (u64, u64) {
        self.shard.handle_command(self.now, Command::Report { session: session() });
        loop {
            match self.shard.poll_event() {
                Some(Event::Report { report: Some(report), .. }) => {
                    let counters = report.tracks[0].counters;
                    return (counters.resent, counters.left_out);
                }
                Some(_) => {}
                None => panic!("no report"),
            }
        }
    }
}

fn session() -> SessionId {
    SessionId::from_bytes([9; 16])
}

fn viewer() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 40_000))
}

fn check(codec: Codec, profile: u32, is_layered: bool) {
    let mut scene = Scene::new(Format { codec, profile }, is_layered);
    scene.play(WARM_UP);
    let before = scene.report();
    let mut counted = scene.play(MEASURED);
    let after = scene.report();
    (counted.resent, counted.left_out) = (after.0 - before.0, after.1 - before.1);
    println!("{codec:?}: {counted:?}");
    let per_frame = if codec.kind() == MediaKind::Audio { 1 } else { 3 };
    assert!(counted.packets >= MEASURED * per_frame, "{codec:?}: {counted:?}");
    assert!(codec.kind() == MediaKind::Audio || counted.resent > 50, "{codec:?}: {counted:?}");
    assert_eq!(counted.left_out > 0, is_layered, "{codec:?}: {counted:?}");
    assert_eq!((counted.sending, counted.feedback, counted.timers), (0, 0, 0), "{codec:?}: {counted:?}");
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(vec![1_u8, 2])), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn vp8_is_sent_and_repaired_without_allocation() {
    check(Codec::Vp8, 0, false);
}

#[test]
fn vp9_is_sent_and_repaired_without_allocation() {
    check(Codec::Vp9, 0, false);
}

#[test]
fn vp9_with_a_layer_left_out_is_sent_and_repaired_without_allocation() {
    check(Codec::Vp9, 0, true);
}

#[test]
fn h264_is_sent_and_repaired_without_allocation() {
    check(Codec::H264, 0x1_42e0, false);
}

#[test]
fn av1_with_descriptors_is_sent_and_repaired_without_allocation() {
    check(Codec::Av1, 0, false);
}

#[test]
fn opus_is_sent_without_allocation() {
    check(Codec::Opus, 0, false);
}

#[test]
fn red_is_sent_without_allocation() {
    check(Codec::Red, 0, false);
}
