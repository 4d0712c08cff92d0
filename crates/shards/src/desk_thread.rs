//! The loop of one desk: handshakes of viewers, away from the media threads.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;
use sfu::desk::{Command, Desk, Event};
use sfu::shard;
use sfu::transmit::Batch;

use crate::mailbox::{Inbox, Mailbox};
use crate::plane::{EventSink, Gauges, PlaneEvent};
use crate::udp::affinity::step_back;
use crate::udp::{SendState, Socket};

/// The state of a desk thread.
pub(crate) struct DeskThread {
    pub(crate) desk: Desk,
    /// Handles on the shards' sockets: what a desk sends must come from their port.
    pub(crate) sockets: Vec<Socket>,
    pub(crate) inbox: Inbox<Command>,
    pub(crate) shards: Vec<Mailbox<shard::Command>>,
    pub(crate) sink: EventSink,
    pub(crate) gauges: Arc<Gauges>,
    /// A viewer's keys and every event after them, in order. They are passed on once the datagrams
    /// that complete its handshake are sent.
    pub(crate) ready: Vec<Event>,
}

const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Niceness of desk threads; shards have 0. A shard that competes with a desk for a core gets three
/// quarters of it (the scheduler's weights of 0 and 5). Measured: 10 instead of 5 gives viewers
/// nothing, and joins then take seconds.
pub const NICENESS: i32 = 5;

/// The most commands, and then the most datagrams, between two checks of the timers. A guess.
const AT_ONCE: usize = 256;

impl DeskThread {
    /// Runs until all mailboxes to it are gone.
    pub(crate) fn run(mut self) {
        if let Err(error) = step_back(NICENESS) {
            tracing::debug!(%error, "a desk competes with media for its core");
        }
        let mut batch = Batch::new();
        let mut sending = SendState::new();
        loop {
            let until = self.desk.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
            self.inbox.wait(until.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
            for _ in 0..AT_ONCE {
                match self.inbox.command() {
                    Ok(command) => self.handle(command, &mut batch, &mut sending),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            for _ in 0..AT_ONCE {
                let Some(datagram) = self.inbox.datagram() else { break };
                self.handle(datagram, &mut batch, &mut sending);
            }
            self.desk.handle_timeout(Instant::now(), &mut batch);
            self.flush(&mut batch, &mut sending);
            self.gauges.desk_panics.store(self.desk.counters.panics, Relaxed);
        }
    }

    /// Handles one command and delivers its events before the next one: a shard would otherwise
    /// learn a new address only after the keys of other viewers, which is too late.
    fn handle(&mut self, command: Command, batch: &mut Batch, sending: &mut SendState) {
        self.desk.handle_command(Instant::now(), command, batch);
        self.flush(batch, sending);
    }

    /// Binds addresses to sessions on the shards *before* those addresses are answered. Gives a
    /// shard a viewer's keys only *after* the last flight of its handshake is sent, because media
    /// that overtakes that flight would be lost. Events after the keys wait for them, so that
    /// nothing that follows from [`Event::Connected`] reaches the shard before the viewer does.
    fn flush(&mut self, batch: &mut Batch, sending: &mut SendState) {
        self.tell();
        if !batch.is_empty() {
            for socket in &self.sockets {
                socket.send(batch, sending);
            }
            batch.clear();
        }
        for event in std::mem::take(&mut self.ready) {
            self.pass_on(event);
        }
    }

    fn tell(&mut self) {
        while let Some(event) = self.desk.poll_event() {
            let is_keys = matches!(event, Event::ToShard { command: shard::Command::AddViewer(_), .. });
            if is_keys || !self.ready.is_empty() {
                self.ready.push(event);
            } else {
                self.pass_on(event);
            }
        }
    }

    fn pass_on(&self, event: Event) {
        match event {
            Event::ToShard { shard, command } => {
                if let Some(shard) = self.shards.get(usize::from(shard)) {
                    shard.send(command);
                }
            }
            event => (self.sink)(PlaneEvent::Desk(event)),
        }
    }
}
