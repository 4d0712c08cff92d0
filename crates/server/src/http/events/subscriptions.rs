//! Which subscriptions to events are there?
//!
//! A session has at most [`PER_SESSION`], the server as many as `limits.event_streams` together
//! with the streams' own events. Each is a task ([`super::teller`]), whose orders come from here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use media::SessionId;
use tokio::sync::{Notify, Semaphore, mpsc};

/// A page needs one; the second is for its successor, before we notice that it is gone. A third
/// ends the first.
const PER_SESSION: usize = 2;
/// Sessions that are asked after at once: a shard's mailbox has room for much more, and thousands
/// of subscriptions only wait longer for each other.
const QUESTIONS: usize = 8;

/// The way to a client that reads a subscription.
pub(in crate::http) type Reader = mpsc::Sender<Bytes>;

/// All subscriptions.
pub(in crate::http) struct Subscriptions {
    open: Mutex<HashMap<SessionId, Vec<Subscription>>>,
    next: AtomicU64,
    /// Permits to ask the engine for a session.
    pub(super) questions: Semaphore,
}

/// A subscription. Its task ends when this is dropped.
struct Subscription {
    id: u64,
    readers: mpsc::Sender<Reader>,
    wishes: Arc<Notify>,
}

/// The other end of a subscription, for its task.
pub(in crate::http) struct Orders {
    pub(in crate::http) id: u64,
    /// Clients that begin to read.
    pub(super) readers: mpsc::Receiver<Reader>,
    /// The viewer has wished something.
    pub(super) wishes: Arc<Notify>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { open: Mutex::default(), next: AtomicU64::new(1), questions: Semaphore::new(QUESTIONS) }
    }
}

impl Subscriptions {
    /// Tells a viewer's subscriptions that the viewer has made a wish, so that they report its
    /// effect soon.
    pub(in crate::http) fn wished(&self, session: SessionId) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&session).into_iter().flatten().for_each(|own| own.wishes.notify_one());
    }

    /// Makes room for one. The oldest of too many ends.
    pub(in crate::http) fn open(&self, session: SessionId) -> Orders {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (readers, receiver) = mpsc::channel(1);
        let wishes = Arc::<Notify>::default();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(session).or_default();
        if own.len() >= PER_SESSION {
            own.remove(0);
        }
        own.push(Subscription { id, readers, wishes: Arc::clone(&wishes) });
        Orders { id, readers: receiver, wishes }
    }

    /// Returns the way to tell a subscription's task of a reader.
    pub(in crate::http) fn readers(&self, session: SessionId, id: u64) -> Option<mpsc::Sender<Reader>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Some(open.get(&session)?.iter().find(|own| own.id == id)?.readers.clone())
    }

    /// Ends a subscription. Returns whether there was one.
    pub(in crate::http) fn close(&self, session: SessionId, id: u64) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = open.get_mut(&session) else { return false };
        let before = own.len();
        own.retain(|subscription| subscription.id != id);
        let is_closed = own.len() < before;
        if own.is_empty() {
            open.remove(&session);
        }
        is_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_ends() {
        let subscriptions = Subscriptions::default();
        let session = SessionId::from_bytes([1; 16]);
        let first = subscriptions.open(session);
        let second = subscriptions.open(session);
        let other = subscriptions.open(SessionId::from_bytes([2; 16]));
        assert!(!first.readers.is_closed() && subscriptions.readers(session, first.id).is_some());
        let third = subscriptions.open(session);
        assert!(first.readers.is_closed() && subscriptions.readers(session, first.id).is_none());
        assert!(!subscriptions.close(session, first.id) && !subscriptions.close(session, other.id));
        assert!(subscriptions.close(session, second.id) && subscriptions.close(session, third.id));
        assert_eq!(subscriptions.open.lock().unwrap().len(), 1, "nothing is left of the session");
    }
}
