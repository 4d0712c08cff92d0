//! The engine, driven by hand: a call, and the outputs that follow from it.

mod joining;
mod lasting;
mod viewing;
mod walk;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::packet::MAX_ENCODINGS;
use media::{Codec, SessionId, StreamId, StreamName};
use sfu::format::{Format, Published};
use sfu::publisher::Health;
use sfu::publisher::warnings::Warnings;
use sfu::shard::{EncodingSnapshot, LoadStatus, Networks, ShardCounters, Snapshot, StreamSnapshot, TrackStats};
use sfu::stream::audience::Audience;
use sfu::{desk, shard};
use str0m::media::Rid;

use super::*;

/// An engine with two shards and two desks, and the outputs that were not looked at yet.
struct Bench {
    engine: Engine,
    now: Instant,
    last_request: u64,
    outputs: Vec<Output>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Takeover::Refuse, 100)
    }

    fn with(takeover: Takeover, viewers: usize) -> Bench {
        let now = Instant::now();
        let mut bits = 0;
        let setup = Setup {
            limits: Limits { streams: 100, sessions: 1_000, viewers, sessions_per_ip: 0 },
            takeover,
            busy_percent: 90,
            shards: 2,
            desks: 2,
            random: Box::new(move || {
                bits += 1;
                bits
            }),
        };
        let engine = Engine::new(now, setup);
        Bench { engine, now, last_request: 0, outputs: Vec::new() }
    }

    /// Asks, and returns the number of the request.
    fn ask(&mut self, request: Request) -> u64 {
        self.last_request += 1;
        self.engine.handle_request(self.now, RequestId(self.last_request), request);
        self.drain();
        self.last_request
    }

    fn desk(&mut self, event: desk::Event) {
        self.engine.handle_desk(self.now, event);
        self.drain();
    }

    fn shard(&mut self, event: shard::Event) {
        self.engine.handle_shard(self.now, event);
        self.drain();
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.engine.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        self.outputs.extend(std::iter::from_fn(|| self.engine.poll_output()));
    }

    /// Forgets the outputs so far, and returns what they say: commands and answers, each in a few
    /// words. Snapshots are asked for all the time, and are left out.
    fn said(&mut self) -> Vec<String> {
        let outputs = std::mem::take(&mut self.outputs);
        let said = outputs.iter().filter_map(|output| match output {
            Output::ToShard { command: shard::Command::Snapshot, .. } => None,
            Output::ToShard { shard, command } => Some(format!("shard {shard}: {}", word(command))),
            Output::ToDesk { desk, command } => Some(format!("desk {desk}: {}", word(command))),
            Output::Answer { request, answer } => Some(format!("{}: {}", request.0, short(answer))),
            Output::Heard { text, .. } => Some(format!("heard {text}")),
            Output::Changed | Output::Notice(_) => None,
        });
        said.collect()
    }

    /// Forgets the outputs so far, and returns the notices among them.
    fn notices(&mut self) -> Vec<Notice> {
        let outputs = std::mem::take(&mut self.outputs).into_iter();
        let notices = outputs.filter_map(|output| match output {
            Output::Notice(notice) => Some(notice),
            _ => None,
        });
        notices.collect()
    }

    /// Forgets the outputs so far, and returns the last answer among them.
    fn answer(&mut self) -> Answer {
        let outputs = std::mem::take(&mut self.outputs).into_iter();
        let mut answers = outputs.filter_map(|output| match output {
            Output::Answer { answer, .. } => Some(answer),
            _ => None,
        });
        answers.next_back().expect("an answer")
    }

    fn publishes(&mut self, stream: &str) -> Opened {
        self.ask(publish(stream, OFFER));
        let session = self.newest();
        self.desk(desk::Event::Opened { session, result: Ok("m=audio\r\nm=video\r\n".to_owned()) });
        match self.answer() {
            Answer::Opened(Ok(opened)) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// A viewer's session is opened by its desk.
    fn watches(&mut self, stream: &str) -> Opened {
        self.ask(watch(stream));
        let session = self.newest();
        self.desk(desk::Event::Opened { session, result: Ok("m=audio\r\nm=video\r\n".to_owned()) });
        match self.answer() {
            Answer::Opened(Ok(opened)) => opened,
            other => panic!("{other:?}"),
        }
    }

    /// A viewer that is connected on shard 1.
    fn viewer(&mut self, stream: &str) -> SessionId {
        let session = self.watches(stream).session;
        self.desk(desk::Event::Connected { session, shard: 1 });
        self.outputs.clear();
        session
    }

    /// A publisher that is connected on shard 0, and sends video in two encodings.
    fn publisher(&mut self, stream: &str) -> SessionId {
        let session = self.publishes(stream).session;
        self.desk(desk::Event::Connected { session, shard: 0 });
        let view = self.engine.control.stream(&name(stream)).expect("it is there");
        let (stream, epoch) = (view.id, view.publisher.expect("a publisher").epoch);
        self.shard(shard::Event::Published { stream, epoch, published: two_encodings() });
        self.outputs.clear();
        session
    }

    /// The session that was admitted last: the bench draws growing names.
    fn newest(&self) -> SessionId {
        *self.engine.connections.keys().next_back().expect("a session")
    }

    fn stream_id(&self, stream: &str) -> StreamId {
        self.engine.control.stream(&name(stream)).expect("it is there").id
    }
}

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\
    \r\na=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

const REMOTE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 5_000);

fn name(stream: &str) -> StreamName {
    StreamName::parse(stream).expect("a legal name")
}

fn publish(stream: &str, offer: &str) -> Request {
    let (stream, offer) = (name(stream), offer.to_owned());
    Request::Publish(Publish { stream, offer, remote: REMOTE, identity: None })
}

fn watch(stream: &str) -> Request {
    let (stream, offer) = (name(stream), Some(OFFER.to_owned()));
    Request::Watch(Watch { stream, offer, remote: REMOTE, identity: None })
}

fn trickle(session: SessionId, ufrag: &str, if_match: Option<&str>) -> Request {
    let fragment = IceFragment {
        ufrag: Some(ufrag.to_owned()),
        password: Some("0123456789abcdef01234567".to_owned()),
        ..IceFragment::default()
    };
    Request::Trickle { session, fragment, if_match: if_match.map(str::to_owned) }
}

fn wish(session: SessionId, rid: Option<&str>) -> Request {
    Request::Wish { session, wish: Wish { rid: rid.map(str::to_owned), ..Wish::default() } }
}

fn two_encodings() -> Published {
    let mut rids = [None; MAX_ENCODINGS];
    rids[0] = Some(Rid::from("q"));
    rids[1] = Some(Rid::from("f"));
    Published { video: Some(Format { codec: Codec::Vp8, profile: 0 }), rids, ..Published::default() }
}

/// How a stream is on its publisher's shard.
fn at_home(stream: StreamId) -> StreamSnapshot {
    StreamSnapshot {
        stream,
        is_home: true,
        viewers: 0,
        health: Health::default(),
        published: Published::default(),
        warnings: Warnings::default(),
        audio: TrackStats::default(),
        video: TrackStats::default(),
        encodings: [EncodingSnapshot::default(); MAX_ENCODINGS],
        best: 0,
        key_frame_interval: None,
        sent: TrackStats::default(),
        audience: Audience::default(),
    }
}

fn snapshot(shard: u8, streams: Vec<StreamSnapshot>) -> shard::Event {
    shard::Event::Snapshot(Box::new(Snapshot {
        shard,
        counters: ShardCounters::default(),
        publishers: 0,
        viewers: 0,
        streams,
        networks: Networks::default(),
        load: LoadStatus::default(),
    }))
}

fn of(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

/// The name of a variant.
fn word(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn short(answer: &Answer) -> String {
    let fault = |fault: &Refusal| match fault {
        Refusal::Full { limit } => format!("Full({limit})"),
        other => word(other),
    };
    let result = |ok: &str, error: Option<&Refusal>| error.map_or_else(|| ok.to_owned(), fault);
    match answer {
        Answer::Opened(opened) => result("opened", opened.as_ref().err()),
        Answer::Accepted(accepted) => result("accepted", accepted.as_ref().err()),
        Answer::Trickled(Ok(Trickled::Restarted { .. })) => "restarted".to_owned(),
        Answer::Trickled(trickled) => result("trickled", trickled.as_ref().err()),
        Answer::Wished(wished) => result("wished", wished.as_ref().err()),
        Answer::Report(report) => format!("report {}", report.is_some()),
        Answer::Closed(closed) => format!("closed {closed}"),
        Answer::Stopped => "stopped".to_owned(),
    }
}
