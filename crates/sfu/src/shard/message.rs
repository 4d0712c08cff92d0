//! What is asked of a shard, and what does it tell?

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use media::codec::Resolution;
use media::packet::MAX_ENCODINGS;
use media::{Codec, MediaKind, Packet, SessionId, StreamId};

use super::bottleneck::BottleneckMember;
use super::load::LoadStatus;
use super::networks::Networks;
use crate::bwe::Estimate;
use crate::desk::Handed;
use crate::format::Published;
use crate::publisher::warnings::Warnings;
use crate::publisher::{Health, PublisherSetup};
use crate::stream::audience::Audience;
use crate::stream::choice::{Preferences, Reason};
use crate::viewer::ViewerSetup;
use crate::viewer::subscription::{Newest, Subscription, SubscriptionCounters};

/// Asked of a shard: by control, by desks, by other shards.
#[derive(Debug)]
pub enum Command {
    /// Nobody is in the stream any more.
    CloseStream {
        /// Which.
        stream: StreamId,
    },
    /// Serve a publisher from now on.
    AddPublisher(Box<PublisherSetup>),
    /// Serve a viewer from now on.
    AddViewer(Box<ViewerSetup>),
    /// A viewer proved another address.
    MoveViewer {
        /// Which.
        session: SessionId,
        /// Where it is now.
        address: SocketAddr,
        /// Our address towards it.
        source: Option<IpAddr>,
    },
    /// Stop serving a session, if it is here.
    Remove {
        /// Which.
        session: SessionId,
    },
    /// An address passed ICE for a session.
    Bind {
        /// The address.
        source: SocketAddr,
        /// Whose.
        session: SessionId,
        /// The desk that holds the session.
        desk: u8,
        /// The shard that serves it, once one does.
        serving: Option<u8>,
        /// It may send RTP: it publishes.
        is_sender: bool,
    },
    /// An address belongs to nobody any more.
    Unbind {
        /// The address.
        source: SocketAddr,
    },
    /// SRTP or SRTCP that another shard received for a session here.
    Protected {
        /// The session whose address it came from.
        session: SessionId,
        /// The datagram.
        handed: Handed,
    },
    /// The publisher of a stream sent something that another shard panicked at.
    FailPublisher {
        /// Which stream.
        stream: StreamId,
        /// The publisher's fencing number.
        epoch: u32,
    },
    /// A stream's publisher is on that shard now.
    StreamHome {
        /// Which stream.
        stream: StreamId,
        /// Where.
        shard: u8,
        /// The publisher's fencing number.
        epoch: u32,
    },
    /// A stream's publisher is gone.
    StreamAway {
        /// Which stream.
        stream: StreamId,
        /// The publisher's fencing number.
        epoch: u32,
    },
    /// Relay a stream to that shard.
    Subscribe {
        /// Which stream.
        stream: StreamId,
        /// Where to.
        shard: u8,
    },
    /// Relay it no more.
    Unsubscribe {
        /// Which stream.
        stream: StreamId,
        /// Where to.
        shard: u8,
    },
    /// Packets of a stream that this shard subscribed to.
    Relayed {
        /// Which stream.
        stream: StreamId,
        /// The publisher's fencing number.
        epoch: u32,
        /// What is published.
        published: Published,
        /// Whether its publisher does not answer key frame requests.
        unresponsive: bool,
        /// The packets, in order of arrival.
        packets: Vec<Arc<Packet>>,
    },
    /// A relay's viewer needs a key frame.
    WantKeyFrame {
        /// Of which stream.
        stream: StreamId,
        /// Of which encoding.
        encoding: u8,
    },
    /// Viewers of another shard, and how they are: viewers here may share their bottleneck.
    BottleneckMembers {
        /// Their address.
        address: IpAddr,
        /// At most 16.
        members: Vec<BottleneckMember>,
    },
    /// A viewer that this shard serves has other preferences for the video.
    SetPreferences {
        /// Which viewer.
        session: SessionId,
        /// What.
        preferences: Preferences,
    },
    /// Report what a viewer that this shard serves is sent; answered by [`Event::Report`].
    Report {
        /// Which viewer.
        session: SessionId,
    },
    /// How is everything? Answered by [`Event::Snapshot`].
    Snapshot,
    /// Say goodbye to everybody; answered by [`Event::Stopped`].
    Stop,
    /// Tests only: arm a panic on this thread.
    #[cfg(any(test, feature = "inject"))]
    Inject(crate::inject::Fault),
}

impl Command {
    /// Whether the thread that gets it may be spared it when it is behind: datagrams and packets, which peers repeat or do
    /// without, questions, and news that come again within a second. All else changes state once and must arrive.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Command::Protected { .. }
            | Command::Relayed { .. }
            | Command::WantKeyFrame { .. }
            | Command::BottleneckMembers { .. }
            | Command::Report { .. }
            | Command::Snapshot => true,
            Command::CloseStream { .. }
            | Command::AddPublisher(_)
            | Command::FailPublisher { .. }
            | Command::AddViewer(_)
            | Command::MoveViewer { .. }
            | Command::Remove { .. }
            | Command::Bind { .. }
            | Command::Unbind { .. }
            | Command::StreamHome { .. }
            | Command::StreamAway { .. }
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::SetPreferences { .. }
            | Command::Stop => false,
            #[cfg(any(test, feature = "inject"))]
            Command::Inject(_) => false,
        }
    }
}

/// Told by a shard.
#[derive(Debug)]
pub enum Event {
    /// A datagram for a desk.
    ToDesk {
        /// Which.
        desk: u8,
        /// The datagram.
        handed: Handed,
    },
    /// For another shard.
    ToShard {
        /// Which.
        shard: u8,
        /// What.
        command: Command,
    },
    /// Media of a publisher that is connected has stopped coming, or comes again.
    PublisherFlows {
        /// Which.
        session: SessionId,
        /// Whether it comes.
        flows: bool,
    },
    /// Nothing has come on the media path of a publisher for [`crate::publisher::SILENCE`]: its desk is to close the
    /// session, unless it hears the publisher.
    PublisherSilent {
        /// Which.
        session: SessionId,
        /// The desk that holds it.
        desk: u8,
    },
    /// A panic ended a session on this shard: its desk is to close it.
    SessionFailed {
        /// Which.
        session: SessionId,
        /// The desk that holds it.
        desk: u8,
    },
    /// A publisher sends these formats from now on.
    Published {
        /// In which stream.
        stream: StreamId,
        /// The publisher's fencing number.
        epoch: u32,
        /// The formats.
        published: Published,
    },
    /// See [`Command::Report`].
    Report {
        /// Which viewer.
        session: SessionId,
        /// `None` if it is not here.
        report: Option<ViewerReport>,
    },
    /// See [`Command::Snapshot`].
    Snapshot(Box<Snapshot>),
    /// See [`Command::Stop`].
    Stopped {
        /// Which shard.
        shard: u8,
    },
}

impl Event {
    /// Whether the event may be dropped while its receiver is behind: a datagram, or an answer that can be asked for again.
    pub fn may_be_lost(&self) -> bool {
        match self {
            Event::ToDesk { .. } | Event::Report { .. } | Event::Snapshot(_) => true,
            Event::ToShard { command, .. } => command.may_be_lost(),
            Event::PublisherFlows { .. }
            | Event::PublisherSilent { .. }
            | Event::SessionFailed { .. }
            | Event::Published { .. }
            | Event::Stopped { .. } => false,
        }
    }

    /// The session that it is about, if it is about one.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Event::PublisherFlows { session, .. }
            | Event::PublisherSilent { session, .. }
            | Event::SessionFailed { session, .. }
            | Event::Report { session, .. } => Some(*session),
            Event::ToDesk { .. }
            | Event::ToShard { .. }
            | Event::Published { .. }
            | Event::Snapshot(_)
            | Event::Stopped { .. } => None,
        }
    }
}

/// What has happened on a shard, in numbers that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it; each becomes a metric with a help text")]
pub struct ShardCounters {
    pub datagrams_in: u64,
    pub messages_out: u64,
    pub bytes_out: u64,
    pub unknown_source: u64,
    pub unexpected: u64,
    pub refused: u64,
    pub srtcp_rejected: u64,
    pub srtp_rejected: u64,
    pub feedback: u64,
    pub fenced: u64,
    pub strays: u64,
    pub starts_refused: u64,
    pub panics: u64,
    pub key_frames_asked: u64,
    pub viewers_added: u64,
    pub passed_on: u64,
    pub dropped_for_desk: u64,
    pub dropped_for_shard: u64,
    pub routes_full: u64,
    pub load_steps: u64,
}

/// How a shard is.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which shard.
    pub shard: u8,
    /// What has happened.
    pub counters: ShardCounters,
    /// Publishers here.
    pub publishers: u32,
    /// Viewers here.
    pub viewers: u32,
    /// The streams that anybody here is in.
    pub streams: Vec<StreamSnapshot>,
    /// How the networks of viewers are.
    pub networks: Networks,
    /// How busy the shard is, and what it sheds.
    pub load: LoadStatus,
}

/// How a stream is, as one shard sees it.
#[derive(Debug, Clone, Copy)]
pub struct StreamSnapshot {
    /// Which.
    pub stream: StreamId,
    /// Whether its publisher is on this shard.
    pub is_home: bool,
    /// Viewers on this shard.
    pub viewers: u32,
    /// The way from the publisher.
    pub health: Health,
    /// What is published.
    pub published: Published,
    /// What is wrong with it, so far as the publisher's shard knows.
    pub warnings: Warnings,
    /// What came of audio.
    pub audio: TrackStats,
    /// What came of video.
    pub video: TrackStats,
    /// What came of each encoding of the video.
    pub encodings: [EncodingSnapshot; MAX_ENCODINGS],
    /// The best of them.
    pub best: u8,
    /// Time between the last two key frames.
    pub key_frame_interval: Option<Duration>,
    /// What was sent to viewers on this shard, those that left included.
    pub sent: TrackStats,
    /// What the networks of viewers on this shard carry.
    pub audience: Audience,
}

/// How one encoding of a video comes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodingSnapshot {
    /// Whether packets come.
    pub is_live: bool,
    /// The picture's size.
    pub resolution: Option<Resolution>,
    /// Payload bits a second.
    pub bits_per_second: u64,
    /// Pictures so far.
    pub frames: u64,
}

/// Numbers of one track that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackStats {
    /// RTP packets.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Pictures.
    pub frames: u64,
    /// Key frames.
    pub key_frames: u64,
    /// Sent again.
    pub resent: u64,
    /// Reported missing by viewers.
    pub nacks: u64,
    /// Times viewers were taken to the live edge because the shard served them too late.
    pub skips: u64,
}

impl TrackStats {
    pub(super) fn plus(self, subscription: &Subscription) -> TrackStats {
        TrackStats {
            packets: self.packets + subscription.counters.packets,
            bytes: self.bytes + subscription.counters.bytes,
            resent: self.resent + subscription.counters.resent,
            nacks: self.nacks + subscription.counters.nacks,
            skips: self.skips + subscription.counters.skips,
            ..self
        }
    }
}

/// What one viewer is sent.
#[derive(Debug, Clone)]
pub struct ViewerReport {
    /// Which.
    pub session: SessionId,
    /// Its tracks.
    pub tracks: Vec<SentTrack>,
    /// Packets, of all tracks and retransmissions, that the viewer reported received and missing by transport-wide
    /// feedback.
    pub transport: (u64, u64),
    /// What its network carries, where it gives such feedback.
    pub estimate: Option<Estimate>,
}

/// One track on its way to one viewer.
#[derive(Debug, Clone)]
pub struct SentTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// What is being sent.
    pub codec: Option<Codec>,
    /// In numbers.
    pub counters: SubscriptionCounters,
    /// The newest picture or sound that was sent.
    pub newest: Option<Newest>,
    /// Whether pictures move.
    pub flowing: bool,
    /// Which encoding.
    pub encoding: u8,
    /// The highest spatial and temporal layer of it that is sent, where layers are left out.
    pub within: Option<(u8, u8)>,
    /// Why.
    pub reason: Reason,
    /// What the viewer wishes.
    pub preferences: Preferences,
    /// Names of the codecs that were negotiated.
    pub accepted: Vec<&'static str>,
}
