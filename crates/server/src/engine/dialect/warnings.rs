//! Which faults of its media is a publisher told of, and in which words?
//!
//! Shards notice it ([`sfu::publisher::warnings`]); here are the words. A stream's status has all that hold now, and the log
//! has each once for a publisher's session.

use serde::Serialize;
use sfu::publisher::warnings::{Warning, Warnings};
use utoipa::ToSchema;

/// Something that is wrong with a stream, though it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamWarning {
    /// For programs: `b_frames`, `no_parameter_sets`. More may be added.
    pub code: &'static str,
    /// For people: what is wrong, and the encoder's setting that avoids it.
    pub detail: &'static str,
}

/// The words for all of them.
pub(super) fn told(warnings: Warnings) -> Vec<StreamWarning> {
    warnings.iter().map(words).collect()
}

/// The words for one.
pub(crate) fn words(warning: Warning) -> StreamWarning {
    match warning {
        Warning::BFrames => StreamWarning {
            code: "b_frames",
            detail: "The encoder sends B-frames, pictures in another order than they are shown in. Browsers show only a \
                     few pictures of such a stream. Switch them off: OBS “Max B-frames” 0; x264 and x265 -bf 0 or \
                     -tune zerolatency (GStreamer: tune=zerolatency or bframes=0); NVENC, Quick Sync, AMF and VA-API \
                     -bf 0.",
        },
        Warning::NoParameterSets => StreamWarning {
            code: "no_parameter_sets",
            detail: "Key frames come, but no parameter sets (SPS and PPS, of H.265 also VPS), neither in the stream nor in \
                     the offer (sprop-parameter-sets). No viewer can decode the picture. Have the encoder repeat them \
                     with each key frame: x264 and x265 repeat-headers=1; ffmpeg -bsf:v dump_extra; GStreamer h264parse \
                     and h265parse config-interval=-1.",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_names_itself_and_the_setting_that_avoids_it() {
        let all = Warning::ALL.into_iter().fold(Warnings::default(), |all, one| all | Warnings::of(one));
        let told = told(all);
        assert_eq!(told.iter().map(|warning| warning.code).collect::<Vec<_>>(), ["b_frames", "no_parameter_sets"]);
        assert!(told.iter().all(|warning| warning.detail.contains("x264") && !warning.detail.contains("  ")));
    }
}
