//! What do the two ends of a transport tell each other about the media?
//!
//! A compound packet (RFC 3550 §6.1) is read by [`packets`], without copying, and written by a
//! [`Writer`], without allocating. Each kind has its file, with how it is read and written:
//!
//! - `report`: sender and receiver reports (RFC 3550 §6.4)
//! - `sdes`, `bye`: names and farewells (RFC 3550 §6.5, §6.6)
//! - `nack`, `transport_feedback`: feedback on packets (RFC 4585 §6.2; draft-holmer-rmcat-transport-wide-cc-extensions-01)
//! - `pli`, `fir`: requests for a key frame (RFC 4585 §6.3.1; RFC 5104 §4.3.1)
//! - `remb`: the receiver's bandwidth estimate (draft-alvestrand-rmcat-remb-03)
//! - `xr`: extended reports (RFC 3611), of which we know those that tell a receiver its round trip time
//!
//! Everything that is read came from the peer: it is bounded by the datagram and by
//! [`MAX_PACKETS`], and what an iterator yields is bounded by what it was made of. Whether to *do* what
//! a packet asks for is for others to limit (threat T13).

// What is parsed here comes from anyone: no input may panic (threats, code rule 1).
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

mod bye;
mod compound;
mod fir;
mod nack;
mod pli;
mod remb;
mod report;
mod sdes;
mod transport_feedback;
mod writer;
mod xr;

pub use bye::Bye;
pub use compound::{MAX_PACKETS, Packets, packets};
pub use fir::{Fir, FirEntries, FirEntry};
pub use nack::{Nack, NackSeqs};
pub use pli::Pli;
pub use remb::Remb;
pub use report::{ReceiverReport, ReportBlock, ReportBlocks, SenderReport};
pub use transport_feedback::{Arrivals, Deltas, TransportFeedback};
pub use writer::Writer;
pub use xr::{DlrrBlock, DlrrBlocks, ExtendedReport, XrBlock, XrBlocks};

/// One packet of a compound.
#[derive(Debug, Clone)]
pub enum Packet<'a> {
    /// How much an SSRC has sent, and when; with what it hears of others.
    SenderReport {
        /// What was sent.
        report: SenderReport,
        /// What was heard.
        blocks: ReportBlocks<'a>,
    },
    /// What an SSRC that sends nothing hears of others.
    ReceiverReport(ReceiverReport<'a>),
    /// Packets that are missing.
    Nack(Nack<'a>),
    /// Please send a key frame: a picture was lost.
    Pli(Pli),
    /// Please send a key frame: I am new here.
    Fir(Fir<'a>),
    /// Do not send more than this.
    Remb(Remb<'a>),
    /// When packets arrived, by transport-wide sequence number.
    TransportFeedback(TransportFeedback<'a>),
    /// These SSRCs fall silent.
    Bye(Bye<'a>),
    /// Names of SSRCs, which signalling has already told.
    Sdes,
    /// More reports.
    ExtendedReport(ExtendedReport<'a>),
    /// A kind that we do not know.
    Other {
        /// The packet type.
        packet_type: u8,
        /// The five bits of count or, for feedback, of its format.
        count: u8,
    },
}

/// What is wrong with a packet or with the whole compound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Ends in the middle of a packet. Nothing follows.
    #[error("truncated")]
    Truncated,
    /// Not version 2. Nothing follows.
    #[error("not version 2")]
    Version,
    /// More than [`MAX_PACKETS`]. Nothing follows.
    #[error("too many packets")]
    TooMany,
    /// Padding that does not fit into its packet. The next packet follows.
    #[error("impossible padding")]
    Padding,
    /// What a packet says contradicts itself. The next packet follows.
    #[error("malformed content of packet type {packet_type}")]
    Content {
        /// The packet type.
        packet_type: u8,
    },
}

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    /// RTPFB
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    /// PSFB
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// RFC 3550 §6.4.1: five bits count the blocks of a report and the SSRCs of a BYE.
const MAX_COUNT: usize = 31;
