//! One viewer: where does it stand, what did it get, and what does it tell the server?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::{NtpTime, rtp};
use sfu::rtcp::{self, ReportBlock};
use sfu::srtp::{Open, Seal};
use sfu::tap::{self, KeySlot};
use str0m::media::Direction;

use crate::peer::{Media, Outgoing, Peer};
use crate::reception::Reception;

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) peer: Peer,
    pub(crate) reception: Reception,
    pub(crate) joining: Joining,
    /// All that it gets is decrypted and looked at.
    pub(crate) is_verified: bool,
    /// Why it could not join, or cannot go on.
    pub(crate) failure: Option<String>,
    slot: KeySlot,
    keys: Option<(Seal, Open)>,
    server: Option<SocketAddr>,
    ssrc: Option<u32>,
    rtx_ssrc: Option<u32>,
    next_report_at: Option<Instant>,
    last_sender_report: Option<(u32, Instant)>,
    /// Datagrams that did not authenticate, where that was tried.
    pub(crate) rejected: u64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// Of the handshake: the session must be driven.
    Handshake,
    /// Media; look into it if the viewer is verified.
    Media,
    /// All else.
    Other,
}

/// libwebrtc reports video every second.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A receiver that sends nothing has an SSRC all the same (libwebrtc uses 1).
const OWN_SSRC: u32 = 1;
const CNAME: &str = "bench";

impl Viewer {
    /// Opens a socket and makes an offer.
    pub(crate) fn new(now: Instant, is_verified: bool) -> anyhow::Result<(Viewer, String)> {
        let slot = tap::arm();
        let (peer, offer) = Peer::new(now, Direction::RecvOnly, Media::Elsewhere)?;
        let viewer = Viewer {
            peer,
            reception: Reception::default(),
            joining: Joining::default(),
            is_verified,
            failure: None,
            slot,
            keys: None,
            server: None,
            ssrc: None,
            rtx_ssrc: None,
            next_report_at: None,
            last_sender_report: None,
            rejected: 0,
        };
        Ok((viewer, offer))
    }

    /// Takes the server's answer.
    pub(crate) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        self.peer.accept(answer)?;
        // RFC 5576 §4.2: a=ssrc-group:FID <media> <retransmission>
        if let Some(group) = sfu::negotiate::text::first(answer, "a=ssrc-group:FID ") {
            let mut ssrcs = group.split(' ').filter_map(|ssrc| ssrc.parse().ok());
            (self.ssrc, self.rtx_ssrc) = (ssrcs.next(), ssrcs.next());
        } else if let Some(line) = sfu::negotiate::text::first(answer, "a=ssrc:") {
            self.ssrc = line.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
        }
        Ok(())
    }

    /// Whether it sees moving pictures.
    pub(crate) fn has_joined(&self) -> bool {
        self.joining.first_picture_at.is_some()
    }

    /// When to come again.
    pub(crate) fn poll_timeout(&self) -> Instant {
        // Without keys nothing can be told, however much is missing.
        let repair = self.reception.poll_timeout().filter(|_| self.keys.is_some());
        self.next_report_at.into_iter().chain(repair).fold(self.peer.wakes_at, Instant::min)
    }

    /// Takes a datagram. For [`Datagram::Handshake`], [`Viewer::drive`] must follow.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &mut [u8],
        out: &mut Outgoing,
    ) -> Datagram {
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
        let Some((&[_, marker, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], _)) = bytes.split_first_chunk() else {
            return Datagram::Other;
        };
        let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
        self.server = Some(source);
        if Some(ssrc) == self.rtx_ssrc {
            if let Some((_, open)) = &mut self.keys {
                match open.rtp(bytes) {
                    // RFC 4588 §4: the original sequence number comes first. Nothing more: padding of a probe.
                    Ok((_, &[high, low, _, ..])) => {
                        self.reception.repaired(u16::from_be_bytes([high, low]));
                        self.picture(now);
                    }
                    Ok(_) => {}
                    Err(_) => self.rejected += 1,
                }
            }
            return Datagram::Other;
        }
        if Some(ssrc) != self.ssrc {
            return Datagram::Other;
        }
        let (seq, timestamp) = (u16::from_be_bytes([s0, s1]), u32::from_be_bytes([t0, t1, t2, t3]));
        self.joining.first_packet_at.get_or_insert(now);
        if self.reception.arrived(now, seq, timestamp, marker & 0x80 != 0, bytes.len()) {
            self.tell(now, out);
        }
        self.picture(now);
        Datagram::Media
    }

    /// Decrypts a packet of media. Returns the payload.
    pub(crate) fn open<'a>(&mut self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let (_, open) = self.keys.as_mut()?;
        let padding = bytes.first().is_some_and(|first| first & 0x20 != 0);
        match open.rtp(bytes) {
            Ok((_, payload)) => {
                let padding = if padding { payload.last().map_or(0, |last| usize::from(*last)) } else { 0 };
                payload.get(..payload.len().saturating_sub(padding))
            }
            Err(_) => {
                self.rejected += 1;
                None
            }
        }
    }

    /// Lets the session do what is due, and tells the server what is due to be told.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Outgoing) {
        self.peer.drive(now, out);
        if self.peer.is_over && self.failure.is_none() {
            self.failure = Some("the server ended the session, or was not heard any more".to_owned());
        }
        self.take_keys(now);
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.next_report_at) || is_due(self.reception.poll_timeout()) {
            self.tell(now, out);
        }
    }

    fn take_keys(&mut self, now: Instant) {
        if self.keys.is_none() {
            match self.slot.take() {
                Some(Ok(keys)) => {
                    self.keys = Some(keys);
                    self.next_report_at = Some(now + REPORT_INTERVAL);
                }
                Some(Err(error)) => self.failure = Some(error.to_string()),
                None => {}
            }
        }
    }

    fn picture(&mut self, now: Instant) {
        if self.joining.first_picture_at.is_none() && self.reception.has_first_picture() {
            self.joining.first_picture_at = Some(now);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &mut [u8]) {
        let Some((_, open)) = &mut self.keys else { return };
        let Ok(compound) = open.rtcp(bytes) else {
            self.rejected += 1;
            return;
        };
        for packet in rtcp::packets(compound) {
            if let Ok(rtcp::Packet::SenderReport { report, .. }) = packet {
                self.last_sender_report = Some((NtpTime::middle_32(report.ntp), now));
            }
        }
    }

    /// Sends a receiver report if it is due, and asks for what is missing.
    fn tell(&mut self, now: Instant, out: &mut Outgoing) {
        let (Some((seal, _)), Some(server), Some(media)) = (&mut self.keys, self.server, self.ssrc) else {
            // Nobody to tell yet.
            self.next_report_at = self.next_report_at.map(|at| at.max(now + REPORT_INTERVAL));
            return;
        };
        let nacks = self.reception.nacks(now);
        let is_due = self.next_report_at.is_some_and(|at| at <= now);
        if nacks.is_empty() && !is_due {
            return;
        }
        let block = is_due.then(|| {
            self.next_report_at = Some(now + REPORT_INTERVAL);
            let (highest_seq, fraction_lost, total_lost) = self.reception.report();
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
        out.batch.push_with(server, None, |buffer| {
            let mut writer = rtcp::Writer::new(buffer);
            writer.receiver_report(OWN_SSRC, block.as_slice());
            writer.sdes_cname(OWN_SSRC, CNAME);
            writer.nack(OWN_SSRC, media, &nacks);
            let len = writer.finish();
            seal.rtcp(buffer, len)
        });
        out.send(&self.peer.socket);
    }
}
