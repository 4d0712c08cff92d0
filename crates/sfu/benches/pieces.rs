//! How long do the small pieces take that a packet passes on its way?
//!
//! `cargo bench -p sfu` measures all of them (some minutes) and says what changed since the last time;
//! `cargo bench -p sfu -- --quick` takes a moment and is less exact; `cargo bench -p sfu -- seal` measures those with that
//! name. What they cost together, with the caches as cold as an audience makes them, is for `bench tick` to say.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use media::packet::Extensions;
use media::{Codec, Epoch, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use sfu::format::Format;
use sfu::publisher::PublisherSetup;
use sfu::receive::{ExtensionIds, NamedSsrc, Negotiated, Section};
use sfu::rtcp::{self, ReportBlock, Writer};
use sfu::shard::{Command, Shard};
use sfu::srtp::{self, DtlsRole, Open, Profile, Seal};
use sfu::stream::log::{LogLimits, PacketLog};
use sfu::transmit::Batch;
use sfu::viewer::history::{History, PacketForm};
use sfu::viewer::rewrite::{Rewrite, Rewritten};

/// A full packet: 12 bytes of header, 12 of extensions, 16 of tag, and this.
const PAYLOAD_BYTES: usize = 1_160;
const VIEWERS: u32 = 5_000;
const PROFILES: [(&str, Profile); 3] = [
    ("gcm-128", Profile::AeadAes128Gcm),
    ("gcm-256", Profile::AeadAes256Gcm),
    ("cm-sha1", Profile::AesCm128HmacSha1_80),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    seal(&mut criterion.benchmark_group("seal"));
    feedback(&mut criterion.benchmark_group("open-srtcp"));
    publisher(&mut criterion.benchmark_group("publisher"));
    numbers(&mut criterion.benchmark_group("numbers"));
    log(&mut criterion.benchmark_group("log"));
    history(&mut criterion.benchmark_group("history"));
    route(&mut criterion.benchmark_group("route"));
    batch(&mut criterion.benchmark_group("batch"));
    criterion.final_summary();
}

/// Seals a packet of 1,200 bytes, as it stands in the log, into a buffer.
fn seal(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Bytes(1_200));
    let payload = [7; PAYLOAD_BYTES];
    for (name, profile) in PROFILES {
        let (seal, _) = keys(profile);
        let mut out = [0; 2_048];
        let mut index = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                index += 1;
                black_box(seal.rtp(&mut out, 24, &[], black_box(&payload), 1, index))
            });
        });
    }
}

/// Takes packets of a publisher in: opened, assigned, described, and kept in the log of a stream without viewers.
/// Timers, reports and feedback are part of it; the system call is not.
fn publisher(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Elements(1));
    for (name, profile) in PROFILES {
        let mut publishing = Publishing::new(profile);
        group.bench_function(name, |b| b.iter_custom(|packets| publishing.take(packets)));
    }
}

/// A shard with one publisher of VP8, and the publisher's keys.
struct Publishing {
    now: Instant,
    shard: Shard,
    batch: Batch,
    seal: Seal,
    seq: u64,
    /// Sealed packets.
    sealed: Vec<Vec<u8>>,
}

impl Publishing {
    fn new(profile: Profile) -> Publishing {
        let now = Instant::now();
        let clock = WallClock::new(now, NtpTime::from_system_time(SystemTime::now()));
        let mut shard = Shard::new(0, 1, clock);
        let exporter = vec![9; profile.exporter_bytes()];
        let (seal, open) = srtp::split(profile, &exporter, DtlsRole::Server).expect("keys of the right length");
        let video = Section {
            mid: "0".to_owned(),
            kind: MediaKind::Video,
            formats: vec![(96, Format { codec: Codec::Vp8, profile: 0 })],
            repairs: vec![(97, 96)],
            nacks: vec![96],
            rids: Vec::new(),
            ssrcs: vec![NamedSsrc { ssrc: 7, is_repair: false }],
        };
        let extensions = ExtensionIds { mid: Some(1), transport_number: Some(2), ..ExtensionIds::default() };
        let setup = PublisherSetup {
            session: SessionId::from_bytes([1; 16]),
            stream: StreamId(1),
            epoch: 1,
            desk: 0,
            address: there(),
            source: None,
            seal,
            open,
            negotiated: Negotiated {
                sections: vec![video],
                extensions,
                has_transport_feedback: true,
                has_reduced_size: true,
            },
            offer: String::new(),
            seed: 1,
        };
        shard.handle_command(now, Command::AddPublisher(Box::new(setup)));
        let (seal, _) = srtp::split(profile, &exporter, DtlsRole::Client).expect("keys of the right length");
        Publishing { now, shard, batch: Batch::new(), seal, seq: 1, sealed: vec![vec![0; 1_300]; 512] }
    }

    /// Takes so many packets in, and returns how long that took.
    fn take(&mut self, packets: u64) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = packets;
        while left > 0 {
            let count = left.min(self.sealed.len() as u64) as usize;
            left -= count as u64;
            let lengths: Vec<usize> = (0..count).map(|n| self.seal_next(n)).collect();
            let began = Instant::now();
            for (datagram, len) in self.sealed.iter_mut().zip(lengths) {
                // Some 6 Mb/s.
                self.now += Duration::from_micros(1_500);
                self.shard.handle_datagram(self.now, there(), here(), &mut datagram[..len]);
                self.shard.handle_timeout(self.now);
                self.shard.poll_transmit(self.now, &mut self.batch);
                self.batch.clear();
                while self.shard.poll_event().is_some() {}
            }
            took += began.elapsed();
        }
        took
    }

    /// Seals the next packet of a flow with pictures of eight packets; each hundredth picture is a key frame.
    fn seal_next(&mut self, place: usize) -> usize {
        let (seq, number) = (self.seq, (self.seq as u16).to_be_bytes());
        self.seq += 1;
        let (picture, packet) = (seq / 8, seq % 8);
        let mut payload = [7; PAYLOAD_BYTES];
        payload[0] = if packet == 0 { 0x10 } else { 0 };
        payload[1] = u8::from(!(packet == 0 && picture.is_multiple_of(100)));
        let timestamp = (picture as u32).wrapping_mul(3_000);
        let out = &mut self.sealed[place];
        let elements: [(u8, &[u8]); 2] = [(1, b"0"), (2, &number)];
        let header = media::rtp::write_header(out, 96, packet == 7, seq as u16, timestamp, 7, &elements);
        self.seal.rtp(out, header, &[], &payload, 7, seq)
    }
}

fn here() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 7_882))
}

fn there() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 5_000))
}

/// Opens and parses what viewers send.
fn feedback(group: &mut BenchmarkGroup<'_, WallTime>) {
    type Write = fn(&mut Writer<'_>) -> bool;
    let kinds: [(&str, Write); 3] = [
        ("receiver-report", |w| w.receiver_report(1, &[ReportBlock { ssrc: 2, ..ReportBlock::default() }])),
        ("nack", |w| w.nack(1, 2, &[10, 12, 40, 90])),
        ("transport-feedback", |w| {
            // 100 ms of 160 packets a second.
            let packets: Vec<_> = (0..16).map(|n| (100 + n, Some(64_000 + i64::from(n) * 6_000))).collect();
            w.transport_feedback(1, 2, 0, 100, 1, &packets)
        }),
    ];
    for (name, write) in kinds {
        let (mut seal, mut open) = keys(Profile::AeadAes128Gcm);
        let sealed = |seal: &mut Seal| {
            let mut bytes = vec![0; 512];
            let mut writer = Writer::new(&mut bytes);
            assert!(write(&mut writer));
            let len = writer.finish();
            let len = seal.rtcp(&mut bytes, len);
            bytes.truncate(len);
            bytes
        };
        // Each once, or the second would be refused as a replay.
        group.bench_function(name, |b| {
            b.iter_batched_ref(|| sealed(&mut seal), |bytes| black_box(parse(&mut open, bytes)), BatchSize::SmallInput);
        });
    }
}

/// Opens a compound and reads all that is in it.
fn parse(open: &mut Open, bytes: &mut [u8]) -> u64 {
    let compound = open.rtcp(bytes).expect("sealed with the same keys");
    let read = |packet| match packet {
        Ok(rtcp::Packet::ReceiverReport(report)) => report.blocks.map(|b| u64::from(b.highest_seq)).sum(),
        Ok(rtcp::Packet::Nack(nack)) => nack.seqs().map(u64::from).sum(),
        Ok(rtcp::Packet::TransportFeedback(feedback)) => feedback.arrivals().map(|_| 1).sum(),
        _ => 0,
    };
    rtcp::packets(compound).map(read).sum()
}

/// Gives a packet its numbers for one viewer, and writes its header with a mid.
fn numbers(group: &mut BenchmarkGroup<'_, WallTime>) {
    let now = Instant::now();
    let mut rewrite = Rewrite::new(90_000, 0x1234_5678_9abc_def0);
    let mut published = packet(now, 1);
    rewrite.start(now, &published);
    group.bench_function("rewrite", |b| {
        b.iter(|| {
            published.seq += 1;
            black_box(rewrite.rewrite(now, black_box(&published)))
        });
    });
    let mut out = [0; 2_048];
    let mut seq = 0u16;
    group.bench_function("header", |b| {
        b.iter(|| {
            seq = seq.wrapping_add(1);
            black_box(media::rtp::write_header(&mut out, 96, true, seq, 9, 1, black_box(&[(4, &b"0"[..])])))
        });
    });
}

fn log(group: &mut BenchmarkGroup<'_, WallTime>) {
    let now = Instant::now();
    let mut log = PacketLog::new(LogLimits::VIDEO);
    let shared = Arc::new(packet(now, 1));
    for _ in 0..4_096 {
        log.push(shared.clone());
    }
    let mut position = log.start();
    group.bench_function("get", |b| {
        b.iter(|| {
            position = if position + 1 < log.end() { position + 1 } else { log.start() };
            black_box(log.get(black_box(position)).is_some())
        });
    });
    group.bench_function("push", |b| b.iter(|| black_box(log.push(shared.clone()))));
}

/// What one viewer's sent packets are remembered for.
fn history(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut history = History::new(1_024);
    let form = PacketForm { payload_type: 96, ..PacketForm::default() };
    let mut index = 1;
    group.bench_function("sent", |b| {
        b.iter(|| {
            index += 1;
            // 160 packets a second.
            let now = index * 6_250;
            black_box(history.is_new(index));
            history.on_sent(now, Rewritten { index, timestamp: index as u32 }, index, form);
        });
    });
    // No packet is sent again more than a few times, so that most of these are refused: the look-up is the same.
    let now = index * 6_250;
    let mut back = 0;
    group.bench_function("missing", |b| {
        b.iter(|| {
            back = (back + 1) % 128;
            black_box(history.on_nack(now, (index - back) as u16, Duration::from_millis(50), |_| index + 1))
        });
    });
}

/// Finds out whose a datagram is among thousands of addresses.
fn route(group: &mut BenchmarkGroup<'_, WallTime>) {
    let now = Instant::now();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 7_882));
    let clock = WallClock::new(now, NtpTime::from_system_time(SystemTime::now()));
    let mut shard = Shard::new(0, 1, clock);
    let peer = |n: u32| SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + n), 40_000));
    for n in 0..VIEWERS {
        let mut session = [0; 16];
        session[..4].copy_from_slice(&n.to_be_bytes());
        let session = SessionId::from_bytes(session);
        shard.handle_command(now, Command::Bind { source: peer(n), session, desk: 0, serving: None, is_sender: false });
    }
    // RTP from a viewer is looked up, told from RTCP, and counted as unexpected: nothing else is measured with it.
    let mut datagram = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut n = 0;
    group.bench_function("known-source", |b| {
        b.iter(|| {
            n = (n + 7) % VIEWERS;
            shard.handle_datagram(now, peer(n), here, &mut datagram);
        });
    });
    group.bench_function("stranger", |b| {
        b.iter(|| shard.handle_datagram(now, black_box(peer(VIEWERS + 1)), here, &mut datagram));
    });
}

/// A frame of six packets to one peer becomes one message; sealing aside.
fn batch(group: &mut BenchmarkGroup<'_, WallTime>) {
    let mut batch = Batch::new();
    let mut n = 0u16;
    group.throughput(Throughput::Elements(6));
    group.bench_function("frame-of-6", |b| {
        b.iter(|| {
            n = n.wrapping_add(1);
            for _ in 0..6 {
                batch
                    .push_with(SocketAddr::from((Ipv4Addr::LOCALHOST, n)), None, |out| black_box(out).len().min(1_200));
            }
            // As often as a shard sends.
            if batch.len_bytes() > 512 * 1024 {
                batch.clear();
            }
        });
    });
}

fn packet(now: Instant, seq: u64) -> Packet {
    Packet {
        codec: Codec::Vp8,
        epoch: Epoch::of(1),
        encoding: 0,
        seq,
        timestamp: 3_000,
        marker: true,
        key_frame_from: None,
        resolution: None,
        starts_frame: true,
        layers: media::codec::FrameLayers::default(),
        arrived_at: now,
        captured_at: None,
        has_wrong_clock: false,
        descriptor: None,
        sets: None,
        extensions: Extensions::default(),
        payload: vec![7; PAYLOAD_BYTES].into(),
        red_primary_at: 0,
    }
}

fn keys(profile: Profile) -> (Seal, Open) {
    let exporter: Vec<u8> = (1..).take(profile.exporter_bytes()).collect();
    let (seal, _) = srtp::split(profile, &exporter, DtlsRole::Client).expect("as many bytes as the profile wants");
    let (_, open) = srtp::split(profile, &exporter, DtlsRole::Server).expect("as many bytes as the profile wants");
    (seal, open)
}
