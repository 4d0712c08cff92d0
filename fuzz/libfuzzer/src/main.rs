//! libFuzzer on one target, named by `NOWCAST_FUZZ_TARGET`.

#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static RUN: OnceLock<fn(&[u8])> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let name = std::env::var("NOWCAST_FUZZ_TARGET").expect("NOWCAST_FUZZ_TARGET names a target");
        fuzz::targets().into_iter().find(|target| target.name == name).expect("there is such a target").run
    });
    run(data);
});
