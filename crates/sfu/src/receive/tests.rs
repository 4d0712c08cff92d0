//! A receiving half and a sender with the same keys.

use std::collections::BTreeSet;

use media::{Codec, MediaKind};
use proptest::prelude::*;
use str0m::media::Rid;

use super::missing::MAX_MISSING;
use super::*;
use crate::rtcp::{DlrrBlock, Writer};
use crate::srtp::{DtlsRole, Profile, split};

const VP8: Format = Format { codec: Codec::Vp8, profile: 0 };
const OPUS: Format = Format { codec: Codec::Opus, profile: 0 };

/// `mid` has the id 1, `rid` 2, `repaired-rid` 3, the transport-wide number 4.
fn negotiated(rids: &[&str]) -> Negotiated {
    let video = Section {
        mid: "v".to_owned(),
        kind: MediaKind::Video,
        formats: vec![(96, VP8), (98, Format { codec: Codec::H264, profile: 0 })],
        repairs: vec![(97, 96), (99, 98)],
        nacks: vec![96, 98],
        rids: rids.iter().map(|rid| Rid::from(*rid)).collect(),
        ssrcs: Vec::new(),
    };
    let audio = Section {
        mid: "a".to_owned(),
        kind: MediaKind::Audio,
        formats: vec![(111, OPUS)],
        repairs: Vec::new(),
        nacks: Vec::new(),
        rids: Vec::new(),
        ssrcs: Vec::new(),
    };
    Negotiated {
        sections: vec![audio, video],
        extensions: ExtensionIds {
            mid: Some(1),
            rid: Some(2),
            repaired_rid: Some(3),
            transport_number: Some(4),
            ..ExtensionIds::default()
        },
        has_transport_feedback: false,
        has_reduced_size: true,
    }
}

const VIDEO: Place = Place { section: 1, encoding: 0 };

struct Pair {
    now: Instant,
    clock: WallClock,
    receiver: Receiver,
    seal: Seal,
    open: Open,
    rtcp_room: Vec<u8>,
}

/// A packet to send.
#[derive(Debug, Clone)]
struct Send<'a> {
    ssrc: u32,
    payload_type: u8,
    seq: u64,
    elements: &'a [(u8, &'a [u8])],
    payload: Vec<u8>,
}

impl Send<'static> {
    fn video(seq: u64) -> Send<'static> {
        Send { ssrc: 7, payload_type: 96, seq, elements: &[(1, b"v")], payload: seq.to_be_bytes().to_vec() }
    }

    /// A retransmission of [`Send::video`].
    fn repair(seq: u64, of: u64) -> Send<'static> {
        let payload = [&(of as u16).to_be_bytes()[..], &of.to_be_bytes()].concat();
        Send { ssrc: 8, payload_type: 97, seq, elements: &[(1, b"v")], payload }
    }
}

impl Pair {
    fn new(negotiated: Negotiated) -> Pair {
        let profile = Profile::AeadAes128Gcm;
        let exporter = vec![9; profile.exporter_bytes()];
        let (seal, open) = split(profile, &exporter, DtlsRole::Server).unwrap();
        let now = Instant::now();
        let clock = WallClock::new(now, NtpTime::from_unix_ms(1_800_000_000_000));
        let receiver = Receiver::new(negotiated, seal, open, 0x5eed);
        let (seal, open) = split(profile, &exporter, DtlsRole::Client).unwrap();
        Pair { now, clock, receiver, seal, open, rtcp_room: vec![0; 2_048] }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    fn send(&mut self, packet: &Send<'_>) -> Outcome {
        let mut datagram = vec![0; 2_000];
        let timestamp = (packet.seq * 3_000) as u32;
        let Send { ssrc, payload_type, seq, elements, payload } = packet;
        let header =
            media::rtp::write_header(&mut datagram, *payload_type, true, *seq as u16, timestamp, *ssrc, elements);
        let len = self.seal.rtp(&mut datagram, header, &[], payload, *ssrc, *seq);
        self.receiver.handle_rtp(self.now, &mut datagram[..len])
    }

    /// Sends and returns the run and sequence number of each delivered packet.
    fn delivered(&mut self, packet: &Send<'_>) -> Vec<(u32, u64)> {
        let Outcome::Deliver(delivery) = self.send(packet) else { return Vec::new() };
        let held = delivery.held.iter().map(|held| (held.run, held.seq));
        held.chain([(delivery.packet.run, delivery.packet.seq)]).collect()
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<(Place, SenderReport)> {
        let mut writer = Writer::new(&mut self.rtcp_room);
        write(&mut writer);
        let len = writer.finish();
        let len = self.seal.rtcp(&mut self.rtcp_room, len);
        let mut reports = Vec::new();
        let mut datagram = self.rtcp_room[..len].to_vec();
        let is_authentic = self
            .receiver
            .handle_rtcp(self.now, &self.clock, &mut datagram, |place, report| reports.push((place, report)));
        assert!(is_authentic);
        reports
    }

    /// Returns the RTCP that is written now: one compound packet for each datagram, in the clear.
    fn written(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let len = self.receiver.poll_transmit(self.now, &self.clock, &mut self.rtcp_room);
            if len == 0 {
                return all;
            }
            assert!(len <= MAX_RTCP_BYTES + self.seal.rtcp_overhead());
            all.push(self.open.rtcp(&mut self.rtcp_room[..len]).unwrap().to_vec());
            assert!(all.len() < 20, "it comes to an end");
        }
    }

    /// The kinds of packets that are written now.
    fn kinds(&mut self) -> Vec<&'static str> {
        let written = self.written();
        written.iter().flat_map(|compound| rtcp::packets(compound)).map(|packet| kind(&packet.unwrap())).collect()
    }

    /// Numbers that are asked for now.
    fn asked(&mut self) -> Vec<u16> {
        let mut asked = Vec::new();
        for compound in self.written() {
            for packet in rtcp::packets(&compound) {
                if let Ok(Packet::Nack(nack)) = packet {
                    assert_eq!((nack.sender, nack.media), (writing::OUR_SSRC, 7));
                    asked.extend(nack.seqs());
                }
            }
        }
        asked
    }
}

fn kind(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::ReceiverReport(_) => "rr",
        Packet::Sdes => "sdes",
        Packet::ExtendedReport(_) => "xr",
        Packet::Nack(_) => "nack",
        Packet::Pli(_) => "pli",
        Packet::Bye(_) => "bye",
        Packet::TransportFeedback(_) => "twcc",
        _ => "other",
    }
}

#[test]
fn a_packet_is_delivered_with_its_values_and_only_once() {
    let mut pair = Pair::new(negotiated(&[]));
    let Outcome::Deliver(delivery) = pair.send(&Send::video(70_000 - 65_536)) else { panic!("nothing came") };
    let packet = &delivery.packet;
    assert!(!delivery.begins && delivery.held.is_none());
    assert_eq!((packet.place, packet.format, packet.payload_type, packet.marker), (VIDEO, VP8, 96, true));
    assert_eq!((packet.run, packet.seq, packet.payload.len()), (0, 4_464, 8));
    assert_eq!(pair.send(&Send::video(4_464)), Outcome::Refused, "a replay");
    assert_eq!(pair.delivered(&Send::video(4_465)), [(0, 4_465)]);
}

#[test]
fn a_lost_packet_is_asked_for_and_what_a_retransmission_restores_is_delivered_once() {
    let mut pair = Pair::new(negotiated(&[]));
    assert_eq!(pair.delivered(&Send::video(1)), [(0, 1)]);
    pair.written();
    assert_eq!(pair.delivered(&Send::video(4)), [(0, 4)]);
    assert_eq!(pair.receiver.poll_timeout(), Some(pair.now + Duration::from_millis(5)));
    pair.wait(5);
    assert_eq!(pair.asked(), [2, 3]);
    pair.wait(50);
    assert_eq!(pair.delivered(&Send::repair(500, 2)), [(0, 2)]);
    let Outcome::Deliver(delivery) = pair.send(&Send::repair(501, 3)) else { panic!("nothing came") };
    assert_eq!((delivery.packet.payload_type, &*delivery.packet.payload), (96, &3_u64.to_be_bytes()[..]));
    assert_eq!(pair.send(&Send::repair(502, 3)), Outcome::Nothing);
    assert_eq!(pair.send(&Send::video(3)), Outcome::Nothing, "the original, after it was restored");
    pair.wait(10_000);
    assert!(pair.asked().is_empty());
    let counters = pair.receiver.counters();
    assert_eq!((counters.restored, counters.asked_for, counters.strays), (2, 2, 0));
}

#[test]
fn audio_without_nack_is_not_asked_for() {
    let mut pair = Pair::new(negotiated(&[]));
    for seq in [1, 5] {
        let packet = Send { ssrc: 3, payload_type: 111, elements: &[(1, b"a")], ..Send::video(seq) };
        assert_eq!(pair.delivered(&packet), [(0, seq)]);
    }
    pair.wait(900);
    assert!(pair.asked().is_empty());
}

#[test]
fn padding_and_retransmissions_that_name_nothing_missing_are_not_delivered() {
    let mut pair = Pair::new(negotiated(&[]));
    assert_eq!(pair.send(&Send::repair(1, 7)), Outcome::Nothing, "the media SSRC is not known yet");
    pair.delivered(&Send::video(10));
    for payload in [&[][..], &[0][..]] {
        for payload_type in [97, 96] {
            let padding =
                Send { payload_type, payload: payload.to_vec(), ..Send::repair(2 + u64::from(payload_type), 7) };
            pair.send(&padding);
        }
    }
    assert_eq!(pair.send(&Send::repair(200, 2_000)), Outcome::Nothing, "too far in front");
    assert_eq!(pair.send(&Send { ssrc: 7, ..Send::repair(11, 9) }), Outcome::Nothing, "a repair type on a media SSRC");
    assert_eq!(pair.receiver.counters().restored, 0);
    assert_eq!(pair.delivered(&Send::video(12)), [(0, 12)]);
}

#[test]
fn another_ssrc_of_the_same_section_begins_a_run_and_the_first_one_is_dropped() {
    let mut pair = Pair::new(negotiated(&[]));
    assert_eq!(pair.delivered(&Send::video(100)), [(0, 100)]);
    let other = |seq| Send { ssrc: 70, ..Send::video(seq) };
    let Outcome::Deliver(delivery) = pair.send(&other(5)) else { panic!("nothing came") };
    assert!(delivery.begins);
    assert_eq!(pair.delivered(&Send::video(101)), []);
    assert_eq!(pair.delivered(&other(6)), [(1, 6)]);
    assert_eq!(pair.receiver.counters().strays, 1);
    // The retransmission SSRC repairs the new one: it is told by its section.
    assert_eq!(pair.delivered(&Send::repair(9, 3)), [(1, 3)]);
}

#[test]
fn a_jump_of_numbers_is_held_until_the_next_packet_proves_it() {
    let mut pair = Pair::new(negotiated(&[]));
    pair.delivered(&Send::video(1));
    assert_eq!(pair.delivered(&Send::video(10_000)), []);
    assert_eq!(pair.delivered(&Send::video(10_001)), [(1, 10_000), (1, 10_001)]);
    pair.wait(100);
    assert!(pair.asked().is_empty(), "what was jumped over is not missing");
}

#[test]
fn encodings_are_told_apart_by_rid_and_repaired_by_repaired_rid() {
    let mut pair = Pair::new(negotiated(&["q", "h"]));
    let of = |ssrc, seq, rid: &'static [(u8, &'static [u8])]| Send { ssrc, elements: rid, ..Send::video(seq) };
    let place = |outcome| match outcome {
        Outcome::Deliver(delivery) => Some((delivery.packet.place.encoding, delivery.packet.seq)),
        _ => None,
    };
    let low = pair.send(&of(1, 10, &[(1, b"v"), (2, b"q")]));
    let high = pair.send(&of(2, 20, &[(1, b"v"), (2, b"h")]));
    assert_eq!((place(low), place(high)), (Some((0, 10)), Some((1, 20))));
    let unnamed = pair.send(&of(2, 21, &[]));
    assert_eq!(place(unnamed), Some((1, 21)), "known by its SSRC from then on");
    let repair = Send { ssrc: 4, elements: &[(1, b"v"), (3, b"h")], ..Send::repair(1, 19) };
    assert_eq!(place(pair.send(&repair)), Some((1, 19)));
    let stranger = pair.send(&of(5, 1, &[(1, b"v")]));
    assert_eq!((place(stranger), pair.receiver.counters().strays), (None, 1));
}

#[test]
fn a_report_is_written_at_once_for_a_new_ssrc_and_then_every_second() {
    let mut pair = Pair::new(negotiated(&[]));
    assert_eq!(pair.kinds(), Vec::<&str>::new(), "nothing came yet");
    pair.send(&Send::video(1));
    assert_eq!(pair.kinds(), ["rr", "sdes", "xr"]);
    pair.send(&Send::video(2));
    assert_eq!(pair.receiver.poll_timeout(), Some(pair.now + Duration::from_secs(1)));
    let said = NtpTime(0x0102_0304_0506_0708);
    let reports = pair.send_rtcp(|writer| {
        for ssrc in [7, 8] {
            writer.sender_report(SenderReport { ssrc, ntp: said, rtp: 5, packets: 1, octets: 2 });
        }
    });
    assert_eq!(reports.iter().map(|(place, report)| (*place, report.ssrc)).collect::<Vec<_>>(), [(VIDEO, 7)]);
    pair.send(&Send::video(6));
    pair.wait(1_000);
    let written = pair.written();
    let blocks = written.iter().flat_map(|compound| rtcp::packets(compound)).filter_map(|packet| match packet {
        Ok(Packet::ReceiverReport(report)) => Some((report.ssrc, report.blocks.collect::<Vec<_>>())),
        _ => None,
    });
    let blocks: Vec<_> = blocks.collect();
    assert_eq!(blocks.len(), 1);
    let (sender, block) = (blocks[0].0, blocks[0].1[0]);
    assert_eq!((sender, block.ssrc, block.total_lost, block.highest_seq), (1, 7, 3, 6));
    assert_eq!(block.last_sender_report, 0x0304_0506);
    assert_eq!(block.delay_since_last_sender_report, 65_536);
}

#[test]
fn the_round_trip_is_known_when_our_wall_clock_comes_back() {
    let mut pair = Pair::new(negotiated(&[]));
    pair.send(&Send::video(1));
    let sent = pair.written();
    let reference = sent.iter().flat_map(|compound| rtcp::packets(compound)).find_map(|packet| match packet {
        Ok(Packet::ExtendedReport(report)) => report.blocks().find_map(|block| match block {
            XrBlock::ReceiverReferenceTime { ntp } => Some(ntp.middle_32()),
            _ => None,
        }),
        _ => None,
    });
    pair.wait(80);
    let block = |ssrc| DlrrBlock {
        ssrc,
        last_receiver_report: reference.unwrap(),
        delay_since_last_receiver_report: 65_536 * 3 / 100,
    };
    pair.send_rtcp(|writer| assert!(writer.dlrr(7, &[block(99)])));
    assert_eq!(pair.receiver.round_trip(), None, "of another receiver");
    pair.send_rtcp(|writer| assert!(writer.dlrr(7, &[block(writing::OUR_SSRC)])));
    let round_trip = pair.receiver.round_trip().unwrap();
    assert!(round_trip.abs_diff(Duration::from_millis(50)) < Duration::from_millis(1), "{round_trip:?}");
    // Requests are a round trip apart.
    pair.send(&Send::video(3));
    pair.wait(5);
    assert_eq!(pair.asked(), [2]);
    pair.wait(49);
    assert!(pair.asked().is_empty());
    pair.wait(2);
    assert_eq!(pair.asked(), [2]);
}

#[test]
fn a_key_frame_is_asked_for_as_soon_as_the_ssrc_is_known() {
    for has_reduced_size in [true, false] {
        let mut pair = Pair::new(Negotiated { has_reduced_size, ..negotiated(&[]) });
        pair.receiver.request_key_frame(pair.now, VIDEO);
        pair.receiver.request_key_frame(pair.now, Place { section: 9, encoding: 9 });
        assert_eq!(pair.receiver.poll_timeout(), None);
        pair.send(&Send::video(1));
        assert_eq!(pair.kinds(), ["rr", "sdes", "xr", "pli"]);
        pair.receiver.request_key_frame(pair.now, VIDEO);
        assert_eq!(pair.kinds(), Vec::<&str>::new(), "too soon after the one before");
        pair.wait(500);
        assert_eq!(pair.receiver.poll_timeout(), Some(pair.now));
        let expected: &[&str] = if has_reduced_size { &["pli"] } else { &["rr", "sdes", "pli"] };
        assert_eq!(pair.kinds(), expected);
    }
}

#[test]
fn a_farewell_is_written_once() {
    let mut pair = Pair::new(negotiated(&[]));
    pair.receiver.close();
    assert_eq!(pair.kinds(), ["rr", "sdes", "bye"]);
    assert_eq!(pair.kinds(), Vec::<&str>::new());
}

#[test]
fn transport_feedback_has_a_datagram_of_its_own_and_counts_packets_of_no_encoding() {
    let mut pair = Pair::new(Negotiated { has_transport_feedback: true, ..negotiated(&[]) });
    for (number, ssrc) in [(1_u16, 7), (2, 0), (4, 7)] {
        let bytes = number.to_be_bytes();
        let elements: &[(u8, &[u8])] = &[(1, if ssrc == 7 { b"v" } else { b"x" }), (4, &bytes)];
        pair.send(&Send { ssrc, elements, ..Send::video(u64::from(number)) });
    }
    pair.written();
    pair.wait(100);
    let written = pair.written();
    assert!(written.iter().all(|compound| rtcp::packets(compound).count() == 1));
    let numbers = written.iter().flat_map(|compound| rtcp::packets(compound)).filter_map(|packet| match packet {
        Ok(Packet::TransportFeedback(report)) => {
            Some(report.arrivals().filter_map(|(number, at)| at.map(|_| number)).collect())
        }
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<Vec<u16>>>(), [[1, 2, 4]]);
    assert_eq!(pair.receiver.take_loss(), Some(0.25));
}

#[test]
fn what_is_not_authentic_changes_nothing() {
    let mut pair = Pair::new(negotiated(&[]));
    for len in [0, 1, 12, 40, 1_500] {
        let mut rtp = vec![0x80; len];
        let mut rtcp = vec![0x80; len];
        rtcp.iter_mut().skip(1).take(1).for_each(|byte| *byte = 200);
        assert_eq!(pair.receiver.handle_rtp(pair.now, &mut rtp), Outcome::Refused);
        assert!(!pair.receiver.handle_rtcp(pair.now, &pair.clock, &mut rtcp, |_, _| panic!("a report")));
    }
    assert_eq!(pair.receiver.counters(), Counters { refused: 10, ..Counters::default() });
    assert_eq!(pair.receiver.poll_timeout(), None);
    // RFC 5761 §4.
    assert_eq!(pair.send(&Send { payload_type: 72, ..Send::video(1) }), Outcome::Refused);
}

#[test]
fn ssrcs_of_no_encoding_and_jumps_do_not_grow_anything() {
    let mut pair = Pair::new(negotiated(&[]));
    pair.send(&Send::video(1));
    for n in 0..1_000_u64 {
        pair.send(&Send { ssrc: 1_000 + n as u32, elements: &[(1, b"x")], ..Send::video(n) });
        // Each jump is as long as a run allows.
        pair.send(&Send::video(3_001 + 3_000 * n));
    }
    let encoding = &pair.receiver.encodings[1][0];
    assert_eq!(encoding.run(), 0);
    assert!(pair.written().len() <= 6);
    // A restored packet is in the window of those that came.
    const { assert!(MAX_MISSING <= 1_024) };
}

/// What happens to packet number n of the flow.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Comes,
    Lost,
    /// Comes after this number of others.
    Late(u8),
    /// Is lost and restored after this number of others, twice.
    Restored(u8),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Comes),
        1 => Just(Fate::Lost),
        1 => (0u8..20).prop_map(Fate::Late),
        1 => (0u8..20).prop_map(Fate::Restored),
    ];
    prop::collection::vec(fate, 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_packet_that_came_or_was_restored_is_delivered_once(fates in fates(), first in 0u64..70_000) {
        let first = first.min(65_535);
        let mut pair = Pair::new(negotiated(&[]));
        let mut queue: Vec<(u64, Send<'static>)> = Vec::new();
        let mut repairs = 0;
        let mut expected = BTreeSet::new();
        pair.send(&Send::video(first));
        for (n, fate) in (1..).zip(&fates) {
            let seq = first + n;
            match *fate {
                Fate::Comes => queue.push((n, Send::video(seq))),
                Fate::Lost => continue,
                Fate::Late(by) => queue.push((n + u64::from(by), Send::video(seq))),
                Fate::Restored(by) => {
                    for again in 0..2 {
                        repairs += 1;
                        queue.push((n + u64::from(by) + 21 * again, Send::repair(repairs, seq)));
                    }
                }
            }
            expected.insert(seq);
        }
        queue.sort_by_key(|(at, _)| *at);
        let mut delivered = BTreeSet::new();
        for (_, packet) in &queue {
            pair.wait(1);
            if let Outcome::Deliver(delivery) = pair.send(packet) {
                let packet = &delivery.packet;
                prop_assert_eq!(&*packet.payload, &packet.seq.to_be_bytes()[..]);
                prop_assert!(delivered.insert(packet.seq), "{} twice", packet.seq);
            }
            pair.written();
        }
        prop_assert_eq!(delivered, expected);
        prop_assert_eq!(pair.receiver.counters().strays, 0);
    }

    #[test]
    fn any_authentic_packets_are_survived(
        packets in prop::collection::vec(
            (any::<u16>(), 0u32..4, 95u8..100, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()),
            1..200,
        ),
    ) {
        let mut pair = Pair::new(Negotiated { has_transport_feedback: true, ..negotiated(&["q", "h"]) });
        for (seq, ssrc, payload_type, payload, has_rid) in packets {
            let number = seq.to_be_bytes();
            let named: [(u8, &[u8]); 3] = [(1, b"v"), (2, b"h"), (4, &number)];
            let elements = if has_rid { &named[..] } else { &named[2..] };
            pair.send(&Send { ssrc, payload_type, seq: u64::from(seq), elements, payload: payload.clone() });
            let mut rtcp = payload;
            rtcp.resize(60, 7);
            pair.send_rtcp(|writer| assert!(writer.nack(1, 2, &[seq])));
            pair.wait(3);
            pair.written();
        }
    }
}
