//! One viewer: where does it stand, what did it get, and what does it tell the server?

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context;
use media::codec::{Description, describe};
use media::{Codec, NtpTime, rtp};
use sfu::rtcp::{self, ReportBlock};
use sfu::srtp::{Open, Seal};
use sfu::tap::{self, KeySlot};
use str0m::media::Direction;

use crate::agreed::{Agreed, Flow};
use crate::clock;
use crate::feedback::{self, Feedback};
use crate::loss::Loss;
use crate::peer::{Media, Outgoing, Peer, Plan};
use crate::reception::{Arrival, Counted, Reception};
use crate::settings::{Offers, Settings, Source};
use crate::url::Url;

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) peer: Peer,
    pub(crate) joining: Joining,
    /// It sees pictures, or has failed.
    pub(crate) is_settled: bool,
    /// All that it gets is decrypted and looked at.
    pub(crate) is_verified: bool,
    /// Why it could not join, or cannot go on.
    pub(crate) failure: Option<String>,
    /// The session, to be ended.
    pub(crate) resource: Option<Url>,
    /// Datagrams that did not authenticate, where that was tried.
    pub(crate) rejected: u64,
    video: Reception,
    audio: Option<Box<Reception>>,
    agreed: Agreed,
    loss: Loss,
    feedback: Option<Feedback>,
    feedback_interval: Option<Duration>,
    slot: KeySlot,
    keys: Option<Box<(Seal, Open)>>,
    server: Option<SocketAddr>,
    next_report_at: Option<Instant>,
    last_sender_report: Option<(u32, Instant)>,
    last_pli_at: Option<Instant>,
    is_cut_off: bool,
}

/// How far a viewer has come, and when.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Joining {
    pub(crate) posted_at: Option<Instant>,
    pub(crate) answered_at: Option<Instant>,
    pub(crate) first_packet_at: Option<Instant>,
    pub(crate) first_picture_at: Option<Instant>,
}

/// What a datagram was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// Of the handshake: the session must be driven.
    Handshake,
    /// Pictures or sound; look into it if the viewer is verified.
    Media(Flow),
    /// The same, already decrypted: the payload's place.
    Opened(Flow, Range<usize>),
    /// All else.
    Other,
}

/// libwebrtc reports video every second.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A guess: what a player that waits for a key frame asks for it again after.
const PLI_INTERVAL: Duration = Duration::from_secs(1);
/// A player that gets pictures and no key frame asks for one (libwebrtc,
/// `video_receive_stream2.cc`: 200 ms).
const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(200);
/// A receiver that sends nothing has an SSRC all the same (libwebrtc uses 1).
const OWN_SSRC: u32 = 1;
/// Longer than anything that is played.
const NEVER: Duration = Duration::from_secs(24 * 3_600);
const CNAME: &str = "bench";

impl Viewer {
    /// Opens a socket, and makes an offer unless the server does.
    pub(crate) fn new(
        now: Instant,
        number: usize,
        is_verified: bool,
        settings: &Settings,
        local_ip: IpAddr,
    ) -> anyhow::Result<(Viewer, String)> {
        let slot = tap::arm();
        let is_ours = settings.source == Source::Publish;
        let plan = Plan {
            local_ip,
            media: Media::Elsewhere,
            codec: is_ours.then_some(settings.video.codec),
            has_audio: !is_ours || settings.audio,
            has_feedback: settings.feedback.is_some(),
        };
        let mut peer = Peer::new(now, plan)?;
        let offer = match settings.offers {
            Offers::Viewer => peer.offer(Direction::RecvOnly, plan.has_audio)?.0,
            Offers::Server => String::new(),
        };
        let viewer = Viewer {
            peer,
            joining: Joining::default(),
            is_settled: false,
            is_verified,
            failure: None,
            resource: None,
            rejected: 0,
            video: Reception::default(),
            audio: None,
            agreed: Agreed::default(),
            loss: Loss::new(settings.loss, settings.seed, number),
            feedback: None,
            feedback_interval: settings.feedback,
            slot,
            keys: None,
            server: None,
            next_report_at: None,
            last_sender_report: None,
            last_pli_at: None,
            is_cut_off: false,
        };
        Ok((viewer, offer))
    }

    /// Takes the server's answer.
    pub(crate) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        self.peer.accept(answer)?;
        self.agree(answer, answer)
    }

    /// Takes the server's offer. Returns the answer.
    pub(crate) fn answer(&mut self, offer: &str) -> anyhow::Result<String> {
        let answer = self.peer.answer(offer)?;
        self.agree(offer, &answer)?;
        Ok(answer)
    }

    fn agree(&mut self, of_server: &str, answer: &str) -> anyhow::Result<()> {
        self.agreed = Agreed::read(of_server, answer);
        self.feedback = self.agreed.transport_cc.and(self.feedback_interval).map(Feedback::new);
        self.audio = self.agreed.has_audio().then(Box::default);
        if !self.agreed.has_rtx() {
            self.video = Reception::repaired_in_place();
        }
        of_server.contains("a=candidate:").then_some(()).context("the server names no address to send to")
    }

    /// From now on the network loses this share of its packets.
    pub(crate) fn lose(&mut self, loss: Loss) {
        self.loss = loss;
    }

    /// From now on its network carries nothing, either way.
    pub(crate) fn cut_off(&mut self) {
        self.is_cut_off = true;
    }

    /// Returns whether it sees moving pictures.
    pub(crate) fn has_joined(&self) -> bool {
        self.joining.first_picture_at.is_some()
    }

    /// Why it has not joined yet, when that takes too long.
    pub(crate) fn missing_part(&self) -> &'static str {
        match () {
            () if self.joining.answered_at.is_none() => "the server did not answer the offer in time",
            () if !self.peer.is_heard => "no UDP packet came from the server; is its media port reachable from here?",
            () if self.keys.is_none() => "UDP works, but the DTLS handshake did not end in time",
            () if self.joining.first_packet_at.is_none() => "it is connected, but no media came; is the stream live?",
            () => "media came, but no whole key frame in time",
        }
    }

    /// Returns the counters of video and sound.
    pub(crate) fn counted(&self, now: Instant) -> Counted {
        let mut counted = self.video.counted(now);
        if let Some(audio) = &self.audio {
            counted.add(&Counted { longest_silence: Duration::ZERO, ..audio.counted(now) });
        }
        counted
    }

    /// Measures the longest silence anew.
    pub(crate) fn forget_silence(&mut self) {
        self.video.forget_silence();
    }

    /// Returns when to come again.
    pub(crate) fn poll_timeout(&self) -> Instant {
        if self.is_cut_off {
            return self.peer.wakes_at + NEVER;
        }
        // Without keys nothing can be told, however much is missing.
        let feedback = self.feedback.as_ref().and_then(Feedback::poll_timeout);
        let tells = [self.video.poll_timeout(), feedback, self.key_frame_due()]
            .into_iter()
            .flatten()
            .filter(|_| self.keys.is_some());
        self.next_report_at.into_iter().chain(tells).fold(self.peer.wakes_at, Instant::min)
    }

    /// Takes a datagram that `arrived` then. For [`Datagram::Handshake`], [`Viewer::drive`] must
    /// follow.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        arrived: Instant,
        source: SocketAddr,
        bytes: &mut [u8],
        out: &mut Outgoing,
    ) -> Datagram {
        if self.is_cut_off {
            return Datagram::Other;
        }
        if !matches!(bytes.first(), Some(128..=191)) {
            self.peer.handle_datagram(now, source, bytes);
            return Datagram::Handshake;
        }
        if self.keys.is_none() {
            self.take_keys(now);
        }
        if rtp::is_rtcp(bytes) {
            self.handle_rtcp(now, bytes);
            return Datagram::Other;
        }
        // The fixed header is in the clear, as in RFC 3711 §3.1.
        let Some((&[_, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], _)) = bytes.split_first_chunk() else {
            return Datagram::Other;
        };
        let Some(flow) = self.agreed.flow(u32::from_be_bytes([c0, c1, c2, c3]), second & 0x7f) else {
            return Datagram::Other;
        };
        if self.loss.takes() {
            self.video.counted.dropped += 1;
            return Datagram::Other;
        }
        self.server = Some(source);
        if let (Some(feedback), Some(id)) = (&mut self.feedback, self.agreed.transport_cc)
            && let Some(seq) = feedback::transport_seq(bytes, id)
        {
            feedback.arrived(now, seq, clock::ns(arrived) / 1_000);
        }
        let (seq, timestamp) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([t0, t1, t2, t3]));
        match flow {
            Flow::Rtx => {
                self.handle_retransmission(arrived, bytes);
                Datagram::Other
            }
            Flow::Audio => {
                let arrival = self.audio.as_mut().map(|audio| audio.arrived(arrived, seq, bytes.len()));
                if arrival == Some(Arrival::Duplicate) { Datagram::Other } else { Datagram::Media(flow) }
            }
            Flow::Video => {
                self.joining.first_packet_at.get_or_insert(arrived);
                let arrival = self.video.arrived(arrived, seq, bytes.len());
                if arrival == Arrival::Duplicate {
                    return Datagram::Other;
                }
                // Once it sees pictures, only verified viewers look into what they get.
                let place = if self.has_joined() { None } else { self.open_in_place(bytes) };
                if let Some(place) = &place {
                    let payload = bytes.get(place.clone()).unwrap_or_default();
                    self.look_for_picture(arrived, second, (seq, timestamp), payload);
                }
                if arrival == Arrival::Gap {
                    self.tell(now, out);
                }
                match (arrival, place) {
                    // A repair is late by design, and not a part of the delay.
                    (Arrival::Repair, _) => Datagram::Other,
                    (_, Some(place)) => Datagram::Opened(flow, place),
                    (_, None) => Datagram::Media(flow),
                }
            }
        }
    }

    /// Decrypts a packet of media. Returns the payload's place.
    pub(crate) fn open_in_place(&mut self, bytes: &mut [u8]) -> Option<Range<usize>> {
        let (_, open) = self.keys.as_deref_mut()?;
        let header = rtp::header_bytes(bytes).ok()?;
        let is_padded = bytes.first().is_some_and(|first| first & 0x20 != 0);
        match open.rtp(bytes) {
            Ok((_, payload)) => {
                // RFC 3550 §5.1: the last byte counts the padding.
                let padding = if is_padded { payload.last().map_or(0, |last| usize::from(*last)) } else { 0 };
                Some(header..header + payload.len().saturating_sub(padding))
            }
            Err(_) => {
                self.rejected += 1;
                None
            }
        }
    }

    /// Runs the timers of the session, and sends the RTCP that is due.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Outgoing) {
        if self.is_cut_off {
            return;
        }
        if self.peer.wakes_at <= now || self.keys.is_none() {
            self.drive_session(now, out);
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.next_report_at) || is_due(self.video.poll_timeout()) || is_due(self.key_frame_due()) {
            self.tell(now, out);
        }
        if is_due(self.feedback.as_ref().and_then(Feedback::poll_timeout)) {
            self.tell_arrivals(now, out);
        }
    }

    /// Lets the session do what follows from a datagram or from time.
    pub(crate) fn drive_session(&mut self, now: Instant, out: &mut Outgoing) {
        self.peer.drive(now, out);
        if self.peer.is_over && self.failure.is_none() {
            let why = self.peer.error.take();
            self.failure = Some(why.unwrap_or_else(|| "the server ended the session".to_owned()));
        }
        self.take_keys(now);
    }

    fn take_keys(&mut self, now: Instant) {
        if self.keys.is_none() {
            match self.slot.take() {
                Some(Ok(keys)) => {
                    self.keys = Some(Box::new(keys));
                    self.next_report_at = Some(now + REPORT_INTERVAL);
                }
                Some(Err(error)) => self.failure = Some(error.to_string()),
                None => {}
            }
        }
    }

    /// Returns when to ask for a key frame because none has come.
    fn key_frame_due(&self) -> Option<Instant> {
        let first = self.joining.first_packet_at.filter(|_| !self.has_joined() && self.server.is_some())?;
        Some((first + KEY_FRAME_PATIENCE).max(self.last_pli_at.map_or(first, |at| at + PLI_INTERVAL)))
    }

    /// Notes when there is a whole picture to begin with. `second` is the second byte of the
    /// header: marker and payload type.
    fn look_for_picture(&mut self, now: Instant, second: u8, (seq, timestamp): (u16, u32), payload: &[u8]) {
        // Of a codec that we do not know, any picture must do.
        let description = match self.agreed.codec(second & 0x7f) {
            Some(codec) => describe(codec, payload),
            None => Description { starts_frame: true, key: true, ..Description::default() },
        };
        self.video.described(seq, timestamp, second & 0x80 != 0, &description);
        self.picture(now);
    }

    fn picture(&mut self, now: Instant) {
        if self.joining.first_picture_at.is_none() && self.video.has_first_picture() {
            self.joining.first_picture_at = Some(now);
        }
    }

    fn handle_retransmission(&mut self, now: Instant, bytes: &mut [u8]) {
        let Some(place) = self.open_in_place(bytes) else { return };
        // RFC 4588 §4: the original sequence number comes first. Nothing more: padding of a probe.
        let Some((&[high, low], payload @ [_, ..])) = bytes.get(place).and_then(<[u8]>::split_first_chunk) else {
            return;
        };
        let seq = u16::from_be_bytes([high, low]);
        let is_missed = self.video.repaired(now, seq);
        if is_missed && !self.has_joined() {
            let Some(&[_, second, _, _, t0, t1, t2, t3]) = bytes.first_chunk() else { return };
            // RFC 4588 §4: timestamp and marker are those of the original.
            let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
            let second = second & 0x80 | self.agreed.original(second & 0x7f).unwrap_or_default();
            self.look_for_picture(now, second, (seq, timestamp), payload);
        }
        self.picture(now);
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &mut [u8]) {
        let Some((_, open)) = self.keys.as_deref_mut() else { return };
        let Ok(compound) = open.rtcp(bytes) else {
            self.rejected += 1;
            return;
        };
        for packet in rtcp::packets(compound) {
            if let Ok(rtcp::Packet::SenderReport { report, .. }) = packet
                && Some(report.ssrc) == self.agreed.video_ssrc
            {
                self.last_sender_report = Some((NtpTime::middle_32(report.ntp), now));
            }
        }
    }

    /// Sends a receiver report if it is due, NACKs for missing packets, and a PLI after packets
    /// were given up.
    fn tell(&mut self, now: Instant, out: &mut Outgoing) {
        let is_blind = self.key_frame_due().is_some_and(|at| at <= now);
        let (Some((seal, _)), Some(server), Some(media)) =
            (self.keys.as_deref_mut(), self.server, self.agreed.video_ssrc)
        else {
            // The session has no destination yet.
            self.next_report_at = self.next_report_at.map(|at| at.max(now + REPORT_INTERVAL));
            return;
        };
        if let Some(audio) = &mut self.audio {
            audio.give_up(now);
        }
        let nacks = self.video.nacks(now);
        let may_ask = self.last_pli_at.is_none_or(|at| now >= at + PLI_INTERVAL);
        let asks_for_key_frame = is_blind || may_ask && self.video.take_key_frame_wanted();
        if asks_for_key_frame {
            self.last_pli_at = Some(now);
        }
        let is_due = self.next_report_at.is_some_and(|at| at <= now);
        if nacks.is_empty() && !is_due && !asks_for_key_frame {
            return;
        }
        let block = is_due.then(|| {
            self.next_report_at = Some(now + REPORT_INTERVAL);
            let (highest_seq, fraction_lost, total_lost) = self.video.report();
            let (last_sender_report, at) = self.last_sender_report.unwrap_or((0, now));
            let since = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            ReportBlock {
                ssrc: media,
                fraction_lost,
                total_lost,
                highest_seq,
                jitter: 0,
                last_sender_report,
                delay_since_last_sender_report: u32::try_from(since).unwrap_or(u32::MAX),
            }
        });
        self.video.counted.plis += u64::from(asks_for_key_frame);
        out.batch.push_with(server, None, |buffer| {
            let mut writer = rtcp::Writer::new(buffer);
            writer.receiver_report(OWN_SSRC, block.as_slice());
            writer.sdes_cname(OWN_SSRC, CNAME);
            writer.nack(OWN_SSRC, media, &nacks);
            if asks_for_key_frame {
                writer.pli(OWN_SSRC, media);
            }
            let len = writer.finish();
            seal.rtcp(buffer, len)
        });
        out.send(&self.peer.socket);
    }

    /// Tells when packets arrived; alone, as RFC 5506 allows and libwebrtc does.
    fn tell_arrivals(&mut self, now: Instant, out: &mut Outgoing) {
        let (Some(feedback), Some((seal, _)), Some(server)) =
            (&mut self.feedback, self.keys.as_deref_mut(), self.server)
        else {
            return;
        };
        let media = self.agreed.video_ssrc.or(self.agreed.audio_ssrc).unwrap_or(0);
        self.video.counted.feedbacks += 1;
        let Outgoing { batch, arrivals, .. } = out;
        batch.push_with(server, None, |buffer| {
            let mut writer = rtcp::Writer::new(buffer);
            feedback.write(now, (OWN_SSRC, media), arrivals, &mut writer);
            let len = writer.finish();
            if len == 0 { 0 } else { seal.rtcp(buffer, len) }
        });
        out.send(&self.peer.socket);
    }
}

/// Returns the codec in which a flow's payloads are to be read.
pub(crate) fn codec_of(flow: Flow, video: Codec) -> Codec {
    match flow {
        Flow::Video | Flow::Rtx => video,
        Flow::Audio => Codec::Opus,
    }
}
