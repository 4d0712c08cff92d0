//! Which actions does [`Control`](crate::Control) ask of its driver?

use media::{SessionId, StreamId};

use crate::session::Role;

/// An action that [`Control`](crate::Control) asks of its driver.
///
/// In the order of effects, a stream is named by other effects only between its
/// [`StreamOpened`](Effect::StreamOpened) and its [`StreamClosed`](Effect::StreamClosed); ids never
/// come back. By the time an effect is polled `Control` may already have forgotten the stream or
/// the session that the effect names, so each effect carries all data that the driver needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The floor below is to end this session, which [`Control`](crate::Control) has already
    /// forgotten.
    Close {
        /// The session to end.
        session: SessionId,
        /// The role that the session had.
        role: Role,
        /// The stream that the session was in.
        stream: StreamId,
        /// The reason for its end.
        reason: CloseReason,
    },
    /// The shards are to know this stream. The API shows this change, too.
    StreamOpened {
        /// Its id, new in this process.
        stream: StreamId,
    },
    /// The last session of this stream is gone: the shards forget the stream. The API shows this
    /// change, too.
    StreamClosed {
        /// Its id, never to be used again.
        stream: StreamId,
    },
    /// This session is admitted to publish from now on; older epochs are fenced.
    PublisherIs {
        /// The stream that the session publishes.
        stream: StreamId,
        /// The publisher's session.
        session: SessionId,
        /// The publisher's epoch, larger than every epoch before, of any stream.
        epoch: u32,
    },
    /// The publisher of this epoch is gone: closed, left or replaced. Follows each `PublisherIs`
    /// once, before the stream's next one.
    PublisherGone {
        /// The stream that the publisher had.
        stream: StreamId,
        /// The publisher's epoch.
        epoch: u32,
    },
    /// The API's view of this stream (state, publisher, connected viewers) has changed. At most
    /// once a stream for each call that changes it.
    Changed {
        /// The stream whose view has changed.
        stream: StreamId,
    },
}

/// Why a session is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Another publisher took the stream.
    Replaced,
    /// An operator closed the stream's sessions.
    Kicked,
    /// ICE and DTLS did not come up in time.
    ConnectTimeout,
    /// Its owner asked for it (`DELETE`).
    Asked,
    /// The peer said goodbye (DTLS close_notify).
    PeerLeft,
    /// The peer stopped answering.
    IceLost,
    /// The server stops.
    ShuttingDown,
    /// Something broke on our side.
    Failed,
}
