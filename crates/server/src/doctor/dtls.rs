//! Do handshakes fail in the server that runs here?
//!
//! Asked of its `/metrics`, which answers loopback without a token. Where no server runs, or it
//! speaks TLS, there is nothing to say.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{Finding, Machine};

const CHECK: &str = "DTLS";
const METRIC: &str = "nowcast_dtls_failures_total{reason=\"";
/// A server on this machine answers within a millisecond.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Metrics have some 20 KiB.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn examine(machine: &Machine) -> Finding {
    let Some(failures) = &machine.dtls_failures else {
        return Finding::ok(CHECK, "no server runs here whose handshakes could be counted");
    };
    let failed: Vec<_> = failures.iter().filter(|(_, count)| *count > 0).collect();
    if failed.is_empty() {
        return Finding::ok(CHECK, "no handshake has failed in the server that runs here");
    }
    let list: Vec<_> = failed.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    let meaning = "Those clients got no media; the server's log has a line for each, with alert and certificate.";
    Finding::hint(CHECK, format!("handshakes that failed in the running server: {}", list.join(", ")), meaning)
        .mend("clients need DTLS 1.2, a certificate of ECDSA P-256, P-384 or RSA 2048 to 8192, and its a=fingerprint")
}

/// Failed handshakes by reason, of the server that listens at one of these addresses.
pub(super) fn look(listen: &[SocketAddr]) -> Option<Vec<(String, u64)>> {
    listen.iter().find_map(|address| read(&ask(*address).ok()?))
}

fn ask(mut address: SocketAddr) -> std::io::Result<String> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// `None`: these are no metrics of ours.
fn read(text: &str) -> Option<Vec<(String, u64)>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(METRIC)?.split_once("\"} "));
    let failures: Vec<_> =
        lines.filter_map(|(reason, count)| Some((reason.to_owned(), count.trim().parse().ok()?))).collect();
    (!failures.is_empty()).then_some(failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn failures_of_the_running_server_are_a_hint_and_none_are_none() {
        let found = |text: &str| examine(&Machine { dtls_failures: read(text), ..Machine::healthy() });
        let counted = "HTTP/1.1 200 OK\r\n\r\n# TYPE nowcast_dtls_failures_total counter\n\
                       nowcast_dtls_failures_total{reason=\"alert\"} 0\n\
                       nowcast_dtls_failures_total{reason=\"fingerprint\"} 3\n";
        let finding = found(counted);
        assert_eq!(finding.verdict, Verdict::Hint);
        assert!(finding.found.ends_with(": fingerprint: 3"), "{}", finding.found);
        assert_eq!(found(&counted.replace(" 3\n", " 0\n")).verdict, Verdict::Ok);
        for other in ["", "HTTP/1.1 404 Not Found\r\n\r\n", "nowcast_dtls_failures_total{reason=\"x"] {
            assert!(read(other).is_none() && found(other).verdict == Verdict::Ok, "{other}");
        }
    }
}
