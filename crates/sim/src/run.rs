//! Is one run of a story the same as another?
//!
//! A [`Run`] is a digest over every datagram that the server or a peer sends: when, from where, to where and how long;
//! over the bytes of the server's media and of all handshakes; and over what screens showed at the end. Bytes of RTCP and
//! of what peers send are left out, because `str0m` takes its streams in the order of a `HashMap`: that decides which
//! of its SSRCs it names in a report. So are those of DTLS application data: SCTP's random numbers cannot be seeded
//! ([`crate::chance`]). Neither decides about a time or a size.
//!
//! [`every_story_replays`] runs all stories of a test program twice, in two processes, and compares. `SIM_TRACE=FILE`
//! writes a line for each datagram of a story, for `diff`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use media::demux::{Class, classify};

/// What happened, in a number.
#[derive(Debug)]
pub(crate) struct Run {
    digest: u64,
    /// The digest at the end of each second.
    seconds: Vec<u32>,
    datagrams: u64,
    trace: Option<File>,
}

/// Of DTLS: application data (RFC 6347 §4.1).
const APPLICATION_DATA: u8 = 23;

/// The sender of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The server.
    Server,
    /// A browser.
    Peer,
}

impl Run {
    pub(crate) fn new() -> Run {
        let trace = std::env::var_os("SIM_TRACE").map(|path| appended(Path::new(&path)));
        Run { trace, ..Run::silent() }
    }

    /// A run that is not traced.
    pub(crate) fn silent() -> Run {
        Run { digest: 0, seconds: Vec::new(), datagrams: 0, trace: None }
    }

    /// A datagram was sent.
    pub(crate) fn datagram(&mut self, at: Duration, sender: Sender, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.seconds.resize((at.as_secs() as usize).max(self.seconds.len()), self.digest as u32);
        self.datagrams += 1;
        self.number(at.as_nanos() as u64);
        for address in [from, to] {
            match address.ip() {
                std::net::IpAddr::V4(ip) => self.number(u64::from(u32::from(ip))),
                std::net::IpAddr::V6(ip) => self.bytes(&ip.octets()),
            }
            self.number(u64::from(address.port()));
        }
        self.number(bytes.len() as u64);
        let is_compared = match classify(bytes) {
            Class::Rtp => sender == Sender::Server && !media::rtp::is_rtcp(bytes),
            _ => bytes.first() != Some(&APPLICATION_DATA),
        };
        if is_compared {
            self.bytes(bytes);
        }
        if let Some(trace) = &mut self.trace {
            let line = format!("{at:?} {from} {to} {} {:x}\n", bytes.len(), self.digest);
            trace.write_all(line.as_bytes()).expect("SIM_TRACE can be written");
        }
    }

    /// Something else happened.
    pub(crate) fn event(&mut self, what: std::fmt::Arguments<'_>) {
        self.bytes(what.to_string().as_bytes());
    }

    /// The file to which [`Run::write`] adds its line: the one that SIM_RUNS names.
    pub(crate) fn file() -> Option<PathBuf> {
        std::env::var_os("SIM_RUNS").map(PathBuf::from)
    }

    /// Adds a line to the file.
    pub(crate) fn write(&self, file: &Path, story: &str, seed: u64) {
        let seconds: Vec<_> = self.seconds.iter().map(|digest| format!("{digest:x}")).collect();
        let seconds = seconds.join(",");
        let line = format!("{story}\t{seed}\t{}\t{:016x}\t{seconds}\n", self.datagrams, self.digest);
        // One call: other threads write to the same file.
        appended(file).write_all(line.as_bytes()).expect("SIM_RUNS can be written");
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.number(u64::from_le_bytes(word));
        }
        self.number(bytes.len() as u64);
    }

    fn number(&mut self, number: u64) {
        // FNV-1a by words, with a rotation so that high bits count too: good enough to tell two runs apart.
        self.digest = (self.digest.rotate_left(23) ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

fn appended(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("SIM_RUNS and SIM_TRACE are files that can be written")
}

/// Runs every other test of this program in two processes with the same seeds, and compares what happened: with one
/// seed of stories that have many, or with as many as `SIM_REPLAYS` says; all stories, or those that `SIM_STORY` names.
/// Prints how many runs were the same.
///
/// # Panics
///
/// If two runs differ, with the story, the seed and the second.
pub fn every_story_replays() {
    let this = std::thread::current().name().unwrap_or_default().to_owned();
    let seeds = std::env::var("SIM_REPLAYS").unwrap_or_else(|_| "1".to_owned());
    let files = [0, 1].map(|n| {
        let name = format!("sim-runs-{}-{n}.txt", std::process::id());
        std::env::temp_dir().join(name)
    });
    let children = files.each_ref().map(|file| {
        let _ = std::fs::remove_file(file);
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.args(std::env::var("SIM_STORY").ok());
        command.args(["--skip", &this, "--quiet"]).env("SIM_RUNS", file).env("SIM_SEEDS", &seeds);
        command.env_remove("SIM_SEED").env_remove("SIM_LOUD").env_remove("SIM_TRACE");
        command.stdout(std::process::Stdio::piped()).spawn().expect("this program can run again")
    });
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "a story failed:\n{}", String::from_utf8_lossy(&output.stdout));
    }
    let [one, other] = files.map(|file| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(file);
        text
    });
    let (same, differences) = compared(&one, &other);
    println!("{same} of {} runs replay exactly", same + differences.len());
    assert!(differences.is_empty(), "the same seed gave two runs:\n{}", differences.join("\n"));
    assert!(same > 0, "no story was told");
}

/// Returns how many runs are the same, and of the others where they differ.
fn compared(one: &str, other: &str) -> (usize, Vec<String>) {
    let runs = |text: &str| -> BTreeMap<(String, String), (String, String, String)> {
        let fields = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
        let named = fields.filter_map(|fields| {
            let [story, seed, datagrams, digest, seconds] = <[String; 5]>::try_from(fields).ok()?;
            Some(((story, seed), (datagrams, digest, seconds)))
        });
        named.collect()
    };
    let (one, mut other) = (runs(one), runs(other));
    let mut differences = Vec::new();
    let mut same = 0;
    for ((story, seed), run) in one {
        match other.remove(&(story.clone(), seed.clone())) {
            Some(again) if again == run => same += 1,
            Some(again) => {
                let differ = run.2.split(',').zip(again.2.split(',')).position(|(one, other)| one != other);
                let second = differ.map_or("its last second".to_owned(), |second| format!("second {second}"));
                differences
                    .push(format!("{story}, seed {seed}: {} and {} datagrams, from {second} on", run.0, again.0));
            }
            None => differences.push(format!("{story}, seed {seed}: told once")),
        }
    }
    differences.extend(other.into_keys().map(|(story, seed)| format!("{story}, seed {seed}: told once")));
    (same, differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_that_differs_in_anything_makes_another_run() {
        let here = SocketAddr::from(([192, 0, 2, 1], 7));
        let there = SocketAddr::from(([192, 0, 2, 2], 7));
        let digest = |at, from, to, bytes: &[u8]| {
            let mut run = Run::silent();
            run.datagram(Duration::from_millis(at), Sender::Server, from, to, bytes);
            run.digest
        };
        let usual = digest(1, here, there, &[1, 2, 3]);
        assert_eq!(usual, digest(1, here, there, &[1, 2, 3]));
        for other in [
            digest(2, here, there, &[1, 2, 3]),
            digest(1, there, here, &[1, 2, 3]),
            digest(1, here, there, &[1, 2, 4]),
            digest(1, here, there, &[1, 2, 3, 0]),
        ] {
            assert_ne!(usual, other);
        }
        let application = |last| digest(1, here, there, &[APPLICATION_DATA, last]);
        assert_eq!(application(1), application(2));
    }

    #[test]
    fn two_runs_that_differ_are_named_with_the_second() {
        let one = "a 0\t7\t5\tff\t1,2,3\nb 0\t7\t5\tff\t1\n";
        assert_eq!(compared(one, one), (2, Vec::new()));
        let other = "a 0\t7\t6\tfe\t1,9,8\nb 0\t7\t5\tff\t1\nc 0\t1\t1\t1\t\n";
        let (same, differences) = compared(one, other);
        assert_eq!(same, 1);
        assert_eq!(differences, ["a 0, seed 7: 5 and 6 datagrams, from second 1 on", "c 0, seed 1: told once"]);
    }
}
