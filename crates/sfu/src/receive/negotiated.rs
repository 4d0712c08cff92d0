//! What did a session negotiate to send to this server?
//!
//! Plain values of one description: sections, payload types, SSRCs and header extension ids. The
//! receiving half ([`super::Receiver`]) decides by them where a packet belongs and which feedback
//! is sent.

use media::MediaKind;
use str0m::media::Rid;

use crate::format::Format;

/// The receiving side of one session's agreed descriptions.
#[derive(Debug, Clone, Default)]
pub struct Negotiated {
    /// The sections that may bring media, at most [`MAX_SECTIONS`]; more are not read.
    pub sections: Vec<Section>,
    /// Ids of header extensions, which bundled sections share (RFC 8843 §9.1).
    pub extensions: ExtensionIds,
    /// Transport-wide feedback was agreed on for some payload type.
    pub has_transport_feedback: bool,
    /// RTCP may be sent without a report in front of it (RFC 5506, `a=rtcp-rsize`).
    pub has_reduced_size: bool,
}

/// One audio or video section.
#[derive(Debug, Clone)]
pub struct Section {
    /// `a=mid` as the peer wrote it; empty without one.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Payload types of media, and their formats.
    pub formats: Vec<(u8, Format)>,
    /// Payload types of retransmissions (RFC 4588), and the payload type of the packets that they
    /// repeat.
    pub repairs: Vec<(u8, u8)>,
    /// Payload types for which Generic NACK was agreed on (RFC 4585 §4.2).
    pub nacks: Vec<u8>,
    /// Encodings of a simulcast (RFC 8853), in the order of the offer; none with a single one.
    pub rids: Vec<Rid>,
    /// SSRCs that the description names (RFC 5576), at most [`MAX_NAMED`]; more are not read.
    pub ssrcs: Vec<NamedSsrc>,
}

/// An SSRC that a description names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedSsrc {
    /// The SSRC.
    pub ssrc: u32,
    /// It retransmits packets of another SSRC (`a=ssrc-group:FID`, RFC 5576 §4.2).
    pub is_repair: bool,
}

/// Ids of header extensions (RFC 8285 §6); `None` if the extension was not agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// RFC 8843 §15.
    pub mid: Option<u8>,
    /// RFC 8852 §2.1.
    pub rid: Option<u8>,
    /// RFC 8852 §2.2.
    pub repaired_rid: Option<u8>,
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01 §2.
    pub transport_number: Option<u8>,
    /// abs-capture-time of the WebRTC project.
    pub capture_time: Option<u8>,
    /// playout-delay of the WebRTC project.
    pub playout_delay: Option<u8>,
    /// 3GPP TS 26.114, section 7.4.5.
    pub orientation: Option<u8>,
    /// color-space of the WebRTC project.
    pub color_space: Option<u8>,
    /// RFC 6464.
    pub audio_level: Option<u8>,
    /// RTP Payload Format For AV1 v1.0, appendix A.
    pub descriptor: Option<u8>,
}

/// Sections that are read: one of each kind today, and room for a few of each. A guess.
pub const MAX_SECTIONS: usize = 16;

/// SSRCs of one section that are read: as many as one session may send from
/// ([`crate::srtp::Open::rtp`]).
pub const MAX_NAMED: usize = 64;

/// What a payload type of a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Media of this format.
    Media(Format),
    /// A retransmission of a packet that had this payload type and format.
    Repair {
        /// The original payload type.
        of: u8,
        /// Its format.
        format: Format,
    },
}

impl Section {
    /// Returns what a payload type carries; `None` if it was not agreed on.
    pub(super) fn carries(&self, payload_type: u8) -> Option<Carries> {
        if let Some(format) = self.format(payload_type) {
            return Some(Carries::Media(format));
        }
        let of = self.repairs.iter().find(|(repair, _)| *repair == payload_type).map(|(_, of)| *of)?;
        Some(Carries::Repair { of, format: self.format(of)? })
    }

    /// Returns the format of a payload type of media.
    pub(super) fn format(&self, payload_type: u8) -> Option<Format> {
        self.formats.iter().find(|(known, _)| *known == payload_type).map(|(_, format)| *format)
    }

    /// Returns how many encodings the section has: at least one.
    pub(super) fn encodings(&self) -> usize {
        self.rids.len().clamp(1, media::packet::MAX_ENCODINGS)
    }
}
