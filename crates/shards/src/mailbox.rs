//! How do threads hand each other commands and datagrams?
//!
//! By two queues each, and for a thread that sleeps on sockets a [`Waker`]:
//!
//! - *Commands* change state once and are never dropped. Nothing ever waits for a media thread, so
//!   this queue has no capacity; what bounds it is that every command follows from a session that
//!   control admitted, or from a datagram that the receiving thread itself passed on. While more
//!   than [`MANY`] wait, control admits nothing new ([`Mailbox::waiting`]).
//! - *Datagrams*, and all other messages that may be lost ([`Message::may_be_lost`]), wait in a
//!   queue of [`CAPACITY`] places. A message that finds this queue full is dropped and counted.
//!
//! The receiver takes commands first ([`Inbox`]). It may therefore handle a datagram after a
//! command that was sent later, and never before a command that was sent earlier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded, unbounded};
use sfu::{desk, shard};

use crate::udp::Waker;

/// The most datagrams that wait for one thread. 5,000 joins a second with 10 datagrams each fill
/// the queue in about a second; a thread that is further behind cannot catch up.
pub const CAPACITY: usize = 65_536;

/// Number of commands waiting for one thread from which on no new session is admitted. 5,000 joins
/// a second with about four commands each reach it in three seconds.
pub const MANY: usize = 65_536;

/// A message between threads.
pub trait Message {
    /// Returns whether the message may be dropped when its receiver is behind.
    fn may_be_lost(&self) -> bool;
}

impl Message for shard::Command {
    fn may_be_lost(&self) -> bool {
        self.may_be_lost()
    }
}

impl Message for desk::Command {
    fn may_be_lost(&self) -> bool {
        self.may_be_lost()
    }
}

/// The sending end of a mailbox. Clones feed the same thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    commands: Sender<T>,
    datagrams: Sender<T>,
    waker: Option<Waker>,
    dropped: Arc<AtomicU64>,
}

/// The receiving end of a mailbox.
#[derive(Debug)]
pub struct Inbox<T> {
    commands: Receiver<T>,
    datagrams: Receiver<T>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Mailbox<T> {
        Mailbox {
            commands: self.commands.clone(),
            datagrams: self.datagrams.clone(),
            waker: self.waker.clone(),
            dropped: self.dropped.clone(),
        }
    }
}

impl<T: Message> Mailbox<T> {
    /// Creates a mailbox and its receiving end. `waker` interrupts the receiver's poll.
    pub fn new(waker: Option<Waker>) -> (Mailbox<T>, Inbox<T>) {
        let (commands, inbox_commands) = unbounded();
        let (datagrams, inbox_datagrams) = bounded(CAPACITY);
        let mailbox = Mailbox { commands, datagrams, waker, dropped: Arc::default() };
        (mailbox, Inbox { commands: inbox_commands, datagrams: inbox_datagrams })
    }

    /// Sends a message. Returns whether the mailbox took it: always for a command while the
    /// receiving thread lives.
    pub fn send(&self, message: T) -> bool {
        let is_taken = if message.may_be_lost() {
            match self.datagrams.try_send(message) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    false
                }
            }
        } else {
            self.commands.send(message).is_ok()
        };
        if is_taken && let Some(waker) = &self.waker {
            waker.wake();
        }
        is_taken
    }

    /// Returns the number of datagrams dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the number of commands that wait.
    pub fn waiting(&self) -> usize {
        self.commands.len()
    }
}

impl<T> Inbox<T> {
    /// Returns the next command.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Disconnected`] when all mailboxes are gone and all commands taken.
    pub fn command(&self) -> Result<T, TryRecvError> {
        self.commands.try_recv()
    }

    /// Returns the next datagram. Take the commands first.
    pub fn datagram(&self) -> Option<T> {
        self.datagrams.try_recv().ok()
    }

    /// Returns whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.datagrams.is_empty()
    }

    /// Sleeps until a message arrives or `timeout` is over. For threads that wait for this mailbox
    /// only.
    pub fn wait(&self, timeout: Duration) {
        let mut select = Select::new();
        select.recv(&self.commands);
        select.recv(&self.datagrams);
        let _ = select.ready_timeout(timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Message for (bool, usize) {
        fn may_be_lost(&self) -> bool {
            self.0
        }
    }

    const DATAGRAM: bool = true;
    const COMMAND: bool = false;

    #[test]
    fn datagrams_that_find_the_queue_full_are_dropped_and_counted_and_commands_are_not() {
        let (mailbox, inbox) = Mailbox::new(None);
        let many = CAPACITY + MANY;
        for n in 0..many {
            mailbox.send((DATAGRAM, n));
            assert!(mailbox.send((COMMAND, n)));
        }
        assert_eq!((mailbox.dropped(), mailbox.waiting()), ((many - CAPACITY) as u64, many));
        assert!((0..many).all(|n| inbox.command() == Ok((COMMAND, n))), "all of them, in order");
        assert_eq!(inbox.command(), Err(TryRecvError::Empty));
        assert!((0..CAPACITY).all(|n| inbox.datagram() == Some((DATAGRAM, n))));
        assert!(inbox.is_empty());
        assert!(mailbox.send((DATAGRAM, 0)), "there is room again");
    }

    #[test]
    fn a_thread_that_is_gone_takes_nothing_and_one_without_mailboxes_is_told() {
        let (mailbox, inbox) = Mailbox::new(None);
        assert!(mailbox.send((COMMAND, 1)));
        drop(mailbox);
        inbox.wait(Duration::MAX);
        assert_eq!((inbox.command(), inbox.command()), (Ok((COMMAND, 1)), Err(TryRecvError::Disconnected)));
        inbox.wait(Duration::MAX);
        let (mailbox, inbox) = Mailbox::new(None);
        drop(inbox);
        assert!(!mailbox.send((COMMAND, 1)) && !mailbox.send((DATAGRAM, 1)));
    }
}
