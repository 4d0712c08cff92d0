//! The loop of one media shard: receive, decide, send, sleep.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use sfu::desk;
use sfu::shard::{Command, Event, Shard};
use sfu::transmit::Batch;

use crate::mailbox::{Inbox, Mailbox};
use crate::plane::{EventSink, Gauges, PlaneEvent};
use crate::udp::{Poller, ReceiveBatch, SendReport, SendState, Socket, Waker};

/// The state of a shard thread.
pub(crate) struct ShardThread {
    pub(crate) shard: Shard,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) waker: Waker,
    pub(crate) inbox: Inbox<Command>,
    pub(crate) shards: Vec<Mailbox<Command>>,
    pub(crate) desks: Vec<Mailbox<desk::Command>>,
    pub(crate) sink: EventSink,
    pub(crate) gauges: std::sync::Arc<Gauges>,
}

/// The most batches of 64 datagrams taken from one socket in a turn. A guess.
const RECEIVE_BATCHES: usize = 4;

/// Smallest batch for which the shard prefetches the state of all senders. A guess.
const MANY: usize = 3;

/// The most commands, and the most datagrams of other shards, taken in a turn. A guess.
const AT_ONCE: usize = 1_024;

/// Sleeping longer than this would hide a clock that was set, or a bug in a timeout.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

impl ShardThread {
    /// Runs until the shard has said goodbye to all sessions. Returns whether that is why it ended.
    pub(crate) fn run(mut self) -> bool {
        let mut fds: Vec<_> = self.sockets.iter().map(AsRawFd::as_raw_fd).collect();
        fds.push(self.waker.as_raw_fd());
        let mut poller = Poller::new(&fds);
        let mut received: Vec<_> = self.sockets.iter().map(ReceiveBatch::for_socket).collect();
        let mut batch = Batch::new();
        let mut sending = SendState::new();
        loop {
            let began_at = Instant::now();
            let sleep = self.sleep(began_at);
            let ready = match poller.wait(Some(sleep)) {
                Ok(ready) => {
                    if !sleep.is_zero() {
                        self.shard.add_sleep(began_at.elapsed());
                    }
                    ready
                }
                Err(error) => {
                    tracing::error!(%error, "a media shard cannot wait for its sockets any more");
                    return false;
                }
            };
            if ready.contains(self.sockets.len()) {
                self.waker.drain();
            }
            self.take_commands();
            self.take_datagrams();
            for (place, received) in received.iter_mut().enumerate() {
                if ready.contains(place) {
                    self.receive(place, received);
                }
            }
            let now = Instant::now();
            self.shard.handle_timeout(now);
            self.gauges.loaded(&self.shard.load());
            // One batch, then back to the sockets: while thousands are served, a publisher's next
            // packets and a viewer's NACK must not wait for the last of them.
            self.send_batch(now, &mut batch, &mut sending);
            if self.tell() {
                while self.send_batch(Instant::now(), &mut batch, &mut sending) {}
                return true;
            }
        }
    }

    fn sleep(&self, now: Instant) -> Duration {
        if self.shard.has_turns() || !self.inbox.is_empty() {
            return Duration::ZERO;
        }
        let until = self.shard.poll_timeout().map(|at| at.saturating_duration_since(now));
        until.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    fn take_commands(&mut self) {
        for _ in 0..AT_ONCE {
            let Ok(command) = self.inbox.command() else { break };
            self.shard.handle_command(Instant::now(), command);
        }
    }

    /// Takes what other shards passed on: datagrams of sessions here, and packets of streams that
    /// are relayed.
    fn take_datagrams(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(command) = self.inbox.datagram() else { break };
            self.shard.handle_command(Instant::now(), command);
        }
    }

    fn receive(&mut self, place: usize, received: &mut ReceiveBatch) {
        for _ in 0..RECEIVE_BATCHES {
            if self.sockets[place].receive(received).is_err() {
                return;
            }
            // A desk assigns an address to its session before it answers the address. The shard
            // therefore handles all commands that arrived before a datagram ahead of the datagram.
            // Without this, one join in a thousand lost its first DTLS flight as one from an
            // unknown address, and repeated it a second later (measured).
            self.take_commands();
            let now = Instant::now();
            let (fallback, port) =
                (self.sockets[place].local_address().ip(), self.sockets[place].local_address().port());
            if received.len() >= MANY {
                self.shard.expect(received.sources());
            }
            for datagram in received.datagrams() {
                let ip: IpAddr = datagram.destination_ip.unwrap_or(fallback);
                self.shard.handle_datagram(now, datagram.source, SocketAddr::new(ip, port), datagram.bytes);
            }
            if !received.is_full() {
                return;
            }
        }
    }

    /// Sends one batch. Returns `true` if the batch had a datagram.
    fn send_batch(&mut self, now: Instant, batch: &mut Batch, sending: &mut SendState) -> bool {
        self.shard.poll_transmit(now, batch);
        if batch.is_empty() {
            return false;
        }
        let mut report = SendReport::default();
        for socket in &self.sockets {
            report += socket.send(batch, sending);
        }
        batch.clear();
        self.gauges.sent(&report);
        true
    }

    /// Passes events on. Returns whether the shard has stopped.
    fn tell(&mut self) -> bool {
        let mut stopped = false;
        while let Some(event) = self.shard.poll_event() {
            match event {
                Event::ToDesk { desk, handed } => {
                    if let Some(desk) = self.desks.get(usize::from(desk)) {
                        desk.send(desk::Command::Datagram(handed));
                    }
                }
                Event::ToShard { shard, command } => {
                    if let Some(shard) = self.shards.get(usize::from(shard)) {
                        shard.send(command);
                    }
                }
                Event::SessionFailed { session, desk } => {
                    if let Some(desk) = self.desks.get(usize::from(desk)) {
                        desk.send(desk::Command::Fail { session });
                    }
                }
                Event::PublisherSilent { session, desk } => {
                    if let Some(desk) = self.desks.get(usize::from(desk)) {
                        desk.send(desk::Command::Silent { session });
                    }
                }
                Event::Stopped { .. } => {
                    stopped = true;
                    (self.sink)(PlaneEvent::Shard(event));
                }
                event => (self.sink)(PlaneEvent::Shard(event)),
            }
        }
        let drops: u64 = self.sockets.iter().map(|s| u64::from(s.kernel_drops())).sum();
        self.gauges.kernel_drops.store(drops, std::sync::atomic::Ordering::Relaxed);
        stopped
    }
}
