//! How do publishers come, send and go?
//!
//! A publisher is added when its desk has its keys, on the shard that its datagrams reach. A panic
//! in it ends it, and no other session. Of the publishers of one stream only the latest is heard:
//! the others are fenced by their epoch.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use media::StreamId;

use super::guard::Turn;
use super::routing::Route;
use super::streams::{News, Source};
use super::timers::Due;
use super::{Command, Event, Key, Shard};
use crate::publisher::{Arrived, Publisher, PublisherSetup};

impl Shard {
    /// Serves a publisher from now on.
    pub(super) fn add_publisher(&mut self, now: Instant, setup: PublisherSetup) {
        let (session, stream, epoch) = (setup.session, setup.stream, setup.epoch);
        let (desk, address) = (setup.desk, setup.address);
        let key = self.publishers.insert(Publisher::new(now, setup));
        self.by_session.insert(session, Key::Publisher(key));
        let serving = Some(self.number);
        let route = Route { session, desk, serving, is_sender: true, key: Some(Key::Publisher(key)) };
        self.routes.insert(address, route);
        let s = self.streams.entry(stream).or_default();
        if epoch >= s.epoch {
            if matches!(s.source, Source::Local(_)) || s.epoch != epoch {
                s.tracks.on_publisher_left();
                s.news = News::default();
            }
            s.epoch = epoch;
            s.source = Source::Local(key);
            let shard = self.number;
            self.tell_others(|| Command::StreamHome { stream, shard, epoch });
        }
        self.drive_publisher(now, key);
    }

    /// SRTP or SRTCP came from an address of a publisher here.
    pub(super) fn publisher_packet(
        &mut self,
        now: Instant,
        key: usize,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &mut [u8],
    ) {
        self.turn.set(Turn::Publisher(key));
        let Shard { publishers, clock, .. } = self;
        let Some(publisher) = publishers.get_mut(key) else { return };
        publisher.handle_protected(now, clock, source, destination, bytes);
        self.drive_publisher(now, key);
    }

    /// Sends what a publisher is to be told, forwards what it brought, and sets its timer.
    pub(super) fn drive_publisher(&mut self, now: Instant, key: usize) {
        self.turn.set(Turn::Publisher(key));
        let Shard { publishers, urgent, clock, timers, counters, .. } = self;
        let Some(publisher) = publishers.get_mut(key) else { return };
        publisher.drive(now, clock, urgent);
        let counted = publisher.take_counters();
        counters.strays += counted.strays;
        counters.srtp_rejected += counted.refused;
        let next = publisher.next_timeout();
        if publisher.wakes_at.is_none_or(|at| next < at) {
            publisher.wakes_at = Some(next);
            timers.set(next, Due::Publisher(key));
        }
        let (stream, session, epoch, desk) = (publisher.stream, publisher.session, publisher.epoch, publisher.desk);
        while let Some(arrived) = self.publishers.get_mut(key).and_then(Publisher::poll) {
            let fenced = self.streams.get(&stream).is_none_or(|s| s.epoch != epoch);
            match arrived {
                Arrived::Packet(_) if fenced => self.counters.fenced += 1,
                Arrived::Packet(packet) => {
                    if let Some(s) = self.streams.get_mut(&stream)
                        && !s.relays.is_empty()
                    {
                        if s.to_relay.is_empty() {
                            self.relaying.push(stream);
                        }
                        s.to_relay.push(packet.clone());
                    }
                    self.on_packet(now, stream, packet);
                }
                Arrived::Flows(flows) => self.events.push_back(Event::PublisherFlows { session, flows }),
                Arrived::Published(published) if !fenced => {
                    if let Some(s) = self.streams.get_mut(&stream) {
                        s.tracks.set_published(&published);
                        s.news.untold = Some(published);
                    }
                }
                Arrived::Published(_) => {}
                Arrived::Silent => self.events.push_back(Event::PublisherSilent { session, desk }),
            }
        }
        if let Some(s) = self.streams.get_mut(&stream).filter(|s| s.epoch == epoch)
            && let Some(published) = s.news.poll(now)
        {
            self.events.push_back(Event::Published { stream, epoch, published });
        }
    }

    /// A publisher's timer is due.
    pub(super) fn wake_publisher(&mut self, now: Instant, key: usize) {
        // A timer that was overtaken, or that another publisher left behind, finds nothing due.
        let Some(publisher) = self.publishers.get_mut(key).filter(|p| p.wakes_at.is_some_and(|at| at <= now)) else {
            return;
        };
        publisher.wakes_at = None;
        publisher.handle_timeout(now);
        self.drive_publisher(now, key);
    }

    /// A publisher leaves: it is told so.
    pub(super) fn end_publisher(&mut self, now: Instant, key: usize) {
        let Shard { publishers, urgent, clock, .. } = self;
        if let Some(publisher) = publishers.get_mut(key) {
            publisher.close(now, clock, urgent);
            self.remove_publisher(key);
        }
    }

    /// Says goodbye to a publisher, when the shard stops.
    pub(super) fn say_goodbye_to_publisher(&mut self, now: Instant, key: usize) {
        let Shard { publishers, urgent, clock, .. } = self;
        if let Some(publisher) = publishers.get_mut(key) {
            publisher.close(now, clock, urgent);
        }
    }

    pub(super) fn remove_publisher(&mut self, key: usize) {
        let Some(publisher) = self.publishers.try_remove(key) else { return };
        let (session, stream, epoch) = (publisher.session, publisher.stream, publisher.epoch);
        self.by_session.remove(&session);
        if let Some(s) = self.streams.get_mut(&stream) {
            if s.source == Source::Local(key) {
                s.source = Source::None;
            }
            if s.epoch == epoch {
                s.tracks.on_publisher_left();
                s.relays.clear();
                s.to_relay.clear();
            }
        }
        self.tell_others(|| Command::StreamAway { stream, epoch });
    }

    pub(super) fn want_key_frame(&mut self, now: Instant, stream: StreamId, encoding: u8) {
        self.turn.set(Turn::Shared);
        let Some(s) = self.streams.get_mut(&stream) else { return };
        s.tracks.video.of_mut(encoding).key_frames().request();
        self.ask_for_key_frame(now, stream, encoding);
    }

    pub(super) fn ask_for_key_frame(&mut self, now: Instant, stream: StreamId, encoding: u8) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        let source = s.source;
        if source == Source::None {
            return;
        }
        let requests = s.tracks.video.of_mut(encoding).key_frames();
        if !requests.poll_request(now) {
            if let Some(at) = requests.poll_timeout() {
                self.timers.set(at, Due::KeyFrame(stream));
            }
            return;
        }
        match source {
            Source::Local(key) => {
                self.counters.key_frames_asked += 1;
                self.guarded_publisher(key, |publisher| {
                    publisher.request_key_frame(now, encoding);
                    publisher.wakes_at = Some(now);
                });
                // The request leaves when the timers are looked at next.
                self.timers.set(now, Due::Publisher(key));
            }
            Source::Remote { shard, .. } => {
                self.events.push_back(Event::ToShard { shard, command: Command::WantKeyFrame { stream, encoding } });
            }
            Source::None => {}
        }
    }

    fn guarded_publisher(&mut self, key: usize, step: impl FnOnce(&mut Publisher)) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        if catch_unwind(AssertUnwindSafe(|| step(publisher))).is_err() {
            self.counters.panics += 1;
            self.publisher_failed(key);
        }
    }
}
