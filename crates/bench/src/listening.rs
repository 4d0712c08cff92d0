//! Which process of this machine listens on a TCP port?
//!
//! From `/proc`: the socket by its port, the process by the socket. Processes of other users do not
//! show theirs, so that nothing found means nothing.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs};

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) pid: u32,
    /// As the kernel calls it, such as `nowcast`.
    pub(crate) name: String,
}

/// Returns the process behind `host:port`, if that is this machine.
pub(crate) fn find(authority: &str) -> Option<Listener> {
    let addresses: Vec<_> = authority.to_socket_addrs().ok()?.collect();
    let port = addresses.first()?.port();
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.to_canonical().is_loopback();
    if !addresses.iter().all(|address| is_here(address.ip())) {
        return None;
    }
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let is_it = files.any(|file| {
            fs::read_link(file.path()).is_ok_and(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        });
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default().trim().to_owned();
        is_it.then(|| Listener { pid, name: name() })
    })
}

/// Returns the inodes of sockets that listen on `port`. See proc_net_tcp.rst: local address is the
/// second column, the state (0A: listening) the fourth, the inode the tenth.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let line = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16) == Ok(port) && *columns.get(3)? == "0A";
        if is_it { columns.get(9)?.parse().ok() } else { None }
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_ours_is_us() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = find(&listener.local_addr().unwrap().to_string()).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert!(!found.name.is_empty());
    }

    #[test]
    fn other_machines_are_not_looked_at() {
        assert_eq!(find("192.0.2.1:80"), None);
        assert_eq!(find("no port"), None);
    }

    #[test]
    fn the_table_is_read_by_state_and_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1EC8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
                     1: 0100007F:1EC8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n   \
                     2: 0100007F:1EC9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        assert_eq!(listening(table, 7_880), [4_711]);
        assert_eq!(listening("nonsense\n\n: : :", 7_880), [0_u64; 0]);
    }
}
