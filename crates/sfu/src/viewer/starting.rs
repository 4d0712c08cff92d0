//! What is a viewer sent when it starts, and when a run ends? Stories of one viewer, driven by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use media::codec::ParameterSets;
use media::rtp::Header;
use media::{Codec, MediaKind, Packet, SessionId, StreamId};

use super::subscription::{ExtensionIds, Link, MAX_STARTS, NegotiatedTrack};
use super::{Viewer, ViewerSetup};
use crate::format::{Accepted, AcceptedFormats, Format};
use crate::srtp::{DtlsRole, Open, Profile, split};
use crate::stream::Tracks;
use crate::stream::choice::Reason;
use crate::testing::{PacketBuilder, packet};
use crate::transmit::Batch;

/// A viewer of video alone, with what it was sent.
struct Watcher {
    viewer: Viewer,
    tracks: Tracks,
    open: Open,
    now: Instant,
}

/// One packet as the viewer gets it.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    seq: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

impl Watcher {
    /// It negotiated these codecs, without RTX.
    fn of(codecs: &[Codec]) -> Watcher {
        let profile = Profile::AeadAes128Gcm;
        let exporter: Vec<u8> = (1..).take(profile.exporter_bytes()).collect();
        let (seal, _) = split(profile, &exporter, DtlsRole::Server).expect("as many bytes as the profile wants");
        let (_, open) = split(profile, &exporter, DtlsRole::Client).expect("as many bytes as the profile wants");
        let (_, unused) = split(profile, &exporter, DtlsRole::Server).expect("as many bytes as the profile wants");
        let formats = (96..).zip(codecs).map(|(payload_type, codec)| Accepted {
            format: Format { codec: *codec, profile: 0 },
            payload_type,
            rtx_payload_type: None,
        });
        let negotiated = NegotiatedTrack {
            kind: MediaKind::Video,
            mid: "0".to_owned(),
            ssrc: 7,
            rtx_ssrc: None,
            formats: AcceptedFormats(formats.collect()),
            extensions: ExtensionIds { transport_seq: Some(3), ..ExtensionIds::default() },
        };
        let now = Instant::now();
        let setup = ViewerSetup {
            session: SessionId::from_bytes([1; 16]),
            stream: StreamId(1),
            desk: 0,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            source: None,
            seal,
            open: unused,
            tracks: vec![negotiated],
            seed: 42,
        };
        Watcher { viewer: Viewer::new(now, setup), tracks: Tracks::default(), open, now }
    }

    fn later(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// A packet comes from the publisher; what the viewer is sent then.
    fn comes(&mut self, packet: PacketBuilder) -> Vec<Got> {
        self.tracks.video.push(self.now, Arc::new(packet.came(self.now).build()));
        self.turn().1
    }

    /// The viewer has a turn: whether it needs a key frame, and what it is sent.
    fn turn(&mut self) -> (bool, Vec<Got>) {
        let mut batch = Batch::new();
        let next = self.viewer.send(self.now, &self.tracks, &mut batch);
        (next.wants_key_frame.is_some(), self.read(&batch))
    }

    fn read(&mut self, batch: &Batch) -> Vec<Got> {
        let read = |(_, datagram): (_, &[u8])| {
            let header = Header::parse(datagram).expect("a header");
            let (seq, timestamp, marker) = (header.seq, header.timestamp, header.marker);
            let mut bytes = datagram.to_vec();
            let (_, payload) = self.open.rtp(&mut bytes).expect("sealed for this viewer");
            Got { seq, timestamp, marker, payload: payload.to_vec() }
        };
        batch.datagrams().map(read).collect()
    }

    /// The datagrams that answer a request for a lost packet.
    fn sent_again(&mut self, seq: u16) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        let Viewer { video, transport, seal, address, budget, .. } = &mut self.viewer;
        let mut link =
            Link { seal, destination: *address, source: None, batch: &mut batch, budget: &mut budget.bytes, transport };
        video.as_mut().expect("it watches video").resend(&self.tracks.video, seq, &mut link);
        batch.datagrams().map(|(_, datagram)| datagram.to_vec()).collect()
    }

    fn counters(&self) -> super::subscription::SubscriptionCounters {
        self.viewer.subscriptions().next().expect("it watches video").counters
    }

    fn reason(&self) -> Reason {
        self.viewer.subscriptions().next().expect("it watches video").reason()
    }
}

#[test]
fn a_new_run_without_a_key_frame_sends_nothing_of_the_run_before_again() {
    let mut watcher = Watcher::of(&[Codec::Vp8]);
    watcher.comes(packet(70_000).key());
    for seq in 70_001..70_100 {
        watcher.later(30);
        assert_eq!(watcher.comes(packet(seq)).len(), 1);
    }
    for seq in 5..50 {
        watcher.later(30);
        assert_eq!(watcher.comes(packet(seq).run(1)), [], "no key frame of the new run came yet");
    }
    assert!(watcher.turn().0, "it is asked for");
    watcher.later(30);
    assert_eq!(watcher.comes(packet(50).run(1).key()).len(), 1);
    assert_eq!(watcher.comes(packet(51).run(1)).len(), 1);
    assert_eq!((watcher.counters().starts, watcher.counters().packets), (2, 102));
}

#[test]
fn starts_are_bounded_however_many_runs_begin_with_key_frames() {
    let mut watcher = Watcher::of(&[Codec::Vp8]);
    let mut in_a_second = 0;
    for second in 0..5_u32 {
        let before = watcher.counters().starts;
        for n in 0..100 {
            watcher.later(10);
            watcher.comes(packet(1).run(100 * second + n).key());
            watcher.comes(packet(2).run(100 * second + n));
        }
        in_a_second = watcher.counters().starts - before;
        assert!(in_a_second <= u64::from(MAX_STARTS) + 2, "{in_a_second} starts in second {second}");
    }
    assert_eq!(in_a_second, 2);
    assert!(watcher.counters().starts_refused > 5);
}

/// Parameter sets, and a key frame without them.
fn coded(codec: Codec) -> (Vec<Vec<u8>>, Vec<u8>, Vec<u8>) {
    let sps_264 = [0x67, 0x64, 0x00, 0x1f, 0xac, 0xb2, 0x00, 0xa0, 0x0b, 0x74, 0x20];
    let sps_265 = [0x42, 0x01, 0x01, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x5d, 0xa0, 0x02];
    match codec {
        Codec::H264 => (vec![sps_264.to_vec(), vec![0x68, 0xeb, 0xc3]], vec![0x65, 0x88, 0x84], vec![0x41, 0x9a, 0x38]),
        _ => (
            vec![vec![0x40, 0x01, 0x0c, 0x01], sps_265.to_vec(), vec![0x44, 0x01, 0xc1, 0x72]],
            vec![0x28, 0x01, 0xaf, 0x08],
            vec![0x02, 0x01, 0xd8, 0x09],
        ),
    }
}

#[test]
fn a_viewer_that_starts_is_sent_the_parameter_sets_that_the_key_frame_lacks() {
    for codec in [Codec::H264, Codec::H265] {
        let (units, key, slice) = coded(codec);
        let mut sets = ParameterSets::default();
        units.iter().for_each(|unit| assert!(sets.observe(codec, unit)));
        let sets = sets.current(codec).expect("they are known");
        let mut watcher = Watcher::of(&[codec]);
        let got = watcher.comes(packet(500).coded(codec, &key).with_sets(sets).key());

        let payloads: Vec<_> = got.iter().map(|got| got.payload.clone()).collect();
        assert_eq!(payloads, [&units[..], std::slice::from_ref(&key)].concat(), "{codec}");
        assert!(got.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1), "{got:?}");
        assert!(got.iter().all(|each| each.timestamp == got[0].timestamp), "{got:?}");
        let markers: Vec<_> = got.iter().map(|got| got.marker).collect();
        assert_eq!(markers, [vec![false; units.len()], vec![true]].concat(), "{codec}");

        // The viewer has them: later key frames need none.
        assert_eq!(watcher.comes(packet(501).coded(codec, &slice)).len(), 1);
        let later = watcher.comes(packet(502).coded(codec, &key).with_sets(sets).key());
        assert_eq!(later.len(), 1, "{codec}");
        assert_eq!(later[0].seq, got[0].seq + units.len() as u16 + 2);
    }
}

#[test]
fn a_lost_parameter_set_is_sent_again_as_it_was() {
    let (units, key, _) = coded(Codec::H264);
    let mut sets = ParameterSets::default();
    units.iter().for_each(|unit| assert!(sets.observe(Codec::H264, unit)));
    let sets = sets.current(Codec::H264).expect("they are known");
    let mut watcher = Watcher::of(&[Codec::H264]);
    watcher.tracks.video.push(watcher.now, Arc::new(packet(9).coded(Codec::H264, &key).with_sets(sets).key().build()));
    let mut batch = Batch::new();
    watcher.viewer.send(watcher.now, &watcher.tracks, &mut batch);
    let first: Vec<_> = batch.datagrams().map(|(_, datagram)| datagram.to_vec()).collect();
    assert_eq!(first.len(), 3);
    // A parameter set comes late: what was sent before must not change.
    let late: Packet = packet(8).coded(Codec::H264, &units[0]).at(27_000).build();
    watcher.tracks.video.push(watcher.now, Arc::new(late));
    watcher.later(100);
    for datagram in first {
        let seq = Header::parse(&datagram).expect("a header").seq;
        assert_eq!(watcher.sent_again(seq), [datagram]);
    }
}

#[test]
fn a_key_frame_that_brings_its_parameter_sets_is_sent_as_it_came() {
    let (units, key, _) = coded(Codec::H264);
    let mut sets = ParameterSets::default();
    units.iter().for_each(|unit| assert!(sets.observe(Codec::H264, unit)));
    let sets = sets.current(Codec::H264).expect("they are known");
    let mut watcher = Watcher::of(&[Codec::H264]);
    for (seq, unit) in (1..).zip(&units) {
        let set = packet(seq).at(9).coded(Codec::H264, unit).with_sets(sets);
        watcher.tracks.video.push(watcher.now, Arc::new(set.came(watcher.now).build()));
    }
    let got = watcher.comes(packet(3).at(9).coded(Codec::H264, &key).with_sets(sets).proves(1));
    assert_eq!(got.iter().map(|got| got.payload.clone()).collect::<Vec<_>>(), [&units[..], &[key]].concat());
}

#[test]
fn a_viewer_without_the_published_codec_is_told_so_until_another_one_is_published() {
    let mut watcher = Watcher::of(&[Codec::Vp8]);
    let (_, key, slice) = coded(Codec::H264);
    assert_eq!(watcher.reason(), Reason::Best);
    assert_eq!(watcher.comes(packet(1).coded(Codec::H264, &key).key()), []);
    for seq in 2..50 {
        watcher.later(30);
        watcher.tracks.video.push(watcher.now, Arc::new(packet(seq).coded(Codec::H264, &slice).build()));
        assert_eq!(watcher.turn(), (false, vec![]), "a key frame is of no use to it");
    }
    assert_eq!((watcher.reason(), watcher.counters().starts), (Reason::Codec, 0));
    assert_eq!(watcher.counters().undecodable, 48);

    watcher.comes(packet(50).run(1));
    assert!(watcher.turn().0, "of this codec it needs a key frame");
    assert_eq!(watcher.reason(), Reason::Best);
    assert_eq!(watcher.comes(packet(51).run(1).key()).len(), 1);
    // And back, in the middle of a group.
    assert_eq!(watcher.comes(packet(52).run(2).coded(Codec::H264, &slice)), []);
    assert_eq!(watcher.reason(), Reason::Codec);
}
