//! What does the engine want done outside?

use std::net::IpAddr;

use media::{SessionId, StreamName};
use sfu::dtls::Failure;
use sfu::publisher::Ended;
use sfu::publisher::warnings::Warning;
use sfu::{desk, shard};

use super::request::{Answer, RequestId};
use crate::effect::CloseReason;
use crate::session::Role;

/// Something that the driver is to do, in the order in which it is polled.
#[derive(Debug)]
pub enum Output {
    /// Give a command to a shard.
    ToShard {
        /// Number of the shard.
        shard: u8,
        /// The command.
        command: shard::Command,
    },
    /// Give a command to a desk.
    ToDesk {
        /// Number of the desk.
        desk: u8,
        /// The command.
        command: desk::Command,
    },
    /// Answer a request.
    Answer {
        /// The request.
        request: RequestId,
        /// Its answer.
        answer: Answer,
    },
    /// Read a message of a viewer's data channel, and answer it with [`super::Engine::say`]. The
    /// engine does not know its dialect.
    Heard {
        /// The viewer.
        session: SessionId,
        /// The message as it came.
        text: String,
    },
    /// Tell the readers of [`super::Engine::streams`] that something in it may have changed.
    Changed,
    /// Write something into the log.
    Notice(Notice),
}

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A publisher was admitted.
    PublisherConnects {
        /// Its session.
        session: SessionId,
        /// Its address, as HTTP resolved it.
        ip: IpAddr,
        /// The subject of its token.
        identity: Option<String>,
    },
    /// ICE and DTLS of a session are up.
    Connected {
        /// The session.
        session: SessionId,
        /// Its role.
        role: Role,
    },
    /// Media of a publisher has stopped coming, or comes again.
    Flows {
        /// The publisher.
        session: SessionId,
        /// Whether media comes.
        flows: bool,
    },
    /// A session is over, because its DTLS handshake failed. Told once for a session.
    HandshakeFailed {
        /// The session.
        session: SessionId,
        /// Its role.
        role: Role,
        /// The failure.
        failure: Failure,
    },
    /// A media thread ended a session.
    Ended {
        /// The session.
        session: SessionId,
        /// The thread's reason.
        why: Ended,
    },
    /// The engine ends a session.
    Closing {
        /// The session.
        session: SessionId,
        /// Its role.
        role: Role,
        /// The engine's reason.
        reason: CloseReason,
    },
    /// Something is wrong with what a publisher sends. Told once for a publisher's session.
    Warning {
        /// The stream.
        stream: StreamName,
        /// The fault.
        warning: Warning,
    },
    /// A shard has said goodbye to its sessions.
    ShardStopped {
        /// Number of the shard.
        shard: u8,
    },
}
