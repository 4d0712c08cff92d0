//! Descriptions from strangers: what must hold before there is a session?

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use sfu::format::{Format, Published};
use sfu::negotiate::{self, Identity, Role, Stage, Unusable, text};
use str0m::ice::IceCreds;

use crate::peer::{Peer, Purpose};

/// A publisher's offer is answered or refused in words.
pub fn publisher_offer(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    match negotiate::publisher(identity(), Instant::now(), credentials(), &sdp) {
        Ok(session) => {
            answers(&session.sdp, &sdp);
            let sections = &session.negotiated.sections;
            assert!(!sections.is_empty() && sections.iter().all(|section| !section.formats.is_empty()));
            if let Stage::Whole { rtc, .. } = session.stage {
                survives_restart(rtc, Role::Publisher, &sdp);
            }
        }
        Err(error) => is_for_people(&error),
    }
}

/// A viewer's offer is answered or refused in words.
pub fn viewer_offer(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    for published in [Published::default(), published()] {
        match negotiate::viewer(identity(), Instant::now(), credentials(), &sdp, &published) {
            Ok(session) => {
                answers(&session.sdp, &sdp);
                assert!(!session.tracks.is_empty() && session.tracks.len() <= 2);
                if let Stage::Whole { rtc, .. } = session.stage {
                    survives_restart(rtc, Role::Viewer, &sdp);
                }
            }
            Err(error) => is_for_people(&error),
        }
    }
}

/// A viewer's answer to our offer is taken or refused in words.
pub fn viewer_answer(data: &[u8]) {
    let sdp = String::from_utf8_lossy(data);
    let Ok(session) = negotiate::offer_to_viewer(identity(), Instant::now(), credentials(), &Published::default())
    else {
        panic!("an offer can always be made");
    };
    let Stage::Offered { mut rtc, pending } = session.stage else { panic!("an offer waits for its answer") };
    match negotiate::accept_answer(&mut rtc, *pending, &sdp, &published()) {
        Ok((tracks, _)) => assert!(!tracks.is_empty() && tracks.len() <= 2),
        Err(error) => is_for_people(&error),
    }
}

fn survives_restart(mut rtc: Box<str0m::Rtc>, role: Role, offer: &str) {
    let result = negotiate::restart_ice(&mut rtc, role, offer, "abcd", "0123456789012345678901", credentials());
    let fragment = result.expect("what was answered once is answered again");
    assert!(fragment.contains(&format!("a=ice-ufrag:{}\r\n", credentials().ufrag)));
}

/// RFC 3264 §6: an answer has the sections of the offer, in their order; and their mids (RFC 5888
/// §9.1).
fn answers(answer: &str, offer: &str) {
    assert!(answer.starts_with("v=0"));
    let outline = |sdp: &str| -> Vec<(String, String)> {
        let of = |s: &text::Section<'_>| (s.kind.to_owned(), s.mid.unwrap_or_default().to_owned());
        text::sections(sdp).iter().map(of).collect()
    };
    assert_eq!(outline(answer), outline(offer), "{answer}");
    let grouped = text::first(answer, "a=group:BUNDLE").unwrap_or_default();
    for mid in grouped.split_ascii_whitespace() {
        assert!(text::sections(answer).iter().any(|s| s.mid == Some(mid) && s.port != "0"), "{answer}");
    }
    assert!(text::check(answer).is_ok(), "{answer}");
}

/// Checks an error text: one line, not empty, and without internals of this process. Quotes from
/// the description may contain anything.
fn is_for_people(error: &Unusable) {
    let words = error.to_string();
    assert!(!words.is_empty() && !words.contains('\n') && words.len() < 1_000, "{words}");
    assert!(!words.contains("cannot say which line"), "an offer that str0m did not take");
    assert!(!words.contains("Error {") && !words.contains("Error("), "{words}");
}

/// Offers of a real peer, and of those whose text is kept here.
pub fn offers() -> Vec<Vec<u8>> {
    let mut offers: Vec<_> =
        [Purpose::Publish, Purpose::Watch, Purpose::WatchAndTalk].map(|purpose| offer(purpose).into_bytes()).into();
    offers.extend([CHROMIUM, FFMPEG].map(|sdp| sdp.replace('\n', "\r\n").into_bytes()));
    offers
}

/// Answers of a real peer to our offer.
pub fn made_answers() -> Vec<Vec<u8>> {
    answer_to_our_offer().into_iter().map(String::into_bytes).collect()
}

fn answer_to_our_offer() -> Result<String, String> {
    let offer = negotiate::offer_to_viewer(identity(), Instant::now(), credentials(), &Published::default())
        .map_err(|e| e.to_string())?;
    Peer::new(Instant::now(), SocketAddr::from(([192, 0, 2, 7], 5_000))).answer(&offer.sdp)
}

fn offer(purpose: Purpose) -> String {
    Peer::new(Instant::now(), SocketAddr::from(([192, 0, 2, 7], 5_000))).offer(purpose)
}

fn published() -> Published {
    let format = |codec, profile| Some(Format { codec, profile });
    Published {
        audio: format(media::Codec::Opus, 0),
        video: format(media::Codec::H264, 1 << 16 | 0x42e0),
        ..Published::default()
    }
}

pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        const { assert!(text::MAX_BYTES <= 1 << 16) };
        Identity::new(vec![crate::world::SERVER])
    })
}

fn credentials() -> IceCreds {
    IceCreds { ufrag: "p0123456789abcdef".to_owned(), pass: "0123456789abcdef0123456789abcdef".to_owned() }
}

/// Parts that may be inserted.
pub const WORDS: &[&str] = &[
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "a=mid:0\r\n",
    "a=mid:\r\n",
    "a=mid:video-stream\r\n",
    "a=mid:0123456789abcdefXYZ\r\n",
    "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=inactive\r\na=rtpmap:96 H264/90000\r\n",
    "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:t\r\n",
    "b=TIAS:2500000\r\n",
    "a=fmtp:96 packetization-mode=1;profile-level-id=640c1f\r\n",
    "a=fmtp:96 profile-level-id=7A001F\r\n",
    "a=fmtp:45 level-idx=8;profile=0;tier=1\r\n",
    "a=rtpmap:98 H265/90000\r\na=fmtp:98 profile-id=2;tier-flag=1;level-id=153\r\n",
    "a=simulcast:send a;b;c;d\r\na=rid:a send\r\n",
    "a=group:BUNDLE 0 1\r\n",
    "a=group:BUNDLE\r\n",
    "a=rtpmap:255 VP8/90000\r\n",
    "a=rtpmap:96 H264/0\r\n",
    "a=rtpmap:96 opus/48000/65536\r\n",
    "a=fmtp:96 profile-level-id=ffffffff;packetization-mode=9\r\n",
    "a=fmtp:97 apt=97\r\n",
    "a=fmtp:97 apt=300\r\n",
    "a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    "a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    "a=extmap:256 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    "a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
    "a=fingerprint:sha-256 00\r\n",
    "a=fingerprint:sha-1 00:11\r\n",
    "a=setup:actpass\r\n",
    "a=setup:holdconn\r\n",
    "a=ice-ufrag:x\r\n",
    "a=ice-pwd:\r\n",
    "a=candidate:1 1 udp 4294967296 ::ffff:127.0.0.1 99999 typ host\r\n",
    "a=candidate:1 1 tcp 1 a.local 9 typ srflx raddr 0.0.0.0 rport 0 tcptype active\r\n",
    "a=end-of-candidates\r\n",
    "a=rid:h send pt=96;max-width=0\r\n",
    "a=simulcast:send h;~m,l recv x\r\n",
    "a=ssrc:4294967296 cname:x\r\n",
    "a=ssrc-group:FID 1\r\n",
    "a=ssrc-group:SIM 1 2 3\r\n",
    "a=sctp-port:99999\r\n",
    "a=max-message-size:18446744073709551616\r\n",
    "a=msid:- -\r\n",
    "a=recvonly\r\n",
    "a=sendonly\r\n",
    "a=inactive\r\n",
    "a=rtcp-mux\r\n",
    "a=rtcp-fb:* nack pli\r\n",
    "a=imageattr:* recv [x=[0:0:0]]\r\n",
    "b=AS:99999999999\r\n",
    "c=IN IP6 ::\r\n",
    "\u{0}",
    "ä\u{202e}",
    "\r",
];

/// What Chromium says, shortened.
const CHROMIUM: &str = "v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS s
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:4a8B
a=ice-pwd:by5GZGG1lw+040DWA6hXM5Bz
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=msid:s t0
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=ssrc:1399694169 cname:l/f
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 45 46
c=IN IP4 0.0.0.0
a=ice-ufrag:4a8B
a=ice-pwd:by5GZGG1lw+040DWA6hXM5Bz
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:1
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=sendonly
a=msid:s t1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:103 rtx/90000
a=fmtp:103 apt=102
a=rtpmap:45 AV1/90000
a=fmtp:45 level-idx=5;profile=0;tier=0
a=rtpmap:46 rtx/90000
a=fmtp:46 apt=45
a=ssrc-group:FID 2231627014 632943048
a=ssrc:2231627014 cname:l/f
a=ssrc:632943048 cname:l/f
";

/// What ffmpeg's WHIP muxer says.
const FFMPEG: &str = "v=0
o=FFmpeg 4489045141692799359 2 IN IP4 127.0.0.1
s=FFmpegPublishSession
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:9b2c6a15
a=ice-pwd:7f3d0b54c2e8a96f1d4e7b3a5c8f2e60
a=fingerprint:sha-256 51:01:00:8E:AB:1D:6B:9B:59:3B:90:2B:3E:F5:83:9F:27:A4:11:4E:34:93:4D:56:62:79:D5:FA:A7:6A:12:B4
a=setup:passive
a=mid:0
a=sendonly
a=msid:FFmpeg audio
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=ssrc:3301122334 cname:FFmpeg
m=video 9 UDP/TLS/RTP/SAVPF 106
c=IN IP4 0.0.0.0
a=ice-ufrag:9b2c6a15
a=ice-pwd:7f3d0b54c2e8a96f1d4e7b3a5c8f2e60
a=fingerprint:sha-256 51:01:00:8E:AB:1D:6B:9B:59:3B:90:2B:3E:F5:83:9F:27:A4:11:4E:34:93:4D:56:62:79:D5:FA:A7:6A:12:B4
a=setup:passive
a=mid:1
a=sendonly
a=msid:FFmpeg video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42c01f
a=ssrc:2211223344 cname:FFmpeg
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_offer_can_be_answered() {
        answer_to_our_offer().expect("what we offer is SDP that others take");
    }
}
