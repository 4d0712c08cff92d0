//! Do packets come in and go out as fast as they can?

use std::net::{IpAddr, SocketAddr};

use super::machine::{Holder, Taken};
use super::{Finding, Machine};
use crate::config::Config;
use crate::engine::SOCKET_BUFFER_BYTES;

/// The name of the check that does not matter while the server is only tried on this machine.
pub(super) const ADDRESSES: &str = "addresses";

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut findings = ports(machine, config);
    findings.push(addresses(machine, config));
    findings.extend([buffers(machine), segmentation(machine), conntrack(machine, config)]);
    findings
}

fn ports(machine: &Machine, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "ports";
    if machine.taken.is_empty() {
        let http: Vec<_> = config.http.listen.iter().map(|address| address.port().to_string()).collect();
        let first = http.first().map_or("-", String::as_str);
        return vec![Finding::ok(CHECK, format!("UDP {} and TCP {first} can be had", config.media.udp_port))];
    }
    let examine = |taken: &Taken| {
        let found = match &taken.holder {
            Some(Holder { process, name }) if name == "nowcast" => {
                return Finding::ok(
                    CHECK,
                    format!("{} belongs to the Nowcast that runs already (process {process})", taken.option),
                );
            }
            Some(Holder { process, name }) => {
                format!("{}: {} (it is {name}, process {process})", taken.option, taken.reason)
            }
            None => format!("{}: {}", taken.option, taken.reason),
        };
        Finding::fail(CHECK, found, "The server refuses to start.").mend("ss -lnptu  # shows who has which port")
    };
    machine.taken.iter().map(examine).collect()
}

fn addresses(machine: &Machine, config: &Config) -> Finding {
    // Port 0 is media.udp_port, which has its own line.
    let shown = |address: &SocketAddr| match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    };
    let found = machine.candidates.iter().map(shown).collect::<Vec<_>>().join(", ");
    let example = "media.advertised_addresses = [\"the address that clients reach\"]  # in nowcast.toml";
    let nonsense = |ip: &IpAddr| ip.is_unspecified() || ip.is_multicast();
    if let Some(ip) = config.media.advertised.iter().map(SocketAddr::ip).find(nonsense) {
        return Finding::fail(ADDRESSES, ip.to_string(), "No client can send to such an address.").mend(example);
    }
    if machine.candidates.is_empty() {
        let meaning = "There is no address that clients could be told to send media to.";
        return Finding::fail(ADDRESSES, "none", meaning).mend(example);
    }
    if config.media.loopback_only {
        return Finding::ok(ADDRESSES, format!("{found}, for this machine alone"));
    }
    if machine.candidates.iter().any(|address| is_public(address.ip())) {
        return Finding::ok(ADDRESSES, found);
    }
    let meaning = match machine.in_container {
        true => "These are a container's own: clients outside of it do not reach them.",
        false => "Private ones: fine within one network, but clients on the internet do not reach them.",
    };
    Finding::hint(ADDRESSES, found, meaning).mend(example)
}

/// Returns whether the whole internet can reach an address, as far as its digits tell.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // RFC 6598: carriers' own network.
            let is_shared = a == 100 && (64..128).contains(&b);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation() || is_shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

fn buffers(machine: &Machine) -> Finding {
    const CHECK: &str = "UDP buffers";
    let Some(socket) = machine.socket else {
        return Finding::fail(CHECK, "no UDP socket could be opened", "The server has no way to send media.");
    };
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let (receive, send) = (socket.receive_buffer_bytes, socket.send_buffer_bytes);
    let found = format!("{:.1} MiB to receive into, {:.1} MiB to send from", mib(receive), mib(send));
    if receive >= SOCKET_BUFFER_BYTES && send >= SOCKET_BUFFER_BYTES {
        return Finding::ok(CHECK, found);
    }
    let meaning = "Bursts overflow them: with large audiences, key frames and feedback are lost inside the machine.";
    let finding = Finding::hint(CHECK, format!("{found}, of {:.1} MiB", mib(SOCKET_BUFFER_BYTES)), meaning);
    let place = if machine.in_container { "  # on the host" } else { "" };
    finding.mend(format!("sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608{place}"))
}

fn segmentation(machine: &Machine) -> Finding {
    const CHECK: &str = "UDP segmentation";
    let socket = machine.socket.unwrap_or_default();
    match (socket.cuts, socket.joins) {
        (true, true) => Finding::ok(CHECK, "the kernel cuts and joins packets (GSO, GRO)"),
        (true, false) => Finding::ok(CHECK, "the kernel cuts packets (GSO)"),
        (false, _) => Finding::hint(
            CHECK,
            "the kernel does not cut packets (no GSO)",
            "Every packet is handed over by itself, and sending costs two to five times as much.",
        )
        .mend("uname -r  # Linux 4.18 or later has it; some sandboxes do not"),
    }
}

/// `nf_conntrack_count` grows only if some rule wants connections to be tracked.
fn conntrack(machine: &Machine, config: &Config) -> Finding {
    const CHECK: &str = "connection tracking";
    let Some((count, most)) = machine.tracked.filter(|(count, _)| *count > 0) else {
        return Finding::ok(CHECK, "off");
    };
    let port = config.media.udp_port;
    let viewers = config.media.limits.viewers.min(config.media.limits.sessions) as u64;
    let found = format!("the firewall keeps {count} connections in mind, of {most} at most");
    let meaning = if most < viewers.saturating_mul(2) {
        "Each viewer is one more, and when no more fit, packets are dropped; looking them up costs time for each packet."
    } else {
        "Looking them up costs time for each packet; media needs no tracking."
    };
    Finding::hint(CHECK, found, meaning)
        .mend(format!("iptables -t raw -A PREROUTING -p udp --dport {port} -j NOTRACK"))
        .mend(format!("iptables -t raw -A OUTPUT -p udp --sport {port} -j NOTRACK"))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::machine::SocketFacts;
    use super::super::tests::config;
    use super::*;

    fn check(media: &str, change: impl FnOnce(&mut Machine), name: &str) -> Finding {
        let mut machine = Machine::healthy();
        change(&mut machine);
        let findings = examine(&machine, &config(media).0);
        findings.into_iter().find(|finding| finding.check == name).expect("such a check")
    }

    #[test]
    fn addresses_that_clients_cannot_reach_are_said() {
        let rows: [(&str, &[&str], Verdict); 8] = [
            ("", &["8.8.8.8"], Verdict::Ok),
            ("", &["10.0.0.4", "2a00::1"], Verdict::Ok),
            ("", &["10.0.0.4", "fd00::1"], Verdict::Hint),
            ("", &["100.64.0.1"], Verdict::Hint),
            ("", &["127.0.0.1"], Verdict::Hint),
            ("", &[], Verdict::Fail),
            ("ADVERTISED_ADDRESSES = 203.0.113.7", &["203.0.113.7"], Verdict::Hint),
            ("ADVERTISED_ADDRESSES = 8.8.4.4", &["8.8.4.4"], Verdict::Ok),
        ];
        for (media, candidates, verdict) in rows {
            let parse = |ip: &&str| SocketAddr::new(ip.parse().expect("an address"), 0);
            let candidates = candidates.iter().map(parse).collect();
            let finding = check(media, |m| m.candidates = candidates, ADDRESSES);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
    }

    #[test]
    fn a_taken_port_fails_unless_we_have_it_ourselves() {
        let rows = [
            (None, Verdict::Fail, "media.udp_port: taken"),
            (Some("game"), Verdict::Fail, "media.udp_port: taken (it is game, process 7)"),
            (Some("nowcast"), Verdict::Ok, "media.udp_port belongs to the Nowcast that runs already (process 7)"),
        ];
        for (name, verdict, found) in rows {
            let holder = name.map(|name| Holder { process: 7, name: name.to_owned() });
            let taken = Taken { option: "media.udp_port", reason: "taken".to_owned(), holder };
            let finding = check("", |m| m.taken = vec![taken], "ports");
            assert_eq!((finding.verdict, finding.found.as_str()), (verdict, found));
        }
    }

    #[test]
    fn small_buffers_are_a_hint_that_says_how_small() {
        let facts = |receive_buffer_bytes, send_buffer_bytes| SocketFacts {
            receive_buffer_bytes,
            send_buffer_bytes,
            cuts: true,
            joins: true,
        };
        for (receive, send) in [(212_992, 4 << 20), (4 << 20, 212_992)] {
            let finding = check("", |m| m.socket = Some(facts(receive, send)), "UDP buffers");
            assert_eq!(finding.verdict, Verdict::Hint);
            assert!(finding.found.contains("0.2 MiB"), "{finding:?}");
            assert!(finding.mend[0].contains("net.core.rmem_max"), "{finding:?}");
        }
        let finding = check("", |m| m.socket = None, "UDP buffers");
        assert_eq!(finding.verdict, Verdict::Fail);
        let finding =
            check("", |m| m.socket = Some(SocketFacts { cuts: false, ..facts(4 << 20, 4 << 20) }), "UDP segmentation");
        assert_eq!(finding.verdict, Verdict::Hint);
    }

    #[test]
    fn tracked_connections_are_a_hint_with_our_port() {
        assert_eq!(check("", |m| m.tracked = None, "connection tracking").verdict, Verdict::Ok);
        let finding = check("UDP_PORT = 9000", |m| m.tracked = Some((12, 1_000)), "connection tracking");
        assert_eq!(finding.verdict, Verdict::Hint);
        assert!(finding.mend[0].contains("--dport 9000"), "{finding:?}");
        assert!(finding.meaning.contains("dropped"), "{finding:?}");
    }
}
