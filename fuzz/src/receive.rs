//! What may a sender with keys send to a receiving half of a session, and what may it make that
//! half say?
//!
//! An input is a script: records of four bytes (what, how, two of length) and their content. RTP
//! and RTCP are sealed under the sender's keys, so that all of it is authentic. After each step the
//! due datagrams are written, opened with the sender's keys, and read.
//!
//! What must hold: no panic; no sequence number of a run is delivered twice; each written datagram
//! can be read, their size and number are bounded, and writing comes to an end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use media::{Codec, MediaKind, NtpTime, WallClock};
use sfu::format::Format;
use sfu::receive::{ExtensionIds, NamedSsrc, Negotiated, Outcome, Place, Receiver, Section};
use sfu::rtcp::{Packet, packets};
use sfu::srtp::{DtlsRole, Profile, Seal, split};
use str0m::media::Rid;

/// A sender of one encoding.
pub fn datagrams(data: &[u8]) {
    run(data, &[]);
}

/// A sender of a simulcast, without reduced-size RTCP.
pub fn simulcast(data: &[u8]) {
    run(data, &["q", "h", "f"]);
}

/// The most steps of one script.
const MAX_STEPS: usize = 200;
/// Datagrams that one step may bring about: reports, requests of each encoding, and feedback.
const MAX_ANSWERS: usize = 24;
/// The most bytes that are written before SRTCP, plus those that SRTCP adds.
const MAX_BYTES: usize = 1_100 + 20;

fn run(data: &[u8], rids: &[&str]) {
    let profile = Profile::AeadAes128Gcm;
    let exporter = vec![3; profile.exporter_bytes()];
    let keys = |role| split(profile, &exporter, role).expect("keys of the right length");
    let (seal, open) = keys(DtlsRole::Server);
    let (mut their_seal, mut their_open) = keys(DtlsRole::Client);
    let mut now = Instant::now();
    let clock = WallClock::new(now, NtpTime::from_unix_ms(1_800_000_000_000));
    let mut receiver = Receiver::new(negotiated(rids), seal, open, 7);
    let mut delivered = HashSet::new();
    let mut rest = data;
    for _ in 0..MAX_STEPS {
        let Some(([what, how, high, low], after)) = rest.split_first_chunk::<4>() else { break };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len()).min(1_400);
        let (content, after) = after.split_at(len);
        rest = after;
        match what % 5 {
            0 | 1 => {
                let Some(mut datagram) = sealed_rtp(&their_seal, content, u64::from(*how % 3)) else { continue };
                if let Outcome::Deliver(delivery) = receiver.handle_rtp(now, &mut datagram) {
                    for packet in delivery.held.iter().map(|held| &**held).chain([&delivery.packet]) {
                        let Place { section, encoding } = packet.place;
                        assert!(delivered.insert((section, encoding, packet.run, packet.seq)), "delivered twice");
                    }
                }
            }
            2 => {
                let mut datagram = [&[0x80 | how & 0x1f][..], content].concat();
                let plain_bytes = datagram.len();
                datagram.resize(plain_bytes + 20, 0);
                let len = their_seal.rtcp(&mut datagram, plain_bytes);
                datagram.truncate(len);
                receiver.handle_rtcp(now, &clock, &mut datagram, |_, _| {});
            }
            3 => {
                let place = Place { section: usize::from(how & 3), encoding: usize::from(how >> 2 & 3) };
                receiver.request_key_frame(now, place);
                receiver.handle_rtp(now, &mut content.to_vec());
            }
            _ => now += Duration::from_millis(u64::from(*how) * 4),
        }
        let mut answers = 0;
        loop {
            let mut out = [0; 2_048];
            let len = receiver.poll_transmit(now, &clock, &mut out);
            if len == 0 {
                break;
            }
            answers += 1;
            assert!(answers <= MAX_ANSWERS && len <= MAX_BYTES, "{answers} datagrams, {len} bytes");
            let compound = their_open.rtcp(&mut out[..len]).expect("what is written is authentic and new");
            for packet in packets(compound) {
                let is_known = !matches!(packet.expect("what is written can be read"), Packet::Other { .. });
                assert!(is_known);
            }
        }
        assert!(receiver.poll_timeout().is_none_or(|at| at > now), "nothing is due that is not written");
    }
}

fn sealed_rtp(seal: &Seal, plain: &[u8], rollovers: u64) -> Option<Vec<u8>> {
    let header_bytes = media::rtp::header_bytes(plain).ok()?;
    let (header, payload) = plain.split_at_checked(header_bytes)?;
    let [_, _, s0, s1, _, _, _, _, ssrc @ ..] = *header.first_chunk::<12>()?;
    let index = rollovers << 16 | u64::from(u16::from_be_bytes([s0, s1]));
    let mut out = [header, &vec![0; payload.len() + seal.rtp_overhead()]].concat();
    let len = seal.rtp(&mut out, header_bytes, &[], payload, u32::from_be_bytes(ssrc), index);
    (len == out.len()).then_some(out)
}

fn negotiated(rids: &[&str]) -> Negotiated {
    let format = |codec| Format { codec, profile: 0 };
    let video = Section {
        mid: "1".to_owned(),
        kind: MediaKind::Video,
        formats: vec![(96, format(Codec::Vp8)), (100, format(Codec::Av1))],
        repairs: vec![(97, 96), (101, 100)],
        nacks: vec![96, 100],
        rids: rids.iter().map(|rid| Rid::from(*rid)).collect(),
        ssrcs: vec![NamedSsrc { ssrc: 7, is_repair: false }, NamedSsrc { ssrc: 8, is_repair: true }],
    };
    let audio = Section {
        mid: "0".to_owned(),
        kind: MediaKind::Audio,
        formats: vec![(111, format(Codec::Opus)), (63, format(Codec::Red))],
        repairs: Vec::new(),
        nacks: vec![111],
        rids: Vec::new(),
        ssrcs: vec![NamedSsrc { ssrc: 9, is_repair: false }],
    };
    Negotiated {
        sections: vec![audio, video],
        extensions: ExtensionIds {
            mid: Some(1),
            rid: Some(2),
            repaired_rid: Some(3),
            transport_number: Some(4),
            capture_time: Some(5),
            playout_delay: Some(6),
            orientation: Some(7),
            color_space: Some(8),
            audio_level: Some(9),
            descriptor: Some(10),
        },
        has_transport_feedback: true,
        has_reduced_size: rids.is_empty(),
    }
}

/// Scripts of flows with loss, repair, jumps, other SSRCs and reports.
pub fn scripts() -> Vec<Vec<u8>> {
    let record = |what: u8, how: u8, content: &[u8]| {
        let len = (content.len() as u16).to_be_bytes();
        [&[what, how, len[0], len[1]][..], content].concat()
    };
    let rtp = |payload_type: u8, seq: u16, ssrc: u32, element: &[u8], payload: &[u8]| {
        let mut bytes = vec![0x90, payload_type];
        bytes.extend(seq.to_be_bytes());
        bytes.extend([0, 0, seq.to_be_bytes()[0], seq.to_be_bytes()[1]]);
        bytes.extend(ssrc.to_be_bytes());
        let mut elements = element.to_vec();
        elements.extend([0x41, seq.to_be_bytes()[0], seq.to_be_bytes()[1]]);
        elements.resize(elements.len().next_multiple_of(4), 0);
        bytes.extend([0xbe, 0xde, 0, (elements.len() / 4) as u8]);
        bytes.extend(elements);
        bytes.extend(payload);
        record(0, 0, &bytes)
    };
    let video: &[u8] = &[0x10, b'1'];
    let mut repaired = Vec::new();
    for seq in [1, 2, 5, 6, 9, 3_000, 3_001] {
        repaired.extend(rtp(96, seq, 7, video, b"picture"));
    }
    repaired.extend(record(4, 3, &[]));
    for (seq, of) in [(1, 3u16), (2, 3), (3, 4), (4, 8), (5, 2_999), (6, 60_000)] {
        repaired.extend(rtp(97, seq, 8, video, &[&of.to_be_bytes()[..], b"picture"].concat()));
        repaired.extend(record(4, 30, &[]));
    }
    let mut jumps = Vec::new();
    for (seq, ssrc) in [(1, 7), (20_000, 7), (20_001, 7), (5, 70), (6, 70), (20_002, 7), (40_000, 70), (9, 71)] {
        jumps.extend(rtp(96, seq, ssrc, &[0x10, b'1', 0x20, b'h'], b"picture"));
        jumps.extend(record(3, 1, &[]));
        jumps.extend(record(4, 6, &[]));
    }
    let mut reports = rtp(111, 7, 9, &[0x10, b'0'], b"sound");
    for content in [
        &[200, 0, 6, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..],
        &[207, 0, 5, 0, 0, 0, 9, 5, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],
        &[207, 0, 2, 0, 0, 0, 9, 5, 0, 0xff, 0xff],
        &[203, 0, 1, 0, 0, 0, 9],
    ] {
        reports.extend(record(2, 0, content));
        reports.extend(record(4, 255, &[]));
    }
    vec![repaired, jumps, reports]
}
