//! Does every way to play work against a real server?
//!
//! The server must have been built: `cargo build --release -p server`.

use std::sync::mpsc::channel;
use std::time::Duration;

use media::Codec;

use crate::load::{JoinPlan, Load};
use crate::seen::{Joined, Seen};
use crate::server::Server;
use crate::settings::{Cut, Offers, Settings, Source, Video};

#[test]
fn every_codec_and_every_cut_comes_whole() {
    let server = Server::start(&Server::default_binary(), None).unwrap();
    for (codec, cut) in [
        (Codec::Vp8, Cut::Equal),
        (Codec::Vp9, Cut::Full),
        (Codec::Av1, Cut::Tail),
        (Codec::H264, Cut::Tail),
        (Codec::H265, Cut::Equal),
    ] {
        let video = Video { codec, cut, ..Video::default() };
        let stream = codec.name().to_lowercase();
        let seen = plays(&Settings { video, stream, ..Settings::new(&server.url(), None) });
        assert_eq!(seen.total.dropped, 0);
    }
}

#[test]
fn streams_with_sound_are_told_apart() {
    let server = Server::start(&Server::default_binary(), None).unwrap();
    let seen = plays(&Settings { streams: 3, audio: true, ..Settings::new(&server.url(), None) });
    let pictures = seen.sent.frames;
    assert!(seen.sent.packets > pictures, "sound beside {pictures} pictures");
}

#[test]
fn lost_packets_are_repaired() {
    let server = Server::start(&Server::default_binary(), None).unwrap();
    let seen = plays(&Settings { loss: 0.05, ..Settings::new(&server.url(), None) });
    assert!(seen.total.dropped > 0 && seen.total.repaired > 0, "{:?}", seen.total);
    assert!(seen.total.feedbacks > 0, "{:?}", seen.total);
}

#[test]
fn the_server_may_offer_and_the_stream_may_be_anothers() {
    let server = Server::start(&Server::default_binary(), None).unwrap();
    let ours = Settings::new(&server.url(), None);
    plays(&Settings { offers: Offers::Server, ..ours.clone() });
    // One thread plays one at a time, so the stream is another's.
    let (is_live, live) = channel();
    let (is_done, done) = channel::<()>();
    let settings = ours.clone();
    let published = std::thread::spawn(move || {
        let mut publisher = Load::start(&settings).unwrap();
        is_live.send(()).unwrap();
        while done.try_recv().is_err() {
            publisher.run_for(Duration::from_millis(20)).unwrap();
        }
        publisher.close();
    });
    live.recv().unwrap();
    let seen = plays(&Settings { source: Source::Attach, ..ours });
    is_done.send(()).unwrap();
    published.join().unwrap();
    assert_eq!(seen.sent.packets, 0);
}

#[test]
fn what_goes_wrong_is_said() {
    let server = Server::start(&Server::default_binary(), None).unwrap();
    let url = server.url();
    let settings = Settings { whip: format!("{url}/nowhere/{{stream}}/x"), ..Settings::new(&url, None) };
    let error = format!("{:#}", Load::start(&settings).err().unwrap());
    assert!(error.contains("check the URL"), "{error}");
    let mut load = Load::start(&Settings::new(&url, None)).unwrap();
    let joined = load.join(JoinPlan { viewers: 2, rate: 0.0, verify: 1.0 }).unwrap();
    assert_eq!(joined.joined, 2);
    load.open_window(0..2).unwrap();
    drop(server);
    let error = load.run_for(Duration::from_secs(60)).unwrap_err().to_string();
    assert!(error.contains("died") || error.contains("session"), "{error}");
    assert!(load.close_window().is_ok(), "what was seen can still be asked");
    let error = Load::start(&Settings::new(&url, None)).err().unwrap();
    assert!(format!("{error:#}").contains("nobody listens"), "{error:#}");
}

fn plays(settings: &Settings) -> Seen {
    let viewers = 4;
    let mut load = Load::start(settings).unwrap();
    let joined = load.join(JoinPlan { viewers, rate: 0.0, verify: 1.0 }).unwrap();
    let Joined { joined, failed, failure, .. } = joined;
    assert_eq!((joined, failed), (viewers, 0), "{:?}: {failure:?}", settings.video.codec);
    load.open_window(0..viewers).unwrap();
    load.run_for(Duration::from_secs(1)).unwrap();
    let seen = load.close_window().unwrap();
    load.close();
    assert_eq!((seen.damaged, seen.rejected, seen.wrong_timestamps), (0, 0, 0), "{seen:?}");
    assert!(seen.verified_packets > 0 && seen.total.packets > 0, "{seen:?}");
    seen
}
