//! How do threads hand each other commands?
//!
//! A bounded queue and, for a thread that sleeps on sockets, a [`Waker`]. A full mailbox refuses: nobody ever
//! waits for a media thread, and nobody's commands grow without limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::udp::Waker;

/// The most commands that wait for one thread. At 5,000 joins a second and 10 datagrams a join this is a
/// second's worth; a thread that is behind by more cannot catch up anyway.
pub const CAPACITY: usize = 65_536;

/// The sending end; clones feed the same thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Sender<T>,
    waker: Option<Waker>,
    refused: Arc<AtomicU64>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Mailbox<T> {
        Mailbox { queue: self.queue.clone(), waker: self.waker.clone(), refused: self.refused.clone() }
    }
}

impl<T> Mailbox<T> {
    /// A mailbox and its receiving end. `waker` gets the receiver out of its poll.
    pub fn new(waker: Option<Waker>) -> (Mailbox<T>, Receiver<T>) {
        let (queue, receiver) = bounded(CAPACITY);
        (Mailbox { queue, waker, refused: Arc::default() }, receiver)
    }

    /// Puts a command in. Returns whether it was taken: not if the mailbox is full or its thread is gone.
    pub fn send(&self, command: T) -> bool {
        match self.queue.try_send(command) {
            Ok(()) => {
                if let Some(waker) = &self.waker {
                    waker.wake();
                }
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// How many commands were not taken so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_and_counts() {
        let (mailbox, receiver) = Mailbox::new(None);
        for n in 0..CAPACITY {
            assert!(mailbox.send(n));
        }
        assert!(!mailbox.send(0));
        assert_eq!(mailbox.refused(), 1);
        assert_eq!(receiver.recv(), Ok(0));
        assert!(mailbox.send(1), "there is room again");
        drop(receiver);
        assert!(!mailbox.send(2), "its thread is gone");
    }
}
