//! Whole sessions: what may any sequence of datagrams do to them?
//!
//! An input is a script, read as records of four bytes (what, how, two of length) and their
//! content. Some steps need no secret: raw datagrams, damaged ones of the honest peer. Others are
//! those of an admitted peer: STUN with the right password, any RTCP and RTP under its keys, any
//! bytes where SCTP is expected.
//!
//! What must hold: no panic, contained or not. An input without a secret neither ends the session,
//! nor keeps the honest peer from connecting, nor gets an answer. With a secret, an address that
//! has not proved its presence gets at most three times the bytes that came from it (threat T4).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use media::packet::Extensions;
use media::{Codec, Epoch, Packet};
use sfu::format::{Format, Published};
use sfu::shard;
use sfu::tap;

use crate::peer::Purpose;
use crate::world::{PEER, STREAM, World};

/// A viewer's session: ICE-lite and DTLS alone.
pub fn desk_datagrams(data: &[u8]) {
    run(Purpose::Watch, data);
}

/// A viewer's session with a data channel: str0m's.
pub fn desk_datagrams_with_channel(data: &[u8]) {
    run(Purpose::WatchAndTalk, data);
}

/// A publisher's session.
pub fn shard_datagrams(data: &[u8]) {
    run(Purpose::Publish, data);
}

/// What a script may make happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A datagram from a stranger's address.
    Stranger,
    /// A datagram from the peer's address that the peer did not send.
    Forged,
    /// STUN with the right password, from the peer's address or another.
    Stun,
    /// The peer's next datagram arrives damaged.
    Damaged,
    /// The peer's next datagram is lost.
    Lost,
    /// Time passes and all goes well.
    Pass,
    /// RTCP under the peer's keys.
    Rtcp,
    /// RTP under the peer's keys.
    Rtp,
    /// Bytes under the peer's DTLS.
    Sctp,
    /// A packet of the stream, for the viewer.
    Media,
    /// An ICE restart.
    Restart,
    /// A datagram for the desk, past the shard.
    Desk,
}

const STEPS: [Step; 12] = [
    Step::Stranger,
    Step::Forged,
    Step::Stun,
    Step::Damaged,
    Step::Lost,
    Step::Pass,
    Step::Rtcp,
    Step::Rtp,
    Step::Sctp,
    Step::Media,
    Step::Restart,
    Step::Desk,
];

/// The most steps of one script.
const MAX_STEPS: usize = 48;

fn run(purpose: Purpose, data: &[u8]) {
    let mut world = World::new(purpose);
    // The knowledge and the position that the script requires.
    let (mut knows_a_secret, mut is_on_the_path) = (false, false);
    let mut rest = data;
    let mut seq = 0;
    for _ in 0..MAX_STEPS {
        let Some(([what, how, high, low], after)) = rest.split_first_chunk::<4>() else { break };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len()).min(1_500);
        let (content, after) = after.split_at(len);
        rest = after;
        let step = STEPS[usize::from(*what) % STEPS.len()];
        match step {
            Step::Stranger => world.deliver(stranger(*how), content),
            Step::Forged => {
                is_on_the_path = true;
                world.deliver(PEER, content);
            }
            Step::Stun => {
                knows_a_secret = true;
                let source = if how & 1 == 0 { PEER } else { stranger(how >> 2) };
                let request = binding(&world, how & 2 != 0, content);
                world.deliver(source, &request);
            }
            Step::Damaged => {
                is_on_the_path = true;
                let sent = world.peer.drive(world.now);
                world.on_the_way.extend(sent);
                if let Some(mut datagram) = world.on_the_way.pop_front() {
                    damage(&mut datagram, content);
                    let source = if how & 1 == 0 { PEER } else { stranger(how >> 2) };
                    world.deliver(source, &datagram);
                }
            }
            Step::Lost => {
                is_on_the_path = true;
                let sent = world.peer.drive(world.now);
                world.on_the_way.extend(sent);
                world.on_the_way.pop_front();
            }
            Step::Pass => world.pass(Duration::from_millis(u64::from(*how) * 4)),
            Step::Rtcp => {
                knows_a_secret = true;
                if let Some(packet) = world.peer.sealed_rtcp(content) {
                    world.deliver(PEER, &packet);
                }
            }
            Step::Rtp => {
                knows_a_secret = true;
                if let Some(packet) = rtp(&mut world, content, u64::from(*how)) {
                    world.deliver(PEER, &packet);
                }
            }
            Step::Sctp => {
                knows_a_secret = true;
                world.peer.send_as_sctp(content);
                world.talk();
            }
            Step::Media => {
                seq += u64::from(how & 3) + 1;
                relay(&mut world, seq, *how, content);
            }
            Step::Restart => {
                knows_a_secret = true;
                restart(&mut world, content);
            }
            Step::Desk => {
                is_on_the_path |= how & 1 == 0;
                let source = if how & 1 == 0 { PEER } else { stranger(how >> 2) };
                world.deliver_to_desk(source, content);
            }
        }
    }
    assert_eq!(world.panics(), 0, "a session panicked");
    let allowed = if knows_a_secret || is_on_the_path { 3 * world.from_strangers } else { 0 };
    assert!(
        world.to_strangers <= allowed,
        "{} bytes came from addresses without proof, {} went there",
        world.from_strangers,
        world.to_strangers
    );
    if !knows_a_secret {
        // Losses and damage on the path may keep a peer from connecting in time.
        let was_late = is_on_the_path && world.was_late;
        assert!(world.has_session() || was_late, "strangers ended a session: {:?}", world.ended);
    }
    if !knows_a_secret && !is_on_the_path {
        world.pass(Duration::from_secs(3));
        assert!(world.peer.is_connected && !world.peer.is_over, "strangers kept a peer from connecting");
        assert!(world.has_session() && world.ended.is_none());
    }
}

/// One of 64 addresses, IPv4 and IPv6.
fn stranger(n: u8) -> SocketAddr {
    let n = n & 63;
    if n & 32 == 0 {
        SocketAddr::from(([203, 0, 113, n], 1_024 + u16::from(n)))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)], 1_024))
    }
}

/// Changes bytes of a datagram: three of the script say where (two) and how (one).
fn damage(datagram: &mut Vec<u8>, how: &[u8]) {
    for change in how.chunks(3) {
        match *change {
            [high, low, mask] => {
                let at = usize::from(u16::from_be_bytes([high, low])) % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= mask;
                }
            }
            [high, low] => datagram.truncate(usize::from(u16::from_be_bytes([high, low]))),
            _ => datagram.extend(how),
        }
    }
}

/// Returns a binding request with the right password and any attributes (RFC 8489 §14).
fn binding(world: &World, nominates: bool, attributes: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([5; 12]);
    let add = |message: &mut Vec<u8>, kind: u16, value: &[u8]| {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    add(&mut message, 0x0006, format!("{}:{}", world.ufrag, world.peer_ufrag).as_bytes());
    add(&mut message, 0x0024, &[0x6e, 0, 0, 1]);
    add(&mut message, 0x802a, &[1; 8]);
    if nominates {
        add(&mut message, 0x0025, &[]);
    }
    message.extend(attributes);
    // RFC 8489 §14.5: MESSAGE-INTEGRITY covers a header whose length ends with this attribute.
    let set_length = |message: &mut Vec<u8>, more: usize| {
        let length = (message.len() + more - 20) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    };
    set_length(&mut message, 24);
    let integrity = tap::provider().sha1_hmac_provider.sha1_hmac(world.password.as_bytes(), &[&message]);
    add(&mut message, 0x0008, &integrity);
    set_length(&mut message, 8);
    let fingerprint = crc32(&message) ^ 0x5354_554e;
    add(&mut message, 0x8028, &fingerprint.to_be_bytes());
    message
}

/// ISO 3309, as FINGERPRINT wants it (RFC 8489 §14.7).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// Encrypts what looks like RTP; how far its header goes is read as anybody would.
fn rtp(world: &mut World, packet: &[u8], rollovers: u64) -> Option<Vec<u8>> {
    let header_len = media::rtp::header_bytes(packet).ok()?;
    let (header, payload) = packet.split_at_checked(header_len)?;
    let ssrc = u32::from_be_bytes(*header.get(8..)?.first_chunk()?);
    let seq = u16::from_be_bytes(*header.get(2..)?.first_chunk()?);
    world.peer.sealed_rtp(header, payload, ssrc, (rollovers & 1) << 16 | u64::from(seq))
}

/// The stream goes on: a packet of any content, key frame or not.
fn relay(world: &mut World, seq: u64, how: u8, payload: &[u8]) {
    let codec = Codec::ALL[usize::from(how >> 2) % Codec::ALL.len()];
    let format = Some(Format { codec, profile: 0 });
    let published = match codec.kind() {
        media::MediaKind::Audio => Published { audio: format, ..Published::default() },
        media::MediaKind::Video => Published { video: format, ..Published::default() },
    };
    let packet = Packet {
        codec,
        epoch: Epoch { publisher: 1, run: u32::from(how >> 7) },
        // One more than there is.
        encoding: how >> 4 & 3,
        seq,
        timestamp: (seq as u32).wrapping_mul(3_000),
        marker: how & 1 != 0,
        key_frame_from: (how & 2 != 0).then_some(seq),
        resolution: None,
        starts_frame: how & 1 == 0,
        layers: media::codec::FrameLayers::default(),
        arrived_at: world.now,
        captured_at: None,
        has_wrong_clock: false,
        descriptor: None,
        sets: None,
        extensions: Extensions::default(),
        payload: payload.into(),
        red_primary_at: media::codec::red::primary_at(payload).unwrap_or(0),
    };
    let packets = vec![Arc::new(packet)];
    let unresponsive = how & 64 != 0;
    world.ask_shard(shard::Command::Relayed { stream: STREAM, epoch: 0, published, unresponsive, packets });
}

/// New credentials, whatever they look like.
fn restart(world: &mut World, content: &[u8]) {
    let text = String::from_utf8_lossy(content).into_owned();
    let (ufrag, password) = text.split_once(':').unwrap_or((&text, "0123456789012345678901"));
    let (ufrag, password) = (ufrag.to_owned(), password.to_owned());
    world.restart(ufrag, password);
}

/// Scripts of a viewer's session.
pub fn viewer_scripts() -> Vec<Vec<u8>> {
    let mut scripts = common_scripts();
    let rtcp: [&[u8]; 5] = [
        // A receiver report with one block.
        &[0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 5, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // NACK, PLI, FIR, REMB, each behind an empty receiver report.
        &[0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xff],
        &[0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0x80, 201, 0, 1, 0, 0, 0, 1, 0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0],
        &[0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 203, 0, 1, 0, 0, 0, 1],
    ];
    for packet in rtcp {
        let mut script = connected();
        for n in 0..4 {
            script.extend(record(Step::Media, 2 | n << 2, &[0x10, 0x02, 0, 0x9d, 1, 0x2a, 0, 5, 0xd0, 2]));
        }
        script.extend(record(Step::Rtcp, 0, packet));
        script.extend(record(Step::Pass, 50, &[]));
        script.extend(record(Step::Rtcp, 0, packet));
        scripts.push(script);
    }
    scripts
}

/// Scripts of a publisher's session.
pub fn publisher_scripts() -> Vec<Vec<u8>> {
    let mut scripts = common_scripts();
    let mut script = connected();
    for seq in 0..6 {
        let packet =
            [0x90, 96, 0, seq, 0, 0, 0, seq, 0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0x30, b'1', 0, 0, 0x10, 0, 0, 0x9d, 1, 0x2a];
        script.extend(record(Step::Rtp, 0, &packet));
    }
    // A sender report, and RTX, FEC and padding look-alikes.
    let report = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &[0xe0; 20]].concat();
    script.extend(record(Step::Rtcp, 0, &report));
    script.extend(record(
        Step::Rtp,
        0,
        &[0xb0, 97, 0, 9, 0, 0, 0, 9, 0, 0, 0, 8, 0xbe, 0xde, 0, 1, 0x30, b'1', 0, 0, 0, 3, 0, 2],
    ));
    script.extend(record(Step::Pass, 250, &[]));
    scripts.push(script);
    scripts
}

fn common_scripts() -> Vec<Vec<u8>> {
    let hello = [
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 0xfe, 0xfd][..],
        &[7; 46],
    ]
    .concat();
    let mut scripts = vec![connected()];
    // A handshake among strangers' datagrams.
    let mut script = Vec::new();
    for n in 0..8 {
        script.extend(record(Step::Stranger, n, &hello));
        script.extend(record(
            Step::Stranger,
            n,
            &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        ));
        script.extend(record(Step::Stranger, n, &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9, 9]));
        script.extend(record(Step::Pass, 10, &[]));
    }
    scripts.push(script);
    // Forged before, in and after the handshake.
    let mut script = record(Step::Forged, 0, &hello);
    script.extend(record(Step::Stun, 2, &[]));
    script.extend(record(Step::Forged, 0, &hello));
    script.extend(record(Step::Pass, 20, &[]));
    script.extend(record(Step::Forged, 0, &hello));
    script.extend(record(Step::Forged, 0, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40]));
    script.extend(record(Step::Pass, 250, &[]));
    scripts.push(script);
    // Each datagram of the handshake is damaged or lost once.
    for kind in [Step::Damaged, Step::Lost] {
        let mut script = Vec::new();
        for n in 0..12 {
            script.extend(record(kind, 0, &[0, 13 + n, 1 << (n % 8), 0, 30 + n, 0x80]));
            script.extend(record(Step::Pass, 15, &[]));
        }
        scripts.push(script);
    }
    // A client with the password nominates other addresses.
    let mut script = connected();
    for n in 0..12 {
        script.extend(record(Step::Stun, 3 | n << 2, &[]));
        script.extend(record(Step::Stun, 1 | n << 2, &[0x80, 0x22, 0, 4, b'f', b'u', b'z', b'z']));
        script.extend(record(Step::Pass, 30, &[]));
    }
    scripts.push(script);
    // SCTP: an INIT, DATA, FORWARD-TSN, and a restart of ICE.
    let mut script = connected();
    let init = [
        0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0,
        0, 0, 9,
    ];
    let data = [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 51, 1];
    let jump = [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff];
    for packet in [&init[..], &data, &jump] {
        script.extend(record(Step::Sctp, 0, packet));
        script.extend(record(Step::Pass, 10, &[]));
    }
    script.extend(record(Step::Restart, 0, b"abcd:0123456789012345678901"));
    script.extend(record(Step::Pass, 50, &[]));
    scripts.push(script);
    scripts
}

/// Time for ICE and DTLS.
fn connected() -> Vec<u8> {
    record(Step::Pass, 100, &[])
}

fn record(step: Step, how: u8, content: &[u8]) -> Vec<u8> {
    let what = STEPS.iter().position(|s| *s == step).unwrap_or_default() as u8;
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[what, how, high, low], content].concat()
}
