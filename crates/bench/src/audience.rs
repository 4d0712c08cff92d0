//! How much does sending to an audience cost, without the audience?
//!
//! A real [`Shard`] that serves made-up viewers: their keys, numbers and addresses are what a desk
//! would hand over, but no negotiation took place and no socket receives. The stream is that of
//! `docs/performance.md`: 1.5 Mb/s, 30 frames a second, packets of nearly 1,200 bytes, relayed as
//! from another shard.
//!
//! [`Audience::hear`] lets viewers answer as browsers do, so that the way back can be measured as
//! well.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use media::packet::Extensions;
use media::rtp::Header;
use media::{Codec, Epoch, MediaKind, NtpTime, Packet, SessionId, StreamId, WallClock};
use sfu::format::{Accepted, AcceptedFormats, Format, Published};
use sfu::rtcp::{self, ReportBlock};
use sfu::shard::{Command, Shard};
use sfu::srtp::{self, DtlsRole, Profile, Seal};
use sfu::transmit::Batch;
use sfu::viewer::ViewerSetup;
use sfu::viewer::header::ExtensionIds;
use sfu::viewer::subscription::NegotiatedTrack;

/// A shard and those it believes to watch.
pub(crate) struct Audience {
    pub(crate) shard: Shard,
    clock: WallClock,
    listeners: Vec<Listener>,
    frames: u64,
    packets: u64,
}

/// Payload bytes of a packet; with header and tag it is 1,220 bytes long at most.
pub(crate) const PAYLOAD_BYTES: usize = 1_180;
/// Between two frames: 30 a second.
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_nanos(33_333_333);
/// Between two key frames: 2 s.
const GROUP: u64 = 60;

const STREAM: StreamId = StreamId(1);
const VP8: Format = Format { codec: Codec::Vp8, profile: 0 };
const MEDIA_SSRC: u32 = 0x1000_0000;
const RTX_SSRC: u32 = 0x2000_0000;
const TRANSPORT_SEQ_ID: u8 = 3;
/// The SSRC of the sender of feedback; browsers use 1 before they send media.
const FEEDBACK_SSRC: u32 = 1;
/// Frames between two transport-wide feedbacks of a viewer: 100 ms, libwebrtc's default interval.
const FEEDBACK_FRAMES: u64 = 3;
/// Frames between two receiver reports of a viewer: 1 s, libwebrtc's interval for video.
const REPORT_FRAMES: u64 = 30;

impl Audience {
    /// Creates `count` viewers, viewer `n` at `address(n)`, that have just joined a stream at its
    /// first key frame.
    pub(crate) fn new(
        now: Instant,
        count: u32,
        profile: Profile,
        address: impl Fn(u32) -> SocketAddr,
    ) -> anyhow::Result<Audience> {
        let clock = WallClock::new(now, NtpTime::from_system_time(SystemTime::now()));
        let mut shard = Shard::new(0, 2, clock).with_prefetch(shards::prefetch::of_this_machine());
        shard.handle_command(now, Command::StreamHome { stream: STREAM, shard: 1, epoch: 1 });
        let mut listeners = Vec::new();
        for number in 0..count {
            let exporter = noise(u64::from(number), profile.exporter_bytes());
            let (seal, open) = srtp::split(profile, &exporter, DtlsRole::Server)?;
            let (client, _) = srtp::split(profile, &exporter, DtlsRole::Client)?;
            let mut session = [0; 16];
            session[..4].copy_from_slice(&number.to_be_bytes());
            let setup = ViewerSetup {
                session: SessionId::from_bytes(session),
                stream: STREAM,
                desk: 0,
                address: address(number),
                source: None,
                seal,
                open,
                tracks: vec![negotiated(number)],
                seed: u128::from(mix(u64::from(number))) << 64 | u128::from(mix(u64::from(number) + 1)),
            };
            shard.handle_command(now, Command::AddViewer(Box::new(setup)));
            listeners.push(Listener::new(number, address(number), client));
        }
        Ok(Audience { shard, clock, listeners, frames: 0, packets: 0 })
    }

    /// Returns the next frame, as another shard would relay it: 5 or 6 packets, 1.5 Mb/s on
    /// average.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Command {
        let count = if self.frames.is_multiple_of(3) { 6 } else { 5 };
        let starts_group = self.frames.is_multiple_of(GROUP);
        let packets = (0..count).map(|n| {
            let seq = 1_000 + self.packets + n;
            Arc::new(Packet {
                codec: Codec::Vp8,
                epoch: Epoch::of(1),
                encoding: 0,
                seq,
                timestamp: (self.frames as u32).wrapping_mul(3_000),
                marker: n + 1 == count,
                key_frame_from: (starts_group && n == 0).then_some(seq),
                resolution: None,
                starts_frame: n == 0,
                layers: media::codec::FrameLayers::default(),
                arrived_at: now,
                captured_at: Some(self.clock.at(now)),
                has_wrong_clock: false,
                descriptor: None,
                sets: None,
                extensions: Extensions::default(),
                payload: vec![seq as u8; PAYLOAD_BYTES].into(),
                red_primary_at: 0,
            })
        });
        let published = Published { video: Some(VP8), ..Published::default() };
        let command =
            Command::Relayed { stream: STREAM, epoch: 1, published, unresponsive: false, packets: packets.collect() };
        self.frames += 1;
        self.packets += count;
        command
    }

    /// Delivers a batch to the viewers; each loses the share `loss` of its packets. `by_address`
    /// finds the viewer.
    pub(crate) fn deliver(&mut self, batch: &Batch, loss: f64, by_address: impl Fn(SocketAddr) -> usize) {
        for (message, datagram) in batch.datagrams() {
            if let Some(listener) = self.listeners.get_mut(by_address(message.destination)) {
                listener.receive(datagram, loss);
            }
        }
    }

    /// Returns the viewers' RTCP after the last frame: transport-wide feedback every 100 ms and
    /// receiver reports every second, each viewer at its own time, and at once a NACK for missing
    /// packets.
    pub(crate) fn hear(&mut self) -> Vec<Said> {
        let frame = self.frames;
        self.listeners.iter_mut().flat_map(|listener| listener.say(frame)).collect()
    }
}

/// A datagram of a viewer.
pub(crate) struct Said {
    pub(crate) source: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The far end of one viewer.
struct Listener {
    number: u32,
    address: SocketAddr,
    seal: Seal,
    /// The highest sequence number that came, with cycles above.
    highest: u32,
    missing: Vec<u16>,
    /// Transport-wide numbers of what came since the last feedback.
    came: Vec<u16>,
    feedbacks: u8,
    dice: u64,
}

impl Listener {
    fn new(number: u32, address: SocketAddr, seal: Seal) -> Listener {
        Listener {
            number,
            address,
            seal,
            highest: 0,
            missing: Vec::new(),
            came: Vec::new(),
            feedbacks: 0,
            dice: u64::from(number) << 32,
        }
    }

    fn receive(&mut self, datagram: &[u8], loss: f64) {
        if media::rtp::is_rtcp(datagram) {
            return;
        }
        let Ok(header) = Header::parse(datagram) else { return };
        self.dice += 1;
        let is_lost = (mix(self.dice) >> 11) as f64 / (1u64 << 53) as f64 <= loss && loss > 0.0;
        let is_media = header.ssrc == MEDIA_SSRC + self.number;
        if is_lost {
            if is_media {
                self.missing.push(header.seq);
            }
            return;
        }
        if is_media {
            let ahead = header.seq.wrapping_sub(self.highest as u16);
            // A packet behind the newest one is late.
            if ahead < 0x8000 {
                self.highest = self.highest.wrapping_add(u32::from(ahead));
            }
        }
        if let Some(&[high, low]) = header.extension(TRANSPORT_SEQ_ID) {
            self.came.push(u16::from_be_bytes([high, low]));
        }
    }

    fn say(&mut self, frame: u64) -> Vec<Said> {
        let ssrc = MEDIA_SSRC + self.number;
        let mut said = Vec::new();
        let missing = std::mem::take(&mut self.missing);
        if !missing.is_empty() {
            self.compound(&mut said, |writer| writer.nack(FEEDBACK_SSRC, ssrc, &missing));
        }
        let own_frame = frame + u64::from(self.number);
        if own_frame.is_multiple_of(FEEDBACK_FRAMES)
            && let Some(&first) = self.came.first()
        {
            let came = std::mem::take(&mut self.came);
            let count = self.feedbacks;
            self.feedbacks = count.wrapping_add(1);
            // In units of 64 ms; packets arrive 1 ms apart.
            let reference = (frame * 33 / 64) as i32;
            let at_us = i64::from(reference) * 64_000;
            let list: Vec<_> = came.iter().zip(0..).map(|(seq, n)| (*seq, Some(at_us + n * 1_000))).collect();
            self.compound(&mut said, |w| w.transport_feedback(FEEDBACK_SSRC, ssrc, count, first, reference, &list));
        }
        if own_frame.is_multiple_of(REPORT_FRAMES) {
            let block = ReportBlock { ssrc, highest_seq: self.highest, jitter: 90, ..ReportBlock::default() };
            self.compound(&mut said, |writer| writer.receiver_report(FEEDBACK_SSRC, &[block]));
        }
        said
    }

    fn compound(&mut self, said: &mut Vec<Said>, write: impl FnOnce(&mut rtcp::Writer<'_>) -> bool) {
        let mut bytes = vec![0; 1_500];
        let mut writer = rtcp::Writer::new(&mut bytes);
        if write(&mut writer) {
            let len = writer.finish();
            let len = self.seal.rtcp(&mut bytes, len);
            bytes.truncate(len);
            said.push(Said { source: self.address, bytes });
        }
    }
}

/// Returns the parameters that Chromium negotiates for one video track, with the header extensions
/// that cost CPU time.
fn negotiated(number: u32) -> NegotiatedTrack {
    NegotiatedTrack {
        kind: MediaKind::Video,
        mid: "0".to_owned(),
        ssrc: MEDIA_SSRC + number,
        rtx_ssrc: Some(RTX_SSRC + number),
        formats: AcceptedFormats(vec![Accepted { format: VP8, payload_type: 96, rtx_payload_type: Some(97) }]),
        extensions: ExtensionIds {
            mid: Some(4),
            transport_seq: Some(TRANSPORT_SEQ_ID),
            playout_delay: Some(6),
            abs_capture_time: Some(9),
            ..ExtensionIds::default()
        },
    }
}

/// Returns an address for each viewer of a network of 65,536: the `n`th is at `network + n`, all at
/// one port.
pub(crate) fn in_network(network: Ipv4Addr, number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() + number)), 40_000)
}

/// Returns the viewer of [`in_network`] at an address. An address of no viewer gets a number behind
/// all of them.
pub(crate) fn place(network: Ipv4Addr, address: SocketAddr) -> usize {
    match address.ip() {
        IpAddr::V4(ip) => ip.to_bits().wrapping_sub(network.to_bits()) as usize,
        IpAddr::V6(_) => usize::MAX,
    }
}

/// Bytes that look random and are the same in every run, so that runs can be compared.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| mix(seed << 8 | n) as u8).collect()
}

/// splitmix64 (Steele, Lea, Flood 2014).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_viewer_gets_every_packet_and_requests_lost_ones() {
        let network = Ipv4Addr::new(198, 18, 0, 0);
        let start = Instant::now();
        for (loss, resends) in [(0.0, false), (0.2, true)] {
            let mut audience =
                Audience::new(start, 3, Profile::AeadAes128Gcm, |n| in_network(network, n)).expect("keys");
            let mut batch = Batch::new();
            let mut media = [0; 3];
            let mut resent = 0;
            for frame in 0..30 {
                let now = start + FRAME_INTERVAL * frame;
                let command = audience.next_frame(now);
                audience.shard.handle_command(now, command);
                audience.shard.handle_timeout(now);
                loop {
                    audience.shard.poll_transmit(now, &mut batch);
                    if batch.is_empty() {
                        break;
                    }
                    for (message, datagram) in batch.datagrams().filter(|(_, d)| !media::rtp::is_rtcp(d)) {
                        let ssrc = Header::parse(datagram).expect("RTP").ssrc;
                        media[place(network, message.destination)] += u64::from(ssrc < RTX_SSRC);
                        resent += u64::from(ssrc >= RTX_SSRC);
                    }
                    audience.deliver(&batch, loss, |address| place(network, address));
                    batch.clear();
                }
                for mut said in audience.hear() {
                    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 7882));
                    audience.shard.handle_datagram(now, said.source, here, &mut said.bytes);
                }
            }
            assert_eq!(media, [audience.packets; 3]);
            assert_eq!(resent > 0, resends);
        }
    }
}
