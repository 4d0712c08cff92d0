//! How does this server treat an offered codec and profile?
//!
//! str0m matches a few exact values of `a=fmtp`, while decoders accept classes of them. This file
//! puts each offered format into its class: its [`Format`], and the `a=fmtp` by which str0m knows
//! the class. For a format that no browser decodes it returns its name, the reason, and the
//! encoder's setting that avoids it.

use media::Codec;

use crate::format::Format;

/// A format that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// The format of its packets.
    pub format: Format,
    /// `a=rtpmap` as str0m knows it.
    pub rtpmap: &'static str,
    /// The parameters by which str0m knows the class; empty without any.
    pub parameters: String,
}

/// A format that is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Useless {
    /// For example `H.264 High 4:2:2 (profile-level-id=7a001f)`.
    pub what: String,
    /// The reason for which it cannot be used.
    pub why: &'static str,
    /// The setting to use instead.
    pub fix: &'static str,
}

/// The parameters of `a=fmtp`: names in lower case, values as received (RFC 8866 §6.15).
pub(super) struct Parameters<'a>(Vec<(String, &'a str)>);

impl<'a> Parameters<'a> {
    /// Reads the values of all `a=fmtp` lines of one payload type.
    pub fn parse(lines: &[&'a str]) -> Parameters<'a> {
        let pairs = lines.iter().flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
        Parameters(pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())).collect())
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

const FORWARDED_AUDIO: &str = "set the audio encoder to Opus (opus/48000/2)";
const FORWARDED_VIDEO: &str = "set the video encoder to H.264, VP8, VP9, AV1 or H.265";
const EIGHT_BIT_420: &str = "encode 4:2:0 with 8 bits: x264 and ffmpeg: -profile:v high -pix_fmt yuv420p; OBS: Profile = high, \
     Color Format = NV12; GStreamer: video/x-raw,format=I420 before and video/x-h264,profile=high after the encoder";
const HEVC_MAIN: &str = "encode 4:2:0 with 8 bits: x265 and ffmpeg: -profile:v main -pix_fmt yuv420p; OBS: Profile = main, \
     Color Format = NV12; GStreamer: video/x-raw,format=I420 before and video/x-h265,profile=main after the encoder";
const AV1_MAIN: &str = "encode 4:2:0: ffmpeg: -pix_fmt yuv420p; OBS: Color Format = NV12; GStreamer: \
     video/x-raw,format=I420 before the encoder";

/// Puts an offered format into its class. `rtpmap` is `<name>/<clock>[/<channels>]`.
pub(super) fn class(kind: &str, rtpmap: &str, parameters: &Parameters<'_>) -> Result<Class, Useless> {
    let mut words = rtpmap.split('/').map(str::trim);
    let (name, clock, channels) = (words.next().unwrap_or_default(), words.next(), words.next());
    let name = name.to_ascii_lowercase();
    let found = |codec, profile, rtpmap, parameters: String| {
        Ok(Class { format: Format { codec, profile }, rtpmap, parameters })
    };
    let useless = |what: String, why, fix| Err(Useless { what, why, fix });
    match (kind, name.as_str(), clock) {
        // RFC 7587 §7: always two channels. A missing number is taken for two.
        ("audio", "opus", Some("48000")) if matches!(channels, None | Some("2")) => {
            found(Codec::Opus, 0, "opus/48000/2", String::new())
        }
        ("video", "vp8", Some("90000")) => found(Codec::Vp8, 0, "VP8/90000", String::new()),
        ("video", "vp9", Some("90000")) => match parameters.get("profile-id").unwrap_or("0").parse() {
            Ok(profile @ 0..=3) => found(Codec::Vp9, profile, "VP9/90000", format!("profile-id={profile}")),
            _ => useless(
                format!("VP9 ({})", said(parameters, &["profile-id"])),
                "VP9 has the profiles 0 to 3 (RFC 9628 §6.1)",
                "set the encoder to profile 0",
            ),
        },
        ("video", "av1", Some("90000")) => match parameters.get("profile").unwrap_or("0").parse() {
            // Any level and tier: decoders in browsers accept all that they are sent.
            Ok(profile @ 0..=1) => {
                found(Codec::Av1, profile, "AV1/90000", format!("profile={profile};level-idx=5;tier=0"))
            }
            _ => useless(
                format!("AV1 Professional ({})", said(parameters, &["profile"])),
                "browsers decode the profiles 0 (Main) and 1 (High)",
                AV1_MAIN,
            ),
        },
        ("video", "h264", Some("90000")) => h264(parameters),
        ("video", "h265", Some("90000")) => h265(parameters),
        ("audio", ..) => {
            useless(super::description::bounded(rtpmap), "this server forwards Opus only", FORWARDED_AUDIO)
        }
        _ => useless(
            super::description::bounded(rtpmap),
            "this server forwards H.264, H.265, VP8, VP9 and AV1, each at 90000 Hz",
            FORWARDED_VIDEO,
        ),
    }
}

/// Reads H.264 (RFC 6184 §8.1, table 5) by profile_idc and the constraint flags that matter to a
/// decoder.
fn h264(parameters: &Parameters<'_>) -> Result<Class, Useless> {
    // RFC 6184 §8.1: without a profile it is Baseline of level 1, and without a mode, mode 0.
    let written = parameters.get("profile-level-id").unwrap_or("42000a");
    let words =
        |name: &str| format!("H.264 {name} ({})", said(parameters, &["profile-level-id", "packetization-mode"]));
    let useless = |name: &str, why, fix| Err(Useless { what: words(name), why, fix });
    let Some(bytes) = u32::from_str_radix(written, 16).ok().filter(|_| written.len() == 6).map(u32::to_be_bytes) else {
        return useless(
            "of an unknown profile",
            "a profile-level-id has six hexadecimal digits (RFC 6184 §8.1)",
            "write it as profile-level-id=42e01f",
        );
    };
    let mode = match parameters.get("packetization-mode").unwrap_or("0") {
        "0" => 0,
        "1" => 1,
        _ => {
            return useless(
                "interleaved",
                "browsers take the packetization modes 0 and 1",
                "set packetization-mode=1 in the packetizer",
            );
        }
    };
    let [_, idc, flags, _] = bytes;
    let profile = match idc {
        // constraint_set1 makes Baseline, and constraint_set0 makes Main, Constrained Baseline.
        0x42 if flags & 0x40 != 0 => 0x42_e0,
        0x42 => 0x42_00,
        0x4d if flags & 0x80 != 0 => 0x42_e0,
        0x4d => 0x4d_00,
        0x58 if flags & 0xc0 == 0xc0 => 0x42_e0,
        0x58 if flags & 0x80 != 0 => 0x42_00,
        // Progressive (constraint_set4) and Constrained High (with constraint_set5) are parts of High.
        0x64 => 0x64_00,
        // Chromium offers it for receiving.
        0xf4 if flags & 0x10 == 0 => 0xf4_00,
        0x58 => return useless("Extended", "no browser decodes it", EIGHT_BIT_420),
        0x6e => return useless("High 10", "no browser decodes 10 bits of H.264", EIGHT_BIT_420),
        0x7a => return useless("High 4:2:2", "no browser decodes 4:2:2", EIGHT_BIT_420),
        0xf4 => return useless("High 4:4:4 Intra", "no browser decodes it", EIGHT_BIT_420),
        0x2c => return useless("CAVLC 4:4:4 Intra", "no browser decodes it", EIGHT_BIT_420),
        _ => return useless("of an unknown profile", "no browser decodes it", EIGHT_BIT_420),
    };
    // The level that this server's own formats have: levels are not compared.
    let parameters =
        format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={:06x}", profile << 8 | 0x1f);
    let format = Format { codec: Codec::H264, profile: mode << 16 | profile };
    Ok(Class { format, rtpmap: "H264/90000", parameters })
}

/// Reads H.265 (RFC 7798 §7.1): `profile-id` is general_profile_idc, and 1 without it. Any tier and
/// level.
fn h265(parameters: &Parameters<'_>) -> Result<Class, Useless> {
    let words = |name: &str| format!("H.265 {name} ({})", said(parameters, &["profile-id"]));
    let profile = match parameters.get("profile-id").unwrap_or("1") {
        "1" => 1,
        "2" => 2,
        "4" => {
            let why = "no browser decodes the range extensions (4:2:2, 4:4:4, 12 bits)";
            return Err(Useless { what: words("Range Extensions"), why, fix: HEVC_MAIN });
        }
        _ => {
            let why = "browsers decode Main and, on some machines, Main 10";
            return Err(Useless { what: words("of another profile"), why, fix: HEVC_MAIN });
        }
    };
    Ok(Class {
        format: Format { codec: Codec::H265, profile },
        rtpmap: "H265/90000",
        parameters: format!("profile-id={profile};tier-flag=0;level-id=180"),
    })
}

/// Returns the named parameters that are present: `profile-level-id=7a001f`.
fn said(parameters: &Parameters<'_>, names: &[&str]) -> String {
    let said = names.iter().filter_map(|name| Some(format!("{name}={}", parameters.get(name)?)));
    super::description::bounded(&said.collect::<Vec<_>>().join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, rtpmap: &str, fmtp: &str) -> Result<u32, String> {
        let class = class(kind, rtpmap, &Parameters::parse(&[fmtp]));
        class.map(|class| class.format.profile).map_err(|useless| format!("{}: {}", useless.what, useless.fix))
    }

    #[test]
    fn h264_profiles_are_classes_of_what_decoders_take() {
        for (fmtp, profile) in [
            ("packetization-mode=1;profile-level-id=42e01f", 0x1_42e0),
            ("packetization-mode=1;profile-level-id=42c034", 0x1_42e0),
            ("packetization-mode=1;profile-level-id=42001f", 0x1_4200),
            ("packetization-mode=1;profile-level-id=4d401f", 0x1_4d00),
            ("packetization-mode=1;profile-level-id=4d801f", 0x1_42e0),
            ("packetization-mode=1;profile-level-id=640c1f", 0x1_6400),
            ("packetization-mode=1;profile-level-id=640828", 0x1_6400),
            ("packetization-mode=1;profile-level-id=640808", 0x1_6400),
            ("packetization-mode=1;profile-level-id=640033", 0x1_6400),
            ("Packetization-Mode=1; Profile-Level-Id=640C1F", 0x1_6400),
            ("packetization-mode=0;profile-level-id=64001f", 0x6400),
            ("profile-level-id=64001f", 0x6400),
            ("packetization-mode=1", 0x1_4200),
            ("", 0x4200),
            ("packetization-mode=1;profile-level-id=f4001f", 0x1_f400),
        ] {
            assert_eq!(of("video", "H264/90000", fmtp), Ok(profile), "{fmtp}");
        }
    }

    #[test]
    fn format_that_no_browser_decodes_is_named_with_the_setting_that_avoids_it() {
        for (rtpmap, fmtp, what, fix) in [
            ("H264/90000", "profile-level-id=7a001f", "H.264 High 4:2:2 (profile-level-id=7a001f)", "yuv420p"),
            ("H264/90000", "profile-level-id=6e001f", "H.264 High 10", "OBS: Profile = high"),
            ("H264/90000", "profile-level-id=6e101f", "H.264 High 10", "profile=high after the encoder"),
            ("H264/90000", "profile-level-id=2c101f", "H.264 CAVLC 4:4:4", "yuv420p"),
            ("H264/90000", "profile-level-id=58001f", "H.264 Extended", "yuv420p"),
            ("H264/90000", "profile-level-id=640", "of an unknown profile", "42e01f"),
            ("H264/90000", "packetization-mode=2", "interleaved", "packetization-mode=1"),
            ("H265/90000", "profile-id=4", "H.265 Range Extensions (profile-id=4)", "-profile:v main"),
            ("AV1/90000", "profile=2", "AV1 Professional (profile=2)", "yuv420p"),
            ("VP9/90000", "profile-id=7", "VP9 (profile-id=7)", "profile 0"),
            ("MPEG4/90000", "", "MPEG4/90000", "H.264, VP8"),
        ] {
            let said = of("video", rtpmap, fmtp).expect_err(fmtp);
            assert!(said.contains(what) && said.contains(fix), "{said}");
        }
        assert!(of("audio", "PCMU/8000", "").expect_err("no Opus").contains("Opus"));
        assert!(of("audio", "multiopus/48000/6", "").is_err());
    }

    #[test]
    fn levels_and_tiers_do_not_matter() {
        assert_eq!(of("video", "av1/90000", "level-idx=8;profile=0;tier=1"), Ok(0));
        assert_eq!(of("video", "AV1/90000", ""), Ok(0));
        assert_eq!(of("video", "AV1/90000", "profile=1;level-idx=13"), Ok(1));
        assert_eq!(of("video", "H265/90000", "profile-id=1;tier-flag=1;level-id=186"), Ok(1));
        assert_eq!(of("video", "H265/90000", ""), Ok(1));
        assert_eq!(of("video", "H265/90000", "profile-id=2;level-id=93"), Ok(2));
        assert_eq!(of("video", "VP9/90000", "profile-id=2"), Ok(2));
        assert_eq!(of("audio", "OPUS/48000", ""), Ok(0));
    }
}
