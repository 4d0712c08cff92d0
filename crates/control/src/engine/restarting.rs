//! When does a client's half of ICE restart the session?
//!
//! When its ufrag is another one than the client's last (RFC 9725 §4.3.2) and a password comes with
//! it. Candidates are accepted and not used: as an ICE-lite agent the server learns a client's
//! addresses from its checks, and names in candidates are never resolved (threat T6).

use std::time::Instant;

use media::SessionId;
use sfu::desk;
use sfu::negotiate::Unusable;

use super::Engine;
use super::request::{Answer, IceFragment, Refusal, RequestId, Trickled};
use super::waiting::Awaits;

impl Engine {
    pub(super) fn trickle(
        &mut self,
        now: Instant,
        id: RequestId,
        session: SessionId,
        fragment: IceFragment,
        if_match: Option<&str>,
    ) {
        let Some(connection) = self.connections.get(&session) else {
            return self.answer(id, Answer::Trickled(Err(Refusal::NoSuchSession)));
        };
        if if_match.is_some_and(|tag| tag != "*" && tag != connection.etag) {
            let current = connection.etag.clone();
            return self.answer(id, Answer::Trickled(Err(Refusal::StaleEtag { current })));
        }
        let is_other = |ufrag: &String| connection.client_ufrag.as_ref() != Some(ufrag);
        let (Some(ufrag), Some(password)) = (fragment.ufrag.filter(is_other), fragment.password) else {
            return self.answer(id, Answer::Trickled(Ok(Trickled::Accepted)));
        };
        // The session's desk chooses the server's credentials itself.
        if self.wait(now, session, id, Awaits::Restarted { ufrag: ufrag.clone() }) {
            self.tell_desk(session, desk::Command::Restart { session, ufrag, password });
        }
    }

    /// A desk has restarted ICE of a session; `None`: it has no such session.
    pub(super) fn restarted(&mut self, session: SessionId, result: Option<Result<String, Unusable>>) {
        let is_meant = |awaits: &Awaits| matches!(awaits, Awaits::Restarted { .. });
        let Some(pending) = self.waiting.take_first(session, is_meant) else { return };
        let Awaits::Restarted { ufrag } = &pending.awaits else { return };
        let ufrag = ufrag.clone();
        let answer = match result {
            None => Err(Refusal::NoSuchSession),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(fragment)) => {
                // Also when the request's time was over: the old tag names credentials that are
                // gone.
                let etag = self.names.etag();
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.etag = etag.clone();
                    // A client that was not answered may send the same ufrag again, and needs an
                    // answer then.
                    connection.client_ufrag = pending.request.map(|_| ufrag);
                }
                Ok(Trickled::Restarted { fragment, etag })
            }
        };
        self.answer_pending(&pending, Answer::Trickled(answer));
    }
}
