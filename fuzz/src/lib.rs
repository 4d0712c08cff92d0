//! What must hold for any bytes that strangers send.
//!
//! A target is a function that takes bytes and panics if something that must hold does not:
//! [`media`] and [`rtp`] for parsers of packets, [`sdp`] for descriptions, [`door`] for what
//! reaches the server over HTTP and in files, [`session`] for whole sessions, [`receive`] for the
//! receiving half of one, [`hostile`] for peers with real keys beside streams of others, [`links`]
//! for the scripts of bad networks, [`estimate`] for what viewers report. [`targets`] lists them all with what a search begins from.
//!
//! Three ways to run them: the driver (`cargo run --release -p fuzz`, a few seconds each in the
//! test command), libFuzzer (`scripts/fuzz`, by hand, for as long as one likes), and by what was
//! found before (`fuzz/seeds`).

pub mod door;
pub mod estimate;
pub mod hostile;
pub mod links;
pub mod media;
pub mod memory;
pub mod mutate;
pub mod peer;
pub mod receive;
pub mod rtp;
pub mod sdp;
pub mod session;
mod world;

use std::path::Path;

/// Something to search in.
pub struct Target {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Folders of `../shared/corpora` whose files are good to begin with.
    corpora: &'static [&'static str],
    /// Inputs made by code.
    made: fn() -> Vec<Vec<u8>>,
    /// Words that may be inserted.
    pub words: &'static [&'static str],
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Target {
        Target { name, run, corpora: &[], made: Vec::new, words: &[] }
    }

    const fn like(mut self, corpora: &'static [&'static str]) -> Target {
        self.corpora = corpora;
        self
    }

    const fn from(mut self, made: fn() -> Vec<Vec<u8>>) -> Target {
        self.made = made;
        self
    }

    const fn with_words(mut self, words: &'static [&'static str]) -> Target {
        self.words = words;
        self
    }

    /// Returns what a search begins from: `fuzz/seeds/NAME`, inputs made by code, and others'
    /// corpora if they are there.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut seeds = (self.made)();
        add_files(&root.join("seeds").join(self.name), &mut seeds);
        for corpus in self.corpora {
            add_files(&root.join("../../shared/corpora").join(corpus), &mut seeds);
        }
        seeds
    }
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let of_media = media::TARGETS.iter().map(|(name, run)| {
        Target::new(name, *run).like(match *name {
            "media_codec_descriptions" | "media_codec_layers" => {
                &["libwebrtc/h264-depacketizer-fuzzer", "libwebrtc/rtp-depacketizer-av1-assemble-frame"]
            }
            "media_dependency_descriptors" => &["libwebrtc/dependency_descriptor"],
            "media_rtp_header" | "media_demux" => &["libwebrtc/rtp", "libwebrtc/rtcp", "libwebrtc/stun"],
            _ => &[],
        })
    });
    let others = [
        Target::new("rtcp_compound", rtp::rtcp_compound).like(&["libwebrtc/rtcp"]),
        Target::new("srtp_open", rtp::srtp_open).like(&["libwebrtc/rtp"]),
        Target::new("srtcp_open", rtp::srtcp_open).like(&["libwebrtc/rtcp"]),
        Target::new("sdp_publisher_offer", sdp::publisher_offer).like(SDP).from(sdp::offers).with_words(sdp::WORDS),
        Target::new("sdp_viewer_offer", sdp::viewer_offer).like(SDP).from(sdp::offers).with_words(sdp::WORDS),
        Target::new("sdp_viewer_answer", sdp::viewer_answer).like(SDP).from(sdp::made_answers).with_words(sdp::WORDS),
        Target::new("door_route", door::route).from(door::routes).with_words(door::ROUTE_WORDS),
        Target::new("door_prefix", door::prefix).from(door::prefixes).with_words(door::PREFIX_WORDS),
        Target::new("door_frames", door::frames).from(door::connections),
        Target::new("door_sdpfrag", door::sdpfrag).from(door::fragments).with_words(sdp::WORDS),
        Target::new("door_token", door::token).from(door::tokens).with_words(door::TOKEN_WORDS),
        Target::new("door_config_file", door::config_file).from(door::config_files).with_words(door::CONFIG_WORDS),
        Target::new("door_environment", door::environment).from(door::environments).with_words(door::CONFIG_WORDS),
        Target::new("impair_script", links::script).from(links::scripts).with_words(links::WORDS),
        Target::new("impair_control", links::control).from(links::lines).with_words(links::WORDS),
        Target::new("estimate_feedback", estimate::feedback).from(estimate::scripts),
        Target::new("desk_datagrams", session::desk_datagrams).like(DATAGRAMS).from(session::viewer_scripts),
        Target::new("desk_datagrams_with_channel", session::desk_datagrams_with_channel)
            .like(DATAGRAMS)
            .from(session::viewer_scripts),
        Target::new("hostile_publisher", hostile::publisher).from(hostile::publisher_scripts),
        Target::new("hostile_viewer", hostile::viewer).from(hostile::viewer_scripts),
        Target::new("receive_datagrams", receive::datagrams).from(receive::scripts),
        Target::new("receive_simulcast", receive::simulcast).from(receive::scripts),
        Target::new("shard_datagrams", session::shard_datagrams).like(DATAGRAMS).from(session::publisher_scripts),
    ];
    of_media.chain(others).collect()
}

const SDP: &[&str] = &["sdp-transform", "libwebrtc/sdp"];
const DATAGRAMS: &[&str] = &["libwebrtc/stun", "libwebrtc/rtcp", "libwebrtc/sctp-packet"];

fn add_files(folder: &Path, seeds: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    // The same seed is to lead to the same search everywhere.
    paths.sort();
    seeds.extend(paths.iter().filter_map(|path| std::fs::read(path).ok()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_of_every_target_is_survived() {
        for target in targets() {
            (target.run)(&[]);
            for seed in (target.made)() {
                (target.run)(&seed);
            }
        }
    }
}
