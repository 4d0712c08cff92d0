//! Opus whose channels an offer leaves out.

use std::borrow::Cow;

use super::text;

/// Completes `opus/48000` to `opus/48000/2`, which is the only form there is (RFC 7587 §7).
///
/// GStreamer's `whepsrc` and `whepclientsrc` leave the channels out. str0m then finds no codec that both sides know, and
/// rejects the section.
pub(super) fn with_channels(sdp: &str) -> Cow<'_, str> {
    if !sdp.lines().any(lacks_channels) {
        return Cow::Borrowed(sdp);
    }
    Cow::Owned(text::rewrite(sdp, |line| {
        Some(if lacks_channels(line) { format!("{}/2", line.trim_end()) } else { line.to_owned() })
    }))
}

/// `a=rtpmap:<payload type> opus/48000` (RFC 8866 §6.6).
fn lacks_channels(line: &str) -> bool {
    let map = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split_once(' '));
    map.is_some_and(|(_, encoding)| encoding.trim().eq_ignore_ascii_case("opus/48000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_added_to_opus_and_to_nothing_else() {
        for (line, completed) in [
            ("a=rtpmap:96 OPUS/48000", "a=rtpmap:96 OPUS/48000/2"),
            ("a=rtpmap:111 opus/48000 ", "a=rtpmap:111 opus/48000/2"),
            ("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus/48000/2"),
            ("a=rtpmap:9 G722/8000", "a=rtpmap:9 G722/8000"),
            ("a=rtpmap:101 opus/480000", "a=rtpmap:101 opus/480000"),
            ("a=fmtp:96 opus/48000", "a=fmtp:96 opus/48000"),
            ("a=rtpmap:opus/48000", "a=rtpmap:opus/48000"),
        ] {
            assert_eq!(with_channels(&format!("v=0\r\n{line}\r\n")), format!("v=0\r\n{completed}\r\n"));
        }
    }
}
