//! Which packets of a publisher does its `str0m::Rtc` see?
//!
//! str0m derives array sizes, loop bounds and table entries from numbers in headers, and it reads headers
//! before they are authenticated. [`Ingress`] stands in front of it and holds the session's SRTP keys:
//!
//! - Every packet is authenticated, checked for replay and decrypted here ([`crate::srtp::Open`]). What fails is
//!   dropped without a trace, so that an unauthenticated header never reaches str0m.
//! - Transport-wide sequence numbers are consumed here ([`feedback::Feedback`]) and blanked in the header.
//! - Of RTCP, only what str0m needs is passed on, written anew ([`reports`]).
//! - SCTP packets are counted and cut to what data channels need here ([`sctp`]), for viewers too.
//! - str0m gets the rest in the clear ([`clear`]): its ciphers copy. What it sends is encrypted here.
//!
//! # What must always hold
//!
//! No number that a peer sends decides how much is allocated or how often a loop runs.
//! Nothing that str0m wrote in the clear leaves without [`Ingress::seal`].

// Bytes here come from the network: no input may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

pub(crate) mod clear;
mod feedback;
mod header;
mod reports;
pub(crate) mod sctp;
mod sources;

use std::time::Instant;

use media::rtp::is_rtcp;

use crate::srtp::{Open, Seal};
use crate::tap::KeySlot;

pub(crate) use feedback::Feedback;
pub(crate) use header::Admitted;
pub(crate) use sources::NewSources;

/// The SRTP of one publisher, and what its packets are checked against.
#[derive(Debug)]
pub struct Ingress {
    slot: KeySlot,
    keys: Option<(Seal, Open)>,
    extensions: Extensions,
    /// `None` if transport-wide feedback was not negotiated.
    feedback: Option<Feedback>,
    /// One datagram in the clear, as str0m expects it.
    plain: Vec<u8>,
    refused: u64,
}

/// Ids of header extensions (RFC 8285 §6) that are read here.
#[derive(Debug, Clone, Copy, Default)]
struct Extensions {
    transport_number: Option<u8>,
    repaired_rid: Option<u8>,
}

/// What is to be done with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was refused, or there is nothing in it for str0m.
    Drop,
    /// [`Ingress::plain`] is RTP for str0m.
    Rtp(Admitted),
    /// [`Ingress::plain`] is RTCP for str0m.
    Rtcp,
}

impl Ingress {
    /// For a session whose keys will appear in `slot`; `answer` is the SDP that was agreed on.
    pub fn new(slot: KeySlot, answer: &str) -> Ingress {
        let extensions = Extensions {
            transport_number: extension_id(answer, TRANSPORT_NUMBER),
            repaired_rid: extension_id(answer, REPAIRED_RID),
        };
        let wants_feedback = extensions.transport_number.is_some()
            && answer.lines().any(|line| line.starts_with("a=rtcp-fb:") && line.contains("transport-cc"));
        Ingress {
            slot,
            keys: None,
            extensions,
            feedback: wants_feedback.then(Feedback::default),
            plain: Vec::new(),
            refused: 0,
        }
    }

    /// DTLS is up and the peer's certificate was the expected one. Returns whether there are keys.
    pub(crate) fn on_connected(&mut self) -> bool {
        if let Some(Ok(keys)) = self.slot.take() {
            self.keys = Some(keys);
        }
        self.keys.is_some()
    }

    /// Takes an SRTP or SRTCP datagram of the peer.
    pub(crate) fn admit(&mut self, now: Instant, datagram: &[u8]) -> Verdict {
        let verdict = self.try_admit(now, datagram);
        if verdict.is_none() {
            self.refused = self.refused.saturating_add(1);
        }
        verdict.unwrap_or(Verdict::Drop)
    }

    /// `None` if it is refused.
    fn try_admit(&mut self, now: Instant, datagram: &[u8]) -> Option<Verdict> {
        let Ingress { keys, extensions, feedback, plain, .. } = self;
        let (_, open) = keys.as_mut()?;
        plain.clear();
        plain.extend_from_slice(datagram);
        if is_rtcp(datagram) {
            let len = open.rtcp(plain).ok()?.len();
            plain.truncate(len);
            let passed_on = reports::keep(plain);
            if !passed_on {
                return Some(Verdict::Drop);
            }
            clear::wrap_rtcp(plain);
            return Some(Verdict::Rtcp);
        }
        let (_, payload) = open.rtp(plain).ok()?;
        let payload_bytes = payload.len();
        let header_bytes = media::rtp::header_bytes(datagram).ok()?;
        plain.truncate(header_bytes.checked_add(payload_bytes)?);
        let admitted = header::read(plain, header_bytes, *extensions)?;
        // RFC 5761 §4: not used for RTP. str0m would take it for RTCP.
        if (64..96).contains(&admitted.payload_type) {
            return None;
        }
        if let Some(number) = admitted.transport_number
            && let Some(feedback) = feedback
        {
            feedback.on_packet(now, number, admitted.ssrc);
        }
        clear::wrap_rtp(plain);
        Some(Verdict::Rtp(admitted))
    }

    /// The datagram that was admitted last, as str0m reads it.
    pub(crate) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Removes the payload of the RTP packet that was admitted last: str0m counts it as padding.
    pub(crate) fn empty_payload(&mut self, admitted: Admitted) {
        self.plain.truncate(admitted.header_bytes);
        clear::wrap_rtp(&mut self.plain);
    }

    /// Encrypts what str0m wrote with [`clear`]'s ciphers. Returns the length in `out`; 0 if nothing may be sent.
    pub(crate) fn seal(&mut self, written: &[u8], out: &mut [u8]) -> usize {
        let Some((seal, _)) = &mut self.keys else { return 0 };
        // A publisher's session sends no RTP.
        let Some(plain) = Some(written).filter(|bytes| is_rtcp(bytes)).and_then(clear::unwrap_rtcp) else { return 0 };
        let Some(to) = out.get_mut(..plain.len()) else { return 0 };
        to.copy_from_slice(plain);
        seal.rtcp(out, plain.len())
    }

    /// When transport-wide feedback is due.
    pub(crate) fn feedback_at(&self) -> Option<Instant> {
        self.feedback.as_ref().and_then(Feedback::due_at)
    }

    /// Writes transport-wide feedback if it is due. Returns the length in `out`, or 0.
    pub(crate) fn poll_feedback(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let (Some((seal, _)), Some(feedback)) = (&mut self.keys, &mut self.feedback) else { return 0 };
        let room = out.len().saturating_sub(seal.rtcp_overhead()).min(MAX_FEEDBACK_BYTES);
        let Some(room) = out.get_mut(..room) else { return 0 };
        match feedback.report(now, room) {
            0 => 0,
            len => seal.rtcp(out, len),
        }
    }

    /// Share of the transport-wide numbers that did not arrive since this was asked last, 0 to 1.
    pub(crate) fn take_loss(&mut self) -> Option<f32> {
        self.feedback.as_mut().and_then(Feedback::take_loss)
    }

    /// How many datagrams were refused since this was asked last.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

/// The id that `a=extmap` gives to an extension.
fn extension_id(sdp: &str, uri: &str) -> Option<u8> {
    let mut lines = sdp.lines().filter_map(|line| line.strip_prefix("a=extmap:"));
    lines.find_map(|line| {
        let (id, rest) = line.split_once(' ')?;
        // RFC 8285 §5: a direction may follow the id.
        let id = id.split_once('/').map_or(id, |(id, _)| id);
        (rest.split_ascii_whitespace().next() == Some(uri)).then(|| id.parse().ok())?
    })
}

const TRANSPORT_NUMBER: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

/// What str0m gave its feedback: its 1,200 bytes of MTU less 100.
const MAX_FEEDBACK_BYTES: usize = 1_100;
