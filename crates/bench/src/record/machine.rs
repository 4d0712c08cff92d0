//! On which machine was this measured?

use std::fs;

use serde_json::{Value, json};

/// Returns the description of the machine that a comparison needs.
pub(super) fn describe() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
    json!({
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map_or(0, usize::from).max(online(&read("/sys/devices/system/cpu/online"))),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "memory": read("/proc/meminfo").lines().next().and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())),
        "receive_buffer_limit_bytes": read("/proc/sys/net/core/rmem_max").trim().parse::<u64>().ok(),
        "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
    })
}

/// "0-3,5" are five. We are pinned to a core, so that asking how many there are says one.
fn online(list: &str) -> usize {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.trim().split(',').filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        assert_eq!(["0", "0-1\n", "0-3,5", ""].map(online), [1, 2, 5, 0]);
    }
}
