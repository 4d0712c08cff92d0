//! How much memory does this process hold?

/// Returns what `/proc/self/statm` (proc(5)) counts as resident, in pages of 4 KiB; 0 where there
/// is no such file.
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
