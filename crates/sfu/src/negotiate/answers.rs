//! Was an equal offer answered before?
//!
//! Browsers of one kind make equal offers except for names, passwords, certificates and candidates,
//! and at the start of an event thousands of them join at once. Reading an offer and writing its
//! answer costs several times as much as copying an answer with other names in it. Therefore the
//! last few answers are kept.
//!
//! Invariant: lines that the comparison ignores decide nothing in an answer. An offer with an
//! unexpected form is read in full.

use std::collections::HashMap;
use std::time::Instant;

use str0m::ice::IceCreds;

use super::{Identity, Secured, Stage, Unusable, ViewerOffer, can_decode, text};
use crate::format::Published;
use crate::viewer::subscription::NegotiatedTrack;

/// Answers to viewers' offers that may be repeated.
#[derive(Default)]
pub struct Answers {
    kept: HashMap<String, Kept>,
    /// Counts lookups: the answer that was unused for longest is dropped first.
    asked: u64,
}

struct Kept {
    answer: String,
    mids: Vec<String>,
    tracks: Vec<NegotiatedTrack>,
    asked_at: u64,
}

/// Number of answers kept; there are about five kinds of browsers, each with its versions.
const MAX_KEPT: usize = 32;

/// Longer offers are not kept: Chromium's has 6 KiB. With [`MAX_KEPT`], a desk keeps 1 MiB at most.
const MAX_OFFER_BYTES: usize = 16 * 1024;

/// Longer names do not fit everywhere (RFC 8285 §4.2: 16 bytes with a one-byte header).
const MAX_MID_BYTES: usize = 16;

/// Most m-lines of a kept offer. A viewer has one for sound and one for pictures; a few more may be
/// rejected.
const MAX_MIDS: usize = 8;

/// Lines that name the sender of an offer and its addresses, which an ICE-lite agent does not use.
/// Certificates are read for every session. The SSRCs and streams of a viewer name no media.
const OF_ONE_SESSION: [&str; 10] = [
    "o=",
    "c=",
    "a=rtcp:",
    "a=candidate:",
    "a=end-of-candidates",
    "a=fingerprint:",
    "a=msid:",
    "a=msid-semantic:",
    "a=ssrc:",
    "a=ssrc-group:",
];

impl Answers {
    /// Answers a viewer's offer, like [`super::viewer`]. `random` gives new SSRCs.
    ///
    /// # Errors
    ///
    /// [`Unusable`], in words for the viewer.
    pub fn answer(
        &mut self,
        identity: &Identity,
        now: Instant,
        credentials: IceCreds,
        offer: &str,
        published: &Published,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<ViewerOffer, Unusable> {
        text::check(offer).map_err(Unusable::Malformed)?;
        self.asked += 1;
        let Some(Kind { text: kind, mids }) = Kind::of(offer) else {
            return super::viewer(identity, now, credentials, offer, published);
        };
        if let Some(kept) = self.kept.get_mut(&kind) {
            kept.asked_at = self.asked;
            can_decode(&kept.tracks, published, offer)?;
            return kept.copy(&credentials, &mids, Secured::of(offer)?, random);
        }
        let opened = super::viewer(identity, now, credentials, offer, published)?;
        if matches!(opened.stage, Stage::Agreed(_)) {
            let mids = mids.into_iter().map(str::to_owned).collect();
            let (answer, tracks) = (opened.sdp.clone(), opened.tracks.clone());
            self.keep(kind, Kept { answer, mids, tracks, asked_at: self.asked });
        }
        Ok(opened)
    }

    fn keep(&mut self, kind: String, kept: Kept) {
        if self.kept.len() >= MAX_KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.asked_at).map(|(kind, _)| kind.clone());
            oldest.map(|oldest| self.kept.remove(&oldest));
        }
        self.kept.insert(kind, kept);
    }
}

impl Kept {
    /// Returns the same answer for another session: with other credentials, names of m-lines and
    /// SSRCs.
    fn copy(
        &self,
        credentials: &IceCreds,
        mids: &[&str],
        secured: Secured,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<ViewerOffer, Unusable> {
        let mut tracks = self.tracks.clone();
        let mids: Vec<_> = self.mids.iter().map(String::as_str).zip(mids.iter().copied()).collect();
        for track in &mut tracks {
            if let Some((_, new)) = mids.iter().find(|(old, _)| *old == track.mid) {
                track.mid = (*new).to_owned();
            }
        }
        let mut renamed: Vec<(u32, u32)> = Vec::new();
        for ssrc in tracks.iter_mut().flat_map(|track| [Some(&mut track.ssrc), track.rtx_ssrc.as_mut()]).flatten() {
            let new = loop {
                let new = random() as u32;
                if new != 0 && renamed.iter().all(|(_, taken)| *taken != new) {
                    break new;
                }
            };
            renamed.push((std::mem::replace(ssrc, new), new));
        }
        let sdp = text::renamed(&self.answer, &renamed, &mids);
        let sdp = text::with_our_credentials(&sdp, &credentials.ufrag, &credentials.pass);
        Ok(ViewerOffer { sdp, tracks, stage: Stage::Agreed(secured) })
    }
}

/// An offer without the lines that differ from session to session, and the names of its m-lines.
struct Kind<'a> {
    text: String,
    mids: Vec<&'a str>,
}

impl<'a> Kind<'a> {
    /// Reads an offer; `None` if it is not to be kept.
    fn of(offer: &'a str) -> Option<Kind<'a>> {
        if offer.len() > MAX_OFFER_BYTES {
            return None;
        }
        let mids: Vec<_> = offer.lines().filter_map(|line| line.strip_prefix("a=mid:")).take(MAX_MIDS + 1).collect();
        if mids.len() > MAX_MIDS {
            return None;
        }
        let is_plain =
            |mid: &str| (1..=MAX_MID_BYTES).contains(&mid.len()) && mid.bytes().all(|b| b.is_ascii_alphanumeric());
        if !mids.iter().enumerate().all(|(n, mid)| is_plain(mid) && !mids.iter().take(n).any(|other| other == mid)) {
            return None;
        }
        let mut text = String::with_capacity(offer.len());
        for line in offer.lines() {
            if OF_ONE_SESSION.iter().any(|prefix| line.starts_with(prefix)) {
                continue;
            }
            // The values are checked for every session, like certificates.
            if line.starts_with("a=ice-ufrag:") {
                text.push_str("a=ice-ufrag:\n");
            } else if line.starts_with("a=ice-pwd:") {
                text.push_str("a=ice-pwd:\n");
            } else if line.starts_with("a=mid:") {
                // Mids come in the order of `mids`.
                text.push_str("a=mid:\n");
            } else if let Some(group) = line.strip_prefix("a=group:") {
                text.push_str("a=group:");
                for word in group.split(' ') {
                    match mids.iter().position(|mid| *mid == word) {
                        Some(n) => text.extend(['#', char::from_digit(n as u32, 10)?, ' ']),
                        None => text.extend([word, " "]),
                    }
                }
                text.push('\n');
            } else if let Some(media) = line.strip_prefix("m=") {
                // Any port but 0 means the same: the section is offered.
                let mut words = media.splitn(3, ' ');
                let (name, port, rest) = (words.next()?, words.next()?, words.next()?);
                port.parse::<u16>().ok()?;
                text.extend(["m=", name, if port == "0" { " 0 " } else { " 9 " }, rest, "\n"]);
            } else {
                text.extend([line, "\n"]);
            }
        }
        Some(Kind { text, mids })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use media::Codec;
    use str0m::media::{Direction, MediaKind};
    use str0m::{Candidate, Rtc};

    use super::*;
    use crate::format::Format;

    fn offer(port: u16) -> String {
        let mut rtc = Rtc::builder().build(Instant::now());
        let address = SocketAddr::from(([192, 0, 2, 7], port));
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let mut changes = rtc.sdp_api();
        for kind in [MediaKind::Audio, MediaKind::Video] {
            changes.add_media(kind, Direction::RecvOnly, None, None, None);
        }
        changes.apply().unwrap().0.to_sdp_string()
    }

    fn credentials(n: u64) -> IceCreds {
        IceCreds { ufrag: format!("v{n:018x}"), pass: format!("{n:032x}") }
    }

    #[test]
    fn an_offer_of_gstreamer_gets_sound_and_candidates_where_they_are_read() {
        let from = |channels: &str, audio: &str| {
            let transport = "a=ice-ufrag:RtJWb9Wq\r\na=ice-pwd:QQNVsnVz7hP0i3LRTgC5YsLNHhg5HVgK\r\na=setup:actpass\r\na=rtcp-mux\r\n\
                a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";
            format!(
                "v=0\r\no=- 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio0 video1\r\n\
                 m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n{transport}a=recvonly\r\n\
                 a=rtpmap:96 {audio}{channels}\r\na=mid:audio0\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 101\r\nc=IN IP4 0.0.0.0\r\n{transport}a=recvonly\r\n\
                 a=rtpmap:101 VP8/90000\r\na=mid:video1\r\n"
            )
        };
        for offer in [from("", "OPUS/48000"), from("/2", "OPUS/48000")] {
            let viewer = Door::new().ask(&offer, &Published::default()).unwrap();
            let kinds: Vec<_> = viewer.tracks.iter().map(|track| track.kind).collect();
            assert!(kinds.contains(&media::MediaKind::Audio), "{}", viewer.sdp);
            assert!(kinds.contains(&media::MediaKind::Video), "{}", viewer.sdp);
            let used =
                text::split_sections(&viewer.sdp).into_iter().skip(1).find(|section| !text::is_rejected(section));
            assert!(used.is_some_and(|section| section.contains("a=candidate:")), "{}", viewer.sdp);
            assert!(text::ice_fragment(&viewer.sdp).contains("a=candidate:"), "{}", viewer.sdp);
        }
        let refused = Door::new().ask(&from("", "PCMA/8000"), &Published::default()).expect_err("no Opus");
        assert!(refused.to_string().contains("PCMA/8000"), "{refused}");
    }

    struct Door {
        identity: Identity,
        answers: Answers,
        asked: u64,
    }

    impl Door {
        fn new() -> Door {
            let identity = Identity::new(vec![SocketAddr::from(([192, 0, 2, 1], 7_882))]);
            Door { identity, answers: Answers::default(), asked: 0 }
        }

        fn ask(&mut self, offer: &str, published: &Published) -> Result<ViewerOffer, Unusable> {
            self.asked += 1;
            let mut next = self.asked * 1_000;
            let mut random = || {
                next += 1;
                next
            };
            let credentials = credentials(self.asked);
            self.answers.answer(&self.identity, Instant::now(), credentials, offer, published, &mut random)
        }
    }

    /// Returns an answer without the parts that may differ between two answers to the same offer.
    fn without_names(sdp: &str) -> String {
        let named =
            |line: &&str| !["o=", "a=ssrc", "a=ice-", "a=candidate:", "a=msid"].iter().any(|p| line.starts_with(p));
        sdp.lines().filter(named).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn copied_answer_equals_a_new_one() {
        let mut door = Door::new();
        let published = Published::default();
        door.ask(&offer(5_000), &published).unwrap();
        let again = offer(6_000);
        let copied = door.ask(&again, &published).unwrap();
        assert_eq!(door.answers.kept.len(), 1, "the same kind");
        let anew =
            crate::negotiate::viewer(&door.identity, Instant::now(), credentials(2), &again, &published).unwrap();
        assert_eq!(without_names(&copied.sdp), without_names(&anew.sdp));
        assert_eq!(text::ice_fragment(&copied.sdp), text::ice_fragment(&anew.sdp));
        assert_eq!(copied.tracks.len(), anew.tracks.len());
        for (copied_track, track) in copied.tracks.iter().zip(&anew.tracks) {
            assert_eq!((copied_track.kind, &copied_track.mid), (track.kind, &track.mid));
            assert_eq!(copied_track.formats, track.formats);
            assert_eq!(copied_track.extensions, track.extensions);
            assert_ne!(copied_track.ssrc, track.ssrc);
            for ssrc in [Some(copied_track.ssrc), copied_track.rtx_ssrc].into_iter().flatten() {
                assert!(copied.sdp.contains(&format!("a=ssrc:{ssrc} cname:")), "{}", copied.sdp);
            }
        }
        let (Stage::Agreed(copied), Stage::Agreed(anew)) = (copied.stage, anew.stage) else { panic!("no channel") };
        assert_eq!(copied, anew, "the fingerprint of the second offer");
    }

    #[test]
    fn published_codec_is_checked_every_time() {
        let mut door = Door::new();
        door.ask(&offer(5_000), &Published::default()).unwrap();
        let video = Some(Format { codec: Codec::Vp9, profile: 77 });
        let refused = door.ask(&offer(5_000), &Published { video, ..Published::default() });
        assert!(matches!(refused, Err(Unusable::CannotDecode { .. })));
    }

    #[test]
    fn offer_with_a_relevant_difference_is_read_anew() {
        let mut door = Door::new();
        let plain = offer(5_000);
        let video = plain.lines().find(|l| l.starts_with("m=video")).unwrap();
        let rejected = plain.replace(video, &video.replacen(" 9 ", " 0 ", 1));
        let others = [
            plain.replace("a=setup:actpass", "a=setup:passive"),
            plain.replacen("a=recvonly", "a=inactive", 1),
            plain.replacen("a=rtcp-fb:", "a=rtcp-fb:77 x\r\na=rtcp-fb:", 1),
            rejected,
        ];
        for (n, other) in [plain].iter().chain(&others).enumerate() {
            let _ = door.ask(other, &Published::default());
            assert_eq!(door.answers.kept.len(), n + 1, "{other}");
        }
    }

    #[test]
    fn an_offer_without_a_fingerprint_or_credentials_is_refused_as_ever() {
        let mut door = Door::new();
        let plain = offer(5_000);
        door.ask(&plain, &Published::default()).unwrap();
        for prefix in ["a=fingerprint:", "a=ice-ufrag:", "a=ice-pwd:"] {
            let bare: String = plain.lines().filter(|l| !l.starts_with(prefix)).flat_map(|l| [l, "\r\n"]).collect();
            assert!(door.ask(&bare, &Published::default()).is_err(), "{prefix}");
        }
    }

    #[test]
    fn oldest_answers_are_dropped_and_the_one_in_use_stays() {
        let mut door = Door::new();
        let plain = offer(5_000);
        for n in 0..MAX_KEPT + 8 {
            door.ask(&plain, &Published::default()).unwrap();
            let other = plain.replacen("a=mid:", &format!("a=other:{n}\r\na=mid:"), 1);
            door.ask(&other, &Published::default()).unwrap();
        }
        assert_eq!(door.answers.kept.len(), MAX_KEPT);
        assert!(door.answers.kept.contains_key(&Kind::of(&plain).unwrap().text));
    }
}
