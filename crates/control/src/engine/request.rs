//! Which requests does the engine take, and how does it answer them?
//!
//! Plain values, without a wire form: HTTP and data channels bring their own dialects into this
//! form.

use std::net::SocketAddr;
use std::time::Duration;

use media::{SessionId, StreamName};
use sfu::negotiate::Unusable;

use super::status::ViewerStatus;
use crate::limits::Refused;
use crate::session::Role;

/// Names a request until it is answered. The driver chooses it and uses no number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request to the engine. Each is answered once, by the [`Answer`] that its variant names.
#[derive(Debug)]
pub enum Request {
    /// Open a publisher's session: [`Answer::Opened`].
    Publish(Publish),
    /// Open a viewer's session: [`Answer::Opened`].
    Watch(Watch),
    /// A viewer's answer to the server's offer: [`Answer::Accepted`].
    Accept {
        /// The viewer.
        session: SessionId,
        /// SDP.
        answer: String,
    },
    /// Candidates of a client, or new ICE credentials: [`Answer::Trickled`].
    Trickle {
        /// The client's session.
        session: SessionId,
        /// Its half of ICE.
        fragment: IceFragment,
        /// The entity tag that the client expects, unquoted. `None`: none was sent; `*`: any.
        if_match: Option<String>,
    },
    /// Report the media that a viewer is sent: [`Answer::Report`].
    Report {
        /// The viewer.
        session: SessionId,
    },
    /// Take a viewer's wish for the video: [`Answer::Wished`].
    Wish {
        /// The viewer.
        session: SessionId,
        /// The whole wish; an earlier wish is forgotten.
        wish: Wish,
    },
    /// End a session: [`Answer::Closed`].
    Close {
        /// The session.
        session: SessionId,
    },
    /// End a stream's publisher and viewers: [`Answer::Closed`].
    Kick {
        /// The stream.
        stream: StreamName,
    },
    /// End every session and every media thread, and refuse new sessions: [`Answer::Stopped`].
    ShutDown,
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// The session that was opened.
    Opened(Result<Opened, Refusal>),
    /// Whether a viewer's description was accepted.
    Accepted(Result<(), Refusal>),
    /// The result for a client's half of ICE.
    Trickled(Result<Trickled, Refusal>),
    /// The media that a viewer is sent; `None` if there is no such viewer, or if its shard does not
    /// answer.
    Report(Option<Box<ViewerStatus>>),
    /// Whether a wish was accepted.
    Wished(Result<(), Refusal>),
    /// Whether there was a session or a stream to close.
    Closed(bool),
    /// All sessions were told goodbye, and the media threads end.
    Stopped,
}

/// A client asks to publish.
#[derive(Debug)]
pub struct Publish {
    /// Name of the stream.
    pub stream: StreamName,
    /// SDP offer; the caller has bounded its length.
    pub offer: String,
    /// Address of the client, for limits and logs.
    pub remote: SocketAddr,
    /// The token's subject, if there was a token.
    pub identity: Option<String>,
}

/// A client asks to watch.
#[derive(Debug)]
pub struct Watch {
    /// Name of the stream; it need not be live yet.
    pub stream: StreamName,
    /// SDP offer; `None` asks the server for one.
    pub offer: Option<String>,
    /// Address of the client, for limits.
    pub remote: SocketAddr,
    /// The token's subject, if there was a token.
    pub identity: Option<String>,
}

/// A session that has been opened, and the server's half of its description.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Answer, or the server's offer.
    pub sdp: String,
    /// Entity tag of the session's ICE credentials, unquoted; changes with every restart
    /// (RFC 9725 §4.3.1).
    pub etag: String,
}

/// A client's half of ICE (RFC 8840).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceFragment {
    /// `a=ice-ufrag` of the client.
    pub ufrag: Option<String>,
    /// `a=ice-pwd` of the client.
    pub password: Option<String>,
    /// `a=candidate:` values, without the `a=`.
    pub candidates: Vec<String>,
    /// Whether `a=end-of-candidates` was there.
    pub end_of_candidates: bool,
}

/// The result of a client's half of ICE.
#[derive(Debug)]
pub enum Trickled {
    /// The candidates were accepted.
    Accepted,
    /// ICE was restarted.
    Restarted {
        /// The server's half, as `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new entity tag, unquoted.
        etag: String,
    },
}

/// A viewer's wish for the video. The default leaves the choice to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The `rid` of the only encoding to send.
    pub rid: Option<String>,
    /// The most lines of the picture.
    pub max_height: Option<u16>,
    /// The most columns of the picture.
    pub max_width: Option<u16>,
    /// The most pictures a second.
    pub max_frame_rate: Option<u16>,
    /// The highest spatial layer of an encoding.
    pub max_spatial: Option<u8>,
    /// The highest temporal layer of an encoding.
    pub max_temporal: Option<u8>,
    /// No video is to be sent: the viewer does not look at it.
    pub is_hidden: bool,
}

/// The stream, the role and the token of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The session's stream.
    pub stream: StreamName,
    /// The session's role in it.
    pub role: Role,
    /// Subject of the token that opened the session, if there was one.
    pub identity: Option<String>,
}

/// Whether the server takes sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The server takes sessions.
    Ready,
    /// Viewers are refused because the media threads have no time left.
    Overloaded,
    /// A media thread has ended, or the server stops.
    Stuck,
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The SDP cannot be used.
    #[error("the SDP cannot be used: {reason}")]
    BadSdp {
        /// The fault, in words.
        reason: String,
    },
    /// A section of the offer cannot be served.
    #[error("the offer cannot be served as a whole: {what}; {fix}")]
    NotAcceptable {
        /// The section and its fault.
        what: String,
        /// The change that the client is to make.
        fix: String,
    },
    /// The viewer offers no codec that decodes the published one.
    #[error("the stream is published as {published}, which the viewer does not offer")]
    UnsupportedCodec {
        /// The published codec, for example `H265`.
        published: String,
        /// The codecs that the viewer offers.
        offered: Vec<String>,
    },
    /// The stream has a publisher that may not be replaced.
    #[error("the stream already has a publisher")]
    StreamBusy {
        /// The earliest time after which that publisher may be given up.
        retry_after: Duration,
    },
    /// There is no such session (any more).
    #[error("there is no such session")]
    NoSuchSession,
    /// The session is over, because its DTLS handshake failed.
    #[error("the session has ended, because its DTLS handshake failed: {why}")]
    HandshakeFailed {
        /// The class of the failure, for programs.
        reason: &'static str,
        /// The failure, in words.
        why: String,
    },
    /// The publisher sends no such layer.
    #[error("the stream has no layer called {wished}")]
    NoSuchLayer {
        /// The name that was wished.
        wished: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The client's entity tag is not that of the session's ICE credentials.
    #[error("the entity tag is not the session's current one")]
    StaleEtag {
        /// The current tag, unquoted.
        current: String,
    },
    /// A limit is reached.
    #[error("the server is full: {limit}")]
    Full {
        /// The limit, by its option's name.
        limit: &'static str,
    },
    /// The media threads have no time left for one more session.
    #[error("the server is too busy: its media threads have no time left for one more session")]
    Overloaded,
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// [`Refusal::Full::limit`] while media threads have too many commands to carry out, or do not
/// answer.
pub const BEHIND: &str = "the media threads are behind with their commands; try again in a few seconds";

impl Request {
    /// Whether the request sends a command to a media thread on behalf of a peer. Such requests are
    /// refused while the threads are behind.
    pub(super) fn loads_threads(&self) -> bool {
        match self {
            Request::Publish(_)
            | Request::Watch(_)
            | Request::Accept { .. }
            | Request::Trickle { .. }
            | Request::Wish { .. } => true,
            Request::Report { .. } | Request::Close { .. } | Request::Kick { .. } | Request::ShutDown => false,
        }
    }

    /// The answer that refuses the request.
    pub(super) fn refused(&self, refusal: Refusal) -> Answer {
        match self {
            Request::Publish(_) | Request::Watch(_) => Answer::Opened(Err(refusal)),
            Request::Accept { .. } => Answer::Accepted(Err(refusal)),
            Request::Trickle { .. } => Answer::Trickled(Err(refusal)),
            Request::Wish { .. } => Answer::Wished(Err(refusal)),
            Request::Report { .. } => Answer::Report(None),
            Request::Close { .. } | Request::Kick { .. } => Answer::Closed(false),
            Request::ShutDown => Answer::Stopped,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::StreamBusy { retry_after } => Refusal::StreamBusy { retry_after },
            Refused::Full { limit } => Refusal::Full { limit },
            Refused::Overloaded => Refusal::Overloaded,
            Refused::ShuttingDown => Refusal::ShuttingDown,
        }
    }
}

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Refusal {
        match error {
            Unusable::CannotDecode { published, offered } => {
                Refusal::UnsupportedCodec { published: published.to_owned(), offered }
            }
            Unusable::Unacceptable { what, fix } => Refusal::NotAcceptable { what, fix },
            Unusable::Busy => Refusal::Full { limit: "limits.handshakes" },
            other => Refusal::BadSdp { reason: other.to_string() },
        }
    }
}
