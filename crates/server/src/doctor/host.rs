//! Does the machine have the cores, the memory and the limits that the server needs?

use super::{Finding, Machine};
use crate::config::Config;

/// Memory of a viewer with media flowing (`docs/performance.md`), rounded up.
const VIEWER_BYTES: u64 = 100 * 1024;
/// Memory of everything else, a guess with room.
const SERVER_BYTES: u64 = 256 << 20;
/// Open files that serve some thousands of pages and players; each HTTP connection is one.
const OPEN_FILES: u64 = 16_384;

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    vec![
        cores(machine, config),
        quota(machine),
        encryption(machine),
        clock(machine),
        governor(machine),
        memory(machine, config),
        swap(machine),
        open_files(machine),
    ]
}

fn cores(machine: &Machine, config: &Config) -> Finding {
    const CHECK: &str = "cores";
    let cores = machine.cores;
    let shards = config.media.shards.unwrap_or(cores / 2).max(1);
    let pinned = if config.media.pin_cores { ", each pinned to its core" } else { "" };
    let found = format!("{cores}, media threads: {shards}{pinned}");
    if shards > cores {
        let meaning = "Media threads wait for each other.";
        return Finding::hint(CHECK, found, meaning).mend(format!("media.shards = {cores}  # in nowcast.toml, or 0"));
    }
    if shards == cores && cores > 1 {
        let meaning = "No core is left for the network's interrupts, handshakes and HTTP; joins delay media.";
        return Finding::hint(CHECK, found, meaning).mend("media.shards = 0  # in nowcast.toml: half of the cores");
    }
    if cores == 1 {
        return Finding::hint(CHECK, found, "Handshakes, HTTP and media share one core: joins delay media.");
    }
    Finding::ok(CHECK, found)
}

fn quota(machine: &Machine) -> Finding {
    const CHECK: &str = "CPU quota";
    match machine.cpu_quota {
        None => Finding::ok(CHECK, "none"),
        Some(quota) => Finding::hint(
            CHECK,
            format!("{quota:.1} cores"),
            "When it is used up, everything stands still for the rest of the period, up to 100 ms: pictures freeze.",
        )
        .mend("docker run --cpuset-cpus 0-3 …  # cores of its own, instead of --cpus")
        .mend("kubectl: leave out resources.limits.cpu"),
    }
}

fn encryption(machine: &Machine) -> Finding {
    const CHECK: &str = "encryption";
    let has = |flag: &str| machine.cpu_flags.iter().any(|f| f == flag);
    if machine.cpu_flags.is_empty() {
        return Finding::ok(CHECK, "the processor does not say what it can do");
    }
    if has("vaes") && has("vpclmulqdq") {
        return Finding::ok(CHECK, "the processor does AES-GCM, several blocks at once");
    }
    if has("aes") && (has("pclmulqdq") || has("pmull")) {
        return Finding::ok(CHECK, "the processor does AES-GCM");
    }
    let meaning = "Encrypting in software costs ten times as much; it becomes most of a packet's price.";
    Finding::hint(CHECK, "the processor has no AES-GCM, or hides it", meaning)
        .mend("a virtual machine's CPU model must pass it on, such as `-cpu host`")
}

fn clock(machine: &Machine) -> Finding {
    const CHECK: &str = "clock";
    let Some(source) = machine.clock_source.as_deref() else { return Finding::ok(CHECK, "unknown") };
    let is_cheap = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"].contains(&source);
    if is_cheap {
        return Finding::ok(CHECK, source);
    }
    let meaning = "Asking for the time takes a system call and a slow device; it is asked for every batch of packets.";
    Finding::hint(CHECK, source, meaning)
        .mend("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource")
}

fn governor(machine: &Machine) -> Finding {
    const CHECK: &str = "clock rate";
    match machine.governor.as_deref() {
        None => Finding::ok(CHECK, "not the kernel's to choose"),
        Some("powersave" | "conservative" | "ondemand") => Finding::hint(
            CHECK,
            machine.governor.as_deref().unwrap_or_default(),
            "Cores slow down between frames, and pictures wait until they are fast again.",
        )
        .mend("cpupower frequency-set -g performance"),
        Some(other) => Finding::ok(CHECK, other),
    }
}

fn memory(machine: &Machine, config: &Config) -> Finding {
    const CHECK: &str = "memory";
    let Some(bytes) = machine.memory_bytes else { return Finding::ok(CHECK, "unknown") };
    let sessions = config.media.limits.sessions.min(config.media.limits.viewers) as u64;
    let fit = bytes.saturating_sub(SERVER_BYTES) / VIEWER_BYTES;
    let gib = bytes as f64 / f64::from(1 << 30);
    if fit >= sessions {
        return Finding::ok(CHECK, format!("{gib:.1} GiB can be had, enough for {sessions} viewers"));
    }
    let found = format!("{gib:.1} GiB can be had, enough for about {fit} viewers of {sessions} that are allowed");
    let meaning = "With more, the kernel ends the server, or lets it wait for a disk.";
    Finding::hint(CHECK, found, meaning).mend(format!("limits.viewers = {}  # in nowcast.toml", fit.max(1)))
}

fn swap(machine: &Machine) -> Finding {
    const CHECK: &str = "swap";
    // A few MiB of idle programs in swap do no harm.
    if machine.swapped_bytes < 256 << 20 {
        return Finding::ok(CHECK, "not used");
    }
    let found = format!("{} MiB lie on a disk", machine.swapped_bytes >> 20);
    let meaning = "Memory was short; a media thread that waits for a disk freezes every picture.";
    Finding::hint(CHECK, found, meaning).mend("sysctl -w vm.swappiness=1")
}

fn open_files(machine: &Machine) -> Finding {
    const CHECK: &str = "open files";
    let Some((soft, hard)) = machine.open_files else { return Finding::ok(CHECK, "unknown") };
    if soft >= OPEN_FILES {
        return Finding::ok(CHECK, if soft == u64::MAX { "unlimited".to_owned() } else { soft.to_string() });
    }
    let meaning = "Each HTTP connection is one; beyond that, players and pages are turned away. Media needs none.";
    let finding = Finding::hint(CHECK, soft.to_string(), meaning);
    if hard >= OPEN_FILES {
        return finding.mend("ulimit -n 65536  # or LimitNOFILE=65536 in the systemd unit");
    }
    finding.mend("LimitNOFILE=65536  # in the systemd unit; in a container: --ulimit nofile=65536")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::config;
    use super::*;

    type Change = fn(&mut Machine);

    #[test]
    fn each_shortage_is_a_hint_with_a_remedy() {
        let rows: [(&str, Change); 9] = [
            ("CPU quota", |m| m.cpu_quota = Some(1.5)),
            ("encryption", |m| m.cpu_flags = vec!["sse2".to_owned()]),
            ("clock", |m| m.clock_source = Some("acpi_pm".to_owned())),
            ("clock rate", |m| m.governor = Some("powersave".to_owned())),
            ("memory", |m| m.memory_bytes = Some(512 << 20)),
            ("memory", |m| m.memory_bytes = Some(0)),
            ("swap", |m| m.swapped_bytes = 1 << 30),
            ("open files", |m| m.open_files = Some((1_024, 1_048_576))),
            ("open files", |m| m.open_files = Some((1_024, 4_096))),
        ];
        for (name, change) in rows {
            let mut machine = Machine::healthy();
            change(&mut machine);
            let amiss: Vec<_> =
                examine(&machine, &config("").0).into_iter().filter(|f| f.verdict != Verdict::Ok).collect();
            assert_eq!(amiss.len(), 1, "{amiss:#?}");
            assert_eq!((amiss[0].check, amiss[0].verdict), (name, Verdict::Hint));
            assert!(!amiss[0].meaning.is_empty() && !amiss[0].mend.is_empty(), "{amiss:#?}");
        }
    }

    #[test]
    fn what_cannot_be_found_out_is_no_trouble() {
        let machine = Machine { cores: 4, ..Machine::default() };
        assert!(examine(&machine, &config("").0).iter().all(|f| f.verdict == Verdict::Ok));
    }

    #[test]
    fn media_threads_are_held_against_cores() {
        let check = |cores, shards: &str, verdict| {
            let finding = cores_of(cores, shards);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        };
        check(8, "0", Verdict::Ok);
        check(8, "4", Verdict::Ok);
        check(8, "8", Verdict::Hint);
        check(8, "9", Verdict::Hint);
        check(1, "0", Verdict::Hint);
    }

    fn cores_of(cores: usize, shards: &str) -> Finding {
        let machine = Machine { cores, ..Machine::healthy() };
        super::cores(&machine, &config(&format!("SHARDS = {shards}")).0)
    }
}
