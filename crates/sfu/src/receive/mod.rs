//! How do a peer's datagrams become packets of its encodings, and which RTCP goes back?
//!
//! [`Receiver`] is the receiving half of a session. It holds the session's SRTP keys, is handed
//! SRTP and SRTCP datagrams and the time, and is asked for packets ([`Delivery`]) and for SRTCP
//! datagrams to send:
//!
//! - `negotiated`: what the descriptions agreed on
//! - `sources`: which encoding an SSRC belongs to (RFC 8843 §9.2, RFC 8852)
//! - `header`: values of header extensions
//! - `repair`: retransmissions become the packets that they repeat (RFC 4588)
//! - `runs`: spans of one SSRC, format and sequence
//! - `encoding`: state of one encoding: `reception` (RFC 3550 §6.4), `missing` packets (RFC 4585 §6.2)
//! - `feedback`: arrival times by transport-wide number
//! - `round_trip`: how far the peer is (RFC 3611)
//! - `writing`: reports, requests for packets and key frames, farewells
//!
//! # What must always hold
//!
//! No number that a peer sends decides how much is allocated or how often a loop runs. A datagram
//! that is not authentic changes nothing. A packet is delivered at most once, whether it came
//! itself or by a retransmission.

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

mod encoding;
mod feedback;
mod header;
mod missing;
mod negotiated;
mod reception;
mod repair;
mod round_trip;
pub(crate) mod runs;
mod sources;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use media::packet::Extensions;
use media::rtp::Header;
use media::{Codec, MediaKind, NtpTime, WallClock};

pub use negotiated::{ExtensionIds, MAX_NAMED, MAX_SECTIONS, NamedSsrc, Negotiated, Section};
pub use sources::Place;

use crate::format::Format;
use crate::rtcp::{self, Packet, SenderReport, XrBlock};
use crate::srtp::{Open, Seal};
use encoding::{Arrival, Encoding, Step};
use feedback::Feedback;
use header::Elements;
use negotiated::Carries;
use sources::{Source, Sources};

/// The receiving half of one session.
#[derive(Debug)]
pub struct Receiver {
    negotiated: Negotiated,
    seal: Seal,
    open: Open,
    sources: Sources,
    /// By section, then by encoding.
    encodings: Vec<Vec<Encoding>>,
    /// `None` if transport-wide feedback was not negotiated.
    feedback: Option<Feedback>,
    /// When the next regular report is due; `None` before the first authentic packet.
    report_at: Option<Instant>,
    round_trip: Option<Duration>,
    /// Our canonical name (RFC 3550 §6.5.1).
    cname: String,
    /// A farewell is to be written.
    is_leaving: bool,
    /// Memory of a request for packets to work in.
    asked: Vec<u16>,
    counters: Counters,
}

/// What a receiving half has counted since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that were not authentic, came before, or were malformed.
    pub refused: u64,
    /// Packets that belong to no encoding, or to a flow that was replaced.
    pub strays: u64,
    /// Packets that a retransmission restored.
    pub restored: u64,
    /// Packets that were asked for, each time.
    pub asked_for: u64,
}

impl Counters {
    /// Returns what was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Counters) -> Counters {
        Counters {
            refused: self.refused.saturating_sub(before.refused),
            strays: self.strays.saturating_sub(before.strays),
            restored: self.restored.saturating_sub(before.restored),
            asked_for: self.asked_for.saturating_sub(before.asked_for),
        }
    }
}

/// A packet of an encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which encoding it belongs to.
    pub place: Place,
    /// Its payload type; the original one of a restored packet.
    pub payload_type: u8,
    /// Its format.
    pub format: Format,
    /// The run of its encoding, from 0 ([`media::Epoch::run`]).
    pub run: u32,
    /// Sequence number, extended (RFC 3711 §3.3.1).
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// When its datagram arrived.
    pub arrived_at: Instant,
    /// The sender's wall clock at capture, if the packet tells it.
    pub captured_at: Option<NtpTime>,
    /// Header extensions that are carried through.
    pub extensions: Extensions,
    /// Its Dependency Descriptor, of AV1 only.
    pub descriptor: Option<Box<[u8]>>,
    /// The payload without padding; empty for a packet of nothing but padding.
    pub payload: Arc<[u8]>,
}

/// Packets of one encoding to forward, in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// A run begins with the first of them.
    pub begins: bool,
    /// A packet that was kept until the next one proved it.
    pub held: Option<Box<Received>>,
    /// The packet that came.
    pub packet: Received,
}

/// What an RTP datagram came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not authentic, came before, or was malformed.
    Refused,
    /// It was authentic, and there is nothing to forward.
    Nothing,
    /// Forward this.
    Deliver(Delivery),
}

/// The most bytes of a compound RTCP packet, before it is encrypted: a datagram of 1,200 bytes less
/// what lower layers and SRTCP add.
pub(crate) const MAX_RTCP_BYTES: usize = 1_100;

/// RFC 5761 §4: payload types that are not used where RTP and RTCP share a port.
const OF_RTCP: std::ops::Range<u8> = 64..96;

/// DLRR blocks that are read of one compound packet. One would do: only one of our SSRCs asks.
const MAX_DLRR: usize = 4;

impl Receiver {
    /// A half that opens with `open` and seals its RTCP with `seal`. `seed` is random: our
    /// canonical name is made of it.
    pub fn new(negotiated: Negotiated, seal: Seal, open: Open, seed: u64) -> Receiver {
        let sections = negotiated.sections.iter().take(MAX_SECTIONS);
        let encodings = sections.map(|section| (0..section.encodings()).map(|_| Encoding::default()).collect());
        Receiver {
            encodings: encodings.collect(),
            feedback: negotiated.has_transport_feedback.then(Feedback::default),
            negotiated,
            seal,
            open,
            sources: Sources::default(),
            report_at: None,
            round_trip: None,
            cname: format!("{seed:016x}"),
            is_leaving: false,
            asked: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes an SRTP datagram, and decrypts it in place.
    pub fn handle_rtp(&mut self, now: Instant, datagram: &mut [u8]) -> Outcome {
        let outcome = self.try_rtp(now, datagram).unwrap_or(Outcome::Refused);
        if outcome == Outcome::Refused {
            self.counters.refused = self.counters.refused.saturating_add(1);
        }
        outcome
    }

    /// Takes an SRTCP datagram, and decrypts it in place. Returns whether it is authentic;
    /// `on_report` gets each sender report in it that is of a known encoding.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        clock: &WallClock,
        datagram: &mut [u8],
        mut on_report: impl FnMut(Place, SenderReport),
    ) -> bool {
        let Ok(compound) = self.open.rtcp(datagram) else {
            self.counters.refused = self.counters.refused.saturating_add(1);
            return false;
        };
        self.report_at.get_or_insert(now);
        for packet in rtcp::packets(compound).flatten() {
            match packet {
                Packet::SenderReport { report, .. } => {
                    let Some(place) = place_of(&self.sources, &self.negotiated, report.ssrc) else { continue };
                    let encoding = encoding_of(&mut self.encodings, place);
                    if let Some(reception) = encoding.and_then(|encoding| encoding.reception(report.ssrc)) {
                        reception.reported(now, report.ntp);
                    }
                    on_report(place, report);
                }
                Packet::ExtendedReport(report) => {
                    let blocks = report.blocks().filter_map(|block| match block {
                        XrBlock::Dlrr(blocks) => Some(blocks),
                        _ => None,
                    });
                    let ours = blocks.flatten().take(MAX_DLRR).filter(|block| block.ssrc == writing::OUR_SSRC);
                    let told = ours.filter_map(|block| round_trip::told_by(clock.at(now), &block));
                    self.round_trip = told.last().or(self.round_trip);
                }
                // A BYE is no farewell of a session: Chromium sends one when it renegotiates, and
                // goes on.
                _ => {}
            }
        }
        true
    }

    /// Asks for a key frame of an encoding: at once, or as soon as its SSRC is known.
    pub fn request_key_frame(&mut self, now: Instant, place: Place) {
        if let Some(encoding) = encoding_of(&mut self.encodings, place) {
            encoding.key_frame.request(now);
        }
    }

    /// Says farewell: with the next [`Receiver::poll_transmit`].
    pub fn close(&mut self) {
        self.is_leaving = true;
    }

    /// Returns the round trip to the peer, if it told one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Returns the share of transport-wide numbers that did not arrive since this was asked last, 0
    /// to 1.
    pub fn take_loss(&mut self) -> Option<f32> {
        self.feedback.as_mut().and_then(Feedback::take_loss)
    }

    /// Returns what was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns what was negotiated.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Returns when [`Receiver::poll_transmit`] has something to write.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let encodings = || self.encodings.iter().flatten();
        let asks = encodings().filter_map(Encoding::ask_at).min();
        let key_frames = encodings().filter_map(Encoding::key_frame_at).min();
        let feedback = self.feedback.as_ref().and_then(Feedback::due_at);
        [self.report_at, asks, key_frames, feedback].into_iter().flatten().min()
    }

    fn try_rtp(&mut self, now: Instant, datagram: &mut [u8]) -> Option<Outcome> {
        let header_bytes = media::rtp::header_bytes(datagram).ok()?;
        let (seq, payload) = self.open.rtp(datagram).ok()?;
        let plain_bytes = header_bytes.checked_add(payload.len())?;
        let plain = datagram.get_mut(..plain_bytes)?;
        clear_empty_padding(plain, header_bytes);
        let header = Header::parse(plain).ok()?;
        if OF_RTCP.contains(&header.payload_type) {
            return None;
        }
        let elements = Elements::of(&header, &self.negotiated.extensions);
        if let (Some(number), Some(feedback)) = (elements.transport_number, &mut self.feedback) {
            feedback.on_packet(now, number, header.ssrc);
        }
        self.report_at.get_or_insert(now);
        let known = self.sources.get(header.ssrc);
        let source = known.or_else(|| {
            let learned = self.sources.learn(&self.negotiated, header.ssrc, header.payload_type, &elements)?;
            // A new SSRC is reported at once: libwebrtc names the section in each packet until a
            // report has its SSRC.
            self.report_at = Some(now);
            Some(learned)
        });
        let taken = source.and_then(|source| self.take(now, source, seq, &header, &elements));
        if taken.is_none() && !header.payload().is_empty() {
            self.counters.strays = self.counters.strays.saturating_add(1);
        }
        Some(taken.unwrap_or(Outcome::Nothing))
    }

    /// `None`: it belongs nowhere.
    fn take(
        &mut self,
        now: Instant,
        source: Source,
        seq: u64,
        header: &Header<'_>,
        elements: &Elements<'_>,
    ) -> Option<Outcome> {
        let section = self.negotiated.sections.get(source.place.section)?;
        let encoding = encoding_of(&mut self.encodings, source.place)?;
        let (seq, ssrc, payload_type, format, payload) = match (source.is_repair, section.carries(header.payload_type)?)
        {
            (false, Carries::Media(format)) => (seq, header.ssrc, header.payload_type, format, header.payload()),
            // Padding to probe a path has any payload type of its section.
            (true, _) if header.payload().is_empty() => return Some(Outcome::Nothing),
            (true, Carries::Repair { of, format }) => {
                let (Some(ssrc), Some(newest)) = (encoding.ssrc(), encoding.newest()) else {
                    return Some(Outcome::Nothing);
                };
                let Some((seq, payload)) = repair::original(newest, header.payload()) else {
                    return Some(Outcome::Nothing);
                };
                (seq, ssrc, of, format, payload)
            }
            _ => return None,
        };
        let step = encoding.arrived(Arrival {
            now,
            ssrc,
            seq,
            timestamp: header.timestamp,
            format,
            of_video: Some(format).filter(|_| section.kind == MediaKind::Video),
            is_restored: source.is_repair,
            is_repaired: section.nacks.contains(&payload_type),
        });
        match step {
            Step::Again => return Some(Outcome::Nothing),
            Step::Drop => return None,
            Step::Hold | Step::Forward | Step::Begin | Step::BeginWithHeld => {}
        }
        if source.is_repair {
            self.counters.restored = self.counters.restored.saturating_add(1);
        }
        let packet = Received {
            place: source.place,
            payload_type,
            format,
            run: encoding.run(),
            seq,
            timestamp: header.timestamp,
            marker: header.marker,
            arrived_at: now,
            captured_at: elements.captured_at,
            extensions: elements.carried,
            descriptor: elements.descriptor.filter(|_| format.codec == Codec::Av1).map(Into::into),
            payload: payload.into(),
        };
        if step == Step::Hold {
            encoding.hold(packet);
            return Some(Outcome::Nothing);
        }
        let held = if step == Step::BeginWithHeld { encoding.take_held() } else { None };
        Some(Outcome::Deliver(Delivery { begins: step != Step::Forward, held, packet }))
    }
}

/// A padding of zero bytes is taken for none: some senders set the bit and append nothing.
fn clear_empty_padding(packet: &mut [u8], header_bytes: usize) {
    /// RFC 3550 §5.1.
    const PADDING: u8 = 1 << 5;
    let has_none = packet.len() == header_bytes || packet.last() == Some(&0);
    if let Some(flags) = packet.first_mut().filter(|_| has_none) {
        *flags &= !PADDING;
    }
}

fn encoding_of(encodings: &mut [Vec<Encoding>], place: Place) -> Option<&mut Encoding> {
    encodings.get_mut(place.section)?.get_mut(place.encoding)
}

/// Finds the encoding that an SSRC brings media of; it need not have sent yet.
fn place_of(sources: &Sources, negotiated: &Negotiated, ssrc: u32) -> Option<Place> {
    let source = sources.get(ssrc).or_else(|| sources::named(negotiated, ssrc))?;
    (!source.is_repair).then_some(source.place)
}
