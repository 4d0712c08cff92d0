//! What has a process used up?
//!
//! From `/proc`. Times are those of the scheduler (`schedstat`, nanoseconds), by thread, because `stat` counts in
//! hundredths of a second.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::Context;

/// What a process had used up at some moment.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    at: Instant,
    /// By thread: its name and nanoseconds on a core.
    threads: BTreeMap<u32, (String, u64)>,
    /// Memory that is there, in KiB.
    pub(crate) rss_kib: u64,
}

/// What it used up between two moments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spent {
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    /// Seconds by name of threads, numbers at their ends aside; most first.
    pub(crate) by_name: Vec<(String, f64)>,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("there is no process {pid}"))?;
        let mut threads = BTreeMap::new();
        for task in tasks.flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name));
            // A thread may end while we look.
            let (Ok(name), Ok(stat)) = (read("comm"), read("schedstat")) else { continue };
            let Ok(thread) = task.file_name().to_string_lossy().parse() else { continue };
            let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            threads.insert(thread, (name.trim().to_owned(), ns));
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok(Usage { at: Instant::now(), threads, rss_kib: rss.unwrap_or(0) })
    }

    pub(crate) fn since(&self, before: &Usage) -> Spent {
        let mut by_name: BTreeMap<String, f64> = BTreeMap::new();
        for (thread, (name, ns)) in &self.threads {
            let before = before.threads.get(thread).map_or(0, |(_, ns)| *ns);
            let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            *by_name.entry(name.to_owned()).or_default() += ns.saturating_sub(before) as f64 / 1e9;
        }
        let mut by_name: Vec<_> = by_name.into_iter().collect();
        by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
        Spent {
            cpu_s: by_name.iter().map(|(_, s)| s).sum(),
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
}
