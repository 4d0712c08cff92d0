//! What may a peer with a session, and thus with keys, do to a server and to the streams of others?
//!
//! An input is a script, read as records of four bytes (what, how, two of length) and their
//! content. Packets are made from few bytes ([`Made`]), so that a mutation of a script is another
//! valid packet, or are taken as they stand; all are encrypted under the peer's keys, with any
//! rollover counter. Beside the peer there are a viewer of its stream and one of another stream,
//! which gets a packet after each step.
//!
//! What must hold after each step: no panic, contained or not; the viewer of the other stream has
//! received all packets; the peer was sent a bounded number of datagrams; the process has not grown
//! by more than [`MAX_GROWTH`].

use std::sync::Arc;
use std::time::Duration;

use media::packet::Extensions;
use media::{Codec, Packet};
use sfu::format::{Format, Published};
use sfu::shard;

use crate::memory::resident_bytes;
use crate::peer::Purpose;
use crate::world::{OTHER, PEER, STREAM, World};

/// A publisher whose packets have any headers, numbers and reports.
pub fn publisher(data: &[u8]) {
    let _ = run(Purpose::Publish, data);
}

/// A viewer whose reports say anything.
pub fn viewer(data: &[u8]) {
    let _ = run(Purpose::Watch, data);
}

/// What a script may make happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A packet as [`Made`] describes it.
    Made,
    /// Up to 256 packets, each a stride further than the one before.
    Burst,
    /// RTP as it stands.
    Rtp,
    /// RTCP as it stands.
    Rtcp,
    /// A transport-wide feedback with any content.
    Feedback,
    /// Time passes.
    Pass,
    /// Bytes under the peer's DTLS.
    Sctp,
    /// A packet of the peer's stream, for a viewer.
    Media,
}

const STEPS: [Step; 8] =
    [Step::Made, Step::Burst, Step::Rtp, Step::Rtcp, Step::Feedback, Step::Pass, Step::Sctp, Step::Media];

/// The most steps of one script.
const MAX_STEPS: usize = 64;
/// A session's own queues and the log of its stream hold a few MiB; tests beside this one share the
/// process.
const MAX_GROWTH: u64 = 512 << 20;
/// Datagrams to the peer in a step: what a viewer is owed of repairs and padding, and a publisher
/// of feedback.
const MAX_ANSWERS: usize = 256;

/// Returns how many packets the viewer of the peer's stream received.
fn run(purpose: Purpose, data: &[u8]) -> u64 {
    let mut world = World::watched(purpose);
    let names = Names::of(&world);
    let resident = resident_bytes();
    let (mut rest, mut others, mut seq) = (data, 0u64, 0u64);
    for _ in 0..MAX_STEPS {
        let Some(([what, how, high, low], after)) = rest.split_first_chunk::<4>() else { break };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len()).min(1_400);
        let (content, after) = after.split_at(len);
        rest = after;
        let sent_before = world.to_peer;
        let step = STEPS[usize::from(*what) % STEPS.len()];
        match step {
            Step::Made => send(&mut world, &names, Made::of(content), *how),
            Step::Burst => {
                let (stride, content) = content.split_first_chunk::<4>().unwrap_or((&[0; 4], content));
                let mut made = Made::of(content);
                let [a, b, c, d] = *stride;
                for _ in 0..=*how {
                    send(&mut world, &names, made.clone(), 0);
                    made.seq = made.seq.wrapping_add(u16::from_be_bytes([a, b]));
                    made.transport = made.transport.wrapping_add(u16::from_be_bytes([c, d]));
                }
            }
            Step::Rtp => {
                if let Ok(header) = media::rtp::header_bytes(content) {
                    seal_and_send(&mut world, &content[..header], &content[header..], *how);
                }
            }
            Step::Rtcp => report(&mut world, content),
            Step::Feedback => {
                let mut packet = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
                packet.extend(content);
                packet.resize(packet.len().next_multiple_of(4), 0);
                let words = (packet.len() / 4 - 1) as u16;
                packet[2..4].copy_from_slice(&words.to_be_bytes());
                report(&mut world, &packet);
            }
            Step::Pass => world.pass(Duration::from_millis(u64::from(*how) * 4)),
            Step::Sctp => {
                world.peer.send_as_sctp(content);
                world.talk();
            }
            Step::Media => {
                seq += u64::from(how & 3) + 1;
                relay(&mut world, STREAM, seq, content, how & 4 != 0);
            }
        }
        others += 1;
        relay(&mut world, OTHER, others, b"sound", false);
        world.pass(Duration::from_millis(20));
        let received =
            world.watchers.iter().find(|watcher| watcher.stream == OTHER).map(|watcher| watcher.peer.received);
        assert_eq!(received, Some(others), "the other stream goes on after {step:?}");
        assert_eq!(world.panics(), 0, "a session panicked after {step:?}");
        // A check or a report may be due every few ms of a step that lasts.
        let allowed = MAX_ANSWERS + if step == Step::Pass { usize::from(*how) * 4 } else { 0 };
        let answers = world.to_peer - sent_before;
        assert!(answers <= allowed, "{answers} datagrams answered {step:?}");
        let growth = resident_bytes().saturating_sub(resident);
        assert!(growth <= MAX_GROWTH, "the process grew by {growth} bytes up to {step:?}");
    }
    let of_stream = world.watchers.iter().find(|watcher| watcher.stream == STREAM);
    of_stream.map_or(0, |watcher| watcher.peer.received)
}

/// What the session agreed on.
struct Names {
    /// Of the offer; then probes (0), and made up ones.
    ssrcs: Vec<u32>,
    payload_types: Vec<u8>,
    mids: Vec<String>,
    transport_id: u8,
    mid_id: u8,
    repaired_id: u8,
}

impl Names {
    fn of(world: &World) -> Names {
        let numbers = |prefix: &str| -> Vec<u32> {
            let after = world.offer.lines().filter_map(|line| line.trim_end().strip_prefix(prefix));
            let mut numbers: Vec<u32> = after.filter_map(|rest| rest.split([' ', ':']).next()?.parse().ok()).collect();
            numbers.dedup();
            numbers
        };
        let mut ssrcs = numbers("a=ssrc:");
        ssrcs.extend([0, 7, 8, 9]);
        let id = |uri: &str| {
            let line = world.answer.lines().find(|line| line.starts_with("a=extmap:") && line.contains(uri));
            line.and_then(|line| line["a=extmap:".len()..].split([' ', '/']).next()?.parse().ok()).unwrap_or(14)
        };
        let payload_types = numbers("a=rtpmap:").into_iter().map(|pt| pt as u8).chain([0, 35, 72, 127]).collect();
        let mids = world.offer.lines().filter_map(|line| line.trim_end().strip_prefix("a=mid:"));
        Names {
            ssrcs,
            payload_types,
            mids: mids.map(str::to_owned).chain(["x".to_owned()]).collect(),
            transport_id: id("transport-wide-cc"),
            mid_id: id("sdes:mid"),
            repaired_id: id("repaired-rtp-stream-id"),
        }
    }
}

/// A packet in twelve bytes and its payload.
#[derive(Debug, Clone)]
struct Made {
    ssrc: u8,
    payload_type: u8,
    seq: u16,
    transport: u16,
    timestamp: u8,
    csrcs: u8,
    padding: u8,
    /// Bits: which extensions.
    extensions: u8,
    mid: u8,
    payload: Vec<u8>,
}

impl Made {
    fn of(bytes: &[u8]) -> Made {
        let (head, payload) = bytes.split_first_chunk::<12>().unwrap_or((&[0; 12], bytes));
        let [ssrc, payload_type, s0, s1, t0, t1, timestamp, csrcs, padding, extensions, mid, _] = *head;
        Made {
            ssrc,
            payload_type,
            seq: u16::from_be_bytes([s0, s1]),
            transport: u16::from_be_bytes([t0, t1]),
            timestamp,
            csrcs,
            padding,
            extensions,
            mid,
            payload: payload.to_vec(),
        }
    }

    fn header(&self, names: &Names) -> Vec<u8> {
        let ssrc = names.ssrcs[usize::from(self.ssrc) % names.ssrcs.len()];
        let payload_type = names.payload_types[usize::from(self.payload_type) % names.payload_types.len()];
        let csrcs = self.csrcs & 15;
        let padding = if self.padding > 0 { 0x20 } else { 0 };
        let mut bytes = vec![0x90 | padding | csrcs, payload_type];
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend((u32::from(self.timestamp) << 24).to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(vec![1; usize::from(csrcs) * 4]);
        let mut elements = Vec::new();
        let mut add = |bit: u8, id: u8, value: &[u8]| {
            if self.extensions & bit != 0 {
                elements.push(id << 4 | (value.len() as u8 - 1));
                elements.extend(value);
            }
        };
        add(1, names.transport_id, &self.transport.to_be_bytes());
        add(2, names.mid_id, names.mids[usize::from(self.mid) % names.mids.len()].as_bytes());
        add(4, names.repaired_id, b"q");
        add(8, 1, &[self.mid; 3]);
        add(16, names.transport_id, &self.seq.to_be_bytes());
        elements.resize(elements.len().next_multiple_of(4), 0);
        bytes.extend([0xbe, 0xde]);
        bytes.extend((elements.len() as u16 / 4).to_be_bytes());
        bytes.extend(elements);
        bytes
    }
}

fn send(world: &mut World, names: &Names, made: Made, rollovers: u8) {
    let header = made.header(names);
    let mut payload = made.payload;
    if made.padding > 0 {
        payload.resize(payload.len() + usize::from(made.padding) - 1, 0);
        payload.push(made.padding);
    }
    seal_and_send(world, &header, &payload, rollovers);
}

fn seal_and_send(world: &mut World, header: &[u8], payload: &[u8], rollovers: u8) {
    let field = |at: usize| header.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    let [.., s0, s1] = field(0);
    let index = ROLLOVERS[usize::from(rollovers) % ROLLOVERS.len()] << 16 | u64::from(u16::from_be_bytes([s0, s1]));
    if let Some(packet) = world.peer.sealed_rtp(header, payload, u32::from_be_bytes(field(8)), index) {
        world.deliver(PEER, &packet);
    }
}

/// −1 among them, as a receiver that wraps below zero has it.
const ROLLOVERS: [u64; 5] = [0, 1, 0xffff_ffff, 0x8000_0000, 2];

fn report(world: &mut World, plain: &[u8]) {
    if let Some(packet) = world.peer.sealed_rtcp(plain) {
        world.deliver(PEER, &packet);
    }
}

/// A stream goes on with a packet of sound, or of VP8.
fn relay(world: &mut World, stream: media::StreamId, seq: u64, payload: &[u8], is_video: bool) {
    let codec = if is_video { Codec::Vp8 } else { Codec::Opus };
    let format = Some(Format { codec, profile: 0 });
    let published = match is_video {
        true => Published { video: format, ..Published::default() },
        false => Published { audio: format, ..Published::default() },
    };
    let packet = Packet {
        codec,
        epoch: media::Epoch { publisher: 1, run: 0 },
        encoding: 0,
        seq,
        timestamp: (seq as u32).wrapping_mul(960),
        marker: is_video,
        key_frame_from: is_video.then_some(seq),
        resolution: None,
        starts_frame: true,
        layers: media::codec::FrameLayers::default(),
        arrived_at: world.now,
        captured_at: None,
        has_wrong_clock: false,
        descriptor: None,
        sets: None,
        extensions: Extensions::default(),
        payload: payload.into(),
        red_primary_at: 0,
    };
    let packets = vec![Arc::new(packet)];
    world.ask_shard(shard::Command::Relayed { stream, epoch: 0, published, unresponsive: false, packets });
}

/// Scripts of a publisher.
pub fn publisher_scripts() -> Vec<Vec<u8>> {
    let made = |ssrc: u8, pt: u8, seq: u16, transport: u16, extensions: u8, payload: &[u8]| {
        let ([s0, s1], [t0, t1]) = (seq.to_be_bytes(), transport.to_be_bytes());
        [&[ssrc, pt, s0, s1, t0, t1, 1, 0, 0, extensions, 1, 0][..], payload].concat()
    };
    let mut scripts = vec![transport_numbers_apart(), numbers_below_zero()];
    // Every SSRC and payload type of the session once; an original number (RFC 4588) below zero in
    // each.
    for ssrc in 0..8 {
        let mut script = Vec::new();
        for pt in 0..24 {
            script.extend(record(Step::Made, 0, &made(ssrc, pt, 5 + u16::from(pt), 9, 3, &[0x9c, 0x40, 0x10, 0, 0])));
        }
        scripts.push(script);
    }
    // Bursts with strides of half a cycle.
    for stride in
        [[0, 1, 0x7f, 0xff], [0x7f, 0xff, 0, 1], [0x7f, 0xff, 0x7f, 0xff], [0, 1, 0x80, 0x01], [0x80, 1, 0, 0]]
    {
        let content = [&stride[..], &made(1, 0, 5, 65_000, 3, b"picture")].concat();
        scripts.push(record(Step::Burst, 255, &content));
    }
    // A DLRR block that promises 21,845 parts, over and over; an SDES of the largest count; lengths
    // of zero.
    let promises = [0x80, 207, 0, 2, 0, 0, 0, 9, 5, 0, 0xff, 0xff].repeat(110);
    let names = [&[0x9f, 202, 0, 20][..], &[0xff; 80]].concat();
    let empty = [0x80, 200, 0, 0].repeat(300);
    let clock = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &[0xff; 20]].concat();
    let mut script = Vec::new();
    for packet in [promises, names, empty, clock] {
        script.extend(record(Step::Rtcp, 0, &packet));
        script.extend(record(Step::Pass, 100, &[]));
    }
    scripts.push(script);
    let mut script = Vec::new();
    // SCTP: INIT with the most streams, DATA of far numbers.
    let init = [
        0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0,
        0, 0, 9,
    ];
    script.extend(record(Step::Sctp, 0, &init));
    script.extend(record(Step::Pass, 50, &[]));
    scripts.push(script);
    scripts
}

/// Transport-wide sequence numbers 0, 1, 40000, 5.
fn transport_numbers_apart() -> Vec<u8> {
    let numbers = [(10, 0), (11, 1), (12, 40_000u16), (13, 5)];
    let mut script: Vec<u8> = Vec::new();
    for (seq, transport) in numbers {
        let [high, low] = transport.to_be_bytes();
        script.extend(record(Step::Made, 0, &[1, 0, 0, seq, high, low, 0, 0, 0, 3, 1, 0, 0x10, 0, 0, 0x9d, 1, 0x2a]));
    }
    script.extend(record(Step::Pass, 50, &[]));
    script
}

/// Sequence number 5, then 65000 under the rollover counter that comes before 0.
fn numbers_below_zero() -> Vec<u8> {
    let mut script = Vec::new();
    for (seq, rollovers) in [(5u16, 0), (65_000, 2), (6, 0)] {
        let [high, low] = seq.to_be_bytes();
        for ssrc in 0..4 {
            let packet = [ssrc, 0, high, low, 0, 0, 0, 0, 0, 2, 1, 0, 0x10, 0, 0, 0x9d, 1, 0x2a, 0, 5, 0, 5];
            script.extend(record(Step::Made, rollovers, &packet));
        }
    }
    script
}

/// Scripts of a viewer.
pub fn viewer_scripts() -> Vec<Vec<u8>> {
    let mut scripts = Vec::new();
    let reports: [&[u8]; 5] = [
        // NACK of everything, 60 times 17 packets.
        &[&[0x81, 205, 0, 62, 0, 0, 0, 1, 0, 0, 0, 2][..], &[0, 1, 0xff, 0xff].repeat(60)].concat(),
        // 31 report blocks, extremes in all of them.
        &[&[0x9f, 201, 0, 187, 0, 0, 0, 1][..], &[0xff; 744]].concat(),
        // REMB: 2^63 times 2^18 bit/s, and 255 SSRCs that are not there.
        &[0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 255, 0xff, 0xff, 0xff, 0, 0, 0, 2],
        &[0x80, 207, 0, 2, 0, 0, 0, 9, 5, 0, 0xff, 0xff].repeat(110),
        &[0x81, 203, 0xff, 0xff, 0, 0, 0, 1],
    ];
    for packet in reports {
        let mut script = Vec::new();
        for n in 0..6 {
            script.extend(record(Step::Media, 4 | n & 3, &[0x10, 0x02, 0, 0x9d, 1, 0x2a, 0, 5, 0xd0, 2]));
        }
        script.extend(record(Step::Rtcp, 0, packet));
        script.extend(record(Step::Pass, 50, &[]));
        script.extend(record(Step::Rtcp, 0, packet));
        scripts.push(script);
    }
    // 65,535 statuses in three words, 64 reference times apart.
    let mut script = Vec::new();
    for n in 0..8 {
        script.extend(record(Step::Media, n & 3, b"sound"));
        let report = [0, n, 0xff, 0xff, 0x80 | n, 0, 0, n, 0x1f, 0xff, 0x1f, 0xff, 0x1f, 0xff, 0x1f, 0xff, 0x1f, 0xff];
        script.extend(record(Step::Feedback, 0, &[&report[..], &[0x1f, 0xff].repeat(6)].concat()));
    }
    scripts.push(script);
    scripts
}

fn record(step: Step, how: u8, content: &[u8]) -> Vec<u8> {
    let what = STEPS.iter().position(|s| *s == step).unwrap_or_default() as u8;
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[what, how, high, low], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transport_numbers_half_a_cycle_apart_take_no_memory_and_no_stream() {
        publisher(&transport_numbers_apart());
    }

    #[test]
    fn packets_of_the_session_reach_the_viewer_of_its_stream() {
        let mut script = Vec::new();
        for seq in 0..8 {
            let packet = [1, 0, 0, seq, 0, seq, 0, 0, 0, 3, 1, 0, 0x10, 0, 0, 0x9d, 1, 0x2a, 0, 5, 0, 5];
            // Every SSRC and payload type, so that the right ones are among them.
            for (ssrc, pt) in (0..4).flat_map(|ssrc| (0..12).map(move |pt| (ssrc, pt))) {
                let mut packet = packet;
                (packet[0], packet[1], packet[10]) = (ssrc, pt, ssrc / 2);
                packet[3] = seq * 12 + pt;
                script.push(record(Step::Made, 0, &packet));
            }
        }
        let received: u64 = script.chunks(MAX_STEPS).map(|steps| run(Purpose::Publish, &steps.concat())).sum();
        assert!(received > 0);
    }

    /// str0m finds the stream of an SSRC by the header before it decrypts: one header could take
    /// the stream over.
    #[test]
    fn a_forged_header_does_not_take_a_stream_over() {
        let mut world = World::watched(Purpose::Publish);
        let names = Names::of(&world);
        let packet =
            |seq: u8, ssrc: u8, extensions: u8| Made::of(&[ssrc, 0, 0, seq, 0, 0, 0, 0, 0, extensions, 0, 0, 1]);
        let mut received = Vec::new();
        for seq in 0..8 {
            if seq == 4 {
                let mut forged = packet(seq, 4, 2).header(&names);
                forged.extend([7; 40]);
                world.deliver(PEER, &forged);
            }
            send(&mut world, &names, packet(seq, 0, 0), 0);
            world.pass(Duration::from_millis(40));
            received.push(world.watchers[0].peer.received);
        }
        assert!(received[3] > 0, "{received:?}");
        assert_eq!(received[7] - received[3], 4, "{received:?}");
    }

    #[test]
    fn a_number_below_the_first_one_silences_no_stream() {
        publisher(&numbers_below_zero());
    }
}
