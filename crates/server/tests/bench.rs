//! Does `nowcast bench` play and report, against a server of its own binary?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nowcast"));
    command.arg("bench").args(arguments).output().expect("the generator starts")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()))
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn fifty_viewers_join_and_get_every_packet_unchanged() {
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    let json = folder.join("smoke.json");
    let output = bench(&["--smoke", "--join-rate", "0", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let number =
        |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {report:#}"));
    for path in [
        "/publishers",
        "/duration_s",
        "/packets",
        "/packets_per_second",
        "/bitrate_bps",
        "/loss_before_repair",
        "/delay_ms/p50",
        "/delay_ms/p90",
        "/delay_ms/p99",
        "/delay_ms/p999",
        "/delay_ms/max",
        "/join_ms/first_packet/p50",
        "/join_ms/first_packet/max",
        "/join_ms/first_keyframe/p50",
        "/join_ms/first_keyframe/max",
        "/starved",
        "/generator/cpu_cores",
        "/server/cpu_cores",
        "/server/cpu_us_per_packet",
        "/server/rss_kib_per_viewer",
    ] {
        assert!(number(path) >= 0.0, "{path}");
    }
    assert!(report.pointer("/generator/bottleneck").is_some());
    assert_eq!((number("/viewers"), number("/joined")), (50.0, 50.0));
    assert_eq!(number("/loss_after_repair"), 0.0);
    assert!(number("/packets") > 0.0);
    for path in ["/verified/damaged", "/verified/rejected", "/verified/wrong_timestamps"] {
        assert_eq!(number(path), 0.0, "{path}");
    }
    assert!(said(&output).contains("50 of 50"), "{}", said(&output));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_went_wrong_is_a_sentence_and_a_code() {
    // Bound and not listened to by anybody who answers: the port is free again at once.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = bench(&["--url", &format!("http://{free}"), "--viewers", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("nobody listens"), "{}", said(&output));
    let output = bench(&["--viewers", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("at least 1"), "{}", said(&output));
}
