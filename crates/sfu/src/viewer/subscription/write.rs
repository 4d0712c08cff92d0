//! How does one packet reach a viewer?
//!
//! It is given its payload type, its numbers and what else is changed for this viewer, its [`PacketForm`]; and is written into the
//! batch and sealed there.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use media::packet::Extensions;
use media::{Codec, Epoch, Packet};

use super::resend::REPAIR_BUDGET_BYTES;
use super::{Newest, Subscription};
use crate::srtp::Seal;
use crate::stream::Encoding;
use crate::transmit::Batch;
use crate::viewer::descriptors::Descriptors;
use crate::viewer::header::Fields;
use crate::viewer::history::{Body, PacketForm};
use crate::viewer::rewrite::Rewritten;
use crate::viewer::transport::Transport;

/// Where a viewer's datagrams go, and through which keys.
pub struct Link<'a> {
    /// Keys towards the viewer.
    pub seal: &'a Seal,
    /// The viewer's proven address.
    pub destination: SocketAddr,
    /// Our address towards it.
    pub source: Option<IpAddr>,
    /// Where to write.
    pub batch: &'a mut Batch,
    /// Bytes that may still be sent of the past; live packets have a [`Pace`](crate::viewer::pace::Pace) of
    /// their own.
    pub budget: &'a mut i64,
    /// Counts what is sent.
    pub transport: &'a mut Transport,
}

/// The payload type in use, and for what it was chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    epoch: Epoch,
    pub(super) codec: Codec,
    /// `None` if the viewer cannot decode it.
    pub(super) payload_type: Option<u8>,
    with_red: bool,
}

/// Parameter sets that are sent before a run, under indexes that were reserved for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct BeforeRun {
    /// Where the key frame stands, whose first packet has the sets.
    pub(super) key_at: u64,
    pub(super) first_index: u64,
    pub(super) count: u8,
}

/// How often a capture time is written between key frames. The receiver interpolates in between
/// (abs-capture-time, "timestamp interpolation"); libwebrtc sends one a second.
const CAPTURE_TIME_INTERVAL_US: u64 = 500_000;

impl Subscription {
    /// Sends one packet of the log; returns the bytes it took.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        encoding: &Encoding,
        position: u64,
        packet: &Packet,
        link: &mut Link<'_>,
    ) -> i64 {
        let chosen = self.choose(encoding, packet);
        let Some(payload_type) = chosen.payload_type else {
            self.counters.undecodable += 1;
            return 0;
        };
        if !self.rewrite.takes(packet) {
            return 0;
        }
        let mut form = PacketForm {
            payload_type,
            encoding: self.encoding,
            with_red: chosen.with_red,
            with_capture_time: self.capture_time_is_due(link.transport.now_us(), packet),
            transport_seq: self.header.has_transport_seq().then(|| link.transport.next()),
            with_marker: packet.marker,
            playout: self.playout,
            ..PacketForm::default()
        };
        let is_kept = self.keep(encoding, position, packet);
        let shift = is_kept.and_then(|_| self.pictures.shift(&packet.layers.numbers));
        let (Some(with_marker), Some(shift)) = (is_kept, shift) else {
            self.pictures.leave_out(packet.codec, &packet.layers.numbers);
            self.counters.left_out += 1;
            // Later ones were sent already: a gap would be asked for again and again.
            let Some(numbers) = self.rewrite.leave_out(packet) else { return 0 };
            form =
                PacketForm { body: Body::Empty, with_red: false, with_marker: false, with_capture_time: false, ..form };
            return self.send_as(position, packet, numbers, form, link);
        };
        (form.with_marker, form.shift) = (with_marker, shift);
        let Some(numbers) = self.rewrite.rewrite(now, packet) else { return 0 };
        if let Some(descriptors) = &mut self.descriptors {
            let within = self.layers.as_ref().map(|layers| layers.layers());
            form.descriptor = descriptors.number(packet, numbers.index, within);
        }
        let written = self.send_as(position, packet, numbers, form, link);
        if written > 0 && packet.starts_frame {
            self.newest = Some(Newest {
                timestamp: numbers.timestamp,
                captured_at: packet.captured_at,
                has_wrong_clock: packet.has_wrong_clock,
                arrived_at: packet.arrived_at,
            });
        }
        written
    }

    /// Sends the parameter sets that a decoder needs before the key frame of a run that has just begun.
    pub(super) fn send_sets(&mut self, encoding: &Encoding, sets: BeforeRun, link: &mut Link<'_>) {
        let Some(packet) = encoding.log().get(sets.key_at) else { return };
        let (Some(payload_type), Some(timestamp)) =
            (self.choose(encoding, packet).payload_type, self.rewrite.timestamp(packet.timestamp))
        else {
            return;
        };
        for place in 0..sets.count {
            let form = PacketForm {
                payload_type,
                encoding: self.encoding,
                transport_seq: self.header.has_transport_seq().then(|| link.transport.next()),
                playout: self.playout,
                body: Body::ParameterSet(place),
                ..PacketForm::default()
            };
            let numbers = Rewritten { index: sets.first_index + u64::from(place), timestamp };
            *link.budget -= self.send_as(sets.key_at, packet, numbers, form, link);
        }
    }

    /// Sends a packet for the first time; returns the bytes it took.
    fn send_as(
        &mut self,
        position: u64,
        packet: &Packet,
        numbers: Rewritten,
        form: PacketForm,
        link: &mut Link<'_>,
    ) -> i64 {
        if !self.history.is_new(numbers.index) {
            self.counters.repeated += 1;
            return 0;
        }
        let written = self.write(packet, numbers, form, link);
        if written == 0 {
            return 0;
        }
        if form.transport_seq.is_some() {
            link.transport.on_packet_sent(written, None);
        }
        let now_us = link.transport.now_us();
        if form.with_capture_time {
            self.capture_written_us = Some(now_us);
        }
        self.history.on_sent(now_us, numbers, position, form);
        self.counters.packets += 1;
        self.counters.bytes += payload_of(packet, form).len() as u64;
        let repair = written as i64 * self.repair_share / 256;
        self.repair_budget = (self.repair_budget + repair).min(REPAIR_BUDGET_BYTES);
        written as i64
    }

    fn capture_time_is_due(&self, now_us: u64, packet: &Packet) -> bool {
        // What most packets fail first.
        packet.starts_frame
            && packet.captured_at.is_some()
            && !packet.has_wrong_clock
            && self.capture_written_us.is_none_or(|us| now_us.saturating_sub(us) >= CAPTURE_TIME_INTERVAL_US)
            && self.negotiated.extensions.abs_capture_time.is_some()
            && self.negotiated.rtx_ssrc.is_some()
    }

    /// Writes a packet. The same packet, numbers and form make the same bytes at any time.
    pub(super) fn write(
        &mut self,
        packet: &Packet,
        numbers: Rewritten,
        form: PacketForm,
        link: &mut Link<'_>,
    ) -> usize {
        let payload = payload_of(packet, form);
        let (beginning, len) = form.shift.beginning(packet.codec, &packet.layers.numbers, payload);
        let Some(descriptor) = descriptor_of(&mut self.descriptors, packet, form, numbers.index) else { return 0 };
        let fields = Fields {
            payload_type: form.payload_type,
            marker: form.with_marker,
            numbers,
            transport_seq: form.transport_seq.unwrap_or_default(),
            extensions: extensions_of(packet, form),
            captured_at: packet.captured_at.filter(|_| form.with_capture_time),
            descriptor,
        };
        let writer = &mut self.header;
        let mut written = 0;
        link.batch.push_with(link.destination, link.source, |out| {
            let header = writer.write(out, &fields);
            written = if header == 0 {
                0
            } else {
                link.seal.rtp(out, header, &beginning[..len], &payload[len..], writer.ssrc(), numbers.index)
            };
            written
        });
        written
    }

    /// Looks up, once per publisher and codec, which payload type to use.
    pub(super) fn choose(&mut self, encoding: &Encoding, packet: &Packet) -> Chosen {
        match self.chosen {
            Some(chosen) if chosen.epoch == packet.epoch && chosen.codec == packet.codec => chosen,
            _ => self.choose_anew(encoding, packet),
        }
    }

    #[cold]
    fn choose_anew(&mut self, encoding: &Encoding, packet: &Packet) -> Chosen {
        let format = encoding.format(packet.codec);
        let formats = &self.negotiated.formats;
        let mut accepted = formats.pick(format);
        let mut with_red = accepted.is_some();
        if packet.codec == Codec::Red {
            // RFC 2198 blocks carry the publisher's payload type of Opus: RED is passed on only to a viewer that uses
            // the same. Everyone else gets the primary block.
            let opus = formats.0.iter().find(|a| a.format.codec == Codec::Opus).copied();
            if opus.map(|o| u32::from(o.payload_type)) != Some(format.profile) {
                with_red = false;
            }
            if !with_red {
                accepted = opus;
            }
        }
        let payload_type = accepted.map(|accepted| accepted.payload_type);
        let chosen = Chosen { epoch: packet.epoch, codec: packet.codec, payload_type, with_red };
        self.chosen = Some(chosen);
        chosen
    }
}

/// The packet's Dependency Descriptor as a viewer gets it, empty if it has none; `None` if it is not known any more what was
/// changed in it under this index. It is written into memory of `descriptors`: nothing is allocated per packet.
pub(super) fn descriptor_of<'a>(
    descriptors: &'a mut Option<Box<Descriptors>>,
    packet: &Packet,
    form: PacketForm,
    index: u64,
) -> Option<&'a [u8]> {
    match descriptors {
        Some(descriptors) => descriptors.write(packet, form.descriptor, index),
        None => Some(&[]),
    }
}

/// What stands behind the header, before its picture's numbers are moved.
pub(super) fn payload_of(packet: &Packet, form: PacketForm) -> &[u8] {
    match form.body {
        Body::Payload => packet.payload(form.with_red),
        Body::Empty => &[],
        Body::ParameterSet(place) => packet.sets.as_ref().map_or(&[], |sets| sets.payload(usize::from(place))),
    }
}

/// What the publisher wrote, unless it is changed for this viewer.
pub(super) fn extensions_of(packet: &Packet, form: PacketForm) -> Extensions {
    match form.playout {
        None => packet.extensions,
        Some(playout) => {
            Extensions { playout_delay: Some(playout.over(packet.extensions.playout_delay)), ..packet.extensions }
        }
    }
}
