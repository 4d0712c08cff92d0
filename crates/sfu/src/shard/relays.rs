//! How does a stream come to viewers on other shards?
//!
//! Its publisher's shard, its home, tells the others that it is there. A shard with viewers of it subscribes, is told
//! everything since the last key frame, and from then on what comes. The packets are shared, never copied.

use std::sync::Arc;
use std::time::Instant;

use media::{Packet, StreamId};
use slab::Slab;

use super::streams::{Source, Stream};
use super::{Command, Event, Shard};
use crate::format::Published;
use crate::publisher::Publisher;
use crate::stream::log::PacketLog;

impl Shard {
    /// A stream's publisher is on that shard now.
    pub(super) fn stream_home(&mut self, stream: StreamId, shard: u8, epoch: u32) {
        let s = self.streams.entry(stream).or_default();
        if epoch >= s.epoch {
            // Whatever is here of the one before is not to be relayed to anybody as the new one's.
            if epoch != s.epoch {
                s.tracks.on_publisher_left();
            }
            s.epoch = epoch;
            s.source = Source::Remote { shard, subscribed: false };
            self.subscribe(stream);
        }
    }

    /// The publisher that another shard had is gone.
    pub(super) fn stream_away(&mut self, stream: StreamId, epoch: u32) {
        if let Some(s) = self.streams.get_mut(&stream)
            && s.epoch == epoch
            && matches!(s.source, Source::Remote { .. })
        {
            s.source = Source::None;
            s.tracks.on_publisher_left();
        }
    }

    /// Asks for the stream, if somebody here watches it and it is elsewhere.
    pub(super) fn subscribe(&mut self, stream: StreamId) {
        let number = self.number;
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if let (true, Source::Remote { shard, subscribed: false }) = (s.is_watched(), s.source) {
            s.source = Source::Remote { shard, subscribed: true };
            s.tracks.on_publisher_left();
            let command = Command::Subscribe { stream, shard: number };
            self.events.push_back(Event::ToShard { shard, command });
        }
    }

    /// Asks for it no more, if nobody here watches it.
    pub(super) fn unsubscribe(&mut self, stream: StreamId) {
        let number = self.number;
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if let (false, Source::Remote { shard, subscribed: true }) = (s.is_watched(), s.source) {
            s.source = Source::Remote { shard, subscribed: false };
            let command = Command::Unsubscribe { stream, shard: number };
            self.events.push_back(Event::ToShard { shard, command });
        }
    }

    /// Another shard wants the stream from now on.
    pub(super) fn add_relay(&mut self, stream: StreamId, shard: u8) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if !s.relays.contains(&shard) {
            s.relays.push(shard);
        }
        // What a late viewer there is started from: everything since the key frame.
        let since_key_frame = |log: &PacketLog| log.key_at().map_or(log.end(), |at| log.group_from(at))..log.end();
        let logs = s.tracks.video.iter().map(|(_, encoding)| encoding.log());
        let packets = logs.flat_map(|log| since_key_frame(log).filter_map(|at| log.get(at).cloned())).collect();
        let command = s.relayed(packets, &self.publishers, stream);
        self.events.push_back(Event::ToShard { shard, command });
    }

    /// Another shard wants it no more.
    pub(super) fn remove_relay(&mut self, stream: StreamId, shard: u8) {
        if let Some(s) = self.streams.get_mut(&stream) {
            s.relays.retain(|r| *r != shard);
        }
    }

    /// Packets of a stream that this shard subscribed to.
    pub(super) fn relayed(
        &mut self,
        now: Instant,
        stream: StreamId,
        epoch: u32,
        published: &Published,
        unresponsive: bool,
        packets: Vec<Arc<Packet>>,
    ) {
        // What an earlier publisher sent may be overtaken by the news of the next one.
        if let Some(s) = self.streams.get_mut(&stream).filter(|s| s.epoch == epoch) {
            s.tracks.set_published(published);
            s.tracks.video.set_unresponsive_elsewhere(unresponsive);
            for packet in packets {
                self.on_packet(now, stream, packet);
            }
        }
    }

    /// What came since the last time goes to those who subscribed.
    pub(super) fn flush_relays(&mut self) {
        while let Some(id) = self.relaying.pop() {
            let Some(s) = self.streams.get_mut(&id) else { continue };
            let packets = std::mem::take(&mut s.to_relay);
            for &shard in &s.relays {
                let command = s.relayed(packets.clone(), &self.publishers, id);
                self.events.push_back(Event::ToShard { shard, command });
            }
        }
    }
}

impl Stream {
    fn relayed(&self, packets: Vec<Arc<Packet>>, publishers: &Slab<Publisher>, stream: StreamId) -> Command {
        let published = match self.source {
            Source::Local(key) => publishers.get(key).map(|p| *p.published()).unwrap_or_default(),
            _ => Published::default(),
        };
        Command::Relayed {
            stream,
            epoch: self.epoch,
            published,
            unresponsive: self.tracks.video.is_unresponsive(),
            packets,
        }
    }
}
