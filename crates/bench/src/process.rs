//! What has a process used up?
//!
//! From `/proc`. Times are those of the scheduler (`schedstat`, nanoseconds), by thread, because
//! `stat` counts in hundredths of a second. Which part of them was the kernel's is known from
//! `stat` alone: over a run of many seconds its hundredths are a fair sample.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::Context;

/// What a process had used up at some moment.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    at: Instant,
    threads: BTreeMap<u32, Thread>,
    /// Memory that is there, in KiB.
    pub(crate) rss_kib: u64,
}

#[derive(Debug, Clone)]
struct Thread {
    name: String,
    /// On a core.
    ns: u64,
    /// In its own code and in the kernel's, in hundredths of a second.
    ticks: Ticks,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    user: u64,
    system: u64,
}

/// The CPU time of a process between two moments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent {
    pub(crate) cpu_s: f64,
    /// The part of it in the process's own code, 0 to 1; `None` below [`FEWEST_TICKS`].
    pub(crate) user_share: Option<f64>,
    pub(crate) wall_s: f64,
    /// Seconds by name of threads, numbers at their ends aside; most first.
    pub(crate) by_name: Vec<(String, f64)>,
}

/// A share from fewer samples is off by more than some percent.
const FEWEST_TICKS: u64 = 100;

impl Usage {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("there is no process {pid}"))?;
        let mut threads = BTreeMap::new();
        for task in tasks.flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name));
            // A thread may end while we look.
            let (Ok(name), Ok(schedule), Ok(stat)) = (read("comm"), read("schedstat"), read("stat")) else { continue };
            let Ok(thread) = task.file_name().to_string_lossy().parse() else { continue };
            let ns = schedule.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            threads.insert(thread, Thread { name: name.trim().to_owned(), ns, ticks: ticks(&stat) });
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        // A zombie: a process that has ended and was not waited for has no memory
        // (proc_pid_status(5)).
        let rss_kib = rss.with_context(|| format!("process {pid} has ended"))?;
        Ok(Usage { at: Instant::now(), threads, rss_kib })
    }

    /// Returns the CPU time of the threads since their start.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.threads.values().map(|thread| thread.ns as f64 / 1e9).sum()
    }

    pub(crate) fn since(&self, before: &Usage) -> Spent {
        let mut by_name: BTreeMap<&str, f64> = BTreeMap::new();
        let mut ticks = Ticks::default();
        for (number, thread) in &self.threads {
            let before = before.threads.get(number);
            let name = thread.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            *by_name.entry(name).or_default() += thread.ns.saturating_sub(before.map_or(0, |b| b.ns)) as f64 / 1e9;
            let before = before.map_or(Ticks::default(), |b| b.ticks);
            ticks.user += thread.ticks.user.saturating_sub(before.user);
            ticks.system += thread.ticks.system.saturating_sub(before.system);
        }
        let mut by_name: Vec<_> = by_name.into_iter().map(|(name, s)| (name.to_owned(), s)).collect();
        by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
        let all = ticks.user + ticks.system;
        Spent {
            cpu_s: by_name.iter().map(|(_, s)| s).sum(),
            user_share: (all >= FEWEST_TICKS).then(|| ticks.user as f64 / all as f64),
            wall_s: self.at.saturating_duration_since(before.at).as_secs_f64(),
            by_name,
        }
    }
}

impl Spent {
    /// Cores that were busy on average.
    pub(crate) fn cores(&self) -> f64 {
        if self.wall_s > 0.0 { self.cpu_s / self.wall_s } else { 0.0 }
    }

    /// Returns the microseconds per packet.
    pub(crate) fn us_per(&self, packets: u64) -> f64 {
        self.cpu_s * 1e6 / packets.max(1) as f64
    }

    /// Seconds of threads with this name.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.by_name.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, s)| s).sum()
    }
}

/// proc_pid_stat(5): the name, in parentheses, may hold anything; after it the state is the 3rd
/// field, utime the 14th.
fn ticks(stat: &str) -> Ticks {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
    Ticks { user: fields.next().unwrap_or(0), system: fields.next().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let Ticks { user, system } = ticks("1 (a) b) c) S 2 3 4 5 6 7 8 9 10 11 120 30 0 0 20 0 1 0 9 9 9\n");
        assert_eq!((user, system), (120, 30));
        let Ticks { user, system } = ticks("nonsense");
        assert_eq!((user, system), (0, 0));
    }

    #[test]
    fn we_can_be_looked_at() {
        let before = Usage::of(std::process::id()).unwrap();
        let spent = Usage::of(std::process::id()).unwrap().since(&before);
        assert!(before.rss_kib > 0);
        assert!(spent.cpu_s >= 0.0);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
