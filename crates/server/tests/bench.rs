//! Does `nowcast bench` play and report, against a server of its own binary?

use std::io::{BufRead, BufReader, Lines};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nowcast"));
    command.arg("bench").args(arguments).output().expect("the generator starts")
}

/// A place for the files of one test.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{}", std::process::id()))
}

/// A server at this address, with a certificate of its own making.
struct Https {
    child: Child,
    /// Kept open: a server whose output pipe is closed ends.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Https {
    fn start(address: &str, certificate: &Path, key: &Path) -> Https {
        let media = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nowcast"))
            .args(["serve", "--dev", "--loopback"])
            .env("NOWCAST_HTTP_LISTEN", address)
            .env("NOWCAST_HTTP_TLS_CERTIFICATE", certificate)
            .env("NOWCAST_HTTP_TLS_KEY", key)
            .env("NOWCAST_MEDIA_UDP_PORT", media.to_string())
            .env("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert!(said.any(|line| line.unwrap().contains("is ready")), "the server ended without a word");
        Https { child, _said: said }
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn fifty_viewers_join_and_get_every_packet_unchanged() {
    let folder = folder("smoke");
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
    // The port is bound and released at once, so that no server answers there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = bench(&["--url", &format!("http://{free}"), "--viewers", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("nobody listens"), "{}", said(&output));
    let output = bench(&["--viewers", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("at least 1"), "{}", said(&output));
}

#[test]
fn https_and_ipv6_are_played_by_whom_we_trust() {
    let Ok(free) = TcpListener::bind("[::1]:0") else {
        eprintln!("this machine has no IPv6, nothing is tested");
        return;
    };
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let folder = folder("https");
    std::fs::create_dir_all(&folder).unwrap();
    let [certificate, key, other] = ["own.pem", "key.pem", "other.pem"].map(|name| folder.join(name));
    // The certificate has another name than the URL: --ca with the server's own certificate accepts
    // any name.
    let made = rcgen::generate_simple_self_signed(vec!["live.example".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let strangers = rcgen::generate_simple_self_signed(vec!["::1".to_owned()]).unwrap();
    std::fs::write(&other, strangers.cert.pem()).unwrap();
    let _server = Https::start(&address, &certificate, &key);

    let url = format!("https://{address}");
    let played = ["--url", &url, "--viewers", "4", "--duration", "500ms", "--join-rate", "0", "--verify", "100%"];
    let plays = |trust: &[&str]| bench(&[&played[..], trust].concat());
    for trust in [&["--ca", certificate.to_str().unwrap()][..], &["--insecure"]] {
        let output = plays(trust);
        assert!(output.status.success(), "{trust:?}: {}", said(&output));
        assert!(said(&output).contains("4 of 4") && said(&output).contains("all whole"), "{}", said(&output));
    }
    let output = plays(&["--ca", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--insecure takes any"), "{}", said(&output));
    std::fs::remove_dir_all(&folder).unwrap();
}
