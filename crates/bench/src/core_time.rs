//! How much CPU time did this thread use, and how much did its core spend besides?
//!
//! The kernel may charge a part of sending to no process: it handles bursts received over loopback
//! in `ksoftirqd`. The core's own time, from `/proc/stat`, includes this part. It has a resolution
//! of a hundredth of a second, so it is exact only over several seconds.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;

/// What was used up until some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoreTime {
    at: Instant,
    thread_ns: u64,
    thread_user: u64,
    thread_kernel: u64,
    core_busy: Option<u64>,
}

/// What was used between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// This thread's, as the scheduler counts it.
    pub(crate) thread: Duration,
    /// How much of `thread` was spent in user space: a share.
    pub(crate) user: f64,
    /// All that the core did for whomever, if the thread is pinned to one.
    pub(crate) core: Option<Duration>,
}

/// `/proc/stat` and `/proc/*/stat` count in this, whatever the kernel's own tick (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

impl CoreTime {
    /// Of the calling thread, and of `core` if that is the only one it runs on.
    pub(crate) fn now(core: Option<usize>) -> anyhow::Result<CoreTime> {
        let schedstat = fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
        let stat = fs::read_to_string("/proc/thread-self/stat").context("/proc/thread-self/stat")?;
        let (thread_user, thread_kernel) =
            user_and_kernel(&stat).context("/proc/thread-self/stat is not understood")?;
        let core_busy = match core {
            Some(core) => busy(&fs::read_to_string("/proc/stat").context("/proc/stat")?, &format!("cpu{core}")),
            None => None,
        };
        let thread_ns = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        Ok(CoreTime { at: Instant::now(), thread_ns, thread_user, thread_kernel, core_busy })
    }

    pub(crate) fn since(&self, before: &CoreTime) -> Used {
        let user = self.thread_user - before.thread_user;
        let kernel = self.thread_kernel - before.thread_kernel;
        let ticks = |count: u64| TICK.saturating_mul(count as u32);
        Used {
            wall: self.at.saturating_duration_since(before.at),
            thread: Duration::from_nanos(self.thread_ns - before.thread_ns),
            user: user as f64 / (user + kernel).max(1) as f64,
            core: self.core_busy.zip(before.core_busy).map(|(now, before)| ticks(now - before)),
        }
    }
}

/// Returns the CPU time of all cores since the start of the machine, for all processes.
pub(crate) fn all_cores() -> Option<Duration> {
    Some(TICK.saturating_mul(u32::try_from(busy(&fs::read_to_string("/proc/stat").ok()?, "cpu")?).ok()?))
}

/// proc(5), `/proc/pid/stat`: fields 14 and 15, counted from 1; the second, a name in parentheses,
/// may hold blanks.
fn user_and_kernel(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// proc(5), `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, and so on. What a
/// hypervisor took is not ours.
fn busy(stat: &str, name: &str) -> Option<u64> {
    let mut fields = stat.lines().map(str::split_whitespace).find_map(|mut f| (f.next() == Some(name)).then_some(f))?;
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait, irq, softirq) = (next()?, next()?, next()?, next()?);
    Some(user + nice + system + irq + softirq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_its_page_says() {
        let stat = "7 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20 0 1 0 5 6 7";
        assert_eq!(user_and_kernel(stat), Some((111, 222)));
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 10 0 20 500 30 1 2 99 0 0\nintr 5\n";
        assert_eq!(busy(stat, "cpu0"), Some(1 + 2 + 3 + 6 + 7));
        assert_eq!(busy(stat, "cpu1"), Some(33));
        assert_eq!(busy(stat, "cpu2"), None);
        assert_eq!(busy(stat, "cpu"), Some(9 * 5));
    }
}
