//! How does a session begin?
//!
//! Admission first (`Control`), then its description, which is a desk's work: the request waits for
//! it.

use std::time::Instant;

use media::{SessionId, StreamId};
use sfu::negotiate::{self, Unusable};
use sfu::{desk, shard};

use super::output::Notice;
use super::request::{Answer, BEHIND, Opened, Publish, Refusal, RequestId, Watch};
use super::waiting::{Awaits, Pending};
use super::{Connection, Engine};
use crate::session::{Caller, Role};

impl Engine {
    pub(super) fn publish(&mut self, now: Instant, id: RequestId, request: Publish) {
        let session = self.names.session();
        let ip = request.remote.ip();
        let caller = Caller { ip, identity: request.identity.clone() };
        let admitted = match self.control.publish(now, session, request.stream, caller) {
            Ok(admitted) => admitted,
            Err(refused) => return self.answer(id, Answer::Opened(Err(refused.into()))),
        };
        self.connect(session, Role::Publisher, admitted.stream, Some(&request.offer));
        self.notice(Notice::PublisherConnects { session, ip, identity: request.identity });
        if self.wait(now, session, id, Awaits::Opened) {
            let (stream, epoch, offer) = (admitted.stream, admitted.epoch, request.offer);
            self.tell_desk(session, desk::Command::Publish { session, stream, epoch, offer });
        }
    }

    pub(super) fn watch(&mut self, now: Instant, id: RequestId, request: Watch) {
        let session = self.names.session();
        let caller = Caller { ip: request.remote.ip(), identity: request.identity };
        let admitted = match self.control.watch(now, session, request.stream, caller) {
            Ok(admitted) => admitted,
            Err(refused) => return self.answer(id, Answer::Opened(Err(refused.into()))),
        };
        let stream = admitted.stream;
        self.connect(session, Role::Viewer, stream, request.offer.as_deref());
        // A viewer that is connecting may have use for every encoding.
        self.look_at_demand(now, stream);
        let published = self.published(stream);
        if self.wait(now, session, id, Awaits::Opened) {
            let offer = request.offer;
            self.tell_desk(session, desk::Command::Open { session, stream, offer, published });
        }
    }

    /// Gives an admitted session to the next desk. `offer`: the client's, if it made one.
    fn connect(&mut self, session: SessionId, role: Role, stream: StreamId, offer: Option<&str>) {
        self.last_desk = (self.last_desk + 1) % self.desks;
        let mut connection = Connection::new(role, stream, self.names.etag());
        connection.desk = self.last_desk;
        connection.client_ufrag = offer.and_then(ufrag_of);
        self.connections.insert(session, connection);
    }

    /// A desk has read a client's offer, or made one.
    pub(super) fn opened(&mut self, now: Instant, session: SessionId, result: Result<String, Unusable>) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        let etag = connection.etag.clone();
        let is_open = result.is_ok();
        if let Ok(sdp) = &result {
            connection.video_line = video_line(sdp);
        }
        let answer = result.map(|sdp| Opened { session, sdp, etag }).map_err(Refusal::from);
        let is_meant = |awaits: &Awaits| matches!(awaits, Awaits::Opened);
        if let Some(pending) = self.waiting.take_first(session, is_meant) {
            self.answer_pending(&pending, Answer::Opened(answer));
        }
        if !is_open {
            self.forget(session);
            self.control.closed(now, session);
        }
    }

    pub(super) fn accept(&mut self, now: Instant, id: RequestId, session: SessionId, answer: String) {
        let connection = self.connections.get(&session);
        let Some(viewer) = connection.filter(|connection| connection.role == Role::Viewer) else {
            return self.answer(id, Answer::Accepted(Err(Refusal::NoSuchSession)));
        };
        let published = self.published(viewer.stream);
        if self.wait(now, session, id, Awaits::Accepted) {
            self.tell_desk(session, desk::Command::Answer { session, answer, published });
        }
    }

    /// A desk has read a viewer's answer; `None`: there was no offer to answer.
    pub(super) fn accepted(&mut self, session: SessionId, result: Option<Result<(), Unusable>>) {
        let is_meant = |awaits: &Awaits| matches!(awaits, Awaits::Accepted);
        let Some(pending) = self.waiting.take_first(session, is_meant) else { return };
        let none = || Err(Unusable::Malformed("no offer waits for an answer".to_owned()));
        let result = result.unwrap_or_else(none).map_err(Refusal::from);
        self.answer_pending(&pending, Answer::Accepted(result));
    }

    /// ICE and DTLS of a session are up.
    pub(super) fn connected(&mut self, now: Instant, session: SessionId, shard: u8) {
        self.control.connected(now, session);
        let Some(connection) = self.connections.get_mut(&session) else {
            // Its desk knows that the session has ended, or is about to.
            return;
        };
        connection.is_connected = true;
        connection.shard = Some(shard);
        let (role, early_wish) = (connection.role, connection.early_wish.take());
        self.notice(Notice::Connected { session, role });
        if let (Role::Publisher, Some((stream, _))) = (role, self.control.owner(&session)) {
            self.failures.mended(stream);
        }
        if let Some(preferences) = early_wish {
            self.tell_shard(shard, shard::Command::SetPreferences { session, preferences });
        }
    }

    /// Lets a request wait for a media thread. Returns `false` if too many wait for the session;
    /// the request is answered then.
    pub(super) fn wait(&mut self, now: Instant, session: SessionId, id: RequestId, awaits: Awaits) -> bool {
        let refused = awaits.failed(Refusal::Full { limit: BEHIND });
        let waits = self.waiting.add(now, session, id, awaits);
        if !waits {
            self.answer(id, refused);
        }
        waits
    }

    /// Answers a request that waited, unless its time was over.
    pub(super) fn answer_pending(&mut self, pending: &Pending, answer: Answer) {
        if let Some(request) = pending.request {
            self.answer(request, answer);
        }
    }
}

impl Connection {
    fn new(role: Role, stream: StreamId, etag: String) -> Connection {
        Connection {
            role,
            stream,
            desk: 0,
            shard: None,
            etag,
            client_ufrag: None,
            video_line: None,
            is_connected: false,
            early_wish: None,
            report_asked_at: None,
        }
    }
}

fn ufrag_of(sdp: &str) -> Option<String> {
    negotiate::remote_credentials(sdp).map(|credentials| credentials.ufrag)
}

/// Returns the place of the video among a description's media, from zero.
fn video_line(sdp: &str) -> Option<u8> {
    let mut lines = sdp.lines().filter(|line| line.starts_with("m="));
    u8::try_from(lines.position(|line| line.starts_with("m=video"))?).ok()
}
