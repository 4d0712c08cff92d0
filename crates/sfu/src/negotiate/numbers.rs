//! Does every payload type of a description have one meaning?
//!
//! RFC 9143 §9.1 requires it of bundled m-lines, and str0m panics at a second meaning of a bound
//! number. Such descriptions are therefore refused before str0m reads them, with an error that
//! names the number.

use std::collections::BTreeMap;

/// Parameters that distinguish formats (RFC 4588 §8.1, RFC 6184 §8.1, RFC 9628 §6.1, the AV1 RTP
/// payload §7).
const TELLING: [&str; 5] = ["apt", "packetization-mode", "profile", "profile-id", "profile-level-id"];

/// The meaning of a number: its codec, as in `a=rtpmap`, and the parameters that distinguish
/// formats.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meaning {
    codec: Option<String>,
    parameters: BTreeMap<&'static str, String>,
}

/// Checks that no payload type has two meanings.
///
/// # Errors
///
/// Names the number and its meanings, in words for the sender of the description.
pub(super) fn check(sdp: &str) -> Result<(), String> {
    let mut all: BTreeMap<&str, Meaning> = BTreeMap::new();
    for section in media_sections(sdp) {
        for (number, meaning) in meanings(section)? {
            match all.get(number) {
                Some(before) if *before != meaning => return Err(two(number, &before.in_words(), &meaning.in_words())),
                Some(_) => {}
                None => drop(all.insert(number, meaning)),
            }
        }
    }
    Ok(())
}

/// Returns the text from each m-line to the next.
fn media_sections(sdp: &str) -> impl Iterator<Item = &str> {
    let starts = sdp.match_indices("m=").map(|(at, _)| at).filter(|at| *at == 0 || sdp[..*at].ends_with(['\n', '\r']));
    let mut starts: Vec<usize> = starts.collect();
    starts.push(sdp.len());
    (1..starts.len()).map(move |n| &sdp[starts[n - 1]..starts[n]])
}

fn meanings(section: &str) -> Result<BTreeMap<&str, Meaning>, String> {
    let mut meanings: BTreeMap<&str, Meaning> = BTreeMap::new();
    for line in section.lines() {
        let (is_map, rest) = match (line.strip_prefix("a=rtpmap:"), line.strip_prefix("a=fmtp:")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => continue,
        };
        let Some((number, said)) = rest.trim_start().split_once([' ', '\t']) else { continue };
        let meaning = meanings.entry(number).or_default();
        if is_map {
            let codec = said.trim().to_ascii_lowercase();
            if let Some(before) = meaning.codec.replace(codec.clone()).filter(|before| *before != codec) {
                return Err(two(number, &before, &codec));
            }
            continue;
        }
        for (key, value) in said.split(';').filter_map(|parameter| parameter.split_once('=')) {
            let Some(key) = TELLING.into_iter().find(|k| k.eq_ignore_ascii_case(key.trim())) else { continue };
            let value = value.trim().to_ascii_lowercase();
            if let Some(before) = meaning.parameters.insert(key, value.clone()).filter(|before| *before != value) {
                return Err(two(number, &format!("{key}={before}"), &format!("{key}={value}")));
            }
        }
    }
    Ok(meanings)
}

impl Meaning {
    fn in_words(&self) -> String {
        let codec = self.codec.as_deref().unwrap_or("an unnamed codec");
        self.parameters.iter().fold(codec.to_owned(), |words, (key, value)| format!("{words} {key}={value}"))
    }
}

fn two(number: &str, before: &str, after: &str) -> String {
    let short = |words: &str| words.chars().take(60).collect::<String>();
    let (number, before, after) = (short(number), short(before), short(after));
    format!("payload type {number} means two things: {before}, and {after}; give each format a number of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(audio: &str, video: &str) -> String {
        let lines = |attributes: &str| attributes.split_whitespace().map(|a| format!("a={a}\r\n")).collect::<String>();
        let lines = |attributes: &str| lines(attributes).replace('_', " ");
        format!("v=0\r\ns=-\r\nm=audio 9 X 111\r\n{}m=video 9 X 96\r\n{}", lines(audio), lines(video))
    }

    #[test]
    fn payload_type_with_two_meanings_is_refused() {
        for (audio, video, error) in [
            ("rtpmap:111_opus/48000/2", "rtpmap:96_VP8/90000 rtpmap:97_rtx/90000 fmtp:97_apt=96", None),
            ("rtpmap:96_VP8/90000 fmtp:96_max-fr=30", "rtpmap:96_vp8/90000", None),
            (
                "rtpmap:111_opus/48000/2",
                "rtpmap:111_H264/90000",
                Some("111 means two things: opus/48000/2, and h264/90000;"),
            ),
            ("", "rtpmap:96_VP8/90000 rtpmap:96_rtx/90000", Some("96 means two things: vp8/90000, and rtx/90000;")),
            ("", "rtpmap:97_rtx/90000 fmtp:97_apt=96 fmtp:97_apt=98", Some("97 means two things: apt=96, and apt=98;")),
            (
                "rtpmap:98_H264/90000 fmtp:98_packetization-mode=1;profile-level-id=42e01f",
                "rtpmap:98_H264/90000 fmtp:98_packetization-mode=1;profile-level-id=64001f",
                Some("packetization-mode=1 profile-level-id=64001f"),
            ),
        ] {
            match (check(&sdp(audio, video)), error) {
                (Ok(()), None) => {}
                (Err(said), Some(error)) => assert!(said.contains(error), "{said}"),
                (said, _) => panic!("{audio} / {video}: {said:?}"),
            }
        }
    }
}
