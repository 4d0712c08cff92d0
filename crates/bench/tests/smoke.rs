//! A real server, 20 viewers, 2 seconds: does everybody get everything?
//!
//! The server must have been built: `cargo build --release -p server`.

use std::process::Command;

#[test]
fn twenty_viewers_join_and_get_every_packet_unchanged() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("smoke").output().expect("the generator starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
