//! A server to measure, started for that and ended with it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A running `nowcast`.
pub(crate) struct Server {
    child: Child,
    http: String,
    udp: u16,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Starts `binary` on free ports of loopback, with no limit on sessions of one address.
    ///
    /// `core`: the one core it may use.
    pub(crate) fn start(binary: &Path, core: Option<usize>) -> anyhow::Result<Server> {
        Server::start_on(binary, core.map(|core| core.to_string()).as_deref(), 0)
    }

    /// Starts a server on `cores`, in the syntax of `taskset -c`, with this number of shards; 0
    /// leaves the choice to it.
    pub(crate) fn start_on(binary: &Path, cores: Option<&str>, shards: usize) -> anyhow::Result<Server> {
        ensure!(
            binary.exists(),
            "there is no server at {}; build it first: cargo build --release -p server",
            binary.display()
        );
        // The ports are free now. If another program takes one before the server starts, the server
        // prints an error.
        let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(cores).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command
            .args(["serve", "--dev", "--loopback"])
            .env("NOWCAST_HTTP_LISTEN", &http)
            .env("NOWCAST_MEDIA_UDP_PORT", udp.to_string())
            .env("NOWCAST_MEDIA_SHARDS", shards.to_string())
            .env("NOWCAST_LIMITS_SESSIONS_PER_IP", "0")
            .env("NOWCAST_LIMITS_NEW_SESSIONS_PER_IP", "0")
            .env("NOWCAST_LIMITS_CONNECTIONS_PER_IP", "0")
            // The measurement is about the capacity of a core, so admission by load is off.
            .env("NOWCAST_LIMITS_BUSY_PERCENT", "100")
            .env("NOWCAST_LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("{} does not start", binary.display()))?;
        let mut server = Server { child, http, udp };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(&server.http).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            ensure!(Instant::now() < until, "the server does not listen at {} after {PATIENCE:?}", server.http);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Its process (`taskset` becomes the server).
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Datagrams that found its sockets full, since it began: proc(5), `/proc/net/udp`, addresses
    /// in hexadecimal.
    pub(crate) fn socket_drops(&self) -> u64 {
        let of = |file: &str| std::fs::read_to_string(file).map_or(0, |table| drops_of(&table, self.udp));
        of("/proc/net/udp") + of("/proc/net/udp6")
    }

    /// Returns the path at which cargo builds the server: `CARGO_TARGET_DIR`, or `target` beside
    /// the workspace's `Cargo.toml`.
    pub(crate) fn default_binary() -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        target.unwrap_or_else(beside).join("release/nowcast")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the drops of a port: the last column of the row whose second column is `address:port`.
fn drops_of(table: &str, port: u16) -> u64 {
    let is_ours = |fields: &[&str]| {
        let local = fields.get(1).and_then(|local| local.rsplit(':').next());
        local.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(port)
    };
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|fields| is_ours(fields)).filter_map(|fields| fields.last()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_all_sockets_of_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000  0 0 1 2 0 7\n\
            2: 0100007F:1ECB 00000000:0000 07 00000000:00000000 00:00000000 00000000  0 0 1 2 0 5\n\
            3: 00000000:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000  0 0 1 2 0 2\n";
        assert_eq!([0x1eca, 0x1ecb, 1].map(|port| drops_of(table, port)), [9, 5, 0]);
    }
}
