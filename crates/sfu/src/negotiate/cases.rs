//! Offers and answers as clients write them, and what each gets.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;

const FINGERPRINT: &str = "a=fingerprint:sha-256 03:0A:11:18:1F:26:2D:34:3B:42:49:50:57:5E:65:6C:73:7A:81:88:8F:96:9D:A4:\
     AB:B2:B9:C0:C7:CE:D5:DC";
const H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// Builds a description.
#[derive(Clone)]
struct Sdp {
    group: Option<String>,
    session: Vec<String>,
    sections: Vec<Vec<String>>,
}

impl Sdp {
    /// Opus in section `a`, H.264 with `fmtp` in section `v`.
    fn new(direction: &str, fmtp: &str) -> Sdp {
        Sdp { group: Some("a v".to_owned()), session: Vec::new(), sections: Vec::new() }
            .section("audio", "a", direction, "111", &["a=rtpmap:111 opus/48000/2"])
            .section("video", "v", direction, "96", &["a=rtpmap:96 H264/90000", &format!("a=fmtp:96 {fmtp}")])
    }

    fn section(mut self, kind: &str, mid: &str, direction: &str, numbers: &str, lines: &[&str]) -> Sdp {
        let mut section = vec![format!("m={kind} 9 UDP/TLS/RTP/SAVPF {numbers}"), "c=IN IP4 0.0.0.0".to_owned()];
        let common = ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901ab", FINGERPRINT, "a=setup:actpass"];
        section.extend(common.map(str::to_owned));
        section.push(format!("a=mid:{mid}"));
        section.push("a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid".to_owned());
        section.push(format!("a={direction}"));
        section.push("a=rtcp-mux".to_owned());
        section.extend(lines.iter().map(|line| (*line).to_owned()));
        self.sections.push(section);
        self
    }

    /// Replaces `from` by `to` in section `n`; a line that becomes empty is left out.
    fn with(mut self, n: usize, from: &str, to: &str) -> Sdp {
        for line in &mut self.sections[n] {
            *line = line.replace(from, to);
        }
        self.sections[n].retain(|line| !line.is_empty());
        self
    }

    fn plus(mut self, n: usize, line: &str) -> Sdp {
        self.sections[n].push(line.to_owned());
        self
    }

    fn group(mut self, group: Option<&str>) -> Sdp {
        self.group = group.map(str::to_owned);
        self
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = ["v=0", "o=- 4611 2 IN IP4 127.0.0.1", "s=-", "t=0 0"].map(str::to_owned).into();
        lines.extend(self.group.as_ref().map(|group| format!("a=group:BUNDLE {group}")));
        lines.extend(self.session.iter().cloned());
        lines.extend(self.sections.iter().flatten().cloned());
        lines.push(String::new());
        lines.join("\r\n")
    }
}

fn identity() -> Identity {
    Identity::new(vec![SocketAddr::from(([192, 0, 2, 1], 7_882))])
}

fn credentials() -> IceCreds {
    IceCreds { ufrag: "p0123456789abcdef".to_owned(), pass: "0123456789abcdef0123456789abcdef".to_owned() }
}

fn publish(sdp: &Sdp) -> Result<PublisherOffer, Unusable> {
    publisher(&identity(), Instant::now(), credentials(), &sdp.text())
}

fn watch(sdp: &Sdp, published: &Published) -> Result<ViewerOffer, Unusable> {
    viewer(&identity(), Instant::now(), credentials(), &sdp.text(), published)
}

/// Returns of each section of an answer: kind, whether it is accepted, and mid.
fn outline(sdp: &str) -> Vec<(String, bool, String)> {
    let of = |s: &text::Section<'_>| (s.kind.to_owned(), s.port != "0", s.mid.unwrap_or("-").to_owned());
    text::sections(sdp).iter().map(of).collect()
}

fn is_whole(answer: &str, offer: &Sdp) {
    assert!(outline(answer).iter().all(|(_, is_taken, _)| *is_taken), "{answer}");
    let mids = |sdp: &str| text::sections(sdp).iter().map(|s| s.mid.map(str::to_owned)).collect::<Vec<_>>();
    assert_eq!(mids(answer), mids(&offer.text()), "{answer}");
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, Unusable>, words: &[&str]) {
    let error = result.expect_err(words[0]);
    assert!(matches!(error, Unusable::Unacceptable { .. }), "{error:?}");
    let said = error.to_string();
    words.iter().for_each(|words| assert!(said.contains(words), "{said}"));
}

fn is_malformed<T: std::fmt::Debug>(result: Result<T, Unusable>, words: &[&str]) {
    let error = result.expect_err(words[0]);
    assert!(matches!(error, Unusable::Malformed(_)), "{error:?}");
    let said = error.to_string();
    words.iter().for_each(|words| assert!(said.contains(words), "{said}"));
}

#[test]
fn formats_that_decoders_take_are_answered_in_the_peers_own_words() {
    for fmtp in [
        H264,
        "packetization-mode=1;profile-level-id=640c1f",
        "packetization-mode=1;profile-level-id=640828",
        "packetization-mode=0;profile-level-id=640808",
        "profile-level-id=64001f",
        "packetization-mode=1;profile-level-id=64C033",
        "packetization-mode=1; profile-level-id=4D401F",
        "packetization-mode=1;profile-level-id=f4001f",
        "profile-level-id=f4001f",
    ] {
        let echo = format!("a=fmtp:96 {}\r\n", fmtp.replace("; ", ";"));
        let offer = Sdp::new("sendonly", fmtp);
        let opened = publish(&offer).expect(fmtp);
        is_whole(&opened.sdp, &offer);
        assert!(opened.sdp.contains(&echo), "{}", opened.sdp);
        assert_eq!(opened.negotiated.sections.iter().map(|t| t.formats[0].0).collect::<Vec<_>>(), [111, 96], "{fmtp}");
        let offer = Sdp::new("recvonly", fmtp);
        let opened = watch(&offer, &Published::default()).expect(fmtp);
        is_whole(&opened.sdp, &offer);
        assert!(opened.sdp.contains(&echo), "{}", opened.sdp);
        assert_eq!(opened.tracks.len(), 2);
    }
    for (rtpmap, fmtp) in [
        ("AV1", "level-idx=8;profile=0;tier=1"),
        ("AV1", "profile=0"),
        ("av1", "profile=1;level-idx=13"),
        ("H265", "level-id=156;profile-id=1;tier-flag=1;tx-mode=SRST"),
        ("H265", "profile-id=2;level-id=93"),
        ("VP9", "profile-id=3"),
        ("VP8", "max-fr=30"),
    ] {
        let named = |sdp: Sdp| sdp.with(1, "H264", rtpmap);
        let offer = named(Sdp::new("sendonly", fmtp));
        let opened = publish(&offer).expect(fmtp);
        is_whole(&opened.sdp, &offer);
        assert!(opened.sdp.contains(&format!("a=fmtp:96 {fmtp}\r\n")), "{}", opened.sdp);
        let offer = named(Sdp::new("recvonly", fmtp));
        is_whole(&watch(&offer, &Published::default()).expect(fmtp).sdp, &offer);
    }
}

#[test]
fn what_the_publishers_stream_begins_with_is_not_answered() {
    let opened = publish(&Sdp::new("sendonly", &format!("{H264};sprop-parameter-sets=Z0LAH4,aM48gA=="))).unwrap();
    assert!(opened.sdp.contains(&format!("a=fmtp:96 {H264}\r\n")), "{}", opened.sdp);
}

#[test]
fn a_section_in_which_nothing_is_usable_refuses_the_whole_offer() {
    for (codec, fmtp, words) in [
        (
            "H264",
            "profile-level-id=7a001f",
            &["section video (mid v, line", "H.264 High 4:2:2 (profile-level-id=7a001f)", "yuv420p", "OBS"][..],
        ),
        ("H264", "profile-level-id=6e001f", &["High 10", "profile=high"]),
        ("H265", "profile-id=4;level-id=93", &["H.265 Range Extensions", "-profile:v main"]),
        ("AV1", "profile=2", &["AV1 Professional", "yuv420p"]),
        ("theora", "x=1", &["theora/90000", "set the video encoder to"]),
    ] {
        is_refused(publish(&Sdp::new("sendonly", fmtp).with(1, "H264", codec)), words);
        let viewer = watch(&Sdp::new("recvonly", fmtp).with(1, "H264", codec), &Published::default());
        is_refused(viewer, &["section video (mid v, line", "offer H.264"]);
    }
    let pcmu = |direction| Sdp::new(direction, H264).with(0, "opus/48000/2", "PCMU/8000");
    is_refused(publish(&pcmu("sendonly")), &["section audio (mid a, line 6)", "PCMU/8000", "Opus"]);
    is_refused(watch(&pcmu("recvonly"), &Published::default()), &["section audio", "offer Opus"]);
    let unmapped = Sdp::new("sendonly", H264).with(1, "a=rtpmap:96 H264/90000", "");
    is_refused(publish(&unmapped), &["no codec in the payload types “96”"]);
}

#[test]
fn sections_of_the_wrong_direction_or_of_a_second_track_are_refused() {
    is_refused(publish(&Sdp::new("recvonly", H264)), &["section audio (mid a, line 6) is recvonly", "/whep/"]);
    is_refused(publish(&Sdp::new("sendonly", H264).with(1, "a=sendonly", "a=recvonly")), &["section video (mid v"]);
    is_refused(watch(&Sdp::new("sendonly", H264), &Published::default()), &["is sendonly", "/whip/"]);
    for (kind, number, rtpmap) in
        [("video", "97", "a=rtpmap:97 VP8/90000"), ("audio", "111", "a=rtpmap:111 opus/48000/2")]
    {
        let two =
            |direction| Sdp::new(direction, H264).section(kind, "b", direction, number, &[rtpmap]).group(Some("a v b"));
        is_refused(
            publish(&two("sendonly")),
            &[&format!("section {kind} (mid b, line"), "the second", "another stream name"],
        );
        is_refused(watch(&two("recvonly"), &Published::default()), &["the second", "a session of its own"]);
        let idle = two("sendonly").with(2, "a=sendonly", "a=inactive");
        let opened = publish(&idle).expect("an idle section asks for nothing");
        is_whole(&opened.sdp, &idle);
        assert!(opened.sdp.contains("a=group:BUNDLE a v b\r\n"), "{}", opened.sdp);
        assert_eq!(text::sections(&opened.sdp)[2].direction, "inactive");
    }
    let none = Sdp::new("inactive", H264);
    is_refused(publish(&none), &["no audio or video section sends"]);
}

#[test]
fn the_peers_own_names_come_back() {
    let long = ["0c6f2a64-0000-4000-8000-aaaaaaaaaaaa", "1c6f2a64-0000-4000-8000-bbbbbbbbbbbb"];
    for [audio, video] in
        [["audio-stream", "video-stream"], long, ["same-16-letters-a", "same-16-letters-b"], ["a_", "a-"]]
    {
        for direction in ["sendonly", "recvonly"] {
            let offer = Sdp::new(direction, H264)
                .with(0, "a=mid:a", &format!("a=mid:{audio}"))
                .with(1, "a=mid:v", &format!("a=mid:{video}"))
                .group(Some(&format!("{audio} {video}")));
            let answer = if direction == "sendonly" {
                publish(&offer).map(|opened| opened.sdp)
            } else {
                watch(&offer, &Published::default()).map(|opened| {
                    assert_eq!(opened.tracks.iter().map(|t| t.mid.as_str()).collect::<Vec<_>>(), [audio, video]);
                    opened.sdp
                })
            };
            let answer = answer.expect(audio);
            is_whole(&answer, &offer);
            assert!(answer.contains(&format!("a=group:BUNDLE {audio} {video}\r\n")), "{answer}");
        }
    }
}

#[test]
fn one_section_needs_no_group_and_no_mid_and_several_need_both() {
    let mut alone = Sdp::new("sendonly", H264).group(None);
    alone.sections.remove(0);
    let opened = publish(&alone).unwrap();
    is_whole(&opened.sdp, &alone);
    assert!(!opened.sdp.contains("a=group"), "{}", opened.sdp);
    let nameless = alone.with(0, "a=mid:v", "");
    let opened = publish(&nameless).unwrap();
    assert!(!opened.sdp.contains("a=mid") && !opened.sdp.contains("sdes:mid"), "{}", opened.sdp);
    is_malformed(publish(&Sdp::new("sendonly", H264).group(None)), &["section audio (mid a, line 5)", "max-bundle"]);
    is_malformed(publish(&Sdp::new("sendonly", H264).group(Some("a"))), &["section video (mid v", "max-bundle"]);
    let opened = publish(&Sdp::new("sendonly", H264).group(Some("v a"))).unwrap();
    assert!(opened.sdp.contains("a=group:BUNDLE v a\r\n"), "{}", opened.sdp);
}

#[test]
fn lines_that_str0m_does_not_read_do_no_harm() {
    let good = Sdp::new("sendonly", H264);
    let mut at_session_level = good.clone().with(0, "a=sendonly", "").with(1, "a=sendonly", "");
    at_session_level.session = vec!["a=sendonly".to_owned(), "a=group:LS a v".to_owned()];
    let mut transport_at_session_level = good.clone();
    for n in [0, 1] {
        transport_at_session_level.sections[n]
            .retain(|l| !["a=ice-", "a=fingerprint:", "a=setup:"].iter().any(|prefix| l.starts_with(prefix)));
    }
    transport_at_session_level.session =
        ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901ab", FINGERPRINT, "a=setup:active"]
            .map(str::to_owned)
            .into();
    for offer in [
        good.clone().with(1, "a=mid:v", "b=AS:2500\r\nb=TIAS:2500000\r\na=mid:v"),
        good.clone().with(0, "a=sendonly", "").with(1, "a=sendonly", ""),
        at_session_level,
        transport_at_session_level,
        good.clone().plus(1, "a=ssrc:5\r\na=ssrc:6\r\na=ssrc-group:FID 5 6"),
        good.clone().with(1, "UDP/TLS/RTP/SAVPF", "RTP/SAVPF"),
        good.clone().with(1, "m=video 9", "m=video 0"),
        good.clone().plus(0, "a=extmap:15 urn:x\r\na=extmap:4 urn:y\r\na=candidate:none"),
    ] {
        let opened = publish(&offer).unwrap_or_else(|error| panic!("{error}: {}", offer.text()));
        is_whole(&opened.sdp, &offer);
        assert!(text::sections(&opened.sdp).iter().all(|s| s.direction == "recvonly"), "{}", opened.sdp);
        let fragment = text::with_our_credentials(&text::ice_fragment(&opened.sdp), "efgh", &"x".repeat(22));
        assert!(fragment.contains("a=mid:a\r\n"), "{fragment}");
    }
    let unix = good.text().replace("\r\n", "\n");
    assert!(publisher(&identity(), Instant::now(), credentials(), &unix).is_ok());
}

#[test]
fn rejected_and_unknown_sections_stay_in_their_places() {
    let extra = ["a=rtpmap:96 H264/90000"];
    for (kind, group) in [("video", "a v"), ("audio", "a v"), ("text", "a v x")] {
        for first in [false, true] {
            let mut offer = Sdp::new("sendonly", H264).section(kind, "x", "inactive", "96", &extra).group(Some(group));
            if kind != "text" {
                offer = offer.with(2, " 9 UDP", " 0 UDP");
            }
            if first {
                offer.sections.rotate_right(1);
            }
            let opened = publish(&offer).unwrap_or_else(|error| panic!("{error}: {}", offer.text()));
            let found = outline(&opened.sdp);
            assert_eq!(found.len(), 3);
            assert_eq!(found[if first { 0 } else { 2 }], (kind.to_owned(), false, "x".to_owned()));
            assert!(opened.sdp.contains("a=group:BUNDLE a v\r\n"), "{}", opened.sdp);
        }
    }
}

#[test]
fn faults_are_named_with_their_line_and_the_remedy() {
    let good = || Sdp::new("sendonly", H264);
    is_malformed(
        publish(&good().with(0, "a=ice-ufrag:abcd", "a=ice-ufrag:a-d")),
        &["line 8 (a=ice-ufrag)", "4 to 256"],
    );
    is_malformed(
        publish(&good().with(0, "a=ice-pwd:0123456789012345678901ab", "a=ice-pwd:short")),
        &["line 9 (a=ice-pwd)"],
    );
    is_malformed(
        publish(&good().plus(0, "a=ssrc:7 cname:x").plus(1, "a=ssrc:7 cname:x")),
        &["line 30 (a=ssrc:7 cname:x)"],
    );
    is_malformed(publish(&good().with(1, "a=mid:v", "a=mid:a").group(Some("a"))), &["has the a=mid of section audio"]);
    is_malformed(publish(&good().with(1, "96", "111")), &["payload type 111 means two things"]);
    is_malformed(publish(&good().plus(1, "a=simulcast:send a-b;c")), &["the rid “a-b”"]);
    is_refused(publish(&good().with(0, "a=rtcp-mux", "")), &["section audio (mid a, line 6) has no a=rtcp-mux"]);
    is_refused(
        publish(&good().plus(1, "a=simulcast:send a;b;c;d;e")),
        &["offers 5 simulcast encodings", "Total Layers"],
    );
    let mut lite = good();
    lite.session.push("a=ice-lite".to_owned());
    is_malformed(publish(&lite), &["line 6 (a=ice-lite)", "full ICE agent"]);
}

#[test]
fn four_encodings_are_answered() {
    let rids: String = (0..4).map(|n| format!("a=rid:{n} send\r\n")).collect();
    let offer = Sdp::new("sendonly", H264).plus(
        1,
        &format!("a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n{rids}a=simulcast:send 0;1;2;3"),
    );
    let opened = publish(&offer).unwrap();
    assert!(opened.sdp.contains("a=simulcast:recv 0;1;2;3\r\n"), "{}", opened.sdp);
    assert_eq!(opened.negotiated.sections[1].rids.len(), 4);
}

#[test]
fn opus_is_answered_with_the_parameters_of_the_offer() {
    let answered = |fmtp: &str| {
        let opened = publish(&Sdp::new("sendonly", H264).plus(0, &format!("a=fmtp:111 {fmtp}"))).unwrap();
        text::first(&opened.sdp, "a=fmtp:111 ").map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(answered("stereo=1;usedtx=1"), "stereo=1;usedtx=1");
    assert_eq!(answered("useinbandfec=1;sprop-stereo=1"), "useinbandfec=1;sprop-stereo=1;stereo=1");
}

#[test]
fn payload_types_are_answered_in_the_order_of_the_offer() {
    let lines = ["a=rtpmap:102 VP9/90000", "a=rtpmap:96 VP8/90000", "a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96"];
    let mut offer = Sdp::new("sendonly", H264);
    offer.sections.truncate(1);
    let opened = publish(&offer.section("video", "v", "sendonly", "102 103 96 97", &lines)).unwrap();
    assert!(opened.sdp.contains("m=video 9 UDP/TLS/RTP/SAVPF 102 96 97\r\n"), "{}", opened.sdp);
}

#[test]
fn descriptors_are_taken_from_publishers_that_prefer_av1_only() {
    let of = |first: &str, second: &str| {
        let lines = [format!("a=rtpmap:45 {first}/90000"), format!("a=rtpmap:96 {second}/90000")];
        let mut offer = Sdp::new("sendonly", H264);
        offer.sections.truncate(1);
        let extmap = format!("a=extmap:8 {}", descriptor::URI);
        let offer = offer.section("video", "v", "sendonly", "45 96", &[&lines[0], &lines[1], &extmap]);
        publish(&offer).unwrap().sdp.contains(descriptor::URI)
    };
    assert!(of("AV1", "VP8") && !of("VP8", "AV1"));
}

#[test]
fn viewer_is_refused_codecs_that_it_cannot_decode() {
    let published = |codec, profile| Published { video: Some(Format { codec, profile }), ..Published::default() };
    let offer = Sdp::new("recvonly", H264);
    assert!(watch(&offer, &published(Codec::H264, 0x1_6400)).is_ok(), "decoders of H.264 take all of 4:2:0");
    for (codec, profile, name) in [(Codec::H264, 0x1_f400, "H264 High 4:4:4 Predictive"), (Codec::H265, 1, "H265")] {
        let refused = watch(&offer, &published(codec, profile)).expect_err(name);
        assert!(matches!(&refused, Unusable::CannotDecode { published, .. } if *published == name), "{refused:?}");
    }
}

#[test]
fn an_answer_to_our_offer_is_read_by_the_same_rules() {
    let answered = |change: &dyn Fn(Sdp) -> Sdp| {
        let opened = offer_to_viewer(&identity(), Instant::now(), credentials(), &Published::default()).unwrap();
        let Stage::Offered { mut rtc, pending } = opened.stage else { panic!("it waits") };
        let mids: Vec<String> = text::sections(&opened.sdp).iter().filter_map(|s| s.mid.map(str::to_owned)).collect();
        let vp8 = opened.sdp.lines().find_map(|l| l.strip_prefix("a=rtpmap:")?.strip_suffix(" VP8/90000")).unwrap();
        let sdp = Sdp::new("recvonly", "x=1")
            .with(0, "a=mid:a", &format!("a=mid:{}", mids[0]))
            .with(1, "a=mid:v", &format!("a=mid:{}", mids[1]))
            .with(1, "96", vp8)
            .with(1, "H264", "VP8")
            .with(0, "actpass", "active")
            .group(Some(&mids.join(" ")));
        let sdp = change(sdp);
        accept_answer(&mut rtc, *pending, &sdp.text(), &Published::default()).map(|(tracks, _)| tracks.len())
    };
    assert_eq!(answered(&|sdp| sdp).unwrap(), 2);
    let without_video = answered(&|mut sdp| {
        let audio = sdp.group.clone().unwrap().split(' ').next().map(str::to_owned);
        sdp.group = audio;
        sdp.with(1, " 9 UDP", " 0 UDP")
    });
    assert_eq!(without_video.unwrap(), 1, "it may decline one");
    is_refused(answered(&|sdp| sdp.with(0, "opus/48000/2", "PCMU/8000")), &["section audio"]);
    is_refused(answered(&|sdp| sdp.with(0, "a=recvonly", "a=sendonly")), &["is sendonly"]);
    let fewer = answered(&|mut sdp| {
        sdp.sections.truncate(1);
        sdp.group(None)
    });
    is_malformed(fewer, &["its m= sections are not those of the offer"]);
}

#[test]
fn server_offer_lists_the_published_codec_first_and_opus_before_its_redundant_form() {
    for (codec, profile, rtpmap) in [
        (Codec::Vp8, 0, "VP8/90000"),
        (Codec::Vp9, 0, "VP9/90000"),
        (Codec::Av1, 0, "AV1/90000"),
        (Codec::H265, 1, "H265/90000"),
        (Codec::H264, 0x1_6400, "H264/90000"),
    ] {
        let published = Published { video: Some(Format { codec, profile }), ..Published::default() };
        let opened = offer_to_viewer(&identity(), Instant::now(), credentials(), &published).unwrap();
        let first = |kind: &str| {
            let section = opened.sdp.lines().find(|line| line.starts_with(&format!("m={kind} "))).unwrap();
            let number = section.split(' ').nth(3).unwrap().to_owned();
            text::first(&opened.sdp, &format!("a=rtpmap:{number} ")).unwrap().to_owned()
        };
        assert_eq!((first("audio").as_str(), first("video").as_str()), ("opus/48000/2", rtpmap));
    }
}
