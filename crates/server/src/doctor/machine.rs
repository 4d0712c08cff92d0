//! What does this machine look like, as far as the server cares?
//!
//! The only place of the doctor that looks: `/proc`, `/sys`, and sockets that are opened and closed
//! again. What cannot be found out is `None` or empty, never an error: a container may hide any of
//! it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use sfu::transmit::Batch;
use shards::udp::{Options, SendState, Socket};

use crate::config::Config;
use crate::engine;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Cores that this process may run on at once.
    pub cores: usize,
    /// Cores' worth of time that a cgroup allows, if it bounds it.
    pub cpu_quota: Option<f64>,
    /// The processor's abilities, as `/proc/cpuinfo` names them.
    pub cpu_flags: Vec<String>,
    /// How the kernel tells the time.
    pub clock_source: Option<String>,
    /// How the kernel chooses the first core's clock rate, if it does.
    pub governor: Option<String>,
    /// Memory that can be had, in bytes: the machine's or the cgroup's, whichever is less.
    pub memory_bytes: Option<u64>,
    /// Memory that lies on a disk now, in bytes.
    pub swapped_bytes: u64,
    /// How many files this process may open (soft limit), and how many it may allow itself (hard
    /// limit).
    pub open_files: Option<(u64, u64)>,
    /// Whether this is a container, as far as can be told.
    pub in_container: bool,
    /// What a UDP socket of ours gets.
    pub socket: Option<SocketFacts>,
    /// Connections that the firewall keeps in mind, and the most it can.
    pub tracked: Option<(u64, u64)>,
    /// Ports that cannot be bound, each with the reason.
    pub taken: Vec<Taken>,
    /// What clients would be told to send to.
    pub candidates: Vec<SocketAddr>,
    /// Failed DTLS handshakes by reason, of the server that runs here; `None`: it could not be
    /// asked.
    pub dtls_failures: Option<Vec<(String, u64)>>,
}

/// What the kernel gives to a UDP socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// Bytes to receive into.
    pub receive_buffer_bytes: usize,
    /// Bytes that may wait to be sent.
    pub send_buffer_bytes: usize,
    /// Whether it cuts large messages into packets (`UDP_SEGMENT`).
    pub cuts: bool,
    /// Whether it joins packets that arrive (`UDP_GRO`).
    pub joins: bool,
}

/// A port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The option that asks for it.
    pub option: &'static str,
    /// The fault, and its remedy.
    pub reason: String,
    /// The program that uses the port, if this process may see it.
    pub holder: Option<Holder>,
}

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: String,
}

impl Machine {
    /// Looks at this machine. `with_ports`: tries whether the ports can be had too.
    pub fn look(config: &Config, with_ports: bool) -> Machine {
        let cgroups = Cgroups::of_this_process();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_quota: cgroups.cpu_quota(),
            cpu_flags: cpu_flags(&read("/proc/cpuinfo").unwrap_or_default()),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: [meminfo("MemAvailable"), cgroups.memory_bytes()].into_iter().flatten().min(),
            swapped_bytes: meminfo("SwapTotal")
                .zip(meminfo("SwapFree"))
                .map_or(0, |(all, free)| all.saturating_sub(free)),
            open_files: open_files(&read("/proc/self/limits").unwrap_or_default()),
            in_container: ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists())
                || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            socket: socket(),
            tracked: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
            taken: if with_ports { taken(config) } else { Vec::new() },
            candidates: engine::candidates(&config.media).unwrap_or_default(),
            dtls_failures: with_ports.then(|| super::dtls::look(&config.http.listen)).flatten(),
        }
    }
}

/// Returns a small file's text without blanks around it.
fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Returns a line of `/proc/meminfo`, in bytes.
fn meminfo(name: &str) -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the features of the first processor: `flags` on x86, `Features` on ARM.
fn cpu_flags(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    let flags = line.and_then(|line| line.split_once(':')).map(|(_, flags)| flags);
    flags.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// Soft and hard limit, from `/proc/self/limits`; asking the system itself needs `unsafe`.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let mut numbers = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
    let mut next = || match numbers.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

/// The control groups that this process is in. Version 2, and of version 1 what containers set.
struct Cgroups {
    /// From the process's own up to the root: each may bound what those below have.
    folders: Vec<String>,
}

impl Cgroups {
    fn of_this_process() -> Cgroups {
        let text = read("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let folders = Path::new(own).ancestors().map(|path| format!("/sys/fs/cgroup{}", path.display())).collect();
        Cgroups { folders }
    }

    fn cpu_quota(&self) -> Option<f64> {
        let second = self.folders.iter().filter_map(|folder| quota(&read(format!("{folder}/cpu.max"))?));
        let first = || {
            let of = |name| read(format!("/sys/fs/cgroup/cpu/cpu.cfs_{name}_us"));
            quota(&format!("{} {}", of("quota")?, of("period")?))
        };
        second.reduce(f64::min).or_else(first)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let second = self.folders.iter().filter_map(|folder| {
            let most = number(format!("{folder}/memory.max"))?;
            Some(most.saturating_sub(number(format!("{folder}/memory.current")).unwrap_or(0)))
        });
        second.min()
    }
}

/// `cpu.max` of a cgroup, "200000 100000" or "max 100000": cores' worth of time.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    // "max", and -1 in version 1, is no bound.
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Opens a socket as a shard does, and lets it send two packets at once to itself.
fn socket() -> Option<SocketFacts> {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bytes = engine::SOCKET_BUFFER_BYTES;
    let options =
        Options { receive_buffer_bytes: bytes, send_buffer_bytes: bytes, receive_offload: true, ..Options::default() };
    let socket = Socket::bind(local, &options).ok()?;
    let mut batch = Batch::new();
    for _ in 0..2 {
        batch.push(socket.local_address(), None, &[0; 100]);
    }
    let report = socket.send(&batch, &mut SendState::new());
    // The kernel doubles the requested size for its own overhead, and reports the doubled size.
    let send_buffer_bytes = socket2::SockRef::from(&socket).send_buffer_size().ok()? / 2;
    Some(SocketFacts {
        receive_buffer_bytes: socket.granted_receive_buffer_bytes(),
        send_buffer_bytes,
        cuts: socket.has_send_offload() && report.refused == 0,
        joins: socket.has_receive_offload(),
    })
}

/// Opens every port that the configuration names, and closes it again.
fn taken(config: &Config) -> Vec<Taken> {
    let mut taken = Vec::new();
    let media = &config.media;
    let listen = if media.loopback_only { vec![Ipv4Addr::LOCALHOST.into()] } else { media.listen.clone() };
    for ip in listen {
        match Socket::bind(SocketAddr::new(ip, media.udp_port), &Options::default()) {
            Err(error) if !(ip.is_ipv6() && media.ipv6_is_optional) => {
                let holder = holder(["udp", "udp6"], media.udp_port);
                taken.push(Taken { option: "media.udp_port", reason: error.to_string(), holder });
            }
            _ => {}
        }
    }
    let http = &config.http;
    for address in &http.listen {
        match TcpListener::bind(address) {
            Err(error) if !(address.is_ipv6() && http.ipv6_is_optional) => {
                let holder = holder(["tcp", "tcp6"], address.port());
                taken.push(Taken { option: "http.listen", reason: format!("TCP {address}: {error}"), holder });
            }
            _ => {}
        }
    }
    taken
}

/// Returns the process that uses a port, from the kernel's lists of sockets and every process's
/// open files.
fn holder(lists: [&str; 2], port: u16) -> Option<Holder> {
    let inodes = lists.map(|list| inodes_of(&read(format!("/proc/net/{list}")).unwrap_or_default(), port)).concat();
    let names: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has_one = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| names.iter().any(|name| link == Path::new(name)))
    };
    let mut processes =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let process = processes.find(has_one)?;
    Some(Holder { process, name: read(format!("/proc/{process}/comm"))? })
}

/// proc(5), `/proc/net/tcp`: the second column is the local address and port in hexadecimal, the
/// tenth the inode.
fn inodes_of(list: &str, port: u16) -> Vec<u64> {
    let has_port =
        |address: &str| address.rsplit_once(':').is_some_and(|(_, p)| u16::from_str_radix(p, 16) == Ok(port));
    let inode = |line: &str| {
        let mut columns = line.split_whitespace();
        has_port(columns.nth(1)?).then(|| columns.nth(7)?.parse().ok()).flatten()
    };
    // Sockets that are closing have none.
    list.lines().skip(1).filter_map(inode).filter(|inode| *inode != 0).collect()
}

#[cfg(test)]
impl Machine {
    /// One that nothing is wrong with.
    pub(super) fn healthy() -> Machine {
        let bytes = engine::SOCKET_BUFFER_BYTES;
        Machine {
            cores: 8,
            cpu_quota: None,
            cpu_flags: ["aes", "pclmulqdq", "avx2", "vaes", "vpclmulqdq"].map(str::to_owned).into(),
            clock_source: Some("tsc".to_owned()),
            governor: Some("performance".to_owned()),
            memory_bytes: Some(16 << 30),
            swapped_bytes: 0,
            open_files: Some((65_536, 1_048_576)),
            in_container: false,
            socket: Some(SocketFacts {
                receive_buffer_bytes: bytes,
                send_buffer_bytes: bytes,
                cuts: true,
                joins: true,
            }),
            tracked: Some((0, 262_144)),
            taken: Vec::new(),
            candidates: vec![SocketAddr::from(([8, 8, 8, 8], 0))],
            dtls_failures: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read_as_cores() {
        assert_eq!(quota("200000 100000"), Some(2.0));
        assert_eq!(quota("50000 100000"), Some(0.5));
        for unbounded in ["max 100000", "-1 100000", "", "1 0"] {
            assert_eq!(quota(unbounded), None, "{unbounded}");
        }
    }

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 unlimited            files\n";
        assert_eq!(open_files(limits), Some((1_024, u64::MAX)));
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn the_first_processor_speaks_for_all() {
        assert_eq!(cpu_flags("model : 1\nflags\t\t: fpu aes\n\nflags : fpu"), ["fpu", "aes"]);
        assert_eq!(cpu_flags("Features\t: fp aes pmull"), ["fp", "aes", "pmull"]);
    }

    #[test]
    fn sockets_are_found_by_their_port() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n\
            7: 0100007F:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1234 2 0 0\n\
            8: 00000000:1ECB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0 0\n\
            9: 00000000:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0 0\n";
        assert_eq!(inodes_of(list, 7_882), [1_234]);
        assert_eq!(inodes_of(list, 7_884), [0; 0]);
    }
}
