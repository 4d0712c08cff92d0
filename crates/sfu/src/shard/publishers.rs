//! How do publishers come, send and go?
//!
//! A publisher is a whole session of `str0m` and lives on the shard that its datagrams reach. A panic in it ends it, and
//! nobody else. Of those who publish one stream only the latest is heard: the others are fenced by their epoch.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use media::{SessionId, StreamId};

use super::guard::Turn;
use super::routing::{MAX_ROUTES, Route, UfragRoute};
use super::streams::{News, Source};
use super::timers::Due;
use super::{Command, Event, Key, Shard};
use crate::publisher::{Arrived, Publisher};

impl Shard {
    pub(super) fn take_in(&mut self, now: Instant, publisher: Publisher) {
        let (ufrag, session) = (publisher.ufrag.clone(), publisher.session);
        let (stream, epoch) = (publisher.stream, publisher.epoch);
        let key = self.publishers.insert(publisher);
        self.by_session.insert(session, Key::Publisher(key));
        self.ufrags.insert(ufrag.clone(), UfragRoute::Here(key));
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
        let here = self.number;
        self.tell_others(|| Command::PublisherElsewhere { ufrag: ufrag.clone(), shard: here });
        self.timers.set(now, Due::Publisher(key));
    }

    pub(super) fn publisher_datagram(
        &mut self,
        now: Instant,
        key: usize,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
    ) {
        let local = self.identity.candidate_for(destination);
        let mut accepted = false;
        let mut unsound = 0;
        self.guarded_publisher(key, |p| {
            accepted = p.handle_datagram(now, source, local, bytes);
            unsound = p.take_refused();
        });
        self.counters.srtp_rejected += unsound;
        if accepted {
            self.drive_publisher(now, key);
        } else {
            self.counters.refused += 1;
        }
    }

    pub(super) fn release_publisher(&mut self, key: usize) -> Publisher {
        let publisher = self.publishers.remove(key);
        self.by_session.remove(&publisher.session);
        if let Some(s) = self.streams.get_mut(&publisher.stream)
            && s.source == Source::Local(key)
        {
            s.source = Source::None;
        }
        publisher
    }

    pub(super) fn bind_publisher(&mut self, key: usize, source: SocketAddr) {
        if self.publishers.get(key).is_some_and(|p| p.sources().contains(&source)) && self.routes.len() < MAX_ROUTES {
            self.routes.insert(source, Route::Publisher(key));
        }
    }

    pub(super) fn drive_publisher(&mut self, now: Instant, key: usize) {
        self.turn.set(Turn::Publisher(key));
        let Shard { publishers, urgent, clock, .. } = self;
        let Some(publisher) = publishers.get_mut(key) else { return };
        let alive = catch_unwind(AssertUnwindSafe(|| publisher.drive(now, clock, urgent))).is_ok();
        if !alive {
            self.counters.panics += 1;
            self.publisher_failed(key);
            return;
        }
        let (stream, session, epoch) = (publisher.stream, publisher.session, publisher.epoch);
        self.counters.strays += publisher.take_strays();
        let next = publisher.next_timeout();
        self.timers.set(next, Due::Publisher(key));
        let mut ended = None;
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
                Arrived::Connected => self.events.push_back(Event::PublisherConnected { session }),
                Arrived::Flows(flows) => self.events.push_back(Event::PublisherFlows { session, flows }),
                Arrived::Published(published) if !fenced => {
                    if let Some(s) = self.streams.get_mut(&stream) {
                        s.tracks.set_published(&published);
                        s.news.untold = Some(published);
                    }
                }
                Arrived::Published(_) => {}
                Arrived::Closed(why) => ended = ended.or(Some(why)),
            }
        }
        if let Some(s) = self.streams.get_mut(&stream).filter(|s| s.epoch == epoch)
            && let Some(published) = s.news.poll(now)
        {
            self.events.push_back(Event::Published { stream, epoch, published });
        }
        if let Some(why) = ended {
            self.events.push_back(Event::PublisherClosed { session, why });
            self.remove_publisher(key);
        }
    }

    pub(super) fn guarded_publisher(&mut self, key: usize, step: impl FnOnce(&mut Publisher)) {
        let Some(publisher) = self.publishers.get_mut(key) else { return };
        if catch_unwind(AssertUnwindSafe(|| step(publisher))).is_err() {
            self.counters.panics += 1;
            self.publisher_failed(key);
        }
    }

    /// The publisher of that session is to go, if it is here.
    pub(super) fn end_publisher(&mut self, now: Instant, session: SessionId) {
        if let Some(Key::Publisher(key)) = self.by_session.get(&session).copied() {
            self.guarded_publisher(key, Publisher::close);
            self.drive_publisher(now, key);
            self.remove_publisher(key);
        }
    }

    pub(super) fn remove_publisher(&mut self, key: usize) {
        if !self.publishers.contains(key) {
            return;
        }
        let publisher = self.release_publisher(key);
        for source in publisher.sources() {
            if self.routes.get(source) == Some(&Route::Publisher(key)) {
                self.routes.remove(source);
            }
        }
        self.ufrags.remove(&publisher.ufrag);
        let (stream, epoch) = (publisher.stream, publisher.epoch);
        if let Some(s) = self.streams.get_mut(&stream)
            && s.epoch == epoch
        {
            s.tracks.on_publisher_left();
            s.relays.clear();
            s.to_relay.clear();
        }
        self.tell_others(|| Command::StreamAway { stream, epoch });
        let sources = publisher.sources();
        self.tell_others(|| Command::ForgetPublisher { ufrag: publisher.ufrag.clone(), sources: sources.to_vec() });
    }

    pub(super) fn restart_publisher(
        &mut self,
        now: Instant,
        session: SessionId,
        ufrag: &str,
        password: &str,
        credentials: str0m::ice::IceCreds,
    ) {
        let Some(Key::Publisher(key)) = self.by_session.get(&session).copied() else { return };
        let mut result = None;
        let fresh = credentials.ufrag.clone();
        self.guarded_publisher(key, |p| {
            let offer = p.offer.clone();
            let role = crate::negotiate::Role::Publisher;
            result = Some(crate::negotiate::restart_ice(p.rtc(), role, &offer, ufrag, password, credentials));
        });
        let Some(result) = result else { return };
        if result.is_ok() {
            let old = std::mem::replace(&mut self.publishers[key].ufrag, fresh.clone());
            self.ufrags.remove(&old);
            self.ufrags.insert(fresh.clone(), UfragRoute::Here(key));
            let here = self.number;
            self.tell_others(|| Command::PublisherElsewhere { ufrag: fresh.clone(), shard: here });
            self.tell_others(|| Command::ForgetPublisher { ufrag: old.clone(), sources: Vec::new() });
        }
        self.events.push_back(Event::PublisherRestarted { session, result });
        self.drive_publisher(now, key);
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
                self.guarded_publisher(key, |publisher| publisher.request_key_frame(encoding));
                // The request leaves with the session's next output.
                self.timers.set(now, Due::Publisher(key));
                if let Some(publisher) = self.publishers.get_mut(key) {
                    publisher.wake(now);
                }
            }
            Source::Remote { shard, .. } => {
                self.events.push_back(Event::ToShard { shard, command: Command::WantKeyFrame { stream, encoding } });
            }
            Source::None => {}
        }
    }
}
